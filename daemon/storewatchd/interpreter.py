"""Settings of the Python interpreter that keep the loop prompt beside threads and much data.

A collection of garbage holds up everybody while it looks at all that there is: with a hundred
thousand series for a tenth of a second. So only what is young is looked at; what has become old is
set aside, from where it goes like everything else once nothing refers to it. Only what is old and
refers to itself in a circle stays, and for its sake all is looked at once there is twice as much.

A thread that computes takes the interpreter whenever the loop's lets go of it, be it for a moment,
and keeps it for a while. So one of them computes at a time, and what would often let go waits until
none does.
"""

import asyncio
import gc
import sys
from collections.abc import Callable
from typing import ParamSpec, TypeVar
from weakref import WeakKeyDictionary

P = ParamSpec("P")
T = TypeVar("T")

SWITCH_S = 0.001
"""How long a thread that computes keeps the interpreter while the loop wants it. The usual 5 ms are
as long as the loop may be held up at all."""

YOUNG = (1_000, 20, 1_000_000)
"""Of how many new objects the youngest are looked at, of how many times that those that survived
it, and, of how many times that, all: never, as far as it goes by this."""

SET_ASIDE_S = 60.0


def keep_prompt() -> None:
    """Let threads give way soon, and set aside what is there now. Call it once, at the end of a
    start."""
    sys.setswitchinterval(SWITCH_S)
    gc.set_threshold(*YOUNG)
    gc.collect()
    gc.freeze()


async def set_aside() -> None:
    """Set aside what has become old, now and then, until cancelled."""
    at_most = 2 * gc.get_freeze_count()
    while True:
        await asyncio.sleep(SET_ASIDE_S)
        gc.freeze()
        if gc.get_freeze_count() > at_most:
            gc.unfreeze()
            gc.collect()
            gc.freeze()
            at_most = 2 * gc.get_freeze_count()


_COMPUTING: WeakKeyDictionary[asyncio.AbstractEventLoop, asyncio.Lock] = WeakKeyDictionary()


def computing() -> asyncio.Lock:
    """Return what whoever computes in a thread holds: one at a time."""
    loop = asyncio.get_running_loop()
    if loop not in _COMPUTING:
        _COMPUTING[loop] = asyncio.Lock()
    return _COMPUTING[loop]


async def aside(work: Callable[P, T], *words: P.args, **options: P.kwargs) -> T:
    """Return what a function gives that computes for long and waits for nothing."""
    async with computing():
        return await asyncio.to_thread(work, *words, **options)
