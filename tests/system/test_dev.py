"""`packaging/dev run`, in a clone of its own: one run a clone, and none harms another."""

import os
import shutil
import signal
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from storewatch import PlainClient
from system.appliance import BIN, free_port, wait_for

ROOT = Path(__file__).parent.parent.parent
MADE_FROM = ("packaging/requirements.lock", "pyproject.toml", "setup.cfg")


class Clone:
    """A checkout with the programs of this one, made as its own stamp says."""

    def __init__(self, top: Path) -> None:
        self.top = top
        self.env = top / ".run" / "env"
        (top / "packaging").mkdir(parents=True)
        for name in ("packaging/dev", *MADE_FROM):
            shutil.copy(ROOT / name, top / name)
        (top / ".venv" / "bin").mkdir(parents=True)
        for program in BIN.iterdir():
            (top / ".venv" / "bin" / program.name).symlink_to(program)
        content = b"".join((top / name).read_bytes() for name in MADE_FROM)
        (top / ".venv" / ".stamp").write_text(f"{_cksum(content)}-{top}")
        number = _cksum(os.fsencode(top)).split()[0]
        self.state = Path("/var/lib/storewatch-dev", number) if not os.geteuid() else top

    def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Run it where that is over by itself."""
        return self.dev("run", *words)

    def dev(self, *words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["packaging/dev", *words],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
            cwd=self.top,
        )

    @contextmanager
    def running(self, *words: str) -> Iterator[subprocess.Popen[str]]:
        """Run it, from when it is ready on."""
        with subprocess.Popen(
            ["packaging/dev", "run", "--port", str(free_port()), *words],
            cwd=self.top,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        ) as process:
            try:
                wait_for("the run", lambda: self.env.exists() or process.poll(), within_s=60)
                yield process
            finally:
                process.send_signal(signal.SIGINT)
                process.communicate(timeout=30)

    def forget(self) -> None:
        if self.state != self.top:
            shutil.rmtree(self.state, ignore_errors=True)


def _cksum(content: bytes) -> str:
    done = subprocess.run(["cksum"], input=content, capture_output=True, check=True)
    return done.stdout.decode().strip()


@pytest.fixture
def clone(tmp_path: Path) -> Iterator[Clone]:
    clone = Clone(tmp_path / "clone")
    yield clone
    clone.forget()


@pytest.mark.parametrize("number", ["abc", "99999", "0", "", "-1", "1.5"])
def test_what_is_no_port_is_refused_as_that(clone: Clone, number: str) -> None:
    done = clone.run("--port", number)
    said = f"storewatch: --port: expected a number from 1 to 65535, found '{number}'\n"
    assert (done.returncode, done.stderr) == (1, said)


@pytest.mark.parametrize("words", [("-h",), ("--help",), ("run", "-h"), ("run", "--help")])
def test_who_asks_for_the_usage_gets_it(clone: Clone, words: tuple[str, ...]) -> None:
    done = clone.dev(*words)
    assert (done.returncode, done.stderr) == (0, "")
    assert "packaging/dev run [--port N] [--config FILE]" in done.stdout
    assert "/etc/storewatch/rules.d" in done.stdout


@pytest.mark.parametrize("words", [(), ("dance",)])
def test_who_uses_it_wrong_gets_the_usage_too(clone: Clone, words: tuple[str, ...]) -> None:
    done = clone.dev(*words)
    assert (done.returncode, done.stdout) == (2, "")
    assert "packaging/dev run [--port N] [--config FILE]" in done.stderr


def test_a_port_that_is_taken_is_told_before_anything_is_made(clone: Clone) -> None:
    shutil.rmtree(clone.top / ".venv")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        number = taken.getsockname()[1]
        done = clone.run("--port", str(number))
    said = f"storewatch: port {number} is taken: choose another with --port N\n"
    assert (done.returncode, done.stderr) == (1, said)
    assert not (clone.top / ".venv").exists()


def test_settings_that_are_not_there_are_told(clone: Clone) -> None:
    done = clone.run("--config", "none.toml")
    said = "storewatch: --config: expected a file that can be read, found 'none.toml'\n"
    assert (done.returncode, done.stderr) == (1, said)


@pytest.mark.timeout(180)  # it waits for PostgreSQL, which there is none of
def test_a_program_that_dies_is_named_with_how_and_what_to_do(clone: Clone) -> None:
    (clone.top / "mine.toml").write_text('[database]\nkind = "none"\n[rules]\ndirectories = []\n')
    with clone.running("--config", "mine.toml") as process:
        told = dict(line.split("=", 1) for line in clone.env.read_text().splitlines())
        with PlainClient(told["STOREWATCH_SOCKET"]) as client:
            status = client.call("daemon.status", {})
        os.kill(status["pid"], signal.SIGKILL)
        said, _ = process.communicate(timeout=30)
    assert status["database"]["kind"] == "none"
    assert process.returncode == 1
    assert (
        f"storewatch: storewatchd (pid {status['pid']}) was ended by SIGKILL; "
        "start again with packaging/dev run\n"
    ) in said


@pytest.mark.timeout(180)  # the first run makes a cluster
def test_a_second_run_says_that_one_runs_and_leaves_it_alone(clone: Clone) -> None:
    with clone.running() as first:
        before = clone.env.read_text()
        second = clone.run("--port", str(free_port()))
        assert (second.returncode, second.stdout) == (1, "")
        assert "Storewatch runs already from this directory (pid " in second.stderr
        assert clone.env.read_text() == before
        assert first.poll() is None
    assert first.returncode == 0
    assert not clone.env.exists()
