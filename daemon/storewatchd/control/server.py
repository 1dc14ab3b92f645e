"""Listens on the control socket and gives each connection its caller and its place.

The socket is the daemon's own file, or one that systemd passed in. A stale file is replaced; a
live one means that another daemon runs here.
"""

import asyncio
import contextlib
import errno
import logging
import os
import socket
from collections.abc import Coroutine
from pathlib import Path
from typing import Any, Self

from storewatchd.control.connection import Connection
from storewatchd.control.dispatch import Dispatcher
from storewatchd.control.peer import Peer, judge, peer_of
from storewatchd.control.users import Users
from storewatchd.core.permissions import Caller, PeerGroups
from storewatchd.errors import ConfigError, StorewatchError
from storewatchd.settings import SOCKET_PATH_BYTES

logger = logging.getLogger(__name__)

MAX_CONNECTIONS = 512
OWN_PLACES = 32
"""How many of these are kept for root and the daemon's own user: nobody else locks them out."""

CONNECTIONS_A_USER = 256
"""How many connections one user may have: nobody locks everybody else out. Root and the daemon's
own user may have all of them."""


class ControlServer:
    """The control socket. Enter it before READY; leaving it closes every connection."""

    def __init__(self, dispatcher: Dispatcher, groups: PeerGroups) -> None:
        self._dispatcher = dispatcher
        self._groups = groups
        self._users = Users()
        self._connections: dict[Connection, int] = {}  # to the peer's uid
        self._tasks = asyncio.TaskGroup()
        self._listeners: list[asyncio.Server] = []
        self._own_path: Path | None = None

    async def __aenter__(self) -> Self:
        await self._tasks.__aenter__()
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        for listener in self._listeners:
            listener.close()
        for connection in tuple(self._connections):
            connection.abandon()
        if self._own_path is not None:
            with contextlib.suppress(FileNotFoundError):
                self._own_path.unlink()
        await self._tasks.__aexit__(None, None, None)
        self._users.close()

    def __len__(self) -> int:
        return len(self._connections)

    async def listen_at(self, path: Path) -> None:
        """Listen at a path of our own, mode 0666: every call is judged by its peer.

        Raises:
            ConfigError: the path is too long.
            StorewatchError: another daemon answers there.
        """
        if len(os.fsencode(path)) > SOCKET_PATH_BYTES:
            raise ConfigError(
                str(path),
                "control.socket",
                expected=f"a path of at most {SOCKET_PATH_BYTES} bytes",
                found=f"{len(os.fsencode(path))} bytes",
            )
        _remove_stale(path)
        listener = _bind(path)
        self._own_path = path
        await self.listen_on(listener)

    async def listen_on(self, listener: socket.socket) -> None:
        """Listen on a socket that is bound already."""
        loop = asyncio.get_running_loop()
        server = await loop.create_unix_server(self._connection, sock=listener, backlog=128)
        self._listeners.append(server)

    def _connection(self) -> Connection:
        return Connection(
            self._dispatcher,
            admit=self._admit,
            spawn=self._spawn,
            closed=self._forget,
        )

    def _admit(
        self, connection: Connection, transport: asyncio.Transport
    ) -> Caller | str | asyncio.Task[Caller]:
        peer = peer_of(transport.get_extra_info("socket"))
        is_own = peer.uid in (0, os.geteuid())
        places = MAX_CONNECTIONS if is_own else MAX_CONNECTIONS - OWN_PLACES
        if len(self._connections) >= places:
            return f"{places} connections are open already"
        mine = sum(uid == peer.uid for uid in self._connections.values())
        if mine >= CONNECTIONS_A_USER and not is_own:
            return f"{CONNECTIONS_A_USER} connections of this user are open already"
        self._connections[connection] = peer.uid
        user = self._users.known(peer.uid)
        if user is None:
            return self._tasks.create_task(self._judge(peer))
        return judge(peer, user, self._groups)

    async def _judge(self, peer: Peer) -> Caller:
        return judge(peer, await self._users.get(peer.uid), self._groups)

    def _forget(self, connection: Connection) -> None:
        self._connections.pop(connection, None)

    def _spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        return self._tasks.create_task(work)


def _bind(path: Path) -> socket.socket:
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    try:
        listener.bind(os.fspath(path))
        path.chmod(0o666)
    except OSError as error:
        listener.close()
        raise StorewatchError(
            f"the control socket {path} cannot be made: {error.strerror or error}"
        ) from error
    return listener


def _remove_stale(path: Path) -> None:
    if path.exists() and not path.is_socket():
        raise StorewatchError(f"{path} is in the way of the control socket: it is no socket")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(1)
        try:
            probe.connect(os.fspath(path))
        except FileNotFoundError:
            return
        except OSError as error:
            if error.errno != errno.ECONNREFUSED:
                raise StorewatchError(
                    f"{path} is in the way of the control socket: {error.strerror or error}"
                ) from error
        else:
            raise StorewatchError(f"another daemon answers at {path}")
    logger.info("removing the stale control socket %s", path)
    path.unlink()
