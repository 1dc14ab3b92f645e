"""Evaluates rules over the table and decides what becomes of their incidents.

A row that is surely there, with its value or a bound of it, makes an alert pend or fire; a row
that is unknown, or a hole that could hide the row, freezes it as it is; only a known absence
resolves it. Durations run on the clock that stands still while the machine is suspended. Nothing
here is written or shown: the caller journals the transitions first.

Several rules may share a name, as one for each severity does. Each judges only the incidents that
no other of them holds, and nothing before all of them were evaluated.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from msgspec.structs import replace

from storewatchd.core.frames import Scope
from storewatchd.core.incidents import BY_RULE, MAX_OF_RULE, Incident, Incidents
from storewatchd.core.lapses import Known, KnownScopes, Unseen, has_lapsed
from storewatchd.core.model import Alert, AlertState, Instant, Transition, to_milliseconds
from storewatchd.core.naming import Names, Place, place_of, series_of
from storewatchd.core.outcome import Answer, answer_of, surest_first
from storewatchd.core.promql import Result, ResultRow
from storewatchd.core.rules import Rule, RuleSet
from storewatchd.core.series import Recorded, SeriesTable, recording
from storewatchd.core.steps import MANY, Steps, at_once

RULE_REMOVED = "the rule is no longer there"

RENEW_S = 60.0
"""How often the texts of a firing alert are made anew at most: where its value has changed, or
where they ask for more than that."""

MAX_RENEWED = 100
"""Of how many alerts of a rule that is done in one evaluation: it takes some 50 µs each."""

LARGE = 4_096
"""From how many rows of its families on a rule rests after each time that it is evaluated. From
`MANY` on its expression is worked out aside."""

REST_S = 1.0
"""How long such a rule rests: of a thousand scopes some are looked at all the time."""

REWRITE_S = 10.0
"""How often a timer that runs is written: what ran since is lost when nothing can be written at
the end."""


@dataclass(slots=True)
class RuleState:
    """A rule in force and how its last evaluation went. Times are Unix seconds."""

    rule: Rule
    names: Names
    due: float  # monotonic
    last_evaluation: float | None = None
    evaluation_s: float | None = None
    error: str | None = None
    unknown: bool = False
    held: set[str] | None = None
    """The keys whose condition its last evaluation did not see to be false; None before one."""
    unsure: set[str] = field(default_factory=set)
    """Those of them whose condition it did not see at all."""
    seen: Known = field(default_factory=dict)
    """The scopes of its inputs that were known then."""
    seen_at: tuple[float, float] | None = None
    """Until when they surely were, monotonic and awake; None before its first evaluation."""
    evaluated_at: float = 0.0  # awake


_KEPT_OF_RULES = (
    *("due", "last_evaluation", "error", "unknown", "held", "unsure"),
    *("seen", "seen_at", "evaluated_at"),
)


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
        self.rules = rules
        """Every rule in force, with the files that they come from."""
        self._states: list[RuleState] = []
        self._namesakes: dict[str, list[RuleState]] = {}
        self._recorders: dict[str, list[RuleState]] = {}
        self._recordings: tuple[Scope, ...] | None = None  # until the table knows them
        self._known = KnownScopes(table)
        self._take(rules, due=0.0)

    @property
    def states(self) -> list[RuleState]:
        """Every rule in force, in the order of the files."""
        return self._states

    def next_due(self) -> float:
        """Return when the next rule is due on the monotonic clock; infinity without rules."""
        return min((state.due for state in self._states), default=float("inf"))

    def evaluate(self, now: Instant, touched: frozenset[str]) -> list[Transition]:
        """Evaluate the rules that are due, those that read a touched family, and those of whose
        inputs something was known and is not any more."""
        return at_once(self.evaluating(now, touched))

    def evaluating(self, now: Instant, touched: frozenset[str]) -> Steps[list[Transition]]:
        """Evaluate the same rules in steps: what is large is worked out aside."""
        transitions: list[Transition] = []
        if self._recordings is not None:
            self._table.keep_recordings(self._recordings)
            self._recordings = None
            transitions += self._settle_orphans(now)
        known = self._known.look(now.wall)
        moment = now.monotonic, now.awake
        touched_now = set(touched)
        for state in self._states:
            if self._is_due(state, now, known, touched_now):
                began = self._timer()
                inputs = self._inputs(state.rule)
                transitions += yield from self._evaluate_rule(state, inputs, now, touched_now)
                state.seen = {probe: known[probe] for probe in inputs if probe in known}
                state.evaluated_at = now.awake
                state.evaluation_s = self._timer() - began
            # A rule that was never evaluated is due. Nothing that another one saw was lost and
            # found again unnoticed: a look evaluates it.
            state.seen_at = moment
            yield None
        return transitions

    def _is_due(self, state: RuleState, now: Instant, known: Known, touched: set[str]) -> bool:
        """Return whether a rule is to be evaluated now; one that is large may be so soon after."""
        if state.due <= now.monotonic:
            state.due = now.monotonic + state.rule.interval_s
            return True
        if has_lapsed(state.seen, known):
            return True
        if not state.rule.plan.touches(frozenset(touched), self._table):
            return False
        rest_s = state.evaluated_at + REST_S - now.awake
        if rest_s <= 0 or self._size_of(state.rule) < LARGE:
            return True
        state.due = min(state.due, now.monotonic + rest_s)
        return False

    def _size_of(self, rule: Rule) -> int:
        """Return how many rows, or scopes that may be holes, the largest family has that a rule
        reads."""
        _, owners = self._table.parts()
        found = map(self._table.series, rule.plan.families(self._table))
        sizes = (max(len(one), len(owners[one.probe].states)) for one in found if one is not None)
        return max(sizes, default=0)

    def replace_rules(self, rules: RuleSet, now: Instant) -> list[Transition]:
        """Put another set of rules in force at once; close the alerts whose rule is gone."""
        self._take(rules, due=now.monotonic)
        return self._settle_orphans(now)

    def look_again(self, rules: Collection[str], now: Instant) -> list[Transition]:
        """Judge the incidents of these rules at once, as after a start, for some came in from
        elsewhere; close those whose rule is gone."""
        for name in rules:
            for state in self._namesakes.get(name, ()):
                state.held = None
                state.due = now.monotonic
        return self._settle_orphans(now)

    def _settle_orphans(self, now: Instant) -> list[Transition]:
        """Close the alerts whose rule is not in force; freeze them where it may only be one that
        could not be read."""
        transitions = []
        for name in self._incidents.rules():
            known = [state.names for state in self._namesakes.get(name, ())]
            for incident in self._incidents.of_rule(name):
                if any(names.may_be_of(incident) for names in known):
                    continue
                if self.rules.is_whole:
                    reason = {"rule": name}
                    transitions.append(
                        self._incidents.close(incident, now, by=RULE_REMOVED, reason=reason)
                    )
                else:
                    transitions += self._freeze(incident, now, [incident.series])
            if not known and self.rules.is_whole:
                for quieted in self._incidents.quieted(name):
                    self._incidents.forget_quieted(quieted.key)
        return transitions

    def dump(self) -> list[dict[str, Any]]:
        """Return what was worked out for each rule, in their order, for `load`."""
        return [{name: getattr(state, name) for name in _KEPT_OF_RULES} for state in self._states]

    def load(self, told: Sequence[Mapping[str, Any]]) -> None:
        """Take over what `dump` gave an engine with the same rules."""
        for state, kept in zip(self._states, told, strict=True):
            for name in _KEPT_OF_RULES:
                setattr(state, name, kept[name])

    def _take(self, rules: RuleSet, *, due: float) -> None:
        self.rules = rules
        before = {state.rule.name: state for state in self._states}
        self._states = [RuleState(rule, Names(rule, self._table), due) for rule in rules]
        self._namesakes = {}
        self._recorders = {}
        for state in self._states:
            name = state.rule.name
            if name in before:
                state.seen, state.seen_at = before[name].seen, before[name].seen_at
                state.evaluated_at = before[name].evaluated_at
            kind = self._namesakes if state.rule.kind == "alert" else self._recorders
            kind.setdefault(name, []).append(state)
        self._recordings = tuple(
            _recording(state.rule) for state in self._states if state.rule.kind == "record"
        )

    def _inputs(self, rule: Rule) -> dict[str, bool]:
        """Return the probes that a rule reads, also through recordings, and whether the labels of
        their scopes are those of its rows."""
        found: dict[str, bool] = {}
        waiting, followed = [(rule, True)], set()
        while waiting:
            reader, is_direct = waiting.pop()
            for name in reader.plan.families(self._table):
                series = self._table.series(name)
                if series is not None:
                    found[series.probe] = found.get(series.probe, True) and is_direct
                if name in self._recorders and name not in followed:
                    followed.add(name)
                    waiting += [(state.rule, False) for state in self._recorders[name]]
        return found

    def _evaluate_rule(
        self, state: RuleState, inputs: Mapping[str, bool], now: Instant, touched: set[str]
    ) -> Steps[list[Transition]]:
        rule = state.rule
        state.last_evaluation = now.wall
        keeps_bounds = rule.kind == "record" or state.names.depend_on_labels_only
        work = partial(answer_of, rule, self._table, now.wall, keeps_bounds=keeps_bounds)
        answer: Answer = (yield work) if self._size_of(rule) >= MANY else work()
        result = answer.result
        state.unknown = bool(result.holes) or not all(row.exact for row in result.rows)
        if rule.kind == "record":
            state.error = answer.error
            touched |= self._record(state, result, now)
            return []
        self._age(state, inputs, now)
        return (yield from self._judge(state, answer, now))

    def _record(self, state: RuleState, result: Result, now: Instant) -> frozenset[str]:
        scope = _recording(state.rule)
        added = dict(scope.labels)
        rows: dict[Place, Recorded] = {}
        for row in surest_first(result.rows):
            labels = {**series_of(row), **added}
            place = place_of(labels)
            if place not in rows:
                rows[place] = Recorded(labels, row.value, row.state)
            elif row.is_there:
                state.error = "the recorded rows do not differ in their labels"
        try:
            if state.error is None:
                holes = [{**hole, **added} for hole in result.holes]
                return self._table.record(scope, [*rows.values()], holes, now.wall)
            state.unknown = True
            return self._table.fail_recording(scope, state.error, now.wall)
        except ValueError as error:
            state.error = str(error)
            return frozenset()

    # Alert rules.

    def _age(self, state: RuleState, inputs: Mapping[str, bool], now: Instant) -> None:
        """Take from the timers of a rule's alerts what nobody could look at since its last
        evaluation, and have them written anew now and then: what is not on disk is lost with a
        crash."""
        rule = state.rule
        if state.seen_at is None or not (rule.for_s or rule.keep_firing_for_s):
            return
        since, awake = state.seen_at
        awake_s = now.awake - awake
        suspended_s = now.monotonic - since - awake_s  # in which there was nothing to look with
        unseen = Unseen(self._table, inputs, seen=state.seen, since=since, now=now)
        for incident in self._incidents.of_rule(rule.name):
            is_pending = incident.alert.state is AlertState.PENDING
            began = incident.since if is_pending else incident.quiet_since
            if began is None or incident.frozen_since is not None:
                continue
            if state.held is not None and incident.key not in state.held - state.unsure:
                continue
            lost_s = min(max(0.0, unseen.seconds(incident.series) - suspended_s), awake_s)
            is_late = (now.awake - began) // REWRITE_S > (state.evaluated_at - began) // REWRITE_S
            if lost_s > 0 or is_late:
                self._incidents.update(incident.later(lost_s), now)

    def _judge(self, state: RuleState, answer: Answer, now: Instant) -> Steps[list[Transition]]:
        rule = state.rule
        transitions: list[Transition] = []
        held: set[str] = set()
        unsure: set[str] = set()
        renewed, error = 0, answer.error
        for row in surest_first(answer.result.rows):
            yield None
            key, labels = state.names.identity(row, now)
            if key in held:
                if row.is_there:
                    error = "two rows give the same alert: their labels do not differ"
                continue
            held.add(key)
            incident = self._incidents.find(key)
            if not row.is_there:
                unsure.add(key)
                if incident is not None and not self._is_held_elsewhere(state, key, surely=True):
                    transitions += self._freeze(incident, now, [row.labels])
            elif incident is None:
                if self._incidents.is_quieted(key):
                    continue
                if self._incidents.has_room(rule.name):
                    transitions.append(self._open(state, key, labels, row, now))
                else:
                    error = f"it has {MAX_OF_RULE} alerts already, and more are not opened"
            else:
                transitions += self._hold(state, incident, row, now)
                if renewed < MAX_RENEWED:
                    renewed += self._renew(state, key, row, now)
        unseen = answer.hidden
        for incident in self._incidents.of_rule(rule.name):
            yield None
            key = incident.key
            if key in held:
                continue
            hiding = unseen.hiding(incident.series)
            if hiding:
                held.add(key)
                unsure.add(key)
            if self._is_held_elsewhere(state, key, surely=True):
                continue
            if hiding or self._is_held_elsewhere(state, key):
                transitions += self._freeze(incident, now, hiding or [incident.series])
            else:
                transitions += self._clear(rule, incident, now)
                if self._incidents.find(key) is not None:
                    held.add(key)
        for quieted in self._incidents.quieted(rule.name):
            if quieted.key in held:
                continue
            if unseen.hiding(quieted.series):
                held.add(quieted.key)
            elif not self._is_held_elsewhere(state, quieted.key):
                self._incidents.forget_quieted(quieted.key)
        state.held, state.unsure, state.error = held, unsure, error
        return transitions

    def _is_held_elsewhere(self, state: RuleState, key: str, *, surely: bool = False) -> bool:
        """Whether another rule of the same name holds a key, or may; one that was not evaluated
        yet surely may."""
        return any(
            other.held is None or (key in other.held and not (surely and key in other.unsure))
            for other in self._namesakes[state.rule.name]
            if other is not state
        )

    def _open(
        self, state: RuleState, key: str, labels: dict[str, str], row: ResultRow, now: Instant
    ) -> Transition:
        rule = state.rule
        fires = rule.for_s <= 0
        wall = to_milliseconds(now.wall)
        alert = Alert(
            id=self._incidents.new_id(now.wall),
            rule=rule.name,
            severity=rule.severity,
            source=rule.source,
            resource_type=labels.get("resource_type", ""),
            resource_id=labels.get("resource_id", ""),
            labels=labels,
            state=AlertState.FIRING if fires else AlertState.PENDING,
            first_seen=wall,
            last_seen=wall,
            node=self._incidents.node,
            **state.names.shown(row, now),
        )
        self._incidents.open(
            Incident(
                alert=alert,
                key=key,
                series=series_of(row),
                since=now.awake,
                told=row.value,
                told_at=now.awake,
            ),
            now,
        )
        return Transition("firing" if fires else "pending", alert, state.names.evidence(row))

    def _hold(
        self, state: RuleState, incident: Incident, row: ResultRow, now: Instant
    ) -> list[Transition]:
        """Go on with an incident whose condition surely holds."""
        rule = state.rule
        transitions: list[Transition] = []
        incident = self._thaw(incident, now, transitions)
        wall = to_milliseconds(now.wall)
        if incident.alert.state is AlertState.PENDING:
            if now.awake - incident.since < rule.for_s:
                self._incidents.touch(
                    replace(incident, alert=replace(incident.alert, last_seen=wall))
                )
                return transitions
            alert = incident.alert.with_changes(
                state=AlertState.FIRING, last_seen=wall, **state.names.shown(row, now)
            )
            fires = replace(incident, alert=alert, told=row.value, told_at=now.awake)
            self._incidents.update(fires, now)
            return [*transitions, Transition("firing", alert, state.names.evidence(row))]
        held = replace(incident, alert=replace(incident.alert, last_seen=wall), quiet_since=None)
        if incident.quiet_since is not None:
            self._incidents.update(held, now)
        else:
            self._incidents.touch(held)
        return transitions

    def _renew(self, state: RuleState, key: str, row: ResultRow, now: Instant) -> bool:
        """Have the texts of a firing alert say what is so now; return whether that took work."""
        incident = self._incidents.find(key)
        if incident is None or incident.alert.state is not AlertState.FIRING or not row.exact:
            return False
        is_new = incident.told_at is not None and now.awake - incident.told_at < RENEW_S
        if is_new or (incident.told == row.value and not state.names.ask):
            return False
        alert = replace(incident.alert, **state.names.shown(row, now))
        self._incidents.touch(replace(incident, alert=alert, told=row.value, told_at=now.awake))
        return True

    def _clear(self, rule: Rule, incident: Incident, now: Instant) -> list[Transition]:
        """Go on with an incident whose condition is surely false."""
        transitions: list[Transition] = []
        incident = self._thaw(incident, now, transitions)
        keeps = rule.keep_firing_for_s if incident.alert.state is AlertState.FIRING else 0.0
        if keeps > 0:
            quiet_since = now.awake if incident.quiet_since is None else incident.quiet_since
            if now.awake - quiet_since < keeps:
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
        self, incident: Incident, now: Instant, hiding: list[Mapping[str, str]]
    ) -> list[Transition]:
        """Leave an incident as it is: whether its condition holds cannot be seen."""
        if incident.frozen_since is not None:
            return []
        alert = incident.alert.with_changes(stale_since=to_milliseconds(now.wall))
        self._incidents.update(replace(incident, alert=alert, frozen_since=now.awake), now)
        return [Transition("stale", alert, {"unseen": [dict(labels) for labels in hiding]})]

    def _thaw(self, incident: Incident, now: Instant, transitions: list[Transition]) -> Incident:
        """End the freeze: the time that nobody could look does not count for any duration."""
        if incident.frozen_since is None:
            return incident
        frozen_s = now.awake - incident.frozen_since
        thawed = replace(
            incident.later(frozen_s),
            alert=incident.alert.with_changes(stale_since=None),
            frozen_since=None,
        )
        self._incidents.update(thawed, now)
        transitions.append(
            Transition("fresh", thawed.alert, {"unseen_seconds": round(frozen_s, 3)})
        )
        return thawed


def _recording(rule: Rule) -> Scope:
    return recording(rule.name, {name: template.text for name, template in rule.labels.items()})
