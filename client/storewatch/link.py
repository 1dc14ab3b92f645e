"""One connection of the async client: replies to whoever waits, events to their subscriptions."""

import asyncio
from collections.abc import Callable
from typing import Protocol

import msgspec

from storewatch.errors import CallError, ClientError, ConnectionLost, ProtocolError
from storewatch.wire import LineSplitter, Notification, OversizedLine, Reply, decode_message
from storewatch.wire.framing import MAX_MESSAGE_BYTES
from storewatch.wire.types import EventNotice, SubscriptionEnd

_notice = msgspec.json.Decoder(EventNotice).decode
_end = msgspec.json.Decoder(SubscriptionEnd).decode

OnReply = Callable[[Reply], None]


class Sink(Protocol):
    """Where the events of one subscription go."""

    def offer(self, event: bytes) -> None:
        """Take one event's JSON."""

    def end(self, reason: ClientError) -> None:
        """Take note that no more will come."""


class SubscriptionEnded(ClientError):
    """The daemon cut a subscription off."""


class Link(asyncio.Protocol):
    """A connection from its making to its end. `ended` says why it ended, None while it lives."""

    def __init__(self, socket: str) -> None:
        self.ended: ClientError | None = None
        self.sinks: dict[str, Sink] = {}
        self._socket = socket
        self._transport: asyncio.Transport | None = None
        self._lines = LineSplitter(MAX_MESSAGE_BYTES)
        self._waiting: dict[int, tuple[asyncio.Future[Reply], OnReply | None]] = {}
        self._writable = asyncio.Event()
        self._writable.set()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        try:
            for line in self._lines.feed(data):
                self._take(decode_message(line))
        except OversizedLine as error:
            self.close(ProtocolError(f"what the daemon sent is too long: {error}"))
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            self.close(ProtocolError(f"what the daemon sent cannot be read: {error}"))

    def connection_lost(self, exc: Exception | None) -> None:
        reason = str(exc) if exc is not None else "the daemon closed it"
        self.close(ConnectionLost(self._socket, reason))

    def pause_writing(self) -> None:
        self._writable.clear()

    def resume_writing(self) -> None:
        self._writable.set()

    async def exchange(self, call_id: int, line: bytes, on_reply: OnReply | None = None) -> Reply:
        """Send a call and return its reply.

        `on_reply` sees the reply before anything that came after it is taken. Cancelling forgets
        the call; the daemon may still do it.

        Raises:
            ClientError: the connection ended first.
        """
        await self._writable.wait()
        if self.ended is not None:
            raise self.ended
        assert self._transport is not None
        future: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()
        self._waiting[call_id] = (future, on_reply)
        try:
            self._transport.write(line)
            return await future
        finally:
            self._waiting.pop(call_id, None)

    def close(self, reason: ClientError) -> None:
        """End the connection and everything that waits on it; a second call changes nothing."""
        if self.ended is not None:
            return
        self.ended = reason
        self._writable.set()
        for future, _ in self._waiting.values():
            if not future.done():
                future.set_exception(reason)
        self._waiting.clear()
        for sink in tuple(self.sinks.values()):
            sink.end(reason)
        self.sinks.clear()
        if self._transport is not None:
            self._transport.close()

    def _take(self, message: Reply | Notification) -> None:
        if isinstance(message, Notification):
            self._take_notification(message)
        elif message.id is None:
            failure = message.error
            if failure is not msgspec.UNSET:
                # It speaks of the connection, which the daemon is about to close.
                self.close(CallError("", failure.code, failure.message, failure.data))
        elif isinstance(message.id, int):
            future, on_reply = self._waiting.pop(message.id, (None, None))
            if future is not None and not future.done():
                if on_reply is not None:
                    on_reply(message)
                future.set_result(message)

    def _take_notification(self, message: Notification) -> None:
        if message.method == "event":
            notice = _notice(message.params)
            sink = self.sinks.get(notice.subscription)
            if sink is not None:
                sink.offer(bytes(notice.event))
        elif message.method == "end":
            end = _end(message.params)
            sink = self.sinks.pop(end.subscription, None)
            if sink is not None:
                sink.end(SubscriptionEnded(f"the daemon ended the subscription: {end.reason}"))
