"""The tables of state.db: what their rows are made of, and by which checksum a row is whole.

Every table has an integer key, so that all of them are salvaged the same way.
"""

import sqlite3
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Any

from storewatchd.journal.records import StoredRecord, checksum_of

SCHEMA_VERSION = 1

SCHEMA = """
CREATE TABLE meta (
    id INTEGER PRIMARY KEY,
    key TEXT NOT NULL UNIQUE,
    value TEXT NOT NULL,
    checksum INTEGER NOT NULL
);
CREATE TABLE epoch (
    id INTEGER PRIMARY KEY,
    epoch TEXT NOT NULL UNIQUE,
    previous TEXT NOT NULL,
    first_seq INTEGER NOT NULL,
    started_at REAL NOT NULL,
    checksum INTEGER NOT NULL
);
CREATE TABLE cursor (
    id INTEGER PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    seq INTEGER NOT NULL,
    checksum INTEGER NOT NULL
);
CREATE TABLE state (
    id INTEGER PRIMARY KEY,
    kind TEXT NOT NULL,
    key TEXT NOT NULL,
    value BLOB NOT NULL,
    checksum INTEGER NOT NULL,
    UNIQUE (kind, key)
);
CREATE TABLE record (
    seq INTEGER PRIMARY KEY,
    epoch TEXT NOT NULL,
    time REAL NOT NULL,
    type TEXT NOT NULL,
    kind TEXT NOT NULL,
    key TEXT NOT NULL,
    event INTEGER NOT NULL,
    data BLOB NOT NULL,
    reason BLOB NOT NULL,
    checksum INTEGER NOT NULL
);
CREATE INDEX record_key ON record (key, seq) WHERE key <> '';
"""


def schema_as_kept() -> list[str]:
    """Return the schema as SQLite keeps it in every file: a flipped bit in it changes what the
    values of a column become."""
    with closing(sqlite3.connect(":memory:")) as connection:
        connection.executescript(SCHEMA)
        kept = connection.execute("SELECT sql FROM sqlite_master WHERE sql IS NOT NULL")
        return [sql for (sql,) in kept]


Row = tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class Table:
    """A table. `select` asks for each column as the type that it was written as: a flipped bit can
    change that, and the bytes are what the checksum is over."""

    name: str
    number: str
    columns: str
    select: str
    checksum: Callable[[Row], int]  # of a row without its own

    @property
    def insert(self) -> str:
        """Return the statement that puts a row with its checksum, unless it is there."""
        places = ",".join("?" * (self.columns.count(",") + 1))
        # Names and columns are this module's own.
        return f"INSERT OR IGNORE INTO {self.name} ({self.columns}) VALUES ({places})"  # noqa: S608

    def is_whole(self, row: Row) -> bool:
        """Return whether a row with its checksum is as it was written."""
        return None not in row and bool(row[-1] == self.checksum(row[:-1]))

    def damaged(self, connection: sqlite3.Connection) -> list[int]:
        """Return the numbers of the rows that are not as they were written.

        Raises:
            sqlite3.Error: not even that can be read.
        """
        rows = connection.execute(
            f"SELECT {self.number}, {self.select} FROM {self.name}"  # noqa: S608
        )
        return [row[0] for row in rows if not self.is_whole(row[1:])]


def _texts(row: Row) -> int:
    return checksum_of(*(str(value).encode(errors="replace") for value in row))


def state_checksum(kind: str, key: str, value: bytes) -> int:
    return checksum_of(kind.encode(), key.encode(), value)


def record_checksum(record: StoredRecord) -> int:
    return checksum_of(
        record.epoch.encode(),
        f"{record.seq} {record.time!r} {record.event:d}".encode(),
        record.type.encode(),
        record.kind.encode(),
        record.key.encode(),
        record.data,
        record.reason,
    )


def _record_row_checksum(row: Row) -> int:
    return record_checksum(record_of("", row))


def record_of(node: str, row: Row) -> StoredRecord:
    """Return what a row of the table of records says."""
    seq, epoch, time, type_of, kind, key, event, data, reason = row[:9]
    return StoredRecord(node, epoch, seq, time, type_of, kind, key, bool(event), data, reason)


META = Table(
    "meta", "id", "key, value, checksum", "CAST(key AS TEXT), CAST(value AS TEXT), checksum", _texts
)
EPOCH = Table(
    "epoch",
    "id",
    "epoch, previous, first_seq, started_at, checksum",
    "CAST(epoch AS TEXT), CAST(previous AS TEXT), first_seq, CAST(started_at AS REAL), checksum",
    _texts,
)
CURSOR = Table("cursor", "id", "name, seq, checksum", "CAST(name AS TEXT), seq, checksum", _texts)
STATE = Table(
    "state",
    "id",
    "kind, key, value, checksum",
    "CAST(kind AS TEXT), CAST(key AS TEXT), CAST(value AS BLOB), checksum",
    lambda row: state_checksum(*row),
)
RECORD = Table(
    "record",
    "seq",
    "seq, epoch, time, type, kind, key, event, data, reason, checksum",
    "seq, CAST(epoch AS TEXT), CAST(time AS REAL), CAST(type AS TEXT), CAST(kind AS TEXT),"
    " CAST(key AS TEXT), event, CAST(data AS BLOB), CAST(reason AS BLOB), checksum",
    _record_row_checksum,
)

SMALL: Sequence[Table] = (META, EPOCH, CURSOR)
"""The tables without which nothing can be made of the others."""


def with_checksum(table: Table, *row: Any) -> Row:
    """Return a row as it is written."""
    return (*row, table.checksum(row))
