"""The contract between the daemon and everybody else: framing, envelopes, types, error codes.

Pure: no socket, no file, no clock. It lives with the client, because clients outlive daemons.
"""

from storewatch.wire.codes import Code
from storewatch.wire.envelope import (
    Failure,
    Notification,
    Reply,
    Request,
    decode_message,
    encode,
)
from storewatch.wire.framing import LineSplitter, OversizedLine

__all__ = [
    "Code",
    "Failure",
    "LineSplitter",
    "Notification",
    "OversizedLine",
    "Reply",
    "Request",
    "decode_message",
    "encode",
]
