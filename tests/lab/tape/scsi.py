"""Pieces of SCSI answers as T10 lays them out (SPC-4, SMC-3, SSC-4), and of refusals."""

import struct
from collections.abc import Iterable
from dataclasses import dataclass
from enum import IntEnum


class Status(IntEnum):
    GOOD = 0x00
    CHECK_CONDITION = 0x02
    BUSY = 0x08
    RESERVATION_CONFLICT = 0x18
    TASK_SET_FULL = 0x28


class Key(IntEnum):
    """Sense keys."""

    NO_SENSE = 0x0
    NOT_READY = 0x2
    MEDIUM_ERROR = 0x3
    HARDWARE_ERROR = 0x4
    ILLEGAL_REQUEST = 0x5
    UNIT_ATTENTION = 0x6


@dataclass(frozen=True, slots=True)
class Sense:
    """Why a command was refused."""

    key: int
    code: int
    qualifier: int = 0
    field: int | None = None
    """The byte of the CDB that is wrong."""

    def fixed(self) -> bytes:
        """Return it in the fixed format (SPC-4 4.5.3)."""
        sense = bytearray(18)
        sense[0], sense[2], sense[7] = 0x70, self.key, 10
        sense[12], sense[13] = self.code, self.qualifier
        if self.field is not None:
            sense[15:18] = struct.pack(">BH", 0xC0, self.field)
        return bytes(sense)


@dataclass(frozen=True, slots=True)
class Answer:
    """What comes back for a command; with an `errno` the ioctl itself fails."""

    status: int = Status.GOOD
    sense: bytes = b""
    data: bytes = b""
    host_status: int = 0
    driver_status: int = 0
    errno: int = 0

    @property
    def is_good(self) -> bool:
        return not (self.status or self.host_status or self.driver_status or self.errno)


class Refused(Exception):
    """CHECK CONDITION."""

    def __init__(self, key: int, code: int, qualifier: int = 0, field: int | None = None) -> None:
        super().__init__(key, code, qualifier, field)
        self.sense = Sense(key, code, qualifier, field)


class Conflict(Exception):
    """RESERVATION CONFLICT."""


class Dropped(Exception):
    """The connection ends in place of an answer."""


class Stuck(Exception):
    """Whoever sent the command was blocked in the kernel, and sends it again."""


def bad_operation() -> Refused:
    return Refused(Key.ILLEGAL_REQUEST, 0x20)


def bad_field(at: int) -> Refused:
    return Refused(Key.ILLEGAL_REQUEST, 0x24, field=at)


def padded(text: str, size: int) -> bytes:
    """Return ASCII, left-aligned and filled with blanks."""
    return text.encode("latin-1", "replace")[:size].ljust(size)


def number(data: bytes, start: int, size: int) -> int:
    return int.from_bytes(data[start : start + size], "big")


def parameter(code: int, value: int, size: int, *, control: int = 0x03) -> bytes:
    """Return a log parameter that is a number."""
    return struct.pack(">HBB", code, control, size) + value.to_bytes(size, "big")


def binary_parameter(code: int, value: bytes, *, control: int = 0x03) -> bytes:
    return struct.pack(">HBB", code, control, len(value)) + value


def text_parameter(code: int, text: str, size: int) -> bytes:
    return binary_parameter(code, padded(text, size), control=0x01)


def log_page(page: int, parameters: Iterable[bytes]) -> bytes:
    body = b"".join(parameters)
    return struct.pack(">BBH", page, 0, len(body)) + body


def flags_page(flags: Iterable[int]) -> bytes:
    """Return page 2Eh, TapeAlert: one parameter a flag."""
    raised = set(flags)
    return log_page(0x2E, [parameter(flag, int(flag in raised), 1) for flag in range(1, 65)])


def flags_bitmap(flags: Iterable[int]) -> bytes:
    """Return 64 flags as page 12h and MAM have them: flag 1 is the highest bit."""
    return sum(1 << (64 - flag) for flag in set(flags)).to_bytes(8, "big")


def designator(kind: int, code_set: int, value: bytes) -> bytes:
    """Return an entry of VPD page 83h."""
    return bytes([code_set, kind, 0, len(value)]) + value
