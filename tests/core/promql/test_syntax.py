"""Nodes: what takes part in a match, and what is inside what."""

import pytest

from storewatchd.core.promql import parse
from storewatchd.core.promql.syntax import Matching, children


@pytest.mark.parametrize(
    ("matching", "kept", "keeps_metric"),
    [
        pytest.param(Matching(on=True, labels=("a",)), ["a"], False, id="on"),
        pytest.param(Matching(on=False, labels=("a",)), ["b"], False, id="ignoring"),
        pytest.param(Matching(on=True, labels=("__name__",)), [], True, id="on the name"),
        pytest.param(
            Matching(on=False, labels=("__name__",)), ["a", "b"], False, id="ignoring the name"
        ),
    ],
)
def test_a_match_keeps_what_it_names_or_all_else(
    matching: Matching, kept: list[str], keeps_metric: bool
) -> None:
    assert [label for label in ("a", "b") if matching.keeps(label)] == kept
    assert matching.keeps_metric is keeps_metric


@pytest.mark.parametrize(
    ("text", "starts"),
    [
        pytest.param("1", [], id="number"),
        pytest.param("a", [], id="selector"),
        pytest.param("-a", [1], id="negation"),
        pytest.param("a + b", [0, 4], id="binary"),
        pytest.param("sum(a)", [4], id="aggregate"),
        pytest.param("rate(a[5m])", [5], id="call"),
        pytest.param("time()", [], id="call without arguments"),
    ],
)
def test_every_node_knows_what_is_directly_inside_it(text: str, starts: list[int]) -> None:
    assert [child.start for child in children(parse(text))] == starts
