"""An engine over one probe's families, fed by hand, with time as a value."""

from collections.abc import Mapping
from typing import Any

from storewatchd.core.engine import Engine
from storewatchd.core.frames import Family, Frame, MetricType, Outcome, Row, Scope
from storewatchd.core.incidents import Incident, Incidents
from storewatchd.core.model import Instant, Transition
from storewatchd.core.rules import RuleFile, RuleSet, load
from storewatchd.core.series import SeriesTable

NOON = 1_767_268_800.0
MAX_AGE_S = 90.0
FULL = Family("full", MetricType.GAUGE, "How full it is.", ("repository",))


def rule_set(text: str) -> RuleSet:
    """Return the rules of a file's text; it has no problem."""
    rules, problems = load([RuleFile("test.yml", text, "test")])
    assert problems == []
    return rules


def rule(expr: str = "full > 0.8", **more: Any) -> str:
    """Return a rule file with one alert rule named Full."""
    lines = [f"      {name}: {value}" for name, value in more.items()]
    return "\n".join(
        ["groups:", "  - name: g", "    rules:", "    - alert: Full", f"      expr: {expr}", *lines]
    )


class Desk:
    """An engine, its table and its book, and a clock that stands still until it is moved."""

    def __init__(self, text: str, *, families: tuple[Family, ...] = (FULL,)) -> None:
        self.now = Instant(NOON, 1000.0)
        self.table = SeriesTable()
        self.table.declare("probe", families, max_age_s=MAX_AGE_S)
        self._scopes = {Scope("probe")}
        self.rules = rule_set(text)
        self._ids = 0
        self._kept: dict[str, Any] = {}
        self.incidents = Incidents("node", self._new_id)
        self.engine = Engine(self.table, self.incidents, self.rules)

    def _new_id(self, _: float) -> str:
        self._ids += 1
        return f"id-{self._ids}"

    def later(self, seconds: float) -> "Desk":
        self.now = self.now.later(seconds)
        return self

    def see(self, rows: Mapping[str, float], family: str = "full") -> list[Transition]:
        """Report every row of the probe, and judge."""
        found = [Row((name,), value) for name, value in rows.items()]
        frame = Frame(Scope("probe"), self.now.wall, rows={family: found})
        return self.judge(self.table.feed(frame))

    def fail(self) -> list[Transition]:
        """Report that the probe could not look, and judge."""
        frame = Frame(Scope("probe"), self.now.wall, Outcome.FAILED, reason="stuck")
        return self.judge(self.table.feed(frame))

    def judge(self, touched: frozenset[str] | set[str] = frozenset({"full"})) -> list[Transition]:
        return self.engine.evaluate(self.now, frozenset(touched))

    def restart(self, rules: RuleSet | None = None) -> None:
        """Start anew from what the journal keeps, with other rules where they are given; a new
        table has seen nothing yet."""
        kept = self._journal()
        wall = self.now.wall
        self.now = Instant(wall, 5.0)  # another boot: another monotonic clock
        table = SeriesTable()
        table.declare("probe", (FULL,), max_age_s=MAX_AGE_S)
        table.expect("probe", [Scope("probe")])
        self.table = table
        self.incidents = Incidents("node", self._new_id)
        self.incidents.restore(kept.values(), self.now)
        self.engine = Engine(table, self.incidents, self.rules if rules is None else rules)

    def _journal(self) -> dict[str, Any]:
        for key, state in self.incidents.take_changes().items():
            if state is None:
                self._kept.pop(key, None)
            else:
                self._kept[key] = state
        return self._kept

    @property
    def open(self) -> list[Incident]:
        return sorted(self.incidents, key=lambda one: one.key)


def kinds(transitions: list[Transition]) -> list[str]:
    return [one.kind for one in transitions]
