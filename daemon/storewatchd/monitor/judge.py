"""One round of the single writer as a decision over the books, without a wait and without a clock.

The same inputs at the same moments give the same batches, byte for byte: what a recording of them
is replayed by.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from storewatchd.core.clocks import JUMP_S, Passed, passed, wall_of
from storewatchd.core.commands import Command, ProgressTask
from storewatchd.core.frames import Frame, GivenRows
from storewatchd.core.inputs import Expected, Input, Once
from storewatchd.core.model import EventType, Instant
from storewatchd.core.snapshot import snapshot
from storewatchd.core.steps import PIECE, Steps, at_once
from storewatchd.errors import RequestError
from storewatchd.monitor.batch import ALERT, ANSWER, TASK, TASK_NAME, Batch, Books
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
    """Applies inputs and the passing of time to the books.

    From round to round it compares the clocks. Where the wall clock was set, what was dated by it
    is dated anew, before anything else: nothing is overdue by that, and nothing fires or resolves.
    """

    def __init__(
        self, books: Books, *, next_snapshot: float = 0.0, before: Instant | None = None
    ) -> None:
        self.books = books
        self.before = before
        """When the last round was; None before the first one."""
        self.happened = Passed(0.0, 0.0)
        """What the clocks did before the last round."""
        self.next_snapshot = next_snapshot
        """When the next metrics snapshot is told, on the monotonic clock."""
        self.listener: Listener | None = None

    def next_due(self) -> float:
        """Return when something is to be decided without an input, on the monotonic clock."""
        if self.books.inventory.is_waiting:
            return -math.inf
        return min(self.books.engine.next_due(), self.next_snapshot)

    def round(self, now: Instant, inputs: Sequence[Input]) -> tuple[Batch, list[Any]]:
        """Return what follows from inputs, in their order, and what each of them is answered:
        None for a frame, a command's value, `Refused` or `DoneBefore`."""
        return at_once(self.rounding(now, inputs))

    def rounding(self, now: Instant, inputs: Sequence[Input]) -> Steps[tuple[Batch, list[Any]]]:
        """Do a round in steps."""
        batch = Batch(now)
        self.happened = passed(self.before or now, now)
        self.before = now
        if any(self.happened):
            self._pass_clocks(batch)
        answers = []
        for one in inputs:
            answers.append((yield from self._apply(one, batch)))
            yield None
        yield from self._pass_time(batch)
        for alert_id, state in self.books.incidents.take_changes().items():
            batch.put_state(ALERT, alert_id, state)
        for key, answer in self.books.answers.take_changes().items():
            batch.put_state(ANSWER, key, answer)
        if self.listener is not None:
            self.listener(now, inputs, batch)
        for one in inputs:
            if isinstance(one, Frame):
                yield from _let_go(one)
        return batch, answers

    def _pass_clocks(self, batch: Batch) -> None:
        """Go along with a wall clock that was set, and with a machine that was suspended."""
        books, now = self.books, batch.now
        jumped_s, suspended_s = self.happened
        if jumped_s:
            books.table.shift(jumped_s)
            books.answers.shift(jumped_s)
            batch.runs += books.tasks.shift(jumped_s)
            for run_id, state in books.tasks.take_changes().items():
                batch.put_state(TASK, run_id, state)
            for name, about in books.tasks.take_name_changes().items():
                batch.put_state(TASK_NAME, name, about)
            batch.touched |= books.table.feed(books.tasks.frame(now))
            batch.note_event(EventType.SYSTEM, "clock_jumped", {"seconds": jumped_s})
        if suspended_s:
            batch.note_event(EventType.SYSTEM, "resumed", {"suspended_seconds": suspended_s})
        # The journal keeps timers as wall clock times, and their clock stood still.
        books.incidents.redate(now)

    def _apply(self, one: Input, batch: Batch) -> Steps[Any]:
        match one:
            case Frame():
                yield from take(_dated(one, batch.now), self.books, batch)
                return None
            case Expected():
                batch.touched |= self.books.table.expect(one.probe, one.scopes)
                self.books.inventory.expect(one.probe, one.scopes, batch.now.wall)
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

    def _pass_time(self, batch: Batch) -> Steps[None]:
        books, now = self.books, batch.now
        batch.note_objects(books.inventory.step())
        for transition in books.incidents.expire(now):
            batch.note_alert(transition)
        for transition in (yield from books.engine.evaluating(now, frozenset(batch.touched))):
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


def _let_go(frame: Frame) -> Steps[None]:
    for rows in frame.rows.values():
        while isinstance(rows, GivenRows) and rows:
            del rows[-PIECE:]
            yield None


def _dated(frame: Frame, now: Instant) -> Frame:
    """Return a frame with its time by the wall clock as it is set now: a look may have ended
    before that was set, and be taken after it."""
    if frame.monotonic is None:
        return frame
    at = wall_of(frame.monotonic, now)
    return frame if abs(at - frame.at) <= JUMP_S else replace(frame, at=at)
