"""The record of a mount: what one cartridge did in one drive, from its load to its unload. Pure.

What happens while somebody holds the drive is not seen, only what it has led to: the kernel's
counters go on, and the drive counts its loads. So a record says of how many loads it is, and
whether it is `complete`. What is known of a mount that has not ended is kept in memory only: after
a restart of the daemon its record begins with the first look, and says that it is not complete.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from storewatchd.core.model import format_time

_DIRECTIONS = (("written", "write"), ("read", "read"))


@dataclass(frozen=True, slots=True)
class Sight:
    """One look at a drive. What is not known is None, "" or left out.

    `is_new` says that the cartridge is not the one of the look before. `loads` are those of the
    drive's life. `statistics` are the kernel's; `written_bytes` and `read_bytes` are the drive's
    own count for this cartridge. `errors` are counted since the load. `flags` are set now; `told`
    are those that were read once, and when.
    """

    at: float
    is_loaded: bool
    is_new: bool = False
    loads: int | None = None
    barcode: str = ""
    serial: str = ""
    statistics: Mapping[str, int] = field(default_factory=dict)
    written_bytes: int | None = None
    read_bytes: int | None = None
    errors: Mapping[str, int] = field(default_factory=dict)
    flags: frozenset[int] = frozenset()
    told: Mapping[int, float] = field(default_factory=dict)
    celsius: int | None = None


class Mounts:
    """The mounts of one drive."""

    def __init__(self, drive: str) -> None:
        self._drive = drive
        self._before: Sight | None = None
        self._mount: _Mount | None = None

    def take(self, now: Sight) -> list[dict[str, Any]]:
        """Take a look, and return the records of the mounts that have ended since the one
        before."""
        before, mount = self._before, self._mount
        self._before = now
        begins = now.is_loaded and (mount is None or now.is_new)
        start, is_exact = _at_load(before, now) if begins else (now.statistics, True)
        unseen = max(0, _growth(before, now) - begins)
        records = []
        if mount is not None and (begins or not now.is_loaded):
            if not begins and not unseen:
                mount.take(now)  # its errors and flags are still there
            mount.loads += unseen
            mount.is_complete &= is_exact and not unseen
            records.append(mount.record(self._drive, start, now.at))
            self._mount = None
        elif mount is None and before is not None and unseen:
            missed = _Mount(before.at, before.statistics, is_complete=False, loads=unseen)
            records.append(missed.record(self._drive, start, now.at))
        if begins:
            self._mount = _Mount(now.at, start, is_complete=before is not None and is_exact)
        if self._mount is not None:
            self._mount.take(now)
        return records


@dataclass(slots=True)
class _Mount:
    """`start` are the kernel's statistics at the load."""

    since: float
    start: Mapping[str, int]
    is_complete: bool
    loads: int = 1
    barcode: str = ""
    serial: str = ""
    errors: dict[str, int] = field(default_factory=dict)
    flags: frozenset[int] = frozenset()
    celsius: int | None = None

    def take(self, now: Sight) -> None:
        # An empty drive names no cartridge; and it may have set its counters back.
        self.barcode, self.serial = self.barcode or now.barcode, self.serial or now.serial
        for kind, count in now.errors.items():
            self.errors[kind] = max(count, self.errors.get(kind, 0))
        # One that was told before the load is another cartridge's.
        self.flags |= now.flags.union(flag for flag, at in now.told.items() if at >= self.since)
        if now.celsius is not None:
            self.celsius = max(now.celsius, self.celsius or now.celsius)

    def record(self, drive: str, end: Mapping[str, int], at: float) -> dict[str, Any]:
        facts: dict[str, Any] = {
            "drive": drive,
            "barcode": self.barcode,
            "serial": self.serial,
            "loads": self.loads,
            "complete": self.is_complete,
            "from": format_time(self.since),
            "to": format_time(at),
            **_moved(self.start, end),
            **self.errors,
            "flags": sorted(self.flags),
        }
        if self.celsius is not None:
            facts["max_temperature_celsius"] = self.celsius
        return facts


def is_good(record: Mapping[str, Any]) -> bool:
    """Return whether a cartridge surely did its work, and without an error or a flag."""
    failures = [count for kind, count in record.items() if kind.startswith("uncorrected_")]
    return bool(record["complete"]) and not record["flags"] and not any(failures)


def _growth(before: Sight | None, now: Sight) -> int:
    """Return how many loads there were between two looks, as far as the drive counts them."""
    if before is None or before.loads is None or now.loads is None:
        return 0
    return max(0, now.loads - before.loads)


def _at_load(before: Sight | None, now: Sight) -> tuple[Mapping[str, int], bool]:
    """Return the kernel's statistics at the load of the cartridge that is in the drive now, and
    whether they are exact.

    What was transferred since the look before belongs to it, where the drive was empty then and
    this is the only load since. Otherwise the drive's own count tells its share of the bytes; where
    that cannot be so, and of the time, nobody knows the share, and the counter is left out.
    """
    if before is None:
        return now.statistics, False
    if not before.is_loaded and _growth(before, now) <= 1:
        return before.statistics, True
    start = dict(now.statistics)
    is_exact = True
    for kind, own in (("write", now.written_bytes), ("read", now.read_bytes)):
        name = f"{kind}_byte_cnt"
        moved = start.get(name, 0) - before.statistics.get(name, 0)
        if not moved:
            continue
        is_exact = False
        start.pop(f"{kind}_ns", None)
        if own is not None and own <= moved:
            start[name] -= own
        else:
            del start[name]
    return start, is_exact


def _moved(start: Mapping[str, int], end: Mapping[str, int]) -> dict[str, Any]:
    """Return bytes and mean speeds while transferring; nothing where the kernel began to count
    anew, or does not count."""
    facts: dict[str, Any] = {}
    grown = {name: count - start[name] for name, count in end.items() if name in start}
    if any(count < 0 for name, count in grown.items() if name != "in_flight"):
        return facts
    for words, kind in _DIRECTIONS:
        moved, busy_ns = grown.get(f"{kind}_byte_cnt"), grown.get(f"{kind}_ns")
        if moved is not None:
            facts[f"{words}_bytes"] = moved
            if moved and busy_ns:
                facts[f"mean_{kind}_bytes_per_second"] = round(moved / (busy_ns / 1e9))
    return facts
