"""Shares the loop out: all calls together hold it only so long before everything else has a turn.

Work is measured. When a slice of time is used up, whoever has more waits for a later turn, in the
order in which they came; and what a piece of work took beyond the slice is left to others first.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import TypeVar

from storewatchd.clock import Clock

SLICE_S = 0.02
"""For how long calls may hold the loop at once."""

WAITING_S = 0.001
"""What a call that may wait is taken to hold the loop for, all in all: it is not measured."""

T = TypeVar("T")


class Turns:
    """The turns of one loop."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._used_s = 0.0
        self._waiting: deque[Callable[[], None]] = deque()

    @property
    def has_room(self) -> bool:
        """Whether something may be done now."""
        return self._used_s < SLICE_S

    @contextmanager
    def taken(self) -> Iterator[None]:
        """Measure what is done inside."""
        began = self._clock.awake()
        try:
            yield
        finally:
            self._used_s += self._clock.awake() - began

    def charge_waiting(self) -> None:
        """Count a call that may wait and begins now."""
        self._used_s += WAITING_S

    def later(self, go_on: Callable[[], None]) -> None:
        """Have something called in a turn with room; what it does it has to measure."""
        self._waiting.append(go_on)
        if len(self._waiting) == 1:
            self._call_next()

    async def perform(self, work: Callable[[], T]) -> T:
        """Do a piece of work in a turn with room, and return what it returns."""
        if self.has_room:
            with self.taken():
                return work()
        done: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self.later(partial(self._perform, work, done))
        return await done

    def _perform(self, work: Callable[[], T], done: "asyncio.Future[T]") -> None:
        if done.cancelled():
            return  # whoever asked for it is gone
        try:
            with self.taken():
                done.set_result(work())
        except Exception as error:  # noqa: BLE001  it is raised again where the work was asked for
            done.set_exception(error)

    def _call_next(self) -> None:
        asyncio.get_running_loop().call_later(max(0.0, self._used_s - SLICE_S), self._next)

    def _next(self) -> None:
        self._used_s = 0.0
        try:
            while self._waiting and self.has_room:
                # It stays in the line meanwhile: who joins that asks for no turn of its own.
                try:
                    self._waiting[0]()
                finally:
                    self._waiting.popleft()
        finally:
            if self._waiting:
                self._call_next()
