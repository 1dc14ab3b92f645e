"""Disks, sensors and processes: what their attributes say, and what is left out."""

import asyncio
import errno

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fakes import ScriptedPort
from probes.fix_probes import (
    assert_keeps_to_its_families,
    by_labels,
    captured_tree,
    values,
)
from storewatchd.core.frames import Frame, Scope
from storewatchd.errors import ProbeAbsent, ProbeFailed, ReadRefused
from storewatchd.probes.base import Probe
from storewatchd.probes.block import (
    BLOCK_FAMILIES,
    BlockProbe,
    ProcessesProbe,
    SensorsProbe,
    parse_block,
    parse_sensors,
    parse_thermal_zones,
)

SATA: dict[str, bytes | int] = {
    "sda/size": b"7814037168\n",
    "sda/ro": b"0\n",
    "sda/stat": b"     100       20     3000      400      500       60     7000      800"
    b"        9     1000     1200       11       12       13     1400\n",
    "sda/device/model": b"ST4000VN008-2DR1\n",
    "sda/device/vendor": b"ATA     \n",
    "sda/device/state": b"running\n",
    "sda/queue/rotational": b"1\n",
}


def look(probe: Probe, row: str, value: object) -> Frame:
    port = ScriptedPort()
    port.readings[(row, "")] = value
    frame = asyncio.run(probe.collect(port, Scope(probe.name)))
    assert_keeps_to_its_families(probe, frame)
    return frame


@pytest.mark.parametrize("probe", [BlockProbe(), SensorsProbe(), ProcessesProbe()])
def test_each_probe_has_one_scope(probe: Probe) -> None:
    assert asyncio.run(probe.discover(ScriptedPort())) == (Scope(probe.name),)


@pytest.mark.parametrize("probe", [BlockProbe(), SensorsProbe(), ProcessesProbe()])
def test_what_cannot_be_read_is_not_seen(probe: Probe) -> None:
    with pytest.raises(ProbeFailed, match="nothing is set"):
        asyncio.run(probe.collect(ScriptedPort(), Scope(probe.name)))


# Disks.


def test_a_virtual_machines_disks_are_seen() -> None:
    frame = look(BlockProbe(), "sys.block", captured_tree("block"))
    assert values(frame, "node_disks") == {(): 1.0}  # vda; loop0 is no disk, zram0 is empty
    assert values(frame, "node_disk_size_bytes") == {
        ("loop0",): 40 * 2**20,
        ("vda",): 256 * 2**30,
    }
    assert values(frame, "node_disk_readonly") == {("loop0",): 1.0, ("vda",): 0.0}
    assert values(frame, "node_disk_info") == {
        ("loop0", "", "", "", "0"): 1.0,
        ("vda", "", "0x1af4", "", "1"): 1.0,
    }


def test_a_disk_is_told_with_what_it_is() -> None:
    rows = parse_block(SATA)
    assert by_labels(rows["node_disk_info"]) == {
        ("sda", "ST4000VN008-2DR1", "ATA", "running", "1"): 1.0
    }
    assert by_labels(rows["node_disk_size_bytes"]) == {("sda",): 4_000_787_030_016}


def test_statistics_are_in_base_units() -> None:
    rows = parse_block(SATA)
    found = {name: rows[name][0].value for name in rows if "total" in name or "now" in name}
    assert found == {
        "node_disk_reads_completed_total": 100,
        "node_disk_read_bytes_total": 3000 * 512,
        "node_disk_read_time_seconds_total": pytest.approx(0.4),
        "node_disk_writes_completed_total": 500,
        "node_disk_written_bytes_total": 7000 * 512,
        "node_disk_write_time_seconds_total": pytest.approx(0.8),
        "node_disk_io_now": 9,
        "node_disk_io_time_seconds_total": pytest.approx(1.0),
        "node_disk_discards_completed_total": 11,
        "node_disk_discards_merged_total": 12,
        "node_disk_discarded_sectors_total": 13,
        "node_disk_discard_time_seconds_total": pytest.approx(1.4),
    }


def test_a_kernel_that_knows_no_discards_tells_none() -> None:
    # Before 4.18 a line has eleven numbers.
    stat = b"100 20 3000 400 500 60 7000 800 9 1000 1200\n"
    rows = parse_block({**SATA, "sda/stat": stat})
    assert by_labels(rows["node_disk_io_time_seconds_total"]) == {("sda",): 1.0}
    assert rows["node_disk_discards_completed_total"] == []


@pytest.mark.parametrize("name", ["loop0", "ram1", "zram0", "nbd2", "fd0", "sr0", "dm-3", "md127"])
def test_what_is_no_disk_of_the_machine_is_told_and_not_counted(name: str) -> None:
    rows = parse_block({f"{name}/size": b"8\n"})
    assert by_labels(rows["node_disks"]) == {(): 0.0}
    assert by_labels(rows["node_disk_size_bytes"]) == {(name,): 4096.0}


@pytest.mark.parametrize("name", ["sda", "nvme0n1", "vda", "xvda", "mmcblk0", "pmem0"])
def test_what_is_a_disk_is_counted(name: str) -> None:
    assert by_labels(parse_block({f"{name}/size": b"8\n"})["node_disks"]) == {(): 1.0}


@pytest.mark.parametrize(
    "size",
    [
        pytest.param(b"0\n", id="zero"),
        pytest.param(b"", id="empty"),
        pytest.param(b"many\n", id="no number"),
        pytest.param(b"--8\n", id="two signs"),
        pytest.param("²".encode(), id="a digit of another kind"),
        pytest.param(-errno.EIO, id="error"),
    ],
)
def test_a_device_without_a_size_holds_nothing(size: bytes | int) -> None:
    rows = parse_block({**SATA, "sda/size": size})
    assert by_labels(rows["node_disks"]) == {(): 0.0}
    assert rows["node_disk_info"] == []


def test_what_an_attribute_does_not_say_is_left_out() -> None:
    rows = parse_block(
        {
            "sda/size": b"8\n",
            "sda/ro": -errno.EIO,
            "sda/stat": b"1 2 x",
            "sda/device/model": -errno.ENXIO,
        }
    )
    assert rows["node_disk_readonly"] == []
    assert by_labels(rows["node_disk_info"]) == {("sda", "", "", "", ""): 1.0}
    assert by_labels(rows["node_disk_reads_completed_total"]) == {("sda",): 1.0}
    assert rows["node_disk_read_bytes_total"] == []
    assert rows["node_disk_writes_completed_total"] == []


def test_no_device_is_no_disk() -> None:
    rows = parse_block({})
    assert by_labels(rows["node_disks"]) == {(): 0.0}
    assert set(rows) == {family.name for family in BLOCK_FAMILIES}


CONTENT = st.binary(max_size=30) | st.integers(-133, -1)


@given(
    changes=st.dictionaries(st.sampled_from(sorted(SATA)), CONTENT, max_size=4),
    cut=st.integers(0, 100),
)
def test_garbled_attributes_harm_nothing(changes: dict[str, bytes | int], cut: int) -> None:
    whole: dict[str, bytes | int] = {**SATA, **changes}
    stat = whole["sda/stat"]
    if isinstance(stat, bytes):
        whole["sda/stat"] = stat[:cut]
    rows = parse_block(whole)
    assert len(rows["node_disks"]) == 1


@given(text=st.text(max_size=30))
def test_garbled_statistics_harm_nothing(text: str) -> None:
    rows = parse_block({"sda/size": b"8", "sda/stat": text.encode(errors="replace")})
    assert by_labels(rows["node_disks"]) == {(): 1.0}


# Sensors.

HWMON: dict[str, bytes | int] = {
    "hwmon0/name": b"coretemp\n",
    "hwmon0/temp1_input": b"41500\n",
    "hwmon0/temp1_label": b"Package id 0\n",
    "hwmon0/temp2_input": -errno.ENODATA,
    "hwmon1/fan1_input": b"1200\n",
    "hwmon1/temp1_input": b"-5000\n",
    "hwmon1/in0_input": b"1024\n",
    "hwmon1/fan1_label": -errno.EIO,
    "hwmon2/name": b"power_meter\n",
    "hwmon2/power1_input": b"182500000\n",
    "hwmon2/power1_average": b"181000000\n",
    "hwmon2/power1_average_interval": b"1000\n",
    "hwmon2/power1_label": b"System\n",
}

ZONES: dict[str, bytes | int] = {
    "cooling_device0/type": b"Processor\n",
    "thermal_zone0/temp": b"27800\n",
    "thermal_zone0/type": b"acpitz\n",
    "thermal_zone1/temp": -errno.ENODATA,
    "thermal_zone1/type": b"iwlwifi_1\n",
    "thermal_zone12/temp": b"-1000\n",
    "thermal_zone12/type": -errno.EIO,
}


def test_sensors_are_told_by_chip_in_base_units() -> None:
    frame = look(SensorsProbe(), "sys.hwmon", HWMON)
    assert values(frame, "node_hwmon_temp_celsius") == {
        ("hwmon0:coretemp", "temp1"): 41.5,
        ("hwmon1", "temp1"): -5.0,
    }
    assert values(frame, "node_hwmon_fan_rpm") == {("hwmon1", "fan1"): 1200.0}
    assert values(frame, "node_hwmon_sensor_label") == {
        ("hwmon0:coretemp", "temp1", "Package id 0"): 1.0,
        ("hwmon2:power_meter", "power1", "System"): 1.0,
    }
    assert values(frame, "node_hwmon_power_watt") == {("hwmon2:power_meter", "power1"): 182.5}
    assert values(frame, "node_hwmon_power_average_watt") == {
        ("hwmon2:power_meter", "power1"): 181.0
    }
    assert values(frame, "node_thermal_zone_temp") == {}


def test_zones_are_asked_for_where_no_chip_tells_a_temperature() -> None:
    port = ScriptedPort()
    port.readings[("sys.hwmon", "")] = {"hwmon1/fan1_input": b"1200\n"}
    port.readings[("sys.thermal", "")] = ZONES
    frame = asyncio.run(SensorsProbe().collect(port, Scope("sensors")))
    assert_keeps_to_its_families(SensorsProbe(), frame)
    assert values(frame, "node_hwmon_fan_rpm") == {("hwmon1", "fan1"): 1200.0}
    assert values(frame, "node_thermal_zone_temp") == {("0", "acpitz"): 27.8, ("12", ""): -1.0}


@pytest.mark.parametrize(
    "attributes",
    [
        pytest.param({}, id="nothing"),
        pytest.param({"hwmon0/name": b"acpi\n"}, id="a chip without sensors"),
    ],
)
def test_a_machine_without_sensors_is_no_failure(attributes: dict[str, bytes | int]) -> None:
    port = ScriptedPort()
    port.readings[("sys.hwmon", "")] = attributes
    port.readings[("sys.thermal", "")] = {"cooling_device0/type": b"Processor\n"}
    with pytest.raises(ProbeAbsent, match="no sensors"):
        asyncio.run(SensorsProbe().collect(port, Scope("sensors")))


@pytest.mark.parametrize("tree", ["sys.hwmon", "sys.thermal"])
def test_sensors_that_may_not_be_read_are_not_absent(tree: str) -> None:
    port = ScriptedPort()
    port.readings |= {("sys.hwmon", ""): {}, ("sys.thermal", ""): {}}
    port.readings[(tree, "")] = {"hwmon0/temp1_input": -errno.EACCES}
    with pytest.raises(ReadRefused, match="Permission denied"):
        asyncio.run(SensorsProbe().collect(port, Scope("sensors")))


def test_a_disk_whose_size_may_not_be_read_is_not_left_out() -> None:
    port = ScriptedPort()
    port.readings[("sys.block", "")] = {"sda/size": -errno.EACCES, "sda/stat": b"0"}
    with pytest.raises(ReadRefused, match="sda/size: Permission denied"):
        asyncio.run(BlockProbe().collect(port, Scope("block")))


ODD_NAMES = ("x", "x/", "/_", "x/_input", "", "x/temp1_input_", "thermal_zone/temp")


@given(st.dictionaries(st.sampled_from([*HWMON, *ZONES, *ODD_NAMES]), CONTENT))
def test_garbled_sensors_harm_nothing(attributes: dict[str, bytes | int]) -> None:
    for rows in (*parse_sensors(attributes).values(), parse_thermal_zones(attributes)):
        by_labels(rows)


# Processes.


def test_processes_are_told_by_state_and_the_blocked_by_name() -> None:
    blocked = [{"pid": 7, "comm": "tar", "wchan": "nfs_wait"}]
    value = {"states": {"S": 70, "D": 1}, "blocked": blocked}
    frame = look(ProcessesProbe(), "proc.states", value)
    assert values(frame, "node_processes_state") == {("S",): 70.0, ("D",): 1.0}
    assert values(frame, "node_processes_blocked") == {("7", "tar", "nfs_wait"): 1.0}
