"""Migrations on a real server: each once, whole or not at all, one node at a time."""

import asyncio
import logging
from collections.abc import AsyncIterator
from itertools import count

import psycopg
import pytest
from msgspec.structs import replace
from psycopg import AsyncConnection
from psycopg.rows import TupleRow

from fix_postgres import Postgres
from fix_records import alert, alert_record
from storewatchd.core.model import AlertState
from storewatchd.errors import StoreError
from storewatchd.journal import StoredRecord
from storewatchd.store.migrate import LOCK_KEY, Migration, migrate, migrations

Connection = AsyncConnection[TupleRow]

ONE = Migration(1, "0001_one.sql", "CREATE TABLE one (n integer); INSERT INTO one VALUES (1)")
TWO = Migration(2, "0002_two.sql", "ALTER TABLE one ADD COLUMN m integer; CREATE TABLE two ()")


@pytest.fixture
def dsn(postgres: Postgres) -> str:
    return postgres.fresh()


@pytest.fixture
async def connection(dsn: str) -> AsyncIterator[Connection]:
    async with await AsyncConnection.connect(dsn) as connection:
        yield connection


async def tables(connection: Connection) -> set[str]:
    rows = await connection.execute(
        "SELECT table_name FROM information_schema.tables WHERE table_schema = current_schema()"
    )
    return {name for (name,) in await rows.fetchall()}


async def noted(connection: Connection) -> list[tuple[int, str]]:
    rows = await connection.execute("SELECT number, name FROM migration ORDER BY number")
    return [(number, name) for number, name in await rows.fetchall()]


def test_the_steps_are_numbered_without_a_gap() -> None:
    steps = migrations()
    assert [step.number for step in steps] == list(range(1, len(steps) + 1))
    assert all(step.name.startswith(f"{step.number:04d}_") and step.sql for step in steps)


async def test_an_empty_database_is_brought_to_this_version_once(connection: Connection) -> None:
    every = [step.name for step in migrations()]
    assert await migrate(connection) == every
    assert await migrate(connection) == []
    wanted = {"alert", "alert_event", "task", "event", "audit", "state", "drain_cursor"}
    assert wanted < await tables(connection)
    assert [name for _, name in await noted(connection)] == every


async def test_every_row_has_a_node(connection: Connection) -> None:
    await migrate(connection)
    rows = await connection.execute(
        "SELECT table_name FROM information_schema.columns"
        " WHERE column_name = 'node' AND table_schema = current_schema()"
    )
    with_node = {name for (name,) in await rows.fetchall()}
    assert await tables(connection) == with_node | {"migration"}


async def test_only_what_is_missing_is_applied_in_order(connection: Connection) -> None:
    assert await migrate(connection, [ONE]) == [ONE.name]
    assert await migrate(connection, [ONE, TWO]) == [TWO.name]
    assert await noted(connection) == [(1, ONE.name), (2, TWO.name)]


OLD_ALERT = """
INSERT INTO alert
    (id, node, version, rule, severity, source, state, acknowledged, resource_type, resource_id,
     labels, title, first_seen, last_seen, body)
SELECT b->>'id', node, (b->>'version')::integer, '', 'info', '', b->>'state', false, '', '',
       '{}', '', now(), now(), b
FROM alert_event, LATERAL (SELECT body AS b) AS told WHERE seq = %s
ON CONFLICT (id) DO UPDATE SET
    version = excluded.version, state = excluded.state, body = excluded.body
"""


async def shared_by(connection: Connection, *records: StoredRecord) -> None:
    """Write alerts as the versions did that told rows by their id alone."""
    await migrate(connection, migrations()[:3])
    for seq, record in enumerate(records, 1):
        await connection.execute(
            "INSERT INTO alert_event SELECT %s, 'e', %s, now(), %s, 'k', (b->>'version')::integer,"
            " b, '{}', '' FROM (SELECT %s::jsonb AS b) AS line",
            (record.node, seq, record.key, record.data.decode()),
        )
        await connection.execute(OLD_ALERT, (seq,))
        await connection.execute(
            "INSERT INTO drain_cursor (node, epoch, seq) VALUES (%s, 'e', %s)"
            " ON CONFLICT (node) DO NOTHING",
            (record.node, seq),
        )


async def test_a_row_that_two_nodes_shared_becomes_a_row_of_each(connection: Connection) -> None:
    ours = alert("a", version=2, state=AlertState.FIRING, resolved_at=None, resolved_by=None)
    theirs = alert("b", id=ours.id, version=5)
    alone = alert("a", 2)
    first = replace(ours, version=1, state=AlertState.PENDING)
    await shared_by(connection, *map(alert_record, count(1), (first, ours, alone, theirs)))
    await migrate(connection)
    rows = await connection.execute(
        "SELECT node, id, version, state, body FROM alert ORDER BY 1, 2"
    )
    assert await rows.fetchall() == [
        ("a", ours.id, 2, "firing", ours.to_json()),
        ("a", alone.id, 3, "resolved", alone.to_json()),
        ("b", ours.id, 5, "resolved", theirs.to_json()),
    ]


async def test_a_node_of_an_older_version_cannot_write_alerts_and_is_told_so(
    connection: Connection,
) -> None:
    await shared_by(connection, alert_record(1, alert("a")))
    await migrate(connection)
    with pytest.raises(psycopg.errors.InvalidColumnReference):
        await connection.execute(OLD_ALERT, (1,))


async def test_a_step_that_was_changed_since_is_refused(connection: Connection) -> None:
    await migrate(connection, [ONE])
    changed = Migration(1, "0001_one.sql", ONE.sql + " ")
    with pytest.raises(StoreError, match=r"migration 0001_one\.sql was applied with another text"):
        await migrate(connection, [changed, TWO])
    assert await noted(connection) == [(1, ONE.name)]


async def test_a_newer_database_is_gone_on_with(
    connection: Connection, caplog: pytest.LogCaptureFixture
) -> None:
    await migrate(connection, [ONE, TWO])
    caplog.set_level(logging.INFO)
    assert await migrate(connection, [ONE]) == []
    assert "ahead of this version by migration [2]" in caplog.text
    assert "two" in await tables(connection)


@pytest.mark.parametrize(
    "sql",
    [
        pytest.param("CREATE TABLE half (); SELECT nonsense", id="an error"),
        pytest.param(
            "CREATE TABLE half (); SELECT pg_terminate_backend(pg_backend_pid())",
            id="a lost connection",
        ),
        pytest.param(
            "CREATE TABLE half (); ALTER TABLE migration ADD CHECK (number < 2)",
            id="no room for its note",
        ),
    ],
)
async def test_an_interrupted_step_leaves_nothing_and_can_be_done_again(dsn: str, sql: str) -> None:
    async with await AsyncConnection.connect(dsn) as connection:
        with pytest.raises(psycopg.Error):
            await migrate(connection, [ONE, Migration(2, "0002_two.sql", sql)])
    async with await AsyncConnection.connect(dsn, autocommit=True) as connection:
        assert await tables(connection) == {"migration", "one"}
        assert await noted(connection) == [(1, ONE.name)]
        assert await migrate(connection, [ONE, TWO]) == [TWO.name]


async def test_a_step_waits_for_another_node_that_migrates(
    postgres: Postgres, dsn: str, connection: Connection
) -> None:
    async with await postgres.connect(dsn) as other, asyncio.TaskGroup() as tasks:
        await other.execute("SELECT pg_advisory_lock(%s)", (LOCK_KEY,))
        waiting = tasks.create_task(migrate(connection, [ONE]))
        async with asyncio.timeout(10):
            while not await waits_for_a_lock(other):
                pass
        assert await tables(other) == set()
        await other.execute("SELECT pg_advisory_unlock(%s)", (LOCK_KEY,))
    assert waiting.result() == [ONE.name]


async def test_two_nodes_at_once_apply_each_step_once(postgres: Postgres, dsn: str) -> None:
    async with await postgres.connect(dsn) as one, await postgres.connect(dsn) as two:
        done = await asyncio.gather(migrate(one, [ONE, TWO]), migrate(two, [ONE, TWO]))
        assert sorted(done) == [[], [ONE.name, TWO.name]]


@pytest.mark.parametrize(
    "steps",
    [
        pytest.param([ONE], id="done"),
        pytest.param([Migration(1, "0001_one.sql", "SELECT nonsense")], id="failed"),
    ],
)
async def test_the_lock_is_let_go_of(
    postgres: Postgres, dsn: str, connection: Connection, steps: list[Migration]
) -> None:
    await asyncio.gather(migrate(connection, steps), return_exceptions=True)
    async with await postgres.connect(dsn) as other:
        row = await other.execute("SELECT pg_try_advisory_lock(%s)", (LOCK_KEY,))
        assert await row.fetchone() == (True,)


async def waits_for_a_lock(connection: Connection) -> bool:
    row = await connection.execute(
        "SELECT 1 FROM pg_locks WHERE locktype = 'advisory' AND NOT granted AND database ="
        " (SELECT oid FROM pg_database WHERE datname = current_database())"
    )
    return await row.fetchone() is not None
