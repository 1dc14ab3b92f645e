"""The journal as the daemon sees it: awaitable, numbered, one thread beneath.

The thread takes what waits, writes it in one transaction, and answers; so the loop never blocks
on the disk, and a hundred appends cost one fsync.
"""

import asyncio
import itertools
import logging
import os
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import TypeVar

from storewatchd.clock import Clock
from storewatchd.errors import JournalError
from storewatchd.journal import opening
from storewatchd.journal.database import Database
from storewatchd.journal.opening import BLOCK, Start
from storewatchd.journal.records import (
    DRAIN,
    Facts,
    Gap,
    Notice,
    Rebuild,
    Record,
    StateChange,
    StoredRecord,
)
from storewatchd.journal.reserve import Reserve
from storewatchd.journal.thread import Job, JournalThread

logger = logging.getLogger(__name__)

AnswerT = TypeVar("AnswerT")

PATIENCE_S = 5.0
"""How long the disk may take for a write or a read before it counts as hanging."""


class Journal:
    """An open journal. Make it with `open`; only one process has it at a time."""

    def __init__(
        self, start: Start, thread: JournalThread, lock: int, *, keep: int, patience_s: float
    ) -> None:
        self._thread = thread
        self._lock = lock
        self.patience_s = patience_s
        self.keep = keep
        """How many records are kept though every follower has them."""
        self.node = start.database.node
        """This node's generated id, bound to the machine's."""
        self.epoch = start.epoch
        self.first_seq = start.first_seq
        """The first number of this epoch."""
        self.last_seq = start.first_seq - 1
        """The last number that was given out."""
        self.is_writable = True
        """Whether what is told is on disk before; the single writer notes it."""
        self._unjournalled = 0
        self._lost = 0
        self._reserved = self.last_seq
        self._epochs = start.epochs
        self._cursors = start.cursors
        self._is_closed = False
        self._appended = asyncio.Event()

    @classmethod
    async def open(
        cls,
        directory: Path,
        clock: Clock,
        *,
        keep: int = 100_000,
        max_bytes: int = 1 << 30,
        reserve_bytes: int = 0,
        patience_s: float = PATIENCE_S,
    ) -> "Journal":
        """Open the journal of a state directory. What of a damaged one is whole is taken over.

        Raises:
            JournalError: another daemon has it, or the directory cannot be used.
        """

        def opened() -> Journal:
            lock = opening.lock(directory)
            reserve = Reserve(directory, reserve_bytes)
            try:
                start = _start(directory, clock.wall(), reserve)
                thread = JournalThread(start, reserve, clock, keep=keep, max_bytes=max_bytes)
            except BaseException:
                os.close(lock)
                raise
            return cls(start, thread, lock, keep=keep, patience_s=patience_s)

        return await asyncio.to_thread(opened)

    async def close(self) -> None:
        """Write what waits, and let go of the file. A second call changes nothing.

        A disk that hangs is waited for no longer than any other time; what waits is lost then.
        """
        if self._is_closed:
            return
        self._is_closed = True
        if await asyncio.to_thread(self._thread.stop, self.patience_s):
            os.close(self._lock)
        else:
            logger.error("the disk hangs: what waits for it is left behind")

    # Numbers.

    async def numbers(self, count: int) -> range:
        """Return the next numbers. None is ever given out twice on this node.

        Raises:
            JournalError: they cannot be reserved on disk, or not in time; as for everything that
                the journal is asked, but for `append` and `state`.
        """
        numbers = self.take(count)
        await self._reserve()
        return numbers

    def take(self, count: int) -> range:
        """Return the next numbers without reserving them on disk: after a power cut they may be
        given out again, in another epoch."""
        first = self.last_seq + 1
        self.last_seq += count
        return range(first, first + count)

    async def advance(self, seq: int) -> None:
        """Let numbers go on above one that was given out before this journal knew of it."""
        self.last_seq = max(self.last_seq, seq)
        await self._reserve()

    async def _reserve(self) -> None:
        last = self.last_seq
        if last > self._reserved:
            # They are this caller's before it waits; who asks meanwhile gets and reserves later
            # ones, so what is noted on disk only rises.
            await self._ask(lambda database: database.set_meta("reserved", str(last + BLOCK)))
            self._reserved = max(self._reserved, last + BLOCK)

    def knows(self, epoch: str) -> bool:
        """Return whether an epoch is one of this journal's."""
        return epoch in self._epochs

    def resolve_cursor(self, event_id: str) -> int | Gap:
        """Return the number after which a client goes on, or why it cannot without a gap."""
        oldest_kept = self.oldest_kept
        epoch, _, text = event_id.rpartition(".")
        if epoch not in self._epochs or not text.isascii() or not text.isdigit():
            return Gap(oldest_kept, f"the event {event_id!r} is not of this journal")
        seq = int(text)
        if seq > self.last_seq:
            return Gap(oldest_kept, f"the event {event_id!r} lies beyond this journal's end")
        if seq + 1 < oldest_kept:
            return Gap(oldest_kept, f"what followed {event_id!r} is no longer kept")
        return min(seq, self.last_of(epoch))

    async def resolve_time(self, time: float) -> int | Gap:
        """Return the number after which a client goes on that wants what happened from a time on
        (Unix seconds), or why it cannot without a gap."""

        def look(database: Database) -> tuple[int | None, bool]:
            first = database.first_at(time)
            oldest = database.first_after(0)
            return first, oldest is not None and oldest[0] == first

        first, is_oldest = await self._ask(look)
        if first is None:
            return self.last_seq
        if is_oldest and self._thread.figures.pruned:
            return Gap(first, "some of what happened since then may be no longer kept")
        return first - 1

    @property
    def oldest_kept(self) -> int:
        """The number before which records were dropped."""
        return self._thread.figures.pruned + 1

    def last_of(self, epoch: str) -> int:
        """Return the last number of an epoch of this journal that is not the next one's too: what
        is told while nothing can be written may have such a number."""
        following = itertools.dropwhile(lambda one: one != epoch, self._epochs)
        next(following)
        return min((self._epochs[one] - 1 for one in following), default=self.last_seq)

    # Writing.

    async def append(
        self,
        records: Sequence[Record],
        changes: Sequence[StateChange],
        *,
        rebuild: Rebuild | None = None,
    ) -> None:
        """Write records and state together; return when they are on disk, however long that takes:
        who cannot wait waits for what `submit` gives as long as he can.

        Cancelling it does not undo the write.

        Raises:
            JournalError: the disk refused; nothing of it was written.
        """
        await asyncio.shield(self.submit(records, changes, rebuild=rebuild))

    def submit(
        self,
        records: Sequence[Record],
        changes: Sequence[StateChange],
        *,
        rebuild: Rebuild | None = None,
    ) -> "asyncio.Future[None]":
        """Hand records and state over to be written together, and with them what has to be
        rebuilt from now on; return what `append` waits for."""
        job = self._job()
        job.records = tuple(self.stored(record) for record in records)
        job.changes = tuple((change.kind, change.key, change.value) for change in changes)
        if rebuild is not None:
            job.meta = (("rebuild", rebuild.value),)
        job.future.add_done_callback(self._note_appended)
        self._thread.submit(job)
        return job.future

    def stored(self, record: Record) -> StoredRecord:
        """Return a record as it will be read back."""
        return StoredRecord(
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

    def _note_appended(self, done: "asyncio.Future[None]") -> None:
        if not done.cancelled() and done.exception() is None:
            self._appended.set()

    async def appended(self) -> None:
        """Wait until something was appended since this was last awaited. For one waiter."""
        await self._appended.wait()
        self._appended.clear()

    async def confirm(self, cursor: str, seq: int) -> None:
        """Note that a follower has everything up to a number; drop what nobody needs. A disk that
        refuses to note it is no error: the next note tells this one too."""
        self._cursors[cursor] = max(seq, self._cursors.get(cursor, 0))
        before = min(self._cursors.values())
        await self._ask(lambda database: self._thread.confirm(database, cursor, seq, before))

    async def rewind(self, cursor: str, seq: int) -> None:
        """Note that a follower has lost what it had after a number, and is to get it again."""
        self._cursors[cursor] = seq
        await self._ask(lambda database: self._thread.rewind(database, cursor, seq))

    def confirmed(self, cursor: str) -> int:
        """Return the number up to which a follower has everything."""
        return self._cursors.get(cursor, 0)

    # What it has to say of itself.

    @property
    def rebuild(self) -> Rebuild:
        """What may be missing of the state, and from where it has to be taken; over restarts, until
        an append says otherwise."""
        return self._thread.figures.rebuild

    def take_notices(self) -> list[Notice]:
        """Return what has to be told of the journal itself since this was last called."""
        waiting = self._thread.notices
        return [waiting.popleft() for _ in range(len(waiting))]

    def note_unjournalled(self, lines: int) -> None:
        """Note that so many lines were told before they were on disk."""
        self._unjournalled += lines

    def note_lost(self, lines: int) -> None:
        """Note that so many lines will never be on disk."""
        self._lost += lines

    @property
    def is_short_of_room(self) -> bool:
        """Whether the file system has too little room for others: what was held back for a full
        disk is given up, or cannot be held back."""
        return self._thread.reserve.is_short

    def facts(self) -> Facts:
        """Return how it stands; without asking the disk."""
        figures, reserve = self._thread.figures, self._thread.reserve
        return Facts(
            reserve_bytes=reserve.held_bytes,
            free_bytes=reserve.free_bytes,
            file_bytes=figures.file_bytes,
            damaged_bytes=figures.damaged_bytes,
            is_writable=self.is_writable,
            unjournalled_total=self._unjournalled,
            lost_total=self._lost + figures.lost_total,
            last_commit_seconds=figures.last_commit_s,
            appended_total=figures.appended_total,
            unconfirmed=figures.unconfirmed,
            oldest_unconfirmed=figures.oldest_unconfirmed,
        )

    # Reading.

    async def state(self, kind: str) -> dict[str, bytes]:
        """Return what is true of one kind, by key. It may be much, and takes what it takes: it is
        read at the start, which the service manager bounds."""
        return await self._ask_patiently(lambda database: database.state(kind))

    async def state_of(self, kind: str, key: str) -> bytes | None:
        """Return one piece of state, None where there is none.

        Raises:
            JournalError: it cannot be read, or not in time; as for everything that is read.
        """
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

        def look(database: Database) -> tuple[int, float | None]:
            first = database.first_after(after)
            return database.count_after(after), None if first is None else first[1]

        return await self._ask(look)

    # The thread.

    def _job(self) -> Job:
        if self._is_closed:
            raise JournalError("the journal is closed")
        loop = asyncio.get_running_loop()
        return Job(loop, loop.create_future())

    async def _ask_patiently(self, call: Callable[[Database], AnswerT]) -> AnswerT:
        job = self._job()
        job.call = call
        self._thread.submit(job)
        answer: AnswerT = await asyncio.shield(job.future)
        return answer

    async def _ask(self, call: Callable[[Database], AnswerT]) -> AnswerT:
        try:
            async with asyncio.timeout(self.patience_s):
                return await self._ask_patiently(call)
        except TimeoutError as error:
            raise JournalError(f"state.db has not answered for {self.patience_s:g} s") from error


def _start(directory: Path, now: float, reserve: Reserve) -> Start:
    try:
        return opening.start(directory, now)
    except JournalError:
        # A disk that is full for everything else is not for the journal.
        if not reserve.release():
            raise
        return opening.start(directory, now)
