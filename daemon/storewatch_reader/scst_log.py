"""What SCST told in the kernel's log, from /dev/kmsg: how often it told of an error, and of which
kind. No text leaves the worker.

A record is `priority,number,microseconds,flags;message`, with lines after it that begin with a
space (Documentation/ABI/testing/dev-kmsg). SCST's messages begin with
`[pid]: module: ***ERROR***:`; a debug build's have the function and line before the stars.
"""

import os
import re
from collections import deque
from collections.abc import Iterator
from typing import Any

from storewatch_reader.roots import Roots

RECORD_BYTES = 16_384  # of a record the kernel gives 8 KiB at most
MOST_LINES = 5_000
"""How many are told; the newest."""

MOST_RECORDS = 500_000
"""Where a reader gives up that the kernel's log outruns."""

# Only the kernel's own: what a program writes to /dev/kmsg has another facility.
_RECORD = re.compile(rb"([0-7]),([0-9]{1,20}),[0-9]+,[^;]*;(.*)")
_MESSAGE = re.compile(
    rb"\[[0-9]+\]: [\w-]+: (?:\w+:[0-9]+: ?)?\*\*\*(CRITICAL ERROR|ERROR)\*\*\*:? ?(.*)"
)
_KINDS = (
    ("io", re.compile(rb"BLOCKIO for cmd .* finished with error|(?:read|write)v?\(\) returned ")),
    ("timeout", re.compile(rb"Timeout waiting for user space event")),
    ("connection", re.compile(rb".* unexpectedly closed!")),
    ("event_lost", re.compile(rb".*event.* is lost")),
)


def errors(roots: Roots, _: str) -> dict[str, Any]:
    """Return each error that SCST told of, as its number in the log and its kind; the last number
    that the log had; and which start of the machine that was. `exists` alone where there is no
    log."""
    try:
        descriptor = os.open(f"{roots.dev}/kmsg", os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        return {"exists": False}
    last, lines = -1, deque[tuple[int, str]](maxlen=MOST_LINES)
    try:
        for number, message in _records(descriptor):
            last = number
            if kind := _kind(message):
                lines.append((number, kind))
    finally:
        os.close(descriptor)
    return {"exists": True, "boot": _boot(roots), "last": last, "lines": list(lines)}


def _records(descriptor: int) -> Iterator[tuple[int, bytes]]:
    """Yield numbers and messages. The kernel gives one record at each read."""
    rest = b""
    for _ in range(MOST_RECORDS):
        try:
            chunk = os.read(descriptor, RECORD_BYTES)
        except BrokenPipeError:
            continue  # what was to be read next is overwritten already
        except BlockingIOError:
            return
        if not chunk:
            return  # of a plain file
        *whole, rest = (rest + chunk).split(b"\n")
        for line in whole:
            if found := _RECORD.fullmatch(line):
                yield int(found[2]), found[3]


def _kind(message: bytes) -> str:
    found = _MESSAGE.fullmatch(message)
    if found is None:
        return ""
    for kind, pattern in _KINDS:
        if pattern.match(found[2]):
            return kind
    return "critical" if found[1] == b"CRITICAL ERROR" else "other"


def _boot(roots: Roots) -> str:
    try:
        with open(f"{roots.procfs}/sys/kernel/random/boot_id", "rb", buffering=0) as file:
            return file.read(64).decode("ascii", "replace").strip()
    except OSError:
        return ""
