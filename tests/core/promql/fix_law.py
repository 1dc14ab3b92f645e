"""The law of three values: what an answer calls known is so in every completion of the data."""

import pytest

from storewatchd.core.holes import is_compatible
from storewatchd.core.promql import Result, ResultRow
from storewatchd.core.rowstate import RowState

Identity = tuple[tuple[str, str], ...]


def identity(row: ResultRow) -> Identity:
    """Return a row's labels in a form that can be compared."""
    return tuple(sorted(row.labels.items()))


def assert_lawful(answer: Result, truth: Result) -> None:
    """Hold an answer against that to the same question where everything was seen."""
    there = {identity(row): row for row in truth.rows}
    for row in answer.rows:
        if row.is_there:
            assert identity(row) in there, row
            # Where the whole truth is ambiguous, Prometheus has no answer either.
            if there[identity(row)].exact:
                _assert_value(row, there[identity(row)].value)
    for hidden in there.keys() - {identity(row) for row in answer.rows}:
        # A row that was not even thought possible must lie in a hole.
        plain = {name: value for name, value in hidden if name != "__name__"}
        assert any(is_compatible(hole, plain) for hole in answer.holes), hidden


def _assert_value(row: ResultRow, value: float) -> None:
    match row.state:
        case RowState.AT_LEAST:
            assert value >= row.value, row
        case RowState.AT_MOST:
            assert value <= row.value, row
        case _:
            assert value == pytest.approx(row.value, nan_ok=True), row
