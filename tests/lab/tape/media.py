"""Tape cartridges and what their memory chip tells (MAM, SPC-4)."""

import struct
from collections.abc import Iterable
from dataclasses import dataclass, field

from lab.tape.scsi import flags_bitmap, padded

LTO8_MIB = 11_444_091


@dataclass
class Cartridge:
    """A tape. With an empty `barcode` it has no label, or one that cannot be read."""

    barcode: str
    is_cleaning: bool = False
    is_write_protected: bool = False
    is_worm: bool = False
    capacity_mib: int = LTO8_MIB
    used_mib: int = 0
    loads: int = 17
    written_mib: int = 123_456
    read_mib: int = 654_321
    block: int = 0
    serial: str = field(default="")

    def __post_init__(self) -> None:
        self.serial = self.serial or f"SN{self.barcode}"


def attributes(tape: Cartridge, drive_serial: str, flags: Iterable[int]) -> dict[int, bytes]:
    """Return the attributes of a tape, each with its head of 5 bytes, by number."""
    kind = 0x01 if tape.is_cleaning else 0x80 if tape.is_worm else 0x00
    binary: dict[int, tuple[int, int]] = {
        0x0000: (tape.capacity_mib - tape.used_mib, 8),
        0x0001: (tape.capacity_mib, 8),
        0x0003: (tape.loads, 8),
        0x0004: (0, 8),
        0x0009: (7, 4),
        0x0220: (tape.written_mib, 8),
        0x0221: (tape.read_mib, 8),
        0x0222: (tape.used_mib, 8),
        0x0223: (0, 8),
        0x0402: (960, 4),
        0x0403: (127, 4),
        0x0405: (0x5E, 1),
        0x0407: (16_384, 8),
        0x0408: (kind, 1),
        0x0409: (0, 2),
    }
    texts: dict[int, tuple[str, int]] = {
        0x0400: ("LABTAPE", 8),
        0x0401: (tape.serial, 32),
        0x0404: ("LTO-CVE", 8),
        0x0406: ("20240131", 8),
    }
    found = {n: _attribute(n, 0x80, v.to_bytes(size, "big")) for n, (v, size) in binary.items()}
    found |= {n: _attribute(n, 0x81, padded(text, size)) for n, (text, size) in texts.items()}
    found[0x0002] = _attribute(0x0002, 0x80, flags_bitmap(flags))
    found[0x020A] = _attribute(0x020A, 0x81, padded("LABEMU", 8) + padded(drive_serial, 32))
    found[0x0806] = _attribute(0x0806, 0x01, padded(tape.barcode, 32))
    return found


def _attribute(number: int, form: int, value: bytes) -> bytes:
    return struct.pack(">HBH", number, form, len(value)) + value
