"""Kills the programs at random moments under load, and compares what is left with a ledger.

The ledger is written by an outside observer: a call is in it once its answer arrived. Whoever
loses an answer asks again with the same key, so every call is answered in the end. A WebSocket
client writes down every event that it is sent, and goes on after the last one when it is cut off.

    python -m system.chaos --minutes 30 --seed 7
"""

import argparse
import asyncio
import contextlib
import itertools
import json
import os
import random
import signal
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp

from storewatch import CallError, ClientError, PlainClient
from storewatch.wire import Code
from system.appliance import Appliance, wait_for

VICTIMS = ("daemon", "reader", "sidecar", "postgresql", "all")
CALLERS = 4
ANSWER_WITHIN_S = 60.0


@dataclass
class Ledger:
    """What was answered: each alert's id by its key, and what was done to it, in order."""

    alerts: dict[str, str] = field(default_factory=dict)
    done: dict[str, list[str]] = field(default_factory=dict)
    runs: dict[str, int] = field(default_factory=dict)  # a run's id, and its exit status
    calls: int = 0
    problems: list[str] = field(default_factory=list)


class Caller(threading.Thread):
    """Makes calls one after the other, each until it is answered."""

    def __init__(
        self, number: int, appliance: Appliance, ledger: Ledger, budget: Iterator[int]
    ) -> None:
        # Whatever fails elsewhere, a thread that waits for an answer must not hold the end up.
        super().__init__(name=f"caller-{number}", daemon=True)
        self._number = number
        self._path = os.fspath(appliance.socket)
        self._ledger = ledger
        self._budget = budget
        self._client: PlainClient | None = None

    def run(self) -> None:
        try:
            for number in self._budget:
                if number % 5 == 4:
                    self._report(f"run-{number}", number % 3)
                else:
                    self._alert(f"key-{number}", number)
        except Exception as error:  # noqa: BLE001  a thread's error is the test's
            self._ledger.problems.append(f"{self.name}: {error!r}")
        finally:
            self._hang_up()

    def _alert(self, key: str, number: int) -> None:
        answer = self._call(
            "alerts.create",
            severity=("info", "warning", "critical")[number % 3],
            source="chaos",
            title=f"alert {number}",
            idempotency_key=key,
        )
        alert = answer["id"]
        self._ledger.alerts[key] = alert
        done = self._ledger.done[alert] = ["firing"]
        if number % 2:
            self._call("alerts.acknowledge", id=alert, note="seen")
            done.append("acknowledged")
        if number % 3:
            self._call("alerts.resolve", id=alert)
            done.append("resolved")

    def _report(self, run: str, status: int) -> None:
        self._call("tasks.start", name=f"task {status}", id=run)
        self._call("tasks.finish", id=run, exit_status=status)
        self._ledger.runs[run] = status

    def _call(self, method: str, **params: Any) -> Any:
        deadline = time.monotonic() + ANSWER_WITHIN_S
        while True:
            try:
                if self._client is None:
                    self._client = PlainClient(self._path, timeout_s=10)
                answer = self._client.call(method, params)
            except CallError as error:
                if error.code != Code.UNAVAILABLE:
                    raise
            except ClientError:
                self._hang_up()
            else:
                self._ledger.calls += 1
                return answer
            if time.monotonic() > deadline:
                raise TimeoutError(f"{method} was not answered within {ANSWER_WITHIN_S:g} s")
            time.sleep(0.02)  # nobody tells when the daemon is back

    def _hang_up(self) -> None:
        if self._client is not None:
            self._client.close()
            self._client = None


class Witness(threading.Thread):
    """A WebSocket client that goes on after the last event it saw, whatever ends its connection."""

    def __init__(self, appliance: Appliance, token: str) -> None:
        super().__init__(name="witness", daemon=True)
        self._url = f"http://127.0.0.1:{appliance.port}/api/v1/monitoring/events"
        self._headers = {"Authorization": f"Bearer {token}"}
        self._loop = asyncio.new_event_loop()
        self._task: asyncio.Task[None] | None = None
        self.connected = threading.Event()
        self.events: list[dict[str, Any]] = []
        self.connections = 0

    def run(self) -> None:
        with (
            asyncio.Runner(loop_factory=lambda: self._loop) as runner,
            contextlib.suppress(asyncio.CancelledError),
        ):
            runner.run(self._listen())

    def stop(self) -> None:
        assert self._task is not None
        self._loop.call_soon_threadsafe(self._task.cancel)
        self.join()

    async def _listen(self) -> None:
        self._task = asyncio.current_task()
        async with aiohttp.ClientSession(headers=self._headers) as session:
            while True:
                query = {"types": "alert,task,system"}
                if self.events:
                    query["since"] = self.events[-1]["id"]
                with contextlib.suppress(aiohttp.ClientError, ConnectionError, TimeoutError):
                    async with session.ws_connect(self._url, params=query) as connection:
                        self.connections += 1
                        self.connected.set()
                        async for message in connection:
                            self.events.append(json.loads(message.data))
                await asyncio.sleep(0.02)  # nobody tells when the sidecar is back


def kill(appliance: Appliance, victim: str) -> None:
    """End one program or all, as a power cut would; start what nobody else does."""
    pids: list[int] = []
    assert appliance.daemon is not None
    assert appliance.web is not None
    if victim in ("reader", "all"):
        pids += appliance.reader_pids()
    if victim in ("postgresql", "all"):
        with contextlib.suppress(FileNotFoundError, IndexError, ValueError):
            pids += appliance.postgres_pids()
    if victim in ("sidecar", "all"):
        pids.append(appliance.web.pid)
    if victim in ("daemon", "all"):
        pids.append(appliance.daemon.pid)
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    if victim in ("sidecar", "all"):
        appliance.web.wait()
    if victim in ("daemon", "all"):
        appliance.daemon.wait()
        appliance.start()
    if victim in ("sidecar", "all"):
        appliance.start_web(wait=False)


def run(
    appliance: Appliance,
    *,
    seed: int,
    calls: int,
    rounds: int | None = None,
    minutes: float | None = None,
) -> str:
    """Run the load and the killing to their ends, and compare; return a sentence of what was.

    Raises:
        AssertionError: something told was lost, was there twice, or came out of order.
    """
    chance = random.Random(seed)
    ledger = Ledger()
    appliance.start()
    appliance.start_web()
    witness = Witness(appliance, appliance.token("monitoring:read"))
    witness.start()
    assert witness.connected.wait(20)
    lock = threading.Lock()
    numbers = itertools.count()
    is_over = threading.Event()

    def budget() -> Iterator[int]:
        while True:
            with lock:
                number = next(numbers)
            if is_over.is_set() or (minutes is None and number >= calls):
                return
            yield number

    callers = [Caller(number, appliance, ledger, budget()) for number in range(CALLERS)]
    for caller in callers:
        caller.start()
    killed: Counter[str] = Counter()
    ends = None if minutes is None else time.monotonic() + 60 * minutes
    while (rounds is not None and killed.total() < rounds) or (
        ends is not None and time.monotonic() < ends
    ):
        time.sleep(chance.uniform(0.005, 0.25))  # any moment is as good as another
        victim = chance.choice(VICTIMS)
        kill(appliance, victim)
        killed[victim] += 1
    if minutes is not None:
        is_over.set()
    for caller in callers:
        caller.join()
    assert ledger.problems == []
    # The last word, which the witness has to hear before everything is compared.
    last = appliance.call("alerts.create", severity="info", source="end", title="end")["id"]
    wait_for(
        "the last event",
        lambda: any(event["data"].get("id") == last for event in witness.events[-50:]),
        within_s=30,
    )
    witness.stop()
    appliance.wait_database(within_s=120)
    compare_store(appliance, ledger)
    gaps = compare_witness(appliance, witness.events)
    told = ", ".join(f"{count} of {victim}" for victim, count in sorted(killed.items()))
    return (
        f"{ledger.calls} calls answered over {killed.total()} kills ({told}); "
        f"{len(ledger.alerts)} alerts and {len(ledger.runs)} runs in PostgreSQL once and in order; "
        f"the witness saw {len(witness.events)} events over {witness.connections} connections "
        f"with {gaps} gaps told"
    )


def compare_store(appliance: Appliance, ledger: Ledger) -> None:
    """Hold PostgreSQL against the ledger."""
    found = appliance.sql(
        "SELECT id, state, acknowledged FROM alert WHERE source = 'chaos' ORDER BY id"
    )
    ids = [row[0] for row in found]
    assert len(ids) == len(set(ids))
    assert set(ids) == set(ledger.alerts.values()), "alerts were lost, or made twice"
    for alert, state, acknowledged in found:
        done = ledger.done[alert]
        wanted = ("resolved" if "resolved" in done else "firing", "acknowledged" in done)
        assert (state, acknowledged == "t") == wanted, f"{alert} is not as it was answered"
    story: dict[str, list[str]] = {}
    numbers = []
    for alert, kind, seq in appliance.sql(
        "SELECT e.alert_id, e.kind, e.seq FROM alert_event e "
        "JOIN alert a ON a.node = e.node AND a.id = e.alert_id "
        "WHERE a.source = 'chaos' ORDER BY e.seq"
    ):
        story.setdefault(alert, []).append(kind)
        numbers.append(int(seq))
    assert len(numbers) == len(set(numbers)), "a number was given twice"
    assert story == ledger.done, "the story of an alert is not the one that was answered"
    runs = dict(appliance.sql("SELECT id, body->>'exit_status' FROM task ORDER BY id"))
    assert {run: int(status) for run, status in runs.items()} == ledger.runs


def compare_witness(appliance: Appliance, events: list[dict[str, Any]]) -> int:
    """Hold what the witness was sent against PostgreSQL; return how many gaps it was told."""
    kept = {
        (epoch, int(seq))
        for epoch, seq in appliance.sql(
            "SELECT epoch, seq FROM alert_event UNION SELECT epoch, seq FROM event "
            "WHERE type IN ('alert', 'task', 'system')"
        )
    }
    gaps = [event for event in events if event["kind"] == "gap"]
    seen = [
        (event["id"].rpartition(".")[0], event["seq"]) for event in events if event["kind"] != "gap"
    ]
    assert len(seen) == len(set(seen)), "an event was sent twice"
    order = [seq for _, seq in seen]
    assert order == sorted(order), "events came out of order"
    begin, end = order[0], order[-1]
    missed = {one for one in kept if begin <= one[1] <= end} - set(seen)
    if not gaps:
        assert not missed, f"{len(missed)} events were never sent, without a word: {sorted(missed)}"
    return len(gaps)


def main() -> int:
    """Run from the command line."""
    parser = argparse.ArgumentParser(prog="packaging/dev chaos", description=__doc__)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--seed", type=int, default=None, help="the same again")
    words = parser.parse_args()
    seed = random.SystemRandom().randrange(1 << 32) if words.seed is None else words.seed
    print(f"chaos for {words.minutes:g} minutes, seed {seed}", flush=True)
    with tempfile.TemporaryDirectory(prefix="chaos-") as directory:
        os.chmod(directory, 0o755)
        appliance = Appliance(Path(directory))
        try:
            print(run(appliance, seed=seed, calls=0, minutes=words.minutes))
        except AssertionError as error:
            print(f"failed: {error}", file=sys.stderr)
            return 1
        finally:
            appliance.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
