"""The book of open alerts: creation, marks, ends, and what outlives a restart."""

import itertools
from collections.abc import Callable
from typing import Any

import pytest
from msgspec.structs import replace

from fakes import jumped, suspended
from storewatchd.core import incidents as incidents_
from storewatchd.core.commands import CreateAlert
from storewatchd.core.incidents import Incident, Incidents
from storewatchd.core.model import Alert, AlertState, Instant, Severity
from storewatchd.errors import LimitReached, NotFound

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


def test_so_many_are_created_and_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(incidents_, "MAX_CREATED", 2)
    incidents = book()
    incidents.open(of_rule(), NOON)
    first, _ = incidents.create(wish(key="k"), NOON)
    incidents.create(wish(), NOON)
    with pytest.raises(LimitReached, match="2 created alerts are open already"):
        incidents.create(wish(), NOON)
    again, _ = incidents.create(wish(key="k"), NOON)
    assert (again.id, len(incidents)) == (first.id, 3)
    incidents.resolve(first.id, "ann", None, NOON)
    incidents.create(wish(), NOON)
    assert len(incidents) == 3


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
    assert again.get(made.id).since == 3.0
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


@pytest.mark.parametrize("away_s", [0, 10, -3600], ids=["at once", "later", "set back"])
def test_timers_go_on_over_a_restart_from_when_they_were_written(away_s: float) -> None:
    incident = of_rule(since=900.0, frozen_since=950.0, quiet_since=940.0, expires=1100.0)
    found = restored(incident, Instant(NOON.wall + away_s, 5.0))
    assert (found.since, found.frozen_since, found.quiet_since) == (-95.0, -45.0, -55.0)
    assert found.expires == 105.0 - away_s, "that one by the wall clock"


def test_time_that_does_not_count_is_taken_from_every_timer_that_runs() -> None:
    assert of_rule(since=900.0, quiet_since=940.0).later(5) == of_rule(
        since=905.0, quiet_since=945.0
    )
    assert of_rule(since=900.0).later(5) == of_rule(since=905.0)


def test_timers_that_do_not_run_do_not_run_after_a_restart() -> None:
    found = restored(of_rule(since=1000.0), Instant(NOON.wall, 0.0))
    assert (found.since, found.frozen_since, found.quiet_since, found.expires) == (0, *[None] * 3)


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


# What was lost with the journal.


def lost(**changes: Any) -> Incident:
    """Return an alert of a rule that another journal had held since an hour before noon."""
    then = NOON.wall - 3600
    plain: dict[str, Any] = {"id": "lost", "first_seen": then, "last_seen": then, "version": 2}
    incident = of_rule(since=NOON.awake - 3600)
    return replace(incident, alert=replace(incident.alert, **{**plain, **changes}))


def lost_wish(key: str = "key:k", **changes: Any) -> Incident:
    """Return an alert that was created, and that another journal had held."""
    incident = lost(**{"rule": "", **changes})
    return replace(incident, key=key, series={})


def test_an_alert_that_was_lost_is_open_again_in_a_new_version() -> None:
    incidents = book()
    (told,) = incidents.take_back(lost_wish(), NOON)
    assert (told.kind, told.alert.version, told.alert.state) == ("restored", 3, AlertState.FIRING)
    assert incidents.get("lost").alert == told.alert
    assert incidents.take_changes()["lost"] == incidents.get("lost").to_state(NOON)


def test_of_a_rule_it_is_stale_until_its_inputs_are_seen() -> None:
    incidents = book()
    (told,) = incidents.take_back(lost(), NOON)
    assert told.alert.stale_since == NOON.wall
    assert incidents.get("lost").frozen_since == NOON.awake
    assert incidents.get("lost").since == NOON.awake - 3600


def test_one_that_was_stale_already_is_so_since_then() -> None:
    incidents = book()
    was = replace(lost(stale_since=NOON.wall - 60), frozen_since=NOON.awake - 60)
    (told,) = incidents.take_back(was, NOON)
    assert told.alert.stale_since == NOON.wall - 60
    assert incidents.get("lost").frozen_since == NOON.awake - 60


def test_one_that_was_created_is_not_stale() -> None:
    (told,) = book().take_back(lost_wish(), NOON)
    assert told.alert.stale_since is None


@pytest.mark.parametrize(
    ("version", "kinds"),
    [
        pytest.param(1, [], id="older"),
        pytest.param(3, [], id="the same"),
        pytest.param(4, ["restored"], id="newer"),
    ],
)
def test_of_an_alert_that_is_known_the_higher_version_stays(version: int, kinds: list[str]) -> None:
    incidents = book()
    incidents.take_back(lost_wish(version=2), NOON)
    incidents.take_changes()
    assert [one.kind for one in incidents.take_back(lost_wish(version=version), NOON)] == kinds
    assert incidents.get("lost").alert.version == (5 if kinds else 3)
    assert bool(incidents.take_changes()) == bool(kinds)


def test_what_a_rule_opened_meanwhile_for_the_same_ends_and_its_marks_go_on() -> None:
    incidents = book()
    newer = of_rule()
    incidents.open(replace(newer, alert=replace(newer.alert, message="90 %")), NOON)
    incidents.acknowledge("id-0", "bob", "seen", NOON)
    ended, told = incidents.take_back(lost(), NOON.later(1))
    assert (ended.kind, ended.alert.id, ended.alert.resolved_by) == ("resolved", "id-0", "restored")
    assert ended.reason["id"] == "lost"
    assert (told.alert.id, told.alert.acknowledged_by, told.alert.acknowledged_note) == (
        *("lost", "bob", "seen"),
    )
    assert (told.alert.message, told.alert.occurrences) == ("90 %", 1)
    assert [one.alert.id for one in incidents] == ["lost"]
    assert [one.alert.id for one in incidents.of_rule("Full")] == ["lost"]


def test_its_own_marks_stay() -> None:
    incidents = book()
    incidents.open(of_rule(), NOON)
    incidents.acknowledge("id-0", "bob", None, NOON)
    _, told = incidents.take_back(lost(acknowledged_by="ann", acknowledged_at=NOON.wall - 9), NOON)
    assert told.alert.acknowledged_by == "ann"


def test_what_was_created_meanwhile_with_its_key_counts_with_it() -> None:
    incidents = book()
    incidents.create(wish("now", key="k", ttl_s=60), NOON)
    ended, told = incidents.take_back(lost_wish(occurrences=4, title="then"), NOON.later(1))
    assert (ended.alert.title, ended.alert.state) == ("now", AlertState.RESOLVED)
    assert (told.alert.id, told.alert.title, told.alert.occurrences) == ("lost", "now", 5)
    assert told.alert.last_seen == NOON.wall
    (expired,) = incidents.expire(NOON.later(60))
    assert expired.alert.id == "lost"


def test_what_a_person_resolved_meanwhile_ends_with_it() -> None:
    incidents = book()
    incidents.open(of_rule(), NOON)
    incidents.resolve("id-0", "ann", None, NOON)
    told, ended = incidents.take_back(lost(), NOON)
    assert (told.kind, ended.kind, ended.alert.id) == ("restored", "resolved", "lost")
    assert list(incidents) == []
    assert incidents.is_quieted("k")
