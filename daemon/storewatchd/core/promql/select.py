"""Selectors: from the table's series to vectors.

Which rows a selector's matchers admit is worked out once for each change of a family's rows.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import NDArray

from storewatchd.core.columns import GONE, LOST, SAMPLE, UNSAID
from storewatchd.core.holes import Hole
from storewatchd.core.matchers import Matcher
from storewatchd.core.promql.budget import MATCHER_CELLS, OPERATION_CELLS, SAMPLES_A_CELL, Budget
from storewatchd.core.promql.labels import LabelFrame, concatenated
from storewatchd.core.promql.syntax import Selector
from storewatchd.core.promql.vector import (
    ABSENT,
    AT_LEAST,
    AT_MOST,
    EXACT,
    NOTHING,
    UNKNOWN,
    States,
    Vector,
    distinct_holes,
)
from storewatchd.core.rows import Series
from storewatchd.core.series import CEILING, FLOOR, WINDOW_COVERAGE, SeriesTable

_STATE_OF_MARK = np.zeros(6, np.int8)
_STATE_OF_MARK[[UNSAID, GONE]] = ABSENT
_STATE_OF_MARK[[SAMPLE, LOST, FLOOR, CEILING]] = EXACT, UNKNOWN, AT_LEAST, AT_MOST


@dataclass(frozen=True, slots=True)
class _Admitted:
    """The rows of a family that a selector admits: their labels and places, for one version."""

    series: Series
    version: int
    frame: LabelFrame
    places: NDArray[np.int64] | slice  # a slice where all are admitted: no copying


@dataclass(frozen=True, slots=True)
class Window:
    """The samples of one family's admitted rows in a window of time, with how each row stands."""

    vector: Vector  # no values yet
    times: NDArray[np.float64]
    values: NDArray[np.float64]
    valid: NDArray[np.bool_]
    lost: NDArray[np.int64]  # how many samples of each row are unknown, or only bounds


class Selection:
    """One selector of one plan, with what it remembers between evaluations."""

    def __init__(self, selector: Selector) -> None:
        self.selector = selector
        self._names = [one for one in selector.matchers if one.label == "__name__"]
        self._matchers = [one for one in selector.matchers if one.label != "__name__"]
        self._admitted: dict[str, _Admitted] = {}
        self._joined: tuple[tuple[LabelFrame, ...], LabelFrame] | None = None

    def families(self, table: SeriesTable) -> list[str]:
        """Return the declared families that this selector reads."""
        if self.selector.name:
            known = table.series(self.selector.name) is not None
            return [self.selector.name] if known else []
        return [name for name in table.names() if all(one.admits(name) for one in self._names)]

    def instant(self, table: SeriesTable, at: float, budget: Budget) -> Vector:
        """Return the rows that are there at a moment."""
        names = self._paid_families(table, budget)
        return self.join([self._instant_of(table, name, at, budget) for name in names], budget)

    def windows(self, table: SeriesTable, at: float, budget: Budget) -> list[Window]:
        """Return the samples of the window that ends at a moment, family by family."""
        assert self.selector.range_s is not None
        names = self._paid_families(table, budget)
        return [self._window_of(table, name, at, budget) for name in names]

    def _paid_families(self, table: SeriesTable, budget: Budget) -> Iterator[str]:
        """Yield the families that this selector reads, each one when it is paid for."""
        if not self.selector.name:
            budget.spend(MATCHER_CELLS * len(self._names) * len(table.families()))
        for name in self.families(table):
            series = table.series(name)
            assert series is not None
            width = 1 + len(series.family.labels) + MATCHER_CELLS * len(self._matchers)
            budget.spend(OPERATION_CELLS + width * len(series))
            yield name

    def join(self, parts: list[Vector], budget: Budget) -> Vector:
        """Return one vector with the rows of several families."""
        if not parts:
            return NOTHING
        if len(parts) == 1:
            return parts[0]
        frames = tuple(part.frame for part in parts)
        names = {name for frame in frames for name in frame.names}
        budget.spend(len(names) * sum(map(len, frames)))
        if self._joined is None or self._joined[0] != frames:
            self._joined = (frames, concatenated(frames))
        return Vector(
            self._joined[1],
            np.concatenate([part.states for part in parts]),
            np.concatenate([part.values for part in parts]),
            distinct_holes(tuple(hole for part in parts for hole in part.holes)),
        )

    def _admit(self, table: SeriesTable, name: str) -> _Admitted:
        series = table.series(name)
        assert series is not None
        known = self._admitted.get(name)
        if known is not None and known.series is series and known.version == series.rows_version:
            return known
        names = series.family.labels
        count = len(series)
        admitted = np.ones(count, np.bool_)
        for matcher in self._matchers:
            admitted &= _admitted_rows(matcher, names, series.labels)
        places = np.flatnonzero(admitted)
        if len(places) == count:
            fresh = _Admitted(series, series.rows_version, _whole(series), slice(0, count))
        else:
            rows = [series.labels[place] for place in places.tolist()]
            frame = LabelFrame(names, rows, [name] * len(rows))
            fresh = _Admitted(series, series.rows_version, frame, places)
        self._admitted[name] = fresh
        return fresh

    def _unseen(self, holes: tuple[Hole, ...]) -> tuple[Hole, ...]:
        """Return the holes that the matchers do not contradict."""
        return tuple(
            hole
            for hole in holes
            if all(
                matcher.label not in hole or matcher.admits(hole[matcher.label])
                for matcher in self._matchers
            )
        )

    def _instant_of(self, table: SeriesTable, name: str, at: float, budget: Budget) -> Vector:
        admitted = self._admit(table, name)
        series, places = admitted.series, admitted.places
        if self.selector.offset_s:
            return self._earlier(table, admitted, at, budget)
        scopes = table.known_scopes(series, at)
        budget.spend(len(scopes))
        known = scopes[series.scope_of[places]]
        states: States = np.where(known, series.states[places], np.int8(UNKNOWN))
        states[~series.there[places]] = ABSENT
        holes = self._unseen(table.holes(series, at))
        return Vector(admitted.frame, states, series.last[places], holes)

    def _earlier(
        self, table: SeriesTable, admitted: _Admitted, at: float, budget: Budget
    ) -> Vector:
        """Return the rows as they were an offset ago: as the look before that moment saw them."""
        series, places = admitted.series, admitted.places
        then = at - self.selector.offset_s
        known = table.once_known_scopes(series, then)
        # A look that is older than this would not have been known then.
        samples = series.columns.window(then - table.max_age_s(series), then, len(series))
        budget.spend(len(known) + samples.marks.size // SAMPLES_A_CELL)
        newest = samples.newest()[places]
        said = np.flatnonzero(newest >= 0)
        marks = np.full(len(newest), UNSAID, np.int8)
        marks[said] = samples.marks[:, places][newest[said], said]
        values = np.zeros(len(newest))
        values[said] = samples.values[:, places][newest[said], said]
        states = _STATE_OF_MARK[marks]
        states[(states != ABSENT) & ~known[series.scope_of[places]]] = UNKNOWN
        holes = self._unseen(table.past_holes(series, known, then, then))
        return Vector(admitted.frame, states, values, holes)

    def _window_of(self, table: SeriesTable, name: str, at: float, budget: Budget) -> Window:
        admitted = self._admit(table, name)
        series, places = admitted.series, admitted.places
        range_s = self.selector.range_s or 0.0
        end = at - self.selector.offset_s
        start = end - range_s
        seen = table.covered_scopes(series, start, end)
        if self.selector.offset_s:
            seen &= table.once_known_scopes(series, end)
        else:
            seen &= table.known_scopes(series, at)
        times, values, marks = series.columns.window(start, end, len(series))
        budget.spend(len(seen) + marks.size // SAMPLES_A_CELL)
        values, marks = values[:, places], marks[:, places]
        valid = np.equal(marks, SAMPLE)
        count = valid.sum(axis=0)
        lost = np.greater_equal(marks, LOST).sum(axis=0)
        states: States = np.full(len(count), UNKNOWN, np.int8)
        if count.any():
            last = times[len(times) - 1 - np.argmax(valid[::-1], axis=0)]
            first = times[np.argmax(valid, axis=0)]
            # Each sample stands for the time since the one before it, the first one likewise.
            spacing = (last - first) / np.maximum(count - 1, 1)
            exact = (count > 0) & seen[series.scope_of[places]]
            exact &= end - last <= table.max_age_s(series)
            exact &= end - first + spacing >= WINDOW_COVERAGE * range_s
            exact &= count >= WINDOW_COVERAGE * (count + lost)
            if not self.selector.offset_s:
                exact &= series.there[places] & (series.states[places] == EXACT)
            states[exact] = EXACT
        holes = self._unseen(table.past_holes(series, seen, start, end))
        vector = Vector(admitted.frame, states, np.zeros(len(states)), holes)
        return Window(vector, times, values, valid, lost)


_WHOLE: WeakKeyDictionary[Series, tuple[int, LabelFrame]] = WeakKeyDictionary()


def _whole(series: Series) -> LabelFrame:
    """Return the frame of all rows of a family, of which all selectors have the same: so what is
    worked out for it is worked out, and kept, once."""
    version, frame = _WHOLE.get(series, (None, None))
    if frame is None or version != series.rows_version:
        rows = list(series.labels)
        frame = LabelFrame(series.family.labels, rows, [series.family.name] * len(rows))
        _WHOLE[series] = series.rows_version, frame
    return frame


def _admitted_rows(
    matcher: Matcher, names: tuple[str, ...], rows: list[tuple[str, ...]]
) -> NDArray[np.bool_]:
    if matcher.label not in names:
        return np.full(len(rows), matcher.admits(""))
    index = names.index(matcher.label)
    verdicts: dict[str, bool] = {}
    out = np.empty(len(rows), np.bool_)
    for place, row in enumerate(rows):
        value = row[index]
        verdict = verdicts.get(value)
        if verdict is None:
            verdict = verdicts[value] = matcher.admits(value)
        out[place] = verdict
    return out
