"""The rows of one metric family: their labels, which of them are there, and their samples."""

from collections.abc import Iterable
from dataclasses import replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from storewatchd.core.columns import LOST, Arrays, Columns
from storewatchd.core.frames import Family
from storewatchd.core.holes import Holes
from storewatchd.core.rowstate import RowState


class Series:
    """One family's rows: labels and the columns of their samples."""

    def __init__(self, family: Family, probe: str) -> None:
        self.family = family
        self.probe = probe
        self.columns = Columns()
        self.labels: list[tuple[str, ...]] = []
        self.index: dict[tuple[str, ...], int] = {}
        self.scope_of: NDArray[np.int32] = np.zeros(0, np.int32)
        self.there: NDArray[np.bool_] = np.zeros(0, np.bool_)
        self.last: NDArray[np.float64] = np.zeros(0)
        self.states: NDArray[np.int8] = np.zeros(0, np.int8)  # EXACT but for recorded rows
        self.holes = Holes()  # beside those of its scopes: recorded, or for want of a place
        self.rows_version = 0  # grows when rows are added or dropped

    def __len__(self) -> int:
        return len(self.labels)

    def labels_of(self, place: int) -> dict[str, str]:
        """Return a row's labels, empty ones too."""
        return dict(zip(self.family.labels, self.labels[place], strict=True))

    def add(self, labels: tuple[str, ...], scope: int) -> int:
        """Return the place of a new row."""
        place = len(self.labels)
        self.labels.append(labels)
        self.index[labels] = place
        if place == len(self.last):
            grown = max(16, 2 * place)
            self.scope_of = np.resize(self.scope_of, grown)
            self.there = _grown(self.there, grown)
            self.last = _grown(self.last, grown)
            self.states = _grown(self.states, grown)
        self.scope_of[place] = scope
        self.there[place] = False
        self.states[place] = RowState.EXACT
        self.rows_version += 1
        return place

    def widen(self, names: Iterable[str]) -> None:
        """Add labels to the family; the rows so far have them empty."""
        fresh = tuple(sorted(set(names) - set(self.family.labels)))
        if not fresh:
            return
        self.family = replace(self.family, labels=(*self.family.labels, *fresh))
        self.labels = [(*labels, *("" for _ in fresh)) for labels in self.labels]
        self.index = {labels: place for place, labels in enumerate(self.labels)}
        self.rows_version += 1

    def is_crowded(self, *, spared: int) -> bool:
        """Return whether more than a number of rows are not there."""
        return int(np.count_nonzero(~self.there[: len(self.labels)])) > spared

    def without_old_rows(self, oldest: float) -> "Kept | None":
        """Return what is left without the rows that are not there and surely were not since
        `oldest`, None where that is all. Nothing changes before it is taken."""
        count = len(self.labels)
        keep = self.there[:count] | self.columns.has_sample_since(oldest, count)
        marks = self.columns.window(oldest, np.inf, count).marks
        keep[: marks.shape[1]] |= (marks >= LOST).any(axis=0)
        places = np.flatnonzero(keep)
        if len(places) == count:
            return None
        labels = [self.labels[place] for place in places.tolist()]
        index = {one: place for place, one in enumerate(labels)}
        return Kept(places, labels, index, self.columns.keeping_rows(places))

    def take(self, kept: "Kept") -> None:
        """Forget all other rows."""
        self.labels, self.index = kept.labels, kept.places_of
        self.scope_of = self.scope_of[kept.places]
        self.there = self.there[kept.places]
        self.last = self.last[kept.places]
        self.states = self.states[kept.places]
        self.columns.take(kept.arrays)
        self.rows_version += 1


class Kept(NamedTuple):
    """The rows of a family that are kept: where they were, their labels, and their samples."""

    places: NDArray[np.int64]
    labels: list[tuple[str, ...]]
    places_of: dict[tuple[str, ...], int]
    arrays: Arrays


def _grown(values: NDArray, size: int) -> NDArray:  # type: ignore[type-arg]
    grown = np.zeros(size, values.dtype)
    grown[: len(values)] = values
    return grown
