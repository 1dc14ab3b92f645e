"""Vectors: which rows are there, may be there, and which holes say more than others."""

from core.promql.fix_vectors import GONE, MAYBE, at_least, at_most, rows, vector
from storewatchd.core.promql.vector import Vector, distinct_holes, turned


def test_a_row_is_there_or_may_be_or_is_not() -> None:
    found = vector({"1 a": 1.0, "1 b": at_least(1), "1 c": at_most(1), "1 d": MAYBE, "1 e": GONE})
    assert found.exact.tolist() == [True, False, False, False, False]
    assert found.there.tolist() == [True, True, True, False, False]
    assert found.unknown.tolist() == [False, False, False, True, False]
    assert found.possible.tolist() == [True, True, True, True, False]


def test_what_turns_a_value_turns_its_bound() -> None:
    found = vector({"1 a": 1.0, "1 b": at_least(2), "1 c": at_most(3), "1 d": MAYBE, "1 e": GONE})
    assert rows(Vector(found.frame, turned(found.states), -found.values)) == {
        "1 a": -1.0,
        "1 b": at_most(-2),
        "1 c": at_least(-3),
        "1 d": MAYBE,
    }


def test_equal_holes_are_one() -> None:
    assert distinct_holes(({"s": "1", "x": "a"}, {"x": "a", "s": "1"}, {"s": "2"})) == (
        {"x": "a", "s": "1"},
        {"s": "2"},
    )


def test_a_hole_that_hides_everything_contains_the_others() -> None:
    assert distinct_holes(({"s": "1"}, {}, {"s": "2"})) == ({},)


def test_one_hole_or_none_stays_as_it_is() -> None:
    assert distinct_holes(()) == ()
    assert distinct_holes(({"s": "1"},)) == ({"s": "1"},)
