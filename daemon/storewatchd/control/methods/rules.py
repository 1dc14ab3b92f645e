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
from storewatchd.errors import LimitReached, NotFound, RuleError
from storewatchd.monitor import Monitor

BUSY_S = 10.0
"""How long a check waits for others before it is refused."""

MAX_PLACES = 1_000
"""How many problems of a check are told one by one."""

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

    checking = asyncio.Lock()

    async def validate(_: Call, asked: params.RulesValidate) -> dict[str, Any]:
        read = read_rules
        if asked.content is not None:
            file = RuleFile(asked.path, asked.content, asked.path)
            taken = monitor.books.table.probe_families()
            read = partial(load, [file], taken=taken)
        try:
            async with asyncio.timeout(BUSY_S):
                await checking.acquire()
        except TimeoutError as error:
            raise LimitReached("other rule files are being checked: try again later") from error
        # A thread takes its share of the loop's time, and goes on when nobody waits any more: so
        # one at a time, to its end.
        work = partial(_check, read, known_metrics())
        working = asyncio.get_running_loop().run_in_executor(None, work)
        working.add_done_callback(lambda _: checking.release())
        return await asyncio.shield(working)

    async def reload(call: Call, _: params.Nothing) -> dict[str, Any]:
        rules, problems = await asyncio.to_thread(read_rules)
        if not problems:
            await monitor.command(ReplaceRules(call.caller.name, rules))
        return await asyncio.to_thread(_check, lambda: (rules, problems), known_metrics())

    return {
        "rules.list": list_rules,
        "rules.get": get_rule,
        "rules.validate": validate,
        "rules.reload": reload,
    }


def _check(read: ReadRules, known: frozenset[str]) -> dict[str, Any]:
    rules, problems = read()
    return {
        "valid": not problems,
        "rules": len(rules),
        "problems": _places(problems),
        "warnings": _places(doubtful(rules, known)),
    }


def _places(problems: list[RuleError]) -> list[dict[str, Any]]:
    places = [_place(problem) for problem in problems[:MAX_PLACES]]
    if len(problems) > MAX_PLACES:
        more = len(problems) - MAX_PLACES
        places.append(_place(RuleError(f"and {more} more", path=problems[MAX_PLACES].path)))
    return places


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
