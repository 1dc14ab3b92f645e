"""A medium changer: the robot of a library (SMC-3)."""

import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import IntEnum

from lab.tape.device import Device, Operation
from lab.tape.drive import Drive
from lab.tape.media import Cartridge
from lab.tape.scsi import Key, Refused, bad_field, flags_page, number, padded

LIBRARY_DOOR = 16
_TAG_BYTES = 36
_IDENTIFIER_BYTES = 34


class Place(IntEnum):
    """Element types."""

    ROBOT = 1
    SLOT = 2
    MAIL = 3
    DRIVE = 4


@dataclass
class Element:
    """A place for a cartridge. One with a `drive` has what that has."""

    address: int
    place: Place
    drive: Drive | None = None
    held: Cartridge | None = None
    source: int | None = None
    exception: tuple[int, int] | None = None
    is_accessible: bool = True
    is_from_operator: bool = False

    @property
    def tape(self) -> Cartridge | None:
        return self.drive.tape if self.drive else self.held


class Changer(Device):
    """A robot with its places. Its TapeAlert flags are in page 2Eh only."""

    kind = 8
    product = "VLIB-SMC"
    standard = 0x0480

    def __init__(
        self,
        serial: str,
        drives: Sequence[Drive],
        *,
        slots: int,
        mail_slots: int,
        first_addresses: tuple[int, int, int, int] = (1, 1001, 101, 257),
        has_barcodes: bool = True,
    ) -> None:
        robot, slot, mail, drive = first_addresses
        self.has_barcodes = has_barcodes
        self.robot = Element(robot, Place.ROBOT)
        self.slots = [Element(slot + i, Place.SLOT) for i in range(slots)]
        self.mail = [Element(mail + i, Place.MAIL) for i in range(mail_slots)]
        self.drives = [Element(drive + i, Place.DRIVE, d) for i, d in enumerate(drives)]
        self.is_door_open = False
        # How a failed read looks that says GOOD.
        self.shows_empty = False
        self.shows_no_tags = False
        self.shows_empty_to_curdata = False  # to who asks for what is known, without motion
        self.extra_elements = 0
        super().__init__(serial)

    @property
    def places(self) -> dict[Place, list[Element]]:
        return {
            Place.ROBOT: [self.robot],
            Place.SLOT: self.slots,
            Place.MAIL: self.mail,
            Place.DRIVE: self.drives,
        }

    def operations(self) -> dict[int, Operation]:
        return {
            0x07: self._look_at_everything,
            0x2B: self._look_at_everything,  # POSITION TO ELEMENT
            0x37: self._look_at_everything,
            0xA5: self._move_medium,
            0xA6: self._exchange_medium,
            0xB8: self._read_element_status,
        }

    def check_ready(self) -> None:
        if self.is_door_open:
            raise Refused(Key.NOT_READY, 0x04, 0x03)  # manual intervention required

    def adjust_inquiry(self, data: bytearray) -> None:
        data[55] |= int(self.has_barcodes)

    def mode_pages(self) -> dict[int, bytes]:
        groups = ([self.robot], self.slots, self.mail, self.drives)
        numbers = [n for group in groups for n in (group[0].address if group else 0, len(group))]
        return {
            0x1C: bytes([0x1C, 10, 0x08, 0x03]) + bytes(8),
            0x1D: struct.pack(">BB9H", 0x1D, 18, *numbers, 0),
            0x1E: bytes([0x1E, 2, 0, 0]),
            0x1F: bytes([0x1F, 18, 0x0E, 3, 0, 0x0E, 0x0E, 0x0E]) + bytes(12),
        }

    def log_pages(self) -> dict[int, Callable[[], bytes]]:
        return {0x2E: lambda: flags_page(self.flags)}

    def move(self, source: Element, target: Element) -> None:
        """Carry a cartridge.

        Raises:
            Refused: it cannot be carried.
        """
        self.check_ready()
        if source.tape is None:
            raise Refused(Key.ILLEGAL_REQUEST, 0x3B, 0x0E)
        if target.tape is not None and target is not source:
            raise Refused(Key.ILLEGAL_REQUEST, 0x3B, 0x0D)
        if source.exception:
            raise Refused(Key.ILLEGAL_REQUEST, 0x3B, 0x18)
        self._put(self._take(source), source, target)

    def _take(self, element: Element) -> Cartridge:
        if element.drive:
            return element.drive.give()
        tape, element.held = element.held, None
        if tape is None:
            raise Refused(Key.ILLEGAL_REQUEST, 0x3B, 0x0E)
        return tape

    def _put(self, tape: Cartridge, source: Element, target: Element) -> None:
        target.is_from_operator = False
        home = source.address if source.place in (Place.SLOT, Place.MAIL) else source.source
        target.source = home if target.place in (Place.DRIVE, Place.MAIL) else None
        if source is not target:
            source.source = None
        if target.drive:
            target.drive.take(tape)
        else:
            target.held = tape

    def _element(self, cdb: bytes, at: int) -> Element:
        address = number(cdb, at, 2)
        for elements in self.places.values():
            for element in elements:
                if element.address == address:
                    return element
        raise Refused(Key.ILLEGAL_REQUEST, 0x21, 0x01, at)

    def _move_medium(self, cdb: bytes) -> bytes:
        self.move(self._element(cdb, 4), self._element(cdb, 6))
        return b""

    def _exchange_medium(self, cdb: bytes) -> bytes:
        """What is in the first place goes to the second, what was there to the third."""
        source, first, second = (self._element(cdb, at) for at in (4, 6, 8))
        self.check_ready()
        if source.tape is None or first.tape is None:
            raise Refused(Key.ILLEGAL_REQUEST, 0x3B, 0x0E)
        if second.tape is not None and second is not source:
            raise Refused(Key.ILLEGAL_REQUEST, 0x3B, 0x0D)
        for drive in (source.drive, first.drive):
            if drive and drive.is_removal_prevented:
                raise Refused(Key.ILLEGAL_REQUEST, 0x53, 0x02)
        evicted = self._take(first)
        incoming = self._take(source)
        self._put(evicted, first, second)
        self._put(incoming, source, first)
        return b""

    def _look_at_everything(self, cdb: bytes) -> bytes:
        self.check_ready()
        return b""

    def _read_element_status(self, cdb: bytes) -> bytes:
        place, has_tags, has_identifiers = cdb[1] & 0x0F, bool(cdb[1] & 0x10), bool(cdb[6] & 1)
        start, limit, size = number(cdb, 2, 2), number(cdb, 4, 2), number(cdb, 7, 3)
        if place not in (0, *Place):
            raise bad_field(1)
        if has_tags and not self.has_barcodes:
            raise bad_field(1)
        shows_empty = self.shows_empty or (self.shows_empty_to_curdata and bool(cdb[6] & 2))
        pages: list[bytes] = []
        found: list[Element] = []
        for each, elements in self.places.items():
            if place not in (0, each):
                continue
            wanted = [e for e in elements if e.address >= start][: limit - len(found)]
            if not wanted:
                continue
            found += wanted
            described = [
                self._describe(e, has_tags, has_identifiers, shows_empty=shows_empty)
                for e in wanted
            ]
            size_each = len(described[0])
            head = (each, 0x80 if has_tags else 0, size_each, size_each * len(described))
            pages += [struct.pack(">BBHI", *head), *described]
        if not found and start:
            raise Refused(Key.ILLEGAL_REQUEST, 0x21, 0x01)
        body = b"".join(pages)
        first = min((element.address for element in found), default=0)
        count = max(0, len(found) + self.extra_elements)
        return (struct.pack(">HHI", first, count, len(body)) + body)[:size]

    def _describe(
        self, element: Element, has_tags: bool, has_identifiers: bool, *, shows_empty: bool
    ) -> bytes:
        tape = None if shows_empty else element.tape
        flags = 0x01 if tape else 0
        flags |= 0x02 if element.is_from_operator else 0
        flags |= 0x04 if element.exception else 0
        flags |= 0x08 if element.is_accessible and element.place is not Place.ROBOT else 0
        flags |= 0x30 if element.place is Place.MAIL else 0
        code, qualifier = element.exception or (0, 0)
        knows_source = tape is not None and element.source is not None
        kind = 0 if tape is None else 2 if tape.is_cleaning else 1  # SMC-3, medium type
        described = struct.pack(
            ">HBxBB3xBH",
            element.address,
            flags,
            code,
            qualifier,
            (0x80 if knows_source else 0) | kind,
            (element.source or 0) if knows_source else 0,
        )
        if has_tags:
            tag = tape.barcode if tape and not self.shows_no_tags else ""
            described += (padded(tag, 32) if tag else bytes(32)) + bytes(_TAG_BYTES - 32)
        if has_identifiers:
            drive = element.drive
            label = b""
            if drive:
                label = padded(drive.vendor, 8) + padded(drive.product, 16)
                label += padded(drive.serial, 10)
            described += bytes([2, 1 if drive else 0, 0, len(label)])
            described += label.ljust(_IDENTIFIER_BYTES, b"\0")
        return described
