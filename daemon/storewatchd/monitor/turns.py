"""Takes long work step by step, and lets the loop turn in between."""

import asyncio
from typing import Any, TypeVar

from storewatchd.core.steps import Steps, alone
from storewatchd.interpreter import aside, computing

T = TypeVar("T")

TURN_S = 0.001
"""For how long steps follow each other before the loop turns."""


async def in_turns(steps: Steps[T]) -> T:
    """Take all steps; return what the work gives. What may be worked out aside is, in a thread.

    If it is cancelled, the work stays where it is: what it is about must not be used any more.
    """
    clock, lock = asyncio.get_running_loop().time, computing()
    answer: Any = None
    until, is_alone = clock() + TURN_S, False
    while True:
        try:
            wanted = steps.send(answer)
        except StopIteration as end:
            found: T = end.value
            return found
        finally:
            if is_alone:
                lock.release()
        answer, is_alone = None, wanted is alone
        if is_alone:
            await lock.acquire()
        elif wanted is not None:
            answer = await aside(wanted)
        elif clock() < until:
            continue
        else:
            await asyncio.sleep(0)
        until = clock() + TURN_S
