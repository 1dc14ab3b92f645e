"""The whole of what may ever be asked of the reader: pure data.

Requests name a row and an object, never a command. Objects are ids; the one exception is the path
of `statvfs.path`, which gives away only what a path is and how full its file system is. A *key* is
what one stuck read can block: while a worker holds it, no second one is started for it.

Safety: P0 passive, P1 only while idle, P2 consuming, P3 moving. Every row here is P0.
"""

import hashlib
import json
from dataclasses import asdict, dataclass

PROTOCOL = 1


@dataclass(frozen=True)
class Row:
    """One read. Bounds are seconds: when the asker gets an answer, and when the worker is
    killed."""

    name: str
    verb: str  # read or tree
    reads: str
    object: str = ""  # "" for none, or "path"
    safety: str = "P0"
    answer_by_s: float = 5.0
    kill_after_s: float = 30.0

    def key(self, object_id: str) -> str:
        """Return what a stuck read of this object blocks.

        A path has a key of its own, not its mount's: a symbolic link may lead to another mount,
        and finding out where could block the reader itself.
        """
        return f"{self.name}:{object_id}" if object_id else self.name


@dataclass(frozen=True)
class TreeRow(Row):
    """A pass over a tree of attributes: what is below `root` and matches; the patterns are those
    of `storewatch_reader.trees`."""

    root: str = ""  # below the sysfs root
    attributes: tuple[str, ...] = ()


ROWS: dict[str, Row] = {
    row.name: row
    for row in (
        Row(
            "statvfs.path",
            "read",
            "stat(2) and statvfs(2) of a path: what it is, its mount, sizes and inodes",
            object="path",
        ),
        Row(
            "file.size",
            "read",
            "stat(2) of a path: whether it is there, and its size",
            object="path",
        ),
        Row("mounts", "read", "/proc/1/mountinfo or /proc/self/mountinfo, and /proc/filesystems"),
        Row("proc.states", "read", "/proc/PID/stat: processes by state, and those in D state"),
        TreeRow(
            "sys.block",
            "tree",
            "/sys/block/*: size, flags, model, state, statistics",
            root="block",
            attributes=(
                *("*/size", "*/ro", "*/removable", "*/stat", "*/inflight", "*/queue/rotational"),
                *("*/device/model", "*/device/vendor", "*/device/state"),
                *("*/dm/name", "*/md/array_state"),
            ),
        ),
        TreeRow(
            "sys.hwmon",
            "tree",
            "/sys/class/hwmon/*: temperatures, fans, powers and their labels",
            root="class/hwmon",
            attributes=(
                *("*/name", "*/temp*_input", "*/temp*_label", "*/fan*_input", "*/fan*_label"),
                *("*/power*_input", "*/power*_average", "*/power*_label"),
            ),
        ),
        TreeRow(
            "sys.thermal",
            "tree",
            "/sys/class/thermal/*: temperatures and types of zones",
            root="class/thermal",
            attributes=("*/temp", "*/type"),
        ),
    )
}


def digest() -> str:
    """Return a digest of the table, by which a daemon knows whether the reader is its age."""
    text = json.dumps([asdict(row) for row in ROWS.values()], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]
