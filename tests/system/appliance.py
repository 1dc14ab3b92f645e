"""The real programs as processes, seen from outside: daemon, reader, PostgreSQL and sidecar."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import psutil

from storewatch import ClientError, PlainClient

AnswerT = TypeVar("AnswerT")

BIN = Path(sys.executable).parent


def wait_for(what: str, look: Callable[[], AnswerT | None], *, within_s: float = 15.0) -> AnswerT:
    """Return the first truthy answer. Other processes tell us nothing, so they are asked often."""
    deadline = time.monotonic() + within_s
    while True:
        answer = look()
        if answer:
            return answer
        if time.monotonic() > deadline:
            raise AssertionError(f"{what}: not within {within_s} s; last answer {answer!r}")
        time.sleep(0.02)


class Appliance:
    """One state directory, and the programs that run on it now."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        directory.chmod(0o755)
        self.state = directory / "state"
        self.runtime = directory / "run"
        self.socket = self.runtime / "control.sock"
        self.config = directory / "storewatch.toml"
        self.rules = directory / "rules.d"
        self.rules.mkdir()
        self.log = directory / "daemon.log"
        self.port = free_port()
        self.daemon: subprocess.Popen[bytes] | None = None
        self.web: subprocess.Popen[bytes] | None = None
        self.reader_socket = directory / "reader.sock"
        """Where nobody listens, so that the daemon starts a reader of its own, unless
        `start_reader` was called."""
        self.reader: subprocess.Popen[bytes] | None = None
        self.configure()

    # Settings.

    def configure(
        self,
        *,
        interval_s: float = 1.0,
        rules_interval_s: float = 1.0,
        discover: bool = False,
        repositories: dict[str, str] | None = None,
        more: str = "",
    ) -> None:
        """Write the settings; without discovery only what a test declares is there."""
        lines = [
            f'[daemon]\nstate_directory = "{self.state}"\nruntime_directory = "{self.runtime}"',
            f"[probes]\ninterval = {interval_s}",
            f'[reader]\nsocket = "{self.reader_socket}"',
            f'[rules]\ndirectories = ["{self.rules}"]\ninterval = {rules_interval_s}',
            f"[storage]\ndiscover = {str(discover).lower()}",
        ]
        lines += [
            f'[[storage.repositories]]\nname = "{name}"\npath = "{path}"'
            for name, path in (repositories or {}).items()
        ]
        self.config.write_text("\n".join([*lines, more]) + "\n")

    # Programs.

    def start(self) -> None:
        """Start the daemon and wait until it says that it is ready, the way systemd would."""
        notify_path = self.directory / "notify"
        notify_path.unlink(missing_ok=True)
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify, self.log.open("ab") as log:
            notify.bind(os.fspath(notify_path))
            notify.settimeout(0.1)
            self.daemon = subprocess.Popen(
                [sys.executable, "-m", "storewatchd", "--config", self.config],
                env={**os.environ, "NOTIFY_SOCKET": os.fspath(notify_path)},
                stdout=log,
                stderr=log,
            )
            said = b""
            deadline = time.monotonic() + 20
            while b"READY=1" not in said:
                if self.daemon.poll() is not None or time.monotonic() > deadline:
                    raise AssertionError(f"not ready: {self.log.read_text()}")
                with contextlib.suppress(TimeoutError):
                    said = notify.recv(4096)

    def start_reader(self, *words: str) -> None:
        """Start a reader with roots of its own, and wait until it listens."""
        with (self.directory / "reader.log").open("ab") as log:
            self.reader = subprocess.Popen(
                [
                    *(sys.executable, "-m", "storewatch_reader"),
                    *("--socket", os.fspath(self.reader_socket)),
                    *("--lock-directory", f"{self.directory}/locks", *words),
                ],
                stdout=log,
                stderr=log,
            )
        wait_for("the reader", self.reader_socket.exists)

    def start_web(self, *words: str, wait: bool = True) -> None:
        """Start the sidecar, and wait until it answers."""
        with (self.directory / "web.log").open("ab") as log:
            self.web = subprocess.Popen(
                [
                    *(sys.executable, "-m", "storewatch_web", "--socket", self.socket),
                    *("--listen", f"127.0.0.1:{self.port}", *words),
                ],
                stdout=log,
                stderr=log,
            )
        if wait:
            wait_for("the sidecar", lambda: self.http("/readyz")[0] == 200)

    def wait_database(self, *, within_s: float = 30) -> None:
        """Wait until PostgreSQL has everything."""

        def caught_up() -> bool:
            database = self.call("daemon.status")["database"]
            return bool(database["up"]) and database["unconfirmed"] == 0

        wait_for("PostgreSQL", caught_up, within_s=within_s)

    def kill(self) -> None:
        """End the daemon as a power cut would."""
        assert self.daemon is not None
        self.daemon.kill()
        self.daemon.wait()

    def stop(self) -> float:
        """End the daemon properly; return how long that took, in seconds."""
        assert self.daemon is not None
        began = time.monotonic()
        self.daemon.send_signal(signal.SIGTERM)
        self.daemon.wait(10)
        return time.monotonic() - began

    def close(self) -> None:
        """End whatever runs."""
        for program in (self.web, self.daemon, self.reader):
            if program is not None and program.poll() is None:
                program.send_signal(signal.SIGTERM)
                try:
                    program.wait(10)
                except subprocess.TimeoutExpired:
                    program.kill()
                    program.wait()

    # Asking.

    def call(self, method: str, **params: Any) -> Any:
        with PlainClient(os.fspath(self.socket)) as client:
            return client.call(method, params)

    def ctl(self, *words: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
        """Run storewatchctl."""
        return subprocess.run(
            [sys.executable, "-m", "storewatch.ctl", "--socket", self.socket, *words],
            capture_output=True,
            text=True,
            input=stdin,
            env={**os.environ, "STOREWATCH_SPOOL": os.fspath(self.state / "spool")},
            timeout=60,
            check=False,
        )

    def alerts(self, **filters: Any) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.call("alerts.list", **filters)["alerts"]
        return found

    def firing(self, rule: str) -> dict[str, Any] | None:
        found = self.alerts(rule=rule, state=["firing"])
        return found[0] if found else None

    def is_up(self) -> bool:
        try:
            self.call("daemon.version")
        except ClientError:
            return False
        return True

    def token(self, *permissions: str) -> str:
        """Return a fresh bearer token."""
        made = self.call("tokens.create", name="test", permissions=list(permissions))
        return str(made["secret"])

    def http(
        self,
        path: str,
        *,
        token: str | None = None,
        method: str = "GET",
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> tuple[int, Any]:
        """Return a response's status and its body, decoded where it is JSON."""
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.port}{path}",
            data=body,
            method=method,
            headers={**(headers or {})},
        )
        if token is not None:
            request.add_header("Authorization", f"Bearer {token}")
        try:
            with urllib.request.urlopen(request, timeout=20) as response:
                return response.status, _decoded(response.read())
        except urllib.error.HTTPError as error:
            with error:
                return error.code, _decoded(error.read())
        except OSError:
            return 0, None

    def sql(self, query: str) -> list[list[str]]:
        """Return the rows of a query, by psql, as the server's own user."""
        done = subprocess.run(
            [
                *("psql", "-XAtq", "-F", "\t", "-h", str(self.runtime / "postgresql")),
                *("-U", "storewatch", "-d", "storewatch", "-c", query),
            ],
            capture_output=True,
            text=True,
            check=True,
        )
        return [line.split("\t") for line in done.stdout.splitlines()]

    def reader_pids(self) -> list[int]:
        """Return the daemon's own reader."""
        assert self.daemon is not None
        found = []
        with contextlib.suppress(psutil.NoSuchProcess):  # a zombie is none either
            for child in psutil.Process(self.daemon.pid).children():
                with contextlib.suppress(psutil.NoSuchProcess):
                    if "storewatch_reader" in child.cmdline():
                        found.append(child.pid)
        return found

    def postgres_pid(self) -> int:
        text = (self.state / "postgresql" / "postmaster.pid").read_text()
        return int(text.splitlines()[0])

    def postgres_pids(self) -> list[int]:
        """Return the server's process and all its backends."""
        server = self.postgres_pid()
        children = Path(f"/proc/{server}/task/{server}/children").read_text().split()
        return [server, *map(int, children)]


@contextmanager
def mounted_tmpfs(path: Path, size_mb: int) -> Iterator[Path]:
    """Give a small file system of its own."""
    path.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size_mb}m", "tmpfs", path], check=True)
    try:
        yield path
    finally:
        subprocess.run(["umount", "-l", path], check=True)


@contextmanager
def unmounted(path: Path) -> Iterator[None]:
    """Take a file system away for a while; what was on it is there again afterwards."""
    held = path.with_name("held")
    held.mkdir(exist_ok=True)
    subprocess.run(["mount", "--bind", path, held], check=True)
    subprocess.run(["umount", path], check=True)
    try:
        yield
    finally:
        subprocess.run(["mount", "--bind", held, path], check=True)
        subprocess.run(["umount", held], check=True)


def _decoded(body: bytes) -> Any:
    try:
        return json.loads(body)
    except ValueError:
        return body.decode(errors="replace")


def free_port() -> int:
    """Return a port of the loopback that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
