"""Values of the journal: a checksum that no flipped bit escapes, and a count that reads itself."""

from hypothesis import given
from hypothesis import strategies as st

from storewatchd.journal.records import Counted, checksum_of

NUMBERS = st.integers(0, 1 << 62)


def test_a_checksum_tells_where_one_part_ends() -> None:
    assert checksum_of(b"ab", b"c") != checksum_of(b"a", b"bc")


@given(st.lists(st.binary(min_size=1, max_size=40), min_size=1, max_size=4), st.data())
def test_a_checksum_notices_every_flipped_bit(parts: list[bytes], data: st.DataObject) -> None:
    which = data.draw(st.integers(0, len(parts) - 1))
    bit = data.draw(st.integers(0, 8 * len(parts[which]) - 1))
    flipped = bytearray(parts[which])
    flipped[bit // 8] ^= 1 << bit % 8
    assert checksum_of(*parts[:which], bytes(flipped), *parts[which + 1 :]) != checksum_of(*parts)


@given(st.builds(Counted, NUMBERS, NUMBERS, NUMBERS, NUMBERS))
def test_a_count_is_read_as_it_was_written(counted: Counted) -> None:
    assert Counted.from_text(counted.to_text()) == counted


def test_a_file_without_a_count_has_nothing() -> None:
    assert Counted.from_text("") == Counted(0, 0, 0, 0)
