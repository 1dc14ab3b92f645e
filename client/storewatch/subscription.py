"""A stream of events that goes on where it was when the daemon or the connection comes back."""

import asyncio
import random
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

import msgspec

from storewatch.calls import decode_result
from storewatch.errors import CallError, ClientError, ProtocolError, Unsendable
from storewatch.link import Link, OnReply
from storewatch.wire import Reply
from storewatch.wire.params import EventsSubscribe
from storewatch.wire.types import Event, Subscribed

if TYPE_CHECKING:
    from storewatch.client import Client

QUEUE_EVENTS = 10_000
"""How many events may wait for their reader; beyond, they are asked for again later."""

FIRST_DELAY_S = 0.1
LONGEST_DELAY_S = 5.0

_event = msgspec.json.Decoder(Event).decode


@dataclass(frozen=True, slots=True)
class Received:
    """An event, and its bytes as the daemon sent them."""

    event: Event
    raw: bytes


class _Inbox:
    """What one attachment to the daemon has brought and nobody has read yet."""

    def __init__(self) -> None:
        self.events: deque[bytes] = deque()
        self.ended: ClientError | None = None
        self.overflown = False
        self.arrived = asyncio.Event()

    def offer(self, event: bytes) -> None:
        if len(self.events) >= QUEUE_EVENTS:
            self.overflown = True
        if not self.overflown:
            self.events.append(event)
            self.arrived.set()

    def end(self, reason: ClientError) -> None:
        self.ended = reason
        self.arrived.set()


class Subscription:
    """Events in order, each one once. `since` is the id of the last one that was read."""

    def __init__(
        self,
        client: "Client",
        asked: EventsSubscribe,
        *,
        auth: str | None = None,
        is_patient: bool = False,
        on_lost: Callable[[ClientError], None] | None = None,
        on_resumed: Callable[[Subscribed], None] | None = None,
    ) -> None:
        self.since = asked.since
        self.subscribed: Subscribed | None = None
        """The daemon's answer to the last subscribing; None before the first."""
        self._client = client
        self._asked = asked
        self._auth = auth
        self._is_patient = is_patient
        self._on_lost = on_lost
        self._on_resumed = on_resumed
        self._inbox: _Inbox | None = None
        self._link: Link | None = None
        self._closed = False

    async def __aenter__(self) -> Self:
        await self._attach(None)
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.close()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Received:
        """Return the next event, however long the daemon is away.

        Cancelling loses no event.

        Raises:
            CallError: the daemon refuses to go on, for instance because the token was revoked.
        """
        while not self._closed:
            inbox = self._inbox
            if inbox is None:
                await self._attach(None)
            elif inbox.events:
                raw = inbox.events.popleft()
                event = _decoded(raw)
                self.since = event.id
                return Received(event, raw)
            elif inbox.ended is not None:
                await self._attach(inbox.ended)
            elif inbox.overflown:
                await self._detach()
                await self._attach(None)
            else:
                inbox.arrived.clear()
                await inbox.arrived.wait()
        raise StopAsyncIteration

    async def close(self) -> None:
        """End the subscription; a second call changes nothing."""
        self._closed = True
        if self._inbox is not None:
            self._inbox.arrived.set()
        await self._detach()

    async def _attach(self, lost: ClientError | None) -> None:
        """Subscribe from where the reader is; `lost` is why that is needed again."""
        delay_s = FIRST_DELAY_S
        is_told = False
        while not self._closed:
            if lost is not None:
                if not is_told and self._on_lost is not None:
                    self._on_lost(lost)
                is_told = True
                await asyncio.sleep(delay_s * random.uniform(0.5, 1.0))
                delay_s = min(2 * delay_s, LONGEST_DELAY_S)
            try:
                subscribed = await self._subscribe()
            except ClientError as error:
                if not self._is_worth_another(error):
                    raise
                lost = error
                continue
            was_subscribed = self.subscribed is not None
            self.subscribed = subscribed
            if self.since is None:
                self.since = subscribed.last_id
            if (was_subscribed or is_told) and self._on_resumed is not None:
                self._on_resumed(subscribed)
            return

    def _is_worth_another(self, error: ClientError) -> bool:
        if isinstance(error, Unsendable) or (isinstance(error, CallError) and not error.is_passing):
            return False
        return self.subscribed is not None or self._is_patient

    async def _subscribe(self) -> Subscribed:
        inbox = _Inbox()
        asked = EventsSubscribe(
            types=self._asked.types,
            severity=self._asked.severity,
            since=self.since,
            snapshot=self._asked.snapshot,
        )

        def on_reply(link: Link) -> OnReply:
            def register(reply: Reply) -> None:
                # The events behind the answer may be in the same chunk: be there before them.
                if reply.result is not msgspec.UNSET:
                    link.sinks[_subscription_id(bytes(reply.result))] = inbox
                    self._inbox, self._link = inbox, link

            return register

        result = await self._client.exchange_for("events.subscribe", asked, self._auth, on_reply)
        return decode_result(result, "events.subscribe", Subscribed)

    async def _detach(self) -> None:
        inbox, link, subscribed = self._inbox, self._link, self.subscribed
        self._inbox = self._link = None
        if inbox is None or link is None or subscribed is None or link.ended is not None:
            return
        if link.sinks.pop(subscribed.subscription, None) is None:
            return
        try:
            await self._client.call(
                "events.unsubscribe",
                {"subscription": subscribed.subscription},
                type=bool,
                auth=self._auth,
            )
        except ClientError:
            # It ended by itself meanwhile, or the connection did: gone is gone.
            return


class _Named(msgspec.Struct):
    subscription: str


def _subscription_id(result: bytes) -> str:
    return msgspec.json.decode(result, type=_Named).subscription


def _decoded(raw: bytes) -> Event:
    try:
        return _event(raw)
    except msgspec.MsgspecError as error:
        raise ProtocolError(f"an event is not as agreed: {error}") from error
