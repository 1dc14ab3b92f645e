"""One WebSocket client: what it wants, what waits for it, and when it is cut off."""

import asyncio
import logging
import socket
from dataclasses import dataclass
from typing import Any, cast

import msgspec
from aiohttp import WSMsgType, web

from storewatch import Client
from storewatch.wire import types
from storewatch_web import clock, frames

logger = logging.getLogger(__name__)

BUFFER_BYTES = 256 * 1024
"""How much may wait for one client before it is cut off; also what the kernel may hold."""

HELD_EVENTS = 20_000
"""How many live events may wait while a client is told what it missed."""

REPLAY_PAGE = 500
REPLAY_SEND_S = 30.0
LINGER_S = 2.0

TOO_SLOW = (1013, "too slow: events were waiting")
TOKEN_ENDED = (1008, "the token was revoked or has expired")
STOPPING = (1001, "the server stops")
SILENT = (1008, "no answer to pings")
UNREADABLE = 1011


class _Data(msgspec.Struct):
    severity: str | None = None
    id: Any = None


class Head(msgspec.Struct):
    """What the hub needs to know of an event; the rest it passes on as it came."""

    id: str
    seq: int
    type: str
    kind: str
    data: _Data


head_of = msgspec.json.Decoder(Head).decode


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a client filters by; severities apply to alert events. A gap concerns everybody."""

    types: frozenset[str] | None
    severities: frozenset[str] | None

    def admits(self, head: Head) -> bool:
        if head.kind == "gap":
            return True
        if self.types is not None and head.type not in self.types:
            return False
        severity = head.data.severity
        return self.severities is None or severity is None or severity in self.severities


@dataclass(frozen=True, slots=True)
class Published:
    """An event as it came, and as the frame that every client gets."""

    head: Head
    payload: bytes
    frame: bytes

    @classmethod
    def of(cls, raw: bytes) -> "Published":
        return cls(head_of(raw), raw, frames.text(raw))


class Member:
    """A client from its upgrade to its end. Live events are held back until `catch_up`."""

    def __init__(
        self, request: web.Request, token: str, verdict: types.TokenVerdict, wanted: Wanted
    ) -> None:
        self.token = token
        self.verdict = verdict
        self.heard = clock.monotonic()
        self._wanted = wanted
        # uvloop's transports are none of asyncio's classes.
        self._transport = cast("asyncio.Transport", request.transport)
        self._transport.get_extra_info("socket").setsockopt(
            socket.SOL_SOCKET, socket.SO_SNDBUF, BUFFER_BYTES
        )
        self._held: list[Published] | None = []
        self._seq = 0  # of the last event that it was told
        self._is_closing = False

    @property
    def is_closing(self) -> bool:
        return self._is_closing or self._transport.is_closing()

    def publish(self, event: Published) -> None:
        """Take a live event: write it, hold it back, or leave it out."""
        is_gap = event.head.kind == "gap"  # numbered before what it announces
        if not self._wanted.admits(event.head) or (event.head.seq <= self._seq and not is_gap):
            return
        if self._held is None:
            self._seq = max(self._seq, event.head.seq)
            self.send(event.frame)
        elif len(self._held) < HELD_EVENTS:
            self._held.append(event)
        else:
            self.cut(*TOO_SLOW)

    def send(self, frame: bytes) -> None:
        """Write a frame without waiting; who reads too slowly is cut off."""
        if self.is_closing:
            return
        if self._transport.get_write_buffer_size() > BUFFER_BYTES:
            self.cut(*TOO_SLOW)
            return
        self._transport.write(frame)

    def cut(self, code: int, reason: str) -> None:
        """Say good-bye and close, at the latest after LINGER_S."""
        if self.is_closing:
            return
        self._is_closing = True
        logger.info("closing the connection of token %s: %s", self.verdict.name, reason)
        self._transport.write(frames.close(code, reason))
        asyncio.get_running_loop().call_later(LINGER_S, self._transport.abort)

    async def catch_up(
        self, response: web.WebSocketResponse, client: Client, since: str | None
    ) -> None:
        """Tell what was missed since an event, then what came meanwhile, as fast as it is read.

        Raises:
            ClientError: the daemon cannot say what was missed.
            ConnectionError: the client went away.
        """
        if since is not None:
            await self._replay(response, client, since)
        # What is held goes out with back-pressure too; more may come while it does.
        while self._held:
            held, self._held = self._held, []
            for event in held:
                if event.head.seq > self._seq or event.head.kind == "gap":
                    await self._tell(response, event.payload)
                    self._seq = max(self._seq, event.head.seq)
        self._held = None

    async def _replay(self, response: web.WebSocketResponse, client: Client, since: str) -> None:
        asked: dict[str, Any] = {"since": since, "limit": REPLAY_PAGE}
        if self._wanted.types is not None:
            asked["types"] = sorted(self._wanted.types)
        while not self.is_closing:
            page = await client.call("events.list", asked, type=_Page, token=self.token)
            if page.gap:
                await self._tell(response, _gap_event(asked["since"]))
            for raw in page.events:
                head = head_of(raw)
                if self._wanted.admits(head):
                    await self._tell(response, bytes(raw))
                self._seq = head.seq
                asked["since"] = head.id
            # A page may be short: damaged records are left out.
            if not page.events:
                return

    async def _tell(self, response: web.WebSocketResponse, payload: bytes) -> None:
        """Send one event, waiting for the client to read; for a bounded time."""
        if self.is_closing:
            return
        try:
            async with asyncio.timeout(REPLAY_SEND_S):
                await response.send_frame(payload, WSMsgType.TEXT)
        except TimeoutError:
            self.cut(*TOO_SLOW)


class _Page(msgspec.Struct):
    events: list[msgspec.Raw]
    gap: bool


def _gap_event(since: str) -> bytes:
    """Return the event that says that some are gone. It repeats the client's own cursor."""
    _, _, seq = since.rpartition(".")
    return msgspec.json.encode(
        {
            "id": since,
            "seq": int(seq) if seq.isdigit() else 0,
            "node": "",
            "timestamp": clock.format_time(clock.wall()),
            "type": "system",
            "kind": "gap",
            "data": {"since": since, "reason": "what followed is no longer kept"},
        }
    )
