"""The SQLite file under the journal: blocking calls, made by the journal's own thread only."""

import logging
import sqlite3
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path

import msgspec

from storewatchd.errors import JournalDamaged, JournalError
from storewatchd.journal.failures import failure
from storewatchd.journal.records import NOTICE, Counted, Notice, Rebuild, StoredRecord
from storewatchd.journal.tables import (
    CURSOR,
    EPOCH,
    META,
    RECORD,
    SCHEMA,
    SCHEMA_VERSION,
    SMALL,
    STATE,
    Row,
    Table,
    record_checksum,
    record_of,
    schema_as_kept,
    state_checksum,
    with_checksum,
)

logger = logging.getLogger(__name__)

Change = tuple[str, str, bytes | None]
"""Kind, key and value of a piece of state; None forgets it."""

RECORD_BYTES = 100
"""What a record takes in the file beside its texts, about."""

PRUNE_STEP = 10_000
"""How many records are dropped in one transaction at most."""

WAL_BYTES = 4 << 20
"""What the write-ahead log shrinks to when it begins anew."""


def lenient(connection: sqlite3.Connection) -> sqlite3.Connection:
    """Let a text that a flipped bit made undecodable through: its row's checksum is wrong then."""
    connection.text_factory = partial(str, encoding="utf-8", errors="replace")
    return connection


class Database:
    """An open state.db. Every method raises sqlite3.Error as it comes."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.node = ""
        self.records = 0
        """How many records there are, as the file counts them."""
        self.states = 0
        """How many pieces of state there are, as the file counts them."""
        self.spoilt: set[int] = set()
        """The numbers of records that were read since the start and are not as they were
        written."""
        self._record_bytes: int | None = None  # as it was counted, None where it has to be
        self._connection = lenient(
            sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=1.0)
        )

    @classmethod
    def open(cls, path: Path) -> "Database":
        """Open the file, making it where there is none.

        Raises:
            JournalDamaged: it is damaged or no journal.
            JournalError: it cannot be opened, or is from a newer version.
        """
        is_new = not path.exists()
        try:
            database = cls(path)
        except sqlite3.Error as error:
            raise JournalError(f"{path} cannot be opened: {error}") from error
        try:
            database._prepare(is_new)
        except BaseException as error:
            database.close()
            # SQLite's words are no UTF-8 where they quote a damaged schema.
            if isinstance(error, sqlite3.Error | UnicodeDecodeError | MemoryError):
                raise failure(path, error) from error
            raise
        return database

    def _prepare(self, is_new: bool) -> None:
        run = self._connection.execute
        if is_new:
            run("PRAGMA auto_vacuum=INCREMENTAL")
        run("PRAGMA journal_mode=WAL")
        run("PRAGMA synchronous=FULL")
        run(f"PRAGMA journal_size_limit={WAL_BYTES}")
        if is_new:
            with self._transaction():
                for statement in SCHEMA.split(";"):
                    run(statement)
                self.set_meta("schema", str(SCHEMA_VERSION))
        self._check()
        counted = self.counted()
        self.records, self.states = counted.records, counted.states

    def _check(self) -> None:
        """Check all but the rows of state and of records.

        Raises:
            JournalDamaged, JournalError: as for `open`.
        """
        version = int(self.meta("schema") or 0)
        if version > SCHEMA_VERSION:
            raise JournalError(
                f"{self.path} is from a newer version ({version}, this one knows "
                f"{SCHEMA_VERSION}): install that version again"
            )
        # Not the quick check: a row that its index does not know is lost to whoever asks by key.
        found = self._connection.execute("PRAGMA integrity_check(1)").fetchone()[0]
        if found != "ok":
            raise JournalDamaged(f"{self.path} is damaged or no journal: {found}")
        schema = self._connection.execute("SELECT sql FROM sqlite_master WHERE sql IS NOT NULL")
        if [sql for (sql,) in schema] != schema_as_kept():
            raise JournalDamaged(f"{self.path} is damaged: its schema is spoilt")
        for table in SMALL:
            if table.damaged(self._connection):
                raise JournalDamaged(f"{self.path} is damaged: the table {table.name} is spoilt")
        if version == 0:
            raise JournalDamaged(f"{self.path} is damaged or no journal: it does not say its kind")

    def close(self) -> None:
        self._connection.close()

    # Small facts.

    def meta(self, key: str) -> str | None:
        row = self._connection.execute(
            f"SELECT {META.select} FROM meta WHERE key = ?",  # noqa: S608
            (key,),
        ).fetchone()
        return str(row[1]) if row is not None and META.is_whole(row) else None

    def set_meta(self, key: str, value: str) -> None:
        self._connection.execute(
            "INSERT INTO meta (key, value, checksum) VALUES (?, ?, ?) ON CONFLICT (key) DO UPDATE "
            "SET value = excluded.value, checksum = excluded.checksum",
            with_checksum(META, key, value),
        )

    def counted(self) -> Counted:
        """Return which rows there are, as the last write noted it."""
        return Counted.from_text(self.meta("count") or "")

    def epochs(self) -> dict[str, int]:
        """Return every epoch's first number, in the order of these."""
        rows = self._connection.execute("SELECT epoch, first_seq FROM epoch ORDER BY first_seq, id")
        return {str(epoch): int(first_seq) for epoch, first_seq in rows.fetchall()}

    def start_epoch(self, epoch: str, first_seq: int, now: float) -> None:
        """Begin an epoch, linked to the one before."""
        previous = list(self.epochs())[-1:] or [""]
        self._connection.execute(
            EPOCH.insert, with_checksum(EPOCH, epoch, previous[0], first_seq, now)
        )

    def last_seq(self) -> int:
        return int(
            self._connection.execute("SELECT coalesce(max(seq), 0) FROM record").fetchone()[0]
        )

    # Writing.

    def write(
        self,
        records: Sequence[StoredRecord],
        changes: Iterable[Change],
        meta: Iterable[tuple[str, str]] = (),
    ) -> None:
        """Write records, state changes and facts in one durable transaction."""
        with self._transaction():
            if self._record_bytes is not None:
                self._record_bytes += sum(map(_size, records))
            self.records += self._connection.executemany(
                f"INSERT INTO record ({RECORD.columns}) VALUES (?,?,?,?,?,?,?,?,?,?)",  # noqa: S608
                map(_row, records),
            ).rowcount
            for kind, key, value in changes:
                self._change(kind, key, value)
            for key, text in meta:
                self.set_meta(key, text)

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        """Do everything or nothing, durably, and note what rows there are then."""
        before = self.records, self.states
        try:
            with self._connection:
                self._connection.execute("BEGIN IMMEDIATE")
                yield
                highest = self._connection.execute(
                    "SELECT coalesce((SELECT max(seq) FROM record), 0),"
                    " coalesce((SELECT max(id) FROM state), 0)"
                ).fetchone()
                counted = Counted(self.records, self.states, *highest)
                self.set_meta("count", counted.to_text())
        except BaseException:
            self.records, self.states = before
            self._record_bytes = None
            raise

    def _change(self, kind: str, key: str, value: bytes | None) -> None:
        run = self._connection.execute
        if value is None:
            forgotten = run("DELETE FROM state WHERE kind = ? AND key = ?", (kind, key))
            self.states -= forgotten.rowcount
            return
        row = (value, state_checksum(kind, key, value), kind, key)
        statement = "UPDATE state SET value = ?, checksum = ? WHERE kind = ? AND key = ?"
        if not run(statement, row).rowcount:
            run("INSERT INTO state (value, checksum, kind, key) VALUES (?,?,?,?)", row)
            self.states += 1

    def _note(self, notice: Notice) -> None:
        told = msgspec.json.encode({"kind": notice.kind, "facts": notice.facts})
        self._change(NOTICE, notice.key, told)

    def notices(self) -> list[Notice]:
        """Return what has to be told still, in its order."""
        query = "SELECT CAST(key AS TEXT) FROM state WHERE kind = ? ORDER BY id"
        keys = [key for (key,) in self._connection.execute(query, (NOTICE,)).fetchall()]
        states = self.state(NOTICE)
        told = {key: msgspec.json.decode(states[key]) for key in keys if key in states}
        return [Notice(one["kind"], one["facts"], key) for key, one in told.items()]

    def set_cursor(self, name: str, seq: int, *, back: bool = False) -> None:
        """Move a cursor forward; or back, which it never goes unasked."""
        known = 0 if back else self.cursors().get(name, 0)
        self._connection.execute(
            "INSERT INTO cursor (name, seq, checksum) VALUES (?, ?, ?) ON CONFLICT (name) "
            "DO UPDATE SET seq = excluded.seq, checksum = excluded.checksum",
            with_checksum(CURSOR, name, max(seq, known)),
        )

    def adopt(self, table: Table, rows: Sequence[Row]) -> None:
        """Put whole rows of another file, unless there is one in their place."""
        self._record_bytes = None
        with self._transaction():
            added = self._connection.executemany(table.insert, rows).rowcount
            if table is RECORD:
                self.records += added
            elif table is STATE:
                self.states += added

    def settle(self) -> None:
        """Bring everything from the write-ahead log into the file itself.

        Raises:
            JournalError: something else reads it.
        """
        busy, _, _ = self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        if busy:
            raise JournalError(f"{self.path} is in use by another program")

    def checkpoint(self) -> None:
        """Bring what can be brought from the write-ahead log into the file; a disk that is full
        for that is no error."""
        try:
            self._connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()
        except sqlite3.OperationalError as error:
            logger.debug("the write-ahead log stays as it is: %s", error)

    # Dropping.

    def prune(self, keep: int, *, before: int) -> int:
        """Drop the oldest records beyond `keep` whose number is at most `before`, so many at a
        time; return the number of the last record that was ever dropped."""
        over = min(self.records - keep, PRUNE_STEP)
        if over > 0:
            self.drop(min(self.number_of(over), before))
        return self.pruned()

    def number_of(self, count: int) -> int:
        """Return the number of the last of so many oldest records, 0 where there is none."""
        row = self._connection.execute(
            "SELECT seq FROM record ORDER BY seq LIMIT 1 OFFSET ?", (count - 1,)
        ).fetchone()
        return 0 if row is None else int(row[0])

    def drop(self, last: int, notice: Notice | None = None) -> None:
        """Drop the records up to a number, and note what has to be told of it."""
        first = self.first_after(0)
        if first is None or first[0] > last:
            return
        with self._transaction():
            if self._record_bytes is not None:
                self._record_bytes -= self._bytes_upto(last)
            dropped = self._connection.execute("DELETE FROM record WHERE seq <= ?", (last,))
            self.records -= dropped.rowcount
            self.set_meta("pruned", str(last))
            if notice is not None:
                self._note(notice)

    def pruned(self) -> int:
        """Return the number of the last record that was ever dropped, 0 for none."""
        return int(self.meta("pruned") or 0)

    def damaged_states(self) -> list[int]:
        """Return the row numbers of the pieces of state that are not as they were written."""
        return STATE.damaged(self._connection)

    def take_out(
        self,
        records: Collection[int],
        states: Collection[int],
        notice: Notice,
        *,
        rebuild: Rebuild | None = None,
    ) -> None:
        """Drop rows that are not as they were written, and note what has to be told of it."""
        run = self._connection.executemany
        self._record_bytes = None
        with self._transaction():
            gone = run("DELETE FROM record WHERE seq = ?", [(seq,) for seq in records])
            self.records -= gone.rowcount
            gone = run("DELETE FROM state WHERE id = ?", [(number,) for number in states])
            self.states -= gone.rowcount
            self._note(notice)
            if rebuild is not None:
                self.set_meta("rebuild", rebuild)
        self.spoilt.difference_update(records)

    # Size.

    def used_bytes(self) -> int:
        """Return what the file holds, without the pages that are free in it."""
        return (self.pages() - self.free_pages()) * self._pragma("page_size")

    def record_bytes(self) -> int:
        """Return about how much of that are records. It is counted when it is asked for the first
        time, and kept from then on."""
        if self._record_bytes is None:
            self._record_bytes = self._bytes_upto((1 << 63) - 1)
        return self._record_bytes

    def _bytes_upto(self, last: int) -> int:
        query = "SELECT total(length(data) + length(reason) + ?) FROM record WHERE seq <= ?"
        return int(self._connection.execute(query, (RECORD_BYTES, last)).fetchone()[0])

    def pages(self) -> int:
        return self._pragma("page_count")

    def free_pages(self) -> int:
        return self._pragma("freelist_count")

    def shrink(self, pages: int) -> None:
        """Give so many free pages back to the file system."""
        self._connection.execute(f"PRAGMA incremental_vacuum({pages:d})").fetchall()

    def _pragma(self, name: str) -> int:
        return int(self._connection.execute(f"PRAGMA {name}").fetchone()[0])

    # Reading.

    def state(self, kind: str) -> dict[str, bytes]:
        """Return the state of one kind; a row whose checksum is wrong is left out and logged."""
        found: dict[str, bytes] = {}
        query = f"SELECT {STATE.select} FROM state WHERE kind = ?"  # noqa: S608
        with closing(self._connection.execute(query, (kind,))) as rows:
            for row in rows:
                if STATE.is_whole(row):
                    found[row[1]] = row[2]
                else:
                    logger.error("state.db: the %s %s is damaged and left out", kind, row[1])
        return found

    def state_of(self, kind: str, key: str) -> bytes | None:
        """Return one piece of state, None where there is none or its checksum is wrong."""
        query = f"SELECT {STATE.select} FROM state WHERE kind = ? AND key = ?"  # noqa: S608
        row = self._connection.execute(query, (kind, key)).fetchone()
        if row is None or not STATE.is_whole(row):
            return None
        value: bytes = row[2]
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

    def count_after(self, seq: int, upto: int | None = None) -> int:
        """Return how many records come after a number, up to another one."""
        last = (1 << 63) - 1 if upto is None else upto
        query = "SELECT count(*) FROM record WHERE seq > ? AND seq <= ?"
        return int(self._connection.execute(query, (seq, last)).fetchone()[0])

    def first_after(self, seq: int) -> tuple[int, float | None] | None:
        """Return number and time of the first record after a number, None where there is none; a
        record that is damaged may have no time."""
        query = "SELECT seq, CAST(time AS REAL) FROM record WHERE seq > ? ORDER BY seq LIMIT 1"
        row = self._connection.execute(query, (seq,)).fetchone()
        return None if row is None else (int(row[0]), row[1])

    def first_at(self, time: float) -> int | None:
        """Return the number of the first record of a time or later, None where there is none."""
        query = "SELECT seq FROM record WHERE CAST(time AS REAL) >= ? ORDER BY seq LIMIT 1"
        row = self._connection.execute(query, (time,)).fetchone()
        return None if row is None else int(row[0])

    def _select(self, clause: str, values: Sequence[object]) -> list[StoredRecord]:
        return [record for _, record in self._rows(clause, values) if record is not None]

    def _rows(self, clause: str, values: Sequence[object]) -> list[tuple[int, StoredRecord | None]]:
        """Return numbers and records, None for one that is damaged."""
        found: list[tuple[int, StoredRecord | None]] = []
        # The clause is one of this module's own; what varies in it are counts of placeholders.
        query = f"SELECT {RECORD.select} FROM record {clause}"  # noqa: S608
        with closing(self._connection.execute(query, values)) as rows:
            for row in rows:
                is_whole = RECORD.is_whole(row)
                found.append((row[0], record_of(self.node, row) if is_whole else None))
                if not is_whole and row[0] not in self.spoilt:
                    self.spoilt.add(row[0])
                    logger.error("state.db: record %d is damaged and left out", row[0])
        return found


def _filter(types: Collection[str] | None, events_only: bool) -> tuple[str, tuple[str, ...]]:
    where = " AND event" if events_only else ""
    if types is not None:
        where += f" AND type IN ({','.join('?' * len(types))})"
    return where, tuple(types or ())


def _size(record: StoredRecord) -> int:
    return len(record.data) + len(record.reason) + RECORD_BYTES


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
        record_checksum(record),
    )
