"""The daemon's end of a watch: what is handed over, and what breaks meanwhile."""

import asyncio
import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from fakes import HandClock
from port.fix_port import ScriptedReader
from storewatch_reader.message import pack
from storewatchd.port import Heard
from storewatchd.port.reader import ReaderPort


class Ears:
    """Somebody who listens, and what came."""

    def __init__(self, tasks: asyncio.TaskGroup, port: ReaderPort) -> None:
        self.heard: asyncio.Queue[Heard] = asyncio.Queue()
        self.task = tasks.create_task(port.listen("kernel.log", self.heard.put_nowait))

    async def next(self) -> Heard:
        async with asyncio.timeout(10):
            return await self.heard.get()


@pytest.fixture
async def reader(tmp_path: Path) -> AsyncIterator[ScriptedReader]:
    async with ScriptedReader(tmp_path / "s") as reader:
        reader.answers["kernel.log"] = ({"state": "listening", "message": ""}, b"")
        reader.answers["mounts"] = ({"value": 1}, b"")
        yield reader


@pytest.fixture
async def port(tmp_path: Path) -> AsyncIterator[ReaderPort]:
    """A port that finds the scripted reader, and can start none of its own."""
    port = ReaderPort(
        tmp_path / "s",
        HandClock().clock,
        own_lock_directory=tmp_path / "locks",
        program=(os.fspath(tmp_path / "no-program"),),
    )
    yield port
    await port.close()


@pytest.fixture
async def ears(reader: ScriptedReader, port: ReaderPort) -> AsyncIterator[Ears]:
    """Somebody who listens, and knows that he does."""
    async with asyncio.TaskGroup() as tasks:
        ears = Ears(tasks, port)
        assert await ears.next() == Heard("listening")
        yield ears
        ears.task.cancel()


def say(reader: ScriptedReader, blob: bytes, number: int = 2, **header: object) -> None:
    whole = {"id": number, "lengths": [], "patterns": [], "more": {}, "lost": 0, **header}
    reader.say(pack(whole, blob))


async def test_records_are_handed_over_as_they_come(reader: ScriptedReader, ears: Ears) -> None:
    say(reader, b"onetwo!", lengths=[3, 4], patterns=["scst", "link"], more={"scst": 2}, lost=5)
    say(reader, b"", lost=1)
    assert await ears.next() == Heard(
        records=(b"one", b"two!"), patterns=("scst", "link"), more={"scst": 2}, lost=5
    )
    assert await ears.next() == Heard(lost=1)


async def test_how_it_stands_is_handed_over(reader: ScriptedReader, ears: Ears) -> None:
    reader.say(pack({"id": 2, "state": "absent", "message": "/dev/kmsg: no"}))
    assert await ears.next() == Heard("absent", "/dev/kmsg: no")


async def test_reads_go_on_beside_it(reader: ScriptedReader, port: ReaderPort, ears: Ears) -> None:
    assert (await port.read("mounts")).value == 1
    say(reader, b"x", lengths=[1], patterns=["scst"])
    assert (await ears.next()).records == (b"x",)


async def test_a_reader_that_comes_back_is_asked_again_and_nothing_failed(
    reader: ScriptedReader, ears: Ears
) -> None:
    reader.hang_up()
    assert await ears.next() == Heard("listening")


async def test_a_reader_that_is_gone_is_told(reader: ScriptedReader, ears: Ears) -> None:
    await reader.stop()
    heard = await ears.next()
    assert heard.state == "failed"
    assert heard.message.startswith("no reader can be started")


async def test_a_reader_that_ends_each_watch_at_once_is_told(
    reader: ScriptedReader, port: ReaderPort
) -> None:
    reader.answers["kernel.log"] = None
    async with asyncio.TaskGroup() as tasks:
        ears = Ears(tasks, port)
        await reader.asked(1)
        reader.hang_up()
        assert await ears.next() == Heard("failed", "the reader is gone")
        ears.task.cancel()


async def test_a_reader_that_knows_no_watch_is_told(
    reader: ScriptedReader, port: ReaderPort
) -> None:
    message = "this reader has no 'watch' of 'kernel.log'; after an upgrade, restart it"
    reader.answers["kernel.log"] = ({"error": "unknown", "message": message}, b"")
    async with asyncio.TaskGroup() as tasks:
        ears = Ears(tasks, port)
        assert await ears.next() == Heard("failed", message)
        ears.task.cancel()


async def test_who_listens_no_more_is_told_no_more(
    reader: ScriptedReader, port: ReaderPort, ears: Ears
) -> None:
    ears.task.cancel()
    await asyncio.wait([ears.task])
    say(reader, b"x", lengths=[1], patterns=["scst"])
    assert (await port.read("mounts")).value == 1  # it came after that
    assert ears.heard.empty()
