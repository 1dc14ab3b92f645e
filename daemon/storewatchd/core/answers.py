"""Which commands were done under an idempotency key: asked again, they are not done again.

A caller that lost the answer asks again with the same key. The book knows the key and what was
asked with it; the answer itself is the journal's to keep.
"""

import hashlib
from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from storewatchd.core.commands import Command
from storewatchd.core.model import Instant
from storewatchd.errors import Conflict

MAX_KEYS = 10_000
KEEP_S = 86_400.0
"""How long a key is remembered, seconds."""


class AnswerBook:
    """The keys of the last day, oldest first; at most MAX_KEYS of them."""

    def __init__(self) -> None:
        self._known: dict[str, tuple[str, float]] = {}  # key -> digest, Unix seconds
        self._changed: dict[str, dict[str, Any] | None] = {}

    def restore(self, states: Iterable[tuple[str, Mapping[str, Any]]]) -> None:
        """Take over what `take_changes` gave before a restart."""
        for key, state in sorted(states, key=lambda one: one[1]["at"]):
            self._known[key] = (state["digest"], state["at"])

    def take_changes(self) -> dict[str, dict[str, Any] | None]:
        """Return what the journal has to keep by key, None for what it may drop."""
        changed, self._changed = self._changed, {}
        return changed

    def dump(self) -> dict[str, Any]:
        """Return the book's values as they are, for `load`."""
        return dict(self._known)

    def load(self, told: Mapping[str, Any]) -> None:
        """Take over what `dump` gave."""
        self._known.update(told)

    def is_done(self, key: str, command: Command) -> bool:
        """Return whether this command was done under this key.

        Raises:
            Conflict: another command was.
        """
        known = self._known.get(key)
        if known is None:
            return False
        if known[0] != _digest(command):
            raise Conflict("the idempotency key was used for another request")
        return True

    def shift(self, seconds: float) -> None:
        """Go along with a wall clock that was set by so much. What the journal keeps stays as it
        is dated: over a restart the age of a key goes by the wall clock."""
        self._known = {key: (digest, at + seconds) for key, (digest, at) in self._known.items()}

    def note(self, key: str, command: Command, answer: Mapping[str, Any], now: Instant) -> None:
        """Remember that a command was done, and what it was answered."""
        digest = _digest(command)
        self._known[key] = (digest, now.wall)
        self._changed[key] = {"digest": digest, "at": now.wall, "answer": answer}
        while True:  # the one just noted stays
            oldest, (_, at) = next(iter(self._known.items()))
            if len(self._known) <= MAX_KEYS and now.wall - at < KEEP_S:
                break
            del self._known[oldest]
            self._changed[oldest] = None


def _digest(command: Command) -> str:
    told = msgspec.json.encode((type(command).__name__, command))
    return hashlib.blake2b(told, digest_size=16).hexdigest()
