"""The files of an embedded PostgreSQL: whose they are, how they are made, what a server left.

Every call takes as long as the file system does, which may be for ever: they are a thread's work.
"""

import logging
import os
import pwd
import shutil
from dataclasses import dataclass
from pathlib import Path

import psutil

from storewatchd import locks
from storewatchd.errors import LockedElsewhere, StoreUnavailable

logger = logging.getLogger(__name__)

PORT = 5432

LOG_BYTES = 8 << 20
"""A log that is longer is put aside before a start, in place of the one before."""

LAST_BYTES = 4096
"""How much of the log's end is looked at for a server's last words."""

_SOCKET_NAME = f".s.PGSQL.{PORT}"
_MARK = "# Storewatch's own."
_SETTINGS = {
    "listen_addresses": "",
    "port": str(PORT),
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
class User:
    """Under whom the server runs; `name` also logs in over the socket."""

    name: str
    uid: int
    gid: int


@dataclass(frozen=True, slots=True)
class ClusterFiles:
    """A data directory with what lies beside it, and the directory of the sockets."""

    directory: Path
    sockets: Path

    @property
    def socket(self) -> Path:
        return self.sockets / _SOCKET_NAME

    @property
    def making(self) -> Path:
        """Where a data directory is made."""
        return self.directory.with_name(f"{self.directory.name}.making")

    @property
    def log(self) -> Path:
        return self.directory.parent / "postgresql.log"

    # Whose it is.

    def take_lock(self) -> int:
        """Take the data directory for this daemon; return what holds it.

        Raises:
            StoreUnavailable: another one has it, or it cannot be used.
        """
        path = self.directory.with_name(f"{self.directory.name}.lock")
        try:
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o755)
            return locks.take(path)
        except OSError as error:
            raise StoreUnavailable(
                f"{self.directory} cannot be prepared for PostgreSQL: {error.strerror}"
            ) from error
        except LockedElsewhere as error:
            raise StoreUnavailable(
                f"another daemon (pid {error.holder}) uses the PostgreSQL in "
                f"{self.directory}: set database.directory to one of its own"
            ) from error

    def version(self) -> str | None:
        """Return the major version that the data are of, None where there are none yet.

        Raises:
            StoreUnavailable: somebody else made them, or they cannot be read.
        """
        try:
            version = (self.directory / "PG_VERSION").read_text(errors="replace").strip()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise StoreUnavailable(f"{self.directory} cannot be read: {error.strerror}") from error
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
        return version

    # Making.

    def prepare(self, user: User) -> None:
        """Make the directories as far as they are not there, for the server's user alone.

        Raises:
            StoreUnavailable: they cannot be made, or that user cannot reach them.
        """
        for directory in (self.directory, self.sockets):
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

    def begin_making(self, user: User) -> None:
        """Make an empty place for a data directory, in place of one that was not finished.

        Raises:
            StoreUnavailable: the data directory's own place is not empty.
            OSError: as it comes.
        """
        for leftover in self.directory.iterdir():
            raise StoreUnavailable(
                f"{self.directory} holds {leftover.name} and is no PostgreSQL data directory: "
                "move it away, or set database.directory"
            )
        shutil.rmtree(self.making, ignore_errors=True)
        self.making.mkdir(mode=0o700)
        if os.geteuid() == 0:
            os.chown(self.making, user.uid, user.gid)

    def finish_making(self, user: User, role: str) -> None:
        """Set up what was made, and put it in its place.

        Raises:
            OSError: as it comes.
        """
        # Peer authentication maps the daemon's user, and the server's own, to the one role.
        names = {user.name, pwd.getpwuid(os.geteuid()).pw_name}
        (self.making / "pg_ident.conf").write_text(
            "".join(f'storewatch "{name}" {role}\n' for name in sorted(names))
        )
        (self.making / "pg_hba.conf").write_text(f"local all {role} peer map=storewatch\n")
        lines = [f"{name} = '{value}'" for name, value in _SETTINGS.items()]
        with (self.making / "postgresql.conf").open("a") as file:
            file.write(f"\n{_MARK}\n" + "\n".join(lines) + "\n")
        self.making.rename(self.directory)

    # What a server leaves.

    def running_server(self) -> int | None:
        """Return the pid of a live server on the data directory (its postmaster.pid, line 1)."""
        try:
            pid = int((self.directory / "postmaster.pid").read_text().splitlines()[0])
        except (OSError, ValueError, IndexError):
            return None
        return pid if is_server(pid) else None

    def clear_locks_of_the_dead(self) -> None:
        """Remove the lock files of a server that is dead and not reaped, or that died while it
        wrote them: PostgreSQL waits for a person to remove an empty one.

        PostgreSQL takes any pid that kill(2) reaches for a living server, a zombie too. One stays
        for good where process 1 reaps nobody, as in many containers. A server's backends, which
        must be gone as well, have its data directory as their working directory.
        """
        lock = self.directory / "postmaster.pid"
        try:
            text = lock.read_text()
            if text and psutil.Process(int(text.split()[0])).status() != psutil.STATUS_ZOMBIE:
                return
        except (OSError, ValueError, IndexError, psutil.Error):
            return
        for other in psutil.process_iter(["cwd"]):
            if other.info["cwd"] == str(self.directory.resolve()):
                return
        dead = f"pid {text.split()[0]}" if text else "at its start"
        logger.warning("PostgreSQL's last server (%s) is dead and has left its lock", dead)
        for path in (lock, self.socket.with_name(f"{self.socket.name}.lock")):
            path.unlink(missing_ok=True)

    def open_log(self) -> int:
        """Return a descriptor of the log, for a server to write to.

        Raises:
            StoreUnavailable: it cannot be written.
        """
        try:
            if self.log.is_file() and self.log.stat().st_size > LOG_BYTES:
                self.log.replace(f"{self.log}.old")
            return os.open(self.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o640)
        except OSError as error:
            raise StoreUnavailable(f"{self.log} cannot be written: {error.strerror}") from error

    def last_words(self) -> str:
        """Return the last lines of the log; a server quotes there whatever bytes it was given."""
        try:
            with self.log.open("rb") as file:
                file.seek(max(0, os.fstat(file.fileno()).st_size - LAST_BYTES))
                lines = file.read(LAST_BYTES).decode(errors="replace").splitlines()
        except OSError:
            return "no log"
        return " | ".join(lines[-3:])


def is_server(pid: int) -> bool:
    """Return whether a process is a PostgreSQL."""
    try:
        return os.readlink(f"/proc/{pid}/exe").split(" ")[0].endswith("/postgres")
    except OSError:
        return False


def usual_places() -> list[Path]:
    """Return where servers are installed, the newest first."""
    installed = sorted(
        Path("/usr/lib/postgresql").glob("*/bin"),
        key=lambda place: (len(place.parent.name), place.parent.name),
        reverse=True,
    )
    on_path = shutil.which("postgres")
    return [*installed, *([Path(on_path).parent] if on_path else [])]


def _check_reachable(directory: Path, user: User) -> None:
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
