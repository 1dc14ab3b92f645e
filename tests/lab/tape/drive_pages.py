"""The log and mode pages of a tape drive (SSC-4)."""

from __future__ import annotations

import struct
from functools import partial
from typing import TYPE_CHECKING

from lab.tape.scsi import (
    binary_parameter,
    flags_bitmap,
    flags_page,
    log_page,
    parameter,
    text_parameter,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from lab.tape.drive import Drive

# What a drive is doing (SSC-4, DT device activity).
CLEANING, LOADING, READING, WRITING = 1, 2, 5, 6

MODE_PAGES = {
    0x01: bytes([0x01, 10, 0, 8, 0, 0, 0, 0, 8, 0, 0, 0]),
    0x02: bytes([0x02, 14]) + bytes(14),
    0x0A: bytes([0x0A, 10]) + bytes(10),
    0x0F: bytes([0x0F, 14, 0xC0, 0x80, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 0]),
    0x10: bytes([0x10, 14, 0, 0, 0, 0, 0, 0x64, 0, 0, 0, 0, 0, 0, 1, 0]),
    0x11: bytes([0x11, 8, 3, 0, 0x3C, 3, 0, 0, 0, 0]),
    0x1C: bytes([0x1C, 10, 0x08, 0x03]) + bytes(8),
}


def log_pages(drive: Drive) -> dict[int, Callable[[], bytes]]:
    """Return how each page that a drive has is made."""
    pages: dict[int, Callable[[Drive], bytes]] = {
        0x02: lambda d: _errors(0x02, d.corrected_writes, d.hard_write_errors, d.written_bytes),
        0x03: lambda d: _errors(0x03, d.corrected_reads, d.hard_read_errors, d.read_bytes),
        0x0C: _sequential_access,
        0x0D: lambda d: log_page(
            0x0D, [binary_parameter(0, bytes([0, d.temperature])), binary_parameter(1, b"\0\x3c")]
        ),
        0x11: _status,
        0x14: _statistics,
        0x17: _volume,
        0x18: _port,
        0x1B: _compression,
        0x2E: lambda d: flags_page(d.flags),
        0x31: _capacity,
    }
    if drive.has_response_page:
        pages[0x12] = lambda d: log_page(0x12, [binary_parameter(0, flags_bitmap(d.flags))])
    return {code: partial(made, drive) for code, made in pages.items()}


def _errors(page: int, corrected: int, uncorrected: int, processed: int) -> bytes:
    counts = (corrected, 0, corrected, corrected, corrected)
    return log_page(
        page,
        [
            *(parameter(code, count, 4, control=0) for code, count in enumerate(counts)),
            parameter(5, processed, 8, control=0),
            parameter(6, uncorrected, 4, control=0),
        ],
    )


def _sequential_access(drive: Drive) -> bytes:
    tape = drive.loaded
    return log_page(
        0x0C,
        [
            parameter(0, drive.written_bytes, 8, control=0),
            parameter(1, drive.written_bytes * 2 // 5, 8, control=0),  # to the tape: 2.5 : 1
            parameter(2, drive.read_bytes * 2 // 5, 8, control=0),
            parameter(3, drive.read_bytes, 8, control=0),
            parameter(4, tape.capacity_mib if tape else 0xFFFF_FFFF, 4),
            parameter(5, tape.capacity_mib - 400_000 if tape else 0xFFFF_FFFF, 4),
            parameter(0x100, int(drive.is_cleaning_required), 8),
        ],
    )


def _status(drive: Drive) -> bytes:
    """Page 11h, DT Device Status: the very high frequency data first (SSC-4)."""
    tape = drive.loaded
    first = 0x11  # compression is on, and the data are valid
    first |= 0x02 if drive.is_cleaning_required else 0
    first |= 0x04 if drive.is_cleaning_requested else 0
    first |= 0x08 if tape and tape.is_write_protected else 0
    first |= 0x20 if tape and not tape.is_cleaning else 0
    first |= 0x80 if drive.is_removal_prevented else 0
    second = 0x80 if drive.is_loading else 0
    second |= 0x10 if drive.tape else 0
    second |= 0x07 if tape and not drive.is_loading else 0
    activity = LOADING if drive.is_loading else drive.activity
    return log_page(
        0x11,
        [
            binary_parameter(0, bytes([first, second, activity, drive.flags != drive.told_flags])),
            parameter(1, 100, 2),
            binary_parameter(0x0101, b"\x88\0\0\0"),
        ],
    )


def _statistics(drive: Drive) -> bytes:
    numbers = {
        0x00: drive.loads,
        0x01: drive.cleanings,
        0x02: drive.power_on_hours,
        0x03: 9_000,
        0x04: 1_234_567,
        0x08: 140,
        0x0C: 21,
        0x0D: 33,
        0x0E: drive.hard_write_errors,
        0x0F: drive.hard_read_errors,
    }
    return log_page(
        0x14,
        [
            *(parameter(code, value, 4) for code, value in numbers.items()),
            text_parameter(0x40, f"MFG{drive.serial}", 32),
            text_parameter(0x41, drive.serial, 32),
            parameter(0x80, int(drive.is_removal_prevented), 1),
        ],
    )


def _volume(drive: Drive) -> bytes:
    tape = drive.loaded
    if tape is None:
        return log_page(0x17, [parameter(0, 0, 4)])
    numbers = (
        (0x00, 1, 4),
        (0x01, tape.loads, 8),
        (0x02, 77_777, 8),
        (0x03, 4, 4),
        (0x04, drive.hard_write_errors, 2),
        (0x05, 0, 2),
        (0x06, 0, 2),
        (0x07, 88_888, 8),
        (0x08, 3, 4),
        (0x09, drive.hard_read_errors, 2),
        (0x0E, drive.written_bytes >> 20, 4),
        (0x0F, drive.read_bytes >> 20, 4),
        (0x10, tape.written_mib, 8),
        (0x11, tape.read_mib, 8),
        (0x16, tape.capacity_mib, 4),
        (0x17, tape.used_mib, 4),
        (0x80, int(tape.is_write_protected), 1),
        (0x81, int(tape.is_worm), 1),
        (0x101, 1_234, 4),
    )
    texts = ((0x40, tape.serial, 32), (0x42, tape.barcode, 32), (0x43, "LABTAPE", 8))
    parts = {code: parameter(code, value, size) for code, value, size in numbers}
    parts |= {code: text_parameter(code, text, size) for code, text, size in texts}
    return log_page(0x17, [parts[code] for code in sorted(parts)])


def _port(drive: Drive) -> bytes:
    """Page 18h, protocol-specific: a SAS port of one phy (SPL-4)."""
    phy = struct.pack(">BBBBBBBB", 0, 0, 0, 48, 0x10, 0x0A, 0x08, 0x00)
    phy += drive.world_wide_name + bytes.fromhex("5001438000000001") + bytes(8)
    phy += struct.pack(">IIIIBBBB", 2, 2, 1, 0, 0, 0, 0, 0)
    return log_page(0x18, [binary_parameter(1, bytes([0x06, 0, 0, 1]) + phy)])


def _compression(drive: Drive) -> bytes:
    ratio = 250  # hundredths
    to_server, from_server = drive.read_bytes, drive.written_bytes
    moved = (to_server, to_server * 2 // 5, from_server, from_server * 2 // 5)
    parts = [parameter(0, ratio, 2), parameter(1, ratio, 2)]
    for code, size in zip(range(2, 10, 2), moved, strict=True):
        parts += [parameter(code, size >> 20, 4), parameter(code + 1, size & 0xF_FFFF, 4)]
    return log_page(0x1B, parts)


def _capacity(drive: Drive) -> bytes:
    """Page 31h: MiB, as LTO drives have it."""
    tape = drive.loaded
    left = max(0, tape.capacity_mib - tape.used_mib) if tape else 0
    whole = tape.capacity_mib if tape else 0
    values = {1: left, 2: 0, 3: whole, 4: 0}
    return log_page(0x31, [parameter(code, value, 4) for code, value in values.items()])
