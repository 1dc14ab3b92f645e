"""Arithmetic and comparisons of rows that pair, in three values.

A result is exact where both rows are. Where a row has a bound:

- Arithmetic keeps a bound where the operator is monotone and no value on that side can give NaN:
  a bound plus or minus a finite exact value, or a finite bound that leans the same way; a finite
  bound times, or divided by, a finite exact value that is not 0. IEEE rounding is monotone, so the
  bound of the result is what the operator gives for the bound. Otherwise it is unknown.
- A comparison is decided where it comes out the same for every value that the rows may have.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from storewatchd.core.promql.syntax import COMPARISONS, Binary
from storewatchd.core.promql.vector import (
    ABSENT,
    AT_LEAST,
    AT_MOST,
    EXACT,
    UNKNOWN,
    States,
    Values,
)

_ARITHMETIC: dict[str, Callable[[Values, Values], Values]] = {
    "+": np.add,
    "-": np.subtract,
    "*": np.multiply,
    "/": np.divide,
    "%": np.fmod,
    "^": np.power,
}
_COMPARISON: dict[str, Callable[[Values, Values], NDArray[np.bool_]]] = {
    "==": np.equal,
    "!=": np.not_equal,
    "<": np.less,
    ">": np.greater,
    "<=": np.less_equal,
    ">=": np.greater_equal,
}

# Which way a state leaves its value open: 1 above the bound, -1 below it.
_LEAN = np.zeros(5, np.int8)
_LEAN[[AT_LEAST, AT_MOST]] = 1, -1
_STATE_OF_LEAN = np.array([UNKNOWN, AT_LEAST, AT_MOST], np.int8)  # -1 is the last one

Verdicts = NDArray[np.bool_]


class Side(NamedTuple):
    """One side of an operator: a row for each of the other side's, or one row for all of them."""

    states: States
    values: Values


def arithmetic(operator: str, left: Values, right: Values) -> Values:
    """Return IEEE arithmetic, element by element."""
    return _ARITHMETIC[operator](left, right)


def compare(operator: str, left: Values, right: Values) -> Verdicts:
    """Return a comparison, element by element; NaN equals nothing."""
    return _COMPARISON[operator](left, right)


def operate(node: Binary, left: Side, right: Side, *, kept: Side) -> Side:
    """Return what an arithmetic or comparison operator gives for each pair of rows; a comparison
    that filters gives the rows of `kept`, which is one of the sides."""
    states = np.minimum(left.states, right.states)
    has_bound = np.greater(np.maximum(left.states, right.states), EXACT)
    is_bounded = bool(has_bound.any())
    if is_bounded:
        states = np.minimum(states, np.int8(EXACT))
    pairs = np.equal(states, EXACT)
    if node.operator not in COMPARISONS:
        values = arithmetic(node.operator, left.values, right.values)
        if is_bounded:
            bounds = pairs & has_bound
            states[bounds] = _STATE_OF_LEAN[_lean(node.operator, left, right)[bounds]]
        return Side(states, values)
    surely, maybe = (_over_ranges if is_bounded else _over_values)(node.operator, left, right)
    if is_bounded:
        if not node.returns_bool:
            states[pairs] = kept.states[pairs]
        states[pairs & (surely != maybe)] = UNKNOWN
    if node.returns_bool:
        return Side(states, surely.astype(np.float64))
    states[pairs & ~maybe] = ABSENT
    return Side(states, kept.values)


def _over_values(operator: str, left: Side, right: Side) -> tuple[Verdicts, Verdicts]:
    verdicts = compare(operator, left.values, right.values)
    return verdicts, verdicts


def _over_ranges(operator: str, left: Side, right: Side) -> tuple[Verdicts, Verdicts]:
    """Return for each pair whether the comparison surely, and whether it maybe, holds."""
    lowest, highest = _range(left)
    least, most = _range(right)
    match operator:
        case ">" | ">=":
            return compare(operator, lowest, most), compare(operator, highest, least)
        case "<" | "<=":
            return compare(operator, highest, least), compare(operator, lowest, most)
    same = (lowest == most) & (highest == least)
    meet = (lowest <= most) & (highest >= least)
    return (same, meet) if operator == "==" else (~meet, ~same)


def _range(side: Side) -> tuple[Values, Values]:
    """Return the lowest and the highest value that each row may have; NaN twice for NaN."""
    return (
        np.where(side.states == AT_MOST, -np.inf, side.values),
        np.where(side.states == AT_LEAST, np.inf, side.values),
    )


def _lean(operator: str, left: Side, right: Side) -> NDArray[np.int8]:
    """Return which way the result of bounds is left open, 0 where nothing is known of it."""
    one, other = _LEAN[left.states], _LEAN[right.states]
    lean: NDArray[np.float64] | NDArray[np.int8]
    match operator:
        case "+":
            lean = one + other
        case "-":
            lean = one - other
        case "*":
            lean = one * np.sign(right.values) + other * np.sign(left.values)
            lean = np.where((one != 0) & (other != 0), 0, lean)
        case "/":
            lean = np.where(other != 0, 0, one * np.sign(right.values))
        case _:
            lean = np.zeros(len(one + other), np.int8)
    is_finite = np.isfinite(left.values) & np.isfinite(right.values)
    return np.where(is_finite, np.sign(lean), 0).astype(np.int8)
