"""Runs of tasks: reports that come twice, late, contradict, or were never begun."""

import itertools
from dataclasses import replace
from typing import Any

import pytest

from fakes import jumped
from storewatchd.core import tasks
from storewatchd.core.commands import FinishTask, ProgressTask, StartTask
from storewatchd.core.model import Instant
from storewatchd.core.tasks import MAX_FINISHED, TaskBook, TaskRun, TaskState
from storewatchd.errors import Conflict, LimitReached, NotFound

NOON = Instant(1_767_268_800.0, 1000.0)


def book() -> TaskBook:
    ids = itertools.count(1)
    return TaskBook("node", lambda _: f"run-{next(ids)}")


def start(book: TaskBook, name: str = "nightly", now: Instant = NOON, **more: Any) -> TaskRun:
    return book.start(StartTask(actor="ann", name=name, **more), now).run


def finish(book: TaskBook, run: TaskRun, now: Instant = NOON, **more: Any) -> TaskRun:
    return book.finish(FinishTask(actor="ann", id=run.id, **more), now).run


def values(book: TaskBook, now: Instant = NOON) -> dict[str, list[tuple[tuple[str, ...], float]]]:
    return {
        name: sorted((row.labels, row.value) for row in rows)
        for name, rows in book.frame(now).rows.items()
        if rows
    }


def test_a_run_from_start_to_end() -> None:
    tasks_ = book()
    run = start(tasks_, message="go", type="backup")
    assert (run.id, run.state, run.started_at) == ("run-1", TaskState.RUNNING, NOON.wall)
    moved = tasks_.progress(ProgressTask(actor="ann", id=run.id, percent=40.0, bytes=7))
    assert (moved.kind, moved.run.progress_percent, moved.run.message) == ("progress", 40.0, "go")
    ended = tasks_.finish(FinishTask(actor="ann", id=run.id, exit_status=0), NOON.later(10))
    assert (ended.kind, ended.run.state, ended.run.version) == ("end", TaskState.COMPLETED, 3)
    assert (ended.run.duration_s, ended.run.progress_percent, ended.run.bytes) == (10, 100.0, 7)


@pytest.mark.parametrize(
    ("report", "state"),
    [
        pytest.param({}, TaskState.COMPLETED, id="nothing said"),
        pytest.param({"exit_status": 3}, TaskState.FAILED, id="exit status"),
        pytest.param({"signal": "SIGKILL"}, TaskState.FAILED, id="signal"),
        pytest.param({"failed": True}, TaskState.FAILED, id="said so"),
        pytest.param({"failed": True, "exit_status": 0}, TaskState.FAILED, id="said so despite 0"),
        pytest.param({"failed": False, "exit_status": 0}, TaskState.COMPLETED, id="said not"),
    ],
)
def test_failure_is_what_was_said_or_follows(report: dict[str, Any], state: TaskState) -> None:
    tasks_ = book()
    assert finish(tasks_, start(tasks_), **report).state is state


def test_what_a_finished_run_moved_is_told() -> None:
    tasks_ = book()
    run = start(tasks_)
    assert "task_last_bytes" not in values(tasks_)
    finish(tasks_, run, bytes=7)
    assert values(tasks_)["task_last_bytes"] == [(("nightly",), 7)]


@pytest.mark.parametrize("report", [{"exit_status": 1}, {"signal": "SIGTERM"}])
def test_a_report_that_contradicts_itself_is_refused(report: dict[str, Any]) -> None:
    tasks_ = book()
    run = start(tasks_)
    with pytest.raises(Conflict, match="has failed"):
        finish(tasks_, run, failed=False, **report)
    assert tasks_.runs() == [run]


def test_the_same_report_again_changes_nothing() -> None:
    tasks_ = book()
    run = start(tasks_, id="mine")
    assert tasks_.start(StartTask(actor="ann", name="nightly", id="mine"), NOON).kind is None
    ended = finish(tasks_, run, exit_status=1)
    again = tasks_.finish(FinishTask(actor="ann", id="mine", exit_status=1), NOON.later(9))
    assert (again.kind, again.run) == (None, ended)


def test_another_end_and_progress_after_the_end_are_refused() -> None:
    tasks_ = book()
    run = start(tasks_)
    finish(tasks_, run, exit_status=1)
    with pytest.raises(Conflict, match="the task 'nightly' ended already: it failed"):
        finish(tasks_, run, exit_status=2)
    with pytest.raises(Conflict, match="is over"):
        tasks_.progress(ProgressTask(actor="ann", id=run.id, percent=1.0))


def test_an_id_of_another_task_is_refused() -> None:
    tasks_ = book()
    start(tasks_, id="mine")
    with pytest.raises(Conflict, match="'mine' belongs to a run of 'nightly'"):
        start(tasks_, "weekly", id="mine")


def test_what_never_began_is_not_found() -> None:
    with pytest.raises(NotFound, match="no task with the id 'x' was started here"):
        book().finish(FinishTask(actor="ann", id="x"), NOON)
    with pytest.raises(NotFound):
        book().progress(ProgressTask(actor="ann", id="x"))


def test_reports_may_come_late_and_never_from_the_future() -> None:
    tasks_ = book()
    late = start(tasks_, at=NOON.wall - 60)
    assert (late.started_at, late.first_seen) == (NOON.wall - 60, NOON.wall)
    assert finish(tasks_, late, at=NOON.wall - 30).duration_s == 30
    early = start(tasks_, at=NOON.wall + 60)
    assert early.started_at == NOON.wall
    assert finish(tasks_, early, at=NOON.wall - 60).duration_s == 0


def test_output_is_bounded_and_can_be_stored() -> None:
    tasks_ = book()
    run = finish(tasks_, start(tasks_), exit_status=1, output="x" * 70_000 + "\0end")
    assert len(run.output) == tasks.OUTPUT_BYTES
    assert run.output.endswith("x\ufffdend")


def test_metrics_follow() -> None:
    tasks_ = book()
    finish(tasks_, start(tasks_), NOON.later(4), exit_status=3, output=" boom\n", bytes=9)
    finish(tasks_, start(tasks_, now=NOON.later(5)), NOON.later(7))
    start(tasks_, now=NOON.later(8))
    assert values(tasks_, NOON.later(10)) == {
        "task_runs_total": [
            (("nightly", "task", "completed"), 1),
            (("nightly", "task", "failed"), 1),
        ],
        "task_last_start_timestamp_seconds": [(("nightly",), NOON.wall + 8)],
        "task_last_end_timestamp_seconds": [(("nightly",), NOON.wall + 7)],
        "task_last_success_timestamp_seconds": [(("nightly",), NOON.wall + 7)],
        "task_last_failure_timestamp_seconds": [(("nightly",), NOON.wall + 4)],
        "task_last_duration_seconds": [(("nightly",), 2)],
        "task_last_failure_info": [(("nightly", "3", "", "boom"), 1)],
        "task_running": [(("nightly",), 1)],
        "task_running_seconds": [(("nightly",), 2)],
    }


def report(tasks_: TaskBook, began: float, ended: float, **more: Any) -> None:
    """Report a whole run late, at 100 seconds past noon."""
    type_ = {"type": more.pop("type")} if "type" in more else {}
    run = start(tasks_, now=NOON.later(100), at=NOON.wall + began, **type_)
    finish(tasks_, run, NOON.later(100), at=NOON.wall + ended, **more)


EARLIER = pytest.mark.parametrize(
    "earlier",
    [
        pytest.param({"exit_status": 1, "output": "early", "bytes": 1}, id="failure"),
        pytest.param({"bytes": 1}, id="success"),
    ],
)


@EARLIER
@pytest.mark.parametrize(
    "later",
    [
        pytest.param({"exit_status": 2, "output": "late", "bytes": 2}, id="after a failure"),
        pytest.param({"bytes": 2}, id="after a success"),
    ],
)
def test_runs_give_the_same_metrics_in_whatever_order_they_are_reported(
    earlier: dict[str, Any], later: dict[str, Any]
) -> None:
    in_order, late = book(), book()
    report(in_order, 10, 20, **earlier)
    report(in_order, 50, 70, type="backup", **later)
    report(late, 50, 70, type="backup", **later)
    report(late, 10, 20, **earlier)
    assert values(late) == values(in_order)


def test_memory_keeps_the_newest_ends_and_of_the_others_the_ids() -> None:
    tasks_ = book()
    for _ in range(MAX_FINISHED):
        finish(tasks_, start(tasks_))
    tasks_.take_changes()
    finish(tasks_, start(tasks_))
    assert len(tasks_.runs()) == MAX_FINISHED
    assert tasks_.take_changes()["run-1"] == {"id": "run-1", "over_at": NOON.wall}


@pytest.mark.parametrize("how", ["goes on", "restarts", "is replayed"])
def test_memory_keeps_so_much_output_only(monkeypatch: pytest.MonkeyPatch, how: str) -> None:
    monkeypatch.setattr(tasks, "MAX_OUTPUT_BYTES", 3_000)
    tasks_ = book()
    runs = [finish(tasks_, start(tasks_), exit_status=1, output="ä" * 600) for _ in "ab"]
    if how == "restarts":
        kept = [state for state in tasks_.take_changes().values() if state is not None]
        known, tasks_ = names(tasks_), book()
        tasks_.restore(kept, known)
    elif how == "is replayed":
        told, tasks_ = tasks_.dump(), book()
        tasks_.load(told)
    for number in range(2):
        finish(tasks_, start(tasks_, id=f"last-{number}"), exit_status=1, output="ä" * 600)
    assert [run.id for run in tasks_.runs()] == ["last-0", "last-1"]
    assert {run.id for run in runs} < tasks_.take_changes().keys()


@pytest.mark.parametrize("restarts", [False, True])
def test_the_id_of_a_run_that_left_memory_is_no_other_run_s(
    monkeypatch: pytest.MonkeyPatch, restarts: bool
) -> None:
    monkeypatch.setattr(tasks, "MAX_FINISHED", 1)
    tasks_ = book()
    old = start(tasks_, id="mine")
    finish(tasks_, old)
    finish(tasks_, start(tasks_))
    counted = values(tasks_)
    if restarts:
        kept = [state for state in tasks_.take_changes().values() if state is not None]
        known, tasks_ = names(tasks_), book()
        tasks_.restore(kept, known)
    with pytest.raises(Conflict, match="'mine' belongs to an earlier run"):
        start(tasks_, id="mine")
    with pytest.raises(Conflict, match="'mine' is over"):
        finish(tasks_, old)
    assert tasks_.take_back([replace(old, version=9).to_state()], {}) == []
    assert values(tasks_) == counted


def test_a_recording_begins_with_all_that_is_known_of_tasks(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(tasks, "MAX_FINISHED", 1)
    before, after = book(), book()
    for run_id in ("past", "over"):
        finish(before, start(before, id=run_id))
    start(before, id="under way")
    after.load(before.dump())
    assert after.dump() == before.dump()
    with pytest.raises(Conflict):
        start(after, id="past")


def test_a_restart_keeps_runs_and_what_follows_from_them() -> None:
    tasks_ = book()
    finish(tasks_, start(tasks_), exit_status=1, output="boom")
    start(tasks_, "weekly", now=NOON.later(1))
    runs = [state for state in tasks_.take_changes().values() if state is not None]
    names = {name: about for name, about in tasks_.take_name_changes().items() if about is not None}
    assert (tasks_.take_changes(), tasks_.take_name_changes()) == ({}, {})
    again = book()
    again.restore(runs, names)
    assert again.runs() == tasks_.runs()
    assert values(again) == values(tasks_)


def test_running_tasks_and_names_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tasks, "MAX_RUNNING", 2)
    monkeypatch.setattr(tasks, "MAX_NAMES", 2)
    tasks_ = book()
    finish(tasks_, start(tasks_, "a"))
    start(tasks_, "b")
    start(tasks_, "c")
    with pytest.raises(LimitReached, match="2 tasks are running"):
        start(tasks_, "b")


def test_the_name_that_has_not_run_for_longest_gives_way(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tasks, "MAX_NAMES", 3)
    tasks_ = book()
    for seconds, name in ((20, "newer"), (10, "oldest")):
        finish(tasks_, start(tasks_, name), NOON.later(seconds))
    start(tasks_, "runs")
    tasks_.take_name_changes()
    start(tasks_, "fresh")
    kept = tasks_.take_name_changes()
    assert kept["oldest"] is None
    assert kept["fresh"] is not None
    names = {labels[0] for labels, _ in values(tasks_)["task_last_start_timestamp_seconds"]}
    assert names == {"newer", "runs", "fresh"}


def test_no_name_gives_way_while_all_of_them_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tasks, "MAX_NAMES", 1)
    tasks_ = book()
    start(tasks_, "a")
    with pytest.raises(LimitReached, match="1 different tasks are running"):
        start(tasks_, "b")


def test_a_report_of_the_first_second_of_all_is_taken_at_its_word() -> None:
    tasks_ = book()
    run = finish(tasks_, start(tasks_, at=0.0), at=0.0)
    assert (run.started_at, run.finished_at) == (0.0, 0.0)


def test_the_shape_has_every_agreed_member() -> None:
    run = start(book())
    assert set(run.to_json()) == {
        *("id", "name", "type", "state", "started_at", "finished_at", "duration_seconds"),
        *("progress_percent", "message", "exit_status", "signal", "output", "bytes"),
        *("reported_by", "node", "version"),
    }
    assert TaskRun.from_state(run.to_state()) == run


@pytest.mark.parametrize("jump_s", [3600, -3600])
def test_what_is_told_of_tasks_goes_along_with_a_clock_that_is_set(jump_s: float) -> None:
    tasks_ = book()
    for name, more in (("good", {}), ("bad", {"exit_status": 3})):
        finish(tasks_, start(tasks_, name), NOON.later(10), **more)
    start(tasks_, "under way")
    before = values(tasks_, NOON.later(60))
    tasks_.take_changes()
    tasks_.take_name_changes()
    tasks_.shift(jump_s)
    after = values(tasks_, jumped(NOON.later(60), jump_s))
    for name, rows in before.items():
        moved = jump_s if name.endswith("_timestamp_seconds") else 0.0
        assert after[name] == [(labels, value + moved) for labels, value in rows]
    assert tasks_.take_name_changes().keys() == {"good", "bad", "under way"}


def test_only_runs_under_way_begin_at_another_time_when_a_clock_is_set() -> None:
    tasks_ = book()
    over = finish(tasks_, start(tasks_, "over"), NOON.later(10))
    run = start(tasks_, "under way")
    tasks_.take_changes()
    (moved,) = tasks_.shift(3600)
    assert (moved.id, moved.started_at, moved.version) == (run.id, NOON.wall + 3600, 2)
    assert moved.first_seen == run.first_seen
    assert tasks_.runs() == [over, moved]
    assert tasks_.take_changes() == {run.id: moved.to_state()}
    ended = finish(tasks_, moved, jumped(NOON.later(20), 3600))
    assert ended.duration_s == 20


# What was lost with the journal.


def names(book: TaskBook) -> dict[str, dict[str, Any]]:
    """Return what is known of every task, as the journal keeps it."""
    return {name: about for name, about in book.take_name_changes().items() if about is not None}


def test_a_run_that_was_lost_goes_on() -> None:
    before, after = book(), book()
    run = start(before, type="backup", id="r1")
    (taken,) = after.take_back([run.to_state()], names(before))
    assert taken == run
    assert after.take_changes() == {"r1": run.to_state()}
    assert finish(after, run).state is TaskState.COMPLETED
    assert values(after)["task_runs_total"] == [(("nightly", "backup", "completed"), 1)]


@pytest.mark.parametrize(
    ("version", "percent"),
    [pytest.param(2, 40.0, id="the same"), pytest.param(3, 80.0, id="newer")],
)
def test_of_a_run_that_is_known_the_higher_version_stays(version: int, percent: float) -> None:
    tasks_ = book()
    run = start(tasks_, id="r1")
    tasks_.progress(ProgressTask(actor="ann", id="r1", percent=40.0))
    theirs = replace(run, version=version, progress_percent=80.0)
    assert len(tasks_.take_back([theirs.to_state()], {})) == version - 2
    assert [one.progress_percent for one in tasks_.runs()] == [percent]


def test_a_run_that_is_over_stays_over() -> None:
    tasks_ = book()
    run = start(tasks_, id="r1")
    ended = finish(tasks_, run)
    assert tasks_.take_back([replace(run, version=9).to_state()], {}) == []
    assert tasks_.runs() == [ended]


def test_a_run_of_a_task_that_nobody_knows_is_left_out() -> None:
    assert book().take_back([start(book()).to_state()], {}) == []


def test_no_more_runs_are_taken_back_than_may_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tasks, "MAX_RUNNING", 3)
    tasks_ = book()
    finish(tasks_, start(tasks_))
    start(tasks_)
    lost = [replace(start(book()), id=f"lost-{n}").to_state() for n in range(4)]
    taken = tasks_.take_back(lost, {})
    assert [run.id for run in taken] == ["lost-0", "lost-1"]


def test_what_is_known_of_a_task_comes_back() -> None:
    before, after = book(), book()
    finish(before, start(before), NOON.later(5), exit_status=3, output="no tape", bytes=7)
    after.take_back([], names(before))
    assert values(after) == values(before)
    assert after.take_name_changes()["nightly"] is not None


def test_of_a_task_that_is_known_the_later_and_the_larger_stays() -> None:
    lost, tasks_ = book(), book()
    for at in (10, 20):
        finish(lost, start(lost, now=NOON.later(at - 2)), NOON.later(at), bytes=at)
    finish(lost, start(lost, now=NOON.later(21)), NOON.later(22), exit_status=4)
    lost_names = names(lost)
    finish(tasks_, start(tasks_, now=NOON.later(30)), NOON.later(33), bytes=9)
    start(tasks_, now=NOON.later(40))
    tasks_.take_back([], lost_names)
    found = values(tasks_)
    one = ("nightly",)
    assert found["task_runs_total"] == [
        (("nightly", "task", "completed"), 2),
        (("nightly", "task", "failed"), 1),
    ]
    assert found["task_last_start_timestamp_seconds"] == [(one, NOON.wall + 40)]
    assert found["task_last_end_timestamp_seconds"] == [(one, NOON.wall + 33)]
    assert found["task_last_success_timestamp_seconds"] == [(one, NOON.wall + 33)]
    assert found["task_last_failure_timestamp_seconds"] == [(one, NOON.wall + 22)]
    assert found["task_last_duration_seconds"] == [(one, 3)]
    assert found["task_last_bytes"] == [(one, 9)]
    assert found["task_last_failure_info"] == [(("nightly", "4", "", ""), 1)]


def test_what_was_lost_of_a_task_that_only_began_since_counts() -> None:
    lost, tasks_ = book(), book()
    finish(lost, start(lost), NOON.later(5), bytes=7)
    start(tasks_, now=NOON.later(9))
    tasks_.take_back([], names(lost))
    found = values(tasks_)
    assert found["task_last_success_timestamp_seconds"] == [(("nightly",), NOON.wall + 5)]
    assert found["task_last_bytes"] == [(("nightly",), 7)]


def test_no_more_names_are_taken_back_than_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    lost, tasks_ = book(), book()
    for name in ("a", "b", "c"):
        finish(lost, start(lost, name))
    start(tasks_, "c")
    monkeypatch.setattr(tasks, "MAX_NAMES", 2)
    tasks_.take_back([], names(lost))
    assert sorted(labels[0] for labels, _ in values(tasks_)["task_running"]) == ["a", "c"]
