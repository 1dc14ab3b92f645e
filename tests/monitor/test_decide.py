"""What each frame and each command does to the books, and what it leaves for the journal."""

import json
from typing import Any

import pytest

from core.fix_engine import FULL, rule, rule_set
from fakes import NOON
from fix_node import PROBE, empty_books
from fix_records import alert
from storewatchd import journal
from storewatchd.core.commands import (
    AcknowledgeAlert,
    AddRepository,
    Announce,
    Command,
    CreateAlert,
    FinishTask,
    ProgressTask,
    PutToken,
    Rebuild,
    RemoveRepository,
    ReplaceRules,
    ResolveAlert,
    RevokeToken,
    StartTask,
)
from storewatchd.core.frames import Frame, Row, Scope
from storewatchd.core.model import AlertState, EventType, Instant, Severity
from storewatchd.core.permissions import READ_ONLY, Token
from storewatchd.core.steps import at_once
from storewatchd.core.tasks import FAMILIES as TASK_FAMILIES
from storewatchd.core.tasks import PROBE as TASKS
from storewatchd.core.tasks import TaskState
from storewatchd.errors import Conflict, NotFound, RequestError
from storewatchd.monitor.batch import Batch
from storewatchd.monitor.decide import decide, take
from storewatchd.probes.storage import REPOSITORIES

NOW = Instant(NOON, 1000.0)
TOKEN = Token(
    id="t1", name="grafana", permissions=READ_ONLY, digest="d", created_at=NOON, created_by="ann"
)


class Desk:
    """Books, and the batch of what is decided now."""

    def __init__(self, rules: str = "") -> None:
        self.books = empty_books(rules=rule_set(rules) if rules else None)
        self.books.table.declare(TASKS, TASK_FAMILIES, max_age_s=float("inf"))
        self.batch = Batch(NOW)

    def decide(self, command: Command) -> Any:
        """Decide a command into a batch of its own."""
        self.batch = Batch(NOW)
        return decide(command, self.books, self.batch)

    def take(self, frame: Frame) -> None:
        self.batch = Batch(NOW)
        at_once(take(frame, self.books, self.batch))

    @property
    def kinds(self) -> list[str]:
        """The kinds of the events that are told."""
        _, published = self.batch.numbered(range(len(self.batch)), epoch="e", node="n")
        return [one.event.kind for one in published]

    @property
    def states(self) -> list[tuple[str, str, Any]]:
        return [
            (change.kind, change.key, None if change.value is None else json.loads(change.value))
            for change in self.batch.changes
        ]


def create(**more: Any) -> CreateAlert:
    return CreateAlert(
        **{"actor": "ann", "severity": Severity.INFO, "source": "s", "title": "Fan", **more}
    )


def mount_frame(mount_point: str) -> Frame:
    """Return the frame of a repository at /a that was seen on a mount point."""
    row = Row(("a", "/a", mount_point, "ext4", "added"), 1.0)
    return Frame(Scope(REPOSITORIES), NOON, rows={"repo_info": [row]})


def test_a_frame_goes_into_the_table_and_touches_its_families() -> None:
    desk = Desk()
    desk.take(Frame(Scope(PROBE), NOON, rows={FULL.name: [Row(("a",), 0.5)]}))
    assert [one.value for one in desk.books.table.read("full", NOON)] == [0.5]
    assert desk.batch.touched == {"full"}
    assert desk.states == []


def test_the_mount_point_of_a_repository_is_kept_when_it_changes() -> None:
    desk = Desk()
    desk.take(mount_frame("/mnt"))
    assert desk.states == [("mount_point", "/a", {"mount_point": "/mnt"})]
    desk.take(mount_frame("/mnt"))
    assert desk.states == []


def test_an_alert_is_created_and_told() -> None:
    desk = Desk()
    made = desk.decide(create())
    assert (made.title, made.state) == ("Fan", AlertState.FIRING)
    assert desk.kinds == ["firing"]
    desk.decide(create(key="fan"))
    assert desk.decide(create(key="fan")).occurrences == 2
    assert desk.kinds == ["repeated"]


def test_an_alert_is_acknowledged_once() -> None:
    desk = Desk()
    made = desk.decide(create())
    marked = desk.decide(AcknowledgeAlert("ann", made.id, "seen"))
    assert (marked.acknowledged_by, marked.acknowledged_note) == ("ann", "seen")
    assert desk.kinds == ["acknowledged"]
    assert desk.decide(AcknowledgeAlert("bob", made.id)) == marked
    assert len(desk.batch) == 0


def test_an_alert_is_resolved_by_hand() -> None:
    desk = Desk()
    made = desk.decide(create())
    ended = desk.decide(ResolveAlert("ann", made.id, "mended"))
    assert (ended.state, ended.resolved_by) == (AlertState.RESOLVED, "ann")
    assert desk.kinds == ["resolved"]


def test_a_run_is_followed_from_start_to_end() -> None:
    desk = Desk()
    run = desk.decide(StartTask(actor="ann", name="nightly"))
    assert desk.kinds == ["start"]
    assert [(kind, key) for kind, key, _ in desk.states] == [
        ("task", run.id),
        ("task_name", "nightly"),
    ]
    desk.decide(ProgressTask(actor="ann", id=run.id, percent=50.0))
    assert desk.kinds == ["progress"]
    ended = desk.decide(FinishTask(actor="ann", id=run.id, exit_status=1))
    assert ended.state is TaskState.FAILED
    assert desk.kinds == ["end"]


def test_a_report_feeds_the_metrics_of_tasks_at_once() -> None:
    desk = Desk()
    desk.decide(StartTask(actor="ann", name="nightly"))
    assert "task_running" in desk.batch.touched
    assert [one.value for one in desk.books.table.read("task_running", NOON)] == [1.0]


def test_a_report_that_comes_twice_changes_nothing() -> None:
    desk = Desk()
    desk.decide(StartTask(actor="ann", name="nightly", id="r1"))
    desk.decide(StartTask(actor="ann", name="nightly", id="r1"))
    assert (desk.kinds, desk.states, desk.batch.touched) == ([], [], set())


def test_a_repository_is_added_and_removed() -> None:
    desk = Desk()
    added = desk.decide(AddRepository("ann", "a", "/a/"))
    assert (added.name, added.path) == ("a", "/a")
    assert desk.states == [("repository", "a", {"path": "/a"})]
    assert desk.kinds == ["repository_added"]
    desk.decide(RemoveRepository("ann", "a"))
    assert desk.states == [("repository", "a", None)]
    assert desk.kinds == ["repository_removed"]
    assert list(desk.books.repositories) == []


@pytest.mark.parametrize(
    "command",
    [
        pytest.param(AddRepository("ann", "a", "/a"), id="added again"),
        pytest.param(RemoveRepository("ann", "a"), id="removed"),
    ],
)
def test_who_names_a_repository_makes_its_mount_point_forgotten(command: Command) -> None:
    desk = Desk()
    desk.decide(AddRepository("ann", "a", "/a"))
    desk.take(mount_frame("/mnt"))
    desk.decide(command)
    assert ("mount_point", "/a", None) in desk.states
    assert desk.books.repositories.mount_point("/a") is None


def test_a_declared_repository_that_is_added_is_not_kept_as_added() -> None:
    desk = Desk()
    desk.books.repositories.declare([("a", "/a")])
    declared = desk.decide(AddRepository("ann", "a", "/a"))
    assert declared == desk.books.repositories.get("a")
    assert (desk.states, desk.kinds) == ([], [])


def test_a_repository_that_is_added_again_is_not_told_again() -> None:
    desk = Desk()
    added = desk.decide(AddRepository("ann", "a", "/a"))
    assert desk.decide(AddRepository("ann", "a", "/a/")) == added
    assert (desk.states, desk.kinds, len(desk.batch)) == ([], [], 0)


def test_a_token_is_kept_and_told_without_its_digest() -> None:
    desk = Desk()
    assert desk.decide(PutToken("ann", TOKEN)) == TOKEN
    assert desk.states == [("token", "t1", TOKEN.to_state())]
    _, (published,) = desk.batch.numbered(range(2), epoch="e", node="n")
    assert (published.event.kind, json.loads(published.event.data)) == (
        "token_created",
        {"id": "t1", "name": "grafana"},
    )


def test_a_token_is_revoked_once() -> None:
    desk = Desk()
    desk.decide(PutToken("ann", TOKEN))
    revoked = desk.decide(RevokeToken("ann", "t1"))
    assert revoked.revoked_at == NOON
    assert desk.kinds == ["token_revoked"]
    assert desk.decide(RevokeToken("ann", "t1")) == revoked
    assert len(desk.batch) == 0


def test_other_rules_close_the_alerts_of_those_that_are_gone() -> None:
    desk = Desk(rule())
    frame = Frame(Scope(PROBE), NOON, rows={FULL.name: [Row(("a",), 0.9)]})
    desk.books.engine.evaluate(NOW, desk.books.table.feed(frame))
    assert desk.decide(ReplaceRules("SIGHUP", rule_set(rule().replace("Full", "Other")))) == 1
    assert desk.kinds == ["resolved", "rules_reloaded"]
    assert [state.rule.name for state in desk.books.engine.states] == ["Other"]


def test_an_announcement_is_told_as_it_is() -> None:
    desk = Desk()
    assert desk.decide(Announce(EventType.STORAGE, "noted", {"n": 1})) is None
    assert desk.kinds == ["noted"]


# What was lost with the journal.


def said(desk: Desk) -> list[tuple[str, Any]]:
    """Return the kinds and data of the events that are told."""
    _, published = desk.batch.numbered(range(len(desk.batch)), epoch="e", node="n")
    return [(one.event.kind, json.loads(one.event.data)) for one in published]


COUNTS = dict.fromkeys(("alerts", "tasks", "task_names", "repositories", "tokens", "objects"), 0)


def test_lost_alerts_are_open_again_and_rules_see_to_theirs() -> None:
    desk = Desk(rule())
    of_rule = alert("node", 1, state=AlertState.FIRING, labels={"repository": "a"})
    gone = alert("node", 2, state=AlertState.FIRING, rule="Gone")
    made = alert("node", 3, state=AlertState.FIRING, rule="")
    series = {"__name__": "full", "repository": "a"}
    why_made = {"key": "k", "ttl_seconds": 60}
    lost = Rebuild(alerts=((of_rule, {"series": series}), (gone, {}), (made, why_made)))
    taken = desk.decide(lost)
    assert taken == {**COUNTS, "alerts": 3}
    assert [(one.kind, one.alert.id) for one in desk.batch.transitions] == [
        ("restored", of_rule.id),
        ("restored", gone.id),
        ("restored", made.id),
        ("resolved", gone.id),
    ]
    assert said(desk)[-1] == ("journal_rebuilt", taken)
    assert desk.books.incidents.get(of_rule.id).series == {"repository": "a"}
    assert desk.books.incidents.get(made.id).key == "key:k"


def test_lost_runs_and_what_is_known_of_their_tasks_are_back() -> None:
    before, desk = Desk(), Desk()
    run = before.decide(StartTask(actor="ann", name="nightly", id="r1"))
    states = {(kind, key): value for kind, key, value in before.states}
    name = states["task_name", "nightly"]
    taken = desk.decide(Rebuild(runs=(run.to_state(),), names={"nightly": name}))
    assert taken == {**COUNTS, "tasks": 1, "task_names": 1}
    assert {(kind, key): value for kind, key, value in desk.states} == states
    assert [kind for kind, _ in said(desk)] == ["progress", "journal_rebuilt"]
    assert desk.batch.runs == [run]
    assert "task_running" in desk.batch.touched


def test_lost_repositories_and_where_they_were_mounted_are_back() -> None:
    desk = Desk()
    desk.books.repositories.declare([("b", "/b")])
    desk.take(mount_frame("/"))
    lost = Rebuild(repositories={"a": "/a", "b": "/b"}, mount_points={"/a": "/a", "/b": "/mnt"})
    assert desk.decide(lost) == {**COUNTS, "repositories": 1}
    assert desk.states == [
        ("repository", "a", {"path": "/a"}),
        ("mount_point", "/a", {"mount_point": "/a"}),
        ("mount_point", "/b", {"mount_point": "/mnt"}),
    ]


def test_what_a_person_has_named_since_stays() -> None:
    desk = Desk()
    desk.decide(AddRepository("ann", "a", "/a"))
    desk.take(mount_frame("/new"))
    lost = Rebuild(repositories={"a": "/old", "c": "/a"}, mount_points={"/a": "/old"})
    assert desk.decide(lost) == COUNTS
    assert desk.states == []
    assert [(one.name, one.path) for one in desk.books.repositories] == [("a", "/a")]


@pytest.mark.parametrize(
    ("known", "lost", "is_taken"),
    [
        pytest.param(None, TOKEN, True, id="unknown"),
        pytest.param(TOKEN, TOKEN, False, id="known"),
        pytest.param(TOKEN, TOKEN.revoked(NOON), True, id="revoked there"),
        pytest.param(TOKEN.revoked(NOON), TOKEN, False, id="revoked here"),
        pytest.param(TOKEN.revoked(NOON), TOKEN.revoked(NOON - 9), False, id="revoked here too"),
    ],
)
def test_lost_tokens_are_back_and_a_revoked_one_stays_revoked(
    known: Token | None, lost: Token, is_taken: bool
) -> None:
    desk = Desk()
    if known is not None:
        desk.decide(PutToken("ann", known))
    assert desk.decide(Rebuild(tokens=(lost,))) == {**COUNTS, "tokens": int(is_taken)}
    assert desk.states == ([("token", "t1", lost.to_state())] if is_taken else [])
    assert desk.books.tokens.get("t1") == (lost if is_taken else known)


@pytest.mark.parametrize("is_all", [True, False])
def test_only_the_last_piece_says_that_nothing_is_missing(is_all: bool) -> None:
    desk = Desk()
    desk.decide(Rebuild(is_all=is_all))
    assert desk.batch.rebuild == (journal.Rebuild.NONE if is_all else None)
    assert len(desk.batch) == 0, "where nothing was lost nothing is told"


@pytest.mark.parametrize(
    ("command", "error"),
    [
        pytest.param(AcknowledgeAlert("ann", "none"), NotFound, id="acknowledge"),
        pytest.param(ResolveAlert("ann", "none"), NotFound, id="resolve"),
        pytest.param(ProgressTask(actor="ann", id="none"), NotFound, id="progress"),
        pytest.param(FinishTask(actor="ann", id="none"), NotFound, id="finish"),
        pytest.param(AddRepository("ann", "a", "/b"), Conflict, id="add"),
        pytest.param(RemoveRepository("ann", "none"), NotFound, id="remove"),
        pytest.param(RevokeToken("ann", "none"), NotFound, id="revoke"),
    ],
)
def test_what_is_refused_leaves_nothing_to_write(
    command: Command, error: type[RequestError]
) -> None:
    desk = Desk()
    desk.decide(AddRepository("ann", "a", "/a"))
    with pytest.raises(error):
        desk.decide(command)
    assert (len(desk.batch), desk.batch.changes) == (0, [])
