"""SCST's own measurement of where commands spend their time, which the operator switches on
(`measure_latency`).

A session has a table for each kind of command (none, read, write, bidi) and size, with a line for
each stage that a command goes through: `EXEC_WAIT` is the wait for the back end, `RDY_TO_XFER` and
`XMIT_WAIT` that for the wire. A line tells how many commands, and the shortest, longest and average
time of that stage, from which their sum comes. Counts have 32 bits, and who writes to a table
empties it.
"""

import re
from dataclasses import dataclass

from storewatchd.clock import Clock
from storewatchd.core.frames import Frame, Row, Scope
from storewatchd.errors import ProbeAbsent, ProbeDeferred
from storewatchd.interpreter import aside
from storewatchd.port import Port
from storewatchd.probes.base import check_permitted, counter, gauge, seen
from storewatchd.probes.scst.model import Identity
from storewatchd.probes.scst.readings import SlowReadings
from storewatchd.probes.scst.tree import Attributes, parse_tree

AGAIN_AFTER_S = 60.0
"""How often the tables are read: each session has 44."""

MOST_SESSIONS = 500
"""Of how many sessions they are read at all."""

LATENCY_ROW = "scst.latency"

_LABELS = ("driver", "target", "initiator", "session", "stage", "io")

LATENCY_FAMILIES = (
    counter(
        "scst_session_latency_stage_seconds_sum",
        "How long commands were in a stage, added up.",
        *_LABELS,
    ),
    counter("scst_session_latency_stage_seconds_count", "Commands that left a stage.", *_LABELS),
    gauge(
        "scst_session_latency_stage_seconds_max", "How long one was in it at the most.", *_LABELS
    ),
)

_HEAD = "state count min max avg stddev"
_TIME = r"(?:[0-9]{1,15}\.[0-9]|-)"
_LINE = re.compile(
    rf"([A-Za-z0-9_]{{1,40}}) ([0-9]{{1,20}}) {_TIME} ({_TIME}) ({_TIME}) {_TIME} us"
)
_TABLE = re.compile(r"(targets/[^/]+/[^/]+/sessions/[^/]+)/latency/([bnrw])[0-9]{1,10}", re.DOTALL)
_NAMES = ("/initiator_name", "/sid")
_WRAP = 1 << 32

Content = bytes | int


@dataclass(frozen=True, slots=True)
class Stage:
    """A line of a table."""

    count: int
    sum_us: float
    max_us: float  # 0 where it says none


def parse_latency(content: Content | None) -> dict[str, Stage]:
    """Return a table by stage. Of one that is cut off, or says something else, nothing."""
    if not isinstance(content, bytes) or not content.endswith(b"\n"):
        return {}
    head, *lines = content.decode(errors="backslashreplace")[:-1].split("\n")
    found = {}
    for line in lines:
        said = _LINE.fullmatch(line)
        if head != _HEAD or said is None:
            return {}
        stage, count, longest, average = said.groups()
        found[stage] = Stage(int(count), int(count) * _us(average), _us(longest))
    return found


class Total:
    """What the commands of a session took in a stage, since it was first seen."""

    __slots__ = ("count", "max_us", "sum_us")

    def __init__(self) -> None:
        self.count = 0
        self.sum_us = 0.0
        self.max_us = 0.0  # as the tables say now

    def add(self, before: Stage | None, now: Stage) -> None:
        """Add what a table says now, beside what it said before."""
        count, sum_us = now.count, now.sum_us
        if before is not None and count >= before.count:
            count -= before.count
            # Averages are rounded: a sum may seem to fall a little.
            sum_us = max(0.0, sum_us - before.sum_us)
        elif before is not None and before.count > _WRAP // 2 and sum_us >= before.sum_us:
            # The count alone has begun anew: it had no more bits.
            count += _WRAP - before.count
            sum_us -= before.sum_us
        self.count += count
        self.sum_us += sum_us


Key = tuple[Identity, str, str]  # and stage, and kind of command


class Latencies:
    """The totals of all sessions that are there."""

    def __init__(self) -> None:
        self.totals: dict[Key, Total] = {}
        self._tables: dict[tuple[Identity, str], bytes] = {}  # as they were, by path

    def take(self, attributes: Attributes) -> None:
        """Take what a look found: tables, and whose they are."""
        whose = _identities(attributes)
        here = set(whose.values())
        self.totals = {key: total for key, total in self.totals.items() if key[0] in here}
        self._tables = {key: table for key, table in self._tables.items() if key[0] in here}
        for total in self.totals.values():
            total.max_us = 0.0
        for path, content in attributes.items():
            found = _TABLE.fullmatch(path)
            identity = whose.get(_shown(found[1])) if found else None
            if found and identity and isinstance(content, bytes):
                self._take_table(identity, path, found[2], content)

    def _take_table(self, identity: Identity, path: str, kind: str, content: bytes) -> None:
        now = parse_latency(content)
        if not now:
            return
        before = self._tables.get((identity, path), b"")
        earlier = parse_latency(before) if before != content else now
        self._tables[identity, path] = content
        for stage, line in now.items():
            total = self.totals.setdefault((identity, stage, kind), Total())
            total.max_us = max(total.max_us, line.max_us)
            total.add(earlier.get(stage), line)


def latency_rows(latencies: Latencies) -> dict[str, list[Row]]:
    """Return the rows of the totals. Sizes of commands are not told apart: that would be a hundred
    thousand series of a hundred sessions."""
    rows: dict[str, list[Row]] = {family.name: [] for family in LATENCY_FAMILIES}
    for (identity, stage, kind), total in latencies.totals.items():
        labels = (identity.driver, identity.target, identity.initiator, identity.sid, stage, kind)
        for name, value in (
            ("sum", total.sum_us / 1e6),
            ("count", float(total.count)),
            ("max", total.max_us / 1e6),
        ):
            rows[f"scst_session_latency_stage_seconds_{name}"].append(Row(labels, value))
    return rows


class ScstLatencyProbe:
    """The tables, while latency is measured; at other times there is nothing to look at."""

    name = "scst_latency"
    families = LATENCY_FAMILIES

    def __init__(self, readings: SlowReadings, clock: Clock) -> None:
        self._readings = readings
        self._clock = clock
        self._latencies = Latencies()
        self._rows: dict[str, list[Row]] = {}
        self._due = float("-inf")

    async def discover(self, port: Port) -> tuple[Scope, ...]:
        return (Scope(self.name),) if self._readings.measures_latency else ()

    async def collect(self, port: Port, scope: Scope) -> Frame:
        if not self._readings.measures_latency:
            raise ProbeAbsent("SCST measures no latency")
        if self._readings.sessions > MOST_SESSIONS:
            raise ProbeDeferred(
                f"{self._readings.sessions} sessions have too many tables: it is measured, and read"
                f" of {MOST_SESSIONS} at most"
            )
        now = self._clock.monotonic()
        if now >= self._due:
            reading = await port.read(LATENCY_ROW)
            check_permitted(reading.value)
            self._readings.times.add(LATENCY_ROW, reading.duration_s)
            self._rows = await aside(self._taken, reading.value)
            self._due = now + AGAIN_AFTER_S
        return seen(scope, self._rows)

    def _taken(self, attributes: Attributes) -> dict[str, list[Row]]:
        self._latencies.take(attributes)
        return latency_rows(self._latencies)


def _identities(attributes: Attributes) -> dict[str, Identity]:
    """Return who each session is, by its directory."""
    names = {path: one for path, one in attributes.items() if path.endswith(_NAMES)}
    return {
        f"targets/{target.driver}/{target.name}/sessions/{session.directory}": session.identity
        for target in parse_tree(names).exported()
        for session in target.sessions
        if session.identity is not None
    }


def _shown(path: str) -> str:
    """Return a path as the parsed tree tells it."""
    return path if path.isascii() else path.encode(errors="backslashreplace").decode()


def _us(text: str) -> float:
    return 0.0 if text == "-" else float(text)
