"""A blocking client for one call after the other: what the command line needs, and starts fast."""

import os
import socket
from collections.abc import Iterator
from typing import Any, Self

import msgspec

from storewatch.errors import CallError, ConnectionLost, ProtocolError
from storewatch.wire import LineSplitter, Notification, OversizedLine, Reply, decode_message, encode
from storewatch.wire.framing import MAX_MESSAGE_BYTES

DEFAULT_SOCKET = "/run/storewatch/control.sock"


def socket_path(said: str | None = None) -> str:
    """Return where the daemon listens: what was said, STOREWATCH_SOCKET, or the usual place."""
    return said or os.environ.get("STOREWATCH_SOCKET") or DEFAULT_SOCKET


class PlainClient:
    """A connection to the daemon. Use it as a context manager."""

    def __init__(self, path: str, *, timeout_s: float = 65.0) -> None:
        """Connect.

        Raises:
            ConnectionLost: nobody answers there.
        """
        self.path = path
        self._next = 0
        self._lines = LineSplitter(MAX_MESSAGE_BYTES)
        self._waiting: list[bytes] = []
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._socket.settimeout(timeout_s)
        try:
            self._socket.connect(path)
        except OSError as error:
            self._socket.close()
            raise ConnectionLost(
                f"no daemon answers at {path}: {error.strerror or error}"
            ) from error

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def close(self) -> None:
        self._socket.close()

    def call(self, method: str, params: dict[str, Any] | None = None) -> Any:
        """Return the result of a call, decoded.

        Raises:
            CallError: the daemon refused.
            ConnectionLost: it went away, or did not answer in time.
            ProtocolError: the answer is none.
        """
        self._next += 1
        request = {"jsonrpc": "2.0", "id": self._next, "method": method, "params": params or {}}
        try:
            self._socket.sendall(encode(request) + b"\n")
        except OSError as error:
            raise ConnectionLost(f"the daemon at {self.path} went away: {error}") from error
        while True:
            message = self._message()
            if isinstance(message, Reply) and message.id in (self._next, None):
                break
        if not isinstance(message.error, msgspec.UnsetType):
            raise CallError(message.error.code, message.error.message, message.error.data)
        assert not isinstance(message.result, msgspec.UnsetType)
        return msgspec.json.decode(message.result)

    def notifications(self) -> Iterator[tuple[str, Any]]:
        """Yield what the daemon says of subscriptions, as method and params, until it goes away.

        Raises:
            ConnectionLost: it went away.
        """
        self._socket.settimeout(None)
        while True:
            message = self._message()
            if isinstance(message, Notification):
                yield message.method, msgspec.json.decode(message.params)

    def _message(self) -> Reply | Notification:
        while not self._waiting:
            try:
                chunk = self._socket.recv(1 << 16)
            except TimeoutError as error:
                raise ConnectionLost(f"the daemon at {self.path} does not answer") from error
            except OSError as error:
                raise ConnectionLost(f"the daemon at {self.path} went away: {error}") from error
            if not chunk:
                raise ConnectionLost(f"the daemon at {self.path} went away")
            try:
                self._waiting = self._lines.feed(chunk)
            except OversizedLine as error:
                raise ProtocolError(f"what answers at {self.path} is no daemon: {error}") from error
        try:
            return decode_message(self._waiting.pop(0))
        except msgspec.MsgspecError as error:
            raise ProtocolError(f"what answers at {self.path} is no daemon: {error}") from error
