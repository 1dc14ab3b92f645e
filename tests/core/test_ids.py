"""Ids sort by time."""

import uuid

from hypothesis import given
from hypothesis import strategies as st

from storewatchd.core.ids import Ids, uuid7


@given(st.floats(0, 4e9), st.binary(min_size=10, max_size=10))
def test_it_is_a_uuid_of_version_7(wall: float, random: bytes) -> None:
    made = uuid.UUID(uuid7(wall, random))
    assert (made.version, made.variant) == (7, uuid.RFC_4122)
    assert made.int >> 80 == round(wall * 1000)


@given(st.floats(0, 4e9), st.floats(0.001, 1e6))
def test_a_later_one_sorts_after(wall: float, later: float) -> None:
    assert uuid7(wall, b"\xff" * 10) <= uuid7(wall + later + 0.001, b"\0" * 10)


def test_the_same_seed_gives_the_same_ids_and_another_gives_others() -> None:
    first, second = Ids(1), Ids(2)
    begun = first.new(5.0)
    second.reseed(1)
    assert second.new(5.0) == begun
    assert first.new(5.0) != begun
