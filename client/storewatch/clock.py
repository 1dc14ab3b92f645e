"""The client's only door to time."""

import time


def wall() -> float:
    """Return Unix seconds."""
    return time.time()


def monotonic() -> float:
    """Return seconds on a clock that never jumps."""
    return time.monotonic()
