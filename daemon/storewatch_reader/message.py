"""Messages between daemon and reader over a stream: length, header length, JSON header, blob.

Both lengths are unsigned 32-bit, big-endian; the first counts what follows it.
"""

import json
import struct
from typing import Any

MAX_BYTES = 64 << 20

_LENGTH = struct.Struct("!I")


class BadMessage(ValueError):
    """The stream holds something that is no message; nothing after it can be trusted."""


def pack(header: dict[str, Any], blob: bytes = b"") -> bytes:
    """Return the bytes of one message."""
    head = json.dumps(header, separators=(",", ":")).encode()
    return _LENGTH.pack(4 + len(head) + len(blob)) + _LENGTH.pack(len(head)) + head + blob


class Unpacker:
    """Turns received chunks into whole messages."""

    def __init__(self) -> None:
        self._rest = bytearray()

    def feed(self, chunk: bytes) -> list[tuple[dict[str, Any], bytes]]:
        """Return the messages that this chunk completes.

        Raises:
            BadMessage: the stream is out of step.
        """
        self._rest += chunk
        messages = []
        while len(self._rest) >= 4:
            (length,) = _LENGTH.unpack_from(self._rest)
            if not 4 <= length <= MAX_BYTES:
                raise BadMessage(f"a message claims {length} bytes")
            if len(self._rest) < 4 + length:
                break
            body = bytes(self._rest[4 : 4 + length])
            del self._rest[: 4 + length]
            messages.append(_split(body))
        return messages


def _split(body: bytes) -> tuple[dict[str, Any], bytes]:
    (head_length,) = _LENGTH.unpack_from(body)
    if head_length > len(body) - 4:
        raise BadMessage("a header is longer than its message")
    try:
        header = json.loads(body[4 : 4 + head_length])
    except (ValueError, RecursionError) as error:
        raise BadMessage(f"a header is no JSON: {error}") from error
    if not isinstance(header, dict):
        raise BadMessage("a header is no object")
    return header, body[4 + head_length :]
