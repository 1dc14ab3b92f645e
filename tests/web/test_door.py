"""The door, before a server of its own: who is let in, who has to go, and who is refused."""

import asyncio
import json
import resource
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import pytest
from aiohttp import web

from storewatch_web.door import Door, raise_file_limit


@dataclass
class House:
    """What is behind a door: `/` answers at once, `/slow` when the gate is open."""

    port: int = 0
    gate: asyncio.Event = field(default_factory=asyncio.Event)
    web_sockets: list[str] = field(default_factory=list)
    asked_slowly: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(0))
    visitors: list["Visitor"] = field(default_factory=list)

    async def answer(self, request: web.Request) -> web.Response:
        if request.path == "/slow":
            self.asked_slowly.release()
            await self.gate.wait()
        return web.Response(text="ok")

    async def come(self) -> "Visitor":
        self.visitors.append(Visitor(*await asyncio.open_connection("127.0.0.1", self.port)))
        return self.visitors[-1]


@dataclass
class Visitor:
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    def ask(self, path: str = "/") -> None:
        self.writer.write(f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())

    async def hear(self) -> tuple[int, bytes]:
        """Return the status and body of an answer."""
        head = await self.reader.readuntil(b"\r\n\r\n")
        lines = head.decode().lower().split("\r\n")
        (length,) = (line.split(":")[1] for line in lines if line.startswith("content-length"))
        return int(lines[0].split()[1]), await self.reader.readexactly(int(length))

    async def is_sent_away(self) -> bool:
        try:
            return await self.reader.read(1) == b""
        except ConnectionResetError:
            return True


@asynccontextmanager
async def a_house(*, max_plain: int = 2, first_request_s: float = 60.0) -> AsyncIterator[House]:
    house = House()
    door = Door(house.web_sockets, max_plain=max_plain, first_request_s=first_request_s)
    app = web.Application(middlewares=[door.middleware])
    app.router.add_get("/{path:.*}", house.answer)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    assert runner.server is not None
    loop = asyncio.get_running_loop()
    server = await loop.create_server(door.leads_to(runner.server), "127.0.0.1", 0)
    house.port = server.sockets[0].getsockname()[1]
    try:
        yield house
    finally:
        house.gate.set()
        for visitor in house.visitors:
            visitor.writer.close()
        server.close()
        await runner.cleanup()


async def test_who_has_asked_nothing_for_the_longest_time_makes_room() -> None:
    async with a_house() as house:
        first, second = await house.come(), await house.come()
        first.ask()
        assert await first.hear() == (200, b"ok")
        third = await house.come()
        third.ask()
        assert await third.hear() == (200, b"ok")
        assert await second.is_sent_away()
        first.ask()
        assert await first.hear() == (200, b"ok")


async def test_thousands_of_idle_connections_make_nobody_wait() -> None:
    async with a_house(max_plain=50) as house:
        for _ in range(200):
            await house.come()
        last = await house.come()
        last.ask()
        assert await last.hear() == (200, b"ok")


async def test_where_all_are_being_answered_one_more_is_refused_with_the_reason() -> None:
    async with a_house() as house:
        answered = [await house.come() for _ in range(2)]
        for one in answered:
            one.ask("/slow")
        for _ in answered:
            await house.asked_slowly.acquire()
        refused = await house.come()
        status, body = await refused.hear()
        assert (status, json.loads(body)["detail"]) == (
            503,
            "too many connections are being answered",
        )
        assert await refused.is_sent_away()
        house.gate.set()
        for one in answered:
            assert await one.hear() == (200, b"ok")
        after = await house.come()
        after.ask()
        assert await after.hear() == (200, b"ok")


async def test_who_has_left_takes_no_place() -> None:
    async with a_house() as house:
        stays, leaves = await house.come(), await house.come()
        for one in (stays, leaves):
            one.ask()
            await one.hear()
        leaves.writer.close()
        await leaves.writer.wait_closed()
        comes = await house.come()
        for one in (comes, stays):
            one.ask()
            assert await one.hear() == (200, b"ok")


async def test_web_sockets_take_no_place() -> None:
    async with a_house() as house:
        first, second = await house.come(), await house.come()
        for one in (first, second):
            one.ask()
            await one.hear()
        house.web_sockets += ["first", "second"]
        for one in (await house.come(), first, second):
            one.ask()
            assert await one.hear() == (200, b"ok")


@pytest.mark.parametrize("said", [b"", b"GET / HTTP/1.1\r\nHost: "], ids=["nothing", "half"])
async def test_who_does_not_ask_in_time_is_sent_away(said: bytes) -> None:
    async with a_house(first_request_s=0.05) as house:
        asks, waits = await house.come(), await house.come()
        asks.ask()
        waits.writer.write(said)
        assert await asks.hear() == (200, b"ok")
        assert await waits.is_sent_away()
        asks.ask()
        assert await asks.hear() == (200, b"ok")


def test_all_descriptors_are_taken_that_may_be_had() -> None:
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (64, before[1]))
    try:
        assert raise_file_limit() == before[1]
        assert resource.getrlimit(resource.RLIMIT_NOFILE) == (before[1], before[1])
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
