"""`tasks run` as a process of its own: nobody stands between, and the daemon hears of it."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from fix_peer import Refusal, Silence, WirePeer
from fix_shapes import task
from storewatch import spool
from storewatch.ctl import wrapper
from storewatch.ctl.passthrough import TAIL_BYTES, Tail
from storewatch.wire import Code

PYTHON = sys.executable


@pytest.fixture
def peer(tmp_path: Path) -> Iterator[WirePeer]:
    with WirePeer(tmp_path / "s") as peer:
        peer.answers["tasks.start"] = lambda params: task(state="running")
        peer.answers["tasks.finish"] = lambda params: task()
        yield peer


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    return {
        **os.environ,
        "STOREWATCH_SOCKET": str(tmp_path / "s"),
        "STOREWATCH_SPOOL": str(tmp_path / "spool"),
        "XDG_STATE_HOME": str(tmp_path / "state"),
        # -X dev speaks on standard error.
        "PYTHONDEVMODE": "",
    }


# Nobody may be unable to read the code, which may lie in root's home: it is read before.
AS_NOBODY = """
import importlib, os, pkgutil, sys
import storewatch

for module in pkgutil.walk_packages(storewatch.__path__, "storewatch."):
    importlib.import_module(module.name)
from storewatch.ctl.__main__ import main

os.setgroups([])
os.setresgid(65534, 65534, 65534)
os.setresuid(65534, 65534, 65534)
sys.exit(main(sys.argv[1:]))
"""


def argv(*command: str) -> list[str]:
    return [PYTHON, "-m", "storewatch.ctl", "tasks", "run", "nightly", "--", *command]


def run(
    environ: dict[str, str], *command: str, stdin: bytes = b""
) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        argv(*command), input=stdin, env=environ, capture_output=True, check=False
    )


def finish(peer: WirePeer) -> dict[str, Any]:
    return peer.wait_for("tasks.finish")[0]


def test_streams_and_exit_status_are_the_commands_own(
    peer: WirePeer, environ: dict[str, str]
) -> None:
    every_byte = bytes(range(256)) * 50
    ended = run(environ, "sh", "-c", "cat; echo boom >&2; exit 3", stdin=every_byte)
    assert (ended.returncode, ended.stdout, ended.stderr) == (3, every_byte, b"boom\n")
    (start,) = peer.wait_for("tasks.start")
    assert start["name"] == "nightly"
    reported = finish(peer)
    assert reported["id"] == start["id"]
    assert (reported["exit_status"], reported["failed"]) == (3, True)
    assert reported["output"].endswith("boom\n")
    assert "signal" not in reported


def test_success_is_reported_as_such(peer: WirePeer, environ: dict[str, str]) -> None:
    assert run(environ, "true").returncode == 0
    reported = finish(peer)
    assert (reported["exit_status"], reported["failed"]) == (0, False)


def test_only_the_tail_of_much_output_is_reported_and_none_is_held_back(
    peer: WirePeer, environ: dict[str, str]
) -> None:
    ended = run(environ, "sh", "-c", "yes 0123456 | head -n 100000; echo the end")
    assert ended.stdout == b"0123456\n" * 100_000 + b"the end\n"
    assert finish(peer)["output"] == ended.stdout[-TAIL_BYTES:].decode()


def test_output_passes_at_once_and_unbuffered(peer: WirePeer, environ: dict[str, str]) -> None:
    script = "echo -n prompt; read answer; echo got $answer"
    with subprocess.Popen(
        argv("sh", "-c", script), stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environ
    ) as running:
        assert running.stdin is not None
        assert running.stdout is not None
        # The command waits for its answer: what it has said must be here without its end.
        assert os.read(running.stdout.fileno(), 100) == b"prompt"
        running.stdin.write(b"yes\n")
        running.stdin.close()
        assert running.stdout.read() == b"got yes\n"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGUSR1, signal.SIGHUP])
def test_a_signal_is_the_commands_signal(
    peer: WirePeer, environ: dict[str, str], number: signal.Signals
) -> None:
    name = number.name.removeprefix("SIG")
    script = f"trap 'echo got {name}; exit 7' {name}; echo ready; while :; do sleep 0.02; done"
    # What nohup ignores for the tests, their programs would ignore too.
    words = ["env", "--default-signal", *argv("sh", "-c", script)]
    with subprocess.Popen(words, stdout=subprocess.PIPE, env=environ) as running:
        assert running.stdout is not None
        assert running.stdout.readline() == b"ready\n"
        running.send_signal(number)
        assert running.stdout.read() == f"got {name}\n".encode()
        assert running.wait() == 7


def test_a_command_that_a_signal_ended_is_128_and_the_signal(
    peer: WirePeer, environ: dict[str, str]
) -> None:
    assert run(environ, "sh", "-c", "kill -KILL $$").returncode == 137
    reported = finish(peer)
    assert reported["signal"] == "SIGKILL"
    assert "exit_status" not in reported


def signals(status: bytes) -> dict[str, int]:
    """The sets of /proc/PID/status, less the two that glibc keeps for itself: its posix_spawn
    leaves 32 and 33 ignored."""
    fields = (line.split() for line in status.decode().splitlines())
    return {name: int(mask, 16) & 0x7FFFFFFF for name, mask in fields}


def test_ignored_and_default_signals_are_the_callers_choice(
    peer: WirePeer, environ: dict[str, str]
) -> None:
    status = "grep -E '^Sig(Ign|Blk)' /proc/self/status"
    plain = subprocess.run(
        ["sh", "-c", f"trap '' HUP; {status}"], env=environ, capture_output=True, check=True
    )
    command = ["sh", "-c", status]
    wrapped = subprocess.run(
        ["sh", "-c", "trap '' HUP; exec \"$@\"", "-", *argv(*command)],
        env=environ,
        capture_output=True,
        check=True,
    )
    assert signals(wrapped.stdout) == signals(plain.stdout)


@pytest.mark.parametrize(
    ("command", "status", "said"),
    [
        pytest.param("no-such-command", 127, "no-such-command: command not found", id="missing"),
        pytest.param("/etc/passwd", 126, "/etc/passwd: permission denied", id="no program"),
    ],
)
def test_a_command_that_cannot_start_ends_as_in_a_shell_and_is_reported(
    peer: WirePeer, environ: dict[str, str], command: str, status: int, said: str
) -> None:
    ended = run(environ, command)
    assert ended.returncode == status
    assert ended.stderr.decode() == f"storewatchctl: {said}\n"
    reported = finish(peer)
    assert (reported["exit_status"], reported["message"]) == (status, said)


def test_a_background_process_keeps_its_output_and_holds_nothing_up(
    peer: WirePeer, environ: dict[str, str], tmp_path: Path
) -> None:
    gate = tmp_path / "gate"
    os.mkfifo(gate)
    script = f"(cat {gate}; echo late) & echo early"
    with subprocess.Popen(argv("sh", "-c", script), stdout=subprocess.PIPE, env=environ) as running:
        assert running.stdout is not None
        assert running.stdout.readline() == b"early\n"
        assert running.wait() == 0
        assert finish(peer)["output"] == "early\n"
        gate.write_text("opened\n")
        assert running.stdout.read() == b"opened\nlate\n"


def test_a_reader_that_leaves_ends_the_command_as_it_would_without_us(
    peer: WirePeer, environ: dict[str, str]
) -> None:
    with subprocess.Popen(argv("yes"), stdout=subprocess.PIPE, env=environ) as running:
        assert running.stdout is not None
        assert running.stdout.read(2) == b"y\n"
        running.stdout.close()
        assert running.wait() == 128 + signal.SIGPIPE


def test_closed_streams_harm_nothing(peer: WirePeer, environ: dict[str, str]) -> None:
    line = ["sh", "-c", 'exec "$@" <&- >&- 2>&-', "-", *argv("sh", "-c", "echo x; exit 5")]
    assert subprocess.run(line, env=environ, check=False).returncode == 5
    assert finish(peer)["output"] == "x\n"


def test_the_command_knows_its_tasks_id(peer: WirePeer, environ: dict[str, str]) -> None:
    ended = run(environ, "sh", "-c", "echo $STOREWATCH_TASK_ID")
    assert ended.stdout.decode().strip() == peer.wait_for("tasks.start")[0]["id"]


def test_with_the_daemon_away_the_command_runs_and_both_reports_wait(
    environ: dict[str, str], tmp_path: Path
) -> None:
    ended = run(environ, "sh", "-c", "echo boom; exit 3")
    assert (ended.returncode, ended.stdout) == (3, b"boom\n")
    assert b"the reports of this run are kept in" in ended.stderr
    assert len(ended.stderr.splitlines()) == 1
    (kept,) = (tmp_path / "spool").iterdir()
    reports = [json.loads(line) for line in kept.read_text().splitlines()]
    assert [one["method"] for one in reports] == ["tasks.start", "tasks.finish"]
    assert reports[0]["params"]["id"] == reports[1]["params"]["id"]
    assert reports[1]["params"]["output"] == "boom\n"


def test_what_waits_is_delivered_by_the_next_command_in_order(
    environ: dict[str, str], tmp_path: Path
) -> None:
    run(environ, "false")
    with WirePeer(tmp_path / "s") as peer:
        peer.answers["tasks.start"] = peer.answers["tasks.finish"] = lambda _: task()
        line = [PYTHON, "-m", "storewatch.ctl", "version"]
        ended = subprocess.run(line, env=environ, capture_output=True, check=True)
        assert b"delivered 2 reports" in ended.stderr
        assert [one["method"] for one in peer.requests] == [
            "tasks.start",
            "tasks.finish",
            "daemon.version",
        ]
    assert list((tmp_path / "spool").iterdir()) == []


def test_a_daemon_that_comes_back_meanwhile_hears_of_the_start_first(
    environ: dict[str, str], tmp_path: Path
) -> None:
    script = "echo ready; read line; exit 4"
    with subprocess.Popen(
        argv("sh", "-c", script), stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environ
    ) as running:
        assert running.stdout is not None
        assert running.stdin is not None
        assert running.stdout.readline() == b"ready\n"
        with WirePeer(tmp_path / "s") as peer:
            peer.answers["tasks.start"] = peer.answers["tasks.finish"] = lambda _: task()
            running.stdin.close()
            assert running.wait() == 4
            assert [one["method"] for one in peer.requests] == ["tasks.start", "tasks.finish"]


@pytest.mark.skipif(os.geteuid() != 0, reason="becoming another user needs root")
def test_a_start_that_was_refused_in_passing_comes_with_its_end(
    peer: WirePeer, environ: dict[str, str], tmp_path: Path
) -> None:
    """Also where the spool is the daemon's own, which the caller cannot list."""
    refusals = iter(["512 connections are open already"])

    def start(_: object) -> dict[str, Any]:
        for refusal in refusals:
            raise Refusal(Code.LIMIT_REACHED, refusal)
        return task(state="running")

    peer.answers["tasks.start"] = start
    letter_box = tmp_path / "spool"
    letter_box.mkdir()
    letter_box.chmod(0o1733)
    for directory in (tmp_path, *list(tmp_path.parents)[:2]):
        directory.chmod(0o755)
    (tmp_path / "s").chmod(0o666)
    ended = subprocess.run(
        [PYTHON, "-c", AS_NOBODY, "tasks", "run", "nightly", "--", "sh", "-c", "exit 7"],
        env={**environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        check=False,
    )
    assert (ended.returncode, len(ended.stderr.splitlines())) == (7, 1), ended.stderr
    assert [one["method"] for one in peer.requests] == [
        "tasks.start",
        "tasks.start",
        "tasks.finish",
    ]
    assert {one["params"]["id"] for one in peer.requests} == {finish(peer)["id"]}
    assert list(letter_box.iterdir()) == []


def test_a_start_that_is_refused_for_good_after_all_leaves_nothing_behind(
    peer: WirePeer, environ: dict[str, str], tmp_path: Path
) -> None:
    codes = iter([Code.UNAVAILABLE, Code.FORBIDDEN])

    def start(_: object) -> None:
        raise Refusal(next(codes), "not now")

    peer.answers["tasks.start"] = start
    ended = run(environ, "sh", "-c", "exit 7")
    assert ended.returncode == 7
    assert b"this run is not recorded: not now" in ended.stderr
    assert [one["method"] for one in peer.requests] == ["tasks.start", "tasks.start"]
    assert list((tmp_path / "spool").iterdir()) == []


def test_reports_of_earlier_runs_are_brought_behind_the_command(
    peer: WirePeer, environ: dict[str, str], tmp_path: Path
) -> None:
    earlier = spool.Report(method="tasks.finish", params={"id": "earlier"})
    spool.keep(tmp_path / "spool", [earlier], name="1")
    ended = run(environ, "true")
    assert b"delivered 1 report" in ended.stderr
    told = [(one["method"], one["params"]["id"] == "earlier") for one in peer.requests]
    assert told == [("tasks.start", False), ("tasks.finish", False), ("tasks.finish", True)]


def test_a_daemon_that_goes_away_behind_the_command_is_no_failure(
    peer: WirePeer, environ: dict[str, str], tmp_path: Path
) -> None:
    spool.keep(
        tmp_path / "spool", [spool.Report(method="tasks.progress", params={"id": "x"})], name="1"
    )

    def leave(_: object) -> None:
        peer.hang_up()
        raise Silence

    peer.answers["tasks.progress"] = leave
    ended = run(environ, "sh", "-c", "exit 3")
    assert ended.returncode == 3
    assert b"reports of earlier runs stay for later" in ended.stderr


def test_a_daemon_that_does_not_answer_holds_the_command_up_for_a_bounded_time(
    peer: WirePeer, environ: dict[str, str]
) -> None:
    def nothing(_: object) -> None:
        raise Silence

    peer.answers["tasks.start"] = nothing
    ended = run(environ, "echo", "ran")
    assert ended.stdout == b"ran\n"
    assert f"within {wrapper.START_TIMEOUT_S:g} s".encode() in ended.stderr


def test_a_caller_who_may_not_report_is_told_and_the_command_runs(
    peer: WirePeer, environ: dict[str, str], tmp_path: Path
) -> None:
    def refuse(_: object) -> None:
        raise Refusal(Code.FORBIDDEN, "nobody lacks monitoring:write")

    peer.answers["tasks.start"] = peer.answers["tasks.finish"] = refuse
    ended = run(environ, "sh", "-c", "exit 9")
    assert ended.returncode == 9
    said = b"storewatchctl: this run is not recorded: nobody lacks monitoring:write\n"
    assert ended.stderr == said
    assert [one["method"] for one in peer.requests] == ["tasks.start"]
    assert not (tmp_path / "spool").exists()


def test_a_spool_that_cannot_be_written_costs_the_report_not_the_command(
    environ: dict[str, str], tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    environ |= {
        "STOREWATCH_SPOOL": str(tmp_path / "file"),
        "XDG_STATE_HOME": str(tmp_path / "file"),
    }
    ended = run(environ, "sh", "-c", "exit 6")
    assert ended.returncode == 6
    assert b"and the report cannot be kept" in ended.stderr


@pytest.mark.parametrize(
    ("output", "text"),
    [
        pytest.param("é".encode()[1:] + b"a", "a", id="half a character at the start"),
        pytest.param("\U0001f600".encode()[1:] + b"a", "a", id="three quarters of one"),
        pytest.param(b"a\0b", "a\ufffdb", id="zero byte"),
        pytest.param(b"a\xffb", "a\ufffdb", id="no text"),
        pytest.param("é\n".encode(), "é\n", id="text"),
    ],
)
def test_output_becomes_text_that_can_be_stored(output: bytes, text: str) -> None:
    assert wrapper.text_of(output) == text


def test_a_tail_never_keeps_more_than_twice_its_bound() -> None:
    tail = Tail(10)
    for number in range(100):
        tail.add(b"%03d" % number)
    assert tail.bytes() == b"6097098099"
