"""Objects through the single writer: written before they are shown, kept over restarts, and taken
back from records and from a real PostgreSQL."""

import json
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

import pytest

from fakes import HandClock
from fix_node import PROBE, Node, events, running_node
from fix_postgres import Postgres
from storewatchd.core.commands import ForgetObject
from storewatchd.core.frames import Found, Frame, ObjectKind, Outcome, Scope
from storewatchd.core.objects import MAX_TOLD, Object
from storewatchd.core.queries import ObjectQuery
from storewatchd.errors import Conflict, NotFound
from storewatchd.journal import Rebuild as Doubt
from storewatchd.journal import StateChange
from storewatchd.monitor.recall import recall
from storewatchd.store import Store
from storewatchd.store.ledger import write

DRIVE = ObjectKind.TAPE_DRIVE
SCOPE = Scope(PROBE)

Live = Callable[[], AbstractAsyncContextManager[Node]]


@pytest.fixture
def live(tmp_path: Path) -> Live:
    """Start the node of a state directory, a minute after the start before."""
    clock = HandClock()

    @asynccontextmanager
    async def live() -> AsyncIterator[Node]:
        clock.forward(60)
        async with running_node(tmp_path, clock=clock) as node:
            yield node

    return live


def lose_journal(directory: Path) -> None:
    for path in directory.glob("state.db*"):
        path.unlink()


async def see(node: Node, *found: Found, outcome: Outcome = Outcome.SEEN) -> None:
    await node.monitor.feed(Frame(SCOPE, node.clock.wall(), outcome, objects=found))
    await node.settled()


def drive(name: str = "D1", **facts: str) -> Found:
    return Found(DRIVE, name, facts)


def shown(node: Node) -> dict[str, Object]:
    return {one.id: one for one in node.monitor.view.objects(ObjectQuery(), None, 1000)}


async def test_what_is_found_is_written_shown_and_told(live: Live) -> None:
    async with live() as node:
        heard = node.hear()
        await see(node, drive(sg="sg3"))
        (found,) = await events(heard)
        assert (found.event.type, found.event.kind) == ("tape", "object_found")
        assert json.loads(found.event.data) == {
            "kind": "tape_drive",
            "id": "D1",
            "facts": {"sg": "sg3"},
            "from": {"sg": ""},
            "to": {"sg": "sg3"},
        }
        assert shown(node) == {"D1": node.books.inventory.get(DRIVE, "D1")}
        assert ("object", "found") in await node.lines()
        assert [one.key for one in await node.records() if one.type == "object"] == [
            "tape_drive/D1"
        ]


async def test_a_large_machine_is_taken_in_rounds(live: Live) -> None:
    async with live() as node:
        heard = node.hear()
        await see(node, *(drive(f"D{number}") for number in range(450)))
        while len(shown(node)) < 450:
            await node.settled()
        told = [json.loads(one.event.data)["count"] for one in await events(heard)]
        assert sum(told) == 450
        assert max(told) > MAX_TOLD


async def test_objects_are_what_they_were_after_a_restart(live: Live) -> None:
    async with live() as before:
        await see(before, drive("D1", sg="sg3"), drive("D2"))
        await see(before, drive("D1", sg="sg4"))
        known = shown(before)
    async with live() as after:
        assert shown(after) == known
        heard = after.hear()
        await see(after, drive("D1", sg="sg4"))
        await see(after)
        assert [one.event.kind for one in await events(heard)] == ["object_gone"]


async def test_a_probe_that_cannot_look_takes_nothing_away(live: Live) -> None:
    async with live() as node:
        await see(node, drive())
        await see(node, outcome=Outcome.FAILED)
        assert shown(node)["D1"].is_here


async def test_what_is_gone_is_forgotten_for_good(live: Live) -> None:
    async with live() as node:
        await see(node, drive())
        forget = ForgetObject("ann", DRIVE, "D1")
        with pytest.raises(Conflict, match="D1' is here"):
            await node.monitor.command(forget)
        await see(node)
        assert (await node.monitor.command(forget)).id == "D1"
        assert shown(node) == {}
        with pytest.raises(NotFound, match="no tape_drive 'D1'"):
            await node.monitor.command(forget)
        assert (await node.audit())[-1]["target"] == "D1"
    async with live() as after:
        assert shown(after) == {}


async def test_what_cannot_be_looked_at_any_more_may_be_forgotten(live: Live) -> None:
    async with live() as node:
        await see(node, drive())
        node.clock.forward(1000)
        with pytest.raises(Conflict, match="nobody can look for"):
            await node.monitor.command(ForgetObject("ann", DRIVE, "D1"))
        await node.monitor.command(ForgetObject("ann", DRIVE, "D1", unseen=True))
        assert shown(node) == {}


async def test_a_lost_piece_of_state_is_put_back_from_records(live: Live) -> None:
    async with live() as before:
        await see(before, drive("D1", sg="sg3"), drive("D2"))
        await see(before, drive("D1", sg="sg4"))
        known = shown(before)
        await before.monitor.command(ForgetObject("ann", DRIVE, "D2"))
        lose = [StateChange("object", "tape_drive/D1", None)]
        await before.journal.append((), lose, rebuild=Doubt.RECORDS)
    async with live() as after:
        assert shown(after) == {"D1": known["D1"]}


async def test_a_lost_journal_gets_its_objects_back(
    live: Live, postgres: Postgres, tmp_path: Path
) -> None:
    async def store_of(node: Node) -> Store:
        store = Store(postgres.settings(), node.clock.clock, node=node.journal.node)
        await store.connect()
        return store

    async with live() as before:
        await see(before, drive("D1", sg="sg3"), drive("D2"), drive("D3"))
        await see(before, drive("D1", sg="sg4"), drive("D3"))
        await see(before, drive("D1", sg="sg4"))
        await before.monitor.command(ForgetObject("ann", DRIVE, "D3"))
        known = shown(before)
        store = await store_of(before)
        async with store.connection() as connection:
            await write(connection, await before.records())
        await store.close()
    lose_journal(tmp_path)
    async with live() as after:
        heard = after.hear()
        store = await store_of(after)
        await recall(after.journal, store, after.monitor.view, after.monitor.command)
        await store.close()
        (rebuilt,) = await events(heard)
        assert json.loads(rebuilt.event.data)["objects"] == 2
        assert shown(after) == known
        assert set(known) == {"D1", "D2"}
