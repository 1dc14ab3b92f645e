"""storewatchctl status and health: how the machine and the daemon stand, at a glance."""

from functools import partial
from typing import Any

import click
import msgspec

from storewatch import clock
from storewatch.ctl import words
from storewatch.ctl.command import Command
from storewatch.ctl.commands.repositories import COLUMNS as REPOSITORY_COLUMNS
from storewatch.ctl.commands.repositories import row as repository_row
from storewatch.ctl.failures import Exit
from storewatch.ctl.output import Cell, Column, state
from storewatch.ctl.session import Session, attempt, decoded
from storewatch.ctl.urgency import most_urgent
from storewatch.wire import encode, params, types

HEALTH_COLUMNS = (
    Column("COMPONENT"),
    Column("STATUS"),
    Column("MESSAGE", flexible=True),
    Column("CHECKED", right=True, wide=True),
    Column("TOOK", right=True, wide=True),
)

MOST_ALERTS = 10

_PARTS = (
    ("system", "metrics.get", "system"),
    ("repositories", "repositories.list", "repositories"),
    ("components", "health.get", "components"),
)
"""What --json says besides the daemon's own status: its name, and which member of which answer it
is."""


@click.command(
    cls=Command,
    help=(
        "Show how this machine and its daemon stand: load, file systems, health, what fires, and "
        "what cannot be looked at."
    ),
    examples=(
        "storewatchctl status",
        "storewatchctl status --json | jq .alerts.firing",
        "storewatchctl status --json | jq .system.disk_usage_percent",
    ),
)
@click.pass_obj
def status(session: Session) -> None:
    answer = session.call("daemon.status")
    found = decoded(answer, "daemon.status", types.Status)
    if session.as_json:
        session.out.json(encode(_document(session, answer)))
    else:
        _show(session, found)


def _document(session: Session, status: bytes) -> dict[str, Any]:
    """Return what the daemon says of itself with what it says of the machine; null is what cannot
    be had."""
    document: dict[str, Any] = msgspec.json.decode(status)
    for name, method, member in _PARTS:
        answer = attempt(partial(session.call, method))
        if isinstance(answer, str):
            session.out.note(f"{name} cannot be had: {answer}")
            document[name] = None
        else:
            document[name] = msgspec.json.decode(answer)[member]
    if document["system"] is not None:
        document["system"]["disk_available_bytes"] = _disk_available(session)
    return document


def _show(session: Session, found: types.Status) -> None:
    out = session.out
    ready = "ready" if found.ready else "not ready"
    up = words.duration(found.uptime_seconds)
    out.fields(
        [
            ("node", words.line(found.node)),
            ("daemon", f"version {found.version}, pid {found.pid}, up {up}, {ready}"),
            ("database", _database(found.database)),
            ("health", state(found.health)),
            *_machine(session),
        ]
    )
    _show_file_systems(session)
    _show_components(session)
    _show_alerts(session, found.alerts)
    _show_probes(session, found.probes)


def _database(database: types.DatabaseStatus) -> Cell:
    if database.kind == "none":
        return Cell("none: history is not kept", "dim")
    version = f" {database.server_version}" if database.server_version else ""
    waiting = f", {words.plural(database.unconfirmed, 'record')} waiting for it"
    text = f"{database.kind} PostgreSQL{version}: {words.line(database.message)}"
    return Cell(text + (waiting if database.unconfirmed else ""), "" if database.up else "yellow")


def _machine(session: Session) -> list[tuple[str, str | Cell]]:
    found = attempt(lambda: session.ask("metrics.get", None, types.Snapshot))
    if isinstance(found, str):
        return [("machine", Cell(f"unknown: {words.line(found)}", "dim"))]
    system = found.system
    if system is None:
        return [("machine", Cell("nothing has been measured yet", "dim"))]
    return [
        ("cpu", words.percent(system.cpu_usage_percent)),
        (
            "memory",
            _used(system.memory_used_bytes, system.memory_total_bytes, system.memory_usage_percent),
        ),
        ("disk", _disk(system, _disk_available(session))),
        ("machine up", words.duration(system.uptime_seconds)),
    ]


def _disk_available(session: Session) -> float | None:
    asked = params.MetricsQuery(expr="sum(node_filesystem_avail_bytes)")
    found = attempt(lambda: session.ask("metrics.query", asked, types.QueryAnswer))
    if isinstance(found, str) or len(found.rows) != 1 or not found.rows[0].exact:
        return None
    value = found.rows[0].value
    return value if isinstance(value, float) else None


def _disk(system: types.SystemMetrics, available: float | None) -> str:
    # What is used and what is free need not add up to the whole: a part of it may be root's.
    share, used = words.percent(system.disk_usage_percent), words.size(system.disk_used_bytes)
    return f"{share}, {used} used, {words.size(available)} free"


def _used(used: float | None, total: float | None, percent: float | None) -> str:
    return f"{words.percent(percent)}, {words.size(used)} of {words.size(total)}"


def _show_file_systems(session: Session) -> None:
    found = attempt(lambda: session.ask("repositories.list", None, types.RepositoryList))
    session.out.line()
    session.out.heading("Repositories and file systems")
    if isinstance(found, str):
        session.out.line(f"unknown: {words.line(found)}", "dim")
        return
    session.out.table(
        REPOSITORY_COLUMNS,
        [repository_row(one) for one in found.repositories],
        empty="none has been found yet",
    )


def _show_components(session: Session) -> None:
    found = attempt(lambda: session.ask("health.get", None, types.Health))
    session.out.line()
    session.out.heading("Health")
    if isinstance(found, str):
        session.out.line(f"unknown: {words.line(found)}", "dim")
    else:
        show_components(session, found)


def show_components(session: Session, found: types.Health) -> None:
    """Write the table of health components."""
    now = clock.now()
    session.out.table(
        HEALTH_COLUMNS,
        [
            (
                words.line(one.name),
                state(one.status),
                words.line(one.message),
                words.ago(one.checked_at, now),
                "" if one.duration_ms is None else f"{one.duration_ms:.1f} ms",
            )
            for one in found.components
        ],
        empty="no component has been checked yet",
    )


def _show_alerts(session: Session, counts: types.AlertCounts) -> None:
    out = session.out
    out.line()
    out.heading(
        f"Alerts: {counts.firing} firing, {counts.pending} pending, "
        f"{counts.acknowledged} acknowledged"
    )
    if not counts.firing:
        return
    asked = params.AlertsList(state=["firing"], limit=MOST_ALERTS)
    found = attempt(partial(most_urgent, session, asked))
    if isinstance(found, str):
        out.line(f"unknown: {words.line(found)}", "dim")
        return
    now = clock.now()
    out.table(
        (Column("SEVERITY"), Column("TITLE", flexible=True), Column("SINCE", right=True)),
        [
            (state(one.severity), words.line(one.title), words.ago(one.first_seen, now))
            for one in found.alerts
        ],
        empty="",
    )
    if counts.firing > len(found.alerts):
        out.line(f"and {counts.firing - len(found.alerts)} more: storewatchctl alerts list", "dim")


def _show_probes(session: Session, probes: list[types.ProbeStatus]) -> None:
    out = session.out
    blind = [one for one in probes if one.outcome in ("failed", "pending") or one.stuck_since]
    out.line()
    out.heading(f"Probes: {len(probes)}, {f'{len(blind)} cannot see' if blind else 'all see'}")
    for one in blind:
        scope = ", ".join(f"{name}={value}" for name, value in one.scope.items())
        about = f"{one.probe} {scope}".strip()
        why = one.reason or ("has not looked yet" if one.outcome == "pending" else "failed")
        out.line(f"  {words.line(about)}: {words.line(why)}", "yellow")


@click.command(
    cls=Command,
    help="Show the health of each component. Exits 1 where the whole is unhealthy.",
    examples=(
        "storewatchctl health",
        "storewatchctl health --json | jq -r '.components[] | select(.status != \"healthy\")'",
    ),
)
@click.pass_obj
def health(session: Session) -> int:
    def show(found: types.Health) -> None:
        session.out.fields(
            [
                ("status", state(found.status)),
                ("node", words.line(found.node)),
                ("at", words.full_time(found.timestamp)),
            ]
        )
        session.out.line()
        show_components(session, found)

    found = session.show("health.get", None, types.Health, show)
    return Exit.FAILED if found.status == "unhealthy" else 0
