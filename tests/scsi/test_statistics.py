"""What a drive has counted over its life, and a cartridge over its."""

import re
from dataclasses import astuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scsi.fix_captures import answer
from scsi.fix_logs import log_page, parameter
from storewatchd.errors import Malformed
from storewatchd.scsi.statistics import (
    DeviceStatistics,
    VolumeStatistics,
    parse_device_statistics,
    parse_volume_statistics,
)

MB = 10**6


def test_the_emulated_drive_has_a_life() -> None:
    statistics = parse_device_statistics(answer("logs/emulated-14"))
    assert statistics == DeviceStatistics(
        loads=4712,
        cleanings=12,
        power_on_s=30123 * 3600,
        motion_s=9000 * 3600,
        tape_metres=1234567,
        motion_at_incompatible_load_s=None,
        temperature_at_power_on_s=None,
        power_consumption_at_power_on_s=None,
        motion_since_cleaning_s=140 * 3600,
        motion_since_second_cleaning_s=None,
        motion_since_third_cleaning_s=None,
        forced_at_power_on_s=None,
        power_cycles=21,
        loads_since_reset=33,
        hard_write_errors=0,
        hard_read_errors=0,
        duty_sample_s=None,
        read_duty_ratio=None,
        write_duty_ratio=None,
        activity_duty_ratio=None,
        empty_duty_ratio=None,
        ready_duty_ratio=None,
        manufacturer_serial="MFGLABDRV0000",
        serial="LABDRV0000",
        is_removal_prevented=False,
        has_overheated=None,
    )


def test_duty_cycles_are_ratios() -> None:
    # Numbers that an LTO drive has shown: a sample of 140 days.
    raw = log_page(
        0x14,
        parameter(0x10, (12105402840, 8)),
        parameter(0x11, (0, 1)),
        parameter(0x14, (44, 1)),
        parameter(0x15, (147, 1)),
        parameter(0x81, (1, 1)),
    )
    statistics = parse_device_statistics(raw)
    assert statistics.duty_sample_s == 12105402.84
    assert (statistics.read_duty_ratio, statistics.empty_duty_ratio) == (0.0, 0.44)
    assert statistics.ready_duty_ratio is None  # more than all of the time
    assert statistics.has_overheated is True


def test_the_emulated_cartridge_has_a_life() -> None:
    statistics = parse_volume_statistics(answer("logs/emulated-17"))
    assert statistics == VolumeStatistics(
        is_valid=True,
        threads=2,
        data_sets_written=77777,
        write_retries=4,
        unrecovered_write_errors=0,
        suspended_writes=0,
        fatal_suspended_writes=0,
        data_sets_read=88888,
        read_retries=3,
        unrecovered_read_errors=0,
        last_mount_written_bytes=1000 * MB,
        last_mount_read_bytes=500 * MB,
        written_bytes=123456 * MB,
        read_bytes=654321 * MB,
        capacity_bytes=11444091 * MB,
        used_bytes=0,
        serial="SNLAB003L8",
        barcode="LAB003L8",
        manufacturer="LABTAPE",
        is_write_protected=False,
        is_worm=False,
        begin_passes=1234,
    )


def test_without_a_cartridge_nothing_is_known() -> None:
    empty = parse_volume_statistics(answer("logs/emulated-empty-17"))
    assert empty == VolumeStatistics(is_valid=False)
    assert not any(value for value in astuple(empty))
    stale = log_page(0x17, parameter(0, (0, 1)), parameter(1, (11, 4)))
    assert parse_volume_statistics(stale) == VolumeStatistics(is_valid=False)


def test_a_partitioned_cartridge_tells_of_each_partition() -> None:
    # Numbers that an LTO drive has shown; the second partition is made unknown.
    def records(*sizes: int) -> bytes:
        parts = enumerate(sizes)
        return b"".join(b"\7\0" + n.to_bytes(2, "big") + s.to_bytes(4, "big") for n, s in parts)

    raw = log_page(
        0x17,
        parameter(0, (1, 1)),
        parameter(0x12, (8026, 2)),
        parameter(0x14, (73899, 4)),
        parameter(0x15, (41258, 4)),
        parameter(0x19, (99, 1)),
        parameter(0x41, b"*2282195"),
        parameter(0x44, b"0707"),
        parameter(0x45, b"LTOLA62  "),
        parameter(0x82, (0, 1)),
        parameter(0x102, (37, 4)),
        parameter(0x202, records(127118, 27838983)),
        parameter(0x203, records(39, 1418113)),
        parameter(0x204, records(127074, 0xFFFFFFFF)),
    )
    statistics = parse_volume_statistics(raw)
    assert statistics.partition_capacity_bytes == ((0, 127118 * MB), (1, 27838983 * MB))
    assert statistics.partition_used_bytes == ((0, 39 * MB), (1, 1418113 * MB))
    assert statistics.partition_remaining_bytes == ((0, 127074 * MB), (1, None))
    assert statistics.last_load_write_compression == 80.26
    assert (statistics.mount_s, statistics.ready_s) == (73.899, 41.258)
    assert statistics.life_remaining_ratio == 0.99
    assert (statistics.lot, statistics.license_code, statistics.personality) == (
        "*2282195",
        "0707",
        "LTOLA62",
    )
    assert (statistics.has_overheated, statistics.middle_passes) == (False, 37)
    assert statistics.threads is None


def test_a_page_of_mhvtl_is_valid_although_zeros_follow() -> None:
    raw = log_page(0x17, parameter(0, (1, 4)), parameter(0x16, (500, 4)), bytes(40))
    statistics = parse_volume_statistics(raw)
    assert (statistics.is_valid, statistics.capacity_bytes) == (True, 500 * MB)


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        (log_page(0x17, parameter(1, (7, 4))), "byte 4: expected parameter 0000h"),
        (
            log_page(0x17, parameter(0, (1, 1)), parameter(0x202, b"\3\0\0\0")),
            "byte 13: expected a record of 5 to 12 bytes, found 4",
        ),
        (
            log_page(0x17, parameter(0, (1, 1)), parameter(0x202, b"\x0c" + bytes(12))),
            "byte 13: expected a record of 5 to 12 bytes, found 13",
        ),
        (
            log_page(0x17, parameter(0, (1, 1)), parameter(0x202, b"\7\0\0\0\0")),
            "byte 18: expected 21 bytes, found 18",
        ),
    ],
)
def test_what_cannot_be_volume_statistics_is_malformed(raw: bytes, message: str) -> None:
    with pytest.raises(Malformed, match=f"^{re.escape(f'log page 17h, {message}')}$"):
        parse_volume_statistics(raw)


@given(st.sampled_from([0x14, 0x17]), st.data())
def test_hostile_pages_crash_nothing(page: int, data: st.DataObject) -> None:
    parse = parse_device_statistics if page == 0x14 else parse_volume_statistics
    raw = bytearray(answer(f"logs/emulated-{page:02x}"))
    with pytest.raises(Malformed):
        parse(bytes(raw[: data.draw(st.integers(0, len(raw) - 1))]))
    bit = data.draw(st.integers(0, len(raw) * 8 - 1))
    raw[bit // 8] ^= 1 << bit % 8
    try:
        parse(bytes(raw))
    except Malformed:
        assert bit // 8 < len(raw)
