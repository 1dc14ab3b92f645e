"""The transport of a connection, without a socket."""

import asyncio
import json
from typing import Any


class Wire(asyncio.Transport):
    """A transport that notes what is done with it."""

    def __init__(self) -> None:
        super().__init__()
        self.written: list[bytes] = []
        self.reading = True
        self._closing = False
        self._wrote = asyncio.Event()

    async def wrote(self) -> None:
        """Wait until something more is written."""
        self._wrote.clear()
        await self._wrote.wait()

    @property
    def lines(self) -> list[Any]:
        """What was written, line by line."""
        return [json.loads(line) for line in b"".join(self.written).splitlines()]

    def write(self, data: Any) -> None:
        self.written.append(bytes(data))
        self._wrote.set()

    def close(self) -> None:
        self._closing = True

    def is_closing(self) -> bool:
        return self._closing

    def pause_reading(self) -> None:
        self.reading = False

    def resume_reading(self) -> None:
        self.reading = True
