"""A PostgreSQL of our own: installed binaries, run under an unprivileged user, by Unix socket.

It dies with the daemon (PR_SET_PDEATHSIG), or is adopted by the next one. It never listens on a
network, and lets in, by peer authentication, only the daemon's user and its own. A lock file beside
the data directory keeps a second daemon away, and what Storewatch did not make is not touched.
"""

import asyncio
import contextlib
import logging
import os
import pwd
import re
import shutil
import signal
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil
import psycopg

from storewatchd import locks, process
from storewatchd.errors import LockedElsewhere, StoreUnavailable

logger = logging.getLogger(__name__)

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

LOG_BYTES = 8 << 20
"""A log that is longer is put aside before a start, in place of the one before."""

_MARK = "# Storewatch's own."
_PORT = 5432
_SOCKET_NAME = f".s.PGSQL.{_PORT}"
_PATH_LIMIT = 107  # unix(7)
_USERS = ("storewatch", "postgres", "nobody")
_SETTINGS = {
    "listen_addresses": "",
    "port": str(_PORT),
    "max_connections": "20",
    "shared_buffers": "16MB",
    "wal_level": "minimal",
    "max_wal_senders": "0",
    "max_wal_size": "128MB",
    "min_wal_size": "16MB",
    "autovacuum_naptime": "5min",
    "jit": "off",
    "log_min_messages": "warning",
    "logging_collector": "off",
    "max_worker_processes": "2",
    "max_parallel_workers": "0",
}


@dataclass(frozen=True, slots=True)
class _User:
    """Under whom the server runs; `name` also logs in over the socket."""

    name: str
    uid: int
    gid: int


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
        self._sockets = runtime_directory / "postgresql"
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
        return f"host={self._sockets} port={_PORT} user={ROLE} dbname={DATABASE}"

    async def ensure(self) -> None:
        """Have the server running and answering; make its data directory the first time.

        Raises:
            StoreUnavailable: it cannot be made or started, and why.
        """
        if self._server is not None and self._server.poll() is None:
            self._look_after(self._server.pid)
            return
        if self._adopted is not None and _is_server(self._adopted):
            return
        self._note_death()
        self.fallen.clear()
        await self._pause_after_deaths()
        user = self._user()
        self._check_socket_path()
        self._take_lock()
        self._check_ours()
        binaries = await self._find_binaries()
        self._prepare_directories(user)
        if not (self.directory / "PG_VERSION").exists():
            await self._make(binaries, user)
        running = _running_server(self.directory)
        if running is not None and await self._answers():
            logger.info("adopting the PostgreSQL that still runs (pid %d)", running)
            self._adopted = running
            self._look_after(running)
            return
        _clear_locks_of_the_dead(self.directory, self._sockets)
        self._start(binaries, user)
        await self._wait_until_it_answers()
        assert self._server is not None
        self._look_after(self._server.pid)

    async def stop(self) -> None:
        """Stop the server fast and cleanly; what was committed stays."""
        self._look_away()
        if self._server is not None:
            await process.stop(self._server, signal_first=signal.SIGINT, within_s=STOP_TIMEOUT_S)
        elif self._adopted is not None and _is_server(self._adopted):
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

    # Whose it is.

    def _take_lock(self) -> None:
        """Take the data directory for this daemon.

        Raises:
            StoreUnavailable: another one has it, or it cannot be used.
        """
        if self._lock is not None:
            return
        path = self.directory.with_name(f"{self.directory.name}.lock")
        try:
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o755)
            self._lock = locks.take(path)
        except OSError as error:
            raise StoreUnavailable(
                f"{self.directory} cannot be prepared for PostgreSQL: {error.strerror}"
            ) from error
        except LockedElsewhere as error:
            raise StoreUnavailable(
                f"another daemon (pid {error.holder}) uses the PostgreSQL in "
                f"{self.directory}: set database.directory to one of its own"
            ) from error

    def _check_ours(self) -> None:
        """Leave a data directory alone that somebody else made.

        Raises:
            StoreUnavailable: it is such a one.
        """
        if not (self.directory / "PG_VERSION").exists():
            return
        try:
            is_ours = _MARK in (self.directory / "postgresql.conf").read_text(errors="replace")
        except FileNotFoundError:
            is_ours = False
        except OSError as error:
            raise StoreUnavailable(f"{self.directory} cannot be read: {error.strerror}") from error
        if not is_ours:
            raise StoreUnavailable(
                f"{self.directory} holds a PostgreSQL that Storewatch did not make: set "
                "database.directory to another place, or database.kind and database.dsn to use "
                "its server"
            )

    # Finding.

    def _user(self) -> _User:
        if os.geteuid() != 0:
            own = pwd.getpwuid(os.geteuid())
            return _User(own.pw_name, own.pw_uid, own.pw_gid)
        for name in (self._wanted_user,) if self._wanted_user else _USERS:
            try:
                found = pwd.getpwnam(name)
            except KeyError:
                continue
            return _User(name, found.pw_uid, found.pw_gid)
        raise StoreUnavailable(
            f"PostgreSQL refuses to run as root, and there is no user {self._wanted_user!r}: set "
            "database.user"
        )

    async def _find_binaries(self) -> Path:
        version_file = self.directory / "PG_VERSION"
        version = version_file.read_text().strip() if version_file.exists() else None
        places = [self._binaries] if self._binaries else usual_places()
        usable = [place for place in places if place and (place / "postgres").exists()]
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
        if len(os.fsencode(self._sockets / _SOCKET_NAME)) > _PATH_LIMIT:
            raise StoreUnavailable(
                f"{self._sockets / _SOCKET_NAME} is longer than a socket's path may be "
                f"({_PATH_LIMIT} bytes): set daemon.runtime_directory to a shorter one"
            )

    def _prepare_directories(self, user: _User) -> None:
        for directory in (self.directory, self._sockets):
            try:
                directory.mkdir(parents=True, exist_ok=True, mode=0o700)
                if os.geteuid() == 0:
                    os.chown(directory, user.uid, user.gid)
                directory.chmod(0o700)
            except OSError as error:
                raise StoreUnavailable(
                    f"{directory} cannot be prepared for PostgreSQL: {error.strerror}"
                ) from error
            if os.geteuid() == 0:
                _check_reachable(directory, user)

    # Making and starting.

    async def _make(self, binaries: Path, user: _User) -> None:
        """Make the data directory whole, elsewhere, and put it in place in one step: whatever
        ends this on the way leaves nothing that looks finished."""
        logger.info("making the embedded PostgreSQL in %s", self.directory)
        for leftover in self.directory.iterdir():
            raise StoreUnavailable(
                f"{self.directory} holds {leftover.name} and is no PostgreSQL data directory: "
                "move it away, or set database.directory"
            )
        making = self.directory.with_name(f"{self.directory.name}.making")
        try:
            shutil.rmtree(making, ignore_errors=True)
            making.mkdir(mode=0o700)
            if os.geteuid() == 0:
                os.chown(making, user.uid, user.gid)
            await process.run(
                self._as_user(
                    user,
                    [
                        *(str(binaries / "initdb"), "-D", str(making), "-U", ROLE),
                        *("--locale=C.UTF-8", "--encoding=UTF8", "--data-checksums"),
                        *("--auth-local=peer", "--auth-host=reject", "--wal-segsize=4"),
                    ],
                ),
                timeout_s=self._start_timeout_s,
                cwd="/",
            )
            # Peer authentication maps the daemon's user, and the server's own, to the one role.
            names = {user.name, pwd.getpwuid(os.geteuid()).pw_name}
            _write(
                making / "pg_ident.conf",
                "".join(f'storewatch "{name}" {ROLE}\n' for name in sorted(names)),
            )
            _write(making / "pg_hba.conf", f"local all {ROLE} peer map=storewatch\n")
            lines = [f"{name} = '{value}'" for name, value in _SETTINGS.items()]
            with (making / "postgresql.conf").open("a") as file:
                file.write(f"\n{_MARK}\n" + "\n".join(lines) + "\n")
            making.rename(self.directory)
        except (process.CommandFailed, OSError) as error:
            raise StoreUnavailable(f"the embedded PostgreSQL cannot be made: {error}") from error

    def _start(self, binaries: Path, user: _User) -> None:
        path = self.directory.parent / "postgresql.log"
        try:
            if path.is_file() and path.stat().st_size > LOG_BYTES:
                path.replace(f"{path}.old")
            log = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o640)
        except OSError as error:
            raise StoreUnavailable(f"{path} cannot be written: {error.strerror}") from error
        try:
            self._server = process.spawn(
                self._as_user(
                    user,
                    [
                        *(str(binaries / "postgres"), "-D", str(self.directory)),
                        *("-c", f"unix_socket_directories={self._sockets}"),
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
    def _as_user(user: _User, argv: Sequence[str]) -> list[str]:
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
                            f"the embedded PostgreSQL {ending} at its start: {self._last_words()}"
                        )
                    await asyncio.sleep(POLL_S)
        except TimeoutError as error:
            raise StoreUnavailable(
                f"the embedded PostgreSQL does not answer {self._start_timeout_s:g} s after its "
                f"start: {self._last_words()}"
            ) from error

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

    def _last_words(self) -> str:
        try:
            lines = (self.directory.parent / "postgresql.log").read_text().splitlines()
        except OSError:
            return "no log"
        return " | ".join(lines[-3:])


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


def usual_places() -> list[Path]:
    installed = sorted(
        Path("/usr/lib/postgresql").glob("*/bin"),
        key=lambda place: (len(place.parent.name), place.parent.name),
        reverse=True,
    )
    on_path = shutil.which("postgres")
    return [*installed, *([Path(on_path).parent] if on_path else [])]


def _running_server(directory: Path) -> int | None:
    """Return the pid of a live server on a data directory (its postmaster.pid, line 1)."""
    try:
        pid = int((directory / "postmaster.pid").read_text().splitlines()[0])
    except (OSError, ValueError, IndexError):
        return None
    return pid if _is_server(pid) else None


def _clear_locks_of_the_dead(directory: Path, sockets: Path) -> None:
    """Remove the lock files of a server that is dead and not reaped, or that died while it wrote
    them: PostgreSQL waits for a person to remove an empty one.

    PostgreSQL takes any pid that kill(2) reaches for a living server, a zombie too. One stays
    for good where process 1 reaps nobody, as in many containers. A server's backends, which must
    be gone as well, have its data directory as their working directory.
    """
    lock = directory / "postmaster.pid"
    try:
        text = lock.read_text()
        if text and psutil.Process(int(text.split()[0])).status() != psutil.STATUS_ZOMBIE:
            return
    except (OSError, ValueError, IndexError, psutil.Error):
        return
    for other in psutil.process_iter(["cwd"]):
        if other.info["cwd"] == str(directory.resolve()):
            return
    dead = f"pid {text.split()[0]}" if text else "at its start"
    logger.warning("PostgreSQL's last server (%s) is dead and has left its lock", dead)
    for path in (lock, sockets / f"{_SOCKET_NAME}.lock"):
        path.unlink(missing_ok=True)


def _is_server(pid: int) -> bool:
    try:
        return os.readlink(f"/proc/{pid}/exe").split(" ")[0].endswith("/postgres")
    except OSError:
        return False


def _check_reachable(directory: Path, user: _User) -> None:
    """Say which directory on the way keeps the server's user out.

    Raises:
        StoreUnavailable: there is one.
    """
    for parent in directory.parents:
        about = parent.stat()
        allowed = (
            about.st_mode & 0o001
            or (about.st_uid == user.uid and about.st_mode & 0o100)
            or (about.st_gid == user.gid and about.st_mode & 0o010)
        )
        if not allowed:
            raise StoreUnavailable(
                f"PostgreSQL runs as {user.name} and cannot reach {directory}: {parent} is closed "
                f"to it (mode {about.st_mode & 0o777:04o}); set daemon.state_directory"
            )


def _write(path: Path, text: str) -> None:
    path.write_text(text)
