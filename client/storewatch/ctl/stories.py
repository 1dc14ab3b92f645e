"""An event as one sentence."""

from typing import Any

import msgspec

from storewatch.ctl import words
from storewatch.wire.types import Event


def story(event: Event) -> str:
    """Return what an event says, as one line."""
    return f"{_told(event)} (not on disk yet)" if event.unjournalled else _told(event)


def _told(event: Event) -> str:
    data = event.data if isinstance(event.data, dict) else {}
    tell = _STORIES.get(event.type)
    if tell is not None and event.kind not in ("gap",):
        try:
            return words.line(tell(event.kind, data))
        except (KeyError, TypeError, AttributeError, ValueError):
            # A newer daemon tells it otherwise: show what it says.
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


def _metrics(_: str, data: dict[str, Any]) -> str:
    system, storage = data["system"] or {}, data["storage"] or {}
    return (
        f"cpu {words.percent(system.get('cpu_usage_percent'))}, "
        f"memory {words.percent(system.get('memory_usage_percent'))}, "
        f"storage {words.percent(storage.get('usage_percent'))}"
    )


_STORIES = {"alert": _alert, "task": _task, "metrics": _metrics}
