"""The single writer: everything that changes what this node holds true passes through here.

Frames, commands and the passing of time are taken in the order in which they come, in batches.
Each batch is decided, written to the journal, made visible, and only then published; so no list
and no subscriber ever shows what is not on disk.
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
from storewatchd.core.commands import (
    AcknowledgeAlert,
    AddRepository,
    Command,
    CreateAlert,
    FinishTask,
    ProgressTask,
    PutToken,
    RemoveRepository,
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
    Severity,
    Transition,
)
from storewatchd.core.permissions import Token
from storewatchd.core.repositories import Repository
from storewatchd.core.snapshot import snapshot
from storewatchd.core.tasks import FAMILIES as TASK_FAMILIES
from storewatchd.core.tasks import PROBE as TASKS_PROBE
from storewatchd.core.tasks import TaskRun
from storewatchd.errors import JournalError, Unavailable
from storewatchd.journal import Journal
from storewatchd.journal.journal import DRAIN
from storewatchd.monitor.batch import (
    ALERT,
    ANSWER,
    MOUNT_POINT,
    REPOSITORY,
    TASK,
    TASK_NAME,
    TOKEN,
    Batch,
    Books,
)
from storewatchd.monitor.dump import dump
from storewatchd.monitor.judge import DoneBefore, Judge, Listener, Refused
from storewatchd.monitor.view import View

logger = logging.getLogger(__name__)

INBOX_LIMIT = 10_000
BATCH_LIMIT = 1_000
LONGEST_WAIT_S = 1.0
"""The writer wakes at least this often, to expire what is due and to feed the watchdog."""

RESTORE_PAGE = 1_000
"""How many records are read at a time at the start."""

RETRY_S = 1.0
"""How long the writer waits before it asks a refusing disk again."""

_MESSAGE_IDS = {
    # Of the journal entries about alerts, for `journalctl MESSAGE_ID=`.
    "firing": "0b3bb2d2c1b14c0f9c5d6b2c6f0f7a11",
    "resolved": "5b0c6f1e5a7d4d7a8a3f0c1f6ad02c52",
    "other": "e7f3f0f83f6c4b8f9d55a6d0a7c2ad63",
}
_LEVELS = {
    Severity.INFO: logging.INFO,
    Severity.WARNING: logging.WARNING,
    Severity.CRITICAL: logging.CRITICAL,
}


@dataclass(frozen=True, slots=True)
class _Handed:
    """An input, and who waits for what becomes of it."""

    input: Input
    answer: "asyncio.Future[Any] | None" = None


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
        self.journal_problem: str | None = None
        """Why nothing can be written now; None while it can."""
        self._journal = journal
        self._bus = bus
        self._clock = clock
        self._alive = alive
        self._inbox: asyncio.Queue[_Handed] = asyncio.Queue(INBOX_LIMIT)
        self._judge = Judge(books)

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
            state = await self._journal.state_of(ANSWER, answer.key)
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

    def start_recording(self, listener: Listener) -> dict[str, Any]:
        """Let somebody hear every round from the next one on; return what a replay starts from:
        the books, this moment, and the seed of the ids that follow.

        Call it between rounds: from the loop's own thread, any moment is.
        """
        seed = random.SystemRandom().getrandbits(63)
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
        return self._clock.now()

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
            self._clock.wall(),
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
        """Return the names of the tasks that an open alert says have failed."""
        return {
            alert.resource_id
            for alert in self.view.all_alerts()
            if alert.is_open and alert.source == "task"
        }

    # The life of the writer.

    async def restore(self) -> None:
        """Take over what was true before the restart. Call it once, before `run`."""
        now = self._clock.now()
        books, decode = self.books, msgspec.json.decode
        books.table.declare(TASKS_PROBE, TASK_FAMILIES, max_age_s=float("inf"))
        states = await self._journal.state(ALERT)
        books.incidents.restore(map(decode, states.values()), now)
        runs = await self._journal.state(TASK)
        names = await self._journal.state(TASK_NAME)
        books.tasks.restore(
            map(decode, runs.values()), {name: decode(about) for name, about in names.items()}
        )
        for name, state in (await self._journal.state(REPOSITORY)).items():
            books.repositories.restore(name, decode(state)["path"])
        for path, state in (await self._journal.state(MOUNT_POINT)).items():
            books.repositories.note_mount_point(path, decode(state)["mount_point"])
        answers = await self._journal.state(ANSWER)
        books.answers.restore((key, decode(state)) for key, state in answers.items())
        for state in (await self._journal.state(TOKEN)).values():
            books.tokens.put(Token.from_state(decode(state)))
        for incident in books.incidents:
            self.view.put_alert(incident.alert, 0)
        for run in books.tasks.runs():
            if not run.is_over:
                self.view.put_run(run, 0)
        await self._restore_unconfirmed()
        books.table.feed(books.tasks.frame(now))

    async def _restore_unconfirmed(self) -> None:
        after = self._journal.confirmed(DRAIN)
        types = (EventType.ALERT, EventType.TASK)
        while records := await self._journal.read(after, RESTORE_PAGE, types=types):
            for record in records:
                shape = msgspec.json.decode(record.data)
                if record.type == EventType.TASK:
                    run = TaskRun.from_state(shape)
                    known_run = self.view.run(run.id)
                    if known_run is None or known_run.version < run.version:
                        self.view.put_run(run, record.seq)
                else:
                    alert = Alert.from_json(shape)
                    known = self.view.alert(alert.id)
                    if not alert.is_open and (known is None or known.version <= alert.version):
                        self.view.put_alert(alert, record.seq)
            after = records[-1].seq

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
        batch, answers = self._judge.round(self._clock.now(), [one.input for one in handed])
        await self._write_and_tell(batch)
        for one, answer in zip(handed, answers, strict=True):
            _settle(one, answer)

    async def _write_and_tell(self, batch: Batch) -> None:
        if not len(batch) and not batch.changes:
            return
        while True:
            try:
                numbers = await self._journal.numbers(len(batch))
                records, published = batch.numbered(
                    numbers, epoch=self._journal.epoch, node=self.node
                )
                if records or batch.changes:
                    await self._journal.append(records, batch.changes)
                break
            except JournalError as error:
                if self.journal_problem is None:
                    logger.error(
                        "nothing can be written, and nothing is told until it can: %s", error
                    )
                self.journal_problem = str(error)
                self._alive()
                await asyncio.sleep(RETRY_S)
        if self.journal_problem is not None:
            logger.info("the journal can be written again")
            self.journal_problem = None
        last = numbers[-1] if numbers else self._journal.last_seq
        for alert in batch.alerts:
            self.view.put_alert(alert, last)
        for run in batch.runs:
            self.view.put_run(run, last)
        if batch.has_snapshot:
            for incident in self.books.incidents:
                self.view.refresh(incident.alert)
        self._bus.publish(published)
        for transition in batch.transitions:
            _log(transition)


def _settle(handed: _Handed, answer: Any) -> None:
    waiting = handed.answer
    if waiting is None or waiting.done():
        return
    if isinstance(answer, Refused):
        waiting.set_exception(answer.error)
    else:
        waiting.set_result(answer)


def _log(transition: Transition) -> None:
    alert = transition.alert
    by = alert.acknowledged_by if transition.kind == "acknowledged" else alert.resolved_by
    level = _LEVELS[alert.severity] if transition.kind == "firing" else logging.INFO
    logger.log(
        level,
        "%s %s: %s%s",
        alert.severity,
        transition.kind,
        alert.title,
        f" (by {by})" if by else "",
        extra={
            "ALERT_ID": alert.id,
            "RULE": alert.rule,
            "SEVERITY": alert.severity.value,
            "SOURCE": alert.source,
            "RESOURCE": f"{alert.resource_type}/{alert.resource_id}".strip("/"),
            "ALERT_STATE": alert.state.value,
            "NODE": alert.node,
            "MESSAGE_ID": _MESSAGE_IDS.get(transition.kind, _MESSAGE_IDS["other"]),
        },
    )
