"""Label frames: what a row is called, what it matches by, and what is left of it."""

import pytest

from storewatchd.core.promql.labels import EMPTY, MAX_KEPT, SCALAR, LabelFrame, concatenated
from storewatchd.core.promql.syntax import Matching

FRAME = LabelFrame(("s", "x"), [("1", "a"), ("2", ""), ("1", "b")], ["m", "m", ""])
ALL = Matching(on=False, labels=())


def test_a_row_s_labels_are_those_that_are_not_empty_and_its_name() -> None:
    assert [FRAME.labels(place) for place in range(len(FRAME))] == [
        {"s": "1", "x": "a", "__name__": "m"},
        {"s": "2", "__name__": "m"},
        {"s": "1", "x": "b"},
    ]


def test_a_label_that_is_not_there_is_empty() -> None:
    assert [FRAME.value(1, label) for label in ("s", "x", "missing")] == ["2", "", ""]


@pytest.mark.parametrize(
    ("on", "labels", "signatures"),
    [
        pytest.param(False, (), [("s", "1", "x", "a"), ("s", "2"), ("s", "1", "x", "b")], id="all"),
        pytest.param(False, ("x",), [("s", "1"), ("s", "2"), ("s", "1")], id="ignoring"),
        pytest.param(True, ("x",), [("x", "a"), (), ("x", "b")], id="on"),
        pytest.param(True, ("missing",), [(), (), ()], id="on one that is not there"),
        pytest.param(
            True, ("__name__",), [("__name__", "m"), ("__name__", "m"), ()], id="on the name"
        ),
        pytest.param(False, ("__name__", "s"), [("x", "a"), (), ("x", "b")], id="not the name"),
    ],
)
def test_rows_match_by_the_labels_that_take_part(
    on: bool, labels: tuple[str, ...], signatures: list[tuple[str, ...]]
) -> None:
    matching = Matching(on=on, labels=labels)
    assert FRAME.signatures(matching) == signatures
    assert FRAME.signatures(matching) is FRAME.signatures(matching)


def test_labels_in_another_order_match_the_same() -> None:
    turned = LabelFrame(("x", "s"), [("a", "1")], [""])
    assert turned.signatures(ALL) == FRAME.signatures(ALL)[:1]


def test_rows_without_names_are_kept_as_they_are() -> None:
    assert FRAME.nameless.metric == ["", "", ""]
    assert FRAME.nameless is FRAME.nameless
    assert FRAME.nameless.nameless is FRAME.nameless


@pytest.mark.parametrize(
    ("on", "labels", "names", "metric"),
    [
        pytest.param(True, ("x",), ("x",), "", id="on"),
        pytest.param(False, ("x",), ("s",), "", id="ignoring"),
        pytest.param(False, ("missing",), ("s", "x"), "", id="ignoring nothing"),
        pytest.param(True, ("__name__",), (), "m", id="on the name"),
        pytest.param(True, ("__name__", "s", "x"), ("s", "x"), "m", id="on everything"),
    ],
)
def test_what_is_left_are_the_labels_that_take_part(
    on: bool, labels: tuple[str, ...], names: tuple[str, ...], metric: str
) -> None:
    kept = FRAME.keeping(Matching(on=on, labels=labels))
    assert kept.names == names
    assert kept.rows[0] == tuple(FRAME.value(0, name) for name in names)
    assert kept.metric[0] == metric


def test_rows_are_the_same_where_labels_and_name_are() -> None:
    assert not FRAME.has_duplicates
    twins = LabelFrame(("s", "x"), [("1", ""), ("1", "")], ["m", "n"])
    assert not twins.has_duplicates
    assert twins.nameless.has_duplicates


def test_of_ever_other_matches_only_the_last_ones_are_kept() -> None:
    frame = LabelFrame(("s",), [("1",), ("2",)], ["m", "m"])
    for number in range(3 * MAX_KEPT):
        groups, _ = frame.grouped(Matching(on=True, labels=(f"other{number}",)))
        assert len(groups) == 1
    assert len(frame._grouped) == len(frame._signatures) == MAX_KEPT
    last = Matching(on=True, labels=(f"other{3 * MAX_KEPT - 1}",))
    assert frame.grouped(last) is frame.grouped(last)


def test_frames_together_have_the_labels_of_all() -> None:
    other = LabelFrame(("y", "s"), [("c", "3")], ["n"])
    both = concatenated([FRAME, other])
    assert both.names == ("s", "x", "y")
    assert [both.labels(place) for place in (0, 3)] == [
        FRAME.labels(0),
        {"s": "3", "y": "c", "__name__": "n"},
    ]
    assert concatenated([FRAME]) is FRAME


def test_a_scalar_is_one_row_without_labels_and_nothing_is_none() -> None:
    assert (SCALAR.labels(0), len(SCALAR), len(EMPTY)) == ({}, 1, 0)
