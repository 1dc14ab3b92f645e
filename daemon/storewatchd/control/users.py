"""Who has a uid, by the user database, which may ask servers that take their time.

It is asked in a thread of its own, once for a uid within a while. Who waits for an answer does so
for a bounded time, and takes what was known before where there is none.
"""

import asyncio
import contextlib
import logging
import os
import pwd
import queue
import threading
from collections.abc import Callable
from dataclasses import dataclass

logger = logging.getLogger(__name__)

KEPT_S = 60.0
"""For how long an answer holds."""

WAIT_S = 1.0
"""For how long an answer is waited for."""

MAX_USERS = 1_000
"""How many answers are kept."""


@dataclass(frozen=True, slots=True)
class User:
    """A user's name, and all the groups that the user database knows of."""

    name: str
    groups: frozenset[int]


def user_of(uid: int) -> User:
    """Return what the user database says of a uid, whatever time that takes; of one that it does
    not know, the number."""
    try:
        about = pwd.getpwuid(uid)
    except KeyError:
        return _unknown(uid)
    return User(about.pw_name, frozenset(os.getgrouplist(about.pw_name, about.pw_gid)))


class Users:
    """The answers of the user database. Close it to end the thread, when that is idle."""

    def __init__(self, ask: Callable[[int], User] = user_of) -> None:
        self._ask = ask
        self._known: dict[int, tuple[User, float]] = {}  # with the end of its time, oldest first
        self._asked: dict[int, asyncio.Future[User]] = {}
        self._questions: queue.SimpleQueue[int | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None

    def known(self, uid: int) -> User | None:
        """Return who it is where that was answered a short while ago."""
        user, until = self._known.get(uid, (None, 0.0))
        return user if asyncio.get_running_loop().time() < until else None

    async def get(self, uid: int) -> User:
        """Return who it is, after a bounded time."""
        user = self.known(uid)
        if user is not None:
            return user
        try:
            async with asyncio.timeout(WAIT_S):
                # One who gives up does not end the question of the others.
                return await asyncio.shield(self._asked.get(uid) or self._begin(uid))
        except TimeoutError:
            logger.warning("the user database does not answer: who has the uid %d is unknown", uid)
            return self._known.get(uid, (_unknown(uid), 0.0))[0]

    def close(self) -> None:
        self._questions.put(None)

    def _begin(self, uid: int) -> "asyncio.Future[User]":
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[User] = loop.create_future()
        self._asked[uid] = answer
        if self._thread is None:
            # A daemon thread: the process does not wait at its end for servers that do not answer.
            self._thread = threading.Thread(
                target=self._serve, args=(loop,), name="user database", daemon=True
            )
            self._thread.start()
        self._questions.put(uid)
        return answer

    def _serve(self, loop: asyncio.AbstractEventLoop) -> None:
        while (uid := self._questions.get()) is not None:
            try:
                user = self._ask(uid)
            except OSError as error:
                logger.warning("the user database does not tell who has the uid %d: %s", uid, error)
                user = _unknown(uid)
            with contextlib.suppress(RuntimeError):  # the loop has ended meanwhile
                loop.call_soon_threadsafe(self._answered, uid, user)

    def _answered(self, uid: int, user: User) -> None:
        self._known.pop(uid, None)
        if len(self._known) >= MAX_USERS:
            del self._known[next(iter(self._known))]
        self._known[uid] = user, asyncio.get_running_loop().time() + KEPT_S
        self._asked.pop(uid).set_result(user)


def _unknown(uid: int) -> User:
    return User(f"uid {uid}", frozenset())
