"""What SCST told in the kernel's log: of errors of back ends it says nothing anywhere else."""

import threading
from collections import Counter
from typing import Any

from storewatchd.core.frames import Frame, Row, Scope
from storewatchd.errors import ProbeAbsent
from storewatchd.port import Port
from storewatchd.probes.base import counter, seen
from storewatchd.probes.scst.readings import SlowReadings

LOG_ROW = "scst.log"

KINDS = ("io", "timeout", "connection", "event_lost", "critical", "other")

LOG_FAMILIES = (
    counter(
        "scst_log_errors_total",
        "Errors that SCST told of in the kernel's log: of a back end (io), of its daemons that do"
        " not answer (timeout), of connections that break, events that it lost, and others.",
        "kind",
    ),
)

_VERSION = 1


class Log:
    """How many errors were told. The log is a ring, so each is counted when it is first seen; a
    start of the machine begins it anew."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter(dict.fromkeys(KINDS, 0))
        self._boot = ""
        self._last = -1

    def take(self, facts: dict[str, Any]) -> None:
        """Take what a look at the log found, as the row `scst.log` tells it."""
        if facts["boot"] != self._boot or facts["last"] < self._last:
            self._boot, self._last = facts["boot"], -1
        for number, kind in facts["lines"]:
            if number > self._last and kind in self.counts:
                self.counts[kind] += 1
        self._last = max(self._last, facts["last"])

    def to_plain(self) -> dict[str, Any]:
        """Return all of it as what JSON can say."""
        counts = dict(self.counts)
        return {"version": _VERSION, "boot": self._boot, "last": self._last, "counts": counts}

    @classmethod
    def from_plain(cls, plain: Any) -> "Log":
        """Return what `to_plain` said. Of anything else nothing is believed."""
        log = cls()
        try:
            if plain["version"] == _VERSION:
                counts = {kind: int(plain["counts"][kind]) for kind in KINDS}
                boot, last = str(plain["boot"]), int(plain["last"])
                log.counts, log._boot, log._last = Counter(counts), boot, last
        except (KeyError, OverflowError, TypeError, ValueError):
            return cls()
        return log


class ScstLogProbe:
    """The errors of SCST in the kernel's log, where SCST is, or was since the daemon began."""

    name = "scst_log"
    families = LOG_FAMILIES

    def __init__(self, readings: SlowReadings) -> None:
        self._readings = readings
        self._log = Log()
        self._state = threading.Lock()

    def to_plain(self) -> object:
        with self._state:
            return self._log.to_plain()

    def restore(self, kept: object) -> None:
        self._log = Log.from_plain(kept)

    async def discover(self, port: Port) -> tuple[Scope, ...]:
        return (Scope(self.name),) if self._readings.was_loaded else ()

    async def collect(self, port: Port, scope: Scope) -> Frame:
        facts = (await port.read(LOG_ROW)).value
        if not facts["exists"]:
            raise ProbeAbsent("there is no /dev/kmsg")
        with self._state:
            self._log.take(facts)
            rows = [Row((kind,), float(count)) for kind, count in self._log.counts.items()]
        return seen(scope, {"scst_log_errors_total": rows})
