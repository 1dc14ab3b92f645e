"""Facts of this host: each has its shape, and what this kernel lacks is None."""

import json
import socket
from pathlib import Path
from typing import Any

import pytest

from storewatchd.port import host
from storewatchd.port.host import FACTS, fact


@pytest.mark.parametrize("name", FACTS)
def test_a_fact_can_be_recorded(name: str) -> None:
    value: Any = fact(name)
    assert json.loads(json.dumps(value)) == (list(value) if isinstance(value, tuple) else value)


def test_every_cpu_has_its_times() -> None:
    cpus = fact("cpu_times")
    assert len(cpus) >= 1
    for times in cpus:
        assert {"user", "system", "idle", "iowait"} <= times.keys()


def test_memory_is_the_kernels_own_text() -> None:
    assert fact("meminfo").startswith("MemTotal:")


def test_every_interface_has_counters_and_a_state() -> None:
    interfaces = fact("network")
    assert "lo" in interfaces
    for facts in interfaces.values():
        assert {"bytes_recv", "bytes_sent", "errin", "dropout", "isup", "speed"} <= facts.keys()


def test_the_host_is_named() -> None:
    assert fact("host_name") == socket.gethostname()


def test_the_machine_booted_before_now() -> None:
    assert 0 < fact("boot_time") < fact("time")


def test_a_file_that_this_kernel_does_not_have_is_none(tmp_path: Path) -> None:
    assert host._text(str(tmp_path / "pressure")) is None


def test_text_that_is_none_is_still_read(tmp_path: Path) -> None:
    (tmp_path / "odd").write_bytes(b"a\xffb")
    assert host._text(str(tmp_path / "odd")) == "a\ufffdb"


def test_an_unknown_fact_is_a_mistake_of_the_asker() -> None:
    with pytest.raises(KeyError):
        fact("weather")


def test_the_process_tells_what_it_takes() -> None:
    process = fact("process")
    assert process["resident_bytes"] <= process["virtual_bytes"]
    assert 0 < process["open_fds"] <= process["max_fds"]
    assert process["threads"] >= 1
    assert 0 < process["start_time"] <= fact("time")
