"""What a probe says: which families it has, which scope it looked at, and what it found there.

A *scope* is what one look covers: this probe, this mount, this library. Each look ends in a Frame
with one of four outcomes; only `SEEN` says anything about the rows, and it says all of it: a row
that is not in the frame is surely not there.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

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


@dataclass(frozen=True, slots=True)
class Scope:
    """What one look covers. `labels` are equalities that every row of the look carries."""

    probe: str
    labels: tuple[tuple[str, str], ...] = ()  # sorted by name

    def __str__(self) -> str:
        inside = ", ".join(f"{name}={value!r}" for name, value in self.labels)
        return f"{self.probe}{{{inside}}}" if inside else self.probe


@dataclass(frozen=True, slots=True)
class Row:
    """One series of a family at one moment. `labels` are values in the family's label order."""

    labels: tuple[str, ...]
    value: float


@dataclass(frozen=True, slots=True)
class News:
    """Something that happened, to be told once as an event."""

    type: EventType
    kind: str
    facts: Mapping[str, Any]


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
    monotonic: float | None = None
    """The same moment as `at` on the monotonic clock, by which it is dated anew where the wall
    clock was set meanwhile. None for a frame that is taken as soon as it is made."""
