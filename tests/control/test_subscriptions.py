"""Subscriptions of connections: from where each left off, to its end, and nothing left behind."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from control.fix_control import Control, open_control
from control.fix_wire import Wire
from fakes import NOON
from fix_node import Node, open_node
from fix_records import stored
from storewatch.wire.methods import METHODS
from storewatchd.bus import QUEUE_EVENTS, Filter, Published, parse_filter, publishable
from storewatchd.control import subscriptions as subscriptions_module
from storewatchd.control.connection import Connection
from storewatchd.control.dispatch import Call, Dispatcher
from storewatchd.control.replay import Replay, published_of
from storewatchd.control.subscriptions import MAX_SUBSCRIPTIONS, Subscriptions
from storewatchd.core.model import Event, EventType, Severity
from storewatchd.core.permissions import EVERYTHING, Caller
from storewatchd.errors import LimitReached, NotFound
from storewatchd.journal import Record, StoredRecord

ALL = Filter()


class Bench:
    """Subscriptions over a journal and a bus that a test writes itself."""

    def __init__(self, tasks: asyncio.TaskGroup, node: Node) -> None:
        self.tasks = tasks
        self.node = node
        self.bad_tokens: set[str] = set()
        self.unwritten: list[StoredRecord] = []
        self.subscriptions = Subscriptions(
            node.bus,
            Replay(node.journal, unwritten=lambda: self.unwritten),
            is_good=lambda token_id: token_id not in self.bad_tokens,
        )
        self.work: list[asyncio.Task[None]] = []

    def connect(self, token_id: str | None = None) -> tuple[Call, Wire]:
        """Return a caller on a connection of its own."""
        wire = Wire()
        caller = Caller("root" if token_id is None else "token test", EVERYTHING, token_id)
        connection = Connection(
            Dispatcher(dict.fromkeys(METHODS, _never), _never),
            admit=lambda connection, transport: caller,
            spawn=self._spawn,
            closed=lambda connection: None,
        )
        connection.connection_made(wire)
        return Call(caller, connection), wire

    def _spawn(self, work: Any) -> asyncio.Task[None]:
        task = self.tasks.create_task(work)
        self.work.append(task)
        return task

    async def write(self, count: int, event_type: EventType = EventType.SYSTEM) -> list[int]:
        """Write events, and publish what was written; return their numbers."""
        numbers = await self.node.journal.numbers(count)
        records = [Record(seq, NOON, event_type.value, "noted", b"{}") for seq in numbers]
        await self.node.journal.append(records, [])
        self.node.bus.publish([self.event(seq, event_type) for seq in numbers])
        return list(numbers)

    def event(self, seq: int, event_type: EventType = EventType.SYSTEM) -> Published:
        journal = self.node.journal
        return publishable(
            Event(journal.epoch, seq, journal.node, NOON, event_type, "noted", b"{}")
        )

    async def ended(self) -> None:
        """Wait until every subscription is over."""
        await asyncio.wait(self.work)

    async def end(self, call: Call) -> None:
        """End a caller's connection; return when its subscriptions are over."""
        call.connection.connection_lost(None)
        await self.ended()


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    async with open_node(tmp_path) as node, asyncio.TaskGroup() as tasks:
        bench = Bench(tasks, node)
        yield bench
        node.bus.close("the test is over")


def _never(*_: Any) -> Any:
    raise AssertionError("nothing is called")


async def numbers(wire: Wire, count: int) -> list[int]:
    """Return the numbers of the first so many events that were written, once they are."""
    async with asyncio.timeout(10):
        while True:
            found = [
                line["params"]["event"]["seq"] for line in wire.lines if line["method"] == "event"
            ]
            if len(found) >= count:
                return found
            await wire.wrote()


# From where it left off.


async def test_an_event_is_told_with_its_subscription(bench: Bench) -> None:
    call, wire = bench.connect()
    subscription, head = bench.subscriptions.start(call, ALL, since=None, gap=None)
    (seq,) = await bench.write(1)
    await numbers(wire, 1)
    assert head < seq
    assert wire.lines == [
        {
            "jsonrpc": "2.0",
            "method": "event",
            "params": {"subscription": subscription, "event": json.loads(bench.event(seq).line)},
        }
    ]


async def test_nothing_is_told_before_the_answer_to_the_call(bench: Bench) -> None:
    seen = await bench.write(3)
    call, wire = bench.connect()
    bench.subscriptions.start(call, ALL, since=seen[0], gap=bench.event(seen[-1]))
    assert wire.written == []
    assert await numbers(wire, 3) == [seen[2], seen[1], seen[2]]


async def test_what_was_missed_is_told_in_pages_and_what_happens_meanwhile_after(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(subscriptions_module, "REPLAY_PAGE", 2)
    missed = await bench.write(7)
    call, wire = bench.connect()
    bench.subscriptions.start(call, ALL, since=0, gap=None)
    live = await bench.write(3)
    assert await numbers(wire, 10) == [*missed, *live]


async def test_what_is_not_wanted_or_not_told_is_left_out_of_what_was_missed(
    bench: Bench,
) -> None:
    await bench.write(1)
    (wanted,) = await bench.write(1, EventType.STORAGE)
    (audited,) = await bench.node.journal.numbers(1)
    await bench.node.journal.append([Record(audited, NOON, "audit", "x", b"{}", event=False)], [])
    await bench.write(1)
    call, wire = bench.connect()
    bench.subscriptions.start(call, parse_filter(["storage"], None), since=0, gap=None)
    (live,) = await bench.write(1, EventType.STORAGE)
    assert await numbers(wire, 2) == [wanted, live]


async def test_what_was_missed_and_is_not_on_disk_yet_is_told_after_what_is(bench: Bench) -> None:
    await bench.write(2)
    taken = await bench.node.journal.numbers(2)
    bench.unwritten = [stored(seq, epoch=bench.node.journal.epoch) for seq in taken]
    bench.node.bus.publish([bench.event(seq) for seq in taken])
    call, wire = bench.connect()
    bench.subscriptions.start(call, ALL, since=0, gap=None)
    assert await numbers(wire, 4) == [1, 2, 3, 4]
    told = [one["params"]["event"] for one in wire.lines]
    assert [(one["seq"], one.get("unjournalled", False)) for one in told] == [
        *((1, False), (2, False), (3, True), (4, True))
    ]


async def test_a_record_of_a_round_that_is_not_published_yet_is_told_once(bench: Bench) -> None:
    (missed,) = await bench.write(1)
    (seq,) = await bench.node.journal.numbers(1)
    await bench.node.journal.append([Record(seq, NOON, "system", "noted", b"{}")], [])
    call, wire = bench.connect()
    bench.subscriptions.start(call, ALL, since=0, gap=None)
    bench.node.bus.publish([bench.event(seq)])
    (after,) = await bench.write(1)
    assert await numbers(wire, 3) == [missed, seq, after]


async def test_numbers_that_were_never_written_end_no_replay_early(bench: Bench) -> None:
    (missed,) = await bench.write(1)
    # Metrics take numbers and are told, and never written.
    unwritten = await bench.node.journal.numbers(5)
    bench.node.bus.publish([bench.event(seq, EventType.METRICS) for seq in unwritten])
    call, wire = bench.connect()
    bench.subscriptions.start(call, ALL, since=0, gap=None)
    (live,) = await bench.write(1)
    assert await numbers(wire, 2) == [missed, live]


async def test_an_alert_is_told_from_the_journal_as_it_was_from_the_bus(tmp_path: Path) -> None:
    async with open_control(tmp_path) as control:
        told = control.node.hear(EventType.ALERT)
        await control.call("alerts.create", severity="critical", source="test", title="Fan")
        (published,) = await told.batch()
        (record, _) = await control.node.records()
    assert published_of(record) == published
    assert published.severity is Severity.CRITICAL


# Bounds.


async def test_a_connection_may_hold_so_many_subscriptions(bench: Bench) -> None:
    call, _ = bench.connect()
    for _ in range(MAX_SUBSCRIPTIONS):
        bench.subscriptions.start(call, ALL, since=None, gap=None)
    with pytest.raises(LimitReached, match=f"has {MAX_SUBSCRIPTIONS} subscriptions already"):
        bench.subscriptions.start(call, ALL, since=None, gap=None)
    other, _ = bench.connect()
    bench.subscriptions.start(other, ALL, since=None, gap=None)
    assert len(bench.subscriptions) == MAX_SUBSCRIPTIONS + 1


async def test_a_client_that_takes_nothing_is_told_nothing_more(bench: Bench) -> None:
    call, wire = bench.connect()
    bench.subscriptions.start(call, ALL, since=None, gap=None)
    call.connection.pause_writing()
    (first,) = await bench.write(1)
    await numbers(wire, 1)
    # While the second is written the first could have been told.
    rest = [*await bench.write(1), *await bench.write(1)]
    assert await numbers(wire, 1) == [first]
    call.connection.resume_writing()
    assert await numbers(wire, 3) == [first, *rest]


async def test_a_replay_waits_for_a_client_that_takes_nothing(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(subscriptions_module, "REPLAY_PAGE", 2)
    missed = await bench.write(5)
    call, wire = bench.connect()
    call.connection.pause_writing()
    bench.subscriptions.start(call, ALL, since=0, gap=None)
    await numbers(wire, 2)
    # While this is written the next page could have been read and told.
    live = await bench.write(1)
    assert await numbers(wire, 2) == missed[:2]
    call.connection.resume_writing()
    assert await numbers(wire, 6) == [*missed, *live]


async def test_who_is_too_slow_is_cut_off_with_the_reason(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "storewatchd.control.subscriptions")
    call, wire = bench.connect()
    subscription, head = bench.subscriptions.start(call, ALL, since=None, gap=None)
    bench.node.bus.publish([bench.event(head + 1 + n) for n in range(QUEUE_EVENTS + 1)])
    await bench.ended()
    reason = f"too slow: {QUEUE_EVENTS} events were waiting"
    assert wire.lines == [
        {
            "jsonrpc": "2.0",
            "method": "end",
            "params": {"subscription": subscription, "reason": reason},
        }
    ]
    assert caplog.messages == [f"subscription {subscription} of root ended: {reason}"]


# Ends.


async def test_who_ends_a_subscription_hears_nothing_of_it(bench: Bench) -> None:
    call, wire = bench.connect()
    subscription, _ = bench.subscriptions.start(call, ALL, since=None, gap=None)
    bench.subscriptions.stop(call, subscription)
    await bench.ended()
    await bench.write(1)
    assert wire.written == []
    assert (len(bench.subscriptions), len(bench.node.bus)) == (0, 0)


async def test_nobody_ends_anothers_subscription(bench: Bench) -> None:
    call, _ = bench.connect()
    subscription, _ = bench.subscriptions.start(call, ALL, since=None, gap=None)
    other, _ = bench.connect()
    with pytest.raises(NotFound, match=f"this connection has no subscription '{subscription}'"):
        bench.subscriptions.stop(other, subscription)
    with pytest.raises(NotFound, match="has no subscription 's99'"):
        bench.subscriptions.stop(call, "s99")
    assert len(bench.subscriptions) == 1


async def test_a_connection_that_is_gone_leaves_nothing_behind(bench: Bench) -> None:
    gone, _ = bench.connect()
    stays, wire = bench.connect()
    bench.subscriptions.start(gone, ALL, since=None, gap=None)
    bench.subscriptions.start(gone, ALL, since=0, gap=None)
    bench.subscriptions.start(stays, ALL, since=None, gap=None)
    (seq,) = await bench.write(1)
    await numbers(wire, 1)
    gone.connection.connection_lost(None)
    await asyncio.wait(bench.work[:2])
    assert (len(bench.subscriptions), len(bench.node.bus)) == (1, 1)
    (after,) = await bench.write(1)
    assert await numbers(wire, 2) == [seq, after]


async def test_a_revoked_token_ends_its_subscriptions_at_once_and_no_others(bench: Bench) -> None:
    revoked, wire = bench.connect("t1")
    other, _ = bench.connect("t2")
    subscription, _ = bench.subscriptions.start(revoked, ALL, since=None, gap=None)
    bench.subscriptions.start(other, ALL, since=None, gap=None)
    bench.subscriptions.end_for_token("t1", "the token was revoked")
    await asyncio.wait(bench.work[:1])
    assert [line["params"] for line in wire.lines] == [
        {"subscription": subscription, "reason": "the token was revoked"}
    ]
    assert len(bench.subscriptions) == 1


async def test_a_token_that_is_revoked_ends_what_was_missed_too(bench: Bench) -> None:
    await bench.write(3)
    call, wire = bench.connect("t1")
    bench.subscriptions.start(call, ALL, since=0, gap=None)
    bench.subscriptions.end_for_token("t1", "the token was revoked")
    await bench.ended()
    assert [line["method"] for line in wire.lines] == ["end"]


async def test_a_token_that_is_over_is_told_no_further_event(bench: Bench) -> None:
    call, wire = bench.connect("t1")
    bench.subscriptions.start(call, ALL, since=None, gap=None)
    bench.bad_tokens.add("t1")
    await bench.write(1)
    await bench.ended()
    (line,) = wire.lines
    assert line["params"]["reason"] == "the token has expired or was revoked"


async def test_a_daemon_that_stops_says_so(bench: Bench) -> None:
    call, wire = bench.connect()
    bench.subscriptions.start(call, ALL, since=None, gap=None)
    bench.node.bus.close("the daemon stops")
    await bench.ended()
    (line,) = wire.lines
    assert line["params"]["reason"] == "the daemon stops"


async def test_a_journal_that_cannot_be_read_ends_the_subscription_and_nothing_else(
    bench: Bench,
) -> None:
    await bench.write(1)
    call, wire = bench.connect()
    bench.subscriptions.start(call, ALL, since=0, gap=None)
    await bench.node.journal.close()
    await bench.ended()
    (line,) = wire.lines
    assert line["method"] == "end"
    assert line["params"]["reason"] == "what was missed cannot be read: the journal is closed"
    assert len(bench.subscriptions) == 0


# Over the socket.


async def test_a_token_is_judged_again_at_each_event(control: Control) -> None:
    _, secret = await control.token("monitoring:read", ttl=60)
    await control.call("events.subscribe", auth=secret, types=["alert"])
    control.node.clock.forward(60)
    await control.call("alerts.create", severity="info", source="test", title="Fan")
    assert (await control.end())["reason"] == "the token has expired or was revoked"


async def test_a_token_that_is_revoked_over_the_socket_ends_its_subscription(
    control: Control,
) -> None:
    token_id, secret = await control.token("monitoring:read")
    await control.call("events.subscribe", auth=secret, types=["alert"])
    await control.call("tokens.revoke", id=token_id)
    assert (await control.end())["reason"] == "the token was revoked"
