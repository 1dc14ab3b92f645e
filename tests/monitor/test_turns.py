"""Long work is taken step by step, and the loop turns in between."""

import asyncio
import threading

import pytest

from storewatchd.core.steps import Steps, alone
from storewatchd.interpreter import aside, computing
from storewatchd.monitor import turns
from storewatchd.monitor.turns import in_turns


async def test_what_is_worked_out_aside_is_in_another_thread() -> None:
    def work() -> Steps[list[object]]:
        return [(yield threading.current_thread), (yield None)]

    thread, nothing = await in_turns(work())
    assert thread is not threading.current_thread()
    assert nothing is None


async def test_the_loop_turns_between_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(turns, "TURN_S", 0.0)
    seen: list[str] = []

    def work() -> Steps[None]:
        for number in range(3):
            seen.append(f"step {number}")
            yield None

    async def other() -> None:
        for _ in range(3):
            seen.append("turn")
            await asyncio.sleep(0)

    await asyncio.gather(in_turns(work()), other())
    assert seen[:4] == ["step 0", "turn", "step 1", "turn"]


async def test_a_step_that_is_taken_alone_waits_until_no_thread_computes() -> None:
    gate, states = threading.Event(), []

    def work() -> Steps[None]:
        yield alone
        states.append(computing().locked())
        yield None
        states.append(computing().locked())

    long = asyncio.ensure_future(aside(gate.wait))
    await asyncio.sleep(0)
    assert computing().locked()
    mine = asyncio.ensure_future(in_turns(work()))
    for _ in range(5):
        await asyncio.sleep(0)
    assert states == []
    gate.set()
    await asyncio.gather(long, mine)
    assert states == [True, False]
    assert not computing().locked()


async def test_who_is_cancelled_while_it_waits_to_be_alone_leaves_nothing_locked() -> None:
    def work() -> Steps[None]:
        yield alone
        yield None

    async with computing():
        waiting = asyncio.ensure_future(in_turns(work()))
        for _ in range(3):
            await asyncio.sleep(0)
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
    assert not computing().locked()


async def test_an_error_of_a_step_ends_it_and_leaves_nothing_locked() -> None:
    def work() -> Steps[None]:
        yield alone
        raise LookupError

    with pytest.raises(LookupError):
        await in_turns(work())
    assert not computing().locked()
