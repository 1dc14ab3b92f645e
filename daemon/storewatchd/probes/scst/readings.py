"""What is read of SCST rarely: kept, and asked for again when it is due."""

import asyncio
import errno
import math
import os

from storewatchd.clock import Clock
from storewatchd.core.frames import Row
from storewatchd.errors import ProbeAbsent, ReadRefused
from storewatchd.interpreter import aside
from storewatchd.port import Port
from storewatchd.probes.base import check_permitted
from storewatchd.probes.scst.accumulate import Ledger
from storewatchd.probes.scst.model import Scst
from storewatchd.probes.scst.tree import Attributes, parse_tree

CHEAP_ROW = "scst.cheap"
STATE_ROW = "scst.state"
STEADY_ROW = "scst.steady"
QUEUED_ROW = "scst.queued"

AGAIN_AFTER_S = 300.0
"""How often what is queued in SCST, or hardly ever changes, is asked for."""

SOONER_AFTER_S = 60.0
"""How soon, where not all of it is known yet."""

# What the attributes of a device say that is being taken out.
_GONE = (-errno.ENOENT, -errno.ENODEV)


def check_readable(attributes: Attributes) -> None:
    """Refuse to take for the whole tree what is none.

    Raises:
        ProbeAbsent: there is no tree.
        ReadRefused: an attribute may not be read, or what is in a directory is not known.
    """
    if not attributes:
        raise ProbeAbsent("no SCST is loaded")
    check_permitted(attributes)
    for path, content in attributes.items():
        if isinstance(content, int) and path.endswith("/"):
            raise ReadRefused(f"{path}: {os.strerror(-content)}", errno=-content)


class ReadTimes:
    """How long reads of each row took, as a histogram. SCST gives up on management after 15 s and
    more, in steps of 5: what waits so long waits for that."""

    BOUNDS_S = (0.01, 0.1, 1.0, 5.0, 15.0, 30.0)

    def __init__(self) -> None:
        self._times: dict[str, list[float]] = {}

    def add(self, row: str, seconds: float) -> None:
        self._times.setdefault(row, [0.0] * (len(self.BOUNDS_S) + 2))
        times = self._times[row]
        for place, bound in enumerate((*self.BOUNDS_S, math.inf)):
            times[place] += seconds <= bound
        times[-1] += seconds

    def rows(self) -> dict[str, list[Row]]:
        """Return the histogram's rows, by what stands behind its name."""
        buckets, sums, counts = [], [], []
        for row, (*below, count, total) in self._times.items():
            for bound, value in zip((*self.BOUNDS_S, math.inf), (*below, count), strict=True):
                le = "+Inf" if bound == math.inf else f"{bound:g}"
                buckets.append(Row((row, le), value))
            sums.append(Row((row,), total))
            counts.append(Row((row,), count))
        return {"bucket": buckets, "sum": sums, "count": counts}


class SlowReadings:
    """The attributes that are read every few minutes. What says EAGAIN is as it was before."""

    def __init__(self, clock: Clock) -> None:
        self.scst = Scst()
        self.dif = Ledger()
        self.asked_again = {CHEAP_ROW: 0, STEADY_ROW: 0, QUEUED_ROW: 0}
        """How many attributes said EAGAIN, ever, by row."""
        self.times = ReadTimes()
        self.was_loaded = False
        self.measures_latency = False
        self.sessions = 0
        """What the last look at the whole tree said."""
        self._clock = clock
        self.lacks_filenames = False
        """Whether it is not known where all devices have their data."""
        self._last: Attributes = {}  # of the queued ones
        self._due = float("-inf")
        self._one_at_a_time = asyncio.Lock()

    async def refresh(self, port: Port) -> Scst:
        """Return what is known, read anew if that is due.

        Raises:
            ProbeAbsent: no SCST is loaded.
            ProbeFailed: it cannot be read; it is due until it can.
        """
        async with self._one_at_a_time:
            now = self._clock.monotonic()
            if now >= self._due:
                await self._read(port)
                self._due = now + (SOONER_AFTER_S if self.lacks_filenames else AGAIN_AFTER_S)
        return self.scst

    async def _read(self, port: Port) -> None:
        steady = await port.read(STEADY_ROW)
        check_readable(steady.value)
        queued = await port.read(QUEUED_ROW)
        check_permitted(queued.value)
        self.times.add(STEADY_ROW, steady.duration_s)
        self.times.add(QUEUED_ROW, queued.duration_s)
        self.scst = await aside(self._taken, steady.value, queued.value, queued.at)

    def _taken(self, steady: Attributes, queued: Attributes, at: float) -> Scst:
        again = {path for path, content in queued.items() if content == -errno.EAGAIN}
        self.asked_again[QUEUED_ROW] += len(again)
        self.asked_again[STEADY_ROW] += sum(one == -errno.EAGAIN for one in steady.values())
        kept = {path: self._last.get(path, queued[path]) for path in again}
        self._last = {**queued, **kept}
        self.lacks_filenames = any(
            isinstance(content, int) and path.endswith("/filename") and content not in _GONE
            for path, content in self._last.items()
        )
        scst = parse_tree({**steady, **self._last})
        self.dif.take(
            (
                (session.identity, session.dif_errors)
                for target in scst.exported()
                for session in target.sessions
                if session.identity is not None
            ),
            at,
        )
        return scst
