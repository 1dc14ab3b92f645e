"""`packaging/dev run`, in a clone of its own: one run a clone, and none harms another."""

import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

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
        return subprocess.run(
            [self.top / "packaging" / "dev", "run", *words],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    @contextmanager
    def running(self) -> Iterator[subprocess.Popen[str]]:
        """Run it, from when it is ready on."""
        with subprocess.Popen(
            [self.top / "packaging" / "dev", "run", "--port", str(free_port())],
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
