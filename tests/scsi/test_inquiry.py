"""What a device says of itself: who it is, and its serial number."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from storewatchd.errors import Malformed
from storewatchd.scsi.inquiry import (
    Association,
    Designator,
    DesignatorType,
    Inquiry,
    parse_designators,
    parse_inquiry,
    parse_serial,
    parse_vpd_pages,
)


def standard(first: int, vendor: str, product: str, revision: str, rmb: int = 0x80) -> bytes:
    names = f"{vendor:8}{product:16}{revision:4}".encode("ascii")
    return bytes([first, rmb, 5, 2, 31, 0, 0, 0]) + names


def vpd(page: int, content: bytes, first: int = 0x01) -> bytes:
    return bytes([first, page]) + len(content).to_bytes(2, "big") + content


# The names are those of captured runs of sg_inq and sg_vpd.
DRIVE = standard(0x01, "IBM", "ULT3580-TD8", "2160")
CHANGER = standard(0x08, "STK", "L700", "0108")


def test_a_drive_and_a_changer_say_what_they_are() -> None:
    assert parse_inquiry(DRIVE) == Inquiry(0, 1, True, "IBM", "ULT3580-TD8", "2160")
    assert parse_inquiry(CHANGER) == Inquiry(0, 8, True, "STK", "L700", "0108")
    assert parse_inquiry(DRIVE).is_tape
    assert not parse_inquiry(DRIVE).is_changer
    assert parse_inquiry(CHANGER).is_changer
    assert not parse_inquiry(CHANGER).is_tape


def test_longer_inquiry_data_say_the_same() -> None:
    longer = bytearray(DRIVE + bytes(60))
    longer[4] = 91
    assert parse_inquiry(bytes(longer)) == parse_inquiry(DRIVE)


@pytest.mark.parametrize("first", [0x21, 0x61, 0x28, 0x7F])
def test_what_is_not_connected_is_neither_drive_nor_changer(first: int) -> None:
    inquiry = parse_inquiry(standard(first, "IBM", "ULT3580-TD8", "2160"))
    assert not inquiry.is_tape
    assert not inquiry.is_changer


def test_a_fixed_disk_is_not_removable() -> None:
    inquiry = parse_inquiry(standard(0x00, "IET", "VIRTUAL-DISK", "0001", rmb=0))
    assert (inquiry.device_type, inquiry.is_removable) == (0, False)


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        (b"", "byte 0: expected 36 bytes, found 0"),
        (DRIVE[:35], "byte 35: expected 36 bytes, found 35"),
        (DRIVE[:4] + b"\x1e" + DRIVE[5:], "byte 4: expected at least 36 bytes, said to be 35"),
        (bytes(4) + b"\x1f" + bytes(31), "byte 8: expected the name of a vendor or a product"),
    ],
)
def test_what_cannot_be_inquiry_data_is_malformed(raw: bytes, message: str) -> None:
    with pytest.raises(Malformed, match=f"^{re.escape(f'standard INQUIRY data, {message}')}$"):
        parse_inquiry(raw)


def test_listed_pages_are_those_of_page_0() -> None:
    listed = bytes([0x00, 0x80, 0x83, 0x86, 0xB0, 0xB1, 0xB2, 0xB4, 0xC0, 0xC1])
    assert parse_vpd_pages(vpd(0x00, listed)) == tuple(listed)


@pytest.mark.parametrize(
    ("content", "serial"),
    [
        (b"XYZZY_A     ", "XYZZY_A"),  # mhvtl pads behind
        (b"                            DRV00001", "DRV00001"),  # tgt pads in front
        (b"LABDRV0000", "LABDRV0000"),
        (b"AB\0CD", "AB"),
        (b"A\xe9\\B", "A\\xe9\\x5cB"),
        (b"        ", ""),
        (b"", ""),
    ],
)
def test_a_serial_number_is_without_its_padding(content: bytes, serial: str) -> None:
    assert parse_serial(vpd(0x80, content)) == serial


T10 = b"IBM     ULT3580-TD8     XYZZY_A1  "
NAA = bytes.fromhex("50223344ab000100")


def test_designators_name_unit_and_port() -> None:
    content = b"\x02\x01\x00" + bytes([len(T10)]) + T10 + b"\x01\x03\x00\x08" + NAA
    content += b"\x61\x94\x00\x04\x00\x00\x00\x01"
    unit, naa, port = parse_designators(vpd(0x83, content))
    assert unit == Designator(Association.LOGICAL_UNIT, DesignatorType.T10_VENDOR, 2, T10)
    assert (unit.name, unit.serial) == ("IBM     ULT3580-TD8     XYZZY_A1", "XYZZY_A1")
    assert (naa.kind, naa.name, naa.serial) == (DesignatorType.NAA, "50223344ab000100", "")
    assert port.association is Association.TARGET_PORT
    assert (port.kind, port.value) == (DesignatorType.RELATIVE_PORT, bytes([0, 0, 0, 1]))


@pytest.mark.parametrize(
    ("kind", "code_set", "value", "serial"),
    [
        (DesignatorType.VENDOR_SPECIFIC, 2, b"1310123456  ", "1310123456"),
        (DesignatorType.VENDOR_SPECIFIC, 1, b"\x01\x02", ""),
        (DesignatorType.T10_VENDOR, 2, b"IET     00010001", ""),  # tgt: no serial number
        (DesignatorType.T10_VENDOR, 3, T10, "XYZZY_A1"),
        (DesignatorType.SCSI_NAME, 3, b"iqn.2003-01.org.example:x", ""),
    ],
)
def test_a_serial_number_is_only_where_one_must_be(
    kind: DesignatorType, code_set: int, value: bytes, serial: str
) -> None:
    assert Designator(Association.LOGICAL_UNIT, kind, code_set, value).serial == serial


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        (b"\x01\x83", "byte 2: expected 4 bytes, found 2"),
        (vpd(0x80, b"X"), "byte 1: expected page 83h, found 80h"),
        (vpd(0x83, bytes(8))[:-1], "byte 11: expected 12 bytes, found 11"),
        (vpd(0x83, b"\x02\x01\x00\x09" + b"X" * 8), "byte 16: expected 17 bytes, found 16"),
        (vpd(0x83, b"\x02\x01\x00"), "byte 7: expected 8 bytes, found 7"),
        (vpd(0x83, b"") + b"\0\0\x01", "byte 6: expected nothing after byte 4"),
    ],
)
def test_what_cannot_be_a_vpd_page_is_malformed(raw: bytes, message: str) -> None:
    with pytest.raises(Malformed, match=f"^{re.escape(f'VPD page 83h, {message}')}$"):
        parse_designators(raw)


def test_padding_with_zeros_is_no_content() -> None:
    assert parse_serial(vpd(0x80, b"LABDRV0000") + bytes(20)) == "LABDRV0000"


@given(st.binary(max_size=80))
def test_hostile_answers_are_malformed_or_honest(raw: bytes) -> None:
    for parse, page in ((parse_serial, 0x80), (parse_vpd_pages, 0x00), (parse_designators, 0x83)):
        try:
            parse(raw)
        except Malformed:
            continue
        assert raw[1] == page
    try:
        inquiry = parse_inquiry(raw)
    except Malformed:
        return
    assert inquiry.vendor or inquiry.product


@given(st.binary(min_size=4, max_size=40), st.integers(1, 43))
def test_a_cut_page_is_malformed(content: bytes, cut: int) -> None:
    raw = vpd(0x80, content)
    if cut < len(raw):
        with pytest.raises(Malformed):
            parse_serial(raw[:-cut])
