"""Finished runs of tasks: the table `task`."""

from collections.abc import Collection

from storewatchd.core.queries import Position
from storewatchd.core.tasks import TaskRun
from storewatchd.store.alerts import Lend

_PAGE = """
SELECT body
FROM task
WHERE node = %(node)s
  AND state IN ('completed', 'failed')
  AND (%(name)s::text IS NULL OR name = %(name)s)
  AND (%(states)s::text[] IS NULL OR state = ANY (%(states)s))
  AND (%(after_ms)s::bigint IS NULL
       OR (first_seen, id) < (to_timestamp(%(after_ms)s / 1000.0), %(after_id)s))
ORDER BY first_seen DESC, id DESC
LIMIT %(limit)s
"""


class TaskStore:
    """Queries about runs of one node."""

    def __init__(self, lend: Lend, node: str) -> None:
        self._lend = lend
        self._node = node

    async def page(
        self,
        *,
        name: str | None,
        states: Collection[str] | None,
        after: Position | None,
        limit: int,
    ) -> list[TaskRun]:
        """Return finished runs after a position, newest first.

        Raises:
            StoreError: PostgreSQL is away or refused.
        """
        async with self._lend() as connection:
            cursor = await connection.execute(
                _PAGE,
                {
                    "node": self._node,
                    "name": name,
                    "states": None if states is None else sorted(states),
                    "after_ms": None if after is None else after.first_seen_ms,
                    "after_id": None if after is None else after.id,
                    "limit": limit,
                },
            )
            return [TaskRun.from_state(row[0]) for row in await cursor.fetchall()]

    async def get(self, run_id: str) -> TaskRun | None:
        """Return a run as PostgreSQL knows it.

        Raises:
            StoreError: PostgreSQL is away or refused.
        """
        async with self._lend() as connection:
            cursor = await connection.execute(
                "SELECT body FROM task WHERE node = %(node)s AND id = %(id)s",
                {"node": self._node, "id": run_id},
            )
            row = await cursor.fetchone()
        return None if row is None else TaskRun.from_state(row[0])
