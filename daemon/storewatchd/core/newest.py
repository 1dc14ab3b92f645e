"""Rows by id, ordered by first sight, newest first: the part of a list that memory holds."""

from bisect import bisect_left, insort
from collections.abc import Callable, Iterator
from typing import Generic, Protocol, TypeVar

from storewatchd.core.queries import Position


class Identified(Protocol):
    """Anything with an id that never changes."""

    @property
    def id(self) -> str: ...


RowT = TypeVar("RowT", bound=Identified)


class NewestFirst(Generic[RowT]):
    """A set of rows; putting a row with a known id replaces it in its place."""

    def __init__(self, place: Callable[[RowT], Position]) -> None:
        self._place = place
        self._rows: dict[str, RowT] = {}
        self._order: list[Position] = []

    def __len__(self) -> int:
        return len(self._rows)

    def __iter__(self) -> Iterator[RowT]:
        return iter(self._rows.values())

    def get(self, row_id: str) -> RowT | None:
        return self._rows.get(row_id)

    def put(self, row: RowT) -> None:
        if row.id not in self._rows:
            insort(self._order, self._place(row))
        self._rows[row.id] = row

    def discard(self, row_id: str) -> None:
        row = self._rows.pop(row_id, None)
        if row is not None:
            del self._order[bisect_left(self._order, self._place(row))]

    def after(self, position: Position | None) -> Iterator[RowT]:
        """Yield the rows that follow a position, newest first; from the start for None.

        Nothing may be put or discarded while the iterator is in use.
        """
        end = len(self._order) if position is None else bisect_left(self._order, position)
        for index in range(end - 1, -1, -1):
            yield self._rows[self._order[index].id]
