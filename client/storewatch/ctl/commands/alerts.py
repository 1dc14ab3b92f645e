"""storewatchctl alerts."""

from collections.abc import Callable, Sequence
from typing import Any

import click

from storewatch.ctl import words
from storewatch.ctl.command import DURATION, MOMENT, PAIR, SEVERITY, STATE, Group, some
from storewatch.ctl.names import is_whole, short, whole_id
from storewatch.ctl.output import Cell, Column, Output, state
from storewatch.ctl.session import Session, decoded
from storewatch.ctl.stories import why
from storewatch.ctl.urgency import MostUrgent, by_urgency, most_urgent
from storewatch.wire import encode, params, types

COLUMNS = (
    Column("SEVERITY"),
    Column("STATE"),
    Column("TITLE", flexible=True),
    Column("SINCE", right=True),
    Column("ID"),
    Column("SOURCE", wide=True),
)

PAGE = 1000


@click.group(
    cls=Group,
    help="Alerts: what is wrong, what was, and who looks after it.",
    examples=(
        "storewatchctl alerts list",
        "storewatchctl alerts ack 5f1a2b3c --note 'disk ordered'",
        "storewatchctl alerts watch",
    ),
)
def alerts() -> None: ...


def row(out: Output, one: types.Alert) -> tuple[str | Cell, ...]:
    """Return one alert as a row of COLUMNS."""
    dim = "dim" if one.state == "resolved" else ""
    return (
        Cell(one.severity, dim or state(one.severity).style),
        Cell(state_words(one), dim or state(one.state).style),
        Cell(words.line(one.title), dim),
        Cell(words.local_time(one.first_seen), dim),
        Cell(short(one.id) if out.is_narrow else one.id, "dim"),
        Cell(words.line(one.source), dim),
    )


def state_words(one: types.Alert) -> str:
    """Return an alert's state with its marks."""
    marks = [
        mark
        for mark, is_set in (
            ("ack", one.acknowledged and one.state != "resolved"),
            ("stale", one.stale_since is not None),
            ("silenced", bool(one.silenced_by)),
            ("flapping", one.flapping),
        )
        if is_set
    ]
    return ", ".join((one.state, *marks))


@alerts.command(
    "list",
    help=(
        "List the open alerts, the worst first and newest first among equals, or with --state or "
        "--all resolved ones too, after them; options combine. With --json or --cursor they come "
        "newest first, page by page. Times are 2h (ago), 08:30, 2026-01-31 or RFC 3339."
    ),
    examples=(
        "storewatchctl alerts list --severity critical",
        "storewatchctl alerts list --state resolved --label 'repository=~\"arch.*\"' --since 2d",
        "storewatchctl alerts list --all --json | jq '.alerts | length'",
    ),
)
@click.option("--severity", type=SEVERITY, multiple=True, help="Once for each.")
@click.option("--source", multiple=True, help="Such as storage or task; once for each.")
@click.option("--state", "states", type=STATE, multiple=True, help="Once for each.")
@click.option(
    "--open", "is_open", is_flag=True, help="Firing and pending ones only; also with --all."
)
@click.option("--acknowledged/--unacknowledged", default=None, help="By that mark.")
@click.option("--resource-type", metavar="TYPE")
@click.option("--resource-id", metavar="ID")
@click.option("--rule", metavar="NAME")
@click.option("--label", "labels", metavar="MATCHER", multiple=True, help='Such as tape=~"LTO.*".')
@click.option("--since", type=MOMENT, help="First seen at or after this.")
@click.option("--until", type=MOMENT, help="First seen before this.")
@click.option("--limit", type=click.IntRange(1, PAGE), default=50, show_default=True)
@click.option("--cursor", help="Go on where a list ended.")
@click.option("--all", "is_all", is_flag=True, help="Resolved ones too, and every page.")
@click.pass_obj
def list_alerts(
    session: Session,
    /,
    severity: tuple[Any, ...],
    source: tuple[str, ...],
    states: tuple[Any, ...],
    is_open: bool,
    acknowledged: bool | None,
    labels: tuple[str, ...],
    limit: int,
    is_all: bool,
    **plain: Any,
) -> None:
    if is_open and states:
        raise click.UsageError("--open and --state exclude each other")
    asked = params.AlertsList(
        severity=some(severity),
        source=some(source),
        state=["firing", "pending"] if is_open or not (states or is_all) else some(states),
        acknowledged=acknowledged,
        label=some(labels),
        limit=PAGE if is_all else limit,
        **plain,
    )
    if session.as_json:
        if is_all:
            whole = _every_page(session, asked)
            answer = encode(whole)
        else:
            answer = session.call("alerts.list", asked)
            whole = decoded(answer, "alerts.list", types.AlertList)
        session.out.json(answer)
        _tell_incomplete(session.out, whole.incomplete_reason)
        return
    if is_all:
        whole = _every_page(session, asked)
        found = MostUrgent(by_urgency(whole.alerts), False, None, whole.incomplete_reason)
    elif asked.cursor is not None:
        page = session.ask("alerts.list", asked, types.AlertList)
        cursor = page.next_cursor
        found = MostUrgent(page.alerts, cursor is not None, cursor, page.incomplete_reason)
    else:
        found = most_urgent(session, asked)
    is_chosen = is_open or is_all or bool(states)
    session.out.table(
        COLUMNS,
        [row(session.out, one) for one in found.alerts],
        empty="no alerts" if is_chosen else "no open alerts",
    )
    if found.has_more:
        every = "--all" if is_chosen else "--open --all"
        other = f"--cursor {found.cursor}" if found.cursor is not None else "a larger --limit"
        session.out.note(f"there are more: {every}, or {other}")
    _tell_incomplete(session.out, found.incomplete_reason)


def _tell_incomplete(out: Output, reason: str | None) -> None:
    if reason is not None:
        out.note(f"the list is incomplete: {reason}")


def _every_page(session: Session, asked: params.AlertsList) -> types.AlertList:
    whole = session.ask("alerts.list", asked, types.AlertList)
    while whole.next_cursor is not None:
        asked.cursor = whole.next_cursor
        page = session.ask("alerts.list", asked, types.AlertList)
        whole = types.AlertList(
            alerts=whole.alerts + page.alerts,
            next_cursor=page.next_cursor,
            complete=whole.complete and page.complete,
            incomplete_reason=whole.incomplete_reason or page.incomplete_reason,
        )
    return whole


@alerts.command(
    "show",
    help="Show one alert with all that happened to it, and why. The end of its id is enough.",
    examples=("storewatchctl alerts show 5f1a2b3c",),
)
@click.argument("alert")
@click.pass_obj
def show(session: Session, alert: str) -> None:
    session.show(
        "alerts.get",
        params.AlertId(id=_alert_id(session, alert)),
        types.AlertDetail,
        lambda found: _show_detail(session.out, found),
    )


def _show_detail(out: Output, found: types.AlertDetail) -> None:
    one = found.alert
    pairs: list[tuple[str, str | Cell]] = [
        ("title", words.block(one.title)),
        ("severity", state(one.severity)),
        ("state", Cell(state_words(one), state(one.state).style)),
        ("message", words.block(one.message.strip())),
        ("source", words.line(one.source)),
        ("resource", words.line(f"{one.resource_type} {one.resource_id}")),
        ("rule", words.line(one.rule) or "none: it was created"),
        *((f"label {key}", words.block(text)) for key, text in one.labels.items()),
        *((f"annotation {key}", words.block(text)) for key, text in _other_annotations(one)),
        ("first seen", words.full_time(one.first_seen)),
        ("last seen", words.full_time(one.last_seen)),
        ("occurrences", str(one.occurrences)),
    ]
    if one.stale_since is not None:
        pairs.append(("not seen since", Cell(words.full_time(one.stale_since), "yellow")))
    if one.acknowledged:
        note = f": {one.acknowledged_note}" if one.acknowledged_note else ""
        by = f"{words.full_time(one.acknowledged_at)} by {one.acknowledged_by}{note}"
        pairs.append(("acknowledged", words.line(by)))
    if one.resolved_at is not None:
        resolutions = [entry.reason for entry in found.timeline if entry.kind == "resolved"]
        said = resolutions[-1].get("note") if resolutions else None
        note = f": {said}" if said else ""
        by = f"{words.full_time(one.resolved_at)} by {one.resolved_by}{note}"
        pairs.append(("resolved", words.line(by)))
    pairs.extend([("id", one.id), ("node", words.line(one.node)), ("version", str(one.version))])
    out.fields([(name, value) for name, value in pairs if value])
    out.line()
    out.heading("What happened")
    out.table(
        (Column("TIME"), Column("WHAT"), Column("WHY", flexible=True)),
        [
            (
                words.local_time(entry.timestamp),
                Cell(entry.kind, state(entry.kind).style),
                why(entry, since=one.first_seen),
            )
            for entry in found.timeline
        ],
        empty="nothing is kept of it",
    )
    if not found.complete:
        out.note(f"this is incomplete: {found.incomplete_reason}")


def _other_annotations(one: types.Alert) -> list[tuple[str, str]]:
    """Return the annotations that are not the title and the message, which a rule makes of them."""
    shown = ("summary", "description") if one.rule else ()
    return [(key, text) for key, text in one.annotations.items() if key not in shown]


def _mark(
    name: str, method: str, told: Callable[[types.Alert], str], help_text: str, example: str
) -> None:
    @alerts.command(name, help=help_text, examples=(example,))
    @click.argument("alert_ids", metavar="ALERT…", nargs=-1, required=True)
    @click.option("--note", help="Why, for those who come after you.")
    @click.pass_obj
    def mark(session: Session, alert_ids: tuple[str, ...], note: str | None) -> None:
        for alert_id in [_alert_id(session, one) for one in alert_ids]:
            session.show(
                method,
                params.AlertMark(id=alert_id, note=note),
                types.Alert,
                lambda one: session.out.line(f"{told(one)}: {words.line(one.title)}"),
            )


_mark(
    "ack",
    "alerts.acknowledge",
    # What is over stays as it was.
    lambda one: "acknowledged" if one.acknowledged else "not acknowledged, for it is resolved",
    "Acknowledge alerts: somebody looks after them. The end of an id is enough.",
    "storewatchctl alerts ack 5f1a2b3c --note 'disk ordered'",
)
_mark(
    "resolve",
    "alerts.resolve",
    lambda one: one.state,
    "Resolve alerts by hand. One whose condition still holds stays resolved until it has cleared.",
    "storewatchctl alerts resolve 5f1a2b3c",
)


def _alert_id(session: Session, typed: str) -> str:
    if is_whole(typed):
        return typed
    recent = session.ask("alerts.list", params.AlertsList(limit=PAGE), types.AlertList).alerts
    return whole_id(typed, (one.id for one in recent), "alert")


@alerts.command(
    "create",
    help=(
        "Create an alert, and print its id. With --key it is the same alert when it is created "
        "again while open; with --ttl it resolves when it has not been for that long."
    ),
    examples=(
        "storewatchctl alerts create --severity warning --source ups --title 'on battery'",
        "storewatchctl alerts create --severity info --source ups --title test --key u1 --ttl 10m",
    ),
)
@click.option("--severity", type=SEVERITY, required=True)
@click.option("--source", required=True, help="Who says it.")
@click.option("--title", required=True)
@click.option("--message", default="")
@click.option("--resource-type", default="", metavar="TYPE")
@click.option("--resource-id", default="", metavar="ID")
@click.option("--label", "labels", type=PAIR, multiple=True, metavar="NAME=VALUE")
@click.option("--annotation", "annotations", type=PAIR, multiple=True, metavar="NAME=VALUE")
@click.option("--key", help="What makes it the same alert.")
@click.option("--ttl", type=DURATION, metavar="DURATION")
@click.option(
    "--idempotency-key", metavar="KEY", help="Create it once, however often this is run in a day."
)
@click.pass_obj
def create(
    session: Session,
    /,
    labels: tuple[tuple[str, str], ...],
    annotations: tuple[tuple[str, str], ...],
    **plain: Any,
) -> None:
    session.show(
        "alerts.create",
        params.AlertCreate(
            labels=_mapping("--label", labels),
            annotations=_mapping("--annotation", annotations),
            **plain,
        ),
        types.Alert,
        lambda one: session.out.line(one.id),
    )


def _mapping(option: str, pairs: Sequence[tuple[str, str]]) -> dict[str, str]:
    found: dict[str, str] = {}
    for name, value in pairs:
        if name in found:
            raise click.UsageError(f"{option}: {name!r} is given twice")
        found[name] = value
    return found


@alerts.command(
    "watch",
    help=(
        "Watch alerts as they come and go: a live table on a terminal, a line a change elsewhere, "
        "beginning with what is open and since when. It goes on when the daemon restarts."
    ),
    examples=("storewatchctl alerts watch", "storewatchctl alerts watch --json | jq .title"),
)
@click.option("--severity", type=SEVERITY, multiple=True, help="Once for each.")
@click.pass_obj
def watch(session: Session, severity: tuple[Any, ...]) -> None:
    from storewatch.ctl.watch import watch_alerts  # asyncio takes longer than a short command.

    watch_alerts(session, some(severity))
