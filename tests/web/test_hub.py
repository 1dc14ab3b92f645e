"""WebSocket clients: what they get, what they filter, and how they end."""

import asyncio
import json
import socket
from typing import Any

import aiohttp
import pytest
from aiohttp import WSMsgType

from storewatch_web.member import BUFFER_BYTES
from system.appliance import Appliance
from web.conftest import Sidecar, serving


async def create(daemon: Appliance, title: str, severity: str = "info", message: str = "") -> str:
    """Make an alert, which is an event; return its id."""
    made = await asyncio.to_thread(
        daemon.call,
        "alerts.create",
        severity=severity,
        source="test",
        title=title,
        message=message,
    )
    return str(made["id"])


async def token(daemon: Appliance, *permissions: str, name: str = "other") -> tuple[str, str]:
    """Return a fresh token's id and secret."""
    made = await asyncio.to_thread(
        daemon.call, "tokens.create", name=name, permissions=list(permissions)
    )
    return str(made["token"]["id"]), str(made["secret"])


async def next_event(events: aiohttp.ClientWebSocketResponse) -> dict[str, Any]:
    while True:
        message = await events.receive(timeout=10)
        if message.type is WSMsgType.PING:
            continue
        assert message.type is WSMsgType.TEXT, message
        event: dict[str, Any] = json.loads(message.data)
        return event


async def next_alert(events: aiohttp.ClientWebSocketResponse) -> str:
    """Return the title of the next alert event."""
    while True:
        event = await next_event(events)
        if event["type"] == "alert":
            return str(event["data"]["title"])


async def until(what: str, holds: Any) -> None:
    """Wait for something of this process that nothing announces."""
    async with asyncio.timeout(10):
        while not holds():  # noqa: ASYNC110  there is no event to await
            await asyncio.sleep(0.01)


async def test_what_happens_after_the_upgrade_is_never_missed(
    sidecar: Sidecar, daemon: Appliance
) -> None:
    # A fresh hub each time: the first client of a feed is the one that could miss something.
    for number in range(5):
        async with sidecar.events("?types=alert") as events:
            await create(daemon, f"first {number}")
            assert await next_alert(events) == f"first {number}"
        await until("the feed's end", lambda: len(sidecar.hub) == 0)


async def test_a_message_has_the_agreed_members(sidecar: Sidecar, daemon: Appliance) -> None:
    async with sidecar.events("?types=alert") as events:
        alert_id = await create(daemon, "shape")
        event = await next_event(events)
    assert set(event) == {"id", "seq", "node", "timestamp", "type", "kind", "data"}
    assert (event["type"], event["kind"], event["data"]["id"]) == ("alert", "firing", alert_id)
    assert event["id"].endswith(f".{event['seq']}")


async def test_filters_by_type_and_severity_combine(sidecar: Sidecar, daemon: Appliance) -> None:
    async with sidecar.events("?types=alert&severity=critical,warning") as events:
        for severity in ("info", "warning", "critical"):
            await create(daemon, severity, severity)
        assert [await next_alert(events) for _ in range(2)] == ["warning", "critical"]


async def test_since_tells_what_was_missed_and_goes_on_without_gap_or_repeat(
    sidecar: Sidecar, daemon: Appliance
) -> None:
    async with sidecar.events("?types=alert") as events:
        await create(daemon, "seen")
        last = (await next_event(events))["id"]
    # More than a page of the replay, so that live events come while it is under way.
    titles = [f"missed {number}" for number in range(1200)]
    await asyncio.to_thread(_create_many, daemon, titles)
    got: list[str] = []
    async with sidecar.events(f"?types=alert&since={last}") as events:
        more = [f"live {number}" for number in range(50)]
        making = asyncio.ensure_future(asyncio.to_thread(_create_many, daemon, more))
        while len(got) < len(titles) + len(more):
            got.append(await next_alert(events))
        await making
    assert got == titles + more


def _create_many(daemon: Appliance, titles: list[str]) -> None:
    for title in titles:
        daemon.call("alerts.create", severity="info", source="test", title=title)


async def test_a_cursor_that_is_not_kept_gives_a_gap_first(
    sidecar: Sidecar, daemon: Appliance
) -> None:
    async with sidecar.events("?types=alert&since=0123.7") as events:
        gap = await next_event(events)
    assert (gap["type"], gap["kind"]) == ("system", "gap")
    assert gap["data"]["since"] == "0123.7"


async def test_a_restart_of_the_daemon_is_bridged_without_gap_or_repeat(
    sidecar: Sidecar, daemon: Appliance
) -> None:
    async with sidecar.events("?types=alert") as events:
        await create(daemon, "before")
        assert await next_alert(events) == "before"
        await asyncio.to_thread(daemon.kill)
        await asyncio.to_thread(daemon.start)
        for number in range(3):
            await create(daemon, f"after {number}")
        assert [await next_alert(events) for _ in range(3)] == ["after 0", "after 1", "after 2"]


async def test_a_revoked_token_ends_its_connections_at_once_and_no_others(
    sidecar: Sidecar, daemon: Appliance
) -> None:
    revoked, secret = await token(daemon, "monitoring:read")
    _, kept = await token(daemon, "monitoring:read")
    async with (
        sidecar.events("?types=alert", token=secret) as ending,
        sidecar.events("?types=alert", token=kept) as going_on,
    ):
        await asyncio.to_thread(daemon.call, "tokens.revoke", id=revoked)
        message = await ending.receive(timeout=10)
        assert (message.type, message.data) == (WSMsgType.CLOSE, 1008)
        # The revoked one may have been the one on whose behalf the daemon was followed.
        titles = [f"on {number}" for number in range(3)]
        for title in titles:
            await create(daemon, title)
        assert [await next_alert(going_on) for _ in range(3)] == titles


async def test_who_does_not_answer_pings_is_closed_and_who_does_stays(daemon: Appliance) -> None:
    _, secret = await token(daemon, "monitoring:read")
    async with (
        serving(daemon, token=secret, ping_s=0.1, timeout_s=0.5) as sidecar,
        sidecar.events("?types=alert") as silent,
        sidecar.session.ws_connect(
            f"{sidecar.url}/api/v1/monitoring/events?types=alert", headers=sidecar.headers
        ) as answering,
    ):
        listening = asyncio.ensure_future(answering.receive(timeout=10))
        while (message := await silent.receive(timeout=10)).type is WSMsgType.PING:
            pass
        assert (message.type, message.data) == (WSMsgType.CLOSE, 1008)
        await create(daemon, "still there")
        assert json.loads((await listening).data)["data"]["title"] == "still there"


async def test_a_client_that_never_reads_is_cut_off_and_slows_nobody(
    sidecar: Sidecar, daemon: Appliance
) -> None:
    stuck = await asyncio.to_thread(_upgrade, sidecar)
    try:
        async with sidecar.events("?types=alert") as events:
            count = 3 * BUFFER_BYTES // 60_000 + 12
            for number in range(count):
                await create(daemon, f"large {number}", message="x" * 60_000)
                assert await next_alert(events) == f"large {number}"
            await until("the slow client's end", lambda: len(sidecar.hub) == 1)
    finally:
        stuck.close()


def _upgrade(sidecar: Sidecar) -> socket.socket:
    """Open a WebSocket whose reader takes nothing after the upgrade."""
    host, _, port = sidecar.url.removeprefix("http://").partition(":")
    connection = socket.socket()
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    connection.settimeout(10)
    connection.connect((host, int(port)))
    connection.sendall(
        b"GET /api/v1/monitoring/events HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\n"
        b"Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
        b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n"
        b"Authorization: Bearer " + sidecar.token.encode() + b"\r\n\r\n"
    )
    assert connection.recv(12) == b"HTTP/1.1 101"
    return connection


async def test_a_slow_client_gets_all_that_it_missed(sidecar: Sidecar, daemon: Appliance) -> None:
    async with sidecar.events("?types=alert") as events:
        await create(daemon, "start")
        last = (await next_event(events))["id"]
    count = 8 * BUFFER_BYTES // 60_000
    for number in range(count):
        await create(daemon, f"much {number}", message="x" * 60_000)
    # Far more than the bound of a live client: the replay waits for the reader instead.
    async with sidecar.events(f"?types=alert&since={last}") as events:
        assert [await next_alert(events) for _ in range(count)] == [
            f"much {number}" for number in range(count)
        ]


async def test_closed_connections_leave_nothing_behind(sidecar: Sidecar, daemon: Appliance) -> None:
    before = len(asyncio.all_tasks())
    for abrupt in (False, True):
        async with sidecar.events() as events:
            await create(daemon, "one")
            await next_event(events)
            if abrupt:
                connection = events._response.connection
                assert connection is not None
                assert connection.transport is not None
                connection.transport.abort()
    await until("the end of both", lambda: len(sidecar.hub) == 0)
    await until("the end of their tasks", lambda: len(asyncio.all_tasks()) <= before)


async def test_a_token_without_the_permission_is_refused(
    sidecar: Sidecar, daemon: Appliance
) -> None:
    _, secret = await token(daemon, "monitoring:write")
    with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
        await sidecar.events(token=secret)
    assert refused.value.status == 403


@pytest.mark.parametrize(
    ("query", "status"),
    [
        pytest.param("?types=nonsense", 400, id="unknown type"),
        pytest.param("?severity=bad", 400, id="unknown severity"),
        pytest.param("?bogus=1", 400, id="unknown parameter"),
        pytest.param("?ticket=wrong", 401, id="unknown ticket"),
    ],
)
async def test_a_wrong_query_is_refused_before_the_upgrade(
    sidecar: Sidecar, query: str, status: int
) -> None:
    with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
        await sidecar.events(query)
    assert refused.value.status == status


async def test_a_ticket_opens_one_connection(sidecar: Sidecar, daemon: Appliance) -> None:
    status, answer = await sidecar.ask("/api/v1/auth/ticket", method="POST")
    assert status == 201
    url = f"{sidecar.url}/api/v1/monitoring/events?types=alert&ticket={answer['ticket']}"
    async with sidecar.session.ws_connect(url) as events:
        await create(daemon, "by ticket")
        assert await next_alert(events) == "by ticket"
    with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
        await sidecar.session.ws_connect(url)
    assert refused.value.status == 401
