"""A vector: rows, each exact, bounded, unknown or surely not there; and holes.

*Exact* rows are there with their value. *Bounded* rows are there too; their value is a number, not
NaN, at least or at most the one that is said. *Unknown* rows may have any value and may also be
absent. *Holes* are label equalities that rows which nobody could look at would carry. The law:
what is called known is so in every completion of the data.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from storewatchd.core.holes import Hole
from storewatchd.core.promql.labels import EMPTY, LabelFrame
from storewatchd.core.rowstate import RowState

ABSENT, UNKNOWN, EXACT, AT_LEAST, AT_MOST = map(int, RowState)
"""The states as plain integers, which numpy compares without widening a column."""

States = NDArray[np.int8]
Values = NDArray[np.float64]

_TURNED = np.array([ABSENT, UNKNOWN, EXACT, AT_MOST, AT_LEAST], np.int8)


@dataclass(frozen=True, slots=True)
class Vector:
    """Rows over a frame of labels. Values of rows that are not there mean nothing."""

    frame: LabelFrame
    states: States
    values: Values
    holes: tuple[Hole, ...] = ()

    @property
    def exact(self) -> NDArray[np.bool_]:
        return np.equal(self.states, EXACT)

    @property
    def there(self) -> NDArray[np.bool_]:
        """The rows that are there, whatever could not be seen: exact or bounded."""
        return np.greater_equal(self.states, EXACT)

    @property
    def unknown(self) -> NDArray[np.bool_]:
        return np.equal(self.states, UNKNOWN)

    @property
    def possible(self) -> NDArray[np.bool_]:
        """The rows that are there or may be."""
        return np.not_equal(self.states, ABSENT)


NOTHING = Vector(EMPTY, np.zeros(0, np.int8), np.zeros(0))


def turned(states: States) -> States:
    """Return the states of rows whose values are turned about zero: a bound is on the other
    side then."""
    return _TURNED[states]


def distinct_holes(holes: tuple[Hole, ...]) -> tuple[Hole, ...]:
    """Return the holes without those that another one contains."""
    if len(holes) < 2:
        return holes
    if any(not hole for hole in holes):
        return ({},)
    unique = {tuple(sorted(hole.items())): hole for hole in holes}
    return tuple(unique.values())
