"""WebSocket frames, built by hand (RFC 6455, 5.2): one frame can then go to every client."""

PING = b"\x89\x00"


def text(payload: bytes) -> bytes:
    """Return one unmasked, unfragmented text frame."""
    length = len(payload)
    if length < 126:
        head = bytes((0x81, length))
    elif length < 65_536:
        head = b"\x81\x7e" + length.to_bytes(2, "big")
    else:
        head = b"\x81\x7f" + length.to_bytes(8, "big")
    return head + payload


def close(code: int, reason: str) -> bytes:
    """Return a close frame; a control frame holds 125 bytes, two of which are the code."""
    said = reason.encode()[:123].decode(errors="ignore").encode()
    payload = code.to_bytes(2, "big") + said
    return bytes((0x88, len(payload))) + payload
