"""Gathers the components of health from where each is known."""

from dataclasses import replace
from typing import Any

from storewatchd.collector import Collector
from storewatchd.core import health
from storewatchd.core.frames import Outcome
from storewatchd.core.health import Component, Status
from storewatchd.core.model import Instant, format_time
from storewatchd.monitor import Monitor
from storewatchd.probes.base import STALE_AFTER_INTERVALS
from storewatchd.probes.storage import REPOSITORIES
from storewatchd.settings import DatabaseKind
from storewatchd.store import Store

_NOT_WATCHED = {
    "services": "no service is watched",
    "notifications": "no notification channel is set up",
}

_HARDWARE = (
    health.Hardware(
        "scst",
        "SCST targets",
        probes=("scst_state", "scst"),
        parts={"scst_target_enabled": "target"},
        whole="scst_up",
        lost="scst_driver_lost_targets",
    ),
    health.Hardware(
        "tape",
        "tape libraries and drives",
        probes=("libraries", "library_inventories", "tape_drives"),
        parts={"library_up": "library", "tape_drive_up": "drive"},
    ),
    health.Hardware(
        "vtl",
        "virtual tape libraries and drives",
        probes=("vtl", "vtl_units"),
        parts={"vtl_library_up": "library", "vtl_drive_up": "drive"},
        whole="vtl_up",
        gone="their software does not run",
    ),
)

_OWN_ALERTS = frozenset(("storage", "scst", "tape", "vtl", "services"))
"""The components that alerts of a source of the same name are about."""

LATE = 2.0
"""How many intervals a rule may be overdue."""


class HealthChecks:
    """The health of this node, made when it is asked for."""

    def __init__(self, monitor: Monitor, collector: Collector, store: Store) -> None:
        self._monitor = monitor
        self._collector = collector
        self._store = store

    def report(self) -> dict[str, Any]:
        """Return SPEC's Health."""
        now = self._monitor.now()
        at, table = now.wall, self._monitor.books.table
        alerts = [incident.alert for incident in self._monitor.books.incidents]
        judged = [
            self._database(at),
            health.storage(table, self._monitor.books.repositories, at, REPOSITORIES),
            *(self._hardware(one, at) for one in _HARDWARE),
            health.absent("notifications", _NOT_WATCHED["notifications"]),
            self._tasks(at),
            health.absent("services", _NOT_WATCHED["services"]),
            self._rules(now),
            self._probes(now),
        ]
        components = [
            health.with_alerts(one, (alert for alert in alerts if alert.source == one.name))
            if one.name in _OWN_ALERTS
            else one
            for one in judged
        ]
        return {
            "status": _whole(components).value,
            "timestamp": format_time(at),
            "node": self._monitor.node,
            "components": [component.to_json() for component in components],
        }

    def _hardware(self, one: health.Hardware, at: float) -> Component:
        component = health.hardware(one, self._monitor.books.table, at)
        if component.checked_at is not None:
            return component
        # Where there is none of it, no scope was looked at: it was looked for.
        return replace(component, checked_at=self._collector.last_run(one.probes))

    def _database(self, at: float) -> Component:
        if self._monitor.journal_problem is not None:
            problem = self._monitor.journal_problem
            return Component("database", Status.UNHEALTHY, f"the journal: {problem}", at)
        if self._store.kind is DatabaseKind.NONE:
            return Component("database", Status.UNKNOWN, "no database is configured")
        checked_at, check_s = self._store.checked_at, self._store.check_s
        if self._store.problem is None and self._store.refused:
            message = f"{self._store.refused} records were refused; the log has the reasons"
            return Component("database", Status.DEGRADED, message, checked_at, check_s)
        if self._store.problem is None:
            version = self._store.server_version
            return Component(
                "database",
                Status.HEALTHY,
                f"PostgreSQL {version} answers",
                checked_at,
                check_s,
            )
        message = f"history waits in the journal: {self._store.problem}"
        return Component("database", Status.DEGRADED, message, checked_at, check_s)

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

    def _rules(self, now: Instant) -> Component:
        states = self._monitor.books.engine.states
        broken = [state for state in states if state.error]
        waiting = [state for state in states if state.last_evaluation is None]
        late = [one for one in states if now.monotonic - one.due > LATE * one.rule.interval_s]
        undecided = sum(state.unknown for state in states)
        checked_at = max(
            (s.last_evaluation for s in states if s.last_evaluation is not None), default=None
        )
        duration_s = sum(state.evaluation_s or 0.0 for state in states)

        def judged(status: Status, message: str) -> Component:
            return Component("rules", status, message, checked_at, duration_s)

        count = len(states)
        if broken:
            return judged(
                Status.DEGRADED,
                f"{len(broken)} of {count} fail; {broken[0].rule.name}: {broken[0].error}",
            )
        if late:
            return judged(
                Status.DEGRADED, f"{len(late)} of {count} are overdue; {late[0].rule.name}"
            )
        if waiting:
            return judged(Status.UNKNOWN, f"{len(waiting)} of {count} not evaluated yet")
        open_ones = f", {undecided} of them undecided" if undecided else ""
        return judged(Status.HEALTHY, f"{count} rules are evaluated{open_ones}")

    def _probes(self, now: Instant) -> Component:
        sights = self._collector.sights()
        failed = [one for one in sights if one.outcome is Outcome.FAILED]
        # A first look that hangs, and looks that do not come any more.
        late_s = STALE_AFTER_INTERVALS * self._collector.interval_s
        late = [one for one in sights if one not in failed and now.awake - one.good_at > late_s]
        waiting = [one for one in sights if one.outcome is None]
        checked_at = max((s.last_run for s in sights if s.last_run is not None), default=None)
        duration_s = max((s.duration_s for s in sights if s.duration_s is not None), default=None)

        def judged(status: Status, message: str) -> Component:
            return Component("probes", status, message, checked_at, duration_s)

        count = len(sights)
        if failed:
            probe, _scope = failed[0].labels
            return judged(
                Status.DEGRADED,
                f"{len(failed)} of {count} looks fail; {probe}: {failed[0].reason}",
            )
        if late:
            probe, scope = late[0].labels
            return judged(
                Status.DEGRADED,
                f"{len(late)} of {count} looks are overdue; {' '.join((probe, scope)).rstrip()}",
            )
        room = self._monitor.books.table.room
        if room.lacking:
            family, _ = max(room.lacking, key=room.lacking.__getitem__)
            lacking = f"{sum(room.lacking.values())} series find no place, of {family} most"
            return judged(Status.DEGRADED, f"{lacking}: metrics.max_series is {room.most}")
        if waiting:
            return judged(Status.UNKNOWN, f"{len(waiting)} of {count} not looked at yet")
        if not sights:
            return judged(Status.UNKNOWN, "no probe is enabled")
        return judged(Status.HEALTHY, f"{count} looks, none failed")


def _whole(components: list[Component]) -> Status:
    """Return the worst, and of what is well that it is unknown where it is not all looked at: what
    nobody has looked at is not fine."""
    worst = health.whole(components)
    unknown = {one.name for one in components if one.status is Status.UNKNOWN}
    if worst is Status.HEALTHY and unknown & {"probes", "rules"}:
        return Status.UNKNOWN
    return worst
