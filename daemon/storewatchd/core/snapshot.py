"""SPEC's metrics snapshot, read off the table: one look at everything.

A part whose source is absent is None; a number that is not known now is None, never 0.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from storewatchd.core.model import format_time
from storewatchd.core.series import SeriesTable
from storewatchd.core.tasks import TaskRun, TaskState


class _Look:
    """Reads known values off the table at one moment."""

    def __init__(self, table: SeriesTable, at: float) -> None:
        self._table = table
        self._at = at

    def values(self, name: str) -> list[float] | None:
        """Return a family's values, None where some of it cannot be known."""
        series = self._table.series(name)
        if series is None or self._table.holes(series, self._at):
            return None
        there = series.there[: len(series)]
        if not self._table.known_rows(series, self._at)[there].all():
            return None
        values: list[float] = series.last[: len(series)][there].tolist()
        return values

    def one(self, name: str) -> float | None:
        values = self.values(name)
        return values[0] if values else None

    def total(self, name: str) -> float | None:
        """Return the sum of a family's values; nothing to add up is nothing known."""
        values = self.values(name)
        return sum(values) if values else None

    def count(self, name: str) -> float | None:
        """Return how many rows a family has."""
        values = self.values(name)
        return None if values is None else float(len(values))

    def total_where(self, name: str, label: str, value: str) -> float | None:
        """Return the sum of the rows that have a label; None where some are unknown, or none is
        there."""
        if not self.values(name):
            return None
        readings = self._table.read(name, self._at)
        return sum(one.value for one in readings if one.labels[label] == value)

    def distinct(self, known_by: str, name: str, label: str) -> float | None:
        """Return how many values a label has among the rows of a family that are 1; a family
        without rows is known to have none where another one of the same look is known."""
        series = self._table.series(name)
        if self.values(known_by) is None or series is None:
            return None
        count, index = len(series), series.family.labels.index(label)
        known = series.there[:count] & self._table.known_rows(series, self._at)
        places = np.flatnonzero(known & (series.last[:count] != 0)).tolist()
        return float(len({series.labels[place][index] for place in places}))

    def total_among(self, name: str, members: str, label: str, **where: str) -> float | None:
        """Return the sum of the rows that share a label's value with a row of another family, and
        have these labels; None where of one of these nothing is known."""
        if self.values(name) is None or self.values(members) is None:
            return None
        wanted = {one.labels[label] for one in self._table.read(members, self._at)}
        found = [one for one in self._table.read(name, self._at) if one.labels[label] in wanted]
        if {one.labels[label] for one in found} != wanted:
            return None
        return sum(
            one.value for one in found if all(one.labels[key] == where[key] for key in where)
        )

    def has_rows(self, name: str) -> bool:
        """Whether there is, or may be, something of a family."""
        return self._table.series(name) is not None and self.values(name) != []

    def by_label(self, name: str, label: str) -> dict[str, float]:
        """Return the sums of a family's values by one label."""
        sums: dict[str, float] = {}
        for reading in self._table.read(name, self._at):
            value = reading.labels[label]
            sums[value] = sums.get(value, 0.0) + reading.value
        return sums

    def total_of_file_systems(self, name: str) -> float | None:
        """Return the sum of a family of repositories, each file system counted once."""
        values = self.values(name)
        places = self.values("repo_info")
        if not values or places is None:
            return None
        mount_points = {
            reading.labels["repository"]: reading.labels["mountpoint"]
            for reading in self._table.read("repo_info", self._at)
        }
        once: dict[str, float] = {}
        for reading in self._table.read(name, self._at):
            repository = reading.labels["repository"]
            once[mount_points.get(repository) or f"of {repository}"] = reading.value
        return sum(once.values())


def snapshot(
    table: SeriesTable, runs: list[TaskRun], repositories: int, node: str, at: float
) -> dict[str, Any]:
    """Return the snapshot at a moment (Unix seconds); `repositories` are those in the book."""
    look = _Look(table, at)
    return {
        "timestamp": format_time(at),
        "node": node,
        "system": _system(look),
        "storage": _storage(look, repositories),
        "scst": _scst(look),
        "tape": _tape(look),
        "vtl": _vtl(look),
        "tasks": _tasks(look, runs),
        "api": None,
    }


def percent(part: float | None, whole: float | None) -> float | None:
    """Return part of whole, 0 to 100; None where either is unknown or the whole is 0."""
    if part is None or not whole:
        return None
    return round(100.0 * part / whole, 3)


def _difference(whole: float | None, part: float | None) -> float | None:
    return None if whole is None or part is None else whole - part


def _scaled(value: float | None, by: Callable[[float], float]) -> float | None:
    return None if value is None else by(value)


def _system(look: _Look) -> dict[str, float | None]:
    total = look.one("node_memory_MemTotal_bytes")
    used = _difference(total, look.one("node_memory_MemAvailable_bytes"))
    disk_total = look.total("node_filesystem_size_bytes")
    disk_used = _difference(disk_total, look.total("node_filesystem_free_bytes"))
    disk_available = look.total("node_filesystem_avail_bytes")
    usable = None if disk_used is None or disk_available is None else disk_used + disk_available
    boot = look.one("node_boot_time_seconds")
    now = look.one("node_time_seconds")
    return {
        "cpu_usage_percent": _scaled(
            look.one("node_cpu_usage_ratio"), lambda ratio: round(100 * ratio, 3)
        ),
        "memory_used_bytes": used,
        "memory_total_bytes": total,
        "memory_usage_percent": percent(used, total),
        "disk_used_bytes": disk_used,
        "disk_total_bytes": disk_total,
        "disk_usage_percent": percent(disk_used, usable),
        "uptime_seconds": _difference(now, boot),
    }


def _storage(look: _Look, repositories: int) -> dict[str, float | None]:
    used = look.total_of_file_systems("repo_used_bytes")
    free = look.total_of_file_systems("repo_free_bytes")
    return {
        "total_disks": look.one("node_disks"),
        "total_repositories": float(repositories),
        "total_capacity_bytes": look.total_of_file_systems("repo_size_bytes"),
        "used_capacity_bytes": used,
        "available_bytes": free,
        "usage_percent": percent(used, None if used is None or free is None else used + free),
    }


def _scst(look: _Look) -> dict[str, float | None] | None:
    if not look.has_rows("scst_target_enabled"):
        return None
    return {
        "total_targets": look.count("scst_target_enabled"),
        "total_luns": look.total("scst_target_luns"),
        "total_initiators": look.distinct("scst_target_sessions", "scst_session_up", "initiator"),
        "active_targets": look.total("scst_target_enabled"),
    }


def _tape(look: _Look) -> dict[str, float | None] | None:
    if not (look.has_rows("library_up") or look.has_rows("tape_drive_up")):
        return None
    return {
        "total_libraries": look.count("library_up"),
        "total_drives": look.count("tape_drive_up"),
        "total_slots": look.total_where("library_elements", "type", "storage"),
        "occupied_slots": look.total_where("library_elements_full", "type", "storage"),
    }


def _vtl(look: _Look) -> dict[str, float | None] | None:
    """Cartridges are those that the virtual libraries have in their elements."""
    if not look.has_rows("vtl_up"):
        return None
    full = ("library_elements_full", "vtl_library_up", "library")
    return {
        "total_libraries": look.count("vtl_library_up"),
        "total_drives": look.count("vtl_drive_up"),
        "total_tapes": look.total_among(*full),
        "active_drives": look.total("vtl_drive_up"),
        "loaded_tapes": look.total_among(*full, type="drive"),
    }


def _tasks(look: _Look, runs: list[TaskRun]) -> dict[str, float | None]:
    """Count what is under way by the runs, and what is over by the counters: memory does not keep
    every run."""
    counted = look.by_label("task_runs_total", "result")

    def count(state: TaskState) -> float:
        return counted.get(state.value, float(sum(run.state is state for run in runs)))

    counts = {state: count(state) for state in TaskState}
    durations = [run.duration_s for run in runs if run.duration_s is not None]
    return {
        "total_tasks": sum(counts.values()),
        "pending_tasks": counts[TaskState.PENDING],
        "running_tasks": counts[TaskState.RUNNING],
        "completed_tasks": counts[TaskState.COMPLETED],
        "failed_tasks": counts[TaskState.FAILED],
        "average_duration_seconds": sum(durations) / len(durations) if durations else None,
    }
