"""Writes journal records to PostgreSQL: a batch and the cursor behind it in one transaction.

Writing a record again changes nothing. The same number with other bytes is an error. Each table
takes its part of a batch in one statement, as arrays; where one row is told of several times, it
takes the newest.
"""

import hashlib
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import msgspec
from psycopg import AsyncConnection, AsyncCursor
from psycopg.rows import TupleRow

from storewatchd.errors import StoreRefused
from storewatchd.journal import StoredRecord

_ALERT_EVENT = """
INSERT INTO alert_event
    (node, epoch, seq, time, alert_id, kind, version, body, reason, digest)
SELECT node, epoch, seq, to_timestamp(time), alert_id, kind, version, body::jsonb,
       reason::jsonb, digest
FROM unnest(%(node)b::text[], %(epoch)b::text[], %(seq)b::bigint[], %(time)b::float8[],
            %(key)b::text[], %(kind)b::text[], %(version)b::integer[], %(data)b::text[],
            %(reason)b::text[], %(digest)b::bytea[])
     AS line (node, epoch, seq, time, alert_id, kind, version, body, reason, digest)
ON CONFLICT (node, epoch, seq) DO NOTHING
"""
_EVENT = """
INSERT INTO event (node, epoch, seq, time, type, kind, data, digest)
SELECT node, epoch, seq, to_timestamp(time), type, kind, data::jsonb, digest
FROM unnest(%(node)b::text[], %(epoch)b::text[], %(seq)b::bigint[], %(time)b::float8[],
            %(type)b::text[], %(kind)b::text[], %(data)b::text[], %(digest)b::bytea[])
     AS line (node, epoch, seq, time, type, kind, data, digest)
ON CONFLICT (node, epoch, seq) DO NOTHING
"""
_AUDIT = """
INSERT INTO audit (node, epoch, seq, time, actor, action, target, outcome, digest)
SELECT node, epoch, seq, to_timestamp(time), b->>'actor', b->>'action', b->>'target',
       b->>'outcome', digest
FROM (SELECT node, epoch, seq, time, data::jsonb AS b, digest
      FROM unnest(%(node)b::text[], %(epoch)b::text[], %(seq)b::bigint[], %(time)b::float8[],
                  %(data)b::text[], %(digest)b::bytea[])
           AS line (node, epoch, seq, time, data, digest)) AS read
ON CONFLICT (node, epoch, seq) DO NOTHING
"""
_ALERT = """
INSERT INTO alert
    (id, node, version, rule, severity, source, state, acknowledged, resource_type, resource_id,
     labels, title, first_seen, last_seen, resolved_at, body)
SELECT b->>'id', node, (b->>'version')::integer, b->>'rule', b->>'severity', b->>'source',
       b->>'state', (b->>'acknowledged')::boolean, b->>'resource_type', b->>'resource_id',
       b->'labels', b->>'title', (b->>'first_seen')::timestamptz, (b->>'last_seen')::timestamptz,
       (b->>'resolved_at')::timestamptz, b
FROM (SELECT node, data::jsonb AS b
      FROM unnest(%(node)b::text[], %(data)b::text[]) AS line (node, data)) AS read
ON CONFLICT (node, id) DO UPDATE SET
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
SELECT b->>'id', node, (b->>'version')::integer, b->>'name', b->>'type', b->>'state',
       (b->>'first_seen')::timestamptz, (b->>'started_at')::timestamptz,
       (b->>'finished_at')::timestamptz, b
FROM (SELECT node, data::jsonb AS b
      FROM unnest(%(node)b::text[], %(data)b::text[]) AS line (node, data)) AS read
ON CONFLICT (node, id) DO UPDATE SET
    version = excluded.version, state = excluded.state, finished_at = excluded.finished_at,
    body = excluded.body
WHERE task.version < excluded.version
"""
_STATE = """
INSERT INTO state (node, kind, key, epoch, seq, value)
SELECT node, kind, key, epoch, seq, value::jsonb
FROM unnest(%(node)b::text[], %(kind)b::text[], %(key)b::text[], %(epoch)b::text[],
            %(seq)b::bigint[], %(value)b::text[])
     AS line (node, kind, key, epoch, seq, value)
ON CONFLICT (node, kind, key) DO UPDATE
SET epoch = excluded.epoch, seq = excluded.seq, value = excluded.value
WHERE state.epoch <> excluded.epoch OR state.seq < excluded.seq
"""
_OBJECT = """
INSERT INTO object
    (node, epoch, seq, kind, id, change, other, here, valid_from, body, digest)
SELECT node, epoch, seq, b->>'kind', b->>'id', b->>'change', b->>'other', b->'sources' <> '{}',
       to_timestamp((b->>'since')::float8), b, digest
FROM (SELECT node, epoch, seq, data::jsonb AS b, digest
      FROM unnest(%(node)b::text[], %(epoch)b::text[], %(seq)b::bigint[], %(data)b::text[],
                  %(digest)b::bytea[]) AS line (node, epoch, seq, data, digest)) AS read
ON CONFLICT (node, epoch, seq) DO NOTHING
"""
# A version was so until the next one of the same object.
_OBJECT_ENDS = """
UPDATE object SET valid_to = next.valid_from
FROM (SELECT epoch, seq, lead(valid_from) OVER (PARTITION BY kind, id ORDER BY seq) AS valid_from
      FROM object
      WHERE node = %(node)s AND valid_to IS NULL
        AND (kind, id) IN (SELECT kind, id FROM object
                           WHERE node = %(node)s AND epoch = ANY (%(epochs)s)
                             AND seq = ANY (%(seqs)s))) AS next
WHERE object.node = %(node)s AND object.epoch = next.epoch AND object.seq = next.seq
  AND next.valid_from IS NOT NULL
"""
_CURSOR = """
INSERT INTO drain_cursor (node, epoch, seq) VALUES (%(node)s, %(epoch)s, %(seq)s)
ON CONFLICT (node) DO UPDATE
SET epoch = excluded.epoch, seq = excluded.seq, confirmed_at = now()
WHERE drain_cursor.epoch <> excluded.epoch OR drain_cursor.seq <= excluded.seq
"""
_DIGESTS = {
    "alert_event": "SELECT epoch, seq, digest FROM alert_event WHERE node = %s AND seq = ANY (%s)",
    "event": "SELECT epoch, seq, digest FROM event WHERE node = %s AND seq = ANY (%s)",
    "audit": "SELECT epoch, seq, digest FROM audit WHERE node = %s AND seq = ANY (%s)",
    "object": "SELECT epoch, seq, digest FROM object WHERE node = %s AND seq = ANY (%s)",
}


class Cursor(NamedTuple):
    """The last record that PostgreSQL has."""

    epoch: str
    seq: int


class _Row(msgspec.Struct):
    """Of what a record tells, and which version of it."""

    id: str
    version: int


class _State(msgspec.Struct):
    kind: str
    key: str
    value: msgspec.Raw


_row_of = msgspec.json.Decoder(_Row).decode
_state_of = msgspec.json.Decoder(_State).decode

_Columns = dict[str, list[Any]]


async def write(connection: AsyncConnection[TupleRow], records: Sequence[StoredRecord]) -> None:
    """Write records of one node and move the cursor behind the last of them.

    Raises:
        StoreRefused: a record cannot be read, or its number is there already with other bytes;
            nothing of the batch was written.
        psycopg.Error: PostgreSQL is away or refused.
    """
    batch = _Batch()
    for record in records:
        batch.take(record)
    last = records[-1]
    async with connection.transaction(), connection.cursor() as cursor:
        for table, query, lines in (
            ("alert_event", _ALERT_EVENT, batch.alert_events),
            ("event", _EVENT, batch.events),
            ("audit", _AUDIT, batch.audits),
            ("object", _OBJECT, batch.objects),
        ):
            if not lines:
                continue
            await cursor.execute(query, _columns(lines))
            if cursor.rowcount < len(lines):
                await _compare(cursor, last.node, table, lines)
        if batch.objects:
            seqs = [line.record.seq for line in batch.objects]
            epochs = list({line.record.epoch for line in batch.objects})
            asked = {"node": last.node, "epochs": epochs, "seqs": seqs}
            await cursor.execute(_OBJECT_ENDS, asked)
        for query, rows in (
            (_ALERT, _columns(batch.alerts.values())),
            (_TASK, _columns(batch.tasks.values())),
            (_STATE, _state_columns(batch.states.values())),
        ):
            if rows["seq"]:
                await cursor.execute(query, rows)
        await cursor.execute(_CURSOR, _place(last))


async def skip(connection: AsyncConnection[TupleRow], record: StoredRecord) -> None:
    """Move the cursor behind a record that is not written."""
    await connection.execute(_CURSOR, _place(record))


async def cursor_of(connection: AsyncConnection[TupleRow], node: str) -> Cursor | None:
    """Return up to where PostgreSQL has this node's records, None where it knows of none; nobody
    else moves it until the end of the transaction."""
    cursor = await connection.execute(
        "SELECT epoch, seq FROM drain_cursor WHERE node = %s FOR UPDATE", (node,)
    )
    row = await cursor.fetchone()
    return None if row is None else Cursor(*row)


def _place(record: StoredRecord) -> dict[str, Any]:
    return {"node": record.node, "epoch": record.epoch, "seq": record.seq}


@dataclass(frozen=True, slots=True)
class _Line:
    """A record as PostgreSQL takes it. `version` is that of an alert or a run."""

    record: StoredRecord
    data: str
    reason: str
    digest: bytes
    version: int = 0


class _Batch:
    """Lines by the table that takes them: all of what happened, and the newest of what is so."""

    def __init__(self) -> None:
        self.alert_events: list[_Line] = []
        self.events: list[_Line] = []
        self.audits: list[_Line] = []
        self.objects: list[_Line] = []
        self.alerts: dict[str, _Line] = {}
        self.tasks: dict[str, _Line] = {}
        self.states: dict[tuple[str, str], tuple[StoredRecord, _State]] = {}

    def take(self, record: StoredRecord) -> None:
        """Add a record.

        Raises:
            StoreRefused: it cannot be read.
        """
        try:
            self._take(record)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise StoreRefused(
                f"record {record.epoch}.{record.seq} cannot be read: {error}"
            ) from error

    def _take(self, record: StoredRecord) -> None:
        match record.type:
            case "alert":
                line = _line(record, self.alerts)
                self.alert_events.append(line)
            case "task":
                self.events.append(_line(record, self.tasks))
            case "audit":
                self.audits.append(_line(record))
            case "object":
                self.objects.append(_line(record))
            case "state":
                state = _state_of(record.data)
                known = self.states.get((state.kind, state.key))
                if known is None or _is_later(record, known[0]):
                    self.states[state.kind, state.key] = record, state
            case _:
                self.events.append(_line(record))


def _line(record: StoredRecord, newest: dict[str, _Line] | None = None) -> _Line:
    """Return the line of a record; note it where it is the newest of its row."""
    digest = hashlib.blake2b(record.data, digest_size=16)
    digest.update(record.reason + record.kind.encode())
    data, reason = record.data.decode(), record.reason.decode()
    if newest is None:
        return _Line(record, data, reason, digest.digest())
    row = _row_of(record.data)
    line = _Line(record, data, reason, digest.digest(), row.version)
    known = newest.get(row.id)
    if known is None or known.version < row.version:
        newest[row.id] = line
    return line


def _is_later(record: StoredRecord, known: StoredRecord) -> bool:
    return record.epoch != known.epoch or record.seq > known.seq


def _columns(lines: Collection[_Line]) -> _Columns:
    return {
        "node": [line.record.node for line in lines],
        "epoch": [line.record.epoch for line in lines],
        "seq": [line.record.seq for line in lines],
        "time": [line.record.time for line in lines],
        "type": [line.record.type for line in lines],
        "kind": [line.record.kind for line in lines],
        "key": [line.record.key for line in lines],
        "version": [line.version for line in lines],
        "data": [line.data for line in lines],
        "reason": [line.reason for line in lines],
        "digest": [line.digest for line in lines],
    }


def _state_columns(states: Collection[tuple[StoredRecord, _State]]) -> _Columns:
    return {
        "node": [record.node for record, _ in states],
        "epoch": [record.epoch for record, _ in states],
        "seq": [record.seq for record, _ in states],
        "kind": [state.kind for _, state in states],
        "key": [state.key for _, state in states],
        "value": [bytes(state.value).decode() for _, state in states],
    }


async def _compare(
    cursor: AsyncCursor[TupleRow], node: str, table: str, lines: Collection[_Line]
) -> None:
    """Compare what is there already under the same numbers.

    Raises:
        StoreRefused: it is not the same.
    """
    digests = {(line.record.epoch, line.record.seq): line.digest for line in lines}
    await cursor.execute(_DIGESTS[table], (node, [seq for _, seq in digests]))
    for epoch, seq, digest in await cursor.fetchall():
        if bytes(digest) != digests.get((epoch, seq), digest):
            raise StoreRefused(f"{table}: record {epoch}.{seq} is there already with other bytes")
