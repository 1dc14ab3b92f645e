"""Holes in what is known: label equalities that rows which nobody could look at would carry."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from storewatchd.core.frames import Scope

Hole = Mapping[str, str]
Source = tuple[str, Scope]
"""What leaves a hole open, and where."""


def is_compatible(hole: Hole, labels: Mapping[str, str]) -> bool:
    """Return whether a row with these labels may be among those that a hole hides."""
    return all(labels.get(name, value) == value for name, value in hole.items())


@dataclass(slots=True)
class Opening:
    source: Source
    hole: Hole
    begin: float
    end: float = float("inf")


class Holes:
    """When which holes were open. Times are Unix seconds."""

    def __init__(self) -> None:
        self._openings: list[Opening] = []

    def note(self, source: Source, holes: Iterable[Hole], at: float, *, kept_s: float) -> None:
        """Say which holes a source leaves open from now on; forget what closed long ago."""
        wanted = {tuple(sorted(hole.items())): dict(hole) for hole in holes}
        if not wanted and not self._openings:
            return
        for opening in self._openings:
            if opening.source != source or opening.end < float("inf"):
                continue
            if wanted.pop(tuple(sorted(opening.hole.items())), None) is None:
                opening.end = at
            else:
                opening.begin = min(opening.begin, at)
        self._openings = [one for one in self._openings if one.end >= at - kept_s]
        self._openings += [Opening(source, hole, at) for hole in wanted.values()]

    def shift(self, seconds: float) -> None:
        """Go along with a wall clock that was set by so much."""
        for opening in self._openings:
            opening.begin += seconds
            opening.end += seconds  # one that is open stays so: infinity

    def open(self) -> list[Hole]:
        """Return the holes that are open."""
        return [one.hole for one in self._openings if one.end == float("inf")]

    def between(self, start: float, end: float) -> list[Hole]:
        """Return the holes that were open at some moment of a time."""
        return [one.hole for one in self._openings if one.begin <= end and one.end > start]
