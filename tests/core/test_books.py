"""Books that are loaded again, from a dump or from the journal: they go on as before."""

import itertools

from core.fix_engine import Desk, kinds, rule
from storewatchd.core.answers import AnswerBook
from storewatchd.core.commands import CreateAlert, FinishTask, StartTask
from storewatchd.core.engine import Engine
from storewatchd.core.incidents import Incidents
from storewatchd.core.model import Instant, Severity
from storewatchd.core.tasks import TaskBook

NOON = Instant(1_767_268_800.0, 1000.0)


def create(title: str = "t") -> CreateAlert:
    return CreateAlert(actor="ann", severity=Severity.INFO, source="s", title=title)


def test_answers_are_known_again_and_nothing_is_new() -> None:
    before, after = AnswerBook(), AnswerBook()
    before.note("k", create(), {"id": "1"}, NOON)
    after.load(before.dump())
    assert after.is_done("k", create())
    assert after.take_changes() == {}


def test_incidents_and_quieted_keys_are_known_again_and_nothing_is_new() -> None:
    desk = Desk(rule())
    desk.see({"a": 0.9, "b": 0.9})
    desk.incidents.resolve("id-1", "ann", None, desk.now)
    after = Incidents("node", lambda _: "id")
    after.load(desk.incidents.dump())
    assert list(after) == list(desk.incidents)
    assert after.quieted("Full") == desk.incidents.quieted("Full")
    assert after.get("id-2") == desk.incidents.get("id-2")
    assert after.take_changes() == {}


def test_tasks_are_known_again_and_nothing_is_new() -> None:
    ids = itertools.count(1)
    before = TaskBook("node", lambda _: str(next(ids)))
    over = before.start(StartTask(actor="ann", name="nightly"), NOON).run
    before.finish(FinishTask(actor="ann", id=over.id), NOON)
    before.start(StartTask(actor="ann", name="nightly"), NOON)
    after = TaskBook("node", lambda _: "id")
    after.load(before.dump())
    assert after.runs() == before.runs()
    assert after.frame(NOON) == before.frame(NOON)
    assert (after.take_changes(), after.take_name_changes()) == ({}, {})


def test_an_engine_goes_on_with_what_it_had_worked_out() -> None:
    desk = Desk(rule("increase(full[1s])"))
    desk.see({"a": 0.9})
    after = Engine(desk.table, desk.incidents, desk.rules)
    after.load(desk.engine.dump())
    (state,) = after.states
    assert (state.due, state.held) == (desk.now.monotonic + 30, set())
    assert state.last_evaluation == desk.now.wall
    assert kinds(after.evaluate(desk.now, frozenset())) == []


def test_keep_firing_for_begins_anew_where_the_condition_held_again_before_a_restart() -> None:
    desk = Desk(rule(keep_firing_for="1m"))
    desk.see({"a": 0.9})
    desk.later(1).see({"a": 0.1})
    desk.later(30).see({"a": 0.9})
    desk.restart()
    assert kinds(desk.later(1).see({"a": 0.1})) == []
    assert kinds(desk.later(59).see({"a": 0.1})) == []
    assert kinds(desk.later(1).see({"a": 0.1})) == ["resolved"]


def test_keep_firing_for_goes_on_over_a_restart() -> None:
    desk = Desk(rule(keep_firing_for="1m"))
    desk.see({"a": 0.9})
    desk.later(1).see({"a": 0.1})
    desk.later(30).see({"a": 0.1})
    desk.restart()
    # Until the first look after it nobody could look, and that time does not count.
    assert kinds(desk.judge()) == ["stale"]
    assert kinds(desk.later(5).see({"a": 0.1})) == ["fresh"]
    assert kinds(desk.later(29).see({"a": 0.1})) == []
    assert kinds(desk.later(1).see({"a": 0.1})) == ["resolved"]


def test_what_was_resolved_before_a_restart_is_so_after_it() -> None:
    desk = Desk(rule())
    desk.see({"a": 0.9})
    desk.later(1).see({"a": 0.1})
    desk.restart()
    assert desk.open == []
