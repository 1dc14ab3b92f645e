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
    """A set of rows; putting a row with a known id replaces it, and moves it where its place is
    another one."""

    def __init__(self, place: Callable[[RowT], Position]) -> None:
        self._place = place
        self._rows: dict[str, tuple[RowT, Position]] = {}
        self._order: list[Position] = []

    def __len__(self) -> int:
        return len(self._rows)

    def __iter__(self) -> Iterator[RowT]:
        return (row for row, _ in self._rows.values())

    def get(self, row_id: str) -> RowT | None:
        known = self._rows.get(row_id)
        return None if known is None else known[0]

    def put(self, row: RowT) -> None:
        place, known = self._place(row), self._rows.get(row.id)
        if known is None or known[1] != place:
            self.discard(row.id)
            insort(self._order, place)
        self._rows[row.id] = row, place

    def discard(self, row_id: str) -> None:
        known = self._rows.pop(row_id, None)
        if known is not None:
            del self._order[bisect_left(self._order, known[1])]

    def after(self, position: Position | None) -> Iterator[RowT]:
        """Yield the rows that follow a position, newest first; from the start for None.

        Nothing may be put or discarded while the iterator is in use.
        """
        end = len(self._order) if position is None else bisect_left(self._order, position)
        for index in range(end - 1, -1, -1):
            yield self._rows[self._order[index].id][0]
