"""The way to PostgreSQL: what it lends, how it fails, and that no wait is endless."""

import asyncio
import logging
import os
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from fakes import NOON, HandClock
from fix_postgres import Postgres
from storewatchd.core.queries import AlertQuery
from storewatchd.errors import StoreAbsent, StoreError, StoreRefused, StoreUnavailable
from storewatchd.settings import DaemonSettings, DatabaseKind, DatabaseSettings, Settings
from storewatchd.store import Store
from storewatchd.store.store import POOL_SIZE, REST_S

TERMINATE = "SELECT pg_terminate_backend(pg_backend_pid())"


@pytest.fixture
def clock() -> HandClock:
    return HandClock()


@pytest.fixture
async def make(postgres: Postgres, clock: HandClock) -> AsyncIterator[Callable[..., Store]]:
    """Make a store, of the shared database unless a dsn is given, and close it at the end."""
    async with AsyncExitStack() as stack:

        def make(dsn: str | None = None, settings: Settings | None = None) -> Store:
            store = Store(settings or postgres.settings(dsn), clock.clock, node="node")
            stack.push_async_callback(store.close)
            return store

        yield make


@pytest.fixture
async def store(make: Callable[..., Store]) -> Store:
    """A connected store."""
    store = make()
    await store.connect()
    return store


async def value(store: Store, query: str, **options: float) -> object:
    """Return the one value of a query."""
    async with store.connection(**options) as connection:
        cursor = await connection.execute(query.encode())
        while cursor.nextset():  # of several statements the last is asked
            pass
        row = await cursor.fetchone()
        return None if row is None else row[0]


# Connecting.


async def test_a_connected_store_knows_its_server(
    make: Callable[..., Store], clock: HandClock, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    store = make()
    assert (store.problem, store.server_version) == ("not connected yet", None)
    assert (store.checked_at, store.check_s) == (None, None)

    await store.connect()

    assert store.problem is None
    assert store.server_version == str(await value(store, "SHOW server_version")).split(" ")[0]
    assert (store.checked_at, store.check_s) == (NOON, 0.0)
    assert f"PostgreSQL {store.server_version} is there" in caplog.messages


async def test_what_becomes_of_it_is_told_once(make: Callable[..., Store]) -> None:
    store = make()
    heard: list[str | None] = []
    store.changed = lambda: heard.append(store.problem)
    await store.connect()
    await store.connect()
    store.hold("it is full")
    store.flow()
    assert heard == [None, "it is full", None]


async def test_an_empty_database_is_migrated(
    make: Callable[..., Store], postgres: Postgres
) -> None:
    store = make(postgres.fresh())
    await store.connect()
    assert (await store.alerts.page(AlertQuery(), None, 10)).alerts == []
    assert await store.tasks.get("none") is None


async def test_connecting_again_looks_again_and_says_nothing(
    store: Store, clock: HandClock, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "storewatchd")
    clock.forward(30)
    await store.connect()
    assert store.checked_at == NOON + 30
    assert caplog.messages == []


@pytest.mark.parametrize(
    ("dsn", "problem"),
    [
        pytest.param("host=/nowhere/at/all", "/nowhere/at/all", id="no server"),
        pytest.param("{dsn} dbname=missing", 'database "missing" does not exist', id="no database"),
        pytest.param("{dsn} user=stranger", "stranger", id="a stranger"),
        pytest.param("nonsense", "missing", id="no dsn"),
    ],
)
async def test_a_server_that_cannot_be_had_is_told(
    make: Callable[..., Store], postgres: Postgres, dsn: str, problem: str
) -> None:
    store = make(dsn.format(dsn=postgres.dsn))
    with pytest.raises(StoreUnavailable, match=problem):
        await store.connect()
    assert store.problem is not None
    assert problem in store.problem
    assert "\n" not in store.problem
    with pytest.raises(StoreUnavailable, match=problem):
        await value(store, "SELECT 1")


async def test_a_changed_migration_is_told(make: Callable[..., Store], postgres: Postgres) -> None:
    dsn = postgres.fresh()
    await make(dsn).connect()
    postgres.rows("UPDATE migration SET digest = 'other' WHERE number = 1 RETURNING 1", dsn)
    store = make(dsn)
    with pytest.raises(StoreError, match="was applied with another text"):
        await store.connect()
    assert store.problem is not None
    assert "another text" in store.problem


async def test_a_read_only_server_is_told_and_recovers(
    store: Store, postgres: Postgres, clock: HandClock
) -> None:
    setting = "ALTER DATABASE storewatch {} default_transaction_read_only"
    async with await postgres.connect(f"{postgres.dsn} dbname=postgres") as operator:
        await operator.execute(f"{setting.format('SET')} = on".encode())
        try:
            await postgres.end_connections()
            with pytest.raises(StoreUnavailable, match="read-only"):
                await store.connect()
            assert store.problem == "PostgreSQL is read-only: nothing can be added"
            clock.forward(REST_S)
            assert await value(store, "SELECT 1") == 1
        finally:
            await operator.execute(setting.format("RESET").encode())
    await postgres.end_connections()
    await store.connect()
    assert store.problem is None


async def test_options_of_the_dsn_hold_for_every_connection(
    make: Callable[..., Store], postgres: Postgres
) -> None:
    dsn = postgres.fresh()
    store = make(dsn)
    await store.connect()
    assert f"search_path={await value(store, 'SELECT current_schema()')}" in dsn
    assert await value(store, "SHOW statement_timeout") == "15s"


async def test_without_a_database_there_is_none_to_be_had(make: Callable[..., Store]) -> None:
    store = make(settings=Settings(database=DatabaseSettings(DatabaseKind.NONE)))
    assert store.problem == "no database is configured"
    with pytest.raises(StoreAbsent, match="no database is configured"):
        await store.connect()
    with pytest.raises(StoreAbsent, match="no database is configured"):
        await value(store, "SELECT 1")


# Lending.


async def test_what_is_done_with_a_connection_is_one_transaction(
    make: Callable[..., Store], postgres: Postgres
) -> None:
    store = make(postgres.fresh())
    await store.connect()
    await value(store, "CREATE TABLE kept (); SELECT 1")

    async def fail_half_way() -> None:
        async with store.connection() as connection:
            await connection.execute("CREATE TABLE lost ()")
            await connection.execute("SELECT 1 / 0")

    with pytest.raises(StoreRefused):
        await fail_half_way()
    found = await value(store, "SELECT array[to_regclass('kept'), to_regclass('lost')]::text")
    assert found == "{kept,NULL}"


@pytest.mark.parametrize(
    "query",
    [
        pytest.param("SELECT 1 / 0", id="a wrong value"),
        pytest.param(r"""SELECT '"\u0000"'::jsonb""", id="U+0000"),
        pytest.param(
            "INSERT INTO state SELECT 'n', 'k', 'k', NULL, NULL", id="a broken constraint"
        ),
        pytest.param(
            "INSERT INTO state SELECT 'n', 'k', string_agg(md5(n::text), ''), 1, NULL"
            " FROM generate_series(1, 500) n",
            id="too long for an index",
        ),
        pytest.param("SELECT repeat('[', 100000)::jsonb", id="nested too deep"),
    ],
)
async def test_values_that_are_wrong_are_refused_and_harm_nothing(store: Store, query: str) -> None:
    with pytest.raises(StoreRefused):
        await value(store, query)
    assert store.problem is None
    assert await value(store, "SELECT 1") == 1


@pytest.mark.parametrize(
    "query",
    [
        pytest.param(TERMINATE, id="broken"),
        pytest.param("SELECT * FROM missing", id="no table"),
        pytest.param(
            "SET TRANSACTION READ ONLY; INSERT INTO state VALUES ('', '', '', 1)", id="read-only"
        ),
        pytest.param("SET ROLE pg_monitor; SELECT * FROM alert", id="no right to it"),
    ],
)
async def test_a_server_that_cannot_do_it_now_is_away(
    store: Store, caplog: pytest.LogCaptureFixture, query: str
) -> None:
    with pytest.raises(StoreUnavailable):
        await value(store, query)
    assert store.problem is not None
    [line] = [one for one in caplog.messages if "history waits in the journal" in one]
    assert line.endswith(store.problem)


async def test_queries_fail_at_once_for_a_while_after_a_failure(
    store: Store, clock: HandClock
) -> None:
    with pytest.raises(StoreUnavailable):
        await value(store, TERMINATE)
    with pytest.raises(StoreUnavailable, match="terminat"):
        await value(store, "SELECT 1")
    clock.forward(REST_S)
    assert await value(store, "SELECT 1") == 1


async def test_a_broken_connection_is_replaced(store: Store) -> None:
    with pytest.raises(StoreUnavailable):
        await value(store, TERMINATE)
    await store.connect()
    assert store.problem is None
    assert await value(store, "SELECT 1") == 1


async def test_going_away_and_coming_back_is_logged_once_each(
    store: Store, clock: HandClock, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "storewatchd.store.store")
    for _ in range(3):
        with pytest.raises(StoreUnavailable):
            await value(store, TERMINATE)
        clock.forward(REST_S)
    for _ in range(3):
        await store.connect()
    ours = [line for line in caplog.records if line.name == "storewatchd.store.store"]
    told = [(line.levelname, line.message.split(":")[0]) for line in ours]
    assert told == [
        ("WARNING", "history waits in the journal"),
        ("INFO", f"PostgreSQL {store.server_version} is there"),
    ]


async def test_a_query_that_succeeds_ends_what_one_that_failed_began(
    store: Store, clock: HandClock, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "storewatchd.store.store")
    with pytest.raises(StoreUnavailable):
        await value(store, TERMINATE)
    clock.forward(REST_S)
    await value(store, "SELECT 1")
    assert store.problem is None
    assert caplog.messages[-1] == f"PostgreSQL {store.server_version} is there"


async def test_values_that_are_refused_show_that_it_is_there(
    store: Store, clock: HandClock
) -> None:
    with pytest.raises(StoreUnavailable):
        await value(store, TERMINATE)
    clock.forward(REST_S)
    with pytest.raises(StoreRefused):
        await value(store, "SELECT 1 / 0")
    assert store.problem is None


async def test_what_holds_the_drain_is_told_once_and_until_it_flows(
    store: Store, clock: HandClock, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "storewatchd.store.store")
    for _ in range(3):
        store.hold("the disk is full")
        await store.connect()
        await value(store, "SELECT 1")
        assert store.problem == "the disk is full"
    store.flow()
    assert store.problem is None
    assert [one.message for one in caplog.records if one.name == "storewatchd.store.store"] == [
        "history waits in the journal: the disk is full",
        f"PostgreSQL {store.server_version} is there",
    ]


async def test_tables_that_are_gone_are_made_anew_after_they_were_missed(
    make: Callable[..., Store], postgres: Postgres, clock: HandClock
) -> None:
    dsn = postgres.fresh()
    store = make(dsn)
    await store.connect()
    async with await postgres.connect(dsn) as operator:
        await operator.execute(
            "DROP TABLE alert, alert_event, task, event, audit, state, object, drain_cursor,"
            " migration"
        )
    with pytest.raises(StoreUnavailable):
        await store.alerts.page(AlertQuery(), None, 10)
    await store.connect()
    assert (await store.alerts.page(AlertQuery(), None, 10)).alerts == []


# Disks.


async def test_a_server_of_our_own_may_share_the_disk_of_the_state_directory(
    make: Callable[..., Store], reachable: Path
) -> None:
    state = reachable / "state"
    for place in (state / "postgresql", state):
        place.mkdir(parents=True, exist_ok=True)
    near = DatabaseSettings(DatabaseKind.EMBEDDED)
    far = DatabaseSettings(DatabaseKind.EMBEDDED, directory=Path("/dev/shm"))
    daemon = DaemonSettings(state, reachable / "run")
    assert make(settings=Settings(daemon, database=near)).shares_disk()
    assert not make(settings=Settings(daemon, database=far)).shares_disk()


@pytest.mark.parametrize("kind", [DatabaseKind.EXTERNAL, DatabaseKind.EMBEDDED])
async def test_what_has_no_place_shares_no_disk(
    make: Callable[..., Store], tmp_path: Path, kind: DatabaseKind
) -> None:
    daemon = DaemonSettings(tmp_path / "state", tmp_path / "run")
    assert not make(settings=Settings(daemon, database=DatabaseSettings(kind))).shares_disk()


# Bounds.


async def test_a_query_that_takes_too_long_is_ended(store: Store) -> None:
    async with asyncio.timeout(5):
        with pytest.raises(StoreUnavailable, match=r"PostgreSQL has not answered within 0\.1 s"):
            await value(store, "SELECT pg_sleep(60)", timeout_s=0.1)
    await store.connect()
    running = "SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'SELECT pg_sleep(60)%'"
    assert await value(store, running) == 0


async def test_who_finds_every_connection_lent_does_not_wait_for_good(store: Store) -> None:
    async with AsyncExitStack() as lent:
        for _ in range(POOL_SIZE):
            await lent.enter_async_context(store.connection())
        async with asyncio.timeout(5):
            with pytest.raises(StoreUnavailable, match=r"has not answered within 0\.1 s"):
                await value(store, "SELECT 1", timeout_s=0.1)


async def test_who_waits_while_it_is_connected_to_anew_is_told_so(store: Store) -> None:
    async with AsyncExitStack() as lent:
        for _ in range(POOL_SIZE):
            await lent.enter_async_context(store.connection())
        waiting = asyncio.ensure_future(value(store, "SELECT 1"))
        with pytest.raises(StoreUnavailable):
            await value(store, "SELECT 1", timeout_s=0.1)
        await store.connect()
        with pytest.raises(StoreUnavailable, match="PostgreSQL") as told:
            await waiting
    assert "pool" not in str(told.value)
    assert store.problem is None


async def test_every_query_is_planned_for_its_own_filters(store: Store) -> None:
    assert await value(store, "SHOW plan_cache_mode") == "force_custom_plan"


async def test_a_statement_is_bounded_by_the_server_too(store: Store) -> None:
    assert await value(store, "SHOW statement_timeout") == "15s"


async def test_a_server_that_hangs_is_as_good_as_away(store: Store) -> None:
    backend = await value(store, "SELECT pg_backend_pid()")
    assert isinstance(backend, int)
    os.kill(backend, signal.SIGSTOP)
    try:
        async with asyncio.timeout(15):
            with pytest.raises(StoreUnavailable, match="has not answered"):
                await value(store, "SELECT 1", timeout_s=0.1)
    finally:
        os.kill(backend, signal.SIGCONT)
    await store.connect()
    assert await value(store, "SELECT 1") == 1


async def test_a_cancelled_query_gives_its_connection_back(store: Store) -> None:
    for _ in range(POOL_SIZE + 1):
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.01):
                await value(store, "SELECT pg_sleep(60)")
    assert store.problem is None
    assert await value(store, "SELECT 1") == 1


# Closing.


async def test_a_closed_store_lends_nothing(store: Store) -> None:
    await store.close()
    await store.close()
    with pytest.raises(StoreUnavailable, match="not connected"):
        await value(store, "SELECT 1")


async def test_a_server_of_our_own_is_started_and_stopped(
    make: Callable[..., Store], reachable: Path
) -> None:
    daemon = DaemonSettings(reachable / "state", reachable / "run")
    store = make(settings=Settings(daemon, database=DatabaseSettings(DatabaseKind.EMBEDDED)))
    await store.connect()
    assert (await store.alerts.page(AlertQuery(), None, 10)).alerts == []
    pid_file = reachable / "state" / "postgresql" / "postmaster.pid"
    assert pid_file.exists()
    await store.close()
    assert not pid_file.exists()


async def test_a_server_of_our_own_that_cannot_be_had_is_told(
    make: Callable[..., Store], tmp_path: Path
) -> None:
    daemon = DaemonSettings(tmp_path / "state", tmp_path / ("long" * 30))
    store = make(settings=Settings(daemon, database=DatabaseSettings(DatabaseKind.EMBEDDED)))
    with pytest.raises(StoreUnavailable, match="longer than a socket's path may be"):
        await store.connect()
