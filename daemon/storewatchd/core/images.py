"""A family's rows as they stood at a moment, as plain values in pieces, and back.

To take the image of a family takes a moment however much there is: its samples are not copied, for
columns that are full are never written again. Telling it may go on while the family does.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from storewatchd.core.columns import Arrays, Columns
from storewatchd.core.freeze import freeze, thaw
from storewatchd.core.rows import Series
from storewatchd.core.steps import PIECE

PIECE_BYTES = 1 << 20
"""How many bytes of samples are in one piece."""

MIN_COLUMNS = 4  # that there is room for

_ARRAYS = {"scope_of": np.int32, "there": np.bool_, "last": np.float64, "states": np.int8}


class Image:
    """What a family was when this was made."""

    def __init__(self, series: Series) -> None:
        count = len(series)
        held = series.columns.window(-np.inf, np.inf, count)
        self._head = {
            "family": freeze(series.family),
            "probe": series.probe,
            "rows": count,
            "holes": freeze(series.holes),
            "kept_since": series.columns.kept_since,
            "times": held.times.tobytes(),
            **{name: getattr(series, name)[:count].tobytes() for name in _ARRAYS},
        }
        self._labels = series.labels  # which only grows, or is replaced
        # The newest column may still be written.
        self._full = held.values[:-1], held.marks[:-1]
        self._newest = held.values[-1:].copy(), held.marks[-1:].copy()

    def pieces(self) -> Iterator[Mapping[str, Any]]:
        """Yield the image as what MessagePack can say."""
        yield self._head
        count: int = self._head["rows"]
        for start in range(0, count, PIECE):
            yield {"labels": self._labels[start : min(start + PIECE, count)]}
        many = max(1, PIECE_BYTES // max(1, 9 * count))
        for values, marks in (self._full, self._newest) if count else ():
            for start in range(0, len(values), many):
                some = slice(start, start + many)
                yield {"values": values[some].tobytes(), "marks": marks[some].tobytes()}


def rebuilt(pieces: Iterator[Mapping[str, Any]]) -> Series:
    """Return the family whose image comes next.

    Raises:
        KeyError, TypeError, ValueError, RecordingError: this is no image.
    """
    head = next(pieces, {})
    count: int = head["rows"]
    series = Series(thaw(head["family"]), head["probe"])
    while len(series.labels) < count:
        series.labels += [tuple(labels) for labels in next(pieces, {})["labels"]]
    series.index = {labels: place for place, labels in enumerate(series.labels)}
    if len(series.index) != count:
        raise ValueError(f"{head['probe']} has {len(series.index)} rows and not {count}")
    for name, kind in _ARRAYS.items():
        setattr(series, name, _array(head[name], np.dtype(kind), count))
    series.holes = thaw(head["holes"])
    series.columns = _columns(head, count, pieces)
    return series


def _columns(head: Mapping[str, Any], count: int, pieces: Iterator[Mapping[str, Any]]) -> Columns:
    times = np.frombuffer(head["times"], np.float64)
    used = len(times)
    made = Arrays.empty(max(MIN_COLUMNS, used), count, used)
    made.times[:used] = times
    start = 0
    while count and start < used:
        piece = next(pieces, {})
        marks = np.frombuffer(piece["marks"], np.int8).reshape(-1, count)
        values = np.frombuffer(piece["values"], np.float64).reshape(marks.shape)
        end = start + len(marks)
        made.values[start:end] = values
        made.marks[start:end] = marks
        start = end
    columns = Columns()
    columns.take(made)
    columns.kept_since = head["kept_since"]
    return columns


def _array(content: bytes, kind: np.dtype[Any], count: int) -> NDArray[Any]:
    array = np.frombuffer(content, kind)
    if len(array) != count:
        raise ValueError(f"an array has {len(array)} elements and not {count}")
    return array.copy()
