"""The kernel's messages about devices: their form, and the real ones of this kernel."""

import asyncio
import os
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from storewatchd.port.uevents import (
    KERNEL_GROUP,
    LOST,
    NETLINK_KOBJECT_UEVENT,
    Uevent,
    UeventPort,
    parse_uevent,
)

# As Linux 6.18 sent it for a device of ours.
CHANGE = (
    b"change@/devices/virtual/block/loop0\0ACTION=change\0DEVPATH=/devices/virtual/block/loop0\0"
    b"SUBSYSTEM=block\0SYNTH_UUID=0\0MAJOR=7\0MINOR=0\0DEVNAME=loop0\0DEVTYPE=disk\0DISKSEQ=186\0"
    b"SEQNUM=1797\0"
)

LOOP = Path("/sys/block/loop0/uevent")

needs_a_device = pytest.mark.skipif(
    os.geteuid() != 0 or not LOOP.exists(), reason="lets the kernel speak of /sys/block/loop0"
)


def test_a_message_says_what_was_done_to_which_device() -> None:
    event = parse_uevent(CHANGE)
    assert event is not None
    assert (event.action, event.path, event.subsystem) == (
        "change",
        "/devices/virtual/block/loop0",
        "block",
    )
    assert event.properties["DEVNAME"] == "loop0"


@pytest.mark.parametrize(
    "message",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b"libudev\0\xfe\xed\xca\xfe" + bytes(32), id="of udevd"),
        pytest.param(CHANGE.replace(b"change@", b"add@"), id="head and properties disagree"),
        pytest.param(CHANGE.replace(b"\0DEVPATH=", b"\0PATH="), id="no path"),
        pytest.param(CHANGE[:20], id="cut off"),
    ],
)
def test_what_is_not_of_the_kernels_form_is_none(message: bytes) -> None:
    assert parse_uevent(message) is None


@given(st.binary(max_size=300))
def test_garbage_is_none(message: bytes) -> None:
    event = parse_uevent(message)
    assert event is None or (event.action and event.path)


@given(st.binary(min_size=1, max_size=20).filter(lambda name: not {0, 61} & set(name)))
def test_whatever_a_device_is_called_it_can_be_written_down(name: bytes) -> None:
    event = parse_uevent(b"add@/%b\0ACTION=add\0DEVPATH=/%b\0" % (name, name))
    assert event is not None
    assert event.path.encode()


@given(st.integers(0, 8 * len(CHANGE) - 1))
def test_a_flipped_bit_never_names_a_device_that_the_head_does_not(bit: int) -> None:
    message = bytearray(CHANGE)
    message[bit // 8] ^= 1 << bit % 8
    event = parse_uevent(bytes(message))
    if event is not None:
        head = bytes(message).split(b"\0")[0].decode(errors="backslashreplace")
        assert head == f"{event.action}@{event.path}"


@asynccontextmanager
async def listening(**options: int) -> AsyncIterator["asyncio.Queue[Uevent]"]:
    heard: asyncio.Queue[Uevent] = asyncio.Queue()
    async with asyncio.TaskGroup() as tasks:
        port = tasks.create_task(UeventPort(heard.put_nowait, **options).run())
        await asyncio.sleep(0)  # it listens as soon as it has run
        yield heard
        port.cancel()


async def next_of(heard: "asyncio.Queue[Uevent]", path: str) -> Uevent:
    """Return the next message about a device; there are others on any machine."""
    async with asyncio.timeout(10):
        while True:
            event = await heard.get()
            if event.path == path:
                return event


@needs_a_device
async def test_the_kernels_message_is_heard() -> None:
    async with listening() as heard:
        await asyncio.to_thread(LOOP.write_text, "change")
        event = await next_of(heard, "/devices/virtual/block/loop0")
        assert (event.action, event.subsystem) == ("change", "block")


@needs_a_device
async def test_what_another_sends_in_the_kernels_place_is_not_heard() -> None:
    async with listening() as heard:
        with socket.socket(socket.AF_NETLINK, socket.SOCK_DGRAM, NETLINK_KOBJECT_UEVENT) as other:
            forged = CHANGE.replace(b"loop0", b"loop1")
            other.sendto(forged, (0, KERNEL_GROUP))
        await asyncio.to_thread(LOOP.write_text, "change")
        async with asyncio.timeout(10):
            while (event := await heard.get()).path != "/devices/virtual/block/loop0":
                assert event.path != "/devices/virtual/block/loop1"


def flood() -> None:
    for _ in range(200):
        LOOP.write_text("change")


@needs_a_device
async def test_more_than_the_kernel_keeps_for_us_is_told_as_lost() -> None:
    async with listening(buffer_bytes=4096) as heard:
        flood()  # while the loop stands still
        async with asyncio.timeout(10):
            while await heard.get() != LOST:
                pass
