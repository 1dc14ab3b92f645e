"""Vectors: which rows are there, may be there, and which holes say more than others."""

from core.promql.fix_vectors import GONE, MAYBE, vector
from storewatchd.core.promql.vector import distinct_holes


def test_a_row_is_there_or_may_be_or_is_not() -> None:
    found = vector({"1 a": 1.0, "1 b": MAYBE, "1 c": GONE})
    assert found.exact.tolist() == [True, False, False]
    assert found.unknown.tolist() == [False, True, False]
    assert found.possible.tolist() == [True, True, False]


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
