"""The shapes of the inventory: what a machine consists of, object by object."""

from typing import Literal

import msgspec

ObjectKindName = Literal[
    "tape_library", "tape_drive", "cartridge", "disk", "scst_target", "scst_device"
]
ObjectStatus = Literal["here", "gone", "unknown"]


class Object(msgspec.Struct, kw_only=True):
    """An object by its stable identity, so since `since` and until `until`, null for still. Its
    status is unknown while nobody can look where it was; `seen_by` are the scopes of probes."""

    kind: str
    id: str
    status: ObjectStatus
    facts: dict[str, str]
    seen_by: list[str]
    first_seen: str
    since: str
    until: str | None
    version: int
    node: str


class ObjectList(msgspec.Struct, kw_only=True):
    objects: list[Object]
    next_cursor: str | None
    complete: bool
    incomplete_reason: str | None


class ObjectVersion(msgspec.Struct, kw_only=True):
    """What became of an object then; `other` is the one that had its place, label or number."""

    change: str
    other: str | None
    status: ObjectStatus
    facts: dict[str, str]
    since: str
    until: str | None


class ObjectDetail(msgspec.Struct, kw_only=True):
    """An object and its versions, newest first."""

    object: Object
    versions: list[ObjectVersion]
    complete: bool
    incomplete_reason: str | None
