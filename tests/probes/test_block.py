"""Disks, sensors and processes: what their attributes say, and what is left out."""

import asyncio
import errno
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fakes import NOON, ScriptedPort
from probes.fix_probes import (
    assert_keeps_to_its_families,
    by_labels,
    captured_tree,
    values,
)
from storewatchd.core.frames import Found, Frame, ObjectKind, Outcome, Scope
from storewatchd.core.series import SeriesTable
from storewatchd.errors import ProbeAbsent, ProbeFailed, ReadRefused
from storewatchd.probes.base import Probe
from storewatchd.probes.block import (
    BLOCK_FAMILIES,
    BlockProbe,
    ProcessesProbe,
    SensorsProbe,
    ThermalProbe,
    parse_block,
    parse_chips,
    parse_sensors,
    parse_zone,
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

CHIP = Scope("sensors", (("chip", "hwmon0:coretemp"),))
ZONE = Scope("thermal", (("zone", "12"),))


def look(probe: Probe, row: str, value: object) -> Frame:
    port = ScriptedPort()
    port.readings[(row, "")] = value
    frame = asyncio.run(probe.collect(port, Scope(probe.name)))
    assert_keeps_to_its_families(probe, frame)
    return frame


@pytest.mark.parametrize("probe", [BlockProbe(), ProcessesProbe()])
def test_each_probe_has_one_scope(probe: Probe) -> None:
    assert asyncio.run(probe.discover(ScriptedPort())) == (Scope(probe.name),)


@pytest.mark.parametrize(
    ("probe", "scope"),
    [
        pytest.param(BlockProbe(), Scope("block"), id="block"),
        pytest.param(SensorsProbe(), CHIP, id="sensors"),
        pytest.param(ThermalProbe(), ZONE, id="thermal"),
        pytest.param(ProcessesProbe(), Scope("processes"), id="processes"),
    ],
)
def test_what_cannot_be_read_is_not_seen(probe: Probe, scope: Scope) -> None:
    with pytest.raises(ProbeFailed, match="nothing is set"):
        asyncio.run(probe.collect(ScriptedPort(), scope))


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


def test_a_disk_that_could_be_read_and_cannot_be_now_is_no_disk_without_numbers() -> None:
    probe, port = BlockProbe(), ScriptedPort()
    port.readings[("sys.block", "")] = {**SATA, "sda/ro": -errno.EIO}
    asyncio.run(probe.collect(port, Scope("block")))
    port.readings[("sys.block", "")] = {**SATA, "sda/ro": -errno.EIO, "sda/stat": -errno.EIO}
    with pytest.raises(ReadRefused, match="sda/stat: Input/output error"):
        asyncio.run(probe.collect(port, Scope("block")))


# Sensors.

CHIPS: dict[str, bytes | int] = {
    "hwmon0/": b"",
    "hwmon0/name": b"coretemp\n",
    "hwmon1/": b"",
    "hwmon2/": b"",
    "hwmon2/name": -errno.EIO,
    "hwmon10/": -errno.EACCES,
}

CORETEMP: dict[str, bytes | int] = {
    "name": b"coretemp\n",
    "temp1_input": b"41500\n",
    "temp1_label": b"Package id 0\n",
    "temp2_input": -errno.ENODATA,
    "temp3_input": b"-5000\n",
    "fan1_input": b"1200\n",
    "fan1_label": -errno.EIO,
    "in0_input": b"1024\n",
    "power1_input": b"182500000\n",
    "power1_average": b"181000000\n",
    "power1_average_interval": b"1000\n",
}

ZONE_12: dict[str, bytes | int] = {"type": b"acpitz\n", "temp": b"27800\n"}


def scopes(probe: Probe, row: str, attributes: dict[str, bytes | int]) -> list[Scope]:
    port = ScriptedPort()
    port.readings[(row, "")] = attributes
    return list(asyncio.run(probe.discover(port)))


def look_at_chip(probe: Probe, attributes: dict[str, bytes | int]) -> Frame:
    port = ScriptedPort()
    port.readings[("sys.hwmon.chip", "hwmon0")] = attributes
    frame = asyncio.run(probe.collect(port, CHIP))
    assert_keeps_to_its_families(probe, frame)
    return frame


def look_at_zone(probe: Probe, attributes: dict[str, bytes | int]) -> Frame:
    port = ScriptedPort()
    port.readings[("sys.thermal.zone", "thermal_zone12")] = attributes
    frame = asyncio.run(probe.collect(port, ZONE))
    assert_keeps_to_its_families(probe, frame)
    return frame


def test_each_chip_is_a_scope_of_its_own() -> None:
    chips = [dict(one.labels)["chip"] for one in scopes(SensorsProbe(), "sys.hwmon", CHIPS)]
    assert chips == ["hwmon0:coretemp", "hwmon1", "hwmon2", "hwmon10"]


def test_each_zone_is_a_scope_of_its_own() -> None:
    found: dict[str, bytes | int] = {"thermal_zone0/": b"", "thermal_zone12/": b""}
    zones = [dict(one.labels)["zone"] for one in scopes(ThermalProbe(), "sys.thermal", found)]
    assert zones == ["0", "12"]


def test_sensors_are_told_by_chip_in_base_units() -> None:
    frame = look_at_chip(SensorsProbe(), CORETEMP)
    chip = "hwmon0:coretemp"
    assert values(frame, "node_hwmon_temp_celsius") == {(chip, "temp1"): 41.5, (chip, "temp3"): -5}
    assert values(frame, "node_hwmon_fan_rpm") == {(chip, "fan1"): 1200.0}
    assert values(frame, "node_hwmon_sensor_label") == {(chip, "temp1", "Package id 0"): 1.0}
    assert values(frame, "node_hwmon_power_watt") == {(chip, "power1"): 182.5}
    assert values(frame, "node_hwmon_power_average_watt") == {(chip, "power1"): 181.0}


def test_zones_are_told_in_degrees() -> None:
    frame = look_at_zone(ThermalProbe(), ZONE_12)
    assert values(frame, "node_thermal_zone_temp") == {("12", "acpitz"): 27.8}
    frame = look_at_zone(ThermalProbe(), {"type": -errno.EIO, "temp": b"-1000\n"})
    assert values(frame, "node_thermal_zone_temp") == {("12", ""): -1.0}


@pytest.mark.parametrize("code", [errno.EIO, errno.EAGAIN, errno.ENODATA, errno.ENXIO])
def test_a_sensor_that_could_be_read_and_cannot_be_now_blinds_its_chip(code: int) -> None:
    probe = SensorsProbe()
    look_at_chip(probe, CORETEMP)
    with pytest.raises(ReadRefused, match="temp1_input"):
        look_at_chip(probe, {**CORETEMP, "temp1_input": -code})
    assert look_at_chip(probe, CORETEMP).rows["node_hwmon_temp_celsius"]


def test_a_zone_that_could_be_read_and_cannot_be_now_is_not_seen() -> None:
    probe = ThermalProbe()
    look_at_zone(probe, ZONE_12)
    with pytest.raises(ReadRefused, match="temp: Resource temporarily unavailable"):
        look_at_zone(probe, {**ZONE_12, "temp": -errno.EAGAIN})


def test_what_never_could_be_read_is_quiet() -> None:
    frame = look_at_chip(SensorsProbe(), {"name": b"iwlwifi_1\n", "temp1_input": -errno.ENODATA})
    assert values(frame, "node_hwmon_temp_celsius") == {}
    frame = look_at_zone(ThermalProbe(), {**ZONE_12, "temp": -errno.ENODATA})
    assert values(frame, "node_thermal_zone_temp") == {}


def test_a_sensor_that_is_gone_is_surely_not_there() -> None:
    probe = SensorsProbe()
    look_at_chip(probe, CORETEMP)
    frame = look_at_chip(probe, {"name": b"coretemp\n", "fan1_input": b"1\n"})
    assert values(frame, "node_hwmon_temp_celsius") == {}


def test_what_was_known_of_a_chip_that_went_is_forgotten() -> None:
    probe = SensorsProbe()
    look_at_chip(probe, CORETEMP)
    assert scopes(probe, "sys.hwmon", {}) == []
    look_at_chip(probe, {**CORETEMP, "temp1_input": -errno.EIO})


def test_a_chip_or_zone_that_went_is_absent() -> None:
    with pytest.raises(ProbeAbsent, match="there is no hwmon0:coretemp any more"):
        look_at_chip(SensorsProbe(), {})
    with pytest.raises(ProbeAbsent, match="there is no zone 12 any more"):
        look_at_zone(ThermalProbe(), {})


def test_sensors_that_may_not_be_read_are_not_absent() -> None:
    with pytest.raises(ReadRefused, match="Permission denied"):
        look_at_chip(SensorsProbe(), {"name": b"x\n", "temp1_input": -errno.EACCES})
    with pytest.raises(ReadRefused, match="Permission denied"):
        look_at_zone(ThermalProbe(), {"type": b"x\n", "temp": -errno.EACCES})


def test_of_a_sensor_that_falls_silent_nothing_is_known() -> None:
    table, probe, port = SeriesTable(), SensorsProbe(), ScriptedPort()
    table.declare(probe.name, probe.families, max_age_s=150)
    table.expect(probe.name, (CHIP,))
    port.readings[("sys.hwmon.chip", "hwmon0")] = {**CORETEMP, "temp1_input": b"99000\n"}
    table.feed(replace(asyncio.run(probe.collect(port, CHIP)), at=NOON))
    port.readings[("sys.hwmon.chip", "hwmon0")] = {**CORETEMP, "temp1_input": -errno.EIO}
    with pytest.raises(ReadRefused) as refused:
        asyncio.run(probe.collect(port, CHIP))
    table.feed(Frame(CHIP, NOON + 30, Outcome.FAILED, reason=str(refused.value)))
    hot, *_ = table.read("node_hwmon_temp_celsius", NOON + 30)
    assert (hot.labels["sensor"], hot.value, hot.exact) == ("temp1", 99.0, False)


def test_a_disk_whose_size_may_not_be_read_is_not_left_out() -> None:
    port = ScriptedPort()
    port.readings[("sys.block", "")] = {"sda/size": -errno.EACCES, "sda/stat": b"0"}
    with pytest.raises(ReadRefused, match="sda/size: Permission denied"):
        asyncio.run(BlockProbe().collect(port, Scope("block")))


ODD_NAMES = ("/", "_", "_input", "", "temp1_input_", "x/", "type", "temp")


@given(st.dictionaries(st.sampled_from([*CORETEMP, *ODD_NAMES]), CONTENT))
def test_garbled_sensors_harm_nothing(attributes: dict[str, bytes | int]) -> None:
    for rows in (*parse_sensors("c", attributes).values(), parse_zone("0", attributes)):
        by_labels(rows)
    parse_chips(attributes)


# Processes.


def test_processes_are_told_by_state_and_the_blocked_by_name() -> None:
    blocked = [{"pid": 7, "comm": "tar", "wchan": "nfs_wait"}]
    value = {"states": {"S": 70, "D": 1}, "blocked": blocked}
    frame = look(ProcessesProbe(), "proc.states", value)
    assert values(frame, "node_processes_state") == {("S",): 70.0, ("D",): 1.0}
    assert values(frame, "node_processes_blocked") == {("7", "tar", "nfs_wait"): 1.0}


# The inventory.


def test_a_disk_is_told_by_what_stays_its_own() -> None:
    tree = {
        **SATA,
        "sda/device/wwid": b"naa.5000c500a1b2c3d4\n",
        "nvme0n1/size": b"8\n",
        "nvme0n1/wwid": b"eui.0025385b11\n",
        "vda/size": b"16\n",
        "vda/serial": b"disk-7\n",
    }
    found = look(BlockProbe(), "sys.block", tree).objects
    assert found == (
        Found(
            ObjectKind.DISK,
            "naa.5000c500a1b2c3d4",
            {
                "device": "sda",
                "model": "ST4000VN008-2DR1",
                "vendor": "ATA",
                "size_bytes": "4000787030016",
            },
        ),
        Found(ObjectKind.DISK, "eui.0025385b11", {"device": "nvme0n1", "size_bytes": "4096"}),
        Found(ObjectKind.DISK, "disk-7", {"device": "vda", "size_bytes": "8192"}),
    )


@pytest.mark.parametrize(
    "tree",
    [
        pytest.param(SATA, id="nothing is its own"),
        pytest.param({"sda/size": b"0\n", "sda/wwid": b"naa.1\n"}, id="it holds nothing"),
        pytest.param({"loop0/size": b"8\n", "loop0/serial": b"x\n"}, id="no disk"),
        pytest.param({"sda/size": b"8\n", "sda/wwid": -errno.ENXIO}, id="it does not tell"),
    ],
)
def test_what_cannot_be_told_apart_is_not_told(tree: dict[str, bytes | int]) -> None:
    assert look(BlockProbe(), "sys.block", tree).objects == ()
