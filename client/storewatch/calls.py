"""One call as bytes, and one reply as a value or an error: what both clients share."""

from typing import Any, TypeVar

import msgspec

from storewatch.errors import CallError, ProtocolError, Unsendable
from storewatch.wire import Reply, Request, encode
from storewatch.wire.framing import MAX_REQUEST_BYTES
from storewatch.wire.params import Params

T = TypeVar("T")

Arguments = Params | dict[str, Any] | None
"""The parameters of a call: one of `storewatch.wire.params`, or names and values."""


def encode_call(call_id: int, method: str, params: Arguments, auth: str | None) -> bytes:
    """Return the line that makes a call, with its newline.

    Raises:
        Unsendable: the daemon would refuse a line this long, or a text is not UTF-8.
    """
    if isinstance(params, Params):
        # A parameter that was not given is left out: an older daemon need not know its name.
        params = {
            name: value
            for name in params.__struct_fields__
            if (value := getattr(params, name)) is not None
        }
    request = Request(
        jsonrpc="2.0",
        method=method,
        params=params or {},
        id=call_id,
        auth=msgspec.UNSET if auth is None else auth,
    )
    try:
        line = encode(request)
    except UnicodeEncodeError as error:
        shown = error.object[:100].encode(errors="backslashreplace").decode()
        raise Unsendable(f"this is not UTF-8 text: {shown}") from error
    if len(line) > MAX_REQUEST_BYTES:
        raise Unsendable(
            f"a request of {len(line)} bytes is too long: {MAX_REQUEST_BYTES} are the most"
        )
    return line + b"\n"


def result_of(reply: Reply, method: str) -> bytes:
    """Return the JSON of a reply's result.

    Raises:
        CallError: the reply is an error.
    """
    if reply.error is not msgspec.UNSET:
        failure = reply.error
        raise CallError(method, failure.code, failure.message, failure.data)
    assert reply.result is not msgspec.UNSET
    return bytes(reply.result)


def decode_result(result: bytes, method: str, kind: type[T]) -> T:
    """Return a result as its type.

    Raises:
        ProtocolError: it is not of this type.
    """
    try:
        return msgspec.json.decode(result, type=kind)
    except msgspec.MsgspecError as error:
        raise ProtocolError(f"the daemon's answer to {method} is not as agreed: {error}") from error
