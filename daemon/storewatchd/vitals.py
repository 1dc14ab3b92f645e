"""What the daemon says of itself: read off its parts whenever they are looked at."""

import platform
from collections import Counter
from collections.abc import Callable, Iterable

from storewatchd.bus import Bus
from storewatchd.collector import Collector
from storewatchd.core.engine import RuleState
from storewatchd.core.frames import Row
from storewatchd.core.incidents import Incident
from storewatchd.core.inventory import Inventory
from storewatchd.core.model import AlertState, EventType, Severity
from storewatchd.errors import ProbeAbsent, ProbeDeferred
from storewatchd.journal import Facts, Journal
from storewatchd.monitor import Monitor
from storewatchd.probes.self import Rows
from storewatchd.settings import DatabaseKind
from storewatchd.stalls import LoopWatch
from storewatchd.store import Store
from storewatchd.systemd import Notifier

# Counters that begin with their first event would hide it from whoever asks how they grew.
_AT_LEAST = tuple((EventType.ALERT.value, kind) for kind in ("pending", "firing", "resolved"))


class Vitals:
    """The vital signs of the daemon's parts."""

    def __init__(
        self,
        *,
        version: str,
        # What decides and tells.
        monitor: Monitor,
        collector: Collector,
        bus: Bus,
        # What keeps.
        journal: Journal,
        journal_limit_bytes: int,
        store: Store,
        # How the process fares.
        loop_watch: LoopWatch,
        notifier: Notifier,
        connections: Callable[[], int],
        reload_succeeded: Callable[[], bool],
    ) -> None:
        self._version = version
        self._monitor = monitor
        self._collector = collector
        self._bus = bus
        self._journal = journal
        self._journal_limit_bytes = journal_limit_bytes
        self._store = store
        self._loop_watch = loop_watch
        self._notifier = notifier
        self._connections = connections
        self._reload_succeeded = reload_succeeded

    def rows(self) -> Rows:
        """Return the rows of the probe of the daemon itself. What was worst since the last time
        is told once."""
        books = self._monitor.books
        margin_s = self._notifier.take_margin()
        return {
            "storewatch_build_info": [Row((self._version, platform.python_version()), 1.0)],
            "storewatch_loop_lag_seconds": _one(self._loop_watch.take_lag()),
            "storewatch_watchdog_margin_seconds": [] if margin_s is None else _one(margin_s),
            "storewatch_series": _one(len(books.table)),
            "storewatch_series_dropped_total": _one(books.table.room.dropped_total),
            "storewatch_objects": _of_objects(books.inventory),
            "storewatch_objects_refused_total": _one(books.inventory.refused_total),
            "storewatch_control_connections": _one(self._connections()),
            "storewatch_config_last_reload_success": _one(self._reload_succeeded()),
            **_of_looks(self._collector),
            **_of_rules(books.engine.states),
            **_of_alerts(books.incidents),
            **_of_events(self._bus, self._monitor),
            **_of_journal(self._journal.facts(), self._journal_limit_bytes),
        }

    def sentence(self) -> str:
        """Return how things stand, the worst of it, in a sentence for the service manager."""
        count = len(list(self._monitor.books.repositories))
        said = [f"watching {_number(count, 'repository', 'repositories')}"]
        if self._monitor.journal_problem is not None:
            said.append(f"the journal cannot be written: {self._monitor.journal_problem}")
        firing = [one for one in self._monitor.view.all_alerts() if one.state is AlertState.FIRING]
        critical = [alert for alert in firing if alert.severity is Severity.CRITICAL]
        if critical:
            said.append(f"{len(critical)} critical: {critical[0].title}")
        elif firing:
            said.append(f"{_number(len(firing), 'alert', 'alerts')}: {firing[0].title}")
        else:
            said.append("nothing fires")
        blind = [" ".join(one).strip() for one in self._collector.blind()]
        if blind:
            more = f" and {len(blind) - 1} more" if len(blind) > 1 else ""
            said.append(f"blind to {blind[0]}{more}")
        store = self._store
        if store.kind is not DatabaseKind.NONE and store.was_tried and store.problem is not None:
            said.append(f"PostgreSQL is away: {store.problem}")
        return "; ".join(said)

    def database_rows(self) -> Rows:
        """Return the rows of the probe of the database.

        Raises:
            ProbeAbsent: there is none.
            ProbeDeferred: it is not known yet.
        """
        store, facts = self._store, self._journal.facts()
        if store.kind is DatabaseKind.NONE:
            raise ProbeAbsent("no database is configured")
        if not store.was_tried:
            raise ProbeDeferred("no attempt to connect has ended yet")
        oldest, now = facts.oldest_unconfirmed, self._monitor.now()
        age_s = 0.0 if oldest is None else max(0.0, now.wall - oldest)
        return {
            "storewatch_db_up": _one(store.problem is None),
            "storewatch_db_refused_total": _one(store.refused),
            "storewatch_journal_records": _one(facts.unconfirmed),
            "storewatch_journal_oldest_unconfirmed_seconds": _one(age_s),
        }


def _number(count: int, one: str, many: str) -> str:
    return f"{count} {one if count == 1 else many}"


def _one(value: float) -> list[Row]:
    return [Row((), float(value))]


def _of_objects(inventory: Inventory) -> list[Row]:
    counts = Counter((one.kind.value, "here" if one.is_here else "gone") for one in inventory)
    return [Row(labels, float(count)) for labels, count in sorted(counts.items())]


def _of_looks(collector: Collector) -> Rows:
    ages = collector.ages()
    stuck = {age.stuck_key: age.stuck_s for age in ages if age.stuck_s is not None}
    return {
        "storewatch_probe_age_seconds": [Row((age.probe, age.scope), age.age_s) for age in ages],
        "storewatch_probe_interval_seconds": [
            Row((age.probe, age.scope), collector.interval_s) for age in ages
        ],
        "storewatch_worker_age_seconds": [Row((key,), age_s) for key, age_s in stuck.items()],
    }


def _of_rules(states: Iterable[RuleState]) -> Rows:
    by_state = dict.fromkeys(("exact", "unknown", "failing"), 0)
    took_s = 0.0
    for state in states:
        is_open = state.unknown or state.last_evaluation is None
        by_state["failing" if state.error else "unknown" if is_open else "exact"] += 1
        took_s += state.evaluation_s or 0.0
    return {
        "storewatch_rules": [Row((name,), float(count)) for name, count in by_state.items()],
        "storewatch_rule_eval_seconds": _one(took_s),
    }


def _of_alerts(incidents: Iterable[Incident]) -> Rows:
    by_severity = {
        (state.value, severity.value): 0
        for state in (AlertState.PENDING, AlertState.FIRING)
        for severity in Severity
    }
    by_rule: Counter[tuple[str, str]] = Counter()
    for incident in incidents:
        alert = incident.alert
        by_severity[alert.state.value, alert.severity.value] += 1
        if alert.rule:
            by_rule[alert.rule, alert.state.value] += 1
    return {
        "storewatch_alerts": [Row(labels, float(count)) for labels, count in by_severity.items()],
        "storewatch_rule_alerts": [Row(labels, float(count)) for labels, count in by_rule.items()],
    }


def _of_events(bus: Bus, monitor: Monitor) -> Rows:
    told = {**dict.fromkeys(_AT_LEAST, 0), **bus.told}
    queues = {**monitor.queues(), "subscriber": bus.longest_queue()}
    return {
        "storewatch_events_total": [Row(labels, float(count)) for labels, count in told.items()],
        "storewatch_queue_length": [Row((name,), float(count)) for name, count in queues.items()],
        "storewatch_subscribers": _one(len(bus)),
    }


def _of_journal(facts: Facts, limit_bytes: int) -> Rows:
    return {
        "storewatch_journal_writable": _one(facts.is_writable),
        "storewatch_journal_commit_seconds": _one(facts.last_commit_seconds),
        "storewatch_journal_appended_total": _one(facts.appended_total),
        "storewatch_journal_file_bytes": _one(facts.file_bytes),
        "storewatch_journal_damaged_bytes": _one(facts.damaged_bytes),
        "storewatch_journal_limit_bytes": _one(limit_bytes),
        "storewatch_journal_free_bytes": _one(facts.free_bytes),
        "storewatch_journal_reserve_bytes": _one(facts.reserve_bytes),
        "storewatch_unjournalled_total": _one(facts.unjournalled_total),
        "storewatch_journal_lost_total": _one(facts.lost_total),
    }
