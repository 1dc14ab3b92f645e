"""The text format, as a scraper reads it."""

import math

from storewatchd.core.exposition import Exposition
from storewatchd.core.frames import Family, Frame, MetricType, Outcome, Row, Scope
from storewatchd.core.rowstate import RowState
from storewatchd.core.series import Recorded, SeriesTable, recording

NOON = 1_767_268_800.0


def table_with(family: Family, *rows: Row) -> SeriesTable:
    table = SeriesTable()
    table.declare("p", [family], max_age_s=90)
    table.feed(Frame(Scope("p"), NOON, rows={family.name: rows}))
    return table


def text_of(family: Family, *rows: Row) -> list[str]:
    return Exposition().text(table_with(family, *rows), NOON).splitlines()


def test_a_family_has_help_type_and_rows() -> None:
    family = Family("f_total", MetricType.COUNTER, "What it counts.", ("a", "b"))
    assert text_of(family, Row(("x", "y"), 3.0), Row(("x", ""), 0.5)) == [
        "# HELP f_total What it counts.",
        "# TYPE f_total counter",
        'f_total{a="x",b="y"} 3',
        'f_total{a="x"} 0.5',
    ]


def test_texts_are_escaped() -> None:
    family = Family("f", MetricType.GAUGE, 'one\\two\n"three"', ("a",))
    assert text_of(family, Row(('q"\\\n',), 1.0)) == [
        '# HELP f one\\\\two\\n"three"',
        "# TYPE f gauge",
        'f{a="q\\"\\\\\\n"} 1',
    ]


def test_numbers_are_exact() -> None:
    family = Family("f", MetricType.GAUGE, ".", ("a",))
    values = [0.1, 1e15, 2.0**53, -3.0, math.inf, -math.inf, math.nan, 1e300]
    lines = text_of(family, *(Row((str(n),), value) for n, value in enumerate(values)))[2:]
    shown = [line.partition(" ")[2] for line in lines]
    assert shown[:4] == ["0.1", "1000000000000000.0", "9007199254740992.0", "-3"]
    assert shown[4:] == ["+Inf", "-Inf", "NaN", "1e+300"]


def test_what_is_not_known_now_is_left_out() -> None:
    family = Family("f", MetricType.GAUGE, ".")
    table = table_with(family, Row((), 1.0))
    exposition = Exposition()
    assert exposition.text(table, NOON) == "# HELP f .\n# TYPE f gauge\nf 1\n"
    assert exposition.text(table, NOON + 91) == ""
    table.feed(Frame(Scope("p"), NOON, Outcome.FAILED))
    assert exposition.text(table, NOON) == ""


def test_what_is_only_a_bound_is_left_out() -> None:
    table = SeriesTable()
    scope = recording("r", {})
    table.keep_recordings([scope])
    rows = [
        Recorded({"k": "1"}, 1.0, RowState.EXACT),
        Recorded({"k": "2"}, 2.0, RowState.AT_LEAST),
        Recorded({"k": "3"}, 3.0, RowState.UNKNOWN),
    ]
    table.record(scope, rows, (), NOON)
    assert Exposition().text(table, NOON).splitlines()[2:] == ['r{k="1"} 1']


def test_rows_that_come_and_go_are_followed() -> None:
    family = Family("f", MetricType.GAUGE, ".", ("a",))
    table = table_with(family, Row(("x",), 1.0))
    exposition = Exposition()
    assert 'f{a="x"} 1' in exposition.text(table, NOON)
    table.feed(Frame(Scope("p"), NOON, rows={"f": [Row(("x",), 3.0)]}))
    assert 'f{a="x"} 3' in exposition.text(table, NOON)
    table.feed(Frame(Scope("p"), NOON + 1, rows={"f": [Row(("y",), 2.0)]}))
    text = exposition.text(table, NOON + 1)
    assert 'f{a="y"} 2' in text
    assert 'a="x"' not in text
