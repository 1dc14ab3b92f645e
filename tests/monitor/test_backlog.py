"""What waits for the disk: in order, whole rounds at a time, and never more than memory is for."""

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fix_records import record
from storewatchd.journal import Rebuild, StateChange
from storewatchd.monitor.backlog import CHUNK_LINES, Backlog, Lost, Round


def filled(*rounds: Sequence[int], most_lines: int = 100_000, most_bytes: int = 1 << 30) -> Backlog:
    """Return a backlog of rounds with these numbers, each of which changes its own state."""
    backlog = Backlog(most_lines=most_lines, most_bytes=most_bytes)
    for number, numbers in enumerate(rounds):
        backlog.add([record(seq) for seq in numbers], [change(f"round {number}")])
    return backlog


def change(key: str, value: bytes | None = b"1") -> StateChange:
    return StateChange("alert", key, value)


def numbers(taken: Round) -> list[int]:
    return [one.seq for one in taken.records]


def waiting(backlog: Backlog) -> list[int]:
    return [one.seq for one in backlog.records()]


def test_nothing_waits_at_first() -> None:
    backlog = Backlog()
    assert (bool(backlog), len(backlog), backlog.take_lost()) == (False, 0, None)
    assert backlog.take() == Round([], {})


def test_a_round_with_nothing_to_write_does_not_wait() -> None:
    backlog = Backlog()
    backlog.add((), ())
    assert not backlog
    backlog.add((), (), Rebuild.NONE)
    assert backlog


def test_rounds_are_taken_together_in_their_order() -> None:
    backlog = filled([1, 2], [], [5])
    taken = backlog.take()
    assert numbers(taken) == [1, 2, 5]
    assert [key for _, key in taken.changes] == ["round 0", "round 1", "round 2"]
    assert waiting(backlog) == [1, 2, 5]
    backlog.written()
    assert (bool(backlog), len(backlog)) == (False, 0)


def test_of_two_changes_of_one_thing_the_later_is_taken() -> None:
    backlog = Backlog()
    for value in (b"1", b"2", None):
        backlog.add((), [change("a", value)])
    assert list(backlog.take().changes.values()) == [change("a", None)]


def test_no_more_is_taken_than_is_written_at_a_time() -> None:
    half = CHUNK_LINES // 2
    backlog = filled(range(half), range(half, 2 * half), [CHUNK_LINES])
    assert len(numbers(backlog.take())) == CHUNK_LINES
    backlog.written()
    assert numbers(backlog.take()) == [CHUNK_LINES]


def test_a_round_is_never_divided() -> None:
    backlog = filled(range(3 * CHUNK_LINES), [3 * CHUNK_LINES])
    assert len(numbers(backlog.take())) == 3 * CHUNK_LINES


def test_one_round_is_taken_by_itself_where_that_is_asked_for() -> None:
    backlog = filled([1], [2])
    assert numbers(backlog.take(one_only=True)) == [1]


def test_what_was_refused_is_taken_again_with_what_came_meanwhile() -> None:
    backlog = filled([1])
    backlog.take()
    backlog.add([record(2)], ())
    backlog.refused()
    assert numbers(backlog.take()) == [1, 2]


def test_what_came_meanwhile_waits_on_when_what_was_taken_is_written() -> None:
    backlog = filled([1])
    backlog.take()
    backlog.add([record(2)], ())
    backlog.written()
    assert (waiting(backlog), len(backlog)) == ([2], 1)


def test_beyond_its_bound_the_oldest_records_go_and_what_they_changed_stays() -> None:
    backlog = filled([1, 2], [3], [4, 5], most_lines=3)
    assert waiting(backlog) == [3, 4, 5]
    assert backlog.take_lost() == Lost(1, 2, 2)
    assert backlog.take_lost() is None
    assert [key for _, key in backlog.take().changes] == ["round 0", "round 1", "round 2"]


def test_a_later_change_is_not_undone_by_one_of_a_round_that_went() -> None:
    backlog = Backlog(most_lines=1)
    backlog.add([record(1)], [change("a", b"old")])
    backlog.add([record(2)], [change("a", b"new")])
    assert list(backlog.take().changes.values()) == [change("a", b"new")]


def test_the_bound_is_one_of_bytes_too() -> None:
    backlog = Backlog(most_bytes=25_000)
    for seq in (1, 2, 3):
        backlog.add([record(seq, data=b"x" * 10_000)], ())
    assert waiting(backlog) == [2, 3]


def test_what_is_being_written_does_not_go() -> None:
    backlog = filled([1, 2], most_lines=3)
    backlog.take()
    backlog.add([record(3)], [change("b")])
    backlog.add([record(4)], [change("c")])
    assert waiting(backlog) == [1, 2, 4]
    backlog.written()
    taken = backlog.take()
    assert (numbers(taken), [key for _, key in taken.changes]) == ([4], ["b", "c"])
    assert backlog.take_lost() == Lost(3, 3, 1)


def test_the_newest_round_stays_however_large_it_is() -> None:
    backlog = filled([1], range(2, 12), most_lines=3)
    assert waiting(backlog) == list(range(2, 12))


def test_what_will_never_be_written_is_let_go_of_and_counted() -> None:
    backlog = filled([1, 2], [3])
    backlog.take(one_only=True)
    backlog.lose()
    assert (waiting(backlog), backlog.take_lost()) == ([3], Lost(1, 2, 2))


@pytest.mark.parametrize("rebuild", [None, Rebuild.STORE])
def test_what_has_to_be_rebuilt_goes_with_the_rounds(rebuild: Rebuild | None) -> None:
    backlog = Backlog(most_lines=1)
    backlog.add([record(1)], (), Rebuild.NONE)
    backlog.add([record(2)], (), rebuild)
    assert backlog.take().rebuild is (Rebuild.NONE if rebuild is None else rebuild)


@given(
    st.lists(st.one_of(st.integers(0, 4), st.sampled_from(["take", "written", "refused"]))),
    st.integers(1, 6),
)
def test_whatever_happens_order_holds_and_no_line_is_forgotten(
    steps: list[int | str], most_lines: int
) -> None:
    backlog = Backlog(most_lines=most_lines)
    seq, lost, taken = 0, 0, False
    written: list[int] = []
    pending: list[int] = []
    for step in steps:
        if isinstance(step, int):
            backlog.add([record(seq + n + 1) for n in range(step)], [change(f"{step}")])
            seq += step
        elif step == "take" and not taken:
            pending, taken = numbers(backlog.take()), True
        elif step != "take" and taken:
            taken = False
            if step == "written":
                backlog.written()
                written += pending
            else:
                backlog.refused()
        gone = backlog.take_lost()
        lost += gone.count if gone else 0
        everything = written + waiting(backlog)
        assert everything == sorted(set(everything))
        assert len(everything) + lost == seq
        assert len(backlog) == len(waiting(backlog))
