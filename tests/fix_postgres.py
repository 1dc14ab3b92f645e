"""A real PostgreSQL for all tests of the store: one embedded cluster, many nodes and schemas."""

import asyncio
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest
from psycopg import AsyncConnection
from psycopg.rows import TupleRow

from storewatchd.settings import DatabaseKind, DatabaseSettings, Settings
from storewatchd.store.embedded import EmbeddedCluster
from storewatchd.store.migrate import migrate


class Postgres:
    """A running server. `dsn` is of a database that every test may fill under a node of its
    own."""

    def __init__(self, dsn: str) -> None:
        self.dsn = dsn

    def fresh(self) -> str:
        """Make a schema of its own, which is cheaper than a database; return the dsn of it."""
        name = f"test_{uuid.uuid4().hex}"
        with psycopg.connect(self.dsn, autocommit=True) as connection:
            connection.execute(f"CREATE SCHEMA {name}".encode())
        return f"{self.dsn} options='-c search_path={name}'"

    async def connect(self, dsn: str | None = None) -> AsyncConnection[TupleRow]:
        """Return a connection of its own, each statement a transaction."""
        return await AsyncConnection.connect(dsn or self.dsn, autocommit=True)

    def rows(self, query: str, dsn: str | None = None) -> list[tuple[object, ...]]:
        """Return the rows of a query."""
        with psycopg.connect(dsn or self.dsn, autocommit=True) as connection:
            return list(connection.execute(query.encode()))

    async def end_connections(self) -> None:
        """End every other connection, as a restarted server does."""
        async with await self.connect() as connection:
            await connection.execute(
                "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity"
                " WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )

    def settings(self, dsn: str | None = None) -> Settings:
        """Return the settings of a daemon that uses this server as the operator's own."""
        return Settings(database=DatabaseSettings(DatabaseKind.EXTERNAL, dsn=dsn or self.dsn))


@contextmanager
def reachable_directory() -> Iterator[Path]:
    """Give a directory with a short path that any user can reach: PostgreSQL does not run as
    root, and pytest closes its own directories to everybody else."""
    with tempfile.TemporaryDirectory(prefix="sw-") as name:
        directory = Path(name)
        directory.chmod(0o755)
        yield directory


def make_cluster(
    directory: Path, *, binaries: Path | None = None, user: str = ""
) -> EmbeddedCluster:
    """Return a cluster with its data and its socket below a directory."""
    return EmbeddedCluster(directory / "data", directory / "run", binaries=binaries, user=user)


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """A server for the whole run, its database migrated."""

    async def start(cluster: EmbeddedCluster) -> None:
        await cluster.ensure()
        async with await AsyncConnection.connect(cluster.dsn) as connection:
            await migrate(connection)

    with reachable_directory() as directory, asyncio.Runner() as runner:
        cluster = make_cluster(directory)
        try:
            runner.run(start(cluster))
            yield Postgres(cluster.dsn)
        finally:
            runner.run(cluster.stop())


@pytest.fixture
def reachable() -> Iterator[Path]:
    """A directory that PostgreSQL's user can reach."""
    with reachable_directory() as directory:
        yield directory


@pytest.fixture
def node() -> str:
    """A node that no other test uses."""
    return str(uuid.uuid4())
