"""Messages of the reader's stream, however the stream is cut, and what is no message."""

import json
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from storewatch_reader.message import MAX_BYTES, BadMessage, Unpacker, pack

HEADERS = st.dictionaries(
    st.text(max_size=8), st.none() | st.integers() | st.text(max_size=8), max_size=4
)


def test_a_message_is_two_lengths_a_header_and_a_blob() -> None:
    assert pack({"id": 1}, b"xy") == b"\0\0\0\x0e" + b"\0\0\0\x08" + b'{"id":1}' + b"xy"


@given(messages=st.lists(st.tuples(HEADERS, st.binary(max_size=40)), max_size=4), data=st.data())
def test_messages_come_whole_however_the_stream_is_cut(
    messages: list[tuple[dict[str, object], bytes]], data: st.DataObject
) -> None:
    stream = b"".join(pack(header, blob) for header, blob in messages)
    cuts = data.draw(st.lists(st.integers(0, len(stream)), max_size=6).map(sorted))
    unpacker = Unpacker()
    found = []
    for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True):
        found += unpacker.feed(stream[start:end])
    assert found == messages


@given(header=HEADERS, blob=st.binary(max_size=20), data=st.data())
def test_half_a_message_is_waited_for(
    header: dict[str, object], blob: bytes, data: st.DataObject
) -> None:
    stream = pack(header, blob)
    assert Unpacker().feed(stream[: data.draw(st.integers(0, len(stream) - 1))]) == []


def body(content: bytes, *, head_length: int | None = None) -> bytes:
    length = len(content) if head_length is None else head_length
    return struct.pack("!II", 4 + len(content), length) + content


@pytest.mark.parametrize(
    ("stream", "words"),
    [
        pytest.param(b"\0\0\0\x03abc", "claims 3 bytes", id="no room for a header's length"),
        pytest.param(struct.pack("!I", MAX_BYTES + 1), "claims 67108865 bytes", id="too long"),
        pytest.param(b"GET / HTTP/1.1\r\n\r\n", "claims", id="another protocol"),
        pytest.param(body(b"{}", head_length=3), "longer than its message", id="long header"),
        pytest.param(body(b"{"), "no JSON", id="half a header"),
        pytest.param(body(b"\xff\xfe\xfd"), "no JSON", id="bytes"),
        pytest.param(body(b"[" * 100_000), "no JSON", id="deep"),
        pytest.param(body(b"[]"), "no object", id="a list"),
        pytest.param(body(b""), "no JSON", id="nothing"),
    ],
)
def test_what_is_no_message_is_told(stream: bytes, words: str) -> None:
    with pytest.raises(BadMessage, match=words):
        Unpacker().feed(stream)


@given(chunks=st.lists(st.binary(max_size=60), max_size=4))
def test_garbage_is_a_bad_message_or_waited_for(chunks: list[bytes]) -> None:
    unpacker = Unpacker()
    try:
        for chunk in chunks:
            for header, _ in unpacker.feed(chunk):
                json.dumps(header)
    except BadMessage:
        pass
