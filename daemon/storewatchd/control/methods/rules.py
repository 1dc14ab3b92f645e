"""rules.*: the rules in force, and whether rule files are right."""

import asyncio
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from storewatch.wire import params
from storewatchd.control.dispatch import Call, Handler
from storewatchd.core.commands import ReplaceRules
from storewatchd.core.engine import RuleState
from storewatchd.core.mentions import doubts
from storewatchd.core.model import AlertState, format_time
from storewatchd.core.rules import RuleFile, RuleSet, doubtful, load
from storewatchd.core.unseen import why_unknown
from storewatchd.errors import NotFound, RuleError
from storewatchd.monitor import Monitor

ReadRules = Callable[[], tuple[RuleSet, list[RuleError]]]


def handlers(
    monitor: Monitor, read_rules: ReadRules, known_metrics: Callable[[], frozenset[str]]
) -> Mapping[str, Handler]:
    """Return the methods of this noun. `read_rules` reads the files that are in force."""

    def list_rules(_: Call, __: params.Nothing) -> dict[str, Any]:
        known = known_metrics()
        states = monitor.books.engine.states
        return {"rules": [_shape(monitor, state, known) for state in states]}

    def get_rule(_: Call, asked: params.RuleName) -> dict[str, Any]:
        for state in monitor.books.engine.states:
            if state.rule.name == asked.name:
                return _shape(monitor, state, known_metrics())
        raise NotFound(f"there is no rule {asked.name!r}")

    async def validate(_: Call, asked: params.RulesValidate) -> dict[str, Any]:
        if asked.content is None:
            rules, problems = await asyncio.to_thread(read_rules)
        else:
            file = RuleFile(asked.path, asked.content, asked.path)
            taken = monitor.books.table.probe_families()
            rules, problems = await asyncio.to_thread(partial(load, [file], taken=taken))
        return await check(rules, problems)

    async def reload(call: Call, _: params.Nothing) -> dict[str, Any]:
        rules, problems = await asyncio.to_thread(read_rules)
        if not problems:
            await monitor.command(ReplaceRules(call.caller.name, rules))
        return await check(rules, problems)

    async def check(rules: RuleSet, problems: list[RuleError]) -> dict[str, Any]:
        warnings = await asyncio.to_thread(doubtful, rules, known_metrics())
        return {
            "valid": not problems,
            "rules": len(rules),
            "problems": [_place(problem) for problem in problems],
            "warnings": [_place(warning) for warning in warnings],
        }

    return {
        "rules.list": list_rules,
        "rules.get": get_rule,
        "rules.validate": validate,
        "rules.reload": reload,
    }


def _place(problem: RuleError) -> dict[str, Any]:
    return {
        "path": problem.path,
        "line": problem.line,
        "column": problem.column,
        "message": problem.message,
    }


def _shape(monitor: Monitor, state: RuleState, known: frozenset[str]) -> dict[str, Any]:
    rule, table = state.rule, monitor.books.table
    unseen = why_unknown(rule.plan, table, monitor.now().wall) if state.unknown else ""
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
        "unseen": unseen,
        "warnings": [text for _, text in doubts([one.name for one in rule.mentions], known)],
        "firing": mine.count(AlertState.FIRING),
        "pending": mine.count(AlertState.PENDING),
    }
