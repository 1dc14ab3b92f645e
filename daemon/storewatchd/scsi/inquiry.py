"""Decodes what a device says of itself: standard INQUIRY and the VPD pages 00h, 80h and 83h.

SPC-4 6.4.2 (standard INQUIRY data), 7.8 (vital product data). The serial number is the identity
of a device; everything else may change.
"""

from dataclasses import dataclass
from enum import IntEnum

from storewatchd.errors import Malformed
from storewatchd.scsi.fields import check_rest, span, text, uint

STANDARD = "standard INQUIRY data"
LISTED_PAGES = 0x00
SERIAL_PAGE = 0x80
IDENTIFICATION_PAGE = 0x83
TAPE = 0x01
CHANGER = 0x08


class Association(IntEnum):
    """What a designator names (SPC-4 table 607)."""

    LOGICAL_UNIT = 0
    TARGET_PORT = 1
    TARGET_DEVICE = 2
    RESERVED = 3


class DesignatorType(IntEnum):
    """How a designator is made (SPC-4 table 608); numbers that are not here are kept as such."""

    VENDOR_SPECIFIC = 0
    T10_VENDOR = 1
    EUI64 = 2
    NAA = 3
    RELATIVE_PORT = 4
    PORT_GROUP = 5
    LOGICAL_UNIT_GROUP = 6
    MD5 = 7
    SCSI_NAME = 8


@dataclass(frozen=True, slots=True)
class Inquiry:
    """Standard INQUIRY data. `qualifier` is 0 where the logical unit is connected.

    `device_type` is 1 for a tape drive, 8 for a changer. The three texts are "" where blank.
    """

    qualifier: int
    device_type: int
    is_removable: bool
    vendor: str
    product: str
    revision: str

    @property
    def is_tape(self) -> bool:
        return self.qualifier == 0 and self.device_type == TAPE

    @property
    def is_changer(self) -> bool:
        return self.qualifier == 0 and self.device_type == CHANGER


@dataclass(frozen=True, slots=True)
class Designator:
    """One name of a device. `kind` is a DesignatorType where we know it."""

    association: Association
    kind: int
    code_set: int  # 1 binary, 2 ASCII, 3 UTF-8
    value: bytes

    @property
    def is_text(self) -> bool:
        return self.code_set in (2, 3)

    @property
    def name(self) -> str:
        """The designator for people: text as it is, binary in hexadecimal digits."""
        return text(self.value) if self.is_text else self.value.hex()

    @property
    def serial(self) -> str:
        """The serial number in it, or "" where it holds none.

        Vendors put vendor (8), product (16) and serial number into a T10 designator, and the
        serial number alone into a vendor specific one (SMC-3 6.11.5, DVCID).
        """
        if not self.is_text:
            return ""
        if self.kind == DesignatorType.VENDOR_SPECIFIC:
            return text(self.value)
        if self.kind == DesignatorType.T10_VENDOR and len(self.value) > 24:
            return text(self.value[24:])
        return ""


def parse_inquiry(raw: bytes) -> Inquiry:
    """Decode standard INQUIRY data.

    Raises:
        Malformed: they end before the revision, or name neither vendor nor product.
    """
    span(raw, 0, 36, STANDARD)
    meant = 5 + raw[4]
    if meant < 36:
        raise Malformed(STANDARD, 4, f"at least 36 bytes, said to be {meant}")
    vendor, product = text(raw[8:16]), text(raw[16:32])
    if not vendor and not product:
        # tapeinfo and mtx print such answers of dead devices as facts; no device has no name.
        raise Malformed(STANDARD, 8, "the name of a vendor or a product")
    return Inquiry(
        qualifier=raw[0] >> 5,
        device_type=raw[0] & 0x1F,
        is_removable=bool(raw[1] & 0x80),
        vendor=vendor,
        product=product,
        revision=text(raw[32:36]),
    )


def parse_vpd_pages(raw: bytes) -> tuple[int, ...]:
    """Return which VPD pages a device has, as it lists them (page 00h).

    Raises:
        Malformed: it is no such page, or it is cut.
    """
    return tuple(_content(raw, LISTED_PAGES))


def parse_serial(raw: bytes) -> str:
    """Return the unit serial number (page 80h), or "" where the device has none to tell.

    Raises:
        Malformed: it is no such page, or it is cut.
    """
    return text(_content(raw, SERIAL_PAGE))


def parse_designators(raw: bytes) -> tuple[Designator, ...]:
    """Return the names of a device (page 83h).

    Raises:
        Malformed: it is no such page, or it is cut.
    """
    content = _content(raw, IDENTIFICATION_PAGE)
    what = _what(IDENTIFICATION_PAGE)
    found = []
    at = 0
    while at < len(content):
        length = uint(content, at + 3, 1, what, 4)
        found.append(
            Designator(
                association=Association(content[at + 1] >> 4 & 0x03),
                kind=content[at + 1] & 0x0F,
                code_set=content[at] & 0x0F,
                value=span(content, at + 4, length, what, 4),
            )
        )
        at += 4 + length
    return tuple(found)


def _what(page: int) -> str:
    return f"VPD page {page:02X}h"


def _content(raw: bytes, page: int) -> bytes:
    what = _what(page)
    length = uint(raw, 2, 2, what)
    if raw[1] != page:
        raise Malformed(what, 1, f"page {page:02X}h, found {raw[1]:02X}h")
    content = span(raw, 4, length, what)
    check_rest(raw, 4 + length, what)
    return content
