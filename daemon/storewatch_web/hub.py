"""Every WebSocket client of this sidecar: one subscription at the daemon for each distinct set of
permissions, one frame for each event, and a bound for each client.

Frames are built once and written to each client's transport; nobody waits for anybody. The
upgrade is answered when the subscription is there, so that from then on nothing is missed. A
revoked token closes its connections.
"""

import asyncio
import logging
from dataclasses import dataclass, field

from aiohttp import WSMsgType, web

from storewatch import CallError, Client, ClientError
from storewatch.wire import Code, types
from storewatch_web import clock, frames
from storewatch_web.member import (
    SILENT,
    STOPPING,
    TOKEN_ENDED,
    UNREADABLE,
    Member,
    Published,
    Wanted,
)
from storewatch_web.problems import Problem

logger = logging.getLogger(__name__)

MAX_CLIENTS = 5_000
READY_S = 10.0
LOOKS_A_PING = 15
RETRY_S = 0.2
MAX_MESSAGE_BYTES = 65_536

_TOKEN_IS_BAD = frozenset({Code.UNAUTHENTICATED, Code.FORBIDDEN})


@dataclass(slots=True, eq=False)
class _Feed:
    """The members with the same permissions, and where following the daemon for them stands."""

    permissions: frozenset[str]
    members: set[Member] = field(default_factory=set)
    task: "asyncio.Task[None] | None" = None
    cursor: str | None = None  # the id of the last event that was handed on
    is_ready: asyncio.Event = field(default_factory=asyncio.Event)


class Hub:
    """The clients and their feeds. Enter it before serving."""

    def __init__(
        self,
        client: Client,
        *,
        max_clients: int = MAX_CLIENTS,
        ping_s: float = 30.0,
        timeout_s: float = 60.0,
    ) -> None:
        self._client = client
        self._max_clients = max_clients
        self._ping_s = ping_s
        self._timeout_s = timeout_s
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
                member.cut(*STOPPING)
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
        if len(self) >= self._max_clients:
            raise Problem(503, f"{self._max_clients} clients are connected already")
        if request.transport is None:
            raise Problem(400, "the connection is gone")
        member = Member(request, token, verdict, wanted)
        feed = self._join(member)
        response = web.WebSocketResponse(
            autoping=False, compress=False, max_msg_size=MAX_MESSAGE_BYTES
        )
        try:
            await self._until_ready(feed)
            await response.prepare(request)
            try:
                await member.catch_up(response, self._client, since)
            except ClientError as error:
                member.cut(UNREADABLE, f"what was missed cannot be read: {error}")
            await self._listen(response, member)
        except ConnectionError as error:
            logger.debug("token %s went away: %s", verdict.name, error)
        finally:
            self._leave(feed, member)
        return response

    # Members.

    def _join(self, member: Member) -> _Feed:
        permissions = frozenset(member.verdict.permissions)
        feed = self._feeds.setdefault(permissions, _Feed(permissions))
        feed.members.add(member)
        if feed.task is None:
            feed.task = self._tasks.create_task(self._follow(feed))
        return feed

    async def _until_ready(self, feed: _Feed) -> None:
        try:
            async with asyncio.timeout(READY_S):
                await feed.is_ready.wait()
        except TimeoutError as error:
            raise Problem(503, f"the daemon gave no events within {READY_S:g} s") from error

    def _leave(self, feed: _Feed, member: Member) -> None:
        feed.members.discard(member)
        if feed.members or self._feeds.get(feed.permissions) is not feed:
            return
        del self._feeds[feed.permissions]
        if feed.task is not None:
            feed.task.cancel()

    async def _listen(self, response: web.WebSocketResponse, member: Member) -> None:
        """Take what the client says: pongs, and its good-bye. Nothing else means anything."""
        async for message in response:
            member.heard = clock.monotonic()
            if message.type is WSMsgType.PING:
                await response.pong(message.data)

    # Following the daemon.

    async def _follow(self, feed: _Feed) -> None:
        """Hand every event to the feed's members, on behalf of one of them after the other."""
        while feed.members:
            leader = next(iter(feed.members))
            try:
                await self._follow_as(feed, leader)
            except CallError as error:
                if error.code in _TOKEN_IS_BAD:
                    logger.info("following on behalf of %s ended: %s", leader.verdict.name, error)
                    self._end_token(leader.verdict.id)
                    feed.members.discard(leader)
                    continue
                logger.warning("the daemon refuses to give events: %s", error)
            except ClientError as error:
                logger.info("following the daemon ended: %s", error)
            # The next one goes on from the cursor: nothing is missed meanwhile.
            await asyncio.sleep(RETRY_S)
        feed.task = None
        feed.cursor = None
        feed.is_ready.clear()

    async def _follow_as(self, feed: _Feed, leader: Member) -> None:
        stream = await self._client.subscribe(since=feed.cursor, token=leader.token)
        try:
            await stream.wait_attached()
            feed.cursor = stream.last_id
            feed.is_ready.set()
            async for batch in stream:
                for raw in batch:
                    self._publish(feed, Published.of(bytes(raw)))
        finally:
            await stream.close()

    def _publish(self, feed: _Feed, event: Published) -> None:
        for member in tuple(feed.members):
            member.publish(event)
        feed.cursor = event.head.id
        if event.head.type == "system" and event.head.kind == "token_revoked":
            self._end_token(str(event.head.data.id))

    def _end_token(self, token_id: str) -> None:
        for feed in self._feeds.values():
            for member in tuple(feed.members):
                if member.verdict.id == token_id:
                    member.cut(*TOKEN_ENDED)

    async def _ping(self) -> None:
        """Ping everybody, close who has been silent for too long or has outlived a token.

        It looks more often than it pings, so that silence ends when its time is over.
        """
        next_ping = clock.monotonic() + self._ping_s
        while True:
            await asyncio.sleep(self._ping_s / LOOKS_A_PING)
            now = clock.monotonic()
            is_time = now >= next_ping
            if is_time:
                next_ping = now + self._ping_s
            for feed in tuple(self._feeds.values()):
                for member in tuple(feed.members):
                    if now - member.heard >= self._timeout_s:
                        member.cut(*SILENT)
                    elif _is_expired(member.verdict):
                        member.cut(*TOKEN_ENDED)
                    elif is_time:
                        member.send(frames.PING)


def _is_expired(verdict: types.TokenVerdict) -> bool:
    if verdict.expires_at is None:
        return False
    return clock.parse(verdict.expires_at) <= clock.wall()
