"""Sends events to the connections that asked for them, from where each one left off.

A subscription joins the bus first and replays the journal up to that moment after, so that nothing
falls between the two. One made with a bearer token ends with the token.
"""

import asyncio
import itertools
import logging
from collections.abc import Callable
from dataclasses import dataclass, field

from storewatch.wire import encode
from storewatchd.bus import Bus, Filter, Published, Subscription
from storewatchd.control.dispatch import Call
from storewatchd.control.replay import Replay
from storewatchd.errors import JournalError, LimitReached, NotFound

logger = logging.getLogger(__name__)

MAX_SUBSCRIPTIONS = 32
"""How many subscriptions one connection may hold."""

REPLAY_PAGE = 500


@dataclass(slots=True, eq=False)
class _Held:
    """A subscription of a connection. `since` is the number after which the journal is replayed,
    `head` the last number that the bus does not bring."""

    id: str
    call: Call
    wanted: Filter
    subscription: Subscription
    since: int | None
    head: int
    gap: Published | None = None
    task: asyncio.Task[None] | None = field(default=None)


class Subscriptions:
    """Every subscription over the control socket."""

    def __init__(self, bus: Bus, replay: Replay, *, is_good: Callable[[str], bool]) -> None:
        self._bus = bus
        self._replay = replay
        self._is_good = is_good
        self._numbers = itertools.count(1)
        self._held: dict[str, _Held] = {}

    def __len__(self) -> int:
        return len(self._held)

    def start(
        self, call: Call, wanted: Filter, *, since: int | None, gap: Published | None
    ) -> tuple[str, int]:
        """Subscribe a connection; return the subscription's id and the last event's number.

        Nothing is sent before the caller's answer: the pump starts with the loop's next turn.
        """
        mine = sum(1 for held in self._held.values() if held.call.connection is call.connection)
        if mine >= MAX_SUBSCRIPTIONS:
            raise LimitReached(f"this connection has {MAX_SUBSCRIPTIONS} subscriptions already")
        held = _Held(
            id=f"s{next(self._numbers)}",
            call=call,
            wanted=wanted,
            subscription=self._bus.subscribe(wanted),
            since=since,
            head=self._bus.last_seq,
            gap=gap,
        )
        self._held[held.id] = held
        held.task = call.connection.run(self._pump(held))
        return held.id, held.head

    def stop(self, call: Call, subscription_id: str) -> None:
        """End a subscription of this connection.

        Raises:
            NotFound: this connection has no such subscription.
        """
        held = self._held.get(subscription_id)
        if held is None or held.call.connection is not call.connection:
            raise NotFound(f"this connection has no subscription {subscription_id!r}")
        held.subscription.end("unsubscribed")

    def end_for_token(self, token_id: str, reason: str) -> None:
        """End what was subscribed with this token, at once."""
        for held in tuple(self._held.values()):
            if held.call.caller.token_id == token_id:
                held.subscription.end(reason)

    async def _pump(self, held: _Held) -> None:
        connection = held.call.connection
        try:
            if held.gap is not None:
                connection.send(_notice(held.id, [held.gap]))
            try:
                await self._catch_up(held)
            except JournalError as error:
                held.subscription.end(f"what was missed cannot be read: {error}")
            while batch := await held.subscription.batch():
                token_id = held.call.caller.token_id
                if token_id is not None and not self._is_good(token_id):
                    held.subscription.end("the token has expired or was revoked")
                    break
                connection.send(_notice(held.id, batch))
                await connection.writable()
            reason = held.subscription.ended or "closed"
            if reason != "unsubscribed":
                logger.info("subscription %s of %s ended: %s", held.id, _name(held), reason)
                connection.send(
                    encode(
                        {
                            "jsonrpc": "2.0",
                            "method": "end",
                            "params": {"subscription": held.id, "reason": reason},
                        }
                    )
                )
        finally:
            held.subscription.end("closed")
            self._held.pop(held.id, None)

    async def _catch_up(self, held: _Held) -> None:
        connection = held.call.connection
        after = held.head if held.since is None else held.since
        while after < held.head and held.subscription.ended is None:
            page = await self._replay.after(after, REPLAY_PAGE)
            known = [published for published in page if published.event.seq <= held.head]
            wanted = [published for published in known if held.wanted.admits(published)]
            if wanted:
                connection.send(_notice(held.id, wanted))
                await connection.writable()
            if not known:
                return
            after = known[-1].event.seq


def _name(held: _Held) -> str:
    return held.call.caller.name


def _notice(subscription_id: str, batch: list[Published]) -> bytes:
    head = b'{"jsonrpc":"2.0","method":"event","params":{"subscription":"%b","event":' % (
        subscription_id.encode()
    )
    return b"\n".join(head + published.line + b"}}" for published in batch)
