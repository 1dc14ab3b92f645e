"""The drain between a real journal and a real server: everything once, in order, whatever
happens to either."""

import asyncio
import logging
import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager, closing
from pathlib import Path
from typing import Any

import pytest

from fakes import HandClock
from fix_postgres import Postgres
from fix_records import record
from storewatchd.clock import Clock
from storewatchd.drain import BATCH, Drain
from storewatchd.errors import StoreUnavailable
from storewatchd.journal import Journal
from storewatchd.settings import DatabaseKind, DatabaseSettings, Settings
from storewatchd.store import Store
from storewatchd.store.ledger import write

REFUSED = b'{"text":"\\u0000"}'


class WatchedStore(Store):
    """A store that counts how often it was connected, and fails at it as long as it is told to."""

    away: str | None = None
    connects = 0

    def __init__(self, settings: Settings, clock: Clock, *, node: str) -> None:
        super().__init__(settings, clock, node=node)
        self.wake = asyncio.Event()

    async def connect(self) -> None:
        self.connects += 1
        self.wake.set()
        if self.away is not None:
            raise StoreUnavailable(self.away)
        await super().connect()


class Desk:
    """A journal, a store, and a drain between them that runs for as long as it is asked to."""

    def __init__(self, postgres: Postgres, journal: Journal, store: WatchedStore) -> None:
        self.journal = journal
        self.store = store
        self.confirmed: list[int] = []
        self._postgres = postgres

    async def note(self, count: int = 1, **changes: Any) -> list[int]:
        """Append so many records; return their numbers."""
        numbers = list(await self.journal.numbers(count))
        await self.journal.append([record(seq, **changes) for seq in numbers], ())
        return numbers

    @asynccontextmanager
    async def draining(self, **options: Any) -> AsyncIterator[None]:
        def note(seq: int) -> None:
            self.confirmed.append(seq)
            self.store.wake.set()

        drain = Drain(self.journal, self.store, confirmed=note, **options)
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

    def stored(self) -> list[int]:
        """Return the numbers of the events that PostgreSQL has."""
        query = f"SELECT seq FROM event WHERE node = '{self.journal.node}' ORDER BY seq"
        return [int(str(row[0])) for row in self._postgres.rows(query)]


Make = Callable[..., Awaitable[Desk]]


@pytest.fixture
async def make(postgres: Postgres, tmp_path: Path) -> AsyncIterator[Make]:
    """Make a desk, and close it at the end."""
    clock = HandClock().clock
    async with AsyncExitStack() as stack:

        async def make(
            kind: DatabaseKind = DatabaseKind.EXTERNAL, *, keep: int = 100_000, dsn: str = ""
        ) -> Desk:
            journal = await Journal.open(tmp_path, clock, keep=keep)
            stack.push_async_callback(journal.close)
            settings = Settings(database=DatabaseSettings(kind, dsn=dsn or postgres.dsn))
            store = WatchedStore(settings, clock, node=journal.node)
            stack.push_async_callback(store.close)
            return Desk(postgres, journal, store)

        yield make


# In order, each once.


async def test_what_waits_and_what_comes_is_written_in_order(make: Make) -> None:
    desk = await make()
    waiting = await desk.note(3)
    async with desk.draining():
        await desk.until_confirmed(3)
        coming = await desk.note(2) + await desk.note(2)
        await desk.until_confirmed(7)
    assert desk.stored() == [*waiting, *coming]
    assert desk.confirmed == sorted(desk.confirmed)
    assert desk.journal.confirmed("drain") == 7
    assert await desk.journal.unconfirmed() == (0, None)


async def test_more_than_a_batch_is_written_batch_by_batch(make: Make) -> None:
    desk = await make()
    numbers = await desk.note(2 * BATCH + 1)
    async with desk.draining():
        await desk.until_confirmed(numbers[-1])
    assert desk.confirmed == [0, BATCH, 2 * BATCH, 2 * BATCH + 1]
    assert desk.stored() == numbers


async def test_a_drain_that_starts_again_goes_on_behind_what_is_there(make: Make) -> None:
    desk = await make()
    await desk.note(2)
    async with desk.draining():
        await desk.until_confirmed(2)
    await desk.note(2)
    desk.confirmed.clear()
    async with desk.draining():
        await desk.until_confirmed(4)
    assert desk.confirmed == [2, 4]
    assert desk.stored() == [1, 2, 3, 4]


async def test_where_the_confirmation_was_lost_nothing_is_written_twice(
    make: Make, postgres: Postgres
) -> None:
    desk = await make()
    await desk.note(3)
    async with await postgres.connect() as connection:
        await write(connection, (await desk.journal.read(0, 10))[:2])
    async with desk.draining():
        await desk.until_confirmed(3)
    assert desk.confirmed == [2, 3]
    assert desk.stored() == [1, 2, 3]


async def test_a_damaged_record_holds_up_no_other(make: Make, tmp_path: Path) -> None:
    desk = await make()
    await desk.note(3)
    with closing(sqlite3.connect(tmp_path / "state.db", isolation_level=None)) as behind:
        behind.execute("UPDATE record SET data = x'00' WHERE seq = 2")
    async with desk.draining():
        await desk.until_confirmed(3)
    assert desk.stored() == [1, 3]


# What PostgreSQL refuses.


@pytest.mark.parametrize(
    "places",
    [
        pytest.param({4}, id="one"),
        pytest.param({1, 7}, id="the first and the last"),
        pytest.param({3, 4, 5}, id="neighbours"),
        pytest.param(set(range(1, 8)), id="all"),
    ],
)
async def test_a_refused_record_is_set_aside_and_holds_up_no_other(
    make: Make, caplog: pytest.LogCaptureFixture, places: set[int]
) -> None:
    desk = await make()
    numbers = await desk.journal.numbers(7)
    await desk.journal.append(
        [record(seq, **({"data": REFUSED} if seq in places else {})) for seq in numbers], ()
    )
    async with desk.draining():
        await desk.until_confirmed(7)
    assert desk.stored() == [seq for seq in numbers if seq not in places]
    assert desk.store.refused == len(places)
    assert desk.store.problem is None
    told = [line for line in caplog.messages if line.startswith("PostgreSQL refuses record")]
    assert [line.split("(")[0].strip() for line in told] == [
        f"PostgreSQL refuses record {desk.journal.epoch}.{seq}" for seq in sorted(places)
    ]
    assert [one.seq for one in await desk.journal.read(0, 10)] == list(numbers)


async def test_a_number_with_other_bytes_is_set_aside(make: Make, postgres: Postgres) -> None:
    desk = await make()
    await desk.note(3)
    async with await postgres.connect() as connection:
        await connection.execute(
            "INSERT INTO event VALUES (%s, %s, 2, now(), 'system', 'noted', '{}', 'other')",
            (desk.journal.node, desk.journal.epoch),
        )
    async with desk.draining():
        await desk.until_confirmed(3)
    assert desk.store.refused == 1
    assert desk.stored() == [1, 2, 3]


async def test_a_record_that_is_not_what_its_type_says_is_set_aside(make: Make) -> None:
    desk = await make()
    await desk.note(type="alert", data=b"{}")
    await desk.note()
    async with desk.draining():
        await desk.until_confirmed(2)
    assert desk.store.refused == 1
    assert desk.stored() == [2]


# When PostgreSQL is away.


async def test_a_database_that_is_away_is_tried_again_with_growing_pauses_until_it_is_there(
    make: Make, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "storewatchd.drain")
    desk = await make()
    await desk.note(2)
    desk.store.away = "gone fishing"
    async with desk.draining():
        await desk.until(lambda: desk.store.connects == 3)
        assert desk.confirmed == []
        desk.store.away = None
        await desk.until_confirmed(2)
    assert desk.stored() == [1, 2]
    waits = [line for line in caplog.messages if line.startswith("the drain waits")]
    assert waits[:2] == [f"the drain waits {pause} s: gone fishing" for pause in ("0.5", "1.0")]


async def test_a_connection_that_breaks_loses_and_repeats_nothing(
    make: Make, postgres: Postgres
) -> None:
    desk = await make()
    await desk.note(2)
    async with desk.draining():
        await desk.until_confirmed(2)
        await postgres.end_connections()
        await desk.note(2)
        await desk.until_confirmed(4)
    assert desk.stored() == [1, 2, 3, 4]
    assert desk.store.refused == 0


@pytest.mark.parametrize(
    "condition",
    [
        pytest.param("disk_full", id="no room"),
        pytest.param("read_only_sql_transaction", id="no writes"),
        pytest.param("insufficient_privilege", id="no right to it"),
        pytest.param("undefined_table", id="no table"),
        pytest.param("data_corrupted", id="a broken table"),
    ],
)
async def test_a_server_that_cannot_write_now_costs_no_record(
    make: Make, postgres: Postgres, condition: str
) -> None:
    dsn = postgres.fresh()
    desk = await make(dsn=dsn)
    await desk.store.connect()
    await desk.note(2)
    async with await postgres.connect(dsn) as operator:
        await operator.execute(
            "CREATE FUNCTION fail() RETURNS trigger LANGUAGE plpgsql AS"
            f" $$BEGIN RAISE EXCEPTION USING ERRCODE = '{condition}'; END$$;"
            "CREATE TRIGGER fail BEFORE INSERT ON event EXECUTE FUNCTION fail()".encode()
        )
        async with desk.draining():
            await desk.until(lambda: desk.store.connects == 3)
            await operator.execute("DROP TRIGGER fail ON event")
            await desk.until_confirmed(2)
    assert desk.store.refused == 0
    assert postgres.rows("SELECT seq FROM event ORDER BY seq", dsn) == [(1,), (2,)]


async def test_an_idle_drain_looks_whether_the_server_still_answers(make: Make) -> None:
    desk = await make()
    async with desk.draining(check_s=0.01):
        await desk.until(lambda: desk.store.connects >= 4)
    assert desk.confirmed == [0]


# Without PostgreSQL.


async def test_without_a_database_the_journal_keeps_its_newest_records(make: Make) -> None:
    desk = await make(DatabaseKind.NONE, keep=5)
    async with desk.draining():
        await desk.note(BATCH)
        last = (await desk.note(10))[-1]
        await desk.until_confirmed(last - 5)
        found = [one.seq for one in await desk.journal.read(0, 2 * BATCH)]
    assert found == list(range(last - 4, last + 1))
    assert desk.store.problem == "no database is configured"


async def test_without_a_database_little_is_dropped_at_once(make: Make) -> None:
    desk = await make(DatabaseKind.NONE, keep=5)
    async with desk.draining():
        await desk.note(100)
        assert len(await desk.journal.read(0, 1000)) == 100
    assert desk.confirmed == []
