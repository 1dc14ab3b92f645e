"""The asynchronous client: many calls at once, and subscriptions that outlive a restart."""

import asyncio
import contextlib
import logging
import random
from collections.abc import Callable
from typing import Any, Self, TypeVar, overload

import msgspec

from storewatch.calls import result_of
from storewatch.errors import ClientError, ConnectionLost, ProtocolError, Unreachable
from storewatch.protocol import LineProtocol, Note
from storewatch.stream import EventStream
from storewatch.wire import Notification, types

logger = logging.getLogger(__name__)

ResultT = TypeVar("ResultT")

MAX_IN_FLIGHT = 48
"""How many calls wait at the daemon at once; further ones wait here."""

FIRST_PAUSE_S = 0.1
LONGEST_PAUSE_S = 3.0


class Client:
    """A connection to a daemon that is made again whenever it breaks.

    Use it as an async context manager. Calls fail with ConnectionLost while the daemon is away;
    subscriptions wait for it. `on_change` hears each loss and each return: the problem, or None.
    """

    def __init__(
        self,
        path: str,
        *,
        token: str | None = None,
        on_change: Callable[[str | None], None] | None = None,
    ) -> None:
        self.path = path
        self._token = token
        self._on_change = on_change
        self._protocol: LineProtocol | None = None
        self._wanted = asyncio.Event()
        self._attempted = asyncio.Event()
        self._connected = asyncio.Event()
        self._streams: list[EventStream] = []
        self._by_subscription: dict[str, EventStream] = {}
        self._slots = asyncio.Semaphore(MAX_IN_FLIGHT)
        self._tasks = asyncio.TaskGroup()
        self._keeper: asyncio.Task[None] | None = None
        self.problem: str | None = "not connected yet"
        """Why the daemon cannot be reached; None while it can."""
        self._failure: ConnectionLost | None = None
        self._is_there: bool | None = None

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
            except ConnectionLost as error:
                logger.debug("subscribing waits for the daemon: %s", error)
            except ClientError:
                self.forget(stream)
                raise
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
        note: Note | None = None,
        protocol: LineProtocol | None = None,
    ) -> msgspec.Raw:
        try:
            # Also the wait for a slot: what the others wait for is no reason to wait longer.
            async with asyncio.timeout(timeout_s), self._slots:
                protocol = protocol or await self._open_protocol()
                reply = await protocol.ask(method, params, token or self._token, note)
        except TimeoutError as error:
            raise ConnectionLost(f"{method}: no answer within {timeout_s:g} s") from error
        return result_of(reply)

    async def _open_protocol(self) -> LineProtocol:
        if not self.is_connected:
            # Try now, whatever pause is under way.
            self._attempted.clear()
            self._wanted.set()
            await self._attempted.wait()
        if self._protocol is None or not self._protocol.is_open:
            raise self._failure or ConnectionLost(f"no daemon answers at {self.path}")
        return self._protocol

    async def _keep_connected(self) -> None:
        pause_s = FIRST_PAUSE_S
        loop = asyncio.get_running_loop()
        while True:
            self._wanted.clear()
            try:
                _, protocol = await loop.create_unix_connection(
                    lambda: LineProtocol(self._notified), self.path
                )
            except OSError as error:
                self._failure = Unreachable.at(self.path, error)
                self._changed(str(self._failure))
                self._attempted.set()
            else:
                self._protocol = protocol
                self._attempted.set()
                await self._resume()
                if protocol.is_open:
                    pause_s = FIRST_PAUSE_S
                    self._changed(None)
                    self._connected.set()
                problem = await protocol.lost
                self._failure = ConnectionLost(problem)
                self._connected.clear()
                self._by_subscription.clear()
                self._changed(problem)
            # Half of the pause is chance, so that many clients do not come back at once.
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(pause_s * (0.5 + random.random() / 2)):
                    await self._wanted.wait()
            pause_s = min(2 * pause_s, LONGEST_PAUSE_S)

    def _changed(self, problem: str | None) -> None:
        is_news = (problem is None) is not self._is_there
        self.problem = problem
        self._is_there = problem is None
        if not is_news:
            return
        if problem is None:
            logger.info("the daemon at %s answers", self.path)
        else:
            logger.info("the daemon at %s is away: %s", self.path, problem)
        if self._on_change is not None:
            self._on_change(problem)

    async def _resume(self) -> None:
        for stream in tuple(self._streams):
            try:
                await stream.attach()
            except ConnectionLost as error:
                logger.debug("resuming a subscription: %s", error)
                return
            except ClientError as error:
                self.forget(stream)
                stream.end(error)

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
