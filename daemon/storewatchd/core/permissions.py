"""Who may do what: permissions, callers, and the bearer tokens that carry them.

A token's secret is 256 random bits and is kept as its SHA-256 only: with that much entropy a slow
hash would add nothing.
"""

import hashlib
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any, Self

from storewatchd.core.model import format_time, parse_time

SECRET_PREFIX = "swt_"


class Permission(StrEnum):
    """What a call may need. Each one is granted by itself; root has them all."""

    READ = "monitoring:read"
    WRITE = "monitoring:write"
    ADMIN = "monitoring:admin"


EVERYTHING = frozenset(Permission)
READ_ONLY = frozenset({Permission.READ})
READ_WRITE = frozenset({Permission.READ, Permission.WRITE})
NOTHING: frozenset[Permission] = frozenset()


@dataclass(frozen=True, slots=True)
class Caller:
    """On whose behalf a call is made. `token_id` is None for a local peer."""

    name: str
    permissions: frozenset[Permission]
    token_id: str | None = None


@dataclass(frozen=True, slots=True)
class PeerGroups:
    """The local groups that carry permissions, by number; None where a group does not exist."""

    read: int | None
    write: int | None


def judge_peer(
    *, uid: int, groups: frozenset[int], own_uid: int, known: PeerGroups, name: str
) -> Caller:
    """Return what a local peer may do: root and the daemon's own user everything, the groups
    theirs, and anybody else nothing but what needs no permission."""
    if uid in (0, own_uid):
        return Caller(name, EVERYTHING)
    if known.write is not None and known.write in groups:
        return Caller(name, READ_WRITE)
    if known.read is not None and known.read in groups:
        return Caller(name, READ_ONLY)
    return Caller(name, NOTHING)


def new_secret() -> str:
    """Return a fresh bearer token."""
    return SECRET_PREFIX + secrets.token_urlsafe(32)


def digest_of(secret: str) -> str:
    """Return what is stored of a bearer token."""
    return hashlib.sha256(secret.encode()).hexdigest()


@dataclass(frozen=True, slots=True, kw_only=True)
class Token:
    """A bearer token as it is kept: everything but its secret."""

    id: str
    name: str
    permissions: frozenset[Permission]
    digest: str
    created_at: float
    created_by: str
    expires_at: float | None = None
    revoked_at: float | None = None

    def is_good(self, now: float) -> bool:
        return self.revoked_at is None and (self.expires_at is None or now < self.expires_at)

    def revoked(self, now: float) -> Self:
        return replace(self, revoked_at=now)

    def to_json(self, *, last_used_at: float | None) -> dict[str, Any]:
        """Return the wire shape, which never holds the digest."""
        return {
            "id": self.id,
            "name": self.name,
            "permissions": sorted(self.permissions),
            "created_at": format_time(self.created_at),
            "created_by": self.created_by,
            "expires_at": format_time(self.expires_at),
            "last_used_at": format_time(last_used_at),
            "revoked_at": format_time(self.revoked_at),
        }

    def to_state(self) -> dict[str, Any]:
        """Return what the journal keeps."""
        shape = self.to_json(last_used_at=None)
        del shape["last_used_at"]
        return {**shape, "digest": self.digest}

    @classmethod
    def from_state(cls, shape: Mapping[str, Any]) -> Self:
        return cls(
            id=shape["id"],
            name=shape["name"],
            permissions=frozenset(Permission(name) for name in shape["permissions"]),
            digest=shape["digest"],
            created_at=parse_time(shape["created_at"]) or 0.0,
            created_by=shape["created_by"],
            expires_at=parse_time(shape["expires_at"]),
            revoked_at=parse_time(shape["revoked_at"]),
        )


class TokenBook:
    """The tokens of this node, by id and by the digest of their secret."""

    def __init__(self) -> None:
        self._tokens: dict[str, Token] = {}
        self._by_digest: dict[str, str] = {}
        self._last_used: dict[str, float] = {}

    def put(self, token: Token) -> None:
        """Add a token or replace its earlier version."""
        self._tokens[token.id] = token
        self._by_digest[token.digest] = token.id

    def get(self, token_id: str) -> Token | None:
        return self._tokens.get(token_id)

    def all(self) -> list[Token]:
        """Return every token, the newest first."""
        return sorted(self._tokens.values(), key=lambda token: (-token.created_at, token.id))

    def last_used(self, token_id: str) -> float | None:
        """Return when it was last presented since the daemon started."""
        return self._last_used.get(token_id)

    def verify(self, secret: str, now: float) -> Token | None:
        """Return the good token with this secret, or None: unknown, expired and revoked ones
        are not told apart."""
        token = self._tokens.get(self._by_digest.get(digest_of(secret), ""))
        if token is None or not token.is_good(now):
            return None
        self._last_used[token.id] = now
        return token
