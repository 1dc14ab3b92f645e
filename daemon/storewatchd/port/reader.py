"""The daemon's end of the reader's socket: asks rows of the table, many at a time."""

import asyncio
import logging
import os
import signal
import socket
import sys
from pathlib import Path
from typing import Any, cast

import storewatch_reader
from storewatch_reader.message import BadMessage, Unpacker, pack
from storewatch_reader.table import ROWS, TreeRow, digest
from storewatchd import process
from storewatchd.clock import Clock
from storewatchd.errors import ProbeFailed, ReadRefused, ReadStuck
from storewatchd.port import Reading

logger = logging.getLogger(__name__)

MARGIN_S = 5.0
"""How much longer than its row's bound an answer is waited for: the reader itself may hang."""


class ReaderPort:
    """A connection to the reader, made when it is needed and made again when it breaks.

    Where no reader listens at the socket, one of our own is started, by a socket pair.
    """

    def __init__(self, path: Path, clock: Clock, *, own_lock_directory: Path) -> None:
        self._path = path
        self._clock = clock
        self._own_lock_directory = own_lock_directory
        self._child: process.Child | None = None
        self._protocol: _Protocol | None = None
        self._connecting = asyncio.Lock()
        self._trees: dict[str, tuple[str, list[str]]] = {}

    async def read(self, row: str, object_id: str = "") -> Reading:
        """Return the answer to a row; see `Port.read` for what it raises."""
        about = ROWS[row]
        request: dict[str, Any] = {"verb": about.verb, "row": row, "object": object_id}
        known = self._trees.get(row)
        if known is not None:
            request["plan"] = known[0]
        began = self._clock.monotonic()
        protocol = await self._connected()
        try:
            async with asyncio.timeout(about.answer_by_s + MARGIN_S):
                header, blob = await protocol.ask(request)
        except TimeoutError as error:
            raise ProbeFailed(f"the reader does not answer ({row})") from error
        value = self._value(row, header, blob)
        return Reading(value, self._clock.wall(), self._clock.monotonic() - began)

    async def close(self) -> None:
        """Let go of the reader; one of our own ends. Stuck workers are left behind."""
        if self._protocol is not None:
            self._protocol.close()
            self._protocol = None
        if self._child is not None:
            await process.stop(self._child, signal_first=signal.SIGTERM, within_s=1.0)
            self._child = None

    def _value(self, row: str, header: dict[str, Any], blob: bytes) -> Any:
        error = header.get("error")
        message = str(header.get("message", "the reader refused"))
        match error:
            case None:
                pass
            case "stuck":
                raise ReadStuck(message, key=str(header["key"]), since=float(header["since"]))
            case "refused":
                raise ReadRefused(message, errno=int(header["errno"]))
            case _:
                raise ProbeFailed(message)
        if not isinstance(ROWS[row], TreeRow):
            return header["value"]
        if "paths" in header:
            self._trees[row] = (header["plan"], header["paths"])
        known = self._trees.get(row)
        if known is None or known[0] != header["plan"]:
            raise ProbeFailed(f"the reader left out the paths of {row}")
        return _attributes(known[1], header["lengths"], blob)

    async def _connected(self) -> "_Protocol":
        async with self._connecting:
            if self._protocol is not None and self._protocol.is_open:
                return self._protocol
            loop = asyncio.get_running_loop()
            try:
                _, protocol = await loop.create_unix_connection(_Protocol, str(self._path))
                logger.info("connected to the reader at %s", self._path)
            except PermissionError as error:
                raise ProbeFailed(f"the reader's socket {self._path} is closed to us") from error
            except OSError:
                _, protocol = await loop.create_unix_connection(_Protocol, sock=self._spawn())
            self._protocol = protocol
            self._trees.clear()
            await self._greet(protocol)
            return protocol

    async def _greet(self, protocol: "_Protocol") -> None:
        try:
            async with asyncio.timeout(MARGIN_S):
                hello, _ = await protocol.ask({"verb": "hello"})
        except TimeoutError as error:
            protocol.close()
            raise ProbeFailed("the reader does not answer") from error
        if "error" in hello:
            protocol.close()
            raise ProbeFailed(str(hello.get("message")))
        if hello.get("table") != digest():
            logger.warning("the reader is of another version: restart storewatch-reader")

    def _spawn(self) -> socket.socket:
        """Start a reader of our own; return our end of its socket."""
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        with theirs:
            self._child = process.spawn(
                [
                    *(sys.executable, "-m", "storewatch_reader", "--fd", str(theirs.fileno())),
                    *("--lock-directory", str(self._own_lock_directory)),
                ],
                pass_fds=(theirs.fileno(),),
                env={"PYTHONPATH": _package_root()},
            )
        unprivileged = "" if os.geteuid() == 0 else "; what needs root will say so"
        logger.info("started a reader of our own (pid %d)%s", self._child.pid, unprivileged)
        return ours


class _Protocol(asyncio.Protocol):
    """Numbers requests and matches answers to them."""

    def __init__(self) -> None:
        self._transport: asyncio.Transport | None = None
        self._unpacker = Unpacker()
        self._next = 0
        self._waiting: dict[int, asyncio.Future[tuple[dict[str, Any], bytes]]] = {}

    @property
    def is_open(self) -> bool:
        return self._transport is not None and not self._transport.is_closing()

    async def ask(self, request: dict[str, Any]) -> tuple[dict[str, Any], bytes]:
        """Return the header and blob of the answer.

        Raises:
            ProbeFailed: the reader is gone.
        """
        if self._transport is None or self._transport.is_closing():
            raise ProbeFailed("the reader is gone")
        self._next += 1
        number = self._next
        answer: asyncio.Future[tuple[dict[str, Any], bytes]] = (
            asyncio.get_running_loop().create_future()
        )
        self._waiting[number] = answer
        self._transport.write(pack({"id": number, **request}))
        try:
            return await answer
        finally:
            self._waiting.pop(number, None)

    def close(self) -> None:
        if self._transport is not None:
            self._transport.close()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports are no subclasses of asyncio's.
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        try:
            messages = self._unpacker.feed(data)
        except BadMessage as error:
            logger.error("the reader is out of step: %s", error)
            self.close()
            return
        for header, blob in messages:
            answer = self._waiting.get(header.get("id", 0))
            if answer is not None and not answer.done():
                answer.set_result((header, blob))

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        for answer in self._waiting.values():
            if not answer.done():
                answer.set_exception(ProbeFailed("the reader is gone"))


def _attributes(paths: list[str], lengths: list[int], blob: bytes) -> dict[str, bytes | int]:
    found: dict[str, bytes | int] = {}
    start = 0
    for path, length in zip(paths, lengths, strict=True):
        if length < 0:
            found[path] = length
        else:
            found[path] = blob[start : start + length]
            start += length
    return found


def _package_root() -> str:
    """Return where the reader's package lies: an editable install's hook is not the child's."""
    return str(Path(storewatch_reader.__file__).parent.parent)
