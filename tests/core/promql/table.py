"""A small way to put series into a table."""

from collections.abc import Mapping

from storewatchd.core.frames import Family, Frame, MetricType, Outcome, Row, Scope
from storewatchd.core.promql import Plan, Result, parse
from storewatchd.core.series import SeriesTable

NOON = 1_767_268_800.0
Rows = Mapping[tuple[str, ...], float]


class Bench:
    """A table with families over the same label names, each scope told apart by `s`."""

    def __init__(self, *families: str, labels: tuple[str, ...] = ("s", "x")) -> None:
        self.table = SeriesTable()
        self.labels = labels
        declared = [Family(name, MetricType.GAUGE, name, labels) for name in families]
        self.table.declare("p", declared, max_age_s=100)

    def see(
        self,
        scope: str,
        at: float = NOON,
        *,
        rows: Mapping[str, Rows] | None = None,
        **families: Rows,
    ) -> None:
        found = {
            name: [Row((scope, *labels), value) for labels, value in given.items()]
            for name, given in (rows or families).items()
        }
        self.table.feed(Frame(Scope("p", (("s", scope),)), at, rows=found))

    def fail(self, scope: str, at: float = NOON) -> None:
        self.table.feed(Frame(Scope("p", (("s", scope),)), at, Outcome.FAILED, reason="broken"))

    def ask(self, text: str, at: float = NOON) -> Result:
        return Plan(parse(text)).evaluate(self.table, at)

    def values(self, text: str, at: float = NOON) -> dict[tuple[tuple[str, str], ...], float]:
        """Return the exact rows by their sorted labels."""
        return {
            tuple(sorted(row.labels.items())): row.value
            for row in self.ask(text, at).rows
            if row.exact
        }
