"""The interpreter's settings: what is old is set aside, until there is twice as much."""

import asyncio
import gc
import sys
import weakref
from collections.abc import Iterator

import pytest

from storewatchd import interpreter


@pytest.fixture(autouse=True)
def usual() -> Iterator[None]:
    """Give this process its usual settings back."""
    interval_s, threshold = sys.getswitchinterval(), gc.get_threshold()
    yield
    sys.setswitchinterval(interval_s)
    gc.set_threshold(*threshold)
    gc.unfreeze()


class Ring:
    """What refers to itself."""

    def __init__(self) -> None:
        self.me = self


async def test_what_there_is_at_the_start_is_set_aside() -> None:
    kept = [Ring() for _ in range(100)]
    interpreter.keep_prompt()
    assert gc.get_freeze_count() > len(kept)
    assert not any(isinstance(one, Ring) for one in gc.get_objects())
    assert sys.getswitchinterval() == pytest.approx(interpreter.SWITCH_S)


async def test_circles_that_were_set_aside_go_once_there_is_twice_as_much(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(interpreter, "SET_ASIDE_S", 0.0)
    interpreter.keep_prompt()
    at_first = gc.get_freeze_count()
    gone = weakref.ref(Ring())
    task = asyncio.ensure_future(interpreter.set_aside())
    for _ in range(5):
        await asyncio.sleep(0)
    assert gone() is not None
    kept = [Ring() for _ in range(at_first + 1_000)]
    for _ in range(5):
        await asyncio.sleep(0)
    assert gone() is None
    task.cancel()
    assert kept[0].me is kept[0]
