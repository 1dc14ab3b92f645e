"""The way to PostgreSQL: the server, the pool of connections, and how both stand."""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial

import msgspec
import psycopg
from psycopg import AsyncConnection, errors
from psycopg.conninfo import conninfo_to_dict
from psycopg.rows import TupleRow
from psycopg.types.json import set_json_loads
from psycopg_pool import AsyncConnectionPool, PoolClosed, PoolTimeout

from storewatchd.clock import Clock
from storewatchd.errors import StoreAbsent, StoreError, StoreRefused, StoreUnavailable
from storewatchd.settings import DatabaseKind, Settings
from storewatchd.store.alerts import AlertStore
from storewatchd.store.embedded import EmbeddedCluster
from storewatchd.store.migrate import migrate
from storewatchd.store.objects import ObjectStore
from storewatchd.store.rebuild import LostState
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
CONNECT_TIMEOUT_S = 5
"""How long one host of several may take to answer."""

STATEMENT_TIMEOUT_MS = 15_000
# A plan that fits every filter uses the index of none.
_OPTIONS = f"-c statement_timeout={STATEMENT_TIMEOUT_MS} -c plan_cache_mode=force_custom_plan"
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
        self._state_directory = settings.daemon.state_directory
        self._pool: AsyncConnectionPool[AsyncConnection[TupleRow]] | None = None
        self._failed_at = float("-inf")
        self._is_doubtful = False  # a use of a connection failed since the pool was opened
        self._away: str | None = NOT_YET  # why the last use of a connection failed
        if self.kind is DatabaseKind.NONE:
            self._away = "no database is configured"
        self._held: str | None = None  # why nothing is added
        self.problem: str | None = self._away
        """Why it cannot be used now, or nothing be added to it; None while both can."""
        self.server_version: str | None = None
        self.lacks: str | None = None
        """Why history is incomplete though it can be read; None where it is not."""
        self.changed: Callable[[], None] | None = None
        """Hears that it was found usable or not, and why; once nobody knew, and at each change."""
        self.refused = 0
        """How many records it refused for good since the start."""
        self.checked_at: float | None = None
        self.check_s: float | None = None
        """When it last answered (Unix seconds), and how long that took; None before."""
        self.alerts = AlertStore(self.connection, node)
        self.tasks = TaskStore(self.connection, node)
        self.objects = ObjectStore(self.connection, node)
        self.lost = LostState(partial(self.connection, timeout_s=MIGRATION_TIMEOUT_S), node)

    @property
    def was_tried(self) -> bool:
        """Whether it is known if it can be used: an attempt to connect has ended."""
        return self._away != NOT_YET

    def hold(self, problem: str) -> None:
        """Note that nothing can be added, whatever queries say, until `flow` is called."""
        self._note(self._away, problem)

    def flow(self) -> None:
        """Note that everything that is to be added can be."""
        self._note(self._away, None)

    def shares_disk(self) -> bool:
        """Return whether its data lie on the file system of the state directory."""
        if self._cluster is None:
            return False
        try:
            return self._cluster.directory.stat().st_dev == self._state_directory.stat().st_dev
        except OSError:
            return False

    async def fallen(self) -> None:
        """Wait until a server of our own has ended: `connect` starts it again."""
        if self._cluster is None:
            await asyncio.Event().wait()
        else:
            await self._cluster.fallen.wait()

    async def connect(self) -> None:
        """Have the server running and up to date, and connections at hand.

        Raises:
            StoreError: it cannot be reached, or refuses.
        """
        if self.kind is DatabaseKind.NONE:
            raise StoreAbsent("no database is configured")
        try:
            if self._cluster is not None:
                if self._cluster.fallen.is_set():
                    self._note_failure("PostgreSQL has ended, and is started again")
                await self._cluster.ensure()
            if not await self._still_answers():
                await self._close_pool()
                await self._open_pool()
                await self._ping()
        except StoreError as error:
            self._note_failure(str(error))
            raise
        except (psycopg.Error, OSError) as error:
            self._note_failure(_sentence(error))
            raise StoreUnavailable(_sentence(error)) from error
        self._note(None, self._held)

    async def close(self) -> None:
        """Let go of the connections and stop a server of our own."""
        await self._close_pool()
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
            self._note(None, self._held)
            raise StoreRefused(_sentence(error)) from error
        except PoolClosed as error:  # by ourselves: it says nothing of the server
            raise StoreUnavailable(
                self.problem or "the connection to PostgreSQL is being made anew"
            ) from error
        except psycopg.Error as error:
            self._note_failure(_sentence(error))
            raise StoreUnavailable(_sentence(error)) from error
        self._note(None, self._held)

    async def _still_answers(self) -> bool:
        """Whether the connections at hand can be used. Where one failed they are not asked: only a
        new one tells why, finds another of several hosts, and looks at the tables."""
        if self._pool is None or self._is_doubtful:
            return False
        try:
            await self._ping()
        except (StoreError, psycopg.Error, TimeoutError) as error:
            logger.debug("PostgreSQL is connected to anew: %s", _sentence(error))
            return False
        return True

    async def _open_pool(self) -> None:
        async with (
            asyncio.timeout(MIGRATION_TIMEOUT_S),
            await AsyncConnection.connect(
                self._dsn, connect_timeout=CONNECT_TIMEOUT_S, application_name="storewatch"
            ) as connection,
        ):
            # A server that takes nothing can still be asked.
            with contextlib.suppress(errors.ReadOnlySqlTransaction):
                await migrate(connection)
        parts = conninfo_to_dict(self._dsn)
        hosts = str(parts.get("host") or parts.get("hostaddr") or "").count(",") + 1
        pool: AsyncConnectionPool[AsyncConnection[TupleRow]] = AsyncConnectionPool(
            self._dsn,
            min_size=1,
            max_size=POOL_SIZE,
            open=False,
            reconnect_timeout=CONNECT_TIMEOUT_S,
            check=AsyncConnectionPool.check_connection,
            configure=_configure,
            kwargs={
                "application_name": "storewatch",
                "connect_timeout": CONNECT_TIMEOUT_S,
                "options": f"{parts.get('options') or ''} {_OPTIONS}",
            },
        )
        await pool.open(wait=True, timeout=CONNECT_TIMEOUT_S * hosts + WAIT_S)
        self._pool, self._is_doubtful = pool, False

    async def _close_pool(self) -> None:
        pool, self._pool = self._pool, None
        if pool is not None:
            await pool.close(timeout=1.0)

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
        self._is_doubtful = True
        self._note(problem, self._held)

    def _note(self, away: str | None, held: str | None) -> None:
        """Note how it stands, and log it where that is a change."""
        before, after = self.problem, away or held
        self._away, self._held, self.problem = away, held, after
        if after != before and self.changed is not None:
            self.changed()
        if after is None and before is not None:
            logger.info("PostgreSQL %s is there", self.server_version)
        elif after is not None and before in (None, NOT_YET) and after != NOT_YET:
            logger.warning("history waits in the journal: %s", after)


async def _configure(connection: AsyncConnection[TupleRow]) -> None:
    set_json_loads(msgspec.json.decode, connection)


def _sentence(error: Exception) -> str:
    """Return the first line of what PostgreSQL or the pool says."""
    if isinstance(error, TimeoutError):
        return "PostgreSQL has not answered in time"
    if isinstance(error, PoolTimeout):
        return f"PostgreSQL has given no connection within {WAIT_S:g} s"
    text = str(error).strip() or type(error).__name__
    return text.splitlines()[0]
