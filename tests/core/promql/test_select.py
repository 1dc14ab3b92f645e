"""Selectors: which rows they admit, and how each of them stands."""

import pytest

from core.promql.fix_vectors import MAYBE, PLENTY, Rows, Value, at_least, at_most, rows
from core.promql.table import NOON, Bench
from storewatchd.core.frames import Family, Frame, MetricType, Outcome, Scope
from storewatchd.core.promql import parse
from storewatchd.core.promql.select import Selection, Window
from storewatchd.core.promql.syntax import Selector
from storewatchd.core.rowstate import RowState
from storewatchd.core.series import Recorded, recording

STEP_S = 30.0


def selection(text: str) -> Selection:
    selector = parse(text)
    if not isinstance(selector, Selector):  # a window stands in a function only
        (selector,) = selector.arguments  # type: ignore[union-attr]
    assert isinstance(selector, Selector)
    return Selection(selector)


def instant(bench: Bench, text: str, at: float = NOON) -> Rows:
    return rows(selection(text).instant(bench.table, at, PLENTY))


def window(bench: Bench, text: str, at: float) -> Window:
    (found,) = selection(f"max_over_time({text})").windows(bench.table, at, PLENTY)
    return found


def standing(bench: Bench, text: str, at: float) -> dict[str, bool]:
    """Return the rows of a window by whether they are known."""
    return {
        labels: value != MAYBE for labels, value in rows(window(bench, text, at).vector).items()
    }


@pytest.fixture
def bench() -> Bench:
    bench = Bench("a", "b")
    bench.see("1", a={("x",): 1.0, ("",): 2.0}, b={("x",): 3.0})
    bench.see("2", a={("y",): 4.0})
    return bench


@pytest.mark.parametrize(
    ("text", "admitted"),
    [
        pytest.param("a", {"1 x": 1.0, "1 -": 2.0, "2 y": 4.0}, id="all"),
        pytest.param('a{s="1"}', {"1 x": 1.0, "1 -": 2.0}, id="equal"),
        pytest.param('a{s!="1"}', {"2 y": 4.0}, id="not equal"),
        pytest.param('a{x=~"x|y"}', {"1 x": 1.0, "2 y": 4.0}, id="like"),
        pytest.param('a{x!~"x|y"}', {"1 -": 2.0}, id="not like"),
        pytest.param('a{x=""}', {"1 -": 2.0}, id="empty"),
        pytest.param('a{missing=""}', {"1 x": 1.0, "1 -": 2.0, "2 y": 4.0}, id="not there"),
        pytest.param('a{missing="1"}', {}, id="not there, and asked for"),
        pytest.param('a{s="1",x="x"}', {"1 x": 1.0}, id="both"),
        pytest.param("nothing", {}, id="no such family"),
        pytest.param('{__name__="a",s="2"}', {"2 y": 4.0}, id="by the name as a label"),
        pytest.param('{__name__=~"z.*"}', {}, id="no name like that"),
    ],
)
def test_rows_are_admitted_that_satisfy_every_matcher(
    bench: Bench, text: str, admitted: Rows
) -> None:
    assert instant(bench, text) == admitted


def test_a_selector_without_a_name_reads_every_family(bench: Bench) -> None:
    found = selection('{x="x"}').instant(bench.table, NOON, PLENTY)
    assert [found.frame.labels(place)["__name__"] for place in range(2)] == ["a", "b"]


def test_families_are_joined_once_for_the_same_rows(bench: Bench) -> None:
    every = selection('{x="x"}')
    first = every.instant(bench.table, NOON, PLENTY)
    assert every.instant(bench.table, NOON, PLENTY).frame is first.frame
    bench.see("2", at=NOON + 1, a={("x",): 5.0})
    assert every.instant(bench.table, NOON + 1, PLENTY).values.tolist() == [
        1.0,
        5.0,
        3.0,
    ]


def test_admitted_rows_are_worked_out_again_when_rows_come(bench: Bench) -> None:
    some = selection('a{x="x"}')
    first = some.instant(bench.table, NOON, PLENTY)
    bench.see("1", a={("x",): 6.0})
    assert some.instant(bench.table, NOON, PLENTY).frame is first.frame
    bench.see("2", a={("x",): 7.0})
    assert rows(some.instant(bench.table, NOON, PLENTY)) == {"1 x": 6.0, "2 x": 7.0}


@pytest.mark.parametrize(
    ("text", "holes"),
    [
        pytest.param("a", ({"s": "2"},), id="all"),
        pytest.param('a{s="2"}', ({"s": "2"},), id="asked for"),
        pytest.param('a{s="1"}', (), id="contradicted"),
        pytest.param('a{s!~"2|3"}', (), id="contradicted by a pattern"),
        pytest.param('a{x="x"}', ({"s": "2"},), id="not concerned"),
        pytest.param('{x="x"}', ({"s": "2"},), id="of several families, once"),
    ],
)
def test_a_hole_stays_unless_a_matcher_contradicts_it(
    bench: Bench, text: str, holes: tuple[dict[str, str], ...]
) -> None:
    bench.fail("2")
    assert selection(text).instant(bench.table, NOON, PLENTY).holes == holes


# What was.


def lived(*outcomes: str) -> Bench:
    """Return a table after looks at one scope, each half a minute after the one before: `+` and
    `-` saw the row or its absence, `?` could not look."""
    bench = Bench("a")
    for number, outcome in enumerate(outcomes):
        at = NOON + STEP_S * number
        if outcome == "?":
            bench.fail("1", at)
        else:
            bench.see("1", at, a={("x",): float(number)} if outcome == "+" else {})
    return bench


@pytest.mark.parametrize(
    ("outcomes", "offset", "found", "is_hidden"),
    [
        pytest.param("+++", "30s", {"1 x": 1.0}, False, id="there"),
        pytest.param("+++", "45s", {"1 x": 0.0}, False, id="there at the look before"),
        pytest.param("+-+", "30s", {}, False, id="gone"),
        pytest.param("-++", "1m", {}, False, id="not there yet"),
        pytest.param("+?+", "30s", {"1 x": MAYBE}, True, id="nobody could look"),
        pytest.param("+?+", "1m", {"1 x": 0.0}, False, id="before nobody could look"),
        pytest.param("+++", "61s", {}, True, id="before the first look"),
        pytest.param("++?", "30s", {"1 x": 1.0}, False, id="whatever is so now"),
    ],
)
def test_an_offset_sees_what_was_seen_then(
    outcomes: str, offset: str, found: Rows, is_hidden: bool
) -> None:
    bench = lived(*outcomes)
    answer = selection(f"a offset {offset}").instant(bench.table, NOON + STEP_S * 2, PLENTY)
    assert rows(answer) == found
    assert answer.holes == (({"s": "1"},) if is_hidden else ())


def test_an_offset_knows_no_look_that_was_overdue() -> None:
    bench = lived("+")
    bench.see("1", NOON + 600, a={("x",): 1.0})
    assert instant(bench, "a offset 5m", NOON + 600) == {}
    assert selection("a offset 5m").instant(bench.table, NOON + 600, PLENTY).holes == ({"s": "1"},)


R = recording("r", {})


def recorded(*rows: Recorded) -> Bench:
    """Return a table with a recording of one row, one state after the other."""
    bench = Bench("a")
    bench.table.keep_recordings([R])
    for number, row in enumerate(rows):
        bench.table.record(R, [row], (), NOON + STEP_S * number)
    return bench


BOUNDS = pytest.mark.parametrize(
    ("state", "value"),
    [
        pytest.param(RowState.AT_LEAST, at_least(5), id="at least"),
        pytest.param(RowState.AT_MOST, at_most(5), id="at most"),
        pytest.param(RowState.UNKNOWN, MAYBE, id="unknown"),
    ],
)


@BOUNDS
def test_a_recorded_row_stands_as_it_was_recorded(state: RowState, value: Value) -> None:
    bench = recorded(Recorded({}, 5.0, state))
    assert instant(bench, "r") == {"": value}


@BOUNDS
def test_an_offset_sees_a_recorded_row_as_it_stood_then(state: RowState, value: Value) -> None:
    bench = recorded(Recorded({}, 5.0, state), Recorded({}, 6.0, RowState.EXACT))
    assert instant(bench, "r", NOON + STEP_S) == {"": 6.0}
    assert instant(bench, "r offset 30s", NOON + STEP_S) == {"": value}


@BOUNDS
def test_a_bound_is_no_sample_of_a_window(state: RowState, value: Value) -> None:
    exact = Recorded({}, 6.0, RowState.EXACT)
    bench = recorded(exact, exact, Recorded({}, 5.0, state), exact)
    at = NOON + STEP_S * 3
    assert window(bench, "r[2m]", at).lost.tolist() == [1]
    assert standing(bench, "r[2m]", at) == {"": False}


@BOUNDS
def test_a_window_ends_with_a_value_and_no_bound(state: RowState, value: Value) -> None:
    exact = Recorded({}, 6.0, RowState.EXACT)
    bench = recorded(*[exact] * 20, Recorded({}, 5.0, state))
    assert standing(bench, "r[10m]", NOON + STEP_S * 20) == {"": False}


def test_an_offset_picks_the_admitted_rows() -> None:
    bench = Bench("a")
    for number in range(2):
        bench.see("1", NOON + 30 * number, a={("x",): 1.0 + number, ("y",): 5.0 + number})
    assert instant(bench, 'a{x="y"} offset 30s', NOON + 30) == {"1 y": 5.0}


@pytest.mark.parametrize(
    ("outcomes", "known"),
    [
        pytest.param("+++++", {"1 x": True}, id="all of it was seen"),
        pytest.param("+++?+", {"1 x": False}, id="a part was not seen"),
        pytest.param("++++?", {"1 x": False}, id="it cannot be seen now"),
        pytest.param("++++-", {"1 x": False}, id="its newest sample is not fresh"),
        pytest.param("---++", {"1 x": False}, id="the row is too young"),
        pytest.param("-----", {}, id="it was never there"),
        pytest.param("+----", {"1 x": False}, id="it left before, as a function will see"),
    ],
)
def test_a_window_is_known_where_row_and_scope_were_seen_nearly_all_of_it(
    outcomes: str, known: dict[str, bool]
) -> None:
    bench = lived(*outcomes)
    assert standing(bench, "a[2m]", NOON + STEP_S * 4) == known


@pytest.mark.parametrize(
    ("outcomes", "holes"),
    [
        pytest.param("+++++", (), id="seen"),
        pytest.param("+++?+", ({"s": "1"},), id="a part was not seen"),
        pytest.param("++++?", ({"s": "1"},), id="it cannot be seen now"),
        pytest.param("++", ({"s": "1"},), id="longer than was looked"),
    ],
)
def test_a_window_hides_what_may_have_been_in_it(
    outcomes: str, holes: tuple[dict[str, str], ...]
) -> None:
    bench = lived(*outcomes)
    at = NOON + STEP_S * (len(outcomes) - 1)
    assert window(bench, "a[2m]", at).vector.holes == holes


def test_a_window_of_the_past_does_not_ask_for_now() -> None:
    bench = lived(*"+++++-?")
    assert standing(bench, "a[2m] offset 1m", NOON + STEP_S * 6) == {"1 x": True}
    assert standing(bench, "a[1m30s] offset 30s", NOON + STEP_S * 6) == {"1 x": True}
    assert standing(bench, "a[1m]", NOON + STEP_S * 6) == {"1 x": False}


def test_a_window_has_the_samples_after_its_beginning() -> None:
    bench = lived(*"+++++")
    found = window(bench, "a[1m]", NOON + STEP_S * 4)
    assert found.values[found.valid].tolist() == [3.0, 4.0]
    assert found.lost.tolist() == [0]


def test_an_overdue_row_is_not_known_over_a_window() -> None:
    bench = lived(*"+++++")
    assert standing(bench, "a[2m]", NOON + STEP_S * 4 + 101) == {"1 x": False}


def test_a_window_before_any_look_has_no_samples() -> None:
    bench = Bench("a")
    found = window(bench, "a[1m]", NOON)
    assert (found.valid.shape, found.vector.holes) == ((0, 0), ({},))


def test_windows_are_those_of_every_family(bench: Bench) -> None:
    every = selection('max_over_time({x="x"}[1m])')
    assert len(every.windows(bench.table, NOON, PLENTY)) == 2
    assert every.join([], PLENTY).holes == ()


def test_absent_hardware_is_seen_to_be_absent() -> None:
    bench = Bench("a")
    bench.table.declare("q", [Family("h", MetricType.GAUGE, "")], max_age_s=100)
    bench.table.feed(Frame(Scope("q"), NOON, Outcome.ABSENT))
    found = selection("h").instant(bench.table, NOON, PLENTY)
    assert (rows(found), found.holes) == ({}, ())
