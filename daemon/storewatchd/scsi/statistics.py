"""Decodes what a drive has counted over its life (log page 14h) and a cartridge over its (17h).

SSC-4 8.2.7 and 8.2.8. All in base units; what is absent or saturated is None.
"""

from dataclasses import dataclass

from storewatchd.errors import Malformed
from storewatchd.scsi.fields import span, uint
from storewatchd.scsi.logs import (
    DEVICE_STATISTICS,
    MB,
    VOLUME_STATISTICS,
    LogPage,
    parse_log_page,
)

HOUR = 3600


@dataclass(frozen=True, slots=True)
class DeviceStatistics:
    """Page 14h. Motion is of the medium under the head; counters are over the drive's life.

    `..._at_power_on_s` say when, in power on time, something happened last; 0 is never.
    """

    loads: int | None
    cleanings: int | None
    power_on_s: int | None
    motion_s: int | None
    tape_metres: int | None
    motion_at_incompatible_load_s: int | None
    temperature_at_power_on_s: int | None
    power_consumption_at_power_on_s: int | None
    motion_since_cleaning_s: int | None
    motion_since_second_cleaning_s: int | None
    motion_since_third_cleaning_s: int | None
    forced_at_power_on_s: int | None  # operator's reset or emergency eject
    power_cycles: int | None
    loads_since_reset: int | None
    hard_write_errors: int | None
    hard_read_errors: int | None
    duty_sample_s: float | None
    read_duty_ratio: float | None
    write_duty_ratio: float | None
    activity_duty_ratio: float | None
    empty_duty_ratio: float | None
    ready_duty_ratio: float | None
    manufacturer_serial: str
    serial: str
    is_removal_prevented: bool | None
    has_overheated: bool | None


def parse_device_statistics(raw: bytes) -> DeviceStatistics:
    """Decode page 14h.

    Raises:
        Malformed: as `parse_log_page`.
    """
    log = parse_log_page(raw, DEVICE_STATISTICS)
    return DeviceStatistics(
        loads=log.number(0x0000),
        cleanings=log.number(0x0001),
        power_on_s=log.number(0x0002, HOUR),
        motion_s=log.number(0x0003, HOUR),
        tape_metres=log.number(0x0004),
        motion_at_incompatible_load_s=log.number(0x0005, HOUR),
        temperature_at_power_on_s=log.number(0x0006, HOUR),
        power_consumption_at_power_on_s=log.number(0x0007, HOUR),
        motion_since_cleaning_s=log.number(0x0008, HOUR),
        motion_since_second_cleaning_s=log.number(0x0009, HOUR),
        motion_since_third_cleaning_s=log.number(0x000A, HOUR),
        forced_at_power_on_s=log.number(0x000B, HOUR),
        power_cycles=log.number(0x000C),
        loads_since_reset=log.number(0x000D),
        hard_write_errors=log.number(0x000E),
        hard_read_errors=log.number(0x000F),
        duty_sample_s=_milliseconds(log, 0x0010),
        read_duty_ratio=log.ratio(0x0011, at_most=1),
        write_duty_ratio=log.ratio(0x0012, at_most=1),
        activity_duty_ratio=log.ratio(0x0013, at_most=1),
        empty_duty_ratio=log.ratio(0x0014, at_most=1),
        ready_duty_ratio=log.ratio(0x0015, at_most=1),
        manufacturer_serial=log.words(0x0040),
        serial=log.words(0x0041),
        is_removal_prevented=log.flag(0x0080),
        has_overheated=log.flag(0x0081),
    )


@dataclass(frozen=True, slots=True)
class VolumeStatistics:
    """Page 17h. `is_valid` is False where the drive says so: nothing else is known then.

    `threads` is how often the cartridge was mounted. Suspended writes are those that a servo error
    interrupted; fatal ones could not go on. Partitions have a number each; of one that the drive
    does not know the size of, the value is None.
    """

    is_valid: bool
    threads: int | None = None
    data_sets_written: int | None = None
    write_retries: int | None = None
    unrecovered_write_errors: int | None = None
    suspended_writes: int | None = None
    fatal_suspended_writes: int | None = None
    data_sets_read: int | None = None
    read_retries: int | None = None
    unrecovered_read_errors: int | None = None
    last_mount_unrecovered_write_errors: int | None = None
    last_mount_unrecovered_read_errors: int | None = None
    last_mount_written_bytes: int | None = None
    last_mount_read_bytes: int | None = None
    written_bytes: int | None = None
    read_bytes: int | None = None
    last_load_write_compression: float | None = None
    last_load_read_compression: float | None = None
    mount_s: float | None = None
    ready_s: float | None = None
    capacity_bytes: int | None = None
    used_bytes: int | None = None
    life_remaining_ratio: float | None = None
    serial: str = ""
    lot: str = ""
    barcode: str = ""
    manufacturer: str = ""
    license_code: str = ""
    personality: str = ""
    is_write_protected: bool | None = None
    is_worm: bool | None = None
    has_overheated: bool | None = None
    begin_passes: int | None = None
    middle_passes: int | None = None
    partition_capacity_bytes: tuple[tuple[int, int | None], ...] = ()
    partition_used_bytes: tuple[tuple[int, int | None], ...] = ()
    partition_remaining_bytes: tuple[tuple[int, int | None], ...] = ()


def parse_volume_statistics(raw: bytes) -> VolumeStatistics:
    """Decode page 17h.

    Raises:
        Malformed: as `parse_log_page`, or it does not say whether it is valid.
    """
    log = parse_log_page(raw, VOLUME_STATISTICS)
    is_valid = log.flag(0x0000)
    if is_valid is None:
        raise Malformed(log.what, 4, "parameter 0000h")
    if not is_valid:
        return VolumeStatistics(is_valid=False)
    return VolumeStatistics(
        is_valid=True,
        threads=log.number(0x0001),
        data_sets_written=log.number(0x0002),
        write_retries=log.number(0x0003),
        unrecovered_write_errors=log.number(0x0004),
        suspended_writes=log.number(0x0005),
        fatal_suspended_writes=log.number(0x0006),
        data_sets_read=log.number(0x0007),
        read_retries=log.number(0x0008),
        unrecovered_read_errors=log.number(0x0009),
        last_mount_unrecovered_write_errors=log.number(0x000C),
        last_mount_unrecovered_read_errors=log.number(0x000D),
        last_mount_written_bytes=log.number(0x000E, MB),
        last_mount_read_bytes=log.number(0x000F, MB),
        written_bytes=log.number(0x0010, MB),
        read_bytes=log.number(0x0011, MB),
        last_load_write_compression=log.ratio(0x0012),
        last_load_read_compression=log.ratio(0x0013),
        mount_s=_milliseconds(log, 0x0014),
        ready_s=_milliseconds(log, 0x0015),
        capacity_bytes=log.number(0x0016, MB),
        used_bytes=log.number(0x0017, MB),
        life_remaining_ratio=log.ratio(0x0019, at_most=1),
        serial=log.words(0x0040),
        lot=log.words(0x0041),
        barcode=log.words(0x0042),
        manufacturer=log.words(0x0043),
        license_code=log.words(0x0044),
        personality=log.words(0x0045),
        is_write_protected=log.flag(0x0080),
        is_worm=log.flag(0x0081),
        has_overheated=log.flag(0x0082),
        begin_passes=log.number(0x0101),
        middle_passes=log.number(0x0102),
        partition_capacity_bytes=_partitions(log, 0x0202),
        partition_used_bytes=_partitions(log, 0x0203),
        partition_remaining_bytes=_partitions(log, 0x0204),
    )


def _milliseconds(log: LogPage, code: int) -> float | None:
    number = log.number(code)
    return None if number is None else number / 1000


def _partitions(log: LogPage, code: int) -> tuple[tuple[int, int | None], ...]:
    # SSC-4 8.2.8.6: records of length (of what follows), reserved, partition number, counter.
    found = log.find(code)
    if found is None:
        return ()
    records = []
    at = 0
    while at < len(found.value):
        length = 1 + found.value[at]
        record = span(found.value, at, length, log.what, found.at)
        if not 4 < length <= 12:
            expected = f"a record of 5 to 12 bytes, found {length}"
            raise Malformed(log.what, found.at + at, expected)
        counter = record[4:]
        size = int.from_bytes(counter, "big") * MB if counter.strip(b"\xff") else None
        records.append((uint(record, 2, 2, log.what), size))
        at += length
    return tuple(records)
