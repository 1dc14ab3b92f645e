"""PromQL over the table of series, in three values: known, unknown, and holes."""

from storewatchd.core.promql.evaluate import Plan, Result, ResultRow
from storewatchd.core.promql.parse import parse

__all__ = ["Plan", "Result", "ResultRow", "parse"]
