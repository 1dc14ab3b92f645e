"""The single writer: nothing is listed or told before it is on disk, and nothing is lost."""

import asyncio
import json
import logging
import sqlite3
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, closing
from pathlib import Path
from typing import Any

import pytest

from core.fix_engine import rule, rule_set
from fakes import NOON, HandClock
from fix_node import PROBE, Node, events, kinds, open_node, running, running_node
from fix_records import alert, no_room
from storewatchd.core.commands import (
    AcknowledgeAlert,
    AddRepository,
    Announce,
    Command,
    CreateAlert,
    ProgressTask,
    PutToken,
    ReplaceRules,
    ResolveAlert,
    StartTask,
)
from storewatchd.core.frames import Frame, News, Row, Scope
from storewatchd.core.model import AlertState, EventType, Severity
from storewatchd.core.permissions import READ_ONLY, Token, digest_of
from storewatchd.core.queries import AlertQuery
from storewatchd.core.tasks import TaskState
from storewatchd.errors import JournalError, NotFound, Unavailable
from storewatchd.journal import DRAIN, NOTICE, StateChange, StoredRecord
from storewatchd.monitor import monitor as monitor_module
from storewatchd.monitor import restore as restore_module
from storewatchd.monitor import writer as writer_module
from storewatchd.monitor.judge import SNAPSHOT_INTERVAL_S
from storewatchd.probes.storage import REPOSITORIES

ALL = AlertQuery()
CREATE = CreateAlert(actor="ann", severity=Severity.INFO, source="s", title="Fan")


@pytest.fixture(autouse=True)
def short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writer_module, "RETRY_S", 0.01)
    monkeypatch.setattr(monitor_module, "LONGEST_WAIT_S", 0.01)


@pytest.fixture
async def node(tmp_path: Path) -> AsyncIterator[Node]:
    """A running node with one rule, that a repository is over 80 % full."""
    async with running_node(tmp_path, rules=rule()) as node:
        yield node


async def reopened(directory: Path) -> list[StoredRecord]:
    """Return the records that a start finds."""
    async with open_node(directory) as node:
        return await node.records()


def titles(node: Node) -> list[str]:
    return [alert.title for alert in node.monitor.view.alerts(ALL, None)]


# From the inbox to the disk, to the lists, to the subscribers.


async def test_what_is_answered_is_on_disk_listed_and_told(node: Node) -> None:
    told = node.hear()
    made = await node.create()
    assert await node.lines() == [("alert", "firing"), ("audit", "CreateAlert")]
    assert node.monitor.view.alert(made.id) == made
    (event,) = await events(told)
    assert json.loads(event.event.data) == made.to_json()
    (record, _) = await node.records()
    assert (event.event.epoch, event.event.seq) == (record.epoch, record.seq)


async def test_an_alert_of_a_rule_is_on_disk_listed_and_told(node: Node) -> None:
    told = node.hear()
    await node.see(a=0.9)
    assert await node.lines() == [("alert", "firing")]
    assert titles(node) == ["Full"]
    assert await kinds(told) == [("alert", "firing")]
    assert node.monitor.counts() == {"firing": 1, "pending": 0, "acknowledged": 0}


async def test_a_failed_look_keeps_an_alert_firing(node: Node) -> None:
    await node.see(a=0.9)
    told = node.hear()
    await node.fail()
    assert await kinds(told) == [("alert", "stale")]
    assert node.monitor.counts()["firing"] == 1


async def test_scopes_that_are_gone_resolve_their_alerts(node: Node) -> None:
    await node.see(a=0.9)
    told = node.hear()
    await node.monitor.expect(PROBE, ())
    assert await kinds(told) == [("alert", "resolved")]


async def test_a_batch_keeps_the_order_in_which_it_came(tmp_path: Path) -> None:
    async with open_node(tmp_path) as node:
        told = node.hear(EventType.ALERT)
        asked = [asyncio.ensure_future(node.create(f"Fan {number}")) for number in range(20)]
        await asyncio.wait(asked, timeout=0)
        async with running(node):
            made = [await one for one in asked]
        heard = [json.loads(one.event.data)["title"] for one in await events(told)]
    expected = [f"Fan {number}" for number in range(20)]
    assert [alert.title for alert in made] == heard == expected


async def test_more_than_a_batch_takes_is_taken_in_turn(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(monitor_module, "BATCH_LIMIT", 3)
    async with open_node(tmp_path) as node:
        asked = [asyncio.ensure_future(node.create(f"Fan {number}")) for number in range(8)]
        await asyncio.wait(asked, timeout=0)
        async with running(node):
            await asyncio.wait(asked)
        assert sorted(titles(node)) == [f"Fan {number}" for number in range(8)]


async def test_numbers_rise_over_what_is_told_and_what_is_only_written(node: Node) -> None:
    told = node.hear(*EventType)
    await node.create()
    await node.monitor.command(AddRepository("ann", "a", "/a"))
    heard = [one.event.seq for one in await events(told)]
    written = [record.seq for record in await node.records()]
    assert heard == sorted(heard)
    assert written == sorted(written)
    assert node.monitor.last_seq == heard[-1]


async def test_who_asked_for_what_is_written_and_not_told(node: Node) -> None:
    told = node.hear()
    made = await node.create()
    await node.monitor.command(AcknowledgeAlert("bob", made.id))
    assert [(line["actor"], line["action"], line["target"]) for line in await node.audit()] == [
        ("ann", "CreateAlert", "Fan"),
        ("bob", "AcknowledgeAlert", made.id),
    ]
    assert await kinds(told) == [("alert", "firing"), ("alert", "acknowledged")]
    assert node.monitor.counts() == {"firing": 1, "pending": 0, "acknowledged": 1}


async def test_progress_is_kept_for_a_restart_and_told_without_a_record(node: Node) -> None:
    run = await node.start_task()
    before = await node.lines()
    told = node.hear()
    moved = await node.monitor.command(ProgressTask(actor="ann", id=run.id, percent=40.0))
    assert await kinds(told) == [("task", "progress")]
    assert node.monitor.view.run(run.id) == moved
    assert await node.lines() == before
    kept = json.loads((await node.journal.state("task"))[run.id])
    assert kept["progress_percent"] == 40.0


async def test_a_refusal_is_an_error_and_changes_nothing(node: Node) -> None:
    with pytest.raises(NotFound, match="no open alert"):
        await node.monitor.command(ResolveAlert("ann", "none"))
    assert await node.records() == []


async def test_a_refusal_waits_for_what_it_rests_on(node: Node) -> None:
    made = await node.create()
    both = [ResolveAlert("ann", made.id), ResolveAlert("bob", made.id)]
    done = asyncio.gather(*map(node.monitor.command, both), return_exceptions=True)
    _, refused = await done
    assert isinstance(refused, NotFound)
    known = node.monitor.view.alert(made.id)
    assert known is not None
    assert known.resolved_by == "ann"


async def test_who_stops_waiting_does_not_undo_what_was_asked(tmp_path: Path) -> None:
    async with open_node(tmp_path) as node:
        asked = [asyncio.ensure_future(node.create(title)) for title in ("given up", "kept")]
        await asyncio.wait(asked, timeout=0)
        asked[0].cancel()
        async with running(node):
            await asked[1]
        assert sorted(titles(node)) == ["given up", "kept"]


async def test_a_repeat_gets_its_answer_and_writes_nothing(node: Node) -> None:
    run = await node.start_task(id="r1")
    before = await node.lines()
    assert await node.start_task(id="r1") == run
    assert await node.lines() == before


async def test_what_was_done_under_a_key_gets_the_same_answer_after_a_restart(
    tmp_path: Path,
) -> None:
    command = CreateAlert(actor="ann", severity=Severity.INFO, source="s", title="Fan")
    async with running_node(tmp_path) as node:
        made = await node.monitor.create_once("k", command)
        assert await node.monitor.create_once("k", command) == made
    async with running_node(tmp_path) as node:
        assert await node.monitor.create_once("k", command) == made
        assert titles(node) == ["Fan"]


async def test_an_answer_that_can_no_longer_be_read_is_not_made_up(node: Node) -> None:
    command = CreateAlert(actor="ann", severity=Severity.INFO, source="s", title="Fan")
    await node.monitor.create_once("k", command)
    await node.journal.append([], [StateChange("answer", "k", None)])
    with pytest.raises(Unavailable, match="can no longer be read"):
        await node.monitor.create_once("k", command)
    assert titles(node) == ["Fan"]


# The passing of time.


async def test_a_snapshot_is_told_each_interval_and_never_written(node: Node) -> None:
    told = node.hear(EventType.METRICS)
    await node.settled()
    (first,) = await events(told)
    node.clock.forward(SNAPSHOT_INTERVAL_S)
    (second,) = await events(told)
    assert (first.event.kind, second.event.time) == ("snapshot", NOON + SNAPSHOT_INTERVAL_S)
    assert json.loads(second.event.data)["timestamp"] == "2026-01-01T12:00:30.000Z"
    assert await node.records() == []


async def test_when_an_alert_was_last_seen_is_shown_with_the_next_snapshot(node: Node) -> None:
    await node.see(a=0.9)
    (shown,) = node.monitor.view.all_alerts()
    told = node.hear(EventType.METRICS)
    node.clock.forward(SNAPSHOT_INTERVAL_S)
    await node.see(a=0.9)
    await events(told)
    (later,) = node.monitor.view.all_alerts()
    assert (later.last_seen, later.version) == (NOON + SNAPSHOT_INTERVAL_S, shown.version)


async def test_what_time_ends_is_told_without_an_input(node: Node) -> None:
    await node.create(ttl_s=60.0)
    told = node.hear()
    node.clock.forward(60)
    assert await kinds(told) == [("alert", "resolved")]


async def test_the_writer_says_that_it_is_alive_with_nothing_to_do(node: Node) -> None:
    for _ in range(3):
        await node.beat()
    assert await node.records() == []


# Clocks.


@pytest.mark.parametrize("jump_s", [3600, -3600])
async def test_a_clock_that_is_set_is_told_and_freezes_nothing(
    node: Node, caplog: pytest.LogCaptureFixture, jump_s: float
) -> None:
    await node.see(a=0.9)
    told = node.hear()
    node.clock.jump(jump_s)
    await node.settled()
    (event,) = await events(told)
    assert (event.event.kind, event.event.data) == ("clock_jumped", b'{"seconds":%.1f}' % jump_s)
    assert event.event.time == NOON + jump_s
    (alert,) = node.monitor.view.all_alerts()
    assert (alert.state, alert.stale_since) == (AlertState.FIRING, None)
    assert f"the wall clock was set by {jump_s:+.3f} s" in caplog.messages


async def test_until_the_books_know_that_a_clock_was_set_they_are_read_by_the_old_one(
    node: Node,
) -> None:
    await node.see(a=0.5)
    node.clock.jump(3600)
    at = node.monitor.now().wall
    (reading,) = node.books.table.read("full", at)
    assert (at, reading.exact) == (NOON, True)
    await node.settled()
    assert node.monitor.now().wall == NOON + 3600


async def test_after_a_suspend_somebody_is_asked_to_look_again(node: Node) -> None:
    calls: list[float] = []
    node.monitor.resumed = lambda: calls.append(node.clock.wall())
    await node.settled()
    node.clock.suspend(3600)
    await node.settled()
    await node.beat()
    assert calls == [NOON + 3600]


# A disk that refuses.


async def test_while_the_disk_refuses_what_is_seen_is_judged_and_told(node: Node) -> None:
    await node.settled()
    told = node.hear()
    with no_room():
        await node.see(a=0.9)
        await node.see(a=0.1, b=0.95)
        expected = [("alert", "firing"), ("alert", "firing"), ("alert", "resolved")]
        assert await kinds(told) == expected
        assert node.monitor.counts()["firing"] == 1
    await node.recovered()
    assert await kinds(told) == [("system", "journal_recovered")]
    expected += [("system", "journal_recovered"), ("audit", "Announce")]
    assert await node.lines() == expected


async def test_while_the_disk_refuses_time_goes_on(node: Node) -> None:
    made = await node.create(ttl_s=60.0)
    told = node.hear()
    with no_room():
        node.clock.forward(60)
        (ended,) = await events(told)
        assert (ended.event.kind, ended.event.unjournalled) == ("resolved", True)
    await node.recovered()
    assert made.id not in await node.journal.state("alert")


async def test_the_command_that_found_the_disk_refusing_is_done_and_says_what_it_is_not(
    node: Node,
) -> None:
    await node.settled()
    told = node.hear()
    with no_room():
        with pytest.raises(Unavailable, match=r"^state\.db: .*: it is done, and not on disk yet$"):
            await node.create()
        assert await kinds(told) == [("alert", "firing")]
    await node.recovered()
    assert titles(node) == ["Fan"]
    assert (await node.lines())[:2] == [("alert", "firing"), ("audit", "CreateAlert")]


async def test_what_was_refused_for_itself_says_so_also_then(node: Node) -> None:
    await node.settled()
    with no_room():
        both = (node.create(), node.monitor.command(ResolveAlert("ann", "none")))
        done, refused = await asyncio.gather(*both, return_exceptions=True)
    assert [type(done), type(refused)] == [Unavailable, NotFound]


@pytest.mark.parametrize(
    "command",
    [
        CreateAlert(actor="ann", severity=Severity.INFO, source="s", title="Refused"),
        StartTask(actor="ann", name="nightly"),
        AddRepository("ann", "a", "/a"),
    ],
    ids=lambda command: type(command).__name__,
)
async def test_while_the_disk_refuses_commands_are_refused_and_change_nothing(
    node: Node, command: Command
) -> None:
    await node.settled()
    with no_room():
        await node.see(a=0.9)
        with pytest.raises(Unavailable, match=r"^state\.db: .*: nothing was changed$"):
            await node.monitor.command(command)
        with pytest.raises(Unavailable, match="nothing was changed"):
            await node.monitor.create_once("k", CREATE)
    await node.recovered()
    assert titles(node) == ["Full"]
    assert (list(node.books.repositories), node.books.tasks.runs()) == ([], [])
    assert (await node.monitor.create_once("k", CREATE)).title == "Fan"


async def test_while_the_disk_refuses_the_daemon_still_says_what_it_has_to(node: Node) -> None:
    await node.settled()
    told = node.hear()
    with no_room():
        await node.see(a=0.9)
        assert await node.monitor.command(ReplaceRules("SIGHUP", rule_set(rule()))) == 1
        assert await kinds(told) == [("alert", "firing"), ("system", "rules_reloaded")]
    await node.recovered()


async def test_a_refusal_of_numbers_holds_nothing_up_either(tmp_path: Path) -> None:
    async with AsyncExitStack() as stack:
        node = await stack.enter_async_context(open_node(tmp_path))
        told = node.hear(EventType.METRICS)
        with no_room():
            # The first numbers of an epoch are reserved on disk.
            await stack.enter_async_context(running(node))
            (first,) = await events(told)
            assert node.monitor.journal_problem is not None
            # It is never written, so that it is as good as ever.
            assert not first.event.unjournalled
        await node.recovered()
        made = await node.create()
    numbers = [record.seq for record in await reopened(tmp_path)]
    assert numbers == sorted(set(numbers))
    assert first.event.seq < min(numbers)
    assert made.title == "Fan"


async def test_a_stop_while_the_disk_refuses_answers_who_waits(tmp_path: Path) -> None:
    async with open_node(tmp_path) as node, running(node) as work:
        await node.settled()
        with no_room():
            asked = [asyncio.ensure_future(node.create(title)) for title in ("inbox", "given up")]
            await asyncio.wait(asked, timeout=0)
            asked[1].cancel()
            work.cancel()
            done = await asyncio.gather(*asked, return_exceptions=True)
        assert [str(one) for one in done] == ["the daemon stops", ""]
        assert isinstance(done[0], Unavailable)


async def test_what_was_told_is_written_at_the_end_if_the_disk_takes_it_then(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer_module, "RETRY_S", 3600.0)
    async with running_node(tmp_path, rules=rule()) as node:
        await node.settled()
        with no_room():
            await node.see(a=0.9)
        assert await node.lines() == []
    assert [record.kind for record in await reopened(tmp_path)] == ["firing"]


async def test_what_was_told_while_the_disk_refused_comes_back_after_a_restart(
    tmp_path: Path,
) -> None:
    async with running_node(tmp_path, rules=rule()) as node:
        await node.settled()
        with no_room():
            await node.see(a=0.9)
        await node.recovered()
        shown = list(node.monitor.view.all_alerts())
    async with open_node(tmp_path, rules=rule()) as node:
        assert list(node.monitor.view.all_alerts()) == shown


async def test_what_the_journal_has_to_tell_is_told_once_over_restarts(tmp_path: Path) -> None:
    async with running_node(tmp_path) as node:
        await node.create("kept")
    (tmp_path / "state.db").write_bytes(b"garbage" * 1000)
    async with open_node(tmp_path) as node:
        told = node.hear()
        async with running(node):
            (event,) = await events(told)
        assert (event.event.type, event.event.kind) == (EventType.SYSTEM, "journal_damaged")
        assert json.loads(event.event.data)["path"].startswith(str(tmp_path / "state.db.damaged-"))
    async with open_node(tmp_path) as node:
        assert await node.journal.state(NOTICE) == {}
        assert node.journal.take_notices() == []


# Restarts.


async def test_open_alerts_come_back_with_their_marks_and_timers(tmp_path: Path) -> None:
    clock = HandClock()
    async with running_node(tmp_path, rules=rule(), clock=clock) as node:
        await node.see(a=0.9)
        made = await node.create(ttl_s=60.0)
        marked = await node.monitor.command(AcknowledgeAlert("ann", made.id, "seen"))
        before = {alert.id: alert for alert in node.monitor.view.all_alerts()}
    clock.forward(50)
    async with running_node(tmp_path, rules=rule(), clock=clock) as node:
        assert {alert.id: alert for alert in node.monitor.view.all_alerts()} == before
        assert node.monitor.view.alert(made.id) == marked
        await node.settled()
        told = node.hear()
        clock.forward(10)
        (event,) = await events(told)
        assert (event.event.kind, json.loads(event.event.data)["id"]) == ("resolved", made.id)


async def test_what_is_over_comes_back_until_it_is_confirmed(tmp_path: Path) -> None:
    async with running_node(tmp_path) as node:
        gone = await node.create("confirmed")
        await node.monitor.command(ResolveAlert("ann", gone.id))
        run_gone = await node.start_task("confirmed")
        await node.finish_task(run_gone.id)
        await node.journal.confirm(DRAIN, node.monitor.last_seq + 1)
        over = await node.create("unconfirmed")
        await node.monitor.command(ResolveAlert("ann", over.id))
        run = await node.start_task("unconfirmed")
        await node.finish_task(run.id, exit_status=1)
    async with open_node(tmp_path) as node:
        assert titles(node) == ["unconfirmed"]
        (shown,) = node.monitor.view.all_alerts()
        assert (shown.state, shown.resolved_by) == (AlertState.RESOLVED, "ann")
        (run_shown,) = node.monitor.view.runs(None, None, None)
        assert (run_shown.id, run_shown.state) == (run.id, TaskState.FAILED)
        node.monitor.confirmed(node.journal.last_seq)
        assert titles(node) == []
        assert list(node.monitor.view.runs(None, None, None)) == []


async def test_an_alert_whose_end_cannot_be_read_is_not_shown_as_firing(tmp_path: Path) -> None:
    async with running_node(tmp_path) as node:
        made = await node.create()
        await node.monitor.command(ResolveAlert("ann", made.id))
    with closing(sqlite3.connect(tmp_path / "state.db")) as database, database:
        database.execute("DELETE FROM record WHERE kind = 'resolved'")
    async with open_node(tmp_path) as node:
        assert titles(node) == []


async def test_pages_of_unconfirmed_records_are_all_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(restore_module, "PAGE", 2)
    async with running_node(tmp_path) as node:
        for number in range(5):
            made = await node.create(f"Fan {number}")
            await node.monitor.command(ResolveAlert("ann", made.id))
    async with open_node(tmp_path) as node:
        assert sorted(titles(node)) == [f"Fan {number}" for number in range(5)]


async def test_a_running_task_comes_back_as_far_as_it_was(tmp_path: Path) -> None:
    async with running_node(tmp_path) as node:
        run = await node.start_task()
        await node.monitor.command(ProgressTask(actor="ann", id=run.id, percent=40.0))
    async with running_node(tmp_path) as node:
        known = node.monitor.view.run(run.id)
        assert known is not None
        assert (known.progress_percent, known.state) == (40.0, TaskState.RUNNING)
        assert [one.value for one in node.books.table.read("task_running", NOON)] == [1.0]
        assert (await node.finish_task(run.id)).state is TaskState.COMPLETED


async def test_what_is_known_of_a_task_comes_back(tmp_path: Path) -> None:
    async with running_node(tmp_path) as node:
        run = await node.start_task()
        await node.finish_task(run.id, exit_status=3)
    async with open_node(tmp_path) as node:
        (failure,) = node.books.table.read("task_last_failure_info", NOON)
        assert failure.labels == {
            "task": "nightly",
            "exit_status": "3",
            "signal": "",
            "output": "",
        }


async def test_repositories_their_mount_points_and_tokens_come_back(tmp_path: Path) -> None:
    token = Token(
        id="t1",
        name="grafana",
        permissions=READ_ONLY,
        digest=digest_of("secret"),
        created_at=NOON,
        created_by="ann",
    )
    async with running_node(tmp_path) as node:
        await node.monitor.command(AddRepository("ann", "a", "/a"))
        await node.monitor.command(PutToken("ann", token))
        row = Row(("a", "/a", "/mnt", "ext4", "added"), 1.0)
        await node.monitor.feed(Frame(Scope(REPOSITORIES), NOON, rows={"repo_info": [row]}))
        await node.settled()
    async with open_node(tmp_path) as node:
        assert [(one.name, one.path) for one in node.books.repositories] == [("a", "/a")]
        assert node.books.repositories.mount_point("/a") == "/mnt"
        assert node.books.tokens.verify("secret", NOON) == token


async def test_the_node_stays_and_the_epoch_is_new_after_a_restart(tmp_path: Path) -> None:
    async with running_node(tmp_path) as node:
        await node.create()
        before = (node.monitor.node, node.monitor.epoch, node.monitor.last_seq)
    async with open_node(tmp_path) as node:
        assert node.monitor.node == before[0]
        assert node.monitor.epoch != before[1]
        assert node.monitor.last_seq >= before[2]


# What people are told.


@pytest.mark.parametrize(
    ("severity", "level"),
    [
        (Severity.INFO, logging.INFO),
        (Severity.WARNING, logging.WARNING),
        (Severity.CRITICAL, logging.CRITICAL),
    ],
)
async def test_a_firing_alert_is_logged_by_its_severity_with_its_fields(
    node: Node, caplog: pytest.LogCaptureFixture, severity: Severity, level: int
) -> None:
    caplog.set_level(logging.INFO, writer_module.__name__)
    made = await node.create(severity=severity, resource_type="fan", resource_id="3")
    (entry,) = caplog.records
    assert (entry.levelno, entry.getMessage()) == (level, f"{severity} firing: Fan")
    fields = vars(entry)
    assert (fields["ALERT_ID"], fields["SEVERITY"], fields["RESOURCE"]) == (
        made.id,
        severity.value,
        "fan/3",
    )


async def test_what_a_person_did_is_logged_with_the_person(
    node: Node, caplog: pytest.LogCaptureFixture
) -> None:
    made = await node.create()
    caplog.set_level(logging.INFO, writer_module.__name__)
    await node.monitor.command(AcknowledgeAlert("bob", made.id))
    await node.monitor.command(ResolveAlert("eve", made.id))
    assert caplog.messages[-2:] == [
        "warning acknowledged: Fan (by bob)",
        "warning resolved: Fan (by eve)",
    ]
    ids = {vars(entry)["MESSAGE_ID"] for entry in caplog.records[-2:]}
    assert len(ids) == 2


async def test_failing_tasks_are_those_that_a_rule_has_an_open_alert_for(node: Node) -> None:
    failed: dict[str, Any] = {"source": "task", "state": AlertState.FIRING}
    for number, changes in enumerate(
        (
            {**failed, "resource_id": "nightly"},
            {**failed, "resource_id": "weekly", "state": AlertState.RESOLVED},
            {**failed, "resource_id": "somebody's", "rule": ""},
            {**failed, "resource_id": "no task", "source": "storage"},
        )
    ):
        node.monitor.view.put_alert(alert("node", number, **changes), 1)
    assert node.monitor.failing_tasks() == {"nightly"}


async def test_an_announcement_is_told_and_audited_as_the_daemons(node: Node) -> None:
    told = node.hear()
    await node.monitor.command(Announce(EventType.SYSTEM, "noted", {"path": "/x"}))
    assert await kinds(told) == [("system", "noted")]
    assert [line["actor"] for line in await node.audit()] == ["storewatchd"]


async def test_ids_are_ordered_by_their_moment(node: Node) -> None:
    ids = [node.monitor.new_id(node.monitor.now().wall + seconds) for seconds in (0, 1, 2)]
    assert ids == sorted(ids)


async def test_the_snapshot_is_of_this_node_and_moment(node: Node) -> None:
    await node.monitor.command(AddRepository("ann", "a", "/a"))
    shown: dict[str, Any] = node.monitor.snapshot()
    assert (shown["node"], shown["timestamp"]) == (node.monitor.node, "2026-01-01T12:00:00.000Z")
    assert shown["storage"]["total_repositories"] == 1.0


async def test_a_full_inbox_makes_its_feeders_wait(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(monitor_module, "INBOX_LIMIT", 1)
    async with open_node(tmp_path) as node:
        command = CreateAlert(actor="ann", severity=Severity.INFO, source="s", title="Fan")
        asked = [asyncio.ensure_future(node.monitor.command(command)) for _ in range(3)]
        await asyncio.wait(asked, timeout=0)
        async with running(node):
            await asyncio.wait(asked)
        assert titles(node) == ["Fan"] * 3


async def test_a_journal_that_is_closed_is_told_as_one_that_refuses(node: Node) -> None:
    await node.settled()
    await node.journal.close()
    with pytest.raises(JournalError):
        await node.records()
    with pytest.raises(Unavailable, match="the journal is closed: it is done, and not on disk yet"):
        await node.create()


async def test_what_a_look_tells_as_news_is_an_event(tmp_path: Path) -> None:
    async with running_node(tmp_path) as node:
        told = node.hear()
        news = News(EventType.TAPE, "loaded", {"barcode": "A1"})
        await node.monitor.feed(Frame(Scope(PROBE), node.clock.wall(), news=(news,)))
        assert ("tape", "loaded") in await kinds(told)
    async with open_node(tmp_path) as node:
        kept = [one for one in await node.records() if one.type == "tape"]
        assert [(one.kind, json.loads(one.data)) for one in kept] == [("loaded", {"barcode": "A1"})]
