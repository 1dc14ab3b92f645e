"""The machine itself: what the kernel's texts say, and what is left out where they do not."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fakes import NOON, ScriptedPort
from probes.fix_probes import assert_keeps_to_its_families, by_labels, captured, values
from storewatchd.core.frames import Frame
from storewatchd.errors import ProbeFailed
from storewatchd.port import host
from storewatchd.probes.system import (
    SCOPE,
    SystemProbe,
    parse_cpu,
    parse_file_nr,
    parse_meminfo,
    parse_network,
    parse_pressure,
    parse_vmstat,
)

KIB = 1024.0


def interface(**changes: Any) -> dict[str, Any]:
    counters = {
        "bytes_recv": 1,
        "bytes_sent": 2,
        "packets_recv": 3,
        "packets_sent": 4,
        "errin": 5,
        "errout": 6,
        "dropin": 7,
        "dropout": 8,
    }
    return {**counters, "isup": True, "speed": 1000, **changes}


@pytest.fixture
def port() -> ScriptedPort:
    port = ScriptedPort()
    port.facts = {
        "cpu_times": [{"user": 10.0, "system": 5.0, "idle": 80.0, "iowait": 5.0, "guest": 1.0}],
        "load": (0.5, 0.25, 0.125),
        "meminfo": captured("meminfo"),
        "vmstat": captured("vmstat"),
        "pressure_cpu": captured("pressure-cpu"),
        "pressure_io": captured("pressure-io"),
        "pressure_irq": "full avg10=0.00 avg60=0.00 avg300=0.00 total=1500000\n",
        "pressure_memory": captured("pressure-memory"),
        "file_nr": captured("file-nr"),
        "network": {"lo": interface(), "eth0": interface()},
        "boot_time": NOON - 3600,
        "time": NOON,
    }
    return port


def look(port: ScriptedPort, probe: SystemProbe | None = None) -> Frame:
    return asyncio.run((probe or SystemProbe()).collect(port, SCOPE))


def only(frame: Frame, family: str) -> float:
    ((labels, value),) = values(frame, family).items()
    assert labels == ()
    return value


# Looks.


def test_there_is_one_scope() -> None:
    assert asyncio.run(SystemProbe().discover(ScriptedPort())) == (SCOPE,)


def test_a_look_sees_every_family(port: ScriptedPort) -> None:
    frame = look(port)
    assert_keeps_to_its_families(SystemProbe(), frame)
    assert set(frame.rows) == {family.name for family in SystemProbe.families}
    missing = {name for name, rows in frame.rows.items() if not rows}
    not_in_this_kernel = ("HardwareCorrupted", "CmaTotal", "CmaFree")
    assert missing == {
        "node_cpu_usage_ratio",  # it takes two looks
        *(f"node_memory_{name}_bytes" for name in not_in_this_kernel),
    }


def test_a_look_says_what_the_machine_says(port: ScriptedPort) -> None:
    frame = look(port)
    assert [only(frame, f"node_load{n}") for n in (1, 5, 15)] == [0.5, 0.25, 0.125]
    assert only(frame, "node_memory_MemTotal_bytes") == 24_684_092 * KIB
    assert only(frame, "node_memory_SwapTotal_bytes") == 0
    assert only(frame, "node_memory_Active_anon_bytes") == 26_996 * KIB
    assert only(frame, "node_memory_DirectMap1G_bytes") == 25_165_824 * KIB
    assert only(frame, "node_memory_HugePages_Total") == 0
    assert only(frame, "node_vmstat_pgmajfault") == MAJOR_FAULTS
    assert only(frame, "node_pressure_cpu_waiting_seconds_total") == CPU_WAITED_S
    assert only(frame, "node_pressure_cpu_stalled_seconds_total") == 0
    assert only(frame, "node_pressure_irq_stalled_seconds_total") == 1.5
    assert only(frame, "node_filefd_maximum") == 2_466_177
    assert only(frame, "node_boot_time_seconds") == NOON - 3600
    assert only(frame, "node_time_seconds") == NOON


def test_this_machine_is_seen() -> None:
    port = ScriptedPort()
    port.facts = {name: read() for name, read in host.FACTS.items()}
    frame = look(port)
    assert_keeps_to_its_families(SystemProbe(), frame)
    assert only(frame, "node_memory_MemTotal_bytes") > 0


@pytest.mark.parametrize(
    ("fact", "families"),
    [
        pytest.param("vmstat", ["node_vmstat_oom_kill"], id="vmstat"),
        pytest.param(
            "pressure_io",
            ["node_pressure_io_waiting_seconds_total", "node_pressure_io_stalled_seconds_total"],
            id="pressure",
        ),
        pytest.param("pressure_irq", ["node_pressure_irq_stalled_seconds_total"], id="interrupts"),
        pytest.param("file_nr", ["node_filefd_allocated", "node_filefd_maximum"], id="files"),
    ],
)
def test_what_this_kernel_lacks_is_left_out(
    port: ScriptedPort, fact: str, families: list[str]
) -> None:
    port.facts[fact] = None
    frame = look(port)
    assert [frame.rows[name] for name in families] == [[] for _ in families]
    assert only(frame, "node_load1") == 0.5


@pytest.mark.parametrize("text", [None, "", "MemFree: 7 kB\n"], ids=["none", "empty", "another"])
def test_without_memory_nothing_was_seen(port: ScriptedPort, text: str | None) -> None:
    port.facts["meminfo"] = text
    with pytest.raises(ProbeFailed, match="says nothing of MemTotal"):
        look(port)


@pytest.mark.parametrize(
    ("then", "ratio"),
    [
        pytest.param({"user": 16.0, "idle": 84.0}, 0.6, id="busy and idle"),
        pytest.param({"user": 10.0, "idle": 95.0, "iowait": 10.0}, 0.0, id="waiting is idle"),
        pytest.param({"user": 20.0, "guest": 10.0}, 1.0, id="a guest counts once"),
        pytest.param({"user": 20.0, "idle": 70.0}, None, id="no time passed"),
        pytest.param({"user": 20.0, "idle": 75.0}, 1.0, id="idle time went back"),
        pytest.param({"user": 5.0, "idle": 100.0}, 0.0, id="busy time went back"),
    ],
)
def test_usage_is_the_busy_share_since_the_last_look(
    port: ScriptedPort, then: dict[str, float], ratio: float | None
) -> None:
    probe = SystemProbe()
    port.facts["cpu_times"] = [{"user": 10.0, "idle": 80.0, "iowait": 5.0, "guest": 0.0}]
    assert look(port, probe).rows["node_cpu_usage_ratio"] == []
    port.facts["cpu_times"] = [{"user": 10.0, "idle": 80.0, "iowait": 5.0, "guest": 0.0, **then}]
    found = values(look(port, probe), "node_cpu_usage_ratio")
    assert found == ({} if ratio is None else {(): pytest.approx(ratio)})


# Parsers. The numbers are read off the captured texts by eye.

MAJOR_FAULTS = 1555.0
CPU_WAITED_S = 49.232245


def test_times_are_told_by_cpu_and_mode_without_guests() -> None:
    times = [{"user": 1.5, "guest": 1.0}, {"user": 2.5, "guest_nice": 1.0, "steal": 0.5}]
    assert by_labels(parse_cpu(times)) == {
        ("0", "user"): 1.5,
        ("1", "user"): 2.5,
        ("1", "steal"): 0.5,
    }


def test_memory_is_in_bytes() -> None:
    memory = parse_meminfo(captured("meminfo"))
    assert memory["MemAvailable"] == 23_987_172 * KIB
    assert memory["VmallocTotal"] == 34_359_738_367 * KIB
    assert memory["Hugepagesize"] == 2048 * KIB


def test_what_has_no_unit_is_a_count() -> None:
    assert parse_meminfo("HugePages_Total:      16\n") == {"HugePages_Total": 16}


def test_every_line_of_memory_is_told(port: ScriptedPort) -> None:
    frame = look(port)
    told = [name for name, rows in frame.rows.items() if name.startswith("node_memory_") and rows]
    assert len(told) == len(captured("meminfo").splitlines())


def test_a_line_of_pressure_is_its_total() -> None:
    assert parse_pressure(captured("pressure-cpu")) == {"some": CPU_WAITED_S, "full": 0.0}
    # Kernels before 5.13 have no second line for the CPU.
    assert parse_pressure("some avg10=0.00 avg60=0.00 avg300=0.00 total=5\n") == {"some": 5e-6}


@pytest.mark.parametrize(
    ("text", "found"),
    [
        pytest.param("963\t0\t2466177\n", (963.0, 2466177.0), id="whole"),
        pytest.param("963\t0\t", (None, None), id="cut"),
        pytest.param("", (None, None), id="nothing"),
    ],
)
def test_file_descriptions_are_told_both_or_not(
    text: str, found: tuple[float | None, float | None]
) -> None:
    assert parse_file_nr(text) == found


def test_every_interface_but_the_loopback_is_told() -> None:
    rows = parse_network({"lo": interface(), "eth0": interface(), "wan": interface(isup=False)})
    assert by_labels(rows["node_network_receive_bytes_total"]) == {("eth0",): 1, ("wan",): 1}
    assert by_labels(rows["node_network_transmit_drop_total"]) == {("eth0",): 8, ("wan",): 8}
    assert by_labels(rows["node_network_up"]) == {("eth0",): 1.0, ("wan",): 0.0}


@pytest.mark.parametrize("speed", [0, -1])
def test_a_speed_that_the_driver_does_not_say_is_left_out(speed: int) -> None:
    rows = parse_network({"eth0": interface(), "tap0": interface(speed=speed)})
    assert by_labels(rows["node_network_speed_bytes"]) == {("eth0",): 125e6}


def test_no_interface_is_no_row() -> None:
    assert parse_network({"lo": interface()}) == {}


PARSERS = pytest.mark.parametrize(
    ("parse", "whole"),
    [
        pytest.param(parse_meminfo, captured("meminfo"), id="meminfo"),
        pytest.param(parse_vmstat, captured("vmstat"), id="vmstat"),
        pytest.param(parse_pressure, captured("pressure-io"), id="pressure"),
    ],
)


@PARSERS
@given(data=st.data())
def test_a_truncated_text_says_no_more_than_the_whole(
    parse: Callable[[str], dict[str, float]], whole: str, data: st.DataObject
) -> None:
    cut = whole[: data.draw(st.integers(0, len(whole)))]
    complete = cut[: cut.rfind("\n") + 1]
    full, found = parse(whole), parse(complete)
    assert found.items() <= full.items()
    assert parse(cut).keys() <= full.keys()


@PARSERS
@given(garbage=st.text())
def test_garbage_says_nothing_and_harms_nothing(
    parse: Callable[[str], dict[str, float]], whole: str, garbage: str
) -> None:
    for value in parse(garbage).values():
        assert value >= 0


@given(digits=st.text("0123456789", min_size=300, max_size=5000))
def test_numbers_beyond_all_bounds_harm_nothing(digits: str) -> None:
    assert parse_meminfo(f"MemTotal: {digits} kB\n").keys() == {"MemTotal"}
    assert parse_vmstat(f"oom_kill {digits}\n").keys() == {"oom_kill"}
    assert parse_pressure(f"some avg10=0.00 total={digits}\n").keys() == {"some"}
    assert parse_file_nr(f"{digits}\t0\t{digits}\n") != (None, None)
