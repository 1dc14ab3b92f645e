"""Where the outside world is: from the reader's command line only, so that tests can move it."""

from collections.abc import Mapping
from dataclasses import dataclass, field

PASSIVE, IDLE, CONSUMING = "P0", "P1", "P2"

TOOLS = "/usr/sbin:/usr/bin:/sbin:/bin"


@dataclass(frozen=True)
class Roots:
    """The kernel's trees and nodes, the configuration of other programs, where tools are found and
    what they get as environment, where kernels and their modules are, and what is so until the next
    start. Commands of a class that is not `allowed` are never run, whatever the table says."""

    sysfs: str = "/sys"
    procfs: str = "/proc"
    dev: str = "/dev"
    etc: str = "/etc"
    path: str = TOOLS
    environ: Mapping[str, str] = field(default_factory=dict)
    allowed: frozenset[str] = frozenset((PASSIVE, IDLE))
    boot: str = "/boot"
    modules: str = "/lib/modules"
    run: str = "/run"
