"""What can go wrong for a client.

ClientError
  ConnectionLost    the daemon cannot be reached, or went away before it answered
  ProtocolError     what answers is no Storewatch daemon
  CallError         the daemon refused a call: code, message, data
"""

from typing import Any


class ClientError(Exception):
    """The root of the tree."""


class ConnectionLost(ClientError):
    """The daemon cannot be reached, or went away before it answered."""


class ProtocolError(ClientError):
    """What answers is no Storewatch daemon."""


class CallError(ClientError):
    """The daemon refused a call. `code` is one of storewatch.wire.Code."""

    def __init__(self, code: int, message: str, data: Any = None) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.data = data
