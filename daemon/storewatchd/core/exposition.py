"""The whole table in Prometheus' text format.

Format: https://prometheus.io/docs/instrumenting/exposition_formats/ (version 0.0.4).
Rows whose value is not known now are left out, a recorded bound too: a scraper must see that they
are gone, and would take a bound for the value.
"""

import math

import numpy as np

from storewatchd.core.rows import Series
from storewatchd.core.series import SeriesTable


class Exposition:
    """Renders the table; the label part of every line is made once and kept."""

    def __init__(self) -> None:
        self._heads: dict[str, tuple[Series, int, list[str]]] = {}

    def text(self, table: SeriesTable, at: float) -> str:
        """Return every row whose value is known at a moment."""
        lines: list[str] = []
        for name in sorted(table.names()):
            series = table.series(name)
            assert series is not None
            count = len(series)
            shown = np.flatnonzero(series.there[:count] & table.known_rows(series, at))
            if not len(shown):
                continue
            family = series.family
            lines.append(f"# HELP {name} {_escape_help(family.help)}")
            lines.append(f"# TYPE {name} {family.type}")
            heads = self._heads_of(name, series)
            lines.extend(
                heads[place] + _number(value)
                for place, value in zip(shown.tolist(), series.last[shown].tolist(), strict=True)
            )
        lines.append("")
        return "\n".join(lines)

    def _heads_of(self, name: str, series: Series) -> list[str]:
        known = self._heads.get(name)
        if known is not None and known[0] is series and known[1] == series.rows_version:
            return known[2]
        names = series.family.labels
        heads = []
        for row in series.labels:
            inside = ",".join(
                f'{label}="{_escape_value(value)}"'
                for label, value in zip(names, row, strict=True)
                if value
            )
            heads.append(f"{name}{{{inside}}} " if inside else f"{name} ")
        self._heads[name] = (series, series.rows_version, heads)
        return heads


def _escape_value(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def _escape_help(text: str) -> str:
    return text.replace("\\", "\\\\").replace("\n", "\\n")


def _number(value: float) -> str:
    if value.is_integer() and abs(value) < 1e15:
        return str(int(value))
    if math.isfinite(value):
        return repr(value)
    return "NaN" if math.isnan(value) else ("+Inf" if value > 0 else "-Inf")
