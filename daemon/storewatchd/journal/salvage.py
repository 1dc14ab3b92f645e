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
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from storewatchd.journal.database import Database, lenient
from storewatchd.journal.records import Counted
from storewatchd.journal.tables import META, RECORD, SMALL, STATE, Row, Table

logger = logging.getLogger(__name__)

BATCH = 500
NARROW = 64
"""In a range of so many numbers that cannot be read as a whole, each is asked for by itself."""

FARTHEST = 1 << 20
"""How far beyond what can be read numbers are looked for."""

MOST_TRIES = 10_000
"""How often a table is asked for a part of it, however much of it is damaged."""

_HIGHEST = (1 << 63) - 1

_PAGE_BYTES = 4096
_SIDES = ("", "-wal")


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
    if counted is None:
        return Salvaged(into.records, into.states, None, None)
    return Salvaged(
        into.records,
        into.states,
        max(0, counted.records - into.records),
        max(0, counted.states - into.states),
    )


def _take_over(source: Path, into: Database) -> tuple[Counted | None, bool]:
    """Copy the whole rows; return which there were by the file's own account, and whether SQLite
    knows every table."""
    # Read-only: what is set aside stays as it was found.
    uri = f"{source.absolute().as_uri()}?mode=ro"
    try:
        connection = lenient(sqlite3.connect(uri, uri=True, isolation_level=None))
    except sqlite3.Error:
        return None, False
    counted: Counted | None = None
    is_all = True
    with closing(connection):
        for table in (*SMALL, STATE, RECORD):
            if not _is_known(connection, table):
                is_all = False
                continue
            for rows in _batches(_whole_rows(connection, table, _highest(table, counted))):
                into.adopt(table, rows)
                for key, value, _ in rows if table is META else ():
                    counted = Counted.from_text(value) if key == "count" else counted
    return counted, is_all


def _highest(table: Table, counted: Counted | None) -> int | None:
    """Return the highest number that a table had, None where that is not known."""
    if counted is None or table in SMALL:
        return None
    return counted.last_seq if table is RECORD else counted.last_state


def _is_known(connection: sqlite3.Connection, table: Table) -> bool:
    try:
        # So that a file that was cut off is read as far as it goes.
        connection.execute("PRAGMA writable_schema=ON")
        connection.execute(f"SELECT {table.select} FROM {table.name} LIMIT 0")  # noqa: S608
    except (sqlite3.Error, UnicodeDecodeError):
        return False
    return True


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


def _whole_rows(connection: sqlite3.Connection, table: Table, highest: int | None) -> Iterator[Row]:
    for numbered in _rows(connection, table, highest):
        if table.is_whole(numbered[1:]):
            yield numbered[1:]


def _rows(connection: sqlite3.Connection, table: Table, highest: int | None) -> Iterator[Row]:
    """Yield every row that can be read with its number before it, many of them twice."""
    up, down = _Scan(connection, table, "ASC"), _Scan(connection, table, "DESC")
    yield from up
    if up.is_whole:
        return
    yield from down
    low, high = up.beyond(1), down.beyond(_HIGHEST)
    if high == _HIGHEST and highest is None:
        gaps = deque(_doubling(low))
    else:
        gaps = deque([(low, high if highest is None else min(high, highest))])
    tries = 0
    while gaps and tries < MOST_TRIES:
        low, high = gaps.popleft()
        if high - low < NARROW:
            # A range would look at the row after it, which may be damaged.
            for number in range(low, high + 1):
                yield from _Scan(connection, table, "ASC", (number, number))
            tries += NARROW
            continue
        up = _Scan(connection, table, "ASC", (low, high))
        yield from up
        down = _Scan(connection, table, "DESC", (low, high))
        yield from down
        tries += 2
        if up.is_whole and down.is_whole and up.count == down.count:
            continue
        low, high = up.beyond(low), down.beyond(high)
        middle = (low + high) // 2
        gaps.extend(((low, middle), (middle + 1, high)))


def _doubling(low: int) -> Iterator[tuple[int, int]]:
    """Yield ranges that begin at a number and are twice as long each time: the last rows cannot be
    read, and how far the numbers go is not known."""
    length = NARROW
    while length <= FARTHEST:
        yield low, low + length - 1
        low += length
        length *= 2


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
            where, self._values = f"WHERE {table.number} = ?", between[:1]
        elif between is not None:
            where = f"WHERE {table.number} BETWEEN ? AND ?"
        self._connection = connection
        self._query = (
            f"SELECT {table.number}, {table.select} FROM {table.name} {where}"  # noqa: S608
            f" ORDER BY {table.number} {order}"
        )
        self._step = 1 if order == "ASC" else -1
        self._last: int | None = None
        self._is_ordered = True
        self.count = 0
        self.is_whole = False
        """Whether it did not break off."""

    def __iter__(self) -> Iterator[Row]:
        try:
            with closing(self._connection.execute(self._query, self._values)) as rows:
                for row in rows:
                    before, self._last = self._last, row[0]
                    self.count += 1
                    if before is not None and (self._last - before) * self._step <= 0:
                        self._is_ordered = False
                    yield row
            self.is_whole = True
        except (sqlite3.Error, MemoryError, OverflowError) as error:
            logger.debug("a scan breaks off after %s: %s", self._last, error)

    def beyond(self, begin: int) -> int:
        """Return the first number that it did not come to; `begin` where that cannot be told."""
        if self._last is None or not self._is_ordered or (self._last - begin) * self._step < 0:
            return begin
        return min(self._last + self._step, _HIGHEST)


def _batches(rows: Iterator[Row]) -> Iterator[list[Row]]:
    batch: list[Row] = []
    for row in rows:
        batch.append(row)
        if len(batch) == BATCH:
            yield batch
            batch = []
    if batch:
        yield batch
