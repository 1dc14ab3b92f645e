"""Takes out of a damaged state.db what is still whole: every row that SQLite can reach and whose
checksum is right.

Where a scan of a table breaks off it goes on from the other end, and between the two by bisection.
The first page of every journal is the same but for a few numbers, so that a damaged one is
replaced in a copy.
"""

import logging
import shutil
import sqlite3
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from storewatchd.journal.database import Database, lenient
from storewatchd.journal.tables import META, RECORD, SMALL, STATE, Row, Table

logger = logging.getLogger(__name__)

BATCH = 500
MOST_TRIES = 20_000
"""How often a table is asked for a part of it, however much of it is damaged."""

_PAGE_BYTES = 4096
_SIDES = ("", "-wal")


Counted = tuple[int, ...]
"""How many records and pieces of state a file says it has; nothing where it does not say so."""


@dataclass(frozen=True, slots=True)
class Salvaged:
    """How much was taken over, and how much is lost: None where not even that is known."""

    records: int
    states: int
    lost_records: int | None
    lost_states: int | None


def salvage(source: Path, into: Database) -> Salvaged:
    """Copy every whole row of a damaged file into a new one.

    Raises:
        sqlite3.Error: the new file cannot be written.
    """
    counted, is_all = _take_over(source, into)
    if not is_all:
        copy = source.with_name(f"{source.name}.copy")
        try:
            _copy_with_whole_head(source, copy, into)
            counted = _take_over(copy, into)[0] or counted
        except OSError as error:
            logger.warning("no copy of %s with a whole head: %s", source, error)
        finally:
            for side in (*_SIDES, "-shm"):
                Path(f"{copy}{side}").unlink(missing_ok=True)
    lost_records = lost_states = None
    if counted:
        lost_records = max(0, counted[0] - into.records)
        lost_states = max(0, counted[1] - into.states)
    return Salvaged(into.records, into.states, lost_records, lost_states)


def _take_over(source: Path, into: Database) -> tuple[Counted, bool]:
    """Copy the whole rows; return how many there were, and whether SQLite knows every table."""
    # Read-only: what is set aside stays as it was found.
    uri = f"{source.absolute().as_uri()}?mode=ro"
    try:
        connection = lenient(sqlite3.connect(uri, uri=True, isolation_level=None))
    except sqlite3.Error:
        return (), False
    counted: Counted = ()
    is_all = True
    with closing(connection):
        for table in (*SMALL, STATE, RECORD):
            if not _is_known(connection, table):
                is_all = False
                continue
            for rows in _batches(_whole_rows(connection, table)):
                into.adopt(table, rows)
                if table is META:
                    counted = _counted(rows) or counted
    return counted, is_all


def _is_known(connection: sqlite3.Connection, table: Table) -> bool:
    try:
        # So that a file that was cut off is read as far as it goes.
        connection.execute("PRAGMA writable_schema=ON")
        connection.execute(f"SELECT {table.select} FROM {table.name} LIMIT 0")  # noqa: S608
    except (sqlite3.Error, UnicodeDecodeError):
        return False
    return True


def _counted(rows: Iterable[Row]) -> Counted:
    for key, value, _ in rows:
        if key == "count":
            records, _, states = value.partition(" ")
            return int(records), int(states)
    return ()


def _copy_with_whole_head(source: Path, copy: Path, model: Database) -> None:
    """Copy a file, its first page replaced by that of a new one.

    Raises:
        OSError: there is no room for it.
    """
    model.settle()
    with model.path.open("rb") as file:
        head = bytearray(file.read(_PAGE_BYTES))
    for side in _SIDES:
        if Path(f"{source}{side}").exists():
            shutil.copyfile(f"{source}{side}", f"{copy}{side}")
    copy.touch()  # what SQLite keeps beside a file may be all that is left of it
    pages = copy.stat().st_size // _PAGE_BYTES
    # SQLite's file format, 1.3: the size in pages, and where the list of free pages begins.
    head[28:32] = pages.to_bytes(4, "big")
    head[32:40] = bytes(8)
    with copy.open("r+b") as file:
        file.write(head)


def _whole_rows(connection: sqlite3.Connection, table: Table) -> Iterator[Row]:
    for numbered in _rows(connection, table):
        if table.is_whole(numbered[1:]):
            yield numbered[1:]


def _rows(connection: sqlite3.Connection, table: Table) -> Iterator[Row]:
    """Yield every row that can be read with its number before it, some of them twice."""
    up = _Scan(connection, table, "ASC")
    yield from up
    if up.is_whole:
        return
    down = _Scan(connection, table, "DESC")
    yield from down
    gaps = deque([(_beyond(up, 1, 1), _beyond(down, -1, _highest(connection, table)))])
    for _ in range(MOST_TRIES):
        if not gaps:
            return
        low, high = gaps.popleft()
        if low == high:
            yield from _Scan(connection, table, "ASC", (low, high))
            continue
        up = _Scan(connection, table, "ASC", (low, high))
        yield from up
        if up.is_whole:
            continue
        down = _Scan(connection, table, "DESC", (low, high))
        yield from down
        low, high = _beyond(up, 1, low), _beyond(down, -1, high)
        if low <= high:
            middle = (low + high) // 2
            halves = ((low, middle), (middle + 1, high))
            gaps.extend(half for half in halves if half[0] <= half[1])


class _Scan:
    """The rows of a table in the order of their numbers, as far as they can be read."""

    def __init__(
        self,
        connection: sqlite3.Connection,
        table: Table,
        order: str,
        between: tuple[int, int] | None = None,
    ) -> None:
        where = ""
        self._values: tuple[int, ...] = between or ()
        if between is not None and between[0] == between[1]:
            # A range would look at the row after it, which may be damaged.
            where, self._values = f"WHERE {table.number} = ?", between[:1]
        elif between is not None:
            where = f"WHERE {table.number} BETWEEN ? AND ?"
        self._connection = connection
        self._query = (
            f"SELECT {table.number}, {table.select} FROM {table.name} {where}"  # noqa: S608
            f" ORDER BY {table.number} {order}"
        )
        self.last: int | None = None
        """The number of the last row that could be read; None before the first."""
        self.is_whole = False
        """Whether there was no row that could not be read."""

    def __iter__(self) -> Iterator[Row]:
        try:
            with closing(self._connection.execute(self._query, self._values)) as rows:
                for row in rows:
                    self.last = row[0]
                    yield row
            self.is_whole = True
        except (sqlite3.Error, MemoryError, OverflowError) as error:
            logger.debug("a scan breaks off after %s: %s", self.last, error)


def _beyond(scan: _Scan, step: int, end: int) -> int:
    """Return the first number that a scan did not come to, `end` where it came to none."""
    return end if scan.last is None else scan.last + step


def _highest(connection: sqlite3.Connection, table: Table) -> int:
    """Return a number that none in a table is above, as low as can be found."""
    query = f"SELECT max({table.number}) FROM {table.name} WHERE {table.number} < ?"  # noqa: S608
    for exponent in range(62, 0, -1):
        try:
            connection.execute(query, (1 << exponent,)).fetchone()
        except sqlite3.Error:
            continue
        return 1 << exponent + 1
    return 0


def _batches(rows: Iterator[Row]) -> Iterator[list[Row]]:
    batch: list[Row] = []
    for row in rows:
        batch.append(row)
        if len(batch) == BATCH:
            yield batch
            batch = []
    if batch:
        yield batch
