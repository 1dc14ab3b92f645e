"""Every route from outside: its statuses, its shapes, and what bad input gets."""

import asyncio
import io
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from storewatch_web import query
from system.appliance import Appliance
from web.conftest import Sidecar, serving

ALERTS = "/api/v1/monitoring/alerts"
UNKNOWN_ID = "01a20be3-0098-777f-9238-04b609748277"


async def create(sidecar: Sidecar, **more: Any) -> dict[str, Any]:
    status, alert = await sidecar.ask(
        ALERTS, method="POST", json={"severity": "info", "source": "test", "title": "t", **more}
    )
    assert status == 201
    made: dict[str, Any] = alert
    return made


async def token(daemon: Appliance, *permissions: str) -> str:
    return await asyncio.to_thread(daemon.token, *permissions)


@pytest.mark.parametrize("path", ["/", "/livez", "/readyz", "/api/v1/health"])
async def test_these_need_no_token(sidecar: Sidecar, path: str) -> None:
    assert (await sidecar.ask(path, token=None))[0] == 200


@pytest.mark.parametrize(
    "path",
    [
        *("/metrics", "/api/v1/monitoring/metrics", "/api/v1/monitoring/rules", ALERTS),
        *("/api/v1/monitoring/tasks", "/api/v1/monitoring/repositories", f"{ALERTS}/{UNKNOWN_ID}"),
        *("/api/v1/monitoring/objects", "/api/v1/monitoring/objects/disk/W1"),
        *("/api/v1/monitoring/query?expr=1", "/api/v1/monitoring/events"),
    ],
)
async def test_everything_else_does(sidecar: Sidecar, daemon: Appliance, path: str) -> None:
    # The route of events wants an upgrade before anything.
    headers = {"Upgrade": "websocket", "Connection": "Upgrade"} if "events" in path else {}
    for secret in (None, "swt_unknown"):
        status, problem = await sidecar.ask(path, token=secret, headers=headers)
        assert (status, problem["status"], problem["title"]) == (401, 401, "Not authenticated")
    without = await token(daemon, "monitoring:write")
    status, problem = await sidecar.ask(path, token=without, headers=headers)
    assert status == 403
    assert "monitoring:read" in problem["detail"]


async def test_health_names_every_component(sidecar: Sidecar) -> None:
    _, health = await sidecar.ask("/api/v1/health", token=None)
    assert set(health) == {"status", "timestamp", "node", "components"}
    for component in health["components"]:
        assert set(component) == {"name", "status", "message", "checked_at", "duration_ms"}


async def test_metrics_are_one_snapshot(sidecar: Sidecar) -> None:
    status, snapshot = await sidecar.ask("/api/v1/monitoring/metrics")
    assert status == 200
    assert set(snapshot) == {
        *("timestamp", "node", "system", "storage", "scst", "tape", "vtl", "tasks", "api")
    }


async def test_an_expression_is_answered_with_what_is_unknown(sidecar: Sidecar) -> None:
    status, answer = await sidecar.ask("/api/v1/monitoring/query", params={"expr": "1 + 1"})
    assert (status, answer["rows"][0]["value"], answer["rows"][0]["exact"]) == (200, 2, True)


async def test_prometheus_reads_metrics(sidecar: Sidecar) -> None:
    async with sidecar.session.get(f"{sidecar.url}/metrics", headers=sidecar.headers) as response:
        assert response.headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
        assert "# TYPE node_load1 gauge" in await response.text()


async def test_metrics_may_be_open_to_this_machine(daemon: Appliance) -> None:
    secret = await token(daemon, "monitoring:read")
    async with serving(daemon, token=secret, metrics_open_to_loopback=True) as sidecar:
        assert (await sidecar.ask("/metrics", token=None))[0] == 200
        assert (await sidecar.ask("/api/v1/monitoring/metrics", token=None))[0] == 401


@pytest.mark.parametrize("header", ["Forwarded", "Via", "X-Forwarded-For", "X-Real-IP"])
async def test_what_a_proxy_passes_on_does_not_come_from_this_machine(
    daemon: Appliance, header: str
) -> None:
    secret = await token(daemon, "monitoring:read")
    async with serving(daemon, token=secret, metrics_open_to_loopback=True) as sidecar:
        passed_on = {header: "for=192.0.2.1"}
        assert (await sidecar.ask("/metrics", token=None, headers=passed_on))[0] == 401
        assert (await sidecar.ask("/metrics", headers=passed_on))[0] == 200


async def test_an_alert_is_listed_told_and_marked(sidecar: Sidecar) -> None:
    alert = await create(sidecar, title="a", resource_type="disk", resource_id="sda")
    status, listed = await sidecar.ask(ALERTS, params={"resource_id": "sda", "limit": "1"})
    assert (status, [one["id"] for one in listed["alerts"]]) == (200, [alert["id"]])
    assert (listed["complete"], listed["next_cursor"] is None) == (True, True)

    status, marked = await sidecar.ask(
        f"{ALERTS}/{alert['id']}/acknowledge", method="POST", json={"note": "mine"}
    )
    assert (status, marked["acknowledged"], marked["acknowledged_note"]) == (200, True, "mine")
    again = await sidecar.ask(f"{ALERTS}/{alert['id']}/acknowledge", method="POST", json={})
    assert again == (200, marked)

    status, resolved = await sidecar.ask(f"{ALERTS}/{alert['id']}/resolve", method="POST")
    assert (status, resolved["state"]) == (200, "resolved")
    assert await sidecar.ask(f"{ALERTS}/{alert['id']}/resolve", method="POST") == (200, resolved)

    status, told = await sidecar.ask(f"{ALERTS}/{alert['id']}")
    assert (status, told["alert"]) == (200, resolved)
    assert [one["kind"] for one in told["timeline"]] == ["firing", "acknowledged", "resolved"]


async def test_marking_needs_the_permission_to_write(sidecar: Sidecar, daemon: Appliance) -> None:
    alert = await create(sidecar)
    reader = await token(daemon, "monitoring:read")
    for verb in ("acknowledge", "resolve"):
        status, problem = await sidecar.ask(
            f"{ALERTS}/{alert['id']}/{verb}", method="POST", token=reader
        )
        assert status == 403
        assert "monitoring:write" in problem["detail"]
    assert (await sidecar.ask(ALERTS, method="POST", token=reader, json={}))[0] == 403


@pytest.mark.parametrize(
    ("path", "method"),
    [
        (f"{ALERTS}/{UNKNOWN_ID}", "GET"),
        (f"{ALERTS}/{UNKNOWN_ID}/acknowledge", "POST"),
        (f"{ALERTS}/{UNKNOWN_ID}/resolve", "POST"),
        (f"/api/v1/monitoring/tasks/{UNKNOWN_ID}", "GET"),
        ("/api/v1/monitoring/objects/scst_target/iscsi%2Fiqn.a", "GET"),
        ("/api/v1/monitoring/rules/NoSuchRule", "GET"),
        ("/api/v1/nothing", "GET"),
        ("/..%2f..%2fetc/passwd", "GET"),
    ],
)
async def test_what_is_unknown_is_404(sidecar: Sidecar, path: str, method: str) -> None:
    status, problem = await sidecar.ask(path, method=method)
    assert (status, problem["status"], problem["type"]) == (404, 404, "about:blank")
    assert problem["detail"]


@pytest.mark.parametrize(
    ("query", "named"),
    [
        pytest.param("bogus=1", "bogus", id="unknown"),
        pytest.param("limit=many", "limit", id="no number"),
        pytest.param("limit=0", "limit", id="too small"),
        pytest.param("limit=1000000", "limit", id="too large"),
        pytest.param("limit=1&limit=2", "limit", id="twice"),
        pytest.param("severity=awful", "severity", id="no severity"),
        pytest.param("severity=info&severity=x", "severity", id="one of two"),
        pytest.param("acknowledged=perhaps", "acknowledged", id="no boolean"),
        pytest.param("cursor=%00", "cursor", id="no cursor"),
        pytest.param("since=yesterday", "since", id="no time"),
        pytest.param("label=%7B", "label", id="no matcher"),
    ],
)
async def test_a_bad_parameter_is_400_and_named(sidecar: Sidecar, query: str, named: str) -> None:
    status, problem = await sidecar.ask(f"{ALERTS}?{query}")
    assert status == 400
    assert named in problem["detail"]


@pytest.mark.parametrize(
    ("body", "status"),
    [
        pytest.param(b"{", 400, id="half"),
        pytest.param(b"[]", 400, id="no object"),
        pytest.param(b'{"note": 1}', 400, id="wrong type"),
        pytest.param(b'{"nota": "x"}', 400, id="unknown member"),
        pytest.param(b'{"note": "\xff"}', 400, id="no UTF-8"),
        pytest.param(b"[" * 100_000, 400, id="deep"),
        pytest.param(b'{"note": "a\\u0000b"}', 400, id="zero character"),
        pytest.param(b" " * 2_000_000, 413, id="large"),
    ],
)
async def test_a_bad_body_is_refused_and_changes_nothing(
    sidecar: Sidecar, body: bytes, status: int
) -> None:
    alert = await create(sidecar)
    answer, problem = await sidecar.ask(
        f"{ALERTS}/{alert['id']}/acknowledge", method="POST", data=io.BytesIO(body)
    )
    assert (answer, problem["status"]) == (status, status)
    _, told = await sidecar.ask(f"{ALERTS}/{alert['id']}")
    assert told["alert"]["acknowledged"] is False


async def test_another_method_is_405_and_says_which(sidecar: Sidecar) -> None:
    async with sidecar.session.delete(f"{sidecar.url}{ALERTS}", headers=sidecar.headers) as answer:
        assert (answer.status, answer.headers["Allow"]) == (405, "GET,HEAD,POST")
        assert answer.content_type == "application/problem+json"


async def test_a_foreign_host_is_misdirected_and_a_foreign_page_refused(sidecar: Sidecar) -> None:
    status, problem = await sidecar.ask(
        "/api/v1/health", token=None, headers={"Host": "evil.example:80"}
    )
    assert status == 421
    assert "--allow-host evil.example" in problem["detail"]
    status, problem = await sidecar.ask(
        "/api/v1/health", token=None, headers={"Origin": "https://evil.example"}
    )
    assert (status, "--allow-origin" in problem["detail"]) == (403, True)
    own = {"Origin": sidecar.url}
    assert (await sidecar.ask("/api/v1/health", token=None, headers=own))[0] == 200


async def test_events_without_an_upgrade_are_426(sidecar: Sidecar) -> None:
    assert (await sidecar.ask("/api/v1/monitoring/events"))[0] == 426


@pytest.mark.parametrize(
    "request_bytes",
    [
        pytest.param(b"\x16\x03\x01 TLS\r\n\r\n", id="TLS"),
        pytest.param(b"GET / HTTP/9.9\r\n\r\n", id="version"),
        pytest.param(b"GET / HTTP/1.1\r\nHost: " + b"a" * 100_000 + b"\r\n\r\n", id="huge header"),
        pytest.param(b"GET /\xff HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n", id="path bytes"),
    ],
)
async def test_what_is_no_request_is_refused_and_harms_nobody(
    sidecar: Sidecar, request_bytes: bytes
) -> None:
    host, _, port = sidecar.url.removeprefix("http://").partition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(request_bytes)
    answer = await asyncio.wait_for(reader.read(64), 10)
    writer.close()
    assert answer == b"" or answer.split()[1] in (b"400", b"404", b"431")
    assert (await sidecar.ask("/livez", token=None))[0] == 200


async def test_without_the_daemon_it_says_so_and_recovers(
    sidecar: Sidecar, daemon: Appliance
) -> None:
    await asyncio.to_thread(daemon.kill)
    try:
        assert (await sidecar.ask("/livez", token=None))[0] == 200
        assert (await sidecar.ask("/readyz", token=None))[0] == 503
        for path in ("/api/v1/health", ALERTS, "/metrics"):
            status, problem = await sidecar.ask(path)
            assert status == 503
            assert json.dumps(problem["detail"]).startswith('"the daemon is away')
    finally:
        await asyncio.to_thread(daemon.start)
    assert (await sidecar.ask(ALERTS))[0] == 200


async def test_the_index_names_the_routes(sidecar: Sidecar) -> None:
    _, page = await sidecar.ask("/", token=None)
    assert "/api/v1/monitoring/alerts" in page


async def test_a_token_that_is_no_text_of_ours_is_none(sidecar: Sidecar) -> None:
    status, problem = await sidecar.ask(
        ALERTS, token=None, headers={"Authorization": "Bearer \u00e4\u00f6"}
    )
    assert (status, problem["title"]) == (401, "Not authenticated")


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        pytest.param("GET", f"{ALERTS}?nonsense=1", None, id="list"),
        pytest.param("GET", f"{ALERTS}/{UNKNOWN_ID}?nonsense=1", None, id="one"),
        pytest.param("GET", "/api/v1/monitoring/events?nonsense=1", None, id="events"),
        pytest.param("POST", f"{ALERTS}?nonsense=1", "{}", id="create, query"),
        pytest.param("POST", ALERTS, '{"nonsense": 1}', id="create, body"),
        pytest.param("POST", f"{ALERTS}/{UNKNOWN_ID}/resolve", '{"nonsense": 1}', id="mark"),
        pytest.param("POST", "/api/v1/auth/ticket", '{"nonsense": 1}', id="ticket"),
    ],
)
async def test_who_may_not_ask_is_told_that_before_what_is_wrong(
    sidecar: Sidecar, method: str, path: str, body: str | None
) -> None:
    headers = {"Upgrade": "websocket", "Connection": "Upgrade"} if "events" in path else {}
    more: dict[str, Any] = {"method": method, "data": body, "headers": headers}
    status, _ = await sidecar.ask(path, token="swt_unknown", **more)
    assert status == 401
    status, problem = await sidecar.ask(path, **more)
    assert (status, problem["parameter"]) == (400, "nonsense")


async def test_a_body_that_does_not_come_is_not_waited_for_long(
    sidecar: Sidecar, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(query, "BODY_S", 0.05)

    async def never() -> AsyncIterator[bytes]:
        yield b"{"
        await asyncio.Event().wait()

    status, problem = await sidecar.ask(ALERTS, method="POST", data=never())
    assert (status, problem["title"]) == (408, "Request timeout")


async def test_a_body_longer_than_the_daemon_takes_is_too_large(sidecar: Sidecar) -> None:
    body = json.dumps({"severity": "info", "source": "t", "title": "t", "message": "x" * (1 << 20)})
    status, problem = await sidecar.ask(ALERTS, method="POST", data=body[: (1 << 20) - 40] + '"}')
    assert (status, problem["title"]) == (413, "Too large")


@pytest.mark.parametrize("path", ["", f"/{UNKNOWN_ID}/resolve", f"/{UNKNOWN_ID}/acknowledge"])
async def test_a_request_that_changes_something_takes_no_query(sidecar: Sidecar, path: str) -> None:
    status, problem = await sidecar.ask(f"{ALERTS}{path}?x=1", method="POST")
    assert (status, problem["parameter"]) == (400, "x")


async def test_a_zero_character_is_refused_and_disturbs_nobody(sidecar: Sidecar) -> None:
    answers = await asyncio.gather(
        *(sidecar.ask(f"{ALERTS}/%00" if number % 2 else ALERTS) for number in range(20))
    )
    assert [status for status, _ in answers] == [200, 400] * 10


@pytest.mark.parametrize("since", ["garbage", "%00", "a.b"])
async def test_what_can_be_no_event_is_refused_before_the_upgrade(
    sidecar: Sidecar, since: str
) -> None:
    status, problem = await sidecar.ask(
        f"/api/v1/monitoring/events?since={since}",
        headers={"Upgrade": "websocket", "Connection": "Upgrade"},
    )
    assert status == 400
    assert problem["detail"].startswith("since: expected the id of an event")
