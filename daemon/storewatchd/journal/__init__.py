"""What is true on this node, and what PostgreSQL has not confirmed: state.db.

An append returns when it is on disk; appends that wait together share one commit. Records carry
`(epoch, seq)` and a checksum; `seq` only ever rises on a node, the epoch is new at every start.
"""

from storewatchd.journal.database import StoredRecord
from storewatchd.journal.journal import Gap, Journal, Record, StateChange

__all__ = ["Gap", "Journal", "Record", "StateChange", "StoredRecord"]
