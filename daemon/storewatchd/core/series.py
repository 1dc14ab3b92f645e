"""The table of series: a matrix of samples for each family, and how each scope was last seen.

A row is a series, a column a moment. A row is *there* while its scope's last look found it. What a
failed, overdue or never finished look leaves open is a *hole*: label equalities that an unseen row
would carry. Times are Unix seconds; retention is by time.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from storewatchd.core.columns import Columns
from storewatchd.core.frames import Family, Frame, MetricType, Outcome, Row, Scope

Hole = Mapping[str, str]


@dataclass(slots=True)
class ScopeState:
    """How one scope was last looked at. Times are Unix seconds, None before there was one."""

    scope: Scope
    outcome: Outcome | None = None  # None: it has not reported since start
    reason: str = ""
    last_look: float | None = None
    last_known: float | None = None  # when it was last seen, or seen to be absent
    duration_s: float = 0.0
    rows: int = 0

    def is_known(self, at: float, max_age_s: float) -> bool:
        """Whether what this scope said holds at a moment: neither failed nor overdue."""
        if self.outcome in (None, Outcome.FAILED) or self.last_known is None:
            return False
        return at - self.last_known <= max_age_s


class Reading(NamedTuple):
    """One row as it stands: its labels, its last value, and whether that is known."""

    labels: dict[str, str]
    value: float
    exact: bool


@dataclass(slots=True)
class _Probe:
    """A probe's families and scopes. `told` is set once it is known which scopes there are."""

    families: frozenset[str]
    max_age_s: float
    scopes: dict[Scope, int]  # to the place in `states`
    states: list[ScopeState | None]  # None where a scope is gone
    told: bool = False


class Series:
    """One family's rows: labels and the columns of their samples."""

    def __init__(self, family: Family, probe: str) -> None:
        self.family = family
        self.probe = probe
        self.columns = Columns()
        self.labels: list[tuple[str, ...]] = []
        self.index: dict[tuple[str, ...], int] = {}
        self.scope_of: NDArray[np.int32] = np.zeros(0, np.int32)
        self.there: NDArray[np.bool_] = np.zeros(0, np.bool_)
        self.last: NDArray[np.float64] = np.zeros(0)
        self.uncertain: NDArray[np.bool_] = np.zeros(0, np.bool_)  # recorded rows that were unknown
        self.recorded_holes: tuple[Hole, ...] = ()
        self.overflowed = False
        self.rows_version = 0  # grows when rows are added or dropped
        self.there_version = 0  # grows when a row comes or goes

    def __len__(self) -> int:
        return len(self.labels)

    def add(self, labels: tuple[str, ...], scope: int) -> int:
        """Return the place of a new row."""
        place = len(self.labels)
        self.labels.append(labels)
        self.index[labels] = place
        if place == len(self.last):
            grown = max(16, 2 * place)
            self.scope_of = np.resize(self.scope_of, grown)
            self.there = _grown(self.there, grown)
            self.last = _grown(self.last, grown)
            self.uncertain = _grown(self.uncertain, grown)
        self.scope_of[place] = scope
        self.there[place] = False
        self.uncertain[place] = False
        self.rows_version += 1
        return place

    def drop_old_rows(self, oldest: float) -> None:
        """Forget rows that are not there and have no sample since `oldest`."""
        count = len(self.labels)
        gone = ~self.there[:count]
        if np.count_nonzero(gone) <= max(64, count // 2):
            return
        keep = self.there[:count] | self.columns.has_sample_since(oldest, count)
        places = np.flatnonzero(keep)
        if len(places) == count:
            return
        self.labels = [self.labels[place] for place in places]
        self.index = {labels: place for place, labels in enumerate(self.labels)}
        self.scope_of = self.scope_of[places]
        self.there = self.there[places]
        self.last = self.last[places]
        self.uncertain = self.uncertain[places]
        self.columns.keep_rows(places)
        self.rows_version += 1
        self.there_version += 1


class SeriesTable:
    """Every family of this node."""

    def __init__(self, *, retention_s: float = 3600.0, max_series: int = 100_000) -> None:
        self._retention_s = retention_s
        self._max_series = max_series
        self._series: dict[str, Series] = {}
        self._probes: dict[str, _Probe] = {}
        self._count = 0
        self.dropped_total = 0
        """How many rows found no place since start."""

    def __len__(self) -> int:
        return self._count

    # What probes say.

    def declare(self, probe: str, families: Iterable[Family], *, max_age_s: float) -> None:
        """Name a probe's families and how long what it says holds.

        Raises:
            ValueError: another probe owns one of the families.
        """
        families = tuple(families)
        for family in families:
            known = self._series.get(family.name)
            if known is not None and known.probe != probe:
                raise ValueError(f"{family.name} belongs to {known.probe}, not to {probe}")
        names = frozenset(family.name for family in families)
        before = self._probes.get(probe)
        if before is None:
            self._probes[probe] = _Probe(names, max_age_s, {}, [])
        else:
            before.families = before.families | names
            before.max_age_s = max_age_s
        for family in families:
            if family.name not in self._series:
                self._series[family.name] = Series(family, probe)

    def expect(self, probe: str, scopes: Iterable[Scope]) -> frozenset[str]:
        """Say which scopes there are; return the families that this touches.

        One that never reported is a hole; one that is not named any more is surely gone.
        """
        owner = self._probes[probe]
        wanted = set(scopes)
        gone = [scope for scope in owner.scopes if scope not in wanted]
        fresh = [scope for scope in wanted if scope not in owner.scopes]
        changed = bool(gone or fresh) or not owner.told
        owner.told = True
        for scope in gone:
            place = owner.scopes.pop(scope)
            self._clear(owner, place)
            owner.states[place] = None
        for scope in fresh:
            self._place_of(owner, scope)
        return owner.families if changed else frozenset()

    def feed(self, frame: Frame) -> frozenset[str]:
        """Take the outcome of one look; return the families that it touches."""
        owner = self._probes[frame.scope.probe]
        owner.told = True
        place = self._place_of(owner, frame.scope)
        state = owner.states[place]
        assert state is not None
        state.outcome = frame.outcome
        state.reason = frame.reason
        state.last_look = frame.at
        state.duration_s = frame.duration_s
        if frame.outcome is Outcome.SEEN:
            state.last_known = frame.at
            state.rows = sum(map(len, frame.rows.values()))
            self._replace(owner, place, frame.rows, frame.at)
        elif frame.outcome is Outcome.ABSENT:
            state.last_known = frame.at
            state.rows = 0
            self._clear(owner, place)
        return owner.families

    def record(
        self,
        family: Family,
        rows: Sequence[tuple[Row, bool]],
        holes: tuple[Hole, ...],
        at: float,
    ) -> frozenset[str]:
        """Store the answer of a recording rule: rows, each exact or not, and holes.

        Raises:
            ValueError: a probe owns a family of this name.
        """
        probe = f"rule:{family.name}"
        self.declare(probe, (family,), max_age_s=float("inf"))
        series = self._series[family.name]
        if series.family.labels != family.labels:
            self._count -= len(series)
            series = self._series[family.name] = Series(family, probe)
        self.feed(Frame(Scope(probe), at, rows={family.name: [row for row, _ in rows]}))
        for row, exact in rows:
            place = series.index.get(row.labels)
            if place is not None:
                series.uncertain[place] = not exact
        series.recorded_holes = holes
        return frozenset({family.name})

    # What evaluation and exposition read.

    def families(self) -> Mapping[str, Family]:
        """Return every declared family by name."""
        return {name: series.family for name, series in self._series.items()}

    def series(self, name: str) -> Series | None:
        """Return a family's rows, or None where no probe declared it."""
        return self._series.get(name)

    def names(self) -> Iterable[str]:
        return self._series.keys()

    def max_age_s(self, series: Series) -> float:
        """Return how long what this family's probe says holds."""
        return self._probes[series.probe].max_age_s

    def known_rows(self, series: Series, at: float) -> NDArray[np.bool_]:
        """Return for each row whether its scope is known at a moment."""
        count = len(series)
        known = self.known_scopes(series, at)[series.scope_of[:count]]
        return np.logical_and(known, ~series.uncertain[:count])

    def known_scopes(self, series: Series, at: float) -> NDArray[np.bool_]:
        """Return for each scope of a family's probe whether it is known at a moment."""
        owner = self._probes[series.probe]
        return np.array(
            [state is not None and state.is_known(at, owner.max_age_s) for state in owner.states],
            np.bool_,
        )

    def holes(self, series: Series, at: float) -> tuple[Hole, ...]:
        """Return what cannot be known of a family at a moment."""
        owner = self._probes[series.probe]
        if not owner.told or series.overflowed:
            return ({},)
        unknown = [
            dict(state.scope.labels)
            for state in owner.states
            if state is not None and not state.is_known(at, owner.max_age_s)
        ]
        return (*unknown, *series.recorded_holes)

    def read(self, name: str, at: float) -> list[Reading]:
        """Return the rows of a family that are there, with their last values."""
        series = self._series.get(name)
        if series is None:
            return []
        known = self.known_rows(series, at)
        return [
            Reading(
                dict(zip(series.family.labels, series.labels[place], strict=True)),
                float(series.last[place]),
                bool(known[place]),
            )
            for place in np.flatnonzero(series.there[: len(series)])
        ]

    def scopes(self, probe: str | None = None) -> list[ScopeState]:
        """Return how every scope, or every one of a probe, was last looked at."""
        owners = self._probes.values() if probe is None else [self._probes[probe]]
        return [state for owner in owners for state in owner.states if state is not None]

    def is_known_scope(self, state: ScopeState, at: float) -> bool:
        """Whether what a scope said holds at a moment."""
        return state.is_known(at, self._probes[state.scope.probe].max_age_s)

    # Inside.

    def _place_of(self, owner: _Probe, scope: Scope) -> int:
        place = owner.scopes.get(scope)
        if place is None:
            # Places of scopes that are gone are not reused while rows may still point to them.
            place = len(owner.states)
            owner.scopes[scope] = place
            owner.states.append(ScopeState(scope))
        return place

    def _replace(
        self, owner: _Probe, scope: int, rows: Mapping[str, Sequence[Row]], at: float
    ) -> None:
        for name in owner.families:
            series = self._series[name]
            before = len(series)
            self._replace_rows(series, scope, rows.get(name, ()), at)
            series.drop_old_rows(at - self._retention_s)
            self._count += len(series) - before

    def _replace_rows(self, series: Series, scope: int, rows: Sequence[Row], at: float) -> None:
        count = len(series)
        mine = series.there[:count] & (series.scope_of[:count] == scope)
        if not rows and not mine.any():
            return
        places = np.empty(len(rows), np.int64)
        used = 0
        room = self._max_series - self._count + count
        for row in rows:
            place = series.index.get(row.labels)
            if place is None:
                if len(series) >= room:
                    self.dropped_total += 1
                    series.overflowed = True
                    continue
                place = series.add(row.labels, scope)
            places[used] = place
            used += 1
        places = places[:used]
        values = np.array([row.value for row in rows if row.labels in series.index], np.float64)
        count = len(series)
        after = np.zeros(count, np.bool_)
        after[places] = True
        before = np.zeros(count, np.bool_)
        before[: len(mine)] = mine
        if not np.array_equal(before, after):
            series.there_version += 1
        series.there[:count] = (series.there[:count] & ~before) | after
        series.scope_of[places] = scope
        series.last[places] = values
        series.columns.write(places, values, at, rows=count, retention_s=self._retention_s)

    def _clear(self, owner: _Probe, scope: int) -> None:
        for name in owner.families:
            series = self._series[name]
            mine = series.there & (series.scope_of == scope)
            if mine.any():
                series.there[mine] = False
                series.there_version += 1


def recorded_family(name: str, labels: tuple[str, ...]) -> Family:
    """Return the family of a recording rule's series."""
    return Family(name, MetricType.GAUGE, f"Recorded by the rule {name}.", labels)


def _grown(values: NDArray, size: int) -> NDArray:  # type: ignore[type-arg]
    grown = np.zeros(size, values.dtype)
    grown[: len(values)] = values
    return grown
