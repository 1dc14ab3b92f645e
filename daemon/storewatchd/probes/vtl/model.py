"""What a back end of virtual tape libraries tells: its libraries, drives and media stores. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from storewatchd.probes.tape.devices import ScsiDevice
from storewatchd.probes.tape.drives import RUNNING

Attributes = Mapping[str, bytes | int]

# Process states (proc(5)): zombie, dead, stopped, traced.
_NOT_SERVING = frozenset("ZXxTt")


@dataclass(frozen=True, slots=True)
class Facts:
    """What the reader tells of all back ends at one moment."""

    module: Attributes
    daemons: Sequence[Mapping[str, Any]]
    devices: Sequence[Mapping[str, Any]]
    """Of the configuration."""
    scsi: Attributes


@dataclass(frozen=True, slots=True)
class Unit:
    """A library, or a drive. `library` and `drive` are serial numbers, `drive` empty for the
    library itself; `daemon` is the state of its process, empty where there is none; `device` is
    None where the kernel has none."""

    backend: str
    number: str
    library: str
    drive: str
    vendor: str
    product: str
    daemon: str
    device: ScsiDevice | None

    @property
    def is_served(self) -> bool:
        return is_serving(self.daemon)

    @property
    def is_present(self) -> bool:
        return self.device is not None and self.device.state == RUNNING

    @property
    def name(self) -> tuple[str, str]:
        return self.library, self.drive


@dataclass(frozen=True, slots=True)
class Installation:
    """All that a back end has. `module` is the version of its kernel module, empty where that is
    not loaded, None where it needs none."""

    backend: str
    module: str | None
    is_served: bool
    units: tuple[Unit, ...] = ()
    stores: tuple[str, ...] = ()
    """The directories with media in them."""
    is_installed: bool = True
    """False where nothing is left of it: who takes it away misses it no more."""

    @property
    def is_up(self) -> bool:
        return self.module != "" and self.is_served


class Backend(Protocol):
    """One kind of virtual tape library."""

    @property
    def name(self) -> str: ...

    def look(self, facts: Facts) -> Installation:
        """Return what is there of it, which may be nothing."""
        ...

    def is_here(self, found: Installation) -> bool:
        """Whether it is used on this machine, and not just installed."""
        ...


def is_serving(state: str) -> bool:
    """Whether a process of this state does its work; one that waits in the kernel does."""
    return state != "" and state not in _NOT_SERVING
