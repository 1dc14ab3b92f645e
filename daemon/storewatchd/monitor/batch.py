"""What one round of the single writer decided, on its way to the journal and the subscribers."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec

from storewatchd.bus import Published, publishable
from storewatchd.core.answers import AnswerBook
from storewatchd.core.commands import Command
from storewatchd.core.engine import Engine
from storewatchd.core.ids import Ids
from storewatchd.core.incidents import Incidents
from storewatchd.core.inventory import Inventory, Taken
from storewatchd.core.model import (
    Alert,
    Event,
    EventType,
    Instant,
    Severity,
    Transition,
    to_milliseconds,
)
from storewatchd.core.objects import Key, Object, events_of
from storewatchd.core.permissions import TokenBook
from storewatchd.core.repositories import RepositoryBook
from storewatchd.core.series import SeriesTable
from storewatchd.core.tasks import TaskBook, TaskChange, TaskRun
from storewatchd.journal import NOTICE, Rebuild, Record, StateChange

_encode = msgspec.json.Encoder().encode

ALERT, TASK, TASK_NAME = "alert", "task", "task_name"
REPOSITORY, MOUNT_POINT, TOKEN = "repository", "mount_point", "token"
ANSWER, OBJECT = "answer", "object"
"""The kinds of state in the journal."""


@dataclass(frozen=True, slots=True)
class Books:
    """Everything that this node holds true. Only the single writer changes it."""

    table: SeriesTable
    engine: Engine
    incidents: Incidents
    tasks: TaskBook
    repositories: RepositoryBook
    tokens: TokenBook
    answers: AnswerBook = field(default_factory=AnswerBook)
    inventory: Inventory = field(default_factory=Inventory)
    ids: Ids = field(default_factory=lambda: Ids(0))
    """Where the ids of alerts and runs come from."""


@dataclass(frozen=True, slots=True)
class _Line:
    """A line to be numbered. Without `kept` it is told but not written: metrics, progress.
    Without `told` it is written but not told: audit."""

    type: str
    kind: str
    data: bytes
    key: str = ""
    reason: bytes = b"{}"
    severity: Severity | None = None
    kept: bool = True
    told: bool = True


@dataclass(slots=True)
class Batch:
    """The lines, state changes and views of one round."""

    now: Instant
    touched: set[str] = field(default_factory=set)
    transitions: list[Transition] = field(default_factory=list)
    alerts: list[Alert] = field(default_factory=list)
    runs: list[TaskRun] = field(default_factory=list)
    objects: dict[Key, Object | None] = field(default_factory=dict)
    """What became of objects; None for one that is not kept any more."""
    changes: list[StateChange] = field(default_factory=list)
    has_snapshot: bool = False
    rebuild: Rebuild | None = None
    """What of the journal's state has to be rebuilt from now on; None for the same as before."""
    _lines: list[_Line] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self._lines)

    @property
    def is_empty(self) -> bool:
        """Whether nothing has to be written and nothing told."""
        return not self._lines and not self.changes and self.rebuild is None

    def note_alert(self, transition: Transition) -> None:
        """Take a transition of an alert."""
        self.transitions.append(transition)
        self.alerts.append(transition.alert)
        self._lines.append(
            _Line(
                EventType.ALERT,
                transition.kind,
                _encode(transition.alert.to_json()),
                transition.alert.id,
                _encode(transition.reason),
                transition.alert.severity,
            )
        )

    def note_task(self, change: TaskChange) -> None:
        """Take a change of a task's run; progress is told and not written."""
        if change.kind is None:
            return
        self.runs.append(change.run)
        self._lines.append(
            _Line(
                EventType.TASK,
                change.kind,
                _encode(change.run.to_state()),
                change.run.id,
                kept=change.kind != "progress",
            )
        )

    def note_event(self, event_type: EventType, kind: str, facts: Mapping[str, Any]) -> None:
        """Take something that is said once and kept."""
        self._lines.append(_Line(event_type, kind, _encode(facts)))

    def note_objects(self, taken: Taken) -> None:
        """Take what a look did to the inventory: every version is written, and told of as an event
        where nobody else tells it."""
        for change in taken.changes:
            data = {**change.object.to_state(), "change": change.kind, "other": change.other}
            name = object_key(change.object.key)
            self._lines.append(_Line(OBJECT, change.kind, _encode(data), name, told=False))
        for event_type, kind, facts in events_of(taken.changes):
            self.note_event(event_type, kind, facts)
        for key, one in taken.touched.items():
            self.put_state(OBJECT, object_key(key), one.to_state())
            self.objects[key] = one
        for key in taken.dropped:
            self.put_state(OBJECT, object_key(key), None)
            self.objects[key] = None

    def note_told(self, notice: str) -> None:
        """Take that what the journal had noted to be told is told with this batch."""
        self.changes.append(StateChange(NOTICE, notice, None))

    def note_rebuilt(self) -> None:
        """Take that with this batch the journal has all that is to be had of what it lost."""
        self.rebuild = Rebuild.NONE

    def note_snapshot(self, shape: Mapping[str, Any]) -> None:
        """Take a metrics snapshot: told, not written."""
        self.has_snapshot = True
        self._lines.append(_Line(EventType.METRICS, "snapshot", _encode(shape), kept=False))

    def note_audit(self, command: Command, outcome: str) -> None:
        """Take who asked for what, and what came of it: written, not told."""
        facts = {
            "actor": getattr(command, "actor", "storewatchd"),
            "action": type(command).__name__,
            "target": _target(command),
            "outcome": outcome,
        }
        self._lines.append(_Line("audit", type(command).__name__, _encode(facts), told=False))

    def put_state(self, kind: str, key: str, state: Mapping[str, Any] | None) -> None:
        """Take a piece of what is true now; None forgets it."""
        self.changes.append(StateChange(kind, key, None if state is None else _encode(state)))
        if kind in (REPOSITORY, MOUNT_POINT, TOKEN):
            # Kept in the store too, to rebuild a lost journal from.
            data = _encode({"kind": kind, "key": key, "value": state})
            self._lines.append(_Line("state", "put" if state else "drop", data, told=False))

    def numbered(
        self, numbers: range, *, epoch: str, node: str, unjournalled: bool = False
    ) -> tuple[list[Record], list[Published]]:
        """Return what to write and what to publish, under these numbers; what should be on disk
        before it is published says it where that is not so."""
        time = to_milliseconds(self.now.wall)
        records, published = [], []
        for seq, line in zip(numbers, self._lines, strict=True):
            if line.kept:
                records.append(
                    Record(
                        seq, time, line.type, line.kind, line.data, line.key, line.told, line.reason
                    )
                )
            if line.told:
                event = Event(
                    epoch,
                    seq,
                    node,
                    time,
                    EventType(line.type),
                    line.kind,
                    line.data,
                    unjournalled and line.kept,
                )
                published.append(publishable(event, line.severity))
        return records, published


def object_key(key: Key) -> str:
    """Return what an object's state and records have as key."""
    kind, object_id = key
    return f"{kind.value}/{object_id}"


def _target(command: Command) -> str:
    for name in ("alert_id", "token_id", "id", "name", "title"):
        value = getattr(command, name, None)
        if value:
            return str(value)
    token = getattr(command, "token", None)
    return token.id if token is not None else ""
