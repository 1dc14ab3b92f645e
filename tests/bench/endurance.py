"""Half an hour at a hundred times the usual rate: what a daemon keeps must not grow with time."""

import asyncio
import os
import statistics
from collections.abc import Awaitable, Callable

import aiohttp
import psutil

from bench.measure import Bench, Figure, Samples
from bench.programs import appliance_for_bench, reader_of
from storewatch import Client
from system.appliance import Appliance

USUAL_INTERVAL_S = 30.0
TIMES = 100
MINUTES = 30
WARM_MINUTES = 15
"""What fills once and stays: rings, caches, pages of the database."""

RETENTION_MINUTES = 5

SAMPLE_S = 5.0


async def _repeat(every_s: float, what: Callable[[int], Awaitable[None]]) -> None:
    """Do something at a fixed rate."""
    loop = asyncio.get_running_loop()
    began = loop.time()
    number = 0
    while True:
        await what(number)
        number += 1
        await asyncio.sleep(max(0.0, began + number * every_s - loop.time()))


async def _load(appliance: Appliance, token: str) -> dict[str, list[float]]:
    """Keep a daemon busy; return the memory of each program over time, in MB."""
    assert appliance.daemon is not None
    assert appliance.web is not None
    daemon = psutil.Process(appliance.daemon.pid)
    programs = {
        "daemon": daemon,
        "reader": reader_of(daemon),
        "sidecar": psutil.Process(appliance.web.pid),
    }
    seen: dict[str, list[float]] = {name: [] for name in programs}
    url = f"ws://127.0.0.1:{appliance.port}/api/v1/monitoring/events"
    headers = {"Authorization": f"Bearer {token}"}
    async with (
        aiohttp.ClientSession(headers=headers) as session,
        session.ws_connect(url) as events,
        Client(os.fspath(appliance.socket)) as client,
    ):
        listed = await client.call("probes.list", {})
        probes = sorted({one["probe"] for one in listed["probes"]})

        async def look(_: int) -> None:
            for probe in probes:
                await client.call("probes.run", {"probe": probe})

        async def work(number: int) -> None:
            task = await client.call("tasks.start", {"name": f"nightly-{number % 20}"})
            said = {"id": task["id"], "failed": number % 2 == 0}
            await client.call("tasks.finish", said)
            created = {
                "severity": "warning",
                "source": "bench",
                "title": f"Number {number}",
                "message": "Made to be resolved",
            }
            alert = await client.call("alerts.create", created)
            await client.call("alerts.resolve", {"id": alert["id"], "note": "done"})

        async def ask(_: int) -> None:
            await client.call("alerts.list", {"state": ["firing", "resolved"], "limit": 100})
            await client.call("metrics.query", {"expr": "sum by (mountpoint) (repo_used_ratio)"})
            async with session.get(f"http://127.0.0.1:{appliance.port}/metrics") as answer:
                await answer.read()

        async def listen() -> None:
            async for _ in events:
                pass

        async def watch(_: int) -> None:
            for name, process in programs.items():
                seen[name].append(process.memory_info().rss / 1e6)

        async with asyncio.TaskGroup() as group:
            under_way = [
                group.create_task(listen()),
                group.create_task(_repeat(USUAL_INTERVAL_S / TIMES, look)),
                group.create_task(_repeat(60 / TIMES, work)),
                group.create_task(_repeat(60 / TIMES, ask)),
                group.create_task(_repeat(SAMPLE_S, watch)),
            ]
            await asyncio.sleep(60 * MINUTES)
            for one in under_way:
                one.cancel()
    return seen


def _slope() -> Samples:
    # Samples are kept for as long as is set, and every look adds some until then: that is over
    # before the slope is taken.
    retention = f'[metrics]\nretention = "{RETENTION_MINUTES}m"'
    with appliance_for_bench(interval_s=1, rules_interval_s=1, more=retention) as appliance:
        appliance.start()
        appliance.start_web()
        appliance.wait_database()
        token = appliance.token("monitoring:read")
        seen = asyncio.run(_load(appliance, token))
        for name, values in seen.items():
            warm = values[round(len(values) * WARM_MINUTES / MINUTES) :]
            hours = [number * SAMPLE_S / 3600 for number in range(len(warm))]
            yield f"{name}, resident", statistics.median(warm)
            yield f"{name}, slope", statistics.linear_regression(hours, warm).slope


BENCHES = (
    Bench(
        "endurance",
        f"{MINUTES} minutes at {TIMES} times the usual rate; the slope is that after the first"
        f" {WARM_MINUTES}",
        (
            *(
                figure
                for name in ("daemon", "reader", "sidecar")
                for figure in (
                    Figure(f"{name}, resident", "MB"),
                    Figure(f"{name}, slope", "MB/h", 1.0),
                )
            ),
        ),
        _slope,
        if_asked=True,
    ),
)
