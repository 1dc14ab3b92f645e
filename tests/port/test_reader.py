"""The daemon's end of the reader's socket: what is asked, what comes back, and what breaks."""

import asyncio
import contextlib
import errno
import logging
import os
import re
import signal
import socket
import struct
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from fakes import NOON, HandClock
from port.fix_port import ScriptedReader
from reader.fix_reader import NOBODY, as_another_user, serving
from storewatch_reader.attributes import told
from storewatch_reader.message import pack
from storewatch_reader.roots import Roots
from storewatch_reader.table import Row, ToolRow, TreeRow
from storewatch_reader.trees import Pass
from storewatchd.clock import Clock
from storewatchd.errors import (
    ProbeAbsent,
    ProbeDeferred,
    ProbeError,
    ProbeFailed,
    ReadRefused,
    ReadStuck,
)
from storewatchd.port.reader import LOOK_AGAIN_S, ReaderPort

ROWS: dict[str, Row] = {
    row.name: row
    for row in (
        Row("mounts", "read", ""),
        Row("statvfs.path", "read", "", object="path"),
        ToolRow("scsi.serial", "tool", "", object="scsi"),
        TreeRow("sys.block", "tree", "", root="block", attributes=("*/size",)),
    )
}


@pytest.fixture
async def reader(tmp_path: Path) -> AsyncIterator[ScriptedReader]:
    async with ScriptedReader(tmp_path / "s") as reader:
        yield reader


@pytest.fixture
def clock() -> HandClock:
    return HandClock()


@pytest.fixture
async def port(tmp_path: Path, clock: HandClock) -> AsyncIterator[ReaderPort]:
    """A port that finds the scripted reader, and can start none of its own."""
    port = ReaderPort(
        tmp_path / "s",
        clock.clock,
        own_lock_directory=tmp_path / "locks",
        program=(os.fspath(tmp_path / "no-program"),),
        rows=ROWS,
    )
    yield port
    await port.close()


def value(what: Any) -> tuple[dict[str, Any], bytes]:
    return {"value": what}, b""


def refusal(error: str, message: str, **facts: Any) -> tuple[dict[str, Any], bytes]:
    return {"error": error, "message": message, **facts}, b""


# Reads.


async def test_a_read_tells_its_value_and_when_it_came(
    reader: ScriptedReader, port: ReaderPort, clock: HandClock
) -> None:
    def slow(request: dict[str, Any]) -> tuple[dict[str, Any], bytes]:
        clock.forward(2.5)
        return value({"exists": False})

    reader.answers["statvfs.path"] = slow
    reading = await port.read("statvfs.path", "/a")
    assert (reading.value, reading.at, reading.duration_s) == ({"exists": False}, NOON + 2.5, 2.5)
    assert reader.requests == [
        {"id": 1, "verb": "hello"},
        {"id": 2, "verb": "read", "row": "statvfs.path", "object": "/a"},
    ]


async def test_what_a_slow_read_gave_is_dated_by_its_age(
    reader: ScriptedReader, port: ReaderPort
) -> None:
    reader.answers["mounts"] = lambda _: ({"value": 1, "age": 30.0}, b"")
    assert (await port.read("mounts")).at == NOON - 30


async def test_answers_find_their_requests_in_any_order(
    reader: ScriptedReader, port: ReaderPort
) -> None:
    reader.answers["statvfs.path"] = None
    async with asyncio.TaskGroup() as tasks:
        reads = [tasks.create_task(port.read("statvfs.path", path)) for path in ("/a", "/b", "/c")]
        for request in reversed(await reader.asked(3)):
            reader.say(pack({"id": request["id"], **value(request["object"])[0]}))
    assert [read.result().value for read in reads] == ["/a", "/b", "/c"]


async def test_an_answer_that_nobody_waits_for_harms_nothing(
    reader: ScriptedReader, port: ReaderPort
) -> None:
    reader.answers["mounts"] = None
    read = asyncio.ensure_future(port.read("mounts"))
    (request,) = await reader.asked(1)
    read.cancel()
    await asyncio.wait([read])
    late = pack({"id": request["id"], "value": 1})
    reader.answers["mounts"] = value(2)
    reader.say(late + late + pack({"id": 99, "value": 3}))
    assert (await port.read("mounts")).value == 2


@pytest.mark.parametrize(
    ("answer", "kind", "facts"),
    [
        pytest.param(
            refusal("stuck", "it hangs", key="k", since=5.0),
            ReadStuck,
            {"key": "k", "since": 5.0},
            id="stuck",
        ),
        pytest.param(
            refusal("refused", "/a: it is a loop", errno=errno.ELOOP),
            ReadRefused,
            {"errno": errno.ELOOP},
            id="refused",
        ),
        pytest.param(refusal("absent", "no such device"), ProbeAbsent, {}, id="absent"),
        pytest.param(refusal("deferred", "bareos holds it"), ProbeDeferred, {}, id="deferred"),
        pytest.param(refusal("unknown", "restart it"), ProbeFailed, {}, id="unknown"),
        pytest.param(refusal("busy", "64 reads are under way"), ProbeFailed, {}, id="busy"),
    ],
)
async def test_a_refusal_is_an_error_with_its_facts(
    reader: ScriptedReader,
    port: ReaderPort,
    answer: tuple[dict[str, Any], bytes],
    kind: type[ProbeError],
    facts: dict[str, Any],
) -> None:
    reader.answers["mounts"] = answer
    with pytest.raises(kind, match=str(answer[0]["message"])) as caught:
        await port.read("mounts")
    assert type(caught.value) is kind
    assert {name: getattr(caught.value, name) for name in facts} == facts


# Tools.


async def test_what_a_tool_said_comes_with_its_bytes(
    reader: ScriptedReader, port: ReaderPort
) -> None:
    reader.answers["scsi.serial"] = ({"value": {"status": 0, "raced": False}}, b"\x00\xff")
    reading = await port.read("scsi.serial", "3:0:1:0")
    assert reading.value == {"status": 0, "raced": False, "stdout": b"\x00\xff"}
    assert reader.requests[-1]["verb"] == "tool"


# Trees.


def tree_of(attributes: dict[str, bytes | int]) -> Callable[[dict[str, Any]], Any]:
    """Answer as the reader does: the paths are left out where their plan is known."""
    found = Pass()
    found.names = ["//", "", *attributes]
    found.lengths = [one if isinstance(one, int) else len(one) for one in attributes.values()]
    found.parts = [one for one in attributes.values() if isinstance(one, bytes)]
    return lambda request: told(found, request.get("plan", ""))


async def test_a_tree_is_its_attributes_and_their_errors(
    reader: ScriptedReader, port: ReaderPort
) -> None:
    attributes: dict[str, bytes | int] = {
        "sda/size": b"8\n",
        "sdb/size": -errno.EIO,
        "sdc/size": b"",
        "sdd/size": b"16\n",
    }
    reader.answers["sys.block"] = tree_of(attributes)
    assert (await port.read("sys.block")).value == attributes


async def test_paths_are_told_once(reader: ScriptedReader, port: ReaderPort) -> None:
    reader.answers["sys.block"] = tree_of({"sda/size": b"8\n"})
    readings = [await port.read("sys.block") for _ in range(2)]
    assert readings[0].value == readings[1].value == {"sda/size": b"8\n"}
    plans = [request.get("plan") for request in await reader.asked(2)]
    assert plans[0] is None
    assert isinstance(plans[1], str)


async def test_a_changed_tree_is_read_by_its_new_paths(
    reader: ScriptedReader, port: ReaderPort
) -> None:
    reader.answers["sys.block"] = tree_of({"sda/size": b"8\n"})
    await port.read("sys.block")
    reader.answers["sys.block"] = tree_of({"sdb/size": b"16\n"})
    assert (await port.read("sys.block")).value == {"sdb/size": b"16\n"}


async def test_known_paths_hold_for_the_next_reader(
    reader: ScriptedReader, port: ReaderPort
) -> None:
    reader.answers["sys.block"] = tree_of({"sda/size": b"8\n"})
    await port.read("sys.block")
    await reader.stop()
    await reader.start()
    assert (await port.read("sys.block")).value == {"sda/size": b"8\n"}


@pytest.mark.parametrize(
    "answers",
    [
        pytest.param([], id="never told"),
        pytest.param([{"plan": "x", "count": 0, "text": 0}], id="of another plan"),
    ],
)
async def test_paths_that_were_not_told_are_missed(
    reader: ScriptedReader, port: ReaderPort, answers: list[dict[str, Any]]
) -> None:
    for header in answers:
        reader.answers["sys.block"] = (header, b"")
        await port.read("sys.block")
    reader.answers["sys.block"] = ({"plan": "y", "count": 1, "text": 0}, b"\0\0\0\0")
    with pytest.raises(ProbeFailed, match=r"left out the paths of sys\.block"):
        await port.read("sys.block")


@pytest.mark.parametrize(
    ("header", "blob"),
    [
        pytest.param({"plan": "x", "count": 9, "text": 0}, b"", id="no lengths"),
        pytest.param({"plan": "x", "count": "1", "text": 0}, b"", id="no number"),
        pytest.param({"plan": "x", "count": 0}, b"", id="no text"),
        pytest.param({"plan": "x", "count": 0, "text": 0}, b"x", id="more than it says"),
    ],
)
async def test_an_answer_that_holds_no_attributes_is_told(
    reader: ScriptedReader, port: ReaderPort, header: dict[str, Any], blob: bytes
) -> None:
    reader.answers["sys.block"] = (header, blob)
    with pytest.raises(ProbeFailed, match=r"answer of sys\.block is damaged|left out the paths"):
        await port.read("sys.block")


async def test_attributes_of_a_reader_of_another_version_are_not_guessed(
    reader: ScriptedReader, port: ReaderPort
) -> None:
    reader.answers["sys.block"] = ({"plan": "x", "paths": ["a"], "lengths": [1]}, b"1")
    with pytest.raises(ProbeFailed, match="of another version: restart"):
        await port.read("sys.block")


async def test_a_large_tree_is_converted_beside_the_loop(
    reader: ScriptedReader, port: ReaderPort
) -> None:
    attributes: dict[str, bytes | int] = {f"sd{n}/size": b"%d\n" % n for n in range(5_000)}
    reader.answers["sys.block"] = tree_of(attributes)
    assert (await port.read("sys.block")).value == attributes


# A reader that goes away, lies or hangs.


async def test_a_reader_that_comes_back_is_found_again(
    reader: ScriptedReader, port: ReaderPort
) -> None:
    reader.answers["mounts"] = value(1)
    await port.read("mounts")
    await reader.stop()
    with pytest.raises(ProbeFailed):
        await port.read("mounts")
    await reader.start()
    assert (await port.read("mounts")).value == 1


async def test_everybody_who_waits_hears_that_the_reader_is_gone(
    reader: ScriptedReader, port: ReaderPort
) -> None:
    reader.answers |= {"mounts": None, "statvfs.path": None}
    reads = [
        asyncio.ensure_future(port.read("mounts")),
        asyncio.ensure_future(port.read("statvfs.path", "/")),
    ]
    await reader.asked(2)
    await reader.stop()
    errors = await asyncio.gather(*reads, return_exceptions=True)
    assert [(type(one), str(one)) for one in errors] == [(ProbeFailed, "the reader is gone")] * 2


async def test_one_connection_serves_all_who_come_at_once(
    reader: ScriptedReader, port: ReaderPort
) -> None:
    reader.answers["mounts"] = value(1)
    await asyncio.gather(*(port.read("mounts") for _ in range(5)))
    assert [one["verb"] for one in reader.requests].count("hello") == 1


async def test_a_reader_out_of_step_is_left(
    reader: ScriptedReader, port: ReaderPort, caplog: pytest.LogCaptureFixture
) -> None:
    reader.answers["mounts"] = None
    read = asyncio.ensure_future(port.read("mounts"))
    await reader.asked(1)
    reader.say(struct.pack("!I", 1))
    with pytest.raises(ProbeFailed, match="the reader is gone"):
        await read
    assert "the reader is out of step: a message claims 1 bytes" in caplog.text
    reader.answers["mounts"] = value(1)
    assert (await port.read("mounts")).value == 1


async def test_a_reader_that_refuses_this_user_says_so(
    reader: ScriptedReader, port: ReaderPort
) -> None:
    message = "uid 1000 may not ask this reader"
    reader.greeting = pack({"id": None, "error": "forbidden", "message": message})
    for _ in range(2):
        with pytest.raises(ProbeFailed, match=message):
            await port.read("mounts")


async def test_a_reader_that_refuses_to_greet_is_left(
    reader: ScriptedReader, port: ReaderPort
) -> None:
    greeting = reader.answers["hello"]
    reader.answers |= {"hello": refusal("unknown", "no greeting today"), "mounts": value(1)}
    with pytest.raises(ProbeFailed, match="no greeting today"):
        await port.read("mounts")
    reader.answers["hello"] = greeting
    assert (await port.read("mounts")).value == 1


async def test_a_reader_of_another_version_is_named_and_used(
    reader: ScriptedReader, port: ReaderPort, caplog: pytest.LogCaptureFixture
) -> None:
    reader.answers |= {"hello": ({"protocol": 1, "table": "older"}, b""), "mounts": value(1)}
    assert (await port.read("mounts")).value == 1
    assert "the reader is of another version: restart storewatch-reader" in caplog.text


async def test_a_reader_of_this_version_is_not_complained_of(
    reader: ScriptedReader, port: ReaderPort, caplog: pytest.LogCaptureFixture
) -> None:
    reader.answers["mounts"] = value(1)
    await port.read("mounts")
    assert [one for one in caplog.records if one.levelno >= logging.WARNING] == []


@pytest.mark.parametrize(
    ("silent", "words"),
    [
        pytest.param("hello", "the reader does not answer$", id="at once"),
        pytest.param("mounts", r"the reader does not answer \(mounts\)", id="later"),
    ],
)
async def test_a_reader_that_hangs_is_not_waited_for_long(
    reader: ScriptedReader, tmp_path: Path, silent: str, words: str
) -> None:
    reader.answers[silent] = None
    rows = {"mounts": Row("mounts", "read", "", answer_by_s=0.05)}
    port = ReaderPort(
        tmp_path / "s", Clock(), own_lock_directory=tmp_path / "l", rows=rows, margin_s=0.2
    )
    with pytest.raises(ProbeFailed, match=words):
        await port.read("mounts")
    await port.close()


@pytest.mark.skipif(os.geteuid() != 0, reason="becoming another user needs root")
def test_a_socket_that_is_closed_to_us_is_named(tmp_path: Path) -> None:
    path = tmp_path / "s"

    async def read() -> str:
        port = ReaderPort(path, Clock(), own_lock_directory=tmp_path / "locks")
        try:
            await port.read("mounts")
        except ProbeFailed as error:
            return str(error)
        return "it was read"

    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(os.fspath(path))
        listener.listen()
        path.chmod(0o600)
        said = as_another_user(lambda: asyncio.run(read()).encode())
    assert said.decode() == f"the reader's socket {path} is closed to us"


async def test_who_waits_for_the_connection_waits_no_longer_than_for_an_answer(
    reader: ScriptedReader, tmp_path: Path
) -> None:
    reader.answers["hello"] = None
    rows = {"mounts": Row("mounts", "read", "", answer_by_s=0.05)}
    port = ReaderPort(
        tmp_path / "s", Clock(), own_lock_directory=tmp_path / "l", rows=rows, margin_s=0.2
    )
    began = asyncio.get_running_loop().time()
    reads = (port.read("mounts") for _ in range(10))
    errors = await asyncio.gather(*reads, return_exceptions=True)
    # One after the other each would have waited for a greeting of its own.
    assert asyncio.get_running_loop().time() - began < 1.0
    assert {type(one) for one in errors} == {ProbeFailed}
    await port.close()


@pytest.mark.skipif(os.geteuid() != 0, reason="becoming another user needs root")
def test_a_real_reader_that_refuses_this_user_says_so(tmp_path: Path) -> None:
    async def read() -> str:
        port = ReaderPort(path, Clock(), own_lock_directory=path)
        try:
            await port.read("mounts")
        except ProbeFailed as error:
            return str(error)
        return "it was read"

    with serving(Roots(), tmp_path / "locks") as server:
        path = Path(os.fsdecode(server.address))
        said = as_another_user(lambda: asyncio.run(read()).encode())
    assert said.decode() == f"uid {NOBODY} may not ask this reader"


# A reader of our own.


@pytest.fixture
async def own(tmp_path: Path) -> AsyncIterator[ReaderPort]:
    """A port at whose path nobody listens."""
    port = ReaderPort(tmp_path / "s", Clock(), own_lock_directory=tmp_path / "locks")
    yield port
    await port.close()


def started(caplog: pytest.LogCaptureFixture) -> list[int]:
    """Return the pids of the readers that were started."""
    return [int(pid) for pid in re.findall(r"reader of our own \(pid (\d+)\)", caplog.text)]


def is_there(pid: int) -> bool:
    return Path(f"/proc/{pid}").exists()


async def test_where_no_reader_listens_one_of_our_own_is_started(
    own: ReaderPort, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(os.fspath(tmp_path / "s"))
    facts = (await own.read("statvfs.path", os.fspath(tmp_path))).value
    assert (facts["exists"], facts["real_path"]) == (True, os.fspath(tmp_path))
    assert "/proc" in (await own.read("mounts")).value["mountinfo"]
    first, second = await own.read("sys.block"), await own.read("sys.block")
    assert first.value.keys() == second.value.keys()
    assert len(started(caplog)) == 1


async def test_our_own_reader_ends_with_us(
    own: ReaderPort, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    await own.read("mounts")
    (pid,) = started(caplog)
    assert is_there(pid)
    await own.close()
    assert not is_there(pid)


async def test_our_own_reader_is_followed_by_another_when_it_dies(
    own: ReaderPort, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    await own.read("mounts")
    (first,) = started(caplog)
    caplog.clear()
    os.kill(first, signal.SIGKILL)
    # Its end may be noticed before this read or by it.
    await asyncio.gather(own.read("mounts"), return_exceptions=True)
    assert (await own.read("mounts")).value["mountinfo"]
    assert started(caplog)[0] == first
    assert len(started(caplog)) == 2
    (warning,) = [one.getMessage() for one in caplog.records if one.levelname == "WARNING"]
    assert warning == (
        f"the reader of our own (pid {first}) was ended by SIGKILL; starting it again with the "
        "next read"
    )
    assert not is_there(first)


async def test_our_own_reader_gives_way_to_one_at_the_socket(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, clock: HandClock
) -> None:
    caplog.set_level(logging.INFO)
    port = ReaderPort(tmp_path / "s", clock.clock, own_lock_directory=tmp_path / "locks")
    await port.read("mounts")
    (pid,) = started(caplog)
    async with ScriptedReader(tmp_path / "s") as reader:
        reader.answers["mounts"] = value("of the socket")
        clock.forward(LOOK_AGAIN_S - 1)
        assert (await port.read("mounts")).value != "of the socket"
        clock.forward(1)
        assert (await port.read("mounts")).value == "of the socket"
        assert not is_there(pid)
        assert [one for one in caplog.records if one.levelno >= logging.WARNING] == []
        await port.close()


HOLDS_MOUNTS_BACK = """
import socket, sys
from storewatch_reader.message import Unpacker, pack
from storewatch_reader.table import digest

daemon, unpacker, held = socket.socket(fileno=int(sys.argv[2])), Unpacker(), []
while chunk := daemon.recv(65536):
    for request, _ in unpacker.feed(chunk):
        held.append(pack({"id": request["id"], "table": digest(), "value": "held back"}))
        if request.get("row") != "mounts":
            daemon.sendall(b"".join(held))
            held.clear()
"""
"""A reader that answers a read of the mounts with the next other request."""


async def test_our_own_reader_gives_way_when_no_read_is_under_way(
    tmp_path: Path, clock: HandClock
) -> None:
    port = ReaderPort(
        *(tmp_path / "s", clock.clock),
        own_lock_directory=tmp_path / "locks",
        program=(sys.executable, "-c", HOLDS_MOUNTS_BACK),
        rows=ROWS,
    )
    await port.read("statvfs.path", "/")
    async with ScriptedReader(tmp_path / "s") as reader:
        reader.answers["statvfs.path"] = value("of the socket")
        clock.forward(LOOK_AGAIN_S - 1)
        mounts = asyncio.ensure_future(port.read("mounts"))
        await asyncio.sleep(0)  # it is asked
        clock.forward(1)
        assert (await port.read("statvfs.path", "/")).value == "held back"
        assert (await mounts).value == "held back"
        assert (await port.read("statvfs.path", "/")).value == "of the socket"
        await port.close()


@pytest.mark.parametrize("at_the_socket", ["nobody", "one that refuses us"])
async def test_our_own_reader_stands_in_as_long_as_no_other_can_be_asked(
    tmp_path: Path, clock: HandClock, caplog: pytest.LogCaptureFixture, at_the_socket: str
) -> None:
    caplog.set_level(logging.INFO)
    port = ReaderPort(tmp_path / "s", clock.clock, own_lock_directory=tmp_path / "locks")
    await port.read("mounts")
    async with contextlib.AsyncExitStack() as stack:
        if at_the_socket != "nobody":
            reader = await stack.enter_async_context(ScriptedReader(tmp_path / "s"))
            reader.greeting = pack({"id": None, "error": "forbidden", "message": "not you"})
        clock.forward(LOOK_AGAIN_S)
        assert "/proc" in (await port.read("mounts")).value["mountinfo"]
    assert len(started(caplog)) == 1
    await port.close()


async def test_a_socket_that_is_there_and_cannot_be_reached_is_not_stood_in_for(
    port: ReaderPort, tmp_path: Path
) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as other:
        other.bind(os.fspath(tmp_path / "s"))
        with pytest.raises(
            ProbeFailed, match=f"the reader's socket {tmp_path}/s cannot be reached"
        ):
            await port.read("mounts")


async def test_a_reader_that_cannot_be_started_is_told(port: ReaderPort, tmp_path: Path) -> None:
    words = f"no reader can be started: {tmp_path}/no-program cannot be run: No such file"
    with pytest.raises(ProbeFailed, match=words):
        await port.read("mounts")


async def test_a_reader_that_ends_at_once_is_told(tmp_path: Path) -> None:
    port = ReaderPort(
        tmp_path / "s",
        Clock(),
        own_lock_directory=tmp_path / "locks",
        program=(sys.executable, "-c", "pass"),
    )
    with pytest.raises(ProbeFailed, match="the reader is gone"):
        await port.read("mounts")
    await port.close()


async def test_a_port_that_was_never_used_closes(port: ReaderPort) -> None:
    await port.close()
