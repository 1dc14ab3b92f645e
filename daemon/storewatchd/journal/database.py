"""The SQLite file under the journal: blocking calls, made by the journal's own thread only."""

import logging
import os
import sqlite3
import zlib
from collections.abc import Collection, Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from storewatchd.errors import JournalDamaged, JournalError

logger = logging.getLogger(__name__)

SCHEMA_VERSION = 1

_SCHEMA = """
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE epoch (
    epoch TEXT PRIMARY KEY,
    previous TEXT,
    first_seq INTEGER NOT NULL,
    started_at REAL NOT NULL
) WITHOUT ROWID;
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
CREATE TABLE state (
    kind TEXT NOT NULL,
    key TEXT NOT NULL,
    value BLOB NOT NULL,
    checksum INTEGER NOT NULL,
    PRIMARY KEY (kind, key)
) WITHOUT ROWID;
CREATE TABLE cursor (name TEXT PRIMARY KEY, seq INTEGER NOT NULL) WITHOUT ROWID;
"""

_COLUMNS = "seq, epoch, time, type, kind, key, event, data, reason, checksum"
# A flipped bit can change the type of a value; its bytes are what the checksum is over.
_TYPED_COLUMNS = (
    "seq, CAST(epoch AS TEXT), CAST(time AS REAL), CAST(type AS TEXT), CAST(kind AS TEXT),"
    " CAST(key AS TEXT), event, CAST(data AS BLOB), CAST(reason AS BLOB), checksum"
)

# What SQLite says of the file. Everything else it says of the disk, the memory or another process.
_DAMAGE = (sqlite3.SQLITE_ERROR, sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)


@dataclass(frozen=True, slots=True)
class StoredRecord:
    """A numbered line of what happened. `time` is Unix seconds; `data` and `reason` are JSON;
    `key` is the id of the alert or task that it is about. Without `event` subscribers are not
    told."""

    node: str
    epoch: str
    seq: int
    time: float
    type: str
    kind: str
    key: str
    event: bool
    data: bytes
    reason: bytes


def checksum_of(*parts: bytes) -> int:
    """Return a CRC-32 over parts and their lengths: SQLite itself notices few flipped bits."""
    total = 0
    for part in parts:
        total = zlib.crc32(part, zlib.crc32(len(part).to_bytes(8, "little"), total))
    return total


class Database:
    """An open state.db. Every method raises sqlite3.Error as it comes."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._connection = sqlite3.connect(
            path, isolation_level=None, check_same_thread=False, timeout=1.0
        )
        # A flipped bit can make a text undecodable; its row's checksum is wrong then.
        self._connection.text_factory = partial(str, encoding="utf-8", errors="replace")
        self.node = ""

    @classmethod
    def open(cls, path: Path) -> "Database":
        """Open the file, making it where there is none.

        Raises:
            JournalDamaged: it is damaged or no journal.
            JournalError: it cannot be opened, or is from a newer version.
        """
        try:
            database = cls(path)
        except sqlite3.Error as error:
            raise JournalError(f"{path} cannot be opened: {error}") from error
        try:
            database._prepare()
        except BaseException as error:
            database.close()
            # SQLite's words are no UTF-8 where they quote a damaged schema.
            if isinstance(error, sqlite3.Error | UnicodeDecodeError):
                raise failure(path, error) from error
            raise
        return database

    def _prepare(self) -> None:
        run = self._connection.execute
        run("PRAGMA journal_mode=WAL")
        run("PRAGMA synchronous=FULL")
        run("PRAGMA foreign_keys=ON")
        version = run("PRAGMA user_version").fetchone()[0]
        if version > SCHEMA_VERSION:
            raise JournalError(
                f"{self._path} is from a newer version ({version}, this one knows "
                f"{SCHEMA_VERSION}): install that version again"
            )
        if version == 0:
            self._connection.executescript(
                f"BEGIN IMMEDIATE; {_SCHEMA} PRAGMA user_version={SCHEMA_VERSION}; COMMIT;"
            )
        found = run("PRAGMA quick_check(1)").fetchone()[0]
        if found != "ok":
            raise JournalDamaged(f"{self._path} is damaged or no journal: {found}")

    def close(self) -> None:
        self._connection.close()

    # Small facts.

    def meta(self, key: str) -> str | None:
        row = self._connection.execute("SELECT value FROM meta WHERE key = ?", (key,)).fetchone()
        return None if row is None else str(row[0])

    def set_meta(self, key: str, value: str) -> None:
        self._connection.execute(
            "INSERT INTO meta VALUES (?, ?) ON CONFLICT (key) DO UPDATE SET value = excluded.value",
            (key, value),
        )

    def epochs(self) -> dict[str, int]:
        """Return every epoch's first number."""
        rows = self._connection.execute("SELECT epoch, first_seq FROM epoch").fetchall()
        return {str(epoch): int(first_seq) for epoch, first_seq in rows}

    def start_epoch(self, epoch: str, first_seq: int, now: float) -> None:
        """Begin an epoch, linked to the one before."""
        previous = self._connection.execute(
            "SELECT epoch FROM epoch ORDER BY first_seq DESC, started_at DESC LIMIT 1"
        ).fetchone()
        self._connection.execute(
            "INSERT INTO epoch VALUES (?, ?, ?, ?)",
            (epoch, previous[0] if previous else None, first_seq, now),
        )

    def last_seq(self) -> int:
        return int(
            self._connection.execute("SELECT coalesce(max(seq), 0) FROM record").fetchone()[0]
        )

    # Writing.

    def write(
        self,
        records: Iterable[StoredRecord],
        changes: Iterable[tuple[str, str, bytes | None]],
        meta: Iterable[tuple[str, str]] = (),
    ) -> None:
        """Write records, state changes and facts in one durable transaction."""
        run = self._connection.execute
        with self._connection:
            run("BEGIN IMMEDIATE")
            self._connection.executemany(
                f"INSERT INTO record ({_COLUMNS}) VALUES (?,?,?,?,?,?,?,?,?,?)",  # noqa: S608
                map(_row, records),
            )
            for kind, key, value in changes:
                if value is None:
                    run("DELETE FROM state WHERE kind = ? AND key = ?", (kind, key))
                else:
                    run(
                        "INSERT INTO state VALUES (?,?,?,?) ON CONFLICT (kind, key) DO UPDATE "
                        "SET value = excluded.value, checksum = excluded.checksum",
                        (kind, key, value, checksum_of(kind.encode(), key.encode(), value)),
                    )
            for key, text in meta:
                self.set_meta(key, text)

    def set_cursor(self, name: str, seq: int) -> None:
        """Move a cursor forward; it never goes back."""
        self._connection.execute(
            "INSERT INTO cursor VALUES (?, ?) ON CONFLICT (name) DO UPDATE "
            "SET seq = max(seq, excluded.seq)",
            (name, seq),
        )

    def prune(self, keep: int, *, before: int) -> int:
        """Drop the oldest records beyond `keep` whose number is at most `before`; return the
        number of the last record that was ever dropped."""
        run = self._connection.execute
        newest_to_drop = run(
            "SELECT max(seq) FROM record WHERE seq <= ? AND seq <= "
            "(SELECT seq FROM record ORDER BY seq DESC LIMIT 1 OFFSET ?)",
            (before, keep),
        ).fetchone()[0]
        if newest_to_drop is not None:
            with self._connection:
                run("BEGIN IMMEDIATE")
                run("DELETE FROM record WHERE seq <= ?", (newest_to_drop,))
                self.set_meta("pruned", str(newest_to_drop))
        return self.pruned()

    def pruned(self) -> int:
        """Return the number of the last record that was ever dropped, 0 for none."""
        return int(self.meta("pruned") or 0)

    # Reading.

    def state(self, kind: str) -> dict[str, bytes]:
        """Return the state of one kind; a row whose checksum is wrong is left out and logged."""
        found: dict[str, bytes] = {}
        for key, value, checksum in self._connection.execute(
            "SELECT CAST(key AS TEXT), CAST(value AS BLOB), checksum FROM state WHERE kind = ?",
            (kind,),
        ):
            if checksum == checksum_of(kind.encode(), key.encode(), value):
                found[key] = value
            else:
                logger.error("state.db: the %s %s is damaged and left out", kind, key)
        return found

    def state_of(self, kind: str, key: str) -> bytes | None:
        """Return one piece of state, None where there is none or its checksum is wrong."""
        row = self._connection.execute(
            "SELECT CAST(value AS BLOB), checksum FROM state WHERE kind = ? AND key = ?",
            (kind, key),
        ).fetchone()
        if row is None or row[1] != checksum_of(kind.encode(), key.encode(), row[0]):
            return None
        value: bytes = row[0]
        return value

    def cursors(self) -> dict[str, int]:
        rows = self._connection.execute("SELECT name, seq FROM cursor").fetchall()
        return {str(name): int(seq) for name, seq in rows}

    def read(
        self, after: int, limit: int, types: Collection[str] | None, events_only: bool
    ) -> list[StoredRecord]:
        """Return the records after a number, in ascending order; none only at the end."""
        where, values = _filter(types, events_only)
        clause = f"WHERE seq > ?{where} ORDER BY seq LIMIT ?"
        while True:
            rows = self._rows(clause, (after, *values, limit))
            found = [record for _, record in rows if record is not None]
            if found or not rows:
                return found
            after = rows[-1][0]  # every one of them is damaged

    def tail(
        self, limit: int, types: Collection[str] | None, events_only: bool
    ) -> list[StoredRecord]:
        """Return the newest records, in ascending order."""
        where, values = _filter(types, events_only)
        return self._select(f"WHERE 1{where} ORDER BY seq DESC LIMIT ?", (*values, limit))[::-1]

    def history(self, key: str) -> list[StoredRecord]:
        """Return the records about one alert or task, in ascending order."""
        return self._select("WHERE key = ? AND key <> '' ORDER BY seq", (key,))

    def count_after(self, seq: int) -> tuple[int, float | None]:
        """Return how many records come after a number, and the time of the first of them."""
        row = self._connection.execute(
            "SELECT count(*), min(time) FROM record WHERE seq > ?", (seq,)
        ).fetchone()
        return int(row[0]), row[1]

    def _select(self, clause: str, values: Sequence[object]) -> list[StoredRecord]:
        return [record for _, record in self._rows(clause, values) if record is not None]

    def _rows(self, clause: str, values: Sequence[object]) -> list[tuple[int, StoredRecord | None]]:
        """Return numbers and records, None for one that is damaged."""
        found: list[tuple[int, StoredRecord | None]] = []
        # The clause is one of this module's own; what varies in it are counts of placeholders.
        query = f"SELECT {_TYPED_COLUMNS} FROM record {clause}"  # noqa: S608
        with closing(self._connection.execute(query, values)) as rows:
            for seq, epoch, time, kind_of, kind, key, event, data, reason, checksum in rows:
                record = StoredRecord(
                    self.node, epoch, seq, time, kind_of, kind, key, bool(event), data, reason
                )
                is_whole = checksum == _checksum(record)
                found.append((seq, record if is_whole else None))
                if not is_whole:
                    logger.error("state.db: record %d is damaged and left out", seq)
        return found


def failure(path: Path, error: Exception) -> JournalError:
    """Return what an error at the opening of a file means; that nothing can be made of its
    content is damage too."""
    # The last byte of an extended code is the code itself.
    if isinstance(error, sqlite3.Error) and error.sqlite_errorcode & 0xFF not in _DAMAGE:
        return JournalError(f"{path} cannot be used: {error}")
    return JournalDamaged(f"{path} is damaged or no journal: {error}")


def _filter(types: Collection[str] | None, events_only: bool) -> tuple[str, tuple[str, ...]]:
    where = " AND event" if events_only else ""
    if types is not None:
        where += f" AND type IN ({','.join('?' * len(types))})"
    return where, tuple(types or ())


def _checksum(record: StoredRecord) -> int:
    return checksum_of(
        record.epoch.encode(),
        f"{record.seq} {record.time!r} {record.event:d}".encode(),
        record.type.encode(),
        record.kind.encode(),
        record.key.encode(),
        record.data,
        record.reason,
    )


def _row(record: StoredRecord) -> tuple[object, ...]:
    return (
        record.seq,
        record.epoch,
        record.time,
        record.type,
        record.kind,
        record.key,
        int(record.event),
        record.data,
        record.reason,
        _checksum(record),
    )


def set_aside(path: Path, suffix: str) -> Path:
    """Rename a file that cannot be used, with what SQLite keeps beside it; return its new name."""
    aside = path.with_name(f"{path.name}.{suffix}")
    for extension in ("", "-wal", "-shm"):
        beside = Path(f"{path}{extension}")
        if beside.exists():
            os.replace(beside, f"{aside}{extension}")
    return aside
