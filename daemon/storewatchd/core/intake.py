"""How the rows of a look find their places in the series of their family, up to a number."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from storewatchd.core.columns import GONE
from storewatchd.core.frames import Row, Scope
from storewatchd.core.rows import Series
from storewatchd.core.steps import PIECE, Steps


@dataclass(slots=True)
class Room:
    """How many rows there may be in all families, how many there are, and how many found no place
    since the start."""

    most: int
    count: int = 0
    dropped_total: int = 0
    lacking: dict[tuple[str, Scope], int] = field(default_factory=dict)
    """How many rows found no place in the last look of a scope, by family; those of none are not
    here."""

    def note(self, family: str, scope: Scope, dropped: int) -> None:
        """Take how many rows of a family found no place in a look."""
        self.dropped_total += dropped
        self.lacking.pop((family, scope), None)
        if dropped:
            self.lacking[family, scope] = dropped


class Placed(NamedTuple):
    """The rows of a look at one family: the place of each, -1 where it has none, and its value."""

    places: NDArray[np.int64]
    values: NDArray[np.float64]


def found(series: Series, rows: Sequence[Row]) -> Steps[Placed]:
    """Return the places of the rows that the family has already."""
    places = np.empty(len(rows), np.int64)
    values = np.empty(len(rows))
    for start in range(0, len(rows), PIECE):
        piece = rows[start : start + PIECE]
        here = slice(start, start + len(piece))
        places[here] = [series.index.get(row.labels, -1) for row in piece]
        values[here] = [row.value for row in piece]
        yield None
    return Placed(places, values)


def add(series: Series, rows: Sequence[Row], placed: Placed, scope: int, room: Room) -> Steps[int]:
    """Give the rows that have no place one, where there is room; return how many got none. Until
    the look is taken they are not there."""
    dropped = 0
    fresh = np.flatnonzero(placed.places < 0).tolist()
    for start in range(0, len(fresh), PIECE):
        before = len(series)
        for number in fresh[start : start + PIECE]:
            labels = rows[number].labels
            place = series.index.get(labels)  # one that a look has twice is added once
            if place is None and room.count + len(series) - before >= room.most:
                dropped += 1
                continue
            placed.places[number] = series.add(labels, scope) if place is None else place
        room.count += len(series) - before
        yield None
    return dropped


def commit(series: Series, placed: Placed, scope: int, at: float, retention_s: float) -> None:
    """Take a look of a scope: what it has not is not there any more. The columns have room."""
    count = len(series)
    mine = series.there[:count] & (series.scope_of[:count] == scope)
    has_place = placed.places >= 0
    places, values = placed.places[has_place], placed.values[has_place]
    series.there[:count][mine] = False
    series.there[places] = True
    series.scope_of[places] = scope
    series.last[places] = values
    series.columns.open(at, rows=count, retention_s=retention_s)
    series.columns.write(places, values)
    series.columns.mark(np.flatnonzero(mine & ~series.there[:count]), GONE)


def make_room(
    series: Series, placed: Placed, at: float, retention_s: float, room: Room
) -> Steps[None]:
    """See to it that there are columns for a moment and for the rows that `add` gives a place:
    before they have one, since whoever reads meanwhile reads all rows that there are."""
    fresh = int(np.count_nonzero(placed.places < 0))
    columns, count = series.columns, len(series) + min(fresh, max(0, room.most - room.count))
    if columns.lacks_room(at, rows=count, retention_s=retention_s):
        columns.take((yield partial(columns.with_room, rows=count)))


def has_rows(series: Series, scope: int) -> bool:
    """Return whether rows of a scope are there."""
    count = len(series)
    return bool((series.there[:count] & (series.scope_of[:count] == scope)).any())


def smallest_first(names: Iterable[str], rows: Mapping[str, Sequence[Row]]) -> list[str]:
    """Return families in the order in which they get places: what is told of few things, targets
    and devices, comes before what is told of each of their many sessions."""
    return sorted(names, key=lambda name: (len(rows.get(name, ())), name))
