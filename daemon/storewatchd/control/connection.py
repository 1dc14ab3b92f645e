"""One client of the control socket: lines in, lines out, and its subscriptions.

Reading stops while the client does not take its answers, has too many calls under way, or waits
for its turn, so a client can only slow itself. A client that ends its side still gets the answers
to what it asked; what goes on by itself, a subscription or a recording, ends with that: nobody may
be there any more to take it.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Coroutine
from typing import Any, cast

from storewatch.wire import Code, LineSplitter, OversizedLine, encode
from storewatch.wire.framing import MAX_REQUEST_BYTES
from storewatchd.control.dispatch import Dispatcher
from storewatchd.core.permissions import Caller

logger = logging.getLogger(__name__)

MAX_CALLS = 64
"""How many calls of one connection may wait for something at the same time."""

CALL_TIMEOUT_S = 60.0

WRITE_BYTES = 65536
"""Prompt answers are written together up to about this size."""


class Connection(asyncio.Protocol):
    """One accepted connection. `spawn` gives a coroutine to the server's task group."""

    def __init__(
        self,
        dispatcher: Dispatcher,
        *,
        admit: Callable[["Connection", asyncio.Transport], Caller | str | asyncio.Task[Caller]],
        spawn: Callable[[Coroutine[Any, Any, None]], asyncio.Task[None]],
        closed: Callable[["Connection"], None],
    ) -> None:
        self._dispatcher = dispatcher
        self._admit = admit
        self._spawn = spawn
        self._closed = closed
        self._lines = LineSplitter(MAX_REQUEST_BYTES)
        self._transport: asyncio.Transport | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._lasting: set[asyncio.Task[None]] = set()  # of these, those that end with the client
        self._writable = asyncio.Event()
        self._writable.set()
        self._pending: deque[bytes] = deque()
        self._calls = 0
        self._is_admitted = False
        self._waits_for_turn = False
        self._ended_by_client = False
        self.caller = Caller("nobody", frozenset())

    # The asyncio.Protocol side.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports are no subclasses of asyncio's.
        self._transport = cast("asyncio.Transport", transport)
        verdict = self._admit(self, self._transport)
        if isinstance(verdict, str):
            self._refuse(Code.LIMIT_REACHED, verdict)
        elif isinstance(verdict, Caller):
            self._take_in(verdict)
        else:
            verdict.add_done_callback(self._judged)

    def data_received(self, data: bytes) -> None:
        try:
            self._pending.extend(self._lines.feed(data))
        except OversizedLine as error:
            self._refuse(Code.INVALID_REQUEST, str(error))
            return
        self._work()

    def eof_received(self) -> bool:
        if self._lines.unfinished:
            self._refuse(Code.PARSE_ERROR, "the connection ended in the middle of a message")
            return False
        self._ended_by_client = True
        for task in self._lasting:
            task.cancel()
        return self._is_busy()

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        self._pending.clear()
        self._writable.set()
        for task in self._tasks:
            task.cancel()
        self._closed(self)

    def pause_writing(self) -> None:
        self._writable.clear()
        self._regulate()

    def resume_writing(self) -> None:
        self._writable.set()
        self._work()

    # For the server and the subscriptions.

    @property
    def is_open(self) -> bool:
        return self._transport is not None and not self._transport.is_closing()

    def run(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Run work that ends, at the latest, when the client ends its side."""
        task = self._begin(work)
        self._lasting.add(task)
        if self._ended_by_client:
            task.cancel()
        return task

    def send(self, line: bytes) -> None:
        """Write one line; what the client does not take is kept until it does."""
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(line + b"\n")

    async def writable(self) -> None:
        """Wait until the client has taken most of what was written, or is gone."""
        await self._writable.wait()

    def abandon(self) -> None:
        """Close at once, whatever is under way: the daemon stops."""
        for task in self._tasks:
            task.cancel()
        self.close()

    def close(self) -> None:
        """Close after what was written has been sent."""
        if self._transport is not None:
            self._transport.close()

    def _judged(self, verdict: "asyncio.Task[Caller]") -> None:
        if not verdict.cancelled():
            self._take_in(verdict.result())
            self._work()

    def _take_in(self, caller: Caller) -> None:
        self.caller = caller
        self._is_admitted = True

    def _begin(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = self._spawn(work)
        self._tasks.add(task)
        task.add_done_callback(self._task_done)
        return task

    def _task_done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        self._lasting.discard(task)
        self._close_if_over()

    def _close_if_over(self) -> None:
        if self._ended_by_client and not self._is_busy():
            self.close()

    def _is_busy(self) -> bool:
        return bool(self._tasks or self._pending)

    def _work(self) -> None:
        """Answer waiting lines while the client takes the answers and has calls left, and for as
        long as the loop may be held."""
        turns = self._dispatcher.turns
        replies: list[bytes] = []
        replies_size = 0
        while self._pending and self._may_answer():
            if not turns.has_room:
                self._wait_for_turn()
                break
            with turns.taken():
                answer = self._dispatcher.answer(self._pending.popleft(), self)
            if isinstance(answer, Coroutine):
                self._calls += 1
                turns.charge_waiting()
                self._begin(self._finish_call(answer))
            elif answer is not None:
                replies.append(answer)
                replies_size += len(answer)
                if replies_size > WRITE_BYTES:
                    self.send(b"\n".join(replies))
                    replies, replies_size = [], 0
        if replies:
            self.send(b"\n".join(replies))
        self._regulate()
        self._close_if_over()

    def _may_answer(self) -> bool:
        return self._is_admitted and self._writable.is_set() and self._calls < MAX_CALLS

    def _wait_for_turn(self) -> None:
        if not self._waits_for_turn:
            self._waits_for_turn = True
            self._dispatcher.turns.later(self._go_on)

    def _go_on(self) -> None:
        self._waits_for_turn = False
        self._work()

    async def _finish_call(self, answer: Coroutine[Any, Any, bytes | None]) -> None:
        try:
            async with asyncio.timeout(CALL_TIMEOUT_S):
                line = await answer
            if line is not None:
                self.send(line)
        except TimeoutError:
            logger.warning(
                "a call of %s took over %g s and was ended", self.caller.name, CALL_TIMEOUT_S
            )
            self._refuse(Code.UNAVAILABLE, "a call took too long")
        finally:
            self._calls -= 1
            self._work()

    def _regulate(self) -> None:
        if self._transport is None or self._transport.is_closing():
            return
        if not self._pending and self._may_answer():
            self._transport.resume_reading()
        else:
            self._transport.pause_reading()

    def _refuse(self, code: Code, message: str) -> None:
        self.send(
            encode({"jsonrpc": "2.0", "error": {"code": code, "message": message}, "id": None})
        )
        self.close()
