"""events.*: what happened, from the journal, and what happens, from the bus."""

from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from storewatch.wire import params
from storewatchd.bus import Published, parse_filter, publishable
from storewatchd.control.dispatch import Call, Handler
from storewatchd.control.methods.alerts import time_of
from storewatchd.control.pages import fitting
from storewatchd.control.replay import Replay
from storewatchd.control.subscriptions import Subscriptions
from storewatchd.core.model import Event, EventType
from storewatchd.errors import InvalidParams
from storewatchd.journal import Gap, Journal
from storewatchd.monitor import Monitor


def handlers(
    monitor: Monitor,
    journal: Journal,
    subscriptions: Subscriptions,
    replay: Replay,
    whole: Callable[[], dict[str, Any]],
) -> Mapping[str, Handler]:
    """Return the methods of this noun. `whole` is the snapshot that a subscription may ask for."""

    def position(since: str) -> int | Gap:
        if not params.is_event_id(since):
            raise InvalidParams(f"since: expected the id of an event, found {since!r}")
        return journal.resolve_cursor(since)

    async def beginning(asked: params.EventsList) -> int | Gap | None:
        """Return the number after which a list begins, None where it is the newest events."""
        time = time_of("from", asked.from_)
        if asked.since is None:
            return None if time is None else await journal.resolve_time(time)
        if time is not None:
            raise InvalidParams("from: it does not go with since")
        return position(asked.since)

    def subscribe(call: Call, asked: params.EventsSubscribe) -> dict[str, Any]:
        since: int | None = None
        gap: Published | None = None
        if asked.since is not None:
            found = position(asked.since)
            if isinstance(found, Gap):
                since = found.oldest_kept - 1
                gap = _gap_event(monitor, asked.since, found)
            else:
                since = found
        wanted = parse_filter(asked.types, asked.severity)
        subscription_id, head = subscriptions.start(call, wanted, since=since, gap=gap)
        return {
            "subscription": subscription_id,
            "last_id": f"{journal.epoch}.{head}",
            "gap": gap is not None,
            "snapshot": whole() if asked.snapshot else None,
        }

    def unsubscribe(call: Call, asked: params.EventsUnsubscribe) -> bool:
        subscriptions.stop(call, asked.subscription)
        return True

    async def list_events(_: Call, asked: params.EventsList) -> dict[str, Any]:
        types = None if asked.types is None else frozenset(asked.types)
        after = await beginning(asked)
        if after is None:
            newest = await replay.newest(asked.limit, types=types)
            page = fitting(published.line for published in reversed(newest))[::-1]
        else:
            number = after.oldest_kept - 1 if isinstance(after, Gap) else after
            events = await replay.after(number, asked.limit, types=types)
            page = fitting(published.line for published in events)
        return {
            "events": page,
            "gap": isinstance(after, Gap),
        }

    return {
        "events.subscribe": subscribe,
        "events.unsubscribe": unsubscribe,
        "events.list": list_events,
    }


def _gap_event(monitor: Monitor, since: str, gap: Gap) -> Published:
    """Return the event that says that something was missed. Its number is that before the oldest
    event that is kept, so that a client that goes on from it misses nothing more."""
    return publishable(
        Event(
            epoch=monitor.epoch,
            seq=gap.oldest_kept - 1,
            node=monitor.node,
            time=monitor.now().wall,
            type=EventType.SYSTEM,
            kind="gap",
            data=msgspec.json.encode({"since": since, "reason": gap.reason}),
        )
    )
