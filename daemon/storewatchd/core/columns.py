"""The samples of one family: a column a moment, a row a series, NaN in a mask of its own."""

import numpy as np
from numpy.typing import NDArray

COLUMN_SECONDS = 1.0
"""Samples closer than this share a column."""


class Columns:
    """A window of samples that slides with time. Columns are in ascending order of time."""

    def __init__(self) -> None:
        self._times: NDArray[np.float64] = np.zeros(4)
        self._values: NDArray[np.float64] = np.zeros((4, 0))
        self._valid: NDArray[np.bool_] = np.zeros((4, 0), np.bool_)
        self._start = 0
        self._end = 0

    @property
    def first_time(self) -> float | None:
        """When the oldest column was taken, or None without any."""
        return float(self._times[self._start]) if self._end > self._start else None

    def write(
        self,
        places: NDArray[np.int64],
        values: NDArray[np.float64],
        at: float,
        *,
        rows: int,
        retention_s: float,
    ) -> None:
        """Put samples into the newest column, or into a new one where a second has passed.

        A clock that went back starts the window anew: what is older than the newest column would
        be in the future.
        """
        if self._end > self._start and at < self._times[self._end - 1]:
            self._start = self._end = 0
        if rows > self._values.shape[1]:
            self._widen(max(16, rows, 2 * self._values.shape[1]))
        fresh = self._end == self._start or at - self._times[self._end - 1] >= COLUMN_SECONDS
        if fresh:
            self._slide(at - retention_s)
            self._times[self._end] = at
            self._valid[self._end] = False
            self._end += 1
        self._values[self._end - 1, places] = values
        self._valid[self._end - 1, places] = True

    def window(
        self, start: float, end: float, rows: int
    ) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.bool_]]:
        """Return times, values and validity of the columns with start < time <= end."""
        times = self._times[self._start : self._end]
        low = self._start + int(np.searchsorted(times, start, side="right"))
        high = self._start + int(np.searchsorted(times, end, side="right"))
        return (
            self._times[low:high],
            self._values[low:high, :rows],
            self._valid[low:high, :rows],
        )

    def has_sample_since(self, oldest: float, rows: int) -> NDArray[np.bool_]:
        """Return for each row whether it has a sample at or after a time."""
        times = self._times[self._start : self._end]
        low = self._start + int(np.searchsorted(times, oldest, side="left"))
        found: NDArray[np.bool_] = np.zeros(rows, np.bool_)
        width = min(rows, self._valid.shape[1])
        found[:width] = self._valid[low : self._end, :width].any(axis=0)
        return found

    def keep_rows(self, places: NDArray[np.int64]) -> None:
        """Keep only these rows, in this order."""
        self._values = self._values[:, places]
        self._valid = self._valid[:, places]

    def _widen(self, width: int) -> None:
        height, before = self._values.shape
        values = np.zeros((height, width))
        values[:, :before] = self._values
        valid = np.zeros((height, width), np.bool_)
        valid[:, :before] = self._valid
        self._values, self._valid = values, valid

    def _slide(self, oldest: float) -> None:
        """Make room for one more column, dropping those before `oldest`."""
        times = self._times[self._start : self._end]
        self._start += int(np.searchsorted(times, oldest, side="left"))
        if self._end < len(self._times):
            return
        used = self._end - self._start
        height = len(self._times)
        if used > height // 2:
            height *= 2
        grown_times = np.zeros(height)
        grown_values = np.zeros((height, self._values.shape[1]))
        grown_valid = np.zeros((height, self._values.shape[1]), np.bool_)
        grown_times[:used] = self._times[self._start : self._end]
        grown_values[:used] = self._values[self._start : self._end]
        grown_valid[:used] = self._valid[self._start : self._end]
        self._times, self._values, self._valid = grown_times, grown_values, grown_valid
        self._start, self._end = 0, used
