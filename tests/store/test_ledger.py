"""The ledger on a real server: each record once, in order, and never two truths under a number."""

import json
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import psycopg
import pytest
from psycopg import AsyncConnection
from psycopg.rows import TupleRow

from fakes import NOON
from fix_postgres import Postgres
from fix_records import alert, alert_record, run, run_record, stored
from storewatchd.core.model import Alert, AlertState, Severity
from storewatchd.core.tasks import TaskState
from storewatchd.errors import StoreRefused
from storewatchd.journal import StoredRecord
from storewatchd.store.ledger import Cursor, cursor_of, skip, write

Connection = AsyncConnection[TupleRow]


@pytest.fixture
async def connection(postgres: Postgres) -> AsyncIterator[Connection]:
    async with await postgres.connect() as connection:
        yield connection


class Tables:
    """What is in the tables about one node."""

    def __init__(self, connection: Connection, node: str) -> None:
        self._connection = connection
        self._node = node

    async def rows(self, table: str, columns: str) -> list[tuple[Any, ...]]:
        query = f"SELECT {columns} FROM {table} WHERE node = %s ORDER BY {columns}"
        cursor = await self._connection.execute(query.encode(), (self._node,))
        return await cursor.fetchall()

    async def everything(self) -> dict[str, list[tuple[Any, ...]]]:
        return {
            table: await self.rows(table, f"{table}::text")
            for table in ("alert", "alert_event", "task", "event", "audit", "state")
        }


@pytest.fixture
def tables(connection: Connection, node: str) -> Tables:
    return Tables(connection, node)


def audit(seq: int, node: str, **facts: str) -> StoredRecord:
    plain = {"actor": "ann", "action": "ResolveAlert", "target": "a", "outcome": "done"}
    data = json.dumps({**plain, **facts}).encode()
    return stored(seq, node=node, type="audit", kind="ResolveAlert", event=False, data=data)


def state(seq: int, node: str, value: object, **changes: Any) -> StoredRecord:
    data = json.dumps({"kind": "token", "key": "t", "value": value}).encode()
    plain = {"node": node, "type": "state", "kind": "put", "event": False, "data": data}
    return stored(seq, **{**plain, **changes})


def one_of_each(node: str) -> list[StoredRecord]:
    return [
        alert_record(1, alert(node), reason=b'{"why":1}'),
        run_record(2, run(node)),
        stored(3, node=node),
        audit(4, node),
        state(5, node, {"name": "t"}),
    ]


async def test_each_type_has_its_table(connection: Connection, tables: Tables, node: str) -> None:
    await write(connection, one_of_each(node))
    assert await tables.rows("alert_event", "epoch, seq, kind, version, alert_id, reason") == [
        ("e1", 1, "resolved", 3, f"{node}-000001", {"why": 1})
    ]
    assert await tables.rows("alert", "id, rule, severity, source, state, acknowledged") == [
        (f"{node}-000001", "Full", "warning", "storage", "resolved", False)
    ]
    assert await tables.rows("alert", "extract(epoch FROM first_seen)::float8") == [(NOON + 1,)]
    assert await tables.rows("task", "id, name, type, state, version") == [
        ("run-000001", "nightly", "backup", "completed", 2)
    ]
    assert await tables.rows("event", "seq, type, kind") == [
        (2, "task", "end"),
        (3, "system", "noted"),
    ]
    assert await tables.rows("audit", "seq, actor, action, target, outcome") == [
        (4, "ann", "ResolveAlert", "a", "done")
    ]
    assert await tables.rows("state", "kind, key, seq, value") == [("token", "t", 5, {"name": "t"})]


async def test_a_body_is_what_was_told(connection: Connection, tables: Tables, node: str) -> None:
    odd = alert(
        node,
        title="é \\u0041 \N{GRINNING FACE}",
        labels={"a b": 'x"y'},
        acknowledged_by="ann",
        acknowledged_at=NOON + 1.123,
    )
    finished = run(node, output="line\n\ttab")
    await write(connection, [alert_record(1, odd), run_record(2, finished)])
    assert await tables.rows("alert", "body") == [(odd.to_json(),)]
    assert await tables.rows("alert_event", "body") == [(odd.to_json(),)]
    assert await tables.rows("task", "body") == [(finished.to_state(),)]


async def test_writing_again_changes_nothing(
    connection: Connection, tables: Tables, node: str
) -> None:
    records = one_of_each(node)
    await write(connection, records)
    before = await tables.everything()
    await write(connection, records)
    await write(connection, records[1:3])
    assert await tables.everything() == before
    assert await cursor_of(connection, node) == Cursor("e1", 5)


async def test_a_batch_that_overlaps_what_is_there_adds_the_rest(
    connection: Connection, tables: Tables, node: str
) -> None:
    records = [stored(seq, node=node) for seq in range(1, 7)]
    await write(connection, records[:4])
    await write(connection, records[2:])
    assert await tables.rows("event", "seq") == [(seq,) for seq in range(1, 7)]


@pytest.mark.parametrize("which", range(4), ids=["alert", "task", "event", "audit"])
@pytest.mark.parametrize(
    "change",
    [
        pytest.param({"reason": b'{"other":1}'}, id="another reason"),
        pytest.param({"kind": "other"}, id="another kind"),
    ],
)
async def test_the_same_number_with_other_bytes_is_refused_with_its_batch(
    connection: Connection, tables: Tables, node: str, which: int, change: dict[str, Any]
) -> None:
    records = one_of_each(node)
    await write(connection, records)
    before = await tables.everything()
    batch = [stored(8, node=node), replace(records[which], **change), stored(9, node=node)]
    with pytest.raises(StoreRefused, match=rf"record e1\.{which + 1} is there already with other"):
        await write(connection, batch)
    assert await tables.everything() == before
    assert await cursor_of(connection, node) == Cursor("e1", 5)


async def test_other_data_under_a_number_is_refused(connection: Connection, node: str) -> None:
    await write(connection, [stored(1, node=node)])
    with pytest.raises(StoreRefused, match=r"event: record e1\.1 is there already"):
        await write(connection, [stored(1, node=node, data=b'{"number":2}')])


async def test_a_number_of_another_epoch_or_node_is_another_number(
    connection: Connection, tables: Tables, node: str
) -> None:
    await write(connection, [stored(1, node=node)])
    await write(connection, [stored(1, node=node, epoch="e2", data=b"{}")])
    await write(connection, [stored(1, node=f"{node}-other", data=b"[]")])
    assert await tables.rows("event", "epoch, seq") == [("e1", 1), ("e2", 1)]


# What is newest.


def told(node: str, *versions: int) -> list[Alert]:
    kinds = [AlertState.PENDING, AlertState.FIRING, AlertState.RESOLVED]
    return [
        alert(node, version=version, state=kinds[version - 1], severity=list(Severity)[version - 1])
        for version in versions
    ]


@pytest.mark.parametrize("together", [True, False], ids=["in one batch", "one by one"])
@pytest.mark.parametrize("versions", [(1, 2, 3), (3, 1, 2), (2, 3, 1)])
async def test_the_highest_version_of_an_alert_stays(
    connection: Connection, tables: Tables, node: str, versions: tuple[int, ...], together: bool
) -> None:
    records = [alert_record(n, one) for n, one in enumerate(told(node, *versions), 1)]
    for batch in [records] if together else [[one] for one in records]:
        await write(connection, batch)
    assert await tables.rows("alert", "version, state, severity") == [(3, "resolved", "critical")]
    assert await tables.rows("alert_event", "seq, version") == list(enumerate(versions, 1))


async def test_the_highest_version_of_a_run_stays(
    connection: Connection, tables: Tables, node: str
) -> None:
    started = run(node, state=TaskState.RUNNING, finished_at=None, version=1)
    ended = run(node, state=TaskState.FAILED, version=2)
    await write(connection, [run_record(1, started)])
    await write(connection, [run_record(2, ended), run_record(3, started)])
    assert await tables.rows("task", "state, version, extract(epoch FROM finished_at)::float8") == [
        ("failed", 2, NOON + 4)
    ]


async def test_the_state_with_the_highest_number_stays(
    connection: Connection, tables: Tables, node: str
) -> None:
    await write(connection, [state(2, node, {"n": 2}), state(1, node, {"n": 1})])
    assert await tables.rows("state", "seq, value") == [(2, {"n": 2})]
    await write(connection, [state(3, node, None)])
    assert await tables.rows("state", "seq, value") == [(3, None)]


async def test_the_state_of_a_later_epoch_stays_whatever_its_number(
    connection: Connection, tables: Tables, node: str
) -> None:
    await write(connection, [state(500, node, {"n": 1})])
    await write(connection, [state(2, node, {"n": 2}, epoch="e2")])
    assert await tables.rows("state", "epoch, seq, value") == [("e2", 2, {"n": 2})]
    later = [state(1, node, {"n": 3}, epoch="e3"), state(2, node, {"n": 4}, epoch="e3")]
    await write(connection, later)
    assert await tables.rows("state", "epoch, seq, value") == [("e3", 2, {"n": 4})]


async def test_state_that_an_older_version_wrote_gives_way(
    connection: Connection, tables: Tables, node: str
) -> None:
    await connection.execute(
        "INSERT INTO state (node, kind, key, seq, value) VALUES (%s, 'token', 't', 500, '1')",
        (node,),
    )
    await write(connection, [state(2, node, 2)])
    assert await tables.rows("state", "epoch, seq, value") == [("e1", 2, 2)]


# The cursor.


async def test_the_cursor_stands_behind_the_last_record(connection: Connection, node: str) -> None:
    assert await cursor_of(connection, node) is None
    await write(connection, [stored(1, node=node), stored(7, node=node)])
    assert await cursor_of(connection, node) == Cursor("e1", 7)


async def test_the_cursor_never_goes_back(connection: Connection, node: str) -> None:
    await write(connection, [stored(7, node=node)])
    await write(connection, [stored(2, node=node)])
    assert await cursor_of(connection, node) == Cursor("e1", 7)


async def test_the_cursor_goes_to_another_epoch_also_where_its_numbers_are_lower(
    connection: Connection, node: str
) -> None:
    await write(connection, [stored(7, node=node)])
    await write(connection, [stored(2, node=node, epoch="e2")])
    assert await cursor_of(connection, node) == Cursor("e2", 2)


async def test_each_node_has_a_cursor_of_its_own(connection: Connection, node: str) -> None:
    await write(connection, [stored(7, node=node)])
    await write(connection, [stored(2, node=f"{node}-other")])
    assert await cursor_of(connection, node) == Cursor("e1", 7)
    assert await cursor_of(connection, f"{node}-other") == Cursor("e1", 2)


async def test_each_node_has_a_row_of_its_own_for_an_alert(
    connection: Connection, tables: Tables, node: str
) -> None:
    copied = f"{node}-copy"
    ours = alert(node, state=AlertState.FIRING, resolved_at=None, resolved_by=None)
    await write(connection, [alert_record(1, ours)])
    await write(connection, [alert_record(1, alert(copied, version=9, id=ours.id))])
    assert await tables.rows("alert", "state, version") == [("firing", 3)]
    assert await Tables(connection, copied).rows("alert", "state, version") == [("resolved", 9)]


async def test_a_record_that_is_skipped_moves_the_cursor_only(
    connection: Connection, tables: Tables, node: str
) -> None:
    await write(connection, [stored(1, node=node)])
    await skip(connection, stored(2, node=node, epoch="e2"))
    assert await cursor_of(connection, node) == Cursor("e2", 2)
    assert await tables.rows("event", "seq") == [(1,)]


# What is refused.


@pytest.mark.parametrize(
    "change",
    [
        pytest.param({"data": b'{"rule":"Full"}'}, id="an alert without a version"),
        pytest.param({"data": b'{"version":"two"}'}, id="a version that is no number"),
        pytest.param({"data": b'{"version":1'}, id="no JSON"),
        pytest.param({"data": b'{"version":1,"title":"\xff"}'}, id="no UTF-8"),
        pytest.param({"type": "system", "data": b"\xff"}, id="an event that is no UTF-8"),
        pytest.param({"reason": b"\xff"}, id="a reason that is no UTF-8"),
    ],
)
async def test_what_cannot_be_read_is_refused_with_its_batch(
    connection: Connection, tables: Tables, node: str, change: dict[str, Any]
) -> None:
    batch = [stored(1, node=node), alert_record(2, alert(node), **change)]
    with pytest.raises(StoreRefused, match=r"record e1\.2 cannot be read: "):
        await write(connection, batch)
    assert await tables.rows("event", "seq") == []
    assert await cursor_of(connection, node) is None


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"data": b'{"text":"\\u0000"}'}, id="U+0000 in JSON"),
        pytest.param({"kind": "a\0b"}, id="U+0000 in a name"),
        pytest.param({"data": b"{"}, id="no JSON"),
    ],
)
async def test_what_postgresql_refuses_leaves_nothing_of_its_batch(
    connection: Connection, tables: Tables, node: str, changes: dict[str, Any]
) -> None:
    with pytest.raises(psycopg.DataError):
        await write(connection, [stored(1, node=node), stored(2, node=node, **changes)])
    assert await tables.rows("event", "seq") == []
    assert await cursor_of(connection, node) is None


async def test_a_resource_may_have_the_longest_id_that_a_caller_may_give(
    connection: Connection, tables: Tables, node: str
) -> None:
    # Characters that no compression makes shorter.
    long = "".join(chr(0x4E00 + (n * n * 7919 + n * 104_729) % 20_000) for n in range(4096))
    about = alert(node, resource_type="é" * 200, resource_id=long)
    await write(connection, [alert_record(1, about)])
    assert await tables.rows("alert", "resource_id") == [(long,)]
