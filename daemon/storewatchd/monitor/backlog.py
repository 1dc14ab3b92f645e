"""What was decided and is not on disk yet: in order, and within bounds.

A round's records and state changes stay together. Beyond the bounds the oldest records are
dropped; what they changed is still so, and moves on to the round behind them.
"""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

from storewatchd.journal import Rebuild, Record, StateChange

MOST_LINES = 50_000
MOST_BYTES = 64 << 20

CHUNK_LINES = 1_000
"""How many lines are written at a time, unless one round has more."""

_LINE_BYTES = 500
"""What a line takes beside its texts."""


@dataclass(slots=True)
class Round:
    """The lines and changes of a round; what has to be rebuilt from then on, None for the same as
    before."""

    records: Sequence[Record]
    changes: dict[tuple[str, str], StateChange]
    rebuild: Rebuild | None = None
    size: int = 0

    def measure(self) -> None:
        """Note how much memory it takes, about."""
        self.size = sum(len(one.data) + len(one.reason) + _LINE_BYTES for one in self.records)
        self.size += sum(len(one.value or b"") + _LINE_BYTES for one in self.changes.values())


@dataclass(frozen=True, slots=True)
class Lost:
    """Records that were dropped before they were written, by their numbers."""

    from_seq: int
    to_seq: int
    count: int


class Backlog:
    """The rounds that wait, oldest first."""

    def __init__(self, *, most_lines: int = MOST_LINES, most_bytes: int = MOST_BYTES) -> None:
        self._most_lines = most_lines
        self._most_bytes = most_bytes
        self._rounds: deque[Round] = deque()
        self._taken = 0  # so many rounds are being written
        self._lines = 0
        self._bytes = 0
        self._lost: Lost | None = None

    def __bool__(self) -> bool:
        return bool(self._rounds)

    def __len__(self) -> int:
        """Return how many records wait."""
        return self._lines

    def add(
        self,
        records: Sequence[Record],
        changes: Sequence[StateChange],
        rebuild: Rebuild | None = None,
    ) -> None:
        """Put a round behind the others; one without anything to write is none."""
        if not records and not changes and rebuild is None:
            return
        last = Round(records, {(one.kind, one.key): one for one in changes}, rebuild)
        last.measure()
        self._rounds.append(last)
        self._lines += len(records)
        self._bytes += last.size
        while self._lines > self._most_lines or self._bytes > self._most_bytes:
            if not self._drop_oldest(last):
                return

    def records(self) -> list[Record]:
        """Return the records that wait, in order."""
        return [record for one in self._rounds for record in one.records]

    def take(self, *, one_only: bool = False) -> Round:
        """Return the oldest rounds as one, to be written, or nothing where none waits; they wait
        until it is known how that ended. Do not call it while some are taken."""
        if not self._rounds:
            return Round([], {})
        taken = self._rounds[0]
        self._taken = 1
        records, changes, rebuild = list(taken.records), dict(taken.changes), taken.rebuild
        for following in list(self._rounds)[1:]:
            if one_only or len(records) + len(following.records) > CHUNK_LINES:
                break
            records += following.records
            changes |= following.changes
            rebuild = rebuild if following.rebuild is None else following.rebuild
            self._taken += 1
        return Round(records, changes, rebuild)

    def written(self) -> None:
        """Let go of what was taken: it is on disk."""
        for _ in range(self._taken):
            self._forget(self._rounds.popleft())
        self._taken = 0

    def refused(self) -> None:
        """Keep what was taken for another try."""
        self._taken = 0

    def lose(self) -> None:
        """Let go of what was taken: it will never be on disk."""
        for _ in range(self._taken):
            oldest = self._rounds.popleft()
            self._forget(oldest)
            self._note_lost(oldest.records)
        self._taken = 0

    def take_lost(self) -> Lost | None:
        """Return what was dropped since this was last called."""
        lost, self._lost = self._lost, None
        return lost

    def _drop_oldest(self, last: Round) -> bool:
        """Drop the records of the oldest round that is not being written, unless that is the last
        of all; return whether anything gave way."""
        for index in range(self._taken, len(self._rounds)):
            oldest = self._rounds[index]
            if oldest is last:
                return False
            del self._rounds[index]
            self._forget(oldest)
            self._note_lost(oldest.records)
            self._pass_on(oldest, self._rounds[index])
            return True
        return False

    def _pass_on(self, oldest: Round, following: Round) -> None:
        """Let the round behind a dropped one change what that changed."""
        self._bytes -= following.size
        following.changes = oldest.changes | following.changes
        following.rebuild = oldest.rebuild if following.rebuild is None else following.rebuild
        following.measure()
        self._bytes += following.size

    def _forget(self, one: Round) -> None:
        self._lines -= len(one.records)
        self._bytes -= one.size

    def _note_lost(self, records: Sequence[Record]) -> None:
        if not records:
            return
        first, count = records[0].seq, len(records)
        if self._lost is not None:
            first, count = self._lost.from_seq, self._lost.count + count
        self._lost = Lost(first, records[-1].seq, count)
