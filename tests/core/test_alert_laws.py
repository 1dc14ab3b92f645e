"""The laws of alerts, whatever happens in whatever order.

- No rule resolves an alert while what it is about cannot be seen, nor opens one.
- An acknowledged alert keeps its mark until it ends.
- No id is ever given twice, and nothing happens to an alert that is over.
- `for` and `keep_firing_for` are not satisfied by time in which nobody could look.
- After a restart every alert is as it was, and stale until its scope has been seen again.
- An alert whose rule is gone is closed with that reason, and no other one is.
- A version is the one before and one more.
"""

from dataclasses import dataclass, field

import pytest
from hypothesis import assume, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition
from hypothesis.stateful import rule as step
from msgspec.structs import replace

from core.fix_laws import FOR_S, KEEP_S, REPOSITORIES, RULES, Core, Look, World, rule_of, rules_of
from storewatchd.core.commands import CreateAlert
from storewatchd.core.engine import RULE_REMOVED
from storewatchd.core.frames import Outcome
from storewatchd.core.model import Alert, AlertState, Severity, Transition

EVERYTHING = frozenset({"full"})
VALUES = st.sampled_from([None, 0.1, 0.85, 0.95])
SECONDS = st.integers(0, 40) | st.sampled_from([91, 200, 4000])
LATE_S = 5.0
"""How late an alert may fire: what is hidden elsewhere is noticed within a second, each time."""

JUMPS = st.sampled_from([-7200, -3600, -100, -5, 5, 100, 3600, 7200])


@dataclass
class Told:
    """An open alert as it was last told of, and what is counted of its condition, seconds."""

    alert: Alert
    expires: float | None = None  # monotonic
    held_s: float = 0.0
    """For how long its condition was known to hold since it is open."""
    unbroken_s: float = 0.0
    """The same since it was last not known to, or since the start."""
    over_s: float = 0.0
    """For how long its condition was known not to hold since it last was known to."""

    @property
    def name(self) -> str:
        return rule_of(self.alert)


@dataclass
class Ledger:
    """What a witness writes down who hears of every transition."""

    open: dict[str, Told] = field(default_factory=dict)
    ids: set[str] = field(default_factory=set)
    quiet: set[tuple[str, str]] = field(default_factory=set)
    """The rules and repositories whose alert a person resolved while its condition held."""


class Laws(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.core = Core()
        self.world = World(set())
        self.ledger = Ledger()
        self.in_force = set(RULES)
        self.is_judged = False
        """Whether every rule was evaluated at this very moment."""

    # What is heard.

    def verdict(self, told: Alert) -> bool | None:
        return self.world.verdict(rule_of(told), told.labels, self.core.now.monotonic)

    def hear(self, transitions: list[Transition]) -> None:
        for one in transitions:
            before = self.ledger.open.get(one.alert.id)
            if before is None:
                self.hear_of_new(one)
            else:
                self.hear_of_known(one, before)

    def hear_of_new(self, one: Transition) -> None:
        alert = one.alert
        assert alert.id not in self.ledger.ids, "an id is given twice"
        assert (alert.version, alert.acknowledged_by) == (1, None)
        self.ledger.ids.add(alert.id)
        self.ledger.open[alert.id] = Told(alert)
        if alert.rule:
            name = rule_of(alert)
            assert self.verdict(alert) is True, "it opens what is not known to hold"
            assert (name, alert.labels.get("repository", "")) not in self.ledger.quiet
            assert one.kind == ("pending" if FOR_S[name] else "firing")

    def hear_of_known(self, one: Transition, before: Told) -> None:
        alert, was = one.alert, before.alert
        assert alert.version == was.version + 1, "a version is left out or comes again"
        before.alert = alert
        if one.kind != "acknowledged":
            assert alert.acknowledged_by == was.acknowledged_by, "a mark is lost"
        match one.kind:
            case "firing":
                assert was.state is AlertState.PENDING
                assert self.verdict(alert) is True
                assert before.held_s >= FOR_S[before.name], "nobody could look for so long"
            case "stale":
                assert self.verdict(alert) is None
            case "fresh":
                assert self.verdict(alert) is not None
            case "resolved":
                self.hear_of_end(one, before, was)
                del self.ledger.open[alert.id]
            case _:
                assert one.kind in ("acknowledged", "repeated")

    def hear_of_end(self, one: Transition, before: Told, was: Alert) -> None:
        now = self.core.now
        match one.alert.resolved_by:
            case "rule":
                assert self.verdict(was) is False, "it resolves what is not known to be over"
                if was.state is AlertState.FIRING:
                    assert before.over_s >= KEEP_S[before.name], "nobody could look for so long"
            case "expired":
                assert before.expires is not None
                assert now.monotonic >= before.expires
            case "ann":
                pass
            case reason:
                assert reason == RULE_REMOVED
                assert before.name not in self.in_force

    # What passes.

    def move(self, seconds: float) -> None:
        """Let time pass in which nothing is looked at and nothing is decided."""
        start = self.core.now.monotonic
        for told in self.ledger.open.values():
            if not told.alert.rule:
                continue
            for length, verdict in self.world.stretches(
                told.name, told.alert.labels, start, start + seconds
            ):
                self.count(told, length, verdict)
        self.core.now = self.core.now.later(seconds)
        self.is_judged = self.is_judged and not seconds

    def count(self, told: Told, seconds: float, verdict: bool | None) -> None:
        if verdict is True:
            told.held_s += seconds
            told.unbroken_s += seconds
            told.over_s = 0.0
        else:
            told.unbroken_s = 0.0
            if verdict is False:
                told.over_s += seconds

    def judge(self, touched: frozenset[str] = EVERYTHING) -> None:
        """End a round."""
        self.hear(self.core.decide(touched))
        self.is_judged = self.is_judged or touched == EVERYTHING
        for told in self.ledger.open.values():
            if told.alert.rule:
                self.count(told, 0.0, self.verdict(told.alert))
        # A rule may be judged because its time has come, whatever was touched.
        at = self.core.now.monotonic
        self.ledger.quiet -= {
            (name, repository)
            for name, repository in self.ledger.quiet
            if self.world.verdict(name, {"repository": repository}, at) is False
        }

    @initialize(names=st.sets(st.sampled_from(sorted(RULES)), min_size=1))
    def begin(self, names: set[str]) -> None:
        self.core.rules = rules_of(names)
        self.in_force = names
        self.core.restart(away_s=0, jump_s=0, boot=1000.0)
        self.expect(set(REPOSITORIES))

    @step(repositories=st.sets(st.sampled_from(REPOSITORIES)))
    def expect(self, repositories: set[str]) -> None:
        touched = self.core.expect(repositories)
        self.world.expected = repositories
        for gone in self.world.looks.keys() - repositories:
            del self.world.looks[gone]
        self.judge(touched)

    @step(
        repository=st.sampled_from(REPOSITORIES),
        outcome=st.sampled_from([Outcome.SEEN] * 4 + [*Outcome]),
        value=VALUES,
        after=SECONDS,
        runs=st.booleans(),
    )
    def look(
        self, repository: str, outcome: Outcome, value: float | None, after: int, runs: bool
    ) -> None:
        self.wait(after, runs=runs)
        if repository not in self.world.expected:
            return  # nobody looks there
        seen = value if outcome is Outcome.SEEN else None
        touched = self.core.look(repository, outcome, seen)
        match outcome:
            case Outcome.FAILED:
                self.world.looks.pop(repository, None)
            case Outcome.SEEN | Outcome.ABSENT:
                self.world.looks[repository] = Look(seen, self.core.now.monotonic)
        self.judge(touched)

    @step(value=st.sampled_from([0.1, 0.85, 0.95]), after=SECONDS, runs=st.booleans())
    def look_everywhere(self, value: float, after: int, runs: bool) -> None:
        self.wait(after, runs=runs)
        for repository in self.world.expected:
            self.core.look(repository, Outcome.SEEN, value)
            self.world.looks[repository] = Look(value, self.core.now.monotonic)
        self.judge()

    def wait(self, seconds: float, *, runs: bool) -> None:
        """Let time pass. The daemon `runs` meanwhile, and wakes at least once a second; or it is
        held up."""
        end = self.core.now.monotonic + seconds
        while runs:
            now = self.core.now.monotonic
            wake = min(self.core.engine.next_due(), self.world.next_lapse(now) + 0.5)
            if wake >= end:
                break
            self.move(max(0.0, wake - now))
            self.judge(frozenset())
        self.move(end - self.core.now.monotonic)
        if not runs:
            for told in self.ledger.open.values():
                told.unbroken_s = 0.0  # it counts less than it could

    @step(seconds=SECONDS)
    def silence(self, seconds: int) -> None:
        self.wait(seconds, runs=True)
        self.judge(frozenset())

    @step(seconds=JUMPS)
    def set_the_clock(self, seconds: int) -> None:
        now = self.core.now
        self.core.now = now._replace(wall=now.wall + seconds)
        self.core.pass_clocks()
        self.judge(frozenset())

    @step(seconds=st.sampled_from([5, 60, 5000]))
    def suspend(self, seconds: int) -> None:
        now = self.core.now
        self.core.now = now.later(seconds)._replace(suspended_s=now.suspended_s + seconds)
        self.is_judged = False
        self.core.pass_clocks()
        self.judge(frozenset())

    # Restarts.

    @step(
        away_s=st.sampled_from([0, 3, 60, 5000]),
        jump_s=st.just(0) | JUMPS,
        boot=st.integers(1, 100_000),
    )
    def restart(self, away_s: int, jump_s: int, boot: int) -> None:
        now = self.core.now
        before = {told.alert.id: told.alert for told in self.ledger.open.values()}
        self.core.restart(away_s=away_s, jump_s=jump_s, boot=float(boot))
        assert {one.alert.id: replace(one.alert, last_seen=0) for one in self.core.incidents} == {
            alert_id: replace(alert, last_seen=0) for alert_id, alert in before.items()
        }
        for told in self.ledger.open.values():
            told.unbroken_s = 0.0
            if told.expires is not None:  # it runs on by the wall clock
                told.expires += boot - now.monotonic - away_s - jump_s
        self.world.looks.clear()
        self.is_judged = False
        self.expect(self.world.expected)

    @step(value=VALUES, boot=st.integers(1, 100_000))
    def crash_in_a_round(self, value: float | None, boot: int) -> None:
        """What was decided and not written was never heard of."""
        assume(self.world.expected)
        for repository in self.world.expected:
            self.core.look(repository, Outcome.SEEN, value)
        self.core.engine.evaluate(self.core.now, EVERYTHING)
        self.restart(0, 0, boot)

    # What people and programs ask for.

    @step(names=st.sets(st.sampled_from(sorted(RULES))))
    def replace_rules(self, names: set[str]) -> None:
        self.in_force = names
        self.core.rules = rules_of(names)
        called = {rule.name for rule in self.core.rules}
        self.ledger.quiet = {one for one in self.ledger.quiet if one[0] in names}
        gone = {told.alert.id for told in self.ledger.open.values() if told.name not in names}
        gone -= {told.alert.id for told in self.ledger.open.values() if not told.alert.rule}
        closed = self.core.engine.replace_rules(self.core.rules, self.core.now)
        assert {one.alert.id for one in closed} == gone, called
        self.hear(closed)
        self.judge()

    @step(key=st.sampled_from([None, "k"]), ttl_s=st.sampled_from([None, 30, 500]))
    def create(self, key: str | None, ttl_s: int | None) -> None:
        command = CreateAlert(
            actor="ann", severity=Severity.INFO, source="test", title="T", key=key, ttl_s=ttl_s
        )
        alert, transition = self.core.incidents.create(command, self.core.now)
        self.hear([transition])
        now = self.core.now.monotonic
        self.ledger.open[alert.id].expires = None if ttl_s is None else now + ttl_s
        self.judge(frozenset())

    @precondition(lambda self: self.ledger.open)
    @step(data=st.data())
    def acknowledge(self, data: st.DataObject) -> None:
        alert_id = data.draw(st.sampled_from(sorted(self.ledger.open)))
        was = self.ledger.open[alert_id].alert
        alert, marked = self.core.incidents.acknowledge(alert_id, "ann", None, self.core.now)
        assert alert.acknowledged_by == "ann"
        assert (marked is None) == was.acknowledged
        self.hear([marked] if marked is not None else [])
        self.judge(frozenset())

    @precondition(lambda self: self.ledger.open)
    @step(data=st.data())
    def resolve(self, data: st.DataObject) -> None:
        alert_id = data.draw(st.sampled_from(sorted(self.ledger.open)))
        told = self.ledger.open[alert_id]
        _, ended = self.core.incidents.resolve(alert_id, "ann", None, self.core.now)
        if told.alert.rule:
            self.ledger.quiet.add((told.name, told.alert.labels.get("repository", "")))
        self.hear([ended])
        self.judge(frozenset())

    # What is so after each of them.

    @invariant()
    def what_is_open_is_what_was_told(self) -> None:
        assert {one.alert.id: replace(one.alert, last_seen=0) for one in self.core.incidents} == {
            told.alert.id: replace(told.alert, last_seen=0) for told in self.ledger.open.values()
        }

    @invariant()
    def an_alert_is_stale_while_nobody_can_look(self) -> None:
        if self.is_judged:
            for told in self.ledger.open.values():
                if told.alert.rule:
                    is_blind = self.verdict(told.alert) is None
                    assert (told.alert.stale_since is not None) == is_blind

    @invariant()
    def what_holds_for_long_enough_fires(self) -> None:
        if self.is_judged:
            for told in self.ledger.open.values():
                if told.alert.state is AlertState.PENDING:
                    assert told.unbroken_s < FOR_S[told.name] + LATE_S


TestLaws = pytest.mark.timeout(300)(Laws.TestCase)
TestLaws.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)


def test_a_rule_that_is_judged_by_time_alone_lets_go_of_what_a_person_ended() -> None:
    state = Laws()
    state.begin(names={"Full", "Any", "Critical"})
    state.expect(repositories={"a"})
    state.look_everywhere(after=0, runs=False, value=0.85)
    state.silence(seconds=30)
    state.expect(repositories=set())
    state.suspend(seconds=5)
    ended = next(one for one in state.ledger.open.values() if one.name == "Full")
    state.core.incidents.resolve(ended.alert.id, "ann", None, state.core.now)
    state.ledger.quiet.add(("Full", "a"))
    del state.ledger.open[ended.alert.id]
    state.judge(frozenset())
    state.silence(seconds=91)
    state.expect(repositories={"a"})
    state.look_everywhere(after=0, runs=False, value=0.85)
    assert any(one.name == "Full" for one in state.ledger.open.values())
