"""A PostgreSQL of our own: installed binaries, run under an unprivileged user, by Unix socket.

It dies with the daemon (PR_SET_PDEATHSIG), or is adopted by the next one. It never listens on a
network, and lets in, by peer authentication, only the daemon's user and its own. A lock file beside
the data directory keeps a second daemon away, and what Storewatch did not make is not touched.
Whatever may hang with the file system is done in a thread, one call at a time.
"""

import asyncio
import contextlib
import logging
import os
import pwd
import re
import signal
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import psycopg

from storewatchd import process
from storewatchd.errors import StoreUnavailable
from storewatchd.store.cluster_files import PORT, ClusterFiles, User, is_server, usual_places

logger = logging.getLogger(__name__)

AnswerT = TypeVar("AnswerT")

DATABASE = "storewatch"
ROLE = "storewatch"
START_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 3.0
POLL_S = 0.02

CALM_S = 60.0
FIRST_PAUSE_S = 1.0
LONGEST_PAUSE_S = 15.0
"""A server that dies is started again at once; one that dies again within CALM_S waits first, each
time for twice as long."""

_PATH_LIMIT = 107  # unix(7)
_USERS = ("storewatch", "postgres", "nobody")


class EmbeddedCluster:
    """One data directory and, while it runs, its server."""

    def __init__(
        self,
        directory: Path,
        runtime_directory: Path,
        *,
        binaries: Path | None,
        user: str,
        start_timeout_s: float = START_TIMEOUT_S,
    ) -> None:
        self.directory = directory
        self._files = ClusterFiles(directory, runtime_directory / "postgresql")
        self._file_work: asyncio.Future[Any] | None = None
        self._binaries = binaries
        self._wanted_user = user
        self._start_timeout_s = start_timeout_s
        self._server: process.Child | None = None
        self._adopted: int | None = None
        self._lock: int | None = None
        self._watch: process.Watch | None = None
        self._died_at = float("-inf")
        self._pause_s = 0.0
        self.fallen = asyncio.Event()
        """Set when the server ends that runs, until `ensure` is called."""

    @property
    def dsn(self) -> str:
        return f"host={self._files.sockets} port={PORT} user={ROLE} dbname={DATABASE}"

    async def ensure(self) -> None:
        """Have the server running and answering; make its data directory the first time.

        Raises:
            StoreUnavailable: it cannot be made or started, and why.
        """
        if self._server is not None and self._server.poll() is None:
            self._look_after(self._server.pid)
            return
        if self._adopted is not None and is_server(self._adopted):
            return
        self._note_death()
        self.fallen.clear()
        await self._pause_after_deaths()
        user = self._user()
        self._check_socket_path()
        version, usable = await self._at_the_files(self._claim)
        binaries = await self._choose_binaries(version, usable)
        await self._at_the_files(partial(self._files.prepare, user))
        if version is None:
            await self._make(binaries, user)
        running = await self._at_the_files(self._files.running_server)
        if running is not None and await self._answers():
            logger.info("adopting the PostgreSQL that still runs (pid %d)", running)
            self._adopted = running
            self._look_after(running)
            return
        await self._at_the_files(self._files.clear_locks_of_the_dead)
        self._start(binaries, user, await self._at_the_files(self._files.open_log))
        await self._wait_until_it_answers()
        assert self._server is not None
        self._look_after(self._server.pid)

    async def stop(self) -> None:
        """Stop the server fast and cleanly; what was committed stays."""
        self._look_away()
        if self._server is not None:
            await process.stop(self._server, signal_first=signal.SIGINT, within_s=STOP_TIMEOUT_S)
        elif self._adopted is not None and is_server(self._adopted):
            os.kill(self._adopted, signal.SIGINT)
        self._server = self._adopted = None
        self.let_go()

    def let_go(self) -> None:
        """Leave the data directory to another daemon, and a server that runs as it is."""
        self._look_away()
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    # Its death.

    def _look_after(self, pid: int) -> None:
        """Notice at once when a server ends that has answered."""
        if self._watch is None:
            # One that is not there any more is found so by the next `ensure`.
            with contextlib.suppress(ProcessLookupError):
                self._watch = process.Watch(pid, self._note_death)

    def _look_away(self) -> None:
        if self._watch is not None:
            self._watch.end()
            self._watch = None

    def _note_death(self) -> None:
        """Forget a server that has ended; say how, where it had answered."""
        server, adopted, had_answered = self._server, self._adopted, self._watch is not None
        self._look_away()
        self._server = self._adopted = None
        if not had_answered:
            return
        if server is not None:
            ending = process.explain_status(server.wait())
            logger.warning("PostgreSQL (pid %d) %s; starting it again", server.pid, ending)
        else:
            logger.warning("PostgreSQL (pid %d) has ended; starting it again", adopted)
        now = asyncio.get_running_loop().time()
        is_repeated = now - self._died_at < CALM_S
        longer_s = max(2 * self._pause_s, FIRST_PAUSE_S) if is_repeated else 0.0
        self._pause_s = min(longer_s, LONGEST_PAUSE_S)
        self._died_at = now
        self.fallen.set()

    async def _pause_after_deaths(self) -> None:
        await asyncio.sleep(self._died_at + self._pause_s - asyncio.get_running_loop().time())

    # Its files.

    async def _at_the_files(self, work: Callable[[], AnswerT]) -> AnswerT:
        """Return what a call gives that may hang with the file system. While one hangs, no other
        is made.

        Raises:
            StoreUnavailable: it says so, or hangs.
        """
        if self._file_work is not None and not self._file_work.done():
            raise StoreUnavailable(f"the file system of {self.directory} still hangs")
        called = asyncio.get_running_loop().run_in_executor(None, work)
        # What becomes of a call that hung is nobody's business any more.
        called.add_done_callback(lambda done: done.cancelled() or done.exception())
        self._file_work = called
        await asyncio.wait((called,), timeout=self._start_timeout_s)
        if not called.done():
            raise StoreUnavailable(
                f"the file system of {self.directory} has not answered for "
                f"{self._start_timeout_s:g} s"
            )
        try:
            return called.result()
        except OSError as error:
            raise StoreUnavailable(f"{self.directory} cannot be used: {error}") from error

    def _claim(self) -> tuple[str | None, list[Path]]:
        """Take the data directory for this daemon; return the version that its data are of, and
        where servers are.

        Raises:
            StoreUnavailable: it is another daemon's, or not Storewatch's.
        """
        if self._lock is None:
            self._lock = self._files.take_lock()
        version = self._files.version()
        places = [self._binaries] if self._binaries else usual_places()
        return version, [place for place in places if (place / "postgres").exists()]

    # Finding.

    def _user(self) -> User:
        if os.geteuid() != 0:
            own = pwd.getpwuid(os.geteuid())
            return User(own.pw_name, own.pw_uid, own.pw_gid)
        for name in (self._wanted_user,) if self._wanted_user else _USERS:
            try:
                found = pwd.getpwnam(name)
            except KeyError:
                continue
            return User(name, found.pw_uid, found.pw_gid)
        raise StoreUnavailable(
            f"PostgreSQL refuses to run as root, and there is no user {self._wanted_user!r}: set "
            "database.user"
        )

    async def _choose_binaries(self, version: str | None, usable: Sequence[Path]) -> Path:
        if not usable:
            where = self._binaries or "/usr/lib/postgresql and PATH"
            raise StoreUnavailable(
                f"no PostgreSQL server was found in {where}: install the package postgresql, or "
                "set database.kind"
            )
        for place in usable:
            # What the operator names is meant.
            if version is None or self._binaries or await _version_of(place) == version:
                return place
        known = sorted({await _version_of(place) for place in usable})
        raise StoreUnavailable(
            f"{self.directory} belongs to PostgreSQL {version}, and only {', '.join(known)} is "
            f"installed: install postgresql-{version}"
        )

    def _check_socket_path(self) -> None:
        if len(os.fsencode(self._files.socket)) > _PATH_LIMIT:
            raise StoreUnavailable(
                f"{self._files.socket} is longer than a socket's path may be "
                f"({_PATH_LIMIT} bytes): set daemon.runtime_directory to a shorter one"
            )

    # Making and starting.

    async def _make(self, binaries: Path, user: User) -> None:
        """Make the data directory whole, elsewhere, and put it in place in one step: whatever
        ends this on the way leaves nothing that looks finished."""
        logger.info("making the embedded PostgreSQL in %s", self.directory)
        await self._at_the_files(partial(self._files.begin_making, user))
        try:
            await process.run(
                self._as_user(
                    user,
                    [
                        *(str(binaries / "initdb"), "-D", str(self._files.making), "-U", ROLE),
                        *("--locale=C.UTF-8", "--encoding=UTF8", "--data-checksums"),
                        *("--auth-local=peer", "--auth-host=reject", "--wal-segsize=4"),
                    ],
                ),
                timeout_s=self._start_timeout_s,
                cwd="/",
            )
        except process.CommandFailed as error:
            raise StoreUnavailable(f"the embedded PostgreSQL cannot be made: {error}") from error
        await self._at_the_files(partial(self._files.finish_making, user, ROLE))

    def _start(self, binaries: Path, user: User, log: int) -> None:
        """Start the server from the loop's thread, with whose end it ends."""
        try:
            self._server = process.spawn(
                self._as_user(
                    user,
                    [
                        *(str(binaries / "postgres"), "-D", str(self.directory)),
                        *("-c", f"unix_socket_directories={self._files.sockets}"),
                    ],
                ),
                stdout=log,
                cwd="/",
            )
        except process.CommandFailed as error:
            raise StoreUnavailable(f"the embedded PostgreSQL cannot be started: {error}") from error
        finally:
            os.close(log)

    @staticmethod
    def _as_user(user: User, argv: Sequence[str]) -> list[str]:
        """Return what runs a command under the server's user, to die with the daemon."""
        words = ["setpriv", "--pdeathsig", "INT"]
        if os.geteuid() == 0:
            words += [f"--reuid={user.uid}", f"--regid={user.gid}", "--clear-groups"]
        return [*words, "--", *argv]

    async def _wait_until_it_answers(self) -> None:
        # The server tells nobody when it is ready, so it is asked, often and for a bounded time.
        assert self._server is not None
        try:
            async with asyncio.timeout(self._start_timeout_s):
                while not await self._answers():
                    if self._server.poll() is not None:
                        ending = process.explain_status(self._server.returncode)
                        raise StoreUnavailable(
                            f"the embedded PostgreSQL {ending} at its start: "
                            f"{await self._last_words()}"
                        )
                    await asyncio.sleep(POLL_S)
        except TimeoutError as error:
            raise StoreUnavailable(
                f"the embedded PostgreSQL does not answer {self._start_timeout_s:g} s after its "
                f"start: {await self._last_words()}"
            ) from error

    async def _last_words(self) -> str:
        return await self._at_the_files(self._files.last_words)

    async def _answers(self) -> bool:
        """Whether a connection succeeds; the database is made the first time."""
        try:
            connection = await psycopg.AsyncConnection.connect(
                self.dsn.replace(f"dbname={DATABASE}", "dbname=postgres"),
                autocommit=True,
                connect_timeout=2,
            )
        except psycopg.OperationalError:
            return False
        async with connection:
            found = await connection.execute(
                "SELECT 1 FROM pg_database WHERE datname = %s", (DATABASE,)
            )
            if await found.fetchone() is None:
                await connection.execute(f"CREATE DATABASE {DATABASE}")
        return True


async def _version_of(place: Path) -> str:
    """Return the major version of the server in a directory: Debian's are named by it."""
    if place.parent.name.isdigit():
        return place.parent.name
    try:
        said = await process.run([str(place / "postgres"), "--version"], timeout_s=5.0)
    except process.CommandFailed:
        return "one that does not tell its version"
    match = re.search(r"\(PostgreSQL\) (\d+)", said.stdout.decode(errors="replace"))
    return match[1] if match else "one that does not tell its version"
