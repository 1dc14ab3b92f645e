"""What an evaluation costs: paid for whatever it handles, and no evaluation goes on without it."""

import pytest

from core.promql.table import NOON, Bench, Rows
from storewatchd.core.promql import Plan, parse
from storewatchd.core.promql.budget import MAX_CELLS, Budget
from storewatchd.errors import ExpressionError


def bench(rows: int, *, blind: int = 0) -> Bench:
    """Return a bench with so many rows in each of two families, and so many scopes unseen."""
    found = Bench("a", "b")
    for at in (NOON - 60, NOON - 30, NOON):
        seen: Rows = {(str(row),): 1.0 for row in range(rows)}
        found.see("1", at=at, a=seen, b=seen)
    for number in range(blind):
        found.fail(f"blind {number}")
    return found


def cost(found: Bench, text: str) -> int:
    """Return the fewest cells that an expression is answered for."""
    prepared = Plan(parse(text))
    low, high = 0, MAX_CELLS
    while low < high:
        middle = (low + high) // 2
        try:
            prepared.evaluate(found.table, NOON, cells=middle)
            high = middle
        except ExpressionError:
            low = middle + 1
    return low


def test_a_budget_is_spent_to_its_end_and_no_further() -> None:
    budget = Budget(10)
    budget.spend(4)
    budget.spend(6)
    with pytest.raises(ExpressionError, match="it is too dear: it handles over 10 labels and"):
        budget.spend(1)


@pytest.mark.parametrize(
    "text",
    [
        *("a", '{__name__=~"a|b"}', '{x=~".+"}', "a offset 30s", "max_over_time(a[1m])", "-a"),
        *("a > 0", "a + b", "a and b", "a unless b", "a or b", "sum(a)", "count by (x) (a)"),
        *("absent(a)", 'a{x!="7"}'),
    ],
)
def test_what_is_asked_of_more_rows_costs_more(text: str) -> None:
    few, many = cost(bench(10), text), cost(bench(1010), text)
    assert many >= few + 2 * 1000  # two cells a row at least


@pytest.mark.parametrize(
    "text",
    [
        *("sum by (x, s) (a)", 'a and b{x="0"}', 'a unless b{x="0"}', 'b{x="0"} or a'),
        'a + b{x="0"}',
    ],
)
def test_rows_that_are_held_against_holes_cost_more(text: str) -> None:
    seen, blind = cost(bench(100), text), cost(bench(100, blind=50), text)
    assert blind > seen + 3 * 50 * 90


def test_an_operation_costs_something_even_on_nothing() -> None:
    found = bench(0)
    assert cost(found, "a + b + a + b") > cost(found, "a + b") > cost(found, "a") > 0


def test_a_window_costs_by_its_samples() -> None:
    found = bench(1000)
    assert cost(found, "max_over_time(a[5m])") > cost(found, "max_over_time(a[20s])")


def test_an_expression_of_any_size_ends_at_its_budget() -> None:
    found = bench(500)
    with pytest.raises(ExpressionError, match="too dear"):
        Plan(parse("+".join(["count(a)"] * 90))).evaluate(found.table, NOON, cells=20_000)


def test_what_ran_out_of_budget_can_be_asked_again() -> None:
    found = bench(100)
    prepared = Plan(parse("sum(a)"))
    with pytest.raises(ExpressionError):
        prepared.evaluate(found.table, NOON, cells=cost(found, "sum(a)") - 1)
    (row,) = prepared.evaluate(found.table, NOON).rows
    assert row.value == 100.0
