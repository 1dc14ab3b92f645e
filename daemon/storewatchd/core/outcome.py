"""What an answer leaves open, and in which order and form its rows are judged."""

from collections.abc import Mapping
from dataclasses import dataclass

from storewatchd.core.holes import Hole, is_compatible
from storewatchd.core.naming import place_of, series_of
from storewatchd.core.promql import Result, ResultRow
from storewatchd.core.rowstate import RowState
from storewatchd.core.rules import Rule
from storewatchd.core.series import SeriesTable
from storewatchd.errors import ExpressionError


class Hidden:
    """What an answer leaves open: rows that may be there, and holes that may hide one."""

    def __init__(self, result: Result) -> None:
        self._holes = result.holes
        self._maybe = {place_of(series_of(row)) for row in result.rows if not row.is_there}

    def hiding(self, series: Mapping[str, str]) -> list[Hole]:
        """Return what may hide the row of a series."""
        found = [hole for hole in self._holes if is_compatible(hole, series)]
        if self._maybe and place_of(series) in self._maybe:
            found.append(series)
        return found


def without_bounds(result: Result) -> Result:
    """Return an answer in which the rows with a bound are unknown: which alert they are about
    depends on their values."""
    if all(row.exact or not row.is_there for row in result.rows):
        return result
    rows = [
        row if row.exact else ResultRow(row.labels, row.value, RowState.UNKNOWN)
        for row in result.rows
    ]
    return Result(rows, result.holes)


def surest_first(rows: list[ResultRow]) -> list[ResultRow]:
    """Return the rows that surely are there before those that may be."""
    return sorted(rows, key=lambda row: not row.is_there)


@dataclass(frozen=True, slots=True)
class Answer:
    """A rule's answer, what it leaves open, and why there is none: an error is a hole, and decides
    nothing."""

    result: Result
    hidden: Hidden
    error: str | None = None


def answer_of(rule: Rule, table: SeriesTable, at: float, *, keeps_bounds: bool) -> Answer:
    """Return a rule's answer at a moment; rows with a bound are unknown, unless these are kept."""
    error = None
    try:
        result = rule.plan.evaluate(table, at)
    except ExpressionError as problem:
        result, error = Result([], ({},)), str(problem)
    if not keeps_bounds:
        result = without_bounds(result)
    return Answer(result, Hidden(result), error)
