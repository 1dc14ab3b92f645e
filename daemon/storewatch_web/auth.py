"""Bearer tokens, and the one-use tickets that stand for them where no header can be set."""

import secrets
from collections.abc import Callable
from dataclasses import dataclass
from itertools import takewhile

from aiohttp import web

from storewatch_web import clock
from storewatch_web.problems import Problem

TICKET_S = 30.0
MAX_TICKETS = 10_000


def bearer(request: web.Request) -> str:
    """Return the bearer token of a request.

    Raises:
        Problem: there is none.
    """
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    token = token.strip()
    if scheme.lower() != "bearer" or not token or not token.isascii():
        raise Problem(401, "send the header Authorization: Bearer TOKEN")
    return token


@dataclass(frozen=True, slots=True)
class _Ticket:
    token: str
    expires: float  # monotonic


class Tickets:
    """Tickets that were given out and not used yet. `now` tells seconds on a clock that never
    jumps."""

    def __init__(self, now: Callable[[], float] = clock.monotonic) -> None:
        self._now = now
        self._tickets: dict[str, _Ticket] = {}

    def issue(self, token: str) -> str:
        """Return a ticket that stands for a token, once, for TICKET_S seconds.

        Raises:
            Problem: too many are waiting to be used.
        """
        now = self._now()
        # They lie in the order in which they expire.
        for old in list(takewhile(lambda one: self._tickets[one].expires <= now, self._tickets)):
            del self._tickets[old]
        if len(self._tickets) >= MAX_TICKETS:
            raise Problem(429, f"{MAX_TICKETS} tickets wait to be used")
        name = secrets.token_urlsafe(32)
        self._tickets[name] = _Ticket(token, now + TICKET_S)
        return name

    def redeem(self, name: str) -> str:
        """Return the token that a ticket stands for; the ticket is used up.

        Raises:
            Problem: it is unknown, used, or too old; which of them is not told.
        """
        ticket = self._tickets.pop(name, None)
        if ticket is None or ticket.expires <= self._now():
            raise Problem(401, "the ticket is unknown, used or too old: get another one")
        return ticket.token
