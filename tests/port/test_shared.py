"""Reads that several ask for at the same time: who shares what, and what is never shared."""

import asyncio

import pytest

from fakes import NOON, HandClock
from storewatchd.errors import ProbeFailed
from storewatchd.port import Reading
from storewatchd.port.shared import KEEP_S, SHARED, SharedReads

(ROW,) = SHARED


class Reader:
    """Answers when it is told to, with how often it was asked."""

    def __init__(self) -> None:
        self.clock = HandClock()
        self.shared = SharedReads(self._read, self.clock.clock)
        self.asked = 0
        self.failure = ""
        self.is_open = asyncio.Event()
        self.is_open.set()

    async def _read(self, row: str, object_id: str) -> Reading:
        self.asked += 1
        number = self.asked
        await self.is_open.wait()
        if self.failure:
            raise ProbeFailed(self.failure)
        return Reading(number, NOON, 0.0)

    async def read(self, row: str = ROW, object_id: str = "") -> object:
        return (await self.shared.read(row, object_id)).value

    async def begin(self, count: int) -> "list[asyncio.Task[object]]":
        """Let so many ask that get no answer yet."""
        self.is_open.clear()
        tasks = [asyncio.ensure_future(self.read()) for _ in range(count)]
        await asyncio.sleep(0)
        return tasks


async def test_who_asks_meanwhile_shares_the_answer() -> None:
    reader = Reader()
    tasks = await reader.begin(3)
    reader.clock.forward(60)  # however long it takes
    tasks += await reader.begin(1)
    reader.is_open.set()
    assert await asyncio.gather(*tasks) == [1, 1, 1, 1]


async def test_an_answer_holds_for_a_moment_from_when_its_read_began() -> None:
    reader = Reader()
    (first,) = await reader.begin(1)
    reader.clock.forward(0.9 * KEEP_S)
    reader.is_open.set()
    assert (await first, await reader.read()) == (1, 1)
    reader.clock.forward(0.2 * KEEP_S)
    assert (await reader.read(), await reader.read()) == (2, 2)


async def test_after_a_change_nobody_gets_an_answer_from_before_it() -> None:
    reader = Reader()
    assert await reader.read() == 1
    reader.shared.forget()
    assert await reader.read() == 2
    reader.clock.forward(1)
    before = await reader.begin(2)
    reader.shared.forget()
    after = await reader.begin(2)
    reader.is_open.set()
    assert await asyncio.gather(*before, *after) == [3, 3, 4, 4]
    assert await reader.read() == 4


async def test_a_failure_is_told_to_all_who_wait_and_to_nobody_later() -> None:
    reader = Reader()
    tasks = await reader.begin(3)
    reader.failure = "the reader is gone"
    reader.is_open.set()
    for told in await asyncio.gather(*tasks, return_exceptions=True):
        assert isinstance(told, ProbeFailed)
    assert reader.asked == 1
    reader.failure = ""
    assert await reader.read() == 2


async def test_a_failure_that_nobody_shares_is_told_once() -> None:
    reader = Reader()
    reader.failure = "the reader is gone"
    with pytest.raises(ProbeFailed, match="the reader is gone"):
        await reader.read()


@pytest.mark.parametrize("is_first", [True, False])
async def test_who_is_cancelled_takes_nobody_along(is_first: bool) -> None:
    reader = Reader()
    tasks = await reader.begin(3)
    cancelled = tasks.pop(0 if is_first else 1)
    cancelled.cancel()
    with pytest.raises(asyncio.CancelledError):
        await cancelled
    reader.is_open.set()
    number = 2 if is_first else 1
    assert await asyncio.gather(*tasks) == [number, number]


async def test_a_read_that_was_cancelled_after_a_change_leaves_the_new_one() -> None:
    reader = Reader()
    (old,) = await reader.begin(1)
    reader.shared.forget()
    (new,) = await reader.begin(1)
    old.cancel()
    await asyncio.sleep(0)
    (same,) = await reader.begin(1)
    reader.is_open.set()
    assert (await new, await same) == (2, 2)


async def test_other_rows_are_read_for_every_asker() -> None:
    reader = Reader()
    assert [await reader.read("tape.log.11", "3:0:1:0") for _ in range(3)] == [1, 2, 3]
