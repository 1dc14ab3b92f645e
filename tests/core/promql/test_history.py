"""The law of three values for what reads the past: offsets, windows and recordings.

A history is some looks at two scopes, each either seen or failed. What a failed look would have
seen is drawn too; the same history with every look seen is the truth, and what is called known
has to be equal in it.
"""

from dataclasses import dataclass

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from core.promql.fix_expressions import expressions
from core.promql.fix_law import assert_lawful
from core.promql.table import NOON, Bench
from storewatchd.core.engine import Engine
from storewatchd.core.incidents import Incidents
from storewatchd.core.model import Instant
from storewatchd.core.rules import RuleFile, load
from storewatchd.errors import ExpressionError

STEP_S = 30.0
FAMILIES = ("a", "b")
PLACES = [(family, x) for family in FAMILIES for x in "xy"]
Cells = dict[tuple[str, str], float]


@dataclass(frozen=True)
class Look:
    """What was there in one scope at one moment, and whether it could be seen."""

    is_seen: bool
    cells: Cells


LOOKS = st.builds(
    Look,
    st.sampled_from([True, True, True, False]),
    st.fixed_dictionaries({}, optional={place: st.sampled_from([0.0, 1.0]) for place in PLACES}),
)
HISTORIES = st.lists(st.tuples(LOOKS, LOOKS), min_size=2, max_size=7)

# Windows so short that one look is more of them than may be missing.
NOW = ["a", "b", 'a{s="1"}', '{__name__=~"a|b"}']
BOUNDED = ["count by (x) (a)", "max by (x) (a)", "min (b)", "2 - max by (x) (b)", "a > max (b)"]
THEN = ["a offset 30s", "b offset 65s", 'a{s="2"} offset 1m35s']
WINDOWS = [
    *("max_over_time(a[1m])", "avg_over_time(b[100s])", "increase(a[90s])", "rate(b[2m])"),
    *('max_over_time({x="x"}[1m])', "increase(a[1m] offset 40s)", "avg_over_time(b[40s])"),
]


def live(bench: Bench, looks: tuple[Look, Look], at: float, *, is_truth: bool) -> None:
    """Have a table take two looks as they were, or as they would have been."""
    for scope, look in zip("12", looks, strict=True):
        if look.is_seen or is_truth:
            found: dict[str, dict[tuple[str, ...], float]] = {family: {} for family in FAMILIES}
            for (family, x), value in look.cells.items():
                found[family][(x,)] = value
            bench.see(scope, at, rows=found)
        else:
            bench.fail(scope, at)


@given(
    text=expressions(st.sampled_from([*NOW, *THEN, *WINDOWS]), labels=("s", "x"), max_leaves=3),
    history=HISTORIES,
    delay_s=st.sampled_from([0.0, 5.0, 29.0]),
)
@settings(max_examples=200, deadline=None)
@pytest.mark.timeout(60)
def test_what_is_called_known_of_the_past_is_true(
    text: str, history: list[tuple[Look, Look]], delay_s: float
) -> None:
    seen, truth = Bench(*FAMILIES), Bench(*FAMILIES)
    at = NOON
    for looks in history:
        at += STEP_S
        live(seen, looks, at, is_truth=False)
        live(truth, looks, at, is_truth=True)
    try:
        answer, real = seen.ask(text, at + delay_s), truth.ask(text, at + delay_s)
    except ExpressionError:
        assume(False)
    assert_lawful(answer, real)


class Recorder:
    """A table with a rule that records over it at each moment."""

    def __init__(self, rule: str) -> None:
        self.bench = Bench(*FAMILIES)
        rules, problems = load([RuleFile("test.yml", rule, "test")])
        assert problems == []
        self.engine = Engine(self.bench.table, Incidents("node", lambda _: "id"), rules)

    def live(self, looks: tuple[Look, Look], at: float, *, is_truth: bool) -> bool:
        """Take two looks and record; return whether that went without an error."""
        live(self.bench, looks, at, is_truth=is_truth)
        self.engine.evaluate(Instant(at, at), frozenset(FAMILIES))
        return self.engine.states[0].error is None


@given(
    recorded=expressions(st.sampled_from([*NOW, *BOUNDED]), labels=("s", "x"), max_leaves=3),
    labels=st.sampled_from(["{}", "{x: z}", "{more: z}", '{s: ""}']),
    text=st.sampled_from(
        [
            *("r", "r offset 30s", "r offset 1m35s", "max_over_time(r[1m])", "absent(r)"),
            *("increase(r[90s])", "sum by (s) (r)", "r unless r offset 30s", "a or on (s) r"),
            *("max by (x) (r offset 30s)", "min (r)", "r > 0", "r offset 30s < bool 1"),
        ]
    ),
    history=HISTORIES,
)
@settings(max_examples=200, deadline=None)
@pytest.mark.timeout(60)
def test_what_is_called_known_of_a_recording_is_true(
    recorded: str, labels: str, text: str, history: list[tuple[Look, Look]]
) -> None:
    rule = f"groups: [{{name: g, rules: [{{record: r, expr: '{recorded}', labels: {labels}}}]}}]"
    seen, truth = Recorder(rule), Recorder(rule)
    at = NOON
    for looks in history:
        at += STEP_S
        seen.live(looks, at, is_truth=False)
        assume(truth.live(looks, at, is_truth=True))
    try:
        answer, real = seen.bench.ask(text, at + 5), truth.bench.ask(text, at + 5)
    except ExpressionError:
        assume(False)
    assert_lawful(answer, real)
