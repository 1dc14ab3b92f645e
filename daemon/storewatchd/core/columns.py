"""The samples of one family: a column a moment, a row a series, NaN in a mask of its own."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

COLUMN_SECONDS = 1.0
"""Samples closer than this share a column."""

UNSAID, SAMPLE, GONE, LOST = 0, 1, 2, 3
"""What is said of a row at a moment: nothing, its value, that it is gone, that it is unknown."""

Marks = NDArray[np.int8]


class Samples(NamedTuple):
    """Columns of a window in ascending order of time; views that the next write may change."""

    times: NDArray[np.float64]
    values: NDArray[np.float64]
    marks: Marks

    def newest(self) -> NDArray[np.int64]:
        """Return for each row the column that last says something of it, -1 where none does."""
        said = self.marks != UNSAID
        if not len(said):
            return np.full(said.shape[1], -1, np.int64)
        newest = len(said) - 1 - np.argmax(said[::-1], axis=0)
        return np.where(said.any(axis=0), newest, -1)


class Arrays(NamedTuple):
    """Times, values and marks, of which the first `used` columns say something."""

    times: NDArray[np.float64]
    values: NDArray[np.float64]
    marks: Marks
    used: int

    @classmethod
    def empty(cls, height: int, width: int, used: int) -> "Arrays":
        """Return arrays that say nothing yet; their memory is taken as they are filled."""
        values = np.zeros((height, width))
        return cls(np.zeros(height), values, np.zeros((height, width), np.int8), used)


class Columns:
    """A window of samples that slides with time. Columns are in ascending order of time."""

    def __init__(self) -> None:
        self._times: NDArray[np.float64] = np.zeros(4)
        self._values: NDArray[np.float64] = np.zeros((4, 0))
        self._marks: Marks = np.zeros((4, 0), np.int8)
        self._start = 0
        self._end = 0
        self.kept_since = -np.inf
        """All that was ever written at or after this time is there."""

    def open(self, at: float, *, rows: int, retention_s: float) -> None:
        """Begin a column for a moment, unless the newest one is less than a second old.

        A moment that is a second or more before the newest column starts the window anew: what
        is there would be in the future.
        """
        if self.lacks_room(at, rows=rows, retention_s=retention_s):
            self.take(self.with_room(rows=rows))
        if self._is_fresh(at):
            self._times[self._end] = at
            self._marks[self._end] = UNSAID
            self._end += 1

    def lacks_room(self, at: float, *, rows: int, retention_s: float) -> bool:
        """Forget what is too old for a moment; return whether a column for it needs other arrays,
        which takes long where there is much."""
        if self._end > self._start and at <= self._times[self._end - 1] - COLUMN_SECONDS:
            # In other arrays, for an image may still be reading these.
            height, width = self._values.shape
            self.take(Arrays.empty(height, width, 0))
            self.kept_since = at
        is_fresh = self._is_fresh(at)
        if is_fresh:
            self._forget(at - retention_s)
        return (is_fresh and self._end == len(self._times)) or rows > self._values.shape[1]

    def with_room(self, *, rows: int) -> "Arrays":
        """Return arrays that have room for another column and so many rows, with what is there.
        Nothing changes before they are taken."""
        used = self._end - self._start
        height, before = self._values.shape
        if self._end == height:
            # Once what is old is forgotten the window grows no more: a little room will do.
            height = used + max(4, used // (4 if self._start else 2))
        made = Arrays.empty(height, before if rows <= before else rows + rows // 4, used)
        held = slice(self._start, self._end)
        made.times[:used] = self._times[held]
        made.values[:used, :before] = self._values[held]
        made.marks[:used, :before] = self._marks[held]
        return made

    def keeping_rows(self, places: NDArray[np.int64]) -> "Arrays":
        """Return arrays with only these rows, in this order. Nothing changes before they are
        taken."""
        used = self._end - self._start
        made = Arrays.empty(len(self._times), len(places), used)
        held = slice(self._start, self._end)
        made.times[:used] = self._times[held]
        made.values[:used] = self._values[held, places]
        made.marks[:used] = self._marks[held, places]
        return made

    def take(self, made: "Arrays") -> None:
        """Go on in other arrays."""
        self._times, self._values, self._marks, self._end = made
        self._start = 0

    def write(self, places: NDArray[np.int64], values: NDArray[np.float64]) -> None:
        """Put samples into the newest column."""
        self._values[self._end - 1, places] = values
        self._marks[self._end - 1, places] = SAMPLE

    def mark(self, places: NDArray[np.int64], mark: int) -> None:
        """Say in the newest column that these rows are GONE or LOST."""
        self._marks[self._end - 1, places] = mark

    def shift(self, seconds: float) -> None:
        """Go along with a wall clock that was set by so much."""
        self._times[self._start : self._end] += seconds
        self.kept_since += seconds

    def window(self, start: float, end: float, rows: int) -> Samples:
        """Return the columns with start < time <= end."""
        times = self._times[self._start : self._end]
        low = self._start + int(np.searchsorted(times, start, side="right"))
        high = self._start + int(np.searchsorted(times, end, side="right"))
        return Samples(
            self._times[low:high],
            self._values[low:high, :rows],
            self._marks[low:high, :rows],
        )

    def has_sample_since(self, oldest: float, rows: int) -> NDArray[np.bool_]:
        """Return for each row whether it has a sample at or after a time."""
        times = self._times[self._start : self._end]
        low = self._start + int(np.searchsorted(times, oldest, side="left"))
        found: NDArray[np.bool_] = np.zeros(rows, np.bool_)
        width = min(rows, self._marks.shape[1])
        found[:width] = (self._marks[low : self._end, :width] == SAMPLE).any(axis=0)
        return found

    def _is_fresh(self, at: float) -> bool:
        return self._end == self._start or at - self._times[self._end - 1] >= COLUMN_SECONDS

    def _forget(self, oldest: float) -> None:
        times = self._times[self._start : self._end]
        dropped = int(np.searchsorted(times, oldest, side="left"))
        if dropped:
            self._start += dropped
            self.kept_since = oldest
