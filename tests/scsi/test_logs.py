"""Log pages: what any of them holds, and the small ones of tape drives."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scsi.fix_captures import answer
from scsi.fix_logs import log_page, parameter
from storewatchd.errors import Malformed
from storewatchd.scsi.logs import (
    DataCompression,
    ErrorCounters,
    Parameter,
    SequentialAccess,
    TapeAlerts,
    TapeCapacity,
    Temperature,
    parse_data_compression,
    parse_error_counters,
    parse_log_page,
    parse_sequential_access,
    parse_supported_pages,
    parse_tape_capacity,
    parse_tapealert,
    parse_tapealert_response,
    parse_temperature,
)

MIB = 2**20
MB = 10**6


# What any page holds.


def test_a_page_is_its_parameters() -> None:
    page = parse_log_page(log_page(0x0C, parameter(0x100, (1, 8), 0x42)), 0x0C)
    assert (page.page, page.subpage) == (0x0C, 0)
    assert page.parameters == (Parameter(0x100, 0x42, bytes(7) + b"\1", 8),)


def test_a_subpage_is_told_apart() -> None:
    raw = log_page(0x10, parameter(1, b"X"), subpage=0x20)
    assert parse_log_page(raw, 0x10, 0x20).subpage == 0x20
    with pytest.raises(Malformed, match="expected page 10h/00h, found 10h/20h"):
        parse_log_page(raw, 0x10)


@pytest.mark.parametrize("value", [b"", b"\xff\xff", b"\xff\xff\xff\xff"])
def test_a_counter_that_says_nothing_is_none(value: bytes) -> None:
    page = parse_log_page(log_page(0x14, parameter(5, value), parameter(6, (0, 4))), 0x14)
    assert page.number(5) is None
    assert page.number(7) is None
    assert page.number(6) == 0
    assert page.flag(5) is None
    assert page.ratio(5) is None
    assert page.flag(6) is False


def test_one_byte_of_ones_is_a_number() -> None:
    page = parse_log_page(log_page(0x14, parameter(5, b"\xff")), 0x14)
    assert page.number(5) == 255
    assert page.ratio(5) == 2.55
    assert page.ratio(5, at_most=1) is None


def test_texts_are_without_padding() -> None:
    page = parse_log_page(log_page(0x17, parameter(0x40, b"HU1234ABCD    ")), 0x17)
    assert (page.words(0x40), page.words(0x41)) == ("HU1234ABCD", "")


def test_no_counter_is_longer_than_eight_bytes() -> None:
    page = parse_log_page(log_page(0x14, parameter(5, bytes(9))), 0x14)
    with pytest.raises(Malformed, match="log page 14h, byte 8: expected a counter of at most 8"):
        page.number(5)


def test_zeros_at_the_end_of_a_page_are_no_parameter() -> None:
    # mhvtl: "Page valid: 1", and then ten times "Page valid: 0" in the output of sg_logs.
    raw = log_page(0x17, parameter(0, (1, 4)), parameter(1, (7, 8)), bytes(42))
    page = parse_log_page(raw, 0x17)
    assert (page.number(0), page.number(1)) == (1, 7)
    assert len(page.parameters) == 2


ONE = log_page(0x0D, parameter(0, b"\0\x22"))


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        (b"", "byte 0: expected 4 bytes, found 0"),
        (ONE[:-1], "byte 9: expected 10 bytes, found 9"),
        (ONE + b"\1", "byte 10: expected nothing after byte 10"),
        (log_page(0x0C, parameter(0, b"X")), "byte 0: expected page 0Dh/00h, found 0Ch/00h"),
        (log_page(0x0D), "byte 4: expected a parameter"),
        (log_page(0x0D, bytes(8)), "byte 4: expected a parameter"),
        (log_page(0x0D, b"\0\0\0\2X"), "byte 9: expected 10 bytes, found 9"),
        (log_page(0x0D, b"\0\1"), "byte 6: expected 7 bytes, found 6"),
        (
            log_page(0x0D, parameter(0, b"A"), parameter(0, b"B")),
            "byte 13: expected one value of parameter 0000h, found another",
        ),
    ],
)
def test_what_cannot_be_a_page_is_malformed(raw: bytes, message: str) -> None:
    with pytest.raises(Malformed, match=f"^{re.escape(f'log page 0Dh, {message}')}$"):
        parse_log_page(raw, 0x0D)


def test_the_same_parameter_twice_is_one() -> None:
    raw = log_page(0x0D, parameter(0, b"AB"), parameter(0, b"AB"))
    assert len(parse_log_page(raw, 0x0D).parameters) == 1


def test_the_list_of_pages_is_read() -> None:
    pages = (0x00, 0x02, 0x03, 0x0C, 0x0D, 0x11, 0x12, 0x14, 0x17, 0x1B, 0x2E, 0x31)
    assert parse_supported_pages(answer("logs/emulated-00")) == pages


@pytest.mark.parametrize("content", [b"", b"\x0d\x2e"])
def test_a_list_that_lacks_itself_is_malformed(content: bytes) -> None:
    with pytest.raises(Malformed, match="page 00h as the first of the list"):
        parse_supported_pages(b"\0\0\0" + bytes([len(content)]) + content)


# The small pages.


@pytest.mark.parametrize("page", [0x02, 0x03])
def test_error_counters_of_a_good_cartridge(page: int) -> None:
    counters = parse_error_counters(answer(f"logs/emulated-{page:02x}"), page)
    assert counters == ErrorCounters(0, 0, 0, 0, 0, 123456789, 0)


def test_error_counters_that_are_left_out_are_none() -> None:
    raw = log_page(0x03, parameter(3, (12, 4)), parameter(6, (1, 4)), parameter(0x8000, (5, 4)))
    assert parse_error_counters(raw, 0x03) == ErrorCounters(None, None, None, 12, None, None, 1)


def test_what_host_and_medium_exchanged_is_told_in_bytes() -> None:
    assert parse_sequential_access(answer("logs/emulated-0c")) == SequentialAccess(
        host_written_bytes=5_000_000_000,
        medium_written_bytes=2_000_000_000,
        medium_read_bytes=1_000_000_000,
        host_read_bytes=2_500_000_000,
        used_bytes=11_444_091 * MB,
        capacity_bytes=11_000_000 * MB,
        reserve_bytes=None,
        position_bytes=None,
        buffer_bytes=None,
        is_cleaning_required=False,
    )


def test_a_drive_without_a_cartridge_has_no_capacity() -> None:
    # LTO drives then answer 4294967295 MB.
    raw = log_page(
        0x0C,
        *(parameter(code, (0xFFFFFFFF, 4)) for code in (4, 5, 6, 7)),
        parameter(8, (679, 4)),
        parameter(0x100, (1, 8)),
    )
    page = parse_sequential_access(raw)
    assert (page.used_bytes, page.capacity_bytes, page.reserve_bytes, page.position_bytes) == (
        (None,) * 4
    )
    assert (page.buffer_bytes, page.is_cleaning_required) == (679 * MB, True)
    assert parse_sequential_access(answer("logs/emulated-empty-0c")).used_bytes is None


@pytest.mark.parametrize(
    ("parameters", "expected"),
    [
        ([parameter(0, b"\0\x22"), parameter(1, b"\0\x3c")], Temperature(34, 60)),
        ([parameter(0, b"\0\0")], Temperature(0, None)),
        ([parameter(0, b"\0\xff"), parameter(1, b"\0\xff")], Temperature(None, None)),
        ([parameter(7, b"\0\x22")], Temperature(None, None)),
    ],
)
def test_temperatures_are_told_where_they_are(
    parameters: list[bytes], expected: Temperature
) -> None:
    assert parse_temperature(log_page(0x0D, *parameters)) == expected


def test_the_emulated_drive_is_warm() -> None:
    assert parse_temperature(answer("logs/emulated-0d")) == Temperature(34, 60)


def test_a_temperature_of_another_length_is_malformed() -> None:
    with pytest.raises(Malformed, match="expected a parameter of 2 bytes, found 1"):
        parse_temperature(log_page(0x0D, parameter(0, b"\x22")))


def test_compression_is_told_in_bytes_and_ratios() -> None:
    # Numbers that an LTO drive has shown.
    raw = log_page(
        0x1B,
        parameter(0, (0, 2)),
        parameter(1, (8026, 2)),
        *(parameter(code, (0, 4)) for code in (2, 3, 4)),
        parameter(5, (4, 4)),
        parameter(6, (268, 4)),
        parameter(7, (435456, 4)),
        parameter(8, (3, 4)),
        parameter(9, (344392, 4)),
        parameter(0x100, b"\1"),
    )
    assert parse_data_compression(raw) == DataCompression(
        read_ratio=0.0,
        write_ratio=80.26,
        host_read_bytes=0,
        medium_read_bytes=4,
        host_written_bytes=268_435_456,
        medium_written_bytes=3_344_392,
        is_enabled=True,
    )


def test_half_of_a_number_is_none() -> None:
    page = parse_data_compression(answer("logs/emulated-1b"))
    assert (page.read_ratio, page.write_ratio) == (1.1, 2.47)
    assert (page.host_read_bytes, page.medium_read_bytes) == (2000 * MB, 900 * MB)
    assert (page.host_written_bytes, page.medium_written_bytes, page.is_enabled) == (
        None,
        None,
        None,
    )
    assert parse_data_compression(log_page(0x1B, parameter(3, (1, 4)))).host_read_bytes is None
    assert parse_data_compression(log_page(0x1B, parameter(2, (1, 4)))).host_read_bytes is None


def test_the_second_half_may_be_negative_and_not_absurd() -> None:
    parts = [parameter(2, (4, 4)), parameter(3, b"\xff\xff\xff\xfe")]
    assert parse_data_compression(log_page(0x1B, *parts)).host_read_bytes == 4 * MB - 2
    parts = [parameter(2, (4, 4)), parameter(3, (2**30, 4))]
    assert parse_data_compression(log_page(0x1B, *parts)).host_read_bytes is None


def test_capacities_are_of_the_vendors_unit() -> None:
    raw = answer("logs/emulated-31")
    capacity = 11_444_091
    assert parse_tape_capacity(raw) == TapeCapacity(capacity * MIB, 0, capacity * MIB, 0)
    assert parse_tape_capacity(raw, unit_bytes=MB).main_capacity_bytes == capacity * MB
    only = log_page(0x31, parameter(3, (500, 4)))
    assert parse_tape_capacity(only) == TapeCapacity(None, None, 500 * MIB, None)


# TapeAlert.


def test_both_pages_show_the_same_flags() -> None:
    flags = frozenset({3, 6, 20})
    assert parse_tapealert_response(answer("logs/emulated-12-3-6-20")) == TapeAlerts(flags)
    assert parse_tapealert(answer("logs/emulated-2e-3-6-20")) == TapeAlerts(flags)


@pytest.mark.parametrize("name", ["logs/emulated-2e", "logs/emulated-12"])
def test_no_flag_is_set(name: str) -> None:
    parse = parse_tapealert if name.endswith("2e") else parse_tapealert_response
    assert parse(answer(name)) == TapeAlerts(frozenset())


@pytest.mark.parametrize(("flag", "bits"), [(1, "80" + "00" * 7), (64, "00" * 7 + "01")])
def test_the_first_flag_is_the_highest_bit(flag: int, bits: str) -> None:
    raw = log_page(0x12, parameter(0, bytes.fromhex(bits)))
    assert parse_tapealert_response(raw).active == {flag}


def test_flags_that_are_left_out_are_not_known() -> None:
    alerts = parse_tapealert(log_page(0x2E, parameter(1, b"\1"), parameter(3, b"\xc0")))
    assert alerts.active == {1}
    assert alerts.missing == frozenset(range(1, 65)) - {1, 3}


def test_a_library_of_mhvtl_shows_its_flags() -> None:
    # The first parameters of a captured dump that was cut by the tool: control byte C0h.
    raw = log_page(0x2E, *(parameter(n, bytes([n in (1, 3)]), 0xC0) for n in range(1, 65)))
    assert parse_tapealert(raw) == TapeAlerts(frozenset({1, 3}))


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        (log_page(0x12, parameter(1, bytes(8))), "byte 4: expected parameter 0000h"),
        (log_page(0x12, parameter(0, b"")), "byte 4: expected parameter 0000h"),
        (log_page(0x12, parameter(0, b"\1")), "byte 8: expected a parameter of 8 bytes, found 1"),
    ],
)
def test_a_response_without_flags_is_malformed(raw: bytes, message: str) -> None:
    with pytest.raises(Malformed, match=f"^log page 12h, {message}$"):
        parse_tapealert_response(raw)


def test_a_flag_of_another_length_is_malformed() -> None:
    with pytest.raises(Malformed, match="expected a parameter of 1 bytes, found 2"):
        parse_tapealert(log_page(0x2E, parameter(1, b"\0\1")))


# Hostile input.

PAGES = {
    0x02: lambda raw: parse_error_counters(raw, 0x02),
    0x0C: parse_sequential_access,
    0x0D: parse_temperature,
    0x12: parse_tapealert_response,
    0x1B: parse_data_compression,
    0x2E: parse_tapealert,
    0x31: parse_tape_capacity,
}


@given(st.sampled_from(sorted(PAGES)), st.binary(max_size=60))
def test_garbage_is_malformed_or_of_its_page(page: int, raw: bytes) -> None:
    try:
        PAGES[page](raw)
    except Malformed:
        return
    assert raw[0] & 0x3F == page


@given(st.sampled_from(sorted(PAGES)), st.data())
def test_a_page_that_was_cut_is_malformed(page: int, data: st.DataObject) -> None:
    raw = answer(f"logs/emulated-{page:02x}")
    with pytest.raises(Malformed):
        PAGES[page](raw[: data.draw(st.integers(0, len(raw) - 1))])


@given(st.sampled_from(sorted(PAGES)), st.data())
def test_flipped_bits_crash_nothing(page: int, data: st.DataObject) -> None:
    raw = bytearray(answer(f"logs/emulated-{page:02x}"))
    bit = data.draw(st.integers(0, len(raw) * 8 - 1))
    raw[bit // 8] ^= 1 << bit % 8
    try:
        PAGES[page](bytes(raw))
    except Malformed:
        assert bit // 8 < len(raw)
