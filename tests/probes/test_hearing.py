"""How a watch stands, and how much of what it tells is told on."""

import errno

import pytest

from storewatchd.errors import ProbeAbsent, ProbeDeferred, ProbeFailed, ReadRefused
from storewatchd.port import Heard
from storewatchd.probes.hearing import Standing, Telling


def standing(state: str, message: str = "why") -> Standing:
    one = Standing()
    one.note(Heard(state, message))
    return one


def test_what_is_listened_to_can_be_said() -> None:
    standing("listening").check()


@pytest.mark.parametrize(
    ("state", "error"),
    [
        ("absent", ProbeAbsent),
        ("deferred", ProbeDeferred),
        ("forbidden", ReadRefused),
        ("failed", ProbeFailed),
        ("stuck", ProbeFailed),
        ("", ProbeDeferred),
    ],
)
def test_absent_deferred_forbidden_and_failed_are_told_apart(
    state: str, error: type[Exception]
) -> None:
    with pytest.raises(error) as raised:
        standing(state).check()
    assert type(raised.value) is error


def test_what_is_forbidden_names_the_right() -> None:
    with pytest.raises(ReadRefused) as raised:
        standing("forbidden").check()
    assert raised.value.errno == errno.EPERM


def test_only_a_change_is_news() -> None:
    one = Standing()
    assert one.note(Heard("absent", "a"))
    assert not one.note(Heard("absent", "a"))
    assert not one.note(Heard(records=(b"x",)))
    assert one.note(Heard("absent", "b"))
    assert one.note(Heard("listening"))


def test_the_same_is_told_once_with_its_count() -> None:
    telling: Telling[str] = Telling(a_minute=60, at_once=10)
    for what in "abaab":
        telling.add(what)
    assert telling.take(0.0) == ([("a", 3), ("b", 2)], 0)
    assert telling.take(1.0) == ([], 0)


def test_what_is_too_much_is_only_counted() -> None:
    telling: Telling[int] = Telling(a_minute=60, at_once=3)
    for number in (1, 2, 3, 4, 4, 1):
        telling.add(number)
    assert telling.take(0.0) == ([(1, 2), (2, 1), (3, 1)], 2)


def test_room_comes_back_with_time_and_no_more_than_there_was() -> None:
    telling: Telling[int] = Telling(a_minute=60, at_once=2)
    for at, numbers, told, untold in (
        (0.0, (1, 2), 2, 0),
        (0.5, (3,), 0, 1),
        (1.5, (4, 5), 1, 1),
        (100.0, (6, 7), 2, 0),
        (100.0, (8,), 0, 1),
    ):
        for number in numbers:
            telling.add(number)
        found, left = telling.take(at)
        assert (len(found), left) == (told, untold)
