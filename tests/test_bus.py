"""Events to subscribers: in order, bounded, filtered, and gone without a trace."""

import asyncio
import json
from dataclasses import replace

import pytest

from fakes import NOON
from storewatchd.bus import Bus, Filter, Published, Subscription, parse_filter, publishable
from storewatchd.core.model import Event, EventType, Severity

ALL = Filter()


def event(
    seq: int, event_type: EventType = EventType.SYSTEM, severity: Severity | None = None
) -> Published:
    return publishable(Event("e", seq, "node", NOON, event_type, "noted", b'{"n":1}'), severity)


def metrics(seq: int) -> Published:
    return event(seq, EventType.METRICS)


async def numbers(subscription: Subscription) -> list[int]:
    return [published.event.seq for published in await subscription.batch()]


async def publish(bus: Bus, *events: Published) -> None:
    bus.publish(events)


async def end(subscription: Subscription, reason: str) -> None:
    subscription.end(reason)


def test_an_event_is_rendered_as_every_client_gets_it() -> None:
    assert json.loads(event(7).line) == {
        "id": "e.7",
        "seq": 7,
        "node": "node",
        "timestamp": "2026-01-01T12:00:00.000Z",
        "type": "system",
        "kind": "noted",
        "data": {"n": 1},
    }


def test_an_event_says_that_it_is_not_on_disk_only_where_it_should_be() -> None:
    plain = event(7).event
    told = publishable(replace(plain, unjournalled=True))
    assert json.loads(told.line) == {**json.loads(event(7).line), "unjournalled": True}


def test_what_was_told_is_counted_by_type_and_kind() -> None:
    bus = Bus(4)
    bus.publish([event(5), event(6), metrics(7)])
    assert bus.told == {("system", "noted"): 2, ("metrics", "noted"): 1}


async def test_the_longest_queue_is_that_of_whom_most_waits_for() -> None:
    bus = Bus(4)
    lengths = [bus.longest_queue()]
    quick, slow = bus.subscribe(ALL), bus.subscribe(ALL)
    bus.publish([event(5), event(6)])
    await quick.batch()
    bus.publish([event(7)])
    lengths.append(bus.longest_queue())
    slow.end("gone")
    lengths.append(bus.longest_queue())
    assert lengths == [0, 3, 1]


async def test_everybody_gets_the_events_in_their_order() -> None:
    bus = Bus(4)
    both = [bus.subscribe(ALL), bus.subscribe(ALL)]
    bus.publish([event(5), event(6)])
    bus.publish([event(9)])
    assert [await numbers(one) for one in both] == [[5, 6, 9], [5, 6, 9]]
    assert bus.last_seq == 9


async def test_a_subscription_begins_with_the_next_event() -> None:
    bus = Bus(0)
    bus.publish([event(1)])
    subscription = bus.subscribe(ALL)
    bus.publish([event(2)])
    assert await numbers(subscription) == [2]


async def test_what_was_read_is_not_read_again() -> None:
    bus = Bus(0)
    subscription = bus.subscribe(ALL)
    bus.publish([event(1)])
    assert await numbers(subscription) == [1]
    bus.publish([event(2)])
    assert await numbers(subscription) == [2]


async def test_a_reader_that_waits_is_woken_by_an_event() -> None:
    bus = Bus(0)
    subscription = bus.subscribe(ALL)
    heard, _ = await asyncio.gather(numbers(subscription), publish(bus, event(1)))
    assert heard == [1]


async def test_a_reader_that_waits_is_woken_by_the_end() -> None:
    subscription = Bus(0).subscribe(ALL)
    heard, _ = await asyncio.gather(numbers(subscription), end(subscription, "enough"))
    assert heard == []


async def test_an_event_that_nobody_waits_for_wakes_nobody() -> None:
    bus = Bus(0)
    subscription = bus.subscribe(parse_filter(["alert"], None))
    heard, *_ = await asyncio.gather(
        numbers(subscription), publish(bus, event(1)), publish(bus, event(2, EventType.ALERT))
    )
    assert heard == [2]


@pytest.mark.parametrize(
    ("types", "severities", "admitted"),
    [
        pytest.param(None, None, [1, 2, 3], id="no filter"),
        pytest.param(["alert"], None, [1, 2], id="type"),
        pytest.param(None, ["critical"], [2, 3], id="severity is of alerts only"),
        pytest.param(["alert"], ["critical", "info"], [2], id="both"),
        pytest.param(["alert", "system"], ["info"], [3], id="severity of no alert"),
        pytest.param([], None, [], id="no type"),
    ],
)
async def test_a_filter_admits_by_type_and_severity(
    types: list[str] | None, severities: list[str] | None, admitted: list[int]
) -> None:
    events = [
        event(1, EventType.ALERT, Severity.WARNING),
        event(2, EventType.ALERT, Severity.CRITICAL),
        event(3),
    ]
    wanted = parse_filter(types, severities)
    assert [one.event.seq for one in events if wanted.admits(one)] == admitted


async def test_where_there_is_no_room_metrics_give_way_and_the_newest_wins() -> None:
    bus = Bus(0)
    subscription = bus.subscribe(ALL, limit=3)
    bus.publish([metrics(1), event(2), metrics(3), metrics(4)])
    assert await numbers(subscription) == [2, 4]
    assert subscription.ended is None


async def test_metrics_cost_nobody_the_place_of_another_event() -> None:
    bus = Bus(0)
    subscription = bus.subscribe(ALL, limit=2)
    bus.publish([event(1), event(2), metrics(3)])
    assert subscription.ended is None
    assert await numbers(subscription) == [1, 2]


async def test_who_is_too_slow_is_cut_off_with_a_reason_and_slows_nobody() -> None:
    bus = Bus(0)
    slow, quick = bus.subscribe(ALL, limit=2), bus.subscribe(ALL)
    bus.publish([event(1), event(2), event(3)])
    assert slow.ended == "too slow: 2 events were waiting"
    assert await numbers(slow) == []
    assert await numbers(quick) == [1, 2, 3]


async def test_an_event_that_is_not_wanted_takes_no_room() -> None:
    bus = Bus(0)
    subscription = bus.subscribe(parse_filter(["alert"], None), limit=1)
    bus.publish([event(1), event(2, EventType.ALERT), event(3)])
    assert await numbers(subscription) == [2]


async def test_an_ended_subscription_leaves_nothing_behind() -> None:
    bus = Bus(0)
    subscription = bus.subscribe(ALL)
    bus.publish([event(1)])
    subscription.end("unsubscribed")
    assert len(bus) == 0
    assert await numbers(subscription) == []
    subscription.offer(event(2))
    assert await numbers(subscription) == []


def test_the_first_reason_for_an_end_stays() -> None:
    subscription = Bus(0).subscribe(ALL)
    subscription.end("the token was revoked")
    subscription.end("closed")
    assert subscription.ended == "the token was revoked"


async def test_closing_the_bus_ends_every_subscription() -> None:
    bus = Bus(0)
    subscriptions = [bus.subscribe(ALL), bus.subscribe(ALL)]
    bus.close("the daemon stops")
    assert [one.ended for one in subscriptions] == ["the daemon stops"] * 2
    assert len(bus) == 0


async def test_one_that_ends_while_an_event_is_handed_out_costs_no_other_its_event() -> None:
    bus = Bus(0)
    subscriptions = [bus.subscribe(ALL, limit=limit) for limit in (1, 1, 5)]
    bus.publish([event(1), event(2)])
    assert [one.ended is None for one in subscriptions] == [False, False, True]
    assert await numbers(subscriptions[2]) == [1, 2]
