"""Rows find their places: known ones theirs, fresh ones a new one, up to a number."""

import contextlib
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest

from storewatchd.core.frames import Family, Frame, MetricType, Outcome, Row, Scope
from storewatchd.core.images import Image, rebuilt
from storewatchd.core.intake import Placed, Room, add, found, smallest_first
from storewatchd.core.promql import Plan
from storewatchd.core.promql.parse import parse
from storewatchd.core.rows import Series
from storewatchd.core.rowstate import RowState
from storewatchd.core.series import Recorded, SeriesTable, recording
from storewatchd.core.steps import PIECE, Steps, alone, at_once

NOON = 1_767_268_800.0
MANY = Family("many", MetricType.GAUGE, "Many.", ("name",))
FEW = Family("few", MetricType.GAUGE, "Few.", ("name",))


def rows(*names: str) -> list[Row]:
    return [Row((name,), float(number)) for number, name in enumerate(names)]


def take(series: Series, given: Sequence[Row], room: Room) -> tuple[Placed, int]:
    placed = at_once(found(series, given))
    return placed, at_once(add(series, given, placed, 0, room))


def test_known_rows_keep_their_places_and_fresh_ones_get_the_next() -> None:
    series, room = Series(MANY, "probe"), Room(10)
    take(series, rows("a", "b"), room)
    placed, dropped = take(series, rows("b", "c", "a"), room)
    assert (placed.places.tolist(), placed.values.tolist()) == ([1, 2, 0], [0.0, 1.0, 2.0])
    assert (dropped, room.count) == (0, 3)


def test_a_row_that_a_look_has_twice_has_one_place() -> None:
    series, room = Series(MANY, "probe"), Room(10)
    placed, dropped = take(series, rows("a", "a"), room)
    assert (placed.places.tolist(), dropped, room.count) == ([0, 0], 0, 1)


def test_what_finds_no_room_has_no_place_and_is_counted() -> None:
    series, room = Series(MANY, "probe"), Room(2, count=1)
    placed, dropped = take(series, rows("a", "b", "a"), room)
    assert (placed.places.tolist(), dropped, room.count) == ([0, -1, 0], 1, 2)


def test_many_rows_take_several_steps() -> None:
    series = Series(MANY, "probe")
    given = rows(*map(str, range(2 * PIECE + 1)))
    assert len(list(found(series, given))) == 3
    placed = at_once(found(series, given))
    assert len(list(add(series, given, placed, 0, Room(10**6)))) == 3
    assert at_once(found(series, given)).places.tolist() == list(range(2 * PIECE + 1))


def test_what_is_told_of_few_things_comes_first() -> None:
    given = {"a": rows("1", "2"), "b": rows("1"), "c": rows("1")}
    assert smallest_first(("a", "c", "b", "none"), given) == ["none", "b", "c", "a"]


def watched(steps: Steps[Any], between: Callable[[object], None]) -> None:
    """Take all steps, and do something after each."""
    answer = None
    with contextlib.suppress(StopIteration):
        while True:
            aside = steps.send(answer)
            between(aside)
            answer = None if aside is None else aside()


# In the table.


@pytest.fixture
def table() -> SeriesTable:
    table = SeriesTable(max_series=4)
    table.declare("probe", (MANY, FEW), max_age_s=90)
    return table


def look(*many: str, at: float = NOON, few: Sequence[str] = ("x",)) -> Frame:
    return Frame(Scope("probe"), at, rows={"many": rows(*many), "few": rows(*few)})


def names(table: SeriesTable, family: str, at: float = NOON) -> list[str]:
    return [one.labels["name"] for one in table.read(family, at)]


def test_of_too_many_rows_those_of_the_large_family_find_no_place(table: SeriesTable) -> None:
    table.feed(look(*"abcdef"))
    assert (names(table, "few"), names(table, "many")) == (["x"], ["a", "b", "c"])
    assert (len(table), table.room.dropped_total) == (4, 3)
    series = table.series("many")
    assert series is not None
    assert table.holes(series, NOON) == ({},)


def test_until_the_last_step_nothing_of_a_look_is_taken(table: SeriesTable) -> None:
    table.feed(look("a", "b"))
    seen: list[list[str]] = []
    watched(
        table.feeding(look("b", "c", at=NOON + 30)),
        lambda _: seen.append(names(table, "many", NOON + 30)),
    )
    assert len(seen) > 3
    assert all(one == ["a", "b"] for one in seen)
    assert names(table, "many", NOON + 30) == ["b", "c"]


def test_what_is_read_between_steps_is_the_look_before_and_whole() -> None:
    table = SeriesTable()
    table.declare("probe", (MANY,), max_age_s=90)
    table.feed(Frame(Scope("probe"), NOON, rows={"many": rows("a")}))
    (state,) = table.scopes("probe")
    series = table.series("many")
    assert series is not None
    window, now = Plan(parse("max_over_time(many[1m])")), Plan(parse("many"))
    read: list[object] = []

    def look_at_all(aside: object) -> None:
        assert (state.outcome, state.last_look, state.rows) == (Outcome.SEEN, NOON, 1)
        assert len(rebuilt(Image(series).pieces())) == len(series)
        assert not any(row.exact for row in window.evaluate(table, NOON + 30).rows)
        assert [row.labels["name"] for row in now.evaluate(table, NOON + 30).rows] == ["a"]
        read.append(aside)

    given = {"many": rows(*map(str, range(2 * PIECE)))}
    watched(table.feeding(Frame(Scope("probe"), NOON + 30, rows=given)), look_at_all)
    assert len(read) > 4
    assert alone in read
    assert (state.last_look, state.rows) == (NOON + 30, 2 * PIECE)


def test_rows_that_are_gone_make_room(table: SeriesTable) -> None:
    table.feed(look("a", "b", "c"))
    table.feed(look("a", at=NOON + 30))
    table.feed(look("a", "d", "e", at=NOON + 4000))
    assert names(table, "many", NOON + 4000) == ["a", "d", "e"]
    assert (len(table), table.room.dropped_total) == (4, 0)


def test_columns_are_widened_and_heightened_aside() -> None:
    table = SeriesTable()
    table.declare("probe", (MANY,), max_age_s=90)
    asides: list[object] = []
    for turn in range(20):
        given = rows(*map(str, range(turn + 1)))
        steps = table.feeding(Frame(Scope("probe"), NOON + 30 * turn, rows={"many": given}))
        watched(steps, asides.append)
    assert any(aside is not None for aside in asides)
    series = table.series("many")
    assert series is not None
    window = series.columns.window(0, NOON + 600, 20)
    assert window.values[:, 0].tolist() == [0.0] * 20
    assert np.count_nonzero(window.marks) == sum(range(1, 21))


def test_a_recording_that_found_no_room_lacks_none_once_it_is_not_kept_any_more() -> None:
    table, sums = SeriesTable(max_series=2), recording("sums", {})
    table.keep_recordings([sums])
    given = [Recorded({"name": name}, 1.0, RowState.EXACT) for name in "abc"]
    table.record(sums, given, (), NOON)
    assert table.room.lacking == {("sums", sums): 1}
    table.keep_recordings([])
    assert (table.room.lacking, table.room.count) == ({}, 0)
