"""The label sets of a vector's rows, made once and shared by every evaluation.

A `LabelFrame` never changes. A vector says for each row of a frame whether it is there; so what
is worked out for two frames (which row matches which) holds until a row is born or dropped.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import numpy as np

from storewatchd.core.promql.syntax import Matching
from storewatchd.core.steps import PIECE

if TYPE_CHECKING:
    from numpy.typing import NDArray

Labels = Mapping[str, str]

T = TypeVar("T")

MAX_KEPT = 8
"""For how many matches each thing is kept that was worked out for a frame: more than rules ask of
one. It lives as long as its rows, and queries ask for ever other ones."""


class _Once(Generic[T]):
    """A property that is worked out once. functools.cached_property of Python 3.11 locks all
    frames meanwhile: a small one would wait for a large one in another thread."""

    def __init__(self, work: Callable[[Any], T]) -> None:
        self._work = work
        self.__doc__ = work.__doc__

    def __set_name__(self, owner: type[Any], name: str) -> None:
        self._name = name

    def __get__(self, instance: Any, owner: type[Any]) -> T:
        found = self._work(instance)
        instance.__dict__[self._name] = found  # which is looked at first from now on
        return found


def _with(kept: dict[Matching, T], matching: Matching, found: T) -> dict[Matching, T]:
    """Return what is kept with one more; of too many the oldest goes. Another thread may add to
    the same meanwhile: one of the two is worked out again."""
    return {**dict([*kept.items()][1 - MAX_KEPT :]), matching: found}


class LabelFrame:
    """Rows of labels. `metric` holds each row's metric name, "" where it has none."""

    def __init__(
        self,
        names: tuple[str, ...],
        rows: Sequence[tuple[str, ...]],
        metric: Sequence[str],
    ) -> None:
        self.names = names
        self.rows = rows
        self.metric = metric
        self.has_names = any(metric)
        self._signatures: dict[Matching, list[tuple[str, ...]]] = {}
        self._grouped: dict[Matching, tuple[LabelFrame, NDArray[np.int64]]] = {}

    def __len__(self) -> int:
        return len(self.rows)

    def labels(self, place: int) -> dict[str, str]:
        """Return a row's labels without those that are empty, with its metric name."""
        found = {
            name: value for name, value in zip(self.names, self.rows[place], strict=True) if value
        }
        if self.metric[place]:
            found["__name__"] = self.metric[place]
        return found

    def value(self, place: int, label: str) -> str:
        """Return one label of a row, "" where it has none."""
        index = self._index.get(label)
        return "" if index is None else self.rows[place][index]

    def signatures(self, matching: Matching) -> list[tuple[str, ...]]:
        """Return for each row the labels that take part in a match, in a form that rows of
        another frame can be compared with: sorted names and values, empty ones left out."""
        known = self._signatures.get(matching)
        if known is None:
            kept = [
                (name, index) for name, index in sorted(self._index.items()) if matching.keeps(name)
            ]
            known = [
                tuple(piece for name, index in kept if row[index] for piece in (name, row[index]))
                for row in self.rows
            ]
            if matching.keeps_metric:
                known = [
                    ("__name__", metric, *signature) if metric else signature
                    for metric, signature in zip(self.metric, known, strict=True)
                ]
            self._signatures = _with(self._signatures, matching, known)
        return known

    @_Once
    def nameless(self) -> "LabelFrame":
        """The same rows without metric names."""
        if not self.has_names:
            return self
        return LabelFrame(self.names, self.rows, [""] * len(self.rows))

    def keeping(self, matching: Matching) -> "LabelFrame":
        """Return the same rows with only the labels, and names, that take part in a match."""
        indices = [index for index, name in enumerate(self.names) if matching.keeps(name)]
        named = self if matching.keeps_metric else self.nameless
        if len(indices) == len(self.names):
            return named
        return LabelFrame(
            tuple(self.names[index] for index in indices),
            [tuple(row[index] for index in indices) for row in self.rows],
            named.metric,
        )

    def grouped(self, matching: Matching) -> "tuple[LabelFrame, NDArray[np.int64]]":
        """Return the groups of rows that have the same labels which take part in a match, and
        which one each row is in."""
        known = self._grouped.get(matching)
        if known is None:
            kept = self.keeping(matching)
            numbers: dict[tuple[str, ...], int] = {}
            firsts: list[int] = []
            groups = np.empty(len(self), np.int64)
            for place, signature in enumerate(self.signatures(matching)):
                if signature not in numbers:
                    numbers[signature] = len(numbers)
                    firsts.append(place)
                groups[place] = numbers[signature]
            frame = LabelFrame(
                kept.names,
                [kept.rows[place] for place in firsts],
                [kept.metric[place] for place in firsts],
            )
            known = frame, groups
            self._grouped = _with(self._grouped, matching, known)
        return known

    @_Once
    def identities(self) -> list[tuple[str, ...]]:
        """Each row's whole identity, to find rows that would be the same series."""
        return [
            (metric, *signature)
            for metric, signature in zip(self.metric, self.signatures(_ALL), strict=True)
        ]

    @_Once
    def has_duplicates(self) -> bool:
        """Whether two rows have the same identity."""
        found: set[tuple[str, ...]] = set()
        # In pieces, for one call holds up all other threads until its end.
        for start in range(0, len(self.rows), PIECE):
            found.update(self.identities[start : start + PIECE])
        return len(found) < len(self.rows)

    @_Once
    def _index(self) -> dict[str, int]:
        return {name: index for index, name in enumerate(self.names)}


_ALL = Matching(on=False, labels=())

EMPTY = LabelFrame((), [], [])
SCALAR = LabelFrame((), [()], [""])


def concatenated(frames: Iterable[LabelFrame]) -> LabelFrame:
    """Return the rows of all the frames, in order, over the union of their label names."""
    parts = list(frames)
    if len(parts) == 1:
        return parts[0]
    names = tuple(dict.fromkeys(name for part in parts for name in part.names))
    rows: list[tuple[str, ...]] = []
    metric: list[str] = []
    for part in parts:
        place = {name: index for index, name in enumerate(part.names)}
        order = [place.get(name) for name in names]
        rows.extend(
            tuple("" if index is None else row[index] for index in order) for row in part.rows
        )
        metric.extend(part.metric)
    return LabelFrame(names, rows, metric)
