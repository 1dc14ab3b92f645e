"""Ids that sort by time: UUID version 7."""

import os

from storewatch import clock


def new_id() -> str:
    """Return a new id of this moment (RFC 9562, 5.7)."""
    milliseconds = int(clock.wall() * 1000) & (1 << 48) - 1
    noise = int.from_bytes(os.urandom(10), "big")
    value = milliseconds << 80 | 7 << 76 | (noise >> 68) << 64 | 0b10 << 62 | noise & (1 << 62) - 1
    digits = f"{value:032x}"
    return "-".join((digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:]))
