"""Aggregations, in three values: a group is exact only if all of it was seen."""

import numpy as np
from numpy.typing import NDArray

from storewatchd.core.holes import is_compatible
from storewatchd.core.promql.labels import LabelFrame
from storewatchd.core.promql.syntax import Aggregate, Matching
from storewatchd.core.promql.vector import ABSENT, EXACT, UNKNOWN, States, Vector, distinct_holes


class Aggregation:
    """One aggregation, with the groups of the frame that it last saw."""

    def __init__(self, node: Aggregate) -> None:
        self._node = node
        self._matching = Matching(on=node.by, labels=node.labels)
        self._known: tuple[LabelFrame, LabelFrame, NDArray[np.int64]] | None = None

    def apply(self, operand: Vector) -> Vector:
        """Return one row for each group of rows with the same kept labels."""
        frame, groups = self._groups(operand.frame)
        count = len(frame)
        states: States = np.full(count, ABSENT, np.int8)
        states[groups[operand.exact]] = EXACT
        states[groups[operand.unknown]] = UNKNOWN
        holes = tuple(
            {name: value for name, value in hole.items() if self._matching.keeps(name)}
            for hole in operand.holes
        )
        for place in map(int, np.flatnonzero(states == EXACT)) if holes else ():
            labels = _all_labels(frame, place)
            if any(is_compatible(hole, labels) for hole in holes):
                states[place] = UNKNOWN
        values = self._reduce(operand, groups, count)
        return Vector(frame, states, values, distinct_holes(holes))

    def _reduce(
        self, operand: Vector, groups: NDArray[np.int64], count: int
    ) -> NDArray[np.float64]:
        exact = operand.exact
        mine, values = groups[exact], operand.values[exact]
        members = np.bincount(mine, minlength=count)
        match self._node.operator:
            case "count":
                return members.astype(np.float64)
            case "sum":
                return np.bincount(mine, weights=values, minlength=count).astype(np.float64)
            case "avg":
                return np.bincount(mine, weights=values, minlength=count) / members
            case operator:
                # Prometheus ignores NaN in min and max unless there is nothing else.
                out = np.full(count, np.nan)
                (np.fmin if operator == "min" else np.fmax).at(out, mine, values)
                return out

    def _groups(self, frame: LabelFrame) -> tuple[LabelFrame, NDArray[np.int64]]:
        if self._known is None or self._known[0] is not frame:
            kept = frame.keeping(self._matching)
            numbers: dict[tuple[str, ...], int] = {}
            firsts: list[int] = []
            groups = np.empty(len(frame), np.int64)
            for place, signature in enumerate(frame.signatures(self._matching)):
                if signature not in numbers:
                    numbers[signature] = len(numbers)
                    firsts.append(place)
                groups[place] = numbers[signature]
            grouped = LabelFrame(
                kept.names,
                [kept.rows[place] for place in firsts],
                [kept.metric[place] for place in firsts],
            )
            self._known = (frame, grouped, groups)
        return self._known[1], self._known[2]


def _all_labels(frame: LabelFrame, place: int) -> dict[str, str]:
    """Return a row's labels with the empty ones, which a hole may contradict."""
    return dict(zip(frame.names, frame.rows[place], strict=True))
