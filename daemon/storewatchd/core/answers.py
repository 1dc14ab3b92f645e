"""Which commands were done under an idempotency key: asked again, they are not done again.

A caller that lost the answer asks again with the same key. The book knows the key and what was
asked with it; the answer itself is the journal's to keep.
"""

import hashlib
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import msgspec

from storewatchd.core.commands import Command
from storewatchd.core.model import Instant
from storewatchd.errors import Conflict

MAX_KEYS = 10_000
MAX_BYTES = 16 << 20
"""How much the journal keeps of what was answered."""

KEEP_S = 86_400.0
"""How long a key is remembered, seconds."""


class _Done(NamedTuple):
    """What was asked with a key, when (Unix seconds), and how large the answer is."""

    digest: str
    at: float
    size: int


class AnswerBook:
    """The keys of the last day, oldest first; at most MAX_KEYS of them, and MAX_BYTES of
    answers."""

    def __init__(self) -> None:
        self._known: dict[str, _Done] = {}
        self._bytes = 0
        self._changed: dict[str, dict[str, Any] | None] = {}

    def restore(self, states: Iterable[tuple[str, Mapping[str, Any]]]) -> None:
        """Take over what `take_changes` gave before a restart."""
        for key, state in sorted(states, key=lambda one: one[1]["at"]):
            self._put(key, _Done(state["digest"], state["at"], _size(state["answer"])))

    def take_changes(self) -> dict[str, dict[str, Any] | None]:
        """Return what the journal has to keep by key, None for what it may drop."""
        changed, self._changed = self._changed, {}
        return changed

    def dump(self) -> dict[str, Any]:
        """Return the book's values as they are, for `load`."""
        return {key: tuple(done) for key, done in self._known.items()}

    def load(self, told: Mapping[str, Any]) -> None:
        """Take over what `dump` gave."""
        for key, done in told.items():
            self._put(key, _Done(*done))

    def is_done(self, key: str, command: Command) -> bool:
        """Return whether this command was done under this key.

        Raises:
            Conflict: another command was.
        """
        known = self._known.get(key)
        if known is None:
            return False
        if known.digest != _digest(command):
            raise Conflict("the idempotency key was used for another request")
        return True

    def shift(self, seconds: float) -> None:
        """Go along with a wall clock that was set by so much. What the journal keeps stays as it
        is dated: over a restart the age of a key goes by the wall clock."""
        self._known = {
            key: done._replace(at=done.at + seconds) for key, done in self._known.items()
        }

    def note(self, key: str, command: Command, answer: Mapping[str, Any], now: Instant) -> None:
        """Remember that a command was done, and what it was answered."""
        digest = _digest(command)
        self._put(key, _Done(digest, now.wall, _size(answer)))
        self._changed[key] = {"digest": digest, "at": now.wall, "answer": answer}
        while True:
            oldest, done = next(iter(self._known.items()))
            is_within = len(self._known) <= MAX_KEYS and self._bytes <= MAX_BYTES
            if oldest == key or (is_within and now.wall - done.at < KEEP_S):
                break
            self._bytes -= self._known.pop(oldest).size
            self._changed[oldest] = None

    def _put(self, key: str, done: _Done) -> None:
        self._known[key] = done
        self._bytes += done.size


def _size(answer: Mapping[str, Any]) -> int:
    return len(msgspec.json.encode(answer))


def _digest(command: Command) -> str:
    told = msgspec.json.encode((type(command).__name__, command))
    return hashlib.blake2b(told, digest_size=16).hexdigest()
