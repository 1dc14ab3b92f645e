"""rules.*: the rules in force, and whether rule files are right."""

import asyncio
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from storewatch.wire import params
from storewatchd.control.dispatch import Call, Handler
from storewatchd.core.commands import ReplaceRules
from storewatchd.core.engine import RuleState
from storewatchd.core.model import AlertState, format_time
from storewatchd.core.rules import RuleFile, RuleSet, load
from storewatchd.errors import NotFound, RuleError
from storewatchd.monitor import Monitor

ReadRules = Callable[[], tuple[RuleSet, list[RuleError]]]


def handlers(monitor: Monitor, read_rules: ReadRules) -> Mapping[str, Handler]:
    """Return the methods of this noun. `read_rules` reads the files that are in force."""

    def list_rules(_: Call, __: params.Nothing) -> dict[str, Any]:
        return {"rules": [_shape(monitor, state) for state in monitor.books.engine.states]}

    def get_rule(_: Call, asked: params.RuleName) -> dict[str, Any]:
        for state in monitor.books.engine.states:
            if state.rule.name == asked.name:
                return _shape(monitor, state)
        raise NotFound(f"there is no rule {asked.name!r}")

    async def validate(_: Call, asked: params.RulesValidate) -> dict[str, Any]:
        if asked.content is None:
            rules, problems = await asyncio.to_thread(read_rules)
        else:
            file = RuleFile(asked.path, asked.content, asked.path)
            taken = monitor.books.table.probe_families()
            rules, problems = await asyncio.to_thread(partial(load, [file], taken=taken))
        return check_shape(rules, problems)

    async def reload(call: Call, _: params.Nothing) -> dict[str, Any]:
        rules, problems = await asyncio.to_thread(read_rules)
        if not problems:
            await monitor.command(ReplaceRules(call.caller.name, rules))
        return check_shape(rules, problems)

    return {
        "rules.list": list_rules,
        "rules.get": get_rule,
        "rules.validate": validate,
        "rules.reload": reload,
    }


def check_shape(rules: RuleSet, problems: list[RuleError]) -> dict[str, Any]:
    """Return what a look at rule files found, in the wire shape."""
    return {
        "valid": not problems,
        "rules": len(rules),
        "problems": [
            {
                "path": problem.path,
                "line": problem.line,
                "column": problem.column,
                "message": problem.message,
            }
            for problem in problems
        ],
    }


def _shape(monitor: Monitor, state: RuleState) -> dict[str, Any]:
    rule = state.rule
    mine = [incident.alert.state for incident in monitor.books.incidents.of_rule(rule.name)]
    return {
        "name": rule.name,
        "kind": rule.kind,
        "group": rule.group,
        "origin": rule.origin,
        "expr": rule.expr,
        "for_seconds": rule.for_s,
        "keep_firing_for_seconds": rule.keep_firing_for_s,
        "interval_seconds": rule.interval_s,
        "labels": {name: template.text for name, template in rule.labels.items()},
        "annotations": {name: template.text for name, template in rule.annotations.items()},
        "version": rule.version,
        "last_evaluation": format_time(state.last_evaluation),
        "evaluation_seconds": state.evaluation_s,
        "error": state.error,
        "unknown": state.unknown,
        "firing": mine.count(AlertState.FIRING),
        "pending": mine.count(AlertState.PENDING),
    }
