"""Decodes what a library says of its elements: mode page 1Dh and READ ELEMENT STATUS data.

SMC-3 7.3.3 (element address assignment) and 6.11 (B8h with VOLTAG, CURDATA and DVCID). An answer
that was cut off is Malformed, never a library that is empty.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum

from storewatchd.errors import Malformed
from storewatchd.scsi.fields import check_rest, span, text, uint
from storewatchd.scsi.inquiry import Association, Designator
from storewatchd.scsi.sense import meaning

ASSIGNMENT = "mode page 1Dh"
STATUS = "element status"
TAG_BYTES = 36


class ElementType(IntEnum):
    """SMC-3 table 10."""

    TRANSPORT = 1
    STORAGE = 2
    IMPORT_EXPORT = 3
    DRIVE = 4


class MediumType(IntEnum):
    """What kind of cartridge a library takes it for (SMC-3 table 36); 0 says nothing."""

    DATA = 1
    CLEANING = 2
    DIAGNOSTIC = 3
    WORM = 4
    MICROCODE = 5


@dataclass(frozen=True, slots=True)
class Assignment:
    """Mode page 1Dh: for each type the first element address, and how many there are."""

    first: Mapping[ElementType, int]
    counts: Mapping[ElementType, int]

    def only(self, *kinds: ElementType) -> "Assignment":
        """Return the part of some types: what a report of those must have."""
        return Assignment(
            {kind: self.first[kind] for kind in kinds}, {kind: self.counts[kind] for kind in kinds}
        )


@dataclass(frozen=True, slots=True)
class Element:
    """One place in a library.

    `medium_type` is None where the library does not say. `source` is where the cartridge came
    from, None where the library does not know (SVALID is not set). `tag` is the bar code, "" where
    there is none or none was read. `asc` and `ascq` are None where nothing is wrong, or where the
    library does not say what. Only mail slots have `is_imported` (put in by an operator),
    `may_import` and `may_export`; elsewhere they are None. `drive` is None where the element is no
    drive or the library does not identify it.
    """

    type: ElementType
    address: int
    is_full: bool
    is_exception: bool
    is_accessible: bool | None  # None for the robot, which has no such bit
    is_disabled: bool
    asc: int | None
    ascq: int | None
    medium_type: MediumType | None
    source: int | None
    tag: str
    alternate_tag: str
    is_imported: bool | None = None
    may_import: bool | None = None
    may_export: bool | None = None
    drive: Designator | None = None

    @property
    def drive_serial(self) -> str:
        """The serial number of the drive in this bay, or "" where the library does not say."""
        return self.drive.serial if self.drive else ""

    @property
    def exception(self) -> str:
        """Say what is wrong with the element, or "" where nothing is."""
        if not self.is_exception:
            return ""
        if self.asc is None or self.ascq is None:
            return "something is wrong, and the library does not say what"
        return f"{meaning(self.asc, self.ascq)} ({self.asc:02X}/{self.ascq:02X})"


_MEDIUM_TYPES = {int(kind): kind for kind in MediumType}


@dataclass(frozen=True, slots=True)
class _Page:
    """What holds for all elements of a page of the report."""

    type: ElementType
    has_tag: bool
    has_alternate_tag: bool
    width: int  # bytes of an element's descriptor

    @property
    def rest_at(self) -> int:
        return 12 + TAG_BYTES * (self.has_tag + self.has_alternate_tag)


def parse_assignment(raw: bytes, *, cdb_bytes: int = 6) -> Assignment:
    """Decode the answer to MODE SENSE(6) or, with `cdb_bytes` 10, MODE SENSE(10) for page 1Dh.

    Raises:
        Malformed: it is cut, is another page, or tells of a library with no slot and no drive.
    """
    if cdb_bytes == 6:  # SPC-4 7.5.5: the header of either form
        length, descriptors, header = 1 + uint(raw, 0, 1, ASSIGNMENT), 3, 4
        at = header + uint(raw, descriptors, 1, ASSIGNMENT)
    else:
        length, descriptors, header = 2 + uint(raw, 0, 2, ASSIGNMENT), 6, 8
        at = header + uint(raw, descriptors, 2, ASSIGNMENT)
    page = span(raw, at, 20, ASSIGNMENT)
    if page[0] & 0x7F != 0x1D or page[1] != 0x12:
        raise Malformed(ASSIGNMENT, at, f"page 1Dh of 18 bytes, found {page[:2].hex()}")
    if length < at + 20:
        raise Malformed(ASSIGNMENT, 0, f"a length of at least {at + 20}, found {length}")
    first = {kind: uint(page, 4 * kind - 2, 2, ASSIGNMENT) for kind in ElementType}
    counts = {kind: uint(page, 4 * kind, 2, ASSIGNMENT) for kind in ElementType}
    if not counts[ElementType.STORAGE] and not counts[ElementType.DRIVE]:
        raise Malformed(ASSIGNMENT, at + 8, "a slot or a drive")
    return Assignment(first, counts)


def parse_elements(
    raw: bytes, *, expected: Assignment, has_dvcid: bool = True
) -> tuple[Element, ...]:
    """Decode READ ELEMENT STATUS data, in the order of the report.

    `expected` is what mode page 1Dh says, all of it or of the types that were asked for; of other
    types nothing is known to be expected. `has_dvcid` says that DVCID was set: otherwise what
    follows the bar codes in a descriptor is the vendor's.

    Raises:
        Malformed: the report is cut, contradicts itself, or has fewer elements than `expected` or
            others.
    """
    announced = uint(raw, 2, 2, STATUS)
    end = 8 + uint(raw, 5, 3, STATUS)
    span(raw, 0, end, STATUS)
    check_rest(raw, end, STATUS)
    found: list[Element] = []
    at = 8
    while at < end:
        elements, at = _page(raw[:end], at, has_dvcid=has_dvcid)
        found.extend(elements)
    if len(found) != announced:
        raise Malformed(STATUS, 2, f"{len(found)} elements, as follow, found {announced}")
    _check_expected(found, expected, end)
    return tuple(found)


def _check_expected(found: list[Element], expected: Assignment, end: int) -> None:
    counts = Counter(element.type for element in found)
    for kind, count in expected.counts.items():
        if counts[kind] < count:
            name = kind.name.lower().replace("_", "/")
            raise Malformed(STATUS, end, f"{count} {name} elements, found {counts[kind]}")
    if len({element.address for element in found}) != len(found):
        raise Malformed(STATUS, 8, "no element address twice")
    for element in found:
        # What a driver left unfilled reads as address 0.
        first = expected.first.get(element.type, 0)
        if element.address < first:
            raise Malformed(STATUS, 8, f"addresses from {first}, found {element.address}")


def _page(raw: bytes, at: int, *, has_dvcid: bool) -> tuple[list[Element], int]:
    # SMC-3 6.11.3: type, bits, descriptor length, reserved, bytes of descriptors.
    kind, bits = uint(raw, at, 1, STATUS), uint(raw, at + 1, 1, STATUS)
    if kind not in (1, 2, 3, 4):
        raise Malformed(STATUS, at, f"an element type from 1 to 4, found {kind}")
    page = _Page(
        ElementType(kind),
        has_tag=bool(bits & 0x80),
        has_alternate_tag=bool(bits & 0x40),
        width=uint(raw, at + 2, 2, STATUS),
    )
    if page.width < page.rest_at:
        expected = f"descriptors of at least {page.rest_at} bytes, found {page.width}"
        raise Malformed(STATUS, at + 2, expected)
    length = uint(raw, at + 5, 3, STATUS)
    span(raw, at + 8, length, STATUS)
    if length % page.width:
        expected = f"a multiple of {page.width} bytes, found {length}"
        raise Malformed(STATUS, at + 5, expected)
    starts = range(at + 8, at + 8 + length, page.width)
    elements = [_element(raw, start, page, has_dvcid=has_dvcid) for start in starts]
    return elements, at + 8 + length


def _element(raw: bytes, at: int, page: _Page, *, has_dvcid: bool) -> Element:
    # SMC-3 6.11.4 to 6.11.7: the four kinds of descriptors differ in what their flags mean.
    flags = raw[at + 2]
    is_exception = bool(flags & 0x04)
    has_code = is_exception and bool(raw[at + 4] or raw[at + 5])
    is_mail_slot = page.type is ElementType.IMPORT_EXPORT
    drive = None
    if page.type is ElementType.DRIVE and has_dvcid:
        drive = _designator(raw[at : at + page.width], page.rest_at, at)
    tag_at, alternate_at = at + 12, at + 12 + TAG_BYTES * page.has_tag
    return Element(
        type=page.type,
        address=uint(raw, at, 2, STATUS),
        is_full=bool(flags & 0x01),
        is_exception=is_exception,
        is_accessible=None if page.type is ElementType.TRANSPORT else bool(flags & 0x08),
        is_disabled=bool(raw[at + 9] & 0x08),
        asc=raw[at + 4] if has_code else None,
        ascq=raw[at + 5] if has_code else None,
        medium_type=_MEDIUM_TYPES.get(raw[at + 9] & 0x07),
        source=uint(raw, at + 10, 2, STATUS) if raw[at + 9] & 0x80 else None,
        tag=text(raw[tag_at : tag_at + 32]) if page.has_tag else "",
        alternate_tag=text(raw[alternate_at : alternate_at + 32]) if page.has_alternate_tag else "",
        is_imported=bool(flags & 0x02) if is_mail_slot else None,
        may_import=bool(flags & 0x20) if is_mail_slot else None,
        may_export=bool(flags & 0x10) if is_mail_slot else None,
        drive=drive,
    )


def _designator(descriptor: bytes, rest_at: int, at: int) -> Designator | None:
    # SMC-3 6.11.5: code set, designator type, reserved, length, designator.
    rest = descriptor[rest_at:]
    if len(rest) < 4 or not rest[3]:
        return None
    value = rest[4 : 4 + rest[3]]
    if len(value) < rest[3]:
        expected = f"a designator of at most {len(value)} bytes, found {rest[3]}"
        raise Malformed(STATUS, at + rest_at + 3, expected)
    return Designator(Association.LOGICAL_UNIT, rest[1] & 0x0F, rest[0] & 0x0F, value)
