"""The probes of virtual tape libraries: back ends, their devices, and their media stores."""

import asyncio
from typing import Any

from storewatchd.clock import Clock
from storewatchd.core.frames import Frame, Row, Scope
from storewatchd.errors import (
    Malformed,
    ProbeAbsent,
    ProbeDeferred,
    ProbeError,
    ProbeFailed,
    ReadStuck,
)
from storewatchd.port import Port
from storewatchd.probes.base import Probe, gauge, seen
from storewatchd.probes.tape.asking import Asker
from storewatchd.probes.vtl.looks import Looks
from storewatchd.probes.vtl.model import Installation, Unit
from storewatchd.scsi.inquiry import CHANGER, TAPE, parse_inquiry

MEDIA_AGAIN_AFTER_S = 3600.0
"""How often the files of all media are looked at."""

MEDIA_SOONER_AFTER_S = 300.0
"""How soon, where they could not be."""

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
        "Whether the daemon runs, the SCSI device is there, and it answers.",
        *("library", "drive", "part"),
    ),
)
STORE_FAMILIES = (
    gauge("vtl_store_size_bytes", "Size of the file system of a media store.", "store"),
    gauge("vtl_store_free_bytes", "What is available in it.", "store"),
)
MEDIA_FAMILIES = (
    gauge("vtl_store_media", "Cartridges in a media store.", "store"),
    gauge("vtl_media_bytes", "What the cartridges in a media store take.", "store"),
)


def make_vtl_probes(clock: Clock) -> tuple[Probe, ...]:
    """Return the probes of virtual tape libraries."""
    looks = Looks(clock)
    return VtlProbe(looks), VtlUnitsProbe(looks), VtlStoresProbe(looks), VtlMediaProbe(looks, clock)


class VtlProbe:
    """What there is, without a command to it. Where there never was any, nothing is said."""

    name = "vtl"
    families = FAMILIES

    def __init__(self, looks: Looks) -> None:
        self._looks = looks

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
        return seen(scope, installation_rows(found))


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
        self._answered: dict[Scope, bool] = {}

    async def discover(self, port: Port) -> tuple[Scope, ...]:
        found = dict.fromkeys(
            Scope(self.name, (("drive", unit.drive), ("library", unit.library)))
            for unit in await self._looks.units(port)
        )
        self._answered = {one: told for one, told in self._answered.items() if one in found}
        return tuple(found)

    async def collect(self, port: Port, scope: Scope) -> Frame:
        labels = dict(scope.labels)
        name = (labels["library"], labels["drive"])
        unit = next((one for one in await self._looks.units(port) if one.name == name), None)
        if unit is None:
            raise ProbeAbsent(f"{' '.join(name).strip()} is not configured any more")
        return seen(scope, unit_rows(unit, answers=await self._answers(port, scope, unit)))

    async def _answers(self, port: Port, scope: Scope, unit: Unit) -> bool:
        """Return whether a device answers; one that is in use did when it was asked last.

        Raises:
            ProbeDeferred: it was in use whenever it should be asked.
            ProbeFailed: it cannot be asked.
        """
        if not unit.is_served or not unit.is_present or unit.device is None:
            self._answered.pop(scope, None)
            return False
        try:
            told = await _asked(port, unit, unit.device.address)
        except ProbeDeferred:
            if self._looks.is_wedged(unit):
                told = False
            elif scope in self._answered:
                return self._answered[scope]
            else:
                raise
        self._answered[scope] = told
        return told


async def _asked(port: Port, unit: Unit, address: str) -> bool:
    asker = Asker(port, address)
    try:
        inquiry = parse_inquiry(await asker.ask("scsi.inquiry"))
    except (ReadStuck, Malformed):
        return False
    except ProbeFailed:
        if asker.ending is None:
            raise  # nothing was sent
        return False
    return inquiry.qualifier == 0 and inquiry.device_type == (TAPE if unit.drive else CHANGER)


def unit_rows(unit: Unit, *, answers: bool) -> dict[str, list[Row]]:
    """Return which parts of a library or drive are up."""
    parts = {"daemon": unit.is_served, "device": unit.is_present, "answer": answers}
    is_up = float(all(parts.values()))
    return {
        "vtl_library_up": [] if unit.drive else [Row((unit.library,), is_up)],
        "vtl_drive_up": [Row(unit.name, is_up)] if unit.drive else [],
        "vtl_part_up": [Row((*unit.name, part), float(up)) for part, up in parts.items()],
    }


async def _store_scopes(looks: Looks, port: Port, probe: str) -> tuple[Scope, ...]:
    found = (await looks.take(port)).values()
    stores = dict.fromkeys(store for one in found for store in one.stores)
    return tuple(Scope(probe, (("store", store),)) for store in stores)


class VtlStoresProbe:
    """How full the file systems are that media lie on."""

    name = "vtl_stores"
    families = STORE_FAMILIES

    def __init__(self, looks: Looks) -> None:
        self._looks = looks

    async def discover(self, port: Port) -> tuple[Scope, ...]:
        return await _store_scopes(self._looks, port, self.name)

    async def collect(self, port: Port, scope: Scope) -> Frame:
        ((_, store),) = scope.labels
        facts = (await port.read("statvfs.path", store)).value
        if not facts["exists"]:
            raise ProbeFailed(f"the media store {store} is not there")
        unit = facts["block_bytes"]
        return seen(
            scope,
            {
                "vtl_store_size_bytes": [Row((store,), float(facts["blocks"] * unit))],
                "vtl_store_free_bytes": [Row((store,), float(facts["blocks_available"] * unit))],
            },
        )


class VtlMediaProbe:
    """What media take, looked at every hour; in between, what was found then."""

    name = "vtl_media"
    families = MEDIA_FAMILIES

    def __init__(self, looks: Looks, clock: Clock) -> None:
        self._looks = looks
        self._clock = clock
        self._one_at_a_time = asyncio.Lock()
        self._due = float("-inf")
        self._last: dict[str, Any] | ProbeError = {}

    async def discover(self, port: Port) -> tuple[Scope, ...]:
        return await _store_scopes(self._looks, port, self.name)

    async def collect(self, port: Port, scope: Scope) -> Frame:
        ((_, store),) = scope.labels
        facts = (await self._stores(port)).get(store)
        if facts is None or not facts["exists"]:
            raise ProbeFailed(f"the media store {store} is not there")
        if not facts["is_whole"]:
            raise ProbeFailed(f"{store} has more files than are counted")
        return seen(
            scope,
            {
                "vtl_store_media": [Row((store,), float(facts["media"]))],
                "vtl_media_bytes": [Row((store,), float(facts["bytes"]))],
            },
        )

    async def _stores(self, port: Port) -> dict[str, Any]:
        async with self._one_at_a_time:
            now = self._clock.monotonic()
            if now >= self._due:
                self._due = now + MEDIA_AGAIN_AFTER_S
                try:
                    self._last = (await port.read("vtl.media")).value["stores"]
                except ProbeError as error:
                    self._last = error
                    self._due = now + MEDIA_SOONER_AFTER_S
        if isinstance(self._last, ProbeError):
            raise self._last
        return self._last
