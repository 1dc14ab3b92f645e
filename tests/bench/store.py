"""Measurements of journal, drain and store, over real files and a real PostgreSQL of their own."""

import asyncio
import random
import shutil
import statistics
import tempfile
import time
from collections.abc import AsyncIterator, Coroutine, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from bench.measure import Bench, Figure, Samples
from fakes import NOON
from fix_node import running_node
from fix_records import alert, run
from storewatchd.clock import Clock
from storewatchd.core.commands import Announce, CreateAlert
from storewatchd.core.model import Alert, AlertState, Severity
from storewatchd.core.queries import AlertQuery, Position
from storewatchd.core.tasks import TaskState
from storewatchd.drain import Drain
from storewatchd.journal import Journal, Rebuild, Record, StateChange
from storewatchd.settings import DaemonSettings, Settings
from storewatchd.store import Store
from system.appliance import Appliance

ValueT = TypeVar("ValueT")

WAITING = 100_000
ROUNDS = 3
OPEN = 50_000
ALERTS, MILLION = 200_000, 1_000_000
RESOURCES = 500
PAGE = 50
PAGES = 1_000
BATCH = 1_000

_encode = msgspec.json.encode

_MANY = """
INSERT INTO alert
    (id, node, version, rule, severity, source, state, acknowledged, resource_type, resource_id,
     labels, title, first_seen, last_seen, resolved_at, body)
SELECT id, node, version, rule, severity, source, state, acknowledged, resource_type, resource_id,
       labels, title, seen, seen, seen + interval '1 min',
       body || jsonb_build_object('id', id, 'severity', severity, 'resource_id', resource_id)
FROM (
    SELECT lpad(n::text, 36, '0') AS id, node, version, rule,
           (ARRAY['info', 'warning', 'critical'])[1 + n %% 3] AS severity, source, state,
           acknowledged, resource_type, 'r' || n %% %(resources)s AS resource_id, labels, title,
           to_timestamp(%(noon)s + n) AS seen, body
    FROM alert, generate_series(1, %(count)s) AS n
    WHERE id = %(id)s
) AS made
"""


@contextmanager
def _directory() -> Iterator[Path]:
    path = Path(tempfile.mkdtemp(prefix="storewatch-bench-"))
    path.chmod(0o755)
    (path / "state").mkdir(mode=0o755)
    try:
        yield path
    finally:
        shutil.rmtree(path)


@asynccontextmanager
async def _store(directory: Path, node: str) -> AsyncIterator[Store]:
    daemon = DaemonSettings(directory / "state", directory / "run")
    store = Store(Settings(daemon), Clock(), node=node)
    try:
        await store.connect()
        yield store
    finally:
        await store.close()


def _run(work: Coroutine[Any, Any, ValueT]) -> ValueT:
    with asyncio.Runner() as runner:
        return runner.run(work)


# The drain.


def _day(node: str, numbers: Sequence[int]) -> list[Record]:
    """Return what a node notes: alerts from their beginning to their end, and tasks."""
    records: list[Record] = []
    for place in range(0, len(numbers), 6):
        number = numbers[place]
        fired = _alert(node, number)
        for version, state in enumerate((AlertState.PENDING, AlertState.FIRING), 1):
            told = msgspec.structs.replace(
                fired, version=version, state=state, resolved_at=None, resolved_by=None
            )
            records.append(_line(number + version - 1, state, told.to_json(), fired.id, "alert"))
        records.append(_line(number + 2, "resolved", fired.to_json(), fired.id, "alert"))
        ended = run(node, number, output="copied 4096 files\n" * 20)
        begun = run(node, number, state=TaskState.RUNNING, version=1, finished_at=None)
        records.append(_line(number + 3, "start", begun.to_state(), ended.id, "task"))
        records.append(_line(number + 4, "end", ended.to_state(), ended.id, "task"))
        records.append(_line(number + 5, "noted", {"number": number}, "", "system"))
    return records[: len(numbers)]


def _alert(node: str, number: int) -> Alert:
    return alert(
        node,
        number,
        message="the repository is 91 % full, and grows by 12 GB a day",
        labels={"repository": f"r{number % RESOURCES}", "path": "/srv/backup"},
        annotations={"summary": "it is full", "runbook": "https://example.org/full"},
        resource_type="repository",
        resource_id=f"r{number % RESOURCES}",
    )


def _line(seq: int, kind: str, data: dict[str, Any], key: str, of_type: str) -> Record:
    reason = b'{"rule":"Full","version":1,"expr":"full > 0.9","value":0.91,"series":{"a":"1"}}'
    return Record(seq, NOON + seq / 100, of_type, kind, _encode(data), key, reason=reason)


async def _drain_once(journal: Journal, store: Store, last: int) -> float:
    """Return how long it takes until PostgreSQL has everything."""
    done = asyncio.Event()

    def confirmed(seq: int) -> None:
        if seq >= last:
            done.set()

    async def tell(_: Announce) -> None: ...

    async def recall() -> None:
        await journal.append((), (), rebuild=Rebuild.NONE)

    drain = Drain(journal, store, confirmed=confirmed, tell=tell, recall=recall)
    async with asyncio.TaskGroup() as tasks:
        began = time.perf_counter()
        running = tasks.create_task(drain.run())
        await done.wait()
        took = time.perf_counter() - began
        running.cancel()
    return took


async def _drain_rates() -> list[float]:
    rates = []
    with _directory() as directory:
        journal = await Journal.open(directory / "state", Clock())
        try:
            async with _store(directory, journal.node) as store:
                for _ in range(ROUNDS):
                    numbers = await journal.numbers(WAITING)
                    for place in range(0, WAITING, BATCH):
                        await journal.append(_day(journal.node, numbers[place : place + BATCH]), ())
                    rates.append(WAITING / await _drain_once(journal, store, numbers[-1]))
        finally:
            await journal.close()
    return rates


def _drain() -> Samples:
    for rate in _run(_drain_rates()):
        yield "drain", rate


# The journal.


async def _durations() -> list[tuple[str, float]]:
    found = []
    with _directory() as directory:
        async with running_node(directory) as node:
            for number in range(300):
                began = time.perf_counter()
                await node.create(f"alert {number}")
                found.append(("transition to durable", time.perf_counter() - began))
            for _ in range(20):
                numbers = await node.journal.numbers(BATCH)
                records = [
                    _line(seq, "firing", _alert("node", seq).to_json(), f"a{seq}", "alert")
                    for seq in numbers
                ]
                states = [StateChange("alert", one.key, one.data) for one in records]
                began = time.perf_counter()
                await node.journal.append(records, states)
                found.append((f"{BATCH} in one batch", time.perf_counter() - began))
    return found


def _journal() -> Samples:
    for name, seconds in _run(_durations()):
        yield name, 1000 * seconds


# The start.


async def _open_many(state: Path) -> None:
    async with running_node(state) as node:
        for first in range(0, OPEN, BATCH):
            await asyncio.gather(
                *(
                    node.monitor.command(
                        CreateAlert(
                            actor="ann",
                            severity=Severity.WARNING,
                            source="bench",
                            title=f"alert {number}",
                            labels={"number": str(number)},
                        )
                    )
                    for number in range(first, first + BATCH)
                )
            )


def _ready() -> Samples:
    with _directory() as directory:
        appliance = Appliance(directory)
        appliance.configure(interval_s=30, rules_interval_s=30, more='[database]\nkind = "none"\n')
        _run(_open_many(appliance.state))
        try:
            for _ in range(5):
                began = time.perf_counter()
                appliance.start()
                yield f"{OPEN} open alerts, start to READY", time.perf_counter() - began
                appliance.stop()
        finally:
            appliance.close()


# Pages of history.


async def _page_times(count: int) -> list[tuple[str, float]]:
    found = []
    node = "bench"
    with _directory() as directory:
        async with _store(directory, node) as store:
            await _fill(store, node, count)
            chance = random.Random(1)
            queries = {
                "newest first": AlertQuery(),
                "of a severity": AlertQuery(severities=frozenset({Severity.CRITICAL})),
                "of a resource": AlertQuery(resource_type="repository", resource_id="r7"),
            }
            for name, query in [*queries.items()] * ROUNDS:
                times = []
                for _ in range(PAGES):
                    after = Position.of(NOON + chance.randrange(PAGE * RESOURCES, count), "")
                    began = time.perf_counter()
                    page = await store.alerts.page(query, after, PAGE)
                    times.append(1000 * (time.perf_counter() - began))
                    assert len(page.alerts) == PAGE, name
                found.append((f"{name}, p99", statistics.quantiles(times, n=100)[-1]))
                found.append((f"{name}, median", statistics.median(times)))
    return found


async def _fill(store: Store, node: str, count: int) -> None:
    template = _alert(node, 1)
    async with store.connection(timeout_s=600) as connection:
        await connection.execute("SET statement_timeout = 0")
        await connection.execute(
            "INSERT INTO alert SELECT 'template', %(node)s, 3, 'Full', 'info', 'storage',"
            " 'resolved', false, 'repository', 'r0', %(labels)s::jsonb, 'It is full',"
            " to_timestamp(0), to_timestamp(0), to_timestamp(0), %(body)s::jsonb",
            {
                "node": node,
                "labels": _encode(template.labels).decode(),
                "body": _encode(template.to_json()).decode(),
            },
        )
        values = {"noon": NOON, "count": count, "resources": RESOURCES, "id": "template"}
        await connection.execute(_MANY, values)
        await connection.commit()
        # As the server does by itself after a while.
        await connection.set_autocommit(True)
        await connection.execute("VACUUM ANALYZE alert")
        await connection.set_autocommit(False)


def _pages(count: int) -> Samples:
    yield from _run(_page_times(count))


def _page_bench(name: str, count: int, *, if_asked: bool) -> Bench:
    figures = [
        figure
        for query in ("newest first", "of a severity", "of a resource")
        for figure in (Figure(f"{query}, p99", "ms", 5), Figure(f"{query}, median", "ms"))
    ]
    about = f"pages of {PAGE} at random places among {count:,} stored alerts"
    return Bench(name, about, tuple(figures), partial(_pages, count), if_asked=if_asked)


BENCHES = (
    Bench(
        "drain",
        f"{WAITING:,} records that waited for PostgreSQL",
        (Figure("drain", "/s", 10_000, at_least=True),),
        _drain,
    ),
    Bench(
        "journal",
        "what a transition waits for",
        (Figure("transition to durable", "ms", 5), Figure(f"{BATCH} in one batch", "ms", 30)),
        _journal,
    ),
    Bench(
        "ready",
        "the daemon's start on a journal with many open alerts",
        (Figure(f"{OPEN} open alerts, start to READY", "s", 3),),
        _ready,
    ),
    _page_bench("pages", ALERTS, if_asked=False),
    _page_bench("million", MILLION, if_asked=True),
    _page_bench("five-million", 5 * MILLION, if_asked=True),
)
