"""The single writer: everything that changes what this node holds true passes through here.

Frames, commands and the passing of time are taken in the order in which they come, in batches.
Each batch is decided, written to the journal, made visible, and only then published; so no list
and no subscriber ever shows what is not on disk. What takes long to decide is decided step by step,
and the loop turns in between. While nothing can be written, what is seen of the
machine is judged and told all the same, and commands of people and programs are refused.
"""

import asyncio
import logging
import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, overload

import msgspec

from storewatchd.bus import Bus
from storewatchd.clock import Clock
from storewatchd.core.clocks import as_set_at
from storewatchd.core.commands import (
    KINDS,
    AcknowledgeAlert,
    AddRepository,
    Announce,
    Command,
    CreateAlert,
    FinishTask,
    ForgetObject,
    ProgressTask,
    PutToken,
    RemoveRepository,
    ReplaceRules,
    ResolveAlert,
    RevokeToken,
    StartTask,
)
from storewatchd.core.frames import Frame, Scope
from storewatchd.core.inputs import Expected, Input, Once
from storewatchd.core.model import (
    Alert,
    AlertState,
    EventType,
    Instant,
)
from storewatchd.core.objects import Object
from storewatchd.core.permissions import Token
from storewatchd.core.repositories import Repository
from storewatchd.core.snapshot import snapshot
from storewatchd.core.tasks import TaskRun
from storewatchd.errors import JournalError, Unavailable
from storewatchd.journal import Journal, StoredRecord
from storewatchd.monitor.batch import ANSWER, Books
from storewatchd.monitor.dump import dump
from storewatchd.monitor.judge import DoneBefore, Judge, Listener, Refused
from storewatchd.monitor.restore import restore
from storewatchd.monitor.turns import in_turns
from storewatchd.monitor.view import View
from storewatchd.monitor.writer import Writer

logger = logging.getLogger(__name__)

INBOX_LIMIT = 10_000
BATCH_LIMIT = 1_000
LONGEST_WAIT_S = 1.0
"""The writer wakes at least this often, to expire what is due and to feed the watchdog."""

PROMISES: tuple[type[Any], ...] = (
    Once,
    *(kind for kind in KINDS if kind not in (Announce, ReplaceRules)),
)
"""The commands of people and programs, whose answer says that what was asked is on disk. What the
daemon says of itself, and which rules are in force, needs no disk to be so."""


@dataclass(frozen=True, slots=True)
class _Handed:
    """An input, and who waits for what becomes of it."""

    input: Input
    answer: "asyncio.Future[Any] | None" = None

    @property
    def is_promise(self) -> bool:
        """Whether its answer promises that what was asked is on disk."""
        return isinstance(self.input, PROMISES)


class Monitor:
    """The books of this node and the one task that writes them."""

    def __init__(
        self,
        books: Books,
        *,
        journal: Journal,
        bus: Bus,
        clock: Clock,
        alive: Callable[[], None] = lambda: None,
    ) -> None:
        self.books = books
        self.view = View()
        self.resumed: Callable[[], None] = lambda: None
        """Called when the machine was suspended: what was seen of it before is old."""
        self._journal = journal
        self._bus = bus
        self._clock = clock
        self._alive = alive
        self._inbox: asyncio.Queue[_Handed] = asyncio.Queue(INBOX_LIMIT)
        self._judge = Judge(books)
        self._deciding = asyncio.Lock()
        self._writer = Writer(journal=journal, view=self.view, bus=bus, incidents=books.incidents)

    # What others hand in.

    async def feed(self, frame: Frame) -> None:
        """Hand in the outcome of a look; waits while the inbox is full."""
        await self._inbox.put(_Handed(frame))

    async def expect(self, probe: str, scopes: tuple[Scope, ...]) -> None:
        """Say which scopes a probe has; waits while the inbox is full."""
        await self._inbox.put(_Handed(Expected(probe, scopes)))

    @overload
    async def command(self, command: CreateAlert | AcknowledgeAlert | ResolveAlert) -> Alert: ...
    @overload
    async def command(self, command: StartTask | ProgressTask | FinishTask) -> TaskRun: ...
    @overload
    async def command(self, command: AddRepository | RemoveRepository) -> Repository: ...
    @overload
    async def command(self, command: PutToken | RevokeToken) -> Token: ...
    @overload
    async def command(self, command: ForgetObject) -> Object: ...
    @overload
    async def command(self, command: Command) -> Any: ...
    async def command(self, command: Command) -> Any:
        """Have a command done; return its answer when what it rests on is on disk.

        Cancelling it does not undo the command.

        Raises:
            RequestError: it cannot be done, or the daemon stops.
        """
        return await self._hand_in(command)

    async def create_once(self, key: str, command: CreateAlert) -> Alert:
        """Create an alert once for a key, however often it is asked; the answer is always the
        first one.

        Raises:
            RequestError: it cannot be done, or the key was used for another request.
        """
        answer = await self._hand_in(Once(key, command))
        if isinstance(answer, DoneBefore):
            try:
                state = await self._journal.state_of(ANSWER, answer.key)
            except JournalError as error:
                problem = f"this was done, and what it was answered cannot be read: {error}"
                raise Unavailable(problem) from error
            if state is None:
                raise Unavailable("this was done, and what it was answered can no longer be read")
            return Alert.from_json(msgspec.json.decode(state)["answer"])
        created: Alert = answer
        return created

    async def _hand_in(self, asked: Input) -> Any:
        answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        await self._inbox.put(_Handed(asked, answer))
        return await asyncio.shield(answer)

    def confirmed(self, seq: int) -> None:
        """Note that PostgreSQL has every record up to a number."""
        self.view.confirm(seq)

    # Recording.

    async def start_recording(self, listener: Listener) -> dict[str, Any]:
        """Let somebody hear every round from the next one on; return what a replay starts from:
        the books, this moment, and the seed of the ids that follow."""
        seed = random.SystemRandom().getrandbits(63)
        async with self._deciding:
            self.books.ids.reseed(seed)
            self._judge.listener = listener
            return {
                "seed": seed,
                "now": list(self._clock.now()),
                "before": self._judge.before,
                "next_snapshot": self._judge.next_snapshot,
                "books": dump(self.books),
            }

    def stop_recording(self) -> None:
        """Let nobody hear any more."""
        self._judge.listener = None

    # What the control plane needs to know.

    @property
    def journal_problem(self) -> str | None:
        """Why what is told is not on disk; None while it is."""
        return self._writer.problem

    def unwritten(self) -> list[StoredRecord]:
        """Return the records that are told and not known to be on disk, in order: what follows
        whatever the journal gives."""
        return [record for record in self._writer.waiting() if record.seq <= self.last_seq]

    def queues(self) -> dict[str, int]:
        """Return how much waits to be taken, and to be written."""
        return {"inbox": self._inbox.qsize(), "journal": self._writer.backlog}

    @property
    def node(self) -> str:
        return self._journal.node

    @property
    def epoch(self) -> str:
        return self._journal.epoch

    @property
    def last_seq(self) -> int:
        """Return the number of the last event that was published."""
        return self._bus.last_seq

    def now(self) -> Instant:
        """Return this moment, by the wall clock as the books know it: where that was set since
        the last round, they are dated anew in the next one."""
        now = self._clock.now()
        return as_set_at(self._judge.before or now, now)

    def new_id(self, wall: float) -> str:
        return self.books.incidents.new_id(wall)

    def snapshot(self) -> dict[str, Any]:
        """Return SPEC's metrics snapshot at this moment."""
        books = self.books
        return snapshot(
            books.table,
            books.tasks.runs(),
            len(list(books.repositories)),
            self.node,
            self.now().wall,
        )

    def counts(self) -> dict[str, int]:
        """Return how many visible alerts are in which state."""
        shown = list(self.view.all_alerts())
        return {
            "firing": sum(alert.state is AlertState.FIRING for alert in shown),
            "pending": sum(alert.state is AlertState.PENDING for alert in shown),
            "acknowledged": sum(alert.is_open and alert.acknowledged for alert in shown),
        }

    def failing_tasks(self) -> set[str]:
        """Return the names of the tasks whose failure a rule holds an alert open for."""
        return {
            alert.resource_id
            for alert in self.view.all_alerts()
            if alert.is_open and alert.source == "task" and alert.rule
        }

    # The life of the writer.

    async def restore(self) -> None:
        """Take over what was true before the restart. Call it once, before `run`."""
        await restore(self._journal, self.books, self.view, self._clock.now())

    async def run(self) -> None:
        """Write until cancelled; who has no answer then gets an error."""
        handed: list[_Handed] = []
        try:
            while True:
                handed = await self._next_inputs()
                await self._round(handed)
                self._alive()
        finally:
            while not self._inbox.empty():
                handed.append(self._inbox.get_nowait())
            for one in handed:
                _settle(one, Refused(Unavailable("the daemon stops")))
            self._writer.close()

    async def _next_inputs(self) -> list[_Handed]:
        due = self._judge.next_due() - self._clock.monotonic()
        handed: list[_Handed] = []
        try:
            async with asyncio.timeout(min(max(due, 0.0), LONGEST_WAIT_S)):
                handed.append(await self._inbox.get())
        except TimeoutError:
            return handed
        while len(handed) < BATCH_LIMIT and not self._inbox.empty():
            handed.append(self._inbox.get_nowait())
        return handed

    async def _round(self, handed: list[_Handed]) -> None:
        problem = self._writer.problem
        refused = [one for one in handed if problem is not None and one.is_promise]
        taken = [one for one in handed if problem is None or not one.is_promise]
        told = [
            Announce(EventType.SYSTEM, notice.kind, notice.facts, notice.key)
            for notice in (*self._journal.take_notices(), *self._writer.take_notices())
        ]
        inputs = [*told, *(one.input for one in taken)]
        async with self._deciding:
            batch, answers = await in_turns(self._judge.rounding(self._clock.now(), inputs))
        self._tell_of_clocks()
        is_on_disk = await self._writer.write(batch)
        for one in refused:
            _settle(one, Refused(Unavailable(f"{problem}: nothing was changed")))
        for one, answer in zip(taken, answers[len(told) :], strict=True):
            if one.is_promise and not is_on_disk and not isinstance(answer, Refused):
                why = f"{self._writer.problem}: it is done, and not on disk yet"
                _settle(one, Refused(Unavailable(why)))
            else:
                _settle(one, answer)

    def _tell_of_clocks(self) -> None:
        jumped_s, suspended_s = self._judge.happened
        if jumped_s:
            logger.warning("the wall clock was set by %+.3f s", jumped_s)
        if suspended_s:
            logger.info("the machine was suspended for %.0f s", suspended_s)
            self.resumed()


def _settle(handed: _Handed, answer: Any) -> None:
    waiting = handed.answer
    if waiting is None or waiting.done():
        return
    if isinstance(answer, Refused):
        waiting.set_exception(answer.error)
    else:
        waiting.set_result(answer)
