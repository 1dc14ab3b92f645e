"""What the reader's table allows for the objects of this machine: exactly what may be asked."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from storewatch_reader.table import ROWS, Row, ToolRow
from storewatchd.collector import Collector
from storewatchd.core.series import SeriesTable
from storewatchd.errors import NotFound
from storewatchd.probes.block import SensorsProbe, ThermalProbe
from storewatchd.probes.fibrechannel import FibreChannelStatisticsProbe
from storewatchd.probes.storage import FILE_SYSTEMS, REPOSITORIES

# Which rows are for which device: a drive has no slots, and a library no cartridge's memory.
_LIBRARY_ROWS = ("scsi.", "changer.")
_DRIVE_ROWS = ("scsi.", "tape.")


@dataclass(frozen=True, slots=True)
class Asked:
    """An object that rows are for: its id, and by which names people know it."""

    object_id: str
    kind: str  # as rows have it
    rows: tuple[str, ...] = ("",)  # what the names of its rows begin with
    names: frozenset[str] = frozenset()

    def takes(self, row: Row) -> bool:
        return row.object == self.kind and row.name.startswith(self.rows)


def planned(
    collector: Collector, table: SeriesTable, at: float, device: str | None
) -> list[dict[str, Any]]:
    """Return the reads that there may be, of one object where it is named.

    Raises:
        NotFound: nothing is read of that.
    """
    objects = [*_paths(collector), *_sensors(collector), *_devices(table, at)]
    objects += _modules(table, at)
    reads = [_shape(row, "") for row in ROWS.values() if not row.object and device is None]
    reads += [
        _shape(row, one.object_id)
        for row in ROWS.values()
        for one in objects
        if one.takes(row) and device in (None, one.object_id, *one.names)
    ]
    if device is not None and not reads:
        known = ", ".join(sorted(one.object_id for one in objects))
        hint = f"; there are {known}" if known else ""
        raise NotFound(f"nothing is read of {device!r}{hint}")
    return reads


def _shape(row: Row, object_id: str) -> dict[str, Any]:
    return {
        "row": row.name,
        "object": object_id,
        "safety": row.safety,
        "key": row.key(object_id),
        "reads": row.reads,
        "command": " ".join(row.argv) if isinstance(row, ToolRow) else "",
        "answer_by_seconds": row.answer_by_s,
        "kill_after_seconds": row.kill_after_s,
    }


def _paths(collector: Collector) -> Iterator[Asked]:
    paths = {
        one["scope"].get("path") or one["scope"].get("mountpoint")
        for name in (FILE_SYSTEMS, REPOSITORIES)
        for one in collector.statuses(name)
    }
    for path in sorted(path for path in paths if path):
        yield Asked(path, "path")


def _sensors(collector: Collector) -> Iterator[Asked]:
    for one in collector.statuses(SensorsProbe.name):
        chip = one["scope"].get("chip")
        if chip is not None:
            yield Asked(chip.partition(":")[0], "hwmon", names=frozenset((chip,)))
    for one in collector.statuses(ThermalProbe.name):
        zone = one["scope"].get("zone")
        if zone is not None:
            yield Asked(f"thermal_zone{zone}", "zone")
    for one in collector.statuses(FibreChannelStatisticsProbe.name):
        fc_host = one["scope"].get("fc_host")
        if fc_host is not None:
            yield Asked(fc_host, "fc_host")


def _devices(table: SeriesTable, at: float) -> Iterator[Asked]:
    for family, label, rows in (
        ("library_info", "library", _LIBRARY_ROWS),
        ("tape_drive_info", "drive", _DRIVE_ROWS),
    ):
        for reading in table.read(family, at):
            labels = reading.labels
            nodes = [node for node in (labels["sg"], labels.get("nst", "")) if node]
            names = frozenset((labels[label], *nodes, *(f"/dev/{node}" for node in nodes)))
            yield Asked(labels["address"], "scsi", rows, names)


def _modules(table: SeriesTable, at: float) -> Iterator[Asked]:
    for reading in table.read("node_next_boot_module_info", at):
        yield Asked(f"{reading.labels['kernel']}/{reading.labels['module']}", "module")
