"""What a library says of its elements."""

import re
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scsi.fix_captures import answer, answers
from storewatchd.errors import Malformed
from storewatchd.scsi.elements import (
    Assignment,
    Element,
    ElementType,
    MediumType,
    parse_assignment,
    parse_elements,
)

ROBOT, SLOT, MAIL, DRIVE = ElementType
EMULATED = answer("elements/emulated-2-drives-20-slots")
LIBRARY = Assignment(
    first={ROBOT: 1, SLOT: 1001, MAIL: 101, DRIVE: 257},
    counts={ROBOT: 1, SLOT: 20, MAIL: 2, DRIVE: 2},
)
L700 = Assignment(
    first={ROBOT: 1, SLOT: 1000, MAIL: 10, DRIVE: 500},
    counts={ROBOT: 1, SLOT: 39, MAIL: 4, DRIVE: 4},
)
L80 = Assignment(L700.first, {**L700.counts, SLOT: 40})
MHVTL = [name for name in answers("elements") if "mhvtl" in name]
TGT = [name for name in answers("elements") if "tgt" in name]
RUN1 = "elements/mhvtl-run1-drive11-crashed-"


NOTHING = Assignment({}, {})


def some(kind: ElementType, count: int) -> Assignment:
    return Assignment({kind: 1}, {kind: count})


def at(elements: tuple[Element, ...], address: int) -> Element:
    (element,) = [element for element in elements if element.address == address]
    return element


def full(elements: tuple[Element, ...]) -> Counter[ElementType]:
    return Counter(element.type for element in elements if element.is_full)


def mhvtl(name: str) -> tuple[Element, ...]:
    return parse_elements(answer(name), expected=L700, has_dvcid=False)


# Captured reports.


def test_the_emulated_library_is_seen_with_its_drives() -> None:
    elements = parse_elements(EMULATED, expected=LIBRARY)
    assert Counter(element.type for element in elements) == LIBRARY.counts
    assert full(elements) == {SLOT: 9, MAIL: 2, DRIVE: 1}
    assert at(elements, 257) == Element(
        type=DRIVE,
        address=257,
        is_full=True,
        is_exception=False,
        is_accessible=True,
        is_disabled=False,
        asc=None,
        ascq=None,
        medium_type=MediumType.DATA,
        source=1003,
        tag="LAB003L8",
        alternate_tag="",
        drive=at(elements, 257).drive,
    )
    assert [at(elements, address).drive_serial for address in (257, 258, 1001)] == [
        "LABDRV0000",
        "LABDRV0001",
        "",
    ]
    tags = [element.tag for element in elements if element.type is SLOT and element.is_full]
    assert tags == [f"LAB{number:03d}L8" for number in range(4, 13)]


def test_a_mail_slot_says_who_filled_it_and_what_it_may() -> None:
    mail = at(parse_elements(EMULATED, expected=LIBRARY), 101)
    assert (mail.tag, mail.source) == ("LAB001L8", 1001)
    assert (mail.is_imported, mail.may_import, mail.may_export) == (False, True, True)
    slot = at(parse_elements(EMULATED, expected=LIBRARY), 1001)
    assert (slot.is_imported, slot.may_import, slot.may_export) == (None, None, None)


@pytest.mark.parametrize("name", MHVTL)
def test_a_captured_report_of_mhvtl_has_all_its_elements(name: str) -> None:
    raw = answer(name)
    library = L80 if name.endswith("L80") else L700
    elements = parse_elements(raw, expected=library, has_dvcid=False)
    assert Counter(element.type for element in elements) == library.counts
    assert not any(element.is_exception or element.is_disabled for element in elements)
    robot = at(elements, 1)
    assert (robot.type, robot.is_accessible) == (ROBOT, None)
    for element in elements:
        assert element.drive is None
        assert element.is_full == bool(element.tag or element.medium_type), element
    assert {element.medium_type for element in elements if element.tag.startswith("CLN")} == {
        MediumType.CLEANING
    }


def test_a_library_with_empty_drives() -> None:
    elements = mhvtl(f"{RUN1}02-all-drives-empty-L700")
    assert full(elements) == {SLOT: 32}
    assert [at(elements, address).tag for address in (1000, 1019, 1020, 1021, 1022)] == [
        "E01001L8",
        "E01020L8",
        "",
        "CLN101L8",
        "CLN102L6",
    ]
    assert at(elements, 1021).medium_type is MediumType.CLEANING
    mail = at(elements, 10)
    assert (mail.is_full, mail.is_imported, mail.may_import, mail.may_export) == (
        False,
        True,
        True,
        True,
    )


def test_a_loaded_drive_knows_where_its_cartridge_came_from() -> None:
    elements = mhvtl(f"{RUN1}04-loaded-and-written-L700")
    assert full(elements) == {SLOT: 30, DRIVE: 2}
    drives = [element for element in elements if element.type is DRIVE]
    assert [(drive.tag, drive.source) for drive in drives] == [
        ("E01001L8", 1000),
        ("", None),
        ("F01030L6", 1029),
        ("", None),
    ]
    assert not at(elements, 1000).is_full
    # mhvtl clears the access bit of a drive that holds a cartridge.
    assert [drive.is_accessible for drive in drives] == [False, True, False, True]


def test_a_filled_mail_slot_is_seen() -> None:
    elements = mhvtl(f"{RUN1}07-mail-slot-occupied-L700")
    mails = [element for element in elements if element.type is MAIL]
    assert [(mail.is_full, mail.tag) for mail in mails] == [
        (True, "E01002L8"),
        (True, "E01003L8"),
        (False, ""),
        (False, ""),
    ]
    assert [mail.source for mail in mails] == [1001, 1002, None, None]
    assert [mail.is_imported for mail in mails] == [False, False, True, True]


@pytest.mark.parametrize("name", TGT)
def test_pages_that_overlap_are_no_library(name: str) -> None:
    # tgt 1.0.85 writes its pages over one another when it is asked for all types at once.
    with pytest.raises(Malformed):
        parse_elements(answer(name), expected=NOTHING, has_dvcid=False)


# Made by hand after SMC-3.


def descriptor(
    address: int,
    flags: int,
    *,
    code: tuple[int, int] = (0, 0),
    byte9: int = 0,
    source: int = 0,
    rest: bytes = b"",
) -> bytes:
    head = address.to_bytes(2, "big") + bytes([flags, 0, *code, 0, 0, 0, byte9])
    return head + source.to_bytes(2, "big") + rest


def page(kind: int, bits: int, *descriptors: bytes) -> bytes:
    body = b"".join(descriptors)
    width = len(descriptors[0]) if descriptors else 12
    return bytes([kind, bits]) + width.to_bytes(2, "big") + len(body).to_bytes(4, "big") + body


def report(count: int, *pages: bytes) -> bytes:
    body = b"".join(pages)
    return b"\0\0" + count.to_bytes(2, "big") + len(body).to_bytes(4, "big") + body


def tag(words: bytes) -> bytes:
    return words.ljust(32) + bytes(4)


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ((0x3B, 0x18), "the element is disabled (3B/18)"),
        ((0x83, 0x04), "vendor specific 83/04 (83/04)"),
        ((0x00, 0x00), "something is wrong, and the library does not say what"),
    ],
)
def test_an_exception_is_told(code: tuple[int, int], words: str) -> None:
    raw = report(1, page(SLOT, 0, descriptor(7, 0x0C, code=code)))
    (element,) = parse_elements(raw, expected=some(SLOT, 1))
    assert element.is_exception
    assert element.exception == words
    assert (element.asc, element.ascq) == (code if any(code) else (None, None))


def test_codes_without_the_exception_bit_are_no_exception() -> None:
    raw = report(1, page(SLOT, 0, descriptor(7, 0x08, code=(0x3B, 0x18))))
    (element,) = parse_elements(raw, expected=some(SLOT, 1))
    assert (element.exception, element.asc) == ("", None)


def test_both_tags_and_the_drive_are_read() -> None:
    rest = tag(b"AB CD:=L8") + tag(b"caf\xe9\x01") + b"\x02\x00\x00\x05HU123"
    raw = report(1, page(DRIVE, 0xC0, descriptor(5, 0x09, byte9=0x8C, source=9, rest=rest)))
    (element,) = parse_elements(raw, expected=some(DRIVE, 1))
    assert (element.tag, element.alternate_tag) == ("AB CD:=L8", "caf\\xe9\\x01")
    assert (element.drive_serial, element.source) == ("HU123", 9)
    assert (element.is_disabled, element.medium_type) == (True, MediumType.WORM)


def test_only_an_alternate_tag_is_no_primary_one() -> None:
    raw = report(1, page(SLOT, 0x40, descriptor(5, 0x09, rest=tag(b"ALT"))))
    (element,) = parse_elements(raw, expected=some(SLOT, 1))
    assert (element.tag, element.alternate_tag) == ("", "ALT")


@pytest.mark.parametrize("rest", [b"", b"\0\0\0", bytes(4), bytes(30)])
def test_a_drive_that_is_not_identified_has_no_serial(rest: bytes) -> None:
    (element,) = parse_elements(
        report(1, page(DRIVE, 0, descriptor(5, 0x08, rest=rest))), expected=some(DRIVE, 1)
    )
    assert (element.drive, element.drive_serial) == (None, "")


def test_a_vendors_own_bytes_are_no_drive() -> None:
    raw = report(1, page(DRIVE, 0, descriptor(5, 0x08, rest=b"\x02\x00\x00\xffX")))
    (element,) = parse_elements(raw, expected=some(DRIVE, 1), has_dvcid=False)
    assert element.drive is None


def test_a_library_without_mail_slots_may_have_none() -> None:
    assert parse_elements(bytes(8), expected=some(MAIL, 0)) == ()
    with pytest.raises(Malformed, match="expected 1 import/export elements, found 0"):
        parse_elements(bytes(8), expected=some(MAIL, 1))


def test_one_type_is_checked_against_its_part_of_the_assignment() -> None:
    raw = report(1, page(SLOT, 0, descriptor(999, 0x08)))
    assert LIBRARY.only(SLOT, MAIL).counts == {SLOT: 20, MAIL: 2}
    with pytest.raises(Malformed, match="expected addresses from 1000, found 999"):
        parse_elements(raw, expected=Assignment({SLOT: 1000}, {SLOT: 1}))


ONE = descriptor(7, 0x08)


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        (b"", "byte 0: expected 4 bytes, found 0"),
        (report(1, page(SLOT, 0, ONE))[:-1], "byte 27: expected 28 bytes, found 27"),
        (report(1, page(SLOT, 0, ONE)) + b"\1", "byte 28: expected nothing after byte 28"),
        (report(2, page(SLOT, 0, ONE)), "byte 2: expected 1 elements, as follow, found 2"),
        (report(0, page(SLOT, 0, ONE)), "byte 2: expected 1 elements, as follow, found 0"),
        (report(1, page(5, 0, ONE)), "byte 8: expected an element type from 1 to 4, found 5"),
        (report(1, page(SLOT, 0x80, ONE)), "byte 10: expected descriptors of at least 48 bytes"),
        (report(1, page(SLOT, 0, ONE)[:7]), "byte 15: expected 16 bytes, found 15"),
        (report(1, page(SLOT, 0, ONE)[:12]), "byte 20: expected 28 bytes, found 20"),
        (report(2, page(SLOT, 0, ONE, ONE)), "byte 8: expected no element address twice"),
        (
            report(1, page(SLOT, 0, ONE, b"\0")),
            "byte 13: expected a multiple of 12 bytes, found 13",
        ),
        (
            report(1, page(DRIVE, 0, descriptor(5, 0, rest=b"\x02\x01\x00\x05ABCD"))),
            "byte 31: expected a designator of at most 4 bytes, found 5",
        ),
    ],
)
def test_what_cannot_be_a_report_is_malformed(raw: bytes, message: str) -> None:
    with pytest.raises(Malformed, match=f"^{re.escape(f'element status, {message}')}"):
        parse_elements(raw, expected=NOTHING)


def test_fewer_elements_than_announced_are_malformed() -> None:
    raw = report(1, page(MAIL, 0, ONE))
    with pytest.raises(Malformed, match="expected 2 import/export elements, found 1"):
        parse_elements(raw, expected=some(MAIL, 2))
    with pytest.raises(Malformed, match="expected 1 drive elements, found 0"):
        parse_elements(raw, expected=some(DRIVE, 1))
    assert len(parse_elements(raw, expected=some(MAIL, 1))) == 1


@given(st.integers(0, len(EMULATED) - 1))
def test_a_short_transfer_is_malformed(length: int) -> None:
    with pytest.raises(Malformed):
        parse_elements(EMULATED[:length], expected=LIBRARY)


@given(st.integers(0, len(EMULATED) - 1))
def test_a_transfer_that_ends_in_zeros_never_empties_the_library(length: int) -> None:
    # The rest of a buffer that was not filled reads as zeros.
    raw = EMULATED[:length] + bytes(len(EMULATED) - length)
    try:
        elements = parse_elements(raw, expected=LIBRARY)
    except Malformed:
        return
    # Only what follows the last address can have been lost: drive 258 is empty.
    whole = parse_elements(EMULATED, expected=LIBRARY)
    assert elements[:-1] == whole[:-1]
    assert elements[-1].address == 258


@given(st.binary(max_size=200))
def test_garbage_is_malformed(raw: bytes) -> None:
    try:
        elements = parse_elements(raw, expected=NOTHING)
    except Malformed:
        return
    assert len(elements) == int.from_bytes(raw[2:4], "big")


@given(st.integers(0, len(EMULATED) * 8 - 1))
def test_a_flipped_bit_never_loses_an_element(bit: int) -> None:
    raw = bytearray(EMULATED)
    raw[bit // 8] ^= 1 << bit % 8
    try:
        elements = parse_elements(bytes(raw), expected=LIBRARY)
    except Malformed:
        return
    assert len(elements) == 25


# Mode page 1Dh.

PAGE_1D = bytes.fromhex("1d12 0001 0001 03e9 0014 0065 0002 0101 0002 0000")


def test_both_forms_of_mode_sense_say_the_same() -> None:
    assert parse_assignment(bytes([23, 0, 0, 0]) + PAGE_1D) == LIBRARY
    ten = bytes([0, 26, 0, 0, 0, 0, 0, 0]) + PAGE_1D
    assert parse_assignment(ten, cdb_bytes=10) == LIBRARY


def test_block_descriptors_and_the_savable_bit_are_passed_over() -> None:
    raw = bytes([31, 0, 0, 8]) + bytes(8) + b"\x9d" + PAGE_1D[1:]
    assert parse_assignment(raw) == LIBRARY


def test_its_counts_are_what_a_report_must_have() -> None:
    assert parse_elements(EMULATED, expected=parse_assignment(bytes([23, 0, 0, 0]) + PAGE_1D))


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        (b"\x17", "byte 1: expected 4 bytes, found 1"),
        ((bytes([23, 0, 0, 0]) + PAGE_1D)[:-1], "byte 23: expected 24 bytes, found 23"),
        (bytes([22, 0, 0, 0]) + PAGE_1D, "byte 0: expected a length of at least 24, found 23"),
        (
            bytes([23, 0, 0, 0]) + b"\x1e" + PAGE_1D[1:],
            "byte 4: expected page 1Dh of 18 bytes, found 1e12",
        ),
        (
            bytes([23, 0, 0, 0]) + b"\x1d\x10" + PAGE_1D[2:],
            "byte 4: expected page 1Dh of 18 bytes, found 1d10",
        ),
        (bytes([23, 0, 0, 0, 0x1D, 0x12]) + bytes(18), "byte 12: expected a slot or a drive"),
    ],
)
def test_what_cannot_be_an_assignment_is_malformed(raw: bytes, message: str) -> None:
    with pytest.raises(Malformed, match=f"^{re.escape(f'mode page 1Dh, {message}')}$"):
        parse_assignment(raw)


@given(st.binary(max_size=40), st.sampled_from([6, 10]))
def test_a_hostile_assignment_is_malformed_or_honest(raw: bytes, cdb_bytes: int) -> None:
    try:
        counts = parse_assignment(raw, cdb_bytes=cdb_bytes).counts
    except Malformed:
        return
    assert counts[SLOT] or counts[DRIVE]
