"""JSON-RPC 2.0 envelopes, as the client sees them.

A request may carry `auth` beside `params`: the bearer token of the caller on whose behalf it is
made. Without it the daemon judges the peer of the socket.
"""

from typing import Any

import msgspec

encode = msgspec.json.Encoder().encode
"""JSON bytes for any wire type, without a newline."""


class Request(msgspec.Struct, kw_only=True, omit_defaults=True):
    """A call. Without an id it is a notification, and nothing is answered."""

    jsonrpc: str
    method: str
    params: Any = msgspec.UNSET
    id: Any = msgspec.UNSET
    auth: str | msgspec.UnsetType = msgspec.UNSET


class Failure(msgspec.Struct, kw_only=True):
    """Why a call was not answered with a result."""

    code: int
    message: str
    data: Any = None


class Reply(msgspec.Struct, kw_only=True):
    """The answer to one call: a result or an error."""

    id: int | str | None
    result: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    error: Failure | msgspec.UnsetType = msgspec.UNSET


class Notification(msgspec.Struct, kw_only=True):
    """What the daemon says unasked: an event of a subscription, or the end of one."""

    method: str
    params: msgspec.Raw


class _Message(msgspec.Struct, kw_only=True):
    """Everything that a daemon may send, before it is told apart."""

    method: str | msgspec.UnsetType = msgspec.UNSET
    params: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    id: int | str | None = None
    result: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    error: Failure | msgspec.UnsetType = msgspec.UNSET


_decode = msgspec.json.Decoder(_Message).decode


def decode_message(line: bytes) -> Reply | Notification:
    """Return what one line from the daemon says.

    Raises:
        msgspec.MsgspecError: the line is not JSON, or neither a reply nor a notification.
    """
    message = _decode(line)
    if message.method is not msgspec.UNSET:
        params = msgspec.Raw(b"{}") if message.params is msgspec.UNSET else message.params
        return Notification(method=message.method, params=params)
    if message.result is msgspec.UNSET and message.error is msgspec.UNSET:
        raise msgspec.ValidationError("a reply has neither a result nor an error")
    return Reply(id=message.id, result=message.result, error=message.error)
