"""What goes on until it is interrupted, as processes of their own: in a pipe and on a terminal."""

import contextlib
import io
import json
import os
import pty
import signal
import struct
import subprocess
import sys
import termios
from collections.abc import Iterator
from fcntl import ioctl
from pathlib import Path
from typing import Any

import msgspec
import pytest
from rich.console import Console

from fix_peer import WirePeer, event, notice
from fix_shapes import alert, alert_list
from storewatch.ctl import words
from storewatch.ctl.output import Output
from storewatch.ctl.session import Session
from storewatch.ctl.watch import _AlertWatch
from storewatch.wire import types

CTL = [sys.executable, "-m", "storewatch.ctl"]


@pytest.fixture
def peer(tmp_path: Path) -> Iterator[WirePeer]:
    with WirePeer(tmp_path / "s") as peer:
        numbers = iter(range(1, 100))

        def subscribe(params: dict[str, Any]) -> dict[str, Any]:
            return {
                "subscription": f"s{next(numbers)}",
                "last_id": params.get("since", "e.0"),
                "gap": False,
                "snapshot": None,
            }

        peer.answers["events.subscribe"] = subscribe
        peer.answers["alerts.list"] = lambda _: alert_list(alert(2), alert(1, severity="critical"))
        yield peer


@contextlib.contextmanager
def running(peer: WirePeer, *words: str) -> Iterator[subprocess.Popen[bytes]]:
    environ = {**os.environ, "STOREWATCH_SOCKET": str(peer.path), "PYTHONDEVMODE": ""}
    with subprocess.Popen(
        [*CTL, *words], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=environ
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def line(process: subprocess.Popen[bytes]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().decode()


def test_follow_tells_each_event_as_it_comes_and_outlives_the_daemon(peer: WirePeer) -> None:
    with running(peer, "events", "--follow", "--json", "--type", "system") as process:
        peer.wait_for("events.subscribe")
        peer.tell(notice("s1", event(1)))
        assert json.loads(line(process))["seq"] == 1
        peer.stop()
        assert "the daemon closed the connection; waiting for it" in line(process)
        peer.start()
        again = peer.wait_for("events.subscribe", 2)[1]
        assert (again["since"], again["types"]) == ("e.1", ["system"])
        assert "the daemon is back" in line(process)
        peer.tell(notice("s2", event(2, unjournalled=True)))
        assert json.loads(line(process)) == event(2, unjournalled=True)


def test_follow_ends_with_130_when_it_is_interrupted(peer: WirePeer) -> None:
    with running(peer, "events", "--follow") as process:
        peer.wait_for("events.subscribe")
        peer.tell(notice("s1", event(1)))
        assert "number 1" in line(process)
        process.send_signal(signal.SIGINT)
        assert process.wait() == 130
        assert line(process) == ""


@pytest.mark.parametrize(
    ("since_then", "goes_on_after"),
    [
        pytest.param([event(4), event(5)], "e.5", id="something"),
        pytest.param([], "e.3", id="nothing"),
    ],
)
def test_follow_since_a_time_tells_what_was_and_goes_on_from_there(
    peer: WirePeer, since_then: list[dict[str, Any]], goes_on_after: str
) -> None:
    def answer(params: dict[str, Any]) -> dict[str, Any]:
        if "from" in params:
            return {"events": since_then, "gap": False}
        return {"events": [] if "since" in params else [event(3)], "gap": False}

    peer.answers["events.list"] = answer
    with running(peer, "events", "-f", "--json", "--since", "2026-01-01T12:00:00Z") as process:
        assert [json.loads(line(process)) for _ in since_then] == since_then
        assert peer.wait_for("events.subscribe")[0]["since"] == goes_on_after


def test_a_reader_that_leaves_ends_it_quietly(peer: WirePeer) -> None:
    with running(peer, "events", "--follow") as process:
        peer.wait_for("events.subscribe")
        assert process.stdout is not None
        process.stdout.close()
        peer.tell(notice("s1", *(event(number) for number in range(1, 50))))
        assert process.wait() == 141


def test_watch_tells_what_is_open_and_then_each_change_once(peer: WirePeer) -> None:
    with running(peer, "alerts", "watch", "--json") as process:
        # Oldest first, as the changes behind them.
        assert [json.loads(line(process))["id"][-1] for _ in range(2)] == ["1", "2"]
        known, newer = alert(2), alert(2, version=2, state="resolved", title="over")
        peer.tell(
            notice(
                "s1",
                event(1, type="alert", kind="firing", data=known),
                event(2, type="alert", kind="resolved", data=newer),
            )
        )
        assert json.loads(line(process))["title"] == "over"


def test_watch_tells_when_each_change_was_and_of_what_is_open_since_when(peer: WirePeer) -> None:
    begun, ended = "2026-01-01T11:00:00.000Z", "2026-01-01T13:00:00.000Z"
    known = alert(1, first_seen=begun, last_seen=ended)
    peer.answers["alerts.list"] = lambda _: alert_list(known)
    with running(peer, "alerts", "watch") as process:
        assert line(process).startswith(f"{words.local_time(begun)}  warning   firing ")
        for version, kind in enumerate(("stale", "fresh", "acknowledged"), 2):
            changed = {**known, "version": version, "acknowledged_at": begun}
            when = f"2026-01-01T12:00:0{version}.000Z"
            peer.tell(
                notice("s1", event(version, type="alert", kind=kind, data=changed, timestamp=when))
            )
            assert line(process).startswith(f"{words.local_time(when)}  warning   {kind} ")


def test_watch_looks_again_where_events_are_missing(peer: WirePeer) -> None:
    with running(peer, "alerts", "watch", "--json") as process:
        assert [json.loads(line(process))["id"][-1] for _ in range(2)] == ["1", "2"]
        peer.answers["alerts.list"] = lambda _: alert_list(alert(3), alert(1))
        peer.tell(notice("s1", event(9, kind="gap", data={"reason": "too old"})))
        assert json.loads(line(process))["id"][-1] == "3"


def test_watch_that_cannot_reach_a_daemon_at_first_is_exit_3(tmp_path: Path) -> None:
    ended = subprocess.run(
        [*CTL, "--socket", str(tmp_path / "none"), "alerts", "watch"],
        capture_output=True,
        check=False,
    )
    assert ended.returncode == 3
    assert b"no daemon answers at" in ended.stderr


def screen_until(master: int, wanted: str) -> str:
    shown = b""
    while wanted not in shown.decode(errors="replace"):
        shown += os.read(master, 65536)
    return shown.decode(errors="replace")


def test_where_titles_take_several_lines_watch_says_how_many_do_not_fit() -> None:
    long = "what was here is not here any more " * 3
    found = alert_list(*(alert(number, title=long) for number in range(1, 10)))
    screen = io.StringIO()
    session = Session(Output())
    session.out.is_terminal = True
    session.out._console = Console(file=screen, width=80, height=12, force_terminal=True)
    watch = _AlertWatch(session, None)
    for one in found["alerts"]:
        watch._take(msgspec.convert(one, types.Alert))
    session.out.console.print(watch._picture())
    lines = screen.getvalue().splitlines()
    shown = sum("warning" in line or "critical" in line for line in lines)
    assert len(lines) < 12
    assert 1 <= shown < 9
    assert f"(and {9 - shown} more than fit)" in lines[-1]


def test_on_a_terminal_watch_is_a_live_table(peer: WirePeer) -> None:
    master, slave = pty.openpty()
    ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    environ = {
        **os.environ,
        "STOREWATCH_SOCKET": str(peer.path),
        "TERM": "xterm-256color",
        "PYTHONDEVMODE": "",
    }
    environ.pop("COLUMNS", None)
    with subprocess.Popen([*CTL, "alerts", "watch"], stdout=slave, env=environ) as process:
        try:
            os.close(slave)
            # The tick shows the table with what was listed; critical ones come first.
            shown = screen_until(master, "2 firing, 0 pending")
            assert shown.rindex("critical") < shown.rindex("warning")
            assert alert(1)["id"] not in shown
            peer.wait_for("events.subscribe")
            new = alert(3, title="Something else", first_seen="2026-01-01T12:30:00.000Z")
            peer.tell(notice("s1", event(1, type="alert", kind="firing", data=new)))
            assert "Something else" in screen_until(master, "3 firing, 0 pending")
            peer.hang_up()
            screen_until(master, "waiting for it")
            process.send_signal(signal.SIGINT)
            assert process.wait() == 130
        finally:
            process.kill()
            os.close(master)
