"""How fast a media store fills, and how long its room lasts. Pure.

Backups have a rhythm of days, so that only what was used at the same time of different days is
compared: of all such pairs the slopes, after Theil and Sen, give the growth. While less than ten
days are known, so few are independent of each other that the interval reaches from the least to the
greatest; from then on it has 80 % of them. Of less than two days nothing is said.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

DAY_S = 86_400.0
SAMPLE_S = 1800.0
"""How far apart samples are."""

KEEP_S = 15 * DAY_S
LEAST_S = 2 * DAY_S
QUANTILES_FROM_S = 10 * DAY_S
MIN_SLOPES = 24
_TOLERANCE_S = SAMPLE_S / 2 + 60.0


class Sample(NamedTuple):
    """What was used at a moment: Unix seconds, and bytes."""

    at: float
    used: float


class Growth(NamedTuple):
    """Bytes a day: so much at least, most likely, and at most."""

    low: float
    middle: float
    high: float


def growth(samples: Sequence[Sample]) -> Growth | None:
    """Return how fast a store fills, None while that is not known; samples are in order."""
    if len(samples) < 2 or samples[-1].at - samples[0].at < LEAST_S:
        return None
    at = np.array([one.at for one in samples])
    used = np.array([one.used for one in samples])
    span_s = float(at[-1] - at[0])
    slopes = []
    for days in range(1, int(span_s // DAY_S) + 1):
        wanted = at - days * DAY_S
        after = np.clip(np.searchsorted(at, wanted), 1, len(at) - 1)
        nearest = np.where(wanted - at[after - 1] < at[after] - wanted, after - 1, after)
        is_near = np.abs(at[nearest] - wanted) <= _TOLERANCE_S
        apart = (at - at[nearest])[is_near]
        slopes.append((used - used[nearest])[is_near] / apart * DAY_S)
    found = np.concatenate(slopes)
    if len(found) < MIN_SLOPES:
        return None
    edges = (0.1, 0.9) if span_s >= QUANTILES_FROM_S else (0.0, 1.0)
    low, middle, high = np.quantile(found, (edges[0], 0.5, edges[1]))
    return Growth(float(low), float(middle), float(high))


def runway_s(free: float, bytes_per_day: float) -> float | None:
    """Return how long room lasts at a growth, in seconds; None where it does not run out."""
    return free / bytes_per_day * DAY_S if bytes_per_day > 0 else None
