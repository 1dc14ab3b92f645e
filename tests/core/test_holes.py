"""Holes: open now, and open once."""

from storewatchd.core.frames import Scope
from storewatchd.core.holes import Holes

NOON = 1_767_268_800.0
HERE, THERE = ("recorded", Scope("a")), ("recorded", Scope("b"))
X, Y = {"x": "1"}, {"y": "2"}


def note(holes: Holes, *found: dict[str, str], at: float, source: tuple[str, Scope] = HERE) -> None:
    holes.note(source, found, NOON + at, kept_s=3600)


def test_a_hole_is_open_until_its_source_does_not_name_it() -> None:
    holes = Holes()
    note(holes, X, Y, at=0)
    note(holes, Y, at=30)
    assert holes.open() == [Y]
    assert holes.between(NOON + 29, NOON + 29) == [X, Y]
    assert holes.between(NOON + 30, NOON + 30) == [Y]


def test_another_source_closes_nothing() -> None:
    holes = Holes()
    note(holes, X, at=0)
    note(holes, at=30, source=THERE)
    assert holes.open() == [X]


def test_a_hole_was_open_in_a_time_if_at_some_moment_of_it() -> None:
    holes = Holes()
    note(holes, X, at=10)
    note(holes, at=20)
    assert holes.between(NOON, NOON + 9) == []
    assert holes.between(NOON, NOON + 10) == [X]
    assert holes.between(NOON + 19, NOON + 60) == [X]
    assert holes.between(NOON + 20, NOON + 60) == []


def test_the_same_hole_twice_is_one() -> None:
    holes = Holes()
    note(holes, X, dict(X), at=0)
    note(holes, X, at=30)
    assert holes.open() == [X]
    note(holes, at=60)
    assert holes.open() == []


def test_what_closed_long_ago_is_forgotten() -> None:
    holes = Holes()
    note(holes, X, at=0)
    note(holes, at=10)
    note(holes, Y, at=3610)
    assert holes.between(NOON, NOON + 5) == [X]
    note(holes, Y, at=3611)
    assert holes.between(NOON, NOON + 5) == []


def test_a_clock_that_went_back_takes_an_open_hole_along() -> None:
    holes = Holes()
    note(holes, X, at=3600)
    note(holes, X, at=0)
    assert holes.between(NOON, NOON + 1) == [X]


def test_holes_go_along_with_a_clock_that_is_set() -> None:
    holes = Holes()
    note(holes, X, Y, at=0)
    note(holes, Y, at=30)
    holes.shift(-3600)
    assert holes.open() == [Y]
    assert holes.between(NOON - 3600 + 29, NOON - 3600 + 29) == [X, Y]
    assert holes.between(NOON - 3600 + 30, NOON) == [Y]
    assert holes.between(NOON - 3601, NOON - 3601) == []
