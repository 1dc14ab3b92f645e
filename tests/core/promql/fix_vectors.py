"""Vectors in few words: a row is its labels and its value, `x1` with a state."""

from collections.abc import Mapping, Sequence

import numpy as np

from storewatchd.core.promql.labels import LabelFrame
from storewatchd.core.promql.vector import ABSENT, EXACT, UNKNOWN, Vector

MAYBE, GONE = "maybe", "gone"
"""Values of rows that are unknown, and of rows that are surely not there."""

Value = float | str
Rows = Mapping[str, Value]

_STATES = {MAYBE: UNKNOWN, GONE: ABSENT}


def vector(
    rows: Rows, *holes: Mapping[str, str], names: Sequence[str] = ("s", "x"), metric: str = ""
) -> Vector:
    """Return a vector of rows such as `{"1 y": 2.0}`: labels in the order of the names, `-` for
    none, and the value of each."""
    labels = [tuple("" if one == "-" else one for one in row.split()) for row in rows]
    states = [
        _STATES.get(value, EXACT) if isinstance(value, str) else EXACT for value in rows.values()
    ]
    values = [0.0 if isinstance(value, str) else value for value in rows.values()]
    frame = LabelFrame(tuple(names), labels, [metric] * len(labels))
    return Vector(frame, np.array(states, np.int8), np.array(values, np.float64), holes)


def rows(found: Vector) -> dict[str, Value]:
    """Return the rows of a vector that are there or may be, as `vector` takes them."""
    shown: dict[str, Value] = {}
    for place in np.flatnonzero(found.possible).tolist():
        labels = " ".join(value or "-" for value in found.frame.rows[place])
        is_exact = found.states[place] == EXACT
        assert labels not in shown
        shown[labels] = float(found.values[place]) if is_exact else MAYBE
    return shown
