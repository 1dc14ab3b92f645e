"""Block devices and sensors, from sysfs through the reader.

Statistics: Documentation/admin-guide/iostats.rst; sectors there are always 512 bytes.
"""

import re
from collections.abc import Mapping

from storewatchd.core.frames import Frame, Row, Scope
from storewatchd.errors import ProbeAbsent
from storewatchd.port import Port
from storewatchd.probes.base import check_permitted, counter, gauge, seen

SECTOR_BYTES = 512

Attributes = Mapping[str, bytes | int]

_STAT = (
    ("node_disk_reads_completed_total", 0, 1.0, "Completed reads."),
    ("node_disk_read_bytes_total", 2, SECTOR_BYTES, "Bytes read."),
    ("node_disk_read_time_seconds_total", 3, 0.001, "Time of all reads, added up."),
    ("node_disk_writes_completed_total", 4, 1.0, "Completed writes."),
    ("node_disk_written_bytes_total", 6, SECTOR_BYTES, "Bytes written."),
    ("node_disk_write_time_seconds_total", 7, 0.001, "Time of all writes, added up."),
    ("node_disk_io_now", 8, 1.0, "Requests in flight."),
    ("node_disk_io_time_seconds_total", 9, 0.001, "Time with a request in flight."),
    ("node_disk_discards_completed_total", 11, 1.0, "Completed discards."),
    ("node_disk_discards_merged_total", 12, 1.0, "Discards that were merged with others."),
    ("node_disk_discarded_sectors_total", 13, 1.0, "Sectors of 512 bytes discarded."),
    ("node_disk_discard_time_seconds_total", 14, 0.001, "Time of all discards, added up."),
)

BLOCK_FAMILIES = (
    gauge("node_disks", "How many disks there are, partitions and mappings not counted."),
    gauge("node_disk_size_bytes", "Size of a disk.", "device", unit="bytes"),
    gauge("node_disk_readonly", "Whether a disk is read-only.", "device"),
    gauge("node_disk_info", "What a disk is.", "device", "model", "vendor", "state", "rotational"),
    *(
        (gauge if name == "node_disk_io_now" else counter)(name, text, "device")
        for name, _, _, text in _STAT
    ),
)
SENSOR_FAMILIES = (
    gauge("node_hwmon_temp_celsius", "A temperature.", "chip", "sensor", unit="celsius"),
    gauge("node_hwmon_fan_rpm", "A fan's speed.", "chip", "sensor"),
    gauge("node_hwmon_power_watt", "A power at this moment.", "chip", "sensor"),
    gauge("node_hwmon_power_average_watt", "A power over a while.", "chip", "sensor"),
    gauge("node_hwmon_sensor_label", "What a sensor measures.", "chip", "sensor", "label"),
    gauge(
        "node_thermal_zone_temp",
        "Temperature of a zone, degrees Celsius, where no chip tells one.",
        *("zone", "type"),
    ),
)

# Documentation/hwmon/sysfs-interface.rst: thousandths of a degree, revolutions, microwatts.
_SENSORS = (
    (re.compile(r"(temp\d+)_input"), "node_hwmon_temp_celsius", 1000),
    (re.compile(r"(fan\d+)_input"), "node_hwmon_fan_rpm", 1),
    (re.compile(r"(power\d+)_input"), "node_hwmon_power_watt", 1_000_000),
    (re.compile(r"(power\d+)_average"), "node_hwmon_power_average_watt", 1_000_000),
)

# Loops, RAM disks, compressed swap and network block devices are no disks of this machine.
_NO_DISKS = ("loop", "ram", "zram", "nbd", "fd", "sr", "dm-", "md")


class BlockProbe:
    """Every block device that holds anything, in one look at sysfs."""

    name = "block"
    families = BLOCK_FAMILIES

    async def discover(self, port: Port) -> tuple[Scope, ...]:
        return (Scope(self.name),)

    async def collect(self, port: Port, scope: Scope) -> Frame:
        attributes = (await port.read("sys.block")).value
        # A device whose size cannot be read would pass for one that holds nothing.
        check_permitted({path: value for path, value in attributes.items() if _is_size(path)})
        return seen(scope, parse_block(attributes))


class SensorsProbe:
    """Temperatures, fans and powers."""

    name = "sensors"
    families = SENSOR_FAMILIES

    async def discover(self, port: Port) -> tuple[Scope, ...]:
        return (Scope(self.name),)

    async def collect(self, port: Port, scope: Scope) -> Frame:
        attributes = (await port.read("sys.hwmon")).value
        rows = parse_sensors(attributes)
        if not rows["node_hwmon_temp_celsius"]:
            zones = (await port.read("sys.thermal")).value
            rows["node_thermal_zone_temp"] = parse_thermal_zones(zones)
            attributes = {**attributes, **zones}
        if not any(rows.values()):
            check_permitted(attributes)
            raise ProbeAbsent("this machine has no sensors that the kernel knows")
        return seen(scope, rows)


class ProcessesProbe:
    """Processes by state, and those that the kernel blocks."""

    name = "processes"
    families = (
        gauge("node_processes_state", "Processes by state, as ps names it.", "state"),
        gauge("node_processes_blocked", "A process in D state.", "pid", "comm", "wchan"),
    )

    async def discover(self, port: Port) -> tuple[Scope, ...]:
        return (Scope(self.name),)

    async def collect(self, port: Port, scope: Scope) -> Frame:
        value = (await port.read("proc.states")).value
        return seen(
            scope,
            {
                "node_processes_state": [
                    Row((state,), float(count)) for state, count in value["states"].items()
                ],
                "node_processes_blocked": [
                    Row((str(one["pid"]), one["comm"], one["wchan"]), 1.0)
                    for one in value["blocked"]
                ],
            },
        )


def _is_size(path: str) -> bool:
    return path.partition("/")[2] == "size"


def parse_block(attributes: Attributes) -> dict[str, list[Row]]:
    """Return the disks of /sys/block. A device without a size holds nothing and is left out."""
    rows: dict[str, list[Row]] = {family.name: [] for family in BLOCK_FAMILIES}
    disks = 0
    for device in dict.fromkeys(path.split("/", 1)[0] for path in attributes):
        sectors = _number(attributes.get(f"{device}/size"))
        if not sectors:
            continue
        disks += not device.startswith(_NO_DISKS)
        one = (device,)
        rows["node_disk_size_bytes"].append(Row(one, sectors * SECTOR_BYTES))
        read_only = _number(attributes.get(f"{device}/ro"))
        if read_only is not None:
            rows["node_disk_readonly"].append(Row(one, read_only))
        said = [_words(attributes.get(f"{device}/device/{what}")) for what in _DEVICE_FACTS]
        rotational = _words(attributes.get(f"{device}/queue/rotational"))
        rows["node_disk_info"].append(Row((device, *said, rotational), 1.0))
        numbers = _words(attributes.get(f"{device}/stat")).split()
        for name, place, scale, _ in _STAT:
            value = _parse(numbers[place]) if place < len(numbers) else None
            if value is not None:
                rows[name].append(Row(one, value * scale))
    rows["node_disks"].append(Row((), float(disks)))
    return rows


_DEVICE_FACTS = ("model", "vendor", "state")


def parse_sensors(attributes: Attributes) -> dict[str, list[Row]]:
    """Return the sensors of /sys/class/hwmon."""
    rows: dict[str, list[Row]] = {family.name: [] for family in SENSOR_FAMILIES}
    for path, content in attributes.items():
        chip, _, attribute = path.partition("/")
        # hwmon numbers change from boot to boot; the name tells what it is.
        place = f"{chip}:{_words(attributes.get(f'{chip}/name'))}".rstrip(":")
        sensor, _, kind = attribute.rpartition("_")
        if kind == "label" and isinstance(content, bytes):
            rows["node_hwmon_sensor_label"].append(Row((place, sensor, _words(content)), 1.0))
        value = _number(content)
        for pattern, family, scale in _SENSORS:
            if value is not None and pattern.fullmatch(attribute):
                rows[family].append(Row((place, sensor), value / scale))
    return rows


def parse_thermal_zones(attributes: Attributes) -> list[Row]:
    """Return the temperatures of /sys/class/thermal: thousandths of a degree."""
    rows = []
    for path, content in attributes.items():
        zone = re.fullmatch(r"thermal_zone(\d+)/temp", path)
        value = _number(content)
        if zone is not None and value is not None:
            kind = _words(attributes.get(f"thermal_zone{zone[1]}/type"))
            rows.append(Row((zone[1], kind), value / 1000))
    return rows


def _words(content: bytes | int | None) -> str:
    """Return an attribute's text; nothing where it could not be read."""
    return content.decode(errors="replace").strip() if isinstance(content, bytes) else ""


def _number(content: bytes | int | None) -> float | None:
    return _parse(_words(content))


def _parse(text: str) -> float | None:
    # No number of the kernel's has more than 20 digits.
    return float(text) if re.fullmatch(r"-?[0-9]{1,20}", text) else None
