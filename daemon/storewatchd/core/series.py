"""The table of series: a matrix of samples for each family, and how each scope was looked at.

A row is a series, a column a moment. A row is *there* while its scope's last look found it. What a
failed, overdue or never finished look leaves open is a *hole*: label equalities that an unseen row
would carry. Times are Unix seconds; retention is by time.

A *recording* is what one rule stores; all recordings of a name are the scopes of one probe.
"""

from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from typing import NamedTuple, assert_never

import numpy as np
from numpy.typing import NDArray

from storewatchd.core.columns import LOST
from storewatchd.core.frames import Family, Frame, MetricType, Outcome, Row, Scope
from storewatchd.core.holes import Hole, is_compatible
from storewatchd.core.intake import (
    Placed,
    Room,
    add,
    commit,
    found,
    has_rows,
    make_room,
    smallest_first,
)
from storewatchd.core.rows import Kept, Series
from storewatchd.core.rowstate import RowState
from storewatchd.core.scopes import ProbeScopes, ScopeState
from storewatchd.core.steps import MANY, Steps, alone, at_once

MARGIN_S = 300.0
"""How much longer than the retention samples are kept: what was so at its far end has to be known
from a look before that."""

MAX_SERIES = 300_000
"""How many rows there may be: of a thousand SCST targets with ten LUNs and five sessions each there
are some 212,000. An hour of each, looked at every 30 s, takes about 1.5 kB."""

WINDOW_COVERAGE = 0.9
"""How much of a window must have been seen for it to be known."""

_RECORDER = "rule:"

FLOOR, CEILING = LOST + 1, LOST + 2
"""What columns say of a recorded row, beside what they say of any: that its value is at least, or
at most, the one that they hold."""

_MARKS = {RowState.UNKNOWN: LOST, RowState.AT_LEAST: FLOOR, RowState.AT_MOST: CEILING}


class Recorded(NamedTuple):
    """One row of a recording: its value, or its bound; that of an unknown row means nothing."""

    labels: Mapping[str, str]
    value: float
    state: RowState


class Reading(NamedTuple):
    """One row as it stands: its labels, its last value, and whether that is known."""

    labels: dict[str, str]
    value: float
    exact: bool


class SeriesTable:
    """Every family of this node."""

    def __init__(self, *, retention_s: float = 3600.0, max_series: int = MAX_SERIES) -> None:
        self.retention_s = retention_s
        """How far back an expression may read."""
        self._kept_s = retention_s + MARGIN_S
        self._series: dict[str, Series] = {}
        self._probes: dict[str, ProbeScopes] = {}
        self.room = Room(max_series)

    def __len__(self) -> int:
        return self.room.count

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
            self._probes[probe] = ProbeScopes(names, max_age_s, {}, [])
        else:
            before.families = before.families | names
            before.max_age_s = max_age_s
            for state in before.states:
                if state is not None:
                    state.max_age_s = max_age_s
        for family in families:
            if family.name not in self._series:
                self._series[family.name] = Series(family, probe)

    def set_max_age(self, max_age_s: float) -> None:
        """Change for how long what probes say holds; what holds for ever still does."""
        for owner in self._probes.values():
            if owner.max_age_s < float("inf"):
                owner.max_age_s = max_age_s
                for state in owner.states:
                    if state is not None:
                        state.max_age_s = max_age_s

    def expect(self, probe: str, scopes: Iterable[Scope]) -> frozenset[str]:
        """Say which scopes there are; return the families that this touches.

        One that never reported is a hole; one that is not named any more is surely gone.
        """
        owner = self._probes[probe]
        wanted = dict.fromkeys(scopes)
        gone = [scope for scope in owner.scopes if scope not in wanted]
        fresh = [scope for scope in wanted if scope not in owner.scopes]
        changed = bool(gone or fresh) or not owner.told
        owner.told = True
        for scope in gone:
            self._forget(owner, scope)
        if gone:
            self._renumber(owner)
        for scope in fresh:
            self._place_of(owner, scope)
        return owner.families if changed else frozenset()

    def feed(self, frame: Frame) -> frozenset[str]:
        """Take the outcome of one look; return the families that it touches."""
        return at_once(self.feeding(frame))

    def feeding(self, frame: Frame) -> Steps[frozenset[str]]:
        """Take the outcome of one look, in steps: all of it is taken with the last one."""
        owner = self._probes[frame.scope.probe]
        place = self._place_of(owner, frame.scope)
        rows = frame.rows if frame.outcome is Outcome.SEEN else {}
        is_known = frame.outcome in (Outcome.SEEN, Outcome.ABSENT)
        looks = (yield from self._places(owner, place, rows, frame.at)) if is_known else {}
        if any(len(placed.places) >= MANY for placed, _ in looks.values()):
            yield alone
        state = owner.states[place]
        assert state is not None
        owner.told = True
        state.outcome = frame.outcome
        state.reason = frame.reason
        state.last_look = frame.at
        state.duration_s = frame.duration_s
        match frame.outcome:
            case Outcome.SEEN:
                state.note_known(frame.at, kept_s=self._kept_s)
                state.rows = sum(map(len, frame.rows.values()))
            case Outcome.ABSENT:
                state.note_known(frame.at, kept_s=self._kept_s)
                state.rows = 0
            case Outcome.FAILED:
                state.note_failed(frame.at)
            case Outcome.DEFERRED:
                pass  # it says nothing: what was known holds, and what was not stays unknown
            case _:
                assert_never(frame.outcome)
        for name, (placed, dropped) in looks.items():
            self._replace_rows(self._series[name], place, placed, dropped, frame.at)
        for series in map(self._series.__getitem__, looks):
            yield from self._drop_old_rows(series, frame.at, spared=max(64, len(series) // 2))
        return owner.families

    def shift(self, seconds: float) -> None:
        """Take everything that was ever dated along with a wall clock that was set by so much."""
        for series in self._series.values():
            series.columns.shift(seconds)
            series.holes.shift(seconds)
        for owner in self._probes.values():
            for state in owner.states:
                if state is not None:
                    state.shift(seconds)

    # Over a restart.

    def parts(self) -> tuple[Mapping[str, Series], Mapping[str, ProbeScopes]]:
        """Return the series by family and the scopes by probe, for `adopt` after a restart."""
        return self._series, self._probes

    def adopt(self, series: Mapping[str, Series], probes: Mapping[str, ProbeScopes]) -> None:
        """Take over what an earlier start knew: of its own time it is known, of now nothing is.

        What probes say by other labels now is left out, and what no probe says any more. Rows
        stay there, unknown, so that the next look tells which of them are gone.
        """
        for name, owner in probes.items():
            mine = self._probes.get(name)
            if mine is not None:
                owner = ProbeScopes(mine.families, mine.max_age_s, owner.scopes, owner.states)
            elif not name.startswith(_RECORDER) or not owner.families <= series.keys():
                continue
            elif not owner.families.isdisjoint(self._series):
                continue  # what a rule recorded, a probe says now
            owner.told = False
            self._probes[name] = owner
            for state in owner.states:
                if state is not None:
                    state.max_age_s = owner.max_age_s
                    state.forget_now()
        adopted: set[str] = set()
        for name, one in series.items():
            known = self._series.get(name)
            is_same = known is not None and known.family == one.family and known.probe == one.probe
            named = self._probes.get(one.probe)
            if named is None or name not in named.families or not (is_same or known is None):
                continue
            self._series[name] = one
            self.room.count += len(one)
            adopted.add(name)
            # A scope that was found since the scopes were written down is gone.
            last = int(one.scope_of[: len(one)].max(initial=-1))
            named.states += [None] * (last + 1 - len(named.states))
        for owner in self._probes.values():
            self._renumber(owner)
            looks = [state.last_known for state in owner.states if state is not None]
            newest = max((look for look in looks if look is not None), default=-np.inf)
            for family in owner.families - adopted:
                # What it was when its scopes were looked at is not known.
                self._series[family].columns.kept_since = float(np.nextafter(newest, np.inf))

    # What rules record.

    def keep_recordings(self, recordings: Iterable[Scope]) -> None:
        """Say which recordings there are: one that never reported is a hole, one that is not
        named any more is forgotten. One whose name a probe owns finds no place."""
        wanted: dict[str, list[Scope]] = {}
        for recording in recordings:
            wanted.setdefault(recording.probe, []).append(recording)
        for probe in [name for name in self._probes if name.startswith(_RECORDER)]:
            if probe not in wanted:
                self.expect(probe, ())
                del self._probes[probe]
                self.room.count -= len(self._series.pop(probe.removeprefix(_RECORDER)))
        for probe, scopes in wanted.items():
            name = probe.removeprefix(_RECORDER)
            known = self._series.get(name)
            if known is None:
                family = Family(name, MetricType.GAUGE, f"Recorded by the rule {name}.")
                self.declare(probe, (family,), max_age_s=float("inf"))
            if known is None or known.probe == probe:
                self.expect(probe, scopes)

    def record(
        self, recording: Scope, rows: Sequence[Recorded], holes: Iterable[Hole], at: float
    ) -> frozenset[str]:
        """Store the answer of a recording rule; return the families that this touches.

        Raises:
            ValueError: a probe owns a family of this name.
        """
        series = self._recorded(recording)
        series.widen({name for row in rows for name in row.labels})
        names = series.family.labels
        found = [Row(tuple(row.labels.get(name, "") for name in names), row.value) for row in rows]
        frame = Frame(recording, at, rows={series.family.name: found})
        touched = self.feed(frame)
        holes = list(holes)
        marks = {
            place: LOST
            for place in (np.flatnonzero(~series.there[: len(series)]).tolist() if holes else ())
            if any(is_compatible(hole, series.labels_of(place)) for hole in holes)
        }
        for row, recorded in zip(found, rows, strict=True):
            place = series.index.get(row.labels)
            if place is not None:
                series.states[place] = recorded.state
                if recorded.state in _MARKS:
                    marks[place] = _MARKS[recorded.state]
        if marks:
            self._open_column(series, at)
        for mark in sorted(set(marks.values())):
            places = [place for place, its in marks.items() if its == mark]
            series.columns.mark(np.array(places, np.int64), mark)
        series.holes.note(("recorded", recording), holes, at, kept_s=self._kept_s)
        return touched

    def fail_recording(self, recording: Scope, reason: str, at: float) -> frozenset[str]:
        """Note that a recording rule has no answer; return the families that this touches.

        Raises:
            ValueError: a probe owns a family of this name.
        """
        self._recorded(recording)
        return self.feed(Frame(recording, at, Outcome.FAILED, reason=reason))

    def _recorded(self, recording: Scope) -> Series:
        series = self._series[recording.probe.removeprefix(_RECORDER)]
        if series.probe != recording.probe:
            raise ValueError(f"{series.family.name} belongs to the probe {series.probe}")
        return series

    # What evaluation and exposition read.

    def families(self) -> Mapping[str, Family]:
        """Return every declared family by name."""
        return {name: series.family for name, series in self._series.items()}

    def probe_families(self) -> frozenset[str]:
        """Return the names of the families that no rule may record."""
        return frozenset(
            name for name, one in self._series.items() if not one.probe.startswith(_RECORDER)
        )

    def series(self, name: str) -> Series | None:
        """Return a family's rows, or None where no probe declared it."""
        return self._series.get(name)

    def names(self) -> Iterable[str]:
        return self._series.keys()

    def max_age_s(self, series: Series) -> float:
        """Return how long what this family's probe says holds."""
        return self._probes[series.probe].max_age_s

    def known_rows(self, series: Series, at: float) -> NDArray[np.bool_]:
        """Return for each row whether its value is known, exactly, at a moment that is now."""
        count = len(series)
        known = self.known_scopes(series, at)[series.scope_of[:count]]
        return np.logical_and(known, np.equal(series.states[:count], RowState.EXACT))

    def known_scopes(self, series: Series, at: float) -> NDArray[np.bool_]:
        """Return for each scope of a family's probe whether it is known at a moment that is now."""
        states = self._probes[series.probe].states
        return np.array([state is not None and state.is_known(at) for state in states], np.bool_)

    def once_known_scopes(self, series: Series, at: float) -> NDArray[np.bool_]:
        """Return for each scope whether it was known at a moment in the past."""
        since = series.columns.kept_since
        return np.array(
            [
                state is not None and state.was_known(at, kept_since=since)
                for state in self._probes[series.probe].states
            ],
            np.bool_,
        )

    def covered_scopes(self, series: Series, start: float, end: float) -> NDArray[np.bool_]:
        """Return for each scope whether it was known for nearly all of a window."""
        since = max(start, series.columns.kept_since)
        wanted_s = WINDOW_COVERAGE * (end - start)
        return np.array(
            [
                state is not None and state.known_s(since, end) >= wanted_s
                for state in self._probes[series.probe].states
            ],
            np.bool_,
        )

    def holes(self, series: Series, at: float) -> tuple[Hole, ...]:
        """Return what cannot be known of a family at a moment that is now."""
        return self._holes(series, self.known_scopes(series, at), series.holes.open())

    def past_holes(
        self, series: Series, known: NDArray[np.bool_], start: float, end: float
    ) -> tuple[Hole, ...]:
        """Return what cannot be known of a family in a window, some of its scopes being known."""
        return self._holes(series, known, series.holes.between(start, end))

    def _holes(
        self, series: Series, known: NDArray[np.bool_], others: Iterable[Hole]
    ) -> tuple[Hole, ...]:
        owner = self._probes[series.probe]
        if not owner.told:
            return ({},)
        unknown = [
            dict(state.scope.labels)
            for place, state in enumerate(owner.states)
            if state is not None and not known[place]
        ]
        return (*unknown, *others)

    def read(self, name: str, at: float) -> list[Reading]:
        """Return the rows of a family that are there, with their last values."""
        series = self._series.get(name)
        if series is None:
            return []
        known = self.known_rows(series, at)
        return [
            Reading(
                series.labels_of(place),
                float(series.last[place]),
                bool(known[place]),
            )
            for place in np.flatnonzero(series.there[: len(series)]).tolist()
        ]

    def scopes(self, probe: str | None = None) -> list[ScopeState]:
        """Return how every scope, or every one of a probe, was last looked at; a probe that is
        disabled has none."""
        return [
            state
            for name, owner in self._probes.items()
            if probe in (None, name)
            for state in owner.states
            if state is not None
        ]

    # Inside.

    def _place_of(self, owner: ProbeScopes, scope: Scope) -> int:
        place = owner.scopes.get(scope)
        if place is None:
            place = len(owner.states)
            owner.scopes[scope] = place
            owner.states.append(ScopeState(scope, owner.max_age_s))
        return place

    def _places(
        self, owner: ProbeScopes, scope: int, rows: Mapping[str, Sequence[Row]], at: float
    ) -> Steps[dict[str, tuple[Placed, int]]]:
        """Return by family the places of a look's rows, and how many found none."""
        names = smallest_first(owner.families, rows)
        looks: dict[str, Placed] = {}
        for name in names:
            looks[name] = yield from found(self._series[name], rows.get(name, ()))
        wanted = sum(int(np.count_nonzero(one.places < 0)) for one in looks.values())
        if self.room.count + wanted > self.room.most:
            for series in self._series.values():
                yield from self._drop_old_rows(series, at, spared=0)
            for name in names:
                looks[name] = yield from found(self._series[name], rows.get(name, ()))
        told = {}
        for name in names:
            series, placed = self._series[name], looks[name]
            if len(placed.places) or has_rows(series, scope):
                yield from make_room(series, placed, at, self._kept_s, self.room)
            dropped = yield from add(series, rows.get(name, ()), placed, scope, self.room)
            told[name] = placed, dropped
        return told

    def _drop_old_rows(self, series: Series, at: float, *, spared: int) -> Steps[None]:
        if not series.is_crowded(spared=spared):
            return
        before = len(series)
        kept: Kept | None = yield partial(series.without_old_rows, at - self._kept_s)
        if kept is not None:
            series.take(kept)
            self.room.count += len(series) - before

    def _replace_rows(
        self, series: Series, scope: int, placed: Placed, dropped: int, at: float
    ) -> None:
        if len(placed.places) or has_rows(series, scope):
            commit(series, placed, scope, at, self._kept_s)
        self._note_dropped(series, scope, dropped, at)

    def _open_column(self, series: Series, at: float) -> None:
        series.columns.open(at, rows=len(series), retention_s=self._kept_s)

    def _note_dropped(self, series: Series, scope: int, dropped: int, at: float) -> None:
        state = self._probes[series.probe].states[scope]
        assert state is not None
        self.room.note(series.family.name, state.scope, dropped)
        holes = [dict(state.scope.labels)] if dropped else []
        series.holes.note(("dropped", state.scope), holes, at, kept_s=self._kept_s)

    def _forget(self, owner: ProbeScopes, scope: Scope) -> None:
        """Take leave of a scope: what it left open ends with its last look."""
        state = owner.states[owner.scopes.pop(scope)]
        assert state is not None
        if state.last_look is None:
            return
        for name in owner.families:
            for source in ("dropped", "recorded"):
                holes = self._series[name].holes
                holes.note((source, scope), (), state.last_look, kept_s=self._kept_s)
            self.room.note(name, scope, 0)

    def _renumber(self, owner: ProbeScopes) -> None:
        """Number a probe's scopes anew; the rows of those that are gone are not there."""
        places = np.array(owner.renumber(), np.int32)
        for name in owner.families:
            series = self._series[name]
            scopes = series.scope_of[: len(series)]
            scopes[:] = places[scopes]
            series.there[: len(series)] &= scopes < len(owner.scopes)


def recording(name: str, labels: Mapping[str, str]) -> Scope:
    """Return the recording of a rule: what it stores under a name, all with certain labels."""
    return Scope(_RECORDER + name, tuple(sorted(labels.items())))
