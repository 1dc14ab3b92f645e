"""Answers in three values: what is known, what is unknown, and what nobody could see."""

import math

import pytest

from core.promql.table import NOON, Bench
from storewatchd.core.frames import Frame, Outcome, Scope
from storewatchd.core.promql import Plan, parse
from storewatchd.core.rowstate import RowState
from storewatchd.core.series import Recorded, recording
from storewatchd.errors import ExpressionError


@pytest.fixture
def bench() -> Bench:
    bench = Bench("a", "b")
    bench.see("1", a={("x",): 5.0, ("y",): 7.0}, b={("x",): 2.0})
    bench.see("2", a={("x",): 1.0}, b={("x",): 4.0, ("z",): 9.0})
    return bench


def only(bench: Bench, text: str) -> float:
    """Return the value of the one exact row."""
    (value,) = bench.values(text).values()
    return value


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("sum(a)", 13),
        ("count(a)", 3),
        ("max(a)", 7),
        ("min(a)", 1),
        ("avg(a)", 13 / 3),
        ("sum(a / b)", 5 / 2 + 1 / 4),
        ("sum(a > 4)", 12),
        ("sum(a > bool 4)", 2),
        ("sum(4 < a)", 12),
        ("sum(a and b)", 6),
        ("sum(a unless b)", 7),
        ("sum(a or b)", 22),
        ("sum(a and on (s) b)", 13),
        ("sum(-a)", -13),
        ("sum(2 ^ a % 3)", sum(2**n % 3 for n in (5, 7, 1))),
        ("-2 ^ 2", -4),
        ("2 ^ 3 ^ 0", 2),
        ("1 + 2 * 3", 7),
        ("(1 + 2) * 3", 9),
        ("7 % -3", 1),
        ("1 / 0", math.inf),
        ("1 == bool 1", 1),
        ("time()", NOON),
        ('sum(a{s="1"})', 12),
        ('sum(a{x!="x"})', 7),
        ('sum({__name__=~"a|b",s="2"})', 14),
        ('absent(a{s="3"})', 1),
        ("absent(sum(a) > 100)", 1),
        ("-(2 - 5)", 3),
    ],
)
def test_known_data_gives_the_value_that_prometheus_gives(
    bench: Bench, text: str, value: float
) -> None:
    assert only(bench, text) == pytest.approx(value)


def test_aggregation_keeps_what_it_is_told(bench: Bench) -> None:
    assert bench.values("sum by (s) (a)") == {(("s", "1"),): 12.0, (("s", "2"),): 1.0}
    assert bench.values("sum without (s) (a)") == {(("x", "x"),): 6.0, (("x", "y"),): 7.0}


def test_filters_keep_the_name_and_arithmetic_drops_it(bench: Bench) -> None:
    (filtered,) = bench.ask("a > 6").rows
    assert filtered.labels["__name__"] == "a"
    assert all("__name__" not in row.labels for row in bench.ask("a * 2").rows)


def test_matching_on_labels_keeps_only_those(bench: Bench) -> None:
    answer = bench.values('a{s="1",x="x"} + on (x) b{s="1"}')
    assert answer == {(("x", "x"),): 7.0}


def test_several_matches_are_an_error_and_not_a_guess(bench: Bench) -> None:
    with pytest.raises(ExpressionError, match="several rows on the right"):
        bench.ask('a{s="1",x="x"} + on (x) b{x="x"}')
    with pytest.raises(ExpressionError, match="several rows on the left"):
        bench.ask('a{s="1"} + on (s) b{s="1"}')


@pytest.mark.parametrize(
    "text",
    [
        '{__name__=~"a|b"} * 2',
        '-{__name__=~"a|b"}',
        'sum({__name__=~"a|b"} > bool 2)',
        'count(max_over_time({__name__=~"a|b"}[1m]))',
    ],
)
def test_rows_that_become_the_same_are_an_error(text: str) -> None:
    bench = Bench("a", "b")
    for step in range(3):
        bench.see("1", at=NOON + 30 * step, a={("x",): 1.0}, b={("x",): 1.0})
    with pytest.raises(ExpressionError, match="several rows have the same labels"):
        bench.ask(text, NOON + 60)


def test_what_was_never_looked_at_is_a_hole_and_not_an_absence() -> None:
    bench = Bench("a")
    assert bench.ask("a").holes == ({},)
    (row,) = bench.ask("absent(a)").rows
    assert not row.exact


def test_a_failed_scope_hides_its_rows_and_no_others(bench: Bench) -> None:
    bench.fail("1")
    answer = bench.ask("a")
    assert {row.labels["s"]: row.exact for row in answer.rows} == {"1": False, "2": True}
    assert answer.holes == ({"s": "1"},)
    assert bench.ask('a{s="2"}').holes == ()


def test_an_overdue_scope_is_a_failed_one(bench: Bench) -> None:
    assert not any(row.exact for row in bench.ask("a", NOON + 101).rows)
    assert all(row.exact for row in bench.ask("a", NOON + 100).rows)


def test_a_row_that_the_last_look_did_not_find_is_surely_gone(bench: Bench) -> None:
    bench.see("1", at=NOON + 1, a={("x",): 5.0})
    assert {row.labels["x"] for row in bench.ask('a{s="1"}', NOON + 1).rows} == {"x"}
    assert bench.ask('a{s="1"}', NOON + 1).holes == ()


@pytest.mark.parametrize(
    ("text", "labels"),
    [
        pytest.param('absent(a{s="3",x=~"y"})', {"s": "3"}, id="what is said outright"),
        pytest.param('absent(a{s="3",s="3"})', {}, id="said once"),
        pytest.param('absent(a{s!="1",s="3"})', {"s": "3"}, id="said last"),
        pytest.param('absent({__name__="c",s="3"})', {"s": "3"}, id="not the name"),
        pytest.param('absent(a{s="3",x=""})', {"s": "3"}, id="not what is empty"),
        pytest.param('absent(sum(a{s="3"}))', {}, id="only of a selector"),
    ],
)
def test_what_is_absent_is_called_as_it_was_asked_for(
    bench: Bench, text: str, labels: dict[str, str]
) -> None:
    (row,) = bench.ask(text).rows
    assert (row.labels, row.exact) == (labels, True)


@pytest.mark.parametrize(
    ("text", "families"),
    [
        pytest.param("a + b", ["a", "b"], id="by name"),
        pytest.param("time()", [], id="nothing"),
        pytest.param('{__name__=~"a|c",s="1"}', ["a"], id="by pattern"),
        pytest.param('max(absent({s="1"}))', ["a", "b"], id="any"),
    ],
)
def test_a_plan_is_touched_by_what_it_reads(bench: Bench, text: str, families: list[str]) -> None:
    prepared = Plan(parse(text))
    touched = [one for one in ("a", "b", "c") if prepared.touches(frozenset({one}), bench.table)]
    assert touched == families


def test_absent_hardware_is_known_to_be_absent(bench: Bench) -> None:
    bench.table.feed(Frame(Scope("p", (("s", "1"),)), NOON, Outcome.ABSENT))
    assert bench.ask('a{s="1"}').rows == []
    assert bench.values('absent(a{s="1"})') == {(("s", "1"),): 1.0}


def test_a_deferred_look_leaves_the_rows_known_until_they_are_too_old(bench: Bench) -> None:
    bench.table.feed(Frame(Scope("p", (("s", "1"),)), NOON + 50, Outcome.DEFERRED))
    assert all(row.exact for row in bench.ask("a", NOON + 50).rows)
    assert not any(row.exact for row in bench.ask('a{s="1"}', NOON + 101).rows)


def test_a_scope_that_is_no_more_leaves_nothing(bench: Bench) -> None:
    bench.fail("1")
    bench.table.expect("p", [Scope("p", (("s", "2"),))])
    answer = bench.ask("a")
    assert [row.labels["s"] for row in answer.rows] == ["2"]
    assert answer.holes == ()


def test_an_aggregation_over_a_hole_is_unknown(bench: Bench) -> None:
    bench.fail("1")
    (row,) = bench.ask("sum(a)").rows
    assert not row.exact
    assert bench.values("sum by (s) (a)") == {(("s", "2"),): 1.0}


@pytest.mark.parametrize(
    ("text", "state", "value"),
    [
        pytest.param("count(a)", RowState.AT_LEAST, 1, id="count"),
        pytest.param("max(a)", RowState.AT_LEAST, 1, id="max"),
        pytest.param("min(a)", RowState.AT_MOST, 1, id="min"),
        pytest.param("-max(a)", RowState.AT_MOST, -1, id="turned"),
        pytest.param("2 * max(a) + 1", RowState.AT_LEAST, 3, id="with exact numbers"),
        pytest.param("1 - max(a)", RowState.AT_MOST, 0, id="from an exact number"),
        pytest.param("max(a) > 0", RowState.AT_LEAST, 1, id="over"),
        pytest.param("0 < max(a)", RowState.AT_LEAST, 1, id="over, the other way round"),
        pytest.param("max(a) > 1", RowState.UNKNOWN, None, id="not over"),
        pytest.param("max(a) > bool 0", RowState.EXACT, 1, id="a verdict"),
        pytest.param("1 <= bool min(a)", RowState.UNKNOWN, None, id="no verdict"),
        pytest.param('max(a) + on () b{x="z"}', RowState.AT_LEAST, 10, id="with an exact row"),
        pytest.param("max(max by (s) (a))", RowState.AT_LEAST, 1, id="of bounds"),
        pytest.param("max(a) and on () count(b)", RowState.AT_LEAST, 1, id="and a bound"),
    ],
)
def test_what_is_seen_bounds_what_is_not(
    bench: Bench, text: str, state: RowState, value: float | None
) -> None:
    bench.fail("1")
    (row,) = bench.ask(text).rows
    assert row.state is state
    assert value in (None, row.value)


@pytest.mark.parametrize(
    "text",
    ["min(a) > 1", "2 < min(a)", "max(a) < 1", "absent(max(a))", "count(a) unless on () max(a)"],
)
def test_a_bound_proves_that_nothing_is_there(bench: Bench, text: str) -> None:
    bench.fail("1")
    assert bench.ask(text).rows == []


def test_set_operators_decide_what_the_seen_side_decides(bench: Bench) -> None:
    bench.fail("2")
    assert bench.values('a{s="1"} and b') == {
        (("__name__", "a"), ("s", "1"), ("x", "x")): 5.0,
    }
    unsure = bench.ask('a{s="1"} unless on (x) b{s="2"}')
    assert [row.exact for row in unsure.rows] == [False, False]


def test_a_range_needs_samples_over_most_of_its_window() -> None:
    bench = Bench("a")
    for step in range(11):
        bench.see("1", at=NOON + 30 * step, a={("x",): float(step)})
    assert only_at(bench, "max_over_time(a[5m])", NOON + 300) == 10
    assert only_at(bench, "avg_over_time(a[5m])", NOON + 300) == pytest.approx(5.5)
    assert only_at(bench, "increase(a[5m])", NOON + 300) == pytest.approx(10)
    assert only_at(bench, "rate(a[5m])", NOON + 300) == pytest.approx(1 / 30)
    (short,) = bench.ask("rate(a[10m])", NOON + 300).rows
    assert not short.exact


def test_a_counter_reset_is_an_increase_from_zero() -> None:
    bench = Bench("a")
    for step, value in enumerate([10, 20, 5, 15, 25, 35, 45, 55, 65, 75, 85]):
        bench.see("1", at=NOON + 30 * step, a={("x",): float(value)})
    assert only_at(bench, "increase(a[5m])", NOON + 300) > 85


def test_offset_looks_at_what_was() -> None:
    bench = Bench("a")
    for step in range(30):
        bench.see("1", at=NOON + 30 * step, a={("x",): float(step)})
    assert only_at(bench, "a offset 5m", NOON + 870) == 19
    assert bench.ask("a offset 10m", NOON + 870).holes == ()
    before = bench.ask("a offset 15m", NOON + 870)
    assert (before.rows, before.holes) == ([], ({"s": "1"},))


@pytest.mark.parametrize(
    ("offset", "exact"),
    [
        pytest.param("40s", [], id="when it was surely gone"),
        pytest.param("70s", [False], id="when nobody could look"),
        pytest.param("100s", [True], id="when it was there"),
    ],
)
def test_offset_sees_as_the_look_before_that_moment_saw(offset: str, exact: list[bool]) -> None:
    bench = Bench("a")
    bench.see("1", at=NOON, a={("x",): 1.0})
    bench.see("1", at=NOON + 30, a={("x",): 1.0})
    bench.fail("1", at=NOON + 60)
    bench.see("1", at=NOON + 90, a={})
    bench.see("1", at=NOON + 120, a={("x",): 1.0})
    answer = bench.ask(f"a offset {offset}", NOON + 135)
    assert [row.exact for row in answer.rows] == exact
    assert answer.holes == (({"s": "1"},) if exact == [False] else ())


def test_what_was_absent_while_nobody_could_look_is_not_known_to_be_absent() -> None:
    bench = Bench("a")
    for step in range(20):
        bench.fail("1", at=NOON + 30 * step)
    bench.see("1", at=NOON + 600, a={("x",): 1.0})
    (row,) = bench.ask("absent(a offset 5m)", NOON + 600).rows
    assert not row.exact


@pytest.mark.parametrize("text", ["rate(a[5m])", "increase(a[5m])", "max_over_time(a[5m])"])
def test_a_window_that_nobody_saw_hides_its_rows(text: str) -> None:
    bench = Bench("a")
    bench.see("1", a={("x",): 1.0})
    answer = bench.ask(text)
    assert answer.holes == ({"s": "1"},)
    assert not any(row.exact for row in answer.rows)


def test_a_row_with_too_few_samples_in_a_window_that_was_seen_is_surely_absent() -> None:
    bench = Bench("a")
    for step in range(11):
        bench.see("1", at=NOON + 30 * step, a={("y",): 1.0} if step == 10 else {})
    answer = bench.ask("increase(a[5m])", NOON + 300)
    assert (answer.rows, answer.holes) == ([], ())


def test_a_window_with_a_long_gap_is_not_known_whatever_stands_at_its_ends() -> None:
    bench = Bench("a")
    bench.see("1", at=NOON, a={("x",): 1.0})
    for step in range(1, 10):
        bench.fail("1", at=NOON + 30 * step)
    bench.see("1", at=NOON + 300, a={("x",): 1.0})
    (row,) = bench.ask("max_over_time(a[301s])", NOON + 300).rows
    assert not row.exact


def test_a_window_of_the_past_is_known_whatever_is_so_now() -> None:
    bench = Bench("a")
    for step in range(11):
        bench.see("1", at=NOON + 30 * step, a={("x",): float(step)})
    bench.fail("1", at=NOON + 330)
    assert only_at(bench, "increase(a[4m] offset 1m)", NOON + 335) == pytest.approx(8)
    (row,) = bench.ask("increase(a[4m])", NOON + 335).rows
    assert not row.exact


def test_a_recorded_row_keeps_what_it_did_not_know() -> None:
    bench = Bench("a")
    scope = recording("r", {})
    bench.table.keep_recordings([scope])
    rows = [Recorded({"k": "1"}, 1.0, RowState.EXACT), Recorded({"k": "2"}, 2.0, RowState.UNKNOWN)]
    bench.table.record(scope, rows, ({"k": "3"},), NOON)
    answer = bench.ask("r")
    assert {row.labels["k"]: row.exact for row in answer.rows} == {"1": True, "2": False}
    assert answer.holes == ({"k": "3"},)


def test_what_a_recording_did_not_know_is_no_sample_of_a_window() -> None:
    bench = Bench("a")
    scope = recording("r", {})
    bench.table.keep_recordings([scope])
    for step in range(11):
        row = Recorded(
            {}, 100.0 if step == 5 else 1.0, RowState.UNKNOWN if step == 5 else RowState.EXACT
        )
        bench.table.record(scope, [row], (), NOON + 30 * step)
    (short,) = bench.ask("max_over_time(r[2m] offset 100s)", NOON + 300).rows
    assert not short.exact
    assert only_at(bench, "max_over_time(r[5m])", NOON + 300) == 1.0
    (unknown,) = bench.ask("r offset 140s", NOON + 300).rows
    assert not unknown.exact


def test_an_expression_reads_no_further_back_than_the_table_keeps() -> None:
    bench = Bench("a")
    bench.ask("increase(a[30m] offset 30m)")
    with pytest.raises(ExpressionError, match="it reads 3601 s back, and 3600 s are kept"):
        bench.ask("increase(a[1s] offset 1h)")


def only_at(bench: Bench, text: str, at: float) -> float:
    (value,) = bench.values(text, at).values()
    return value
