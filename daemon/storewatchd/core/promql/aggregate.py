"""Aggregations, in three values: a group is exact only if all of it was seen.

Of a group of which only some was seen, and of one whose members have bounds, the count, the highest
and the lowest value may still have a bound. That needs a member which is there: its group is there
then too. NaN bounds nothing: `max` and `min` pass over it unless there is nothing else.
"""

import numpy as np
from numpy.typing import NDArray

from storewatchd.core.holes import Hole, is_compatible
from storewatchd.core.promql.budget import HOLE_CELLS, Budget
from storewatchd.core.promql.labels import LabelFrame
from storewatchd.core.promql.syntax import Aggregate, Matching
from storewatchd.core.promql.vector import (
    ABSENT,
    AT_LEAST,
    AT_MOST,
    EXACT,
    UNKNOWN,
    States,
    Values,
    Vector,
    distinct_holes,
    turned,
)

Flags = NDArray[np.bool_]


class Aggregation:
    """One aggregation."""

    def __init__(self, node: Aggregate) -> None:
        self._node = node
        self._matching = Matching(on=node.by, labels=node.labels)

    def apply(self, operand: Vector, budget: Budget) -> Vector:
        """Return one row for each group of rows with the same kept labels.

        Raises:
            ExpressionError: the budget has not enough left.
        """
        frame, groups = operand.frame.grouped(self._matching)
        size = len(frame)
        there = _marked(groups[operand.there], size)
        is_open = _marked(groups[operand.unknown], size)
        holes = self._holes(operand)
        closed = np.flatnonzero(there & ~is_open)
        budget.spend(HOLE_CELLS * len(holes) * len(closed))
        for place in map(int, closed) if holes else ():
            labels = _all_labels(frame, place)
            is_open[place] = any(is_compatible(hole, labels) for hole in holes)
        states, values = self._reduce(operand, groups, is_open)
        states[~there] = np.where(is_open[~there], UNKNOWN, ABSENT)
        found = Vector(frame, states, values, holes)
        return found if not holes else Vector(frame, states, values, self._unfilled(found))

    def _holes(self, operand: Vector) -> tuple[Hole, ...]:
        """Return what the holes leave open of the groups: their equalities of kept labels."""
        return distinct_holes(
            tuple(
                {name: value for name, value in hole.items() if self._matching.keeps(name)}
                for hole in operand.holes
            )
        )

    def _unfilled(self, found: Vector) -> tuple[Hole, ...]:
        """Return the holes without those that can hide nothing but members of one group, which
        has its row already."""
        kept = set(self._matching.labels)
        frame = found.frame
        filled = {
            tuple((name, frame.value(place, name)) for name in sorted(kept))
            for place in map(int, np.flatnonzero(found.possible))
        }
        return tuple(
            hole
            for hole in found.holes
            if not (
                self._matching.on and kept == hole.keys() and tuple(sorted(hole.items())) in filled
            )
        )

    def _reduce(
        self, operand: Vector, groups: NDArray[np.int64], is_open: Flags
    ) -> tuple[States, Values]:
        """Return how the groups stand that are there. One that is open has members that may be
        there, or hidden ones."""
        match self._node.operator:
            case "max":
                return _highest(operand.states, operand.values, groups, is_open)
            case "min":
                # The highest of the turned values, turned back.
                states, values = _highest(turned(operand.states), -operand.values, groups, is_open)
                return turned(states), -values
        size = len(is_open)
        there = operand.there
        mine, values = groups[there], operand.values[there]
        members = np.bincount(mine, minlength=size).astype(np.float64)
        if self._node.operator == "count":
            return np.where(is_open, AT_LEAST, EXACT).astype(np.int8), members
        totals = np.bincount(mine, weights=values, minlength=size).astype(np.float64)
        has_bound = _marked(groups[operand.states > EXACT], size)
        states = np.where(is_open | has_bound, UNKNOWN, EXACT).astype(np.int8)
        return states, totals / members if self._node.operator == "avg" else totals


def _all_labels(frame: LabelFrame, place: int) -> dict[str, str]:
    """Return a row's labels with the empty ones, which a hole may contradict."""
    return dict(zip(frame.names, frame.rows[place], strict=True))


def _marked(places: NDArray[np.int64], size: int) -> Flags:
    marked: Flags = np.zeros(size, np.bool_)
    marked[places] = True
    return marked


def _highest(
    states: States, values: Values, groups: NDArray[np.int64], is_open: Flags
) -> tuple[States, Values]:
    """Return the highest value of each group that is there, NaN only if there is nothing else."""
    floors = (states == EXACT) | (states == AT_LEAST)
    lowest = np.full(len(is_open), np.nan)
    np.fmax.at(lowest, groups[floors], values[floors])
    found = np.where(np.isnan(lowest), UNKNOWN, AT_LEAST).astype(np.int8)
    if not (states > EXACT).any():
        found[~is_open] = EXACT
        return found, lowest
    is_closed = ~(is_open | _marked(groups[states == AT_LEAST], len(is_open)))
    ceilings = (states == EXACT) | (states == AT_MOST)
    highest = np.full(len(is_open), np.nan)
    np.fmax.at(highest, groups[ceilings], values[ceilings])
    found[is_closed & np.isnan(lowest)] = AT_MOST
    found[is_closed & ((lowest == highest) | np.isnan(highest))] = EXACT
    return found, np.where(found == AT_MOST, highest, lowest)
