"""Rule files: what is read, and what is refused at which place."""

from typing import Any

import pytest
import yaml

from storewatchd.core import rules as rules_module
from storewatchd.core.model import Severity
from storewatchd.core.rules import MAX_FILE_BYTES, RuleFile, doubtful, load
from storewatchd.errors import RuleError

WHOLE = """\
groups:
- name: storage
  interval: 15s
  rules:
  - alert: Full
    expr: full > 0.8
    for: 5m
    keep_firing_for: 1m
    labels:
      severity: critical
      source: storage
      team: "{{ $labels.team }}"
    annotations:
      summary: "{{ $labels.repository }} is full"
  - record: full:max
    expr: max(full)
    labels: {by: rule}
"""


def problems_of(text: str) -> list[RuleError]:
    return load([RuleFile("r.yml", text, "r.yml")])[1]


def only_problem(text: str) -> tuple[str, int, int]:
    (problem,) = problems_of(text)
    assert problem.path == "r.yml"
    return problem.message, problem.line, problem.column


def rule(**keys: Any) -> str:
    """Return a file with one alert, its keys set or (None) left out."""
    alert = {"alert": "A", "expr": "up == 0", **keys}
    alert = {name: value for name, value in alert.items() if value is not None}
    return str(yaml.safe_dump({"groups": [{"name": "g", "rules": [alert]}]}, sort_keys=False))


def test_a_file_of_prometheus_is_read() -> None:
    rules, problems = load([RuleFile("r.yml", WHOLE, "built-in")])
    assert problems == []
    alert, record = rules
    assert (alert.kind, alert.name, alert.group, alert.origin) == (
        "alert",
        "Full",
        "storage",
        "built-in",
    )
    assert (alert.for_s, alert.keep_firing_for_s, alert.interval_s) == (300, 60, 15)
    assert (alert.severity, alert.source, alert.expr) == (
        Severity.CRITICAL,
        "storage",
        "full > 0.8",
    )
    assert (record.kind, record.name, record.labels["by"].text) == ("record", "full:max", "rule")
    assert len(rules) == 2


def test_defaults_are_those_of_a_plain_rule() -> None:
    (plain,) = load([RuleFile("r.yml", rule(), "o")], interval_s=7)[0]
    assert (plain.severity, plain.source, plain.for_s, plain.interval_s) == (
        Severity.WARNING,
        "monitoring",
        0,
        7,
    )


def test_a_version_is_of_what_is_said_and_not_of_how_it_is_written() -> None:
    (one,) = load([RuleFile("r.yml", rule(labels={"a": "1", "b": "2"}), "o")])[0]
    (other,) = load([RuleFile("r.yml", rule(labels={"b": "2", "a": "1"}), "o")])[0]
    (changed,) = load([RuleFile("r.yml", rule(labels={"a": "1", "b": "3"}), "o")])[0]
    assert one.version == other.version != changed.version


@pytest.mark.parametrize(
    ("text", "message", "line", "column"),
    [
        pytest.param("", "the file is empty", 0, 0, id="empty"),
        pytest.param("- a", "a rule file: expected a mapping", 1, 1, id="list"),
        pytest.param("groups: x", "groups: expected a list", 1, 9, id="groups"),
        pytest.param(
            "nope: 1", "a rule file: unknown key 'nope'; expected one of groups", 1, 1, id="key"
        ),
        pytest.param(
            "groups: []\ngroups: []", "a rule file: 'groups' is given twice", 2, 1, id="twice"
        ),
        pytest.param("groups:\n- rules: []", "a group needs a name", 2, 3, id="no name"),
        pytest.param(
            "groups:\n- name: g\n- name: g", "the group 'g' is defined twice", 3, 3, id="group"
        ),
        pytest.param(
            "groups:\n- name: g\n  limit: 3", "limit is not supported yet", 3, 10, id="limit"
        ),
        pytest.param(
            "groups:\n- name: g\n  interval: soon",
            "interval: ",
            3,
            13,
            id="interval",
        ),
        pytest.param(
            "groups:\n- name: g\n  rules:\n  - expr: 1",
            "a rule has either alert or record",
            4,
            5,
            id="neither",
        ),
        pytest.param(
            "groups:\n- name: g\n  rules:\n  - alert: A", "A: expr is missing", 4, 5, id="no expr"
        ),
        pytest.param(
            "groups:\n- name: g\n  rules:\n  - record: a b\n    expr: 1",
            "record: expected a name, found 'a b'",
            4,
            13,
            id="record's name",
        ),
        pytest.param(
            "groups:\n- name: g\n  rules:\n  - record: a\n    expr: 1\n    for: 5m",
            "for has no meaning in a recording rule",
            6,
            10,
            id="for of a record",
        ),
        pytest.param(
            "groups:\n- name: g\n  rules:\n  - record: a\n    expr: 1\n    labels: {a: '{{ 1 }}'}",
            "labels: a recording rule's labels are no templates",
            6,
            17,
            id="template of a record",
        ),
        pytest.param("a: b: c", "not YAML: ", 1, 5, id="no YAML"),
        pytest.param("a: &x 1\nb: *x", "aliases are not allowed in a rule file", 2, 4, id="alias"),
        pytest.param("a: \x01", "not YAML: ", 0, 0, id="control character"),
    ],
)
def test_a_mistake_is_named_with_its_place(text: str, message: str, line: int, column: int) -> None:
    said = only_problem(text)
    assert said[0].startswith(message)
    assert said[1:] == (line, column)


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        pytest.param({"for": "5"}, "for: ", id="for"),
        pytest.param({"expr": ["x"]}, "expr: expected text", id="expr"),
        pytest.param({"alert": ""}, "alert: expected a name, found ''", id="alert"),
        pytest.param({"labels": {"a-b": "1"}}, "labels: 'a-b' is no label name", id="label"),
        pytest.param({"labels": {"__name__": "x"}}, "labels: '__name__' is no label", id="name"),
        pytest.param({"labels": ["x"]}, "labels: expected a mapping", id="labels"),
        pytest.param({"labels": {"severity": "bad"}}, "severity: expected one of", id="severity"),
        pytest.param({"annotations": {"a": "{{ x }}"}}, "there is no function x", id="template"),
        pytest.param({"nope": 1}, "a rule: unknown key 'nope'", id="key"),
        pytest.param({"record": "a"}, "a rule has either alert or record", id="both"),
    ],
)
def test_a_bad_rule_is_left_out_with_a_reason(keys: dict[str, Any], message: str) -> None:
    rules, problems = load([RuleFile("r.yml", rule(**keys), "r.yml")])
    assert problems[0].message.startswith(message)
    assert len(rules) == 0


@pytest.mark.parametrize(
    ("written", "line", "column"),
    [
        pytest.param("expr: up == == 0", 5, 17, id="plain"),
        pytest.param('expr: "up == == 0"', 5, 18, id="quoted"),
        pytest.param("expr: |\n      up ==\n      == 0", 7, 7, id="literal block"),
        pytest.param("expr: |\n\n      up == == 0", 7, 13, id="literal block after a blank line"),
        pytest.param("expr: |", 6, 1, id="empty literal block"),
        pytest.param("expr: >-\n      up ==\n      == 0", 5, 11, id="folded block"),
    ],
)
def test_a_mistake_in_an_expression_has_its_place_in_the_file(
    written: str, line: int, column: int
) -> None:
    text = f"groups:\n- name: g\n  rules:\n  - alert: A\n    {written}\n"
    _, *place = only_problem(text)
    assert place == [line, column]


def test_every_problem_is_told_and_the_other_rules_are_read() -> None:
    text = (
        "groups:\n- name: g\n  rules:\n  - alert: A\n    expr: 1 +\n  - alert: B\n    expr: 1\n"
        "  - alert: C\n    expr: )\n"
    )
    rules, problems = load([RuleFile("r.yml", text, "r.yml")])
    assert [one.name for one in rules] == ["B"]
    assert not rules.is_whole
    assert [one.line for one in problems] == [5, 9]


def test_the_same_alert_twice_is_refused_and_another_of_its_name_is_not() -> None:
    same = load([RuleFile("a.yml", rule(), "a.yml"), RuleFile("b.yml", rule(), "b.yml")])[1]
    assert [one.message for one in same] == ["the alert A is defined twice alike"]
    other = load(
        [RuleFile("a.yml", rule(), "a.yml"), RuleFile("b.yml", rule(expr="up == 1"), "b.yml")]
    )
    assert (len(other[0]), other[1]) == (2, [])


def test_a_name_is_recorded_once_for_each_set_of_labels() -> None:
    text = "groups:\n- name: g\n  rules:\n" + "".join(
        f"  - record: r\n    expr: {expr}\n    labels: {labels}\n"
        for expr, labels in (("1", "{k: a}"), ("2", "{k: b}"), ("3", "{k: a}"))
    )
    rules, problems = load([RuleFile("r.yml", text, "r.yml")])
    assert [one.expr for one in rules] == ["1", "2"]
    assert [str(one) for one in problems] == ["r.yml: r is recorded twice with the same labels"]


def test_size_number_and_depth_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "at most" in only_problem("#" * (MAX_FILE_BYTES + 1))[0]
    assert only_problem("a: " + "[" * 5000) == ("nested too deep", 1, 23)
    monkeypatch.setattr(rules_module, "MAX_RULES", 1)
    assert "at most 1 rules, found 2" in problems_of(WHOLE)[0].message


@pytest.mark.parametrize(
    ("text", "message"),
    [
        pytest.param(
            "groups: [{name: g, rules: [{record: full, expr: '1'}]}]",
            "full is a metric of a probe: record another name",
            id="taken",
        ),
        pytest.param(
            "groups: [{name: g, interval: 1ms, rules: []}]",
            "interval: expected a second or more",
            id="interval",
        ),
        pytest.param(
            'groups: [{name: g, rules: [{alert: A, expr: "1", labels: {x: "a\\0b"}}]}]',
            "labels: x: a text holds no U+0000",
            id="zero",
        ),
    ],
)
def test_what_would_harm_later_is_refused(text: str, message: str) -> None:
    _, problems = load([RuleFile("a.yml", text, "a.yml")], taken={"full"})
    assert [one.message for one in problems] == [message]


# What is right, and may not mean what it says.


def test_a_metric_that_nobody_knows_is_doubtful_at_its_place() -> None:
    text = (
        "groups:\n- name: g\n  rules:\n"
        "  - {alert: A, expr: 'ful > 0 or full > 0'}\n"
        "  - alert: B\n    expr: |\n      rec:max > 0\n      and noo > 1\n"
        "  - {record: rec:max, expr: max(full)}\n"
    )
    rules, problems = load([RuleFile("r.yml", text, "r.yml")])
    assert problems == []
    assert [str(one) for one in doubtful(rules, frozenset({"full"}))] == [
        "r.yml:4:23: A: no metric 'ful' is known; did you mean full?",
        "r.yml:8:11: B: no metric 'noo' is known",
    ]
