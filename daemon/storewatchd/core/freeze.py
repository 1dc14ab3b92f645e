"""Objects of the core as plain values and back, exactly: what a recording begins with.

A value is None, a boolean, a number, a text or bytes as it is, or a list whose first element says
what it is:

- `["tuple", …]`, `["list", …]`, `["set", …]` with the elements; `["dict", key, value, …]`;
- `["array", dtype, shape, bytes]`, a numpy array in C order;
- `["enum", class, value]`;
- `["object", class, name, value, …]`, an object by its attributes. Only the classes of this table
  are ever made, and no code of theirs runs.
"""

from enum import Enum
from typing import Any

import msgspec
import numpy as np

from storewatchd.core.columns import Columns
from storewatchd.core.frames import Family, MetricType, Outcome, Row, Scope
from storewatchd.core.holes import Holes, Opening
from storewatchd.core.incidents import Incident, Quieted
from storewatchd.core.intake import Room
from storewatchd.core.model import Alert, AlertState, Severity
from storewatchd.core.repositories import Origin, Repository, RepositoryBook
from storewatchd.core.rows import Series
from storewatchd.core.scopes import ProbeScopes, ScopeState, Stretch
from storewatchd.core.series import SeriesTable
from storewatchd.core.task_names import TaskName
from storewatchd.core.tasks import TaskRun, TaskState
from storewatchd.errors import RecordingError

_CLASSES: dict[str, type[Any]] = {
    kind.__name__: kind
    for kind in (
        *(Alert, Columns, Family, Holes, Incident, Opening, ProbeScopes, Quieted, Repository),
        *(
            RepositoryBook,
            Room,
            Row,
            Scope,
            ScopeState,
            Series,
            SeriesTable,
            Stretch,
            TaskName,
            TaskRun,
        ),
    )
}
_ENUMS: dict[str, type[Enum]] = {
    kind.__name__: kind for kind in (AlertState, MetricType, Origin, Outcome, Severity, TaskState)
}
_MAX_DEPTH = 100


def freeze(value: Any) -> Any:
    """Return a value as plain values.

    Raises:
        TypeError: something in it is of a class that is not in the table.
    """
    match value:
        case Enum():
            return ["enum", type(value).__name__, value.value]
        case np.generic():
            return value.item()
        case None | bool() | int() | float() | str() | bytes():
            return value
        case dict():
            pairs = (freeze(part) for pair in value.items() for part in pair)
            return ["dict", *pairs]
        case list() | tuple():
            kind = "list" if isinstance(value, list) else "tuple"
            return [kind, *map(freeze, value)]
        case set() | frozenset():
            return ["set", *map(freeze, sorted(value))]
        case np.ndarray():
            return ["array", value.dtype.str, list(value.shape), value.tobytes()]
    name = type(value).__name__
    if _CLASSES.get(name) is not type(value):
        raise TypeError(f"{name} cannot be frozen")
    pairs = (part for pair in _attributes(value).items() for part in (pair[0], freeze(pair[1])))
    return ["object", name, *pairs]


def thaw(told: Any) -> Any:
    """Return what `freeze` was given; a set comes back frozen.

    Raises:
        RecordingError: these are not values that it gave.
    """
    try:
        return _thaw(told, 0)
    except (KeyError, ValueError, TypeError, AttributeError, IndexError) as error:
        raise RecordingError(f"the recording's beginning cannot be read: {error}") from error


def _thaw(told: Any, depth: int) -> Any:
    if not isinstance(told, list):
        return told
    if depth > _MAX_DEPTH:
        raise ValueError("it is nested too deep")

    def inner(values: list[Any]) -> list[Any]:
        return [_thaw(value, depth + 1) for value in values]

    kind, *rest = told
    match kind:
        case "tuple":
            return tuple(inner(rest))
        case "list":
            return inner(rest)
        case "set":
            return frozenset(inner(rest))
        case "dict":
            parts = inner(rest)
            return dict(zip(parts[::2], parts[1::2], strict=True))
        case "array":
            dtype, shape, content = rest
            return np.frombuffer(content, np.dtype(dtype)).reshape(shape).copy()
        case "enum":
            name, value = rest
            return _ENUMS[name](value)
        case "object":
            name, *pairs = rest
            return _made(_CLASSES[name], dict(zip(pairs[::2], inner(pairs[1::2]), strict=True)))
        case _:
            raise ValueError(f"{kind!r} is no kind of value")


def _attributes(value: Any) -> dict[str, Any]:
    if isinstance(value, msgspec.Struct):
        return {name: getattr(value, name) for name in value.__struct_fields__}
    slots = getattr(type(value), "__slots__", None)
    if slots is not None:
        return {name: getattr(value, name) for name in slots}
    return dict(vars(value))


def _made(kind: type[Any], attributes: dict[str, Any]) -> Any:
    if issubclass(kind, msgspec.Struct):
        return kind(**attributes)
    made = object.__new__(kind)
    for name, value in attributes.items():
        object.__setattr__(made, name, value)
    return made
