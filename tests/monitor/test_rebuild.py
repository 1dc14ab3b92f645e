"""State that was lost, from the records that tell of it."""

import json
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from core.fix_engine import rule
from fakes import NOON, HandClock
from fix_node import Node, kinds, open_node, running_node
from fix_records import alert, alert_record, run, run_record, stored
from storewatchd.core.commands import (
    AcknowledgeAlert,
    AddRepository,
    ProgressTask,
    PutToken,
    RemoveRepository,
    ResolveAlert,
)
from storewatchd.core.incidents import Incident
from storewatchd.core.model import AlertState, Instant, fingerprint
from storewatchd.core.permissions import READ_ONLY, Token
from storewatchd.core.tasks import TaskState
from storewatchd.journal import Rebuild, StateChange, StoredRecord
from storewatchd.journal.database import Database
from storewatchd.monitor import rebuild as rebuild_module
from storewatchd.monitor.rebuild import Told, incident_of

NOW = Instant(NOON + 100, 5_000.0)
TOKEN = Token(
    id="t1", name="t1", permissions=READ_ONLY, digest="d", created_at=NOON, created_by="ann"
)


def firing(number: int = 1, **changes: Any) -> Any:
    more = {"state": AlertState.FIRING, "resolved_at": None, "resolved_by": None, **changes}
    return alert("n", number, **more)


def forget_state(directory: Path, *kinds: str) -> None:
    """Damage pieces of state, so that the next start drops them."""
    with closing(Database.open(directory / "state.db")) as database:
        for kind in kinds:
            database._connection.execute("UPDATE state SET checksum = 0 WHERE kind = ?", (kind,))


@pytest.fixture(params=[1_000, 2], ids=["one page", "pages"])
def pages(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rebuild_module, "PAGE", request.param)


# Over a restart.


@pytest.mark.usefixtures("pages")
def as_kept(node: Node) -> dict[str, Incident]:
    """Return the incidents by key, less what no restart outlives."""
    return {one.key: replace(one, told=None, told_at=None) for one in node.books.incidents}


async def test_alerts_whose_state_was_lost_come_back_as_they_were(tmp_path: Path) -> None:
    clock = HandClock()
    async with running_node(tmp_path, rules=rule(), clock=clock) as node:
        await node.see(a=0.9, b=0.95)
        made = await node.create(key="fan", ttl_s=60.0)
        await node.monitor.command(AcknowledgeAlert("ann", made.id, "seen"))
        gone = await node.create("gone")
        await node.monitor.command(ResolveAlert("ann", gone.id))
        before = as_kept(node)
    forget_state(tmp_path, "alert")
    async with running_node(tmp_path, rules=rule(), clock=clock) as node:
        assert as_kept(node) == before
        assert node.journal.rebuild is Rebuild.STORE
        told = node.hear()
        assert (await node.create(key="fan")).occurrences == 2
        await node.see(a=0.1, b=0.95)
        assert ("alert", "resolved") in await kinds(told)
    async with open_node(tmp_path, rules=rule(), clock=clock) as node:
        assert {incident.alert.title for incident in node.books.incidents} == {"Fan", "Full"}


async def test_tasks_repositories_and_tokens_whose_state_was_lost_come_back(tmp_path: Path) -> None:
    async with running_node(tmp_path) as node:
        started = await node.start_task()
        await node.monitor.command(ProgressTask(actor="ann", id=started.id, percent=40.0))
        over = await node.start_task("over")
        await node.finish_task(over.id)
        await node.monitor.command(AddRepository("ann", "a", "/a"))
        await node.monitor.command(AddRepository("ann", "b", "/b"))
        await node.monitor.command(RemoveRepository("ann", "b"))
        await node.monitor.command(PutToken("ann", TOKEN))
    forget_state(tmp_path, "task", "repository", "token")
    async with open_node(tmp_path) as node:
        (run_,) = node.books.tasks.runs()
        # Progress is told and not recorded.
        assert (run_.id, run_.state, run_.progress_percent) == (started.id, TaskState.RUNNING, None)
        assert [one.name for one in node.books.repositories] == ["a"]
        assert node.books.tokens.get("t1") == TOKEN


async def test_what_is_there_is_not_put_back_as_it_was(tmp_path: Path) -> None:
    async with running_node(tmp_path) as node:
        started = await node.start_task()
        await node.monitor.command(ProgressTask(actor="ann", id=started.id, percent=40.0))
        await node.create()
    forget_state(tmp_path, "alert")
    async with open_node(tmp_path) as node:
        (run_,) = node.books.tasks.runs()
        assert run_.progress_percent == 40.0
        assert len(node.books.incidents) == 1


async def test_without_a_loss_no_record_is_looked_at(tmp_path: Path) -> None:
    async with running_node(tmp_path) as node:
        made = await node.create()
        await node.journal.append((), [StateChange("alert", made.id, None)])
    async with open_node(tmp_path) as node:
        assert len(node.books.incidents) == 0


# What records tell.


def told(*records: StoredRecord) -> dict[tuple[str, str], Any]:
    one = Told()
    one.take(records)
    return {place: json.loads(value) for place, value in one.state(NOW).items()}


def test_the_newest_record_of_an_alert_tells_how_it_is_and_the_others_why() -> None:
    first, second = firing(version=1), firing(version=2, message="later")
    reason = b'{"series":{"__name__":"full","repo":"a"}}'
    (state,) = told(
        alert_record(1, first, reason=reason), alert_record(2, second, reason=b'{"actor":"ann"}')
    ).values()
    assert (state["alert"]["version"], state["series"]) == (2, {"repo": "a"})


def test_an_alert_that_is_over_has_no_state() -> None:
    assert told(alert_record(1, firing()), alert_record(2, alert("n"))) == {}


def test_a_run_that_is_over_has_none_to_put_back() -> None:
    going = run("n", state=TaskState.RUNNING, finished_at=None, exit_status=None)
    assert list(told(run_record(1, going, kind="start"))) == [("task", going.id)]
    assert told(run_record(1, going, kind="start"), run_record(2, run("n"))) == {}


def test_the_last_word_on_a_repository_counts() -> None:
    def put(seq: int, value: Any) -> StoredRecord:
        data = json.dumps({"kind": "repository", "key": "a", "value": value}).encode()
        return stored(seq, type="state", event=False, data=data)

    assert told(put(1, {"path": "/a"}), put(2, {"path": "/b"})) == {
        ("repository", "a"): {"path": "/b"}
    }
    assert told(put(1, {"path": "/a"}), put(2, None)) == {}


@pytest.mark.parametrize(
    ("changes", "reason", "key"),
    [
        pytest.param(
            {"rule": "Full", "labels": {"repo": "a"}},
            {},
            fingerprint("Full", {"repo": "a"}),
            id="of a rule",
        ),
        pytest.param({"rule": ""}, {"key": "fan"}, "key:fan", id="created with a key"),
        pytest.param({"rule": ""}, {"key": None}, "id:n-000001", id="created without"),
    ],
)
def test_an_alert_is_known_by_the_same_key(
    changes: dict[str, Any], reason: dict[str, Any], key: str
) -> None:
    assert incident_of(firing(**changes), reason, NOW).key == key


def test_a_series_that_is_not_told_is_taken_from_the_labels() -> None:
    shown = firing(labels={"repo": "a", "severity": "warning"})
    assert incident_of(shown, {}, NOW).series == {"repo": "a", "severity": "warning"}


def test_timers_go_on_from_when_they_began() -> None:
    shown = firing(rule="", number=10, last_seen=NOON + 40, stale_since=NOON + 30)
    incident = incident_of(shown, {"ttl_seconds": 300.0}, NOW)
    assert (incident.since, incident.frozen_since, incident.expires) == (4_910.0, 4_930.0, 5_240.0)


def test_a_clock_that_was_set_back_puts_no_beginning_into_the_future() -> None:
    incident = incident_of(firing(number=500), {}, NOW)
    assert incident.since == NOW.monotonic
