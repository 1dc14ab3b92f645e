"""Which metrics an expression names, and what is said of those that nobody knows."""

import pytest

from storewatchd.core.mentions import doubts, named_metrics
from storewatchd.core.promql import parse

KNOWN = frozenset({"node_load5", "node_load1", "repo_used_bytes"})


@pytest.mark.parametrize(
    ("expr", "named"),
    [
        pytest.param("1", {}, id="none"),
        pytest.param("a > 0 or sum(rate(b[5m]))", {"a": 0, "b": 18}, id="everywhere"),
        pytest.param("b + a - a", {"b": 0, "a": 4}, id="the first mention"),
        pytest.param('{__name__="a"}', {"a": 0}, id="by a matcher"),
        pytest.param('{__name__=~"a|b"}', {}, id="by a pattern"),
        pytest.param('{__name__!="a", x="y"}', {}, id="all but one"),
    ],
)
def test_what_an_expression_names_is_found_with_its_place(expr: str, named: dict[str, int]) -> None:
    assert named_metrics(parse(expr)) == named


def test_a_name_that_is_nearly_one_is_told_with_that_one() -> None:
    assert list(doubts(["node_load5", "nod_load5", "zzz"], KNOWN)) == [
        ("nod_load5", "no metric 'nod_load5' is known; did you mean node_load5?"),
        ("zzz", "no metric 'zzz' is known"),
    ]
