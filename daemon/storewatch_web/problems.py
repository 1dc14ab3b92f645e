"""Errors as RFC 9457 problem documents, and the one table from the daemon's codes to statuses."""

from typing import Any

import msgspec
from aiohttp import web

from storewatch import CallError, ClientError
from storewatch.errors import TooLong, Unsendable
from storewatch.wire import Code

STATUSES = {
    Code.INVALID_PARAMS: 400,
    Code.INVALID_REQUEST: 400,
    Code.UNAUTHENTICATED: 401,
    Code.FORBIDDEN: 403,
    Code.NOT_FOUND: 404,
    Code.CONFLICT: 409,
    Code.LIMIT_REACHED: 429,
    Code.UNAVAILABLE: 503,
}
_TITLES = {
    400: "Bad request",
    401: "Not authenticated",
    403: "Not permitted",
    404: "Not found",
    405: "Method not allowed",
    408: "Request timeout",
    409: "Conflict",
    413: "Too large",
    421: "Misdirected request",
    426: "WebSocket expected",
    429: "Too many requests",
    500: "Internal error",
    503: "Not available",
}
_HEADERS = {
    401: {"WWW-Authenticate": 'Bearer realm="storewatch"'},
    429: {"Retry-After": "5"},
    503: {"Retry-After": "2"},
}


class Problem(Exception):
    """A request that is answered with an error; `facts` are further members of the document."""

    def __init__(self, status: int, detail: str, **facts: Any) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail
        self.facts = facts


def response(status: int, detail: str, **facts: Any) -> web.Response:
    """Return the problem document of an error."""
    document = {
        "type": "about:blank",
        "title": _TITLES.get(status, "Error"),
        "status": status,
        "detail": detail,
        **facts,
    }
    return web.Response(
        status=status,
        body=msgspec.json.encode(document),
        content_type="application/problem+json",
        headers=_HEADERS.get(status),
    )


def of_client_error(error: ClientError) -> web.Response:
    """Return the answer for what the daemon refused, or for its absence."""
    if isinstance(error, Unsendable):
        return response(413 if isinstance(error, TooLong) else 400, str(error))
    if not isinstance(error, CallError):
        return response(503, f"the daemon is away: {error}")
    status = STATUSES.get(Code(error.code), 500) if error.code in set(Code) else 500
    facts = error.data if isinstance(error.data, dict) else {}
    return response(status, error.message, **{k: v for k, v in facts.items() if k not in _OURS})


_OURS = frozenset({"type", "title", "status", "detail"})
