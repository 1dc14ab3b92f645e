"""Functions over a window of samples: rate, increase, max_over_time, avg_over_time.

Extrapolation and counter resets are Prometheus' (promql/functions.go, extrapolatedRate).
"""

import numpy as np
from numpy.typing import NDArray

from storewatchd.core.promql.select import Window
from storewatchd.core.promql.vector import ABSENT, UNKNOWN, Values, Vector

_EXTRAPOLATION_THRESHOLD = 1.1


def over_time(function: str, window: Window, *, range_s: float, end: float) -> Vector:
    """Return the function's value for each row; a row with too few samples is absent."""
    is_change = function in ("rate", "increase")
    needed = 2 if is_change else 1
    count = window.valid.sum(axis=0)
    if is_change:
        values = _extrapolated(window, count, range_s=range_s, end=end)
        if function == "rate":
            values = values / range_s
    else:
        values = _plain(function, window, count)
    states = window.vector.states.copy()
    states[count < needed] = UNKNOWN
    states[count + window.lost < needed] = ABSENT
    return Vector(window.vector.frame.nameless, states, values, window.vector.holes)


def _plain(function: str, window: Window, count: NDArray[np.int64]) -> Values:
    if function == "max_over_time":
        masked = np.where(window.valid, window.values, np.nan)
        highest: Values = np.fmax.reduce(masked, axis=0, initial=np.nan)
        return highest
    average: Values = np.where(window.valid, window.values, 0.0).sum(axis=0) / count
    return average


def _extrapolated(
    window: Window, count: NDArray[np.int64], *, range_s: float, end: float
) -> Values:
    out = np.zeros(len(count))
    places = np.flatnonzero(count >= 2)
    if not len(places):
        return out
    valid, values = window.valid[:, places], window.values[:, places]
    oldest = np.argmax(valid, axis=0)
    newest = len(valid) - 1 - np.argmax(valid[::-1], axis=0)
    columns = np.arange(len(places))
    first, last = values[oldest, columns], values[newest, columns]
    change = last - first + _reset_correction(values, valid)
    sampled = window.times[newest] - window.times[oldest]
    to_start = window.times[oldest] - (end - range_s)
    to_end = end - window.times[newest]
    spacing = sampled / (count[places] - 1)
    # A counter cannot have been below zero: do not extrapolate past that point.
    to_zero = np.where((change > 0) & (first >= 0), sampled * (first / change), np.inf)
    to_start = np.minimum(to_start, to_zero)
    threshold = spacing * _EXTRAPOLATION_THRESHOLD
    covered = (
        sampled
        + np.where(to_start < threshold, to_start, spacing / 2)
        + np.where(to_end < threshold, to_end, spacing / 2)
    )
    out[places] = change * (covered / sampled)
    return out


def _reset_correction(values: Values, valid: NDArray[np.bool_]) -> Values:
    """Return for each row what it lost in resets: the value before each fall."""
    correction = np.zeros(values.shape[1])
    previous = np.full(values.shape[1], -np.inf)
    for row_values, row_valid in zip(values, valid, strict=True):
        fell = row_valid & (row_values < previous)
        correction[fell] += previous[fell]
        previous = np.where(row_valid, row_values, previous)
    return correction
