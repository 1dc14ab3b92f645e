"""A subscription that is made again, from where it was, whenever the daemon comes back."""

import asyncio
import logging
from collections import deque
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any

import msgspec

from storewatch.errors import ClientError, ConnectionLost

if TYPE_CHECKING:
    from storewatch.client import Client

logger = logging.getLogger(__name__)

STREAM_LIMIT = 50_000
"""How many events may wait for a slow reader; further ones are asked for again when it has read."""


class _Id(msgspec.Struct):
    id: str


_id_of = msgspec.json.Decoder(_Id).decode


class EventStream:
    """One subscription.

    Iterate over batches of raw events (JSON, as the daemon made them) in order, each event once.
    `snapshot` is what was so when it was first made. What is no longer kept shows as an event of
    kind `gap`.
    """

    def __init__(self, client: "Client", params: dict[str, Any], token: str | None) -> None:
        self._client = client
        self._params = params
        self._token = token
        self._events: deque[msgspec.Raw] = deque()
        self._arrived = asyncio.Event()
        self._is_overfull = False
        self._attached = asyncio.Event()
        self.subscription: str | None = None
        self.last_id: str | None = params.get("since")
        self.snapshot: Any = None
        self.ended: Exception | None = None
        """Why it is over; None while it lives."""

    def __aiter__(self) -> AsyncIterator[list[msgspec.Raw]]:
        return self._batches()

    async def _batches(self) -> AsyncIterator[list[msgspec.Raw]]:
        while True:
            while not self._events and self.ended is None and not self._is_overfull:
                self._arrived.clear()
                await self._arrived.wait()
            batch = list(self._events)
            self._events.clear()
            if batch:
                yield batch
            elif self.ended is not None:
                raise self.ended
            else:
                await self._catch_up()

    async def close(self) -> None:
        """End the subscription; the daemon is told if it is there."""
        self._client.forget(self)
        self.end(ConnectionLost("the subscription was closed"))
        await self._unsubscribe()

    async def wait_attached(self) -> None:
        """Wait until it is made for the first time; from then on no event is missed.

        Raises:
            ClientError: it is over, and why.
        """
        await self._attached.wait()
        if self.ended is not None:
            raise self.ended

    # The client's side.

    def feed(self, event: msgspec.Raw) -> None:
        """Take an event for the reader, or note that it has to be asked for again."""
        if len(self._events) >= STREAM_LIMIT:
            self._is_overfull = True
        if not self._is_overfull:
            self.last_id = _id_of(event).id
            self._events.append(event)
        self._arrived.set()

    def end(self, why: Exception) -> None:
        """Let the reader have what has come, and then this error."""
        if self.ended is None:
            self.ended = why
            self._arrived.set()
            self._attached.set()

    async def attach(self) -> None:
        """Subscribe on the connection that there is now."""
        params = dict(self._params)
        if self.last_id is not None:
            params["since"] = self.last_id
        if self.subscription is not None:
            params["snapshot"] = False
        self._is_overfull = False
        answer = await self._client.subscribe_once(self, params, self._token)
        self.snapshot = self.snapshot if self.snapshot is not None else answer.snapshot
        if self.last_id is None:
            self.last_id = answer.last_id
        self._attached.set()

    async def _catch_up(self) -> None:
        await self._unsubscribe()
        try:
            await self.attach()
        except ConnectionLost as error:
            logger.debug("catching up waits for the daemon: %s", error)
        except ClientError as error:
            self._client.forget(self)
            self.end(error)

    async def _unsubscribe(self) -> None:
        if self.subscription is None or not self._client.is_connected:
            return
        try:
            await self._client.call(
                "events.unsubscribe", {"subscription": self.subscription}, token=self._token
            )
        except ClientError as error:
            logger.debug("unsubscribing: %s", error)
