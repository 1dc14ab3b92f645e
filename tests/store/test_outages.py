"""What goes wrong with a real PostgreSQL while a journal is carried to it: nothing is lost, nothing
is there twice, and it goes on without help."""

import asyncio
import logging
import socket
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import psycopg
import pytest

from fakes import HandClock
from fix_drain import Desk, Make, desks
from fix_postgres import Postgres, make_cluster, reachable_directory
from fix_records import record
from storewatchd import process
from storewatchd.core.queries import AlertQuery
from storewatchd.errors import StoreUnavailable
from storewatchd.journal import Rebuild
from storewatchd.store import Store
from storewatchd.store import store as store_module
from storewatchd.store.cluster_files import usual_places
from storewatchd.store.embedded import DATABASE, ROLE
from storewatchd.store.migrate import LOCK_KEY
from storewatchd.store.store import REST_S

AUDIT = b'{"actor":"ann","action":"a","target":"t","outcome":"done"}'

pytestmark = pytest.mark.timeout(60)  # servers are stopped and started


class Server:
    """A server of its own that may be stopped, changed and started again."""

    def __init__(self, place: Path) -> None:
        self.data = place / "data"
        self.sockets = place / "run" / "postgresql"
        self._cluster = make_cluster(place)
        self.dsn = self._cluster.dsn

    async def start(self, **settings: object) -> None:
        if settings:
            lines = [f"{name} = '{value}'\n" for name, value in settings.items()]
            with (self.data / "postgresql.auto.conf").open("a") as file:
                file.writelines(lines)
        await self._cluster.ensure()

    async def stop(self) -> None:
        await self._cluster.stop()

    async def restart(self, **settings: object) -> None:
        await self.stop()
        await self.start(**settings)

    def copy(self, to: Path) -> None:
        """Copy the data directory, with its owner."""
        subprocess.run(["cp", "-a", self.data, to], check=True)

    def put_back(self, copy: Path) -> None:
        """Put a copy in the place of the data directory."""
        subprocess.run(["rm", "-r", self.data], check=True)
        subprocess.run(["cp", "-a", copy, self.data], check=True)

    def stored(self) -> list[int]:
        """Return the numbers of the events that it has."""
        with psycopg.connect(self.dsn) as connection:
            return [int(row[0]) for row in connection.execute("SELECT seq FROM event ORDER BY seq")]


@pytest.fixture(scope="module")
def template() -> Iterator[Path]:
    """A place with the data directory of a new cluster, in which nothing runs."""

    async def make(place: Path) -> None:
        server = Server(place)
        await server.start()
        await server.stop()

    with reachable_directory() as place:
        asyncio.run(make(place))
        yield place


MakeServer = Callable[[], Awaitable[Server]]


@pytest.fixture
async def make_server(template: Path) -> AsyncIterator[MakeServer]:
    """Make running servers, and stop them at the end."""
    async with AsyncExitStack() as stack:

        async def make_server() -> Server:
            place = stack.enter_context(reachable_directory())
            Server(template).copy(place / "data")
            server = Server(place)
            stack.push_async_callback(server.stop)
            await server.start()
            return server

        yield make_server


@pytest.fixture
async def server(make_server: MakeServer) -> Server:
    return await make_server()


@pytest.fixture
async def make(server: Server, tmp_path: Path) -> AsyncIterator[Make]:
    """Make a desk whose records go to the server of its own, and which has lost nothing."""
    async with desks(Postgres(server.dsn), tmp_path) as make:

        async def make_whole(**options: Any) -> Desk:
            desk = await make(**options)
            await desk.journal.append((), (), rebuild=Rebuild.NONE)
            return desk

        yield make_whole


@pytest.fixture(autouse=True)
def short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("storewatchd.drain.FIRST_PAUSE_S", 0.05)


def lines_of(caplog: pytest.LogCaptureFixture) -> list[str]:
    """Return what the store logged, less the words after a colon."""
    name = "storewatchd.store.store"
    return [one.message.split(":")[0] for one in caplog.records if one.name == name]


# The server goes and comes.


async def test_a_server_that_restarts_again_and_again_gets_everything_once_and_in_order(
    make: Make, server: Server, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    desk = await make()

    async def note() -> None:
        while True:
            await desk.note(20)
            # A backlog that grows as fast as a disk takes it says nothing about an outage.
            await desk.until(lambda: desk.journal.facts().unconfirmed < 2000)

    async with desk.draining(), asyncio.TaskGroup() as tasks:
        noting = tasks.create_task(note())
        for _ in range(3):
            await desk.until_confirmed(desk.journal.last_seq + 100)
            await server.restart()
        noting.cancel()
        await asyncio.wait((noting,))
        await desk.until(lambda: desk.journal.facts().unconfirmed == 0)
    noted = [one.seq for one in await desk.journal.read(0, 1_000_000)]
    assert server.stored() == noted
    assert desk.store.refused == 0
    assert set(lines_of(caplog)) <= {
        "history waits in the journal",
        f"PostgreSQL {desk.store.server_version} is there",
    }


async def test_a_backend_that_is_killed_in_mid_transaction_leaves_nothing_half_done(
    make: Make, server: Server
) -> None:
    desk = await make()
    await desk.store.connect()
    async with (
        await psycopg.AsyncConnection.connect(server.dsn, autocommit=True) as operator,
        desk.draining(),
    ):
        await desk.until_confirmed(0)
        # A batch is under way for as long as somebody else holds the table of its last part.
        async with operator.transaction():
            await operator.execute("LOCK TABLE audit")
            numbers = list(await desk.journal.numbers(51))
            last = record(numbers[-1], type="audit", data=AUDIT)
            await desk.journal.append([*map(record, numbers[:-1]), last], ())
            victim = await waiting_backend(operator)
            await operator.execute("SELECT pg_terminate_backend(%s)", (victim,))
            await desk.until(lambda: desk.store.problem is not None)
            assert server.stored() == []
        await desk.until_confirmed(numbers[-1])
    assert server.stored() == numbers[:-1]


async def waiting_backend(operator: psycopg.AsyncConnection[psycopg.rows.TupleRow]) -> int:
    """Return the backend that waits for a table, as soon as there is one."""
    while True:
        found = await operator.execute(
            "SELECT pid FROM pg_locks WHERE NOT granted AND relation = 'audit'::regclass"
        )
        row = await found.fetchone()
        if row is not None:
            return int(row[0])


@pytest.mark.parametrize("free", [0, 1], ids=["none left", "one left"])
async def test_connections_that_run_out_are_waited_for(
    make: Make, server: Server, free: int, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    await server.restart(max_connections=4, superuser_reserved_connections=0)
    desk = await make()
    async with AsyncExitStack() as others:
        for _ in range(4 - free):
            await others.enter_async_context(await psycopg.AsyncConnection.connect(server.dsn))
        async with desk.draining():
            numbers = await desk.note(10)
            if free:
                await desk.until_confirmed(numbers[-1])
                assert [await desk.store.alerts.get(f"none-{n}") for n in range(3)] == [None] * 3
            else:
                await desk.until(lambda: desk.store.connects == 4)
                assert "too many clients" in (desk.store.problem or "")
            await others.aclose()
            await desk.until_confirmed(numbers[-1])
    assert server.stored() == numbers
    away = [] if free else ["history waits in the journal"]
    assert lines_of(caplog) == [*away, f"PostgreSQL {desk.store.server_version} is there"]


# Several hosts.


@pytest.fixture
def mute_port() -> Iterator[int]:
    """A port where connections are taken and nobody ever answers, as behind a lost route."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        yield int(listener.getsockname()[1])


async def test_of_several_hosts_one_that_answers_is_found(
    make: Make, server: Server, mute_port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store_module, "CONNECT_TIMEOUT_S", 2)
    hosts = f"/nowhere/at/all,127.0.0.1,{server.sockets}"
    desk = await make(
        dsn=f"host={hosts} port=5432,{mute_port},5432 user={ROLE} dbname={DATABASE}"
        " target_session_attrs=read-write"
    )
    numbers = await desk.note(10)
    async with desk.draining():
        await desk.until_confirmed(numbers[-1])
    assert server.stored() == numbers


async def test_where_the_server_takes_nothing_any_more_another_one_is_found(
    make: Make, server: Server, make_server: MakeServer
) -> None:
    other = await make_server()
    desk = await make(
        dsn=f"host={server.sockets},{other.sockets} port=5432,5432 user={ROLE} dbname={DATABASE}"
        " target_session_attrs=read-write"
    )
    async with desk.draining(check_s=0.05):
        numbers = await desk.note(10)
        await desk.until_confirmed(numbers[-1])
        async with await psycopg.AsyncConnection.connect(server.dsn, autocommit=True) as operator:
            await operator.execute("ALTER SYSTEM SET default_transaction_read_only = on")
            await operator.execute("SELECT pg_reload_conf()")
        numbers += await desk.note(10)
        await desk.until(lambda: desk.confirmed[-2:] == [0, numbers[-1]])
    assert other.stored() == numbers
    assert desk.store.problem is None


# Migrations.


async def test_a_migration_that_is_interrupted_is_done_the_next_time(server: Server) -> None:
    clock = HandClock()
    store = Store(Postgres(server.dsn).settings(), clock.clock, node="node")
    async with await psycopg.AsyncConnection.connect(server.dsn, autocommit=True) as operator:
        # It waits half-way, in the middle of its first step.
        async with operator.transaction(force_rollback=True):
            await operator.execute("CREATE TABLE task ()")
            connecting = asyncio.ensure_future(store.connect())
            while True:
                found = await operator.execute(
                    "SELECT pid FROM pg_locks WHERE NOT granted AND locktype = 'transactionid'"
                )
                if (row := await found.fetchone()) is not None:
                    break
            await operator.execute("SELECT pg_terminate_backend(%s)", row)
            with pytest.raises(StoreUnavailable, match="terminat"):
                await connecting
        lock = await operator.execute("SELECT pg_try_advisory_lock(%s)", (LOCK_KEY,))
        assert await lock.fetchone() == (True,)
        await operator.execute("SELECT pg_advisory_unlock(%s)", (LOCK_KEY,))
    clock.forward(REST_S)
    try:
        await store.connect()
        assert (await store.alerts.page(AlertQuery(), None, 10)).alerts == []
    finally:
        await store.close()


# Backups.


async def run(name: str, *words: str) -> None:
    """Run one of PostgreSQL's tools."""
    place = next(place for place in usual_places() if (place / name).exists())
    await process.run([str(place / name), *words], timeout_s=30)


async def test_a_dump_that_is_restored_gets_again_what_followed_it(
    make: Make, server: Server, tmp_path: Path
) -> None:
    desk = await make()
    numbers = await desk.note(30)
    async with desk.draining():
        await desk.until_confirmed(numbers[-1])
    where = ["-h", str(server.sockets), "-U", ROLE]
    dump = tmp_path / "dump"
    await run("pg_dump", *where, "-Fc", "-f", str(dump), DATABASE)
    async with desk.draining():
        numbers += await desk.note(30)
        await desk.until_confirmed(numbers[-1])
        await desk.store.close()
        await run("dropdb", "--force", *where, DATABASE)
        await run("pg_restore", *where, "--create", "-d", "postgres", str(dump))
        assert server.stored() == numbers[:30]
        numbers += await desk.note(30)
        await desk.until(lambda: desk.confirmed[-2:] == [numbers[29], numbers[-1]])
    assert server.stored() == numbers
    assert desk.told == []


async def test_a_data_directory_that_is_put_back_gets_again_what_followed_it(
    make: Make, server: Server, tmp_path: Path
) -> None:
    desk = await make()
    async with desk.draining():
        numbers = await desk.note(30)
        await desk.until_confirmed(numbers[-1])
        await server.stop()
        server.copy(tmp_path / "copy")
        await server.start()
        numbers += await desk.note(30)
        await desk.until_confirmed(numbers[-1])
        await server.stop()
        server.put_back(tmp_path / "copy")
        await server.start()
        numbers += await desk.note(30)
        await desk.until(lambda: desk.confirmed[-2:] == [numbers[29], numbers[-1]])
    assert server.stored() == numbers
