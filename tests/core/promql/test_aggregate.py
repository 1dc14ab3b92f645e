"""Aggregations: a group is known if all of it was seen, and as far as what was seen bounds it."""

import math

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
from storewatchd.core.promql.aggregate import Aggregation
from storewatchd.core.promql.syntax import Aggregate
from storewatchd.core.promql.vector import Vector

SEEN: Rows = {"1 a": 5.0, "1 b": 7.0, "2 a": 1.0}


def aggregation(text: str) -> Aggregation:
    expr = parse(f"{text} (m)")
    assert isinstance(expr, Aggregate)
    return Aggregation(expr)


def aggregate(text: str, operand: Vector) -> Vector:
    return aggregation(text).apply(operand, PLENTY)


@pytest.mark.parametrize(
    ("text", "result"),
    [
        pytest.param("sum by (s)", {"1": 12, "2": 1}, id="sum"),
        pytest.param("avg by (s)", {"1": 6, "2": 1}, id="avg"),
        pytest.param("min by (s)", {"1": 5, "2": 1}, id="min"),
        pytest.param("max by (s)", {"1": 7, "2": 1}, id="max"),
        pytest.param("count by (s)", {"1": 2, "2": 1}, id="count"),
        pytest.param("sum without (s)", {"a": 6, "b": 7}, id="without"),
        pytest.param("sum", {"": 13}, id="all"),
        pytest.param("sum by (missing)", {"": 13}, id="by a label that is not there"),
        pytest.param("sum by (s, x)", SEEN, id="each by itself"),
    ],
)
def test_groups_are_the_rows_with_the_same_kept_labels(text: str, result: Rows) -> None:
    assert rows(aggregate(text, vector(SEEN))) == result


@pytest.mark.parametrize(
    ("operator", "value"), [("sum", math.nan), ("avg", math.nan), ("min", 1), ("max", 2)]
)
def test_nan_counts_unless_there_is_something_to_choose(operator: str, value: float) -> None:
    found = aggregate(operator, vector({"1 a": math.nan, "1 b": 1.0, "1 c": 2.0}))
    assert rows(found)[""] == pytest.approx(value, nan_ok=True)


@pytest.mark.parametrize("operator", ["min", "max", "avg"])
def test_nothing_but_nan_gives_nan(operator: str) -> None:
    (value,) = rows(aggregate(operator, vector({"1 a": math.nan}))).values()
    assert isinstance(value, float)
    assert math.isnan(value)


@pytest.mark.parametrize(
    ("values", "result"),
    [
        pytest.param({"1 a": 1.0, "1 b": GONE}, {"1": 1.0}, id="what is not there does not count"),
        pytest.param({"1 a": 1.0, "1 b": MAYBE}, {"1": MAYBE}, id="what may be leaves it open"),
        pytest.param({"1 a": GONE, "1 b": MAYBE}, {"1": MAYBE}, id="and whether there is a group"),
        pytest.param({"1 a": GONE}, {}, id="no row, no group"),
        pytest.param({"1 a": 1.0, "2 b": MAYBE}, {"1": 1.0, "2": MAYBE}, id="each for itself"),
    ],
)
def test_a_group_is_known_if_all_its_rows_are(values: Rows, result: Rows) -> None:
    assert rows(aggregate("sum by (s)", vector(values))) == result


@pytest.mark.parametrize(
    ("text", "hole", "known", "left"),
    [
        pytest.param("sum by (s)", {"s": "1"}, ["2"], None, id="its own group"),
        pytest.param("sum by (s)", {"s": "3"}, ["1", "2"], {"s": "3"}, id="a group of its own"),
        pytest.param("sum by (s)", {"x": "a"}, [], {}, id="by a label that is not kept"),
        pytest.param("sum without (s)", {"s": "1"}, [], {}, id="without"),
        pytest.param("sum by (s, x)", {"s": "1"}, ["2 a"], {"s": "1"}, id="by more labels"),
        pytest.param("sum by (s, y)", {"y": "c"}, [], {"y": "c"}, id="a label that no row has"),
    ],
)
def test_a_hole_leaves_every_group_open_that_it_may_belong_to(
    text: str, hole: dict[str, str], known: list[str], left: dict[str, str] | None
) -> None:
    found = aggregate(text, vector(SEEN, hole))
    assert [labels for labels, value in rows(found).items() if value != MAYBE] == known
    assert found.holes == (() if left is None else (left,))


@pytest.mark.parametrize(
    ("text", "values", "holes"),
    [
        pytest.param("max", {"1 a": 1.0}, (), id="of all"),
        pytest.param("max", {"1 a": MAYBE}, (), id="of all that may be"),
        pytest.param("max", {"1 a": GONE}, ({},), id="of nothing"),
        pytest.param("max", {}, ({},), id="of no row at all"),
        pytest.param("max by (s, x)", {"1 a": 1.0}, (), id="by all labels"),
        pytest.param("max by (x, s)", {"1 b": 1.0}, ({"s": "1", "x": "a"},), id="of another group"),
        pytest.param("max by (__name__)", {"1 a": 1.0}, ({},), id="by the name"),
        pytest.param("max without ()", {"1 a": 1.0}, ({"s": "1", "x": "a"},), id="without"),
    ],
)
def test_a_hole_that_can_only_add_to_a_group_hides_no_other(
    text: str, values: Rows, holes: tuple[dict[str, str], ...]
) -> None:
    operand = vector(values, {"s": "1", "x": "a"}, metric="m")
    assert aggregate(text, operand).holes == holes


@pytest.mark.parametrize(
    ("operator", "values", "result"),
    [
        pytest.param("count", [1.0, MAYBE], at_least(1), id="count: so many are there"),
        pytest.param("count", [MAYBE], MAYBE, id="count: maybe no group"),
        pytest.param("count", [at_least(1), at_most(2)], 2.0, id="count: bounds are there"),
        pytest.param("count", [math.nan, MAYBE], at_least(1), id="count: NaN is there"),
        pytest.param("max", [1.0, 3.0, MAYBE], at_least(3), id="max: at least what is known"),
        pytest.param("max", [math.nan, 3.0, MAYBE], at_least(3), id="max: NaN says nothing"),
        pytest.param("max", [math.nan, MAYBE], MAYBE, id="max: nothing but NaN"),
        pytest.param("max", [at_least(5), 3.0], at_least(5), id="max: a floor above"),
        pytest.param("max", [at_least(1), 3.0], at_least(3), id="max: a floor below"),
        pytest.param("max", [at_most(2), 3.0], 3.0, id="max: a ceiling below"),
        pytest.param("max", [at_most(5), 3.0], at_least(3), id="max: a ceiling above"),
        pytest.param("max", [at_most(5), at_most(3)], at_most(5), id="max: ceilings"),
        pytest.param("max", [at_most(5), math.nan], at_most(5), id="max: a ceiling and NaN"),
        pytest.param("max", [at_most(5), MAYBE], MAYBE, id="max: a ceiling and what may be"),
        pytest.param("max", [at_most(5), at_least(1)], at_least(1), id="max: both"),
        pytest.param("min", [1.0, 3.0, MAYBE], at_most(1), id="min: at most what is known"),
        pytest.param("min", [math.nan, MAYBE], MAYBE, id="min: nothing but NaN"),
        pytest.param("min", [at_most(2), 3.0], at_most(2), id="min: a ceiling below"),
        pytest.param("min", [at_least(5), 3.0], 3.0, id="min: a floor above"),
        pytest.param("min", [at_least(2), 3.0], at_most(3), id="min: a floor below"),
        pytest.param("min", [at_least(5), at_least(3)], at_least(3), id="min: floors"),
        pytest.param("sum", [at_least(1), 3.0], MAYBE, id="sum"),
        pytest.param("avg", [at_most(1), 3.0], MAYBE, id="avg"),
    ],
)
def test_what_is_there_bounds_its_group(operator: str, values: list[Value], result: Value) -> None:
    operand = vector({f"1 {place}": value for place, value in enumerate(values)})
    assert rows(aggregate(f"{operator} by (s)", operand)) == {"1": result}


@pytest.mark.parametrize(
    ("operator", "value"),
    [("count", at_least(2)), ("max", at_least(7)), ("min", at_most(5)), ("sum", MAYBE)],
)
def test_a_hole_leaves_open_what_it_may_add_to(operator: str, value: Value) -> None:
    found = aggregate(f"{operator} by (s)", vector(SEEN, {"s": "1"}))
    assert rows(found)["1"] == value
    assert rows(found)["2"] == {"count": 1.0, "max": 1.0, "min": 1.0, "sum": 1.0}[operator]


def test_each_group_has_its_own_bound() -> None:
    operand = vector({"1 a": at_most(5), "2 a": 3.0, "2 b": MAYBE, "3 a": GONE, "4 a": 1.0})
    assert rows(aggregate("max by (s)", operand)) == {"1": at_most(5), "2": at_least(3), "4": 1.0}


def test_an_empty_label_contradicts_a_hole() -> None:
    found = aggregate("sum by (s, x)", vector({"1 -": 1.0}, {"x": "a"}))
    assert rows(found) == {"1 -": 1.0}


@pytest.mark.parametrize(
    ("text", "labels"),
    [("sum by (__name__)", {"__name__": "m"}), ("sum without (s, x)", {}), ("sum", {})],
)
def test_a_name_is_kept_where_it_is_asked_for(text: str, labels: dict[str, str]) -> None:
    assert aggregate(text, vector(SEEN, metric="m")).frame.labels(0) == labels


def test_groups_are_worked_out_once_for_a_frame() -> None:
    summing = aggregation("sum by (s)")
    operand = vector(SEEN)
    first = summing.apply(operand, PLENTY)
    again = summing.apply(Vector(operand.frame, operand.states, operand.values * 2), PLENTY)
    assert again.frame is first.frame
    assert rows(again) == {"1": 24, "2": 2}
    assert rows(summing.apply(vector({"3 a": 1.0}), PLENTY)) == {"3": 1}
