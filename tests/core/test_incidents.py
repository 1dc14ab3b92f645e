"""The book of open alerts: creation, marks, ends, and what outlives a restart."""

import itertools
from collections.abc import Callable
from typing import Any

import pytest

from fakes import jumped, suspended
from storewatchd.core.commands import CreateAlert
from storewatchd.core.incidents import Incident, Incidents
from storewatchd.core.model import Alert, AlertState, Instant, Severity
from storewatchd.errors import NotFound

NOON = Instant(1_767_268_800.0, 1000.0)


def book() -> Incidents:
    ids = itertools.count(1)
    return Incidents("node", lambda _: f"id-{next(ids)}")


def wish(title: str = "t", key: str | None = None, ttl_s: float | None = None) -> CreateAlert:
    return CreateAlert(
        actor="ann", severity=Severity.WARNING, source="disk", title=title, key=key, ttl_s=ttl_s
    )


def of_rule(
    name: str = "Full",
    key: str = "k",
    *,
    state: AlertState = AlertState.FIRING,
    **timers: float,
) -> Incident:
    alert = Alert(
        id="id-0",
        rule=name,
        severity=Severity.INFO,
        source="s",
        title="t",
        message="",
        state=state,
        first_seen=NOON.wall,
        last_seen=NOON.wall,
    )
    return Incident(alert=alert, key=key, series={"s": "1"}, **timers)


def test_what_is_created_fires_at_once() -> None:
    incidents = book()
    alert, transition = incidents.create(wish(), NOON)
    assert (alert.state, alert.rule, alert.node) == (AlertState.FIRING, "", "node")
    assert (transition.kind, transition.reason["actor"]) == ("firing", "ann")
    assert len(incidents) == 1


def test_the_same_key_counts_again_and_takes_the_new_words() -> None:
    incidents = book()
    first, _ = incidents.create(wish("one", key="k"), NOON)
    again, transition = incidents.create(wish("two", key="k"), NOON.later(5))
    assert (again.id, again.occurrences, again.title, again.version) == (first.id, 2, "two", 2)
    assert (transition.kind, again.last_seen) == ("repeated", NOON.wall + 5)


def test_without_a_key_each_is_an_alert_of_its_own() -> None:
    incidents = book()
    assert incidents.create(wish(), NOON)[0].id != incidents.create(wish(), NOON)[0].id


def test_a_key_is_free_again_after_the_end() -> None:
    incidents = book()
    first, _ = incidents.create(wish(key="k"), NOON)
    incidents.resolve(first.id, "ann", None, NOON)
    assert incidents.create(wish(key="k"), NOON)[0].id != first.id


def test_it_expires_unless_it_is_created_again() -> None:
    incidents = book()
    incidents.create(wish(key="k", ttl_s=10), NOON)
    incidents.create(wish(key="k", ttl_s=10), NOON.later(9))
    assert incidents.expire(NOON.later(18)) == []
    (ended,) = incidents.expire(NOON.later(19))
    assert (ended.kind, ended.alert.resolved_by) == ("resolved", "expired")


def test_what_is_over_is_not_there_after_a_restart() -> None:
    incidents = book()
    incidents.create(wish(key="k", ttl_s=10), NOON)
    incidents.open(of_rule(), NOON)
    incidents.close(incidents.get("id-0"), NOON, by="rule", reason={})
    incidents.expire(NOON.later(10))
    assert incidents.take_changes() == {"id-0": None, "id-1": None}


def test_acknowledging_marks_once() -> None:
    incidents = book()
    alert, _ = incidents.create(wish(), NOON)
    marked, transition = incidents.acknowledge(alert.id, "bob", "mine", NOON.later(1))
    assert transition is not None
    assert (marked.acknowledged_by, marked.acknowledged_note) == ("bob", "mine")
    assert incidents.acknowledge(alert.id, "eve", None, NOON.later(2)) == (marked, None)


def test_an_end_by_hand_is_told_and_quiets_only_what_a_rule_made() -> None:
    incidents = book()
    incidents.open(of_rule(), NOON)
    made, _ = incidents.create(wish(key="k"), NOON)
    ended, transition = incidents.resolve("id-0", "ann", "done", NOON)
    incidents.resolve(made.id, "ann", None, NOON)
    assert (ended.resolved_by, transition.reason) == ("ann", {"actor": "ann", "note": "done"})
    assert incidents.is_quieted("k")
    assert not incidents.is_quieted("key:k")
    assert incidents.rules() == ["Full"]


@pytest.mark.parametrize("verb", ["acknowledge", "resolve"])
def test_an_unknown_id_is_named(verb: str) -> None:
    with pytest.raises(NotFound, match="no open alert has the id 'x'"):
        getattr(book(), verb)("x", "ann", None, NOON)


def test_a_quieted_key_is_kept_with_its_rule_until_it_is_forgotten() -> None:
    incidents = book()
    incidents.open(of_rule(), NOON)
    incidents.resolve("id-0", "ann", None, NOON)
    incidents.take_changes()
    assert incidents.quieted("Other") == []
    assert [one.key for one in incidents.quieted("Full")] == ["k"]
    incidents.forget_quieted("k")
    assert not incidents.is_quieted("k")
    assert incidents.take_changes() == {"id-0": None}
    assert incidents.rules() == []


def test_a_restart_keeps_alerts_timers_and_quieted_keys() -> None:
    incidents = book()
    made, _ = incidents.create(wish(key="k", ttl_s=60), NOON)
    incidents.open(of_rule(), NOON)
    incidents.resolve("id-0", "ann", None, NOON)
    kept = incidents.take_changes()
    assert incidents.take_changes() == {}

    again = book()
    # Ten seconds later on the wall, on a monotonic clock that began anew.
    boot = Instant(NOON.wall + 10, 3.0)
    again.restore([state for state in kept.values() if state is not None], boot)
    assert again.get(made.id).alert == made
    assert again.get(made.id).since == 3.0 - 10
    assert again.quieted("Full") == incidents.quieted("Full")
    assert again.quieted("Full")[0].series == {"s": "1"}
    assert again.expire(boot.later(49)) == []
    assert [one.alert.id for one in again.expire(boot.later(50))] == [made.id]


def restored(incident: Incident, boot: Instant) -> Incident:
    """Return an incident that was opened at noon as it is after a restart."""
    incidents = book()
    incidents.open(incident, NOON)
    again = book()
    again.restore([state for state in incidents.take_changes().values() if state], boot)
    (found,) = again
    return found


def test_timers_go_on_over_a_restart() -> None:
    incident = of_rule(since=900.0, frozen_since=950.0, quiet_since=940.0, expires=1100.0)
    found = restored(incident, Instant(NOON.wall + 10, 0.0))
    assert (found.since, found.frozen_since) == (-110.0, -60.0)
    assert (found.quiet_since, found.expires) == (-70.0, 90.0)


def test_timers_that_do_not_run_do_not_run_after_a_restart() -> None:
    found = restored(of_rule(since=1000.0), Instant(NOON.wall, 0.0))
    assert (found.since, found.frozen_since, found.quiet_since, found.expires) == (0, *[None] * 3)


def test_a_clock_that_was_set_back_puts_no_beginning_into_the_future() -> None:
    incident = of_rule(since=900.0, frozen_since=950.0, quiet_since=940.0)
    found = restored(incident, Instant(NOON.wall - 3600, 3.0))
    assert (found.since, found.frozen_since, found.quiet_since) == (3.0, 3.0, 3.0)


def test_a_touch_is_seen_and_not_journalled() -> None:
    incidents = book()
    incidents.open(of_rule(), NOON)
    incidents.take_changes()
    incidents.touch(of_rule())
    assert incidents.take_changes() == {}
    assert incidents.find("k") == of_rule()
    assert incidents.of_rule("Full") == [of_rule()]


def test_what_is_not_seen_while_the_machine_is_suspended_counts_for_no_duration() -> None:
    incidents = book()
    made, _ = incidents.create(wish(ttl_s=60), NOON)
    later = suspended(NOON, 50)
    again, _ = incidents.create(wish("Other"), later)
    assert incidents.get(made.id).since == incidents.get(again.id).since == NOON.awake
    # But it was not reported again meanwhile.
    assert [one.alert.id for one in incidents.expire(later.later(10))] == [made.id]


@pytest.mark.parametrize(
    "timer",
    [
        pytest.param({"state": AlertState.PENDING}, id="pending"),
        pytest.param({"frozen_since": 950.0}, id="frozen"),
        pytest.param({"quiet_since": 950.0}, id="kept firing"),
        pytest.param({"expires": 1100.0}, id="with an end"),
    ],
)
@pytest.mark.parametrize("moved", [jumped, suspended])
def test_timers_go_on_over_a_restart_after_the_clocks_came_apart(
    timer: dict[str, Any], moved: Callable[[Instant, float], Instant]
) -> None:
    incidents = book()
    incident = of_rule(since=900.0, **timer)
    incidents.open(incident, NOON)
    now = moved(NOON, 3600.0)
    incidents.redate(now)
    again = book()
    again.restore([state for state in incidents.take_changes().values() if state], now)
    assert list(again) == [incident]


def test_what_has_no_timer_is_not_written_anew() -> None:
    incidents = book()
    incidents.open(of_rule(), NOON)
    incidents.take_changes()
    incidents.redate(jumped(NOON, 3600.0))
    assert incidents.take_changes() == {}
