"""The asynchronous client: many calls at once, and subscriptions that outlive a restart."""

import asyncio
import logging
import random
from collections import deque
from collections.abc import AsyncIterator
from typing import Any, Self, TypeVar, overload

import msgspec

from storewatch.errors import CallError, ClientError, ConnectionLost, ProtocolError
from storewatch.wire import (
    LineSplitter,
    Notification,
    OversizedLine,
    Reply,
    decode_message,
    encode,
    types,
)
from storewatch.wire.framing import MAX_MESSAGE_BYTES

logger = logging.getLogger(__name__)

ResultT = TypeVar("ResultT")

MAX_IN_FLIGHT = 48
"""How many calls wait at the daemon at once; further ones wait here."""

FIRST_PAUSE_S = 0.1
LONGEST_PAUSE_S = 3.0
STREAM_LIMIT = 50_000
"""How many events may wait in a subscription that its owner does not read."""


class EventStream:
    """One subscription, made again with `since` whenever the daemon comes back.

    Iterate over batches of raw events (JSON, as the daemon made them) in order. `snapshot` is what
    was so when it was first made.
    """

    def __init__(self, client: "Client", params: dict[str, Any], token: str | None) -> None:
        self._client = client
        self._params = params
        self._token = token
        self._events: deque[msgspec.Raw] = deque()
        self._arrived = asyncio.Event()
        self.subscription: str | None = None
        self.last_id: str | None = params.get("since")
        self.snapshot: Any = None
        self.ended: Exception | None = None
        """Why it is over; None while it lives."""

    def __aiter__(self) -> AsyncIterator[list[msgspec.Raw]]:
        return self._batches()

    async def _batches(self) -> AsyncIterator[list[msgspec.Raw]]:
        while True:
            while not self._events and self.ended is None:
                self._arrived.clear()
                await self._arrived.wait()
            batch = list(self._events)
            self._events.clear()
            if batch:
                yield batch
            elif self.ended is not None:
                raise self.ended

    async def close(self) -> None:
        """End the subscription; the daemon is told if it is there."""
        self._client.forget(self)
        self.end(ConnectionLost("the subscription was closed"))
        if self.subscription is not None and self._client.is_connected:
            try:
                await self._client.call(
                    "events.unsubscribe", {"subscription": self.subscription}, token=self._token
                )
            except ClientError as error:
                logger.debug("unsubscribing: %s", error)

    # The client's side.

    def feed(self, event: msgspec.Raw) -> None:
        if len(self._events) >= STREAM_LIMIT:
            self.end(ConnectionLost(f"nobody reads this subscription: {STREAM_LIMIT} events wait"))
            return
        self.last_id = _id_of(event).id
        self._events.append(event)
        self._arrived.set()

    def end(self, why: Exception) -> None:
        if self.ended is None:
            self.ended = why
            self._arrived.set()

    async def attach(self) -> None:
        """Subscribe on the connection that there is now."""
        params = dict(self._params)
        if self.last_id is not None:
            params["since"] = self.last_id
        if self.snapshot is not None:
            params["snapshot"] = False
        answer = await self._client.subscribe_once(self, params, self._token)
        self.snapshot = self.snapshot if self.snapshot is not None else answer.snapshot
        if self.last_id is None:
            self.last_id = answer.last_id


class _Id(msgspec.Struct):
    id: str


_id_of = msgspec.json.Decoder(_Id).decode


class Client:
    """A connection to a daemon that is made again whenever it breaks.

    Use it as an async context manager. Calls fail with ConnectionLost while the daemon is away;
    subscriptions wait for it.
    """

    def __init__(self, path: str, *, token: str | None = None) -> None:
        self.path = path
        self._token = token
        self._protocol: _Protocol | None = None
        self._connected = asyncio.Event()
        self._streams: list[EventStream] = []
        self._by_subscription: dict[str, EventStream] = {}
        self._slots = asyncio.Semaphore(MAX_IN_FLIGHT)
        self._tasks = asyncio.TaskGroup()
        self._keeper: asyncio.Task[None] | None = None
        self.problem: str | None = "not connected yet"
        """Why the daemon cannot be reached; None while it can."""

    async def __aenter__(self) -> Self:
        await self._tasks.__aenter__()
        self._keeper = self._tasks.create_task(self._keep_connected())
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        assert self._keeper is not None
        self._keeper.cancel()
        if self._protocol is not None:
            self._protocol.close()
        for stream in tuple(self._streams):
            stream.end(ConnectionLost("the client was closed"))
        await self._tasks.__aexit__(None, None, None)

    @property
    def is_connected(self) -> bool:
        return self._protocol is not None and self._protocol.is_open

    async def wait_connected(self) -> None:
        """Wait until the daemon answers."""
        await self._connected.wait()

    @overload
    async def call(
        self,
        method: str,
        params: dict[str, Any] | None = None,
        *,
        type: type[ResultT],
        token: str | None = None,
        timeout_s: float = 65.0,
    ) -> ResultT: ...
    @overload
    async def call(
        self,
        method: str,
        params: dict[str, Any] | None = None,
        *,
        token: str | None = None,
        timeout_s: float = 65.0,
    ) -> Any: ...
    async def call(
        self,
        method: str,
        params: dict[str, Any] | None = None,
        *,
        type: Any = Any,
        token: str | None = None,
        timeout_s: float = 65.0,
    ) -> Any:
        """Return the result of a call, decoded as `type`. `token` is the bearer token on whose
        behalf it is made. `type=msgspec.Raw` gives the result's own bytes.

        Raises:
            CallError: the daemon refused.
            ConnectionLost: it is away, went away, or did not answer in time.
            ProtocolError: the result is not of that type.
        """
        result = await self._call(method, params, token, timeout_s)
        if type is msgspec.Raw:
            return result
        try:
            return msgspec.json.decode(result, type=type)
        except msgspec.MsgspecError as error:
            raise ProtocolError(f"{method}: the answer is of another kind: {error}") from error

    async def subscribe(
        self,
        *,
        types: list[str] | None = None,
        severity: list[str] | None = None,
        since: str | None = None,
        snapshot: bool = False,
        token: str | None = None,
    ) -> EventStream:
        """Return a subscription. It is made at once if the daemon is there, or when it comes.

        Raises:
            CallError: the daemon refuses it.
        """
        params: dict[str, Any] = {"snapshot": snapshot}
        if types is not None:
            params["types"] = types
        if severity is not None:
            params["severity"] = severity
        if since is not None:
            params["since"] = since
        stream = EventStream(self, params, token)
        self._streams.append(stream)
        if self.is_connected:
            try:
                await stream.attach()
            except CallError:
                self.forget(stream)
                raise
            except ClientError as error:
                logger.debug("subscribing waits for the daemon: %s", error)
        return stream

    # For the streams.

    def forget(self, stream: EventStream) -> None:
        """Leave nothing of a stream behind."""
        if stream in self._streams:
            self._streams.remove(stream)
        if stream.subscription is not None:
            self._by_subscription.pop(stream.subscription, None)

    async def subscribe_once(
        self, stream: EventStream, params: dict[str, Any], token: str | None
    ) -> types.Subscribed:
        """Subscribe on this connection; events are matched to the stream from the first one on."""
        protocol = self._protocol
        if protocol is None:
            raise ConnectionLost(self.problem or "not connected")

        def note(result: msgspec.Raw) -> None:
            # Inside the protocol, before the next line is looked at.
            answer = msgspec.json.decode(result, type=types.Subscribed)
            stream.subscription = answer.subscription
            self._by_subscription[answer.subscription] = stream

        result = await self._call(
            "events.subscribe", params, token, 30.0, note=note, protocol=protocol
        )
        return msgspec.json.decode(result, type=types.Subscribed)

    # The connection.

    async def _call(
        self,
        method: str,
        params: dict[str, Any] | None,
        token: str | None,
        timeout_s: float,
        *,
        note: Any = None,
        protocol: "_Protocol | None" = None,
    ) -> msgspec.Raw:
        protocol = protocol or self._protocol
        if protocol is None or not protocol.is_open:
            raise ConnectionLost(f"no daemon answers at {self.path}: {self.problem}")
        request: dict[str, Any] = {"jsonrpc": "2.0", "method": method, "params": params or {}}
        secret = token or self._token
        if secret is not None:
            request["auth"] = secret
        async with self._slots:
            try:
                async with asyncio.timeout(timeout_s):
                    reply = await protocol.ask(request, note)
            except TimeoutError as error:
                raise ConnectionLost(f"{method}: no answer within {timeout_s:g} s") from error
        if not isinstance(reply.error, msgspec.UnsetType):
            raise CallError(reply.error.code, reply.error.message, reply.error.data)
        assert not isinstance(reply.result, msgspec.UnsetType)
        return reply.result

    async def _keep_connected(self) -> None:
        pause_s = FIRST_PAUSE_S
        loop = asyncio.get_running_loop()
        while True:
            try:
                _, protocol = await loop.create_unix_connection(
                    lambda: _Protocol(self._notified), self.path
                )
            except OSError as error:
                self.problem = error.strerror or str(error)
            else:
                self._protocol = protocol
                self.problem = None
                pause_s = FIRST_PAUSE_S
                await self._resume()
                self._connected.set()
                self.problem = await protocol.lost
                self._connected.clear()
                self._by_subscription.clear()
                logger.info("the daemon went away; trying again")
            # Half of the pause is chance, so that many clients do not come back at once.
            await asyncio.sleep(pause_s * (0.5 + random.random() / 2))
            pause_s = min(2 * pause_s, LONGEST_PAUSE_S)

    async def _resume(self) -> None:
        for stream in tuple(self._streams):
            try:
                await stream.attach()
            except CallError as error:
                self.forget(stream)
                stream.end(error)
            except ClientError as error:
                logger.debug("resuming a subscription: %s", error)
                return

    def _notified(self, notification: Notification) -> None:
        if notification.method == "event":
            notice = msgspec.json.decode(notification.params, type=types.EventNotice)
            stream = self._by_subscription.get(notice.subscription)
            if stream is not None:
                # A copy: the raw bytes would keep the whole line alive.
                stream.feed(notice.event.copy())
        elif notification.method == "end":
            ended = msgspec.json.decode(notification.params, type=types.SubscriptionEnd)
            stream = self._by_subscription.pop(ended.subscription, None)
            if stream is not None and "daemon stops" not in ended.reason:
                self.forget(stream)
                stream.end(ConnectionLost(f"the daemon ended the subscription: {ended.reason}"))


class _Protocol(asyncio.Protocol):
    """Numbers requests, matches replies, hands on notifications."""

    def __init__(self, notified: Any) -> None:
        self._notified = notified
        self._lines = LineSplitter(MAX_MESSAGE_BYTES)
        self._transport: Any = None
        self._next = 0
        self._waiting: dict[int, tuple[asyncio.Future[Reply], Any]] = {}
        self.lost: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    @property
    def is_open(self) -> bool:
        return self._transport is not None and not self._transport.is_closing()

    async def ask(self, request: dict[str, Any], note: Any) -> Reply:
        if not self.is_open:
            raise ConnectionLost("the daemon went away")
        self._next += 1
        number = self._next
        answer: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()
        self._waiting[number] = (answer, note)
        self._transport.write(encode({**request, "id": number}) + b"\n")
        try:
            return await answer
        finally:
            self._waiting.pop(number, None)

    def close(self) -> None:
        if self._transport is not None:
            self._transport.close()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        try:
            for line in self._lines.feed(data):
                self._take(decode_message(line))
        except (OversizedLine, msgspec.MsgspecError) as error:
            logger.error("what answers is no daemon: %s", error)
            self.close()

    def _take(self, message: Reply | Notification) -> None:
        if isinstance(message, Notification):
            self._notified(message)
            return
        answer, note = self._waiting.get(message.id or 0, (None, None))  # type: ignore[arg-type]
        if answer is None or answer.done():
            return
        if note is not None and not isinstance(message.result, msgspec.UnsetType):
            note(message.result)
        answer.set_result(message)

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        reason = str(exc) if exc else "the daemon closed the connection"
        if not self.lost.done():
            self.lost.set_result(reason)
        for answer, _ in self._waiting.values():
            if not answer.done():
                answer.set_exception(ConnectionLost(reason))
