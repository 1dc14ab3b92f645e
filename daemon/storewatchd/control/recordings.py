"""Sends a recording to the connection that asked for it, while it is being made.

The daemon keeps nothing of it: who asks writes the file, with their own rights.
"""

import asyncio
import base64
import itertools
import logging
from collections.abc import Callable, Sequence
from typing import Any

from storewatch.wire import encode
from storewatchd.control.dispatch import Call
from storewatchd.core import recording
from storewatchd.core.inputs import Input
from storewatchd.core.model import Instant
from storewatchd.errors import LimitReached
from storewatchd.monitor import Monitor
from storewatchd.monitor.batch import Batch
from storewatchd.port.tap import Fact, TappedPort

logger = logging.getLogger(__name__)

MAX_WAITING_BYTES = 64 << 20
"""How much may wait for a client that does not take it before the recording ends."""

FLUSH_S = 1.0
CHUNK_BYTES = 1 << 20


class Recordings:
    """At most one recording at a time."""

    def __init__(self, monitor: Monitor, port: TappedPort, version: str) -> None:
        self._monitor = monitor
        self._port = port
        self._version = version
        self._numbers = itertools.count(1)
        self._is_busy = False

    def start(self, call: Call, for_s: float) -> str:
        """Begin a recording of so many seconds for a connection; return its id.

        Raises:
            LimitReached: one is under way.
        """
        if self._is_busy:
            raise LimitReached("a recording is under way already")
        self._is_busy = True
        name = f"r{next(self._numbers)}"
        call.connection.run(self._record(name, call, for_s))
        return name

    async def _record(self, name: str, call: Call, for_s: float) -> None:
        connection = call.connection
        writer = recording.Writer()
        waiting = bytearray()

        def take(message: list[Any]) -> None:
            waiting.extend(writer.write(message))

        def take_fact(fact: Fact) -> None:
            take(
                ["fact", fact.at, fact.duration_s, fact.row, fact.object, fact.outcome, fact.value]
            )

        def take_round(now: Instant, inputs: Sequence[Input], batch: Batch) -> None:
            take(recording.round_message(now, inputs))
            if batch.transitions:
                take(recording.transitions_message(batch.transitions))

        loop = asyncio.get_running_loop()
        until = loop.time() + for_s
        reason = "the time is over"
        logger.info("%s records for %g s", call.caller.name, for_s)
        try:
            start = await self._monitor.start_recording(take_round)
            take(["start", {"version": self._version, **start}])
            self._port.listener = take_fact
            while (left := until - loop.time()) > 0:
                await asyncio.sleep(min(FLUSH_S, left))
                waiting.extend(writer.flush())
                if len(waiting) > MAX_WAITING_BYTES:
                    reason = "the client did not take what was recorded"
                    break
                await self._send(connection.send, connection.writable, name, waiting)
            self._stop()
            take(["end", reason])
            waiting.extend(writer.finish())
            await self._send(connection.send, connection.writable, name, waiting)
            connection.send(_notification("end", {"recording": name, "reason": reason}))
        finally:
            self._stop()
            self._is_busy = False

    def _stop(self) -> None:
        self._port.listener = None
        self._monitor.stop_recording()

    @staticmethod
    async def _send(
        send: Callable[[bytes], None], writable: Any, name: str, waiting: bytearray
    ) -> None:
        while waiting:
            chunk = bytes(waiting[:CHUNK_BYTES])
            del waiting[:CHUNK_BYTES]
            data = base64.b64encode(chunk).decode()
            send(_notification("recording", {"recording": name, "data": data}))
            await writable()


def _notification(method: str, params: dict[str, Any]) -> bytes:
    return encode({"jsonrpc": "2.0", "method": method, "params": params})
