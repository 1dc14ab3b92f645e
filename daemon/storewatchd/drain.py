"""Carries the journal to PostgreSQL: in order, in batches, each once, however often it is away.

How far that is stands in PostgreSQL, as the epoch and number of the last record, in the same
transaction as what it stands for. So PostgreSQL is also a witness: of an older backup that was
restored, which gets again what the journal still has, and of a journal that was lost, whose numbers
go on above those that it gave out. What is missing is told as an event of the kind `gap`.
"""

import asyncio
import logging
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, NoReturn

from psycopg import AsyncConnection
from psycopg.rows import TupleRow

from storewatchd.core.commands import Announce
from storewatchd.core.model import EventType
from storewatchd.errors import (
    JournalError,
    RequestError,
    StoreError,
    StoreRefused,
    StoreUnavailable,
)
from storewatchd.journal import DRAIN, Journal, Rebuild, StoredRecord
from storewatchd.monitor.view import KEPT_UNCONFIRMED
from storewatchd.settings import DatabaseKind
from storewatchd.store import Store
from storewatchd.store.ledger import Cursor, cursor_of, skip, write
from storewatchd.store.store import WRITE_TIMEOUT_S

logger = logging.getLogger(__name__)

BATCH = 1_000
CHECK_S = 30.0
"""How long it waits for something to do before it looks whether PostgreSQL still answers."""

FIRST_PAUSE_S = 0.5
LONGEST_PAUSE_S = 15.0


class Drain:
    """Follows the journal by a cursor that moves with what it stands for.

    `confirmed` hears up to which number PostgreSQL has everything, `tell` what has to be told, and
    `recall` takes back what PostgreSQL knows and a lost journal does not.
    """

    def __init__(
        self,
        journal: Journal,
        store: Store,
        *,
        confirmed: Callable[[int], None],
        tell: Callable[[Announce], Awaitable[Any]],
        recall: Callable[[], Awaitable[None]],
        check_s: float = CHECK_S,
    ) -> None:
        self._journal = journal
        self._store = store
        self._confirmed = confirmed
        self._tell = tell
        self._recall = recall
        self._check_s = check_s
        self._pause_s = FIRST_PAUSE_S
        self._cursor: Cursor | None = None  # as it was left in PostgreSQL
        self._witness: Cursor | None = None  # the last one that was told of
        if journal.rebuild is Rebuild.STORE and store.kind is not DatabaseKind.NONE:
            store.lacks = "the journal is new, and PostgreSQL was not asked yet what it had lost"

    async def run(self) -> None:
        """Follow until cancelled; what is missing is tried again with growing pauses."""
        while True:
            try:
                if self._store.kind is DatabaseKind.NONE:
                    await self._let_go()
                await self._store.connect()
                await self._follow()
            except StoreError as error:
                self._store.hold(str(error))
                await self._pause(error)
            except (JournalError, RequestError) as error:
                await self._pause(error)

    async def _pause(self, error: Exception) -> None:
        logger.debug("the drain waits %.1f s: %s", self._pause_s, error)
        # Half of the pause is chance, so that many nodes do not come back at once.
        await asyncio.sleep(self._pause_s * (0.5 + random.random() / 2))
        self._pause_s = min(2 * self._pause_s, LONGEST_PAUSE_S)

    async def _let_go(self) -> NoReturn:
        """Without PostgreSQL the journal itself is history, as far back as it is kept."""
        while True:
            over = self._journal.last_seq - self._journal.keep
            if over >= self._journal.confirmed(DRAIN) + BATCH:
                await self._confirm(over)
            await self._journal.appended()

    async def _follow(self) -> None:
        after = await self._begin()
        await self._confirm(after)
        while True:
            records = await self._journal.read(after, BATCH)
            if records:
                self._look_for_room()
                await self._write(records)
                after = records[-1].seq
                await self._confirm(after)
                self._go_well()
                continue
            self._store.lacks = None
            self._go_well()
            if not await self._is_appended():
                await self._store.connect()

    async def _is_appended(self) -> bool:
        """Wait until something was appended, or it is time to look whether PostgreSQL answers: it
        has ended, or nobody has asked it for a while."""
        appended = asyncio.ensure_future(self._journal.appended())
        fallen = asyncio.ensure_future(self._store.fallen())
        try:
            await asyncio.wait(
                (appended, fallen),
                timeout=self._check_s,
                return_when=asyncio.FIRST_COMPLETED,
            )
            return appended.done() and not fallen.done()
        finally:
            appended.cancel()
            fallen.cancel()

    def _go_well(self) -> None:
        self._pause_s = FIRST_PAUSE_S
        self._store.flow()

    def _look_for_room(self) -> None:
        """Leave what room there is to the journal, where PostgreSQL takes it from the same disk.

        Raises:
            StoreUnavailable: there is too little.
        """
        if self._journal.is_short_of_room and self._store.shares_disk():
            raise StoreUnavailable(
                "the file system of the state directory is nearly full: what room there is, is "
                "left to the journal"
            )

    # Where to begin.

    async def _begin(self) -> int:
        """Return the number after which this journal has what PostgreSQL lacks."""
        journal = self._journal
        async with self._store.connection() as connection:
            cursor = self._cursor = await cursor_of(connection, journal.node)
        after = 0
        if cursor is not None and journal.knows(cursor.epoch):
            after = min(cursor.seq, journal.last_of(cursor.epoch))
        is_witness = cursor is not None and after < cursor.seq
        if cursor is not None and is_witness:
            await self._believe(cursor)
        if is_witness or journal.rebuild is Rebuild.STORE:
            # Before anything is added: all that is there is older than what follows.
            await self._recall()
        confirmed = journal.confirmed(DRAIN)
        if after < confirmed:
            if not is_witness:
                await self._tell_of_older(after, confirmed)
            await journal.rewind(DRAIN, after)
        is_behind = after < confirmed or journal.facts().unconfirmed > KEPT_UNCONFIRMED
        self._store.lacks = "what PostgreSQL lacks is still on its way there" if is_behind else None
        return after

    async def _believe(self, witness: Cursor) -> None:
        """Let numbers go on above what PostgreSQL has of this node and this journal does not."""
        await self._journal.advance(witness.seq)
        if witness == self._witness:
            return
        self._witness = witness
        reason = (
            f"the journal was lost: PostgreSQL has records up to {witness.epoch}.{witness.seq}, "
            "and what may have followed them is gone"
        )
        logger.error("%s", reason)
        await self._tell_of_gap(witness.seq + 1, None, reason)

    async def _tell_of_older(self, after: int, confirmed: int) -> None:
        """Tell that PostgreSQL has lost what it had, as an older backup of it has."""
        logger.warning(
            "PostgreSQL had this node's records up to %d and has them up to %d: what the journal "
            "still has of them is sent again",
            confirmed,
            after,
        )
        last_gone = self._journal.oldest_kept - 1
        if after < last_gone:
            reason = "PostgreSQL has lost these records, and the journal no longer keeps them"
            logger.error("%s: %d to %d", reason, after + 1, last_gone)
            await self._tell_of_gap(after + 1, last_gone, reason)

    async def _tell_of_gap(self, from_seq: int, to_seq: int | None, reason: str) -> None:
        facts = {"from_seq": from_seq, "to_seq": to_seq, "reason": reason}
        await self._tell(Announce(EventType.SYSTEM, "gap", facts))

    # Writing.

    async def _write(self, records: list[StoredRecord]) -> None:
        """Write a batch; a record that PostgreSQL refuses for good holds up no other.

        Raises:
            StoreUnavailable: PostgreSQL is away.
        """
        last = records[-1]
        try:
            async with self._at_the_cursor() as connection:
                await write(connection, records)
        except StoreRefused as error:
            if len(records) == 1:
                record = records[0]
                async with self._at_the_cursor() as connection:
                    await skip(connection, record)
                self._cursor = Cursor(last.epoch, last.seq)
                self._store.refused += 1
                logger.error(
                    "PostgreSQL refuses record %s.%d (%s %s), which stays in the journal only: %s",
                    *(record.epoch, record.seq, record.type, record.kind, error),
                )
                return
            middle = len(records) // 2
            await self._write(records[:middle])
            await self._write(records[middle:])
        else:
            self._cursor = Cursor(last.epoch, last.seq)

    @asynccontextmanager
    async def _at_the_cursor(self) -> AsyncIterator[AsyncConnection[TupleRow]]:
        """Lend a connection to go on where PostgreSQL was left.

        Raises:
            StoreUnavailable: it is somewhere else: under the same address there is another server
                now, or an older backup.
        """
        async with self._store.connection(timeout_s=WRITE_TIMEOUT_S) as connection:
            if await cursor_of(connection, self._journal.node) != self._cursor:
                raise StoreUnavailable("PostgreSQL is not as it was left")
            yield connection

    async def _confirm(self, seq: int) -> None:
        await self._journal.confirm(DRAIN, seq)
        self._confirmed(seq)
