"""Measurements of the real programs, from outside."""

import asyncio
import json
import os
import shutil
import socket
import tempfile
import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path

import aiohttp
import psutil

from bench.measure import Bench, Figure, Samples
from storewatch import Client
from system.appliance import Appliance, wait_for

SETTLE_S = 20.0
WATCH_S = 90.0  # three rounds of the default interval


@contextmanager
def appliance_for_bench(
    *, interval_s: float = 30, rules_interval_s: float = 30, more: str = ""
) -> Iterator[Appliance]:
    """Give an appliance that watches this machine, and remove it afterwards."""
    base = Path(tempfile.mkdtemp(prefix="storewatch-bench-"))
    appliance = Appliance(base)
    appliance.configure(
        interval_s=interval_s, rules_interval_s=rules_interval_s, discover=True, more=more
    )
    try:
        yield appliance
    finally:
        appliance.close()
        shutil.rmtree(base)


def _is_database_up(appliance: Appliance) -> bool:
    return bool(appliance.call("daemon.status")["database"]["up"])


def _start() -> Samples:
    with appliance_for_bench() as appliance:
        appliance.start()
        appliance.wait_database()
        for _ in range(7):
            appliance.stop()
            began = time.monotonic()
            appliance.start()
            yield "start to READY", time.monotonic() - began
            wait_for("PostgreSQL", lambda: _is_database_up(appliance))
            yield "start to PostgreSQL answering", time.monotonic() - began


def reader_of(daemon: psutil.Process) -> psutil.Process:
    """Return the reader that a daemon started."""
    return next(
        child
        for child in daemon.children()
        if any("storewatch_reader" in w for w in child.cmdline())
    )


def _cpu_s(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system + times.children_user + times.children_system)


def idle_shares(reader_words: Collection[str] = ()) -> Samples:
    """Yield what the programs take of a core while nothing happens, and their memory; with words
    for a reader it is one of its own, started before the daemon, that looks elsewhere."""
    with appliance_for_bench() as appliance:
        if reader_words:
            appliance.start_reader(*reader_words)
        appliance.start()
        appliance.start_web()
        appliance.wait_database()
        assert appliance.daemon is not None
        assert appliance.web is not None
        daemon = psutil.Process(appliance.daemon.pid)
        own = appliance.reader
        programs = {
            "daemon": daemon,
            "reader": reader_of(daemon) if own is None else psutil.Process(own.pid),
            "sidecar": psutil.Process(appliance.web.pid),
        }
        time.sleep(SETTLE_S)  # what a start still does is not idling
        before = {name: _cpu_s(process) for name, process in programs.items()}
        began = time.monotonic()
        time.sleep(WATCH_S)  # idling is what is measured
        passed = time.monotonic() - began
        used = {name: 100 * (_cpu_s(one) - before[name]) / passed for name, one in programs.items()}
        # The daemon's children are the reader and PostgreSQL's starter, which have not ended: what
        # ends, and is counted, are its own.
        for name, share in used.items():
            yield f"{name}, idle", share
        yield "all three, idle", sum(used.values())
        for name, process in programs.items():
            yield f"{name}, resident", process.memory_info().rss / 1e6


async def _delays(appliance: Appliance, token: str, count: int) -> list[float]:
    delays = []
    url = f"ws://127.0.0.1:{appliance.port}/api/v1/monitoring/events?types=alert"
    headers = {"Authorization": f"Bearer {token}"}
    async with (
        aiohttp.ClientSession() as session,
        session.ws_connect(url, headers=headers) as events,
        Client(os.fspath(appliance.socket)) as client,
    ):
        for number in range(count):
            name = f"nightly-{number}"
            task = await client.call("tasks.start", {"name": name})
            began = time.monotonic()
            await client.call("tasks.finish", {"id": task["id"], "failed": True})
            while True:
                event = json.loads((await events.receive(timeout=10)).data)
                if event["kind"] == "firing" and name in json.dumps(event["data"]["labels"]):
                    break
            delays.append(time.monotonic() - began)
    return delays


def _task() -> Samples:
    with appliance_for_bench() as appliance:
        appliance.start()
        appliance.start_web()
        appliance.wait_database()
        token = appliance.token("monitoring:read")
        for delay in asyncio.run(_delays(appliance, token, 40)):
            yield "failed task to WebSocket message", 1000 * delay


def _calls(path: Path, count: int, depth: int) -> None:
    """Make calls on one connection, `depth` of them always under way."""
    request = b'{"jsonrpc":"2.0","id":1,"method":"daemon.version"}\n'
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(os.fspath(path))
        for _ in range(count // depth):
            connection.sendall(request * depth)
            lines = 0
            while lines < depth:
                lines += connection.recv(65536).count(b"\n")


def _rpc() -> Samples:
    with appliance_for_bench() as appliance:
        appliance.start()
        appliance.wait_database()
        assert appliance.daemon is not None
        daemon = psutil.Process(appliance.daemon.pid)
        for depth in (16, 1):
            count = 16_000
            _calls(appliance.socket, 1_600, depth)
            for _ in range(7):
                before = daemon.cpu_times()
                _calls(appliance.socket, count, depth)
                after = daemon.cpu_times()
                spent = after.user + after.system - before.user - before.system
                yield f"trivial call, {depth} under way, CPU", 1e6 * spent / count


IDLE_FIGURES = (
    Figure("daemon, idle", "%"),
    Figure("reader, idle", "%"),
    Figure("sidecar, idle", "%"),
    Figure("all three, idle", "%", 0.5),
    Figure("daemon, resident", "MB", 90),
    Figure("reader, resident", "MB", 20),
    Figure("sidecar, resident", "MB", 60),
)

BENCHES = (
    Bench(
        "start",
        "the daemon's start on an existing cluster",
        (Figure("start to READY", "s", 1.5), Figure("start to PostgreSQL answering", "s")),
        _start,
    ),
    Bench(
        "idle",
        f"{WATCH_S:.0f} s of watching this machine every 30 s, PostgreSQL apart",
        IDLE_FIGURES,
        idle_shares,
    ),
    Bench(
        "task",
        "a task's failure becomes an alert that a WebSocket client sees",
        (Figure("failed task to WebSocket message", "ms", 50),),
        _task,
    ),
    Bench(
        "rpc",
        "daemon.version over the control socket",
        (
            Figure("trivial call, 16 under way, CPU", "µs", 65),
            Figure("trivial call, 1 under way, CPU", "µs"),
        ),
        _rpc,
    ),
)
