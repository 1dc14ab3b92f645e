"""Binary operators between vectors, in three values.

Which rows match is worked out once for two frames and kept in the operator's `Combination`.
Semantics: https://prometheus.io/docs/prometheus/latest/querying/operators/
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from storewatchd.core.holes import Hole
from storewatchd.core.promql.budget import HOLE_CELLS, Budget
from storewatchd.core.promql.labels import LabelFrame, concatenated
from storewatchd.core.promql.operate import Side, operate
from storewatchd.core.promql.syntax import COMPARISONS, Binary
from storewatchd.core.promql.vector import (
    ABSENT,
    EXACT,
    UNKNOWN,
    Vector,
    distinct_holes,
)
from storewatchd.errors import ExpressionError


@dataclass(frozen=True, slots=True)
class _Pairs:
    """How the rows of two frames pair. Rows of both sides with the same signature share a group;
    `pick` is the one right row of a left row's group, -1 where there is none, and is only used
    where no group has two right rows."""

    left: LabelFrame
    right: LabelFrame
    left_groups: NDArray[np.int64]
    right_groups: NDArray[np.int64]
    groups: int
    pick: NDArray[np.int64]
    one_to_one: bool


class Combination:
    """One binary operator between two vectors, with what it remembers between evaluations."""

    def __init__(self, node: Binary) -> None:
        self._node = node
        self._matching = node.matching
        self._known: _Pairs | None = None
        self._frame: tuple[LabelFrame, LabelFrame] | None = None

    def apply(self, left: Vector, right: Vector, budget: Budget) -> Vector:
        """Return the result of the operator.

        Raises:
            ExpressionError: rows pair more than one to one, or the budget has not enough left.
        """
        match self._node.operator:
            case "and":
                return self._and_unless(left, right, budget, wanted=True)
            case "unless":
                return self._and_unless(left, right, budget, wanted=False)
            case "or":
                return self._or(left, right, budget)
            case _:
                return self._one_to_one(left, right, budget)

    # Arithmetic and comparison.

    def _one_to_one(self, left: Vector, right: Vector, budget: Budget) -> Vector:
        pairs = self._pairs(left.frame, right.frame)
        pick = pairs.pick
        ambiguous: NDArray[np.bool_] = np.zeros(len(left.states), np.bool_)
        if not pairs.one_to_one:
            pick, ambiguous = self._resolve(pairs, left, right)
        paired = pick >= 0
        partner = Side(np.zeros(len(pick), np.int8), np.zeros(len(pick)))
        partner.states[paired] = right.states[pick[paired]]
        partner.values[paired] = right.values[pick[paired]]
        partner.states[ambiguous] = UNKNOWN
        lonely = (partner.states == ABSENT) & left.possible
        if right.holes and lonely.any():
            touched = self._touched(left.frame, right.holes, lonely, budget)
            partner.states[touched] = UNKNOWN
        mine = Side(left.states, left.values)
        found = operate(self._node, mine, partner, kept=mine)
        if not pairs.one_to_one:
            there = np.greater_equal(found.states, EXACT)
            matched = np.bincount(pairs.left_groups[there], minlength=pairs.groups)
            if (matched > 1).any():
                raise self._error(
                    "several rows on the left match one on the right: say on(...) or "
                    "ignoring(...) so that each row matches one"
                )
        frame = self._result_frame(left.frame)
        holes = self._projected(left.holes)
        return Vector(frame, found.states, found.values, distinct_holes(holes))

    def _resolve(
        self, pairs: _Pairs, left: Vector, right: Vector
    ) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        """Pick the right row of each left row where groups have several candidates."""
        surely_right = np.bincount(pairs.right_groups[right.there], minlength=pairs.groups)
        # With nothing on the left there is nothing to match, as in Prometheus.
        if (surely_right > 1).any() and (left.possible.any() or left.holes):
            raise self._error("several rows on the right have the same labels to match by")
        maybe_right = np.bincount(pairs.right_groups[right.possible], minlength=pairs.groups)
        chosen = np.full(pairs.groups, -1, np.int64)
        for rows in (right.unknown, right.there):
            places = np.flatnonzero(rows)
            chosen[pairs.right_groups[places]] = places
        return chosen[pairs.left_groups], (maybe_right > 1)[pairs.left_groups]

    def _result_frame(self, left: LabelFrame) -> LabelFrame:
        """Return the labels of the result: Prometheus keeps the left side's, less what the match
        ignores; a metric name stays only behind a filtering comparison, unless the match leaves
        it out."""
        if self._frame is not None and self._frame[0] is left:
            return self._frame[1]
        filters = self._node.operator in COMPARISONS and not self._node.returns_bool
        matching = self._matching
        if not matching.on and not matching.labels:
            frame = left if filters else left.nameless
        else:
            frame = left.keeping(matching)
            if not filters:
                frame = frame.nameless
            elif not matching.on and "__name__" not in matching.labels:
                frame = LabelFrame(frame.names, frame.rows, left.metric)
        self._frame = (left, frame)
        return frame

    def _projected(self, holes: Sequence[Hole]) -> tuple[Hole, ...]:
        return tuple(
            {name: value for name, value in hole.items() if self._matching.keeps(name)}
            for hole in holes
        )

    # Set operators.

    def _and_unless(self, left: Vector, right: Vector, budget: Budget, *, wanted: bool) -> Vector:
        pairs = self._pairs(left.frame, right.frame)
        surely, maybe = self._presence(pairs, right)
        touched = self._touched(left.frame, right.holes, left.possible & ~surely, budget)
        maybe = maybe.copy()
        maybe[touched] = True
        keep, drop = (surely, ~maybe) if wanted else (~maybe, surely)
        states = left.states.copy()
        states[left.there & ~keep] = UNKNOWN
        states[drop] = ABSENT
        return Vector(left.frame, states, left.values, left.holes)

    @staticmethod
    def _presence(pairs: _Pairs, other: Vector) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
        """Return for each left row whether the right side surely, or maybe, has its group."""
        surely = np.zeros(pairs.groups, np.bool_)
        surely[pairs.right_groups[other.there]] = True
        maybe = np.zeros(pairs.groups, np.bool_)
        maybe[pairs.right_groups[other.possible]] = True
        return surely[pairs.left_groups], maybe[pairs.left_groups]

    def _or(self, left: Vector, right: Vector, budget: Budget) -> Vector:
        pairs = self._pairs(left.frame, right.frame)
        surely = np.zeros(pairs.groups, np.bool_)
        surely[pairs.left_groups[left.there]] = True
        maybe = np.zeros(pairs.groups, np.bool_)
        maybe[pairs.left_groups[left.possible]] = True
        states = right.states.copy()
        covered = surely[pairs.right_groups]
        open_rows = maybe[pairs.right_groups] & ~covered
        uncovered = right.possible & ~covered
        open_rows |= self._touched(right.frame, left.holes, uncovered, budget)
        states[right.there & open_rows] = UNKNOWN
        states[covered] = ABSENT
        if left.frame is right.frame and pairs.one_to_one:
            # Each row is the other side's too: one that is there, or may be, on the left is that.
            merged = np.where(left.possible, left.states, states)
            values = np.where(left.possible, left.values, right.values)
            holes = distinct_holes((*left.holes, *right.holes))
            return Vector(left.frame, merged, values, holes)
        if self._frame is None or self._frame[0] is not pairs.left:
            self._frame = (pairs.left, concatenated((left.frame, right.frame)))
        return Vector(
            self._frame[1],
            np.concatenate((left.states, states)),
            np.concatenate((left.values, right.values)),
            distinct_holes((*left.holes, *right.holes)),
        )

    # Matching.

    def _pairs(self, left: LabelFrame, right: LabelFrame) -> _Pairs:
        known = self._known
        if known is not None and known.left is left and known.right is right:
            return known
        numbers: dict[tuple[str, ...], int] = {}
        left_groups = _numbered(left.signatures(self._matching), numbers)
        right_groups = _numbered(right.signatures(self._matching), numbers)
        groups = len(numbers)
        chosen = np.full(groups, -1, np.int64)
        chosen[right_groups] = np.arange(len(right_groups))
        crowded = (np.bincount(right_groups, minlength=groups) > 1).any() or (
            np.bincount(left_groups, minlength=groups) > 1
        ).any()
        known = _Pairs(
            left,
            right,
            left_groups,
            right_groups,
            groups,
            chosen[left_groups],
            one_to_one=not crowded,
        )
        self._known = known
        self._frame = None
        return known

    def _touched(
        self,
        frame: LabelFrame,
        holes: Sequence[Hole],
        rows: NDArray[np.bool_],
        budget: Budget,
    ) -> NDArray[np.bool_]:
        """Return which of these rows an unseen row in one of the holes could match."""
        budget.spend(HOLE_CELLS * len(holes) * int(np.count_nonzero(rows)))
        touched: NDArray[np.bool_] = np.zeros(len(rows), np.bool_)
        for hole in holes:
            asked = [(name, value) for name, value in hole.items() if self._matching.keeps(name)]
            for place in map(int, np.flatnonzero(rows & ~touched)):
                if all(frame.value(place, name) == value for name, value in asked):
                    touched[place] = True
        return touched

    def _error(self, message: str) -> ExpressionError:
        return ExpressionError(f"{self._node.operator}: {message}")


def _numbered(
    signatures: list[tuple[str, ...]], numbers: dict[tuple[str, ...], int]
) -> NDArray[np.int64]:
    return np.fromiter(
        (numbers.setdefault(signature, len(numbers)) for signature in signatures),
        np.int64,
        count=len(signatures),
    )
