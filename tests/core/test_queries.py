"""Filters and cursors of lists."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.test_model import ALERT, NOON
from storewatchd.core.frames import ObjectKind
from storewatchd.core.matchers import parse_matcher
from storewatchd.core.model import AlertState, Severity
from storewatchd.core.objects import Object
from storewatchd.core.queries import AlertQuery, ObjectPlace, ObjectQuery, Position


@pytest.mark.parametrize(
    ("filters", "admits"),
    [
        ({}, True),
        ({"severities": frozenset({Severity.CRITICAL})}, True),
        ({"severities": frozenset({Severity.INFO})}, False),
        ({"sources": frozenset({"storage", "x"})}, True),
        ({"sources": frozenset({"x"})}, False),
        ({"states": frozenset({AlertState.FIRING})}, True),
        ({"states": frozenset({AlertState.RESOLVED})}, False),
        ({"acknowledged": False}, True),
        ({"acknowledged": True}, False),
        ({"resource_type": ""}, True),
        ({"resource_type": "disk"}, False),
        ({"resource_id": "x"}, False),
        ({"rule": "Full"}, True),
        ({"rule": "Other"}, False),
        ({"since": NOON}, True),
        ({"since": NOON + 1}, False),
        ({"until": NOON}, False),
        ({"until": NOON + 1}, True),
        ({"matchers": (parse_matcher("a=b"), parse_matcher("c!=d"))}, True),
        ({"matchers": (parse_matcher("a=b"), parse_matcher("c=d"))}, False),
        ({"rule": "Full", "acknowledged": True}, False),
    ],
)
def test_filters_combine(filters: dict[str, Any], admits: bool) -> None:
    assert AlertQuery(**filters).admits(ALERT) is admits


def test_a_cursor_is_text_for_an_address() -> None:
    cursor = Position.of(NOON, "0190-a?/ä").encode()
    assert cursor.isascii()
    assert not set(cursor) & set("+/=?&")
    assert Position.decode(cursor) == Position.of(NOON, "0190-a?/ä")


@pytest.mark.parametrize("cursor", ["AAAAAAAAAAAAAAA", "f_________8", "_________________w"])
def test_a_forged_cursor_is_none(cursor: str) -> None:
    with pytest.raises(ValueError, match="not a cursor"):
        Position.decode(cursor)


ROW_IDS = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=60)


@given(st.floats(0, 4e9), ROW_IDS)
def test_a_cursor_survives_its_text(first_seen: float, row_id: str) -> None:
    position = Position.of(first_seen, row_id)
    assert Position.decode(position.encode()) == position


@given(st.text(max_size=40))
def test_any_other_text_is_refused(text: str) -> None:
    try:
        position = Position.decode(text)
    except ValueError:
        return
    assert isinstance(position.first_seen_ms, int)


@pytest.mark.parametrize("text", ["", "x", "!!!!", "é", "AAAA", "/////////////w=="])
def test_what_is_no_cursor_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"cursor|ASCII"):
        Position.decode(text)


def test_positions_are_in_order_of_time_and_then_of_id() -> None:
    assert Position.of(1.0, "b") < Position.of(2.0, "a") < Position.of(2.0, "b")


# Objects.


@pytest.mark.parametrize("place", [("tape_drive", "D1"), ("scst_target", "iscsi/iqn.a:é/1")])
def test_a_place_among_objects_comes_back_from_its_cursor(place: tuple[str, str]) -> None:
    assert ObjectPlace.decode(ObjectPlace(*place).encode()) == place


@pytest.mark.parametrize(
    "cursor",
    ["", "nonsense", "é", "\0", "AAAA", ObjectPlace("a", "b\0").encode(), "_w", "YWJj"],
)
def test_what_no_list_of_objects_gave_is_no_cursor(cursor: str) -> None:
    with pytest.raises(ValueError, match=r"not a cursor that a list gave|ASCII"):
        ObjectPlace.decode(cursor)


def test_filters_of_objects_combine() -> None:
    here = Object(ObjectKind.DISK, "W1", 1, 0.0, 0.0, {}, {"block": {}})
    gone = Object(ObjectKind.DISK, "W2", 1, 0.0, 0.0, {})

    def admitted(**filters: Any) -> list[str]:
        query = ObjectQuery(**filters)
        return [one.id for one in (here, gone) if query.admits(one)]

    assert admitted() == ["W1", "W2"]
    assert admitted(here=True, kind=ObjectKind.DISK) == ["W1"]
    assert admitted(here=False) == ["W2"]
    assert admitted(kind=ObjectKind.CARTRIDGE) == []
