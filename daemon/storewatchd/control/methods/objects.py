"""objects.*: the inventory. What is so now comes from memory, what was so from the store."""

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from storewatch.wire import encode, params
from storewatchd.collector import Collector
from storewatchd.control.dispatch import Call, Handler
from storewatchd.control.methods.alerts import cannot_tell, time_of, what_is_missing
from storewatchd.control.pages import fitting
from storewatchd.core.commands import ForgetObject
from storewatchd.core.frames import ObjectKind
from storewatchd.core.inventory import MAX_OBJECTS
from storewatchd.core.model import format_time
from storewatchd.core.objects import Object
from storewatchd.core.queries import ObjectPlace, ObjectQuery
from storewatchd.errors import InvalidParams, NotFound, StoreError
from storewatchd.journal import Journal
from storewatchd.monitor import Monitor, object_key
from storewatchd.store import Store

if TYPE_CHECKING:
    from storewatchd.store.objects import Version

MOST_VERSIONS = 200
"""How many versions of an object are told, the newest ones."""


class _Told(NamedTuple):
    """A version of an object, what became of it then, and which other one that concerned."""

    object: Object
    change: str
    other: str


def handlers(
    monitor: Monitor, collector: Collector, store: Store, journal: Journal
) -> Mapping[str, Handler]:
    """Return the methods of this noun."""

    async def list_objects(_: Call, asked: params.ObjectsList) -> dict[str, Any]:
        query = ObjectQuery(
            kind=None if asked.kind is None else ObjectKind(asked.kind), here=asked.here
        )
        after = _place(asked.cursor)
        at = time_of("at", asked.at)
        if at is None:
            return _page(_now(monitor, query, after, asked.limit + 1), asked.limit, store.lacks)
        if at > monitor.now().wall:
            raise InvalidParams(f"at: {asked.at} is in the future")
        problem = None
        versions: list[Version] = []
        try:
            versions = await store.objects.at(at, query, after, asked.limit + 1)
        except StoreError as error:
            problem = str(error)
        oldest = journal.facts().oldest_unconfirmed
        if oldest is not None and oldest <= at:
            problem = problem or f"PostgreSQL lacks what happened since {format_time(oldest)}"
        rows = [
            (one.object, _shape(monitor, one.object, _was(one.object), one.until))
            for one in versions
        ]
        return _page(rows, asked.limit, problem or store.lacks)

    async def get_object(_: Call, asked: params.ObjectId) -> dict[str, Any]:
        known = _called(monitor, asked)
        versions: dict[tuple[float, int], _Told] = {}
        kind, name = (asked.kind, asked.id) if known is None else (known.kind.value, known.id)
        keys = [object_key((one, name)) for one in ObjectKind if kind in (None, one.value)]
        problem = None
        try:
            for version in await store.objects.versions(kind, name, MOST_VERSIONS):
                _add(versions, _Told(version.object, version.change, version.other))
        except StoreError as error:
            problem = what_is_missing(error)
            if known is None:
                raise cannot_tell("object", asked.id, error) from error
        history = [one for key in keys for one in (await journal.history(key))[-MOST_VERSIONS:]]
        waiting = [record for record in monitor.unwritten() if record.key in keys]
        for record in (*history, *waiting):
            told = msgspec.json.decode(record.data)
            _add(versions, _Told(Object.from_state(told), told["change"], told["other"]))
        newest_first = [versions[key] for key in sorted(versions, reverse=True)][:MOST_VERSIONS]
        newest = newest_first[0].object if known is None and newest_first else known
        if newest is None:
            raise NotFound(f"there is no object {asked.id!r}")
        status = _was(newest) if known is None else _status(known, _seen(monitor))
        problem = problem or store.lacks
        return {
            "object": _shape(monitor, newest, status),
            "versions": _dated(newest_first),
            "complete": problem is None,
            "incomplete_reason": problem,
        }

    async def forget(call: Call, asked: params.ObjectForget) -> dict[str, Any]:
        known = _called(monitor, asked)
        if known is None:
            raise NotFound(f"there is no object {asked.id!r}")
        last = await monitor.command(
            ForgetObject(call.caller.name, known.kind, known.id, asked.unseen)
        )
        collector.forget(last.kind, last.id)
        return _shape(monitor, last, "gone")

    return {
        "objects.list": list_objects,
        "objects.get": get_object,
        "objects.forget": forget,
    }


def _now(
    monitor: Monitor, query: ObjectQuery, after: ObjectPlace | None, most: int
) -> list[tuple[Object, dict[str, Any]]]:
    seen = _seen(monitor)
    return [
        (one, _shape(monitor, one, _status(one, seen)))
        for one in monitor.view.objects(query, after, most)
    ]


def _called(monitor: Monitor, asked: params.ObjectId) -> Object | None:
    """Return the object that is meant, None where memory has none.

    Raises:
        InvalidParams: it may be one of several.
    """
    kinds = [kind for kind in ObjectKind if asked.kind in (None, kind.value)]
    found = [one for kind in kinds if (one := monitor.view.object(kind, asked.id)) is not None]
    if not found:
        everything = monitor.view.objects(ObjectQuery(), None, MAX_OBJECTS)
        found = [one for one in everything if one.kind in kinds and _goes_by(one, asked.id)]
    if len(found) > 1:
        several = ", ".join(one.kind.value for one in found)
        raise InvalidParams(
            f"kind: {asked.id!r} is the id of several objects: say which ({several})"
        )
    return found[0] if found else None


def _goes_by(one: Object, name: str) -> bool:
    """Whether an object is also called so: without its driver, in other letters, by its node."""
    node = name.removeprefix("/dev/")
    return (
        one.id.rpartition("/")[2] == name
        or one.id.lower() == name.lower()
        or (one.is_here and node in (one.facts.get(fact) for fact in ("sg", "tape", "device")))
    )


def _seen(monitor: Monitor) -> set[str]:
    """Return the scopes that can be seen now."""
    at = monitor.now().wall
    return {str(state.scope) for state in monitor.books.table.scopes() if state.is_known(at)}


def _status(one: Object, seen: set[str]) -> str:
    if not one.is_here:
        return "gone"
    return "here" if seen.intersection(one.sources) else "unknown"


def _was(one: Object) -> str:
    return "here" if one.is_here else "gone"


def _shape(
    monitor: Monitor, one: Object, status: str, until: float | None = None
) -> dict[str, Any]:
    return {**one.to_json(until), "status": status, "node": monitor.node}


def _page(
    rows: list[tuple[Object, dict[str, Any]]], limit: int, problem: str | None
) -> dict[str, Any]:
    page = fitting(encode(shape) for _, shape in rows[:limit])
    more = len(rows) > len(page)
    last = rows[len(page) - 1][0] if more else None
    return {
        "objects": page,
        "next_cursor": None if last is None else ObjectPlace(last.kind, last.id).encode(),
        "complete": problem is None,
        "incomplete_reason": problem,
    }


def _add(versions: dict[tuple[float, int], _Told], told: _Told) -> None:
    versions.setdefault((told.object.since, told.object.version), told)


def _dated(newest_first: Iterable[_Told]) -> list[dict[str, Any]]:
    dated: list[dict[str, Any]] = []
    until = None
    for one, change, other in newest_first:
        shape = {
            "change": change,
            "other": other or None,
            "status": _was(one),
            "facts": dict(one.facts),
            "since": format_time(one.since),
            "until": until,
        }
        dated.append(shape)
        until = shape["since"]
    return dated


def _place(cursor: str | None) -> ObjectPlace | None:
    try:
        return None if cursor is None else ObjectPlace.decode(cursor)
    except ValueError as error:
        raise InvalidParams(f"cursor: {error}") from error
