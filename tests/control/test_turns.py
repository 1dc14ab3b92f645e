"""The loop's turns: work is done at once while there is room, and in the order in which it came."""

import asyncio
from functools import partial

import pytest

from fakes import HandClock
from storewatchd.control.turns import SLICE_S, Turns


@pytest.fixture
def clock() -> HandClock:
    return HandClock()


@pytest.fixture
def turns(clock: HandClock) -> Turns:
    return Turns(clock.clock)


async def use_up(turns: Turns, clock: HandClock, seconds: float = 1.01 * SLICE_S) -> None:
    await turns.perform(partial(clock.forward, seconds))


async def test_there_is_room_until_the_slice_is_used_up(turns: Turns, clock: HandClock) -> None:
    await use_up(turns, clock, SLICE_S / 2)
    assert turns.has_room
    await use_up(turns, clock, SLICE_S)
    assert not turns.has_room


async def test_what_has_no_room_is_done_in_its_order_in_later_turns(
    turns: Turns, clock: HandClock
) -> None:
    await use_up(turns, clock)
    done: list[int] = []

    def work(number: int) -> int:
        clock.forward(0.6 * SLICE_S)
        done.append(number)
        return number

    async def others() -> int:
        """Count the turns of everybody else until all is done."""
        turn = 0
        while len(done) < 6:
            await asyncio.sleep(0)
            turn += 1
        return turn

    async with asyncio.timeout(10):
        counted = asyncio.ensure_future(others())
        results = await asyncio.gather(*(turns.perform(partial(work, n)) for n in range(6)))
    assert results == done == list(range(6))
    assert await counted >= 3  # two fit into one


async def test_what_took_too_long_is_left_to_others_first(turns: Turns, clock: HandClock) -> None:
    loop = asyncio.get_running_loop()
    await use_up(turns, clock, SLICE_S + 0.05)
    began = loop.time()
    await turns.perform(lambda: None)
    assert loop.time() - began >= 0.045  # the loop's clock is coarse


async def test_an_error_is_raised_where_the_work_was_asked_for(
    turns: Turns, clock: HandClock
) -> None:
    def fail() -> None:
        raise LookupError("of the test")

    with pytest.raises(LookupError):
        await turns.perform(fail)
    await use_up(turns, clock)
    with pytest.raises(LookupError):
        await turns.perform(fail)
    assert await turns.perform(lambda: 7) == 7


async def test_what_nobody_waits_for_any_more_is_not_done(turns: Turns, clock: HandClock) -> None:
    await use_up(turns, clock)
    done: list[str] = []
    gone = asyncio.ensure_future(turns.perform(lambda: done.append("gone")))
    await asyncio.wait([gone], timeout=0)
    gone.cancel()
    await turns.perform(lambda: done.append("here"))
    assert done == ["here"]


async def test_a_fault_in_one_turn_costs_no_other(turns: Turns, clock: HandClock) -> None:
    loop = asyncio.get_running_loop()
    faults: list[str] = []
    loop.set_exception_handler(lambda _, about: faults.append(str(about["exception"])))

    def fail() -> None:
        raise LookupError("of the test")

    await use_up(turns, clock)
    turns.later(fail)
    assert await turns.perform(lambda: 7) == 7
    assert faults == ["of the test"]


async def test_calls_that_wait_use_up_a_slice_too(turns: Turns) -> None:
    for _ in range(100):
        turns.charge_waiting()
    assert not turns.has_room
