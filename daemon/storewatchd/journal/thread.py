"""The one thread that touches state.db: it takes what waits, writes it in one transaction, and
answers. What can wait is done between two jobs.
"""

import asyncio
import logging
import queue
import secrets
import sqlite3
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from storewatchd.clock import Clock
from storewatchd.errors import JournalError, JournalRefused
from storewatchd.journal.database import Change, Database
from storewatchd.journal.failures import is_broken, is_for_want_of_room
from storewatchd.journal.figures import Figures
from storewatchd.journal.opening import Start, mend
from storewatchd.journal.records import DRAIN, Notice, Rebuild, StoredRecord
from storewatchd.journal.reserve import Reserve
from storewatchd.journal.upkeep import LOOK_S, Upkeep

logger = logging.getLogger(__name__)

STEP_S = 0.01
"""The rest between two steps of upkeep, if nothing else is to be done."""

MAX_WAITING = 1_000
"""How many jobs may wait before a call is refused: who gave up waiting for a disk that hangs has
left his behind. Appends always find a place, for the single writer has one under way at a time."""

# What a value can be that SQLite will never take, whatever the disk does.
_NEVER = (sqlite3.IntegrityError, sqlite3.DataError, ValueError, TypeError, OverflowError)


@dataclass(slots=True)
class Job:
    """Work for the thread: an append, or any other call."""

    loop: asyncio.AbstractEventLoop
    future: "asyncio.Future[Any]"
    records: tuple[StoredRecord, ...] = ()
    changes: tuple[Change, ...] = ()
    meta: tuple[tuple[str, str], ...] = ()
    call: Callable[[Database], Any] | None = None


class JournalThread:
    """The thread from the start of a journal to its end."""

    def __init__(
        self, begun: Start, reserve: Reserve, clock: Clock, *, keep: int, max_bytes: int
    ) -> None:
        self.reserve = reserve
        self.notices: deque[Notice] = deque(begun.database.notices())
        """What the loop has to tell."""
        self.figures = Figures(begun.cursors.get(DRAIN, 0), begun.database.pruned(), begun.rebuild)
        self.figures.count(begun.database)
        self._upkeep = Upkeep(self.figures, self.notices, reserve, clock, max_bytes=max_bytes)
        self._database = begun.database
        self._begun = begun
        self._clock = clock
        self._keep = keep
        self._broken: Exception | None = None
        self._next_mend = clock.monotonic()
        self._jobs: queue.SimpleQueue[Job | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._work, name="journal", daemon=True)
        self._thread.start()

    def submit(self, job: Job) -> None:
        """Hand a job over; its future is settled in its loop.

        Raises:
            JournalError: it is no append, and too much waits already.
        """
        if job.call is not None and self._jobs.qsize() >= MAX_WAITING:
            raise JournalError(f"state.db does not answer: {MAX_WAITING} calls wait for it already")
        self._jobs.put(job)

    def stop(self, patience_s: float) -> bool:
        """Do what waits and close the file; return whether that was done in time."""
        self._jobs.put(None)
        self._thread.join(patience_s)
        return not self._thread.is_alive()

    # Jobs.

    def _work(self) -> None:
        self._look_after(is_idle=False)
        has_more = True
        while True:
            try:
                job = self._jobs.get(timeout=STEP_S if has_more else LOOK_S)
            except queue.Empty:
                has_more = self._look_after(is_idle=True)
                continue
            jobs = []
            while job is not None:
                jobs.append(job)
                if self._jobs.empty():
                    break
                job = self._jobs.get()
            try:
                self._do(jobs)
            except Exception as error:  # noqa: BLE001  a thread that ends leaves everybody waiting
                self._distrust(error)
                for one in jobs:
                    _fail(one, error)
            if job is None:
                self._database.close()
                return
            has_more = self._look_after(is_idle=False) or has_more

    def _look_after(self, *, is_idle: bool) -> bool:
        """Do a step of upkeep; return whether there is more to do soon."""
        try:
            more = self._run(lambda database: self._upkeep.step(database, is_idle=is_idle))
            self._take_out_spoilt()
        except (sqlite3.Error, JournalError) as error:
            logger.debug("the upkeep of state.db waits: %s", error)
            return False
        except Exception as error:  # noqa: BLE001  likewise
            self._distrust(error)
            return False
        return bool(more)

    def _distrust(self, error: Exception) -> None:
        """Take the file for broken after an error that nobody has thought of."""
        logger.error("state.db is taken for broken: %r", error, exc_info=error)
        self._broken = error

    def _do(self, jobs: list[Job]) -> None:
        """Do jobs in their order; neighbouring appends share a transaction."""
        appends: list[Job] = []
        for job in jobs:
            if job.call is None:
                appends.append(job)
                continue
            self._write(appends)
            appends = []
            try:
                _answer(job, self._run(job.call))
            except (sqlite3.Error, JournalError, *_NEVER) as error:
                _fail(job, error)
        self._write(appends)
        self._take_out_spoilt()

    def _write(self, jobs: list[Job]) -> None:
        if not jobs:
            return
        records = [record for job in jobs for record in job.records]
        changes = [change for job in jobs for change in job.changes]
        meta = [fact for job in jobs for fact in job.meta]
        began = self._clock.monotonic()
        try:
            self._run(lambda database: database.write(records, changes, meta))
        except (sqlite3.Error, JournalError, *_NEVER) as error:
            if len(jobs) == 1:
                _fail(jobs[0], error)
            for job in jobs if len(jobs) > 1 else ():
                # One bad append must not fail those that happened to wait with it.
                self._write([job])
            return
        self.figures.note_written(records, self._clock.monotonic() - began)
        for key, value in meta:
            if key == "rebuild":
                self.figures.rebuild = Rebuild(value)
        for job in jobs:
            _answer(job, None)

    def _take_out_spoilt(self) -> None:
        """Drop the records that reading found spoilt, and tell of it."""
        spoilt = sorted(self._database.spoilt)
        if not spoilt:
            return
        facts = {
            "path": None,
            "lost_records": len(spoilt),
            "lost_state": 0,
            "from_seq": spoilt[0],
            "to_seq": spoilt[-1],
        }
        notice = Notice("journal_damaged", facts, secrets.token_hex(8))
        try:
            self._run(lambda database: database.take_out(spoilt, (), notice))
        except (sqlite3.Error, JournalError) as error:
            logger.debug("the spoilt records stay for now: %s", error)
            return
        self.notices.append(notice)
        self.figures.lost_total += sum(seq > self.figures.confirmed for seq in spoilt)
        self.figures.count(self._database)

    def _run(self, call: Callable[[Database], Any]) -> Any:
        """Make a call; where it fails for want of room or of a whole file, do what can be done
        about that and make it again."""
        if self._broken is not None:
            self._mend(self._broken)
        try:
            return call(self._database)
        except sqlite3.Error as error:
            if is_for_want_of_room(error):
                self.reserve.release()
                # The log begins anew once all of it is in the file, which may hold free pages.
                self._database.checkpoint()
                return call(self._database)
            if is_broken(error):
                self._mend(error)
                return call(self._database)
            raise

    def _mend(self, error: Exception) -> None:
        """Go on with a new file, and all that is whole of the one that broke.

        Raises:
            JournalError: that cannot be done now.
        """
        self._broken = error
        now, begun = self._clock.now(), self._begun
        if now.monotonic < self._next_mend:
            raise JournalError(f"it is damaged: {error}")
        self._next_mend = now.monotonic + LOOK_S
        self._database.close()
        path = self._database.path
        try:
            mend(path, error, now.wall)
            self._database = Database.open(path)
            self._database.node = begun.database.node
            if begun.epoch not in self._database.epochs():
                self._database.start_epoch(begun.epoch, begun.first_seq, now.wall)
            self.figures.count(self._database)
        except (sqlite3.Error, OSError) as failed:
            raise JournalError(f"it is damaged, and cannot be mended: {failed}") from failed
        self._broken = None
        self._upkeep.begin_again()
        self.figures.rebuild = Rebuild.RECORDS
        self.notices.extend(self._database.notices())

    # Followers.

    def confirm(self, database: Database, cursor: str, seq: int, before: int) -> None:
        """Note how far a follower is, and drop what nobody needs."""
        try:
            database.set_cursor(cursor, seq)
            database.prune(self._keep, before=before)
        except sqlite3.Error as error:
            if is_broken(error):
                raise
            # The follower knows it best itself, and the next note of it will tell this too.
            logger.debug("that %s has everything up to %d is not noted: %s", cursor, seq, error)
        if cursor == DRAIN:
            self.figures.note_confirmed(database, seq)
        self.figures.pruned = database.pruned()

    def rewind(self, database: Database, cursor: str, seq: int) -> None:
        """Note that a follower has lost what it had after a number."""
        database.set_cursor(cursor, seq, back=True)
        if cursor == DRAIN:
            self.figures.confirmed = seq
            self.figures.count(database)


def _answer(job: Job, answer: Any) -> None:
    _in_loop(job, lambda future: future.set_result(answer))


def _fail(job: Job, error: Exception) -> None:
    kind = JournalRefused if isinstance(error, _NEVER) else JournalError
    told = kind(f"state.db: {error}")
    told.__cause__ = error
    _in_loop(job, lambda future: future.set_exception(told))


def _in_loop(job: Job, settle: "Callable[[asyncio.Future[Any]], None]") -> None:
    def settle_once() -> None:
        if not job.future.done():
            settle(job.future)

    try:
        job.loop.call_soon_threadsafe(settle_once)
    except RuntimeError:
        logger.debug("the loop is closed; a journal answer has nobody to hear it")
