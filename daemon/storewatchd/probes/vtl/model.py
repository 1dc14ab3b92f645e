"""What a back end of virtual tape libraries tells: its libraries, drives and media stores. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from storewatchd.probes.tape.devices import ScsiDevice
from storewatchd.probes.tape.drives import RUNNING

Attributes = Mapping[str, bytes | int]

# Process states (proc(5)): zombie, dead, stopped, traced.
_NOT_SERVING = frozenset("ZXxTt")

# Of systemd's states of a unit, those in which it is up.
_ACTIVE = frozenset(("active", "reloading", "refreshing"))


@dataclass(frozen=True, slots=True)
class Facts:
    """What the reader tells of all back ends at one moment."""

    module: Attributes
    daemons: Sequence[Mapping[str, Any]]
    devices: Sequence[Mapping[str, Any]]
    """Of the configuration."""
    scsi: Attributes
    services: Sequence[Mapping[str, Any]] | None = None
    """The units that systemd has loaded; None where that is not known."""


@dataclass(frozen=True, slots=True)
class Service:
    """The unit of systemd that a daemon belongs to. `left_s` is how long ago it stopped being
    active, None where it is, or never was; `has_daemon` says whether the daemon runs in it."""

    name: str
    state: str
    left_s: float | None = None
    has_daemon: bool = False

    @property
    def is_active(self) -> bool:
        return self.state in _ACTIVE

    @property
    def is_hanging(self) -> bool:
        """Whether its stop has not come to an end: mhvtl's units have KillMode=none, so that one
        may be over whose daemon goes on."""
        return self.state == "deactivating" or (self.has_daemon and not self.is_active)


@dataclass(frozen=True, slots=True)
class Unit:
    """A library, or a drive. `library` and `drive` are serial numbers, `drive` empty for the
    library itself; `daemon` is the state of its process, empty where there is none; `device` is
    None where the kernel has none, and `io_errors` counts the commands to it that ended with an
    error; `service` is None where systemd has no unit of it."""

    backend: str
    number: str
    library: str
    drive: str
    vendor: str
    product: str
    daemon: str
    device: ScsiDevice | None
    io_errors: int | None = None
    service: Service | None = None

    @property
    def is_running(self) -> bool:
        return is_serving(self.daemon)

    @property
    def is_unit_up(self) -> bool | None:
        """Whether its unit is active; None where it has none, or its daemon was started by
        hand."""
        if self.service is None:
            return None
        is_by_hand = self.is_running and not self.service.has_daemon
        return None if is_by_hand and not self.service.is_active else self.service.is_active

    @property
    def is_served(self) -> bool:
        """Whether a command to it would be answered, as far as that is known without asking."""
        return self.is_running and self.is_unit_up is not False

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


def io_errors(scsi: Attributes, device: ScsiDevice | None) -> int | None:
    """Return how many commands to a device the kernel has seen end with an error."""
    told = scsi.get(f"scsi_device/{device.address}/device/ioerr_cnt") if device else None
    try:
        return int(told, 16) if isinstance(told, bytes) else None
    except ValueError:
        return None
