"""A blocking client for one call after the other: what the command line needs, and starts fast."""

import os
import socket
from collections import deque
from collections.abc import Iterator, Mapping
from typing import Any, Self

import msgspec

from storewatch import clock
from storewatch.calls import encode_call, result_of
from storewatch.errors import ConnectionLost, ProtocolError, Unreachable
from storewatch.wire import LineSplitter, Notification, OversizedLine, Reply, decode_message
from storewatch.wire.framing import MAX_MESSAGE_BYTES

DEFAULT_SOCKET = "/run/storewatch/control.sock"

CONNECT_TIMEOUT_S = 5.0


def socket_path(said: str | None = None) -> str:
    """Return where the daemon listens: what was said, STOREWATCH_SOCKET, or the usual place."""
    return said or os.environ.get("STOREWATCH_SOCKET") or DEFAULT_SOCKET


class PlainClient:
    """A connection to the daemon. Use it as a context manager. After a ConnectionLost or a
    ProtocolError it is of no more use."""

    def __init__(
        self, path: str, *, token: str | None = None, timeout_s: float | None = 65.0
    ) -> None:
        """Connect.

        Raises:
            Unreachable: nobody answers there.
        """
        self.path = path
        self._token = token
        self._timeout_s = timeout_s
        self._next = 0
        self._lines = LineSplitter(MAX_MESSAGE_BYTES)
        self._waiting: deque[bytes] = deque()
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._socket.settimeout(min(CONNECT_TIMEOUT_S, timeout_s or CONNECT_TIMEOUT_S))
        try:
            self._socket.connect(path)
        except OSError as error:
            self._socket.close()
            raise Unreachable.at(path, error) from error

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection; a second call changes nothing."""
        self._socket.close()

    def call(self, method: str, params: Mapping[str, Any] | None = None) -> Any:
        """Return the result of a call, decoded.

        Raises:
            CallError: the daemon refused.
            ConnectionLost: it went away, or did not answer in time.
            ProtocolError: the answer is none.
        """
        return msgspec.json.decode(self.call_raw(method, params))

    def call_raw(self, method: str, params: Mapping[str, Any] | None = None) -> bytes:
        """Return the result of a call as JSON.

        Raises:
            CallError: the daemon refused.
            ConnectionLost: it went away, or did not answer in time.
            ProtocolError: the answer is none.
        """
        self._next += 1
        line = encode_call(self._next, method, params, self._token)
        deadline = None if self._timeout_s is None else clock.monotonic() + self._timeout_s
        try:
            self._bound(deadline)
            self._socket.sendall(line)
        except BrokenPipeError:
            # A daemon that refuses a connection says why before it closes: read that first.
            pass
        except TimeoutError as error:
            raise ConnectionLost(self._silence(method)) from error
        except OSError as error:
            raise ConnectionLost(f"the daemon at {self.path} went away: {_words(error)}") from error
        while True:
            message = self._message(method, deadline)
            # A reply without an id speaks of the whole connection.
            if isinstance(message, Reply) and message.id in (self._next, None):
                return bytes(result_of(message))

    def notifications(self) -> Iterator[tuple[str, Any]]:
        """Yield what the daemon says of subscriptions, as method and params, until it goes away.

        Raises:
            ConnectionLost: it went away.
        """
        while True:
            message = self._message("the next event", None)
            if isinstance(message, Notification):
                yield message.method, msgspec.json.decode(message.params)

    def _message(self, method: str, deadline: float | None) -> Reply | Notification:
        try:
            while not self._waiting:
                self._bound(deadline)
                chunk = self._socket.recv(1 << 18)
                if not chunk:
                    raise ConnectionLost(f"the daemon at {self.path} closed the connection")
                self._waiting.extend(self._lines.feed(chunk))
            return decode_message(self._waiting.popleft())
        except TimeoutError as error:
            raise ConnectionLost(self._silence(method)) from error
        except OSError as error:
            raise ConnectionLost(f"the daemon at {self.path} went away: {_words(error)}") from error
        except (OversizedLine, msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise ProtocolError(f"what answers at {self.path} is no daemon: {error}") from error

    def _bound(self, deadline: float | None) -> None:
        if deadline is None:
            self._socket.settimeout(None)
            return
        left = deadline - clock.monotonic()
        if left <= 0:
            raise TimeoutError
        self._socket.settimeout(left)

    def _silence(self, method: str) -> str:
        return f"the daemon at {self.path} did not answer {method} within {self._timeout_s:g} s"


def _words(error: OSError) -> str:
    return os.strerror(error.errno).lower() if error.errno else str(error)
