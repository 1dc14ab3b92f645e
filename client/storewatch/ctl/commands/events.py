"""storewatchctl events."""

import re
from typing import Any

import click

from storewatch import clock
from storewatch.ctl import words
from storewatch.ctl.command import EVENT_TYPE, SEVERITY, Command, some
from storewatch.ctl.output import Column, Output, state
from storewatch.ctl.session import Session
from storewatch.ctl.stories import story
from storewatch.wire import encode, params, types

COLUMNS = (
    Column("TIME"),
    Column("TYPE"),
    Column("KIND"),
    Column("WHAT", flexible=True),
    Column("ID", wide=True),
)

PAGE = 1000

# An id is opaque, but never looks like a time.
_EVENT_ID = re.compile(r"[0-9A-Za-z_-]+\.[0-9A-Za-z_.-]+")
NEWEST = 50


@click.command(
    cls=Command,
    help=(
        "Show what happened, oldest first, or with --follow what happens. --since takes an "
        "event's id, or a time: 2h (ago), 08:30, 2026-01-31 or RFC 3339."
    ),
    examples=(
        "storewatchctl events --since 1h",
        "storewatchctl events --follow --type alert --type task",
        "storewatchctl events --follow --json | jq -c 'select(.type == \"alert\").data.title'",
    ),
)
@click.option("--follow", "-f", "is_following", is_flag=True, help="Go on with what comes.")
@click.option("--type", "types_", type=EVENT_TYPE, multiple=True, help="Once for each.")
@click.option("--severity", type=SEVERITY, multiple=True, help="Of alerts; once for each.")
@click.option("--since", metavar="ID|TIME", help="Begin after this.")
@click.option("--limit", type=click.IntRange(1), help="The most to show (50 without --since).")
@click.pass_obj
def events(
    session: Session,
    is_following: bool,
    types_: tuple[Any, ...],
    severity: tuple[str, ...],
    since: str | None,
    limit: int | None,
) -> None:
    if is_following and limit is not None:
        raise click.UsageError("--limit does not go with --follow")
    kinds = some(types_)
    found, begin = _begin(session, since, kinds)
    if not is_following and (since is None or (begin is not None and not found.events)):
        found = _listed(session, kinds, begin, limit)
    if severity:
        found.events = [one for one in found.events if _has_severity(one, severity)]
    if is_following:
        from storewatch.ctl.watch import follow_events  # asyncio takes longer than a short command.

        follow_events(session, found.events, kinds, some(severity), begin)
        return
    if limit is not None:
        found.events = found.events[:limit]
    if session.as_json:
        session.out.json(encode(found))
        return
    if found.gap:
        session.out.note("some events in between are no longer kept")
    session.out.table(COLUMNS, [_row(one) for one in found.events], empty="no events")


def _begin(
    session: Session, since: str | None, kinds: list[Any] | None
) -> tuple[types.EventList, str | None]:
    """Return the events that a time has brought already, and the id to go on after."""
    nothing = types.EventList(events=[], gap=False)
    if since is None:
        return nothing, None
    try:
        begin = words.wire_time(words.parse_moment(since, clock.now()))
    except ValueError as error:
        if _EVENT_ID.fullmatch(since):
            return nothing, since
        raise click.UsageError(f"--since: {error}, and it is no event's id") from error
    recent = session.ask(
        "events.list", params.EventsList(types=kinds, limit=PAGE), types.EventList
    ).events
    wanted = [one for one in recent if one.timestamp >= begin]
    is_cut = len(wanted) == PAGE
    if is_cut:
        oldest = words.local_time(recent[0].timestamp)
        session.out.note(f"there are more: the last {PAGE} events begin at {oldest}")
    return types.EventList(events=wanted, gap=is_cut), recent[-1].id if recent else None


def _listed(
    session: Session, kinds: list[Any] | None, begin: str | None, limit: int | None
) -> types.EventList:
    if begin is None:
        asked = params.EventsList(types=kinds, limit=min(limit or NEWEST, PAGE))
        return session.ask("events.list", asked, types.EventList)
    whole = types.EventList(events=[], gap=False)
    while limit is None or len(whole.events) < limit:
        size = PAGE if limit is None else min(PAGE, limit - len(whole.events))
        asked = params.EventsList(types=kinds, since=begin, limit=size)
        page = session.ask("events.list", asked, types.EventList)
        whole.gap = whole.gap or page.gap
        whole.events.extend(page.events)
        if not page.events:
            break
        begin = page.events[-1].id
    return whole


def _has_severity(event: types.Event, wanted: tuple[str, ...]) -> bool:
    return event.type != "alert" or event.data.get("severity") in wanted


def _row(event: types.Event) -> tuple[Any, ...]:
    return (
        words.local_time(event.timestamp),
        event.type,
        state(words.line(event.kind)),
        story(event),
        event.id,
    )


def write_event(out: Output, event: types.Event) -> None:
    """Write one event as one line, at once."""
    text = f"{words.local_time(event.timestamp)}  {event.type:<7}  {event.kind:<12}  {story(event)}"
    out.line(text, state(event.kind).style)
