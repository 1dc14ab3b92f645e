"""The daemon's life, as one straight page: open in order, serve, close in reverse."""

import asyncio
import contextlib
import importlib.metadata
import logging
import os
import random
import signal
from collections.abc import Sequence
from contextlib import AsyncExitStack
from functools import partial

from storewatchd.bus import Bus
from storewatchd.checkpoints import Checkpoints
from storewatchd.clock import Clock
from storewatchd.collector import Collector
from storewatchd.control.health import HealthChecks
from storewatchd.control.peer import group_number
from storewatchd.control.plane import control_plane
from storewatchd.control.server import ControlServer
from storewatchd.control.spool import Spool
from storewatchd.core.engine import Engine
from storewatchd.core.ids import Ids
from storewatchd.core.incidents import Incidents
from storewatchd.core.permissions import PeerGroups, TokenBook
from storewatchd.core.repositories import RepositoryBook
from storewatchd.core.rules import RuleSet
from storewatchd.core.series import SeriesTable
from storewatchd.core.sight import (
    BLINDNESS,
    BLINDNESS_FAMILIES,
    COLLECTOR,
    COLLECTOR_FAMILIES,
)
from storewatchd.core.tasks import FAMILIES as TASK_FAMILIES
from storewatchd.core.tasks import PROBE as TASKS_PROBE
from storewatchd.core.tasks import TaskBook
from storewatchd.drain import Drain
from storewatchd.errors import NotFound, RuleError
from storewatchd.interpreter import keep_prompt, set_aside
from storewatchd.journal import RESERVE_BYTES, Journal
from storewatchd.monitor import Books, Monitor
from storewatchd.monitor.recall import recall
from storewatchd.port import HostAndReader
from storewatchd.port.host import fact
from storewatchd.port.reader import ReaderPort
from storewatchd.port.shared import SharedReads
from storewatchd.port.tap import TappedPort
from storewatchd.probes import Ears, make_probes
from storewatchd.probes.base import STALE_AFTER_INTERVALS, Patient, Probe
from storewatchd.probes.self import DATABASE, Own
from storewatchd.probes.storage import REPOSITORIES
from storewatchd.probes.tape.alerts import make_tape_alerts
from storewatchd.reload import Reloader, doubts_of, load_settings
from storewatchd.rule_files import read_rules
from storewatchd.settings import Settings, Source
from storewatchd.stalls import LoopWatch
from storewatchd.store import Store
from storewatchd.surroundings import missing_names, own_directory_error, unusable_directories
from storewatchd.systemd import LogQueue, Notifier, passed_sockets
from storewatchd.triggers import Triggers
from storewatchd.vitals import Vitals

logger = logging.getLogger(__name__)

STATUS_S = 5.0


def check(source: Source) -> str:
    """Check settings and rule files as a start would; return a sentence, and a line a warning.

    Raises:
        StorewatchError: something is wrong, and what.
    """
    settings = load_settings(source)
    for error in (*missing_names(settings, source), *unusable_directories(settings, source)):
        raise error
    table = _table(settings)
    _declare(table, make_probes(RepositoryBook(), settings), settings)
    rules, problems = read_rules(settings.rules, table.probe_families())
    if problems:
        raise RuleError("; ".join(str(problem) for problem in problems))
    warnings = [f"warning: {doubt}" for doubt in doubts_of(rules, table)]
    return "\n".join([f"the settings are right; {len(rules)} rules", *warnings])


async def run(source: Source, clock: Clock) -> int:
    """Run the daemon until it is asked to stop; return its exit status.

    Raises:
        StorewatchError: it cannot start, and why.
    """
    settings = load_settings(source)
    began = clock.monotonic()
    version = importlib.metadata.version("storewatch")
    stopping, reloads = _signals()
    async with AsyncExitStack() as stack:
        logs = LogQueue(settings.daemon.log_level)
        stack.callback(logs.close)
        notifier = Notifier(clock)
        stack.callback(notifier.close)
        notifier.status("starting")
        _make_directories(settings, source)
        for error in missing_names(settings, source):
            logger.warning("%s", error)

        journal = await Journal.open(
            settings.daemon.state_directory,
            clock,
            keep=settings.events.keep_records,
            max_bytes=settings.journal.max_megabytes << 20,
            reserve_bytes=RESERVE_BYTES,
        )
        stack.push_async_callback(journal.close)
        bus = Bus(journal.last_seq)
        table = _table(settings)
        repositories = RepositoryBook()
        repositories.declare(settings.storage.named_paths())
        own = Own()
        tape_alerts = make_tape_alerts(clock, is_broker=settings.tape.alert_broker)
        ears = Ears.deaf(clock)
        probes = make_probes(repositories, settings, own, clock, tape_alerts, ears)
        _declare(table, probes, settings)
        checkpoints = Checkpoints(settings.daemon.state_directory, table, version, probes)
        await checkpoints.load()
        rules = await asyncio.to_thread(_usable_rules, settings, table)
        books = _books(journal.node, clock, table, repositories, rules)
        monitor = Monitor(books, journal=journal, bus=bus, clock=clock, alive=notifier.alive)
        await monitor.restore()

        reader = ReaderPort(
            settings.reader.socket,
            clock,
            own_lock_directory=settings.daemon.runtime_directory / "reader",
            own_options=("--tapealert-broker",) if settings.tape.alert_broker else (),
        )
        stack.push_async_callback(reader.close)
        store = Store(settings, clock, node=journal.node)
        stack.push_async_callback(store.close)
        shared = SharedReads(reader.read, clock)
        port = TappedPort(HostAndReader(shared.read, fact))
        collector = Collector(
            probes,
            port,
            clock,
            interval_s=settings.probes.interval,
            feed=monitor.feed,
            expect=monitor.expect,
            forget_reads=shared.forget,
        )
        monitor.resumed = collector.trigger_all
        store.changed = partial(collector.touch, DATABASE)
        triggers = Triggers(
            listen=reader.listen,
            touch=collector.touch,
            tap=port,
            ears=ears,
            probes=[probe.name for probe in probes],
        )
        health = HealthChecks(monitor, collector, store)
        groups = PeerGroups(
            read=group_number(settings.control.read_group),
            write=group_number(settings.control.write_group),
        )
        reloader = Reloader(
            source,
            settings,
            notifier=notifier,
            logs=logs,
            monitor=monitor,
            collector=collector,
        )
        server = control_plane(
            monitor=monitor,
            collector=collector,
            port=port,
            store=store,
            journal=journal,
            bus=bus,
            health=health,
            groups=groups,
            read_rules=reloader.read_rules,
            tape_alerts=tape_alerts,
            keep=checkpoints.keep,
            version=version,
            uptime_s=lambda: clock.monotonic() - began,
        )
        spool = Spool(settings.spool_directory, monitor, groups)
        spool.prepare()
        drain = Drain(
            journal,
            store,
            confirmed=monitor.confirmed,
            tell=monitor.command,
            recall=partial(_recall, journal, store, monitor, collector),
        )
        loop_watch = LoopWatch(clock)
        vitals = Vitals(
            version=version,
            monitor=monitor,
            collector=collector,
            bus=bus,
            journal=journal,
            journal_limit_bytes=settings.journal.max_megabytes << 20,
            store=store,
            loop_watch=loop_watch,
            notifier=notifier,
            connections=lambda: len(server),
            reload_succeeded=lambda: reloader.last_succeeded,
        )
        own.vitals, own.database = vitals.rows, vitals.database_rows

        keep_prompt()
        await stack.enter_async_context(server)
        await _listen(server, settings)
        async with asyncio.TaskGroup() as tasks:
            work = [
                tasks.create_task(job, name=name)
                for name, job in (
                    ("monitor", monitor.run()),
                    ("collector", collector.run()),
                    ("triggers", triggers.run()),
                    ("drain", drain.run()),
                    ("spool", spool.run()),
                    ("checkpoints", checkpoints.run()),
                    ("loop watch", loop_watch.run()),
                    ("set aside", set_aside()),
                    ("status", _tell_status(notifier, vitals)),
                    ("reload", reloader.run(reloads)),
                )
            ]
            notifier.ready()
            logger.info(
                "ready: %d rules, node %s, after %.2f s",
                len(books.engine.states),
                journal.node,
                clock.monotonic() - began,
            )
            await stopping.wait()
            notifier.stopping()
            logger.info("stopping")
            bus.close("the daemon stops")
            for job in work:
                job.cancel()
    return 0


def _signals() -> tuple[asyncio.Event, asyncio.Event]:
    """Return the events that SIGTERM and SIGHUP set. A second SIGTERM ends the process at once."""
    stopping, reloads = asyncio.Event(), asyncio.Event()
    loop = asyncio.get_running_loop()

    def stop() -> None:
        if stopping.is_set():
            os._exit(1)
        stopping.set()

    loop.add_signal_handler(signal.SIGTERM, stop)
    loop.add_signal_handler(signal.SIGINT, stop)
    loop.add_signal_handler(signal.SIGHUP, reloads.set)
    return stopping, reloads


def _table(settings: Settings) -> SeriesTable:
    metrics = settings.metrics
    return SeriesTable(retention_s=metrics.retention, max_series=metrics.max_series)


def _declare(table: SeriesTable, probes: Sequence[Probe], settings: Settings) -> None:
    """Name every family that a probe of ours, or the daemon itself, may say something of."""
    max_age_s = STALE_AFTER_INTERVALS * settings.probes.interval
    for probe in probes:
        holds_s = probe.max_age_s if isinstance(probe, Patient) else max_age_s
        table.declare(probe.name, probe.families, max_age_s=holds_s)
    table.declare(COLLECTOR, COLLECTOR_FAMILIES, max_age_s=max_age_s)
    table.declare(BLINDNESS, BLINDNESS_FAMILIES, max_age_s=max_age_s)
    table.declare(TASKS_PROBE, TASK_FAMILIES, max_age_s=float("inf"))


def _books(
    node: str, clock: Clock, table: SeriesTable, repositories: RepositoryBook, rules: RuleSet
) -> Books:
    ids = Ids(random.SystemRandom().getrandbits(63))
    incidents = Incidents(node, ids.new)
    return Books(
        table=table,
        engine=Engine(table, incidents, rules, timer=clock.monotonic),
        incidents=incidents,
        tasks=TaskBook(node, ids.new),
        repositories=repositories,
        tokens=TokenBook(),
        ids=ids,
    )


async def _recall(journal: Journal, store: Store, monitor: Monitor, collector: Collector) -> None:
    """Take back what was lost with the journal, and look at what came back with that."""
    await recall(journal, store, monitor.view, monitor.command)
    with contextlib.suppress(NotFound):  # their probe may be disabled
        collector.rediscover(REPOSITORIES)


def _usable_rules(settings: Settings, table: SeriesTable) -> RuleSet:
    """Return the rules to start with: what is wrong is said, and the rest is in force."""
    rules, problems = read_rules(settings.rules, table.probe_families())
    for problem in problems:
        logger.error("this rule is not in force: %s", problem)
    for doubt in doubts_of(rules, table):
        logger.warning("%s", doubt)
    return rules


def _make_directories(settings: Settings, source: Source) -> None:
    for name in ("state_directory", "runtime_directory"):
        path = getattr(settings.daemon, name)
        try:
            path.mkdir(parents=True, exist_ok=True, mode=0o755)
        except OSError as error:
            found = f"{path}: {error.strerror or error}"
            raise own_directory_error(source, name, found) from error


async def _listen(server: ControlServer, settings: Settings) -> None:
    passed = passed_sockets()
    for listener in passed:
        listener.setblocking(False)
        await server.listen_on(listener)
    if not passed:
        await server.listen_at(settings.control_socket)


async def _tell_status(notifier: Notifier, vitals: Vitals) -> None:
    while True:
        notifier.status(vitals.sentence())
        await asyncio.sleep(STATUS_S)
