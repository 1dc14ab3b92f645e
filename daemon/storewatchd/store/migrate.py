"""Brings a database to this version: numbered SQL, each once, in order, under an advisory lock.

Each migration and the note that it was applied share a transaction, so an interrupted one leaves
nothing behind. One that was applied and has changed since is refused.
"""

import hashlib
import importlib.resources
import logging
import re
from dataclasses import dataclass

from psycopg import AsyncConnection
from psycopg.rows import TupleRow

from storewatchd.errors import StoreError

logger = logging.getLogger(__name__)

# "storewat" in ASCII: the key of the advisory lock, the same for every node.
LOCK_KEY = 0x73746F7265776174

_NAME = re.compile(r"(\d{4})_[a-z0-9_]+\.sql")


@dataclass(frozen=True, slots=True)
class Migration:
    """One step. `digest` is of its text."""

    number: int
    name: str
    sql: str

    @property
    def digest(self) -> str:
        return hashlib.sha256(self.sql.encode()).hexdigest()


def migrations() -> list[Migration]:
    """Return the steps that this version has, in order."""
    folder = importlib.resources.files("storewatchd.store.migrations")
    found = []
    for file in folder.iterdir():
        match = _NAME.fullmatch(file.name)
        if match:
            found.append(Migration(int(match.group(1)), file.name, file.read_text()))
    return sorted(found, key=lambda migration: migration.number)


async def migrate(
    connection: AsyncConnection[TupleRow], steps: list[Migration] | None = None
) -> list[str]:
    """Apply what is missing; return the names of what was applied.

    Raises:
        StoreError: the database is from a newer version, or an applied step has changed.
    """
    steps = migrations() if steps is None else steps
    await connection.set_autocommit(True)
    await connection.execute("SELECT pg_advisory_lock(%s)", (LOCK_KEY,))
    try:
        await connection.execute(
            "CREATE TABLE IF NOT EXISTS migration (number integer PRIMARY KEY, name text NOT NULL,"
            " digest text NOT NULL, applied_at timestamptz NOT NULL DEFAULT now())"
        )
        rows = await connection.execute("SELECT number, name, digest FROM migration")
        applied = {number: (name, digest) for number, name, digest in await rows.fetchall()}
        newer = sorted(applied.keys() - {step.number for step in steps})
        if newer:
            # Migrations are additive, so an older node goes on beside newer ones.
            logger.info("the database is ahead of this version by migration %s", newer)
        done = []
        for step in steps:
            if step.number in applied:
                name, digest = applied[step.number]
                if digest != step.digest:
                    raise StoreError(f"migration {name} was applied with another text")
                continue
            async with connection.transaction():
                await connection.execute(step.sql.encode())
                await connection.execute(
                    "INSERT INTO migration (number, name, digest) VALUES (%s, %s, %s)",
                    (step.number, step.name, step.digest),
                )
            logger.info("applied the database migration %s", step.name)
            done.append(step.name)
        return done
    finally:
        if not connection.closed:
            await connection.execute("SELECT pg_advisory_unlock(%s)", (LOCK_KEY,))
