"""Writes journal records to PostgreSQL: a batch and the cursor behind it in one transaction.

Writing a record again changes nothing. The same number with other bytes is an error.
"""

import hashlib
from collections.abc import Iterable, Sequence
from typing import Any

import msgspec
from psycopg import AsyncConnection
from psycopg.rows import TupleRow

from storewatchd.errors import StoreRefused
from storewatchd.journal import StoredRecord

_ALERT_EVENT = """
INSERT INTO alert_event
    (node, epoch, seq, time, alert_id, kind, version, body, reason, digest)
VALUES (%(node)s, %(epoch)s, %(seq)s, to_timestamp(%(time)s), %(key)s, %(kind)s, %(version)s,
        %(data)s::jsonb, %(reason)s::jsonb, %(digest)s)
ON CONFLICT (node, epoch, seq) DO NOTHING
"""
_ALERT = """
INSERT INTO alert
    (id, node, version, rule, severity, source, state, acknowledged, resource_type, resource_id,
     labels, title, first_seen, last_seen, resolved_at, body)
SELECT b->>'id', %(node)s, (b->>'version')::integer, b->>'rule', b->>'severity', b->>'source',
       b->>'state', (b->>'acknowledged')::boolean, b->>'resource_type', b->>'resource_id',
       b->'labels', b->>'title', (b->>'first_seen')::timestamptz, (b->>'last_seen')::timestamptz,
       (b->>'resolved_at')::timestamptz, b
FROM (SELECT %(data)s::jsonb AS b) AS line
ON CONFLICT (id) DO UPDATE SET
    version = excluded.version, severity = excluded.severity, source = excluded.source,
    state = excluded.state, acknowledged = excluded.acknowledged,
    resource_type = excluded.resource_type, resource_id = excluded.resource_id,
    labels = excluded.labels, title = excluded.title, last_seen = excluded.last_seen,
    resolved_at = excluded.resolved_at, body = excluded.body
WHERE alert.version < excluded.version
"""
_TASK = """
INSERT INTO task
    (id, node, version, name, type, state, first_seen, started_at, finished_at, body)
SELECT b->>'id', %(node)s, (b->>'version')::integer, b->>'name', b->>'type', b->>'state',
       (b->>'first_seen')::timestamptz, (b->>'started_at')::timestamptz,
       (b->>'finished_at')::timestamptz, b
FROM (SELECT %(data)s::jsonb AS b) AS line
ON CONFLICT (node, id) DO UPDATE SET
    version = excluded.version, state = excluded.state, finished_at = excluded.finished_at,
    body = excluded.body
WHERE task.version < excluded.version
"""
_EVENT = """
INSERT INTO event (node, epoch, seq, time, type, kind, data, digest)
VALUES (%(node)s, %(epoch)s, %(seq)s, to_timestamp(%(time)s), %(type)s, %(kind)s,
        %(data)s::jsonb, %(digest)s)
ON CONFLICT (node, epoch, seq) DO NOTHING
"""
_AUDIT = """
INSERT INTO audit (node, epoch, seq, time, actor, action, target, outcome, digest)
SELECT %(node)s, %(epoch)s, %(seq)s, to_timestamp(%(time)s), b->>'actor', b->>'action',
       b->>'target', b->>'outcome', %(digest)s
FROM (SELECT %(data)s::jsonb AS b) AS line
ON CONFLICT (node, epoch, seq) DO NOTHING
"""
_STATE = """
INSERT INTO state (node, kind, key, seq, value)
SELECT %(node)s, b->>'kind', b->>'key', %(seq)s, b->'value'
FROM (SELECT %(data)s::jsonb AS b) AS line
ON CONFLICT (node, kind, key) DO UPDATE SET seq = excluded.seq, value = excluded.value
WHERE state.seq < excluded.seq
"""
_CURSOR = """
INSERT INTO drain_cursor (node, epoch, seq) VALUES (%(node)s, %(epoch)s, %(seq)s)
ON CONFLICT (node) DO UPDATE
SET epoch = excluded.epoch, seq = excluded.seq, confirmed_at = now()
WHERE drain_cursor.seq <= excluded.seq
"""
_DIGESTS = {
    "alert_event": "SELECT epoch, seq, digest FROM alert_event WHERE node = %s AND seq = ANY (%s)",
    "event": "SELECT epoch, seq, digest FROM event WHERE node = %s AND seq = ANY (%s)",
    "audit": "SELECT epoch, seq, digest FROM audit WHERE node = %s AND seq = ANY (%s)",
}


class _Version(msgspec.Struct):
    version: int


_version = msgspec.json.Decoder(_Version).decode


async def write(connection: AsyncConnection[TupleRow], records: Sequence[StoredRecord]) -> None:
    """Write records and move the cursor behind the last of them.

    Raises:
        StoreRefused: a record cannot be read, or its number is there already with other bytes;
            nothing of the batch was written.
        psycopg.Error: PostgreSQL is away or refused.
    """
    numbered: dict[str, list[dict[str, Any]]] = {"alert_event": [], "event": [], "audit": []}
    alerts, tasks, states = [], [], []
    for record in records:
        values = _values(record)
        match record.type:
            case "alert":
                numbered["alert_event"].append(values)
                alerts.append(values)
            case "audit":
                numbered["audit"].append(values)
            case "state":
                states.append(values)
            case kind:
                numbered["event"].append(values)
                if kind == "task":
                    tasks.append(values)
    async with connection.transaction(), connection.cursor() as cursor:
        for query, rows in (
            (_ALERT_EVENT, numbered["alert_event"]),
            (_EVENT, numbered["event"]),
            (_AUDIT, numbered["audit"]),
            (_ALERT, alerts),
            (_TASK, tasks),
            (_STATE, states),
        ):
            if rows:
                await cursor.executemany(query, rows)
        for table, rows in numbered.items():
            await _compare(connection, table, rows)
        last = records[-1]
        await cursor.execute(_CURSOR, {"node": last.node, "epoch": last.epoch, "seq": last.seq})


async def cursor_of(connection: AsyncConnection[TupleRow], node: str) -> int:
    """Return the number up to which PostgreSQL has this node's records, 0 for none."""
    cursor = await connection.execute("SELECT seq FROM drain_cursor WHERE node = %s", (node,))
    row = await cursor.fetchone()
    return 0 if row is None else int(row[0])


async def _compare(
    connection: AsyncConnection[TupleRow], table: str, rows: Iterable[dict[str, Any]]
) -> None:
    wanted = {(row["epoch"], row["seq"]): row for row in rows}
    if not wanted:
        return
    node = next(iter(wanted.values()))["node"]
    cursor = await connection.execute(_DIGESTS[table], (node, [seq for _, seq in wanted]))
    for epoch, seq, digest in await cursor.fetchall():
        row = wanted.get((epoch, seq))
        if row is not None and bytes(digest) != row["digest"]:
            raise StoreRefused(f"{table}: record {epoch}.{seq} is there already with other bytes")


def _values(record: StoredRecord) -> dict[str, Any]:
    digest = hashlib.blake2b(record.data, digest_size=16)
    digest.update(record.reason + record.kind.encode())
    try:
        return {**_facts(record), "digest": digest.digest()}
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise StoreRefused(f"record {record.epoch}.{record.seq} cannot be read: {error}") from error


def _facts(record: StoredRecord) -> dict[str, Any]:
    return {
        "node": record.node,
        "epoch": record.epoch,
        "seq": record.seq,
        "time": record.time,
        "type": record.type,
        "kind": record.kind,
        "key": record.key,
        "data": record.data.decode(),
        "reason": record.reason.decode(),
        "version": _version(record.data).version if record.type == "alert" else None,
    }
