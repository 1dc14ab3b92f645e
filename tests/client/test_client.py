"""The asynchronous client against a real peer: calls side by side, streams that go on."""

import asyncio
import json
import threading
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from fix_peer import Refusal, Silence, WirePeer, event, notice
from storewatch import stream as stream_module
from storewatch.client import MAX_IN_FLIGHT, Client
from storewatch.errors import CallError, ConnectionLost, ProtocolError, Unreachable
from storewatch.stream import EventStream
from storewatch.wire.types import Version


@pytest.fixture
def peer(tmp_path: Path) -> Iterator[WirePeer]:
    with WirePeer(tmp_path / "s") as peer:
        subscriptions = iter(range(1, 1000))

        def subscribe(params: dict[str, Any]) -> dict[str, Any]:
            return {
                "subscription": f"s{next(subscriptions)}",
                "last_id": params.get("since", "e.0"),
                "gap": False,
                "snapshot": {"is": "so"} if params.get("snapshot") else None,
            }

        peer.answers["events.subscribe"] = subscribe
        peer.answers["events.unsubscribe"] = lambda _: True
        yield peer


@pytest.fixture
async def client(peer: WirePeer) -> AsyncIterator[Client]:
    async with Client(str(peer.path)) as client:
        yield client


async def told(peer: WirePeer, line: bytes) -> None:
    await asyncio.to_thread(peer.tell, line)


async def read(stream: EventStream, count: int) -> list[int]:
    """Return the numbers of the next so many events."""
    heard: list[int] = []
    async for batch in stream:
        heard.extend(json.loads(bytes(raw))["seq"] for raw in batch)
        if len(heard) >= count:
            break
    return heard


async def test_the_first_call_connects(client: Client) -> None:
    answer = await client.call("daemon.version", type=Version)
    assert answer.node == "peer"
    assert client.is_connected


async def test_calls_are_answered_in_any_order(peer: WirePeer, client: Client) -> None:
    peer.answers["echo"] = lambda params: params["n"]
    answers = await asyncio.gather(
        *(client.call("echo", {"n": number}, type=int) for number in range(200))
    )
    assert answers == list(range(200))


async def test_raw_gives_the_results_own_bytes(peer: WirePeer, client: Client) -> None:
    peer.answers["echo"] = lambda params: {"later": [1, 2.5]}
    raw = await client.call("echo", type=msgspec.Raw)
    assert json.loads(bytes(raw)) == {"later": [1, 2.5]}


async def test_a_calls_own_token_wins_over_the_clients(peer: WirePeer) -> None:
    async with Client(str(peer.path), token="mine") as client:
        await client.call("daemon.version")
        await client.call("daemon.version", token="theirs")
    assert [one["auth"] for one in peer.requests] == ["mine", "theirs"]


async def test_no_more_calls_than_the_bound_wait_at_the_daemon(
    peer: WirePeer, client: Client
) -> None:
    def nothing(_: object) -> None:
        raise Silence

    peer.answers["slow"] = nothing
    async with asyncio.TaskGroup() as tasks:
        calls = [tasks.create_task(client.call("slow")) for _ in range(MAX_IN_FLIGHT + 5)]
        await asyncio.to_thread(peer.wait_for, "slow", MAX_IN_FLIGHT)
        # Round trips of another client: the peer has had every chance to hear of one more.
        async with Client(str(peer.path)) as other:
            await other.call("daemon.version")
        assert len(peer.wait_for("slow")) == MAX_IN_FLIGHT
        for call in calls:
            call.cancel()


async def test_a_call_that_waits_for_others_waits_no_longer_than_it_said(
    peer: WirePeer, client: Client
) -> None:
    def nothing(_: object) -> None:
        raise Silence

    peer.answers["slow"] = nothing
    async with asyncio.TaskGroup() as tasks:
        calls = [tasks.create_task(client.call("slow")) for _ in range(MAX_IN_FLIGHT)]
        await asyncio.to_thread(peer.wait_for, "slow", MAX_IN_FLIGHT)
        async with asyncio.timeout(10):
            with pytest.raises(ConnectionLost, match=r"health\.get: no answer within 0\.05 s"):
                await client.call("health.get", timeout_s=0.05)
        for call in calls:
            call.cancel()


async def test_a_result_of_another_shape_is_a_protocol_error(client: Client) -> None:
    with pytest.raises(ProtocolError, match=r"daemon\.version: the answer is of another kind"):
        await client.call("daemon.version", type=int)


async def test_silence_is_given_up_and_a_late_answer_harms_nothing(
    peer: WirePeer, client: Client
) -> None:
    gate = threading.Event()

    def late(_: object) -> str:
        gate.wait(10)
        return "late"

    peer.answers["late"] = late
    with pytest.raises(ConnectionLost, match=r"no answer within 0\.05 s"):
        await client.call("late", timeout_s=0.05)
    gate.set()
    assert (await client.call("daemon.version", type=Version)).node == "peer"


async def test_calls_while_the_daemon_is_away_say_why_at_once(tmp_path: Path) -> None:
    async with Client(str(tmp_path / "none")) as client:
        for _ in range(3):
            with pytest.raises(Unreachable, match="no such file or directory"):
                await client.call("daemon.version")


async def test_a_call_under_way_fails_when_the_daemon_goes(peer: WirePeer, client: Client) -> None:
    def leave(_: object) -> None:
        peer.hang_up()
        raise Silence

    peer.answers["leave"] = leave
    with pytest.raises(ConnectionLost, match="closed the connection"):
        await client.call("leave")
    assert (await client.call("daemon.version", type=Version)).node == "peer"


async def test_a_refused_connection_tells_the_daemons_reason(peer: WirePeer) -> None:
    refusal = {"id": None, "error": {"code": -32012, "message": "512 connections are open already"}}

    def refuse(_: object) -> None:
        peer.tell(json.dumps(refusal).encode() + b"\n")
        raise Silence

    peer.answers["daemon.version"] = refuse
    async with Client(str(peer.path)) as client:
        with pytest.raises(CallError, match="512 connections"):
            await client.call("daemon.version")


async def test_garbage_ends_the_connection_and_the_next_call_makes_another(
    peer: WirePeer, client: Client
) -> None:

    def garbage(_: object) -> None:
        peer.tell(b"SSH-2.0\n")
        raise Silence

    peer.answers["garbage"] = garbage
    with pytest.raises(ProtocolError, match="is no daemon"):
        await client.call("garbage")
    assert (await client.call("daemon.version", type=Version)).node == "peer"


async def test_events_in_the_same_piece_as_the_answer_are_not_lost(
    peer: WirePeer, client: Client
) -> None:
    await client.call("daemon.version")
    peer.behind = notice("s1", event(1), event(2))
    stream = await client.subscribe()
    assert await read(stream, 2) == [1, 2]


async def test_what_was_asked_for_reaches_the_daemon(peer: WirePeer, client: Client) -> None:
    await client.call("daemon.version")
    stream = await client.subscribe(
        types=["alert"], severity=["critical"], since="e.7", snapshot=True, token="t"
    )
    assert peer.wait_for("events.subscribe") == [
        {"types": ["alert"], "severity": ["critical"], "since": "e.7", "snapshot": True}
    ]
    assert peer.requests[-1]["auth"] == "t"
    assert stream.snapshot == {"is": "so"}


async def test_a_stream_goes_on_after_the_last_event_when_the_daemon_comes_back(
    peer: WirePeer, client: Client
) -> None:
    await client.call("daemon.version")
    stream = await client.subscribe(types=["alert"])
    await told(peer, notice("s1", event(1), event(2)))
    assert await read(stream, 2) == [1, 2]
    await asyncio.to_thread(peer.stop)
    peer.start()
    (_, again) = await asyncio.to_thread(peer.wait_for, "events.subscribe", 2)
    assert again == {"types": ["alert"], "since": "e.2", "snapshot": False}
    await told(peer, notice("s2", event(3)))
    assert await read(stream, 1) == [3]


async def test_a_stream_that_heard_nothing_resumes_from_where_it_began(
    peer: WirePeer, client: Client
) -> None:
    await client.call("daemon.version")
    await client.subscribe()
    peer.hang_up()
    (_, again) = await asyncio.to_thread(peer.wait_for, "events.subscribe", 2)
    assert again["since"] == "e.0"


async def test_a_stream_may_wait_for_its_daemon(tmp_path: Path, peer: WirePeer) -> None:
    await asyncio.to_thread(peer.stop)
    async with Client(str(peer.path)) as client:
        stream = await client.subscribe()
        peer.start()
        await asyncio.to_thread(peer.wait_for, "events.subscribe")
        await told(peer, notice("s1", event(1)))
        assert await read(stream, 1) == [1]


async def test_losses_and_returns_are_each_told_once(peer: WirePeer) -> None:
    heard: asyncio.Queue[str | None] = asyncio.Queue()
    async with Client(str(peer.path), on_change=heard.put_nowait) as client:
        await client.call("daemon.version")
        assert await heard.get() is None
        await asyncio.to_thread(peer.stop)
        assert "closed the connection" in str(await heard.get())
        for _ in range(3):
            with pytest.raises(Unreachable):
                await client.call("daemon.version")
        assert heard.empty()
        peer.start()
        await client.wait_connected()
        assert await heard.get() is None


async def test_a_reader_that_was_too_slow_catches_up_without_a_gap(
    peer: WirePeer, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stream_module, "STREAM_LIMIT", 3)
    await client.call("daemon.version")
    stream = await client.subscribe()
    await told(peer, notice("s1", *(event(number) for number in range(1, 6))))
    await client.call("daemon.version")  # Behind the events: they have all arrived.
    assert await read(stream, 3) == [1, 2, 3]
    async with asyncio.TaskGroup() as tasks:
        rest = tasks.create_task(read(stream, 2))
        (_, again) = await asyncio.to_thread(peer.wait_for, "events.subscribe", 2)
        assert again["since"] == "e.3"
        await told(peer, notice("s2", event(4), event(5)))
    assert rest.result() == [4, 5]


async def test_a_stream_whose_token_was_revoked_ends_with_the_reason(
    peer: WirePeer, client: Client
) -> None:
    await client.call("daemon.version")
    stream = await client.subscribe(token="t")
    end = {"method": "end", "params": {"subscription": "s1", "reason": "the token was revoked"}}
    await told(peer, notice("s1", event(1)) + json.dumps(end).encode() + b"\n")
    assert await read(stream, 1) == [1]
    with pytest.raises(ConnectionLost, match="the token was revoked"):
        await read(stream, 1)


async def test_a_stream_that_may_not_resume_ends_with_the_refusal(
    peer: WirePeer, client: Client
) -> None:
    await client.call("daemon.version")
    stream = await client.subscribe(token="t")

    def refuse(_: object) -> None:
        raise Refusal(-32001, "the bearer token is unknown, expired or revoked")

    peer.answers["events.subscribe"] = refuse
    peer.hang_up()
    with pytest.raises(CallError, match="bearer token"):
        await read(stream, 1)


async def test_a_closed_stream_is_ended_at_the_daemon_too(peer: WirePeer, client: Client) -> None:
    await client.call("daemon.version")
    stream = await client.subscribe()
    await stream.close()
    assert await asyncio.to_thread(peer.wait_for, "events.unsubscribe") == [{"subscription": "s1"}]
    with pytest.raises(ConnectionLost, match="was closed"):
        await read(stream, 1)
