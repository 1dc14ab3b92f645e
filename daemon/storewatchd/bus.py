"""Hands numbered events to subscribers, in order, and never waits for any of them.

An event is published after it is durable, or says that it is not. Each subscriber has a bounded
queue: where it is full, metrics events give way first (the newest wins), and a subscriber that is
still too slow is cut off with a reason. What a subscriber missed before it came is the journal's to
replay.
"""

import asyncio
import logging
from collections import Counter, deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from storewatchd.core.model import Event, EventType, Severity, format_time

logger = logging.getLogger(__name__)

QUEUE_EVENTS = 10_000
"""How many events may wait for one subscriber."""


@dataclass(frozen=True, slots=True)
class Filter:
    """Which events a subscriber wants; None means all. Severities apply to alert events only."""

    types: frozenset[EventType] | None = None
    severities: frozenset[Severity] | None = None

    def admits(self, published: "Published") -> bool:
        if self.types is not None and published.event.type not in self.types:
            return False
        return (
            self.severities is None
            or published.severity is None
            or published.severity in self.severities
        )


@dataclass(frozen=True, slots=True)
class Published:
    """An event with its bytes as every client gets them. `severity` is set for alert events."""

    event: Event
    line: bytes
    severity: Severity | None = None


def render(event: Event) -> bytes:
    """Return the event's JSON, without a newline: SPEC's Event."""
    return (
        b'{"id":"%b","seq":%d,"node":"%b","timestamp":"%b","type":"%b","kind":"%b","data":%b%b}'
    ) % (
        event.id.encode(),
        event.seq,
        event.node.encode(),
        (format_time(event.time) or "").encode(),
        event.type.value.encode(),
        event.kind.encode(),
        event.data,
        b',"unjournalled":true' if event.unjournalled else b"",
    )


def publishable(event: Event, severity: Severity | None = None) -> Published:
    """Return the event with its bytes made once, for however many subscribers."""
    return Published(event, render(event), severity)


class Subscription:
    """One subscriber's queue. Read it with `batch`; it ends when it is closed or cut off."""

    def __init__(self, bus: "Bus", wanted: Filter, limit: int) -> None:
        self._bus = bus
        self._wanted = wanted
        self._limit = limit
        self._queue: deque[Published] = deque()
        self._arrived = asyncio.Event()
        self.ended: str | None = None
        """Why it was cut off or closed; None while it lives."""

    def offer(self, published: Published) -> None:
        """Queue the event if it is wanted; cut the subscriber off if there is no room."""
        if self.ended is not None or not self._wanted.admits(published):
            return
        if len(self._queue) >= self._limit and not self._drop_metrics():
            if published.event.type is not EventType.METRICS:
                self.end(f"too slow: {self._limit} events were waiting")
            return
        self._queue.append(published)
        self._arrived.set()

    def end(self, reason: str) -> None:
        """End the subscription; what is queued is dropped. A second call changes nothing."""
        if self.ended is None:
            self.ended = reason
            self._queue.clear()
            self._bus.forget(self)
            self._arrived.set()

    async def batch(self) -> list[Published]:
        """Return what is queued, waiting for at least one event; an empty list means the end."""
        while not self._queue and self.ended is None:
            self._arrived.clear()
            await self._arrived.wait()
        events = list(self._queue)
        self._queue.clear()
        return events

    @property
    def waiting(self) -> int:
        """How many events wait to be read."""
        return len(self._queue)

    def _drop_metrics(self) -> bool:
        kept = [one for one in self._queue if one.event.type is not EventType.METRICS]
        dropped = len(self._queue) - len(kept)
        self._queue = deque(kept)
        return dropped > 0


class Bus:
    """The subscribers of this daemon, and the number of the last event that they were told."""

    def __init__(self, last_seq: int) -> None:
        self.last_seq = last_seq
        self.told: Counter[tuple[str, str]] = Counter()
        """How many events were published since the start, by type and kind: names of this daemon's
        own, of which there are some dozens."""
        self._subscriptions: set[Subscription] = set()

    def __len__(self) -> int:
        return len(self._subscriptions)

    def publish(self, events: Sequence[Published]) -> None:
        """Hand events to everybody, in ascending order of their numbers."""
        for published in events:
            self.last_seq = published.event.seq
            self.told[published.event.type.value, published.event.kind] += 1
            for subscription in tuple(self._subscriptions):
                subscription.offer(published)

    def subscribe(self, wanted: Filter, *, limit: int = QUEUE_EVENTS) -> Subscription:
        """Start a subscription with the next event that is published."""
        subscription = Subscription(self, wanted, limit)
        self._subscriptions.add(subscription)
        return subscription

    def longest_queue(self) -> int:
        """Return how many events wait for the subscriber for whom most do."""
        return max((one.waiting for one in self._subscriptions), default=0)

    def forget(self, subscription: Subscription) -> None:
        """Leave nothing of a subscription behind."""
        self._subscriptions.discard(subscription)

    def close(self, reason: str) -> None:
        """End every subscription."""
        for subscription in tuple(self._subscriptions):
            subscription.end(reason)


def parse_filter(types: Iterable[str] | None, severities: Iterable[str] | None) -> Filter:
    """Return the filter for names as they come over the wire."""
    return Filter(
        types=None if types is None else frozenset(EventType(name) for name in types),
        severities=None if severities is None else frozenset(Severity(name) for name in severities),
    )
