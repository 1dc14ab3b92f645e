"""The journal as the daemon sees it: awaitable, numbered, one thread beneath.

The thread takes what waits, writes it in one transaction, and answers; so the loop never blocks
on the disk, and a hundred appends cost one fsync.
"""

import asyncio
import contextlib
import fcntl
import logging
import os
import queue
import secrets
import sqlite3
import threading
import uuid
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self, TypeVar

from storewatchd.clock import Clock
from storewatchd.errors import JournalDamaged, JournalError
from storewatchd.journal.database import Database, StoredRecord, failure, set_aside

logger = logging.getLogger(__name__)

AnswerT = TypeVar("AnswerT")

BLOCK = 10_000
"""How many numbers are reserved on disk at a time."""

DRAIN = "drain"
"""The cursor of what PostgreSQL has confirmed."""

_MACHINE_ID = Path("/etc/machine-id")


@dataclass(frozen=True, slots=True)
class Record:
    """What to append. `time` is Unix seconds; `data` and `reason` are JSON. Without `event`
    subscribers are not told: audit and state."""

    seq: int
    time: float
    type: str
    kind: str
    data: bytes
    key: str = ""
    event: bool = True
    reason: bytes = b"{}"


@dataclass(frozen=True, slots=True)
class StateChange:
    """A piece of what is true now; None forgets it."""

    kind: str
    key: str
    value: bytes | None


@dataclass(frozen=True, slots=True)
class Gap:
    """A cursor that cannot be gone on from without missing something."""

    oldest_kept: int
    reason: str


@dataclass(slots=True)
class _Job:
    """Work for the thread: an append, or any other call."""

    loop: asyncio.AbstractEventLoop
    future: "asyncio.Future[Any]"
    records: tuple[StoredRecord, ...] = ()
    changes: tuple[tuple[str, str, bytes | None], ...] = ()
    call: Callable[[Database], Any] | None = None


@dataclass(frozen=True, slots=True)
class _Start:
    """An open file in a new epoch, and what is known from it at the start."""

    database: Database
    epoch: str
    first_seq: int
    epochs: dict[str, int]
    cursors: dict[str, int]
    pruned: int


class Journal:
    """An open journal. Make it with `open`; only one process has it at a time."""

    def __init__(self, start: _Start, lock: int, *, keep: int) -> None:
        self._database = start.database
        self._lock = lock
        self.keep = keep
        """How many records are kept though every follower has them."""
        self.node = start.database.node
        """This node's generated id, bound to the machine's."""
        self.epoch = start.epoch
        self.first_seq = start.first_seq
        """The first number of this epoch."""
        self.last_seq = start.first_seq - 1
        """The last number that was given out."""
        self.set_aside: Path | None = None
        """Where a journal that could not be used was put, at this start."""
        self._reserved = self.last_seq
        self._epochs = start.epochs
        self._oldest_kept = start.pruned + 1
        self._cursors = start.cursors
        self._is_closed = False
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._appended = asyncio.Event()
        self._thread = threading.Thread(target=self._work, name="journal", daemon=True)
        self._thread.start()

    @classmethod
    async def open(cls, directory: Path, clock: Clock, *, keep: int = 100_000) -> Self:
        """Open the journal of a state directory; a damaged one is set aside and begun anew.

        Raises:
            JournalError: another daemon has it, or the directory cannot be used.
        """
        return await asyncio.to_thread(cls._open, directory, clock, keep)

    @classmethod
    def _open(cls, directory: Path, clock: Clock, keep: int) -> Self:
        lock = _lock(directory)
        path = directory / "state.db"
        aside: Path | None = None
        now = clock.wall()
        try:
            try:
                start = _start(path, now)
            except JournalDamaged as error:
                aside = set_aside(path, f"damaged-{round(now)}")
                logger.error("%s; it is kept as %s, and a new journal is begun", error, aside)
                start = _start(path, now)
        except BaseException:
            os.close(lock)
            raise
        journal = cls(start, lock, keep=keep)
        journal.set_aside = aside
        return journal

    async def close(self) -> None:
        """Write what waits, and let go of the file. A second call changes nothing."""
        if self._is_closed:
            return
        self._is_closed = True
        self._jobs.put(None)
        await asyncio.to_thread(self._thread.join)
        self._database.close()
        os.close(self._lock)

    # Numbers.

    async def numbers(self, count: int) -> range:
        """Return the next numbers. None is ever given out twice on this node."""
        first = self.last_seq + 1
        self.last_seq += count
        last = self.last_seq
        if last > self._reserved:
            # They are this caller's before it waits; who asks meanwhile gets and reserves later
            # ones, so what is noted on disk only rises.
            await self._ask(lambda database: database.set_meta("reserved", str(last + BLOCK)))
            self._reserved = max(self._reserved, last + BLOCK)
        return range(first, last + 1)

    def resolve_cursor(self, event_id: str) -> int | Gap:
        """Return the number after which a client goes on, or why it cannot without a gap."""
        epoch, _, text = event_id.rpartition(".")
        first = self._epochs.get(epoch)
        if first is None or not text.isascii() or not text.isdigit():
            return Gap(self._oldest_kept, f"the event {event_id!r} is not of this journal")
        seq = int(text)
        if seq > self.last_seq:
            return Gap(self._oldest_kept, f"the event {event_id!r} lies beyond this journal's end")
        if seq + 1 < self._oldest_kept:
            return Gap(self._oldest_kept, f"what followed {event_id!r} is no longer kept")
        return seq

    # Writing.

    async def append(self, records: Sequence[Record], changes: Sequence[StateChange]) -> None:
        """Write records and state together; return when they are on disk.

        Cancelling it does not undo the write.

        Raises:
            JournalError: the disk refused; nothing of it was written.
        """
        job = self._job()
        job.records = tuple(
            StoredRecord(
                self.node,
                self.epoch,
                record.seq,
                record.time,
                record.type,
                record.kind,
                record.key,
                record.event,
                record.data,
                record.reason,
            )
            for record in records
        )
        job.changes = tuple((change.kind, change.key, change.value) for change in changes)
        self._jobs.put(job)
        await asyncio.shield(job.future)
        self._appended.set()

    async def appended(self) -> None:
        """Wait until something was appended since this was last awaited. For one waiter."""
        await self._appended.wait()
        self._appended.clear()

    async def confirm(self, cursor: str, seq: int) -> None:
        """Note that a follower has everything up to a number; drop what nobody needs."""
        self._cursors[cursor] = max(seq, self._cursors.get(cursor, 0))
        before = min(self._cursors.values())

        def move(database: Database) -> int:
            database.set_cursor(cursor, seq)
            return database.prune(self.keep, before=before) + 1

        self._oldest_kept = await self._ask(move)

    def confirmed(self, cursor: str) -> int:
        """Return the number up to which a follower has everything."""
        return self._cursors.get(cursor, 0)

    # Reading.

    async def state(self, kind: str) -> dict[str, bytes]:
        """Return what is true of one kind, by key."""
        return await self._ask(lambda database: database.state(kind))

    async def state_of(self, kind: str, key: str) -> bytes | None:
        """Return one piece of state, None where there is none."""
        return await self._ask(lambda database: database.state_of(kind, key))

    async def read(
        self,
        after: int,
        limit: int,
        *,
        types: Collection[str] | None = None,
        events_only: bool = False,
    ) -> list[StoredRecord]:
        """Return the records after a number, in ascending order."""
        return await self._ask(lambda database: database.read(after, limit, types, events_only))

    async def tail(self, limit: int, *, types: Collection[str] | None = None) -> list[StoredRecord]:
        """Return the newest events, in ascending order."""
        return await self._ask(lambda database: database.tail(limit, types, True))

    async def history(self, key: str) -> list[StoredRecord]:
        """Return the records about one alert or task, in ascending order."""
        return await self._ask(lambda database: database.history(key))

    async def unconfirmed(self, cursor: str = DRAIN) -> tuple[int, float | None]:
        """Return how many records a follower lacks, and the time of the oldest (Unix seconds)."""
        after = self.confirmed(cursor)
        return await self._ask(lambda database: database.count_after(after))

    # The thread.

    def _job(self) -> _Job:
        if self._is_closed:
            raise JournalError("the journal is closed")
        loop = asyncio.get_running_loop()
        return _Job(loop, loop.create_future())

    async def _ask(self, call: Callable[[Database], AnswerT]) -> AnswerT:
        job = self._job()
        job.call = call
        self._jobs.put(job)
        answer: AnswerT = await asyncio.shield(job.future)
        return answer

    def _work(self) -> None:
        while True:
            job = self._jobs.get()
            if job is None:
                return
            jobs = [job]
            while not self._jobs.empty():
                following = self._jobs.get()
                if following is None:
                    self._do(jobs)
                    return
                jobs.append(following)
            self._do(jobs)

    def _do(self, jobs: list[_Job]) -> None:
        """Do jobs in their order; neighbouring appends share a transaction."""
        appends: list[_Job] = []
        for job in jobs:
            if job.call is None:
                appends.append(job)
                continue
            self._write(appends)
            appends = []
            try:
                _answer(job, job.call(self._database))
            except sqlite3.Error as error:
                _fail(job, error)
        self._write(appends)

    def _write(self, jobs: list[_Job]) -> None:
        if not jobs:
            return
        try:
            self._database.write(
                (record for job in jobs for record in job.records),
                (change for job in jobs for change in job.changes),
            )
        except sqlite3.Error as error:
            if len(jobs) == 1:
                _fail(jobs[0], error)
            for job in jobs if len(jobs) > 1 else ():
                # One bad append must not fail those that happened to wait with it.
                self._write([job])
            return
        for job in jobs:
            _answer(job, None)


def _answer(job: _Job, answer: Any) -> None:
    _in_loop(job, lambda: job.future.set_result(answer))


def _fail(job: _Job, error: sqlite3.Error) -> None:
    told = JournalError(f"state.db: {error}")
    told.__cause__ = error
    _in_loop(job, lambda: job.future.set_exception(told))


def _in_loop(job: _Job, settle: Callable[[], None]) -> None:
    try:
        job.loop.call_soon_threadsafe(settle)
    except RuntimeError:
        logger.debug("the loop is closed; a journal answer has nobody to hear it")


def _lock(directory: Path) -> int:
    """Take the directory for this process.

    Raises:
        JournalError: another process has it, or it cannot be used.
    """
    path = directory / "lock"
    try:
        directory.mkdir(parents=True, exist_ok=True, mode=0o750)
        lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o640)
    except OSError as error:
        raise JournalError(
            f"the state directory {directory} cannot be used: {error.strerror}"
        ) from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        holder = os.pread(lock, 32, 0).decode(errors="replace").strip()
        os.close(lock)
        raise JournalError(
            f"another daemon (pid {holder or 'unknown'}) uses the state directory {directory}"
        ) from error
    # Who has it is told to people only, and a full disk must not keep a daemon from starting.
    with contextlib.suppress(OSError):
        os.ftruncate(lock, 0)
        os.pwrite(lock, f"{os.getpid()}\n".encode(), 0)
    return lock


def _start(path: Path, now: float) -> _Start:
    """Open the file, making it where there is none, and begin an epoch.

    Raises:
        JournalDamaged: it is damaged or no journal.
        JournalError: it cannot be used, or is from a newer version.
    """
    database = Database.open(path)
    try:
        database.node = _node(database)
        first_seq = max(int(database.meta("reserved") or 0), database.last_seq()) + 1
        epoch = secrets.token_hex(4)
        database.start_epoch(epoch, first_seq, now)
        return _Start(
            database,
            epoch,
            first_seq,
            database.epochs(),
            database.cursors(),
            database.pruned(),
        )
    except (sqlite3.Error, ValueError) as error:
        database.close()
        raise failure(path, error) from error


def _node(database: Database) -> str:
    """Return this node's id; a copy of the directory on another machine gets one of its own."""
    try:
        machine = _MACHINE_ID.read_text().strip()
    except OSError:
        machine = ""
    node, bound_to = database.meta("node"), database.meta("machine")
    if node is None or (machine and bound_to != machine):
        if node is not None:
            logger.warning("this journal comes from another machine: the node gets a new id")
        node = str(uuid.uuid4())
        database.set_meta("node", node)
        database.set_meta("machine", machine)
    return node
