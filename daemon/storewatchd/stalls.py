"""Notices when the loop does not turn, and says who holds it up.

The loop beats; a thread beside it looks whether it did. Where it did not for too long, the stack of
the loop's thread is logged, once for each stall, while it lasts: afterwards nobody would know.
"""

import asyncio
import logging
import sys
import threading
import traceback
from pathlib import PurePath
from types import FrameType

from storewatchd.clock import Clock

logger = logging.getLogger(__name__)

BEAT_S = 0.5
STALL_S = 1.0
"""For how long the loop may not turn before that is a stall."""

MAX_FRAMES = 12


class LoopWatch:
    """The watch over the loop in which `run` runs."""

    def __init__(self, clock: Clock, *, beat_s: float = BEAT_S, stall_s: float = STALL_S) -> None:
        self._clock = clock
        self._beat_s = beat_s
        self._stall_s = stall_s
        self._beat = clock.awake()
        self._told: float | None = None  # of which beat it was told that none came after it
        self._longest_s = 0.0
        self._ended = threading.Event()

    async def run(self) -> None:
        """Beat until cancelled."""
        thread = threading.Thread(
            target=self._watch, args=(threading.get_ident(),), name="loop watch", daemon=True
        )
        self._beat = self._clock.awake()
        thread.start()
        try:
            while True:
                await asyncio.sleep(self._beat_s)
                self._turned()
        finally:
            self._ended.set()
            thread.join()

    def take_lag(self) -> float:
        """Return for how long the loop was late at worst since this was last asked, seconds."""
        longest_s, self._longest_s = self._longest_s, 0.0
        return longest_s

    def _turned(self) -> None:
        now = self._clock.awake()
        lag_s = max(0.0, now - self._beat - self._beat_s)
        self._longest_s = max(self._longest_s, lag_s)
        if self._told == self._beat:
            logger.warning("the loop turns again, after %.1f s", lag_s)
        elif lag_s > self._stall_s:
            logger.warning(
                "the loop did not turn for %.1f s, and no other thread ran: the process was "
                "stopped or starved, or something held the interpreter",
                lag_s,
            )
        self._beat = now

    def _watch(self, loop_thread: int) -> None:
        before = self._clock.awake()
        while not self._ended.wait(self._beat_s):
            now, beat = self._clock.awake(), self._beat
            # Who was held up itself has not seen who held up the loop.
            is_late = now - before > self._beat_s + self._stall_s / 2
            before = now
            if is_late or self._told == beat or now - beat <= self._beat_s + self._stall_s:
                continue
            self._told = beat
            frame = sys._current_frames().get(loop_thread)
            logger.error(
                "the loop has been blocked for %.1f s by %s",
                now - beat - self._beat_s,
                told_stack(frame) if frame is not None else "nothing that can be seen",
            )


def told_stack(frame: FrameType) -> str:
    """Return a stack in one line, the innermost call first."""
    calls = traceback.extract_stack(frame)[-MAX_FRAMES:]
    return " < ".join(
        f"{'/'.join(PurePath(call.filename).parts[-2:])}:{call.lineno} {call.name}"
        for call in reversed(calls)
    )
