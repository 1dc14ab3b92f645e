"""The daemon itself: whether it keeps up, what it holds, and how its journal and database stand."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from storewatchd.core.frames import Frame, Row, Scope
from storewatchd.errors import ProbeDeferred
from storewatchd.port import Port
from storewatchd.probes.base import counter, gauge, seen

Rows = Mapping[str, list[Row]]

SELF = "self"
DATABASE = "database"

_PROCESS = {
    "process_cpu_seconds_total": "cpu_seconds",
    "process_resident_memory_bytes": "resident_bytes",
    "process_virtual_memory_bytes": "virtual_bytes",
    "process_open_fds": "open_fds",
    "process_max_fds": "max_fds",
    "process_threads": "threads",
    "process_start_time_seconds": "start_time",
}

SELF_FAMILIES = (
    gauge("storewatch_build_info", "What runs.", "version", "python"),
    gauge(
        "storewatch_loop_lag_seconds",
        "For how long the loop was late at worst since the last look.",
        unit="seconds",
    ),
    gauge(
        "storewatch_watchdog_margin_seconds",
        "How much of the watchdog's time was left at worst since the last look.",
        unit="seconds",
    ),
    gauge(
        "storewatch_probe_age_seconds",
        "For how long no look at a scope has succeeded.",
        *("probe", "scope"),
        unit="seconds",
    ),
    gauge(
        "storewatch_probe_interval_seconds",
        "How often a scope is looked at.",
        *("probe", "scope"),
        unit="seconds",
    ),
    gauge(
        "storewatch_worker_age_seconds",
        "For how long a read has been stuck, by the key that it closes.",
        "key",
        unit="seconds",
    ),
    gauge("storewatch_rules", "Rules in force by how their last evaluation went.", "state"),
    gauge(
        "storewatch_rule_eval_seconds",
        "How long the last evaluations of all rules took together.",
        unit="seconds",
    ),
    gauge("storewatch_alerts", "Open alerts.", "state", "severity"),
    gauge("storewatch_rule_alerts", "Open alerts of a rule.", "rule", "state"),
    gauge("storewatch_series", "Series in memory."),
    counter("storewatch_series_dropped_total", "Series that found no place."),
    gauge("storewatch_objects", "Objects of the inventory.", "kind", "status"),
    counter("storewatch_objects_refused_total", "Objects that found no place."),
    counter("storewatch_events_total", "Events that were told.", "type", "kind"),
    gauge("storewatch_queue_length", "How much waits in a queue of the daemon's.", "queue"),
    gauge("storewatch_subscribers", "Subscriptions to events."),
    gauge("storewatch_control_connections", "Connections to the control socket."),
    gauge("storewatch_journal_writable", "Whether what is told is on disk before."),
    gauge(
        "storewatch_journal_commit_seconds",
        "How long the last commit of the journal took.",
        unit="seconds",
    ),
    counter("storewatch_journal_appended_total", "Records that were written to the journal."),
    gauge("storewatch_journal_file_bytes", "Size of the journal's file.", unit="bytes"),
    gauge(
        "storewatch_journal_damaged_bytes",
        "Size of the damaged files that were set aside.",
        unit="bytes",
    ),
    gauge("storewatch_journal_limit_bytes", "Size that it may have.", unit="bytes"),
    gauge("storewatch_journal_free_bytes", "Free space on its file system.", unit="bytes"),
    gauge(
        "storewatch_journal_reserve_bytes",
        "Space that is held back, to write of a full disk.",
        unit="bytes",
    ),
    counter("storewatch_unjournalled_total", "Lines that were told before they were on disk."),
    counter(
        "storewatch_journal_lost_total",
        "Records that were dropped or spoilt before PostgreSQL had them.",
    ),
    gauge(
        "storewatch_config_last_reload_success",
        "Whether the last reload of settings and rules succeeded.",
    ),
    counter("process_cpu_seconds_total", "CPU time of the daemon."),
    gauge("process_resident_memory_bytes", "Memory of the daemon.", unit="bytes"),
    gauge("process_virtual_memory_bytes", "Address space of the daemon.", unit="bytes"),
    gauge("process_open_fds", "Open file descriptors of the daemon."),
    gauge("process_max_fds", "The limit of its open file descriptors."),
    gauge("process_threads", "Threads of the daemon."),
    gauge("process_start_time_seconds", "When the daemon started.", unit="seconds"),
)
DATABASE_FAMILIES = (
    gauge("storewatch_db_up", "Whether PostgreSQL can be used."),
    counter("storewatch_db_refused_total", "Records that PostgreSQL will never take."),
    gauge("storewatch_journal_records", "Records that PostgreSQL lacks."),
    gauge(
        "storewatch_journal_oldest_unconfirmed_seconds",
        "How old the oldest of them is; 0 where there is none.",
        unit="seconds",
    ),
)


@dataclass(slots=True)
class Own:
    """What the daemon can say of itself, once it runs. `database` may raise what a probe may."""

    vitals: Callable[[], Rows] | None = None
    database: Callable[[], Rows] | None = None


class SelfProbe:
    """The daemon's vital signs, and what the process takes of the machine."""

    name = SELF
    families = SELF_FAMILIES

    def __init__(self, own: Own) -> None:
        self._own = own

    async def discover(self, port: Port) -> tuple[Scope, ...]:
        return (Scope(self.name),)

    async def collect(self, port: Port, scope: Scope) -> Frame:
        if self._own.vitals is None:
            raise ProbeDeferred("the daemon has not started yet")
        facts = port.host("process")
        process = {name: [Row((), float(facts[fact]))] for name, fact in _PROCESS.items()}
        return seen(scope, {**self._own.vitals(), **process})


class DatabaseProbe:
    """How PostgreSQL stands, and what it lacks. While nobody knows yet, nothing is said."""

    name = DATABASE
    families = DATABASE_FAMILIES

    def __init__(self, own: Own) -> None:
        self._own = own

    async def discover(self, port: Port) -> tuple[Scope, ...]:
        return (Scope(self.name),)

    async def collect(self, port: Port, scope: Scope) -> Frame:
        if self._own.database is None:
            raise ProbeDeferred("the daemon has not started yet")
        return seen(scope, dict(self._own.database()))
