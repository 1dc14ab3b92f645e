"""Evaluates a plan over the table at one moment, in three values.

A plan is an expression made ready: it knows which families it reads, and keeps which rows its
selectors admit and which rows its operators pair, so that an evaluation is a few numpy operations.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import assert_never

import numpy as np

from storewatchd.core.holes import Hole
from storewatchd.core.promql.aggregate import Aggregation
from storewatchd.core.promql.budget import MAX_CELLS, OPERATION_CELLS, Budget
from storewatchd.core.promql.combine import Combination
from storewatchd.core.promql.labels import SCALAR, LabelFrame
from storewatchd.core.promql.operate import Side, operate
from storewatchd.core.promql.parse import type_of, walk
from storewatchd.core.promql.select import Selection
from storewatchd.core.promql.syntax import (
    COMPARISONS,
    Aggregate,
    Binary,
    Call,
    Expr,
    Negation,
    Number,
    Selector,
    ValueType,
)
from storewatchd.core.promql.vector import ABSENT, EXACT, UNKNOWN, Vector, turned
from storewatchd.core.promql.windows import over_time
from storewatchd.core.rowstate import RowState
from storewatchd.core.series import SeriesTable
from storewatchd.errors import ExpressionError


@dataclass(frozen=True, slots=True)
class ResultRow:
    """One row of an answer; `value` of a row that is bounded is the bound, and of one that is
    unknown it means nothing."""

    labels: dict[str, str]
    value: float
    state: RowState

    @property
    def exact(self) -> bool:
        return self.state == RowState.EXACT

    @property
    def is_there(self) -> bool:
        """Whether the row is there whatever could not be seen: exact or bounded."""
        return self.state >= RowState.EXACT


@dataclass(frozen=True, slots=True)
class Result:
    """An answer: the rows that are there or may be, and the label equalities of unseen rows."""

    rows: list[ResultRow]
    holes: tuple[Hole, ...]


_STATES = tuple(RowState)

_Step = Callable[[SeriesTable, float, Budget], Vector]


class Plan:
    """An expression made ready for evaluation. It belongs to one table."""

    def __init__(self, expr: Expr) -> None:
        names: set[str] = set()
        self._nameless: list[Selection] = []
        self.reach_s = 0.0
        """How far back from the moment of evaluation it reads."""

        def note(node: Expr) -> None:
            if isinstance(node, Selector):
                self.reach_s = max(self.reach_s, (node.range_s or 0.0) + node.offset_s)
                if node.name:
                    names.add(node.name)
                else:
                    self._nameless.append(Selection(node))

        walk(expr, note)
        self._names = frozenset(names)
        self._step = _compile(expr)

    def touches(self, families: frozenset[str], table: SeriesTable) -> bool:
        """Return whether a change of these families may change the answer."""
        return not families.isdisjoint(self._names) or (
            bool(self._nameless) and not families.isdisjoint(self.families(table))
        )

    def families(self, table: SeriesTable) -> frozenset[str]:
        """Return the names of the families that it reads, of which some may not be declared."""
        return self._names.union(*(one.families(table) for one in self._nameless))

    def evaluate(self, table: SeriesTable, at: float, *, cells: int = MAX_CELLS) -> Result:
        """Return the answer at a moment, for at most so many cells.

        Raises:
            ExpressionError: rows pair more than one to one, two rows are the same series, it
                reads further back than the table keeps, or it costs more cells.
        """
        if self.reach_s > table.retention_s:
            raise ExpressionError(
                f"it reads {self.reach_s:g} s back, and {table.retention_s:g} s are kept"
            )
        with np.errstate(all="ignore"):
            # IEEE arithmetic, as in Prometheus: x/0 is an infinity or NaN, not an error.
            vector = self._step(table, at, Budget(cells))
        places = np.flatnonzero(vector.possible)
        rows = [
            ResultRow(vector.frame.labels(place), value, _STATES[state])
            for place, value, state in zip(
                places.tolist(),
                vector.values[places].tolist(),
                vector.states[places].tolist(),
                strict=True,
            )
        ]
        return Result(rows, vector.holes)


def _compile(expr: Expr) -> _Step:
    """Return an expression as a step that pays for the rows it gives."""
    step = _step_of(expr)

    def paying(table: SeriesTable, at: float, budget: Budget) -> Vector:
        vector = step(table, at, budget)
        width = 1 + len(vector.frame.names)
        budget.spend(OPERATION_CELLS + len(vector.holes) + width * len(vector.frame))
        return vector

    return paying


def _step_of(expr: Expr) -> _Step:
    match expr:
        case Number():
            return _constant(expr.value)
        case Selector():
            return Selection(expr).instant
        case Negation():
            return _distinct(_negation(_compile(expr.operand), type_of(expr) is ValueType.SCALAR))
        case Binary():
            return _distinct(_binary(expr))
        case Aggregate():
            return _aggregate(expr)
        case Call():
            return _distinct(_call(expr))
        case _:
            assert_never(expr)


def _distinct(step: _Step) -> _Step:
    """Refuse what Prometheus refuses: several rows that are the same once their names are gone."""

    def checked(table: SeriesTable, at: float, budget: Budget) -> Vector:
        vector = step(table, at, budget)
        if vector.frame.has_duplicates:
            identities = vector.frame.identities
            there = [identities[place] for place in np.flatnonzero(vector.there)]
            if len(set(there)) < len(there):
                raise ExpressionError("several rows have the same labels")
        return vector

    return checked


def _scalar(value: float) -> Vector:
    return Vector(SCALAR, np.array([EXACT], np.int8), np.array([value]))


def _constant(value: float) -> _Step:
    vector = _scalar(value)
    return lambda table, at, budget: vector


def _negation(operand: _Step, is_scalar: bool) -> _Step:
    def negated(table: SeriesTable, at: float, budget: Budget) -> Vector:
        vector = operand(table, at, budget)
        frame = vector.frame if is_scalar else vector.frame.nameless
        return Vector(frame, turned(vector.states), -vector.values, vector.holes)

    return negated


def _call(expr: Call) -> _Step:
    if expr.function == "time":
        return lambda table, at, budget: _scalar(at)
    argument = expr.arguments[0]
    if expr.function == "absent":
        return _absent(_compile(argument), argument)
    assert isinstance(argument, Selector)
    return _over_time(expr.function, argument)


def _over_time(function: str, selector: Selector) -> _Step:
    selection = Selection(selector)
    range_s = selector.range_s or 0.0

    def step(table: SeriesTable, at: float, budget: Budget) -> Vector:
        end = at - selector.offset_s
        return selection.join(
            [
                over_time(function, window, range_s=range_s, end=end)
                for window in selection.windows(table, at, budget)
            ],
            budget,
        )

    return step


def _absent(operand: _Step, argument: Expr) -> _Step:
    labels = _absent_labels(argument)
    frame = LabelFrame(tuple(labels), [tuple(labels.values())], [""])

    def absent(table: SeriesTable, at: float, budget: Budget) -> Vector:
        vector = operand(table, at, budget)
        if vector.there.any():
            state = ABSENT
        elif vector.unknown.any() or vector.holes:
            state = UNKNOWN
        else:
            state = EXACT
        return Vector(frame, np.array([state], np.int8), np.ones(1))

    return absent


def _absent_labels(argument: Expr) -> Mapping[str, str]:
    """Return the labels of absent()'s row: those that a selector says outright and nothing of
    behind that (promql/functions.go, createLabelsForAbsentFunction)."""
    if not isinstance(argument, Selector):
        return {}
    labels: dict[str, str] = {}
    said: set[str] = set()
    for matcher in argument.matchers:
        if matcher.label == "__name__":
            continue
        if matcher.is_equality and matcher.label not in said:
            labels[matcher.label] = matcher.value
            said.add(matcher.label)
        else:
            labels.pop(matcher.label, None)
    return {label: value for label, value in labels.items() if value}


def _aggregate(expr: Aggregate) -> _Step:
    aggregation, operand = Aggregation(expr), _compile(expr.operand)

    def aggregated(table: SeriesTable, at: float, budget: Budget) -> Vector:
        return aggregation.apply(operand(table, at, budget), budget)

    return aggregated


def _combine(combination: Combination, left: _Step, right: _Step) -> _Step:
    def combined(table: SeriesTable, at: float, budget: Budget) -> Vector:
        return combination.apply(left(table, at, budget), right(table, at, budget), budget)

    return combined


def _binary(expr: Binary) -> _Step:
    left, right = _compile(expr.left), _compile(expr.right)
    scalars = (
        type_of(expr.left) is ValueType.SCALAR,
        type_of(expr.right) is ValueType.SCALAR,
    )
    if not any(scalars):
        return _combine(Combination(expr), left, right)
    vector_is_left = scalars[1]
    keeps_name = expr.operator in COMPARISONS and not expr.returns_bool

    def with_scalar(table: SeriesTable, at: float, budget: Budget) -> Vector:
        a, b = left(table, at, budget), right(table, at, budget)
        vector = a if vector_is_left else b
        sides = Side(a.states, a.values), Side(b.states, b.values)
        found = operate(expr, *sides, kept=sides[0 if vector_is_left else 1])
        frame = vector.frame if keeps_name or all(scalars) else vector.frame.nameless
        return Vector(frame, found.states, found.values, vector.holes)

    return with_scalar
