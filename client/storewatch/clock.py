"""The client's only door to time."""

import time
from datetime import UTC, datetime


def wall() -> float:
    """Return Unix seconds."""
    return time.time()


def monotonic() -> float:
    """Return seconds on a clock that never jumps."""
    return time.monotonic()


def now() -> datetime:
    """Return this moment, in UTC."""
    return datetime.now(UTC)
