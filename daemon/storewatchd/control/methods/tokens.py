"""tokens.*: bearer tokens; a secret is shown once and never again."""

import os
from collections.abc import Mapping
from typing import Any

from storewatch.wire import params
from storewatchd.control.dispatch import Call, Handler
from storewatchd.control.subscriptions import Subscriptions
from storewatchd.core.commands import PutToken, RevokeToken
from storewatchd.core.ids import uuid7
from storewatchd.core.model import format_time
from storewatchd.core.permissions import Caller, Permission, Token, digest_of, new_secret
from storewatchd.errors import Unauthenticated
from storewatchd.monitor import Monitor

REVOKED = "the token was revoked"


def authenticate(monitor: Monitor, secret: str) -> Caller:
    """Return the caller behind a bearer token.

    Raises:
        Unauthenticated: it is unknown, expired or revoked; which of them is not told.
    """
    token = monitor.books.tokens.verify(secret, monitor.now().wall)
    if token is None:
        raise Unauthenticated("the bearer token is unknown, expired or revoked")
    return Caller(f"token {token.name}", token.permissions, token.id)


def handlers(monitor: Monitor, subscriptions: Subscriptions) -> Mapping[str, Handler]:
    """Return the methods of this noun."""

    async def create(call: Call, asked: params.TokenCreate) -> dict[str, Any]:
        now = monitor.now().wall
        secret = new_secret()
        token = Token(
            id=uuid7(now, os.urandom(10)),
            name=asked.name,
            permissions=frozenset(Permission(name) for name in asked.permissions),
            digest=digest_of(secret),
            created_at=now,
            created_by=call.caller.name,
            expires_at=None if asked.ttl is None else now + asked.ttl,
        )
        await monitor.command(PutToken(call.caller.name, token))
        return {"token": _shape(monitor, token), "secret": secret}

    def list_tokens(_: Call, __: params.Nothing) -> dict[str, Any]:
        return {"tokens": [_shape(monitor, token) for token in monitor.books.tokens.all()]}

    async def revoke(call: Call, asked: params.TokenId) -> dict[str, Any]:
        token = await monitor.command(RevokeToken(call.caller.name, asked.id))
        subscriptions.end_for_token(token.id, REVOKED)
        return _shape(monitor, token)

    def verify(_: Call, asked: params.TokenVerify) -> dict[str, Any]:
        caller = authenticate(monitor, asked.secret)
        token = monitor.books.tokens.get(caller.token_id or "")
        assert token is not None
        return {
            "id": token.id,
            "name": token.name,
            "permissions": sorted(token.permissions),
            "expires_at": format_time(token.expires_at),
        }

    return {
        "tokens.create": create,
        "tokens.list": list_tokens,
        "tokens.revoke": revoke,
        "tokens.verify": verify,
    }


def _shape(monitor: Monitor, token: Token) -> dict[str, Any]:
    return token.to_json(last_used_at=monitor.books.tokens.last_used(token.id))
