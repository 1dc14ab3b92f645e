"""A real daemon for a module's tests, and the sidecar's own application before it."""

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import aiohttp
import pytest
from aiohttp import web

from storewatch import Client
from storewatch_web.guard import Guard
from storewatch_web.hub import Hub
from storewatch_web.query import MAX_BODY_BYTES
from storewatch_web.routes import Routes, errors_and_guard
from system.appliance import Appliance


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Appliance]:
    """A running daemon without PostgreSQL and without repositories."""
    appliance = Appliance(tmp_path_factory.mktemp("d"))
    appliance.configure(more='[database]\nkind = "none"')
    appliance.start()
    try:
        yield appliance
    finally:
        appliance.close()


@dataclass
class Sidecar:
    """The sidecar within this process. `url` has no slash at its end."""

    url: str
    hub: Hub
    session: aiohttp.ClientSession
    token: str
    headers: dict[str, str] = field(init=False)

    def __post_init__(self) -> None:
        self.headers = {"Authorization": f"Bearer {self.token}"}

    async def ask(
        self, path: str, *, method: str = "GET", token: str | None = "", **more: Any
    ) -> tuple[int, Any]:
        """Return the status and the decoded body; `token` None sends none, "" the good one."""
        headers = {} if token is None else {"Authorization": f"Bearer {token or self.token}"}
        headers.update(more.pop("headers", {}))
        async with self.session.request(
            method, self.url + path, headers=headers, **more
        ) as response:
            if "json" in response.content_type:
                return response.status, await response.json(content_type=None)
            return response.status, await response.text()

    def events(self, query: str = "", *, token: str = "") -> Any:
        """Return the context manager of a WebSocket."""
        headers = {"Authorization": f"Bearer {token or self.token}"}
        return self.session.ws_connect(
            f"{self.url}/api/v1/monitoring/events{query}", headers=headers, autoping=False
        )


Serve: TypeAlias = Callable[..., Any]


@asynccontextmanager
async def serving(
    daemon: Appliance, *, token: str, ping_s: float = 30.0, timeout_s: float = 60.0, **routes: Any
) -> AsyncIterator[Sidecar]:
    """Serve before a daemon for as long as the context lasts."""
    async with AsyncExitStack() as stack:
        client = await stack.enter_async_context(Client(os.fspath(daemon.socket)))
        hub = await stack.enter_async_context(Hub(client, ping_s=ping_s, timeout_s=timeout_s))
        options = {"metrics_open_to_loopback": False, **routes}
        app = web.Application(
            middlewares=[errors_and_guard(Guard(["127.0.0.1"], []))],
            client_max_size=MAX_BODY_BYTES,
        )
        app.add_routes(Routes(client, hub, **options).table())
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)
        await runner.setup()
        stack.push_async_callback(runner.cleanup)
        stack.push_async_callback(hub.close)
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        port = runner.addresses[0][1]
        session = await stack.enter_async_context(aiohttp.ClientSession())
        yield Sidecar(f"http://127.0.0.1:{port}", hub, session, token)


@pytest.fixture
async def sidecar(daemon: Appliance) -> AsyncIterator[Sidecar]:
    """The sidecar with its defaults, and a token that may do everything."""
    token = await asyncio.to_thread(
        daemon.token, "monitoring:read", "monitoring:write", "monitoring:admin"
    )
    async with serving(daemon, token=token) as sidecar:
        yield sidecar
