"""What was told so far: from the journal and from memory, in one order, each event once."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from fix_node import Node, open_node
from fix_records import record, stored
from storewatchd.bus import Published
from storewatchd.control.replay import Replay
from storewatchd.journal import StoredRecord


class Bench:
    """A journal with five records, and three that wait behind it: the fourth on disk waits still,
    as one does whose write has just ended."""

    def __init__(self, node: Node) -> None:
        self.node = node
        self.waiting = list[StoredRecord]()
        self.replay = Replay(node.journal, unwritten=lambda: self.waiting)

    async def fill(self) -> None:
        await self.node.journal.append(
            [record(seq, type=type_of(seq), event=seq != 2) for seq in range(1, 6)], ()
        )
        epoch = self.node.journal.epoch
        self.waiting = [
            stored(seq, epoch=epoch, type=type_of(seq), event=seq != 7) for seq in range(5, 9)
        ]


def type_of(seq: int) -> str:
    return "task" if seq % 2 else "system"


def told(events: list[Published]) -> list[tuple[int, bool]]:
    return [(one.event.seq, one.event.unjournalled) for one in events]


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    async with open_node(tmp_path) as node:
        bench = Bench(node)
        await bench.fill()
        yield bench


@pytest.mark.parametrize("limit", [1, 2, 100])
async def test_pages_follow_each_other_without_a_miss_and_without_a_repeat(
    bench: Bench, limit: int
) -> None:
    found: list[tuple[int, bool]] = []
    while page := await bench.replay.after(found[-1][0] if found else 0, limit):
        assert len(page) <= limit
        found += told(page)
    assert found == [(1, False), (3, False), (4, False), (5, True), (6, True), (8, True)]


async def test_what_is_wanted_is_taken_from_both(bench: Bench) -> None:
    assert told(await bench.replay.after(0, 9, types=("system",))) == [(4, False)]
    assert told(await bench.replay.after(4, 9, types=("system",))) == [(6, True), (8, True)]
    newest = await bench.replay.newest(9, types=("system",))
    assert told(newest) == [(4, False), (6, True), (8, True)]


@pytest.mark.parametrize(
    ("limit", "wanted"),
    [
        (2, [(6, True), (8, True)]),
        (4, [(4, False), (5, True), (6, True), (8, True)]),
        (9, [(1, False), (3, False), (4, False), (5, True), (6, True), (8, True)]),
    ],
)
async def test_the_newest_are_those_that_wait(
    bench: Bench, limit: int, wanted: list[tuple[int, bool]]
) -> None:
    assert told(await bench.replay.newest(limit)) == wanted


async def test_where_nothing_waits_the_journal_is_all(bench: Bench) -> None:
    bench.waiting = []
    kept = [(1, False), (3, False), (4, False), (5, False)]
    assert told(await bench.replay.after(0, 9)) == kept
    assert told(await bench.replay.newest(9)) == kept
    assert await bench.replay.after(5, 9) == []
