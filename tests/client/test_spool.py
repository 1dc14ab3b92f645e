"""The spool: files that appear whole, sort by time, and reach the daemon once."""

import json
import os
from pathlib import Path
from typing import Any

import pytest

from storewatch import clock, spool
from storewatch.errors import CallError, ConnectionLost
from storewatch.spool import Report
from storewatch.wire import Code


def report(task_id: str, method: Any = "tasks.finish") -> Report:
    return Report(method=method, params={"id": task_id})


class Daemon:
    """Takes what is delivered, until it refuses."""

    def __init__(self, refusal: Exception | None = None) -> None:
        self.taken: list[tuple[str, dict[str, Any]]] = []
        self.refusal = refusal

    def call(self, method: str, params: dict[str, Any]) -> None:
        if self.refusal is not None:
            raise self.refusal
        self.taken.append((method, params))


def test_reports_are_delivered_oldest_first_and_then_gone(tmp_path: Path) -> None:
    spool.keep(tmp_path, [report("b")], name="2-b")
    spool.keep(tmp_path, [report("a", "tasks.start"), report("a")], name="1-a")
    daemon = Daemon()
    assert spool.deliver(tmp_path, daemon.call) == spool.Delivery(3, ())
    assert [(method, params["id"]) for method, params in daemon.taken] == [
        ("tasks.start", "a"),
        ("tasks.finish", "a"),
        ("tasks.finish", "b"),
    ]
    assert list(tmp_path.iterdir()) == []


def test_a_file_is_a_line_of_the_agreed_form_that_others_cannot_read(tmp_path: Path) -> None:
    path = spool.keep(tmp_path / "new" / "spool", [report("a")], name="1")
    assert json.loads(path.read_text()) == {
        "version": 1,
        "method": "tasks.finish",
        "params": {"id": "a"},
    }
    assert path.read_bytes().endswith(b"}\n")
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700
    assert [one.name for one in path.parent.iterdir()] == ["1.json"]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may give a directory away")
def test_in_the_daemons_directory_the_daemon_may_read_it(tmp_path: Path) -> None:
    os.chown(tmp_path, 65534, 65534)
    path = spool.keep(tmp_path, [report("a")], name="1")
    assert path.stat().st_gid == 65534
    assert path.stat().st_mode & 0o777 == 0o640


def test_a_daemon_that_goes_away_leaves_the_rest_for_later(tmp_path: Path) -> None:
    path = spool.keep(tmp_path, [report("a")], name="1")
    with pytest.raises(ConnectionLost):
        spool.deliver(tmp_path, Daemon(ConnectionLost("gone")).call)
    assert path.exists()


def test_what_has_not_been_delivered_in_time_stays_for_later(tmp_path: Path) -> None:
    path = spool.keep(tmp_path, [report("a")], name="1")
    daemon = Daemon()
    assert spool.deliver(tmp_path, daemon.call, until=clock.monotonic()) == spool.Delivery(0, ())
    assert (daemon.taken, path.exists()) == ([], True)


def test_a_passing_refusal_leaves_the_report_for_later(tmp_path: Path) -> None:
    path = spool.keep(tmp_path, [report("a")], name="1")
    with pytest.raises(CallError):
        spool.deliver(tmp_path, Daemon(CallError(Code.UNAVAILABLE, "not now")).call)
    assert path.exists()


def test_a_lasting_refusal_sets_the_report_aside_and_goes_on(tmp_path: Path) -> None:
    spool.keep(tmp_path, [report("a")], name="1")
    refusal = CallError(Code.NOT_FOUND, "no task with the id 'a' was started here")
    delivery = spool.deliver(tmp_path, Daemon(refusal).call)
    assert delivery.delivered == 0
    assert "no task with the id 'a'" in delivery.refused[0]
    assert [one.name for one in tmp_path.iterdir()] == ["1.refused"]
    assert spool.waiting(tmp_path) == []


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b'{"version":1,"method":"tasks.fin', id="cut short"),
        pytest.param(b'{"version":2,"method":"tasks.finish","params":{}}', id="newer"),
        pytest.param(b'{"version":1,"method":"tokens.create","params":{}}', id="another method"),
        pytest.param(b"\xff\xfe", id="no text"),
        pytest.param(b"x" * (spool.MAX_FILE_BYTES + 1), id="too long"),
    ],
)
def test_a_file_that_is_no_report_asks_for_nothing(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "1.json").write_bytes(content)
    daemon = Daemon()
    spool.deliver(tmp_path, daemon.call)
    assert daemon.taken == []
    assert spool.waiting(tmp_path) == []


def test_what_is_still_being_written_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / ".1.42.partial").write_bytes(b"{")
    (tmp_path / "2.json").mkdir()
    (tmp_path / "3.json").symlink_to(tmp_path / ".1.42.partial")
    assert spool.waiting(tmp_path) == []


def test_a_directory_that_is_not_there_holds_nothing(tmp_path: Path) -> None:
    assert spool.waiting(tmp_path / "none") == []


def test_each_daemon_has_a_private_directory_of_its_own(tmp_path: Path) -> None:
    environ = {"XDG_STATE_HOME": str(tmp_path)}
    first = spool.directory(environ, "/tmp/a/control.sock")
    assert first == tmp_path / "storewatch" / "spool" / "tmp-a-control.sock"
    assert first != spool.directory(environ, "/tmp/b/control.sock")


def test_the_environment_may_name_the_directory() -> None:
    assert spool.directory({"STOREWATCH_SPOOL": "/x"}, spool.DAEMON_SOCKET) == Path("/x")
