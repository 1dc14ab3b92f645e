"""The values of the inventory: an object, in each of its versions, and what became of it."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from storewatchd.core.frames import ObjectKind
from storewatchd.core.model import EventType, format_time

MAX_TOLD = 20
"""Of how many changes of one sort each is an event of its own; more in one look are told
together."""

Key = tuple[ObjectKind, str]


class ObjectChange(StrEnum):
    """What became of an object; with `object_` before it, the kind of its event."""

    FOUND = "found"
    GONE = "gone"
    BACK = "back"
    MOVED = "moved"
    SWAPPED = "swapped"  # it is where another one of its kind was
    RENAMED = "renamed"  # the kernel calls it something else
    DISCONNECTED = "disconnected"  # the kernel has it no more, and somebody else says it is here
    CONNECTED = "connected"  # the kernel has it, and did not
    RELABELLED = "relabelled"  # what went by another label before
    REPLACED = "replaced"  # another one has its label now
    SHARED = "shared"  # another one that is here says that it has the same number
    CHANGED = "changed"  # anything else: its firmware, its size
    FORGOTTEN = "forgotten"  # by a person


@dataclass(frozen=True, slots=True)
class Nature:
    """Of a kind: the type of its events; which facts are the kernel's names; which say where it is;
    which of these name a place for one object only; and which is its own number, whatever its
    label says. What happens to objects of a quiet kind is told by who looks at them."""

    event: EventType
    names: frozenset[str] = frozenset()
    whereabouts: frozenset[str] = frozenset()
    place: tuple[str, ...] = ()
    number: str = ""
    is_quiet: bool = False


_NODES = frozenset({"sg", "tape", "address"})

NATURES: Mapping[ObjectKind, Nature] = {
    ObjectKind.TAPE_LIBRARY: Nature(EventType.TAPE, _NODES),
    ObjectKind.TAPE_DRIVE: Nature(
        EventType.TAPE, _NODES, frozenset({"library", "bay"}), ("library", "bay")
    ),
    ObjectKind.CARTRIDGE: Nature(
        EventType.TAPE,
        whereabouts=frozenset({"library", "place", "element"}),
        number="serial",
        is_quiet=True,
    ),
    ObjectKind.DISK: Nature(EventType.STORAGE, frozenset({"device"})),
    ObjectKind.SCST_TARGET: Nature(EventType.SCST),
    ObjectKind.SCST_DEVICE: Nature(EventType.SCST),
}
_ALWAYS_TOLD = frozenset(
    {
        *(ObjectChange.RELABELLED, ObjectChange.REPLACED),
        *(ObjectChange.SHARED, ObjectChange.FORGOTTEN),
    }
)


@dataclass(frozen=True, slots=True)
class Object:
    """One version of an object: so it was from `since` on, until the next version.

    `sources` are the scopes that see it here, with what each of them says; `learned` is what was
    said of it without that. Where no scope sees it, it is gone, and its facts are the last ones.
    """

    kind: ObjectKind
    id: str
    version: int
    first_seen: float
    since: float
    facts: Mapping[str, str]
    sources: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    learned: Mapping[str, str] = field(default_factory=dict)

    @property
    def key(self) -> Key:
        return self.kind, self.id

    @property
    def is_here(self) -> bool:
        return bool(self.sources)

    @property
    def place(self) -> tuple[str, ...]:
        """Where it is, or was last, if that is a place for one object only; else empty."""
        names = NATURES[self.kind].place
        place = tuple(self.facts.get(name, "") for name in names)
        return place if all(place) else ()

    @property
    def number(self) -> str:
        """Its own number, as far as it is known beside its label."""
        return self.facts.get(NATURES[self.kind].number, "")

    def to_json(self, until: float | None = None) -> dict[str, Any]:
        """Return the wire's shape, less the status; `until` is when the next version began."""
        return {
            "kind": self.kind.value,
            "id": self.id,
            "facts": dict(self.facts),
            "seen_by": sorted(self.sources),
            "first_seen": format_time(self.first_seen),
            "since": format_time(self.since),
            "until": format_time(until),
            "version": self.version,
        }

    def to_state(self) -> dict[str, Any]:
        """Return it as the journal and the store keep it."""
        return {
            "kind": self.kind.value,
            "id": self.id,
            "version": self.version,
            "first_seen": self.first_seen,
            "since": self.since,
            "facts": dict(self.facts),
            "sources": {source: dict(facts) for source, facts in self.sources.items()},
            "learned": dict(self.learned),
        }

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> "Object":
        """Return what `to_state` said.

        Raises:
            KeyError, TypeError, ValueError, AttributeError: it is none.
        """
        return cls(
            kind=ObjectKind(state["kind"]),
            id=str(state["id"]),
            version=int(state["version"]),
            first_seen=float(state["first_seen"]),
            since=float(state["since"]),
            facts=dict(state["facts"]),
            sources={source: dict(facts) for source, facts in state["sources"].items()},
            learned=dict(state["learned"]),
        )


@dataclass(frozen=True, slots=True)
class Change:
    """What became of an object. `differs` names the facts that are not as before, with both
    values; `other` is the id of the object that had its place, its label or its number."""

    kind: ObjectChange
    object: Object
    differs: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    other: str = ""

    @property
    def event(self) -> EventType:
        """The type of its event."""
        is_virtual = self.object.facts.get("virtual") == "true"
        return EventType.VTL if is_virtual else NATURES[self.object.kind].event

    @property
    def is_told(self) -> bool:
        """Whether there is an event about it."""
        return self.kind in _ALWAYS_TOLD or not NATURES[self.object.kind].is_quiet

    def to_json(self) -> dict[str, Any]:
        """Return the data of its event."""
        told = {
            "kind": self.object.kind.value,
            "id": self.object.id,
            "facts": dict(self.object.facts),
            "from": {name: old for name, (old, _) in self.differs.items()},
            "to": {name: new for name, (_, new) in self.differs.items()},
        }
        return {**told, "other": self.other} if self.other else told


def events_of(changes: Iterable[Change]) -> Iterator[tuple[EventType, str, dict[str, Any]]]:
    """Yield type, kind and data of the events that tell of changes; many of one sort at once, as
    when a machine is looked at for the first time, are told together."""
    sorts: dict[tuple[EventType, ObjectChange], list[Change]] = {}
    for change in changes:
        if change.is_told:
            sorts.setdefault((change.event, change.kind), []).append(change)
    for (event, kind), alike in sorts.items():
        if len(alike) > MAX_TOLD:
            counts: dict[str, int] = {}
            for change in alike:
                name = change.object.kind.value
                counts[name] = counts.get(name, 0) + 1
            yield event, f"objects_{kind.value}", {"count": len(alike), "kinds": counts}
        else:
            for change in alike:
                yield event, f"object_{kind.value}", change.to_json()
