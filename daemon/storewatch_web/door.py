"""Who is let in, and for how long: connections are counted, so that no number of them makes the
sidecar deaf.

WebSockets are the hub's to bound. Of the others so many are kept; one more takes the place of the
one that has asked nothing for the longest time, and is refused where all are being answered.
"""

import asyncio
import logging
import resource
from collections.abc import Awaitable, Callable, Sized
from dataclasses import dataclass, field
from typing import cast

from aiohttp import web

from storewatch_web import clock

logger = logging.getLogger(__name__)

MAX_PLAIN = 400
"""How many connections that are no WebSockets."""

FIRST_REQUEST_S = 10.0
"""How long a connection may take to its first request, headers and all."""

KEEP_ALIVE_S = 60.0

FILES_OF_OUR_OWN = 64
"""Descriptors for everything else: the daemon, logs, modules, those that are being refused."""

_REFUSAL = (
    b'{"type":"about:blank","title":"Not available","status":503,'
    b'"detail":"too many connections are being answered"}'
)


def raise_file_limit() -> int:
    """Take all the descriptors that we may have (systemd gives 1024 at first, for select(2)'s
    sake); return how many."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    return most


@dataclass(slots=True, eq=False)
class _Visitor:
    """A connection. `idle_since` is None while it is being answered, monotonic."""

    protocol: web.RequestHandler
    idle_since: float | None = field(default_factory=clock.monotonic)
    has_asked: bool = False

    @property
    def is_gone(self) -> bool:
        return self.has_asked and not self.protocol.connected

    def close(self) -> None:
        if self.protocol.transport is not None:
            self.protocol.transport.abort()


class Door:
    """Makes the protocols of new connections; give it to `create_server`. Its middleware tells it
    who is being answered. `web_sockets` are those among them that it does not count."""

    def __init__(
        self,
        web_sockets: Sized,
        *,
        max_plain: int = MAX_PLAIN,
        first_request_s: float = FIRST_REQUEST_S,
    ) -> None:
        self._web_sockets = web_sockets
        self._max_plain = max_plain
        self._first_request_s = first_request_s
        self._visitors: dict[web.RequestHandler, _Visitor] = {}
        self._is_full = False

    def leads_to(self, server: web.Server) -> Callable[[], asyncio.Protocol]:
        """Return what makes the protocol of each new connection to a server."""

        def admit() -> asyncio.Protocol:
            if not self._make_room():
                return _Refusal()
            visitor = _Visitor(server())
            self._visitors[visitor.protocol] = visitor
            asyncio.get_running_loop().call_later(self._first_request_s, self._expire, visitor)
            return visitor.protocol

        return admit

    @web.middleware
    async def middleware(
        self,
        request: web.Request,
        handler: Callable[[web.Request], Awaitable[web.StreamResponse]],
    ) -> web.StreamResponse:
        """Note that a connection is being answered."""
        visitor = self._visitors.get(request.protocol)
        if visitor is None:  # it was sent away just now
            return await handler(request)
        visitor.has_asked, visitor.idle_since = True, None
        try:
            return await handler(request)
        finally:
            visitor.idle_since = clock.monotonic()

    def _make_room(self) -> bool:
        """Return whether one more can be let in; who is idle may have to go."""
        if self._count() >= self._max_plain:
            for visitor in tuple(self._visitors.values()):
                if visitor.is_gone:
                    self._forget(visitor)
        is_full = self._count() >= self._max_plain
        if is_full and not self._is_full:
            logger.warning("%d connections are open: who is idle has to go", self._max_plain)
        self._is_full = is_full
        if not is_full:
            return True
        idle = [one for one in self._visitors.values() if one.idle_since is not None]
        if not idle:
            return False
        oldest = min(idle, key=lambda one: cast("float", one.idle_since))
        oldest.close()
        self._forget(oldest)
        return True

    def _count(self) -> int:
        return len(self._visitors) - len(self._web_sockets)

    def _expire(self, visitor: _Visitor) -> None:
        if not visitor.has_asked or visitor.is_gone:
            visitor.close()
            self._forget(visitor)

    def _forget(self, visitor: _Visitor) -> None:
        self._visitors.pop(visitor.protocol, None)


class _Refusal(asyncio.Protocol):
    """Says that there is no room, and hangs up."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports are none of asyncio's classes.
        writing = cast("asyncio.Transport", transport)
        writing.write(
            b"HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/problem+json\r\n"
            b"Content-Length: %d\r\nRetry-After: 2\r\nConnection: close\r\n\r\n%b"
            % (len(_REFUSAL), _REFUSAL)
        )
        writing.close()
