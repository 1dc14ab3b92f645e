"""The memory of a cartridge."""

import re
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scsi.fix_captures import answer
from storewatchd.errors import Malformed
from storewatchd.scsi.logs import TapeAlerts
from storewatchd.scsi.mam import (
    Attribute,
    DriveName,
    Medium,
    MediumType,
    parse_attributes,
    parse_medium,
)

EMULATED = answer("attributes/emulated-lto8")
MIB = 2**20
NOTHING = Medium(
    remaining_bytes=None,
    capacity_bytes=None,
    alerts=None,
    loads=None,
    change_reference=None,
    last_drives=(),
    written_bytes=None,
    read_bytes=None,
    last_load_written_bytes=None,
    last_load_read_bytes=None,
    manufacturer="",
    serial="",
    length_m=None,
    width_m=None,
    assigning_organization="",
    density_code=None,
    made="",
    memory_bytes=None,
    medium_type=None,
    application_vendor="",
    application_name="",
    application_version="",
    label="",
    last_written="",
    barcode="",
)


def attribute(identifier: int, value: bytes, control: int = 0x80) -> bytes:
    return identifier.to_bytes(2, "big") + bytes([control]) + len(value).to_bytes(2, "big") + value


def attributes(*parts: bytes) -> bytes:
    body = b"".join(parts)
    return len(body).to_bytes(4, "big") + body


def test_the_emulated_cartridge_knows_itself() -> None:
    # As sg_read_attr printed it.
    assert parse_medium(EMULATED) == replace(
        NOTHING,
        remaining_bytes=11444091 * MIB,
        capacity_bytes=11444091 * MIB,
        alerts=TapeAlerts(frozenset()),
        loads=2,
        change_reference=7,
        last_drives=(DriveName("LABEMU", "LABDRV0000"),),
        written_bytes=123456 * MIB,
        read_bytes=654321 * MIB,
        last_load_written_bytes=100 * MIB,
        last_load_read_bytes=50 * MIB,
        manufacturer="LABTAPE",
        serial="SNLAB003L8",
        length_m=960,
        width_m=0.0127,
        assigning_organization="LTO-CVE",
        density_code=0x5E,
        made="20240131",
        memory_bytes=16384,
        medium_type=MediumType.DATA,
        barcode="LAB003L8",
    )


def test_attributes_that_we_do_not_use_are_kept() -> None:
    found = parse_attributes(EMULATED)
    assert found[0x0409] == Attribute(0x0409, 0, b"\0\0", 0x12B)
    assert found[0x0806].format == 1
    assert len(found) == 22


def test_a_cartridge_of_mhvtl_knows_its_application() -> None:
    medium = parse_medium(
        attributes(
            attribute(0x0000, (1).to_bytes(8, "big")),
            attribute(0x020A, b"IBM     XYZZY_A1  ", 0x81),
            attribute(0x020B, bytes(40), 0x81),
            attribute(0x020C, b"", 0x81),
            attribute(0x0408, b"\x80"),
            attribute(0x0800, b"vtl-1.8 ", 0x01),
            attribute(0x0801, b"", 0x01),
            attribute(0x0802, b"6", 0x01),
            attribute(0x0803, b"MONDAY  ", 0x02),
            attribute(0x0804, b"202401312359", 0x01),
        )
    )
    assert medium == replace(
        NOTHING,
        remaining_bytes=MIB,
        last_drives=(DriveName("IBM", "XYZZY_A1"),),
        medium_type=MediumType.WORM,
        application_vendor="vtl-1.8",
        application_version="6",
        label="MONDAY",
        last_written="202401312359",
    )


def test_the_last_drives_come_latest_first() -> None:
    names = [attribute(0x020A + n, f"IBM     DRIVE{n}".encode(), 0x81) for n in range(4)]
    medium = parse_medium(attributes(*reversed(names)))
    assert [drive.serial for drive in medium.last_drives] == [f"DRIVE{n}" for n in range(4)]


@pytest.mark.parametrize(
    "raw",
    [
        attribute(0x0003, b""),
        attribute(0x0003, b"\xff" * 8),
        attribute(0x0002, b""),
        attribute(0x0408, b"\x42"),
        attribute(0x0806, b"        ", 0x01),
        attribute(0x1623, b"\0"),
    ],
)
def test_what_says_nothing_is_none(raw: bytes) -> None:
    assert parse_medium(attributes(raw)) == NOTHING


def test_flags_of_the_cartridge_count_from_the_highest_bit() -> None:
    alerts = parse_medium(attributes(attribute(0x0002, b"\x24\0\x10\0\0\0\0\0"))).alerts
    assert alerts == TapeAlerts(frozenset({3, 6, 20}))


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        (b"", "byte 0: expected 4 bytes, found 0"),
        (attributes(), "byte 0: expected an attribute"),
        (EMULATED[:-1], "byte 337: expected 338 bytes, found 337"),
        (EMULATED + b"\1", "byte 338: expected nothing after byte 338"),
        (attributes(b"\0"), "byte 5: expected 6 bytes, found 5"),
        (attributes(b"\0\0\x80\0\x08\0"), "byte 10: expected 17 bytes, found 10"),
        (
            attributes(attribute(3, b"\1"), attribute(3, b"\2")),
            "byte 10: expected attribute 0003h once",
        ),
        (
            attributes(attribute(0, bytes(9))),
            "byte 9: expected attribute 0000h of at most 8 bytes, found 9",
        ),
        (attributes(attribute(2, b"\1")), "byte 9: expected attribute 0002h of 8 bytes"),
        (
            attributes(attribute(0x20A, b"IBM     ")),
            "byte 9: expected attribute 020Ah as vendor and serial number",
        ),
    ],
)
def test_what_cannot_be_attributes_is_malformed(raw: bytes, message: str) -> None:
    with pytest.raises(Malformed, match=f"^{re.escape(f'medium attributes, {message}')}$"):
        parse_medium(raw)


def test_the_same_attribute_twice_is_one() -> None:
    assert parse_medium(attributes(attribute(3, b"\1"), attribute(3, b"\1"))).loads == 1


@given(st.binary(max_size=60))
def test_garbage_is_malformed_or_kept(raw: bytes) -> None:
    try:
        found = parse_attributes(raw)
        parse_medium(raw)
    except Malformed:
        return
    assert sum(5 + len(one.value) for one in found.values()) <= int.from_bytes(raw[:4], "big")


@given(st.data())
def test_cut_or_flipped_attributes_crash_nothing(data: st.DataObject) -> None:
    with pytest.raises(Malformed):
        parse_medium(EMULATED[: data.draw(st.integers(0, len(EMULATED) - 1))])
    raw = bytearray(EMULATED)
    bit = data.draw(st.integers(0, len(raw) * 8 - 1))
    raw[bit // 8] ^= 1 << bit % 8
    try:
        parse_medium(bytes(raw))
    except Malformed:
        assert bit // 8 < len(raw)
