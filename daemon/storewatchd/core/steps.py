"""Long work in steps, so that whoever drives it can do other things in between.

A step that yields None lets others have a turn. One that yields a function wants to be sent what
that returns: it only reads what belongs to the work, and may run in another thread meanwhile. Until
the last step nobody else changes what the work is about; what can be read in between is whole.
"""

from collections.abc import Callable, Generator
from typing import Any, TypeAlias, TypeVar

T = TypeVar("T")

Steps: TypeAlias = Generator[Callable[[], Any] | None, Any, T]

MANY = 500
"""From how many elements on numpy lets other threads run while it works (NPY_BEGIN_THREADS), and
has to wait for them afterwards."""

PIECE = 1_000
"""How many rows are handled in one step: a millisecond or less."""


def alone() -> None:
    """What a step yields where the next one is to be taken while no thread computes."""


def at_once(steps: Steps[T]) -> T:
    """Take all steps, one after the other; return what the work gives."""
    answer: Any = None
    while True:
        try:
            aside = steps.send(answer)
        except StopIteration as end:
            found: T = end.value
            return found
        answer = None if aside is None else aside()
