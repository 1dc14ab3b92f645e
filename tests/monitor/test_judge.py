"""One round as a decision: in order, with the passing of time, and the same each time."""

from typing import Any

from core.fix_engine import FULL, rule, rule_set
from fakes import NOON
from fix_node import PROBE, empty_books
from storewatchd.bus import Published
from storewatchd.core.commands import (
    AcknowledgeAlert,
    AddRepository,
    CreateAlert,
    ProgressTask,
    ResolveAlert,
    StartTask,
)
from storewatchd.core.frames import Frame, GivenRows, Outcome, Row, Scope
from storewatchd.core.inputs import Expected, Input, Once
from storewatchd.core.model import AlertState, EventType, Instant, Severity
from storewatchd.core.steps import PIECE
from storewatchd.core.tasks import FAMILIES as TASK_FAMILIES
from storewatchd.core.tasks import PROBE as TASKS
from storewatchd.errors import Conflict
from storewatchd.journal import Record
from storewatchd.monitor.batch import Batch
from storewatchd.monitor.judge import SNAPSHOT_INTERVAL_S, DoneBefore, Judge, Refused

NOW = Instant(NOON, 1000.0)


def judge(rules: str = "") -> Judge:
    """Return a judge over empty books, whose first snapshot is over."""
    books = empty_books(rules=rule_set(rules) if rules else None)
    books.table.declare(TASKS, TASK_FAMILIES, max_age_s=float("inf"))
    fresh = Judge(books)
    fresh.round(NOW, [])
    return fresh


def frame(now: Instant = NOW, **rows: float) -> Frame:
    found = {FULL.name: [Row((name,), value) for name, value in rows.items()]}
    return Frame(Scope(PROBE), now.wall, rows=found)


def create(title: str = "Fan", **more: Any) -> CreateAlert:
    return CreateAlert(actor="ann", severity=Severity.INFO, source="s", title=title, **more)


def outcome(batch: Batch) -> tuple[list[Record], list[Published]]:
    return batch.numbered(range(len(batch)), epoch="e", node="n")


def kinds(batch: Batch) -> list[str]:
    """Return the kinds of every line that is written."""
    return [record.kind for record in outcome(batch)[0]]


def test_inputs_are_taken_in_their_order_and_each_is_answered() -> None:
    here = judge()
    inputs: list[Input] = [
        create("one"),
        frame(a=0.5),
        Expected(PROBE, (Scope(PROBE),)),
        create("two"),
    ]
    batch, answers = here.round(NOW, inputs)
    assert [getattr(answer, "title", None) for answer in answers] == ["one", None, None, "two"]
    assert [alert.title for alert in batch.alerts] == ["one", "two"]


def test_what_is_done_is_audited_after_it() -> None:
    batch, _ = judge().round(NOW, [AddRepository("ann", "a", "/a")])
    assert kinds(batch) == ["put", "repository_added", "AddRepository"]


def test_progress_is_not_audited() -> None:
    here = judge()
    here.round(NOW, [StartTask(actor="ann", name="nightly", id="r1")])
    batch, _ = here.round(NOW, [ProgressTask(actor="ann", id="r1", percent=1.0)])
    assert kinds(batch) == []


def test_a_refused_command_spoils_nothing() -> None:
    batch, answers = judge().round(NOW, [create(), AcknowledgeAlert("ann", "none"), create()])
    assert [isinstance(answer, Refused) for answer in answers] == [False, True, False]
    assert kinds(batch) == ["firing", "CreateAlert"] * 2


def test_a_command_sees_what_an_earlier_one_of_the_round_did() -> None:
    here = judge()
    _, (made,) = here.round(NOW, [create()])
    _, (first, second) = here.round(
        NOW, [ResolveAlert("ann", made.id), ResolveAlert("bob", made.id)]
    )
    assert first.resolved_by == "ann"
    assert isinstance(second, Refused)


def test_a_frame_is_judged_in_its_round() -> None:
    batch, _ = judge(rule()).round(NOW, [frame(a=0.9)])
    assert kinds(batch) == ["firing"]


def test_rows_that_were_given_away_are_let_go_of_once_they_are_taken_and_heard_of() -> None:
    here = judge()
    given = GivenRows(Row((str(number),), 0.5) for number in range(2 * PIECE + 1))
    kept = list(given)
    heard: list[int] = []
    here.listener = lambda now, inputs, batch: heard.append(len(given))
    for rows in (given, kept):
        here.round(NOW, [Frame(Scope(PROBE), NOW.wall, rows={FULL.name: rows})])
    assert heard == [2 * PIECE + 1, 0]
    assert (len(given), len(kept)) == (0, 2 * PIECE + 1)
    assert len(here.books.table.read(FULL.name, NOW.wall)) == 2 * PIECE + 1


def test_a_failed_frame_resolves_nothing() -> None:
    here = judge(rule())
    here.round(NOW, [frame(a=0.9)])
    batch, _ = here.round(NOW, [Frame(Scope(PROBE), NOON, Outcome.FAILED, reason="stuck")])
    assert kinds(batch) == ["stale"]
    (incident,) = here.books.incidents
    assert incident.alert.state is AlertState.FIRING


def test_scopes_that_are_gone_are_judged_in_their_round() -> None:
    here = judge(rule())
    here.round(NOW, [frame(a=0.9)])
    batch, _ = here.round(NOW, [Expected(PROBE, ())])
    assert kinds(batch) == ["resolved"]


def test_what_is_asked_twice_under_one_key_is_done_once() -> None:
    here = judge()
    first, (made, again) = here.round(NOW, [Once("k", create()), Once("k", create())])
    later, (still,) = here.round(NOW, [Once("k", create())])
    assert (made.title, again, still) == ("Fan", DoneBefore("k"), DoneBefore("k"))
    assert (kinds(first), kinds(later)) == (["firing", "CreateAlert"], [])
    (kept,) = (change for change in first.changes if change.kind == "answer")
    assert kept.key == "k"
    assert kept.value is not None
    assert made.id.encode() in kept.value


def test_one_key_is_not_for_two_requests() -> None:
    here = judge()
    here.round(NOW, [Once("k", create())])
    batch, (refused,) = here.round(NOW, [Once("k", create("Other"))])
    assert isinstance(refused.error, Conflict)
    assert kinds(batch) == []


def test_time_alone_ends_what_is_over() -> None:
    here = judge()
    here.round(NOW, [create(ttl_s=60.0)])
    assert kinds(here.round(NOW.later(59), [])[0]) == []
    assert kinds(here.round(NOW.later(60), [])[0]) == ["resolved"]


def test_the_state_of_an_alert_is_kept_until_it_is_over() -> None:
    here = judge()
    opened, (made,) = here.round(NOW, [create()])
    closed, _ = here.round(NOW, [ResolveAlert("ann", made.id)])
    assert [(change.key, change.value is None) for change in opened.changes] == [(made.id, False)]
    assert [(change.key, change.value is None) for change in closed.changes] == [(made.id, True)]


def test_a_snapshot_is_told_at_once_and_then_once_an_interval() -> None:
    here = Judge(judge().books)
    told = []
    for seconds in (0.0, SNAPSHOT_INTERVAL_S - 1, SNAPSHOT_INTERVAL_S):
        batch, _ = here.round(NOW.later(seconds), [])
        told.append([one.event.type for one in outcome(batch)[1]])
    assert told == [[EventType.METRICS], [], [EventType.METRICS]]


def test_the_next_moment_is_the_earlier_of_rules_and_snapshot() -> None:
    assert judge().next_due() == NOW.monotonic + SNAPSHOT_INTERVAL_S
    assert judge(rule()).next_due() <= NOW.monotonic + SNAPSHOT_INTERVAL_S
    assert Judge(judge(rule()).books).next_due() == 0.0


def test_the_same_inputs_at_the_same_moments_give_the_same_bytes() -> None:
    rounds: list[tuple[Instant, list[Input]]] = [
        (NOW, [frame(a=0.9, b=0.95), create(), StartTask(actor="ann", name="nightly")]),
        (NOW.later(7), [Frame(Scope(PROBE), NOON + 7, Outcome.FAILED, reason="stuck")]),
        (NOW.later(31), [frame(NOW.later(31), a=0.1, b=0.97)]),
    ]

    def replay() -> list[Any]:
        here = judge(rule())
        made = [here.round(now, inputs)[0] for now, inputs in rounds]
        return [(*outcome(batch), batch.changes) for batch in made]

    assert replay() == replay()
