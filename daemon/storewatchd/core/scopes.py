"""How each scope of a probe was looked at, and when what it said held.

What a look saw holds until the next look, and no longer than the probe's `max_age_s`. Times are
Unix seconds, and go along with a wall clock that is set. A look that is dated before the last one
all the same forgets what was known before.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field

from storewatchd.core.frames import Outcome, Scope

CLOCK_STEP_S = 1.0
"""A clock that went back by no more than this has not gone back."""


@dataclass(slots=True)
class Stretch:
    """A time in which a scope was known, look by look. `end` is None while it lasts."""

    begin: float
    last_look: float
    longest_gap_s: float = 0.0  # between two of its looks
    end: float | None = None

    def latest_look(self, at: float) -> float:
        """Return a moment before which its last look at or before `at` surely was not."""
        if at >= self.last_look:
            return self.last_look
        return max(self.begin, at - self.longest_gap_s)


@dataclass(slots=True)
class ScopeState:
    """How one scope was last looked at. Times are None before there was one."""

    scope: Scope
    max_age_s: float
    outcome: Outcome | None = None  # None: it has not reported since start
    reason: str = ""
    last_look: float | None = None
    duration_s: float = 0.0
    rows: int = 0
    _stretches: list[Stretch] = field(default_factory=list)  # oldest first

    @property
    def last_known(self) -> float | None:
        """When it was last seen, or seen to be absent."""
        return self._stretches[-1].last_look if self._stretches else None

    def is_known(self, at: float) -> bool:
        """Whether what this scope said holds now: it is neither failed nor overdue."""
        # Asked of every scope in every round: without a further call.
        last = self._stretches[-1] if self._stretches else None
        return last is not None and last.end is None and abs(at - last.last_look) <= self.max_age_s

    def was_known(self, at: float, *, kept_since: float) -> bool:
        """Whether it was known at a moment, by a look that is kept: one at or after a moment."""
        return any(
            stretch.begin <= at < end and stretch.latest_look(at) >= kept_since
            for stretch, end in self._ended()
        )

    def known_s(self, start: float, end: float) -> float:
        """Return for how much of a time it was known, seconds."""
        return sum(
            max(0.0, min(end, stretch_end) - max(start, stretch.begin))
            for stretch, stretch_end in self._ended()
        )

    def note_known(self, at: float, *, kept_s: float) -> None:
        """Take a look that saw the scope, or saw that it is absent; forget what is too old."""
        self._forget_the_future(at)
        last = self._lasting()
        if last is not None:
            at = max(at, last.last_look)
            gap_s = at - last.last_look
            if gap_s <= self.max_age_s:
                last.longest_gap_s = max(last.longest_gap_s, gap_s)
                last.last_look = at
                return
            last.end = last.last_look + self.max_age_s
        while self._stretches and (self._stretches[0].end or 0.0) < at - kept_s:
            del self._stretches[0]
        self._stretches.append(Stretch(at, at))

    def note_failed(self, at: float) -> None:
        """Take a look that could not see the scope: nothing is known from here on."""
        self._forget_the_future(at)
        last = self._lasting()
        if last is not None:
            last.end = min(max(at, last.last_look), last.last_look + self.max_age_s)

    def shift(self, seconds: float) -> None:
        """Go along with a wall clock that was set by so much."""
        if self.last_look is not None:
            self.last_look += seconds
        for stretch in self._stretches:
            stretch.begin += seconds
            stretch.last_look += seconds
            if stretch.end is not None:
                stretch.end += seconds

    def forget_now(self) -> None:
        """Know nothing of now, as after a restart; what was known before stays known of then."""
        self.outcome = None
        self.reason = ""
        last = self._lasting()
        if last is not None:
            last.end = last.last_look

    def _forget_the_future(self, at: float) -> None:
        if self._stretches and at < self._stretches[-1].last_look - CLOCK_STEP_S:
            self._stretches.clear()

    def _lasting(self) -> Stretch | None:
        if not self._stretches or self._stretches[-1].end is not None:
            return None
        return self._stretches[-1]

    def _ended(self) -> Iterator[tuple[Stretch, float]]:
        """Yield every stretch with its end; one that lasts ends when it will be overdue."""
        for stretch in self._stretches:
            overdue = stretch.last_look + self.max_age_s
            yield stretch, overdue if stretch.end is None else stretch.end


@dataclass(slots=True)
class ProbeScopes:
    """A probe's families and scopes. `told` is set once it is known which scopes there are."""

    families: frozenset[str]
    max_age_s: float
    scopes: dict[Scope, int]  # to the place in `states`, by which rows say whose they are
    states: list[ScopeState | None]  # None where scopes are gone; another list once numbered anew
    told: bool = False

    def renumber(self) -> list[int]:
        """Give the scopes that there are the first places, and all others the one behind them, so
        that scopes that come and go leave nothing behind; return the new place for each old one."""
        places = [len(self.scopes)] * len(self.states)
        for place, old in enumerate(self.scopes.values()):
            places[old] = place
        self.states = [*(self.states[old] for old in self.scopes.values()), None]
        self.scopes = {scope: place for place, scope in enumerate(self.scopes)}
        return places
