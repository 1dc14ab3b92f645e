"""Puts the control plane together: every method, the subscriptions, the server."""

from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

from storewatchd.bus import Bus
from storewatchd.collector import Collector
from storewatchd.control.dispatch import Dispatcher
from storewatchd.control.health import HealthChecks
from storewatchd.control.methods import (
    alerts,
    boot,
    daemon,
    events,
    objects,
    probes,
    rules,
    tape,
    tasks,
    tokens,
)
from storewatchd.control.methods.rules import ReadRules
from storewatchd.control.recordings import Recordings
from storewatchd.control.replay import Replay
from storewatchd.control.server import ControlServer
from storewatchd.control.subscriptions import Subscriptions
from storewatchd.core.model import AlertState
from storewatchd.core.permissions import PeerGroups
from storewatchd.core.queries import AlertQuery
from storewatchd.journal import Journal
from storewatchd.monitor import Monitor
from storewatchd.port.tap import TappedPort
from storewatchd.probes import family_names
from storewatchd.probes.tape.alerts import TapeAlerts
from storewatchd.store import Store

_OPEN = AlertQuery(states=frozenset({AlertState.FIRING, AlertState.PENDING}))


def control_plane(
    *,
    monitor: Monitor,
    collector: Collector,
    port: TappedPort,
    store: Store,
    journal: Journal,
    bus: Bus,
    health: HealthChecks,
    groups: PeerGroups,
    read_rules: ReadRules,
    tape_alerts: TapeAlerts,
    keep: Callable[[], Awaitable[None]],
    version: str,
    uptime_s: Callable[[], float],
) -> ControlServer:
    """Return the server with every method of the contract; `keep` writes what probes remember."""
    replay = Replay(journal, unwritten=monitor.unwritten)
    subscriptions = Subscriptions(bus, replay, is_good=partial(_is_good_token, monitor))

    def whole() -> dict[str, Any]:
        return {
            "alerts": [alert.to_json() for alert in monitor.view.alerts(_OPEN, None)],
            "health": health.report(),
            "metrics": monitor.snapshot(),
        }

    of_probes = family_names()

    def known_metrics() -> frozenset[str]:
        recorded = {rule.name for rule in monitor.books.engine.rules if rule.kind == "record"}
        return of_probes.union(monitor.books.table.names(), recorded)

    handlers = {
        **alerts.handlers(monitor, store, journal),
        **daemon.handlers(
            *(monitor, collector, store, journal, health),
            version=version,
            uptime_s=uptime_s,
            known_metrics=known_metrics,
        ),
        **events.handlers(monitor, journal, subscriptions, replay, whole),
        **boot.handlers(monitor),
        **objects.handlers(monitor, collector, store, journal),
        **probes.handlers(monitor, collector, Recordings(monitor, port, version)),
        **rules.handlers(monitor, read_rules, known_metrics),
        **tape.handlers(collector, port, tape_alerts, keep),
        **tasks.handlers(monitor, store),
        **tokens.handlers(monitor, subscriptions),
    }
    return ControlServer(Dispatcher(handlers, partial(tokens.authenticate, monitor)), groups)


def _is_good_token(monitor: Monitor, token_id: str) -> bool:
    token = monitor.books.tokens.get(token_id)
    return token is not None and token.is_good(monitor.now().wall)
