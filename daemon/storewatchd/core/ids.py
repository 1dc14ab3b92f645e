"""UUIDs that sort by time (RFC 9562, version 7)."""

import uuid


def uuid7(wall: float, random: bytes) -> str:
    """Return a version 7 UUID for a moment (Unix seconds) and ten random bytes."""
    milliseconds = round(wall * 1000) & 0xFFFFFFFFFFFF
    tail = int.from_bytes(random[:10], "big")
    number = (milliseconds << 80) | tail
    number = (number & ~(0xF << 76)) | (0x7 << 76)
    number = (number & ~(0x3 << 62)) | (0x2 << 62)
    return str(uuid.UUID(int=number))
