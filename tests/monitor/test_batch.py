"""A round on its way out: what is written, what is told, and under which numbers."""

import json
from typing import Any

import pytest

from fakes import NOON
from fix_records import alert, run
from storewatchd.bus import Published
from storewatchd.core.commands import (
    AcknowledgeAlert,
    AddRepository,
    Announce,
    Command,
    CreateAlert,
    FinishTask,
    PutToken,
    ReplaceRules,
    RevokeToken,
    StartTask,
)
from storewatchd.core.model import EventType, Instant, Severity, Transition
from storewatchd.core.permissions import READ_ONLY, Token
from storewatchd.core.rules import RuleSet
from storewatchd.core.tasks import TaskChange
from storewatchd.journal import Record, StateChange
from storewatchd.monitor.batch import ALERT, REPOSITORY, Batch

NOW = Instant(NOON + 0.1239, 1000.0)
TOKEN = Token(
    id="t1", name="grafana", permissions=READ_ONLY, digest="d", created_at=NOON, created_by="ann"
)


def outcome(batch: Batch, first: int = 7) -> tuple[list[Record], list[Published]]:
    return batch.numbered(range(first, first + len(batch)), epoch="e", node="n")


def only_record(batch: Batch) -> Record:
    records, _ = outcome(batch)
    (record,) = records
    return record


def test_an_alert_is_written_with_its_reason_and_told_with_its_severity() -> None:
    batch = Batch(NOW)
    shown = alert("n", severity=Severity.CRITICAL)
    batch.note_alert(Transition("resolved", shown, {"why": "over"}))
    ((record,), (published,)) = outcome(batch)
    assert (record.seq, record.time, record.type, record.kind) == (
        7,
        NOON + 0.123,
        "alert",
        "resolved",
    )
    assert (record.key, record.event) == (shown.id, True)
    assert (json.loads(record.data), json.loads(record.reason)) == (
        shown.to_json(),
        {"why": "over"},
    )
    assert (published.event.id, published.severity) == ("e.7", Severity.CRITICAL)
    assert json.loads(published.line)["data"] == shown.to_json()


@pytest.mark.parametrize("kind", ["start", "end"])
def test_a_runs_start_and_end_are_written_and_told(kind: str) -> None:
    batch = Batch(NOW)
    batch.note_task(TaskChange(run("n"), kind))
    ((record,), (published,)) = outcome(batch)
    assert (record.type, record.kind, record.key) == ("task", kind, "run-000001")
    assert json.loads(record.data) == run("n").to_state()
    assert published.event.kind == kind


def test_progress_is_told_and_not_written() -> None:
    batch = Batch(NOW)
    batch.note_task(TaskChange(run("n"), "progress"))
    records, (published,) = outcome(batch)
    assert records == []
    assert published.event.kind == "progress"
    assert batch.runs == [run("n")]


def test_a_report_that_changed_nothing_leaves_no_line() -> None:
    batch = Batch(NOW)
    batch.note_task(TaskChange(run("n"), None))
    assert (len(batch), batch.runs) == (0, [])


def test_a_snapshot_is_told_and_not_written() -> None:
    batch = Batch(NOW)
    batch.note_snapshot({"timestamp": "now"})
    records, (published,) = outcome(batch)
    assert records == []
    assert (published.event.type, published.event.kind) == (EventType.METRICS, "snapshot")
    assert batch.has_snapshot


def test_state_is_changed_beside_the_lines() -> None:
    batch = Batch(NOW)
    batch.put_state(ALERT, "a", {"n": 1})
    batch.put_state(ALERT, "b", None)
    assert batch.changes == [StateChange(ALERT, "a", b'{"n":1}'), StateChange(ALERT, "b", None)]
    assert len(batch) == 0


@pytest.mark.parametrize(
    ("state", "kind"), [pytest.param({"path": "/a"}, "put"), pytest.param(None, "drop")]
)
def test_what_a_lost_journal_is_rebuilt_from_is_written_and_not_told(
    state: dict[str, Any] | None, kind: str
) -> None:
    batch = Batch(NOW)
    batch.put_state(REPOSITORY, "a", state)
    ((record,), published) = outcome(batch)
    assert published == []
    assert (record.type, record.kind, record.event) == ("state", kind, False)
    assert json.loads(record.data) == {"kind": "repository", "key": "a", "value": state}


def test_lines_keep_their_order_and_take_every_number() -> None:
    batch = Batch(NOW)
    batch.note_event(EventType.SYSTEM, "one", {})
    batch.note_snapshot({})
    batch.note_audit(AddRepository("ann", "a", "/a"), "done")
    batch.note_event(EventType.STORAGE, "two", {})
    records, published = outcome(batch, first=100)
    assert [(one.seq, one.kind) for one in records] == [
        (100, "one"),
        (102, "AddRepository"),
        (103, "two"),
    ]
    assert [one.event.seq for one in published] == [100, 101, 103]


def test_there_is_a_number_for_every_line_and_no_other() -> None:
    batch = Batch(NOW)
    batch.note_event(EventType.SYSTEM, "one", {})
    with pytest.raises(ValueError, match="shorter"):
        batch.numbered(range(1, 3), epoch="e", node="n")


@pytest.mark.parametrize(
    ("command", "actor", "target"),
    [
        pytest.param(AcknowledgeAlert("ann", "a1"), "ann", "a1", id="alert"),
        pytest.param(
            CreateAlert(actor="ann", severity=Severity.INFO, source="s", title="Fan"),
            *("ann", "Fan"),
            id="new alert",
        ),
        pytest.param(StartTask(actor="ann", name="nightly"), "ann", "nightly", id="task's name"),
        pytest.param(
            StartTask(actor="ann", name="nightly", id="r1"), "ann", "r1", id="task's own id"
        ),
        pytest.param(FinishTask(actor="ann", id="r1"), "ann", "r1", id="end of a task"),
        pytest.param(AddRepository("ann", "a", "/a"), "ann", "a", id="repository"),
        pytest.param(PutToken("ann", TOKEN), "ann", "t1", id="new token"),
        pytest.param(RevokeToken("ann", "t1"), "ann", "t1", id="token"),
        pytest.param(ReplaceRules("SIGHUP", RuleSet(())), "SIGHUP", "", id="no target"),
        pytest.param(Announce(EventType.SYSTEM, "x", {}), "storewatchd", "", id="the daemon"),
    ],
)
def test_audit_says_who_asked_for_what_on_which_thing(
    command: Command, actor: str, target: str
) -> None:
    batch = Batch(NOW)
    batch.note_audit(command, "done")
    record = only_record(batch)
    assert (record.type, record.event) == ("audit", False)
    assert json.loads(record.data) == {
        "actor": actor,
        "action": type(command).__name__,
        "target": target,
        "outcome": "done",
    }


def test_no_secret_and_no_digest_is_in_the_audit() -> None:
    batch = Batch(NOW)
    batch.note_audit(PutToken("ann", TOKEN), "done")
    assert b'"d"' not in only_record(batch).data
