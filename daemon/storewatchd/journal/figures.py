"""What is known of the journal without asking its file: kept by its thread, for anybody."""

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from storewatchd.journal import damaged
from storewatchd.journal.database import Database
from storewatchd.journal.records import Rebuild, StoredRecord


@dataclass(slots=True)
class Figures:
    """How the journal stands. `confirmed` is the number up to which PostgreSQL has everything."""

    confirmed: int
    pruned: int
    rebuild: Rebuild
    unconfirmed: int = 0
    oldest_unconfirmed: float | None = None
    appended_total: int = 0
    lost_total: int = 0
    last_commit_s: float = 0.0
    file_bytes: int = 0
    damaged_bytes: int = 0

    def note_written(self, records: Sequence[StoredRecord], took_s: float) -> None:
        """Note a commit."""
        self.last_commit_s = took_s
        self.appended_total += len(records)
        if records and not self.unconfirmed:
            self.oldest_unconfirmed = records[0].time
        self.unconfirmed += len(records)

    def note_confirmed(self, database: Database, seq: int) -> None:
        """Note that PostgreSQL has everything up to a number."""
        if seq > self.confirmed:
            self.unconfirmed -= database.count_after(self.confirmed, seq)
            self.confirmed = seq
            self._date(database)

    def count(self, database: Database) -> None:
        """Count what PostgreSQL lacks, which takes longer than to follow it."""
        self.unconfirmed = database.count_after(self.confirmed)
        self._date(database)

    def measure(self, path: Path) -> None:
        """Look how large the file is, with what SQLite keeps beside it."""
        self.file_bytes = sum(map(_size, (path, Path(f"{path}-wal"))))

    def measure_damaged(self, directory: Path) -> None:
        """Look how large the damaged files are that were set aside."""
        # What is removed meanwhile is measured the next time.
        with contextlib.suppress(OSError):
            self.damaged_bytes = damaged.size(directory)

    def _date(self, database: Database) -> None:
        first = database.first_after(self.confirmed)
        self.oldest_unconfirmed = None if first is None else first[1]


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0
