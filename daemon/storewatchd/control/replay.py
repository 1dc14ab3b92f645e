"""What was told so far: from the journal, and behind it what is told and not on disk yet."""

from collections.abc import Callable, Collection, Sequence

import msgspec

from storewatchd.bus import Published, publishable
from storewatchd.core.model import Event, EventType, Severity
from storewatchd.journal import Journal, StoredRecord


class Replay:
    """The events of this node. `unwritten` gives the records that are told and not known to be on
    disk, all of which follow whatever the journal has."""

    def __init__(
        self, journal: Journal, *, unwritten: Callable[[], Sequence[StoredRecord]]
    ) -> None:
        self._journal = journal
        self._unwritten = unwritten

    async def after(
        self, seq: int, limit: int, *, types: Collection[str] | None = None
    ) -> list[Published]:
        """Return events after a number, in ascending order; none only at the end.

        Raises:
            JournalError: the journal cannot be read, or not in time.
        """
        # Before the journal is read: what is written meanwhile is then in the one or the other.
        waiting = [record for record in self._waiting(types) if record.seq > seq]
        first = waiting[0].seq if waiting else None
        records = await self._journal.read(seq, limit, types=types, events_only=True)
        kept = [record for record in records if first is None or record.seq < first]
        if kept or not waiting:
            return [published_of(record) for record in kept]
        return [published_of(record, unjournalled=True) for record in waiting[:limit]]

    async def newest(self, limit: int, *, types: Collection[str] | None = None) -> list[Published]:
        """Return the newest events, in ascending order.

        Raises:
            JournalError: the journal cannot be read, or not in time.
        """
        waiting = self._waiting(types)
        first = waiting[0].seq if waiting else None
        records = await self._journal.tail(limit, types=types)
        told = [published_of(one) for one in records if first is None or one.seq < first]
        told += [published_of(record, unjournalled=True) for record in waiting]
        return told[-limit:]

    def _waiting(self, types: Collection[str] | None) -> list[StoredRecord]:
        return [
            record
            for record in self._unwritten()
            if record.event and (types is None or record.type in types)
        ]


class _Severity(msgspec.Struct):
    severity: str


_severity_of = msgspec.json.Decoder(_Severity).decode


def published_of(record: StoredRecord, *, unjournalled: bool = False) -> Published:
    """Return a recorded event as it was published."""
    event_type = EventType(record.type)
    is_alert = event_type is EventType.ALERT
    return publishable(
        Event(
            epoch=record.epoch,
            seq=record.seq,
            node=record.node,
            time=record.time,
            type=event_type,
            kind=record.kind,
            data=record.data,
            unjournalled=unjournalled,
        ),
        Severity(_severity_of(record.data).severity) if is_alert else None,
    )
