"""Vectors in few words: a row is its labels and its value, or how it stands where that is open."""

from collections.abc import Mapping, Sequence

import numpy as np

from storewatchd.core.promql.budget import MAX_CELLS, Budget
from storewatchd.core.promql.labels import LabelFrame
from storewatchd.core.promql.vector import ABSENT, AT_LEAST, AT_MOST, EXACT, UNKNOWN, Vector

MAYBE, GONE = "maybe", "gone"
"""Values of rows that are unknown, and of rows that are surely not there."""

PLENTY = Budget(1000 * MAX_CELLS)
"""More than all tests spend."""

Value = float | str
Rows = Mapping[str, Value]

_WORDS = {MAYBE: UNKNOWN, GONE: ABSENT, ">=": AT_LEAST, "<=": AT_MOST}
_BOUNDS = {AT_LEAST: ">=", AT_MOST: "<="}


def at_least(value: float) -> str:
    """Return the value of a row that is there with this value or a higher one."""
    return f">= {value:g}"


def at_most(value: float) -> str:
    """Return the value of a row that is there with this value or a lower one."""
    return f"<= {value:g}"


def vector(
    rows: Rows, *holes: Mapping[str, str], names: Sequence[str] = ("s", "x"), metric: str = ""
) -> Vector:
    """Return a vector of rows such as `{"1 y": 2.0}`: labels in the order of the names, `-` for
    none, and the value of each."""
    labels = [tuple("" if one == "-" else one for one in row.split()) for row in rows]
    states, values = [], []
    for value in rows.values():
        word, _, bound = value.partition(" ") if isinstance(value, str) else ("", "", value)
        states.append(_WORDS.get(word, EXACT))
        values.append(float(bound or 0))
    frame = LabelFrame(tuple(names), labels, [metric] * len(labels))
    return Vector(frame, np.array(states, np.int8), np.array(values, np.float64), holes)


def rows(found: Vector) -> dict[str, Value]:
    """Return the rows of a vector that are there or may be, as `vector` takes them."""
    shown: dict[str, Value] = {}
    for place in np.flatnonzero(found.possible).tolist():
        labels = " ".join(value or "-" for value in found.frame.rows[place])
        state, value = int(found.states[place]), float(found.values[place])
        assert labels not in shown
        if state == EXACT:
            shown[labels] = value
        else:
            shown[labels] = f"{_BOUNDS[state]} {value:g}" if state in _BOUNDS else MAYBE
    return shown
