"""Arithmetic and comparisons of pairs of rows: what a bound leaves open, and what it decides."""

import itertools
import math

import numpy as np
import pytest
from numpy.typing import NDArray

from core.promql.fix_expressions import ARITHMETIC, COMPARISONS
from core.promql.fix_vectors import GONE, MAYBE, Value, at_least, at_most, rows, vector
from storewatchd.core.promql import parse
from storewatchd.core.promql.operate import Side, arithmetic, compare, operate
from storewatchd.core.promql.syntax import Binary
from storewatchd.core.promql.vector import ABSENT, AT_LEAST, AT_MOST, EXACT, Values, Vector

INF, NAN = math.inf, math.nan


def pair(left: Value, operator: str, right: Value) -> Value | None:
    """Return what an operator gives for two rows, None for none; a comparison keeps the left."""
    expr = parse(f"a {operator} b")
    assert isinstance(expr, Binary)
    one, other = vector({"1 a": left}), vector({"1 a": right})
    sides = Side(one.states, one.values), Side(other.states, other.values)
    with np.errstate(all="ignore"):
        found = operate(expr, *sides, kept=sides[0])
    return rows(Vector(one.frame, found.states, found.values)).get("1 a")


@pytest.mark.parametrize(
    ("operator", "values"),
    [
        ("+", [9, INF]),
        ("-", [-5, INF]),
        ("*", [14, NAN]),
        ("/", [2 / 7, INF]),
        ("%", [2, NAN]),
        ("^", [128, 1]),
    ],
)
def test_arithmetic_is_that_of_floats(operator: str, values: list[float]) -> None:
    with np.errstate(all="ignore"):
        found = arithmetic(operator, np.array([2.0, INF]), np.array([7.0, 0.0]))
    assert found.tolist() == pytest.approx(values, nan_ok=True)


@pytest.mark.parametrize(
    ("operator", "verdicts"),
    [
        ("==", [False, True, False]),
        ("!=", [True, False, True]),
        ("<", [True, False, False]),
        (">", [False, False, False]),
        ("<=", [True, True, False]),
        (">=", [False, True, False]),
    ],
)
def test_nothing_compares_with_nan_but_by_being_different(
    operator: str, verdicts: list[bool]
) -> None:
    found = compare(operator, np.array([1.0, 2.0, NAN]), np.array([2.0, 2.0, NAN]))
    assert found.tolist() == verdicts


@pytest.mark.parametrize("operator", ["+", ">", "> bool"])
@pytest.mark.parametrize("bound", [at_least(5), at_most(5)], ids=["at least", "at most"])
@pytest.mark.parametrize(
    ("other", "result"),
    [pytest.param(MAYBE, MAYBE, id="maybe"), pytest.param(GONE, None, id="gone")],
)
def test_a_bound_needs_a_partner(
    operator: str, bound: Value, other: Value, result: Value | None
) -> None:
    assert pair(bound, operator, other) == result
    assert pair(other, operator, bound) == result


@pytest.mark.parametrize(
    ("left", "operator", "right", "result"),
    [
        pytest.param(at_least(5), "+", 2.0, at_least(7), id="plus"),
        pytest.param(2.0, "+", at_most(5), at_most(7), id="to something"),
        pytest.param(at_most(5), "-", 2.0, at_most(3), id="minus"),
        pytest.param(2.0, "-", at_least(5), at_most(-3), id="from something"),
        pytest.param(at_least(5), "+", at_least(1), at_least(6), id="plus another"),
        pytest.param(at_least(5), "-", at_most(1), at_least(4), id="minus another"),
        pytest.param(at_least(5), "+", at_most(1), MAYBE, id="plus one of the other kind"),
        pytest.param(at_least(5), "-", at_least(1), MAYBE, id="minus one of the same kind"),
        pytest.param(at_least(5), "*", 2.0, at_least(10), id="times"),
        pytest.param(-2.0, "*", at_least(5), at_most(-10), id="times something negative"),
        pytest.param(at_least(5), "*", at_least(2), MAYBE, id="times another"),
        pytest.param(at_least(5), "*", 0.0, MAYBE, id="times zero: infinity gives NaN"),
        pytest.param(at_most(5), "/", 2.0, at_most(2.5), id="divided"),
        pytest.param(at_most(5), "/", -2.0, at_least(-2.5), id="divided by something negative"),
        pytest.param(at_least(5), "/", 0.0, MAYBE, id="divided by zero"),
        pytest.param(2.0, "/", at_least(5), MAYBE, id="a divisor"),
        pytest.param(at_least(5), "%", 2.0, MAYBE, id="a remainder"),
        pytest.param(at_least(5), "^", 2.0, MAYBE, id="a power"),
        pytest.param(at_least(5), "+", -INF, MAYBE, id="plus infinity: infinity gives NaN"),
        pytest.param(at_least(5), "+", NAN, MAYBE, id="plus NaN"),
        pytest.param(at_least(-INF), "+", at_least(1), MAYBE, id="an infinite bound"),
    ],
)
def test_arithmetic_keeps_a_bound_where_it_is_monotone(
    left: Value, operator: str, right: Value, result: Value
) -> None:
    assert pair(left, operator, right) == result


@pytest.mark.parametrize(
    ("left", "operator", "right", "result"),
    [
        pytest.param(at_least(5), ">", 4.0, at_least(5), id="over: true"),
        pytest.param(at_least(5), ">", 5.0, MAYBE, id="not over: open"),
        pytest.param(at_most(5), ">", 5.0, None, id="under: false"),
        pytest.param(at_most(5), ">", 4.0, MAYBE, id="not under: open"),
        pytest.param(at_least(5), ">=", 5.0, at_least(5), id="as much: true"),
        pytest.param(at_most(5), ">=", 5.0, MAYBE, id="up to as much: open"),
        pytest.param(at_most(5), ">=", 6.0, None, id="less: false"),
        pytest.param(at_most(5), "<", 6.0, at_most(5), id="less: true"),
        pytest.param(at_least(5), "<", 5.0, None, id="as much, for less: false"),
        pytest.param(at_least(5), "<", 6.0, MAYBE, id="maybe less: open"),
        pytest.param(at_most(5), "<=", 5.0, at_most(5), id="no more: true"),
        pytest.param(at_least(5), "<=", 4.0, None, id="more: false"),
        pytest.param(at_least(5), "==", 4.0, None, id="equal to less: false"),
        pytest.param(at_least(5), "==", 5.0, MAYBE, id="equal to the bound: open"),
        pytest.param(at_most(5), "!=", 6.0, at_most(5), id="different from more: true"),
        pytest.param(at_most(5), "!=", 5.0, MAYBE, id="different from the bound: open"),
        pytest.param(at_least(INF), "==", INF, at_least(INF), id="nothing is over infinity"),
        pytest.param(at_least(INF), "!=", INF, None, id="nor different from it then"),
        pytest.param(at_least(5), ">", NAN, None, id="NaN is over nothing"),
        pytest.param(at_least(5), "!=", NAN, at_least(5), id="and different from anything"),
        pytest.param(5.0, ">", at_most(4), 5.0, id="exact over a bound"),
        pytest.param(5.0, "<", at_most(5), None, id="exact under no bound"),
        pytest.param(5.0, "<", at_least(5), MAYBE, id="exact under what may be the same"),
        pytest.param(at_least(5), ">", at_most(4), at_least(5), id="bounds apart"),
        pytest.param(at_most(4), ">", at_least(5), None, id="bounds apart, the other way"),
        pytest.param(at_least(5), ">", at_least(4), MAYBE, id="bounds that leave it open"),
    ],
)
def test_a_comparison_is_decided_where_no_value_within_the_bounds_changes_it(
    left: Value, operator: str, right: Value, result: Value | None
) -> None:
    assert pair(left, operator, right) == result


@pytest.mark.parametrize(
    ("left", "right", "result"),
    [
        pytest.param(at_least(5), 4.0, 1.0, id="yes"),
        pytest.param(at_most(5), 5.0, 0.0, id="no"),
        pytest.param(at_most(5), 4.0, MAYBE, id="open"),
        pytest.param(4.0, at_least(5), 0.0, id="the other way round"),
    ],
)
def test_a_decided_verdict_is_an_exact_value(left: Value, right: Value, result: Value) -> None:
    assert pair(left, "> bool", right) == result


POOL = np.array([-INF, -1e308, -2.0, -0.5, -0.0, 0.0, 5e-324, 0.5, 1.0, 2.0, 1e308, INF, NAN])
PAIRED = list(itertools.product([EXACT, AT_LEAST, AT_MOST], repeat=2))


def within(state: int, said: Values, value: Values) -> NDArray[np.bool_]:
    """Return whether a row with a state and a value said may have a value."""
    same = (said == value) & (np.signbit(said) == np.signbit(value))
    same |= np.isnan(said) & np.isnan(value)
    found: NDArray[np.bool_] = {EXACT: same, AT_LEAST: value >= said, AT_MOST: value <= said}[state]
    return found


@pytest.mark.parametrize("states", PAIRED, ids=str)
@pytest.mark.parametrize(
    "operator", [*ARITHMETIC, *COMPARISONS, *(f"{sign} bool" for sign in COMPARISONS)]
)
def test_what_is_said_of_a_pair_is_so_for_every_value_within_its_bounds(
    operator: str, states: tuple[int, int]
) -> None:
    expr = parse(f"a {operator} b")
    assert isinstance(expr, Binary)
    said, truth = np.array(list(itertools.product(POOL, repeat=4))).T.reshape(2, 2, -1)
    fits = within(states[0], said[0], truth[0]) & within(states[1], said[1], truth[1])
    (left, right), (one, other) = said[:, fits], truth[:, fits]
    alike = np.ones(len(left), np.int8)
    with np.errstate(all="ignore"):
        sides = Side(alike * states[0], left), Side(alike * states[1], right)
        found = operate(expr, *sides, kept=sides[0])
        whole = Side(alike * EXACT, one), Side(alike * EXACT, other)
        real = operate(expr, *whole, kept=whole[0])
    assert (real.states[found.states == ABSENT] == ABSENT).all()
    for state in (EXACT, AT_LEAST, AT_MOST):
        rows_of_state = found.states == state
        assert (real.states[rows_of_state] == EXACT).all()
        assert within(state, found.values[rows_of_state], real.values[rows_of_state]).all()


def test_rows_beside_a_bound_are_as_if_it_was_not_there() -> None:
    expr = parse("a > b")
    assert isinstance(expr, Binary)
    left = vector({"1 a": at_least(5), "1 b": 5.0, "1 c": 1.0, "1 d": MAYBE, "1 e": GONE})
    scalar = Side(vector({"1 a": 2.0}).states, np.array([2.0]))
    mine = Side(left.states, left.values)
    found = operate(expr, mine, scalar, kept=mine)
    assert rows(Vector(left.frame, found.states, found.values)) == {
        "1 a": at_least(5),
        "1 b": 5.0,
        "1 d": MAYBE,
    }
