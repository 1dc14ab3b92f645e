"""Tables on terminals of different widths, and in pipes."""

import io
import subprocess
import sys

import pytest
from rich.console import Console

from storewatch.ctl.output import Cell, Column, Output, Row

COLUMNS = (
    Column("NAME"),
    Column("WHAT", flexible=True),
    Column("SIZE", right=True),
    Column("ORIGIN", wide=True),
)
ROWS: list[Row] = [("a", "word " * 30, Cell("7", "red"), "built-in"), ("b", "", "12", "")]


def on_terminal(
    width: int, columns: tuple[Column, ...] = COLUMNS, rows: list[Row] = ROWS
) -> list[str]:
    screen = io.StringIO()
    out = Output()
    out.is_terminal = True
    out._console = Console(
        file=screen, width=width, force_terminal=True, color_system=None, markup=False
    )
    out.table(columns, rows, empty="nothing")
    return [line.rstrip() for line in screen.getvalue().splitlines()]


@pytest.mark.parametrize("width", [60, 80, 140, 200])
def test_a_table_fits_its_terminal_and_loses_no_word(width: int) -> None:
    lines = on_terminal(width)
    assert max(map(len, lines)) <= width
    assert sum(line.count("word") for line in lines) == 30


def test_a_narrow_terminal_leaves_out_what_is_only_nice_to_have() -> None:
    assert "ORIGIN" not in on_terminal(80)[0]
    assert "ORIGIN" in on_terminal(140)[0]


@pytest.mark.parametrize("width", [60, 80, 140])
def test_a_column_that_is_cut_takes_what_the_others_leave(width: int) -> None:
    columns = (Column("NAME"), Column("PATH", flexible=True), Column("REASON", cut=True))
    reason = "it does not exist " * 20
    lines = on_terminal(width, columns, [("a", "/srv/a", ""), ("b", "/srv/b", reason)])
    assert [line.split()[0] for line in lines] == ["NAME", "a", "b"]
    assert lines[2].endswith("…")
    assert len(lines[2]) <= width
    assert lines[2].startswith("b     /srv/b  it does not exist it does not")
    assert len(lines[2]) > width - 3


def test_a_column_that_is_cut_does_not_vanish_beside_a_long_one() -> None:
    columns = (Column("PATH", flexible=True), Column("REASON", cut=True))
    lines = on_terminal(60, columns, [("/srv/" + "a" * 90, "it does not exist " * 3)])
    assert max(map(len, lines)) <= 60
    assert lines[1].endswith("it does not exist it do…")
    assert sum(line.count("a") for line in lines) == 90


def test_a_title_in_brackets_is_text_not_a_style(capsys: pytest.CaptureFixture[str]) -> None:
    screen = io.StringIO()
    out = Output()
    out.is_terminal = True
    out._console = Console(file=screen, width=80, markup=False)
    out.table((Column("T"),), [("[red]x[/red]",)], empty="")
    out.line("[bold]y[/bold]", "red")
    assert "[red]x[/red]" in screen.getvalue()
    assert "[bold]y[/bold]" in screen.getvalue()


def test_in_a_pipe_a_row_is_a_line_with_every_column(capsys: pytest.CaptureFixture[str]) -> None:
    Output().table(COLUMNS, ROWS, empty="nothing")
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 3
    assert lines[1].split()[-2:] == ["7", "built-in"]
    assert lines[2].split() == ["b", "-", "12", "-"]


def test_an_empty_table_is_a_sentence_beside_the_output(
    capsys: pytest.CaptureFixture[str],
) -> None:
    Output().table(COLUMNS, [], empty="there is nothing")
    assert capsys.readouterr() == ("", "storewatchctl: there is nothing\n")


def test_fields_keep_the_lines_of_a_text_together(capsys: pytest.CaptureFixture[str]) -> None:
    Output().fields([("message", "one\ntwo"), ("id", Cell("7", "dim"))])
    assert capsys.readouterr().out == "message  one\n         two\nid       7\n"


def test_a_short_command_loads_nothing_that_is_slow() -> None:
    code = (
        "import sys, storewatch.ctl.root; print(sys.modules.keys() & {'rich', 'asyncio', 'ctypes'})"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)
    assert ended.stdout == b"set()\n"
