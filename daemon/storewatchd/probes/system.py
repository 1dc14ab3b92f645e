"""The machine itself: CPU, memory, load, pressure, network, boot time; node_exporter's names."""

import re
from collections.abc import Iterable, Mapping
from typing import Any

from storewatchd.core.frames import Frame, Row, Scope
from storewatchd.errors import ProbeFailed
from storewatchd.port import Port
from storewatchd.probes.base import counter, gauge, seen

NAME = "system"
SCOPE = Scope(NAME)

# Documentation/filesystems/proc.rst; a kernel has those that it is built for.
_MEMORY = (
    *("MemTotal", "MemFree", "MemAvailable", "Buffers", "Cached", "SwapCached"),
    *("Active", "Inactive", "Active(anon)", "Inactive(anon)", "Active(file)", "Inactive(file)"),
    *("Unevictable", "Mlocked", "SwapTotal", "SwapFree", "Zswap", "Zswapped"),
    *("Dirty", "Writeback", "AnonPages", "Mapped", "Shmem"),
    *("KReclaimable", "Slab", "SReclaimable", "SUnreclaim", "KernelStack"),
    *("PageTables", "SecPageTables", "NFS_Unstable", "Bounce", "WritebackTmp"),
    *("CommitLimit", "Committed_AS", "VmallocTotal", "VmallocUsed", "VmallocChunk", "Percpu"),
    *("HardwareCorrupted", "AnonHugePages", "ShmemHugePages", "ShmemPmdMapped"),
    *("FileHugePages", "FilePmdMapped", "CmaTotal", "CmaFree", "Balloon"),
    *("Hugepagesize", "Hugetlb", "DirectMap4k", "DirectMap2M", "DirectMap1G"),
)
_HUGE_PAGES = ("HugePages_Total", "HugePages_Free", "HugePages_Rsvd", "HugePages_Surp")
# Interrupts hold up whoever runs, so that the kernel tells of them only as a stall of all.
_PRESSURE = (
    *((resource, kind) for resource in ("cpu", "io", "memory") for kind in ("some", "full")),
    ("irq", "full"),
)
_STALLS = {"some": ("waiting", "some task"), "full": ("stalled", "every task")}
_VMSTAT = ("pgmajfault", "oom_kill", "pswpin", "pswpout")
_NETWORK = {
    "bytes_recv": "receive_bytes",
    "bytes_sent": "transmit_bytes",
    "packets_recv": "receive_packets",
    "packets_sent": "transmit_packets",
    "errin": "receive_errs",
    "errout": "transmit_errs",
    "dropin": "receive_drop",
    "dropout": "transmit_drop",
}


def _memory_family(name: str) -> str:
    """Return the name of a line of /proc/meminfo as node_exporter has it."""
    return f"node_memory_{name.replace('(', '_').replace(')', '')}_bytes"


def _pressure_family(resource: str, line: str) -> str:
    return f"node_pressure_{resource}_{_STALLS[line][0]}_seconds_total"


FAMILIES = (
    counter("node_cpu_seconds_total", "Seconds of each CPU by mode.", "cpu", "mode"),
    gauge("node_cpu_usage_ratio", "Busy share of all CPUs since the last look."),
    gauge("node_load1", "Load average over 1 minute."),
    gauge("node_load5", "Load average over 5 minutes."),
    gauge("node_load15", "Load average over 15 minutes."),
    *(gauge(_memory_family(name), f"{name} of /proc/meminfo.") for name in _MEMORY),
    *(gauge(f"node_memory_{name}", f"{name} of /proc/meminfo.") for name in _HUGE_PAGES),
    *(counter(f"node_vmstat_{name}", f"{name} of /proc/vmstat.") for name in _VMSTAT),
    *(
        counter(
            _pressure_family(resource, line),
            f"Time in which {_STALLS[line][1]} waited for {resource}.",
        )
        for resource, line in _PRESSURE
    ),
    *(
        counter(f"node_network_{name}_total", f"{name} of each interface.", "device")
        for name in _NETWORK.values()
    ),
    gauge("node_network_up", "Whether an interface is up.", "device"),
    gauge("node_network_speed_bytes", "Link speed, bytes a second.", "device"),
    gauge("node_filefd_allocated", "Open file descriptions."),
    gauge("node_filefd_maximum", "The limit of open file descriptions."),
    gauge("node_boot_time_seconds", "When the machine booted.", unit="seconds"),
    gauge("node_time_seconds", "The machine's clock.", unit="seconds"),
)


class SystemProbe:
    """Looks at what never blocks. It remembers CPU times to tell the share since the last look."""

    name = NAME
    families = FAMILIES

    def __init__(self) -> None:
        self._cpu: tuple[float, float] | None = None

    async def discover(self, port: Port) -> tuple[Scope, ...]:
        return (SCOPE,)

    async def collect(self, port: Port, scope: Scope) -> Frame:
        rows: dict[str, list[Row]] = {}
        cpus = port.host("cpu_times")
        rows["node_cpu_seconds_total"] = parse_cpu(cpus)
        rows["node_cpu_usage_ratio"] = self._usage(cpus)
        for name, value in zip(("1", "5", "15"), port.host("load"), strict=True):
            rows[f"node_load{name}"] = [Row((), value)]
        memory = parse_meminfo(port.host("meminfo") or "")
        if "MemTotal" not in memory:
            raise ProbeFailed("/proc/meminfo says nothing of MemTotal")
        for name in _MEMORY:
            rows[_memory_family(name)] = _one(memory.get(name))
        for name in _HUGE_PAGES:
            rows[f"node_memory_{name}"] = _one(memory.get(name))
        vmstat = parse_vmstat(port.host("vmstat") or "")
        for name in _VMSTAT:
            rows[f"node_vmstat_{name}"] = _one(vmstat.get(name))
        for resource, line in _PRESSURE:
            pressure = parse_pressure(port.host(f"pressure_{resource}") or "")
            rows[_pressure_family(resource, line)] = _one(pressure.get(line))
        rows |= parse_network(port.host("network"))
        allocated, maximum = parse_file_nr(port.host("file_nr") or "")
        rows["node_filefd_allocated"] = _one(allocated)
        rows["node_filefd_maximum"] = _one(maximum)
        rows["node_boot_time_seconds"] = [Row((), port.host("boot_time"))]
        rows["node_time_seconds"] = [Row((), port.host("time"))]
        return seen(scope, rows)

    def _usage(self, cpus: Iterable[Mapping[str, float]]) -> list[Row]:
        """Return the busy share since the last look; nothing at the first one."""
        idle = busy = 0.0
        for times in cpus:
            for mode, seconds in times.items():
                if mode in ("idle", "iowait"):
                    idle += seconds
                elif mode not in ("guest", "guest_nice"):  # counted in user and nice already
                    busy += seconds
        before, self._cpu = self._cpu, (idle, busy)
        if before is None:
            return []
        spent_idle, spent_busy = idle - before[0], busy - before[1]
        total = spent_idle + spent_busy
        return [Row((), min(1.0, max(0.0, spent_busy / total)))] if total > 0 else []


def parse_cpu(cpus: Iterable[Mapping[str, float]]) -> list[Row]:
    """Return seconds by CPU and mode."""
    return [
        Row((str(number), mode), seconds)
        for number, times in enumerate(cpus)
        for mode, seconds in times.items()
        if mode not in ("guest", "guest_nice")
    ]


def parse_meminfo(text: str) -> dict[str, float]:
    """Return /proc/meminfo in bytes, and what has no unit as it is: the kernel writes kB and means
    KiB."""
    return {
        name: float(number) * (1024 if unit else 1)
        for name, number, unit in re.findall(r"^([\w()]+):\s+(\d+)( kB)?$", text, re.MULTILINE)
    }


def parse_vmstat(text: str) -> dict[str, float]:
    """Return /proc/vmstat."""
    return {name: float(value) for name, value in re.findall(r"^(\w+) (\d+)$", text, re.MULTILINE)}


def parse_pressure(text: str) -> dict[str, float]:
    """Return total stall seconds by line (some, full); the kernel writes microseconds."""
    return {
        name: float(total) / 1e6
        for name, total in re.findall(r"^(some|full) .*\btotal=(\d+)$", text, re.MULTILINE)
    }


def parse_file_nr(text: str) -> tuple[float | None, float | None]:
    """Return allocated and maximum of /proc/sys/fs/file-nr."""
    match = re.fullmatch(r"(\d+)\s+\d+\s+(\d+)\s*", text)
    return (float(match[1]), float(match[2])) if match else (None, None)


def parse_network(interfaces: Mapping[str, Mapping[str, Any]]) -> dict[str, list[Row]]:
    """Return the counters of every interface but the loopback."""
    rows: dict[str, list[Row]] = {}
    for device, facts in interfaces.items():
        if device == "lo":
            continue
        one = (device,)
        for theirs, ours in _NETWORK.items():
            rows.setdefault(f"node_network_{ours}_total", []).append(Row(one, facts[theirs]))
        rows.setdefault("node_network_up", []).append(Row(one, float(facts["isup"])))
        if facts["speed"] > 0:  # 0 means that the driver does not say
            speed = facts["speed"] * 1e6 / 8
            rows.setdefault("node_network_speed_bytes", []).append(Row(one, speed))
    return rows


def _one(value: float | None) -> list[Row]:
    return [] if value is None else [Row((), value)]
