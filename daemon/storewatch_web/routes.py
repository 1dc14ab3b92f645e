"""Every route: which method of the daemon it asks, and how the answer becomes a response."""

import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import msgspec
from aiohttp import hdrs, web

from storewatch import Client, ClientError
from storewatch.wire import encode, params, types
from storewatch.wire.types import EventTypeName, Severity
from storewatch_web import problems, query
from storewatch_web.auth import TICKET_S, Tickets, bearer
from storewatch_web.guard import Guard
from storewatch_web.hub import Hub
from storewatch_web.member import Wanted
from storewatch_web.problems import Problem

logger = logging.getLogger(__name__)

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

EXPOSITION = "text/plain; version=0.0.4; charset=utf-8"

_INDEX = """<!doctype html>
<html lang="en"><meta charset="utf-8"><title>Storewatch</title>
<style>body{font:16px/1.5 system-ui,sans-serif;max-width:44rem;margin:3rem auto;padding:0 1rem}
code{background:#eee;padding:.1rem .3rem}td{padding:.1rem 1rem .1rem 0;vertical-align:top}</style>
<h1>Storewatch</h1><p>This is the HTTP side of the daemon that watches this machine. All but the
health pages need <code>Authorization: Bearer TOKEN</code>; <code>storewatchctl tokens create</code>
makes one.</p><table>
<tr><td><a href="/api/v1/health"><code>/api/v1/health</code></a><td>how every part stands
<tr><td><a href="/livez"><code>/livez</code></a> <a href="/readyz"><code>/readyz</code></a><td>for
service monitors
<tr><td><code>/api/v1/monitoring/alerts</code><td>alerts, with filters
<tr><td><code>/api/v1/monitoring/metrics</code><td>the metrics snapshot
<tr><td><code>/api/v1/monitoring/events</code><td>events, by WebSocket
<tr><td><code>/metrics</code><td>everything, for Prometheus
</table></html>
"""


class Routes:
    """The handlers, with what they need."""

    def __init__(self, client: Client, hub: Hub, *, metrics_open_to_loopback: bool) -> None:
        self._client = client
        self._hub = hub
        self._tickets = Tickets()
        self._metrics_open = metrics_open_to_loopback

    def table(self) -> list[web.RouteDef]:
        """Return every route."""
        return [
            web.get("/", self.index),
            web.get("/livez", self.livez),
            web.get("/readyz", self.readyz),
            web.get("/metrics", self.exposition),
            web.get("/api/v1/health", self.health),
            web.post("/api/v1/auth/ticket", self.ticket),
            web.get("/api/v1/monitoring/events", self.events),
            web.get("/api/v1/monitoring/metrics", self._reading("metrics.get", params.Nothing)),
            web.get(
                "/api/v1/monitoring/query", self._reading("metrics.query", params.MetricsQuery)
            ),
            web.get("/api/v1/monitoring/alerts", self._reading("alerts.list", params.AlertsList)),
            web.post("/api/v1/monitoring/alerts", self.create_alert),
            web.get("/api/v1/monitoring/alerts/{id}", self._one("alerts.get", "id")),
            web.post("/api/v1/monitoring/alerts/{id}/acknowledge", self._mark("acknowledge")),
            web.post("/api/v1/monitoring/alerts/{id}/resolve", self._mark("resolve")),
            web.get("/api/v1/monitoring/rules", self._reading("rules.list", params.Nothing)),
            web.get("/api/v1/monitoring/rules/{name}", self._one("rules.get", "name")),
            web.get("/api/v1/monitoring/tasks", self._reading("tasks.list", params.TasksList)),
            web.get("/api/v1/monitoring/tasks/{id}", self._one("tasks.get", "id")),
            web.get(
                "/api/v1/monitoring/objects", self._reading("objects.list", params.ObjectsList)
            ),
            web.get(
                "/api/v1/monitoring/objects/{kind}/{id:.+}", self._one("objects.get", "kind", "id")
            ),
            web.get(
                "/api/v1/monitoring/repositories",
                self._reading("repositories.list", params.Nothing),
            ),
        ]

    # Without a token.

    async def index(self, _: web.Request) -> web.Response:
        return web.Response(text=_INDEX, content_type="text/html")

    async def livez(self, _: web.Request) -> web.Response:
        """Say that this process answers."""
        return web.Response(text="ok\n")

    async def readyz(self, _: web.Request) -> web.Response:
        """Say whether the daemon answers."""
        try:
            await self._client.call("daemon.version", {}, type=types.Version)
        except ClientError as error:
            return web.Response(status=503, text=f"the daemon is away: {error}\n")
        return web.Response(text="ok\n")

    async def health(self, request: web.Request) -> web.Response:
        query.decode(request, params.Nothing)
        report = await self._client.call("health.get", {}, type=types.Health)
        status = 503 if report.status == "unhealthy" else 200
        return _json(encode(report), status)

    # With a token.

    async def ticket(self, request: web.Request) -> web.Response:
        token = bearer(request)
        async with self._known_first(token):
            query.decode(request, params.Nothing)
            query.allowed(await query.body(request))
        await self._verify(token)
        answer = {"ticket": self._tickets.issue(token), "expires_in_seconds": TICKET_S}
        return _json(encode(answer), 201)

    async def events(self, request: web.Request) -> web.StreamResponse:
        if request.headers.get(hdrs.UPGRADE, "").lower() != "websocket":
            raise Problem(426, "this is a WebSocket: ask for an upgrade")
        said = {name: value for name, value in request.query.items() if name != "ticket"}
        if "ticket" in request.query:
            token = self._tickets.redeem(request.query["ticket"])
        else:
            token = bearer(request)
        async with self._known_first(token):
            asked = request.clone(rel_url=request.rel_url.with_query(said))
            wanted = query.decode(asked, _EventsQuery)
            since = wanted.get("since")
            if since is not None and not params.is_event_id(since):
                raise Problem(400, f"since: expected the id of an event, found {since!r}")
        return await self._hub.serve(
            request,
            token,
            Wanted(
                frozenset(wanted["types"]) if "types" in wanted else None,
                frozenset(wanted["severity"]) if "severity" in wanted else None,
            ),
            since,
        )

    async def create_alert(self, request: web.Request) -> web.Response:
        token = bearer(request)
        names = [field.name for field in msgspec.structs.fields(params.AlertCreate)]
        async with self._known_first(token):
            query.decode(request, params.Nothing)
            document = query.allowed(await query.body(request), *names)
        if "Idempotency-Key" in request.headers:
            document["idempotency_key"] = request.headers["Idempotency-Key"]
        return _json(await self._raw("alerts.create", document, token), 201)

    async def exposition(self, request: web.Request) -> web.Response:
        token = None
        if not (self._metrics_open and _is_loopback(request)):
            token = bearer(request)
        text = await self._client.call("metrics.text", {}, type=str, token=token)
        return web.Response(body=text.encode(), headers={"Content-Type": EXPOSITION})

    # Kinds of handlers.

    def _reading(self, method: str, kind: type[params.Params]) -> Handler:
        async def read(request: web.Request) -> web.Response:
            token = bearer(request)
            async with self._known_first(token):
                asked = query.decode(request, kind)
            return _json(await self._raw(method, asked, token))

        return read

    def _one(self, method: str, *names: str) -> Handler:
        async def read(request: web.Request) -> web.Response:
            token = bearer(request)
            async with self._known_first(token):
                query.decode(request, params.Nothing)
            asked = {name: request.match_info[name] for name in names}
            return _json(await self._raw(method, asked, token))

        return read

    def _mark(self, verb: str) -> Handler:
        async def mark(request: web.Request) -> web.Response:
            token = bearer(request)
            async with self._known_first(token):
                query.decode(request, params.Nothing)
                document = query.allowed(await query.body(request), "note")
            asked = {**document, "id": request.match_info["id"]}
            return _json(await self._raw(f"alerts.{verb}", asked, token))

        return mark

    @asynccontextmanager
    async def _known_first(self, token: str) -> AsyncIterator[None]:
        """Tell who may not ask that, before what is wrong with the question."""
        try:
            yield
        except Problem:
            await self._verify(token)
            raise

    async def _verify(self, token: str) -> None:
        await self._client.call("tokens.verify", {"secret": token}, type=types.TokenVerdict)

    async def _raw(self, method: str, asked: dict[str, Any], token: str) -> bytes:
        """Return a result's own bytes: what the daemon made is passed on, not made again."""
        return bytes(await self._client.call(method, asked, type=msgspec.Raw, token=token))


class _EventsQuery(params.Params):
    types: list[EventTypeName] | None = None
    severity: list[Severity] | None = None
    since: params.Id | None = None


def errors_and_guard(guard: Guard) -> Any:
    """Return the middleware that lets in who may come, and turns errors into problems."""

    @web.middleware
    async def middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
        try:
            guard.check(request)
            return await handler(request)
        except Problem as problem:
            return problems.response(problem.status, problem.detail, **problem.facts)
        except ClientError as error:
            return problems.of_client_error(error)
        except web.HTTPException as error:
            if error.status < 400:
                raise
            detail = {
                404: f"there is nothing at {request.path}",
                405: f"{request.method} means nothing at {request.path}",
            }.get(error.status, error.text or error.reason)
            answer = problems.response(error.status, detail)
            if "Allow" in error.headers:
                answer.headers["Allow"] = error.headers["Allow"]
            return answer
        except Exception:
            logger.exception("a request ended in an unexpected error")
            return problems.response(500, "internal error; the sidecar's log has the details")

    return middleware


def _json(body: bytes, status: int = 200) -> web.Response:
    return web.Response(body=body, status=status, content_type="application/json")


def _is_loopback(request: web.Request) -> bool:
    """Whether this machine itself asks: what a proxy on it passes on comes from elsewhere."""
    is_passed_on = any(header in request.headers for header in _PASSED_ON)
    return request.remote in ("127.0.0.1", "::1") and not is_passed_on


# RFC 7239; RFC 9110, 7.6.3; and what was in use before them.
_PASSED_ON = ("Forwarded", "Via", "X-Forwarded-For", "X-Forwarded-Host", "X-Real-IP")
