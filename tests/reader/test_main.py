"""The reader as a process: its command line, its doors, its end, and what outlives it."""

import os
import signal
import socket
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TypeAlias

import pytest

from reader.fix_reader import (
    NOBODY,
    Asker,
    SlowKernel,
    as_another_user,
    connected,
    over_a_pair,
    over_a_path,
    reader_argv,
    running,
)
from storewatch_reader.table import PROTOCOL, digest

CAPTURED = Path(__file__).parent.parent / "data" / "linux-6.18-virtual"

Door: TypeAlias = Callable[..., AbstractContextManager[tuple[Asker, subprocess.Popen[bytes]]]]


@pytest.fixture
def locks(tmp_path: Path) -> tuple[str, Path]:
    return "--lock-directory", tmp_path / "run" / "locks"


@pytest.fixture
def kernel(tmp_path: Path) -> Iterator[SlowKernel]:
    with SlowKernel(tmp_path / "proc") as kernel:
        yield kernel


@pytest.fixture(params=["socket pair", "path"])
def door(request: pytest.FixtureRequest, tmp_path: Path) -> Door:
    """How the reader is reached; it takes the reader's words."""
    if request.param == "socket pair":
        return over_a_pair
    return lambda *words: over_a_path(tmp_path / "s", *words)


def complaint(*words: str | Path) -> tuple[int, str]:
    """Run a reader that does not start; return its status and what it says."""
    done = subprocess.run(
        reader_argv(*words), capture_output=True, text=True, timeout=15, check=False
    )
    return done.returncode, done.stderr


def test_every_verb_is_answered_from_the_roots_of_the_command_line(
    door: Door, locks: tuple[str, Path], kernel: SlowKernel
) -> None:
    kernel.mend()
    roots = ("--sysfs", CAPTURED / "sys", "--procfs", kernel.roots.procfs)
    with door(*locks, *roots) as (asker, process):
        hello = asker.ask("hello")
        mounts = asker.ask("read", "mounts")
        _, paths, _ = asker.tree("sys.block")
    assert hello["pid"] == process.pid
    assert (hello["protocol"], hello["table"]) == (PROTOCOL, digest())
    assert mounts["value"] == {"mountinfo": "mounts\n", "filesystems": "\text4\n"}
    assert paths is not None
    assert "vda/stat" in paths


def test_a_refusal_is_in_words(door: Door, locks: tuple[str, Path]) -> None:
    with door(*locks) as (asker, _):
        answers = [
            asker.ask("write", "mounts"),
            asker.ask("read", "tape"),
            asker.ask("read", "statvfs.path", object="../etc"),
        ]
    assert [one["message"] for one in answers] == [
        "this reader has no 'write' of 'mounts'; after an upgrade, restart it",
        "this reader has no 'read' of 'tape'; after an upgrade, restart it",
        "statvfs.path: the object is a normal absolute path",
    ]


def test_the_directory_of_locks_is_made_and_closed_to_others(
    door: Door, locks: tuple[str, Path]
) -> None:
    with door(*locks) as (asker, _):
        asker.ask("hello")
    assert stat.S_IMODE(locks[1].stat().st_mode) == 0o700


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=lambda one: one.name)
def test_a_signal_ends_it_well(door: Door, locks: tuple[str, Path], number: signal.Signals) -> None:
    with door(*locks) as (asker, process):
        asker.ask("hello")
        process.send_signal(number)
        assert asker.is_cut()
        assert (process.wait(5), process.communicate()[1]) == (0, b"")


def test_it_ends_when_its_only_client_does(locks: tuple[str, Path]) -> None:
    with over_a_pair(*locks) as (asker, process):
        asker.ask("hello")
        asker.close()
        assert process.wait(5) == 0


def test_it_outlives_a_client_that_is_one_of_many(locks: tuple[str, Path], tmp_path: Path) -> None:
    with over_a_path(tmp_path / "s", *locks) as (asker, _):
        asker.ask("hello")
        asker.close()
        with connected(tmp_path / "s") as another:
            assert Asker(another).ask("hello")["protocol"] == PROTOCOL


def test_a_stuck_read_holds_up_no_end_and_stays_closed_to_the_next_reader(
    locks: tuple[str, Path], kernel: SlowKernel
) -> None:
    words = (*locks, "--procfs", kernel.roots.procfs)
    with over_a_pair(*words) as (asker, process):
        asker.say("read", "mounts")
        asker.settle()
        process.send_signal(signal.SIGTERM)
        assert process.wait(5) == 0
    with over_a_pair(*words) as (asker, _):
        stuck = asker.ask("read", "mounts")
        assert (stuck["error"], stuck["key"]) == ("stuck", "mounts")
        kernel.release()
        kernel.mend()
        answers = iter(lambda: asker.ask("read", "mounts"), None)
        assert next(one for one in answers if "value" in one)["value"]["mountinfo"] == "mounts\n"


# Doors.


def test_everybody_may_knock(locks: tuple[str, Path], tmp_path: Path) -> None:
    with over_a_path(tmp_path / "s", *locks) as (asker, _):
        asker.ask("hello")
        assert stat.S_IMODE((tmp_path / "s").stat().st_mode) == 0o666


def test_a_socket_that_another_left_behind_is_replaced(
    locks: tuple[str, Path], tmp_path: Path
) -> None:
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(os.fspath(tmp_path / "s"))
    with over_a_path(tmp_path / "s", *locks) as (asker, _):
        assert asker.ask("hello")["protocol"] == PROTOCOL


def test_a_file_in_the_way_is_kept(locks: tuple[str, Path], tmp_path: Path) -> None:
    (tmp_path / "s").write_text("precious")
    status, said = complaint("--socket", tmp_path / "s", *locks)
    assert (status, said) == (1, f"storewatch-reader: {tmp_path}/s: Address already in use\n")
    assert (tmp_path / "s").read_text() == "precious"


def activated(listener: socket.socket, *words: str | Path) -> list[str]:
    """Return the command that passes a socket as systemd does (sd_listen_fds(3))."""
    script = (
        "import os, sys\n"
        "os.dup2(int(sys.argv[1]), 3)\n"
        "os.environ |= {'LISTEN_PID': str(os.getpid()), 'LISTEN_FDS': '1'}\n"
        "os.execv(sys.argv[2], sys.argv[2:])\n"
    )
    program = reader_argv("--activated", *words)
    return [sys.executable, "-c", script, str(listener.fileno()), *program]


def test_a_socket_from_the_service_manager_is_served(
    locks: tuple[str, Path], tmp_path: Path
) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(os.fspath(tmp_path / "s"))
        listener.listen()
        argv = activated(listener, *locks)
        with (
            running(argv, pass_fds=(listener.fileno(),)) as process,
            connected(tmp_path / "s") as connection,
        ):
            assert Asker(connection).ask("hello")["pid"] == process.pid


@pytest.mark.parametrize(
    "environ",
    [
        pytest.param({}, id="none"),
        pytest.param({"LISTEN_PID": "1", "LISTEN_FDS": "1"}, id="for another process"),
    ],
)
def test_without_a_socket_from_the_service_manager_it_does_not_start(
    locks: tuple[str, Path], monkeypatch: pytest.MonkeyPatch, environ: dict[str, str]
) -> None:
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    expected = "storewatch-reader: systemd passed no socket, or several\n"
    assert complaint("--activated", *locks) == (1, expected)


# Words.


@pytest.mark.parametrize(
    ("words", "said"),
    [
        pytest.param(
            ["--socket", "s", "--allow-user", "no such user"],
            "storewatch-reader: there is no user 'no such user'\n",
            id="user",
        ),
        pytest.param(["--fd", "0"], "storewatch-reader: [Errno 88]", id="no socket"),
        pytest.param(["--fd", "999"], "storewatch-reader: [Errno 9]", id="not open"),
        pytest.param(["--socket", "none/s"], "none/s: No such file or directory\n", id="path"),
        pytest.param(["--socket", "x" * 200], "path too long", id="long path"),
    ],
)
def test_what_keeps_it_from_starting_is_told(
    locks: tuple[str, Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    words: list[str],
    said: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    status, complained = complaint(*words, *locks)
    assert status == 1
    assert said in complained
    assert "Traceback" not in complained


@pytest.mark.parametrize(
    ("words", "said"),
    [
        pytest.param([], "one of the arguments --socket --fd --activated is required", id="none"),
        pytest.param(["--socket", "s", "--activated"], "not allowed with", id="two"),
        pytest.param(["--fd", "pipe"], "invalid int value", id="no number"),
    ],
)
def test_it_wants_exactly_one_door(locks: tuple[str, Path], words: list[str], said: str) -> None:
    status, complained = complaint(*words, *locks)
    assert status == 2
    assert said in complained


# Peers.


def greet(path: Path) -> bytes:
    """Return what the reader answers to a greeting, from within its own directory."""
    os.chdir(path.parent)
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(path.name)
        header = Asker(connection).ask("hello")
        return str(header.get("message", header.get("protocol"))).encode()


@pytest.mark.skipif(os.geteuid() != 0, reason="becoming another user needs root")
@pytest.mark.parametrize("words", [("--allow-uid", str(NOBODY)), ("--allow-user", "nobody")])
def test_users_of_the_command_line_may_ask(
    locks: tuple[str, Path], tmp_path: Path, words: tuple[str, str]
) -> None:
    path = tmp_path / "door" / "s"
    path.parent.mkdir()
    with over_a_path(path, *locks, *words) as (asker, _):
        asker.ask("hello")
        directory = os.open(path.parent, os.O_PATH)
        try:
            # Its parents are closed to others.
            said = as_another_user(lambda: greet(Path(f"/proc/self/fd/{directory}/s")))
            assert said == b"%d" % PROTOCOL
        finally:
            os.close(directory)
