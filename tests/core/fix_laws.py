"""A node of which only the core is there, and what may be known of the machine that it watches.

`Core` is fed as the single writer feeds it, and keeps a dictionary for what the journal keeps.
`World` works out for itself which conditions hold, do not hold, or could not be looked at.
"""

import itertools
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

import msgspec

from core.fix_engine import FULL, MAX_AGE_S, NOON, rule_set
from storewatchd.core.clocks import passed
from storewatchd.core.engine import Engine
from storewatchd.core.frames import Frame, Outcome, Row, Scope
from storewatchd.core.incidents import Incidents
from storewatchd.core.model import Alert, Instant, Transition
from storewatchd.core.rules import RuleSet
from storewatchd.core.series import SeriesTable

REPOSITORIES = "abc"
FOR_S = {"Full": 20.0, "Critical": 0.0, "Any": 130.0, "Missing": 0.0, "Worst": 45.0}
KEEP_S = {"Full": 15.0, "Critical": 0.0, "Any": 0.0, "Missing": 40.0, "Worst": 0.0}
"""How long a condition must hold, and has to be over, by what a rule is called here."""

RULES = {
    "Full": "alert: Full\n    expr: full > 0.8\n    for: 20s\n    keep_firing_for: 15s",
    "Critical": "alert: Full\n    expr: full > 0.9\n    labels: {severity: critical}",
    "Any": "alert: Any\n    expr: max(full) > 0.8\n    for: 130s",
    "Missing": 'alert: Missing\n    expr: absent(full{repository="a"})\n    keep_firing_for: 40s',
    "Worst": "alert: Worst\n    expr: worst > 0.8\n    for: 45s",
}
_RECORD = "  - record: worst\n    expr: max by (repository) (full)\n"


def rules_of(names: Iterable[str]) -> RuleSet:
    """Return the rules that are called so."""
    wanted = sorted(names)
    record = _RECORD if "Worst" in wanted else ""
    text = "".join(f"  - {RULES[name]}\n" for name in wanted)
    return rule_set(f"groups:\n- name: g\n  rules:\n{record}{text}" if wanted else "groups: []")


def rule_of(alert: Alert) -> str:
    """Return what the rule of an alert is called here."""
    return "Critical" if alert.severity == "critical" else alert.rule


def scope_of(repository: str) -> Scope:
    return Scope("probe", (("repository", repository),))


@dataclass(slots=True)
class Look:
    """What the last look at a repository saw: its value, None where there is no such thing."""

    value: float | None
    at: float  # monotonic


@dataclass
class World:
    """What the node could know at a moment."""

    expected: set[str]
    looks: dict[str, Look] = field(default_factory=dict)

    def known(self, repository: str, at: float) -> bool:
        look = self.looks.get(repository)
        return look is not None and at - look.at <= MAX_AGE_S

    def next_lapse(self, after: float) -> float:
        """Return when the next look stops to hold."""
        ends = (look.at + MAX_AGE_S for look in self.looks.values())
        return min((end for end in ends if end >= after), default=float("inf"))

    def verdict(self, name: str, labels: Mapping[str, str], at: float) -> bool | None:
        """Return whether the condition of a rule holds for an alert; None: nobody can know."""
        if name == "Any":
            values = [self._over(one, 0.8, at) for one in self.expected]
            return True if True in values else (None if None in values else False)
        repository = labels["repository"]
        if name == "Missing":
            is_there = self._over(repository, -1.0, at)
            return None if is_there is None else not is_there
        return self._over(repository, 0.9 if name == "Critical" else 0.8, at)

    def stretches(
        self, name: str, labels: Mapping[str, str], start: float, end: float
    ) -> Iterator[tuple[float, bool | None]]:
        """Yield the lengths of the parts of a time without looks, with the verdict of each."""
        ends = {look.at + MAX_AGE_S for look in self.looks.values()}
        moments = sorted({start, end, *(one for one in ends if start < one < end)})
        for earlier, later in itertools.pairwise(moments):
            yield later - earlier, self.verdict(name, labels, (earlier + later) / 2)

    def _over(self, repository: str, limit: float, at: float) -> bool | None:
        if repository not in self.expected:
            return False
        if not self.known(repository, at):
            return None
        value = self.looks[repository].value
        return value is not None and value > limit


class Core:
    """Table, books and engine, rounds of the single writer, and what is kept over a restart."""

    def __init__(self) -> None:
        self.now = Instant(NOON, 1000.0)
        self.before = self.now
        self.kept: dict[str, bytes] = {}
        self.rules = rules_of(RULES)
        self._ids = 0
        self._expected: tuple[Scope, ...] = ()
        self._start()

    def _new_id(self, _: float) -> str:
        self._ids += 1
        return f"id-{self._ids}"

    def _start(self) -> None:
        self.table = SeriesTable()
        self.table.declare("probe", (FULL,), max_age_s=MAX_AGE_S)
        self.incidents = Incidents("node", self._new_id)
        self.incidents.restore(map(msgspec.json.decode, self.kept.values()), self.now)
        self.engine = Engine(self.table, self.incidents, self.rules)
        self.before = self.now

    def restart(self, *, away_s: float, jump_s: float, boot: float) -> None:
        """Start anew from what is kept, with a clock that counts from another boot."""
        self.now = Instant(self.now.wall + away_s + jump_s, boot)
        self._start()

    def pass_clocks(self) -> None:
        """Go along with a wall clock that was set since the last round, and with suspend."""
        happened = passed(self.before, self.now)
        self.before = self.now
        if happened.jumped_s:
            self.table.shift(happened.jumped_s)
        if any(happened):
            self.incidents.redate(self.now)

    def decide(self, touched: frozenset[str] = frozenset()) -> list[Transition]:
        """End a round: let time do what it does, and write down what changed."""
        found = self.incidents.expire(self.now)
        found += self.engine.evaluate(self.now, touched)
        self.write()
        return found

    def write(self) -> None:
        """Write down what changed."""
        for key, state in self.incidents.take_changes().items():
            if state is None:
                self.kept.pop(key, None)
            else:
                self.kept[key] = msgspec.json.encode(state)

    def expect(self, repositories: Iterable[str]) -> frozenset[str]:
        return self.table.expect("probe", [scope_of(one) for one in sorted(repositories)])

    def look(self, repository: str, outcome: Outcome, value: float | None) -> frozenset[str]:
        rows = {} if value is None else {"full": [Row((repository,), value)]}
        return self.table.feed(Frame(scope_of(repository), self.now.wall, outcome, rows))
