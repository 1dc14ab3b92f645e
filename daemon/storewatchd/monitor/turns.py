"""Takes long work step by step, and lets the loop turn in between."""

import asyncio
from typing import Any, TypeVar

from storewatchd.core.steps import Steps

T = TypeVar("T")

TURN_S = 0.002
"""For how long steps follow each other before the loop turns."""


async def in_turns(steps: Steps[T]) -> T:
    """Take all steps; return what the work gives. What may be worked out aside is, in a thread.

    If it is cancelled, the work stays where it is: what it is about must not be used any more.
    """
    clock = asyncio.get_running_loop().time
    answer: Any = None
    until = clock() + TURN_S
    while True:
        try:
            aside = steps.send(answer)
        except StopIteration as end:
            found: T = end.value
            return found
        answer = None
        if aside is not None:
            answer = await asyncio.to_thread(aside)
        elif clock() < until:
            continue
        else:
            await asyncio.sleep(0)
        until = clock() + TURN_S
