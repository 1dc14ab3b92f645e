"""rules.*: what is in force, how it fares, and that nothing wrong comes into force."""

import asyncio
import threading
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from control.fix_control import Control, open_control
from core.fix_engine import rule
from storewatch.wire import Code
from storewatchd.control.methods import rules as rules_module
from storewatchd.core.rules import RuleFile
from storewatchd.errors import RuleError

TWO = rule(**{"for": "1m", "keep_firing_for": "2m"}) + (
    "\n      labels: {severity: critical}"
    '\n      annotations: {summary: "{{ $labels.repository }} is full"}'
    "\n    - record: full:max\n      expr: max(full)"
)


@pytest.fixture
async def ruled(tmp_path: Path) -> AsyncIterator[Control]:
    """A control plane with an alert rule and a recording rule."""
    async with open_control(tmp_path, rules=TWO) as control:
        yield control


def files(text: str) -> list[RuleFile]:
    return [RuleFile("mine.yml", text, "mine.yml")]


async def test_a_rule_is_shown_as_it_is_in_force(ruled: Control) -> None:
    await ruled.node.see(a=0.9, b=0.95)
    shown = await ruled.call("rules.get", name="Full")
    version = shown.pop("version")
    assert len(version) >= 8
    assert shown == {
        "name": "Full",
        "kind": "alert",
        "group": "g",
        "origin": "test",
        "expr": "full > 0.8",
        "for_seconds": 60.0,
        "keep_firing_for_seconds": 120.0,
        "interval_seconds": 30.0,
        "labels": {"severity": "critical"},
        "annotations": {"summary": "{{ $labels.repository }} is full"},
        "last_evaluation": "2026-01-01T12:00:00.000Z",
        "evaluation_seconds": 0.0,
        "error": None,
        "unknown": False,
        "unseen": "",
        "warnings": [],
        "firing": 0,
        "pending": 2,
    }


async def test_how_many_alerts_a_rule_has_follows_their_states(ruled: Control) -> None:
    await ruled.node.see(a=0.9, b=0.95)
    ruled.node.clock.forward(60)
    await ruled.node.see(a=0.9, b=0.95, c=0.99)
    shown = await ruled.call("rules.get", name="Full")
    assert (shown["firing"], shown["pending"]) == (2, 1)


async def test_a_rule_whose_inputs_cannot_be_seen_says_so(ruled: Control) -> None:
    await ruled.node.see(a=0.9)
    await ruled.node.fail()
    shown = await ruled.call("rules.get", name="Full")
    assert shown["unknown"]
    assert shown["unseen"].startswith("probe cannot be seen")


async def test_a_list_has_every_rule_in_the_order_of_the_files(ruled: Control) -> None:
    listed = (await ruled.call("rules.list"))["rules"]
    assert [(one["name"], one["kind"]) for one in listed] == [
        ("Full", "alert"),
        ("full:max", "record"),
    ]


async def test_a_rule_that_is_not_there_is_not_found(ruled: Control) -> None:
    refused = await ruled.refusal("rules.get", name="Empty")
    assert refused == (Code.NOT_FOUND, "there is no rule 'Empty'")


@pytest.mark.parametrize(
    ("content", "valid", "rules", "places"),
    [
        pytest.param(rule(), True, 1, [], id="right"),
        pytest.param(rule(expr="full >"), False, 0, [("new.yml", 5)], id="expression"),
        pytest.param("groups: {]", False, 0, [("new.yml", 1)], id="no YAML"),
    ],
)
async def test_a_file_is_judged_with_the_place_of_each_problem(
    ruled: Control, content: str, valid: bool, rules: int, places: list[Any]
) -> None:
    found = await ruled.call("rules.validate", content=content, path="new.yml")
    assert (found["valid"], found["rules"]) == (valid, rules)
    assert [(one["path"], one["line"]) for one in found["problems"]] == places
    assert len((await ruled.call("rules.list"))["rules"]) == 2


async def test_many_problems_are_told_up_to_a_number(
    ruled: Control, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rules_module, "MAX_PLACES", 2)
    content = "groups: [" + "{a: b}, " * 20 + "]"
    problems = (await ruled.call("rules.validate", content=content))["problems"]
    assert len(problems) == 3
    assert problems[-1]["message"] == "and 38 more"


async def test_files_are_checked_one_at_a_time_and_to_their_end(
    ruled: Control, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rules_module, "BUSY_S", 0.01)
    began, goes_on = threading.Event(), threading.Event()

    def hang(*_: Any) -> list[RuleError]:
        began.set()
        assert goes_on.wait(10)
        return []

    # No rule file takes long enough: what a file may hold is bounded.
    monkeypatch.setattr(rules_module, "doubtful", hang)
    one = await ruled.connect()
    await one.client.say(
        {"jsonrpc": "2.0", "method": "rules.validate", "params": {"content": rule()}, "id": 1}
    )
    await asyncio.to_thread(began.wait, 10)
    one.client.close()
    refused = await ruled.refusal("rules.validate", content=rule())
    assert refused == (
        Code.LIMIT_REACHED,
        "other rule files are being checked: try again later",
    )
    goes_on.set()
    monkeypatch.setattr(rules_module, "BUSY_S", 10.0)
    assert (await ruled.call("rules.validate", content=rule()))["valid"]


MISTYPED = "Full: no metric 'nod_load5' is known; did you mean node_load5?"


async def test_a_metric_that_nobody_knows_is_a_warning_with_its_place(ruled: Control) -> None:
    found = await ruled.call(
        "rules.validate", content=rule(expr="full > 0 and on () nod_load5 > 8"), path="new.yml"
    )
    assert (found["valid"], found["problems"]) == (True, [])
    assert found["warnings"] == [{"path": "new.yml", "line": 5, "column": 32, "message": MISTYPED}]


@pytest.mark.parametrize(
    "expr",
    [
        pytest.param("full > 0", id="of the table"),
        pytest.param("repo_used_bytes > 0", id="of a probe that is not there"),
        pytest.param("full:max > 0", id="of a rule in force"),
        pytest.param('{__name__=~"nod_.*"} > 0', id="by a pattern"),
    ],
)
async def test_a_metric_that_may_come_is_no_warning(ruled: Control, expr: str) -> None:
    content = rule(expr=f"'{expr}'")
    assert (await ruled.call("rules.validate", content=content))["warnings"] == []


async def test_a_metric_that_the_file_itself_records_is_no_warning(ruled: Control) -> None:
    content = rule(expr="mine:max > 0") + "\n    - record: mine:max\n      expr: max(full)"
    assert (await ruled.call("rules.validate", content=content))["warnings"] == []


async def test_a_rule_in_force_tells_of_a_metric_that_nobody_knows(ruled: Control) -> None:
    ruled.outside.rule_files = files(rule(expr="nod_load5 > 8"))
    told = await ruled.call("rules.reload")
    assert (told["valid"], [one["message"] for one in told["warnings"]]) == (True, [MISTYPED])
    (one,) = (await ruled.call("rules.list"))["rules"]
    assert one["warnings"] == [MISTYPED.removeprefix("Full: ")]


async def test_without_a_file_those_in_force_are_judged_again(ruled: Control) -> None:
    ruled.outside.rule_files = files(rule(expr="full >"))
    found = await ruled.call("rules.validate")
    assert not found["valid"]
    assert [one["path"] for one in found["problems"]] == ["mine.yml"]


async def test_a_reload_puts_the_files_in_force_and_closes_what_has_no_rule(
    ruled: Control,
) -> None:
    await ruled.node.see(a=0.9)
    ruled.outside.rule_files = files(rule().replace("Full", "Fuller"))
    assert await ruled.call("rules.reload") == {
        "valid": True,
        "rules": 1,
        "problems": [],
        "warnings": [],
    }
    await ruled.node.see(a=0.9)
    assert [one["name"] for one in (await ruled.call("rules.list"))["rules"]] == ["Fuller"]
    alerts = (await ruled.call("alerts.list"))["alerts"]
    assert {(one["rule"], one["state"]) for one in alerts} == {
        ("Full", "resolved"),
        ("Fuller", "firing"),
    }


async def test_a_reload_of_wrong_files_changes_nothing(ruled: Control) -> None:
    ruled.outside.rule_files = files(rule(expr="full >"))
    found = await ruled.call("rules.reload")
    assert (found["valid"], len(found["problems"])) == (False, 1)
    assert len((await ruled.call("rules.list"))["rules"]) == 2
    assert await ruled.node.audit() == []
