"""The law of three values, against brute force: what is called known is equal in every completion.

A table with failed scopes stands for all the tables in which those scopes hold anything. Every
completion over a small universe is built as a fully seen table and asked the same question.
"""

import itertools
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.promql.fix_expressions import expressions
from core.promql.table import Bench
from storewatchd.core.holes import is_compatible
from storewatchd.core.promql import Result
from storewatchd.errors import ExpressionError

FAMILIES = ("a", "b")
PLACES = [(scope, family, x) for scope in "12" for family in FAMILIES for x in "xy"]
VALUES = (0.0, 1.0)

LEAVES = st.sampled_from(
    [
        *("a", "b", 'a{s="1"}', 'b{x="x"}', 'a{x!="y"}', 'b{s=~"2|3"}', 'a{s!~"2"}'),
        *('{__name__=~"a|b"}', '{x="x"}', "1", "time()"),
    ]
)


EXPRESSIONS = expressions(LEAVES, labels=("s", "x"))
SEEN = st.fixed_dictionaries({}, optional={place: st.sampled_from(VALUES) for place in PLACES})


def table_of(cells: dict[tuple[str, str, str], float], failed: frozenset[str]) -> Bench:
    bench = Bench(*FAMILIES)
    for scope in "12":
        found: dict[str, dict[tuple[str, ...], float]] = {family: {} for family in FAMILIES}
        for (where, family, x), value in cells.items():
            if where == scope:
                found[family][(x,)] = value
        bench.see(scope, rows=found)
        if scope in failed:
            bench.fail(scope)
    return bench


def completions(
    cells: dict[tuple[str, str, str], float], failed: frozenset[str]
) -> Iterator[dict[tuple[str, str, str], float]]:
    """Yield every content that the failed scopes may have, over the universe of places."""
    known = {place: value for place, value in cells.items() if place[0] not in failed}
    hidden = [place for place in PLACES if place[0] in failed]
    for choice in itertools.product((None, *VALUES), repeat=len(hidden)):
        filled = {
            place: value for place, value in zip(hidden, choice, strict=True) if value is not None
        }
        yield known | filled


def rows_of(result: Result) -> dict[tuple[tuple[str, str], ...], float]:
    return {tuple(sorted(row.labels.items())): row.value for row in result.rows}


@given(text=EXPRESSIONS, cells=SEEN, failed=st.sampled_from(["1", "2"]))
@settings(max_examples=150, deadline=None)
@pytest.mark.timeout(120)  # 81 completions for each of 150 examples
def test_what_is_called_known_is_equal_in_every_completion(
    text: str, cells: dict[tuple[str, str, str], float], failed: str
) -> None:
    blind = frozenset({failed})
    try:
        answer = table_of(cells, blind).ask(text)
    except ExpressionError:
        return  # it fails on what is surely there, whatever is hidden
    exact = {tuple(sorted(row.labels.items())): row.value for row in answer.rows if row.exact}
    possible = {tuple(sorted(row.labels.items())) for row in answer.rows}
    for filled in completions(cells, blind):
        try:
            truth = rows_of(table_of(filled, frozenset()).ask(text))
        except ExpressionError:
            continue  # no value at all in this completion
        for labels, value in exact.items():
            assert truth.get(labels) == pytest.approx(value, nan_ok=True), (text, filled)
        for labels in truth.keys() - possible:
            # A row that was not even thought possible must lie in a hole.
            plain = {name: value for name, value in labels if name != "__name__"}
            assert any(is_compatible(hole, plain) for hole in answer.holes), (text, filled)
