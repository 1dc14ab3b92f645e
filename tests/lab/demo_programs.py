"""The programs of the demonstration: a reader, a daemon and a sidecar, in one directory."""

import contextlib
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from lab.demo_rules import write_rules
from storewatch import ClientError, PlainClient

_BIN = Path(sys.executable).parent
_PERMISSIONS = ("monitoring:read", "monitoring:write", "monitoring:admin")
_POLL_S = 0.05


class DemoError(Exception):
    """The demonstration cannot begin, or go on: says why."""


class Programs:
    """A context manager; on entering, everything runs and answers."""

    def __init__(
        self,
        directory: Path,
        *,
        port: int,
        reader_words: list[str],
        reader_env: Mapping[str, str],
        repositories: Mapping[str, Path],
        faster: float,
        remember: Callable[[Path], None],
    ) -> None:
        self.directory = directory
        self.port = port
        self.url = f"http://127.0.0.1:{port}"
        self.socket = directory / "run" / "control.sock"
        self.spool = directory / "state" / "spool"
        self.token = ""
        self._reader_words = reader_words
        self._reader_env = reader_env
        self._faster = faster
        self._remember = remember
        self._repositories = repositories
        self._running: dict[str, subprocess.Popen[bytes]] = {}
        self._client: PlainClient | None = None

    def __enter__(self) -> Self:
        for name in ("state", "run"):
            (self.directory / name).mkdir()
        self._write_settings()
        write_rules(self.directory / "rules", self._faster)
        self._remember(self.directory / "state")
        try:
            self._start_all()
        except BaseException:
            self._stop_all()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stop_all()

    def call(self, method: str, **params: Any) -> Any:
        """Ask the daemon.

        Raises:
            ClientError: it refuses, or is not there.
        """
        if self._client is None:
            self._client = PlainClient(str(self.socket))
        return self._client.call(method, params)

    def rows(self, expr: str) -> list[Any]:
        """Return the rows of an expression."""
        found: list[Any] = self.call("metrics.query", expr=expr)["rows"]
        return found

    def check(self) -> None:
        """Raises DemoError: a program has ended."""
        for name, process in self._running.items():
            status = process.poll()
            if status is not None:
                how = f"ended with status {status}"
                if status < 0:
                    how = f"was ended by {signal.Signals(-status).name}"
                raise DemoError(f"{name} {how}; its last words: {self._last_words(name)}")

    def run_task(self, name: str, script: str) -> None:
        """Run a script as a task, as cron would."""
        command = [str(_BIN / "storewatchctl"), "--socket", str(self.socket)]
        command += ["tasks", "run", name, "--", "sh", "-c", script]
        env = {**os.environ, "STOREWATCH_SPOOL": str(self.spool)}
        subprocess.run(command, env=env, capture_output=True, timeout=60, check=False)

    def ask_flags(self, device: str) -> None:
        """Ask for the TapeAlert flags of a device, as a backup program does."""
        command = [str(_BIN / "storewatchctl"), "--socket", str(self.socket)]
        command += ["tape", "alert", device]
        subprocess.run(command, capture_output=True, timeout=60, check=False)

    def wait_for(self, what: str, look: Callable[[], object], *, within_s: float = 30.0) -> None:
        """Wait until it holds: other programs tell nothing of it.

        Raises:
            DemoError: it does not within the time.
        """
        end = time.monotonic() + within_s
        while not look():
            self.check()
            if time.monotonic() > end:
                raise DemoError(f"{what}: not within {within_s:.0f} s")
            time.sleep(_POLL_S)  # nobody tells when another program is ready

    def _write_settings(self) -> None:
        lines = [
            "[daemon]",
            f'state_directory = "{self.directory}/state"',
            f'runtime_directory = "{self.directory}/run"',
            # The kernel's log is a file here, and cannot be listened to.
            '[probes]\ninterval = "1s"\ndisabled = ["kernel_log"]',
            '[rules]\ninterval = "1s"\nbuilt_in = false',
            f'directories = ["{self.directory}/rules"]',
            f'[reader]\nsocket = "{self.directory}/reader.sock"',
            "[storage]\ndiscover = false\n[tape]\nalert_broker = true",
        ]
        for name, path in self._repositories.items():
            lines.append(f'[[storage.repositories]]\nname = "{name}"\npath = "{path}"')
        (self.directory / "storewatch.toml").write_text("\n".join(lines) + "\n")

    def _start_all(self) -> None:
        directory = self.directory
        listens = ("--socket", f"{directory}/reader.sock", "--lock-directory", f"{directory}/locks")
        words = ("--tapealert-broker", *self._reader_words)
        self._start("storewatch-reader", *listens, *words, env=self._reader_env)
        self.wait_for("the reader", (directory / "reader.sock").exists)
        self._start("storewatchd", "--config", f"{directory}/storewatch.toml")
        self.wait_for("the daemon", self._answers)
        listens = ("--socket", str(self.socket), "--listen", f"127.0.0.1:{self.port}")
        self._start("storewatch-web", *listens)
        self.wait_for("the sidecar", self._serves)
        made = self.call("tokens.create", name="demo", permissions=list(_PERMISSIONS))
        self.token = str(made["secret"])
        for expr in (
            *("library_elements", "tape_drive_up", "scst_target_enabled", "repo_free_bytes"),
            *("vtl_library_up == 1", "vtl_drive_up == 1", "node_next_boot_ready"),
            *("scst_config_drift", "scst_device_backing_present", "scst_event_reader_up == 1"),
        ):
            self.wait_for(f"a sight of {expr}", lambda expr=expr: self.rows(expr))  # type: ignore[misc]

    def _start(self, name: str, *words: str, env: Mapping[str, str] | None = None) -> None:
        # A session of its own, so that the terminal's Ctrl-C reaches only us, who stop it in order;
        # and it dies with us whatever happens.
        with (self.directory / f"{name}.log").open("wb") as log:
            self._running[name] = subprocess.Popen(
                ["setpriv", "--pdeathsig", "TERM", "--", str(_BIN / name), *words],
                stdout=log,
                stderr=log,
                env={**os.environ, **(env or {})},
                start_new_session=True,
            )

    def _stop_all(self) -> None:
        if self._client:
            self._client.close()
            self._client = None
        for name in reversed(self._running):
            process = self._running[name]
            process.terminate()
            try:
                process.wait(15)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self._running.clear()

    def _answers(self) -> bool:
        try:
            self.call("daemon.status")
        except ClientError:
            self._client = None
            return False
        return True

    def _serves(self) -> bool:
        try:
            socket.create_connection(("127.0.0.1", self.port), 1).close()
        except OSError:
            return False
        return True

    def _last_words(self, name: str) -> str:
        lines = (self.directory / f"{name}.log").read_text(errors="replace").splitlines()
        return " / ".join(lines[-3:]) or "none"


class EnvFile:
    """`.run/env`: where the programs are, for who sources it; taken away when it is over."""

    def __init__(self, path: Path, programs: Programs) -> None:
        self._path = path
        self._content = "".join(
            f"STOREWATCH_{name}={value}\n"
            for name, value in (
                ("SOCKET", programs.socket),
                ("URL", programs.url),
                ("TOKEN", programs.token),
                ("SPOOL", programs.spool),
            )
        )

    def __enter__(self) -> Self:
        self._path.parent.mkdir(exist_ok=True)
        draft = self._path.with_name(f"env.{secrets.token_hex(4)}")
        with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(self._content)
        draft.replace(self._path)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        # Another run's is left alone.
        with contextlib.suppress(FileNotFoundError):
            if self._path.read_text() == self._content:
                self._path.unlink()


def running_daemon(env_file: Path) -> int | None:
    """Return the pid of the daemon that a `.run/env` names, None where none answers."""
    try:
        lines = env_file.read_text().splitlines()
    except OSError:
        return None
    path = dict(line.split("=", 1) for line in lines if "=" in line).get("STOREWATCH_SOCKET", "")
    try:
        with PlainClient(path, timeout_s=5) as client:
            return int(client.call("daemon.status")["pid"])
    except ClientError:
        return None
