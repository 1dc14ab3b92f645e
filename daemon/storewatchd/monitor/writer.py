"""Takes what a round decided to the journal, into view and to the subscribers, in this order.

While the journal cannot be written, or has not answered in time, it is the other way round: a
watcher that falls silent because its disk is full watches nothing. Events are told at once, marked
`unjournalled`; what was not written waits in memory, in order, and is written as soon as it can
be. One write is under way at a time, and it is tried again every second.
"""

import asyncio
import logging

from storewatchd.bus import Bus
from storewatchd.core.incidents import Incidents
from storewatchd.core.model import Severity, Transition
from storewatchd.errors import JournalError, JournalRefused
from storewatchd.journal import Journal, Notice, StoredRecord
from storewatchd.monitor.backlog import Backlog
from storewatchd.monitor.batch import Batch
from storewatchd.monitor.view import View

logger = logging.getLogger(__name__)

RETRY_S = 1.0
"""How long a disk that refused is left alone."""

_MESSAGE_IDS = {
    # Of the journal entries about alerts, for `journalctl MESSAGE_ID=`.
    "firing": "0b3bb2d2c1b14c0f9c5d6b2c6f0f7a11",
    "resolved": "5b0c6f1e5a7d4d7a8a3f0c1f6ad02c52",
    "other": "e7f3f0f83f6c4b8f9d55a6d0a7c2ad63",
}
_LEVELS = {
    Severity.INFO: logging.INFO,
    Severity.WARNING: logging.WARNING,
    Severity.CRITICAL: logging.CRITICAL,
}


class Writer:
    """The way of a round's lines to the disk and to whoever listens."""

    def __init__(
        self,
        *,
        journal: Journal,
        view: View,
        bus: Bus,
        incidents: Incidents,
        backlog: Backlog | None = None,
    ) -> None:
        self.problem: str | None = None
        """Why what is told is not on disk; None while it is."""
        self._journal = journal
        self._view = view
        self._bus = bus
        self._incidents = incidents
        self._backlog = Backlog() if backlog is None else backlog
        self._under_way: asyncio.Future[None] | None = None
        self._retry: asyncio.TimerHandle | None = None
        self._one_by_one = False
        self._unjournalled = 0
        self._notices: list[Notice] = []

    async def write(self, batch: Batch) -> bool:
        """Take a round's lines to the journal, into view and to the subscribers; return whether
        they are on disk."""
        if batch.is_empty:
            return self.problem is None
        numbers = await self._numbers(len(batch))
        node, epoch = self._journal.node, self._journal.epoch
        records, published = batch.numbered(numbers, epoch=epoch, node=node)
        self._backlog.add(records, batch.changes, batch.rebuild)
        if self.problem is None and self._backlog:
            self._push()
            await self._in_time()
        if self.problem is not None:
            _, published = batch.numbered(numbers, epoch=epoch, node=node, unjournalled=True)
            self._unjournalled += len(records)
            self._journal.note_unjournalled(len(records))
        self._show(batch, numbers)
        self._bus.publish(published)
        for transition in batch.transitions:
            _log(transition)
        return self.problem is None

    def take_notices(self) -> list[Notice]:
        """Return what has to be told of the writing itself since this was last called."""
        taken, self._notices = self._notices, []
        return taken

    @property
    def backlog(self) -> int:
        """How many records are not known to be on disk."""
        return len(self._backlog)

    def waiting(self) -> list[StoredRecord]:
        """Return the records that are not known to be on disk, in order."""
        return [self._journal.stored(record) for record in self._backlog.records()]

    def close(self) -> None:
        """Hand what waits to the journal, whose closing is its last chance."""
        if self._retry is not None:
            self._retry.cancel()
        if self._backlog:
            logger.warning("%d lines are not on disk yet", len(self._backlog))
            self._push()

    # Writing.

    async def _numbers(self, count: int) -> range:
        """Return numbers, reserved on disk while that is to be had."""
        if self.problem is None:
            try:
                return await self._journal.numbers(count)
            except JournalError as error:
                self._degrade(str(error))
                self._try_later()
        return self._journal.take(count)

    def _push(self) -> None:
        """Begin to write the oldest of what waits, unless a write is under way."""
        if self._under_way is not None:
            return
        taken = self._backlog.take(one_only=self._one_by_one)
        try:
            self._under_way = self._journal.submit(
                taken.records, [*taken.changes.values()], rebuild=taken.rebuild
            )
        except JournalError as error:  # it is closed: nothing more will be written
            self._backlog.refused()
            self._degrade(str(error))
            return
        self._under_way.add_done_callback(self._land)

    async def _in_time(self) -> None:
        """Wait for the write that is under way, for a bounded time."""
        if self._under_way is None:
            return
        await asyncio.wait((self._under_way,), timeout=self._journal.patience_s)
        if self._under_way is not None:
            self._degrade(self._hanging())

    def _land(self, done: "asyncio.Future[None]") -> None:
        """Go on after a write has ended."""
        self._under_way = None
        error = done.exception()
        if error is None:
            self._backlog.written()
            if self._backlog:
                self._push()
            else:
                self._recover()
            return
        self._degrade(str(error))
        if isinstance(error, JournalRefused) and self._one_by_one:
            logger.error("lines that cannot be written are dropped: %s", error)
            self._backlog.lose()
        else:
            # Of several rounds it may be one that is refused: the others must not go with it.
            self._one_by_one = isinstance(error, JournalRefused)
            self._backlog.refused()
        self._try_later()

    def _try_later(self) -> None:
        if self._retry is not None:
            self._retry.cancel()
        self._retry = asyncio.get_running_loop().call_later(RETRY_S, self._push)

    def _hanging(self) -> str:
        return f"state.db has not answered for {self._journal.patience_s:g} s"

    def _degrade(self, problem: str) -> None:
        if self.problem is None:
            logger.error(
                "%s: until it can be written events are told unjournalled, and commands refused",
                problem,
            )
        self.problem = problem
        self._journal.is_writable = False

    def _recover(self) -> None:
        self._one_by_one = False
        if self.problem is None:
            return
        self.problem = None
        self._journal.is_writable = True
        lost = self._backlog.take_lost()
        facts = {"unjournalled": self._unjournalled, "lost": lost.count if lost else 0}
        self._notices.append(Notice("journal_recovered", facts))
        if lost is not None:
            self._journal.note_lost(lost.count)
            reason = "more was told than memory could hold until state.db could be written"
            gap = {"from_seq": lost.from_seq, "to_seq": lost.to_seq, "records": lost.count}
            self._notices.append(Notice("gap", {**gap, "reason": reason}))
        logger.warning(
            "state.db can be written again: of %d lines that were told meanwhile %d are lost",
            facts["unjournalled"],
            facts["lost"],
        )
        self._unjournalled = 0

    # Showing.

    def _show(self, batch: Batch, numbers: range) -> None:
        last = numbers[-1] if numbers else self._journal.last_seq
        for alert in batch.alerts:
            self._view.put_alert(alert, last)
        for run in batch.runs:
            self._view.put_run(run, last)
        for key, one in batch.objects.items():
            self._view.put_object(key, one)
        if batch.has_snapshot:
            for incident in self._incidents:
                self._view.refresh(incident.alert)


def _log(transition: Transition) -> None:
    alert = transition.alert
    by = alert.acknowledged_by if transition.kind == "acknowledged" else alert.resolved_by
    level = _LEVELS[alert.severity] if transition.kind == "firing" else logging.INFO
    logger.log(
        level,
        "%s %s: %s%s",
        alert.severity,
        transition.kind,
        alert.title,
        f" (by {by})" if by else "",
        extra={
            "ALERT_ID": alert.id,
            "RULE": alert.rule,
            "SEVERITY": alert.severity.value,
            "SOURCE": alert.source,
            "RESOURCE": f"{alert.resource_type}/{alert.resource_id}".strip("/"),
            "ALERT_STATE": alert.state.value,
            "NODE": alert.node,
            "MESSAGE_ID": _MESSAGE_IDS.get(transition.kind, _MESSAGE_IDS["other"]),
        },
    )
