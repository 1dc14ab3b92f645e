"""The window of samples: how it grows, slides and starts anew."""

import numpy as np
import pytest

from storewatchd.core.columns import COLUMN_SECONDS, GONE, LOST, SAMPLE, UNSAID, Columns

NOON = 1_767_268_800.0


def write(columns: Columns, at: float, *values: float, rows: int | None = None) -> None:
    """Write values of the first rows at some seconds after noon."""
    columns.open(NOON + at, rows=rows or len(values), retention_s=60)
    columns.write(np.arange(len(values)), np.array(values))


def times(columns: Columns) -> list[float]:
    return [time - NOON for time in columns.window(0, NOON + 1e6, 1).times]


def test_an_empty_window_has_no_columns() -> None:
    columns = Columns()
    found = columns.window(0, NOON, 0)
    assert (len(found.times), found.values.shape, found.newest().tolist()) == (0, (0, 0), [])
    assert columns.has_sample_since(0, 3).tolist() == [False] * 3


def test_samples_within_a_second_share_a_column() -> None:
    columns = Columns()
    for offset in (0.0, 0.4, COLUMN_SECONDS):
        write(columns, offset, offset)
    found = columns.window(0, NOON + 10, 1)
    assert times(columns) == [0, 1]
    assert found.values[:, 0].tolist() == [0.4, 1.0]


def test_a_window_has_its_end_and_not_its_beginning() -> None:
    columns = Columns()
    for second in range(5):
        write(columns, second, second)
    found = columns.window(NOON + 1, NOON + 3, 1)
    assert found.values[:, 0].tolist() == [2, 3]


def test_columns_slide_and_forget_what_is_too_old() -> None:
    columns = Columns()
    for second in range(500):
        write(columns, second, second)
    found = columns.window(0, NOON + 1000, 1)
    assert times(columns) == list(range(439, 500))
    assert columns.kept_since == NOON + 439
    assert found.values[:, 0].tolist() == times(columns)
    assert (found.marks == SAMPLE).all()


def test_nothing_is_lost_before_something_was_dropped() -> None:
    columns = Columns()
    write(columns, 0, 1.0)
    assert columns.kept_since == -np.inf


def test_rows_that_come_later_have_no_samples_before() -> None:
    columns = Columns()
    write(columns, 0, 1.0)
    write(columns, 10, *map(float, range(40)))
    marks = columns.window(0, NOON + 10, 40).marks
    assert marks[0].tolist() == [SAMPLE] + [UNSAID] * 39
    assert (marks[1] == SAMPLE).all()


def test_a_moment_before_the_newest_column_starts_the_window_anew() -> None:
    columns = Columns()
    write(columns, 0, 1.0)
    write(columns, -3600, 2.0)
    assert times(columns) == [-3600]
    assert columns.kept_since == NOON - 3600
    assert columns.window(0, NOON, 1).values[0, 0] == 2.0


def test_a_moment_less_than_a_second_before_the_newest_column_loses_nothing() -> None:
    columns = Columns()
    write(columns, 0, 1.0)
    write(columns, 30, 2.0)
    write(columns, 29.5, 3.0)
    assert times(columns) == [0, 30]
    assert columns.window(0, NOON + 30, 1).values[:, 0].tolist() == [1.0, 3.0]


@pytest.mark.parametrize("mark", [GONE, LOST])
def test_a_mark_takes_the_place_of_a_sample(mark: int) -> None:
    columns = Columns()
    write(columns, 0, 1.0, 2.0)
    columns.mark(np.array([1]), mark)
    found = columns.window(0, NOON, 2)
    assert found.marks.tolist() == [[SAMPLE, mark]]
    assert columns.has_sample_since(NOON, 2).tolist() == [True, False]


def test_the_newest_column_of_a_row_is_the_last_that_says_something() -> None:
    columns = Columns()
    write(columns, 0, 1.0, 1.0, rows=3)
    write(columns, 10, 2.0, rows=3)
    columns.mark(np.array([1]), GONE)
    write(columns, 20, 3.0, rows=3)
    assert columns.window(0, NOON + 20, 3).newest().tolist() == [2, 1, -1]


def test_rows_that_are_kept_keep_their_samples() -> None:
    columns = Columns()
    write(columns, 0, 1.0, 2.0, 3.0)
    columns.take(columns.keeping_rows(np.array([0, 2])))
    assert columns.window(0, NOON, 2).values.tolist() == [[1.0, 3.0]]
    write(columns, 10, 4.0, 5.0, 6.0)
    assert columns.window(0, NOON + 10, 3).marks[0].tolist() == [SAMPLE, SAMPLE, UNSAID]
    assert columns.has_sample_since(NOON + 11, 3).tolist() == [False] * 3


def test_room_is_made_where_columns_are_dropped_and_where_none_is() -> None:
    columns = Columns()
    for second in (*range(4), *range(60, 80)):
        write(columns, second, second)
    assert times(columns) == list(range(60, 80))
    assert columns.window(0, NOON + 100, 1).values[:, 0].tolist() == times(columns)


@pytest.mark.parametrize("jump_s", [3600, -3600])
def test_the_window_goes_along_with_a_clock_that_is_set(jump_s: float) -> None:
    columns = Columns()
    for second in range(80):
        write(columns, second, second)
    columns.shift(jump_s)
    assert times(columns) == [second + jump_s for second in range(19, 80)]
    assert columns.kept_since == NOON + 19 + jump_s
    write(columns, 80 + jump_s, 80)
    assert times(columns) == [second + jump_s for second in range(20, 81)]


def test_a_window_that_lost_nothing_has_lost_nothing_by_a_clock_that_is_set() -> None:
    columns = Columns()
    write(columns, 0, 1.0)
    columns.shift(3600)
    assert columns.kept_since == -np.inf


def test_a_window_that_is_full_takes_no_more_memory_with_time() -> None:
    columns, heights = Columns(), set()
    for second in range(5_000):
        columns.open(float(second), rows=1, retention_s=600.0)
        if second > 1_500:
            array = columns.window(-np.inf, np.inf, 1).values.base
            assert array is not None
            heights.add(array.shape[0])
    assert max(heights) < 1.3 * 600
    assert min(heights) > 600
