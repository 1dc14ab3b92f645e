"""Objects of the core go through plain values and come back the same."""

from typing import Any

import msgspec
import numpy as np
import pytest

from core.fix_engine import NOON, Desk, rule
from storewatchd.core.frames import Frame, Outcome, Row, Scope
from storewatchd.core.freeze import freeze, thaw
from storewatchd.core.model import Severity
from storewatchd.core.repositories import RepositoryBook
from storewatchd.errors import RecordingError


def through(value: Any) -> Any:
    """Freeze, write, read and thaw a value, as a recording does."""
    return thaw(msgspec.msgpack.decode(msgspec.msgpack.encode(freeze(value))))


@pytest.mark.parametrize(
    "value",
    [
        pytest.param(value, id=repr(value))
        for value in (
            *(None, True, 3, 0.1, float("inf"), "text", b"bytes", [1, [2]], (1, ("a",))),
            *({"a": {("b", 1): [None]}}, frozenset({"a", "b"}), Severity.WARNING),
            Scope("probe", (("a", "b"),)),
        )
    ],
)
def test_a_value_comes_back_equal(value: Any) -> None:
    found = through(value)
    assert found == value
    assert type(found) is type(value)


def test_arrays_come_back_with_their_type_and_can_be_written() -> None:
    array = np.array([[1.0, np.nan], [3.0, 4.0]])
    found = through({"a": array, "scalar": np.float64(2.5)})
    assert np.array_equal(found["a"], array, equal_nan=True)
    found["a"][0, 0] = 7
    assert found["scalar"] == 2.5


def test_a_table_goes_on_as_if_nothing_had_been() -> None:
    desk = Desk(rule("max_over_time(full[60s]) > 0.8"))
    for _ in range(3):
        desk.see({"a": 0.9, "b": 0.1})
        desk.later(30)
    table = through(desk.table)
    assert table.read("full", desk.now.wall) == desk.table.read("full", desk.now.wall)
    assert table.scopes() == desk.table.scopes()
    for one in (table, desk.table):
        one.feed(Frame(Scope("probe"), NOON + 95, rows={"full": [Row(("b",), 0.5)]}))
        one.feed(Frame(Scope("probe"), NOON + 96, Outcome.FAILED))
    assert freeze(table) == freeze(desk.table)


def test_books_with_slots_and_without_come_back() -> None:
    book = RepositoryBook()
    book.declare([("daily", "/srv")])
    book.note_mount_point("/srv", "/srv")
    found = through(book)
    assert list(found) == list(book)
    desk = Desk(rule())
    desk.see({"a": 0.9})
    assert through(desk.incidents.dump()) == desk.incidents.dump()


def test_what_is_not_of_the_core_is_refused() -> None:
    with pytest.raises(TypeError, match="object cannot be frozen"):
        freeze({"a": object()})


@pytest.mark.parametrize(
    "told",
    [
        pytest.param(["object", "Popen", "args", ["list", "sh"]], id="another-class"),
        pytest.param(["enum", "Severity", "awful"], id="another-value"),
        pytest.param(["array", "|O", [1], b"12345678"], id="array-of-objects"),
        pytest.param(["array", "<f8", [3], b"short"], id="short-array"),
        pytest.param(["nonsense"], id="another-kind"),
        pytest.param([], id="nothing"),
        pytest.param(["dict", "a"], id="half-a-pair"),
        pytest.param(["object", "Scope", "nonsense", 1], id="another-attribute"),
    ],
)
def test_what_was_never_frozen_is_refused(told: Any) -> None:
    with pytest.raises(RecordingError, match="cannot be read"):
        thaw(told)


def test_what_is_nested_without_end_is_refused() -> None:
    told: Any = 1
    for _ in range(200):
        told = ["list", told]
    with pytest.raises(RecordingError, match="too deep"):
        thaw(told)
