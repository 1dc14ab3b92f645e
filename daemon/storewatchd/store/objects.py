"""The versions of objects: the table `object`."""

from typing import Any, NamedTuple

from psycopg.rows import TupleRow

from storewatchd.core.frames import ObjectKind
from storewatchd.core.objects import Object
from storewatchd.core.queries import ObjectPlace, ObjectQuery
from storewatchd.store.alerts import Lend

_AT = """
SELECT body, change, other, extract(epoch FROM valid_to)::float8
FROM object
WHERE node = %(node)s
  AND valid_from <= to_timestamp(%(at)s)
  AND (valid_to IS NULL OR valid_to > to_timestamp(%(at)s))
  AND change <> 'forgotten'
  AND (%(kind)s::text IS NULL OR kind = %(kind)s)
  AND (%(here)s::boolean IS NULL OR here = %(here)s)
  AND (%(after_kind)s::text IS NULL OR (kind, id) > (%(after_kind)s, %(after_id)s))
ORDER BY kind, id
LIMIT %(limit)s
"""
_VERSIONS = """
SELECT body, change, other, extract(epoch FROM valid_to)::float8
FROM object
WHERE node = %(node)s AND kind = ANY (%(kinds)s) AND id = %(id)s
ORDER BY seq DESC
LIMIT %(limit)s
"""


class Version(NamedTuple):
    """A version of an object as PostgreSQL has it: what became of it then, which other object that
    concerned, and until when it was so (None for still)."""

    object: Object
    change: str
    other: str
    until: float | None


class ObjectStore:
    """Queries about objects of one node."""

    def __init__(self, lend: Lend, node: str) -> None:
        self._lend = lend
        self._node = node

    async def at(
        self, at: float, query: ObjectQuery, after: ObjectPlace | None, limit: int
    ) -> list[Version]:
        """Return the objects of a moment (Unix seconds), by kind and id.

        Raises:
            StoreError: PostgreSQL is away or refused.
        """
        asked = {
            "at": at,
            "kind": None if query.kind is None else query.kind.value,
            "here": query.here,
            "after_kind": None if after is None else after.kind,
            "after_id": None if after is None else after.id,
        }
        return [_version(*row) for row in await self._rows(_AT, asked, limit)]

    async def versions(self, kind: str | None, object_id: str, limit: int) -> list[Version]:
        """Return the versions of an object of a kind, or of any, newest first.

        Raises:
            StoreError: PostgreSQL is away or refused.
        """
        kinds = [kind] if kind is not None else [one.value for one in ObjectKind]
        rows = await self._rows(_VERSIONS, {"kinds": kinds, "id": object_id}, limit)
        return [_version(*row) for row in rows]

    async def _rows(self, query: str, asked: dict[str, Any], limit: int) -> list[TupleRow]:
        async with self._lend() as connection:
            values = {"node": self._node, "limit": limit, **asked}
            cursor = await connection.execute(query.encode(), values)
            return await cursor.fetchall()


def _version(body: Any, change: str, other: str, until: float | None) -> Version:
    return Version(Object.from_state(body), change, other, until)
