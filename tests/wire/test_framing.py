"""LineSplitter: however the bytes are cut, the same lines come out."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from storewatch.wire import LineSplitter, OversizedLine

LINE = st.binary(max_size=40).map(lambda raw: raw.replace(b"\n", b""))


def cut(stream: bytes, places: list[int]) -> list[bytes]:
    edges = sorted({0, len(stream), *(place % (len(stream) + 1) for place in places)})
    return [stream[start:end] for start, end in itertools.pairwise(edges)]


@given(st.lists(LINE), LINE, st.lists(st.integers(0, 10_000)))
def test_lines_do_not_depend_on_where_the_stream_is_cut(
    lines: list[bytes], rest: bytes, places: list[int]
) -> None:
    splitter = LineSplitter(1000)
    stream = b"".join(line + b"\n" for line in lines) + rest
    heard = [line for chunk in cut(stream, places) for line in splitter.feed(chunk)]
    assert heard == [line for line in lines if line.strip()]
    assert splitter.unfinished is bool(rest)


@given(st.integers(1, 50), st.integers(1, 60))
def test_a_line_of_exactly_the_limit_passes_and_one_byte_more_does_not(
    limit: int, piece: int
) -> None:
    def feed(length: int) -> list[bytes]:
        splitter = LineSplitter(limit)
        stream = b"x" * length + b"\n"
        pieces = [stream[at : at + piece] for at in range(0, len(stream), piece)]
        return [line for one in pieces for line in splitter.feed(one)]

    assert feed(limit) == [b"x" * limit]
    with pytest.raises(OversizedLine) as caught:
        feed(limit + 1)
    assert caught.value.limit == limit


def test_an_unfinished_line_over_the_limit_is_refused_before_its_end_comes() -> None:
    splitter = LineSplitter(10)
    assert splitter.feed(b"12345678") == []
    with pytest.raises(OversizedLine, match="longer than 10 bytes"):
        splitter.feed(b"9abc")


def test_the_limit_is_for_each_line_not_for_all_together() -> None:
    splitter = LineSplitter(4)
    assert splitter.feed(b"abcd\nabcd\nab") == [b"abcd", b"abcd"]
    assert splitter.feed(b"cd\n") == [b"abcd"]


@pytest.mark.parametrize(
    "stream",
    [
        pytest.param(b"\n\n\n", id="empty"),
        pytest.param(b" \n\t\n\r\n", id="blank"),
    ],
)
def test_blank_lines_are_left_out(stream: bytes) -> None:
    splitter = LineSplitter(10)
    assert splitter.feed(stream) == []
    assert not splitter.unfinished
