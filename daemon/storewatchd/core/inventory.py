"""What this machine consists of, object by object: each by its stable identity, with what is known
of it and since when.

What the kernel calls an object, and where it is, are facts that change; the object stays. So the
same drive under another `/dev/sg`, another drive in the same bay and the same cartridge under
another bar code are three different changes. A look that failed changes nothing. Times are Unix
seconds by the wall clock.
"""

from collections import OrderedDict, deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace

from storewatchd.core.frames import Found, Frame, ObjectKind, Outcome, Scope
from storewatchd.core.objects import NATURES, Change, Key, Object, ObjectChange
from storewatchd.errors import Conflict, NotFound

MAX_OBJECTS = 50_000
MAX_GONE = 10_000
"""How many objects are kept that are not here; of more, those that went first are left to the
store."""

STEP = 2_000
"""Through how many objects one step goes, one that is not as before counting for ten: the first
look at a large machine finds thousands."""

MAX_TEXT = 512
"""How long an id may be, and how much is kept of a fact."""


Facts = Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Taken:
    """What follows from a look: the changes in their order, the objects that have to be written
    down as they are now, and the keys of those that are not kept any more."""

    changes: tuple[Change, ...] = ()
    touched: Mapping[Key, Object] = field(default_factory=dict)
    dropped: tuple[Key, ...] = ()


NOTHING = Taken()


@dataclass(slots=True)
class _Turn:
    """What follows, while it is being found out."""

    changes: list[Change] = field(default_factory=list)
    touched: dict[Key, Object] = field(default_factory=dict)
    dropped: dict[Key, None] = field(default_factory=dict)


@dataclass(slots=True)
class _Pass:
    """A look that is gone through: what it found, and then what it sees no more."""

    source: str
    at: float
    found: deque[Found]
    here: set[Key] = field(default_factory=set)
    gone: deque[Key] | None = None  # None while there is more that it found


class Inventory:
    """The objects of this node."""

    def __init__(self) -> None:
        self._objects: dict[Key, Object] = {}
        self._seen_by: dict[str, dict[Key, Facts]] = {}
        """What each scope sees here."""
        self._last: dict[str, tuple[Found, ...]] = {}
        """What each scope said last: the same again changes nothing."""
        self._said: dict[str, tuple[tuple[Found, ...], float]] = {}
        """What is to be gone through, and when it was said."""
        self._pass: _Pass | None = None
        self._holders: dict[tuple[ObjectKind, tuple[str, ...]], str] = {}
        """Who is in a place, or was last."""
        self._numbers: dict[tuple[ObjectKind, str], str] = {}
        """Who was the last to have a number."""
        self._gone: OrderedDict[Key, None] = OrderedDict()
        """What is not here, in the order in which it went: the first is found at once, also where
        many before it were dropped."""
        self.refused_total = 0
        """How many objects found no place since the start, or had an id that cannot be one."""

    def __len__(self) -> int:
        return len(self._objects)

    def __iter__(self) -> Iterator[Object]:
        return iter(self._objects.values())

    def get(self, kind: ObjectKind, object_id: str) -> Object | None:
        return self._objects.get((kind, object_id))

    def restore(self, objects: Iterable[Object]) -> None:
        """Take over what was known before a restart."""
        in_order = sorted(objects, key=lambda one: one.since)
        for one in in_order:
            for source, facts in one.sources.items():
                self._seen_by.setdefault(source, {})[one.key] = facts
            self._keep(one)
        for one in reversed(in_order):
            if one.place:
                self._holders.setdefault((one.kind, one.place), one.id)

    def take_back(self, objects: Iterable[Object]) -> Taken:
        """Take over what was known once and is not known now."""
        lost = [one for one in objects if one.key not in self._objects]
        holders, numbers = {**self._holders}, {**self._numbers}
        self.restore(lost)
        self._holders |= holders
        self._numbers |= numbers
        for source in {source for one in lost for source in one.sources}:
            self._last.pop(source, None)  # the same again says now that these are gone
        return Taken(touched={one.key: one for one in lost})

    # What looks and people say.

    def take(self, frame: Frame) -> None:
        """Take the outcome of a look, to go through it in `step`; one that did not see says
        nothing."""
        if frame.outcome not in (Outcome.SEEN, Outcome.ABSENT):
            return
        source = str(frame.scope)
        found = frame.objects if frame.outcome is Outcome.SEEN else ()
        if self._last.get(source) != found:
            self._last[source] = found
            self._said.pop(source, None)
            self._said[source] = found, frame.at

    def expect(self, probe: str, scopes: Iterable[Scope], at: float) -> None:
        """Say which scopes a probe has: what only others saw is gone."""
        wanted = {str(scope) for scope in scopes}
        for source in {**self._seen_by, **self._said, **self._last}:
            if source.partition("{")[0] == probe and source not in wanted:
                self._last.pop(source, None)
                self._said[source] = (), at

    @property
    def is_waiting(self) -> bool:
        """Whether there is more to go through."""
        return self._has_looks or len(self._gone) > MAX_GONE

    @property
    def _has_looks(self) -> bool:
        return self._pass is not None or bool(self._said)

    def step(self) -> Taken:
        """Go through what looks said, up to so many objects that are not as before; return what
        follows."""
        turn = _Turn()
        left = STEP
        while left > 0 and self._has_looks:
            if self._pass is None:
                source = next(iter(self._said))
                found, at = self._said.pop(source)
                self._pass = _Pass(source, at, deque(found))
            left -= self._go_on(self._pass, turn)
        for _ in range(min(len(self._gone) - MAX_GONE, STEP // 10)):
            self._drop_oldest(turn)
        return Taken(tuple(turn.changes), turn.touched, tuple(turn.dropped))

    def forget(
        self,
        kind: ObjectKind,
        object_id: str,
        at: float,
        is_seen: Callable[[str], bool],
        *,
        unseen: bool = False,
    ) -> Taken:
        """Take leave of an object that is gone, or with `unseen` of one that nobody can look for;
        `is_seen` says whether a scope can be seen now.

        Raises:
            NotFound: there is no such object.
            Conflict: it is here, or may be.
        """
        known = self._objects.get((kind, object_id))
        if known is None:
            raise NotFound(f"there is no {kind.value} {object_id!r}")
        seer = next(filter(is_seen, sorted(known.sources)), None)
        if seer is not None:
            raise Conflict(
                f"the {kind.value} {object_id!r} is here, {seer} sees it: only what is gone can be "
                "forgotten"
            )
        if known.sources and not unseen:
            raise Conflict(
                f"nobody can look for the {kind.value} {object_id!r} now, {min(known.sources)} is "
                "blind: it may be there; only with unseen (--unseen) is it forgotten all the same"
            )
        for source in known.sources:
            del self._seen_by[source][known.key]
            self._last.pop(source, None)
        self._drop(known.key)
        last = replace(known, version=known.version + 1, since=at, sources={})
        return Taken((Change(ObjectChange.FORGOTTEN, last),), dropped=(known.key,))

    # Inside.

    def _go_on(self, look: _Pass, turn: _Turn) -> int:
        """Go through the next object of a look; return how much work that was."""
        seen = self._seen_by.setdefault(look.source, {})
        if look.found:
            return 10 if self._take(look, look.found.popleft(), seen, turn) else 1
        if look.gone is None:
            look.gone = deque(key for key in seen if key not in look.here)
        if look.gone:
            self._lose(look, look.gone.popleft(), seen, turn)
            return 10
        if not seen:
            del self._seen_by[look.source]
        self._pass = None
        return 1

    def _take(self, look: _Pass, one: Found, seen: dict[Key, Facts], turn: _Turn) -> bool:
        """Take an object that a look found; return whether anything of it is news."""
        key = one.kind, one.id
        if one.is_here:
            if key in look.here:
                return False  # two with the same label: the first counts, and who looks tells of it
            look.here.add(key)
        facts = _clean(one.facts)
        if one.is_here and seen.get(key) == facts:
            return False
        known = self._objects.get(key) or self._fresh(key, look.at, turn)
        if known is None:
            return False
        if one.is_here:
            seen[key] = facts
            told = replace(known, sources={**known.sources, look.source: facts})
        else:
            told = replace(known, learned={**known.learned, **facts})
        self._put(told, look.at, turn)
        return True

    def _lose(self, look: _Pass, key: Key, seen: dict[Key, Facts], turn: _Turn) -> None:
        """Take that a look sees an object no more."""
        known = self._objects.get(key)
        if seen.pop(key, None) is not None and known is not None:
            self._put(_less(known, look.source), look.at, turn)

    def _fresh(self, key: Key, at: float, turn: _Turn) -> Object | None:
        """Return an object of which nothing is known yet, None where there is no room for it."""
        kind, object_id = key
        if len(self._objects) >= MAX_OBJECTS and self._gone:
            self._drop_oldest(turn)
        if len(self._objects) >= MAX_OBJECTS or not _is_id(object_id):
            self.refused_total += 1
            return None
        return Object(kind, object_id, 0, at, at, _NOTHING_SAID, learned=_NOTHING_SAID)

    def _put(self, told: Object, at: float, turn: _Turn) -> None:
        """Take an object as it is told of now, and note what that changes."""
        before = self._objects.get(told.key)
        if before is not None and (before.sources, before.learned) == (told.sources, told.learned):
            return
        facts = _merged(told)
        differs = {
            name: (told.facts.get(name, ""), facts.get(name, ""))
            for name in sorted({*told.facts, *facts})
            if told.facts.get(name, "") != facts.get(name, "")
        }
        now = replace(told, facts=facts)
        kind, other = self._verdict(before, now, differs)
        if kind is not None:
            now = replace(now, version=now.version + 1, since=at)
            turn.changes.append(Change(kind, now, differs, other))
        turn.touched[now.key] = now
        turn.dropped.pop(now.key, None)
        self._keep(now)

    def _verdict(
        self, before: Object | None, now: Object, differs: Mapping[str, tuple[str, str]]
    ) -> tuple[ObjectChange | None, str]:
        """Return what became of an object, and the other one that this concerns."""
        nature = NATURES[now.kind]
        old_number, number = differs.get(nature.number, ("", ""))
        if old_number and number:
            return ObjectChange.REPLACED, ""
        if number:
            other = self._objects.get((now.kind, self._numbers.get((now.kind, number), now.id)))
            if other is not None and other.id != now.id:
                is_shared = other.is_here and other.number == number
                return ObjectChange.SHARED if is_shared else ObjectChange.RELABELLED, other.id
        was_there = before is not None and before.is_here and before.place == now.place
        if now.is_here and now.place and not was_there:
            holder = self._holders.get((now.kind, now.place), now.id)
            if holder != now.id:
                return ObjectChange.SWAPPED, holder
        if before is None:
            return ObjectChange.FOUND, ""
        if before.is_here != now.is_here:
            return (ObjectChange.BACK if now.is_here else ObjectChange.GONE), ""
        if not differs:
            return None, ""
        if differs.keys() <= nature.names:
            if not any(new for _, new in differs.values()):
                return ObjectChange.DISCONNECTED, ""
            if not any(old for old, _ in differs.values()):
                return ObjectChange.CONNECTED, ""
            return ObjectChange.RENAMED, ""
        if not differs.keys().isdisjoint(nature.whereabouts):
            return ObjectChange.MOVED, ""
        return ObjectChange.CHANGED, ""

    def _keep(self, one: Object) -> None:
        self._objects[one.key] = one
        if one.is_here:
            self._gone.pop(one.key, None)
        else:
            self._gone.setdefault(one.key)
        if one.is_here and one.place:
            self._holders[one.kind, one.place] = one.id
        if one.number:
            self._numbers[one.kind, one.number] = one.id

    def _drop(self, key: Key) -> None:
        one = self._objects.pop(key)
        self._gone.pop(key, None)
        if self._numbers.get((one.kind, one.number)) == one.id:
            del self._numbers[one.kind, one.number]
        if self._holders.get((one.kind, one.place)) == one.id:
            del self._holders[one.kind, one.place]

    def _drop_oldest(self, turn: _Turn) -> None:
        oldest = next(iter(self._gone))
        self._drop(oldest)
        turn.touched.pop(oldest, None)
        turn.dropped[oldest] = None


def _less(one: Object, source: str) -> Object:
    """Return an object that a scope sees no more: what that said of it holds, but for its names and
    its whereabouts."""
    nature = NATURES[one.kind]
    sources = dict(one.sources)
    said = sources.pop(source, {})
    stays = {
        name: text
        for name, text in said.items()
        if name not in nature.names and name not in nature.whereabouts
    }
    return replace(one, sources=sources, learned={**one.learned, **stays})


_NOTHING_SAID: Facts = {}


def _merged(told: Object) -> Facts:
    """Return what is known of an object: of one that is gone, what was known last."""
    if len(told.sources) == 1 and not told.learned:
        return next(iter(told.sources.values()))  # of ten thousand cartridges, once each
    facts = dict(told.learned) if told.sources else {**told.facts, **told.learned}
    for source in sorted(told.sources):
        facts |= told.sources[source]
    return facts


def _is_id(text: str) -> bool:
    return 0 < len(text) <= MAX_TEXT and "\0" not in text


def _clean(facts: Facts) -> Facts:
    """Return facts as the store can hold them."""
    if all(len(text) <= MAX_TEXT and "\0" not in text for text in facts.values()):
        return facts
    return {name: text.replace("\0", "")[:MAX_TEXT] for name, text in facts.items()}
