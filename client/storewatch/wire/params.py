"""The parameters of every method. An unknown one is refused by name.

Durations are seconds. Times are RFC 3339 with an offset.
"""

import re
from typing import Annotated

import msgspec
from msgspec import Meta

from storewatch.wire.inventory import ObjectKindName
from storewatch.wire.types import EventTypeName, PermissionName, Severity, State, TaskState

Name = Annotated[str, Meta(min_length=1, max_length=200)]
Text = Annotated[str, Meta(max_length=4096)]
LongText = Annotated[str, Meta(max_length=65536)]
Id = Annotated[str, Meta(min_length=1, max_length=128)]
Limit = Annotated[int, Meta(ge=1, le=1000)]
Labels = Annotated[dict[Name, Text], Meta(max_length=64)]
Size = Annotated[int, Meta(ge=0, le=2**63 - 1)]
Percent = Annotated[float, Meta(ge=0, le=100)]
Duration = Annotated[float, Meta(gt=0, le=315_360_000)]


_EVENT_ID = re.compile(r"[0-9A-Za-z]{1,64}\.[0-9]{1,18}")


def is_event_id(text: str) -> bool:
    """Return whether a text can be the id of an event, which is what `since` takes."""
    return _EVENT_ID.fullmatch(text) is not None


class Params(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """What every parameter object is: named, and nothing unknown."""


class Nothing(Params):
    """A method that takes no parameters."""


class AlertsList(Params):
    """Filters combine. `label` is a list of matchers such as `repository="a"` or `node=~"x.*"`."""

    severity: list[Severity] | None = None
    source: list[Name] | None = None
    state: list[State] | None = None
    acknowledged: bool | None = None
    resource_type: Name | None = None
    resource_id: Text | None = None
    rule: Name | None = None
    label: Annotated[list[Text], Meta(max_length=32)] | None = None
    since: str | None = None
    until: str | None = None
    limit: Limit = 50
    cursor: Text | None = None


class AlertId(Params):
    id: Id


class AlertMark(Params):
    id: Id
    note: Text | None = None


class AlertCreate(Params):
    """`key` makes it the same alert when it is created again while open; `ttl` resolves it when
    it has not been created again for that long. With an `idempotency_key` of its own a request
    may be sent again, for a day, until its answer arrives: it is done once."""

    severity: Severity
    source: Name
    title: Annotated[str, Meta(min_length=1, max_length=1000)]
    message: LongText = ""
    resource_type: Annotated[str, Meta(max_length=200)] = ""
    resource_id: Text = ""
    labels: Labels = {}
    annotations: Labels = {}
    key: Name | None = None
    ttl: Duration | None = None
    idempotency_key: Name | None = None


class EventsSubscribe(Params):
    """`since` is the id of the last event that was seen; `snapshot` asks for what is so now."""

    types: list[EventTypeName] | None = None
    severity: list[Severity] | None = None
    since: Id | None = None
    snapshot: bool = False


class EventsUnsubscribe(Params):
    subscription: Id


class EventsList(Params):
    """`since` is the id of the event after which the list begins, `from` a time: it begins with
    the first event of that time or later. Without either it is the newest events."""

    types: list[EventTypeName] | None = None
    since: Id | None = None
    from_: str | None = msgspec.field(default=None, name="from")
    limit: Limit = 50


class RuleName(Params):
    name: Name


class RulesValidate(Params):
    """`content` is a rule file's text; without it the files in force are checked again."""

    content: Annotated[str, Meta(max_length=1_000_000)] | None = None
    path: Text = "(request)"


class TasksList(Params):
    name: Name | None = None
    state: list[TaskState] | None = None
    limit: Limit = 50
    cursor: Text | None = None


class TaskId(Params):
    id: Id


class TaskStart(Params):
    """`id` is the caller's own, for reports that may be sent twice; it is made up otherwise.
    `at` is when it began, for a report that comes late."""

    name: Name
    type: Name = "task"
    id: Id | None = None
    message: Text = ""
    at: str | None = None


class TaskProgress(Params):
    id: Id
    percent: Percent | None = None
    message: Text | None = None
    bytes: Size | None = None


class TaskFinish(Params):
    """A task without `exit_status` and `signal` ended well unless `failed` says otherwise."""

    id: Id
    failed: bool | None = None
    exit_status: Annotated[int, Meta(ge=0, le=255)] | None = None
    signal: Name | None = None
    message: Text = ""
    output: LongText = ""
    bytes: Size | None = None
    at: str | None = None


class RepositoryAdd(Params):
    name: Name
    path: Text


class RepositoryName(Params):
    name: Name


class ObjectsList(Params):
    """`here` is for what is here (true) or gone (false); with `at` the list is that of a moment."""

    kind: ObjectKindName | None = None
    here: bool | None = None
    at: str | None = None
    limit: Limit = 50
    cursor: Text | None = None


class ObjectId(Params):
    """Without a kind, the only object that has this id, or else goes by this name."""

    id: Annotated[str, Meta(min_length=1, max_length=512)]
    kind: ObjectKindName | None = None


class ObjectForget(ObjectId):
    """`unseen` also forgets what nobody can look for now."""

    unseen: bool = False


class ProbesList(Params):
    probe: Name | None = None


class ProbesRun(Params):
    probe: Name


class ProbesRecord(Params):
    """Record for so long; the recording comes as notifications to this connection."""

    seconds: Annotated[float, Meta(gt=0, le=86_400)]


class ProbesPlan(Params):
    device: Text | None = None


class MetricsQuery(Params):
    expr: Annotated[str, Meta(min_length=1, max_length=16384)]


class TapeAlert(Params):
    """A drive or library by its serial number, or by the name of one of its nodes. `asker` tells
    who asks from others of the same user: each is told of every flag once."""

    device: Annotated[str, Meta(min_length=1, max_length=4096)]
    asker: Name | None = None


class TapeTold(Params):
    """What `tape.alert` said and arrived, by its `device` and `mark`."""

    device: Annotated[str, Meta(min_length=1, max_length=4096)]
    mark: Annotated[int, Meta(ge=0, le=2**62)]
    asker: Name | None = None


class TokenCreate(Params):
    name: Name
    permissions: Annotated[list[PermissionName], Meta(min_length=1)]
    ttl: Duration | None = None


class TokenId(Params):
    id: Id


class TokenVerify(Params):
    secret: Text
