"""Shares one answer among those who ask for the same tree at almost the same time."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from storewatchd.clock import Clock
from storewatchd.errors import ProbeError
from storewatchd.port import Reading

SHARED = frozenset(("sys.scsi",))
"""Rows that several probes ask for at each look, and that are converted for every asker."""

KEEP_S = 0.25
"""How old an answer may be that is given to somebody else: so little that what is counted between
two looks is right, and enough for a round of looks that begin together."""


@dataclass(slots=True, eq=False)
class _Shared:
    """A read that somebody does for all: its answer is None where that one was cancelled."""

    began: float  # monotonic
    answer: "asyncio.Future[Reading | None]" = field(
        default_factory=lambda: asyncio.get_running_loop().create_future()
    )


class SharedReads:
    """A port's reads, of which those of some rows are shared while they are under way, and for
    a moment afterwards."""

    def __init__(self, read: Callable[[str, str], Awaitable[Reading]], clock: Clock) -> None:
        self._read = read
        self._clock = clock
        self._shared: dict[tuple[str, str], _Shared] = {}

    def forget(self) -> None:
        """Give nobody an answer whose read has begun by now: something has changed."""
        self._shared.clear()

    async def read(self, row: str, object_id: str = "") -> Reading:
        """Return the answer to a row; see `Port.read` for what it raises."""
        if row not in SHARED:
            return await self._read(row, object_id)
        name = (row, object_id)
        while (shared := self._shared.get(name)) is not None and self._is_fresh(shared):
            # Who waits may be cancelled, and the read goes on for the others.
            reading = await asyncio.shield(shared.answer)
            if reading is not None:
                return reading
        return await self._read_for_all(name)

    def _is_fresh(self, shared: _Shared) -> bool:
        return not shared.answer.done() or self._clock.monotonic() - shared.began < KEEP_S

    async def _read_for_all(self, name: tuple[str, str]) -> Reading:
        shared = self._shared[name] = _Shared(self._clock.monotonic())
        try:
            reading = await self._read(*name)
        except BaseException as error:
            if self._shared.get(name) is shared:
                del self._shared[name]
            if isinstance(error, ProbeError):
                shared.answer.set_exception(error)
                shared.answer.exception()  # there may be nobody else to take it
            else:
                shared.answer.set_result(None)
            raise
        shared.answer.set_result(reading)
        return reading
