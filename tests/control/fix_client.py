"""A client of the control socket that says any line and hears every answer."""

import asyncio
import json
from pathlib import Path
from typing import Any


class LineClient:
    """One connection, line by line."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    @classmethod
    async def at(cls, path: Path) -> "LineClient":
        return cls(*await asyncio.open_unix_connection(path, limit=1 << 24))

    async def say(self, document: Any) -> None:
        line = document if isinstance(document, bytes) else json.dumps(document).encode()
        self.writer.write(line + b"\n")
        await self.writer.drain()

    async def hear(self) -> Any:
        async with asyncio.timeout(10):
            return json.loads(await self.reader.readline())

    async def ask(self, document: Any) -> Any:
        await self.say(document)
        return await self.hear()

    async def ended(self) -> bool:
        """Wait for the end of the connection; return whether nothing more was said before it."""
        async with asyncio.timeout(10):
            return await self.reader.read() == b""

    def close(self) -> None:
        self.writer.close()


def request(method: str, request_id: Any = 1, **members: Any) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "method": method, "id": request_id, **members}
