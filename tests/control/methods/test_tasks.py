"""tasks.*: reports of programs, and one list of memory and history."""

import itertools
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from control.fix_control import NO_DATABASE, Control, open_control
from fakes import NOON
from fix_node import open_node
from fix_postgres import Postgres
from fix_records import run, run_record
from storewatch.wire import Code
from storewatchd.core.model import format_time
from storewatchd.store.ledger import write


@pytest.fixture
async def stored(tmp_path: Path, postgres: Postgres) -> AsyncIterator[Control]:
    """A control plane with PostgreSQL."""
    async with open_control(tmp_path, settings=postgres.settings()) as control:
        await control.store.connect()
        yield control


async def start(control: Control, name: str = "nightly", **more: Any) -> dict[str, Any]:
    """Start a run, a second after the one before."""
    control.node.clock.forward(1)
    run: dict[str, Any] = await control.call("tasks.start", name=name, **more)
    return run


async def finish(control: Control, task: dict[str, Any], **more: Any) -> dict[str, Any]:
    ended: dict[str, Any] = await control.call("tasks.finish", id=task["id"], **more)
    return ended


def names(answer: dict[str, Any]) -> list[str]:
    return [one["name"] for one in answer["tasks"]]


# Reports.


async def test_a_run_is_reported_from_start_to_end(control: Control) -> None:
    _, secret = await control.token("monitoring:write")
    begun = await control.call(
        "tasks.start", auth=secret, name="nightly", type="backup", id="r1", message="go"
    )
    assert (begun["id"], begun["state"], begun["reported_by"]) == ("r1", "running", "token test")
    moved = await control.call(
        "tasks.progress", id="r1", percent=40, message="going", bytes=2**63 - 1
    )
    assert (moved["progress_percent"], moved["message"], moved["bytes"]) == (
        40.0,
        "going",
        2**63 - 1,
    )
    ended = await control.call(
        "tasks.finish", id="r1", exit_status=3, message="over", output="boom", bytes=5
    )
    assert (ended["state"], ended["exit_status"], ended["output"]) == ("failed", 3, "boom")
    assert await control.call("tasks.get", id="r1") == ended


async def test_reports_that_come_late_say_when_it_was(control: Control) -> None:
    early = "2026-01-01T11:00:00.000Z"
    begun = await start(control, at=early)
    assert begun["started_at"] == early
    ended = await finish(control, begun, at="2026-01-01T12:30:00+01:00", signal="SIGTERM")
    assert (ended["duration_seconds"], ended["signal"]) == (1800.0, "SIGTERM")


@pytest.mark.parametrize(
    ("method", "params", "code", "sentence"),
    [
        pytest.param(
            "tasks.start",
            {"name": "n", "at": "now"},
            Code.INVALID_PARAMS,
            "at: expected a time such as 2026-01-31T08:00:00Z, found 'now'",
            id="no time",
        ),
        pytest.param(
            "tasks.start",
            {"name": "n", "at": "0001-01-01T00:00:00+01:00"},
            Code.INVALID_PARAMS,
            "at: expected a time such as 2026-01-31T08:00:00Z, found '0001-01-01T00:00:00+01:00'",
            id="no time that can be shown",
        ),
        pytest.param(
            "tasks.finish",
            {"id": "r1", "at": "now"},
            Code.INVALID_PARAMS,
            "at: expected a time such as 2026-01-31T08:00:00Z, found 'now'",
            id="no time of an end",
        ),
        pytest.param(
            "tasks.finish",
            {"id": "r1", "bytes": 10**400},
            Code.INVALID_PARAMS,
            "bytes: expected a whole number <= 9223372036854775807",
            id="too many bytes",
        ),
        pytest.param(
            "tasks.progress",
            {"id": "none"},
            Code.NOT_FOUND,
            "no task with the id 'none' was started here",
            id="progress of nothing",
        ),
        pytest.param(
            "tasks.finish",
            {"id": "none"},
            Code.NOT_FOUND,
            "no task with the id 'none' was started here",
            id="end of nothing",
        ),
        pytest.param(
            "tasks.start",
            {"name": "other", "id": "r1"},
            Code.CONFLICT,
            "the id 'r1' belongs to a run of 'nightly'",
            id="another's id",
        ),
    ],
)
async def test_a_report_that_cannot_be_taken_is_refused_in_a_sentence(
    control: Control, method: str, params: dict[str, Any], code: Code, sentence: str
) -> None:
    await start(control, id="r1")
    assert await control.refusal(method, **params) == (code, sentence)
    assert names(await control.call("tasks.list")) == ["nightly"]


async def test_a_run_of_long_ago_is_read_again_at_the_next_start(tmp_path: Path) -> None:
    async with open_control(tmp_path) as control:
        begun = await start(control, at="0500-01-01T00:00:00Z")
    async with open_node(tmp_path) as node:
        (known,) = node.monitor.view.runs(None, None, None)
    assert format_time(known.started_at) == begun["started_at"] == "0500-01-01T00:00:00.000Z"


# List.


async def test_a_list_is_newest_first_and_says_when_history_is_missing(control: Control) -> None:
    for name in ("a", "b"):
        await finish(control, await start(control, name))
    await start(control, "c")
    answer = await control.call("tasks.list")
    assert names(answer) == ["c", "b", "a"]
    assert (answer["complete"], answer["incomplete_reason"]) == (
        False,
        "history cannot be read: not connected yet",
    )


async def test_a_list_says_when_something_is_missing_from_what_can_be_read(
    stored: Control,
) -> None:
    await start(stored, "a")
    stored.store.lacks = "it is on its way"
    answer = await stored.call("tasks.list")
    assert names(answer) == ["a"]
    assert (answer["complete"], answer["incomplete_reason"]) == (False, "it is on its way")


@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        pytest.param({"name": "a"}, ["a", "a"], id="name"),
        pytest.param({"state": ["failed"]}, ["b"], id="state"),
        pytest.param({"state": ["running", "completed"]}, ["c", "a", "a"], id="states"),
        pytest.param({"name": "a", "state": ["failed"]}, [], id="both"),
    ],
)
@pytest.mark.parametrize("drained", [False, True], ids=["memory", "history"])
async def test_a_list_is_narrowed_by_name_and_state(
    stored: Control, filters: dict[str, Any], expected: list[str], drained: bool
) -> None:
    for name, status in (("a", 0), ("b", 1), ("a", 0)):
        await finish(stored, await start(stored, name), exit_status=status)
    await start(stored, "c")
    if drained:
        await stored.drain()
    answer = await stored.call("tasks.list", **filters)
    assert (names(answer), answer["complete"]) == (expected, True)


async def test_pages_follow_each_other_through_memory_and_history(stored: Control) -> None:
    begun = [await start(stored, str(number)) for number in range(6)]
    for number in (0, 2, 4):
        await finish(stored, begun[number])
    await stored.drain()
    await finish(stored, begun[5])
    found, cursor = [], None
    for _ in itertools.count():
        answer = await stored.call("tasks.list", limit=2, cursor=cursor)
        found.append(names(answer))
        cursor = answer["next_cursor"]
        if cursor is None:
            break
    assert found == [["5", "4"], ["3", "2"], ["1", "0"]]


@pytest.mark.parametrize(
    ("version", "state"),
    [pytest.param(1, "running", id="memory is newer"), pytest.param(9, "completed", id="it is")],
)
async def test_of_two_versions_the_higher_one_is_shown(
    stored: Control, version: int, state: str
) -> None:
    begun = await start(stored)
    await stored.call("tasks.progress", id=begun["id"], percent=1)
    of = run(begun["node"], 1, id=begun["id"], version=version, first_seen=NOON + 1)
    async with stored.store.connection() as connection:
        await write(connection, [run_record(10**6, of)])
    answer = await stored.call("tasks.list")
    assert [one["state"] for one in answer["tasks"]] == [state]


async def test_a_cursor_that_no_list_gave_is_refused(control: Control) -> None:
    assert await control.refusal("tasks.list", cursor="?") == (
        Code.INVALID_PARAMS,
        "cursor: this is not a cursor that a list gave",
    )


# Get.


async def test_a_run_that_only_history_has_is_found_there(stored: Control) -> None:
    ended = await finish(stored, await start(stored))
    await stored.drain()
    assert stored.node.monitor.view.run(ended["id"]) is None
    assert await stored.call("tasks.get", id=ended["id"]) == ended


async def test_an_id_that_only_history_may_know_waits_for_history(control: Control) -> None:
    code, sentence = await control.refusal("tasks.get", id="none")
    assert code == Code.UNAVAILABLE
    assert sentence.startswith("the task 'none' is not a recent one, and history is away")


async def test_an_id_that_history_does_not_know_is_not_found(stored: Control) -> None:
    assert await stored.refusal("tasks.get", id="none") == (
        Code.NOT_FOUND,
        "there is no task 'none'",
    )


async def test_without_a_database_only_the_recent_ones_are_known(tmp_path: Path) -> None:
    async with open_control(tmp_path, settings=NO_DATABASE) as control:
        code, sentence = await control.refusal("tasks.get", id="none")
    assert code == Code.NOT_FOUND
    assert "among the recent ones" in sentence


async def test_a_page_of_long_runs_is_shorter_and_goes_on(control: Control) -> None:
    # In JSON a control character takes six bytes.
    for number in range(25):
        task = await start(control, f"t{number}")
        await finish(control, task, output="\x1b" * 65_536)
    found, cursor, sizes = [], None, []
    while True:
        answer = await control.call("tasks.list", limit=1000, cursor=cursor)
        found += names(answer)
        sizes.append(len(answer["tasks"]))
        cursor = answer["next_cursor"]
        if cursor is None:
            break
    assert found == [f"t{number}" for number in reversed(range(25))]
    assert sizes == [21, 4]
    # The same bytes are in the events of their ends.
    ends = await control.call("events.list", types=["task"], limit=1000)
    assert ends["events"][-1]["data"]["name"] == "t24"
    assert len(ends["events"]) < 50
    events = await control.call(
        "events.list", types=["task"], limit=1000, since=ends["events"][0]["id"]
    )
    assert events["events"][-1]["data"]["name"] == "t24"
