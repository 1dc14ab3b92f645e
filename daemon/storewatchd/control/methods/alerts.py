"""alerts.*: what is open comes from memory, history from the store, and a list is both."""

import uuid
from collections.abc import Mapping
from itertools import islice
from typing import Any

import msgspec

from storewatch.wire import encode, params
from storewatchd.control.dispatch import Call, Handler
from storewatchd.control.pages import fitting
from storewatchd.core.commands import AcknowledgeAlert, CreateAlert, ResolveAlert
from storewatchd.core.matchers import parse_matcher
from storewatchd.core.model import (
    Alert,
    AlertState,
    EventType,
    Severity,
    format_time,
    parse_time,
)
from storewatchd.core.queries import AlertQuery, Position
from storewatchd.errors import (
    InvalidParams,
    NotFound,
    RequestError,
    RuleError,
    StoreAbsent,
    StoreError,
    Unavailable,
)
from storewatchd.journal import Journal
from storewatchd.monitor import Monitor
from storewatchd.store import Store
from storewatchd.store.alerts import SCAN_LIMIT


def handlers(monitor: Monitor, store: Store, journal: Journal) -> Mapping[str, Handler]:
    """Return the methods of this noun."""

    async def list_alerts(_: Call, asked: params.AlertsList) -> dict[str, Any]:
        query = _query(asked)
        after = _position(asked.cursor)
        page: dict[str, Alert] = {
            alert.id: alert for alert in islice(monitor.view.alerts(query, after), asked.limit + 1)
        }
        problem = None
        if query.states is None or AlertState.RESOLVED in query.states:
            try:
                history = await store.alerts.page(query, after, asked.limit + 1)
                for stored in history.alerts:
                    known = page.get(stored.id) or monitor.view.alert(stored.id)
                    if known is None or known.version < stored.version:
                        page[stored.id] = stored
                if not history.is_complete:
                    problem = f"only {SCAN_LIMIT} alerts were looked through: narrow the list"
            except StoreError as error:
                problem = what_is_missing(error)
        problem = problem or store.lacks
        alerts = sorted(page.values(), key=_place, reverse=True)
        shown = fitting(encode(alert.to_json()) for alert in alerts[: asked.limit])
        more = len(alerts) > len(shown)
        return {
            "alerts": shown,
            "next_cursor": _place(alerts[len(shown) - 1]).encode() if more else None,
            "complete": problem is None,
            "incomplete_reason": problem,
        }

    async def get_alert(_: Call, asked: params.AlertId) -> dict[str, Any]:
        alert, timeline, problem = monitor.view.alert(asked.id), {}, None
        if alert is None:
            check_id("alert", asked.id)
        waiting = [record for record in monitor.unwritten() if record.key == asked.id]
        for record in (*await journal.history(asked.id), *waiting):
            if record.type != EventType.ALERT:
                continue  # a task's id is its reporter's choice
            timeline[record.seq] = _entry(
                f"{record.epoch}.{record.seq}",
                record.seq,
                record.time,
                record.kind,
                msgspec.Raw(record.reason),
            )
        try:
            for line in await store.alerts.timeline(asked.id):
                timeline.setdefault(
                    line.seq,
                    _entry(f"{line.epoch}.{line.seq}", line.seq, line.time, line.kind, line.reason),
                )
            if alert is None:
                alert = await store.alerts.get(asked.id)
        except StoreError as error:
            problem = what_is_missing(error)
            if alert is None:
                raise cannot_tell("alert", asked.id, error) from error
        if alert is None:
            raise NotFound(f"there is no alert {asked.id!r}")
        problem = problem or store.lacks
        return {
            "alert": alert.to_json(),
            "timeline": [timeline[key] for key in sorted(timeline)],
            "complete": problem is None,
            "incomplete_reason": problem,
        }

    async def create(call: Call, asked: params.AlertCreate) -> dict[str, Any]:
        command = CreateAlert(
            actor=call.caller.name,
            severity=Severity(asked.severity),
            source=asked.source,
            title=asked.title,
            message=asked.message,
            resource_type=asked.resource_type,
            resource_id=asked.resource_id,
            labels=asked.labels,
            annotations=asked.annotations,
            key=asked.key,
            ttl_s=asked.ttl,
        )
        if asked.idempotency_key is None:
            return (await monitor.command(command)).to_json()
        once = f"{call.caller.name}/{asked.idempotency_key}"
        return (await monitor.create_once(once, command)).to_json()

    async def mark(command: AcknowledgeAlert | ResolveAlert) -> dict[str, Any]:
        known = monitor.view.alert(command.alert_id)
        if known is not None and known.is_open:
            try:
                marked: Alert = await monitor.command(command)
            except NotFound:
                known = monitor.view.alert(command.alert_id)  # it ended meanwhile
            else:
                return marked.to_json()
        # It is over: a mark changes nothing.
        if known is None:
            check_id("alert", command.alert_id)
            try:
                known = await store.alerts.get(command.alert_id)
            except StoreError as error:
                raise cannot_tell("alert", command.alert_id, error) from error
        if known is None:
            raise NotFound(f"there is no alert {command.alert_id!r}")
        return known.to_json()

    async def acknowledge(call: Call, asked: params.AlertMark) -> dict[str, Any]:
        return await mark(AcknowledgeAlert(call.caller.name, asked.id, asked.note))

    async def resolve(call: Call, asked: params.AlertMark) -> dict[str, Any]:
        return await mark(ResolveAlert(call.caller.name, asked.id, asked.note))

    return {
        "alerts.list": list_alerts,
        "alerts.get": get_alert,
        "alerts.create": create,
        "alerts.acknowledge": acknowledge,
        "alerts.resolve": resolve,
    }


def check_id(noun: str, row_id: str) -> None:
    """Refuse what cannot be an id, whoever is away.

    Raises:
        NotFound: it is no UUID.
    """
    try:
        uuid.UUID(row_id)
    except ValueError:
        raise NotFound(f"there is no {noun} {row_id!r}") from None  # the id says it all


def what_is_missing(error: StoreError) -> str | None:
    """Return why an answer is incomplete. Where there is no PostgreSQL by configuration, what the
    journal keeps is all that there is."""
    return None if isinstance(error, StoreAbsent) else f"history cannot be read: {error}"


def cannot_tell(noun: str, row_id: str, error: StoreError) -> RequestError:
    """Return what to answer about an id that memory does not have, when history is away: only
    where there is no history at all is it known that there is none."""
    if isinstance(error, StoreAbsent):
        return NotFound(f"there is no {noun} {row_id!r} among the recent ones; {error}")
    return Unavailable(f"the {noun} {row_id!r} is not a recent one, and history is away: {error}")


def _place(alert: Alert) -> Position:
    return Position.of(alert.first_seen, alert.id)


def _position(cursor: str | None) -> Position | None:
    try:
        return None if cursor is None else Position.decode(cursor)
    except ValueError as error:
        raise InvalidParams(f"cursor: {error}") from error


def _query(asked: params.AlertsList) -> AlertQuery:
    matchers = []
    for text in asked.label or ():
        try:
            matchers.append(parse_matcher(text))
        except RuleError as error:
            raise InvalidParams(f"label: {error.message} in {text!r}") from error
    return AlertQuery(
        severities=_closed_set(Severity, asked.severity),
        sources=None if asked.source is None else frozenset(asked.source),
        states=_closed_set(AlertState, asked.state),
        acknowledged=asked.acknowledged,
        resource_type=asked.resource_type,
        resource_id=asked.resource_id,
        rule=asked.rule,
        matchers=tuple(matchers),
        since=time_of("since", asked.since),
        until=time_of("until", asked.until),
    )


def _closed_set(kind: Any, names: Any) -> Any:
    return None if names is None else frozenset(kind(name) for name in names)


def time_of(name: str, text: str | None) -> float | None:
    """Return Unix seconds for a time parameter.

    Raises:
        InvalidParams: it is not RFC 3339 with an offset.
    """
    try:
        return parse_time(text)
    except ValueError as error:
        raise InvalidParams(
            f"{name}: expected a time such as 2026-01-31T08:00:00Z, found {text!r}"
        ) from error


def _entry(event_id: str, seq: int, time: float, kind: str, reason: Any) -> dict[str, Any]:
    return {
        "id": event_id,
        "seq": seq,
        "timestamp": format_time(time),
        "kind": kind,
        "reason": reason,
    }
