"""Facts that never block: psutil's and the kernel's own numbers under /proc.

Each fact is a function of nothing, by name, so that it can be recorded and replayed.
"""

import os
import resource
import socket
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import psutil

from storewatchd.clock import Clock


def _text(path: str) -> str | None:
    """Return a small file of /proc, None where this kernel has none or keeps it from us."""
    try:
        return Path(path).read_text(errors="replace")
    except OSError:
        return None


def _cpu_times() -> list[dict[str, float]]:
    return [times._asdict() for times in psutil.cpu_times(percpu=True)]


def _network() -> dict[str, dict[str, Any]]:
    counters = psutil.net_io_counters(pernic=True, nowrap=False) or {}
    states = psutil.net_if_stats()
    return {
        name: {
            **counters[name]._asdict(),
            "isup": states[name].isup if name in states else False,
            "speed": states[name].speed if name in states else 0,
        }
        for name in counters
    }


def _process() -> dict[str, float]:
    """Return what the daemon itself takes of the machine."""
    process = psutil.Process()
    with process.oneshot():
        cpu, memory = process.cpu_times(), process.memory_info()
        return {
            "cpu_seconds": cpu.user + cpu.system,
            "resident_bytes": memory.rss,
            "virtual_bytes": memory.vms,
            "open_fds": process.num_fds(),
            "max_fds": resource.getrlimit(resource.RLIMIT_NOFILE)[0],
            "threads": process.num_threads(),
            "start_time": process.create_time(),
        }


FACTS: Mapping[str, Callable[[], Any]] = {
    "cpu_times": _cpu_times,
    "boot_time": psutil.boot_time,
    "load": os.getloadavg,
    "meminfo": lambda: _text("/proc/meminfo"),
    "vmstat": lambda: _text("/proc/vmstat"),
    "pressure_cpu": lambda: _text("/proc/pressure/cpu"),
    "pressure_irq": lambda: _text("/proc/pressure/irq"),
    "pressure_io": lambda: _text("/proc/pressure/io"),
    "pressure_memory": lambda: _text("/proc/pressure/memory"),
    "file_nr": lambda: _text("/proc/sys/fs/file-nr"),
    "network": _network,
    "process": _process,
    "host_name": socket.gethostname,
    "time": lambda: Clock().wall(),
}


def fact(name: str) -> Any:
    """Return a fact by name."""
    return FACTS[name]()
