"""A loop that does not turn: told while it lasts, with the stack of who holds it up."""

import asyncio
import logging
import sys
import threading
from collections.abc import AsyncIterator, Callable

import pytest

from fakes import HandClock
from storewatchd.clock import Clock
from storewatchd.stalls import LoopWatch, told_stack

BEAT_S = 0.01
STALL_S = 0.05


class Listening(logging.Handler):
    """Keeps what is logged. `blocked` is set when the loop is said to be, `turned` when it is
    said to turn again."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []
        self.blocked = threading.Event()
        self.turned = asyncio.Event()

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(record.getMessage())
        if "has been blocked" in self.lines[-1]:
            self.blocked.set()
        else:
            self.turned.set()  # who says so is in the loop


@pytest.fixture
async def heard() -> AsyncIterator[Listening]:
    handler = Listening()
    logger = logging.getLogger("storewatchd.stalls")
    logger.addHandler(handler)
    yield handler
    logger.removeHandler(handler)


@pytest.fixture
async def watch() -> AsyncIterator[LoopWatch]:
    """A watch that runs."""
    async with asyncio.TaskGroup() as tasks:
        watch = LoopWatch(Clock(), beat_s=BEAT_S, stall_s=STALL_S)
        work = tasks.create_task(watch.run())
        await asyncio.sleep(0)
        yield watch
        work.cancel()


def hold_up(until: threading.Event) -> None:
    """Block the loop; a lock lets other threads run, as a slow system call does."""
    assert until.wait(10)


async def stall(heard: Listening) -> None:
    """Block the loop until somebody says so; return when it is said to turn again."""
    heard.blocked.clear()
    heard.turned.clear()
    hold_up(heard.blocked)
    async with asyncio.timeout(10):
        await heard.turned.wait()


async def test_who_blocks_the_loop_is_told_while_it_lasts_and_its_end_afterwards(
    heard: Listening, watch: LoopWatch
) -> None:
    await stall(heard)
    blocked, again = heard.lines
    assert blocked.startswith("the loop has been blocked for ")
    assert " < tests/test_stalls.py:" in blocked
    assert " hold_up < " in blocked
    assert again.startswith("the loop turns again, after ")


async def test_each_stall_is_told_once(heard: Listening, watch: LoopWatch) -> None:
    for _ in range(2):
        await stall(heard)
    assert ["blocked" in line for line in heard.lines] == [True, False, True, False]


async def test_the_worst_lag_since_it_was_last_asked_for_is_told(
    heard: Listening, watch: LoopWatch
) -> None:
    await stall(heard)
    assert watch.take_lag() > STALL_S
    assert watch.take_lag() == 0.0


async def test_its_thread_ends_with_it(heard: Listening) -> None:
    watch = LoopWatch(Clock(), beat_s=BEAT_S)
    work = asyncio.ensure_future(watch.run())
    await asyncio.sleep(0)
    assert any(thread.name == "loop watch" for thread in threading.enumerate())
    work.cancel()
    await asyncio.wait([work])
    assert not any(thread.name == "loop watch" for thread in threading.enumerate())


class StoppingClock(HandClock):
    """A clock by which the whole process is stopped for ten seconds, once."""

    def __init__(self) -> None:
        super().__init__()
        self._asked = 0

    def awake(self) -> float:
        self._asked += 1
        self.forward(10.0 if self._asked == 6 else 0.001)
        return super().awake()


async def test_a_process_that_was_stopped_blames_nobody(heard: Listening) -> None:
    clock = StoppingClock()
    watch = LoopWatch(clock.clock, beat_s=BEAT_S, stall_s=STALL_S)
    work = asyncio.ensure_future(watch.run())
    async with asyncio.timeout(10):
        await heard.turned.wait()
    work.cancel()
    await asyncio.wait([work])
    (line,) = heard.lines
    assert line.startswith("the loop did not turn for 10.0 s, and no other thread ran")


def nested(depth: int, then: Callable[[], str]) -> str:
    return nested(depth - 1, then) if depth else then()


def test_a_stack_is_one_bounded_line_with_the_innermost_call_first() -> None:
    told = nested(50, lambda: told_stack(sys._getframe()))
    calls = told.split(" < ")
    assert len(calls) == 12
    assert calls[0].startswith("tests/test_stalls.py:")
    assert calls[0].endswith(" <lambda>")
    assert calls[1].endswith(" nested")
