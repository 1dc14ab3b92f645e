"""The values that go into the journal and come out of it."""

import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

DRAIN = "drain"
"""The cursor of what PostgreSQL has confirmed."""

NOTICE = "notice"
"""The kind of state that a notice waits in until it is told."""


@dataclass(frozen=True, slots=True)
class Record:
    """What to append. `time` is Unix seconds; `data` and `reason` are JSON. Without `event`
    subscribers are not told: audit and state."""

    seq: int
    time: float
    type: str
    kind: str
    data: bytes
    key: str = ""
    event: bool = True
    reason: bytes = b"{}"


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


@dataclass(frozen=True, slots=True)
class StateChange:
    """A piece of what is true now; None forgets it."""

    kind: str
    key: str
    value: bytes | None


class Rebuild(StrEnum):
    """From where what may be missing of the state has to be taken: the `RECORDS` of this journal
    and then the `STORE`, or the store alone."""

    NONE = ""
    RECORDS = "records"
    STORE = "store"


@dataclass(frozen=True, slots=True)
class Gap:
    """A cursor that cannot be gone on from without missing something."""

    oldest_kept: int
    reason: str


@dataclass(frozen=True, slots=True)
class Notice:
    """What the journal has to tell of itself, as an event of the type `system`.

    It waits as a piece of state of the kind NOTICE under `key`, and is told over restarts until
    that is forgotten in the same append that tells it. Without a key it is not kept.
    """

    kind: str
    facts: Mapping[str, Any]
    key: str = ""


@dataclass(frozen=True, slots=True)
class Counted:
    """Which rows a file has by its own account: by that a loss is known, and where to look."""

    records: int = 0
    states: int = 0
    last_seq: int = 0
    last_state: int = 0

    def to_text(self) -> str:
        return f"{self.records} {self.states} {self.last_seq} {self.last_state}"

    @classmethod
    def from_text(cls, text: str) -> "Counted":
        return cls(*map(int, text.split()))


@dataclass(frozen=True, slots=True)
class Facts:
    """How the journal stands. Times are Unix seconds, sizes bytes on disk."""

    reserve_bytes: int  # held back for a full disk; 0 once it was given up
    free_bytes: int  # of the file system, as last looked at
    file_bytes: int  # of state.db with what SQLite keeps beside it
    damaged_bytes: int  # of damaged files that were set aside
    is_writable: bool
    unjournalled_total: int  # lines that were told before they were on disk
    lost_total: int  # records that were dropped or spoilt before PostgreSQL had them
    last_commit_seconds: float  # how long the last commit took
    appended_total: int  # records since the start
    unconfirmed: int  # records that PostgreSQL lacks
    oldest_unconfirmed: float | None  # None where PostgreSQL lacks none


def checksum_of(*parts: bytes) -> int:
    """Return a CRC-32 over parts and their lengths: SQLite itself notices few flipped bits."""
    total = 0
    for part in parts:
        total = zlib.crc32(part, zlib.crc32(len(part).to_bytes(8, "little"), total))
    return total
