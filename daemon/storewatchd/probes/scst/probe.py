"""The probes of SCST: whether it is loaded, its tree, what is rarely read of it, and the files
behind its devices.

Whether SCST is loaded and what it does are two things, and so two probes: of one that was unloaded,
the first is surely known and the second surely not, so that alerts about what it did freeze.
"""

import threading
from typing import Any

from storewatchd.clock import Clock
from storewatchd.core.frames import Found, Frame, GivenRows, Row, Scope
from storewatchd.errors import Malformed, ProbeAbsent, ProbeFailed
from storewatchd.interpreter import aside
from storewatchd.port import Port, Reading
from storewatchd.probes.base import Probe, seen
from storewatchd.probes.scst.accumulate import Ledger, counts_of
from storewatchd.probes.scst.families import (
    BACKING_FAMILIES,
    FAMILIES,
    SLOW_FAMILIES,
    STATE_FAMILIES,
    Rows,
    backing_rows,
    devices_by_handler,
    slow_rows,
    tree_rows,
)
from storewatchd.probes.scst.latency import ScstLatencyProbe
from storewatchd.probes.scst.log import ScstLogProbe
from storewatchd.probes.scst.memory import Memory
from storewatchd.probes.scst.model import Target
from storewatchd.probes.scst.modules import ScstModulesProbe
from storewatchd.probes.scst.objects import objects_of
from storewatchd.probes.scst.presence import Presence, hour_of, was_taken_out
from storewatchd.probes.scst.readings import (
    CHEAP_ROW,
    STATE_ROW,
    SlowReadings,
    check_readable,
)
from storewatchd.probes.scst.saved import parse_saved
from storewatchd.probes.scst.tree import parse_tree

LOOK_AT_FILE_AFTER_S = 120.0
"""How often the file behind a device is looked at."""

FILE_ROW = "file.size"
CONFIG_ROW = "boot.scst"


def make_scst_probes(clock: Clock, readings: SlowReadings | None = None) -> tuple[Probe, ...]:
    """Return the probes of SCST; `readings` are what others share with them."""
    readings = SlowReadings(clock) if readings is None else readings
    return (
        ScstStateProbe(),
        ScstProbe(readings),
        ScstSlowProbe(readings),
        ScstBackingProbe(readings, clock),
        ScstLatencyProbe(readings, clock),
        ScstLogProbe(readings),
        ScstModulesProbe(clock),
    )


class ScstStateProbe:
    """Whether SCST is loaded. Where it never was, and scst.conf has no target, there is nothing to
    say."""

    name = "scst_state"
    families = STATE_FAMILIES

    def __init__(self) -> None:
        self._was_loaded = False

    def to_plain(self) -> object:
        return self._was_loaded

    def restore(self, kept: object) -> None:
        self._was_loaded = kept is True

    async def discover(self, port: Port) -> tuple[Scope, ...]:
        return (Scope(self.name),)

    async def collect(self, port: Port, scope: Scope) -> Frame:
        attributes = (await port.read(STATE_ROW)).value
        try:
            check_readable(attributes)
        except ProbeAbsent:
            if not (self._was_loaded or await _is_configured(port)):
                raise
            return seen(scope, {"scst_up": [Row((), 0.0)]})
        self._was_loaded = True
        return seen(scope, {"scst_up": [Row((), 1.0)]})


async def _is_configured(port: Port) -> bool:
    facts = (await port.read(CONFIG_ROW)).value
    try:
        return facts["exists"] and bool(parse_saved(facts["text"]).targets)
    except Malformed as error:
        raise ProbeFailed(f"SCST is not loaded, and whether it should be: {error}") from error


class ScstProbe:
    """The tree of SCST, as far as it can be read at once. What sessions count is added up over
    logins and resets, and who was logged in is remembered."""

    name = "scst"
    families = FAMILIES

    def __init__(self, readings: SlowReadings) -> None:
        self._readings = readings
        self._ledger = Ledger.from_plain(None)
        self._memory = Memory.from_plain(None)
        self._presence = Presence()
        self._objects: tuple[Found, ...] = ()
        self._state = threading.Lock()

    def to_plain(self) -> object:
        with self._state:
            return {
                "ledger": self._ledger.to_plain(),
                "memory": self._memory.to_plain(),
                "presence": self._presence.to_plain(),
            }

    def restore(self, kept: object) -> None:
        if isinstance(kept, dict):
            self._ledger = Ledger.from_plain(kept.get("ledger"))
            self._memory = Memory.from_plain(kept.get("memory"))
            self._presence = Presence.from_plain(kept.get("presence"))

    async def discover(self, port: Port) -> tuple[Scope, ...]:
        return (Scope(self.name),)

    async def collect(self, port: Port, scope: Scope) -> Frame:
        reading = await port.read(CHEAP_ROW)
        # A large tree takes longer to parse than the loop may stand still.
        rows, objects = await aside(self._taken, reading)
        self._readings.times.add(CHEAP_ROW, reading.duration_s)
        self._readings.was_loaded = True
        return seen(scope, rows, objects=objects)

    def _taken(self, reading: Reading) -> tuple[Rows, tuple[Found, ...]]:
        check_readable(reading.value)
        scst = parse_tree(reading.value)
        targets = list(scst.exported())
        found = [
            (session.identity, counts_of(session.counters))
            for target in targets
            for session in target.sessions
            if session.identity is not None
        ]
        with self._state:
            self._ledger.take(found, reading.at)
            self._memory.take(
                {identity for identity, _ in found},
                {(target.driver, target.name) for target in targets},
                reading.at,
                devices_by_handler(scst),
            )
            self._take_presence(targets, reading.at)
            objects = tuple(objects_of(scst))
            if objects != self._objects:
                self._objects = objects  # the same again is the same object: cheap to compare
            rows = tree_rows(scst, self._ledger, self._memory, self._presence)
            given: Rows = {name: GivenRows(told) for name, told in rows.items()}
        self._readings.asked_again[CHEAP_ROW] += scst.asked_again
        self._readings.measures_latency = scst.measures_latency is True
        self._readings.sessions = sum(len(target.sessions) for target in targets)
        # One by one, for a thousand targets that go at once hold up everybody.
        del scst
        while targets:
            targets.pop()
        return given, self._objects

    def _take_presence(self, targets: list[Target], at: float) -> None:
        here = {
            (target.driver, target.name, session.identity.initiator): session.group
            for target in targets
            for session in target.sessions
            if session.identity is not None
        }
        places = [(one.driver, one.name) for one in targets if one.is_enabled is not False]
        self._presence.take(here, places, hour_of(at), at)
        away = list(self._presence.away(here))
        if not away:
            return
        there = {(one.driver, one.name): one for one in targets}
        listed = {(one.driver, one.name): one.groups for one in self._readings.scst.exported()}
        for peer, group in away:
            place = peer[:2]
            if was_taken_out(peer[2], group, there.get(place), listed.get(place, ())):
                self._presence.forget(peer)


class ScstSlowProbe:
    """What SCST is asked for every few minutes; in between, what it said then."""

    name = "scst_slow"
    families = SLOW_FAMILIES

    def __init__(self, readings: SlowReadings) -> None:
        self._readings = readings

    async def discover(self, port: Port) -> tuple[Scope, ...]:
        return (Scope(self.name),)

    async def collect(self, port: Port, scope: Scope) -> Frame:
        scst = await self._readings.refresh(port)
        rows = await aside(slow_rows, scst, self._readings.dif)
        rows["scst_sysfs_eagain_total"] = [
            Row((row,), float(count)) for row, count in self._readings.asked_again.items()
        ]
        for part, found in self._readings.times.rows().items():
            rows[f"scst_sysfs_read_seconds_{part}"] = found
        return seen(scope, rows)


class ScstBackingProbe:
    """The files and block devices behind the devices of SCST, which says nothing when one goes. A
    scope is a path, so that a hung mount blinds nothing but what lies on it."""

    name = "scst_backing"
    families = BACKING_FAMILIES

    def __init__(self, readings: SlowReadings, clock: Clock) -> None:
        self._readings = readings
        self._clock = clock
        self._devices: dict[str, list[str]] = {}  # by path
        self._seen: dict[str, tuple[float, dict[str, Any]]] = {}  # and until when that will do

    async def discover(self, port: Port) -> tuple[Scope, ...]:
        try:
            scst = await self._readings.refresh(port)
        except ProbeAbsent:
            return ()
        if self._readings.lacks_filenames:
            raise ProbeFailed("SCST does not say where all of its devices have their data")
        found: dict[str, list[str]] = {}
        for device in scst.devices:
            if device.filename and device.filename.startswith("/"):
                found.setdefault(device.filename, []).append(device.name)
        self._devices = found
        self._seen = {path: known for path, known in self._seen.items() if path in found}
        return tuple(Scope(self.name, (("path", path),)) for path in found)

    async def collect(self, port: Port, scope: Scope) -> Frame:
        path = dict(scope.labels)["path"]
        devices = self._devices.get(path)
        if devices is None:
            raise ProbeAbsent(f"no device of SCST lies at {path} any more")
        now = self._clock.monotonic()
        until, facts = self._seen.get(path, (now, {}))
        if until <= now:
            facts = (await port.read(FILE_ROW, path)).value
            self._seen[path] = (now + LOOK_AT_FILE_AFTER_S, facts)
        return seen(scope, backing_rows(path, devices, facts))
