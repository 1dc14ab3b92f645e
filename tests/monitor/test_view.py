"""What lists show, and when they let go of it."""

from typing import Any

import pytest

from fakes import NOON
from storewatchd.core.frames import ObjectKind
from storewatchd.core.model import Alert, AlertState, Severity
from storewatchd.core.objects import Object
from storewatchd.core.queries import AlertQuery, ObjectPlace, ObjectQuery, Position
from storewatchd.core.tasks import TaskRun, TaskState
from storewatchd.monitor import view as view_module
from storewatchd.monitor.view import View

ALL = AlertQuery()


def alert(alert_id: str, *, over: bool = False, **more: Any) -> Alert:
    more = {"first_seen": NOON, "last_seen": NOON, **more}
    return Alert(
        id=alert_id,
        rule="Full",
        severity=Severity.WARNING,
        source="storage",
        title="Full",
        message="",
        state=AlertState.RESOLVED if over else AlertState.FIRING,
        **more,
    )


def run(run_id: str, state: TaskState = TaskState.RUNNING, **more: Any) -> TaskRun:
    more = {"name": "nightly", "first_seen": NOON, **more}
    return TaskRun(id=run_id, type="backup", state=state, **more)


def shown(view: View, query: AlertQuery = ALL, after: Position | None = None) -> list[str]:
    return [one.id for one in view.alerts(query, after)]


def test_alerts_are_shown_newest_first_and_after_a_position() -> None:
    view = View()
    for number, alert_id in enumerate("abc"):
        view.put_alert(alert(alert_id, first_seen=NOON + number), 1)
    assert shown(view) == ["c", "b", "a"]
    assert shown(view, after=Position.of(NOON + 2, "c")) == ["b", "a"]


def test_only_what_is_asked_for_is_shown() -> None:
    view = View()
    view.put_alert(alert("a"), 1)
    view.put_alert(alert("b", over=True), 2)
    assert shown(view, AlertQuery(states=frozenset({AlertState.RESOLVED}))) == ["b"]
    assert [one.id for one in view.all_alerts()] == ["a", "b"]


def test_an_alert_is_shown_as_it_was_put_last() -> None:
    view = View()
    view.put_alert(alert("a"), 1)
    view.put_alert(alert("a", over=True, version=2), 2)
    known = view.alert("a")
    assert known is not None
    assert known.version == 2
    assert shown(view) == ["a"]


def test_runs_are_narrowed_by_name_and_state() -> None:
    view = View()
    view.put_run(run("1"), 1)
    view.put_run(run("2", TaskState.FAILED), 2)
    view.put_run(run("3", name="weekly"), 3)

    def ids(name: str | None, states: set[str] | None) -> list[str]:
        return [one.id for one in view.runs(name, states, None)]

    assert ids(None, None) == ["3", "2", "1"]
    assert ids("nightly", None) == ["2", "1"]
    assert ids(None, {"failed"}) == ["2"]
    assert ids("weekly", {"failed"}) == []


def test_only_as_many_objects_are_shown_as_are_asked_for_by_kind_and_id() -> None:
    view = View()
    for number in (3, 1, 4, 2):
        sources = {} if number == 4 else {"probe": {"sg": f"sg{number}"}}
        one = Object(ObjectKind.TAPE_DRIVE, f"D{number}", 1, 0.0, 0.0, {}, sources)
        view.put_object(one.key, one)
    disk = Object(ObjectKind.DISK, "W1", 1, 0.0, 0.0, {})
    view.put_object(disk.key, disk)

    def shown(most: int, after: ObjectPlace | None = None, **asked: Any) -> list[str]:
        return [one.id for one in view.objects(ObjectQuery(**asked), after, most)]

    assert shown(3) == ["W1", "D1", "D2"]
    assert shown(9, ObjectPlace("tape_drive", "D2")) == ["D3", "D4"]
    assert shown(9, here=True) == ["D1", "D2", "D3"]
    assert shown(9, kind=ObjectKind.DISK) == ["W1"]


def test_what_is_over_is_let_go_of_once_it_is_confirmed() -> None:
    view = View()
    view.put_alert(alert("a", over=True), 5)
    view.put_run(run("r", TaskState.COMPLETED), 6)
    view.put_alert(alert("b", over=True), 7)
    view.confirm(4)
    assert shown(view) == ["b", "a"]
    view.confirm(6)
    assert shown(view) == ["b"]
    assert view.run("r") is None


def test_what_is_open_stays_whatever_is_confirmed() -> None:
    view = View()
    view.put_alert(alert("a"), 5)
    view.put_run(run("r"), 6)
    view.confirm(100)
    assert shown(view) == ["a"]
    assert view.run("r") is not None


def test_a_run_under_an_id_that_was_used_before_waits_for_its_own_number() -> None:
    view = View()
    view.put_run(run("r", TaskState.COMPLETED), 1)
    again = run("r", first_seen=NOON + 9)
    view.put_run(again, 2)
    view.confirm(1)
    assert list(view.runs(None, None, None)) == [again]
    over = run("r", TaskState.FAILED, first_seen=NOON + 9)
    view.put_run(over, 3)
    view.confirm(2)
    assert list(view.runs(None, None, None)) == [over]
    view.confirm(3)
    assert list(view.runs(None, None, None)) == []


def test_a_run_that_has_an_alerts_id_takes_no_alert_with_it() -> None:
    view = View()
    view.put_alert(alert("same"), 1)
    view.put_run(run("same", TaskState.COMPLETED), 2)
    view.confirm(2)
    assert shown(view) == ["same"]
    assert view.run("same") is None


def test_the_oldest_is_left_to_the_journal_where_too_much_waits(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(view_module, "KEPT_UNCONFIRMED", 2)
    view = View()
    view.put_alert(alert("open"), 1)
    for number, alert_id in enumerate("abc"):
        view.put_alert(alert(alert_id, over=True), 2 + number)
    assert shown(view) == ["open", "c", "b"]


@pytest.mark.parametrize(
    ("changes", "last_seen"),
    [
        pytest.param({}, NOON + 30, id="the same version"),
        pytest.param({"version": 2}, NOON, id="a version that is not on disk yet"),
    ],
)
def test_only_what_needs_no_disk_is_refreshed(changes: dict[str, Any], last_seen: float) -> None:
    view = View()
    view.put_alert(alert("a"), 1)
    view.refresh(alert("a", last_seen=NOON + 30, **changes))
    known = view.alert("a")
    assert known is not None
    assert known.last_seen == last_seen


def test_what_is_not_shown_is_not_refreshed_into_view() -> None:
    view = View()
    view.refresh(alert("a"))
    assert shown(view) == []
