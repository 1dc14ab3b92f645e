"""A vector: rows with values, each surely there, unknown, or surely not there; and holes.

*Unknown* rows may have any value and may also be absent. *Holes* are label equalities that rows
which nobody could look at would carry. The law: what is called known is equal in every completion
of the data.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from storewatchd.core.holes import Hole
from storewatchd.core.promql.labels import EMPTY, LabelFrame

# Row states. Bounds (at least, at most) would be further values here; every operation decides
# by "exact" and "absent" and treats all else as open.
ABSENT, EXACT, UNKNOWN = 0, 1, 2

States = NDArray[np.int8]
Values = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Vector:
    """Rows over a frame of labels. Values of rows that are not EXACT mean nothing."""

    frame: LabelFrame
    states: States
    values: Values
    holes: tuple[Hole, ...] = ()

    @property
    def exact(self) -> NDArray[np.bool_]:
        return np.equal(self.states, EXACT)

    @property
    def unknown(self) -> NDArray[np.bool_]:
        return np.equal(self.states, UNKNOWN)

    @property
    def possible(self) -> NDArray[np.bool_]:
        """The rows that are there or may be."""
        return np.not_equal(self.states, ABSENT)


NOTHING = Vector(EMPTY, np.zeros(0, np.int8), np.zeros(0))


def distinct_holes(holes: tuple[Hole, ...]) -> tuple[Hole, ...]:
    """Return the holes without those that another one contains."""
    if len(holes) < 2:
        return holes
    if any(not hole for hole in holes):
        return ({},)
    unique = {tuple(sorted(hole.items())): hole for hole in holes}
    return tuple(unique.values())
