"""How well each scope can be seen: how its looks fared, and what is told of that as metrics. Pure.

The collector says it as two probes of its own. Of the blindness of a scope nothing is said before
it is decided: until then an alert about it stays as it is, over a restart too.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from storewatchd.core.frames import Family, Frame, MetricType, Outcome, Row, Scope
from storewatchd.core.model import Instant

COLLECTOR = "collector"
BLINDNESS = "blindness"
"""The probes that the collector is."""

DISCOVERY = "discovery"
"""The scope that stands for finding the scopes of a probe."""

GOOD_LOOKS = 2
"""How many looks in a row must not fail before those that did are over."""

FAILED_LOOKS = 3
"""How many looks must fail before a scope is blind."""

MAX_REASON = 300
"""How much of a reason goes with its metric, characters."""

_LABELS = ("probe", "scope")

COLLECTOR_FAMILIES = (
    Family(
        "storewatch_probe_success",
        MetricType.GAUGE,
        "Whether the last look of a probe at a scope succeeded.",
        _LABELS,
    ),
    Family(
        "storewatch_probe_duration_seconds",
        MetricType.GAUGE,
        "How long the last look took.",
        _LABELS,
        "seconds",
    ),
    Family(
        "storewatch_probe_failure_info",
        MetricType.GAUGE,
        "Why the last look failed.",
        (*_LABELS, "reason"),
    ),
)
BLINDNESS_FAMILIES = (
    Family(
        "storewatch_probe_failed_looks",
        MetricType.GAUGE,
        "How many looks failed since two in a row did not.",
        _LABELS,
    ),
)


@dataclass(frozen=True, slots=True)
class Age:
    """For how long a scope has not been seen, awake. `stuck_s` is for how long its read has been
    stuck, by the key that this closes; None where it is not."""

    probe: str
    scope: str
    age_s: float
    stuck_key: str = ""
    stuck_s: float | None = None


@dataclass(slots=True)
class Sight:
    """How the looks at a scope fared, or the discoveries of a probe. Times are Unix seconds, but
    for `good_at`, which is on the clock that stands still while the machine is suspended: a scope
    is not blind for that nobody could look."""

    scope: Scope
    good_at: float  # when a look last did not fail, or when it was found
    outcome: Outcome | None = None  # None before the first look has ended
    reason: str = ""
    last_run: float | None = None
    last_seen: float | None = None
    duration_s: float | None = None
    stuck_since: float | None = None
    stuck_key: str = ""
    _failed: int = 0  # how many looks, since two in a row did not
    _good: int = 0  # how many looks in a row did not fail
    _is_decided: bool = False  # whether it is blind: it may have been before the start

    @property
    def labels(self) -> tuple[str, str]:
        """What names the scope in what is told of it: its probe, and its own labels."""
        if self.scope.probe == DISCOVERY:
            return dict(self.scope.labels)["probe"], DISCOVERY
        return self.scope.probe, ",".join(f"{name}={value}" for name, value in self.scope.labels)

    @property
    def is_blind(self) -> bool:
        """Whether so many looks failed that it cannot be seen any more."""
        return self._failed >= FAILED_LOOKS

    def note(
        self,
        outcome: Outcome,
        now: Instant,
        *,
        reason: str = "",
        duration_s: float = 0.0,
        stuck: tuple[str, float] | None = None,
    ) -> None:
        """Take how a look ended; `stuck` is the key of a read that is, and since when."""
        self.outcome = outcome
        self.reason = reason
        self.last_run = now.wall
        self.duration_s = duration_s
        self.stuck_key, self.stuck_since = stuck or ("", None)
        if outcome is Outcome.SEEN:
            self.last_seen = now.wall
        if outcome is Outcome.FAILED:
            self._failed += 1
            self._good = 0
        else:
            self.good_at = now.awake
        if outcome in (Outcome.SEEN, Outcome.ABSENT):  # a look that was deferred is neither
            self._good += 1
            if self._good >= GOOD_LOOKS:
                self._failed = 0
        self._is_decided |= self._good >= GOOD_LOOKS or self.is_blind

    def frames(self, now: Instant) -> Iterator[Frame]:
        """Yield what is told of the last look."""
        failed = self.outcome is Outcome.FAILED
        rows = {
            "storewatch_probe_success": [Row(self.labels, float(not failed))],
            "storewatch_probe_duration_seconds": [Row(self.labels, self.duration_s or 0.0)],
        }
        if failed:
            why = (*self.labels, self.reason[:MAX_REASON])
            rows["storewatch_probe_failure_info"] = [Row(why, 1.0)]
        yield self._frame(COLLECTOR, rows, now)
        if self._is_decided:
            blindness = {"storewatch_probe_failed_looks": [Row(self.labels, float(self._failed))]}
            yield self._frame(BLINDNESS, blindness, now)

    def age(self, now: Instant) -> Age:
        """Return how old what is known of the scope is."""
        stuck_s = None if self.stuck_since is None else max(0.0, now.wall - self.stuck_since)
        return Age(*self.labels, max(0.0, now.awake - self.good_at), self.stuck_key, stuck_s)

    def _frame(self, probe: str, rows: dict[str, list[Row]], now: Instant) -> Frame:
        scope = _told_scope(probe, *self.labels)
        return Frame(scope, now.wall, rows=rows, monotonic=now.monotonic)


def told_scopes(
    sights: Iterable[Sight], unknown: Iterable[str]
) -> Iterator[tuple[str, tuple[Scope, ...]]]:
    """Yield of which scopes something will be told, for each probe that tells it. What scopes an
    unknown probe has, nobody knows yet: anything may be told of it."""
    labels = [*(sight.labels for sight in sights), *((probe,) for probe in unknown)]
    for probe in (COLLECTOR, BLINDNESS):
        yield probe, tuple(_told_scope(probe, *one) for one in labels)


def _told_scope(probe: str, *labels: str) -> Scope:
    return Scope(probe, tuple(zip(_LABELS, labels, strict=False)))
