"""daemon.*, health.get and metrics.*: how the daemon and the machine stand."""

import math
import os
from collections.abc import Callable, Mapping
from typing import Any

from storewatch.wire import params
from storewatchd.collector import Collector
from storewatchd.control.dispatch import Call, Handler
from storewatchd.control.health import HealthChecks
from storewatchd.core.exposition import Exposition
from storewatchd.core.mentions import doubts, named_metrics
from storewatchd.core.promql import Plan, parse
from storewatchd.errors import ExpressionError, InvalidParams
from storewatchd.journal import Journal
from storewatchd.monitor import Monitor
from storewatchd.settings import DatabaseKind
from storewatchd.store import Store

PROTOCOL = 1

QUERY_CELLS = 2_000_000
"""What one query may cost the loop that everything else waits for: two tenths of a second."""


def handlers(
    monitor: Monitor,
    collector: Collector,
    store: Store,
    journal: Journal,
    health: HealthChecks,
    *,
    version: str,
    uptime_s: Callable[[], float],
    known_metrics: Callable[[], frozenset[str]],
) -> Mapping[str, Handler]:
    """Return the methods about the whole."""
    exposition = Exposition()

    def daemon_version(_: Call, __: params.Nothing) -> dict[str, Any]:
        return {"version": version, "node": monitor.node, "protocol": PROTOCOL}

    async def status(_: Call, __: params.Nothing) -> dict[str, Any]:
        unconfirmed = 0
        if store.kind is not DatabaseKind.NONE:
            unconfirmed, _oldest = await journal.unconfirmed()
        return {
            "node": monitor.node,
            "version": version,
            "pid": os.getpid(),
            "uptime_seconds": round(uptime_s(), 3),
            "ready": True,
            "health": health.report()["status"],
            "alerts": monitor.counts(),
            "probes": collector.statuses(),
            "database": {
                "kind": store.kind.value,
                "up": store.problem is None,
                "message": store.problem or "answers",
                "unconfirmed": unconfirmed,
                "server_version": store.server_version,
            },
        }

    def health_get(_: Call, __: params.Nothing) -> dict[str, Any]:
        return health.report()

    def metrics_get(_: Call, __: params.Nothing) -> dict[str, Any]:
        return monitor.snapshot()

    def metrics_text(_: Call, __: params.Nothing) -> str:
        return exposition.text(monitor.books.table, monitor.now().wall)

    def metrics_query(_: Call, asked: params.MetricsQuery) -> dict[str, Any]:
        try:
            expr = parse(asked.expr)
            result = Plan(expr).evaluate(monitor.books.table, monitor.now().wall, cells=QUERY_CELLS)
        except ExpressionError as error:
            raise InvalidParams(f"expr: {error}", line=error.line, column=error.column) from error
        return {
            "rows": [
                {
                    "labels": row.labels,
                    "value": _number(row.value),
                    "exact": row.exact,
                    "state": row.state.word,
                }
                for row in result.rows
            ],
            "holes": [dict(hole) for hole in result.holes],
            "warnings": [text for _, text in doubts(named_metrics(expr), known_metrics())],
        }

    return {
        "daemon.version": daemon_version,
        "daemon.status": status,
        "health.get": health_get,
        "metrics.get": metrics_get,
        "metrics.text": metrics_text,
        "metrics.query": metrics_query,
    }


def _number(value: float) -> float | str:
    """Return a number as it goes over the wire: JSON has no infinities and no NaN."""
    if math.isfinite(value):
        return value
    return "NaN" if math.isnan(value) else f"{'+' if value > 0 else '-'}Inf"
