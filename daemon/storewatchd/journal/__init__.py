"""What is true on this node, and what PostgreSQL has not confirmed: state.db.

An append returns when it is on disk; appends that wait together share one commit. Records carry
`(epoch, seq)` and a checksum; `seq` only ever rises on a node, the epoch is new at every start.
What the journal has to tell of itself, and must not be lost either, are its notices.
"""

from storewatchd.journal.journal import Journal
from storewatchd.journal.records import (
    DRAIN,
    NOTICE,
    Facts,
    Gap,
    Notice,
    Rebuild,
    Record,
    StateChange,
    StoredRecord,
)
from storewatchd.journal.reserve import RESERVE_BYTES

__all__ = [
    "DRAIN",
    "NOTICE",
    "RESERVE_BYTES",
    "Facts",
    "Gap",
    "Journal",
    "Notice",
    "Rebuild",
    "Record",
    "StateChange",
    "StoredRecord",
]
