"""A journal that was lost, and what the single writer takes back of it from a real PostgreSQL."""

import json
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

import pytest

from core.fix_engine import rule
from fakes import NOON, HandClock
from fix_node import Node, events, kinds, running_node
from fix_postgres import Postgres
from fix_records import no_room
from storewatchd.core.commands import AcknowledgeAlert, AddRepository, PutToken, ResolveAlert
from storewatchd.core.commands import Rebuild as Lost
from storewatchd.core.model import Alert
from storewatchd.core.permissions import READ_ONLY, Token
from storewatchd.core.queries import AlertQuery
from storewatchd.core.tasks import TaskState
from storewatchd.errors import StoreUnavailable, Unavailable
from storewatchd.journal import Rebuild
from storewatchd.monitor import monitor as monitor_module
from storewatchd.monitor import recall as recall_module
from storewatchd.monitor import writer as writer_module
from storewatchd.monitor.recall import recall
from storewatchd.store import Store
from storewatchd.store.ledger import write

TOKEN = Token(
    id="t1", name="t1", permissions=READ_ONLY, digest="d", created_at=NOON, created_by="ann"
)


class Life:
    """A start of a node, with the store that it writes to."""

    def __init__(self, node: Node, store: Store) -> None:
        self.node = node
        self.store = store

    async def drain(self) -> None:
        """Write all that the journal has to PostgreSQL."""
        async with self.store.connection() as connection:
            await write(connection, await self.node.records())

    async def recall(self) -> None:
        node = self.node
        await recall(node.journal, self.store, node.monitor.view, node.monitor.command)

    def shown(self) -> dict[str, Alert]:
        """Return the alerts that lists show, by id."""
        return {one.id: one for one in self.node.monitor.view.alerts(AlertQuery(), None)}

    async def acknowledge(self, alert: Alert) -> None:
        await self.node.monitor.command(AcknowledgeAlert("ann", alert.id, "seen"))

    async def resolve(self, alert: Alert) -> None:
        await self.node.monitor.command(ResolveAlert("ann", alert.id))


Live = Callable[[], AbstractAsyncContextManager[Life]]


@pytest.fixture
def live(postgres: Postgres, tmp_path: Path) -> Live:
    """Start the node of a state directory, a minute after the start before."""
    clock = HandClock()

    @asynccontextmanager
    async def live() -> AsyncIterator[Life]:
        clock.forward(60)
        async with running_node(tmp_path, clock=clock, rules=rule()) as node:
            store = Store(postgres.settings(), clock.clock, node=node.journal.node)
            await store.connect()
            try:
                yield Life(node, store)
            finally:
                await store.close()

    return live


@pytest.fixture
def lose(tmp_path: Path) -> Callable[[], None]:
    """Lose the journal."""

    def lose() -> None:
        for path in tmp_path.glob("state.db*"):
            path.unlink()

    return lose


Lose = Callable[[], None]


@pytest.mark.parametrize("page", [1_000, 1], ids=["one piece", "pieces"])
async def test_open_alerts_are_back_with_their_marks(
    live: Live, lose: Lose, monkeypatch: pytest.MonkeyPatch, page: int
) -> None:
    monkeypatch.setattr(recall_module, "PAGE", page)
    async with live() as before:
        made = await before.node.create("Fan", key="fan", ttl_s=3600)
        await before.acknowledge(made)
        await before.resolve(await before.node.create("Over"))
        await before.node.see(a=0.9)
        await before.drain()
        known = before.shown()
        over = {one.id for one in known.values() if not one.is_open}
    lose()
    async with live() as after:
        assert after.shown() == {}
        await after.recall()
        shown = after.shown()
        assert shown.keys() == known.keys() - over
        assert {one.version for one in shown.values()} == {known[id_].version + 1 for id_ in shown}
        back = shown[made.id]
        assert (back.acknowledged_by, back.acknowledged_note) == ("ann", "seen")
        assert (await after.node.create("Fan again", key="fan")).id == made.id
        assert after.node.journal.rebuild is Rebuild.NONE


async def test_a_rule_s_alert_is_stale_until_its_inputs_are_seen(live: Live, lose: Lose) -> None:
    async with live() as before:
        await before.node.see(a=0.9, b=0.9)
        await before.drain()
        known = before.shown()
    lose()
    async with live() as after:
        await after.recall()
        assert {one.state for one in after.shown().values()} == {"firing"}
        assert all(one.stale_since is not None for one in after.shown().values())
        await after.node.see(a=0.9, b=0.1)
        found = {one.labels["repository"]: one for one in after.shown().values()}
        assert {one.id for one in found.values()} == known.keys()
        assert (found["a"].state, found["a"].stale_since) == ("firing", None)
        assert (found["b"].state, found["b"].resolved_by) == ("resolved", "rule")


async def test_what_is_back_is_there_after_a_restart_and_in_postgresql(
    live: Live, lose: Lose, postgres: Postgres
) -> None:
    async with live() as before:
        made = await before.node.create("Fan")
        await before.drain()
    lose()
    async with live() as after:
        await after.recall()
        await after.drain()
        shown = after.shown()
    async with live() as again:
        assert again.shown() == shown
        assert again.node.journal.rebuild is Rebuild.NONE
    rows = postgres.rows(f"SELECT version, state FROM alert WHERE id = '{made.id}'")
    assert rows == [(2, "firing")]
    told = postgres.rows(f"SELECT kind FROM alert_event WHERE alert_id = '{made.id}' ORDER BY seq")
    assert told == [("firing",), ("restored",)]


async def test_tasks_tokens_and_repositories_are_back(live: Live, lose: Lose) -> None:
    async with live() as before:
        await before.node.start_task(id="r1")
        await before.node.finish_task("r1", exit_status=2)
        running = await before.node.start_task(id="r2")
        await before.node.monitor.command(AddRepository("ann", "a", "/a"))
        await before.node.monitor.command(PutToken("ann", TOKEN))
        await before.drain()
    lose()
    async with live() as after:
        heard = after.node.hear()
        await after.recall()
        (progress, rebuilt) = await events(heard)
        assert (progress.event.kind, rebuilt.event.kind) == ("progress", "journal_rebuilt")
        assert json.loads(rebuilt.event.data) == {
            "alerts": 0,
            "tasks": 1,
            "task_names": 1,
            "repositories": 1,
            "tokens": 1,
            "objects": 0,
        }
        assert after.node.monitor.view.run("r2") == running
        assert (await after.node.finish_task("r2")).state is TaskState.COMPLETED
        counts = after.node.books.table.read("task_runs_total", after.node.clock.wall())
        assert {one.labels["result"]: one.value for one in counts} == {"completed": 1, "failed": 1}
        assert [one.name for one in after.node.books.repositories.added()] == ["a"]
        assert after.node.books.tokens.get("t1") == TOKEN


async def test_a_node_that_never_was_has_nothing_to_take_back(live: Live) -> None:
    async with live() as first:
        heard = first.node.hear()
        before = first.node.journal.rebuild
        await first.recall()
        assert (before, first.node.journal.rebuild) == (Rebuild.STORE, Rebuild.NONE)
        await first.node.create()
        assert await kinds(heard) == [("alert", "firing")]


# What this journal knows better.


async def test_what_ended_since_does_not_come_back(live: Live) -> None:
    async with live() as node:
        made = await node.node.create("Fan")
        await node.node.start_task(id="r1")
        await node.drain()  # PostgreSQL knows both as they are now
        await node.resolve(made)
        await node.node.finish_task("r1")
        await node.recall()
        assert [one.state for one in node.shown().values()] == ["resolved"]
        run = node.node.monitor.view.run("r1")
        assert run is not None
        assert run.state is TaskState.COMPLETED
        assert ("alert", "restored") not in await node.node.lines()


async def test_what_ended_since_and_is_forgotten_does_not_come_back(live: Live) -> None:
    async with live() as node:
        made = await node.node.create("Fan")
        await node.drain()
        await node.resolve(made)
        node.node.monitor.confirmed(1 << 40)  # memory lets go of what is over
        await node.recall()
        assert node.shown() == {}


async def test_what_ends_before_it_is_handed_over_does_not_come_back(live: Live) -> None:
    async with live() as node:
        made = await node.node.create("Fan")
        await node.drain()
        journal, monitor = node.node.journal, node.node.monitor
        await journal._ask(lambda database: database.drop(journal.last_seq))

        async def hand(lost: Lost) -> dict[str, int]:
            await node.resolve(made)  # it was asked for earlier
            monitor.confirmed(1 << 40)
            taken: dict[str, int] = await monitor.command(lost)
            return taken

        await recall(journal, node.store, monitor.view, hand)
        assert node.shown() == {}


# While something is away.


async def test_with_postgresql_away_it_is_still_to_be_done(
    live: Live, lose: Lose, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    async with live() as before:
        made = await before.node.create()
        await before.drain()
    lose()
    async with live() as after:
        await after.store.close()
        with pytest.raises(StoreUnavailable):
            await after.recall()
        assert after.node.journal.rebuild is Rebuild.STORE
        await after.store.connect()
        await after.recall()
        assert list(after.shown()) == [made.id]
        told = [line for line in caplog.messages if "is taken back from" in line]
        assert told == ["what the journal had lost is taken back from PostgreSQL: alerts 1"]


async def test_while_nothing_can_be_written_it_is_still_to_be_done(
    live: Live, lose: Lose, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer_module, "RETRY_S", 0.01)
    monkeypatch.setattr(monitor_module, "LONGEST_WAIT_S", 0.01)
    async with live() as before:
        made = await before.node.create()
        await before.drain()
    lose()
    async with live() as after:
        with no_room():
            await after.node.see(a=0.9)
            await after.node.blocked()
            with pytest.raises(Unavailable, match="nothing was changed"):
                await after.recall()
        await after.node.recovered()
        assert after.node.journal.rebuild is Rebuild.STORE
        await after.recall()
        assert made.id in after.shown()
