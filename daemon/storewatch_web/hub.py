"""WebSocket clients: one subscription at the daemon for each distinct set of permissions, one
frame for each event, and a bound for each client.

Frames are built once and written to each client's transport; nobody waits for anybody. A client
whose transport holds more than its bound is cut off. A revoked token closes its connections.
"""

import asyncio
import logging
import socket
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, cast

import msgspec
from aiohttp import WSMsgType, web

from storewatch import CallError, Client, ClientError
from storewatch.wire import types
from storewatch_web import clock
from storewatch_web.problems import Problem

logger = logging.getLogger(__name__)

BUFFER_BYTES = 256 * 1024
"""How much may wait for one client before it is cut off; also what the kernel may hold."""

MAX_CLIENTS = 5_000
REPLAY_PAGE = 500
PING_FRAME = b"\x89\x00"
LINGER_S = 2.0

TOO_SLOW = (1013, "too slow: events were waiting")
TOKEN_ENDED = (1008, "the token was revoked or has expired")
STOPPING = (1001, "the server stops")
SILENT = (1008, "no answer to pings")


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a client filters by; severities apply to alert events."""

    types: frozenset[str] | None
    severities: frozenset[str] | None

    def admits(self, head: "_Head") -> bool:
        if self.types is not None and head.type not in self.types:
            return False
        severity = head.data.severity
        return self.severities is None or severity is None or severity in self.severities


class _Data(msgspec.Struct):
    severity: str | None = None
    id: Any = None


class _Head(msgspec.Struct):
    """What the hub needs to know of an event; the rest it passes on as it came."""

    id: str
    seq: int
    type: str
    kind: str
    data: _Data


_head_of = msgspec.json.Decoder(_Head).decode


@dataclass(slots=True, eq=False)
class Member:
    """One connected client. `replaying` holds live events back until it has what it missed."""

    token: str
    verdict: types.TokenVerdict
    wanted: Wanted
    transport: asyncio.Transport
    heard: float  # monotonic
    replaying: list[tuple[int, bytes]] | None = None
    seq: int = 0
    closing: bool = False


@dataclass(slots=True, eq=False)
class _Feed:
    """The members with the same permissions, and the task that follows the daemon for them."""

    permissions: frozenset[str]
    members: set[Member] = field(default_factory=set)
    task: "asyncio.Task[None] | None" = None


class Hub:
    """Every WebSocket client of this sidecar. Enter it before serving."""

    def __init__(
        self,
        client: Client,
        *,
        ping_s: float = 30.0,
        timeout_s: float = 60.0,
        now: Callable[[], float] = clock.monotonic,
    ) -> None:
        self._client = client
        self._ping_s = ping_s
        self._timeout_s = timeout_s
        self._now = now
        self._feeds: dict[frozenset[str], _Feed] = {}
        self._tasks = asyncio.TaskGroup()
        self._pinger: asyncio.Task[None] | None = None

    async def __aenter__(self) -> "Hub":
        await self._tasks.__aenter__()
        self._pinger = self._tasks.create_task(self._ping())
        return self

    async def close(self) -> None:
        """Say good-bye to every client and stop following the daemon."""
        for feed in tuple(self._feeds.values()):
            for member in tuple(feed.members):
                self._cut(member, *STOPPING)
            if feed.task is not None:
                feed.task.cancel()

    async def __aexit__(self, *exc_info: object) -> None:
        await self.close()
        assert self._pinger is not None
        self._pinger.cancel()
        await self._tasks.__aexit__(None, None, None)

    def __len__(self) -> int:
        return sum(len(feed.members) for feed in self._feeds.values())

    async def serve(
        self, request: web.Request, token: str, wanted: Wanted, since: str | None
    ) -> web.WebSocketResponse:
        """Serve one client until it goes away.

        Raises:
            Problem: there are too many, or the token lacks a permission.
            ClientError: the daemon refuses the token, or is away.
        """
        verdict = await self._client.call(
            "tokens.verify", {"secret": token}, type=types.TokenVerdict
        )
        if "monitoring:read" not in verdict.permissions:
            raise Problem(403, f"token {verdict.name} lacks monitoring:read")
        if len(self) >= MAX_CLIENTS:
            raise Problem(503, f"{MAX_CLIENTS} clients are connected already")
        response = web.WebSocketResponse(autoping=False, compress=False, max_msg_size=65_536)
        await response.prepare(request)
        transport = cast("asyncio.Transport", request.transport)
        transport.get_extra_info("socket").setsockopt(
            socket.SOL_SOCKET, socket.SO_SNDBUF, BUFFER_BYTES
        )
        member = Member(token, verdict, wanted, transport, self._now())
        feed = self._join(member, since)
        try:
            if since is not None:
                await self._replay(member, since)
            await self._listen(response, member)
        except ClientError as error:
            self._cut(member, 1011, f"what was missed cannot be read: {error}")
        finally:
            self._leave(feed, member)
        return response

    # Members.

    def _join(self, member: Member, since: str | None) -> _Feed:
        member.replaying = [] if since is not None else None
        permissions = frozenset(member.verdict.permissions)
        feed = self._feeds.setdefault(permissions, _Feed(permissions))
        feed.members.add(member)
        if feed.task is None:
            feed.task = self._tasks.create_task(self._follow(feed))
        return feed

    def _leave(self, feed: _Feed, member: Member) -> None:
        feed.members.discard(member)
        if not feed.members:
            self._feeds.pop(feed.permissions, None)
            if feed.task is not None:
                feed.task.cancel()

    async def _listen(self, response: web.WebSocketResponse, member: Member) -> None:
        """Take what the client says: pongs, and its good-bye. Nothing else means anything."""
        async for message in response:
            member.heard = self._now()
            if message.type is WSMsgType.PING:
                await response.pong(message.data)

    async def _replay(self, member: Member, since: str) -> None:
        """Send what the client missed, then what came meanwhile, in order."""
        params: dict[str, Any] = {"since": since, "limit": REPLAY_PAGE}
        if member.wanted.types is not None:
            params["types"] = sorted(member.wanted.types)
        while True:
            page = await self._client.call("events.list", params, type=_Page, token=member.token)
            if page.gap:
                self._send(member, _frame(_gap_event(member.verdict, since)))
            for raw in page.events:
                head = _head_of(raw)
                if member.wanted.admits(head):
                    self._send(member, _frame(bytes(raw)))
                member.seq = head.seq
                params["since"] = head.id
            if len(page.events) < REPLAY_PAGE or member.closing:
                break
        held, member.replaying = member.replaying or [], None
        for seq, frame in held:
            if seq > member.seq:
                self._send(member, frame)

    def _send(self, member: Member, frame: bytes) -> None:
        if member.closing or member.transport.is_closing():
            return
        if member.transport.get_write_buffer_size() > BUFFER_BYTES:
            self._cut(member, *TOO_SLOW)
            return
        member.transport.write(frame)

    def _cut(self, member: Member, code: int, reason: str) -> None:
        """Say good-bye and close, at the latest after LINGER_S."""
        if member.closing or member.transport.is_closing():
            return
        member.closing = True
        logger.info("closing the connection of token %s: %s", member.verdict.name, reason)
        member.transport.write(_close_frame(code, reason))
        asyncio.get_running_loop().call_later(LINGER_S, member.transport.abort)

    # Following the daemon.

    async def _follow(self, feed: _Feed) -> None:
        """Hand every event to the feed's members, on behalf of one of them after the other."""
        since: str | None = None
        while feed.members:
            leader = next(iter(feed.members))
            try:
                since = await self._follow_as(feed, leader, since)
            except CallError as error:
                logger.info("following on behalf of %s ended: %s", leader.verdict.name, error)
                self._cut_token(feed, leader.verdict.id)
                feed.members.discard(leader)
            except ClientError as error:
                logger.warning("following the daemon ended: %s", error)
                await asyncio.sleep(1)
        feed.task = None

    async def _follow_as(self, feed: _Feed, leader: Member, since: str | None) -> str | None:
        stream = await self._client.subscribe(since=since, token=leader.token)
        try:
            async for batch in stream:
                for raw in batch:
                    since = self._publish(feed, bytes(raw))
        finally:
            await stream.close()
        return since

    def _publish(self, feed: _Feed, raw: bytes) -> str:
        """Hand an event to the members; return its id."""
        head = _head_of(raw)
        frame = _frame(raw)
        for member in tuple(feed.members):
            if not member.wanted.admits(head):
                continue
            if member.replaying is not None:
                member.replaying.append((head.seq, frame))
            else:
                self._send(member, frame)
        if head.type == "system" and head.kind == "token_revoked":
            for other in self._feeds.values():
                self._cut_token(other, str(head.data.id))
        return head.id

    def _cut_token(self, feed: _Feed, token_id: str) -> None:
        for member in tuple(feed.members):
            if member.verdict.id == token_id:
                self._cut(member, *TOKEN_ENDED)

    async def _ping(self) -> None:
        """Ping everybody, close who has been silent, and who has outlived a token."""
        while True:
            await asyncio.sleep(self._ping_s)
            now = self._now()
            for feed in tuple(self._feeds.values()):
                for member in tuple(feed.members):
                    if now - member.heard > self._timeout_s:
                        self._cut(member, *SILENT)
                    elif _is_expired(member.verdict):
                        self._cut(member, *TOKEN_ENDED)
                    else:
                        self._send(member, PING_FRAME)


class _Page(msgspec.Struct):
    events: list[msgspec.Raw]
    gap: bool


def _is_expired(verdict: types.TokenVerdict) -> bool:
    if verdict.expires_at is None:
        return False
    return clock.parse(verdict.expires_at) <= clock.wall()


def _gap_event(verdict: types.TokenVerdict, since: str) -> bytes:
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


def _frame(payload: bytes) -> bytes:
    """Return one unmasked, unfragmented text frame (RFC 6455, 5.2)."""
    length = len(payload)
    if length < 126:
        head = bytes((0x81, length))
    elif length < 65_536:
        head = b"\x81\x7e" + length.to_bytes(2, "big")
    else:
        head = b"\x81\x7f" + length.to_bytes(8, "big")
    return head + payload


def _close_frame(code: int, reason: str) -> bytes:
    payload = code.to_bytes(2, "big") + reason.encode()[:120]
    return bytes((0x88, len(payload))) + payload
