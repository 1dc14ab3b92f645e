"""What the store knows of a node's present state, to rebuild a lost journal from.

What cannot be read, as a newer version may have written it, is left out and logged.
"""

import logging
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from contextlib import asynccontextmanager
from typing import Any, TypeVar

from psycopg import AsyncConnection
from psycopg.rows import TupleRow

from storewatchd.core.commands import Rebuild
from storewatchd.core.inventory import MAX_OBJECTS
from storewatchd.core.model import Alert
from storewatchd.core.objects import Object
from storewatchd.core.permissions import Token
from storewatchd.core.queries import Position
from storewatchd.core.task_names import TaskName
from storewatchd.core.tasks import MAX_NAMES, MAX_RUNNING, TaskRun, TaskState, failure_of
from storewatchd.store.alerts import Lend

logger = logging.getLogger(__name__)

ReadT = TypeVar("ReadT")

OpenAlert = tuple[Alert, dict[str, Any]]
"""An open alert, and the reason of its opening."""

PATIENCE_MS = 600_000
"""How long a server may take to look all of it up."""

# The newest of the transitions that open an alert or keep it open: of an alert that was created
# again and again only the last one says how long it lives.
_ALERTS = """
SELECT alert.body, opened.reason, (extract(epoch FROM first_seen) * 1000)::bigint, id
FROM alert
LEFT JOIN LATERAL (
    SELECT reason FROM alert_event
    WHERE node = alert.node AND alert_id = alert.id
      AND kind IN ('pending', 'firing', 'repeated')
    ORDER BY seq DESC LIMIT 1
) AS opened ON true
WHERE node = %(node)s AND state <> 'resolved'
  AND (%(after_ms)s::bigint IS NULL
       OR (first_seen, id) < (to_timestamp(%(after_ms)s / 1000.0), %(after_id)s))
ORDER BY first_seen DESC, id DESC
LIMIT %(limit)s
"""
_RUNNING = """
SELECT body FROM task
WHERE node = %(node)s AND state NOT IN ('completed', 'failed')
ORDER BY first_seen DESC, id DESC
LIMIT %(limit)s
"""
# Of runs of one name that overlap, the one that was seen last stands for the others.
_NAMES = """
SELECT name, type, completed, failed, last_start, last_success, last_failure,
       last_one.body, last_failed.body
FROM (
    SELECT name, max(type) AS type,
           count(*) FILTER (WHERE state = 'completed') AS completed,
           count(*) FILTER (WHERE state = 'failed') AS failed,
           extract(epoch FROM max(started_at))::float8 AS last_start,
           extract(epoch FROM max(finished_at) FILTER (WHERE state = 'completed'))::float8
               AS last_success,
           extract(epoch FROM max(finished_at) FILTER (WHERE state = 'failed'))::float8
               AS last_failure
    FROM task WHERE node = %(node)s
    GROUP BY name ORDER BY max(first_seen) DESC LIMIT %(limit)s
) AS about
LEFT JOIN LATERAL (
    SELECT body FROM task
    WHERE node = %(node)s AND name = about.name AND state IN ('completed', 'failed')
    ORDER BY first_seen DESC, id DESC LIMIT 1
) AS last_one ON true
LEFT JOIN LATERAL (
    SELECT body FROM task
    WHERE node = %(node)s AND name = about.name AND state = 'failed'
    ORDER BY first_seen DESC, id DESC LIMIT 1
) AS last_failed ON true
"""
_STATE = """
SELECT key, value FROM state
WHERE node = %(node)s AND kind = %(kind)s AND value <> 'null'
"""

_OBJECTS = """
SELECT body FROM object
WHERE node = %(node)s AND valid_to IS NULL AND change <> 'forgotten'
ORDER BY here DESC, valid_from DESC
LIMIT %(limit)s
"""


class LostState:
    """Queries about the present state of one node."""

    def __init__(self, lend: Lend, node: str) -> None:
        self._lend = lend
        self._node = node

    async def alerts(
        self, after: Position | None, limit: int
    ) -> tuple[list[OpenAlert], Position | None]:
        """Return open alerts after a position, newest first, and the position of the last one if
        there may be more.

        Raises:
            StoreError: PostgreSQL is away or refused.
        """
        values = {
            "node": self._node,
            "after_ms": None if after is None else after.first_seen_ms,
            "after_id": None if after is None else after.id,
            "limit": limit,
        }
        async with self._patient() as connection:
            if after is None:
                # A server that was just filled knows nothing of its tables yet, and what it plans
                # then may take hours.
                await connection.execute("ANALYZE alert, alert_event, task")
            cursor = await connection.execute(_ALERTS, values)
            rows = await cursor.fetchall()
        alerts = list(_readable("an alert", rows, _open_alert))
        return alerts, Position(*rows[-1][2:]) if len(rows) == limit else None

    async def rest(self) -> Rebuild:
        """Return all but the alerts.

        Raises:
            StoreError: PostgreSQL is away or refused.
        """
        async with self._patient() as connection:

            async def rows(query: str, **values: Any) -> list[TupleRow]:
                cursor = await connection.execute(query.encode(), {"node": self._node, **values})
                return await cursor.fetchall()

            return Rebuild(
                runs=tuple(_readable("a run", await rows(_RUNNING, limit=MAX_RUNNING), _run)),
                names=dict(_readable("a task", await rows(_NAMES, limit=MAX_NAMES), _name)),
                repositories=dict(
                    _readable("a repository", await rows(_STATE, kind="repository"), _repository)
                ),
                mount_points=dict(
                    _readable("a mount point", await rows(_STATE, kind="mount_point"), _mount_point)
                ),
                tokens=tuple(_readable("a token", await rows(_STATE, kind="token"), _token)),
                objects=tuple(
                    _readable("an object", await rows(_OBJECTS, limit=MAX_OBJECTS), _object)
                ),
            )

    @asynccontextmanager
    async def _patient(self) -> AsyncIterator[AsyncConnection[TupleRow]]:
        async with self._lend() as connection:
            await connection.execute(f"SET LOCAL statement_timeout = {PATIENCE_MS:d}".encode())
            yield connection


def _readable(what: str, rows: Iterable[TupleRow], read: Callable[..., ReadT]) -> Iterator[ReadT]:
    for row in rows:
        try:
            yield read(*row)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            # A row may hold what nobody may see, so only its kind is told.
            logger.error("%s in PostgreSQL cannot be read and is left out: %r", what, error)


def _open_alert(body: Any, reason: Any, *_: object) -> OpenAlert:
    return Alert.from_json(body), dict(reason or {})


def _run(body: Any) -> dict[str, Any]:
    return TaskRun.from_state(body).to_state()


def _name(
    name: str,
    type_of: str,
    completed: int,
    failed: int,
    last_start: float | None,
    last_success: float | None,
    last_failure: float | None,
    last_body: Any,
    failed_body: Any,
) -> tuple[str, dict[str, Any]]:
    last = None if last_body is None else TaskRun.from_state(last_body)
    counts = {TaskState.COMPLETED.value: completed, TaskState.FAILED.value: failed}
    about = TaskName(
        type=type_of if last is None else last.type,
        runs={result: count for result, count in counts.items() if count},
        last_start=last_start,
        last_end=max(filter(None, (last_success, last_failure)), default=None),
        last_success=last_success,
        last_failure=last_failure,
        last_duration_s=None if last is None else last.duration_s,
        last_bytes=None if last is None else last.bytes,
    )
    if failed_body is not None:
        about.failure = failure_of(TaskRun.from_state(failed_body))
    return name, about.to_state()


def _object(body: Any) -> dict[str, Any]:
    return Object.from_state(body).to_state()


def _repository(name: str, value: Any) -> tuple[str, str]:
    return name, str(value["path"])


def _mount_point(path: str, value: Any) -> tuple[str, str]:
    return path, str(value["mount_point"])


def _token(_: str, value: Any) -> Token:
    return Token.from_state(value)
