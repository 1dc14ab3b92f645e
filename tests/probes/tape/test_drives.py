"""Drives: found by serial number, who holds them, and what they transferred."""

import asyncio
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fakes import ScriptedPort
from probes.fix_probes import assert_keeps_to_its_families, values
from probes.tape.fix_tape import device, library
from storewatchd.core.frames import Frame, Scope
from storewatchd.errors import ProbeAbsent
from storewatchd.probes.tape.devices import parse_devices
from storewatchd.probes.tape.drives import DrivesProbe

SCOPE = Scope("tape_drives", (("drive", "DRV0001"),))
AT = "3:0:1:0"


def port_with(*holders: dict[str, Any], **statistics: int) -> ScriptedPort:
    port = ScriptedPort()
    library("A").tell(port, DRV0001="st0", DRV0002="st1")
    for name, value in statistics.items():
        port.readings["sys.scsi", ""][f"scsi_tape/st0/stats/{name}"] = b"%d\n" % value
    port.readings["scsi.holders", AT] = {"exists": True, "holders": list(holders)}
    return port


def look(port: ScriptedPort) -> Frame:
    probe = DrivesProbe()
    frame = asyncio.run(probe.collect(port, SCOPE))
    assert_keeps_to_its_families(probe, frame)
    return frame


def test_every_drive_is_a_scope_and_no_library_is() -> None:
    assert asyncio.run(DrivesProbe().discover(port_with())) == (
        SCOPE,
        Scope("tape_drives", (("drive", "DRV0002"),)),
    )


def test_a_drive_is_told_with_its_nodes() -> None:
    frame = look(port_with())
    assert values(frame, "tape_drive_up") == {("DRV0001",): 1.0}
    assert values(frame, "tape_drive_info") == {
        ("DRV0001", "ACME", "Tape 9", "1.00", "nst0", "sg4", AT, "running"): 1.0
    }
    assert values(frame, "tape_drive_holder") == {}


def test_who_holds_a_drive_is_told_once() -> None:
    bareos = {"pid": 7, "comm": "bareos-sd", "node": "nst0"}
    frame = look(port_with(bareos, {**bareos, "node": "sg4"}))
    assert values(frame, "tape_drive_holder") == {("DRV0001", "bareos-sd", "7"): 1.0}


def test_statistics_are_in_base_units() -> None:
    frame = look(port_with(in_flight=1, write_byte_cnt=5 << 40, write_ns=1_500_000_000))
    assert values(frame, "node_tape_io_now") == {("DRV0001", "st0"): 1.0}
    assert values(frame, "node_tape_written_bytes_total") == {("DRV0001", "st0"): 5.0 * 2**40}
    assert values(frame, "node_tape_write_time_seconds_total") == {("DRV0001", "st0"): 1.5}
    assert values(frame, "node_tape_read_bytes_total") == {}


def test_a_drive_that_is_gone_is_down() -> None:
    port = port_with()
    probe = DrivesProbe()
    before = asyncio.run(probe.discover(port))
    port.readings["sys.scsi", ""] = {}
    assert asyncio.run(probe.discover(port)) == before
    frame = asyncio.run(probe.collect(port, SCOPE))
    assert values(frame, "tape_drive_up") == {("DRV0001",): 0.0}


def test_a_drive_that_went_away_meanwhile_is_absent() -> None:
    port = port_with()
    port.readings["scsi.holders", AT] = {"exists": False}
    with pytest.raises(ProbeAbsent, match="went away"):
        look(port)


def test_disks_are_no_drives() -> None:
    assert parse_devices(device("0:0:0:0", 0, "DISK", "sg0")) == []


@given(
    content=st.dictionaries(
        st.sampled_from(
            [
                *("scsi_device/1:0:0:0/device/type", "scsi_device/1:0:0:0/device/vpd_pg80"),
                *("scsi_device/1:0:0:0/device/state", "scsi_device/1:0:0:0/device/scsi_tape/st0/"),
                *("scsi_tape/st0/stats/in_flight", "scsi_device/x", "scsi_device/1:0:0:0/device/"),
            ]
        ),
        st.one_of(st.binary(max_size=30), st.just(b"1\n"), st.integers(-100, -1)),
    )
)
def test_garbled_attributes_harm_nothing(content: dict[str, bytes | int]) -> None:
    for found in parse_devices(content):
        assert found.device_type in (1, 8)
        assert all(value >= 0 for value in found.statistics.values())
