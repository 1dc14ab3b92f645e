"""The only door to time: everything else takes an `Instant` as an argument."""

import time

from storewatchd.core.model import Instant


class Clock:
    """The machine's clocks."""

    def now(self) -> Instant:
        """Return this moment on the wall clock and on the monotonic clock."""
        # CLOCK_BOOTTIME goes on while the machine is suspended, CLOCK_MONOTONIC does not.
        return Instant(wall=time.time(), monotonic=time.clock_gettime(time.CLOCK_BOOTTIME))

    def wall(self) -> float:
        """Return Unix seconds."""
        return time.time()

    def monotonic(self) -> float:
        """Return seconds on a clock that never jumps and counts suspended time."""
        return time.clock_gettime(time.CLOCK_BOOTTIME)
