"""What is heard and not looked at: how a watch stands, and how much of what it tells is told on.

A probe of what is heard adds it up between two looks; what is heard asks for the next look.
"""

import errno
from collections import Counter
from collections.abc import Hashable, Iterator
from typing import Generic, TypeVar

from storewatchd.errors import ProbeAbsent, ProbeDeferred, ProbeFailed, ReadRefused
from storewatchd.port import Heard

LISTENING, ABSENT = "listening", "absent"

T = TypeVar("T", bound=Hashable)


class Standing:
    """How a watch stands, as it said last."""

    def __init__(self) -> None:
        self.state = ""  # empty before anything was said
        self.message = ""

    def note(self, heard: Heard) -> bool:
        """Take what a watch tells; return whether it stands otherwise than before."""
        if not heard.state or (heard.state, heard.message) == (self.state, self.message):
            return False
        self.state, self.message = heard.state, heard.message
        return True

    def check(self) -> None:
        """Refuse to say anything of what is not heard.

        Raises:
            ProbeAbsent: there is no such device.
            ProbeDeferred: listening would disturb, or it is not known yet whether it can be done.
            ProbeFailed: it cannot be listened to.
        """
        match self.state:
            case "listening":
                return
            case "absent":
                raise ProbeAbsent(self.message)
            case "":
                raise ProbeDeferred("nobody listens yet")
            case "deferred":
                raise ProbeDeferred(self.message)
            case "forbidden":
                raise ReadRefused(self.message, errno=errno.EPERM)
            case _:
                raise ProbeFailed(self.message)


class Telling(Generic[T]):
    """What is to be told as events: the same is told once, with how often it happened, and only so
    much in the long run; how much more there was is told too."""

    def __init__(self, *, a_minute: float, at_once: int) -> None:
        self._a_second = a_minute / 60
        self._at_once = float(at_once)
        self._room = float(at_once)
        self._room_at: float | None = None
        self._waiting: Counter[T] = Counter()
        self._untold = 0

    def add(self, what: T) -> None:
        """Let something be told with the next look."""
        if what in self._waiting or len(self._waiting) < self._at_once:
            self._waiting[what] += 1
        else:
            self._untold += 1

    def take(self, now: float) -> tuple[list[tuple[T, int]], int]:
        """Return what is to be told now and how often it happened, and how much is not told."""
        if self._room_at is not None:
            grown = self._room + (now - self._room_at) * self._a_second
            self._room = min(self._at_once, grown)
        self._room_at = now
        told = list(self._within_room())
        untold = self._untold + sum(self._waiting.values())
        self._waiting.clear()
        self._untold = 0
        return told, untold

    def _within_room(self) -> Iterator[tuple[T, int]]:
        for what in list(self._waiting):
            if self._room < 1:
                return
            self._room -= 1
            yield what, self._waiting.pop(what)
