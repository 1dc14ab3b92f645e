"""What goes on until it is interrupted: events as they come, and the live table of alerts."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import msgspec

from storewatch import clock
from storewatch.client import Client
from storewatch.ctl import words
from storewatch.ctl.commands.alerts import COLUMNS, PAGE, row
from storewatch.ctl.commands.events import write_event
from storewatch.ctl.session import Session
from storewatch.ctl.urgency import by_urgency
from storewatch.wire import encode, types

if TYPE_CHECKING:
    from rich.console import RenderableType

RESOLVED_STAYS_S = 60
"""How long a resolved alert stays in the live table."""

BELOW = 3
"""How many lines of the screen are not the live table's."""

_event = msgspec.json.Decoder(types.Event).decode


def follow_events(
    session: Session,
    first: Sequence[types.Event],
    kinds: list[str] | None,
    severity: list[str] | None,
    since: str | None,
) -> None:
    """Write the first events, and then what comes after `since`, until interrupted.

    Raises:
        ClientError: the daemon cannot be reached at first, or refuses.
    """
    for event in first:
        if session.as_json:
            session.out.json_line(encode(event))
        else:
            write_event(session.out, event)
    asyncio.run(_follow(session, kinds, severity, since))


async def _follow(
    session: Session, kinds: list[str] | None, severity: list[str] | None, since: str | None
) -> None:
    async with Client(session.socket, on_change=_teller(session)) as client:
        await client.call("daemon.version")
        stream = await client.subscribe(types=kinds, severity=severity, since=since)
        async for batch in stream:
            for raw in batch:
                if session.as_json:
                    session.out.json_line(bytes(raw))
                else:
                    write_event(session.out, _event(raw))


def _teller(session: Session) -> Any:
    was_away = False

    def tell(problem: str | None) -> None:
        nonlocal was_away
        if problem is not None and not was_away:
            was_away = True
            session.out.note(f"{problem}; waiting for it")
        elif problem is None and was_away:
            was_away = False
            session.out.note("the daemon is back")

    return tell


def watch_alerts(session: Session, severity: list[str] | None) -> None:
    """Show open alerts and their changes until interrupted.

    Raises:
        ClientError: the daemon cannot be reached at first, or refuses.
    """
    watch = _AlertWatch(session, severity)
    asyncio.run(watch.live() if session.out.is_terminal and not session.as_json else watch.lines())


class _AlertWatch:
    """The open alerts by id, kept up to date; a newer version of an alert replaces an older."""

    def __init__(self, session: Session, severity: list[str] | None) -> None:
        self._session = session
        self._severity = severity
        self._alerts: dict[str, types.Alert] = {}
        self._away: str | None = None

    async def lines(self) -> None:
        """Write a line for each open alert, and one for each change."""
        async with Client(self._session.socket, on_change=_teller(self._session)) as client:
            await client.call("daemon.version")
            async for time, kind, alert in self._changes(client):
                if self._session.as_json:
                    self._session.out.json_line(encode(alert))
                else:
                    self._session.out.line(
                        f"{words.local_time(time)}  {alert.severity:<8}  "
                        f"{kind:<12}  {words.line(alert.title)}  {alert.id}"
                    )

    async def live(self) -> None:
        """Show a table that is always as things stand."""
        from rich.live import Live

        live = Live(console=self._session.out.console, auto_refresh=False, screen=False)

        def changed(problem: str | None) -> None:
            self._away = problem
            live.update(self._picture(), refresh=True)

        async with Client(self._session.socket, on_change=changed) as client:
            await client.call("daemon.version")
            self._away = None
            with live:
                async with asyncio.TaskGroup() as tasks:
                    tasks.create_task(self._tick(live))
                    async for _ in self._changes(client):
                        live.update(self._picture(), refresh=True)

    async def _tick(self, live: Any) -> None:
        while True:
            live.update(self._picture(), refresh=True)
            await asyncio.sleep(1)

    async def _changes(self, client: Client) -> AsyncIterator[tuple[str, str, types.Alert]]:
        """Yield when something became of an alert, what, and the alert as it is then."""
        # Subscribed first and listed then: what changes in between comes twice, and is told apart
        # by its version.
        stream = await client.subscribe(types=["alert"], severity=self._severity)
        async for change in self._listed(client):
            yield change
        async for batch in stream:
            for raw in batch:
                event = _event(raw)
                if event.kind == "gap":
                    async for change in self._listed(client):
                        yield change
                    continue
                alert = msgspec.convert(event.data, types.Alert)
                if self._take(alert):
                    yield event.timestamp, event.kind, alert

    async def _listed(self, client: Client) -> AsyncIterator[tuple[str, str, types.Alert]]:
        query: dict[str, Any] = {"state": ["firing", "pending"], "limit": PAGE}
        if self._severity:
            query["severity"] = self._severity
        while True:
            page = await client.call("alerts.list", query, type=types.AlertList)
            for alert in reversed(page.alerts):
                if self._take(alert):
                    yield alert.first_seen, alert.state, alert
            if page.next_cursor is None:
                return
            query["cursor"] = page.next_cursor

    def _take(self, alert: types.Alert) -> bool:
        known = self._alerts.get(alert.id)
        if known is not None and known.version >= alert.version:
            return False
        self._alerts[alert.id] = alert
        return True

    def _picture(self) -> "RenderableType":
        from rich.console import Group
        from rich.text import Text

        now = clock.now()
        limit = now - timedelta(seconds=RESOLVED_STAYS_S)
        for alert in tuple(self._alerts.values()):
            if alert.resolved_at is not None and words.moment(alert.resolved_at) < limit:
                del self._alerts[alert.id]
        newest_first = sorted(
            self._alerts.values(), key=lambda one: (one.first_seen, one.id), reverse=True
        )
        shown = by_urgency(newest_first)
        table, fitting = self._table(shown)
        firing = sum(1 for one in shown if one.state == "firing")
        pending = sum(1 for one in shown if one.state == "pending")
        more = f" (and {len(shown) - fitting} more than fit)" if len(shown) > fitting else ""
        foot = Text(
            f"{firing} firing, {pending} pending{more}   {now.astimezone():%H:%M:%S}   "
            "Ctrl-C ends this",
            style="dim",
        )
        if self._away is not None:
            foot = Text(f"{words.line(self._away)}; waiting for it", style="yellow")
        return Group(table, foot) if shown else Group(Text("no open alerts", style="green"), foot)

    def _table(self, shown: Sequence[types.Alert]) -> tuple["RenderableType", int]:
        """Return the table of the first alerts, as many as fit, and their number."""
        out = self._session.out
        room = max(2, out.console.height - BELOW)
        count = min(len(shown), room)
        while True:
            table = out.rich_table(COLUMNS, [row(out, one) for one in shown[:count]])
            # A title may take several lines.
            height = len(out.console.render_lines(table))
            if height <= room or count <= 1:
                return table, count
            count = max(1, min(count - 1, count * room // height))
