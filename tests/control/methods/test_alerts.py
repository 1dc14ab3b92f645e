"""alerts.*: one list of memory and history, marks that repeat, and honest answers without it."""

import asyncio
import uuid
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from control.fix_control import NO_DATABASE, Control, open_control
from fix_node import Node
from fix_postgres import Postgres
from fix_records import alert, alert_record, no_room
from storewatch.wire import Code
from storewatchd.monitor import writer as writer_module
from storewatchd.store.ledger import write

UNKNOWN = str(uuid.UUID(int=7))


@pytest.fixture
async def stored(tmp_path: Path, postgres: Postgres) -> AsyncIterator[Control]:
    """A control plane with PostgreSQL, whose journal keeps only what is not confirmed."""
    async with open_control(tmp_path, settings=postgres.settings(), keep=0) as control:
        await control.store.connect()
        yield control


async def create(control: Control, title: str = "Fan", **more: Any) -> dict[str, Any]:
    """Create an alert, a second after the one before."""
    control.node.clock.forward(1)
    params = {"severity": "warning", "source": "test", "title": title, **more}
    made: dict[str, Any] = await control.call("alerts.create", **params)
    return made


async def create_over(control: Control, title: str = "Fan", **more: Any) -> dict[str, Any]:
    """Create an alert and resolve it."""
    made = await create(control, title, **more)
    ended: dict[str, Any] = await control.call("alerts.resolve", id=made["id"])
    return ended


def titles(answer: dict[str, Any]) -> list[str]:
    return [one["title"] for one in answer["alerts"]]


async def pages(control: Control, limit: int, **filters: Any) -> list[list[str]]:
    """Return the titles on every page of a list."""
    found = []
    cursor = None
    while True:
        answer = await control.call("alerts.list", limit=limit, cursor=cursor, **filters)
        found.append(titles(answer))
        cursor = answer["next_cursor"]
        if cursor is None:
            return found


# Create.


async def test_an_alert_is_created_with_all_that_was_said_of_it(control: Control) -> None:
    said: dict[str, Any] = {
        "severity": "critical",
        "source": "tape",
        "title": "Drive 2 is dirty",
        "message": "Clean it.",
        "resource_type": "drive",
        "resource_id": "2",
        "labels": {"library": "a"},
        "annotations": {"runbook": "clean"},
    }
    made = await control.call("alerts.create", **said)
    assert {name: made[name] for name in said} == said
    assert (made["state"], made["rule"], made["occurrences"]) == ("firing", "", 1)
    assert made["first_seen"] == "2026-01-01T12:00:00.000Z"


async def test_a_key_makes_it_the_same_alert_while_it_is_open(control: Control) -> None:
    first = await create(control, key="fan")
    again = await create(control, "Fan 2", key="fan")
    assert (again["id"], again["title"], again["occurrences"]) == (first["id"], "Fan 2", 2)
    await control.call("alerts.resolve", id=first["id"])
    assert (await create(control, key="fan"))["id"] != first["id"]


async def test_an_alert_that_is_not_created_again_in_its_time_ends(control: Control) -> None:
    made = await create(control, ttl=60)
    control.node.clock.forward(60)
    await control.node.settled()
    ended = await control.call("alerts.get", id=made["id"])
    assert (ended["alert"]["state"], ended["alert"]["resolved_by"]) == ("resolved", "expired")


async def test_a_request_with_an_idempotency_key_is_done_once_for_its_caller(
    control: Control,
) -> None:
    _, secret = await control.token("monitoring:write")
    first = await create(control, idempotency_key="k")
    assert await create(control, idempotency_key="k") == first
    assert (await create(control, idempotency_key="k", auth=secret))["id"] != first["id"]
    code, _ = await control.refusal(
        "alerts.create",
        severity="info",
        source="test",
        title="Other",
        idempotency_key="k",
    )
    assert code == Code.CONFLICT


# Marks.


async def test_an_acknowledgement_is_kept_with_its_person_and_note(control: Control) -> None:
    made = await create(control)
    _, secret = await control.token("monitoring:write")
    marked = await control.call("alerts.acknowledge", auth=secret, id=made["id"], note="seen")
    assert (marked["acknowledged"], marked["acknowledged_by"], marked["acknowledged_note"]) == (
        True,
        "token test",
        "seen",
    )
    assert await control.call("alerts.acknowledge", id=made["id"], note="again") == marked


async def test_a_resolution_is_kept_with_its_person(control: Control) -> None:
    made = await create(control)
    _, secret = await control.token("monitoring:write")
    ended = await control.call("alerts.resolve", auth=secret, id=made["id"], note="mended")
    assert (ended["state"], ended["resolved_by"]) == ("resolved", "token test")
    assert await control.call("alerts.resolve", id=made["id"]) == ended
    assert await control.call("alerts.acknowledge", id=made["id"]) == ended


async def test_who_resolves_at_the_same_time_gets_the_same_end(control: Control) -> None:
    made = await create(control)
    other = await control.connect()
    first, second = await asyncio.gather(
        control.call("alerts.resolve", id=made["id"]), other.call("alerts.resolve", id=made["id"])
    )
    assert first == second
    assert first["state"] == "resolved"
    other.client.close()


@pytest.mark.parametrize("method", ["alerts.acknowledge", "alerts.resolve"])
async def test_a_mark_on_what_only_history_has_changes_nothing(
    stored: Control, method: str
) -> None:
    over = await create_over(stored)
    await stored.drain()
    assert stored.node.monitor.view.alert(over["id"]) is None
    assert await stored.call(method, id=over["id"]) == over


NEEDS_ID = ["alerts.acknowledge", "alerts.resolve", "alerts.get"]


@pytest.mark.parametrize("method", NEEDS_ID)
async def test_what_cannot_be_an_id_is_not_found_whoever_is_away(
    control: Control, method: str
) -> None:
    assert await control.refusal(method, id="x") == (Code.NOT_FOUND, "there is no alert 'x'")


@pytest.mark.parametrize("method", NEEDS_ID)
async def test_an_id_that_only_history_may_know_waits_for_history(
    control: Control, method: str
) -> None:
    code, sentence = await control.refusal(method, id=UNKNOWN)
    assert code == Code.UNAVAILABLE
    assert "is not a recent one, and history is away: not connected yet" in sentence


@pytest.mark.parametrize("method", NEEDS_ID)
async def test_an_id_that_history_does_not_know_is_not_found(stored: Control, method: str) -> None:
    expected = (Code.NOT_FOUND, f"there is no alert {UNKNOWN!r}")
    assert await stored.refusal(method, id=UNKNOWN) == expected


@pytest.mark.parametrize("method", NEEDS_ID)
async def test_without_a_database_only_the_recent_ones_are_known(
    tmp_path: Path, method: str
) -> None:
    async with open_control(tmp_path, settings=NO_DATABASE) as control:
        code, sentence = await control.refusal(method, id=UNKNOWN)
    assert code == Code.NOT_FOUND
    assert "among the recent ones; no database is configured" in sentence


# List.


async def test_a_list_is_newest_first_and_says_when_history_is_missing(control: Control) -> None:
    for title in ("a", "b"):
        await create_over(control, title)
    await create(control, "c")
    answer = await control.call("alerts.list")
    assert titles(answer) == ["c", "b", "a"]
    assert (answer["complete"], answer["incomplete_reason"], answer["next_cursor"]) == (
        False,
        "history cannot be read: not connected yet",
        None,
    )


async def test_a_list_of_what_is_open_needs_no_history(control: Control) -> None:
    await create_over(control, "over")
    await create(control, "open")
    answer = await control.call("alerts.list", state=["firing", "pending"])
    assert titles(answer) == ["open"]
    assert (answer["complete"], answer["incomplete_reason"]) == (True, None)


@pytest.mark.parametrize("filters", [{}, {"state": ["firing"]}], ids=["all", "open"])
async def test_a_list_says_when_something_is_missing_from_what_can_be_read(
    stored: Control, filters: dict[str, Any]
) -> None:
    await create(stored, "open")
    stored.store.lacks = "it is on its way"
    answer = await stored.call("alerts.list", **filters)
    assert titles(answer) == ["open"]
    assert (answer["complete"], answer["incomplete_reason"]) == (False, "it is on its way")


async def test_an_alert_says_when_something_may_be_missing_from_its_story(stored: Control) -> None:
    made = await create(stored, "open")
    stored.store.lacks = "it is on its way"
    found = await stored.call("alerts.get", id=made["id"])
    assert (found["complete"], found["incomplete_reason"]) == (False, "it is on its way")


async def test_a_list_is_one_of_memory_and_history(stored: Control) -> None:
    for title in ("a", "b"):
        await create_over(stored, title)
    await create(stored, "open")
    await stored.drain()
    await create_over(stored, "unconfirmed")
    answer = await stored.call("alerts.list")
    assert titles(answer) == ["unconfirmed", "open", "b", "a"]
    assert [one["state"] for one in answer["alerts"]] == [
        "resolved",
        "firing",
        "resolved",
        "resolved",
    ]
    assert answer["complete"]


async def test_pages_follow_each_other_through_memory_and_history(stored: Control) -> None:
    for number in range(7):
        # Every other one stays open, so that memory and history alternate.
        await (create if number % 2 else create_over)(stored, str(number))
    await stored.drain()
    await create_over(stored, "7")
    assert await pages(stored, 3) == [["7", "6", "5"], ["4", "3", "2"], ["1", "0"]]
    assert await pages(stored, 4) == [["7", "6", "5", "4"], ["3", "2", "1", "0"]]


async def test_a_cursor_stays_true_while_alerts_come_and_end(stored: Control) -> None:
    made = [await create(stored, str(number)) for number in range(4)]
    first = await stored.call("alerts.list", limit=2)
    await create(stored, "new")
    await stored.call("alerts.resolve", id=made[0]["id"])
    await stored.call("alerts.resolve", id=made[3]["id"])
    await stored.drain()
    second = await stored.call("alerts.list", limit=2, cursor=first["next_cursor"])
    assert (titles(first), titles(second), second["next_cursor"]) == (
        ["3", "2"],
        ["1", "0"],
        None,
    )


async def store_end(stored: Control, made: dict[str, Any], version: int) -> None:
    """Have history know the end of an alert in a version, as after a journal was lost."""
    of = alert(made["node"], 1, id=made["id"], version=version)
    async with stored.store.connection() as connection:
        await write(connection, [alert_record(10**6, of)])


@pytest.mark.parametrize(
    ("version", "state", "over"),
    [
        pytest.param(1, "firing", [], id="memory's"),
        pytest.param(9, "resolved", [9], id="history's"),
    ],
)
async def test_of_two_versions_only_the_higher_one_is_shown(
    stored: Control, version: int, state: str, over: list[int]
) -> None:
    await create(stored, key="fan")
    made = await create(stored, key="fan")
    assert made["version"] == 2
    await store_end(stored, made, version)
    answer = await stored.call("alerts.list")
    assert [one["state"] for one in answer["alerts"]] == [state]
    answer = await stored.call("alerts.list", state=["resolved"])
    assert [one["version"] for one in answer["alerts"]] == over


async def test_what_history_could_not_be_looked_through_for_is_said(
    stored: Control, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("storewatchd.store.alerts.SCAN_LIMIT", 1)
    node = stored.node.monitor.node
    async with stored.store.connection() as connection:
        await write(connection, [alert_record(10**6 + n, alert(node, n)) for n in range(501)])
    answer = await stored.call("alerts.list", label=['library=~"a.*"'])
    assert not answer["complete"]
    assert "alerts were looked through: narrow the list" in answer["incomplete_reason"]


async def fill(node: Node, control: Control) -> None:
    """Create alerts that differ in every member that a list can be narrowed by."""
    await create(
        control,
        "one",
        severity="info",
        source="tape",
        resource_type="drive",
        resource_id="1",
        labels={"library": "a"},
    )
    await create(control, "two", severity="critical", source="scst", labels={"library": "b"})
    await create_over(control, "three", resource_type="drive", resource_id="2")
    four = await create(control, "four", severity="critical", source="tape")
    await control.call("alerts.acknowledge", id=four["id"])


FILTERS = [
    pytest.param({"severity": ["info", "critical"]}, ["four", "two", "one"], id="severity"),
    pytest.param({"source": ["tape"]}, ["four", "one"], id="source"),
    pytest.param({"state": ["resolved"]}, ["three"], id="state"),
    pytest.param({"acknowledged": True}, ["four"], id="acknowledged"),
    pytest.param({"acknowledged": False}, ["three", "two", "one"], id="not acknowledged"),
    pytest.param({"resource_type": "drive"}, ["three", "one"], id="resource type"),
    pytest.param({"resource_id": "2"}, ["three"], id="resource id"),
    pytest.param({"rule": "Full"}, [], id="rule"),
    pytest.param({"label": ['library="a"']}, ["one"], id="label"),
    pytest.param({"label": ['library=~"a|b"', 'library!="a"']}, ["two"], id="labels"),
    pytest.param({"since": "2026-01-01T12:00:03Z"}, ["four", "three"], id="since"),
    pytest.param({"until": "2026-01-01T12:00:02Z"}, ["one"], id="until"),
    pytest.param({"severity": ["critical"], "source": ["tape"]}, ["four"], id="combined"),
]


@pytest.mark.parametrize(("filters", "expected"), FILTERS)
async def test_filters_narrow_what_memory_has(
    control: Control, filters: dict[str, Any], expected: list[str]
) -> None:
    await fill(control.node, control)
    assert titles(await control.call("alerts.list", **filters)) == expected


@pytest.mark.parametrize(("filters", "expected"), FILTERS)
async def test_filters_narrow_history_alike(
    stored: Control, filters: dict[str, Any], expected: list[str]
) -> None:
    await fill(stored.node, stored)
    await stored.drain()
    answer = await stored.call("alerts.list", **filters)
    assert titles(answer) == expected
    assert answer["complete"]


@pytest.mark.parametrize(
    ("params", "sentence"),
    [
        pytest.param({"label": ["library"]}, "label: ", id="label"),
        pytest.param({"label": ['library=~"("']}, "label: ", id="expression"),
        pytest.param({"cursor": "?"}, "cursor: this is not a cursor that a list gave", id="cursor"),
        pytest.param(
            {"since": "yesterday"},
            "since: expected a time such as 2026-01-31T08:00:00Z, found 'yesterday'",
            id="since",
        ),
        pytest.param({"until": "2026-01-01T12:00:00"}, "until: expected a time", id="until"),
    ],
)
async def test_a_parameter_that_says_nothing_is_named(
    control: Control, params: dict[str, Any], sentence: str
) -> None:
    code, said = await control.refusal("alerts.list", **params)
    assert code == Code.INVALID_PARAMS
    assert said.startswith(sentence)


# Get.


async def test_an_alert_has_its_timeline_with_actors_and_notes(control: Control) -> None:
    made = await create(control)
    await control.call("alerts.acknowledge", id=made["id"], note="seen")
    await control.call("alerts.resolve", id=made["id"], note="mended")
    found = await control.call("alerts.get", id=made["id"])
    assert [(one["kind"], one["reason"].get("note")) for one in found["timeline"]] == [
        ("firing", None),
        ("acknowledged", "seen"),
        ("resolved", "mended"),
    ]
    (first, *_) = found["timeline"]
    assert first["id"] == f"{control.node.monitor.epoch}.{first['seq']}"
    assert first["timestamp"] == made["first_seen"]
    assert (found["complete"], found["incomplete_reason"]) == (
        False,
        "history cannot be read: not connected yet",
    )


async def test_a_timeline_is_one_of_journal_and_history(stored: Control) -> None:
    made = await create(stored)
    await stored.drain()
    assert await stored.node.journal.history(made["id"]) == []
    await stored.call("alerts.acknowledge", id=made["id"])
    found = await stored.call("alerts.get", id=made["id"])
    assert [one["kind"] for one in found["timeline"]] == ["firing", "acknowledged"]
    assert found["complete"]
    assert found["alert"]["acknowledged"]


async def test_what_both_have_is_in_a_timeline_once(tmp_path: Path, postgres: Postgres) -> None:
    async with open_control(tmp_path, settings=postgres.settings()) as stored:
        await stored.store.connect()
        made = await create_over(stored)
        await stored.drain()
        found = await stored.call("alerts.get", id=made["id"])
    assert [one["kind"] for one in found["timeline"]] == ["firing", "resolved"]


async def test_what_only_history_has_is_found_there(stored: Control) -> None:
    over = await create_over(stored)
    await stored.drain()
    found = await stored.call("alerts.get", id=over["id"])
    assert found["alert"] == over
    assert [one["kind"] for one in found["timeline"]] == ["firing", "resolved"]


async def test_what_is_told_and_not_on_disk_yet_is_in_a_timeline_too(
    control: Control, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer_module, "RETRY_S", 0.01)
    made = await create(control, ttl=60)
    with no_room():
        told = control.node.hear()
        control.node.clock.forward(60)
        await told.batch()
        found = await control.call("alerts.get", id=made["id"])
        assert [one["kind"] for one in found["timeline"]] == ["firing", "resolved"]
    await control.node.recovered()


async def test_a_task_with_an_alerts_id_is_not_in_its_timeline(control: Control) -> None:
    made = await create(control)
    await control.call("tasks.start", name="nightly", id=made["id"])
    found = await control.call("alerts.get", id=made["id"])
    assert [one["kind"] for one in found["timeline"]] == ["firing"]
