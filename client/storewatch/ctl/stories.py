"""Events, and why an alert changed, as one sentence each."""

from typing import Any

import msgspec

from storewatch.ctl import words
from storewatch.wire.types import Event, TimelineEntry

MOST_UNSEEN = 3

LONGEST_EXPRESSION = 120
"""A rule's expression that is longer is told by the rule's name."""

_BOUNDS = {"at_least": "at least ", "at_most": "at most "}


def story(event: Event) -> str:
    """Return what an event says, as one line."""
    return f"{_told(event)} (not on disk yet)" if event.unjournalled else _told(event)


def _told(event: Event) -> str:
    data = event.data if isinstance(event.data, dict) else {}
    is_object = event.kind.startswith("object_")
    tell = None if is_object else _STORIES.get(event.type)
    if tell is not None and event.kind not in ("gap",):
        try:
            return words.line(tell(event.kind, data))
        except (KeyError, TypeError, AttributeError, ValueError):
            # A newer daemon tells it otherwise: show what it says.
            return _as_it_is(event)
    if is_object:
        try:
            return words.line(_object(event.kind.removeprefix("object_"), data))
        except (KeyError, TypeError, AttributeError, ValueError):
            return _as_it_is(event)
    if event.kind == "gap":
        return words.line(f"events are missing here: {data.get('reason', 'no longer kept')}")
    return _as_it_is(event)


def _as_it_is(event: Event) -> str:
    if isinstance(event.data, dict) and set(event.data) == {"message"}:
        return words.line(str(event.data["message"]))
    if isinstance(event.data, dict):
        return words.line(facts(event.data))
    return words.line(msgspec.json.encode(event.data).decode())


def facts(named: dict[str, Any]) -> str:
    """Return names and values as one line, what is empty left out."""
    return ", ".join(
        f"{name} {value if isinstance(value, str) else msgspec.json.encode(value).decode()}"
        for name, value in named.items()
        if value not in (None, "", [], {})
    )


def _alert(kind: str, data: dict[str, Any]) -> str:
    rule = f" ({data['rule']})" if data["rule"] else ""
    by = {"acknowledged": data["acknowledged_by"], "resolved": data["resolved_by"]}.get(kind)
    who = f", by {by}" if by else ""
    return f"{data['severity']}: {data['title']}{rule}{who}"


def _task(kind: str, data: dict[str, Any]) -> str:
    name = data["name"]
    if kind == "start":
        return f"{name} began"
    if kind == "progress":
        percent = data["progress_percent"]
        share = "" if percent is None else f" {percent:.0f} %"
        said = f": {data['message']}" if data["message"] else ""
        return f"{name}{share}{said}"
    return f"{name} {ending(data)}"


def ending(data: dict[str, Any]) -> str:
    """Return how a task's run ended, in words."""
    took = data["duration_seconds"]
    after = "" if took is None else f" after {words.duration(took)}"
    how = ""
    if data["signal"]:
        how = f" by {data['signal']}"
    elif data["exit_status"]:
        how = f" with status {data['exit_status']}"
    return f"{data['state']}{how}{after}"


def why(entry: TimelineEntry, *, since: str) -> str:
    """Return why an alert changed, as one line; `since` is when its condition began to hold."""
    try:
        return words.line(_why(entry.kind, entry.reason, since))
    except (KeyError, TypeError, AttributeError, ValueError):
        return words.line(facts(entry.reason))  # a newer daemon tells it otherwise


def _why(kind: str, reason: dict[str, Any], since: str) -> str:
    if "expr" in reason:
        return _held(kind, reason, since)
    if "ttl_seconds" in reason:
        return _created(kind, reason)
    if "unseen" in reason:
        return _unseen(reason["unseen"])
    if "unseen_seconds" in reason:
        return f"it is seen again, after {words.duration(reason['unseen_seconds'])}"
    if "actor" in reason:
        return f"by {reason['actor']}" + (f": {reason['note']}" if reason["note"] else "")
    if "why" in reason:
        other = f": {reason['id']}" if "id" in reason else ""
        never = "" if reason.get("fired", True) else ", and it never fired"
        return f"{reason['why']}{other}{never}"
    if set(reason) == {"rule"}:
        return f"the rule {reason['rule']} is no longer there"
    return facts(reason)


def _held(kind: str, reason: dict[str, Any], since: str) -> str:
    expression = " ".join(reason["expr"].split())
    value = _BOUNDS.get(reason["state"], "") + _number(expression, reason["value"])
    rows = f" for {words.labels(reason['series'])}" if reason["series"] else ""
    is_short = len(expression) <= LONGEST_EXPRESSION
    holds = f": {expression} holds" if is_short else ""
    so = f"the value is {value}{holds}{rows} since {words.local_time(since)}"
    if kind == "pending":
        so += f", and it fires if that goes on for {words.duration(reason['for_seconds'])}"
    return so if is_short else f"{so}; its expression: storewatchctl rules show {reason['rule']}"


def _number(expression: str, value: float | None) -> str:
    # What a counter grew by is reckoned for the whole window: 1.00001 of one that grew by 1.
    if value is not None and "increase(" in expression:
        return f"about {words.number(float(f'{value:.3g}'))}"
    return words.number(value)


def _created(kind: str, reason: dict[str, Any]) -> str:
    again = " again" if kind == "repeated" else ""
    key = "" if reason["key"] is None else f" with the key {reason['key']}"
    ttl = reason["ttl_seconds"]
    end = (
        "" if ttl is None else f"; it ends unless it is created again within {words.duration(ttl)}"
    )
    return f"created{again} by {reason['actor']}{key}{end}"


def _unseen(unseen: list[dict[str, str]]) -> str:
    shown = [words.labels(one) if one else "anything" for one in unseen[:MOST_UNSEEN]]
    more = f" and {len(unseen) - MOST_UNSEEN} more" if len(unseen) > MOST_UNSEEN else ""
    return f"what it rests on cannot be seen: {', '.join(shown)}{more}"


def _tape(kind: str, data: dict[str, Any]) -> str:
    """Return where a cartridge went, or what a library or drive said."""
    tell = _OF_TAPES.get(kind)
    return facts(data) if tell is None else tell(kind, data)


def _cartridge(kind: str, data: dict[str, Any]) -> str:
    happened = kind.removeprefix("cartridge_")
    came = f" from {_place(data['from'])}" if "from" in data else ""
    went = f" to {_place(data['to'])}" if "to" in data else ""
    return f"cartridge {data['barcode']}: {happened}{came}{went}, library {data['library']}"


def _place(place: dict[str, Any]) -> str:
    drive = f" ({place['drive']})" if place.get("drive") else ""
    return f"{place['type'].replace('_', ' ')} {place['element']}{drive}"


def _flag(_: str, data: dict[str, Any]) -> str:
    whose = "drive" if "drive" in data else "library"
    barcode = f" with cartridge {data['barcode']}" if data.get("barcode") else ""
    severity = f"{data['severity']}: " if data["severity"] else ""
    return (
        f"{severity}{whose} {data[whose]}{barcode}: TapeAlert {data['number']}, {data['name']}: "
        f"{data['advice']}"
    )


def _mount(_: str, data: dict[str, Any]) -> str:
    began, ended = words.local_time(data["from"]), words.local_time(data["to"])
    known = ("drive", "barcode", "from", "to", "flags")
    rest = facts({name: value for name, value in data.items() if name not in known})
    flags = ", ".join(map(str, data["flags"]))
    told = f", TapeAlert {flags}" if flags else ""
    barcode = data["barcode"] or words.UNKNOWN
    return f"cartridge {barcode} in drive {data['drive']} from {began} to {ended}: {rest}{told}"


_OF_TAPES = {
    **dict.fromkeys(("loaded", "unloaded", "exported", "imported", "moved"), _cartridge),
    **dict.fromkeys(("cartridge_added", "cartridge_removed"), _cartridge),
    "tapealert": _flag,
    "mount": _mount,
}


def _object(change: str, data: dict[str, Any]) -> str:
    """Return what became of a piece of this machine."""
    said = f"{data['kind'].replace('_', ' ')} {data['id']}: {change}"
    other = data.get("other")
    if other is not None:
        said += f" ({'with' if change == 'shared' else 'was'} {other})"
    differs = [
        f"{name} {old or 'unknown'} -> {new or 'unknown'}"
        for name, old in data["from"].items()
        if old != (new := data["to"][name])
    ]
    return f"{said}, {', '.join(differs)}" if differs and change not in _WHOLE else said


_WHOLE = frozenset({"found", "gone", "back", "forgotten"})
"""Changes of which the facts that are new, or over, are no news."""


def _metrics(_: str, data: dict[str, Any]) -> str:
    system, storage = data["system"] or {}, data["storage"] or {}
    return (
        f"cpu {words.percent(system.get('cpu_usage_percent'))}, "
        f"memory {words.percent(system.get('memory_usage_percent'))}, "
        f"storage {words.percent(storage.get('usage_percent'))}"
    )


_STORIES = {"alert": _alert, "task": _task, "metrics": _metrics, "tape": _tape}
