"""events.*: what happened, from the journal, and what happens, from the bus."""

from pathlib import Path
from typing import Any

import pytest

from control.fix_control import Control, open_control
from storewatch.wire import Code


async def create(control: Control, title: str, severity: str = "info") -> str:
    """Create an alert; return its id."""
    made = await control.call("alerts.create", severity=severity, source="test", title=title)
    return str(made["id"])


def titles(events: list[dict[str, Any]]) -> list[str]:
    return [event["data"]["title"] for event in events]


async def listed(control: Control, **params: Any) -> list[dict[str, Any]]:
    events: list[dict[str, Any]] = (await control.call("events.list", **params))["events"]
    return events


async def heard(control: Control, count: int) -> list[dict[str, Any]]:
    return [await control.event() for _ in range(count)]


# What happened.


async def test_the_newest_events_are_listed_oldest_first(control: Control) -> None:
    for title in ("a", "b", "c"):
        await create(control, title)
    assert titles(await listed(control, limit=2)) == ["b", "c"]


async def test_what_is_only_written_is_not_listed(control: Control) -> None:
    await control.call("repositories.add", name="a", path="/a")
    assert [event["kind"] for event in await listed(control)] == ["repository_added"]


async def test_events_are_narrowed_by_type(control: Control) -> None:
    await create(control, "a")
    await control.call("repositories.add", name="a", path="/a")
    await control.call("tasks.start", name="nightly")
    found = await listed(control, types=["storage", "task"])
    assert [event["type"] for event in found] == ["storage", "task"]
    assert await listed(control, types=[]) == []


async def test_a_list_goes_on_after_an_event(control: Control) -> None:
    for title in ("a", "b", "c", "d"):
        await create(control, title)
    (first, *_) = await listed(control)
    assert titles(await listed(control, since=first["id"], limit=2)) == ["b", "c"]
    assert not (await control.call("events.list", since=first["id"]))["gap"]


async def test_a_list_says_that_something_is_missing(control: Control) -> None:
    await create(control, "a")
    answer = await control.call("events.list", since="0123.7")
    assert (titles(answer["events"]), answer["gap"]) == (["a"], True)


async def test_what_is_no_longer_kept_is_a_gap(tmp_path: Path) -> None:
    async with open_control(tmp_path, keep=2) as control:
        await create(control, "a")
        (first,) = await listed(control)
        await create(control, "b")
        await create(control, "c")
        await control.node.journal.confirm("drain", control.node.monitor.last_seq)
        answer = await control.call("events.list", since=first["id"])
    assert (titles(answer["events"]), answer["gap"]) == (["c"], True)


async def test_a_list_begins_with_the_first_event_of_a_time(control: Control) -> None:
    await create(control, "a")
    control.node.clock.forward(10)
    for title in ("b", "c", "d"):
        await create(control, title)
    (*_, last) = await listed(control)
    answer = await control.call("events.list", limit=2, **{"from": last["timestamp"]})
    assert (titles(answer["events"]), answer["gap"]) == (["b", "c"], False)
    later = await control.call("events.list", **{"from": "2100-01-01T00:00:00Z"})
    assert later == {"events": [], "gap": False}


async def test_events_of_a_time_that_are_no_longer_kept_are_a_gap(tmp_path: Path) -> None:
    async with open_control(tmp_path, keep=2) as control:
        for title in ("a", "b"):
            await create(control, title)
        await control.node.journal.confirm("drain", control.node.monitor.last_seq)
        answer = await control.call("events.list", **{"from": "2020-01-01T00:00:00Z"})
    assert (titles(answer["events"]), answer["gap"]) == (["b"], True)


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        pytest.param({"from": "soon"}, "from: expected a time", id="no time"),
        pytest.param(
            {"from": "2026-01-01T12:00:00Z", "since": "a.1"}, "does not go with since", id="both"
        ),
    ],
)
async def test_a_beginning_that_is_none_is_refused(
    control: Control, asked: dict[str, str], said: str
) -> None:
    await control.client.say(
        {"jsonrpc": "2.0", "method": "events.list", "params": asked, "id": "q"}
    )
    error = (await control.client.hear())["error"]
    assert error["code"] == Code.INVALID_PARAMS
    assert said in error["message"]


# What happens.


async def test_a_subscriber_hears_every_event_once_and_in_order(control: Control) -> None:
    answer = await control.call("events.subscribe", types=["alert"])
    for title in ("a", "b", "c"):
        await create(control, title)
    found = await heard(control, 3)
    assert titles(found) == ["a", "b", "c"]
    assert found == await listed(control)
    assert (answer["gap"], answer["snapshot"]) == (False, None)
    assert answer["last_id"].startswith(control.node.monitor.epoch)


async def test_a_subscriber_hears_only_what_it_asked_for(control: Control) -> None:
    await control.call("events.subscribe", types=["alert"], severity=["critical", "warning"])
    for severity in ("info", "warning", "critical"):
        await create(control, severity, severity)
    assert titles(await heard(control, 2)) == ["warning", "critical"]


async def test_a_subscriber_may_ask_for_what_is_so_now(control: Control) -> None:
    open_id = await create(control, "open")
    over_id = await create(control, "over")
    await control.call("alerts.resolve", id=over_id)
    answer = await control.call("events.subscribe", snapshot=True)
    snapshot = answer["snapshot"]
    assert [one["id"] for one in snapshot["alerts"]] == [open_id]
    assert snapshot["health"] == control.health.report()
    assert snapshot["metrics"] == control.node.monitor.snapshot()


async def test_a_subscriber_goes_on_after_the_last_event_that_it_saw(control: Control) -> None:
    await create(control, "seen")
    (seen,) = await listed(control)
    for title in ("missed 1", "missed 2"):
        await create(control, title)
    answer = await control.call("events.subscribe", types=["alert"], since=seen["id"])
    await create(control, "live")
    assert titles(await heard(control, 3)) == ["missed 1", "missed 2", "live"]
    assert not answer["gap"]


async def test_what_was_missed_is_narrowed_as_what_happens(control: Control) -> None:
    await create(control, "seen")
    (seen,) = await listed(control)
    await create(control, "missed info")
    await create(control, "missed critical", "critical")
    await control.call("repositories.add", name="a", path="/a")
    await control.call("events.subscribe", types=["alert"], severity=["critical"], since=seen["id"])
    await create(control, "live critical", "critical")
    assert titles(await heard(control, 2)) == ["missed critical", "live critical"]


@pytest.mark.parametrize(
    "since",
    [
        pytest.param("0123.7", id="of another journal"),
        pytest.param("{epoch}.999999", id="beyond the end"),
    ],
)
async def test_a_cursor_that_is_not_known_is_told_first(control: Control, since: str) -> None:
    since = since.format(epoch=control.node.monitor.epoch)
    await create(control, "kept")
    answer = await control.call("events.subscribe", types=["alert"], since=since)
    gap, kept = await heard(control, 2)
    assert answer["gap"]
    assert (gap["type"], gap["kind"], gap["data"]["since"]) == ("system", "gap", since)
    assert since in gap["data"]["reason"]
    # Who is cut off here goes on from before what is kept.
    assert gap["seq"] < kept["seq"]
    assert titles([kept]) == ["kept"]


@pytest.mark.parametrize("method", ["events.subscribe", "events.list"])
@pytest.mark.parametrize("since", ["nonsense", "a.b", ".7", "a.-1", "a.7.", "a" * 99 + ".1"])
async def test_what_can_be_no_event_is_refused(control: Control, method: str, since: str) -> None:
    code, told = await control.refusal(method, since=since)
    assert (code, told) == (
        Code.INVALID_PARAMS,
        f"since: expected the id of an event, found {since!r}",
    )


async def test_all_that_is_kept_is_told_after_a_gap(tmp_path: Path) -> None:
    async with open_control(tmp_path, keep=4) as control:
        for title in ("a", "b", "c"):
            await create(control, title)
        (first, *_) = await listed(control)
        await control.node.journal.confirm("drain", control.node.monitor.last_seq)
        await control.call("events.subscribe", types=["alert"], since=first["id"])
        gap, *kept = await heard(control, 3)
    assert (gap["kind"], titles(kept)) == ("gap", ["b", "c"])


async def test_a_cursor_of_an_earlier_start_goes_on_without_a_gap(tmp_path: Path) -> None:
    async with open_control(tmp_path) as control:
        await create(control, "seen")
        (seen,) = await listed(control)
        await create(control, "before the restart")
    async with open_control(tmp_path) as control:
        answer = await control.call("events.subscribe", types=["alert"], since=seen["id"])
        await create(control, "after the restart")
        found = await heard(control, 2)
    assert titles(found) == ["before the restart", "after the restart"]
    assert not answer["gap"]


async def test_who_unsubscribes_hears_nothing_more(control: Control) -> None:
    answer = await control.call("events.subscribe", types=["alert"])
    assert await control.call("events.unsubscribe", subscription=answer["subscription"]) is True
    other = await control.call("events.subscribe", types=["alert"])
    await create(control, "a")
    notice = await control.notice()
    assert notice["params"]["subscription"] == other["subscription"]


async def test_a_subscription_that_is_not_there_cannot_be_ended(control: Control) -> None:
    assert await control.refusal("events.unsubscribe", subscription="s9") == (
        Code.NOT_FOUND,
        "this connection has no subscription 's9'",
    )
