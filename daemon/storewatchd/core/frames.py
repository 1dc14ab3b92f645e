"""What a probe says: which families it has, which scope it looked at, and what it found there.

A *scope* is what one look covers: this probe, this mount, this library. Each look ends in a Frame
with one of four outcomes; only `SEEN` says anything about the rows, and it says all of it: a row
that is not in the frame is surely not there.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from msgspec import Struct

from storewatchd.core.model import EventType


class MetricType(StrEnum):
    """The types of the Prometheus text format that we use."""

    GAUGE = "gauge"
    COUNTER = "counter"
    UNTYPED = "untyped"


class Outcome(StrEnum):
    """How a look ended."""

    SEEN = "seen"
    ABSENT = "absent"  # no such hardware: surely no rows
    DEFERRED = "deferred"  # looking would have disturbed: the last rows hold up to max_age
    FAILED = "failed"  # could not look: the last rows are unknown, and so is every absence


@dataclass(frozen=True, slots=True)
class Family:
    """One metric family: its name, type, meaning and label names, as /metrics shows them."""

    name: str
    type: MetricType
    help: str
    labels: tuple[str, ...] = ()
    unit: str = ""  # base unit: seconds, bytes, ratio, celsius; "" for a count or a state


class Scope(Struct, frozen=True, gc=False, cache_hash=True):
    """What one look covers. `labels` are equalities that every row of the look carries."""

    probe: str
    labels: tuple[tuple[str, str], ...] = ()  # sorted by name

    def __str__(self) -> str:
        inside = ", ".join(f"{name}={value!r}" for name, value in self.labels)
        return f"{self.probe}{{{inside}}}" if inside else self.probe


class Row(Struct, frozen=True, gc=False):
    """One series of a family at one moment. `labels` are values in the family's label order.

    A look makes up to hundreds of thousands; the collector of garbage need not look at them."""

    labels: tuple[str, ...]
    value: float


class GivenRows(list[Row]):
    """Rows that their probe gives away with the frame. Who has taken them lets go of them a piece
    at a time: to do that with a hundred thousand at once holds up everybody."""


@dataclass(frozen=True, slots=True)
class News:
    """Something that happened, to be told once as an event."""

    type: EventType
    kind: str
    facts: Mapping[str, Any]


class ObjectKind(StrEnum):
    """What the inventory keeps. An object's id is unique within its kind, and stays the same
    wherever it is and whatever the kernel calls it."""

    TAPE_LIBRARY = "tape_library"  # by serial number
    TAPE_DRIVE = "tape_drive"  # by serial number
    CARTRIDGE = "cartridge"  # by bar code
    DISK = "disk"  # by World Wide ID, or serial number
    SCST_TARGET = "scst_target"  # by driver and name
    SCST_DEVICE = "scst_device"  # by name


@dataclass(frozen=True, slots=True)
class Found:
    """An object that a look found, and what it says of it. Where `is_here` is false it does not say
    where the object is, only what it is: that holds until another look says otherwise."""

    kind: ObjectKind
    id: str
    facts: Mapping[str, str] = field(default_factory=dict)
    is_here: bool = True


@dataclass(frozen=True, slots=True)
class Frame:
    """The outcome of one look at one scope."""

    scope: Scope
    at: float  # wall clock, Unix seconds, when the look ended
    outcome: Outcome = Outcome.SEEN
    rows: Mapping[str, Sequence[Row]] = field(default_factory=dict)  # by family name
    reason: str = ""  # why it was not seen; a sentence
    duration_s: float = 0.0
    news: tuple[News, ...] = ()
    """What happened since the look before."""
    objects: tuple[Found, ...] = ()
    """All objects of this scope that the look found; one that is not named is not here."""
    monotonic: float | None = None
    """The same moment as `at` on the monotonic clock, by which it is dated anew where the wall
    clock was set meanwhile. None for a frame that is taken as soon as it is made."""
