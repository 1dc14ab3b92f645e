"""Carries the journal to PostgreSQL: in order, in batches, each once, however often it is away."""

import asyncio
import logging
import random
from collections.abc import Callable
from typing import NoReturn

from storewatchd.errors import StoreError, StoreRefused
from storewatchd.journal import DRAIN, Journal, StoredRecord
from storewatchd.settings import DatabaseKind
from storewatchd.store import Store
from storewatchd.store.ledger import cursor_of, write
from storewatchd.store.store import WRITE_TIMEOUT_S

logger = logging.getLogger(__name__)

BATCH = 1_000
CHECK_S = 30.0
"""How long it waits for something to do before it looks whether PostgreSQL still answers."""

FIRST_PAUSE_S = 0.5
LONGEST_PAUSE_S = 15.0


class Drain:
    """Follows the journal by a cursor that moves with what it stands for."""

    def __init__(
        self,
        journal: Journal,
        store: Store,
        *,
        confirmed: Callable[[int], None],
        check_s: float = CHECK_S,
    ) -> None:
        self._journal = journal
        self._store = store
        self._confirmed = confirmed
        self._check_s = check_s
        self._pause_s = FIRST_PAUSE_S

    async def run(self) -> None:
        """Follow until cancelled; a missing database is tried again with growing pauses."""
        if self._store.kind is DatabaseKind.NONE:
            await self._let_go()
        while True:
            try:
                await self._store.connect()
                await self._follow()
            except StoreError as error:
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
        async with self._store.connection() as connection:
            after = await cursor_of(connection, self._journal.node)
        await self._confirm(after)
        while True:
            records = await self._journal.read(after, BATCH)
            if records:
                await self._write(records)
                after = records[-1].seq
                await self._confirm(after)
                continue
            self._pause_s = FIRST_PAUSE_S
            try:
                async with asyncio.timeout(self._check_s):
                    await self._journal.appended()
            except TimeoutError:
                await self._store.connect()

    async def _write(self, records: list[StoredRecord]) -> None:
        """Write a batch; a record that PostgreSQL refuses for good holds up no other.

        Raises:
            StoreUnavailable: PostgreSQL is away.
        """
        try:
            async with self._store.connection(timeout_s=WRITE_TIMEOUT_S) as connection:
                await write(connection, records)
        except StoreRefused as error:
            if len(records) == 1:
                record = records[0]
                self._store.refused += 1
                logger.error(
                    "PostgreSQL refuses record %s.%d (%s %s), which stays in the journal only: %s",
                    *(record.epoch, record.seq, record.type, record.kind, error),
                )
                return
            middle = len(records) // 2
            await self._write(records[:middle])
            await self._write(records[middle:])

    async def _confirm(self, seq: int) -> None:
        await self._journal.confirm(DRAIN, seq)
        self._confirmed(seq)
