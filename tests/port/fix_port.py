"""A reader's place at a socket: it speaks the messages and answers as it is told."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any, Self

from storewatch_reader.message import Unpacker, pack
from storewatch_reader.table import PROTOCOL, digest

Answer = Callable[[dict[str, Any]], tuple[dict[str, Any], bytes] | None]


class ScriptedReader:
    """`answers` maps rows, and "hello", to what is answered: a header and a blob, or a function
    of the request; None answers nothing. `requests` is what was asked, in order."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.answers: dict[str, tuple[dict[str, Any], bytes] | Answer | None] = {
            "hello": ({"protocol": PROTOCOL, "table": digest()}, b"")
        }
        self.requests: list[dict[str, Any]] = []
        self.greeting = b""
        """What a new connection gets at once, and then its end."""
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()
        self._changed = asyncio.Condition()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.stop()

    async def start(self) -> None:
        self._server = await asyncio.start_unix_server(self._serve, self._path)

    async def stop(self) -> None:
        """Go away; `start` comes back."""
        if self._server is not None:
            self._server.close()
            self._server = None
            self._path.unlink()
        for writer in tuple(self._writers):
            writer.close()
        async with self._changed:
            await self._changed.wait_for(lambda: not self._writers)

    def hang_up(self) -> None:
        """Let go of everybody, and go on listening."""
        for writer in self._writers:
            writer.close()

    def say(self, chunk: bytes) -> None:
        """Send bytes to everybody."""
        for writer in self._writers:
            writer.write(chunk)

    async def asked(self, count: int) -> list[dict[str, Any]]:
        """Wait for so many requests for rows; return them."""

        def found() -> list[dict[str, Any]]:
            return [one for one in self.requests if one["verb"] != "hello"]

        async with self._changed:
            await self._changed.wait_for(lambda: len(found()) >= count)
        return found()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        unpacker = Unpacker()
        try:
            if self.greeting:
                writer.write(self.greeting)
                return
            while chunk := await reader.read(1 << 16):
                for request, _ in unpacker.feed(chunk):
                    await self._take(request, writer)
        finally:
            writer.close()
            self._writers.discard(writer)
            async with self._changed:
                self._changed.notify_all()

    async def _take(self, request: dict[str, Any], writer: asyncio.StreamWriter) -> None:
        self.requests.append(request)
        async with self._changed:
            self._changed.notify_all()
        answer = self.answers[request.get("row", request["verb"])]
        if callable(answer):
            answer = answer(request)
        if answer is not None:
            header, blob = answer
            writer.write(pack({"id": request["id"], **header}, blob))
