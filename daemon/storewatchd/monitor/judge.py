"""One round of the single writer as a decision over the books, without a wait and without a clock.

The same inputs at the same moments give the same batches, byte for byte: what a recording of them
is replayed by.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from storewatchd.core.commands import Command, ProgressTask
from storewatchd.core.frames import Frame
from storewatchd.core.inputs import Expected, Input, Once
from storewatchd.core.model import Instant
from storewatchd.core.snapshot import snapshot
from storewatchd.errors import RequestError
from storewatchd.monitor.batch import ALERT, ANSWER, Batch, Books
from storewatchd.monitor.decide import decide, take

SNAPSHOT_INTERVAL_S = 30.0


@dataclass(frozen=True, slots=True)
class Refused:
    """A command that could not be done; nothing changed."""

    error: RequestError


@dataclass(frozen=True, slots=True)
class DoneBefore:
    """A command that was done under its key already; the journal has its answer."""

    key: str


Listener = Callable[[Instant, Sequence[Input], Batch], None]
"""Hears each round: when it was, what it took, and what followed."""


class Judge:
    """Applies inputs and the passing of time to the books."""

    def __init__(self, books: Books, *, next_snapshot: float = 0.0) -> None:
        self.books = books
        self.next_snapshot = next_snapshot
        """When the next metrics snapshot is told, on the monotonic clock."""
        self.listener: Listener | None = None

    def next_due(self) -> float:
        """Return when something is to be decided without an input, on the monotonic clock."""
        return min(self.books.engine.next_due(), self.next_snapshot)

    def round(self, now: Instant, inputs: Sequence[Input]) -> tuple[Batch, list[Any]]:
        """Return what follows from inputs, in their order, and what each of them is answered:
        None for a frame, a command's value, `Refused` or `DoneBefore`."""
        batch = Batch(now)
        answers = [self._apply(one, batch) for one in inputs]
        self._pass_time(batch)
        for alert_id, state in self.books.incidents.take_changes().items():
            batch.put_state(ALERT, alert_id, state)
        for key, answer in self.books.answers.take_changes().items():
            batch.put_state(ANSWER, key, answer)
        if self.listener is not None:
            self.listener(now, inputs, batch)
        return batch, answers

    def _apply(self, one: Input, batch: Batch) -> Any:
        match one:
            case Frame():
                take(one, self.books, batch)
                return None
            case Expected():
                batch.touched |= self.books.table.expect(one.probe, one.scopes)
                return None
            case Once():
                return self._obey_once(one, batch)
            case command:
                return self._obey(command, batch)

    def _obey_once(self, once: Once, batch: Batch) -> Any:
        try:
            if self.books.answers.is_done(once.key, once.command):
                return DoneBefore(once.key)
        except RequestError as error:
            return Refused(error)
        answer = self._obey(once.command, batch)
        if not isinstance(answer, Refused):
            self.books.answers.note(once.key, once.command, answer.to_json(), batch.now)
        return answer

    def _obey(self, command: Command, batch: Batch) -> Any:
        before = len(batch)
        try:
            value = decide(command, self.books, batch)
        except RequestError as error:
            return Refused(error)
        if len(batch) > before and not isinstance(command, ProgressTask):
            batch.note_audit(command, "done")
        return value

    def _pass_time(self, batch: Batch) -> None:
        books, now = self.books, batch.now
        for transition in books.incidents.expire(now):
            batch.note_alert(transition)
        for transition in books.engine.evaluate(now, frozenset(batch.touched)):
            batch.note_alert(transition)
        if now.monotonic >= self.next_snapshot:
            self.next_snapshot = now.monotonic + SNAPSHOT_INTERVAL_S
            books.table.feed(books.tasks.frame(now))
            batch.note_snapshot(
                snapshot(
                    books.table,
                    books.tasks.runs(),
                    len(list(books.repositories)),
                    books.incidents.node,
                    now.wall,
                )
            )
