"""One call as bytes, and one reply as a value or an error: what both clients share."""

from collections.abc import Mapping
from typing import Any

import msgspec

from storewatch.errors import CallError, TooLong, Unsendable
from storewatch.wire import Reply, Request, encode
from storewatch.wire.framing import MAX_REQUEST_BYTES


def encode_call(
    number: int, method: str, params: Mapping[str, Any] | None, token: str | None
) -> bytes:
    """Return the line that makes a call, with its newline.

    Raises:
        Unsendable: the daemon would refuse a line this long, or a text in it is not UTF-8.
    """
    request = Request(
        jsonrpc="2.0",
        method=method,
        params=params or {},
        id=number,
        auth=msgspec.UNSET if token is None else token,
    )
    try:
        line = encode(request)
    except UnicodeEncodeError as error:
        shown = error.object[:100].encode(errors="backslashreplace").decode()
        raise Unsendable(f"this is not UTF-8 text: {shown}") from error
    if len(line) > MAX_REQUEST_BYTES:
        raise TooLong(
            f"a request of {len(line)} bytes is too long: {MAX_REQUEST_BYTES} are the most"
        )
    return line + b"\n"


def result_of(reply: Reply) -> msgspec.Raw:
    """Return the JSON of a reply's result.

    Raises:
        CallError: the reply is an error.
    """
    if not isinstance(reply.error, msgspec.UnsetType):
        raise CallError(reply.error.code, reply.error.message, reply.error.data)
    assert not isinstance(reply.result, msgspec.UnsetType)
    return reply.result
