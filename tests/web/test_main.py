"""The sidecar as a process: its command line, its doors, and its end."""

import http.client
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from fix_peer import WirePeer
from reader.fix_reader import running
from storewatch_web.__main__ import main

# Rather than at its default address, where another sidecar may be.
ANYWHERE = ("--listen", "127.0.0.1:0")


@pytest.fixture(scope="module")
def peer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WirePeer]:
    with WirePeer(tmp_path_factory.mktemp("peer") / "s") as peer:
        peer.answers["metrics.text"] = lambda _: "up 1\n"
        yield peer


def argv(*words: str | Path) -> list[str]:
    return [sys.executable, "-m", "storewatch_web", *(os.fspath(word) for word in words)]


def environ(**more: str) -> dict[str, str]:
    ours = ("JOURNAL_STREAM", "NOTIFY_SOCKET", "LISTEN_FDS", "LISTEN_PID", "STOREWATCH_SOCKET")
    inherited = {name: value for name, value in os.environ.items() if name not in ours}
    return {**inherited, "PYTHONDEVMODE": "", **more}


def address_of(process: subprocess.Popen[bytes]) -> tuple[str, int, str]:
    """Return host and port at which a sidecar says that it serves, and the line that says so."""
    assert process.stderr is not None
    for line in process.stderr:
        said = line.decode()
        found = re.search(r"serving http://([0-9.]+):(\d+)", said)
        if found:
            return found[1], int(found[2]), said
    raise AssertionError("it ended")


@contextmanager
def sidecar(*words: str | Path, **more: str) -> Iterator[tuple[str, int]]:
    with running(argv(*words), env=environ(**more)) as process:
        host, port, _ = address_of(process)
        yield host, port


@pytest.fixture(scope="module")
def served(peer: WirePeer) -> Iterator[tuple[str, int]]:
    """A sidecar with everything that its words allow; it finds the daemon by the environment."""
    allowed = ("--allow-host", "nas", "--allow-origin", "https://console.example")
    with sidecar(
        *("--listen", ":0", *allowed, "--metrics-open-to-loopback"),
        STOREWATCH_SOCKET=os.fspath(peer.path),
    ) as address:
        yield address


def ask(address: tuple[str, int], path: str, **headers: str) -> tuple[int, str]:
    """Return the status and the body of an answer."""
    connection = http.client.HTTPConnection(*address, timeout=10)
    try:
        connection.request("GET", path, headers=headers)
        answer = connection.getresponse()
        return answer.status, answer.read().decode()
    finally:
        connection.close()


# What it serves.


def test_it_finds_the_daemon_by_the_environment(served: tuple[str, int]) -> None:
    assert ask(served, "/readyz") == (200, "ok\n")


def test_without_a_host_it_serves_this_machine_alone(served: tuple[str, int]) -> None:
    assert served[0] == "127.0.0.1"


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        pytest.param({"Host": "nas:8474"}, 200, id="a host that was named"),
        pytest.param({"Host": "evil.example"}, 421, id="another host"),
        pytest.param({"Origin": "https://console.example"}, 200, id="a site that was named"),
        pytest.param({"Origin": "https://evil.example"}, 403, id="another site"),
    ],
)
def test_hosts_and_sites_of_the_command_line_are_let_in(
    served: tuple[str, int], headers: dict[str, str], status: int
) -> None:
    assert ask(served, "/livez", **headers)[0] == status


def test_metrics_may_be_open_to_this_machine(served: tuple[str, int]) -> None:
    assert ask(served, "/metrics") == (200, "up 1\n")


def test_metrics_are_closed_unless_they_are_opened(peer: WirePeer) -> None:
    with sidecar("--socket", peer.path, *ANYWHERE) as address:
        assert ask(address, "/metrics")[0] == 401


def test_without_a_daemon_it_serves_and_says_so(tmp_path: Path) -> None:
    with sidecar("--socket", tmp_path / "none", *ANYWHERE) as address:
        assert ask(address, "/livez") == (200, "ok\n")
        status, said = ask(address, "/readyz")
    assert status == 503
    assert said.startswith("the daemon is away: ")


# How it starts and ends.


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=lambda one: one.name)
def test_a_signal_ends_it_well(peer: WirePeer, number: signal.Signals) -> None:
    words = argv("--socket", peer.path, *ANYWHERE)
    with running(words, env=environ()) as process:
        address_of(process)
        process.send_signal(number)
        _, said = process.communicate(timeout=10)
    assert process.returncode == 0
    assert said.splitlines()[-1].endswith(b" INFO     __main__: stopping")
    assert b"Traceback" not in said


def test_the_service_manager_is_told_when_it_serves(peer: WirePeer, tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(os.fspath(tmp_path / "notify"))
        manager.settimeout(10)
        words = ("--socket", peer.path, *ANYWHERE)
        with sidecar(*words, NOTIFY_SOCKET=os.fspath(tmp_path / "notify")) as address:
            assert manager.recv(64) == b"READY=1"
            assert ask(address, "/livez")[0] == 200


PASS_SOCKET = """
import os, sys
os.dup2(int(sys.argv[1]), 3)
os.environ |= {"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": "1"}
os.execv(sys.argv[2], sys.argv[2:])
"""


def test_a_socket_from_the_service_manager_is_served_and_the_journal_dates_the_lines(
    peer: WirePeer,
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        address = listener.getsockname()
        number = listener.fileno()
        program = [sys.executable, "-c", PASS_SOCKET, str(number), *argv("--socket", peer.path)]
        env = environ(JOURNAL_STREAM="1:2")
        with running(program, env=env, pass_fds=(number,)) as process:
            listener.close()
            *found, line = address_of(process)
            assert tuple(found) == address
            assert line == f"INFO     __main__: serving http://127.0.0.1:{address[1]}\n"
            assert ask(address, "/livez")[0] == 200


def test_an_address_that_is_taken_is_named() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        done = subprocess.run(
            argv("--listen", address), env=environ(), capture_output=True, text=True, check=False
        )
    assert done.returncode == 1
    said = done.stderr.splitlines()[-1]
    assert said.startswith(f"storewatch-web: {address}: ")
    assert "address already in use" in said.lower()
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("said", ["nas", "127.0.0.1:", "nas:http", "nas:-1", "nas:65536", "nas:²"])
def test_an_address_that_is_none_is_refused(said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--listen", said]) == 2
    expected = f"storewatch-web: --listen: expected HOST:PORT, found {said!r}\n"
    assert capsys.readouterr().err == expected


@pytest.mark.parametrize(
    "words", [["--lisen", "x"], ["--log-level", "loud"]], ids=["unknown", "choice"]
)
def test_a_wrong_word_is_told_with_the_usage(
    words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(words)
    assert ended.value.code == 2
    assert capsys.readouterr().err.startswith("usage: storewatch-web")
