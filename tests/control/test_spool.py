"""Reports that were left while the daemon was away: judged by owner, in order, none lost."""

import asyncio
import json
import os
import stat
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from control.fix_control import NO_GROUPS
from fix_node import Node, events, running_node
from fix_records import no_room
from storewatchd.control import spool as spool_module
from storewatchd.control.peer import Peer
from storewatchd.control.spool import MAX_FILE_BYTES, REFUSED, Spool
from storewatchd.control.users import User, user_of
from storewatchd.core.model import EventType
from storewatchd.core.permissions import READ_ONLY, READ_WRITE, Caller, PeerGroups
from storewatchd.core.tasks import TaskRun
from storewatchd.monitor import writer as writer_module

FINISH = {"method": "tasks.finish", "params": {"id": "r1"}}


class Box:
    """A letter box beside a running node."""

    def __init__(self, directory: Path, node: Node) -> None:
        self.directory = directory
        self.node = node
        self.spool = Spool(directory, node.monitor, NO_GROUPS)
        self.spool.prepare()

    def drop(self, name: str, *reports: dict[str, Any] | bytes) -> Path:
        """Leave a file of reports."""
        lines = [
            one if isinstance(one, bytes) else json.dumps({"version": 1, **one}).encode()
            for one in reports
        ]
        path = self.directory / name
        path.write_bytes(b"\n".join(lines) + b"\n")
        return path

    @property
    def left(self) -> list[str]:
        return sorted(set(os.listdir(self.directory)) - {REFUSED})

    @property
    def refused(self) -> dict[str, bytes]:
        """What was refused, by its new name."""
        return {one.name: one.read_bytes() for one in sorted((self.directory / REFUSED).iterdir())}

    @property
    def runs(self) -> list[TaskRun]:
        """The runs that the node knows, oldest first."""
        return sorted(
            self.node.monitor.view.runs(None, None, None), key=lambda run: (run.first_seen, run.id)
        )


class Verdict:
    """Judges every owner alike, and notes who was judged."""

    def __init__(self, caller: Caller) -> None:
        self.caller = caller
        self.owners: list[tuple[int, User]] = []

    def __call__(self, owner: Peer, user: User, groups: PeerGroups) -> Caller:
        self.owners.append((owner.uid, user))
        assert owner.has_more  # the user database tells the groups of whoever left a file
        return self.caller


@pytest.fixture
async def box(tmp_path: Path) -> AsyncIterator[Box]:
    async with running_node(tmp_path / "state") as node:
        yield Box(tmp_path / "spool", node)


def start(name: str, **more: Any) -> dict[str, Any]:
    return {"method": "tasks.start", "params": {"name": name, **more}}


# The box.


async def test_anybody_may_leave_a_report_and_nobody_read_anothers(box: Box) -> None:
    assert stat.S_IMODE(box.directory.stat().st_mode) == 0o1733
    assert stat.S_IMODE((box.directory / REFUSED).stat().st_mode) == 0o700


async def test_a_box_that_cannot_be_made_is_told_and_is_no_end(
    tmp_path: Path, box: Box, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").touch()
    spool = Spool(tmp_path / "file" / "spool", box.node.monitor, NO_GROUPS)
    spool.prepare()
    assert "no spool for task reports at" in caplog.text
    assert await spool.deliver() == 0


# Delivery.


async def test_a_report_is_delivered_in_its_owners_name_and_removed(
    box: Box, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "storewatchd.control.spool")
    box.drop("a.json", start("nightly", id="r1", at="2026-01-01T11:00:00Z"))
    assert await box.spool.deliver() == 1
    (run,) = box.runs
    assert (run.id, run.name, run.reported_by) == (
        "r1",
        "nightly",
        user_of(os.geteuid()).name,
    )
    assert box.left == []
    assert caplog.messages == ["delivered 1 spooled task report(s)"]
    assert await box.spool.deliver() == 0


async def test_files_are_delivered_in_the_order_of_their_names_and_lines(box: Box) -> None:
    told = box.node.hear(EventType.TASK)
    progress = {"method": "tasks.progress", "params": {"id": "r1", "percent": 50}}
    box.drop("2.json", {"method": "tasks.finish", "params": {"id": "r1", "exit_status": 3}})
    box.drop("1.json", start("nightly", id="r1"), progress)
    box.drop("3.json", start("weekly", id="r2"))
    assert await box.spool.deliver() == 3
    heard: list[tuple[str, str]] = []
    while len(heard) < 4:
        heard += [(one.event.kind, json.loads(one.event.data)["id"]) for one in await events(told)]
    assert heard == [("start", "r1"), ("progress", "r1"), ("end", "r1"), ("start", "r2")]


async def test_reports_wait_while_nothing_can_be_written(
    box: Box, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer_module, "RETRY_S", 0.01)
    box.drop("1.json", start("nightly", id="r1"))
    box.drop("2.json", start("weekly", id="r2"))
    with no_room():
        # The first one finds that out, and is done; it may well come again.
        assert await box.spool.deliver() == 0
        assert await box.spool.deliver() == 0
        assert box.left == ["1.json", "2.json"]
    await box.node.recovered()
    assert await box.spool.deliver() == 2
    assert [(run.id, run.version) for run in box.runs] == [("r1", 1), ("r2", 1)]
    assert box.left == []


async def test_a_report_that_came_twice_is_taken_once(box: Box) -> None:
    box.drop("1.json", start("nightly", id="r1"), FINISH)
    box.drop("2.json", start("nightly", id="r1"), FINISH)
    assert await box.spool.deliver() == 2
    assert [run.version for run in box.runs] == [2]
    assert box.left == []


async def test_blank_lines_and_empty_files_say_nothing(box: Box) -> None:
    box.drop("1.json", b"", start("nightly"), b"  ")
    box.drop("2.json")
    assert await box.spool.deliver() == 2
    assert [run.name for run in box.runs] == ["nightly"]


async def test_what_is_still_written_is_left_alone(box: Box) -> None:
    box.drop(".1.json.7.partial", start("nightly"))
    box.drop("notes.txt", b"hello")
    assert await box.spool.deliver() == 0
    assert box.left == [".1.json.7.partial", "notes.txt"]


async def test_one_look_takes_so_many_files(box: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spool_module, "MAX_FILES", 2)
    for number in range(3):
        box.drop(f"{number}.json", start(str(number)))
    assert [await box.spool.deliver() for _ in range(3)] == [2, 1, 0]


async def test_what_comes_later_is_found_without_being_asked(
    box: Box, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(spool_module, "LOOK_S", 0.01)
    told = box.node.hear(EventType.TASK)
    looking = asyncio.ensure_future(box.spool.run())
    await asyncio.wait([looking], timeout=0)
    box.drop("1.json", start("nightly"))
    assert [one.event.kind for one in await events(told)] == ["start"]
    looking.cancel()


# Owners.


async def test_a_file_is_judged_by_who_owns_it(box: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    verdict = Verdict(Caller("ann", READ_WRITE))
    monkeypatch.setattr(spool_module, "judge", verdict)
    path = box.drop("1.json", start("nightly"))
    owner = path.stat().st_uid
    assert await box.spool.deliver() == 1
    assert verdict.owners == [(owner, user_of(owner))] * 2  # by name, and of what was opened
    assert [run.reported_by for run in box.runs] == ["ann"]


async def test_an_owner_who_may_not_report_is_refused_before_a_line_is_read(
    box: Box, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(spool_module, "judge", Verdict(Caller("eve", READ_ONLY)))
    box.drop("1.json", b"[" * 100_000)
    assert await box.spool.deliver() == 0
    assert box.left == []
    assert caplog.messages == [
        "the spooled report 1.json is refused: its owner eve may not report tasks"
    ]


# What cannot be delivered.


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        pytest.param(b'{"version":1', "truncated", id="truncated"),
        pytest.param(b'{"version":1,"method":"\xff"}', "utf-8", id="not UTF-8"),
        pytest.param(b'{"params":' + b"[" * 100_000, "recursion", id="nested too deep"),
        pytest.param(
            b'{"version":1,"method":"tasks.start","params":{"name":' + b"[" * 100_000,
            "recursion",
            id="parameters nested too deep",
        ),
        pytest.param(
            {"version": 2, **start("n")}, "version 2 is not known", id="version of the future"
        ),
        pytest.param(
            {"method": "alerts.create", "params": {}},
            "'alerts.create' cannot be spooled",
            id="another method",
        ),
        pytest.param({**start("n"), "more": 1}, "unknown field `more`", id="unknown member"),
        pytest.param(start("n", more=1), "unknown field `more`", id="unknown parameter"),
        pytest.param({"method": "tasks.start", "params": {}}, "`name`", id="missing parameter"),
        pytest.param(start("n", id=7), "Expected `str | null`", id="wrong type"),
        pytest.param(start("n", at="yesterday"), "at: expected a time", id="no time"),
        pytest.param(start("n\0"), "name holds the character U+0000", id="zero character"),
        pytest.param(FINISH, "no task with the id 'r1' was started here", id="end of nothing"),
    ],
)
async def test_a_malformed_report_is_kept_aside_and_holds_up_no_other(
    box: Box, line: Any, reason: str, caplog: pytest.LogCaptureFixture
) -> None:
    said = box.drop("1.json", line).read_bytes()
    box.drop("2.json", start("nightly"))
    assert await box.spool.deliver() == 1
    assert (box.left, box.refused) == ([], {"1": said})
    assert [run.name for run in box.runs] == ["nightly"]
    assert "the spooled report 1.json is refused: " in caplog.text
    assert reason in caplog.text


async def test_what_came_before_a_malformed_line_is_done(box: Box) -> None:
    box.drop("1.json", start("nightly"), b"{")
    assert await box.spool.deliver() == 0
    assert [run.name for run in box.runs] == ["nightly"]
    assert box.left == []


async def test_a_file_that_is_too_large_is_kept_aside(
    box: Box, caplog: pytest.LogCaptureFixture
) -> None:
    box.drop("1.json", b" " * MAX_FILE_BYTES)
    assert await box.spool.deliver() == 0
    assert (box.left, list(box.refused)) == ([], ["1"])
    assert f"it is larger than {MAX_FILE_BYTES} bytes" in caplog.text


async def test_what_is_no_file_of_its_owner_is_not_read(
    box: Box, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    elsewhere = tmp_path / "elsewhere.json"
    elsewhere.write_text(json.dumps({"version": 1, **start("stolen")}))
    (box.directory / "1.json").symlink_to(elsewhere)
    os.mkfifo(box.directory / "2.json")
    (box.directory / "3.json").mkdir()
    box.drop("4.json", start("nightly"))
    open_before = os.listdir("/proc/self/fd")
    assert await box.spool.deliver() == 1
    assert os.listdir("/proc/self/fd") == open_before
    assert box.left == []
    assert sorted(os.listdir(box.directory / REFUSED)) == ["1", "2"]
    assert [run.name for run in box.runs] == ["nightly"]
    assert caplog.text.count("it is no regular file") == 3
    assert elsewhere.exists()


async def test_what_cannot_even_be_moved_is_told_once_and_passed_over(
    box: Box, caplog: pytest.LogCaptureFixture
) -> None:
    (box.directory / "0.json").mkdir()
    (box.directory / "0.json" / "inside").touch()
    box.drop("1.json", start("nightly"))
    assert await box.spool.deliver() == 1
    assert box.left == ["0.json"]
    assert caplog.messages == [
        "the spooled report 0.json is refused: it is no regular file",
        "0.json cannot be set aside, and is passed over: Directory not empty",
    ]
    box.drop("2.json", start("weekly"))
    assert await box.spool.deliver() == 1
    assert len(caplog.messages) == 2


async def test_so_many_refused_files_hold_up_no_other(
    box: Box, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(spool_module, "MAX_FILES", 2)
    monkeypatch.setattr(spool_module, "MAX_TOLD", 3)
    for number in range(8):
        (box.directory / f"{number}.json").mkdir()
        (box.directory / f"{number}.json" / "inside").touch()
    box.drop("9.json", start("nightly"))
    assert await box.spool.deliver() == 1
    assert [run.name for run in box.runs] == ["nightly"]
    assert caplog.messages[-1] == "1 more spooled reports are refused"
    assert len(caplog.messages) == 4


async def test_only_the_newest_of_the_refused_are_kept(
    box: Box, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(spool_module, "MAX_REFUSED", 3)
    for number in range(5):
        box.drop(f"{number}.json", str(number).encode())
    assert await box.spool.deliver() == 0
    assert box.refused == {"3": b"2\n", "4": b"3\n", "5": b"4\n"}


async def test_a_file_that_its_owner_takes_back_is_no_trouble(
    box: Box, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    path = box.drop("1.json", start("nightly"))
    box.drop("2.json", start("weekly"))

    def judged(*_: object) -> Caller:
        path.unlink(missing_ok=True)
        return Caller("ann", READ_WRITE)

    monkeypatch.setattr(spool_module, "judge", judged)
    assert await box.spool.deliver() == 1
    assert [run.name for run in box.runs] == ["weekly"]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can leave files in another's name")
async def test_what_a_stranger_leaves_is_refused_unread_and_holds_up_nobody(
    box: Box, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(spool_module, "MAX_FILES", 5)
    for number in range(5):
        stranger = box.drop(f"0{number}.json", b"\n" * MAX_FILE_BYTES)
        os.chown(stranger, 65534, 65534)
    box.drop("1.json", start("nightly"))
    assert await box.spool.deliver() == 1
    assert box.left == []
    assert caplog.text.count("may not report tasks") == 5
