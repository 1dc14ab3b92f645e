"""SCST's kernel modules: which are loaded, and which scst.conf cannot do without."""

import os

from storewatchd.clock import Clock
from storewatchd.core.frames import Frame, Row, Scope
from storewatchd.errors import Malformed, ProbeAbsent, ProbeFailed, ReadRefused
from storewatchd.port import Port
from storewatchd.probes.base import check_permitted, gauge, seen
from storewatchd.probes.scst.saved import Saved, parse_saved

NEEDED_AGAIN_AFTER_S = 60.0
"""How often scst.conf is read for what it needs."""

MODULE_FAMILIES = (
    gauge(
        "scst_module_loaded",
        "Whether a kernel module of SCST is loaded: of those that are, and that scst.conf needs.",
        "module",
    ),
)

_OF_HANDLER = {
    **dict.fromkeys(("vdisk_fileio", "vdisk_blockio", "vdisk_nullio", "vcdrom"), "scst_vdisk"),
    **dict.fromkeys(("dev_disk", "dev_disk_perf"), "scst_disk"),
    **dict.fromkeys(("dev_tape", "dev_tape_perf"), "scst_tape"),
    "dev_changer": "scst_changer",
}
_OF_DRIVER = {
    "iscsi": "iscsi_scst",
    "scst_local": "scst_local",
    "qla2x00t": "qla2x00tgt",
    "ib_srpt": "ib_srpt",
}

# A target driver of LIO has this name too: it is SCST's only where SCST is loaded.
_SHARED = frozenset(("ib_srpt",))


def needed_modules(saved: Saved) -> frozenset[str]:
    """Return the modules of the devices and targets in a scst.conf, less those of drivers and
    handlers that nobody here knows."""
    handlers = {device.handler for device in saved.devices.values()}
    drivers = {driver for driver, _ in saved.targets}
    found = {_OF_HANDLER[one] for one in handlers if one in _OF_HANDLER}
    return frozenset(found | {_OF_DRIVER[one] for one in drivers if one in _OF_DRIVER})


class ScstModulesProbe:
    """Which modules of SCST are loaded. Where none is, and scst.conf needs none, there is nothing
    to say."""

    name = "scst_modules"
    families = MODULE_FAMILIES

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._needed: frozenset[str] = frozenset()
        self._due = float("-inf")

    async def discover(self, port: Port) -> tuple[Scope, ...]:
        return (Scope(self.name),)

    async def collect(self, port: Port, scope: Scope) -> Frame:
        found = (await port.read("scst.modules")).value
        check_permitted(found)
        for path, content in found.items():
            if isinstance(content, int):
                raise ReadRefused(f"{path}: {os.strerror(-content)}", errno=-content)
        loaded = {path.rstrip("/") for path in found}
        if "scst" not in loaded:
            loaded -= _SHARED
        now = self._clock.monotonic()
        if now >= self._due:
            self._needed = await self._read_needed(port)
            self._due = now + NEEDED_AGAIN_AFTER_S
        if not loaded and not self._needed:
            raise ProbeAbsent("no module of SCST is loaded, and scst.conf needs none")
        rows = [Row((one,), float(one in loaded)) for one in sorted(loaded | self._needed)]
        return seen(scope, {"scst_module_loaded": rows})

    @staticmethod
    async def _read_needed(port: Port) -> frozenset[str]:
        facts = (await port.read("boot.scst")).value
        if not facts["exists"]:
            return frozenset()
        try:
            needed = needed_modules(parse_saved(facts["text"]))
        except Malformed as error:
            raise ProbeFailed(f"which modules scst.conf needs is not known: {error}") from error
        return needed | {"scst"} if needed else needed
