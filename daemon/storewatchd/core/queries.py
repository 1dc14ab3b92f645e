"""What a list of alerts may be narrowed to, and the cursor that pages through it.

A list is ordered by first sight and id, newest first. Neither ever changes for an alert, so a
cursor stays true while others arrive and change.
"""

import base64
import binascii
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from storewatchd.core.frames import ObjectKind
from storewatchd.core.model import Alert, AlertState, Severity
from storewatchd.core.objects import Object

if TYPE_CHECKING:
    from storewatchd.core.matchers import Matcher


@dataclass(frozen=True, slots=True, kw_only=True)
class AlertQuery:
    """Filters that combine; None or an empty tuple means no filter."""

    severities: frozenset[Severity] | None = None
    sources: frozenset[str] | None = None
    states: frozenset[AlertState] | None = None
    acknowledged: bool | None = None
    resource_type: str | None = None
    resource_id: str | None = None
    rule: str | None = None
    matchers: tuple["Matcher", ...] = ()
    since: float | None = None  # first seen at or after, Unix seconds
    until: float | None = None  # first seen before, Unix seconds

    def admits(self, alert: Alert) -> bool:
        return (
            (self.severities is None or alert.severity in self.severities)
            and (self.sources is None or alert.source in self.sources)
            and (self.states is None or alert.state in self.states)
            and (self.acknowledged is None or alert.acknowledged is self.acknowledged)
            and (self.resource_type is None or alert.resource_type == self.resource_type)
            and (self.resource_id is None or alert.resource_id == self.resource_id)
            and (self.rule is None or alert.rule == self.rule)
            and (self.since is None or alert.first_seen >= self.since)
            and (self.until is None or alert.first_seen < self.until)
            and all(matcher.matches(alert.labels) for matcher in self.matchers)
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class ObjectQuery:
    """Filters that combine; None means no filter."""

    kind: ObjectKind | None = None
    here: bool | None = None

    def admits(self, one: Object) -> bool:
        return self.kind in (None, one.kind) and self.here in (None, one.is_here)


class ObjectPlace(NamedTuple):
    """Where an object stands in a list by kind and id."""

    kind: str
    id: str

    def encode(self) -> str:
        """Return the opaque cursor for the objects after this one."""
        return base64.urlsafe_b64encode(f"{self.kind}/{self.id}".encode()).decode().rstrip("=")

    @classmethod
    def decode(cls, cursor: str) -> "ObjectPlace":
        """Return the place that `encode` gave.

        Raises:
            ValueError: this is not a cursor of ours.
        """
        try:
            raw = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
            kind, slash, object_id = raw.decode().partition("/")
        except (binascii.Error, UnicodeDecodeError):
            slash = ""
        if not slash or "\0" in kind + object_id:
            raise ValueError("this is not a cursor that a list gave")
        return cls(kind, object_id)


_LATEST_MS = 253_402_300_799_999  # the end of the year 9999


@dataclass(frozen=True, slots=True, order=True)
class Position:
    """Where a row stands in a list: first sight (Unix milliseconds), then id."""

    first_seen_ms: int
    id: str

    @classmethod
    def of(cls, first_seen: float, row_id: str) -> "Position":
        return cls(round(first_seen * 1000), row_id)

    def encode(self) -> str:
        """Return the opaque cursor for the rows after this one."""
        raw = struct.pack(">q", self.first_seen_ms) + self.id.encode()
        return base64.urlsafe_b64encode(raw).decode().rstrip("=")

    @classmethod
    def decode(cls, cursor: str) -> "Position":
        """Return the position that `encode` gave.

        Raises:
            ValueError: this is not a cursor of ours.
        """
        try:
            raw = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
            position = cls(struct.unpack(">q", raw[:8])[0], raw[8:].decode())
            if not (0 <= position.first_seen_ms <= _LATEST_MS and "\0" not in position.id):
                raise ValueError("this is not a cursor that a list gave")
            return position
        except (binascii.Error, struct.error, UnicodeDecodeError) as error:
            raise ValueError("this is not a cursor that a list gave") from error
