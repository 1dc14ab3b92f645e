"""What happened to virtual libraries and drives between two looks, and to media."""

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Any

from storewatchd.core.frames import News
from storewatchd.core.model import EventType
from storewatchd.probes.vtl.model import Unit

HALF_UP_LOOKS = 2
"""After how many looks one that is half up is told to be: a start takes some seconds."""

MOST_NAMED = 20
"""How many cartridges are told by name."""


@dataclass(frozen=True, slots=True)
class Sight:
    """How a library or drive stood. `half_up` counts the looks in a row that saw it half up."""

    daemon: bool
    device: bool
    half_up: int = 0

    @property
    def is_told_half_up(self) -> bool:
        return self.half_up >= HALF_UP_LOOKS


def sight(unit: Unit, before: Sight | None, *, is_half_up: bool) -> Sight:
    """Return how a unit stands now."""
    looks = min(HALF_UP_LOOKS, 1 + (before.half_up if before else 0)) if is_half_up else 0
    return Sight(unit.is_running, unit.is_present, looks)


def changes(unit: Unit, before: Sight, now: Sight) -> Iterator[News]:
    """Yield what became of a library or drive."""
    facts: dict[str, Any] = {"backend": unit.backend, "library": unit.library}
    if unit.drive:
        facts["drive"] = unit.drive
    facts["number"] = unit.number
    for was, is_now, begins, ends in (
        (before.daemon, now.daemon, "unit_started", "unit_stopped"),
        (before.device, now.device, "device_appeared", "device_vanished"),
        (before.is_told_half_up, now.is_told_half_up, "half_up_begun", "half_up_ended"),
    ):
        if was != is_now:
            yield News(EventType.VTL, begins if is_now else ends, facts)


def media_changes(store: str, before: Collection[str], now: Collection[str]) -> Iterator[News]:
    """Yield which cartridges came to a store, and which are gone."""
    was, there = set(before), set(now)
    for kind, names in (
        ("media_added", sorted(there - was)),
        ("media_removed", sorted(was - there)),
    ):
        if names:
            facts = {"store": store, "count": len(names), "barcodes": names[:MOST_NAMED]}
            yield News(EventType.VTL, kind, facts)
