"""The table: who owns a family, how long samples stay, and what happens at its bounds."""

import numpy as np
import pytest

from storewatchd.core.columns import GONE, LOST, SAMPLE, UNSAID
from storewatchd.core.frames import Family, Frame, MetricType, Outcome, Row, Scope
from storewatchd.core.holes import Hole
from storewatchd.core.rowstate import RowState
from storewatchd.core.series import CEILING, FLOOR, Recorded, SeriesTable, recording

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


def holes(table: SeriesTable, at: float, name: str = "g") -> tuple[Hole, ...]:
    series = table.series(name)
    assert series is not None
    return table.holes(series, at)


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
    assert holes(table, NOON) == ({"x": "1"},)


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
    assert table.room.dropped_total == 5
    assert len(table.read("g", NOON)) == 10
    assert holes(table, NOON) == ({},)


def test_a_look_that_finds_room_again_closes_the_hole() -> None:
    table = table_with(max_series=10)
    see(table, 15)
    see(table, 10, at=NOON + 30)
    assert holes(table, NOON + 30) == ()


def test_a_look_at_nothing_closes_the_hole_too() -> None:
    table = table_with(max_series=0)
    see(table, 1)
    see(table, 0, at=NOON + 30)
    assert holes(table, NOON + 30) == ()


def test_rows_without_a_place_hide_only_their_own_scope() -> None:
    table = table_with(max_series=2)
    for scope, count in (("1", 2), ("2", 1)):
        rows = [Row((scope,), 1.0), Row((f"{scope}x",), 1.0)][:count]
        table.feed(Frame(Scope("p", (("x", scope),)), NOON, rows={"g": rows}))
    assert holes(table, NOON) == ({"x": "2"},)


def test_rows_that_left_long_ago_are_forgotten() -> None:
    table = table_with(200, retention_s=60.0)
    for minute in range(1, 8):
        see(table, 1, at=NOON + 60 * minute)
    series = table.series("g")
    assert series is not None
    assert len(series) == 1
    assert len(table) == 1
    assert [r.labels for r in table.read("g", NOON + 420)] == [{"x": "0"}]


def test_rows_that_left_not_so_long_ago_are_kept() -> None:
    table = table_with(200, retention_s=600.0)
    see(table, 1, at=NOON + 60)
    assert len(table) == 200


def test_rows_that_left_make_room_where_it_is_needed() -> None:
    table = table_with(8, retention_s=60.0, max_series=10)
    table.declare("q", [Family("h", MetricType.GAUGE, "", ("x",))], max_age_s=100)
    see(table, 1, at=NOON + 60)
    rows = [Row((str(number),), 1.0) for number in range(9)]
    table.feed(Frame(Scope("q"), NOON + 600, rows={"h": rows}))
    assert (len(table.read("h", NOON + 600)), table.room.dropped_total) == (9, 0)
    assert len(table) == 10


def test_scopes_tell_how_they_were_last_looked_at() -> None:
    table = table_with(2)
    table.feed(Frame(SCOPE, NOON + 5, Outcome.FAILED, reason="gone", duration_s=0.5))
    (state,) = table.scopes("p")
    assert (state.outcome, state.reason, state.last_look) == (Outcome.FAILED, "gone", NOON + 5)
    assert state.last_known == NOON
    assert not state.is_known(NOON + 5)
    assert table.scopes() == [state]


def test_a_deferred_look_does_not_mend_a_failure() -> None:
    table = table_with(1)
    table.feed(Frame(SCOPE, NOON + 1, Outcome.FAILED))
    table.feed(Frame(SCOPE, NOON + 2, Outcome.DEFERRED))
    assert [reading.exact for reading in table.read("g", NOON + 2)] == [False]
    assert holes(table, NOON + 2) == ({},)


def test_hardware_that_is_absent_has_no_rows() -> None:
    table = table_with(1)
    table.feed(Frame(SCOPE, NOON + 1, Outcome.ABSENT))
    assert (table.read("g", NOON + 1), holes(table, NOON + 1)) == ([], ())


def test_declaring_a_probe_again_changes_how_long_it_holds() -> None:
    table = table_with(1)
    table.expect("p", [SCOPE, Scope("p", (("x", "gone"),))])
    table.expect("p", [SCOPE])
    other = Family("h", MetricType.GAUGE, "")
    table.declare("p", [GAUGE, other], max_age_s=10)
    assert [reading.exact for reading in table.read("g", NOON + 11)] == [False]
    assert table.feed(Frame(SCOPE, NOON + 12)) == {"g", "h"}


def test_a_row_that_another_scope_reports_is_that_scope_s() -> None:
    table = table_with()
    one, other = Scope("p", (("y", "1"),)), Scope("p", (("y", "2"),))
    for scope in (one, other):
        table.feed(Frame(scope, NOON, rows={"g": [Row(("0",), 1.0)]}))
    table.feed(Frame(one, NOON + 1, Outcome.FAILED))
    assert [reading.exact for reading in table.read("g", NOON + 1)] == [True]
    table.feed(Frame(other, NOON + 1))
    assert table.read("g", NOON + 1) == []


# Recordings.

R = recording("r", {})


def record(table: SeriesTable, *rows: dict[str, str], at: float = NOON, scope: Scope = R) -> None:
    table.record(scope, [Recorded(labels, 1.0, RowState.EXACT) for labels in rows], (), at)


def recorded(table: SeriesTable, at: float = NOON) -> list[dict[str, str]]:
    return [reading.labels for reading in table.read("r", at)]


def test_a_recording_that_never_reported_is_a_hole() -> None:
    table = table_with()
    table.keep_recordings([R, recording("r", {"k": "a"})])
    assert holes(table, NOON, "r") == ({}, {"k": "a"})


def test_a_recording_that_gains_labels_keeps_its_rows() -> None:
    table = table_with()
    table.keep_recordings([R])
    record(table, {"a": "1"})
    record(table, {"a": "1"}, {"b": "2"}, at=NOON + 30)
    assert recorded(table, NOON + 30) == [{"a": "1", "b": ""}, {"a": "", "b": "2"}]
    series = table.series("r")
    assert series is not None
    assert len(series.columns.window(0, NOON + 30, 2).times) == 2


def test_a_recording_without_rows_keeps_its_past() -> None:
    table = table_with()
    table.keep_recordings([R])
    record(table, {"a": "1"})
    record(table, at=NOON + 30)
    assert recorded(table, NOON + 30) == []
    series = table.series("r")
    assert series is not None
    assert series.family.labels == ("a",)


def test_recordings_of_one_name_stand_side_by_side() -> None:
    table = table_with()
    one, other = recording("r", {"k": "a"}), recording("r", {"k": "b"})
    table.keep_recordings([one, other])
    record(table, {"k": "a"}, scope=one)
    record(table, {"k": "b"}, scope=other)
    record(table, {"k": "a"}, scope=one, at=NOON + 30)
    assert recorded(table, NOON + 30) == [{"k": "a"}, {"k": "b"}]


def test_a_recording_that_is_not_named_any_more_is_forgotten() -> None:
    table = table_with()
    one, other = recording("r", {"k": "a"}), recording("r", {"k": "b"})
    table.keep_recordings([one, other])
    record(table, {"k": "a"}, scope=one)
    record(table, {"k": "b"}, scope=other)
    table.keep_recordings([other])
    assert recorded(table) == [{"k": "b"}]
    table.keep_recordings([])
    assert (table.series("r"), len(table)) == (None, 0)
    assert set(table.families()) == {"g"}


def test_a_recording_that_fails_leaves_its_rows_unknown() -> None:
    table = table_with()
    table.keep_recordings([R])
    record(table, {"a": "1"})
    table.fail_recording(R, "broken", NOON + 30)
    assert [reading.exact for reading in table.read("r", NOON + 30)] == [False]
    assert holes(table, NOON + 30, "r") == ({},)
    assert table.scopes(R.probe)[0].reason == "broken"


def test_what_a_recording_may_still_have_is_not_gone() -> None:
    table = table_with()
    table.keep_recordings([R])
    record(table, {"a": "1"}, {"a": "2"})
    for step in (1, 2):
        table.record(R, [], ({"a": "1"},), NOON + 30 * step)
    series = table.series("r")
    assert series is not None
    assert series.columns.window(0, NOON + 60, 2).marks.tolist() == [
        [SAMPLE, SAMPLE],
        [LOST, GONE],
        [LOST, UNSAID],
    ]


def test_a_recording_keeps_how_each_row_stood() -> None:
    table = table_with()
    table.keep_recordings([R])
    states = (RowState.AT_MOST, RowState.EXACT, RowState.AT_LEAST, RowState.UNKNOWN)
    for step, state in enumerate(states):
        table.record(R, [Recorded({"a": "1"}, 1.0, state)], (), NOON + 30 * step)
    series = table.series("r")
    assert series is not None
    window = series.columns.window(0, NOON + 90, 1)
    assert window.marks[:, 0].tolist() == [CEILING, SAMPLE, FLOOR, LOST]
    assert window.values[:, 0].tolist() == [1.0] * 4
    assert series.states[0] == RowState.UNKNOWN


def test_a_bound_is_not_read_as_a_value() -> None:
    table = table_with()
    table.keep_recordings([R])
    table.record(R, [Recorded({"a": "1"}, 1.0, RowState.AT_LEAST)], (), NOON)
    assert [reading.exact for reading in table.read("r", NOON)] == [False]


@pytest.mark.parametrize("state", [RowState.UNKNOWN, RowState.AT_LEAST], ids=["unknown", "bound"])
def test_rows_that_were_never_seen_whole_are_kept_while_an_offset_may_ask(state: RowState) -> None:
    table = table_with()
    table.keep_recordings([R])
    rows = [Recorded({"a": str(number)}, 1.0, state) for number in range(200)]
    table.record(R, rows, (), NOON)
    for step in (1, 2):
        table.record(R, [], (), NOON + 30 * step)
    assert len(table) == 200
    table.record(R, [], (), NOON + 4000)
    assert len(table) == 0


def test_recorded_rows_beyond_the_bound_are_dropped() -> None:
    table = table_with(max_series=1)
    table.keep_recordings([R])
    rows = [Recorded({"a": key}, 1.0, RowState.UNKNOWN) for key in "12"]
    table.record(R, rows, ({"a": "3"},), NOON)
    assert [reading.exact for reading in table.read("r", NOON)] == [False]
    assert holes(table, NOON, "r") == ({}, {"a": "3"})


def test_a_name_that_a_probe_owns_is_no_place_for_a_recording() -> None:
    table = table_with(1)
    taken = recording("g", {})
    table.keep_recordings([taken])
    with pytest.raises(ValueError, match="g belongs to the probe p"):
        table.record(taken, [], (), NOON)
    with pytest.raises(ValueError, match="g belongs to the probe p"):
        table.fail_recording(taken, "broken", NOON)
    assert len(table.read("g", NOON)) == 1


# Scopes that come and go.


def disk(name: str) -> Scope:
    return Scope("p", (("x", name),))


def look(table: SeriesTable, *names: str, at: float = NOON) -> None:
    for name in names:
        table.feed(Frame(disk(name), at, rows={"g": [Row((name,), 1.0)]}))


def known(table: SeriesTable, at: float = NOON) -> dict[str, bool]:
    return {one.labels["x"]: one.exact for one in table.read("g", at)}


def test_scopes_that_come_and_go_leave_nothing_behind() -> None:
    table = table_with()
    for number in range(100):
        table.expect("p", [disk("stays"), disk(str(number))])
        look(table, "stays", str(number))
    owner = table.parts()[1]["p"]
    assert len(owner.scopes) == 2
    assert len(owner.states) <= 4


def test_rows_stay_those_of_their_scope_when_another_one_goes() -> None:
    table = table_with()
    look(table, *"abc")
    table.expect("p", [disk("b"), disk("c"), disk("d")])
    look(table, "d")
    table.feed(Frame(disk("c"), NOON, Outcome.FAILED))
    assert known(table) == {"b": True, "c": False, "d": True}
    table.feed(Frame(disk("b"), NOON + 1, rows={"g": []}))
    assert known(table) == {"c": False, "d": True}


def test_a_scope_that_comes_back_has_its_rows_again() -> None:
    table = table_with()
    look(table, *"ab")
    table.expect("p", [disk("b")])
    table.expect("p", [disk("b"), disk("a")])
    assert (known(table), holes(table, NOON)) == ({"b": True}, ({"x": "a"},))
    look(table, "a")
    assert known(table) == {"a": True, "b": True}


def test_what_a_scope_that_goes_had_no_room_for_is_gone_too() -> None:
    table = table_with(max_series=1)
    look(table, *"ab")
    assert holes(table, NOON) == ({"x": "b"},)
    table.expect("p", [disk("a"), disk("never seen")])
    table.expect("p", [disk("a")])
    assert holes(table, NOON) == ()


def test_what_a_recording_that_goes_left_open_is_closed() -> None:
    table = SeriesTable()
    both = [recording("r", {"by": by}) for by in "ab"]
    table.keep_recordings(both)
    for one in both:
        table.record(one, [], [{**dict(one.labels), "x": "1"}], NOON)
    table.keep_recordings(both[:1])
    assert holes(table, NOON, "r") == ({"by": "a", "x": "1"},)


def test_what_probes_say_may_hold_for_another_time_from_now_on() -> None:
    table = table_with(1)
    table.expect("p", [SCOPE, Scope("p", (("x", "gone"),))])
    table.expect("p", [SCOPE])
    table.keep_recordings([recording("r", {})])
    table.record(recording("r", {}), [], [], NOON)
    table.set_max_age(10)
    assert [r.exact for at in (10, 11) for r in table.read("g", NOON + at)] == [True, False]
    assert holes(table, NOON + 1000, "r") == ()


@pytest.mark.parametrize("jump_s", [3600, -3600])
def test_everything_goes_along_with_a_clock_that_is_set(jump_s: float) -> None:
    table = table_with(3, max_series=2)
    table.expect("p", [SCOPE, Scope("p", (("x", "gone"),))])
    table.expect("p", [SCOPE])
    see(table, 1, at=NOON + 30)
    table.shift(jump_s)
    now = NOON + 30 + jump_s
    series = table.series("g")
    assert series is not None
    assert [(r.labels, r.exact) for r in table.read("g", now + 100)] == [({"x": "0"}, True)]
    assert [r.exact for r in table.read("g", now + 101)] == [False]
    assert series.columns.window(0, now, 2).times.tolist() == [now - 30, now]
    assert table.past_holes(series, np.array([True, True]), now - 20, now - 20) == ({},)
    assert table.past_holes(series, np.array([True, True]), now, now) == ()
