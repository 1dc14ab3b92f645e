"""Densities that a drive supports, and generations of LTO."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scsi.fix_captures import answer
from storewatchd.errors import Malformed
from storewatchd.scsi.density import GENERATIONS, SPEEDS, Density, parse_densities

EMULATED = answer("density/emulated-lto8")


def descriptor(code: int, bits: int = 0x80, length: int = 0, capacity: int = 0) -> bytes:
    head = bytes([code, code, bits]) + length.to_bytes(2, "big") + bytes(7)
    return head + capacity.to_bytes(4, "big") + b"LTO-CVE U-518   Ultrium 5/16T       "


def densities(*descriptors: bytes) -> bytes:
    body = b"".join(descriptors)
    return (len(body) + 2).to_bytes(2, "big") + b"\0\0" + body


def test_the_emulated_drive_supports_two_generations() -> None:
    seventh, eighth = parse_densities(EMULATED)
    assert seventh == Density(
        primary_code=0x5C,
        secondary_code=0x5C,
        is_writable=True,
        is_default=True,
        bits_per_mm=19107,
        width_m=0.0127,
        tracks=3584,
        capacity_bytes=6 * 10**12,
        organization="LTO-CVE",
        name="U-718",
        description="Ultrium 7/32T",
    )
    assert (seventh.generation, eighth.generation) == ("LTO-7", "LTO-8")
    assert (eighth.bits_per_mm, eighth.tracks, eighth.capacity_bytes) == (20668, 6656, 12 * 10**12)


def test_a_density_to_read_only_says_so() -> None:
    (density,) = parse_densities(densities(descriptor(0x46, bits=0x00)))
    assert (density.is_writable, density.is_default, density.capacity_bytes) == (
        False,
        False,
        None,
    )


def test_descriptors_may_tell_their_length() -> None:
    longer = descriptor(0x58, bits=0x81, length=47 + 8) + bytes(8)
    both = parse_densities(densities(longer, descriptor(0x5A)))
    assert [density.generation for density in both] == ["LTO-5", "LTO-6"]


def test_another_kind_of_tape_is_of_no_generation() -> None:
    assert parse_densities(densities(descriptor(0x4C)))[0].generation == ""


def test_a_report_may_be_empty() -> None:
    assert parse_densities(densities()) == ()


def test_speeds_are_of_known_generations_and_plausible() -> None:
    assert SPEEDS.keys() <= set(GENERATIONS.values())
    for speed in SPEEDS.values():
        assert 0 < speed.lowest_bytes_per_s < speed.native_bytes_per_s <= 400 * 10**6


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        (b"\0", "byte 1: expected 2 bytes, found 1"),
        (bytes(4), "byte 0: expected a length of at least 2, found 0"),
        (EMULATED[:-1], "byte 107: expected 108 bytes, found 107"),
        (EMULATED + b"\1", "byte 108: expected nothing after byte 108"),
        (densities(descriptor(0x58)[:-1]), "byte 55: expected 56 bytes, found 55"),
        (densities(b"\x58"), "byte 5: expected 7 bytes, found 5"),
        (
            densities(descriptor(0x58, bits=0x81, length=46)),
            "byte 7: expected a descriptor of at least 52 bytes, found 51",
        ),
    ],
)
def test_what_cannot_be_a_report_is_malformed(raw: bytes, message: str) -> None:
    with pytest.raises(Malformed, match=f"^{re.escape(f'density support, {message}')}$"):
        parse_densities(raw)


@given(st.binary(max_size=200))
def test_garbage_is_malformed_or_as_long_as_it_says(raw: bytes) -> None:
    try:
        found = parse_densities(raw)
    except Malformed:
        return
    assert len(found) * 52 + 2 <= int.from_bytes(raw[:2], "big")


@given(st.integers(0, len(EMULATED) - 1))
def test_a_report_that_was_cut_is_malformed(length: int) -> None:
    with pytest.raises(Malformed):
        parse_densities(EMULATED[:length])
