"""The only door to time: everything else takes an `Instant` as an argument."""

import time

from storewatchd.core.model import Instant

TIGHT_S = 0.01
"""How long reading all clocks may take: who is interrupted meanwhile would see them differ."""

ATTEMPTS = 5


class Clock:
    """The machine's clocks."""

    def now(self) -> Instant:
        """Return this moment on all clocks."""
        for _ in range(ATTEMPTS):
            # CLOCK_BOOTTIME goes on while the machine is suspended, CLOCK_MONOTONIC does not.
            monotonic = time.clock_gettime(time.CLOCK_BOOTTIME)
            wall = time.time()
            awake = time.clock_gettime(time.CLOCK_MONOTONIC)
            if self.monotonic() - monotonic <= TIGHT_S:
                break
        return Instant(wall, monotonic, max(0.0, monotonic - awake))

    def wall(self) -> float:
        """Return Unix seconds."""
        return time.time()

    def monotonic(self) -> float:
        """Return seconds on a clock that never jumps and counts suspended time."""
        return time.clock_gettime(time.CLOCK_BOOTTIME)

    def awake(self) -> float:
        """Return seconds on a clock that never jumps and stands still while the machine is
        suspended: the kernel's CLOCK_MONOTONIC."""
        return time.clock_gettime(time.CLOCK_MONOTONIC)
