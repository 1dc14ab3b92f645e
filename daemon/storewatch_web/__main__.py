"""The sidecar's command line and life."""

import argparse
import asyncio
import logging
import os
import signal
import socket
import sys
from collections.abc import Callable, Sequence
from typing import cast

import sdnotify
import uvloop
from aiohttp import web

from storewatch import Client
from storewatch.plain import DEFAULT_SOCKET
from storewatch_web.door import (
    FILES_OF_OUR_OWN,
    KEEP_ALIVE_S,
    MAX_PLAIN,
    Door,
    raise_file_limit,
)
from storewatch_web.guard import Guard
from storewatch_web.hub import MAX_CLIENTS, Hub
from storewatch_web.query import MAX_BODY_BYTES
from storewatch_web.routes import Routes, errors_and_guard

logger = logging.getLogger(__name__)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the sidecar with these words, or those of the command line; return its exit status."""
    words = _words(argv)
    host, _, port = words.listen.rpartition(":")
    if not port.isdecimal() or not 0 <= int(port) < 65536:
        sys.stderr.write(f"storewatch-web: --listen: expected HOST:PORT, found {words.listen!r}\n")
        return 2
    # The journal dates its lines itself.
    date = "" if "JOURNAL_STREAM" in os.environ else "%(asctime)s "
    logging.basicConfig(
        level=words.log_level.upper(), format=f"{date}%(levelname)-8s %(name)s: %(message)s"
    )
    asyncio.set_event_loop_policy(uvloop.EventLoopPolicy())
    try:
        asyncio.run(_run(words, host.strip("[]") or "127.0.0.1", int(port)))
    except OSError as error:
        sys.stderr.write(f"storewatch-web: {words.listen}: {error.strerror or error}\n")
        return 1
    return 0


def _words(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="storewatch-web", description="Serve the daemon over HTTP and WebSocket."
    )
    default = os.environ.get("STOREWATCH_SOCKET", DEFAULT_SOCKET)
    parser.add_argument("--socket", default=default, metavar="PATH", help="the daemon's socket")
    parser.add_argument(
        "--listen",
        default="127.0.0.1:8474",
        metavar="HOST:PORT",
        help="where to serve (127.0.0.1:8474)",
    )
    parser.add_argument(
        "--allow-host",
        action="append",
        default=[],
        metavar="NAME",
        help="another name by which browsers reach this; may be given again",
    )
    parser.add_argument(
        "--allow-origin",
        action="append",
        default=[],
        metavar="ORIGIN",
        help="another site whose pages may call this, such as https://console.example",
    )
    parser.add_argument(
        "--metrics-open-to-loopback",
        action="store_true",
        help="serve /metrics to this machine without a token, but not what a proxy on it passes "
        "on, which must say so (X-Forwarded-For, Forwarded or Via); the sidecar's own user must be "
        "in the group storewatch-read",
    )
    parser.add_argument(
        "--log-level", default="info", choices=("debug", "info", "warning", "error")
    )
    return parser.parse_args(argv)


async def _run(words: argparse.Namespace, host: str, port: int) -> None:
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)
    guard = Guard([host, *words.allow_host], words.allow_origin)
    files = raise_file_limit()
    max_clients = max(0, min(MAX_CLIENTS, files - MAX_PLAIN - FILES_OF_OUR_OWN))
    if max_clients < MAX_CLIENTS:
        logger.warning("%d descriptors are enough for %d WebSockets", files, max_clients)
    async with Client(words.socket) as client, Hub(client, max_clients=max_clients) as hub:
        door = Door(hub)
        routes = Routes(client, hub, metrics_open_to_loopback=words.metrics_open_to_loopback)
        app = web.Application(
            middlewares=[door.middleware, errors_and_guard(guard)], client_max_size=MAX_BODY_BYTES
        )
        app.add_routes(routes.table())
        runner = web.AppRunner(
            app, access_log=None, shutdown_timeout=1.0, keepalive_timeout=KEEP_ALIVE_S
        )
        await runner.setup()
        assert runner.server is not None
        try:
            server = await _listen(door.leads_to(runner.server), host, port)
            logger.info("serving %s", ", ".join(_addresses(server)))
            if os.environ.get("NOTIFY_SOCKET"):
                sdnotify.SystemdNotifier().notify("READY=1")
            await stopping.wait()
            logger.info("stopping")
            server.close()
        finally:
            await hub.close()
            await runner.cleanup()


async def _listen(
    admit: Callable[[], asyncio.Protocol], host: str, port: int
) -> asyncio.AbstractServer:
    """Listen at the socket that systemd passed (sd_listen_fds(3)), or at our own."""
    loop = asyncio.get_running_loop()
    if os.environ.get("LISTEN_PID") == str(os.getpid()) and os.environ.get("LISTEN_FDS") == "1":
        return await loop.create_server(admit, sock=socket.socket(fileno=3))
    return await loop.create_server(admit, host, port, backlog=128)


def _addresses(server: asyncio.AbstractServer) -> list[str]:
    # uvloop's servers are none of asyncio's classes.
    names = [one.getsockname() for one in cast("asyncio.Server", server).sockets]
    return [f"http://{name[0]}:{name[1]}" for name in names if isinstance(name, tuple)]


if __name__ == "__main__":
    sys.exit(main())
