"""One connection of the asynchronous client: numbers calls, matches replies, hands on the rest."""

import asyncio
import logging
from collections.abc import Callable, Mapping
from typing import Any, cast

import msgspec

from storewatch.calls import encode_call
from storewatch.errors import CallError, ClientError, ConnectionLost, ProtocolError
from storewatch.wire import LineSplitter, Notification, OversizedLine, Reply, decode_message
from storewatch.wire.framing import MAX_MESSAGE_BYTES

logger = logging.getLogger(__name__)

Note = Callable[[msgspec.Raw], None]
"""Sees a result before anything that came after it is looked at."""


class LineProtocol(asyncio.Protocol):
    """A connection from its making to its end; `lost` is done with the reason for its end."""

    def __init__(self, notified: Callable[[Notification], None]) -> None:
        self._notified = notified
        self._lines = LineSplitter(MAX_MESSAGE_BYTES)
        self._transport: asyncio.Transport | None = None
        self._next = 0
        self._waiting: dict[int, tuple[asyncio.Future[Reply], Note | None]] = {}
        self._reason: ClientError | None = None
        self.lost: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    @property
    def is_open(self) -> bool:
        return self._transport is not None and not self._transport.is_closing()

    async def ask(
        self, method: str, params: Mapping[str, Any] | None, token: str | None, note: Note | None
    ) -> Reply:
        """Send a call and return its reply. Cancelling forgets it; the daemon may still do it.

        Raises:
            ClientError: the request cannot be sent, or the connection ended first.
        """
        self._next += 1
        number = self._next
        line = encode_call(number, method, params, token)
        if self._transport is None or self._transport.is_closing():
            raise self._reason or ConnectionLost("the daemon went away")
        answer: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()
        self._waiting[number] = (answer, note)
        self._transport.write(line)
        try:
            return await answer
        finally:
            self._waiting.pop(number, None)

    def close(self, reason: ClientError | None = None) -> None:
        """Close the connection; `reason` is what the calls under way fail with."""
        self._reason = self._reason or reason
        if self._transport is not None:
            self._transport.close()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports are none of asyncio's classes.
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        try:
            for line in self._lines.feed(data):
                self._take(decode_message(line))
        except (OversizedLine, msgspec.MsgspecError, UnicodeDecodeError) as error:
            logger.error("what answers is no daemon: %s", error)
            self.close(ProtocolError(f"what answers is no daemon: {error}"))

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        if self._reason is None:
            self._reason = ConnectionLost(
                f"the connection to the daemon broke: {exc}"
                if exc
                else "the daemon closed the connection"
            )
        if not self.lost.done():
            self.lost.set_result(str(self._reason))
        for answer, _ in self._waiting.values():
            if not answer.done():
                answer.set_exception(self._reason)

    def _take(self, message: Reply | Notification) -> None:
        if isinstance(message, Notification):
            self._notified(message)
            return
        if message.id is None:
            # It speaks of the whole connection, which the daemon is about to close.
            if not isinstance(message.error, msgspec.UnsetType):
                failure = message.error
                self.close(CallError(failure.code, failure.message, failure.data))
            return
        answer, note = (
            self._waiting.get(message.id, (None, None))
            if isinstance(message.id, int)
            else (None, None)
        )
        if answer is None or answer.done():
            return
        if note is not None and not isinstance(message.result, msgspec.UnsetType):
            note(message.result)
        answer.set_result(message)
