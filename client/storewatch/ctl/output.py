"""What goes to standard output and standard error: tables, fields, lines and JSON.

On a terminal with colour and fitted to its width; elsewhere plain, one line a row and nothing cut
off, for grep and awk.
"""

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from storewatch.ctl import words

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

NARROW = 110
"""Below this many columns, what is only nice to have is left out."""

SHORTEST_CUT = 24
"""What a column that is cut has at least."""

_GAP = 2

STYLES = {
    "critical": "bold red",
    "warning": "yellow",
    "info": "cyan",
    "firing": "red",
    "pending": "yellow",
    "resolved": "green",
    "healthy": "green",
    "degraded": "yellow",
    "unhealthy": "bold red",
    "unknown": "dim",
    "ok": "green",
    "problem": "red",
    "seen": "green",
    "failed": "red",
    "absent": "dim",
    "deferred": "cyan",
    "completed": "green",
    "running": "cyan",
    "valid": "green",
    "expired": "dim",
    "revoked": "dim",
}


class Cell(NamedTuple):
    """A text with a style of its own."""

    text: str
    style: str = ""


class Column(NamedTuple):
    """A column. `flexible`: may be broken into lines. `wide`: for wide terminals only. `cut`: has
    one line and, on a terminal, what the others leave of its width."""

    title: str
    right: bool = False
    flexible: bool = False
    wide: bool = False
    cut: bool = False


Row = Sequence[str | Cell]


def state(name: str) -> Cell:
    """Return a word in the colour that it has everywhere."""
    return Cell(name, STYLES.get(name, ""))


class Output:
    """Standard output and standard error of one command."""

    def __init__(self) -> None:
        self.is_terminal = sys.stdout.isatty()
        self._console: Console | None = None

    @property
    def console(self) -> "Console":
        if self._console is None:
            from rich.console import Console  # It takes 50 ms, which a pipe need not pay.

            self._console = Console(file=sys.stdout, highlight=False, markup=False, emoji=False)
        return self._console

    @property
    def is_narrow(self) -> bool:
        return self.is_terminal and self.console.width < NARROW

    def line(self, text: str = "", style: str = "") -> None:
        """Write one line, at once."""
        if self.is_terminal and style:
            self.console.print(text, style=style, soft_wrap=True)
        else:
            sys.stdout.write(text + "\n")
        sys.stdout.flush()

    def heading(self, text: str) -> None:
        """Write the title of a part."""
        self.line(text, "bold")

    def note(self, text: str) -> None:
        """Write one line for the person, not for the pipe."""
        sys.stdout.flush()
        sys.stderr.write(f"storewatchctl: {words.line(text)}\n")
        sys.stderr.flush()

    def json(self, document: bytes) -> None:
        """Write JSON, indented."""
        sys.stdout.write(msgspec.json.format(document, indent=2).decode() + "\n")
        sys.stdout.flush()

    def json_line(self, document: bytes) -> None:
        """Write JSON as one line, at once."""
        sys.stdout.write(document.decode() + "\n")
        sys.stdout.flush()

    def json_error(self, document: bytes) -> None:
        """Write what went wrong as one line of JSON, to standard error."""
        sys.stdout.flush()
        sys.stderr.write(document.decode() + "\n")
        sys.stderr.flush()

    def fields(self, pairs: Sequence[tuple[str, str | Cell]]) -> None:
        """Write names and values, one pair a line."""
        if self.is_terminal:
            from rich.table import Table

            grid = Table.grid(padding=(0, 2, 0, 0))
            grid.add_column(no_wrap=True, style="dim")
            grid.add_column(overflow="fold")
            for name, value in pairs:
                grid.add_row(name, _text(value))
            self.console.print(grid)
            return
        width = max((len(name) for name, _ in pairs), default=0)
        for name, value in pairs:
            shown = value.text if isinstance(value, Cell) else value
            first, *more = shown.split("\n")
            self.line(f"{name:<{width}}  {first}".rstrip())
            for rest in more:
                self.line(f"{'':<{width}}  {rest}".rstrip())

    def table(self, columns: Sequence[Column], rows: Sequence[Row], *, empty: str) -> None:
        """Write a table, or say that there is nothing."""
        if not rows:
            self.note(empty)
            return
        if self.is_terminal:
            self.console.print(self.rich_table(columns, rows))
            return
        shown = [[words.line(_plain(cell)) or "-" for cell in row] for row in rows]
        titles = [column.title for column in columns]
        widths = [max(map(len, column)) for column in zip(titles, *shown, strict=True)]
        for row in (titles, *shown):
            cells = [
                f"{cell:>{width}}" if column.right else f"{cell:<{width}}"
                for cell, width, column in zip(row, widths, columns, strict=True)
            ]
            self.line("  ".join(cells).rstrip())

    def rich_table(self, columns: Sequence[Column], rows: Sequence[Row]) -> "Table":
        """Return a table for the terminal, as wide as that is."""
        from rich.table import Table

        kept = [n for n, column in enumerate(columns) if not (column.wide and self.is_narrow)]
        table = Table(box=None, pad_edge=False, padding=(0, _GAP, 0, 0), header_style="bold")
        for n in kept:
            column = columns[n]
            table.add_column(
                column.title,
                justify="right" if column.right else "left",
                no_wrap=not column.flexible,
                overflow="fold" if column.flexible else "ellipsis",
                max_width=self._left_over(columns, rows, kept, n) if column.cut else None,
            )
        for row in rows:
            table.add_row(*(_text(row[n]) for n in kept))
        return table

    def _left_over(
        self, columns: Sequence[Column], rows: Sequence[Row], kept: Sequence[int], cut: int
    ) -> int:
        """Return how much of the terminal's width the other columns leave to one."""
        from rich.cells import cell_len

        others = sum(
            max(cell_len(text) for text in (columns[n].title, *(_plain(row[n]) for row in rows)))
            for n in kept
            if n != cut
        )
        return max(SHORTEST_CUT, self.console.width - others - _GAP * (len(kept) - 1))


def _text(cell: str | Cell) -> "Text":
    from rich.text import Text

    if isinstance(cell, Cell):
        return Text(cell.text, style=cell.style)
    return Text(cell)


def _plain(cell: str | Cell) -> str:
    return cell.text if isinstance(cell, Cell) else cell
