"""The way to PostgreSQL: the server, the pool of connections, and how both stand."""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import psycopg
from psycopg import AsyncConnection, errors
from psycopg.conninfo import conninfo_to_dict
from psycopg.rows import TupleRow
from psycopg_pool import AsyncConnectionPool

from storewatchd.clock import Clock
from storewatchd.errors import StoreAbsent, StoreError, StoreRefused, StoreUnavailable
from storewatchd.settings import DatabaseKind, Settings
from storewatchd.store.alerts import AlertStore
from storewatchd.store.embedded import EmbeddedCluster
from storewatchd.store.migrate import migrate
from storewatchd.store.tasks import TaskStore

logger = logging.getLogger(__name__)

NOT_YET = "not connected yet"
# The values are the reason, and will be the next time. Everything else is how the server stands:
# read-only, without a table, without room.
_REFUSED = (
    psycopg.DataError,
    psycopg.IntegrityError,
    errors.ProgramLimitExceeded,
    errors.StatementTooComplex,
)

POOL_SIZE = 4
WAIT_S = 2.0
STATEMENT_TIMEOUT_MS = 15_000
QUERY_TIMEOUT_S = 5.0
WRITE_TIMEOUT_S = 30.0
MIGRATION_TIMEOUT_S = 600.0
REST_S = 1.0
"""After a failed connection, how long queries fail at once instead of trying again."""


class Store:
    """PostgreSQL as this node uses it. Make it, `connect` until that succeeds, `close` at the
    end; queries raise StoreUnavailable whenever it is away."""

    def __init__(self, settings: Settings, clock: Clock, *, node: str) -> None:
        self.kind = settings.database.kind
        self._clock = clock
        self._cluster: EmbeddedCluster | None = None
        self._dsn = settings.database.dsn
        if self.kind is DatabaseKind.EMBEDDED:
            self._cluster = EmbeddedCluster(
                settings.database_directory,
                settings.daemon.runtime_directory,
                binaries=settings.database.binaries,
                user=settings.database.user,
            )
            self._dsn = self._cluster.dsn
        self._pool: AsyncConnectionPool[AsyncConnection[TupleRow]] | None = None
        self._failed_at = float("-inf")
        self.server_version: str | None = None
        self.problem: str | None = NOT_YET
        """Why it cannot be used now; None while it can."""
        if self.kind is DatabaseKind.NONE:
            self.problem = "no database is configured"
        self.refused = 0
        """How many records it refused for good since the start."""
        self.checked_at: float | None = None
        self.check_s: float | None = None
        """When it last answered (Unix seconds), and how long that took; None before."""
        self.alerts = AlertStore(self.connection, node)
        self.tasks = TaskStore(self.connection, node)

    @property
    def was_tried(self) -> bool:
        """Whether it is known if it can be used: an attempt to connect has ended."""
        return self.problem is None or self._failed_at > float("-inf")

    async def connect(self) -> None:
        """Have the server running and up to date, and connections at hand.

        Raises:
            StoreError: it cannot be reached, or refuses.
        """
        if self.kind is DatabaseKind.NONE:
            raise StoreAbsent("no database is configured")
        try:
            if self._cluster is not None:
                await self._cluster.ensure()
            if self._pool is None:
                await self._open_pool()
            await self._ping()
        except StoreError as error:
            self._note_failure(str(error))
            raise
        except (psycopg.Error, OSError) as error:
            self._note_failure(_sentence(error))
            raise StoreUnavailable(_sentence(error)) from error
        if self.problem is not None:
            logger.info("PostgreSQL %s is there", self.server_version)
        self.problem = None

    async def close(self) -> None:
        """Let go of the connections and stop a server of our own."""
        if self._pool is not None:
            await self._pool.close(timeout=1.0)
            self._pool = None
        if self._cluster is not None:
            await self._cluster.stop()

    @asynccontextmanager
    async def connection(
        self, *, timeout_s: float = QUERY_TIMEOUT_S
    ) -> AsyncIterator[AsyncConnection[TupleRow]]:
        """Lend a connection; what is done with it is one transaction, and bounded in time: a
        server that hangs is as good as away.

        Raises:
            StoreUnavailable: there is none to be had, it broke, or the server cannot do it now.
            StoreRefused: PostgreSQL will never take these values.
        """
        if self.kind is DatabaseKind.NONE:
            raise StoreAbsent("no database is configured")
        if self._pool is None or self._clock.monotonic() - self._failed_at < REST_S:
            raise StoreUnavailable(self.problem or "not connected")
        try:
            async with (
                asyncio.timeout(timeout_s),
                self._pool.connection(timeout=WAIT_S) as connection,
            ):
                yield connection
        except TimeoutError as error:
            problem = f"PostgreSQL has not answered within {timeout_s:g} s"
            self._note_failure(problem)
            raise StoreUnavailable(problem) from error
        except _REFUSED as error:
            raise StoreRefused(_sentence(error)) from error
        except psycopg.Error as error:
            self._note_failure(_sentence(error))
            raise StoreUnavailable(_sentence(error)) from error

    async def _open_pool(self) -> None:
        async with (
            asyncio.timeout(MIGRATION_TIMEOUT_S),
            await AsyncConnection.connect(
                self._dsn, connect_timeout=5, application_name="storewatch"
            ) as connection,
        ):
            await migrate(connection)
        options = conninfo_to_dict(self._dsn).get("options") or ""
        pool: AsyncConnectionPool[AsyncConnection[TupleRow]] = AsyncConnectionPool(
            self._dsn,
            min_size=1,
            max_size=POOL_SIZE,
            open=False,
            reconnect_timeout=5.0,
            check=AsyncConnectionPool.check_connection,
            kwargs={
                "application_name": "storewatch",
                "connect_timeout": 5,
                "options": f"{options} -c statement_timeout={STATEMENT_TIMEOUT_MS}",
            },
        )
        await pool.open(wait=True, timeout=5.0)
        self._pool = pool

    async def _ping(self) -> None:
        assert self._pool is not None
        began = self._clock.monotonic()
        async with (
            asyncio.timeout(QUERY_TIMEOUT_S),
            self._pool.connection(timeout=WAIT_S) as connection,
        ):
            cursor = await connection.execute(
                "SELECT current_setting('server_version'), current_setting('transaction_read_only')"
            )
            for version, read_only in await cursor.fetchall():
                self.server_version = version.split(" ")[0]
                if read_only == "on":
                    raise StoreUnavailable("PostgreSQL is read-only: nothing can be added")
        self._failed_at = float("-inf")
        self.checked_at = self._clock.wall()
        self.check_s = self._clock.monotonic() - began

    def _note_failure(self, problem: str) -> None:
        self._failed_at = self._clock.monotonic()
        if self.problem in (None, NOT_YET):
            logger.warning("PostgreSQL is away; history waits in the journal: %s", problem)
        self.problem = problem


def _sentence(error: Exception) -> str:
    """Return the first line of what PostgreSQL or the pool says."""
    if isinstance(error, TimeoutError):
        return "PostgreSQL has not answered in time"
    text = str(error).strip() or type(error).__name__
    return text.splitlines()[0]
