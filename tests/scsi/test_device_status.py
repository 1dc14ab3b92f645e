"""What a tape drive is doing now: log page 11h."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scsi.fix_captures import answer
from scsi.fix_logs import log_page, parameter
from storewatchd.errors import Malformed
from storewatchd.scsi.device_status import Activity, DeviceStatus, parse_device_status

LOADED = parse_device_status(answer("logs/emulated-11"))


def status(*content: int) -> DeviceStatus:
    return parse_device_status(log_page(0x11, parameter(0, bytes(content))))


def claims(device: DeviceStatus) -> set[str]:
    names = DeviceStatus.__slots__
    return {name for name in names if getattr(device, name) is True}


def test_the_emulated_drive_is_loaded_and_idle() -> None:
    # sg_logs: CMPR DINIT INXTN MPRSNT MSTD MTHRD MOUNTED, "No DT device activity", 100 ms.
    assert claims(LOADED) == {
        "is_compressing",
        "is_initialized",
        "is_in_transition",
        "is_medium_present",
        "is_medium_seated",
        "is_medium_threaded",
        "is_mounted",
    }
    assert (LOADED.activity, LOADED.polling_delay_s) == (Activity.IDLE, 0.1)


def test_an_empty_drive_has_no_medium() -> None:
    device = parse_device_status(answer("logs/emulated-empty-11"))
    assert not device.is_medium_present
    assert not device.is_mounted


def test_a_drive_of_mhvtl_is_writing() -> None:
    # sg_logs: MACC CMPR DINIT RAA MPRSNT MSTD MTHRD MOUNTED, "Writing to medium".
    device = status(0x31, 0x37, 0x06, 0x00)
    assert claims(device) == {
        "is_medium_accessible",
        "is_compressing",
        "is_initialized",
        "is_robot_access_allowed",
        "is_medium_present",
        "is_medium_seated",
        "is_medium_threaded",
        "is_mounted",
    }
    assert device.activity is Activity.WRITING
    assert device.polling_delay_s is None


@pytest.mark.parametrize(
    ("byte", "bit", "claim"),
    [
        (0, 7, "is_removal_prevented"),
        (0, 6, "is_host_initiated_unload"),
        (0, 3, "is_write_protected"),
        (0, 2, "is_cleaning_requested"),
        (0, 1, "is_cleaning_required"),
        (3, 4, "has_encryption_settings"),
        (3, 2, "is_recovery_requested"),
        (3, 1, "has_interface_changed"),
        (3, 0, "has_alert"),
    ],
)
def test_each_bit_is_one_claim(byte: int, bit: int, claim: str) -> None:
    content = [0, 0, 0, 0]
    content[byte] = 1 << bit
    assert claims(status(*content)) == {claim}


def test_an_activity_that_t10_does_not_know_is_none() -> None:
    assert status(0, 0, 0x11, 0).activity is None
    assert Activity.UPDATING_MICROCODE.words == "updating microcode"


@pytest.mark.parametrize(
    "raw",
    [
        log_page(0x11, parameter(1, (100, 2))),
        log_page(0x11, parameter(0, b"\1\2\3")),
        log_page(0x14, parameter(0, bytes([1, 0, 0, 0]))),
    ],
)
def test_a_page_without_the_status_is_malformed(raw: bytes) -> None:
    with pytest.raises(Malformed):
        parse_device_status(raw)


@given(st.binary(max_size=40))
def test_garbage_is_malformed_or_of_its_page(raw: bytes) -> None:
    try:
        parse_device_status(raw)
    except Malformed:
        return
    assert raw[0] & 0x3F == 0x11
