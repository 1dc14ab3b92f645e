"""What people and programs ask the monitor to do, as values.

Commands are data so that the monitor's input can be recorded and replayed. `actor` is who asked.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, get_args

from storewatchd.core.frames import ObjectKind
from storewatchd.core.model import Alert, EventType, Severity
from storewatchd.core.permissions import Token
from storewatchd.core.rules import RuleSet


@dataclass(frozen=True, slots=True, kw_only=True)
class CreateAlert:
    """Create an alert, or count it again where one with the same key is open."""

    actor: str
    severity: Severity
    source: str
    title: str
    message: str = ""
    resource_type: str = ""
    resource_id: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    annotations: Mapping[str, str] = field(default_factory=dict)
    key: str | None = None
    ttl_s: float | None = None


@dataclass(frozen=True, slots=True)
class AcknowledgeAlert:
    actor: str
    alert_id: str
    note: str | None = None


@dataclass(frozen=True, slots=True)
class ResolveAlert:
    actor: str
    alert_id: str
    note: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class StartTask:
    """`at` is Unix seconds, for a report that comes late."""

    actor: str
    name: str
    type: str = "task"
    id: str | None = None
    message: str = ""
    at: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ProgressTask:
    actor: str
    id: str
    percent: float | None = None
    message: str | None = None
    bytes: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class FinishTask:
    actor: str
    id: str
    failed: bool | None = None
    exit_status: int | None = None
    signal: str | None = None
    message: str = ""
    output: str = ""
    bytes: int | None = None
    at: float | None = None


@dataclass(frozen=True, slots=True)
class AddRepository:
    actor: str
    name: str
    path: str


@dataclass(frozen=True, slots=True)
class RemoveRepository:
    actor: str
    name: str


@dataclass(frozen=True, slots=True)
class PutToken:
    actor: str
    token: Token


@dataclass(frozen=True, slots=True)
class RevokeToken:
    actor: str
    token_id: str


@dataclass(frozen=True, slots=True)
class ForgetObject:
    """`unseen` also forgets what nobody can look for now."""

    actor: str
    kind: ObjectKind
    id: str
    unseen: bool = False


@dataclass(frozen=True, slots=True)
class Announce:
    """Say something about the daemon itself or the machine, as an event. `notice` is the key of
    what the journal had noted to be told, which is forgotten with that."""

    type: EventType
    kind: str
    facts: Mapping[str, Any]
    notice: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rebuild:
    """Take back what was lost with the journal, as the store knows it, unless it is known.

    Alerts are open ones, each with the reason of its opening; runs and what is known of all runs of
    a name are as the journal keeps them. `is_all` says that nothing more follows.
    """

    alerts: tuple[tuple[Alert, Mapping[str, Any]], ...] = ()
    runs: tuple[Mapping[str, Any], ...] = ()
    names: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    repositories: Mapping[str, str] = field(default_factory=dict)  # name -> path
    mount_points: Mapping[str, str] = field(default_factory=dict)  # path -> mount point
    tokens: tuple[Token, ...] = ()
    objects: tuple[Mapping[str, Any], ...] = ()  # as the journal keeps them
    is_all: bool = True


@dataclass(frozen=True, slots=True)
class ReplaceRules:
    """Put another set of rules in force."""

    actor: str
    rules: RuleSet


Command = (
    CreateAlert
    | AcknowledgeAlert
    | ResolveAlert
    | StartTask
    | ProgressTask
    | FinishTask
    | AddRepository
    | RemoveRepository
    | PutToken
    | RevokeToken
    | ReplaceRules
    | ForgetObject
    | Announce
    | Rebuild
)

KINDS: tuple[type[Any], ...] = get_args(Command)
"""Every kind of command."""
