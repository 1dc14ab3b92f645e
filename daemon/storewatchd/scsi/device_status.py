"""Decodes log page 11h: what a tape drive is doing now (SSC-4 8.2.6, ADC-3 6.1.2)."""

from dataclasses import dataclass
from enum import IntEnum

from storewatchd.errors import Malformed
from storewatchd.scsi.logs import DEVICE_STATUS, parse_log_page


class Activity(IntEnum):
    """What the drive does (ADC-3 table 15)."""

    IDLE = 0x00
    CLEANING = 0x01
    LOADING = 0x02
    UNLOADING = 0x03
    OTHER_MEDIUM_ACTIVITY = 0x04
    READING = 0x05
    WRITING = 0x06
    LOCATING = 0x07
    REWINDING = 0x08
    ERASING = 0x09
    FORMATTING = 0x0A
    CALIBRATING = 0x0B
    OTHER = 0x0C
    UPDATING_MICROCODE = 0x0D
    READING_ENCRYPTED = 0x0E
    WRITING_ENCRYPTED = 0x0F
    DIAGNOSING = 0x10

    @property
    def words(self) -> str:
        return self.name.lower().replace("_", " ")


@dataclass(frozen=True, slots=True)
class DeviceStatus:
    """The very high frequency data, by T10's bits.

    While the drive is not `is_initialized`, or is `is_in_transition`, the bits on the medium may
    be about to change. `activity` is None where T10 has no such activity. `polling_delay_s` is how
    long the drive would have us wait before we ask again, None where it does not say.
    """

    is_removal_prevented: bool  # PAMR
    is_host_initiated_unload: bool  # HUI
    is_medium_accessible: bool  # MACC
    is_compressing: bool  # CMPR
    is_write_protected: bool  # WRTP
    is_cleaning_requested: bool  # CRQST
    is_cleaning_required: bool  # CRQRD
    is_initialized: bool  # DINIT
    is_in_transition: bool  # INXTN
    is_robot_access_allowed: bool  # RAA
    is_medium_present: bool  # MPRSNT
    is_medium_seated: bool  # MSTD
    is_medium_threaded: bool  # MTHRD
    is_mounted: bool  # MOUNTED
    activity: Activity | None
    has_encryption_settings: bool  # EPP
    is_recovery_requested: bool  # RRQST
    has_interface_changed: bool  # INTFC
    has_alert: bool  # TAFC: a TapeAlert flag has changed since page 12h was read
    polling_delay_s: float | None


def parse_device_status(raw: bytes) -> DeviceStatus:
    """Decode page 11h.

    Raises:
        Malformed: as `parse_log_page`, or the status itself is not in it.
    """
    log = parse_log_page(raw, DEVICE_STATUS)
    found = log.find(0x0000)
    if found is None or len(found.value) != 4:
        raise Malformed(log.what, found.at if found else 4, "parameter 0000h of 4 bytes")
    bits = int.from_bytes(found.value, "big")
    delay = log.number(0x0001)

    def has(byte: int, bit: int) -> bool:
        return bool(bits >> (8 * (3 - byte) + bit) & 1)

    return DeviceStatus(
        is_removal_prevented=has(0, 7),
        is_host_initiated_unload=has(0, 6),
        is_medium_accessible=has(0, 5),
        is_compressing=has(0, 4),
        is_write_protected=has(0, 3),
        is_cleaning_requested=has(0, 2),
        is_cleaning_required=has(0, 1),
        is_initialized=has(0, 0),
        is_in_transition=has(1, 7),
        is_robot_access_allowed=has(1, 5),
        is_medium_present=has(1, 4),
        is_medium_seated=has(1, 2),
        is_medium_threaded=has(1, 1),
        is_mounted=has(1, 0),
        activity=_ACTIVITIES.get(found.value[2]),
        has_encryption_settings=has(3, 4),
        is_recovery_requested=has(3, 2),
        has_interface_changed=has(3, 1),
        has_alert=has(3, 0),
        polling_delay_s=None if delay is None else delay / 1000,
    )


_ACTIVITIES = {int(activity): activity for activity in Activity}
