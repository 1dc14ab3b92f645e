"""A family goes through an image and comes back; what is damaged is refused."""

from collections.abc import Callable
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.fix_engine import FULL, NOON
from storewatchd.core import images
from storewatchd.core.frames import Frame, Outcome, Row, Scope
from storewatchd.core.freeze import freeze
from storewatchd.core.images import Image, rebuilt
from storewatchd.core.rows import Series
from storewatchd.core.series import SeriesTable
from storewatchd.core.steps import PIECE
from storewatchd.errors import RecordingError

REFUSED = (KeyError, TypeError, ValueError, RecordingError)


def fed(looks: int = 3, rows: int = 2) -> SeriesTable:
    table = SeriesTable()
    table.declare("probe", (FULL,), max_age_s=90.0)
    for turn in range(looks):
        found = [Row((str(number),), float(number + turn)) for number in range(rows)]
        table.feed(Frame(Scope("probe"), NOON + 30 * turn, rows={FULL.name: found}))
    return table


def family(table: SeriesTable) -> Series:
    series = table.series(FULL.name)
    assert series is not None
    return series


def told(image: Image) -> list[dict[str, Any]]:
    """Return an image's pieces as a file has them."""
    return [msgspec.msgpack.decode(msgspec.msgpack.encode(one)) for one in image.pieces()]


@pytest.mark.parametrize(
    ("looks", "rows"), [(0, 0), (3, 0), (1, 1), (3, 2), (40, 3), (2, 2 * PIECE + 1)]
)
def test_a_family_comes_back(looks: int, rows: int) -> None:
    before = family(fed(looks, rows))
    after = rebuilt(iter(told(Image(before))))
    assert (after.family, after.probe) == (before.family, before.probe)
    assert (after.labels, after.index) == (before.labels, before.index)
    for name in ("scope_of", "there", "last", "states"):
        assert getattr(after, name).tolist() == getattr(before, name)[: len(before)].tolist()
    assert freeze(after.holes) == freeze(before.holes)
    assert after.columns.kept_since == before.columns.kept_since
    mine, theirs = (one.columns.window(0, np.inf, len(before)) for one in (after, before))
    assert mine.times.tolist() == theirs.times.tolist()
    assert mine.values.tolist() == theirs.values.tolist()
    assert mine.marks.tolist() == theirs.marks.tolist()


@pytest.mark.parametrize("later_s", [90, -300], ids=["later", "before all others"])
def test_an_image_stays_what_it_was_while_looks_are_taken(later_s: float) -> None:
    table = fed()
    image, same = Image(family(table)), Image(family(table))
    before = told(same)
    rows = {FULL.name: [Row((str(number),), 99.0) for number in range(2)]}
    table.feed(Frame(Scope("probe"), NOON + later_s, rows=rows))
    assert told(image) == before


def test_a_family_that_came_back_goes_on() -> None:
    series = rebuilt(iter(told(Image(family(fed())))))
    for number in range(20):
        place = series.add((f"new {number}",), 0)
        series.columns.open(NOON + 100 + number, rows=len(series), retention_s=3600)
        series.columns.write(np.array([place]), np.array([1.0]))
    assert len(series.columns.window(0, np.inf, len(series)).times) == 23


def test_an_image_is_what_was_so_when_it_was_made(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(images, "PIECE_BYTES", 1)
    table = fed(3, 2)
    before = told(Image(family(table)))
    image = Image(family(table))
    pieces = image.pieces()
    first = next(pieces)
    # Into the newest column, with another row, and with a row that is gone.
    rows = {FULL.name: [Row(("0",), 77.0), Row(("new",), 78.0)]}
    table.feed(Frame(Scope("probe"), NOON + 60.5, rows=rows))
    table.feed(Frame(Scope("probe"), NOON + 90, Outcome.FAILED))
    after = [msgspec.msgpack.decode(msgspec.msgpack.encode(one)) for one in (first, *pieces)]
    assert after == before
    assert len(after) == 5


def damage(**changes: Any) -> Callable[[list[dict[str, Any]]], None]:
    return lambda pieces: pieces[0].update(changes)


@pytest.mark.parametrize(
    "spoil",
    [
        pytest.param(lambda pieces: pieces.clear(), id="nothing"),
        pytest.param(lambda pieces: pieces.pop(), id="no samples"),
        pytest.param(lambda pieces: pieces.pop(1), id="no labels"),
        pytest.param(lambda pieces: pieces[1].update(labels=[["a"], ["a"]]), id="a row twice"),
        pytest.param(lambda pieces: pieces[2].update(marks=b""), id="no marks"),
        pytest.param(lambda pieces: pieces[2].update(values=b"1234"), id="half a value"),
        pytest.param(damage(last=b""), id="no values"),
        pytest.param(damage(times=b"123"), id="half a time"),
        pytest.param(damage(rows="2"), id="no number"),
        pytest.param(damage(family=["object", "Nothing"]), id="no family"),
    ],
)
def test_what_is_no_image_is_refused(spoil: Callable[[list[dict[str, Any]]], None]) -> None:
    pieces = told(Image(family(fed())))
    spoil(pieces)
    with pytest.raises(REFUSED):
        rebuilt(iter(pieces))


@given(
    st.lists(
        st.dictionaries(
            st.sampled_from(["family", "probe", "rows", "holes", "times", "labels", "values"]),
            st.one_of(st.integers(-3, 3), st.text(max_size=3), st.binary(max_size=9)),
        ),
        max_size=3,
    )
)
def test_garbage_is_refused(pieces: list[dict[str, Any]]) -> None:
    with pytest.raises(REFUSED):
        rebuilt(iter(pieces))
