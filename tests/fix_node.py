"""A node as the daemon makes it, less what lies outside: real books, journal, monitor and bus."""

import asyncio
import contextlib
import zlib
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec

from core.fix_engine import FULL, rule_set
from fakes import HandClock
from storewatchd.bus import Bus, Filter, Published, Subscription
from storewatchd.core.commands import AcknowledgeAlert, CreateAlert, FinishTask, StartTask
from storewatchd.core.engine import Engine
from storewatchd.core.frames import Frame, Outcome, Row, Scope
from storewatchd.core.ids import Ids
from storewatchd.core.incidents import Incidents
from storewatchd.core.model import Alert, EventType, Severity
from storewatchd.core.permissions import TokenBook
from storewatchd.core.repositories import RepositoryBook
from storewatchd.core.rules import RuleSet
from storewatchd.core.series import SeriesTable
from storewatchd.core.tasks import TaskBook, TaskRun
from storewatchd.errors import NotFound, Unavailable
from storewatchd.journal import Journal, StoredRecord
from storewatchd.monitor import Books, Monitor
from storewatchd.probes.storage import REPOSITORIES, REPOSITORY_FAMILIES

PROBE = "probe"
MAX_AGE_S = 90.0


def empty_books(
    node: str = "node",
    epoch: str = "",
    rules: RuleSet | None = None,
    *,
    with_repositories: bool = True,
) -> Books:
    """Return books in which nothing is written; no two starts share an id."""
    ids = Ids(zlib.crc32(f"{node} {epoch}".encode()))
    table = SeriesTable()
    table.declare(PROBE, (FULL,), max_age_s=MAX_AGE_S)
    if with_repositories:
        table.declare(REPOSITORIES, REPOSITORY_FAMILIES, max_age_s=MAX_AGE_S)
    incidents = Incidents(node, ids.new)
    return Books(
        table=table,
        engine=Engine(table, incidents, rules or RuleSet(())),
        incidents=incidents,
        tasks=TaskBook(node, ids.new),
        repositories=RepositoryBook(),
        tokens=TokenBook(),
        ids=ids,
    )


class Node:
    """The books, the journal, the monitor and the bus of one start."""

    def __init__(self, journal: Journal, clock: HandClock, books: Books) -> None:
        self.journal = journal
        self.clock = clock
        self.bus = Bus(journal.last_seq)
        self.books = books
        self._beaten = asyncio.Event()
        self.monitor = Monitor(
            self.books, journal=journal, bus=self.bus, clock=clock.clock, alive=self._beat
        )

    def _beat(self) -> None:
        self._beaten.set()

    async def beat(self) -> None:
        """Wait until the monitor says once more that it is alive."""
        self._beaten.clear()
        async with asyncio.timeout(10):
            await self._beaten.wait()

    async def blocked(self) -> None:
        """Wait until the monitor has found that nothing can be written."""
        while self.monitor.journal_problem is None:
            await self.beat()

    async def recovered(self) -> None:
        """Wait until everything that was told is on disk."""
        while self.monitor.journal_problem is not None:
            await self.beat()

    def hear(self, *types: EventType) -> Subscription:
        """Return a subscription to what happens from now on, of all types but metrics."""
        wanted = frozenset(types) or frozenset(EventType) - {EventType.METRICS}
        return self.bus.subscribe(Filter(types=wanted))

    # What comes in.

    async def see(self, **rows: float) -> None:
        """Report every row of the probe, and wait until the monitor has judged it."""
        found = {FULL.name: [Row((name,), value) for name, value in rows.items()]}
        await self.monitor.feed(Frame(Scope(PROBE), self.clock.wall(), rows=found))
        await self.settled()

    async def fail(self, reason: str = "stuck") -> None:
        """Report that the probe could not look, and wait until the monitor has judged it."""
        at = self.clock.wall()
        await self.monitor.feed(Frame(Scope(PROBE), at, Outcome.FAILED, reason=reason))
        await self.settled()

    async def settled(self) -> None:
        """Wait until the monitor has taken all that was handed in."""
        # An acknowledgement of nothing is refused, after all that came before it.
        with contextlib.suppress(NotFound, Unavailable):
            await self.monitor.command(AcknowledgeAlert("nobody", "none"))

    async def create(self, title: str = "Fan", **more: Any) -> Alert:
        more = {"severity": Severity.WARNING, "source": "test", **more}
        return await self.monitor.command(CreateAlert(actor="ann", title=title, **more))

    async def start_task(self, name: str = "nightly", **more: Any) -> TaskRun:
        return await self.monitor.command(StartTask(actor="ann", name=name, **more))

    async def finish_task(self, run_id: str, **more: Any) -> TaskRun:
        return await self.monitor.command(FinishTask(actor="ann", id=run_id, **more))

    # What came of it.

    async def records(self) -> list[StoredRecord]:
        return await self.journal.read(0, 10_000)

    async def lines(self) -> list[tuple[str, str]]:
        """Return the type and kind of every record on disk."""
        return [(record.type, record.kind) for record in await self.records()]

    async def audit(self) -> list[Mapping[str, Any]]:
        """Return the audit lines on disk."""
        return [
            msgspec.json.decode(record.data)
            for record in await self.records()
            if record.type == "audit"
        ]


@asynccontextmanager
async def open_node(
    directory: Path,
    *,
    clock: HandClock | None = None,
    rules: str = "",
    with_repositories: bool = True,
    **options: Any,
) -> AsyncIterator[Node]:
    """Open a node on a state directory, with what an earlier one left there; nothing runs yet.
    Without repositories there is no probe of theirs; other options are the journal's."""
    clock = clock or HandClock()
    journal = await Journal.open(directory, clock.clock, **options)
    try:
        books = empty_books(
            journal.node,
            journal.epoch,
            rule_set(rules) if rules else None,
            with_repositories=with_repositories,
        )
        node = Node(journal, clock, books)
        await node.monitor.restore()
        yield node
    finally:
        await journal.close()


@asynccontextmanager
async def running(node: Node) -> AsyncIterator[asyncio.Task[None]]:
    """Run a node's monitor; give its task."""
    async with asyncio.TaskGroup() as tasks:
        work = tasks.create_task(node.monitor.run())
        try:
            yield work
        finally:
            work.cancel()


@asynccontextmanager
async def running_node(directory: Path, **options: Any) -> AsyncIterator[Node]:
    """Open a node and run its monitor."""
    async with open_node(directory, **options) as node, running(node):
        yield node


async def events(subscription: Subscription) -> list[Published]:
    """Return what a subscription has been told, at least one event."""
    async with asyncio.timeout(10):
        return await subscription.batch()


async def kinds(subscription: Subscription) -> list[tuple[str, str]]:
    """Return the type and kind of what a subscription has been told."""
    return [(one.event.type.value, one.event.kind) for one in await events(subscription)]
