"""Decodes the memory of a cartridge (MAM): what READ ATTRIBUTE (8Ch) returns.

SPC-4 7.4 (attribute format and identifiers), 6.17 (service action ATTRIBUTE VALUES). Megabytes
are of 2^20 bytes here (SPC-4 7.4.2.2.1), unlike in the log pages.
"""

from dataclasses import dataclass
from enum import IntEnum

from storewatchd.errors import Malformed
from storewatchd.scsi.fields import check_rest, span, text, uint
from storewatchd.scsi.logs import FLAGS, MIB, TapeAlerts

WHAT = "medium attributes"


class MediumType(IntEnum):
    """Attribute 0408h (SPC-4 table 449)."""

    DATA = 0x00
    CLEANING = 0x01
    WORM = 0x80


@dataclass(frozen=True, slots=True)
class Attribute:
    """One attribute: its identifier, format (0 binary, 1 ASCII, 2 text), bytes, and where."""

    identifier: int
    format: int
    value: bytes
    at: int


@dataclass(frozen=True, slots=True)
class DriveName:
    """A drive that had the cartridge loaded (020Ah to 020Dh)."""

    vendor: str
    serial: str


@dataclass(frozen=True, slots=True)
class Medium:
    """What a cartridge knows of itself. What it does not tell is None, or "" for a text.

    `last_drives` are the four that loaded it last, the latest first, without those that are blank.
    `medium_type` is None too for a type that T10 does not know. Lengths in metres.
    """

    remaining_bytes: int | None
    capacity_bytes: int | None
    alerts: TapeAlerts | None
    loads: int | None
    change_reference: int | None
    last_drives: tuple[DriveName, ...]
    written_bytes: int | None
    read_bytes: int | None
    last_load_written_bytes: int | None
    last_load_read_bytes: int | None
    manufacturer: str
    serial: str
    length_m: int | None
    width_m: float | None
    assigning_organization: str
    density_code: int | None
    made: str  # YYYYMMDD
    memory_bytes: int | None
    medium_type: MediumType | None
    application_vendor: str
    application_name: str
    application_version: str
    label: str
    last_written: str  # YYYYMMDDHHMM
    barcode: str


def parse_attributes(raw: bytes) -> dict[int, Attribute]:
    """Decode the attributes of a cartridge by their identifiers.

    Raises:
        Malformed: the data are cut, or an attribute comes twice with different values.
    """
    end = 4 + uint(raw, 0, 4, WHAT)
    span(raw, 0, end, WHAT)
    check_rest(raw, end, WHAT)
    found: dict[int, Attribute] = {}
    at = 4
    while at < end:
        identifier, control = uint(raw[:end], at, 2, WHAT), uint(raw[:end], at + 2, 1, WHAT)
        value = span(raw[:end], at + 5, uint(raw[:end], at + 3, 2, WHAT), WHAT)
        attribute = Attribute(identifier, control & 0x03, value, at + 5)
        if found.setdefault(identifier, attribute).value != value:
            raise Malformed(WHAT, at, f"attribute {identifier:04X}h once")
        at += 5 + len(value)
    return found


def parse_medium(raw: bytes) -> Medium:
    """Decode what a cartridge knows of itself.

    Raises:
        Malformed: as `parse_attributes`; nothing is told at all; or an attribute is not as T10
            has it.
    """
    found = parse_attributes(raw)
    if not found:
        # The medium type attributes are mandatory: a cartridge that tells nothing was not read.
        raise Malformed(WHAT, 0, "an attribute")
    kind = _number(found, 0x0408)
    width = _number(found, 0x0403)
    return Medium(
        remaining_bytes=_number(found, 0x0000, MIB),
        capacity_bytes=_number(found, 0x0001, MIB),
        alerts=_alerts(found),
        loads=_number(found, 0x0003),
        change_reference=_number(found, 0x0009),
        last_drives=tuple(
            name for code in range(0x020A, 0x020E) if (name := _drive_name(found, code))
        ),
        written_bytes=_number(found, 0x0220, MIB),
        read_bytes=_number(found, 0x0221, MIB),
        last_load_written_bytes=_number(found, 0x0222, MIB),
        last_load_read_bytes=_number(found, 0x0223, MIB),
        manufacturer=_words(found, 0x0400),
        serial=_words(found, 0x0401),
        length_m=_number(found, 0x0402),
        width_m=None if width is None else width / 10_000,  # tenths of a millimetre
        assigning_organization=_words(found, 0x0404),
        density_code=_number(found, 0x0405),
        made=_words(found, 0x0406),
        memory_bytes=_number(found, 0x0407),
        medium_type=_MEDIUM_TYPES.get(kind) if kind is not None else None,
        application_vendor=_words(found, 0x0800),
        application_name=_words(found, 0x0801),
        application_version=_words(found, 0x0802),
        label=_words(found, 0x0803),
        last_written=_words(found, 0x0804),
        barcode=_words(found, 0x0806),
    )


_MEDIUM_TYPES = {int(kind): kind for kind in MediumType}


def _number(found: dict[int, Attribute], code: int, unit: int = 1) -> int | None:
    attribute = found.get(code)
    if attribute is None or not attribute.value:
        return None
    value = attribute.value
    if len(value) > 8:
        expected = f"attribute {code:04X}h of at most 8 bytes, found {len(value)}"
        raise Malformed(WHAT, attribute.at, expected)
    if len(value) > 1 and not value.strip(b"\xff"):
        return None
    return int.from_bytes(value, "big") * unit


def _words(found: dict[int, Attribute], code: int) -> str:
    attribute = found.get(code)
    return text(attribute.value) if attribute else ""


def _alerts(found: dict[int, Attribute]) -> TapeAlerts | None:
    # Flag 1 is the highest bit (SPC-4 7.4.2.2.3).
    attribute = found.get(0x0002)
    if attribute is None or not attribute.value:
        return None
    if len(attribute.value) != 8:
        raise Malformed(WHAT, attribute.at, "attribute 0002h of 8 bytes")
    bits = int.from_bytes(attribute.value, "big")
    return TapeAlerts(frozenset(flag for flag in FLAGS if bits >> (64 - flag) & 1))


def _drive_name(found: dict[int, Attribute], code: int) -> DriveName | None:
    # SPC-4 7.4.2.2.7: vendor (8), then serial number; blank where there was no such load.
    attribute = found.get(code)
    if attribute is None or not attribute.value:
        return None
    if len(attribute.value) <= 8:
        raise Malformed(WHAT, attribute.at, f"attribute {code:04X}h as vendor and serial number")
    name = DriveName(text(attribute.value[:8]), text(attribute.value[8:]))
    return name if name.serial else None
