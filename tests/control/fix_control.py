"""The whole control plane on a socket, over a running node, and clients that call it."""

import asyncio
import itertools
from collections import deque
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from control.fix_client import LineClient, request
from fakes import HandClock, ScriptedPort, ScriptedProbe
from fix_node import MAX_AGE_S, Node, open_node, running
from storewatch.wire.methods import METHODS
from storewatchd.collector import Collector
from storewatchd.control.health import HealthChecks
from storewatchd.control.plane import control_plane
from storewatchd.core.frames import Family, MetricType
from storewatchd.core.permissions import PeerGroups
from storewatchd.core.rules import RuleFile, load
from storewatchd.core.sight import (
    BLINDNESS,
    BLINDNESS_FAMILIES,
    COLLECTOR,
    COLLECTOR_FAMILIES,
)
from storewatchd.journal import DRAIN
from storewatchd.port.tap import TappedPort
from storewatchd.probes.storage import RepositoriesProbe
from storewatchd.probes.tape.alerts import TapeAlerts, make_tape_alerts
from storewatchd.settings import DatabaseKind, DatabaseSettings, Settings
from storewatchd.store import Store
from storewatchd.store.ledger import write

AWAY = Settings(database=DatabaseSettings(DatabaseKind.EXTERNAL, dsn="host=/nowhere"))
NO_DATABASE = Settings(database=DatabaseSettings(DatabaseKind.NONE))
NO_GROUPS = PeerGroups(read=None, write=None)
UPTIME_S = 12.3456

SCRIPTED = "scripted"
VALUE = Family("scripted_value", MetricType.GAUGE, "What a test says.", ("name",))

MOUNTS = {
    "mountinfo": "1 0 8:1 / / rw - ext4 /dev/sda1 rw\n2 1 8:2 / /srv rw - xfs /dev/sdb1 rw\n",
    "filesystems": "nodev\tproc\n\text4\n\txfs\n",
}


class CallRefused(Exception):
    """The error that a call was answered with."""

    def __init__(self, error: dict[str, Any]) -> None:
        super().__init__(error["message"])
        self.code = error["code"]
        self.data = error.get("data")


class Caller:
    """A client that hears events between answers, and holds each answer against the contract."""

    def __init__(self, client: LineClient) -> None:
        self.client = client
        self._ids = itertools.count(1)
        self._heard: deque[dict[str, Any]] = deque()

    async def call(self, method: str, *, auth: str | None = None, **params: Any) -> Any:
        """Return the result of a call.

        Raises:
            CallRefused: it was answered with an error.
        """
        number = next(self._ids)
        members = {} if auth is None else {"auth": auth}
        await self.client.say(request(method, number, params=params, **members))
        while (line := await self.client.hear()).get("id") != number:
            self._heard.append(line)
        if "error" in line:
            raise CallRefused(line["error"])
        result = line["result"]
        assert msgspec.to_builtins(msgspec.convert(result, METHODS[method].result)) == result
        return result

    async def refusal(self, method: str, **params: Any) -> tuple[int, str]:
        """Return the code and the sentence of the error that a call is answered with."""
        try:
            result = await self.call(method, **params)
        except CallRefused as refused:
            return refused.code, str(refused)
        raise AssertionError(f"{method} was not refused: {result}")

    async def notice(self) -> dict[str, Any]:
        """Return the next line that is no answer."""
        found: dict[str, Any] = self._heard.popleft() if self._heard else await self.client.hear()
        return found

    async def event(self) -> dict[str, Any]:
        """Return the next event; it is the next line that is no answer."""
        notice = await self.notice()
        assert notice["method"] == "event", notice
        event: dict[str, Any] = notice["params"]["event"]
        return event

    async def end(self) -> dict[str, Any]:
        """Return the end of a subscription; it is the next line that is no answer."""
        notice = await self.notice()
        assert notice["method"] == "end", notice
        params: dict[str, Any] = notice["params"]
        return params


@dataclass
class Outside:
    """What a control plane's tests script: the facts that the probe of repositories reads, another
    probe, and the rule files that a reload reads."""

    port: ScriptedPort = field(default_factory=ScriptedPort)
    probe: ScriptedProbe = field(default_factory=lambda: ScriptedProbe(SCRIPTED, families=(VALUE,)))
    rule_files: list[RuleFile] = field(default_factory=list)
    tape_alerts: TapeAlerts = field(
        default_factory=lambda: make_tape_alerts(HandClock().clock, is_broker=True)
    )
    kept: int = 0
    """How often what probes remember was written."""

    async def keep(self) -> None:
        self.kept += 1

    def __post_init__(self) -> None:
        self.port.readings["mounts", ""] = MOUNTS

    def see_directory(
        self, path: str, *, used: int = 60, free: int = 40, device: str = "8:1"
    ) -> None:
        """Have a directory there, on a file system with so many bytes used and free."""
        self.port.readings["statvfs.path", path] = {
            "exists": True,
            "is_directory": True,
            "real_path": path,
            "device": device,
            "block_bytes": 1,
            "blocks": used + free,
            "blocks_free": free,
            "blocks_available": free,
            "files": 10,
            "files_free": 5,
        }


class Control(Caller):
    """The control plane with its first client. Local callers here are the daemon's own user, who
    may do everything."""

    def __init__(
        self,
        client: LineClient,
        node: Node,
        store: Store,
        looking: asyncio.Task[None],
        health: HealthChecks,
        outside: Outside,
        path: Path,
    ) -> None:
        super().__init__(client)
        self.node = node
        self.store = store
        self._looking = looking
        self.health = health
        self.outside = outside
        self.path = path

    async def connect(self) -> Caller:
        """Return another client."""
        return Caller(await LineClient.at(self.path))

    async def token(self, *permissions: str, **more: Any) -> tuple[str, str]:
        """Return the id and the secret of a new token."""
        made = await self.call("tokens.create", name="test", permissions=permissions, **more)
        return made["token"]["id"], made["secret"]

    def stop_looking(self) -> None:
        """Have no probe look any more, however much time passes."""
        self._looking.cancel()

    async def drain(self) -> None:
        """Have PostgreSQL take and confirm all that is in the journal."""
        records = await self.node.records()
        async with self.store.connection() as connection:
            await write(connection, records)
        await self.node.journal.confirm(DRAIN, records[-1].seq)
        self.node.monitor.confirmed(records[-1].seq)


@asynccontextmanager
async def open_control(
    directory: Path,
    *,
    settings: Settings = AWAY,
    rules: str = "",
    with_repositories: bool = True,
    with_tapes: bool = False,
    keep: int = 100_000,
) -> AsyncIterator[Control]:
    """Run a node and its control plane; without repositories their probe is disabled, and
    without tapes theirs are."""
    outside = Outside()
    path = directory / "control.sock"
    async with AsyncExitStack() as stack:
        node = await stack.enter_async_context(
            open_node(directory, rules=rules, with_repositories=with_repositories, keep=keep)
        )
        clock, monitor = node.clock.clock, node.monitor
        for name, families in (
            (COLLECTOR, COLLECTOR_FAMILIES),
            (BLINDNESS, BLINDNESS_FAMILIES),
            (SCRIPTED, (VALUE,)),
            *((probe.name, probe.families) for probe in outside.tape_alerts.probes),
        ):
            node.books.table.declare(name, families, max_age_s=MAX_AGE_S)
        repositories = RepositoriesProbe(node.books.repositories, discovers=False)
        store = Store(settings, clock, node=node.journal.node)
        stack.push_async_callback(store.close)
        port = TappedPort(outside.port)
        collector = Collector(
            (
                outside.probe,
                *(outside.tape_alerts.probes if with_tapes else ()),
                *([repositories] if with_repositories else []),
            ),
            port,
            clock,
            interval_s=30.0,
            feed=monitor.feed,
            expect=monitor.expect,
        )
        health = HealthChecks(monitor, collector, store)
        server = control_plane(
            monitor=monitor,
            collector=collector,
            port=port,
            store=store,
            journal=node.journal,
            bus=node.bus,
            health=health,
            groups=NO_GROUPS,
            read_rules=lambda: load(outside.rule_files),
            tape_alerts=outside.tape_alerts,
            keep=outside.keep,
            version="1.2.3",
            uptime_s=lambda: UPTIME_S,
        )
        await stack.enter_async_context(server)
        await server.listen_at(path)
        await stack.enter_async_context(running(node))
        tasks = await stack.enter_async_context(asyncio.TaskGroup())
        looking = tasks.create_task(collector.run())
        stack.callback(looking.cancel)
        client = await LineClient.at(path)
        stack.callback(client.close)
        yield Control(client, node, store, looking, health, outside, path)
