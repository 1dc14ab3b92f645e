"""One look at all back ends, for all probes that need it at the same moment."""

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from storewatchd.clock import Clock
from storewatchd.errors import ProbeAbsent, ProbeError
from storewatchd.port import Port
from storewatchd.probes.base import check_permitted
from storewatchd.probes.tape.devices import SCSI_TREE
from storewatchd.probes.vtl.mhvtl import Mhvtl
from storewatchd.probes.vtl.model import Attributes, Backend, Facts, Installation, Unit
from storewatchd.probes.vtl.stgt import Stgt

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

BACKENDS: tuple[Backend, ...] = (Mhvtl(), Stgt())

GOOD_FOR_S = 2.0

WEDGED_AFTER_S = 180.0
"""How long a busy host that ends no command is believed to be at work: a virtual drive rewinds in
ten seconds."""


@dataclass(slots=True)
class _Busy:
    """How many commands a busy host had ended, and since when it has ended no other."""

    ended: int
    since: float


class Looks:
    """What is there now. A back end that was used once is known from then on: that it is gone is
    not the same as that it never was."""

    def __init__(self, clock: Clock) -> None:
        self.known: set[str] = set()
        """The names of the back ends that were used here."""
        self.systemd: ProbeError | None = None
        """Why the states of units are not known now; they are taken to be as they were last."""
        self._services: Sequence[Mapping[str, Any]] | None = None
        self._asked_with: set[tuple[str, int | None, int]] | None = None  # which daemons
        self._clock = clock
        self._one_at_a_time = asyncio.Lock()
        self._until = float("-inf")
        self._last: dict[str, Installation] = {}
        self._busy: dict[str, _Busy] = {}  # by host

    async def take(self, port: Port) -> dict[str, Installation]:
        """Return what is there of each back end that is used here, or was.

        Raises:
            ProbeError: something cannot be read.
        """
        async with self._one_at_a_time:
            if self._clock.monotonic() >= self._until:
                self._last = await self._look(port)
                self._until = self._clock.monotonic() + GOOD_FOR_S
        return self._last

    async def ask_systemd(self, port: Port) -> None:
        """Ask anew what systemd says of the units: by itself a look does so only where other
        daemons run than before, for that takes a program.

        Raises:
            ProbeError: something else cannot be read.
        """
        async with self._one_at_a_time:
            self._asked_with = None
            self._until = float("-inf")
        await self.take(port)

    async def units(self, port: Port) -> list[Unit]:
        """Return the libraries and drives of all back ends.

        Raises:
            ProbeError: something cannot be read.
        """
        return [unit for one in (await self.take(port)).values() for unit in one.units]

    def is_wedged(self, unit: Unit) -> bool:
        """Whether the host of a device has been busy for long, and has ended no command."""
        host = unit.device.address.partition(":")[0] if unit.device else ""
        busy = self._busy.get(host)
        return busy is not None and self._clock.monotonic() - busy.since >= WEDGED_AFTER_S

    async def _look(self, port: Port) -> dict[str, Installation]:
        module = (await port.read("vtl.module")).value
        check_permitted(module)
        daemons = (await port.read("vtl.daemons")).value["daemons"]
        devices = (await port.read("vtl.config")).value.get("devices", [])
        scsi = (await port.read(SCSI_TREE)).value
        self._note(scsi)
        running = {(one["name"], one["unit"], one["pid"]) for one in daemons}
        if devices and running != self._asked_with:
            self._asked_with = running
            await self._ask_systemd(port)
        facts = Facts(module, daemons, devices, scsi, self._services)
        found = {}
        for backend in BACKENDS:
            one = backend.look(facts)
            if not one.is_installed:
                self.known.discard(backend.name)
            elif backend.name in self.known or backend.is_here(one):
                self.known.add(backend.name)
                found[backend.name] = one
        return found

    async def _ask_systemd(self, port: Port) -> None:
        try:
            told = (await port.read("vtl.units")).value
        except ProbeError as error:
            self.systemd = error
            return
        self._services = told["units"] if told["is_known"] else None
        self.systemd = None if told["is_known"] else ProbeAbsent("systemd does not run here")

    def _note(self, scsi: Attributes) -> None:
        """Take note of which hosts are busy, and whether they get on."""
        now = self._clock.monotonic()
        busy: dict[str, _Busy] = {}
        ended = _ended(scsi)
        for path, content in scsi.items():
            words = path.split("/")
            if words[0] != "scsi_host" or words[2:] != ["host_busy"]:
                continue
            if isinstance(content, bytes) and content.strip() not in (b"", b"0"):
                host = words[1].removeprefix("host")
                before = self._busy.get(host)
                count = ended.get(host, 0)
                is_stuck = before is not None and before.ended == count
                busy[host] = before if before and is_stuck else _Busy(count, now)
        self._busy = busy


def _ended(scsi: Attributes) -> dict[str, int]:
    """Return how many commands the devices of each host have ended."""
    found: dict[str, int] = {}
    for path, content in scsi.items():
        words = path.split("/")
        if words[0] == "scsi_device" and words[-1] == "iodone_cnt" and isinstance(content, bytes):
            host = words[1].partition(":")[0]
            try:
                found[host] = found.get(host, 0) + int(content, 16)
            except ValueError:
                continue
    return found
