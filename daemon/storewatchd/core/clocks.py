"""What the machine's clocks did from one moment to a later one: pure.

The wall clock can be set: by a person, by NTP, by a machine that was moved. What was dated by it
before is then dated anew, so that history stays one piece and nothing seems older than it is.
"""

from typing import NamedTuple

from storewatchd.core.model import Instant

JUMP_S = 1.0
"""A clock that differs by no more than this was not set: it is slewed, or read a little late."""


class Passed(NamedTuple):
    """What happened besides the passing of time; 0.0 where nothing did."""

    jumped_s: float  # how far the wall clock was set forward; negative: back
    suspended_s: float  # for how long the machine was suspended


def passed(before: Instant, now: Instant) -> Passed:
    """Return what happened between two moments."""
    jumped_s = (now.wall - before.wall) - (now.monotonic - before.monotonic)
    suspended_s = now.suspended_s - before.suspended_s
    return Passed(
        jumped_s=round(jumped_s, 3) if abs(jumped_s) > JUMP_S else 0.0,
        suspended_s=round(suspended_s, 3) if suspended_s > JUMP_S else 0.0,
    )


def as_set_at(before: Instant, now: Instant) -> Instant:
    """Return a moment by the wall clock as it was set at an earlier one."""
    return now._replace(wall=now.wall - passed(before, now).jumped_s)


def wall_of(monotonic: float, now: Instant) -> float:
    """Return when something was by the wall clock as it is set now."""
    return now.wall - (now.monotonic - monotonic)
