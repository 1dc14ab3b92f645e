"""Alerts that are over, and what happened to each: the tables `alert` and `alert_event`."""

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Any

from psycopg import AsyncConnection
from psycopg.rows import TupleRow
from psycopg.types.json import Jsonb

from storewatchd.core.model import Alert
from storewatchd.core.queries import AlertQuery, Position

Lend = Callable[[], AbstractAsyncContextManager[AsyncConnection[TupleRow]]]

SCAN_LIMIT = 20_000
"""How many rows a page may look through for matchers that only Python can judge."""

_PAGE = """
SELECT body, id, (extract(epoch FROM first_seen) * 1000)::bigint
FROM alert
WHERE node = %(node)s
  AND state = 'resolved'
  AND (%(severities)s::text[] IS NULL OR severity = ANY (%(severities)s))
  AND (%(sources)s::text[] IS NULL OR source = ANY (%(sources)s))
  AND (%(acknowledged)s::boolean IS NULL OR acknowledged = %(acknowledged)s)
  AND (%(resource_type)s::text IS NULL OR resource_type = %(resource_type)s)
  AND (%(resource_id)s::text IS NULL
       OR (left(resource_id, 200) = left(%(resource_id)s, 200) AND resource_id = %(resource_id)s))
  AND (%(rule)s::text IS NULL OR rule = %(rule)s)
  AND (%(labels)s::jsonb IS NULL OR labels @> %(labels)s)
  AND (%(since)s::float8 IS NULL OR first_seen >= to_timestamp(%(since)s))
  AND (%(until)s::float8 IS NULL OR first_seen < to_timestamp(%(until)s))
  AND (%(after_ms)s::bigint IS NULL
       OR (first_seen, id) < (to_timestamp(%(after_ms)s / 1000.0), %(after_id)s))
ORDER BY first_seen DESC, id DESC
LIMIT %(limit)s
"""

_TIMELINE = """
SELECT epoch, seq, extract(epoch FROM time)::float8, kind, reason
FROM alert_event
WHERE node = %(node)s AND alert_id = %(id)s
ORDER BY seq
"""


@dataclass(frozen=True, slots=True)
class TimelineLine:
    """One transition of an alert, as it was journalled. `time` is Unix seconds."""

    epoch: str
    seq: int
    time: float
    kind: str
    reason: dict[str, Any]


@dataclass(frozen=True, slots=True)
class AlertPage:
    """What was found; not complete where `SCAN_LIMIT` ended the search before it was full."""

    alerts: list[Alert]
    is_complete: bool


class AlertStore:
    """Queries about alerts of one node."""

    def __init__(self, lend: Lend, node: str) -> None:
        self._lend = lend
        self._node = node

    async def page(self, query: AlertQuery, after: Position | None, limit: int) -> AlertPage:
        """Return resolved alerts after a position, newest first; open ones are never asked of
        the store.

        Raises:
            StoreError: PostgreSQL is away or refused.
        """
        equal = {m.label: m.value for m in query.matchers if m.is_equality and m.value}
        judged_here = any(not (m.is_equality and m.value) for m in query.matchers)
        found: list[Alert] = []
        scanned = 0
        step = max(limit, 500) if judged_here else limit
        async with self._lend() as connection:
            while True:
                cursor = await connection.execute(
                    _PAGE, {**self._values(query, equal, after), "limit": step}
                )
                rows = await cursor.fetchall()
                scanned += len(rows)
                alerts = (Alert.from_json(row[0]) for row in rows)
                found += [alert for alert in alerts if query.admits(alert)]
                is_full = len(found) >= limit
                if is_full or len(rows) < step or scanned >= SCAN_LIMIT:
                    return AlertPage(found[:limit], is_full or len(rows) < step)
                after = Position(rows[-1][2], rows[-1][1])

    async def get(self, alert_id: str) -> Alert | None:
        """Return an alert as PostgreSQL knows it.

        Raises:
            StoreError: PostgreSQL is away or refused.
        """
        async with self._lend() as connection:
            cursor = await connection.execute(
                "SELECT body FROM alert WHERE node = %(node)s AND id = %(id)s",
                {"node": self._node, "id": alert_id},
            )
            row = await cursor.fetchone()
        return None if row is None else Alert.from_json(row[0])

    async def timeline(self, alert_id: str) -> list[TimelineLine]:
        """Return what happened to an alert, oldest first.

        Raises:
            StoreError: PostgreSQL is away or refused.
        """
        async with self._lend() as connection:
            cursor = await connection.execute(_TIMELINE, {"node": self._node, "id": alert_id})
            return [TimelineLine(*row) for row in await cursor.fetchall()]

    def _values(
        self, query: AlertQuery, equal: dict[str, str], after: Position | None
    ) -> dict[str, Any]:
        def names(closed: Any) -> list[str] | None:
            return None if closed is None else sorted(closed)

        return {
            "node": self._node,
            "severities": names(query.severities),
            "sources": names(query.sources),
            "acknowledged": query.acknowledged,
            "resource_type": query.resource_type,
            "resource_id": query.resource_id,
            "rule": query.rule,
            "labels": Jsonb(equal) if equal else None,
            "since": query.since,
            "until": query.until,
            "after_ms": None if after is None else after.first_seen_ms,
            "after_id": None if after is None else after.id,
        }
