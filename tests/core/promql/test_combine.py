"""Binary operators between vectors: what is known of the result, row by row."""

import pytest

from core.promql.fix_vectors import (
    GONE,
    MAYBE,
    PLENTY,
    Rows,
    Value,
    at_least,
    at_most,
    rows,
    vector,
)
from storewatchd.core.promql import parse
from storewatchd.core.promql.combine import Combination
from storewatchd.core.promql.syntax import Binary
from storewatchd.core.promql.vector import Vector
from storewatchd.errors import ExpressionError

HERE, ELSEWHERE = {"s": "1"}, {"s": "2"}


def combination(operator: str) -> Combination:
    expr = parse(f"a {operator} b")
    assert isinstance(expr, Binary)
    return Combination(expr)


def combine(left: Vector, operator: str, right: Vector) -> Vector:
    return combination(operator).apply(left, right, PLENTY)


@pytest.mark.parametrize(
    ("left", "operator", "right", "result"),
    [
        pytest.param(1.0, "+", 2.0, 3.0, id="both are known"),
        pytest.param(1.0, "+", MAYBE, MAYBE, id="right may be"),
        pytest.param(MAYBE, "+", 2.0, MAYBE, id="left may be"),
        pytest.param(1.0, "+", GONE, None, id="right is not there"),
        pytest.param(GONE, "+", MAYBE, None, id="left is not there"),
        pytest.param(1.0, "<", 2.0, 1.0, id="a comparison keeps the left side"),
        pytest.param(2.0, "<", 1.0, None, id="or nothing"),
        pytest.param(2.0, "< bool", 1.0, 0.0, id="with bool it says no"),
        pytest.param(1.0, "< bool", 2.0, 1.0, id="or yes"),
        pytest.param(1.0, "<", MAYBE, MAYBE, id="a comparison with what may be"),
        pytest.param(1.0, "and", 2.0, 1.0, id="and: both are there"),
        pytest.param(1.0, "and", MAYBE, MAYBE, id="and: right may be"),
        pytest.param(1.0, "and", GONE, None, id="and: right is not there"),
        pytest.param(MAYBE, "and", 2.0, MAYBE, id="and: left may be"),
        pytest.param(1.0, "unless", 2.0, None, id="unless: right is there"),
        pytest.param(1.0, "unless", MAYBE, MAYBE, id="unless: right may be"),
        pytest.param(1.0, "unless", GONE, 1.0, id="unless: right is not there"),
        pytest.param(1.0, "or", MAYBE, 1.0, id="or: left is there"),
        pytest.param(GONE, "or", 2.0, 2.0, id="or: left is not there"),
        pytest.param(GONE, "or", MAYBE, MAYBE, id="or: left is not there, right may be"),
        pytest.param(GONE, "or", GONE, None, id="or: neither is there"),
        pytest.param(at_least(1), "+", 2.0, at_least(3), id="a bound and what is known"),
        pytest.param(at_least(1), "and", at_most(2), at_least(1), id="and: bounds are there"),
        pytest.param(at_least(1), "and", MAYBE, MAYBE, id="and: a bound, right may be"),
        pytest.param(1.0, "unless", at_least(2), None, id="unless: a bound is there"),
        pytest.param(at_most(1), "unless", GONE, at_most(1), id="unless: nothing but a bound"),
        pytest.param(at_most(1), "or", 2.0, at_most(1), id="or: a bound is there"),
        pytest.param(GONE, "or", at_least(2), at_least(2), id="or: right has a bound"),
    ],
)
def test_a_pair_of_rows_decides_as_far_as_it_is_known(
    left: Value, operator: str, right: Value, result: Value | None
) -> None:
    found = combine(vector({"1 a": left}), operator, vector({"1 a": right}))
    assert rows(found) == ({} if result is None else {"1 a": result})


@pytest.mark.parametrize("right", [2.0, at_least(2)], ids=["exact", "bound"])
def test_or_with_a_left_side_that_may_be_leaves_both_open(right: Value) -> None:
    found = combine(vector({"1 a": MAYBE}), "or", vector({"1 a": right}))
    assert found.unknown.tolist() == [True, True]


@pytest.mark.parametrize(
    ("operator", "hole", "result"),
    [
        pytest.param("+", HERE, {"1 a": MAYBE}, id="arithmetic, hidden"),
        pytest.param("+", ELSEWHERE, {}, id="arithmetic, not hidden"),
        pytest.param("and", HERE, {"1 a": MAYBE}, id="and, hidden"),
        pytest.param("and", ELSEWHERE, {}, id="and, not hidden"),
        pytest.param("unless", HERE, {"1 a": MAYBE}, id="unless, hidden"),
        pytest.param("unless", ELSEWHERE, {"1 a": 1.0}, id="unless, not hidden"),
        pytest.param("+ on (x)", ELSEWHERE, {"a": MAYBE}, id="a hole that the match does not see"),
        pytest.param("+ on (s)", ELSEWHERE, {}, id="a hole that the match sees"),
    ],
)
def test_a_partner_that_nobody_could_see_may_be_there(
    operator: str, hole: dict[str, str], result: Rows
) -> None:
    assert rows(combine(vector({"1 a": 1.0}), operator, vector({}, hole))) == result


@pytest.mark.parametrize(
    ("hole", "result"),
    [
        pytest.param(HERE, MAYBE, id="hidden"),
        pytest.param(ELSEWHERE, 2.0, id="not hidden"),
    ],
)
def test_or_takes_the_right_row_only_where_no_left_one_may_be(
    hole: dict[str, str], result: Value
) -> None:
    assert rows(combine(vector({}, hole), "or", vector({"1 a": 2.0}))) == {"1 a": result}


@pytest.mark.parametrize(
    ("operator", "holes"),
    [
        pytest.param("+", (HERE,), id="arithmetic has those of the left"),
        pytest.param("and", (HERE,), id="and has those of the left"),
        pytest.param("unless", (HERE,), id="unless has those of the left"),
        pytest.param("or", (HERE, ELSEWHERE), id="or has those of both"),
        pytest.param("+ on (x)", ({},), id="only labels that are kept"),
    ],
)
def test_a_result_has_the_holes_of_what_it_is_made_of(
    operator: str, holes: tuple[dict[str, str], ...]
) -> None:
    assert combine(vector({}, HERE), operator, vector({}, ELSEWHERE)).holes == holes


@pytest.mark.parametrize(
    ("operator", "labels"),
    [
        pytest.param("+", {"s": "1", "x": "a"}, id="arithmetic"),
        pytest.param("<", {"s": "1", "x": "a", "__name__": "m"}, id="comparison"),
        pytest.param("< bool", {"s": "1", "x": "a"}, id="comparison with bool"),
        pytest.param("< on (s)", {"s": "1"}, id="comparison on"),
        pytest.param("< ignoring (x)", {"s": "1", "__name__": "m"}, id="comparison ignoring"),
        pytest.param("< ignoring (__name__)", {"s": "1", "x": "a"}, id="comparison without name"),
        pytest.param("< on (__name__)", {"__name__": "m"}, id="comparison on the name"),
        pytest.param("+ on (__name__)", {}, id="arithmetic on the name"),
        pytest.param("+ ignoring (s)", {"x": "a"}, id="arithmetic ignoring"),
        pytest.param("and", {"s": "1", "x": "a", "__name__": "m"}, id="and"),
        pytest.param("or", {"s": "1", "x": "a", "__name__": "m"}, id="or"),
    ],
)
def test_a_result_is_called_as_in_prometheus(operator: str, labels: dict[str, str]) -> None:
    left, right = vector({"1 a": 1.0}, metric="m"), vector({"1 a": 2.0}, metric="m")
    assert combine(left, operator, right).frame.labels(0) == labels


@pytest.mark.parametrize(
    ("left", "operator", "right", "message"),
    [
        pytest.param(
            {"1 a": 1.0}, "+ on (s)", {"1 a": 1.0, "1 b": 1.0}, "on the right", id="right"
        ),
        pytest.param({"1 a": 1.0, "1 b": 1.0}, "+ on (s)", {"1 a": 1.0}, "on the left", id="left"),
        pytest.param(
            {"1 a": 1.0}, "+ on (s)", {"1 a": at_least(1), "1 b": 1.0}, "on the right", id="bounds"
        ),
        pytest.param(
            {"1 a": 1.0, "1 b": at_most(1)},
            "+ on (s)",
            {"1 a": 1.0},
            "on the left",
            id="bounds, left",
        ),
        pytest.param(
            {"1 a": MAYBE}, "+ on (s)", {"1 a": 1.0, "1 b": 1.0}, "on the right", id="left may be"
        ),
    ],
)
def test_several_rows_to_one_are_an_error(
    left: Rows, operator: str, right: Rows, message: str
) -> None:
    with pytest.raises(ExpressionError, match=rf"^\+: several rows {message}"):
        combine(vector(left), operator, vector(right))


@pytest.mark.parametrize(
    ("left", "operator", "right", "result"),
    [
        pytest.param({}, "+ on (s)", {"1 a": 1.0, "1 b": 1.0}, {}, id="nothing to match"),
        pytest.param(
            {"1 a": 1.0, "1 b": 5.0}, "> on (s)", {"1 a": 2.0}, {"1": 5.0}, id="one is left"
        ),
        pytest.param(
            {"1 a": 1.0}, "+ on (s)", {"1 a": 2.0, "1 b": GONE}, {"1": 3.0}, id="one is there"
        ),
        pytest.param(
            {"1 a": 1.0}, "+ on (s)", {"1 a": 2.0, "1 b": MAYBE}, {"1": MAYBE}, id="one may be"
        ),
        pytest.param(
            {"1 a": 1.0}, "+ on (s)", {"1 a": MAYBE, "1 b": GONE}, {"1": MAYBE}, id="if at all"
        ),
        pytest.param(
            {"1 a": at_most(1), "1 b": 5.0}, "> on (s)", {"1 a": 2.0}, {"1": 5.0}, id="one is out"
        ),
        pytest.param(
            {"1 a": GONE, "1 b": 1.0}, "+ on (s)", {"1 a": 2.0}, {"1": 3.0}, id="one was there"
        ),
    ],
)
def test_several_candidates_are_no_error_while_one_is_there(
    left: Rows, operator: str, right: Rows, result: Rows
) -> None:
    assert rows(combine(vector(left), operator, vector(right))) == result


def test_an_unseen_left_row_may_match_the_several_on_the_right() -> None:
    with pytest.raises(ExpressionError, match="on the right"):
        combine(vector({}, HERE), "+ on (s)", vector({"1 a": 1.0, "1 b": 1.0}))


def test_what_pairs_is_worked_out_once_for_two_frames() -> None:
    adding = combination("+")
    left, right = vector({"1 a": 1.0}), vector({"1 a": 2.0})
    first = adding.apply(left, right, PLENTY)
    again = adding.apply(Vector(left.frame, left.states, left.values + 1), right, PLENTY)
    assert again.frame is first.frame
    assert rows(again) == {"1 a": 4.0}
    assert rows(adding.apply(vector({"2 a": 1.0}), vector({"2 a": 5.0}), PLENTY)) == {"2 a": 6.0}


def test_or_is_put_together_once_for_two_frames() -> None:
    either = combination("or")
    left, right = vector({"1 a": 1.0}), vector({"2 a": 2.0})
    first = either.apply(left, right, PLENTY)
    assert either.apply(left, right, PLENTY).frame is first.frame
    assert rows(either.apply(left, vector({"3 a": 3.0}), PLENTY)) == {"1 a": 1.0, "3 a": 3.0}
