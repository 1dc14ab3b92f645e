"""A tape drive (SSC-4)."""

import struct
from collections.abc import Callable

from lab.tape import drive_pages
from lab.tape.device import Device, Operation
from lab.tape.media import Cartridge, attributes
from lab.tape.scsi import Key, Refused, bad_field, number, padded

DENSITIES = (
    (0x5C, 19_107, 127, 3_584, 6_000_000, "U-718", "Ultrium 7/32T"),
    (0x5E, 20_668, 127, 6_656, 12_000_000, "U-832", "Ultrium 8/32T"),
)
CLEAN_NOW, CLEAN_PERIODIC, CLEANING_MEDIA = 20, 21, 11


class Drive(Device):
    """A drive. One without the TapeAlert Response page has its flags in page 2Eh only."""

    kind = 1
    product = "Ultrium 8-SCSI"
    revision = "N9M1"
    standard = 0x0520

    def __init__(self, serial: str, *, has_response_page: bool = True) -> None:
        super().__init__(serial)
        self.has_response_page = has_response_page
        self.tape: Cartridge | None = None
        self.is_threaded = False
        """Whether the cartridge is loaded; one that was unloaded waits at the door."""
        self.is_loading = False
        self.is_cleaning_required = False
        self.is_cleaning_requested = False
        self.temperature = 34
        self.activity = 0
        # Statistics of a lifetime (page 14h).
        self.loads = 4_711
        self.cleanings = 12
        self.power_on_hours = 30_123
        self.hard_write_errors = self.hard_read_errors = 0
        # Since the tape was loaded (pages 02h, 03h, 0Ch).
        self.written_bytes = self.read_bytes = 0
        self.corrected_writes = self.corrected_reads = 0

    @property
    def loaded(self) -> Cartridge | None:
        return self.tape if self.is_threaded else None

    def operations(self) -> dict[int, Operation]:
        return {
            0x01: self._rewind,
            0x05: lambda cdb: b"\0" + (0x80_0000).to_bytes(3, "big") + b"\0\x01",
            0x1B: self._load_or_unload,
            0x34: self._read_position,
            0x44: self._report_densities,
            0x8C: self._read_attribute,
        }

    def check_ready(self) -> None:
        if self.is_loading:
            raise Refused(Key.NOT_READY, 0x04, 0x01)
        if self.loaded is None:
            raise Refused(Key.NOT_READY, 0x3A, 0x00)
        if self.loaded.is_cleaning:
            raise Refused(Key.NOT_READY, 0x30, 0x03)

    def identification(self) -> dict[int, bytes]:
        is_worm = self.loaded is not None and self.loaded.is_worm
        return {
            0xB0: bytes([is_worm, 0]) + bytes(58),
            0xB1: f"MFG{self.serial}".encode(),
        }

    def mode_head(self) -> tuple[int, int, bytes]:
        tape = self.loaded
        specific = 0x10 | (0x80 if tape and tape.is_write_protected else 0)
        return (0x98 if tape else 0), specific, bytes([0x5E if tape else 0]) + bytes(7)

    def mode_pages(self) -> dict[int, bytes]:
        return drive_pages.MODE_PAGES

    def log_pages(self) -> dict[int, Callable[[], bytes]]:
        return drive_pages.log_pages(self)

    def take(self, tape: Cartridge) -> None:
        """Have a cartridge put in and loaded."""
        self.tape, self.is_threaded = tape, True
        self.loads += 1
        tape.loads += 1
        tape.block = 0
        self.written_bytes = self.read_bytes = 0
        self.corrected_writes = self.corrected_reads = 0
        if tape.is_cleaning:
            self.cleanings += 1
            self.is_cleaning_required = self.is_cleaning_requested = False
            self.flags -= {CLEAN_NOW, CLEAN_PERIODIC}
            self.flags.add(CLEANING_MEDIA)
            self.activity = drive_pages.CLEANING
        self.unit_attentions.append((0x28, 0x00))

    def give(self) -> Cartridge:
        """Give the cartridge away.

        Raises:
            Refused: something keeps it in.
        """
        if self.is_removal_prevented:
            raise Refused(Key.ILLEGAL_REQUEST, 0x53, 0x02)
        if self.tape is None:
            raise Refused(Key.ILLEGAL_REQUEST, 0x3B, 0x0E)
        tape, self.tape, self.is_threaded = self.tape, None, False
        self.flags.discard(CLEANING_MEDIA)
        self.activity = 0
        return tape

    def write(self, size: int) -> None:
        """Count bytes that a program wrote."""
        self.written_bytes += size
        if self.loaded:
            self.loaded.written_mib += size >> 20
            self.loaded.used_mib += size >> 20
            self.loaded.block += size >> 16

    def read(self, size: int) -> None:
        self.read_bytes += size
        if self.loaded:
            self.loaded.read_mib += size >> 20
            self.loaded.block += size >> 16

    def _rewind(self, cdb: bytes) -> bytes:
        self._require_tape().block = 0
        return b""

    def _require_tape(self) -> Cartridge:
        self.check_ready()
        if self.loaded is None:
            raise Refused(Key.NOT_READY, 0x3A)
        return self.loaded

    def _load_or_unload(self, cdb: bytes) -> bytes:
        if cdb[4] & 1:
            if self.tape is None:
                raise Refused(Key.NOT_READY, 0x3A)
            self.is_threaded = True
        elif self.is_removal_prevented:
            raise Refused(Key.ILLEGAL_REQUEST, 0x53, 0x02)
        else:
            self.is_threaded = False
        return b""

    def _read_position(self, cdb: bytes) -> bytes:
        block = self._require_tape().block
        return struct.pack(">B3xII8x", 0 if block else 0x80, block, block)

    def _report_densities(self, cdb: bytes) -> bytes:
        body = b""
        for code, bits, width, tracks, capacity, name, description in DENSITIES:
            body += struct.pack(">BBBH", code, code, 0xA0, 0) + bits.to_bytes(3, "big")
            body += struct.pack(">HHI", width, tracks, capacity)
            body += padded("LTO-CVE", 8) + padded(name, 8) + padded(description, 20)
        return (struct.pack(">HH", len(body) + 2, 0) + body)[: number(cdb, 7, 2)]

    def _read_attribute(self, cdb: bytes) -> bytes:
        tape = self._require_tape()
        action, first, size = cdb[1] & 0x1F, number(cdb, 8, 2), number(cdb, 10, 4)
        found = attributes(tape, self.serial, self.flags)
        wanted = [code for code in sorted(found) if code >= first]
        if action == 1:
            body = b"".join(struct.pack(">H", code) for code in wanted)
        elif action == 0:
            body = b"".join(found[code] for code in wanted)
        else:
            raise bad_field(1)
        return (struct.pack(">I", len(body)) + body)[:size]
