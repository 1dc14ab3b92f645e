"""The table: who owns a family, how long samples stay, and what happens at its bounds."""

import numpy as np
import pytest

from storewatchd.core.columns import Columns
from storewatchd.core.frames import Family, Frame, MetricType, Outcome, Row, Scope
from storewatchd.core.series import SeriesTable

NOON = 1_767_268_800.0
GAUGE = Family("g", MetricType.GAUGE, "A gauge.", ("x",))
SCOPE = Scope("p")


def table_with(count: int = 0, **bounds: float) -> SeriesTable:
    table = SeriesTable(**bounds)  # type: ignore[arg-type]
    table.declare("p", [GAUGE], max_age_s=100)
    if count:
        see(table, count)
    return table


def see(table: SeriesTable, count: int, at: float = NOON, first: int = 0) -> None:
    rows = [Row((str(number),), float(number)) for number in range(first, first + count)]
    table.feed(Frame(SCOPE, at, rows={"g": rows}))


def test_a_family_has_one_owner() -> None:
    table = table_with()
    with pytest.raises(ValueError, match="g belongs to p, not to q"):
        table.declare("q", [GAUGE], max_age_s=1)


def test_a_feed_touches_every_family_of_its_probe() -> None:
    table = table_with()
    assert table.feed(Frame(SCOPE, NOON, Outcome.FAILED)) == {"g"}


def test_expecting_the_same_scopes_again_touches_nothing() -> None:
    table = table_with()
    assert table.expect("p", [SCOPE]) == {"g"}
    assert table.expect("p", [SCOPE]) == frozenset()


def test_an_expected_scope_that_never_reported_is_a_hole() -> None:
    table = table_with()
    table.expect("p", [Scope("p", (("x", "1"),))])
    series = table.series("g")
    assert series is not None
    assert table.holes(series, NOON) == ({"x": "1"},)


def test_reading_gives_labels_values_and_whether_they_are_known() -> None:
    table = table_with(2)
    assert [(r.labels, r.value, r.exact) for r in table.read("g", NOON)] == [
        ({"x": "0"}, 0.0, True),
        ({"x": "1"}, 1.0, True),
    ]
    assert table.read("nothing", NOON) == []


def test_rows_beyond_the_bound_are_counted_and_open_a_hole() -> None:
    table = table_with(max_series=10)
    see(table, 15)
    assert table.dropped_total == 5
    assert len(table.read("g", NOON)) == 10
    series = table.series("g")
    assert series is not None
    assert table.holes(series, NOON) == ({},)


def test_rows_that_left_long_ago_are_forgotten() -> None:
    table = table_with(200, retention_s=60.0)
    for minute in range(1, 4):
        see(table, 1, at=NOON + 60 * minute)
    series = table.series("g")
    assert series is not None
    assert len(series) == 1
    assert len(table) == 1
    assert [r.labels for r in table.read("g", NOON + 180)] == [{"x": "0"}]


def test_scopes_tell_how_they_were_last_looked_at() -> None:
    table = table_with(2)
    table.feed(Frame(SCOPE, NOON + 5, Outcome.FAILED, reason="gone", duration_s=0.5))
    (state,) = table.scopes("p")
    assert (state.outcome, state.reason, state.last_look) == (Outcome.FAILED, "gone", NOON + 5)
    assert state.last_known == NOON
    assert not table.is_known_scope(state, NOON + 5)
    assert table.scopes() == [state]


def test_a_recording_with_other_labels_starts_anew() -> None:
    table = table_with()
    one = Family("r", MetricType.GAUGE, "", ("a",))
    table.record(one, [(Row(("1",), 1.0), True)], (), NOON)
    other = Family("r", MetricType.GAUGE, "", ("b",))
    table.record(other, [(Row(("2",), 2.0), True)], (), NOON + 1)
    assert [r.labels for r in table.read("r", NOON + 1)] == [{"b": "2"}]
    assert set(table.families()) == {"g", "r"}


def test_samples_within_a_second_share_a_column() -> None:
    columns = Columns()

    for offset in (0.0, 0.4, 1.0):
        columns.write(np.array([0]), np.array([offset]), NOON + offset, rows=1, retention_s=60)
    times, values, _ = columns.window(NOON - 10, NOON + 10, 1)
    assert times.tolist() == [NOON, NOON + 1.0]
    assert values[:, 0].tolist() == [0.4, 1.0]


def test_columns_slide_and_forget_what_is_too_old() -> None:

    columns = Columns()
    for second in range(500):
        columns.write(
            np.array([0]), np.array([float(second)]), NOON + second, rows=1, retention_s=60
        )
    times, values, valid = columns.window(0, NOON + 1000, 1)
    assert times[0] >= NOON + 499 - 60
    assert values[-1, 0] == 499
    assert valid.all()
    assert columns.first_time == times[0]


def test_a_clock_that_goes_back_starts_the_window_anew() -> None:

    columns = Columns()
    assert columns.first_time is None
    columns.write(np.array([0]), np.array([1.0]), NOON, rows=1, retention_s=60)
    columns.write(np.array([0]), np.array([2.0]), NOON - 3600, rows=1, retention_s=60)
    times, values, _ = columns.window(0, NOON, 1)
    assert times.tolist() == [NOON - 3600]
    assert values[0, 0] == 2.0
