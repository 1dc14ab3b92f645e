"""Block devices and sensors, from sysfs through the reader.

Statistics: Documentation/admin-guide/iostats.rst; sectors there are always 512 bytes.
"""

import re
from collections.abc import Iterator, Mapping

from storewatchd.core.frames import Found, Frame, ObjectKind, Row, Scope
from storewatchd.errors import ProbeAbsent
from storewatchd.port import Port
from storewatchd.probes.base import Legible, check_permitted, counter, gauge, seen

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
)
THERMAL_FAMILIES = (
    gauge("node_thermal_zone_temp", "Temperature of a zone, degrees Celsius.", "zone", "type"),
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

    def __init__(self) -> None:
        self._legible = Legible()

    async def discover(self, port: Port) -> tuple[Scope, ...]:
        return (Scope(self.name),)

    async def collect(self, port: Port, scope: Scope) -> Frame:
        attributes = (await port.read("sys.block")).value
        # A device whose size cannot be read would pass for one that holds nothing.
        check_permitted({path: value for path, value in attributes.items() if _is_size(path)})
        self._legible.check(scope, attributes)
        return seen(scope, parse_block(attributes), objects=disks_found(attributes))


class SensorsProbe:
    """Temperatures, fans and powers. A scope is a chip, so that one that is silent or hangs blinds
    nothing but itself."""

    name = "sensors"
    families = SENSOR_FAMILIES

    def __init__(self) -> None:
        self._legible = Legible()

    async def discover(self, port: Port) -> tuple[Scope, ...]:
        chips = parse_chips((await port.read("sys.hwmon")).value)
        scopes = tuple(Scope(self.name, (("chip", chip),)) for chip in chips)
        self._legible.keep(scopes)
        return scopes

    async def collect(self, port: Port, scope: Scope) -> Frame:
        chip = dict(scope.labels)["chip"]
        attributes = (await port.read("sys.hwmon.chip", chip.partition(":")[0])).value
        if not attributes:
            raise ProbeAbsent(f"there is no {chip} any more")
        rows = parse_sensors(chip, attributes)
        self._legible.check(scope, attributes)
        if not any(rows.values()):
            check_permitted(attributes)
        return seen(scope, rows)


class ThermalProbe:
    """The zones whose temperature the kernel watches; a scope is a zone."""

    name = "thermal"
    families = THERMAL_FAMILIES

    def __init__(self) -> None:
        self._legible = Legible()

    async def discover(self, port: Port) -> tuple[Scope, ...]:
        found = (await port.read("sys.thermal")).value
        zones = [one.strip("/").removeprefix("thermal_zone") for one in found]
        scopes = tuple(Scope(self.name, (("zone", zone),)) for zone in zones)
        self._legible.keep(scopes)
        return scopes

    async def collect(self, port: Port, scope: Scope) -> Frame:
        zone = dict(scope.labels)["zone"]
        attributes = (await port.read("sys.thermal.zone", f"thermal_zone{zone}")).value
        if not attributes:
            raise ProbeAbsent(f"there is no zone {zone} any more")
        self._legible.check(scope, attributes)
        check_permitted(attributes)
        return seen(scope, {"node_thermal_zone_temp": parse_zone(zone, attributes)})


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


def disks_found(attributes: Attributes) -> Iterator[Found]:
    """Yield the disks that can be told apart, by World Wide ID or serial number: a name such as sda
    is another disk's after the next start."""
    for device in dict.fromkeys(path.split("/", 1)[0] for path in attributes):
        sectors = _number(attributes.get(f"{device}/size"))
        names = (_words(attributes.get(f"{device}/{path}")) for path in _IDENTITIES)
        identity = next(filter(None, names), "")
        if not sectors or not identity or device.startswith(_NO_DISKS):
            continue
        said = {what: _words(attributes.get(f"{device}/device/{what}")) for what in _OF_A_DISK}
        facts = {"device": device, **said, "size_bytes": f"{sectors * SECTOR_BYTES:.0f}"}
        told = {name: text for name, text in facts.items() if text}
        yield Found(ObjectKind.DISK, identity, told)


_IDENTITIES = ("wwid", "device/wwid", "serial", "device/serial")
_OF_A_DISK = ("model", "vendor")
_DEVICE_FACTS = ("model", "vendor", "state")


def parse_chips(attributes: Attributes) -> list[str]:
    """Return the chips of /sys/class/hwmon: hwmon numbers change from boot to boot, the name tells
    what it is."""
    chips = [path[:-1] for path in attributes if path.endswith("/")]
    return [f"{chip}:{_words(attributes.get(f'{chip}/name'))}".rstrip(":") for chip in chips]


def parse_sensors(chip: str, attributes: Attributes) -> dict[str, list[Row]]:
    """Return the sensors of a chip."""
    rows: dict[str, list[Row]] = {family.name: [] for family in SENSOR_FAMILIES}
    for attribute, content in attributes.items():
        sensor, _, kind = attribute.rpartition("_")
        if kind == "label" and isinstance(content, bytes):
            rows["node_hwmon_sensor_label"].append(Row((chip, sensor, _words(content)), 1.0))
        value = _number(content)
        for pattern, family, scale in _SENSORS:
            if value is not None and pattern.fullmatch(attribute):
                rows[family].append(Row((chip, sensor), value / scale))
    return rows


def parse_zone(zone: str, attributes: Attributes) -> list[Row]:
    """Return the temperature of a zone: the kernel tells thousandths of a degree."""
    value = _number(attributes.get("temp"))
    if value is None:
        return []
    return [Row((zone, _words(attributes.get("type"))), value / 1000)]


def _words(content: bytes | int | None) -> str:
    """Return an attribute's text; nothing where it could not be read."""
    return content.decode(errors="replace").strip() if isinstance(content, bytes) else ""


def _number(content: bytes | int | None) -> float | None:
    return _parse(_words(content))


def _parse(text: str) -> float | None:
    # No number of the kernel's has more than 20 digits.
    return float(text) if re.fullmatch(r"-?[0-9]{1,20}", text) else None
