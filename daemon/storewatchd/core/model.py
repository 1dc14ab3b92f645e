"""The nouns that every layer shares: moments, severities, alerts and events.

Times are Unix seconds (float, whole milliseconds); `format_time` and `parse_time` turn them into
the RFC 3339 form that leaves the process, and back.
"""

import hashlib
import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, NamedTuple, Self

import msgspec


class Instant(NamedTuple):
    """One moment on the machine's clocks: `wall` dates things and may be set, `monotonic` measures
    how long ago they were, and goes on while it is suspended."""

    wall: float
    monotonic: float
    suspended_s: float = 0.0  # for how long the machine was suspended since it booted

    @property
    def awake(self) -> float:
        """The moment on a clock that stands still while the machine is suspended: what nobody
        could look at then counts for no duration on it."""
        return self.monotonic - self.suspended_s

    def later(self, seconds: float) -> "Instant":
        """Return the moment `seconds` of being awake after this one."""
        return self._replace(wall=self.wall + seconds, monotonic=self.monotonic + seconds)


class Severity(StrEnum):
    """How bad an alert is."""

    INFO = "info"
    WARNING = "warning"
    CRITICAL = "critical"


class AlertState(StrEnum):
    """Where an incident stands. Acknowledged, stale and the like are marks beside it."""

    PENDING = "pending"
    FIRING = "firing"
    RESOLVED = "resolved"


class EventType(StrEnum):
    """What an event is about."""

    ALERT = "alert"
    TASK = "task"
    SYSTEM = "system"
    STORAGE = "storage"
    SCST = "scst"
    TAPE = "tape"
    VTL = "vtl"
    METRICS = "metrics"


_EARLIEST = datetime(1, 1, 1, tzinfo=UTC).timestamp()
_LATEST = datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC).timestamp() + 1


def to_milliseconds(seconds: float) -> float:
    """Return whole milliseconds of Unix seconds, the resolution of every stored time; never a
    moment later than the one given.

    The microsecond added is more than a float of this size is off by, so that a time that is
    whole milliseconds already stays what it is.
    """
    return math.floor(seconds * 1000 + 1e-3) / 1000


def format_time(seconds: float | None) -> str | None:
    """Return RFC 3339 in UTC with milliseconds, or None for an unknown time."""
    if seconds is None:
        return None
    whole, milliseconds = divmod(round(to_milliseconds(seconds) * 1000), 1000)
    moment = datetime.fromtimestamp(whole, UTC).replace(tzinfo=None)
    return f"{moment.isoformat()}.{milliseconds:03d}Z"


def parse_time(text: str | None) -> float | None:
    """Return Unix seconds for an RFC 3339 time with an offset.

    Raises:
        ValueError: the text is not such a time, has no offset, or `format_time` cannot show it.
    """
    if text is None:
        return None
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise ValueError(f"{text!r} has no offset: write it with Z or +hh:mm")
    seconds = to_milliseconds(moment.timestamp())
    if not _EARLIEST <= seconds < _LATEST:
        raise ValueError(f"{text!r} is not in the years 1 to 9999 in UTC")
    return seconds


def fingerprint(name: str, labels: Mapping[str, str]) -> str:
    """Return the identity of an alert: 128 bits over the rule's name and the sorted labels."""
    digest = hashlib.blake2b(digest_size=16)
    for part in (name, *(piece for pair in sorted(labels.items()) for piece in pair)):
        encoded = part.encode()
        digest.update(len(encoded).to_bytes(4, "little"))
        digest.update(encoded)
    return digest.hexdigest()


_PLAIN_FIELDS = (
    *("id", "rule", "source", "title", "message", "resource_type", "resource_id", "labels"),
    *("annotations", "acknowledged_by", "acknowledged_note", "flapping", "occurrences"),
    *("resolved_by", "node", "version"),
)


class Alert(msgspec.Struct, frozen=True, kw_only=True):
    """One incident, from its first sight to its resolution. Values are replaced, never changed.

    A Struct, because every evaluation replaces every firing alert, and that is ten times dearer
    for a dataclass.
    """

    id: str  # UUID version 7: ordered by the time of first sight
    rule: str  # the rule's name; "" for an alert that a person or a program created
    severity: Severity
    source: str
    title: str
    message: str
    resource_type: str = ""
    resource_id: str = ""
    labels: Mapping[str, str] = msgspec.field(default_factory=dict)
    annotations: Mapping[str, str] = msgspec.field(default_factory=dict)
    state: AlertState
    acknowledged_by: str | None = None
    acknowledged_at: float | None = None
    acknowledged_note: str | None = None
    silenced_by: tuple[str, ...] = ()
    inhibited_by: tuple[str, ...] = ()
    stale_since: float | None = None  # set while its inputs cannot be seen
    flapping: bool = False
    first_seen: float
    last_seen: float
    occurrences: int = 1
    resolved_at: float | None = None
    resolved_by: str | None = None  # a person, "rule", "expired" or the reason it was closed
    node: str = ""
    version: int = 1  # grows by one with every transition

    @property
    def is_open(self) -> bool:
        return self.state is not AlertState.RESOLVED

    @property
    def acknowledged(self) -> bool:
        return self.acknowledged_at is not None

    def with_changes(self, **changes: Any) -> Self:
        """Return the next version of this alert."""
        return msgspec.structs.replace(self, version=self.version + 1, **changes)

    def to_json(self) -> dict[str, Any]:
        """Return the shape that SPEC calls Alert: what leaves the process, and what is stored."""
        return {
            "id": self.id,
            "rule": self.rule,
            "severity": self.severity.value,
            "source": self.source,
            "title": self.title,
            "message": self.message,
            "resource_type": self.resource_type,
            "resource_id": self.resource_id,
            "labels": dict(self.labels),
            "annotations": dict(self.annotations),
            "state": self.state.value,
            "acknowledged": self.acknowledged,
            "acknowledged_by": self.acknowledged_by,
            "acknowledged_at": format_time(self.acknowledged_at),
            "acknowledged_note": self.acknowledged_note,
            "silenced_by": list(self.silenced_by),
            "inhibited_by": list(self.inhibited_by),
            "stale_since": format_time(self.stale_since),
            "flapping": self.flapping,
            "first_seen": format_time(self.first_seen),
            "last_seen": format_time(self.last_seen),
            "occurrences": self.occurrences,
            "resolved_at": format_time(self.resolved_at),
            "resolved_by": self.resolved_by,
            "node": self.node,
            "version": self.version,
        }

    @classmethod
    def from_json(cls, shape: Mapping[str, Any]) -> Self:
        """Return the alert that `to_json` gave.

        Raises:
            KeyError, ValueError: the shape is not an Alert.
        """
        times = {
            name: parse_time(shape[name])
            for name in ("acknowledged_at", "stale_since", "first_seen", "last_seen", "resolved_at")
        }
        plain = {name: shape[name] for name in _PLAIN_FIELDS}
        return cls(
            severity=Severity(shape["severity"]),
            state=AlertState(shape["state"]),
            silenced_by=tuple(shape["silenced_by"]),
            inhibited_by=tuple(shape["inhibited_by"]),
            **plain,
            **times,  # type: ignore[arg-type]  # first_seen and last_seen are never None in a shape
        )


@dataclass(frozen=True, slots=True)
class Transition:
    """One change of an alert's state or marks, with the reason for it.

    `kind` is the event's kind: pending, firing, resolved, acknowledged, stale, fresh, repeated,
    restored.
    `reason` is JSON: the rule's version, the samples that decided, the actor and the note.
    """

    kind: str
    alert: Alert
    reason: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Event:
    """A numbered line of what happened, as every client sees it. `data` is JSON text.

    It is `unjournalled` if it should have been on disk before it was told, and could not.
    """

    epoch: str
    seq: int
    node: str
    time: float
    type: EventType
    kind: str
    data: bytes
    unjournalled: bool = False

    @property
    def id(self) -> str:
        return f"{self.epoch}.{self.seq}"
