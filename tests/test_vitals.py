"""What is read off the daemon's parts, and the sentence for the service manager."""

import asyncio
import platform
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from core.fix_engine import rule
from fakes import NOON, ScriptedPort, ScriptedProbe
from fix_node import Node, open_node, running
from fix_records import no_room
from storewatchd.bus import Filter
from storewatchd.collector import Collector
from storewatchd.core.commands import AddRepository
from storewatchd.core.frames import Scope
from storewatchd.core.model import Severity
from storewatchd.core.sight import (
    BLINDNESS,
    BLINDNESS_FAMILIES,
    COLLECTOR,
    COLLECTOR_FAMILIES,
)
from storewatchd.errors import (
    ProbeAbsent,
    ProbeDeferred,
    ProbeFailed,
    ReadStuck,
    StoreUnavailable,
    Unavailable,
)
from storewatchd.probes.self import DATABASE_FAMILIES, SELF_FAMILIES, Rows
from storewatchd.settings import DatabaseKind, DatabaseSettings, Settings
from storewatchd.stalls import LoopWatch
from storewatchd.store import Store
from storewatchd.systemd import Notifier
from storewatchd.vitals import Vitals

# Nobody listens at port 1.
AWAY = "host=127.0.0.1 port=1 connect_timeout=1"
A, B = Scope("watched", (("path", "/a"),)), Scope("watched", (("path", "/b"),))


@dataclass
class Bench:
    """A node whose vital signs are taken."""

    node: Node
    probe: ScriptedProbe
    collector: Collector
    store: Store
    notifier: Notifier
    vitals: Vitals
    reloaded: bool = True

    def value(self, name: str, *labels: str) -> float | None:
        """Return a row's value, None where there is no such row."""
        return values(self.vitals.rows(), name).get(labels)

    def of_database(self, name: str) -> float | None:
        return values(self.vitals.database_rows(), name).get(())


def values(rows: Rows, name: str) -> dict[tuple[str, ...], float]:
    return {row.labels: row.value for row in rows[name]}


@asynccontextmanager
async def open_bench(
    directory: Path, *, kind: DatabaseKind = DatabaseKind.EXTERNAL, rules: str = ""
) -> AsyncIterator[Bench]:
    settings = Settings(database=DatabaseSettings(kind=kind, dsn=AWAY))
    async with open_node(directory, rules=rules) as node, running(node):
        clock = node.clock.clock
        node.books.table.declare(COLLECTOR, COLLECTOR_FAMILIES, max_age_s=90)
        node.books.table.declare(BLINDNESS, BLINDNESS_FAMILIES, max_age_s=90)
        node.books.table.declare("watched", (), max_age_s=90)
        probe = ScriptedProbe("watched", A, B)
        collector = Collector(
            (probe,),
            ScriptedPort(),
            clock,
            interval_s=30.0,
            feed=node.monitor.feed,
            expect=node.monitor.expect,
        )
        store = Store(settings, clock, node=node.journal.node)
        notifier = Notifier(clock)
        bench: Bench
        vitals = Vitals(
            version="1.2.3",
            monitor=node.monitor,
            collector=collector,
            bus=node.bus,
            journal=node.journal,
            journal_limit_bytes=1 << 30,
            store=store,
            loop_watch=LoopWatch(clock),
            notifier=notifier,
            connections=lambda: 3,
            reload_succeeded=lambda: bench.reloaded,
        )
        bench = Bench(node, probe, collector, store, notifier, vitals)
        yield bench
        notifier.close()
        await store.close()


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    async with open_bench(tmp_path) as bench:
        yield bench


async def look(bench: Bench, times: int = 1) -> None:
    """Have everything looked at."""
    async with running_collector(bench):
        for _ in range(times):
            await bench.collector.run_now("watched")


@asynccontextmanager
async def running_collector(bench: Bench) -> AsyncIterator[None]:
    async with asyncio.TaskGroup() as tasks:
        work = tasks.create_task(bench.collector.run())
        await asyncio.sleep(0)
        try:
            yield
        finally:
            work.cancel()


async def try_to_connect(bench: Bench) -> None:
    with pytest.raises(StoreUnavailable):
        await bench.store.connect()


async def test_every_row_is_of_a_declared_family(bench: Bench) -> None:
    await look(bench)
    await bench.node.create()
    await try_to_connect(bench)
    families = {family.name: family for family in (*SELF_FAMILIES, *DATABASE_FAMILIES)}
    told = {**bench.vitals.rows(), **bench.vitals.database_rows()}
    for name, rows in told.items():
        assert {len(row.labels) for row in rows} <= {len(families[name].labels)}, name
    assert families.keys() - told.keys() == {
        name for name in families if name.startswith("process_")
    }


async def test_what_runs_is_told(bench: Bench) -> None:
    assert bench.value("storewatch_build_info", "1.2.3", platform.python_version()) == 1
    assert bench.value("storewatch_control_connections") == 3
    assert bench.value("storewatch_series") == len(bench.node.books.table)


async def test_without_a_watchdog_nothing_is_left_of_its_time(bench: Bench) -> None:
    assert bench.value("storewatch_watchdog_margin_seconds") is None


async def test_what_is_left_of_the_watchdogs_time_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WATCHDOG_USEC", "30000000")
    async with open_bench(tmp_path) as bench:
        bench.notifier.alive()
        bench.node.clock.forward(4)
        assert bench.value("storewatch_watchdog_margin_seconds") == 26


@pytest.mark.parametrize("succeeded", [True, False])
async def test_how_the_last_reload_ended_is_told(bench: Bench, succeeded: bool) -> None:
    bench.reloaded = succeeded
    assert bench.value("storewatch_config_last_reload_success") == float(succeeded)


async def test_the_age_of_every_scope_and_of_stuck_reads_is_told(bench: Bench) -> None:
    for scope in (A, B):
        bench.probe.answers[scope] = ReadStuck("no answer", key="the mount", since=NOON - 60)
    await look(bench)
    bench.node.clock.forward(5)
    assert bench.value("storewatch_probe_age_seconds", "watched", "path=/a") == 5
    assert bench.value("storewatch_probe_interval_seconds", "watched", "path=/a") == 30
    assert values(bench.vitals.rows(), "storewatch_worker_age_seconds") == {("the mount",): 65}


@pytest.mark.parametrize(
    ("expr", "looks", "state"),
    [
        pytest.param("full > 0.8", True, "exact", id="exact"),
        pytest.param("full > 0.8", False, "unknown", id="nothing is known"),
        pytest.param("full > on () full", True, "failing", id="failing"),
    ],
)
async def test_rules_are_counted_by_how_they_went(
    tmp_path: Path, expr: str, looks: bool, state: str
) -> None:
    async with open_bench(tmp_path, rules=rule(expr)) as bench:
        if looks:
            await bench.node.see(a=0.5, b=0.6)
        await bench.node.settled()
        counts = values(bench.vitals.rows(), "storewatch_rules")
        assert counts == {(one,): float(one == state) for one in ("exact", "unknown", "failing")}
        assert bench.value("storewatch_rule_eval_seconds") is not None


async def test_rules_that_were_not_evaluated_yet_are_unknown(tmp_path: Path) -> None:
    async with open_bench(tmp_path, rules=rule()) as bench:
        assert bench.value("storewatch_rules", "unknown") == 1


async def test_open_alerts_are_counted_by_state_and_severity_and_by_rule(tmp_path: Path) -> None:
    async with open_bench(tmp_path, rules=rule()) as bench:
        await bench.node.create(severity=Severity.CRITICAL)
        await bench.node.see(a=0.9, b=0.9)
        counts = values(bench.vitals.rows(), "storewatch_alerts")
        assert {labels: count for labels, count in counts.items() if count} == {
            ("firing", "critical"): 1,
            ("firing", "warning"): 2,
        }
        assert len(counts) == 6
        rules = values(bench.vitals.rows(), "storewatch_rule_alerts")
        assert rules == {("Full", "firing"): 2}


async def test_events_and_whom_they_wait_for_are_counted(bench: Bench) -> None:
    for kind in ("pending", "firing", "resolved"):
        assert bench.value("storewatch_events_total", "alert", kind) == 0
    waiting = bench.node.bus.subscribe(Filter())
    await bench.node.create()
    await bench.node.create()
    assert bench.value("storewatch_events_total", "alert", "firing") == 2
    assert bench.value("storewatch_subscribers") == 1
    assert bench.value("storewatch_queue_length", "subscriber") == waiting.waiting >= 2
    assert bench.value("storewatch_queue_length", "inbox") == 0
    assert bench.value("storewatch_queue_length", "journal") == 0


async def test_how_the_journal_stands_is_told(bench: Bench) -> None:
    await bench.node.create()
    facts = bench.node.journal.facts()
    told = {
        "writable": 1,
        "appended_total": facts.appended_total,
        "commit_seconds": facts.last_commit_seconds,
        "file_bytes": facts.file_bytes,
        "limit_bytes": 1 << 30,
        "free_bytes": facts.free_bytes,
        "reserve_bytes": facts.reserve_bytes,
    }
    assert {name: bench.value(f"storewatch_journal_{name}") for name in told} == told
    assert facts.appended_total > 0
    assert bench.value("storewatch_unjournalled_total") == 0
    assert bench.value("storewatch_journal_lost_total") == 0


# The database.


async def test_without_a_database_there_is_none_to_tell_of(tmp_path: Path) -> None:
    async with open_bench(tmp_path, kind=DatabaseKind.NONE) as bench:
        with pytest.raises(ProbeAbsent, match="no database is configured"):
            bench.vitals.database_rows()


async def test_before_the_first_attempt_has_ended_nobody_knows_of_the_database(
    bench: Bench,
) -> None:
    with pytest.raises(ProbeDeferred, match="no attempt to connect has ended yet"):
        bench.vitals.database_rows()


async def test_a_database_that_cannot_be_used_is_down_and_lacks_records(bench: Bench) -> None:
    await bench.node.create()
    await try_to_connect(bench)
    bench.node.clock.forward(30)
    assert bench.of_database("storewatch_db_up") == 0
    assert bench.of_database("storewatch_db_refused_total") == 0
    assert bench.of_database("storewatch_journal_records") == bench.node.journal.facts().unconfirmed
    assert bench.of_database("storewatch_journal_oldest_unconfirmed_seconds") == 30


async def test_a_database_that_has_everything_lacks_nothing(bench: Bench) -> None:
    await try_to_connect(bench)
    assert bench.of_database("storewatch_journal_records") == 0
    assert bench.of_database("storewatch_journal_oldest_unconfirmed_seconds") == 0


# The sentence.


async def test_a_quiet_daemon_says_so(bench: Bench) -> None:
    assert bench.vitals.sentence() == "watching 0 repositories; nothing fires"


async def test_the_first_of_the_worst_alerts_is_named(bench: Bench) -> None:
    await bench.node.monitor.command(AddRepository("ann", "vault", "/vault"))
    await bench.node.create("Fan")
    one = bench.vitals.sentence()
    await bench.node.create("Disk")
    two = bench.vitals.sentence()
    await bench.node.create("Fire", severity=Severity.CRITICAL)
    assert (one, two, bench.vitals.sentence()) == (
        "watching 1 repository; 1 alert: Fan",
        "watching 1 repository; 2 alerts: Fan",
        "watching 1 repository; 1 critical: Fire",
    )


async def test_what_cannot_be_seen_is_named(bench: Bench) -> None:
    bench.probe.answers[A] = ProbeFailed("broken")
    await look(bench, times=3)
    one = bench.vitals.sentence()
    bench.probe.answers[B] = ProbeFailed("broken")
    await look(bench, times=3)
    assert one == "watching 0 repositories; nothing fires; blind to watched path=/a"
    assert bench.vitals.sentence().endswith("; blind to watched path=/a and 1 more")


async def test_a_database_that_is_away_is_told(bench: Bench) -> None:
    await try_to_connect(bench)
    assert "; PostgreSQL is away: " in bench.vitals.sentence()


async def test_a_journal_that_cannot_be_written_is_told_first(bench: Bench) -> None:
    await bench.node.settled()
    with no_room():
        with pytest.raises(Unavailable):
            await bench.node.create()
        told = bench.vitals.sentence()
        assert bench.value("storewatch_journal_writable") == 0
        assert bench.value("storewatch_queue_length", "journal") == 2
    assert told.startswith("watching 0 repositories; the journal cannot be written: state.db: ")
    assert told.endswith("; 1 alert: Fan")
