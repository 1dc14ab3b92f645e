"""Functions over a window of samples: rate, increase, max_over_time, avg_over_time.

Extrapolation and counter resets are Prometheus' (promql/functions.go, extrapolatedRate).
"""

import numpy as np
from numpy.typing import NDArray

from storewatchd.core.promql.select import Window
from storewatchd.core.promql.vector import ABSENT, Vector

_EXTRAPOLATION_THRESHOLD = 1.1


def over_time(function: str, window: Window, *, range_s: float, end: float) -> Vector:
    """Return the function's value for each row; a row with too few samples is absent."""
    if function in ("rate", "increase"):
        values, enough = _extrapolated(window, range_s=range_s, end=end)
        if function == "rate":
            values = values / range_s
    else:
        values, enough = _plain(function, window)
    states = window.vector.states.copy()
    states[~enough] = ABSENT
    return Vector(window.vector.frame.nameless, states, values, window.vector.holes)


def _plain(function: str, window: Window) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    count = window.valid.sum(axis=0)
    enough = count > 0
    if not len(window.times):
        return np.zeros(len(enough)), enough
    if function == "max_over_time":
        masked = np.where(window.valid, window.values, np.nan)
        return np.fmax.reduce(masked, axis=0), enough
    return np.where(window.valid, window.values, 0.0).sum(axis=0) / count, enough


def _extrapolated(
    window: Window, *, range_s: float, end: float
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    rows = window.valid.shape[1]
    count = window.valid.sum(axis=0)
    enough = count >= 2
    out = np.zeros(rows)
    places = np.flatnonzero(enough)
    if not len(places):
        return out, enough
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
    return out, enough


def _reset_correction(values: NDArray[np.float64], valid: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Return for each row what it lost in resets: the value before each fall."""
    correction = np.zeros(values.shape[1])
    previous = np.full(values.shape[1], -np.inf)
    for row_values, row_valid in zip(values, valid, strict=True):
        fell = row_valid & (row_values < previous)
        correction[fell] += previous[fell]
        previous = np.where(row_valid, row_values, previous)
    return correction
