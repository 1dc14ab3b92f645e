"""storewatchctl events."""

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
@click.option("--since", metavar="ID|TIME", help="Begin after this event, or then.")
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
    begin, moment = _beginning(since)
    if is_following:
        from storewatch.ctl.watch import follow_events  # asyncio takes longer than a short command.

        found = types.EventList(events=[], gap=False)
        if moment is not None:
            found, begin = _caught_up(session, kinds, moment)
        _tell_gap(session, found)
        first = [one for one in found.events if _is_wanted(one, severity)]
        follow_events(session, first, kinds, some(severity), begin)
        return
    found = _listed(session, kinds, severity, begin, moment, limit)
    if session.as_json:
        session.out.json(encode(found))
        return
    _tell_gap(session, found)
    session.out.table(COLUMNS, [_row(one) for one in found.events], empty="no events")


def _beginning(since: str | None) -> tuple[str | None, str | None]:
    """Return the event's id, or the time, that --since names."""
    if since is None:
        return None, None
    try:
        return None, words.wire_time(words.parse_moment(since, clock.now()))
    except ValueError as error:
        if params.is_event_id(since):  # which never looks like a time
            return since, None
        raise click.UsageError(f"--since: {error}, and it is no event's id") from error


def _listed(
    session: Session,
    kinds: list[Any] | None,
    severity: tuple[str, ...],
    begin: str | None,
    moment: str | None,
    limit: int | None,
) -> types.EventList:
    """Return the events after one or from a time on, page by page; the newest without either."""
    is_newest = begin is None and moment is None
    size = min(limit or (NEWEST if is_newest else PAGE), PAGE)
    whole = types.EventList(events=[], gap=False)
    asked = params.EventsList(types=kinds, since=begin, from_=moment, limit=size)
    while limit is None or len(whole.events) < limit:
        page = session.ask("events.list", asked, types.EventList)
        whole.gap = whole.gap or page.gap
        whole.events.extend(one for one in page.events if _is_wanted(one, severity))
        if is_newest or not page.events:
            break
        asked = params.EventsList(types=kinds, since=page.events[-1].id, limit=size)
    whole.events = whole.events[:limit]
    return whole


def _caught_up(
    session: Session, kinds: list[Any] | None, moment: str
) -> tuple[types.EventList, str | None]:
    """Return the events from a time on, and the id after which everything else comes."""
    # Asked for first: what happens between the two is not missed.
    newest = _listed(session, kinds, (), None, None, 1)
    found = _listed(session, kinds, (), None, moment, None)
    last = (found.events or newest.events)[-1:]
    return found, last[0].id if last else None


def _tell_gap(session: Session, found: types.EventList) -> None:
    if found.gap:
        session.out.note("some events since then are no longer kept")


def _is_wanted(event: types.Event, severity: tuple[str, ...]) -> bool:
    return not severity or event.type != "alert" or event.data.get("severity") in severity


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
