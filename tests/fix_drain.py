"""A journal, a store and a drain between them, for as long as a test asks it to run."""

import asyncio
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

from fakes import HandClock
from fix_postgres import Postgres
from fix_records import record
from storewatchd.clock import Clock
from storewatchd.core.commands import Announce
from storewatchd.drain import Drain
from storewatchd.errors import StoreUnavailable, Unavailable
from storewatchd.journal import Journal, Rebuild
from storewatchd.journal.database import Database
from storewatchd.journal.thread import Job
from storewatchd.settings import DatabaseKind, DatabaseSettings, Settings
from storewatchd.store import Store


class WatchedStore(Store):
    """A store that counts how often it was connected, and fails at it as long as it is told to."""

    away: str | None = None
    is_on_the_disk = False
    connects = 0

    def __init__(self, settings: Settings, clock: Clock, *, node: str) -> None:
        super().__init__(settings, clock, node=node)
        self.wake = asyncio.Event()

    def shares_disk(self) -> bool:
        return self.is_on_the_disk

    async def connect(self) -> None:
        self.connects += 1
        self.wake.set()
        if self.away is not None:
            raise StoreUnavailable(self.away)
        await super().connect()


class ScriptedJournal(Journal):
    """A journal whose file system has little room for as long as it is told so."""

    is_short = False

    @property
    def is_short_of_room(self) -> bool:
        return self.is_short

    async def hang(self) -> threading.Event:
        """Let the disk hang until the event is set."""
        began, let_go = threading.Event(), threading.Event()

        def hang(_: Database) -> None:
            began.set()
            let_go.wait(20)

        self._thread.submit(Job(asyncio.get_running_loop(), asyncio.Future(), call=hang))
        await asyncio.to_thread(began.wait)
        return let_go


class Desk:
    """A journal, a store, and a drain between them that runs for as long as it is asked to."""

    def __init__(
        self, postgres: Postgres, journal: ScriptedJournal, store: WatchedStore, dsn: str
    ) -> None:
        self.journal = journal
        self.store = store
        self.confirmed: list[int] = []
        self.told: list[tuple[str, Mapping[str, Any]]] = []
        self.recalled: list[list[int]] = []
        """What PostgreSQL had of this node each time that it was asked what was lost."""
        self.recall_fails = False
        self.dsn = dsn
        self._postgres = postgres

    async def note(self, count: int = 1, **changes: Any) -> list[int]:
        """Append so many records; return their numbers."""
        numbers = list(await self.journal.numbers(count))
        await self.journal.append([record(seq, **changes) for seq in numbers], ())
        return numbers

    @asynccontextmanager
    async def draining(
        self, *, heard: Callable[[int], None] = lambda _: None, **options: Any
    ) -> AsyncIterator[None]:
        def note(seq: int) -> None:
            self.confirmed.append(seq)
            heard(seq)
            self.store.wake.set()

        async def tell(said: Announce) -> None:
            self.told.append((said.kind, said.facts))
            self.store.wake.set()

        drain = Drain(
            self.journal, self.store, confirmed=note, tell=tell, recall=self.recall, **options
        )
        async with asyncio.TaskGroup() as tasks:
            running = tasks.create_task(drain.run())
            try:
                yield
            finally:
                running.cancel()

    async def until(self, is_so: Callable[[], bool]) -> None:
        """Wait until a confirmation or a connecting makes something so."""
        async with asyncio.timeout(15):
            while not is_so():
                self.store.wake.clear()
                await self.store.wake.wait()

    async def until_confirmed(self, seq: int) -> None:
        """Wait until the drain says that PostgreSQL has everything up to a number."""
        await self.until(lambda: bool(self.confirmed) and self.confirmed[-1] >= seq)

    async def recall(self) -> None:
        """Note that it is time to take back what was lost, and that it is done."""
        self.recalled.append(self.stored())
        self.store.wake.set()
        if self.recall_fails:
            raise Unavailable("state.db cannot be written")
        await self.journal.append((), (), rebuild=Rebuild.NONE)

    def stored(self) -> list[int]:
        """Return the numbers of the events that PostgreSQL has."""
        return [seq for _, seq in self.stored_of_epochs()]

    def stored_of_epochs(self) -> list[tuple[str, int]]:
        """Return the epochs and numbers of the events that PostgreSQL has."""
        query = f"SELECT epoch, seq FROM event WHERE node = '{self.journal.node}' ORDER BY seq"
        return [(str(row[0]), int(str(row[1]))) for row in self._postgres.rows(query, self.dsn)]

    def restore_older(self, upto: int, epoch: str = "") -> None:
        """Take away from PostgreSQL what came after a number, as an older backup of it does."""
        where = f"WHERE node = '{self.journal.node}'"
        self._postgres.rows(f"DELETE FROM event {where} AND seq > {upto} RETURNING 1", self.dsn)
        if upto:
            moved = f"seq = {upto}, epoch = '{epoch or self.journal.epoch}'"
            self._postgres.rows(f"UPDATE drain_cursor SET {moved} {where} RETURNING 1", self.dsn)
        else:
            self._postgres.rows(f"DELETE FROM drain_cursor {where} RETURNING 1", self.dsn)


Make = Callable[..., Awaitable[Desk]]


@asynccontextmanager
async def desks(postgres: Postgres, directory: Path) -> AsyncIterator[Make]:
    """Give what makes desks on one state directory; each is closed at the end, or where the next
    one is made."""
    clock = HandClock().clock
    async with AsyncExitStack() as whole:
        ending = await whole.enter_async_context(AsyncExitStack())

        async def make(
            kind: DatabaseKind = DatabaseKind.EXTERNAL, *, dsn: str = "", **options: Any
        ) -> Desk:
            await ending.aclose()
            opened = await ScriptedJournal.open(directory, clock, **options)
            assert isinstance(opened, ScriptedJournal)
            ending.push_async_callback(opened.close)
            settings = Settings(database=DatabaseSettings(kind, dsn=dsn or postgres.dsn))
            store = WatchedStore(settings, clock, node=opened.node)
            ending.push_async_callback(store.close)
            return Desk(postgres, opened, store, dsn or postgres.dsn)

        yield make
