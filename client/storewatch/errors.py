"""What can go wrong for a client.

ClientError
  ConnectionLost    the daemon went away or did not answer; whether it did what was asked is
                    not known
    Unreachable     no connection could be made; nothing was asked
  ProtocolError     what answers is no Storewatch daemon
  Unsendable        the request itself cannot be sent
  CallError         the daemon refused a call: code, message, data
"""

import os
from typing import Any

from storewatch.wire import Code


class ClientError(Exception):
    """The root of the tree; the sentence is lower case and has no full stop."""


class ConnectionLost(ClientError):
    """The daemon cannot be reached, or went away before it answered."""


class Unreachable(ConnectionLost):
    """No connection could be made. `errno` is the kernel's answer, 0 where it gave none."""

    def __init__(self, message: str, errno: int = 0) -> None:
        super().__init__(message)
        self.errno = errno

    @classmethod
    def at(cls, path: str, error: OSError) -> "Unreachable":
        """Return the error for a connection to `path` that failed with `error`."""
        reason = os.strerror(error.errno).lower() if error.errno else str(error)
        if isinstance(error, TimeoutError | BlockingIOError):
            reason = "it does not accept connections"
        return cls(f"no daemon answers at {path}: {reason}", error.errno or 0)


class ProtocolError(ClientError):
    """What answers is no Storewatch daemon."""


class Unsendable(ClientError):
    """A request cannot be sent: it is too long, or a text in it is no text."""


class TooLong(Unsendable):
    """A request is longer than the daemon takes."""


class CallError(ClientError):
    """The daemon refused a call. `code` is one of storewatch.wire.Code."""

    def __init__(self, code: int, message: str, data: Any = None) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.data = data

    @property
    def is_passing(self) -> bool:
        """Whether the same call may well be answered later."""
        return self.code in (Code.UNAVAILABLE, Code.LIMIT_REACHED)
