"""Envelopes: what a daemon sends is told apart, and what is neither is refused, never guessed."""

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from storewatch.wire import Notification, Reply, Request, decode_message, encode

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3)
    ),
    max_leaves=10,
)
ID = st.none() | st.integers(-(2**53), 2**53) | st.text(max_size=20)


@given(JSON, ID)
def test_a_result_comes_back_as_it_was(result: Any, call_id: Any) -> None:
    message = decode_message(
        json.dumps({"jsonrpc": "2.0", "id": call_id, "result": result}).encode()
    )
    assert isinstance(message, Reply)
    assert message.id == call_id
    assert message.error is msgspec.UNSET
    assert isinstance(message.result, msgspec.Raw)
    assert json.loads(bytes(message.result)) == result


@given(st.integers(-(2**31), 2**31), st.text(), JSON, ID)
def test_an_error_keeps_code_message_and_data(
    code: int, text: str, data: Any, call_id: Any
) -> None:
    error = {"code": code, "message": text, "data": data}
    message = decode_message(json.dumps({"id": call_id, "error": error}).encode())
    assert isinstance(message, Reply)
    assert not isinstance(message.error, msgspec.UnsetType)
    assert (message.error.code, message.error.message, message.error.data) == (code, text, data)


@given(st.text(max_size=20), st.dictionaries(st.text(max_size=5), JSON, max_size=4))
def test_a_notification_keeps_its_parameters(method: str, params: dict[str, Any]) -> None:
    message = decode_message(json.dumps({"method": method, "params": params}).encode())
    assert isinstance(message, Notification)
    assert message.method == method
    assert json.loads(bytes(message.params)) == params


def test_a_notification_without_parameters_has_an_empty_object() -> None:
    message = decode_message(b'{"jsonrpc":"2.0","method":"end"}')
    assert isinstance(message, Notification)
    assert bytes(message.params) == b"{}"


@given(st.binary(max_size=60))
def test_garbage_is_refused_with_an_error_that_callers_catch(line: bytes) -> None:
    try:
        message = decode_message(line)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return
    assert isinstance(message, Reply | Notification)


@given(JSON)
def test_what_is_neither_reply_nor_notification_is_refused(document: Any) -> None:
    has_member = isinstance(document, dict) and document.keys() & {"method", "result", "error"}
    if has_member:
        return
    with pytest.raises(msgspec.MsgspecError):
        decode_message(json.dumps(document).encode())


@given(JSON, st.integers(0, 60))
def test_a_truncated_reply_is_refused(result: Any, kept: int) -> None:
    line = json.dumps({"jsonrpc": "2.0", "id": 1, "result": result}).encode()
    with pytest.raises((msgspec.MsgspecError, UnicodeDecodeError)):
        decode_message(line[: min(kept, len(line) - 1)])


def test_what_is_not_set_is_not_sent() -> None:
    request = Request(jsonrpc="2.0", method="daemon.version", id=1)
    assert json.loads(encode(request)) == {"jsonrpc": "2.0", "method": "daemon.version", "id": 1}
