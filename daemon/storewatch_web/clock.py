"""The sidecar's only door to time."""

import time
from datetime import UTC, datetime


def wall() -> float:
    """Return Unix seconds."""
    return time.time()


def monotonic() -> float:
    """Return seconds on a clock that never jumps."""
    return time.monotonic()


def parse(text: str) -> float:
    """Return Unix seconds for an RFC 3339 time."""
    return datetime.fromisoformat(text).timestamp()


def format_time(seconds: float) -> str:
    """Return RFC 3339 in UTC with milliseconds."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds")[:-6] + "Z"
