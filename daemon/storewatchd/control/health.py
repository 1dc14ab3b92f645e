"""Gathers the components of health from where each is known."""

from typing import Any

from storewatchd.collector import Collector
from storewatchd.core import health
from storewatchd.core.health import Component, Status
from storewatchd.core.model import format_time
from storewatchd.monitor import Monitor
from storewatchd.probes.storage import REPOSITORIES
from storewatchd.settings import DatabaseKind
from storewatchd.store import Store

_NOT_WATCHED = {
    "scst": "no SCST target is watched on this machine",
    "tape": "no tape library is watched on this machine",
    "vtl": "no virtual tape library is watched on this machine",
    "services": "no service is watched",
    "notifications": "no notification channel is set up",
}


class HealthChecks:
    """The health of this node, made when it is asked for."""

    def __init__(self, monitor: Monitor, collector: Collector, store: Store) -> None:
        self._monitor = monitor
        self._collector = collector
        self._store = store

    def report(self) -> dict[str, Any]:
        """Return SPEC's Health."""
        at = self._monitor.now().wall
        components = [
            self._database(at),
            health.storage(
                self._monitor.books.table, self._monitor.books.repositories, at, REPOSITORIES
            ),
            *(health.absent(name, why) for name, why in _NOT_WATCHED.items() if name != "services"),
            self._tasks(at),
            health.absent("services", _NOT_WATCHED["services"]),
            self._rules(at),
            self._probes(at),
        ]
        return {
            "status": health.whole(components).value,
            "timestamp": format_time(at),
            "node": self._monitor.node,
            "components": [component.to_json() for component in components],
        }

    def _database(self, at: float) -> Component:
        if self._monitor.journal_problem is not None:
            problem = self._monitor.journal_problem
            return Component("database", Status.UNHEALTHY, f"the journal: {problem}", at)
        if self._store.kind is DatabaseKind.NONE:
            return Component("database", Status.UNKNOWN, "no database is configured", at)
        if self._store.problem is None and self._store.refused:
            message = f"{self._store.refused} records were refused; the log has the reasons"
            return Component("database", Status.DEGRADED, message, at)
        if self._store.problem is None:
            version = self._store.server_version
            return Component(
                "database",
                Status.HEALTHY,
                f"PostgreSQL {version} answers",
                self._store.checked_at,
                self._store.check_s,
            )
        message = f"history waits in the journal: {self._store.problem}"
        return Component("database", Status.DEGRADED, message, at)

    def _tasks(self, at: float) -> Component:
        runs = self._monitor.books.tasks.runs()
        running = sum(not run.is_over for run in runs)
        if not runs:
            return Component("tasks", Status.UNKNOWN, "no task was ever reported", at)
        failing = self._monitor.failing_tasks()
        if failing:
            names = ", ".join(sorted(failing)[:3])
            return Component("tasks", Status.DEGRADED, f"failed and not run since: {names}", at)
        return Component("tasks", Status.HEALTHY, f"{running} running, none failed", at)

    def _rules(self, at: float) -> Component:
        states = self._monitor.books.engine.states
        broken = [state for state in states if state.error]
        checked_at = max(
            (s.last_evaluation for s in states if s.last_evaluation is not None), default=None
        )
        duration_s = sum(state.evaluation_s or 0.0 for state in states)
        if broken:
            message = (
                f"{len(broken)} of {len(states)} fail; {broken[0].rule.name}: {broken[0].error}"
            )
            return Component("rules", Status.DEGRADED, message, checked_at, duration_s)
        return Component(
            "rules", Status.HEALTHY, f"{len(states)} rules are evaluated", checked_at, duration_s
        )

    def _probes(self, at: float) -> Component:
        statuses = self._collector.statuses()
        failed = [one for one in statuses if one["outcome"] == "failed"]
        if not failed:
            return Component("probes", Status.HEALTHY, f"{len(statuses)} looks, none failed", at)
        first = failed[0]
        message = (
            f"{len(failed)} of {len(statuses)} looks fail; {first['probe']}: {first['reason']}"
        )
        return Component("probes", Status.DEGRADED, message, at)
