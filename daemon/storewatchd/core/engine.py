"""Evaluates rules over the table and decides what becomes of their incidents.

A row that is known makes an alert pend or fire; a row that is unknown, or a hole that could hide
the row, freezes it as it is; only a known absence resolves it. Durations run on the monotonic
clock. Nothing here is written or shown: the caller journals the transitions first.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from msgspec.structs import replace

from storewatchd.core.frames import Row
from storewatchd.core.incidents import BY_RULE, Incident, Incidents
from storewatchd.core.model import (
    Alert,
    AlertState,
    Instant,
    Transition,
    fingerprint,
    to_milliseconds,
)
from storewatchd.core.promql import Result, ResultRow, parse, plan
from storewatchd.core.promql.labels import is_compatible
from storewatchd.core.rules import Rule, RuleSet
from storewatchd.core.series import Hole, SeriesTable, recorded_family
from storewatchd.core.templates import Context, QueryRow
from storewatchd.errors import ExpressionError, TemplateError

RULE_REMOVED = "the rule is no longer there"
_MAX_IDENTITIES = 100_000


@dataclass(slots=True)
class RuleState:
    """A rule in force and how its last evaluation went. Times are Unix seconds."""

    rule: Rule
    due: float  # monotonic
    last_evaluation: float | None = None
    evaluation_s: float | None = None
    error: str | None = None
    unknown: bool = False
    identities: dict[tuple[tuple[str, str], ...], tuple[str, dict[str, str]]] | None = None


class Engine:
    """The rules in force. One task feeds it; `timer` measures evaluations, for display only."""

    def __init__(
        self,
        table: SeriesTable,
        incidents: Incidents,
        rules: RuleSet,
        *,
        timer: Callable[[], float] = lambda: 0.0,
    ) -> None:
        self._table = table
        self._incidents = incidents
        self._timer = timer
        self._states: list[RuleState] = []
        self._take(rules, due=0.0)

    @property
    def states(self) -> list[RuleState]:
        """Every rule in force, in the order of the files."""
        return self._states

    def next_due(self) -> float:
        """Return when the next rule is due on the monotonic clock; infinity without rules."""
        return min((state.due for state in self._states), default=float("inf"))

    def evaluate(self, now: Instant, touched: frozenset[str]) -> list[Transition]:
        """Evaluate the rules that are due and those that read a touched family."""
        transitions: list[Transition] = []
        touched_now = set(touched)
        for state in self._states:
            due = state.due <= now.monotonic
            if due:
                state.due = now.monotonic + state.rule.interval_s
            if due or state.rule.plan.touches(frozenset(touched_now), self._table):
                began = self._timer()
                transitions.extend(self._evaluate_rule(state, now, touched_now))
                state.evaluation_s = self._timer() - began
        return transitions

    def replace_rules(self, rules: RuleSet, now: Instant) -> list[Transition]:
        """Put another set of rules in force at once; close the alerts whose rule is gone."""
        self._take(rules, due=now.monotonic)
        return self.close_orphans(now)

    def close_orphans(self, now: Instant) -> list[Transition]:
        """Close the alerts whose rule is not in force."""
        known = {state.rule.name for state in self._states if state.rule.kind == "alert"}
        transitions = []
        for name in self._incidents.rules() - known:
            self._incidents.keep_quieted(name, set())
            transitions += [
                self._incidents.close(incident, now, by=RULE_REMOVED, reason={"rule": name})
                for incident in self._incidents.of_rule(name)
            ]
        return transitions

    def _take(self, rules: RuleSet, *, due: float) -> None:
        self._states = [RuleState(rule, due) for rule in rules]

    def _evaluate_rule(self, state: RuleState, now: Instant, touched: set[str]) -> list[Transition]:
        rule = state.rule
        state.last_evaluation = now.wall
        state.error = None
        try:
            result = rule.plan.evaluate(self._table, now.wall)
            state.unknown = bool(result.holes) or not all(row.exact for row in result.rows)
            if rule.kind == "record":
                touched |= self._record(rule, result, now)
                return []
        except (ExpressionError, ValueError) as error:
            state.error = str(error)
            state.unknown = True
            result = Result([], ({},))  # an error is a hole: it decides nothing
            if rule.kind == "record":
                touched |= self._record(rule, result, now)
                return []
        return self._judge(state, result, now)

    def _record(self, rule: Rule, result: Result, now: Instant) -> frozenset[str]:
        added = {name: template.text for name, template in rule.labels.items()}
        labelled = []
        for row in result.rows:
            labels = {**row.labels, **added}
            labels.pop("__name__", None)
            labelled.append((labels, row))
        names = tuple(sorted({name for labels, _ in labelled for name in labels}))
        rows = [
            (Row(tuple(labels.get(name, "") for name in names), row.value), row.exact)
            for labels, row in labelled
        ]
        if len({row.labels for row, _ in rows}) < len(rows):
            raise ExpressionError("the recorded rows do not differ in their labels")
        family = recorded_family(rule.name, names)
        return self._table.record(family, rows, result.holes, now.wall)

    # Alert rules.

    def _judge(self, state: RuleState, result: Result, now: Instant) -> list[Transition]:
        rule = state.rule
        transitions: list[Transition] = []
        seen: set[str] = set()
        for row in result.rows:
            key, labels = self._identity(state, row, now)
            if key in seen:
                state.error = "two rows give the same alert: their labels do not differ"
                continue
            seen.add(key)
            incident = self._incidents.find(key)
            if not row.exact:
                if incident is not None:
                    transitions += self._freeze(incident, now, [row.labels])
            elif incident is None:
                if not self._incidents.is_quieted(key):
                    transitions.append(self._open(rule, key, labels, row, now))
            else:
                transitions += self._hold(rule, incident, row, now)
        for incident in self._incidents.of_rule(rule.name):
            if incident.key in seen:
                continue
            hiding = [hole for hole in result.holes if is_compatible(hole, incident.series)]
            if hiding:
                transitions += self._freeze(incident, now, hiding)
            else:
                transitions += self._clear(rule, incident, now)
        if not result.holes:
            self._incidents.keep_quieted(rule.name, seen)
        return transitions

    def _open(
        self, rule: Rule, key: str, labels: dict[str, str], row: ResultRow, now: Instant
    ) -> Transition:
        fires = rule.for_s <= 0
        wall = to_milliseconds(now.wall)
        texts = self._texts(rule, row, labels, now)
        alert = Alert(
            id=self._incidents.new_id(now.wall),
            rule=rule.name,
            severity=rule.severity,
            source=rule.source,
            title=texts.get("summary") or rule.name,
            message=texts.get("description", ""),
            resource_type=labels.get("resource_type", ""),
            resource_id=labels.get("resource_id", ""),
            labels=labels,
            annotations=texts,
            state=AlertState.FIRING if fires else AlertState.PENDING,
            first_seen=wall,
            last_seen=wall,
            node=self._incidents.node,
        )
        series = {name: value for name, value in row.labels.items() if name != "__name__"}
        self._incidents.open(
            Incident(alert=alert, key=key, series=series, since=now.monotonic), now
        )
        return Transition("firing" if fires else "pending", alert, _evidence(rule, row))

    def _hold(
        self, rule: Rule, incident: Incident, row: ResultRow, now: Instant
    ) -> list[Transition]:
        """Go on with an incident whose condition surely holds."""
        transitions: list[Transition] = []
        incident = self._thaw(incident, now, transitions)
        wall = to_milliseconds(now.wall)
        if incident.alert.state is AlertState.PENDING:
            if now.monotonic - incident.since < rule.for_s:
                self._incidents.touch(
                    replace(incident, alert=replace(incident.alert, last_seen=wall))
                )
                return transitions
            texts = self._texts(rule, row, dict(incident.alert.labels), now)
            alert = incident.alert.with_changes(
                state=AlertState.FIRING,
                last_seen=wall,
                title=texts.get("summary") or rule.name,
                message=texts.get("description", ""),
                annotations=texts,
            )
            self._incidents.update(replace(incident, alert=alert), now)
            return [*transitions, Transition("firing", alert, _evidence(rule, row))]
        held = replace(incident, alert=replace(incident.alert, last_seen=wall), quiet_since=None)
        if incident.quiet_since is not None:
            self._incidents.update(held, now)
        else:
            self._incidents.touch(held)
        return transitions

    def _clear(self, rule: Rule, incident: Incident, now: Instant) -> list[Transition]:
        """Go on with an incident whose condition is surely false."""
        transitions: list[Transition] = []
        incident = self._thaw(incident, now, transitions)
        keeps = rule.keep_firing_for_s if incident.alert.state is AlertState.FIRING else 0.0
        if keeps > 0:
            quiet_since = now.monotonic if incident.quiet_since is None else incident.quiet_since
            if now.monotonic - quiet_since < keeps:
                if incident.quiet_since is None:
                    self._incidents.update(replace(incident, quiet_since=quiet_since), now)
                return transitions
        reason = {
            "rule": rule.name,
            "version": rule.version,
            "why": "the condition no longer holds",
            "fired": incident.alert.state is AlertState.FIRING,
        }
        transitions.append(self._incidents.close(incident, now, by=BY_RULE, reason=reason))
        return transitions

    def _freeze(
        self, incident: Incident, now: Instant, hiding: list[Mapping[str, str]] | list[Hole]
    ) -> list[Transition]:
        """Leave an incident as it is: whether its condition holds cannot be seen."""
        if incident.frozen_since is not None:
            return []
        alert = incident.alert.with_changes(stale_since=to_milliseconds(now.wall))
        self._incidents.update(replace(incident, alert=alert, frozen_since=now.monotonic), now)
        return [Transition("stale", alert, {"unseen": [dict(labels) for labels in hiding]})]

    def _thaw(self, incident: Incident, now: Instant, transitions: list[Transition]) -> Incident:
        """End the freeze: the time that nobody could look does not count for any duration."""
        if incident.frozen_since is None:
            return incident
        frozen_s = now.monotonic - incident.frozen_since
        quiet_since = incident.quiet_since
        thawed = replace(
            incident,
            alert=incident.alert.with_changes(stale_since=None),
            since=incident.since + frozen_s,
            frozen_since=None,
            quiet_since=None if quiet_since is None else quiet_since + frozen_s,
        )
        self._incidents.update(thawed, now)
        transitions.append(
            Transition("fresh", thawed.alert, {"unseen_seconds": round(frozen_s, 3)})
        )
        return thawed

    # Identity and text.

    def _identity(
        self, state: RuleState, row: ResultRow, now: Instant
    ) -> tuple[str, dict[str, str]]:
        rule = state.rule
        if state.identities is None or len(state.identities) > _MAX_IDENTITIES:
            state.identities = {}
        place = tuple(sorted(row.labels.items()))
        known = state.identities.get(place)
        if known is not None:
            return known
        labels = {name: value for name, value in row.labels.items() if name != "__name__"}
        added = {
            name: self._render(state.rule, template.text, template, row, now)
            for name, template in rule.labels.items()
        }
        labels = {**labels, **added}
        labels = {name: value for name, value in labels.items() if value}
        identity = fingerprint(rule.name, labels), labels
        if all(template.depends_on_labels_only for template in rule.labels.values()):
            state.identities[place] = identity
        return identity

    def _texts(
        self, rule: Rule, row: ResultRow, labels: dict[str, str], now: Instant
    ) -> dict[str, str]:
        return {
            name: self._render(rule, template.text, template, row, now)
            for name, template in rule.annotations.items()
        }

    def _render(self, rule: Rule, text: str, template: Any, row: ResultRow, now: Instant) -> str:
        context = Context(labels=row.labels, value=row.value, query=self._asker(now))
        try:
            return str(template.render(context))
        except TemplateError as error:
            # As Prometheus does: a text that fails must not hide the alert.
            return f"<error in the template of {rule.name}: {error.message}> {text}"

    def _asker(self, now: Instant) -> Callable[[str], list[QueryRow]]:
        def ask(text: str) -> list[QueryRow]:
            try:
                result = plan(parse(text)).evaluate(self._table, now.wall)
            except ExpressionError as error:
                raise TemplateError(f"query {text!r}: {error}") from error
            return [QueryRow(row.labels, row.value) for row in result.rows if row.exact]

        return ask


def _evidence(rule: Rule, row: ResultRow) -> dict[str, Any]:
    return {
        "rule": rule.name,
        "version": rule.version,
        "expr": rule.expr,
        "value": row.value,
        "series": dict(row.labels),
        "for_seconds": rule.for_s,
    }
