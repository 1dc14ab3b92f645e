"""What becomes of alerts: known, unknown, late, by hand, over restarts."""

import contextlib
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition
from hypothesis.stateful import rule as step

from core.fix_engine import FULL, MAX_AGE_S, NOON, Desk, kinds, rule, rule_set
from storewatchd.core import incidents
from storewatchd.core.engine import LARGE, MAX_RENEWED, RENEW_S, REST_S, RULE_REMOVED
from storewatchd.core.frames import Family, Frame, MetricType, Outcome, Row, Scope
from storewatchd.core.incidents import Incident
from storewatchd.core.model import Alert, AlertState, Severity, Transition, fingerprint
from storewatchd.core.rules import RuleFile, load
from storewatchd.core.steps import Steps
from storewatchd.errors import NotFound

DB = '"{{ $labels.repository }}"'


def test_a_true_condition_fires_once_with_its_evidence() -> None:
    desk = Desk(rule())
    (fired,) = desk.see({"a": 0.9, "b": 0.1})
    assert (fired.kind, fired.alert.state, fired.alert.labels) == (
        "firing",
        AlertState.FIRING,
        {"repository": "a"},
    )
    assert fired.reason["value"] == 0.9
    assert fired.reason["series"] == {"__name__": "full", "repository": "a"}
    assert desk.see({"a": 0.9, "b": 0.1}) == []


def many(value: float) -> dict[str, float]:
    return {str(number): value for number in range(LARGE)}


def test_an_expression_over_many_rows_is_worked_out_aside() -> None:
    desk = Desk(rule("max(full) > 0.8"))
    desk.see(many(0.5))
    desk.later(REST_S)
    touched = desk.table.feed(Frame(Scope("probe"), desk.now.wall, rows={"full": [Row(("a",), 1)]}))
    steps = desk.engine.evaluating(desk.now, touched)
    assert sum(aside is not None for aside in steps_of(steps)) == 1
    assert [one.alert.state for one in desk.open] == [AlertState.FIRING]


def test_a_rule_over_many_rows_rests_after_each_look_and_then_sees_it() -> None:
    desk = Desk(rule("max(full) > 0.8"))
    desk.see(many(0.5))
    assert desk.later(REST_S / 2).see(many(0.9)) == []
    assert desk.engine.next_due() == desk.now.monotonic + REST_S / 2
    desk.later(REST_S / 2)
    assert kinds(desk.engine.evaluate(desk.now, frozenset())) == ["firing"]


def steps_of(steps: Steps[Any]) -> list[object]:
    """Take all steps; return what each one wanted."""
    wanted: list[Any] = []
    with contextlib.suppress(StopIteration):
        wanted.append(next(steps))
        while True:
            wanted.append(steps.send(None if wanted[-1] is None else wanted[-1]()))
    return wanted


def test_many_rows_are_judged_in_several_steps() -> None:
    desk, count = Desk(rule()), 5
    desk.see({str(number): 0.9 for number in range(count)})
    rows = [Row((str(number),), 0.1) for number in range(count)]
    touched = desk.table.feed(Frame(Scope("probe"), NOON, rows={"full": rows}))
    assert len(steps_of(desk.engine.evaluating(desk.now, touched))) > count
    assert desk.open == []


def shown(desk: Desk) -> list[str]:
    return [one.alert.title for one in desk.open]


TEXT = {"annotations": '{summary: "{{ $value }} of {{ $labels.repository }}"}'}


def test_a_firing_alert_says_what_is_so_now_and_that_is_no_news() -> None:
    desk = Desk(rule(**TEXT))
    desk.see({"a": 0.9})
    assert desk.later(RENEW_S - 1).see({"a": 0.95}) == []
    assert shown(desk) == ["0.9 of a"]
    assert desk.later(1).see({"a": 0.97}) == []
    assert shown(desk) == ["0.97 of a"]
    assert desk.open[0].alert.version == 1
    assert desk.later(RENEW_S).fail()[0].alert.title == "0.97 of a"
    desk.later(RENEW_S).see({"a": 0.99})
    assert shown(desk) == ["0.99 of a"]


def test_a_firing_alert_that_asks_for_more_says_what_is_so_now_at_the_same_value() -> None:
    desk = Desk(
        rule(
            "count(full > 0.8) > 0",
            annotations='{summary: \'{{ range query "full > 0.8" }}{{ .Labels.repository }};'
            "{{ end }}'}",
        )
    )
    desk.see({"a": 0.9, "b": 0.1})
    assert shown(desk) == ["a;"]
    assert desk.later(RENEW_S - 1).see({"a": 0.1, "b": 0.9}) == []
    assert shown(desk) == ["a;"]
    assert desk.later(1).see({"a": 0.1, "b": 0.9}) == []
    assert shown(desk) == ["b;"]


def test_a_restored_alert_says_what_is_so_now_as_soon_as_it_is_seen() -> None:
    desk = Desk(rule(**TEXT))
    desk.see({"a": 0.9})
    desk.restart()
    desk.see({"a": 0.95})
    assert shown(desk) == ["0.95 of a"]


def test_what_only_may_be_so_is_not_said() -> None:
    desk = Desk(rule("sum(full) > 0.8", annotations='{summary: "{{ $value }}"}'))
    desk.see({"a": 0.9})
    desk.later(RENEW_S).fail()
    assert [one.alert.title for one in desk.open] == ["0.9"]


def test_of_very_many_alerts_only_so_many_are_worded_anew_at_once() -> None:
    desk = Desk(rule(**TEXT))
    names = [f"r{number}" for number in range(MAX_RENEWED + 50)]
    desk.see(dict.fromkeys(names, 0.9))
    desk.later(RENEW_S).see(dict.fromkeys(names, 0.95))
    assert sum(text.startswith("0.95") for text in shown(desk)) == MAX_RENEWED
    desk.later(1).see(dict.fromkeys(names, 0.95))
    assert all(text.startswith("0.95") for text in shown(desk))


def test_a_false_condition_resolves_with_the_reason() -> None:
    desk = Desk(rule())
    desk.see({"a": 0.9})
    (resolved,) = desk.later(1).see({"a": 0.5})
    assert (resolved.kind, resolved.alert.resolved_by) == ("resolved", "rule")
    assert resolved.reason["why"] == "the condition no longer holds"
    assert desk.open == []


def test_a_row_that_is_surely_gone_resolves() -> None:
    desk = Desk(rule())
    desk.see({"a": 0.9})
    assert kinds(desk.later(1).see({})) == ["resolved"]


def test_failed_probe_keeps_alert_firing_and_marks_it_stale() -> None:
    desk = Desk(rule())
    desk.see({"a": 0.9})
    (stale,) = desk.later(1).fail()
    assert (stale.kind, stale.alert.state) == ("stale", AlertState.FIRING)
    assert stale.alert.stale_since == desk.now.wall
    assert desk.later(1).fail() == []
    assert kinds(desk.later(1).see({"a": 0.9})) == ["fresh"]
    assert desk.open[0].alert.stale_since is None


def test_silence_of_a_probe_keeps_alert_firing() -> None:
    desk = Desk(rule())
    desk.see({"a": 0.9})
    assert kinds(desk.later(MAX_AGE_S + 1).judge()) == ["stale"]


def test_what_resolves_after_a_failure_is_fresh_first() -> None:
    desk = Desk(rule())
    desk.see({"a": 0.9})
    desk.later(1).fail()
    assert kinds(desk.later(1).see({"a": 0.1})) == ["fresh", "resolved"]


def test_an_unknown_row_opens_nothing() -> None:
    desk = Desk(rule())
    desk.see({"a": 0.5})
    desk.later(1).fail()
    assert desk.open == []


def test_for_waits_and_then_fires() -> None:
    desk = Desk(rule(**{"for": "1m"}))
    assert kinds(desk.see({"a": 0.9})) == ["pending"]
    assert desk.later(59).see({"a": 0.9}) == []
    (fired,) = desk.later(1).see({"a": 0.9})
    assert (fired.kind, fired.alert.version) == ("firing", 2)


def test_a_pending_alert_that_clears_says_that_it_never_fired() -> None:
    desk = Desk(rule(**{"for": "1m"}))
    desk.see({"a": 0.9})
    (resolved,) = desk.later(1).see({"a": 0.1})
    assert (resolved.kind, resolved.reason["fired"]) == ("resolved", False)


def test_time_that_nobody_could_look_does_not_count_for_for() -> None:
    desk = Desk(rule(**{"for": "1m"}))
    desk.see({"a": 0.9})
    desk.later(30).fail()
    assert kinds(desk.later(3600).see({"a": 0.9})) == ["fresh"]
    assert desk.later(29).see({"a": 0.9}) == []
    assert kinds(desk.later(1).see({"a": 0.9})) == ["firing"]


def test_time_after_a_look_became_too_old_does_not_count_however_late_it_is_noticed() -> None:
    desk = Desk(rule(**{"for": "2m"}))
    desk.see({"a": 0.9})
    # Nobody ran meanwhile; the look held for 90 s.
    assert desk.later(3600).see({"a": 0.9}) == []
    assert desk.later(29).see({"a": 0.9}) == []
    assert kinds(desk.later(1).see({"a": 0.9})) == ["firing"]


def test_a_freeze_begins_when_the_look_became_too_old() -> None:
    desk = Desk(rule(**{"for": "2m"}))
    desk.see({"a": 0.9})
    assert kinds(desk.later(600).judge()) == ["stale"]
    assert kinds(desk.later(1).see({"a": 0.9})) == ["fresh"]
    assert desk.later(29).see({"a": 0.9}) == []
    assert kinds(desk.later(1).see({"a": 0.9})) == ["firing"]


def test_quiet_time_after_a_look_became_too_old_does_not_count_either() -> None:
    desk = Desk(rule(keep_firing_for="2m"))
    desk.see({"a": 0.9})
    desk.later(1).see({"a": 0.1})
    assert desk.later(3600).see({"a": 0.1}) == []
    assert desk.later(29).see({"a": 0.1}) == []
    assert kinds(desk.later(1).see({"a": 0.1})) == ["resolved"]


def test_time_is_counted_behind_a_recording_too() -> None:
    desk = Desk(
        "groups:\n- name: g\n  rules:\n"
        "  - record: r\n    expr: full\n    labels: {repository: same}\n"
        "  - record: rr\n    expr: max by (repository) (r) + 0 * r\n"
        "  - alert: Full\n    expr: rr > 0.8\n    for: 2m\n"
    )
    assert kinds(desk.see({"a": 0.9})) == ["pending"]
    assert desk.later(3600).see({"a": 0.9}) == []
    assert desk.later(29).see({"a": 0.9}) == []
    assert kinds(desk.later(1).see({"a": 0.9})) == ["firing"]


def test_an_alert_is_stale_as_soon_as_what_it_rests_on_is_too_old() -> None:
    desk = Desk(rule())
    desk.see({"a": 0.9})
    for seconds in (30, 30, 29, 1):
        assert desk.later(seconds).judge(set()) == []
    assert kinds(desk.later(1).judge(set())) == ["stale"]
    assert desk.later(1).judge(set()) == []


def test_suspend_takes_from_no_duration_what_was_seen_before_it() -> None:
    desk = Desk(rule(**{"for": "1m"}))
    desk.see({"a": 0.9})
    desk.later(50).judge(set())
    desk.now = desk.now.later(3600)._replace(suspended_s=3600.0)
    assert desk.see({"a": 0.9}) == []
    assert kinds(desk.later(10).see({"a": 0.9})) == ["firing"]


def test_another_rule_of_the_same_name_goes_on_counting() -> None:
    desk = Desk(rule(**{"for": "2m"}))
    desk.see({"a": 0.9})
    desk.later(60).judge()
    desk.engine.replace_rules(rule_set(rule("full > 0.7", **{"for": "2m"})), desk.now)
    assert desk.later(600).see({"a": 0.9}) == []
    assert kinds(desk.later(30).see({"a": 0.9})) == ["firing"]


@pytest.mark.parametrize(
    ("away_s", "jump_s"),
    [
        pytest.param(600, 0, id="after long"),
        pytest.param(600, 7200, id="with a clock that was set forward"),
        pytest.param(600, -7200, id="with a clock that was set back"),
    ],
)
def test_time_that_nobody_ran_does_not_count(away_s: float, jump_s: float) -> None:
    desk = Desk(rule(**{"for": "1m"}))
    desk.see({"a": 0.9})
    assert desk.later(30).judge() == []
    desk.later(away_s).now = desk.now._replace(wall=desk.now.wall + jump_s)
    desk.restart()
    assert kinds(desk.judge()) == ["stale"]
    assert kinds(desk.see({"a": 0.9})) == ["fresh"]
    assert desk.later(29).see({"a": 0.9}) == []
    assert kinds(desk.later(1).see({"a": 0.9})) == ["firing"]


def test_a_timer_that_runs_is_written_now_and_then() -> None:
    desk = Desk(rule(**{"for": "10m"}))
    desk.see({"a": 0.9})
    desk.incidents.take_changes()
    desk.later(5).judge()
    assert desk.incidents.take_changes() == {}
    desk.later(5).judge()
    (written,) = desk.incidents.take_changes().values()
    assert written is not None
    assert (written["written"], written["since"]) == (NOON + 10, NOON)
    assert written["alert"]["version"] == 1


def test_keep_firing_for_holds_on_and_starts_again() -> None:
    desk = Desk(rule(keep_firing_for="1m"))
    desk.see({"a": 0.9})
    assert desk.later(1).see({"a": 0.1}) == []
    assert desk.later(59).see({"a": 0.1}) == []
    assert desk.see({"a": 0.9}) == []
    assert desk.later(1).see({"a": 0.1}) == []
    assert desk.later(59).see({"a": 0.1}) == []
    assert kinds(desk.later(1).see({"a": 0.1})) == ["resolved"]


def test_time_that_nobody_could_look_does_not_count_for_keep_firing_for() -> None:
    desk = Desk(rule(keep_firing_for="1m"))
    desk.see({"a": 0.9})
    desk.later(1).see({"a": 0.1})
    desk.later(10).fail()
    assert kinds(desk.later(3600).see({"a": 0.1})) == ["fresh"]
    assert kinds(desk.later(50).see({"a": 0.1})) == ["resolved"]


@pytest.mark.parametrize("away_s", [10, 40], ids=["back in time", "back late"])
def test_for_goes_on_over_a_restart(away_s: float) -> None:
    desk = Desk(rule(**{"for": "1m"}))
    desk.see({"a": 0.9})
    assert desk.later(30).judge() == []
    desk.restart()
    assert kinds(desk.judge()) == ["stale"]
    transitions = kinds(desk.later(away_s).see({"a": 0.9}))
    # What was not seen since the start does not count, and what passed before does.
    assert transitions == ["fresh"]
    assert kinds(desk.later(30).see({"a": 0.9})) == ["firing"]


def test_a_restored_alert_stays_until_its_scope_was_seen() -> None:
    desk = Desk(rule())
    desk.see({"a": 0.9})
    before = desk.open[0].alert
    desk.restart()
    desk.judge()
    assert desk.open[0].alert.id == before.id
    assert desk.open[0].alert.state is AlertState.FIRING
    assert kinds(desk.later(5).see({"a": 0.1})) == ["fresh", "resolved"]


def test_a_rule_that_is_gone_closes_its_alerts_with_that_reason() -> None:
    desk = Desk(rule())
    desk.see({"a": 0.9})
    (closed,) = desk.engine.replace_rules(rule_set("groups: []"), desk.now)
    assert (closed.kind, closed.alert.resolved_by) == ("resolved", RULE_REMOVED)
    assert desk.engine.next_due() == float("inf")


@pytest.mark.parametrize(
    "labels",
    [
        pytest.param("{severity: critical}", id="another value"),
        pytest.param("{severity: warning, more: label}", id="one more"),
        pytest.param("{}", id="none"),
    ],
)
def test_a_rule_with_other_labels_is_another_rule(labels: str) -> None:
    desk = Desk(rule(labels="{severity: warning}"))
    desk.see({"a": 0.9})
    desk.fail()
    (closed,) = desk.engine.replace_rules(rule_set(rule(labels=labels)), desk.now)
    assert (closed.kind, closed.alert.resolved_by) == ("resolved", RULE_REMOVED)


def test_a_rule_with_another_condition_goes_on_with_its_alerts() -> None:
    desk = Desk(rule(labels="{severity: warning, about: '{{ $labels.repository }}'}"))
    desk.see({"a": 0.9})
    text = rule("full > 0.7", labels="{severity: warning, about: 'the {{ $labels.repository }}'}")
    assert desk.engine.replace_rules(rule_set(text), desk.now) == []


def test_a_rule_that_went_while_nobody_ran_closes_its_alerts_at_the_start() -> None:
    desk = Desk(rule())
    desk.see({"a": 0.9, "b": 0.9})
    desk.incidents.resolve("id-2", "ann", None, desk.now)
    desk.restart(rule_set("groups: []"))
    (closed,) = desk.judge()
    assert (closed.kind, closed.alert.resolved_by) == ("resolved", RULE_REMOVED)
    assert desk.incidents.rules() == []


def test_a_rule_that_could_not_be_read_leaves_its_alerts_as_they_are() -> None:
    desk = Desk(rule())
    desk.see({"a": 0.9})
    broken, problems = load([RuleFile("test.yml", "groups: [", "test")])
    assert problems
    desk.restart(broken)
    assert kinds(desk.judge()) == ["stale"]
    desk.engine.replace_rules(desk.rules, desk.now)
    assert kinds(desk.later(1).see({"a": 0.9})) == ["fresh"]


def test_an_alert_resolved_by_hand_stays_so_until_the_condition_was_false() -> None:
    desk = Desk(rule())
    desk.see({"a": 0.9})
    desk.incidents.resolve("id-1", "ann", None, desk.now)
    assert desk.later(1).see({"a": 0.9}) == []
    desk.restart()
    assert desk.later(1).see({"a": 0.9}) == []
    assert desk.later(1).see({"a": 0.1}) == []
    assert kinds(desk.later(1).see({"a": 0.9})) == ["firing"]


def test_a_quieted_key_is_not_forgotten_while_nobody_can_look() -> None:
    desk = Desk(rule())
    desk.see({"a": 0.9})
    desk.incidents.resolve("id-1", "ann", None, desk.now)
    desk.later(1).fail()
    assert desk.later(1).see({"a": 0.9}) == []


def parts(desk: Desk, after: float, **values: float | None) -> list[Transition]:
    """Look at repositories that are scopes of their own; None cannot be seen. Judge."""
    desk.later(after)
    touched: frozenset[str] = frozenset()
    for name, value in values.items():
        scope = Scope("probe", (("repository", name),))
        rows = {} if value is None else {"full": [Row((name,), value)]}
        outcome = Outcome.FAILED if value is None else Outcome.SEEN
        touched |= desk.table.feed(Frame(scope, desk.now.wall, outcome, rows))
    return desk.judge(touched)


def test_what_hides_another_alert_does_not_keep_a_key_quiet() -> None:
    desk = Desk(rule())
    parts(desk, 0, a=0.9, b=None)
    desk.incidents.resolve("id-1", "ann", None, desk.now)
    assert parts(desk, 1, a=0.9, b=None) == []
    assert parts(desk, 1, a=0.1, b=None) == []
    assert kinds(parts(desk, 1, a=0.9, b=None)) == ["firing"]


def test_a_failure_resolves_and_hides_only_what_it_concerns() -> None:
    desk = Desk(rule())
    parts(desk, 0, a=0.9, b=0.9)
    assert sorted(kinds(parts(desk, 1, a=0.1, b=None))) == ["resolved", "stale"]


def test_a_bound_that_decides_fires_and_says_that_it_is_one() -> None:
    desk = Desk(rule("max(full) > 0.8"))
    (fired,) = parts(desk, 0, a=0.9, b=None)
    assert (fired.kind, fired.reason["value"], fired.reason["state"]) == ("firing", 0.9, "at_least")
    assert parts(desk, 1, a=0.9, b=None) == []
    assert parts(desk, 1, a=0.95, b=0.99) == []


def test_a_bound_that_does_not_decide_freezes() -> None:
    desk = Desk(rule("max(full) > 0.8"))
    assert parts(desk, 0, a=0.1, b=None) == []
    parts(desk, 1, a=0.9, b=0.9)
    assert kinds(parts(desk, 1, a=0.1, b=None)) == ["stale"]
    assert kinds(parts(desk, 1, a=0.9, b=None)) == ["fresh"]


def test_a_bound_that_decides_against_it_resolves() -> None:
    desk = Desk(rule("min(full) > 0.8"))
    (fired,) = parts(desk, 0, a=0.9, b=0.95)
    assert fired.reason["state"] == "exact"
    assert kinds(parts(desk, 1, a=0.7, b=None)) == ["resolved"]


def test_a_bound_names_no_alert_whose_labels_depend_on_the_value() -> None:
    step = '\n        step: "{{ if gt $value 0.9 }}high{{ else }}low{{ end }}"'
    desk = Desk(rule("max(full) > 0.8", labels=step))
    assert parts(desk, 0, a=0.85, b=None) == []
    parts(desk, 1, a=0.85, b=0.95)
    assert kinds(parts(desk, 1, a=0.85, b=None)) == ["stale"], "it may be high still"


def test_a_recording_keeps_a_bound_for_the_rules_behind_it() -> None:
    desk = Desk(
        "groups:\n- name: g\n  rules:\n"
        "  - record: r\n    expr: max(full)\n"
        "  - alert: Full\n    expr: r > 0.8\n"
    )
    (fired,) = parts(desk, 0, a=0.9, b=None)
    assert (fired.kind, fired.reason["state"]) == ("firing", "at_least")
    assert desk.engine.states[0].unknown


def test_recorded_bounds_that_do_not_differ_are_an_error() -> None:
    desk = Desk(
        "groups:\n- name: g\n  rules:\n"
        "  - record: r\n    expr: max by (repository) (full)\n    labels: {repository: same}\n",
        families=(Family("full", MetricType.GAUGE, ".", ("repository", "part")),),
    )
    rows = {"full": [Row((name, "1"), 0.9) for name in "ab"]}
    desk.table.feed(Frame(Scope("probe", (("part", "1"),)), NOON, rows=rows))
    desk.judge(desk.table.feed(Frame(Scope("probe", (("part", "2"),)), NOON, Outcome.FAILED)))
    assert "do not differ" in (desk.engine.states[0].error or "")


def test_a_window_that_was_not_seen_since_the_start_resolves_nothing() -> None:
    desk = Desk(rule("increase(full[5m]) > 0"))
    for number in range(12):
        desk.later(30).see({"a": float(number)})
    assert kinds(desk.judge()) == []
    assert len(desk.open) == 1
    desk.restart()
    assert kinds(desk.judge()) == ["stale"]
    # A row with one sample has no increase yet; and neither has a row that is not there any more.
    assert kinds(desk.later(1).see({"a": 13.0})) == []
    assert kinds(desk.later(30).see({})) == []
    for _ in range(7):
        assert kinds(desk.later(30).see({})) == []
    assert kinds(desk.later(30).see({})) == ["fresh", "resolved"]


SEVERITIES = "".join(
    f"  - alert: Full\n    expr: full > {limit}\n    keep_firing_for: {keep}\n"
    f"    labels: {{severity: {severity}}}\n"
    for limit, keep, severity in (("0.8", "0s", "warning"), ("0.95", "1m", "critical"))
)
NAMESAKES = f"groups:\n- name: g\n  rules:\n{SEVERITIES}"


def test_rules_of_one_name_judge_their_own_alerts() -> None:
    desk = Desk(NAMESAKES)
    assert kinds(desk.see({"a": 0.99})) == ["firing", "firing"]
    assert desk.later(1).see({"a": 0.99}) == []
    assert desk.later(1).see({"a": 0.9}) == [], "the critical one is kept for a minute"
    assert desk.later(59).see({"a": 0.9}) == []
    (resolved,) = desk.later(1).see({"a": 0.9})
    assert resolved.alert.severity is Severity.CRITICAL
    (resolved,) = desk.later(1).see({"a": 0.1})
    assert resolved.alert.severity is Severity.WARNING


def test_rules_of_one_name_find_their_own_alerts_after_a_restart() -> None:
    desk = Desk(NAMESAKES)
    desk.see({"a": 0.99})
    desk.restart()
    assert kinds(desk.later(1).see({"a": 0.99})) == []
    assert len(desk.open) == 2


def test_rules_of_one_name_freeze_an_alert_once() -> None:
    desk = Desk(NAMESAKES)
    desk.see({"a": 0.99})
    desk.restart()
    assert kinds(desk.judge()) == ["stale", "stale"]
    assert desk.later(1).fail() == []
    assert kinds(desk.later(1).see({"a": 0.9})) == ["fresh", "fresh"]
    assert sorted(kinds(desk.later(60).see({"a": 0.1}))) == ["resolved", "resolved"]


OTHER = Family("other", MetricType.GAUGE, "", ("repository",))
APART = """
groups:
- name: g
  rules:
  - {alert: Full, expr: full > 0.8, labels: {severity: critical}}
  - {alert: Full, expr: other > 0.8, labels: {severity: warning}}
"""


def with_another_probe(desk: Desk, *rows: str) -> list[Transition]:
    """Let another probe report these rows, and judge."""
    found = [Row((name,), 0.9) for name in rows]
    desk.table.declare("other", (OTHER,), max_age_s=MAX_AGE_S)
    return desk.judge(desk.table.feed(Frame(Scope("other"), desk.now.wall, rows={"other": found})))


def test_a_rule_that_sees_nothing_of_an_alert_keeps_its_namesake_from_ending_it() -> None:
    desk = Desk(APART)
    with_another_probe(desk)
    desk.see({"a": 0.99})
    desk.restart()
    assert kinds(with_another_probe(desk)) == ["stale"]
    for _ in range(3):
        assert with_another_probe(desk.later(10)) == []
    assert kinds(desk.later(10).see({"a": 0.1})) == ["fresh", "resolved"]


def test_a_rule_that_sees_nothing_does_not_freeze_what_its_namesake_sees() -> None:
    desk = Desk(APART.replace("severity: critical", "severity: warning"))
    desk.see({"a": 0.1})
    assert kinds(with_another_probe(desk, "a")) == ["firing"]
    assert desk.later(1).fail() == []
    assert with_another_probe(desk.later(1), "a") == []
    assert desk.open[0].alert.stale_since is None
    assert kinds(with_another_probe(desk.later(1))) == ["stale"], "nobody sees it any more"


def test_rules_of_one_name_keep_each_other_s_alerts_quiet() -> None:
    desk = Desk(NAMESAKES)
    for fired in desk.see({"a": 0.99}):
        desk.incidents.resolve(fired.alert.id, "ann", None, desk.now)
    assert desk.later(1).see({"a": 0.99}) == []
    assert desk.later(1).see({"a": 0.99}) == []
    desk.restart()
    assert desk.later(1).see({"a": 0.99}) == []
    desk.later(1).see({"a": 0.9})
    assert [one.alert.severity for one in desk.later(1).see({"a": 0.99})] == [Severity.CRITICAL]


def test_labels_and_annotations_become_fields() -> None:
    text = (
        "groups:\n- name: g\n  rules:\n  - alert: Full\n    expr: full > 0.8\n    labels:\n"
        "      severity: critical\n      source: storage\n      resource_type: repository\n"
        f"      resource_id: {DB}\n      nothing: ''\n    annotations:\n"
        '      summary: "{{ $labels.repository }} at {{ $value | humanizePercentage }}"\n'
        "      description: plain\n"
    )
    alert = Desk(text).see({"a": 0.9})[0].alert
    assert (alert.severity, alert.source) == (Severity.CRITICAL, "storage")
    assert (alert.resource_type, alert.resource_id) == ("repository", "a")
    assert (alert.title, alert.message) == ("a at 90%", "plain")
    # An empty label is none.
    assert set(alert.labels) == {
        *("repository", "severity", "source", "resource_type", "resource_id")
    }


def test_texts_are_those_of_the_moment_it_fired() -> None:
    annotations = '\n        summary: "at {{ $value }}"'
    desk = Desk(rule(**{"for": "1m", "annotations": annotations}))
    assert desk.see({"a": 0.85})[0].alert.title == "at 0.85"
    assert desk.later(60).see({"a": 0.9})[0].alert.title == "at 0.9"


def test_a_template_that_fails_does_not_hide_the_alert() -> None:
    annotations = '\n        summary: "{{ query `nothing` | first | value }}"'
    (fired,) = Desk(rule(annotations=annotations)).see({"a": 0.9})
    assert fired.alert.title.startswith("<error in the template of Full: first: there is no row>")


def test_a_template_asks_the_table() -> None:
    annotations = (
        '\n        summary: "{{ range query `full > 0.5` }}{{ .Labels.repository }} {{ end }}"'
    )
    assert Desk(rule(annotations=annotations)).see({"a": 0.9, "b": 0.6, "c": 0.1})[
        0
    ].alert.title in ("a b ", "b a ")


def test_a_query_that_is_wrong_is_said_in_the_text() -> None:
    annotations = '\n        summary: "{{ query `sum(` }}"'
    (fired,) = Desk(rule(annotations=annotations)).see({"a": 0.9})
    assert "query 'sum('" in fired.alert.title


def test_a_label_that_depends_on_the_value_is_another_alert_when_it_changes() -> None:
    desk = Desk(rule(labels='\n        step: "{{ if gt $value 0.9 }}high{{ else }}low{{ end }}"'))
    desk.see({"a": 0.85})
    assert sorted(kinds(desk.later(1).see({"a": 0.95}))) == ["firing", "resolved"]
    assert desk.open[0].alert.labels["step"] == "high"


def test_an_alert_whose_label_depends_on_a_value_is_frozen_without_one() -> None:
    step = '\n        step: "{{ if gt $value 0.9 }}high{{ else }}low{{ end }}"'
    desk = Desk(rule("sum by (repository) (full) > 0.8", labels=step))
    parts(desk, 0, a=0.95, b=0.85)
    assert kinds(parts(desk, 1, a=None, b=0.85)) == ["stale"]
    desk.incidents.resolve("id-1", "ann", None, desk.now)
    assert parts(desk, 1, a=None, b=0.85) == []
    assert parts(desk, 1, a=0.95, b=0.85) == [], "what could not be seen is not forgotten"


def test_a_rule_opens_so_many_alerts_and_says_that_there_would_be_more(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(incidents, "MAX_OF_RULE", 2)
    desk = Desk(rule())
    assert kinds(desk.see({"a": 0.9, "b": 0.9, "c": 0.9})) == ["firing"] * 2
    assert "alerts already, and more are not opened" in (desk.engine.states[0].error or "")
    assert kinds(desk.see({"a": 0.1, "b": 0.9, "c": 0.9})) == ["resolved"]
    assert kinds(desk.see({"a": 0.1, "b": 0.9, "c": 0.9})) == ["firing"]
    assert desk.engine.states[0].error is None


def test_rows_that_give_the_same_alert_are_one_and_the_rule_says_so() -> None:
    desk = Desk(rule(labels="\n        repository: same"))
    assert kinds(desk.see({"a": 0.9, "b": 0.9})) == ["firing"]
    assert "their labels do not differ" in (desk.engine.states[0].error or "")


def test_what_is_wrong_with_a_rule_stands_until_it_was_judged_again() -> None:
    desk = Desk(rule(labels="\n        repository: same"))
    desk.see({"a": 0.9, "b": 0.9})
    (state,) = desk.engine.states
    wrong = state.error
    for value in (0.9, 0.1):
        rows = {"full": [Row((name,), value) for name in "ab"]}
        touched = desk.table.feed(Frame(Scope("probe"), desk.later(1).now.wall, rows=rows))
        said = [state.error for _ in desk.engine.evaluating(desk.now, touched)]
        assert set(said[:-1]) == {wrong}
    assert state.error is None


def test_an_expression_that_fails_freezes_and_says_why() -> None:
    families = (FULL, Family("more", MetricType.GAUGE, ".", ("repository", "part")))
    desk = Desk(rule("full > 0.8 and full * on (repository) more"), families=families)

    def see(*more: str) -> list[Transition]:
        rows = {"full": [Row(("a",), 0.9)], "more": [Row(("a", part), 1.0) for part in more]}
        return desk.judge(desk.table.feed(Frame(Scope("probe"), desk.later(1).now.wall, rows=rows)))

    assert kinds(see("1")) == ["firing"]
    assert kinds(see("1", "2")) == ["stale"]
    assert "several rows on the right" in (desk.engine.states[0].error or "")
    assert kinds(see()) == ["fresh", "resolved"]
    assert desk.engine.states[0].error is None


def test_a_recording_rule_feeds_the_rules_behind_it_in_the_same_round() -> None:
    desk = Desk(
        "groups:\n- name: g\n  rules:\n"
        "  - record: full:max\n    expr: max by (repository) (full)\n    labels:\n      by: rule\n"
        "  - alert: Full\n    expr: full:max > 0.8\n"
    )
    (fired,) = desk.see({"a": 0.9})
    assert fired.alert.labels == {"repository": "a", "by": "rule"}
    assert kinds(desk.later(1).fail()) == ["stale"]


def test_a_recording_goes_on_after_an_error() -> None:
    desk = Desk(
        "groups:\n- name: g\n  rules:\n"
        "  - record: full:x\n    expr: full\n    labels:\n      repository: same\n"
        "  - alert: Full\n    expr: full:x > 0.8\n"
    )
    desk.see({"a": 0.9})
    assert kinds(desk.later(1).see({"a": 0.1, "b": 0.1})) == ["stale"]
    assert kinds(desk.later(1).see({"a": 0.1})) == ["fresh", "resolved"]
    assert desk.engine.states[0].error is None


def test_a_recording_whose_name_a_probe_owns_says_so_and_stores_nothing() -> None:
    desk = Desk(
        "groups:\n- name: g\n  rules:\n"
        "  - record: full\n    expr: full * 2\n"
        "  - alert: Full\n    expr: full > 0.8\n"
    )
    assert kinds(desk.see({"a": 0.9})) == ["firing"]
    assert desk.engine.states[0].error == "full belongs to the probe probe"
    assert [reading.value for reading in desk.table.read("full", desk.now.wall)] == [0.9]


def test_a_recording_whose_expression_fails_for_a_taken_name_says_so_too() -> None:
    text = "groups:\n- name: g\n  rules:\n  - record: full\n    expr: increase(full[2h])\n"
    desk = Desk(text)
    desk.see({"a": 0.9})
    assert desk.engine.states[0].error == "full belongs to the probe probe"


def test_recordings_of_one_name_with_other_labels_are_all_there() -> None:
    desk = Desk(
        "groups:\n- name: g\n  rules:\n"
        "  - record: r\n    expr: full\n    labels: {as: one}\n"
        "  - record: r\n    expr: full\n    labels: {as: two}\n"
        "  - alert: Full\n    expr: r > 0.8\n"
    )
    assert [one.alert.labels["as"] for one in desk.see({"a": 0.9})] == ["one", "two"]
    assert desk.later(1).see({"a": 0.9}) == []


def test_a_recording_that_is_gone_says_nothing_any_more() -> None:
    alert = "  - alert: Full\n    expr: r > 0.8\n"
    groups = "groups:\n- name: g\n  rules:\n"
    desk = Desk(groups + "  - record: r\n    expr: full\n" + alert)
    desk.see({"a": 0.9})
    desk.engine.replace_rules(rule_set(groups + alert), desk.now)
    assert kinds(desk.later(1).judge()) == ["resolved"]


def test_a_rule_before_its_recording_does_not_take_it_for_empty_after_a_restart() -> None:
    desk = Desk(
        "groups:\n- name: g\n  rules:\n"
        "  - alert: Full\n    expr: r > 0.8\n"
        "  - record: r\n    expr: full\n"
    )
    desk.see({"a": 0.9})
    assert kinds(desk.later(30).see({"a": 0.9})) == ["firing"]
    desk.restart()
    assert kinds(desk.judge()) == ["stale"]
    desk.later(1).see({"a": 0.9})
    assert kinds(desk.later(30).see({"a": 0.9})) == ["fresh"]


def test_what_a_recording_cannot_see_hides_the_labels_that_it_gives() -> None:
    desk = Desk(
        "groups:\n- name: g\n  rules:\n"
        "  - record: r\n    expr: full\n    labels: {repository: every}\n"
        '  - alert: Full\n    expr: absent(r{repository="every"})\n'
        '  - alert: None\n    expr: absent(r{repository="a"})\n'
    )
    hole = Frame(Scope("probe", (("repository", "a"),)), NOON, Outcome.FAILED)
    assert [one.alert.rule for one in desk.judge(desk.table.feed(hole))] == ["None"]


def test_rows_that_may_be_the_same_are_no_error() -> None:
    families = (FULL, Family("more", MetricType.GAUGE, ".", ("repository",)))
    desk = Desk(
        "groups:\n- name: g\n  rules:\n"
        "  - record: r\n    expr: full or more\n"
        "  - alert: Full\n    expr: full or more\n",
        families=families,
    )
    rows = {name: [Row(("a",), 1.0)] for name in ("full", "more")}
    desk.judge(desk.table.feed(Frame(Scope("probe"), NOON, rows=rows)))
    assert kinds(desk.later(1).fail()) == ["stale"]
    assert [state.error for state in desk.engine.states] == [None, None]


def test_a_row_that_is_surely_there_decides_before_one_that_may_be() -> None:
    families = (FULL, Family("more", MetricType.GAUGE, ".", ("repository",)))
    desk = Desk(rule("""'{__name__=~"full|more"} > 0'"""), families=families)
    unsure, sure = Scope("probe", (("y", "1"),)), Scope("probe", (("y", "2"),))
    desk.table.feed(Frame(unsure, NOON, rows={"full": [Row(("a",), 1.0)]}))
    desk.table.feed(Frame(unsure, NOON, Outcome.FAILED))
    touched = desk.table.feed(Frame(sure, NOON, rows={"more": [Row(("a",), 2.0)]}))
    (fired,) = desk.judge(touched)
    assert fired.reason["value"] == 2.0
    assert desk.engine.states[0].error is None


def test_recorded_rows_that_do_not_differ_are_an_error_and_a_hole() -> None:
    desk = Desk(
        "groups:\n- name: g\n  rules:\n"
        "  - record: full:x\n    expr: full\n    labels:\n      repository: same\n"
        "  - alert: Full\n    expr: absent(full:x)\n"
    )
    assert desk.see({"a": 0.9, "b": 0.8}) == []
    assert "do not differ" in (desk.engine.states[0].error or "")
    assert desk.engine.states[1].unknown


def test_rules_are_due_by_their_interval_and_at_once_when_touched() -> None:
    desk = Desk(rule())
    desk.see({"a": 0.1})
    looked = desk.engine.states[0].last_evaluation
    desk.later(10).judge(frozenset())
    assert desk.engine.states[0].last_evaluation == looked
    assert desk.engine.next_due() == desk.now.monotonic + 20
    desk.judge(frozenset({"full"}))
    assert desk.engine.states[0].last_evaluation == desk.now.wall
    desk.later(20).judge(frozenset())
    assert desk.engine.states[0].last_evaluation == desk.now.wall


class LifeOfAlerts(RuleBasedStateMachine):
    """Whatever happens in whatever order, promises hold."""

    def __init__(self) -> None:
        super().__init__()
        self.desk = Desk(rule(**{"for": "20s", "keep_firing_for": "15s"}))
        self.true: dict[str, bool] = {}
        self.is_seen = False
        self.versions: dict[str, int] = {}

    def _take(self, transitions: list[Any]) -> None:
        for transition in transitions:
            alert = transition.alert
            assert alert.version == self.versions.get(alert.id, 0) + 1
            self.versions[alert.id] = alert.version
            if transition.kind == "resolved":
                assert self.is_seen, "nothing resolves what could not be seen"
                assert not self.true.get(alert.labels["repository"], False)
            if transition.kind in ("pending", "firing"):
                assert self.is_seen
                assert self.true[alert.labels["repository"]]

    @step(rows=st.dictionaries(st.sampled_from("abc"), st.booleans()), after=st.integers(0, 40))
    def see(self, rows: dict[str, bool], after: int) -> None:
        self.desk.later(after)
        self.true, self.is_seen = rows, True
        self._take(self.desk.see({name: 0.9 if on else 0.1 for name, on in rows.items()}))

    @step(after=st.integers(0, 40))
    def fail(self, after: int) -> None:
        self.desk.later(after)
        self.is_seen = False
        self._take(self.desk.fail())

    @step(after=st.integers(int(MAX_AGE_S) + 1, 4000))
    def silence(self, after: int) -> None:
        self.desk.later(after)
        self.is_seen = False
        self._take(self.desk.judge())

    @step()
    def restart(self) -> None:
        before = {one.alert.id: one.alert.state for one in self.desk.incidents}
        self.desk.restart()
        self.is_seen = False
        assert {one.alert.id: one.alert.state for one in self.desk.incidents} == before
        self._take(self.desk.judge())

    @precondition(lambda self: len(self.desk.incidents) > 0)
    @step(data=st.data())
    def resolve_by_hand(self, data: st.DataObject) -> None:
        incident = data.draw(st.sampled_from(self.desk.open))
        alert, _ = self.desk.incidents.resolve(incident.alert.id, "ann", None, self.desk.now)
        self.versions[alert.id] = alert.version
        with pytest.raises(NotFound):
            self.desk.incidents.get(alert.id)

    @precondition(lambda self: len(self.desk.incidents) > 0)
    @step(data=st.data())
    def acknowledge(self, data: st.DataObject) -> None:
        incident = data.draw(st.sampled_from(self.desk.open))
        alert, marked = self.desk.incidents.acknowledge(
            incident.alert.id, "ann", "mine", self.desk.now
        )
        if marked is not None:
            self.versions[alert.id] = alert.version

    @invariant()
    def every_identity_is_open_once(self) -> None:
        labels = [tuple(sorted(one.alert.labels.items())) for one in self.desk.incidents]
        assert len(labels) == len(set(labels))

    @invariant()
    def an_open_alert_is_stale_exactly_while_it_cannot_be_seen(self) -> None:
        for incident in self.desk.incidents:
            assert (incident.alert.stale_since is None) == (incident.frozen_since is None)
            assert incident.alert.is_open
            if self.is_seen:
                assert incident.frozen_since is None


TestLifeOfAlerts = LifeOfAlerts.TestCase
TestLifeOfAlerts.settings = settings(max_examples=150, stateful_step_count=30, deadline=None)


# What comes in from elsewhere.


def lost(name: str, severity: str = "critical") -> Incident:
    """Return the incident of a row that another journal had held."""
    labels = {"repository": name, "severity": severity}
    alert = Alert(
        id=f"lost-{name}",
        rule="Full",
        severity=Severity(severity),
        source="s",
        title="t",
        message="",
        labels=labels,
        state=AlertState.FIRING,
        first_seen=NOON - 60,
        last_seen=NOON - 60,
    )
    key = fingerprint("Full", labels)
    return Incident(alert=alert, key=key, series={"repository": name}, since=0.0)


def take_back(desk: Desk, *incidents: Incident) -> list[Transition]:
    for one in incidents:
        desk.incidents.take_back(one, desk.now)
    told = desk.engine.look_again({"Full"}, desk.now)
    return [*told, *desk.judge(frozenset())]


def test_what_comes_in_is_judged_at_once_by_what_was_seen() -> None:
    desk = Desk(APART)
    with_another_probe(desk)
    desk.see({"a": 0.9, "b": 0.1})
    told = take_back(desk.later(1), lost("a"), lost("b"))
    assert [(one.kind, one.alert.id) for one in told] == [
        ("fresh", "lost-a"),
        ("fresh", "lost-b"),
        ("resolved", "lost-b"),
    ]


def test_what_comes_in_stays_stale_while_nobody_sees_its_inputs() -> None:
    desk = Desk(APART)
    with_another_probe(desk)
    desk.table.expect("probe", [Scope("probe")])
    desk.judge()
    assert take_back(desk.later(1), lost("a")) == []
    assert desk.open[0].alert.stale_since is not None
    assert kinds(desk.later(1).see({"a": 0.1})) == ["fresh", "resolved"]


def test_what_comes_in_without_its_rule_is_closed() -> None:
    desk = Desk(rule().replace("Full", "Other"))
    desk.see({"a": 0.9})
    (closed,) = take_back(desk, lost("a"))
    assert (closed.kind, closed.alert.resolved_by) == ("resolved", "the rule is no longer there")


def test_what_nobody_saw_is_taken_from_a_timer_once_whoever_else_has_the_name() -> None:
    text = rule("full > 0.8", **{"for": "2m", "labels": "{severity: warning}"})
    desk = Desk(f'{text}\n    - {{alert: Full, expr: full > 0.95, for: 2m, labels: {{x: "y"}}}}\n')
    assert kinds(desk.see({"a": 0.9})) == ["pending"]
    desk.later(MAX_AGE_S + 10).see({"a": 0.9})  # for 10 s it was overdue
    assert kinds(desk.later(29).see({"a": 0.9})) == []
    assert kinds(desk.later(1).see({"a": 0.9})) == ["firing"]
