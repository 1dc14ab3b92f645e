"""The probes of virtual tape libraries: back ends, their units, devices, and kernel module."""

from collections.abc import Iterator
from dataclasses import dataclass

from storewatchd.clock import Clock
from storewatchd.core.frames import Found, Frame, News, ObjectKind, Row, Scope
from storewatchd.errors import Malformed, ProbeAbsent, ProbeDeferred, ProbeFailed, ReadStuck
from storewatchd.port import Port
from storewatchd.probes.base import Probe, counter, gauge, seen
from storewatchd.probes.boot.checks import next_kernel
from storewatchd.probes.tape.asking import Asker
from storewatchd.probes.vtl.changes import Sight, changes, sight
from storewatchd.probes.vtl.looks import Looks
from storewatchd.probes.vtl.model import Installation, Service, Unit
from storewatchd.probes.vtl.stores import VtlMediaProbe, VtlStoresProbe
from storewatchd.scsi.inquiry import CHANGER, TAPE, parse_inquiry

KERNEL_AGAIN_AFTER_S = 300.0
"""How often it is looked which kernel is next, and what modules it has."""

STATES = ("active", "activating", "deactivating", "inactive", "failed")
"""The states of a unit that are told, as node_exporter tells them."""

_INFO = ("number", "vendor", "model", "address", "state", "daemon")

FAMILIES = (
    gauge("vtl_up", "Whether the software of virtual tape libraries runs.", "backend"),
    gauge("vtl_module_loaded", "Whether its kernel module is loaded.", "backend"),
    gauge("vtl_module_info", "The version of its kernel module.", "backend", "version"),
    gauge(
        "vtl_library_info",
        "Which libraries are virtual; daemon is the state of the process.",
        *("backend", "library", *_INFO),
    ),
    gauge(
        "vtl_drive_info",
        "Which drives are virtual; daemon is the state of the process.",
        *("backend", "library", "drive", *_INFO),
    ),
)
UNIT_FAMILIES = (
    gauge("vtl_library_up", "Whether all parts of a virtual library are up.", "library"),
    gauge("vtl_drive_up", "Whether all parts of a virtual drive are up.", "library", "drive"),
    gauge(
        "vtl_part_up",
        "Whether the unit is active, the daemon runs, the SCSI device is there, and it answers.",
        *("library", "drive", "part"),
    ),
    gauge(
        "vtl_command_latency_seconds",
        "How long the last INQUIRY took, with the start of the tool that sent it.",
        *("library", "drive"),
        unit="seconds",
    ),
    counter(
        "vtl_io_errors_total",
        "Commands that ended with an error, unit attentions among them, since the device is there.",
        *("library", "drive"),
    ),
)
SERVICE_FAMILIES = (
    gauge(
        "vtl_unit_state",
        "The state of a unit of systemd: 1 for one of them.",
        *("library", "drive", "unit", "state"),
    ),
    gauge(
        "vtl_stop_hang_seconds",
        "For how long the stop of a unit has not come to an end; its daemon may outlive it.",
        *("library", "drive", "unit"),
        unit="seconds",
    ),
)
KERNEL_FAMILIES = (
    gauge(
        "vtl_module_for_next_kernel",
        "Whether the kernel that starts next has the kernel module.",
        "backend",
    ),
)


def make_vtl_probes(clock: Clock) -> tuple[Probe, ...]:
    """Return the probes of virtual tape libraries."""
    looks = Looks(clock)
    return (
        VtlProbe(looks),
        VtlUnitsProbe(looks),
        VtlServicesProbe(looks, clock),
        VtlKernelProbe(looks, clock),
        VtlStoresProbe(looks, clock),
        VtlMediaProbe(looks, clock),
    )


class VtlProbe:
    """What there is, without a command to it. Where there never was any, nothing is said."""

    name = "vtl"
    families = FAMILIES

    def __init__(self, looks: Looks) -> None:
        self._looks = looks
        self._seen: set[Scope] = set()

    def to_plain(self) -> object:
        return sorted(self._looks.known)

    def restore(self, kept: object) -> None:
        if isinstance(kept, list):
            self._looks.known |= {one for one in kept if isinstance(one, str)}

    async def discover(self, port: Port) -> tuple[Scope, ...]:
        found = await self._looks.take(port)
        return tuple(Scope(self.name, (("backend", name),)) for name in found)

    async def collect(self, port: Port, scope: Scope) -> Frame:
        ((_, backend),) = scope.labels
        found = (await self._looks.take(port)).get(backend)
        if found is None:
            raise ProbeAbsent(f"there is no {backend}")
        # Who looks at tapes finds the devices; what they are besides is learned when he has.
        objects = virtual_objects(found) if scope in self._seen else ()
        self._seen.add(scope)
        return seen(scope, installation_rows(found), objects=objects)


def virtual_objects(found: Installation) -> Iterator[Found]:
    """Yield that the devices of a back end are virtual, as what the inventory learns of them."""
    for unit in found.units:
        if unit.device is not None and unit.is_present and unit.device.identity:
            kind = ObjectKind.TAPE_DRIVE if unit.drive else ObjectKind.TAPE_LIBRARY
            facts = {"virtual": found.backend}
            yield Found(kind, unit.device.identity, facts, is_here=False)


def installation_rows(found: Installation) -> dict[str, list[Row]]:
    """Return what is known of a back end without asking it."""
    backend = found.backend
    rows: dict[str, list[Row]] = {
        "vtl_up": [Row((backend,), float(found.is_up))],
        "vtl_module_loaded": [],
        "vtl_module_info": [],
        "vtl_library_info": [],
        "vtl_drive_info": [],
    }
    if found.module is not None:
        rows["vtl_module_loaded"] = [Row((backend,), float(found.module != ""))]
    if found.module:
        rows["vtl_module_info"] = [Row((backend, found.module), 1.0)]
    for unit in found.units:
        device = unit.device
        place = (device.address, device.state) if device else ("", "")
        facts = (unit.number, unit.vendor, unit.product, *place, unit.daemon)
        if unit.drive:
            rows["vtl_drive_info"].append(Row((backend, *unit.name, *facts), 1.0))
        else:
            rows["vtl_library_info"].append(Row((backend, unit.library, *facts), 1.0))
    return rows


class VtlUnitsProbe:
    """Every library and drive, asked who it is. While its daemon does not run it is not: a command
    to it would stop all others."""

    name = "vtl_units"
    families = UNIT_FAMILIES

    def __init__(self, looks: Looks) -> None:
        self._looks = looks
        self._answered: dict[Scope, _Answer] = {}
        self._before: dict[Scope, Sight] = {}

    def to_plain(self) -> object:
        return [
            [dict(scope.labels), one.daemon, one.device, one.half_up]
            for scope, one in self._before.copy().items()
        ]

    def restore(self, kept: object) -> None:
        for one in kept if isinstance(kept, list) else ():
            match one:
                case [dict(labels), bool(daemon), bool(device), int(half_up)]:
                    name = {str(key): str(value) for key, value in labels.items()}
                    scope = Scope(self.name, tuple(sorted(name.items())))
                    self._before[scope] = Sight(daemon, device, half_up)

    async def discover(self, port: Port) -> tuple[Scope, ...]:
        found = dict.fromkeys(
            Scope(self.name, (("drive", unit.drive), ("library", unit.library)))
            for unit in await self._looks.units(port)
        )
        self._answered = {one: told for one, told in self._answered.items() if one in found}
        self._before = {one: was for one, was in self._before.items() if one in found}
        return tuple(found)

    async def collect(self, port: Port, scope: Scope) -> Frame:
        labels = dict(scope.labels)
        name = (labels["library"], labels["drive"])
        unit = next((one for one in await self._looks.units(port) if one.name == name), None)
        if unit is None:
            raise ProbeAbsent(f"{' '.join(name).strip()} is not configured any more")
        answer = await self._answer(port, scope, unit)
        rows = unit_rows(unit, answer)
        return seen(scope, rows, self._news(scope, unit, rows))

    def _news(self, scope: Scope, unit: Unit, rows: dict[str, list[Row]]) -> list[News]:
        parts = {row.value for row in rows["vtl_part_up"]}
        before = self._before.get(scope)
        now = self._before[scope] = sight(unit, before, is_half_up=len(parts) > 1)
        return [] if before is None else [*changes(unit, before, now)]

    async def _answer(self, port: Port, scope: Scope, unit: Unit) -> "_Answer":
        """Return whether a device answers; one that is in use did when it was asked last.

        Raises:
            ProbeDeferred: it was in use whenever it should be asked.
            ProbeFailed: it cannot be asked.
        """
        if not unit.is_served or not unit.is_present or unit.device is None:
            self._answered.pop(scope, None)
            return _Answer(is_right=False)
        try:
            told = await _asked(port, unit, unit.device.address)
        except ProbeDeferred:
            if self._looks.is_wedged(unit):
                told = _Answer(is_right=False)
            elif scope in self._answered:
                return self._answered[scope]
            else:
                raise
        self._answered[scope] = told
        return told


@dataclass(frozen=True, slots=True)
class _Answer:
    """Whether a device said that it is what it should be, and how long that took, None where it
    said nothing."""

    is_right: bool
    latency_s: float | None = None


async def _asked(port: Port, unit: Unit, address: str) -> _Answer:
    asker = Asker(port, address)
    try:
        inquiry = parse_inquiry(await asker.ask("scsi.inquiry"))
    except (ReadStuck, Malformed):
        return _Answer(is_right=False)
    except ProbeFailed:
        if asker.ending is None:
            raise  # nothing was sent
        return _Answer(is_right=False)
    wanted = TAPE if unit.drive else CHANGER
    is_right = inquiry.qualifier == 0 and inquiry.device_type == wanted
    return _Answer(is_right, asker.duration_s)


def unit_rows(unit: Unit, answer: _Answer) -> dict[str, list[Row]]:
    """Return which parts of a library or drive are up."""
    parts = {"daemon": unit.is_running, "device": unit.is_present, "answer": answer.is_right}
    if unit.is_unit_up is not None:
        parts = {"unit": unit.is_unit_up, **parts}
    is_up = float(all(parts.values()))
    latency, errors = answer.latency_s, unit.io_errors
    return {
        "vtl_library_up": [] if unit.drive else [Row((unit.library,), is_up)],
        "vtl_drive_up": [Row(unit.name, is_up)] if unit.drive else [],
        "vtl_part_up": [Row((*unit.name, part), float(up)) for part, up in parts.items()],
        "vtl_command_latency_seconds": [] if latency is None else [Row(unit.name, latency)],
        "vtl_io_errors_total": [] if errors is None else [Row(unit.name, float(errors))],
    }


class VtlServicesProbe:
    """What systemd says of the units. While it does not answer, their states are unknown, and each
    device is judged by what they were last."""

    name = "vtl_services"
    families = SERVICE_FAMILIES

    def __init__(self, looks: Looks, clock: Clock) -> None:
        self._looks = looks
        self._clock = clock
        self._hang_since: dict[str, float] = {}  # by unit; of those whose stop has no known time

    async def discover(self, port: Port) -> tuple[Scope, ...]:
        units = await self._looks.units(port)
        is_asked = self._looks.systemd is not None or any(unit.service for unit in units)
        return (Scope(self.name),) if units and is_asked else ()

    async def collect(self, port: Port, scope: Scope) -> Frame:
        await self._looks.ask_systemd(port)
        units = await self._looks.units(port)
        if self._looks.systemd is not None:
            raise self._looks.systemd
        rows: dict[str, list[Row]] = {"vtl_unit_state": [], "vtl_stop_hang_seconds": []}
        for unit in units:
            service = unit.service
            if service is None:
                continue
            now = "active" if service.is_active else service.state
            labels = (*unit.name, service.name)
            rows["vtl_stop_hang_seconds"].append(Row(labels, self._hang_s(service)))
            rows["vtl_unit_state"] += [
                Row((*labels, state), float(state == now)) for state in STATES
            ]
        return seen(scope, rows)

    def _hang_s(self, service: Service) -> float:
        if not service.is_hanging:
            self._hang_since.pop(service.name, None)
            return 0.0
        if service.left_s is not None:
            return service.left_s
        now = self._clock.monotonic()
        return now - self._hang_since.setdefault(service.name, now)


class VtlKernelProbe:
    """Whether the kernel that starts next has the module: another one was installed, and the module
    was not built for it."""

    name = "vtl_kernel"
    families = KERNEL_FAMILIES

    def __init__(self, looks: Looks, clock: Clock) -> None:
        self._looks = looks
        self._clock = clock
        self._rows: dict[str, dict[str, list[Row]]] = {}
        self._due = float("-inf")

    async def discover(self, port: Port) -> tuple[Scope, ...]:
        found = (await self._looks.take(port)).values()
        names = [one.backend for one in found if one.module is not None]
        return tuple(Scope(self.name, (("backend", name),)) for name in names)

    async def collect(self, port: Port, scope: Scope) -> Frame:
        ((_, backend),) = scope.labels
        now = self._clock.monotonic()
        if now >= self._due:
            self._rows.clear()
            self._due = now + KERNEL_AGAIN_AFTER_S
        if backend not in self._rows:
            version, _ = next_kernel((await port.read("boot.kernels")).value)
            modules = (await port.read("boot.modules")).value["kernels"]
            # Where no kernel has any, they are not seen: what is loaded came from somewhere.
            is_known = version != "" and any(modules.values())
            has = backend in (modules.get(version) or ())
            rows = [Row((backend,), float(has))] if is_known else []
            self._rows[backend] = {"vtl_module_for_next_kernel": rows}
        return seen(scope, self._rows[backend])
