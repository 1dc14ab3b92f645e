"""What a watch worker does: listens to one device, and writes what it hears to its pipe, until
nobody reads there.

The kernel keeps what is not read yet, and only so much of it: /dev/kmsg is a ring, and SCST holds
2048 events for a reader. So nothing is kept here, and a slow reader of the pipe costs no memory.

A message is a header and the records, one after the other: `lengths` of them, `patterns` that they
match, `more` (how many lines of which pattern were not passed on) and `lost`.
"""

import errno
import fcntl
import os
import re
import select
import socket
import struct
from collections import Counter
from collections.abc import Iterator
from typing import Any, NoReturn

from storewatch_reader import clock
from storewatch_reader.kernel_log import LINE_BYTES, LINES_A_SECOND, LINES_AT_ONCE, SECRET_WORDS
from storewatch_reader.message import pack
from storewatch_reader.roots import Roots
from storewatch_reader.table import WatchRow

RECORDS_AT_ONCE = 64
"""How many records one message has at most."""

KMSG_BYTES = 16_384  # a read of less than a whole record is refused (printk.c, devkmsg_read)

# include/scst_event.h of SCST; the numbers are those of _IOW('u', 1, struct scst_event), of 64
# bytes, and _IOWR('u', 3, struct scst_event_user), of 68, as on x86 and ARM.
ALLOW_EVENT = 0x40407501
GET_NEXT_EVENT = 0xC0447503
CORE = b"SCST core"
_EVENT = struct.Struct("=iII50s")  # payload_len, event_code, event_id, issuer_name
EVENT_BYTES = 4096  # a payload has 3 KiB at most
# Longer than what the kernel is asked to take: some versions copy more than the structure.
_ARGUMENT_BYTES = EVENT_BYTES + 8

NETLINK_KOBJECT_UEVENT = 15

TELL_COUNTS_AFTER_S = 1.0
"""How long what is only counted waits for a line that is told."""

AGAIN_AFTER_S = 0.05
"""How long a device rests that says it has something, and has nothing."""

_STATES = {
    **dict.fromkeys((errno.ENOENT, errno.ENODEV, errno.ENXIO, errno.ENOTDIR), "absent"),
    **dict.fromkeys((errno.EACCES, errno.EPERM), "forbidden"),
}


class Unloading(Exception):
    """A module that uses SCST goes: SCST itself may be next, and must find nobody in its way."""


def listen(roots: Roots, row: WatchRow, pipe: int) -> None:
    """Listen until nobody reads the pipe; say how it ended, where it is the device that ends it."""
    path = f"{roots.dev}/{row.node}"
    try:
        device = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        ears = ScstEvents(device, roots, row) if row.codes else KernelLog(device, row)
        _say(pipe, {"state": "listening"})
        _pass_on(ears, pipe)
    except BrokenPipeError:
        return
    except Unloading as error:
        _say(pipe, {"state": "deferred", "message": str(error)})
    except OSError as error:
        state = _STATES.get(error.errno or 0, "failed")
        message = f"{path}: {error.strerror or error}"
        _say(pipe, {"state": state, "message": message})


def _pass_on(ears: "ScstEvents | KernelLog", pipe: int) -> None:
    poll = select.poll()
    for descriptor in ears.descriptors:
        poll.register(descriptor, select.POLLIN)
    poll.register(pipe, 0)  # POLLERR is told unasked
    while True:
        ready = dict(poll.poll(ears.wait_ms()))
        if pipe in ready:
            raise BrokenPipeError
        found = False
        for header, blob in ears.messages(ready):
            found = True
            _say(pipe, header, blob)
        if ready and not found:
            closed = select.poll()
            closed.register(pipe, 0)
            closed.poll(AGAIN_AFTER_S * 1000)


def _say(pipe: int, header: dict[str, Any], blob: bytes = b"") -> None:
    view = memoryview(pack(header, blob))
    while view:
        view = view[os.write(pipe, view) :]


def _heard(
    records: list[bytes], *, patterns: list[str], more: Counter[str], lost: int
) -> tuple[dict[str, Any], bytes]:
    lengths = [len(record) for record in records]
    header = {"lengths": lengths, "patterns": patterns, "more": dict(more), "lost": lost}
    return header, b"".join(records)


class KernelLog:
    """/dev/kmsg from now on (Documentation/ABI/testing/dev-kmsg): lines that match a pattern."""

    def __init__(self, device: int, row: WatchRow) -> None:
        self.descriptors = (device,)
        self._device = device
        self._patterns = [(name, re.compile(pattern.encode())) for name, pattern in row.patterns]
        self._secret = re.compile(SECRET_WORDS.encode())
        self._next: int | None = None  # number of the next record
        self._more: Counter[str] = Counter()
        self._lost = 0
        self._told_at = clock.monotonic()
        self._room = float(LINES_AT_ONCE)
        self._room_at = clock.monotonic()
        os.lseek(device, 0, os.SEEK_END)

    def wait_ms(self) -> int | None:
        """Return for how long nothing has to be done, None for ever: counts are told in time."""
        return int(TELL_COUNTS_AFTER_S * 1000) if self._more or self._lost else None

    def messages(self, ready: dict[int, int]) -> Iterator[tuple[dict[str, Any], bytes]]:
        """Yield what there is to tell."""
        is_drained = False
        while not is_drained:
            lines: list[bytes] = []
            names: list[str] = []
            while len(lines) < RECORDS_AT_ONCE:
                record = self._read()
                if record is None:
                    is_drained = True
                    break
                name = self._name(record)
                if not name:
                    continue
                if self._secret.search(record) or not self._has_room():
                    self._more[name] += 1
                else:
                    lines.append(record[:LINE_BYTES])
                    names.append(name)
            if lines or ((self._more or self._lost) and (not ready or self._is_late())):
                yield _heard(lines, patterns=names, more=self._more, lost=self._lost)
                self._more, self._lost = Counter(), 0
                self._told_at = clock.monotonic()

    def _is_late(self) -> bool:
        # A log in which others write all the time leaves no moment without anything to read.
        return clock.monotonic() - self._told_at >= TELL_COUNTS_AFTER_S

    def _read(self) -> bytes | None:
        """Return the next record, None where there is none yet."""
        while True:
            try:
                record = os.read(self._device, KMSG_BYTES)
            except BlockingIOError:
                return None
            except BrokenPipeError:
                continue  # overwritten before it was read: the next number says how many were
            if not record:
                raise OSError(errno.EIO, os.strerror(errno.EIO))  # a log has no end
            number = record.partition(b",")[2].partition(b",")[0]
            if number.isdigit():
                if self._next is not None:
                    self._lost += max(0, int(number) - self._next)
                self._next = int(number) + 1
            return record

    def _name(self, record: bytes) -> str:
        """Return which pattern a record matches; empty for none."""
        head, _, rest = record.partition(b";")
        text = rest.partition(b"\n")[0]
        # Facility 0 is the kernel, 1 what root writes by hand; programs that log here have others.
        priority = head.partition(b",")[0]
        if not priority.isdigit() or int(priority) >> 3 > 1:
            return ""
        return next((name for name, one in self._patterns if one.search(text)), "")

    def _has_room(self) -> bool:
        now = clock.monotonic()
        grown = self._room + (now - self._room_at) * LINES_A_SECOND
        self._room, self._room_at = min(float(LINES_AT_ONCE), grown), now
        if self._room < 1:
            return False
        self._room -= 1
        return True


class ScstEvents:
    """/dev/scst_event: the events with a code of the row, as SCST's core issues them.

    Whoever listens there has SCST's module in use. It is let go as soon as a module that uses SCST
    is unloaded, which comes before SCST itself: who stops SCST must not find that it cannot.
    """

    def __init__(self, device: int, roots: Roots, row: WatchRow) -> None:
        self._device = device
        self._argument = bytearray(_ARGUMENT_BYTES)
        self._kernel = socket.socket(
            socket.AF_NETLINK,
            socket.SOCK_DGRAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC,
            NETLINK_KOBJECT_UEVENT,
        )
        self._kernel.bind((0, 1))
        self._holders = f"{roots.sysfs}/module/scst/holders"
        self._users = _names(self._holders)
        self.descriptors = (device, self._kernel.fileno())
        for code in row.codes:
            self._argument[:] = bytes(_ARGUMENT_BYTES)
            _EVENT.pack_into(self._argument, 0, 0, code, 0, CORE)
            fcntl.ioctl(device, ALLOW_EVENT, self._argument, True)

    def wait_ms(self) -> int | None:
        return None

    def messages(self, ready: dict[int, int]) -> Iterator[tuple[dict[str, Any], bytes]]:
        """Yield what there is to tell.

        Raises:
            Unloading: the device is closed, for SCST may be about to go.
        """
        if self._kernel.fileno() in ready:
            self._heed_modules()
        if ready.get(self._device, 0) & (select.POLLERR | select.POLLNVAL):
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        while True:
            records: list[bytes] = []
            while len(records) < RECORDS_AT_ONCE:
                record = self._next()
                if record is None:
                    break
                records.append(record)
            if records:
                yield _heard(records, patterns=[], more=Counter(), lost=0)
            if len(records) < RECORDS_AT_ONCE:
                return

    def _next(self) -> bytes | None:
        """Return the next event, None where there is none yet."""
        struct.pack_into("=i", self._argument, 0, EVENT_BYTES)
        try:
            fcntl.ioctl(self._device, GET_NEXT_EVENT, self._argument, True)
        except (BlockingIOError, InterruptedError):
            return None
        (payload,) = struct.unpack_from("=i", self._argument, 4)
        length = _EVENT.size + min(max(payload, 0), EVENT_BYTES - _EVENT.size)
        return bytes(self._argument[4 : 4 + length])

    def _heed_modules(self) -> None:
        # Who sends this is not asked: it takes root to do so, and all that comes of it is a moment
        # in which nobody listens.
        while True:
            try:
                said = self._kernel.recv(8192)
            except BlockingIOError:
                return
            except OSError as error:
                if error.errno != errno.ENOBUFS:
                    raise
                # Too many at once: what was missed shows in who is there still.
                for name in self._users - _names(self._holders):
                    self._let_go(name)
                continue
            action, _, path = said.partition(b"\0")[0].partition(b"@")
            if not path.startswith(b"/module/"):
                continue
            name = os.fsdecode(path[len(b"/module/") :])
            if action == b"remove" and name in self._users:
                self._let_go(name)
            self._users = _names(self._holders)

    def _let_go(self, module: str) -> NoReturn:
        os.close(self._device)
        self._kernel.close()
        raise Unloading(f"{module} is unloaded: SCST is let go for a moment")


def _names(directory: str) -> frozenset[str]:
    try:
        return frozenset(os.listdir(directory))
    except OSError:
        return frozenset()
