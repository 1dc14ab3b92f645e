"""The law of three values, against brute force: what is called known is so in every completion.

A table with failed scopes stands for all the tables in which those scopes hold anything. Every
completion over a small universe is built as a fully seen table and asked the same question.
"""

import itertools
import math
from collections.abc import Iterator, Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.promql.fix_expressions import ARITHMETIC, COMPARISONS, SET_OPERATORS, expressions
from core.promql.fix_law import assert_lawful
from core.promql.table import Bench
from storewatchd.errors import ExpressionError

FAMILIES = ("a", "b")
PLACES = [(scope, family, x) for scope in "12" for family in FAMILIES for x in "xy"]
VALUES = st.sampled_from([0.0, 1.0, 2.0, -1.0, 0.5, math.nan, math.nan, math.inf, -math.inf])

LEAVES = [
    *("a", "b", 'a{s="1"}', 'b{x="x"}', 'a{x!="y"}', 'b{s=~"2|3"}', 'a{s!~"2"}'),
    *('{__name__=~"a|b"}', '{x="x"}', "1", "time()"),
]
BOUNDED = [
    *("count by (x) (a)", "count(b)", "max by (x) (a)", "max by (s, x) (b)", "min by (x) (a)"),
    *("max(a)", "min(b)", "-max by (x) (b)", "min by (x) (a * 0)", "0", "-2", "0.5"),
]

Place = tuple[str, str, str]
Cells = dict[Place, float]
SEEN = st.fixed_dictionaries({}, optional=dict.fromkeys(PLACES, VALUES))


def table_of(cells: Cells, failed: str = "") -> Bench:
    bench = Bench(*FAMILIES)
    for scope in "12":
        found: dict[str, dict[tuple[str, ...], float]] = {family: {} for family in FAMILIES}
        for (where, family, x), value in cells.items():
            if where == scope:
                found[family][(x,)] = value
        bench.see(scope, rows=found)
        if scope == failed:
            bench.fail(scope)
    return bench


def completions(cells: Cells, failed: str, hidden: Sequence[float]) -> Iterator[Cells]:
    """Yield every content that the failed scope may have, over the universe of places."""
    known = {place: value for place, value in cells.items() if place[0] != failed}
    unseen = [place for place in PLACES if place[0] == failed]
    for choice in itertools.product((None, *hidden), repeat=len(unseen)):
        filled = zip(unseen, choice, strict=True)
        yield known | {place: value for place, value in filled if value is not None}


def assert_lawful_in_every_completion(
    text: str, cells: Cells, failed: str, hidden: Sequence[float]
) -> None:
    try:
        answer = table_of(cells, failed).ask(text)
    except ExpressionError:
        return  # it fails on what is surely there, whatever is hidden
    for filled in completions(cells, failed, hidden):
        try:
            truth = table_of(filled).ask(text)
        except ExpressionError:
            continue  # no value at all in this completion
        assert_lawful(answer, truth)


@st.composite
def bounded(draw: st.DrawFn) -> str:
    """Return an expression over what only bounds are known of, as far as it is made for that."""
    number = st.sampled_from(["0", "1", "-1", "2", "-0.5"])
    bound = st.tuples(
        st.sampled_from(["count", "max", "min", "-max", "2 - min"]), st.sampled_from("ab")
    ).map(lambda parts: f"{parts[0]} by (x) ({parts[1]})")
    operators = st.sampled_from(
        [*ARITHMETIC, *COMPARISONS, *(f"{sign} bool" for sign in COMPARISONS), *SET_OPERATORS]
    )
    text = draw(bound)
    for _ in range(draw(st.integers(1, 2))):
        operator = draw(operators)
        other = draw(bound if operator in SET_OPERATORS else number | bound)
        if draw(st.booleans()) and operator not in SET_OPERATORS:
            text, other = other, text
        text = f"({text}) {operator} ({other})"
    wrapper = draw(st.sampled_from(["", "", "-", "max", "min", "count", "absent", "sum by (x)"]))
    return f"{wrapper} ({text})"


@given(
    text=bounded(),
    cells=st.fixed_dictionaries(dict.fromkeys([("1", "a", "x"), ("1", "b", "x")], VALUES)),
    hidden=st.tuples(VALUES, VALUES),
)
@settings(max_examples=200, deadline=None)
@pytest.mark.timeout(120)  # 81 completions for each example
def test_bounds_hold_in_every_completion(
    text: str, cells: Cells, hidden: tuple[float, float]
) -> None:
    assert_lawful_in_every_completion(text, cells, "2", hidden)


@given(
    text=expressions(st.sampled_from(LEAVES), labels=("s", "x"))
    | expressions(st.sampled_from([*LEAVES, *BOUNDED]), labels=("s", "x"), max_leaves=3)
    | expressions(st.sampled_from(BOUNDED), labels=("s", "x"), max_leaves=3),
    cells=SEEN,
    failed=st.sampled_from("12"),
    hidden=st.tuples(VALUES, VALUES),
)
@settings(max_examples=200, deadline=None)
@pytest.mark.timeout(120)  # 81 completions for each example
def test_what_is_called_known_is_so_in_every_completion(
    text: str, cells: Cells, failed: str, hidden: tuple[float, float]
) -> None:
    assert_lawful_in_every_completion(text, cells, failed, hidden)
