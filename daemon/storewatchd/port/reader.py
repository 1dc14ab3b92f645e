"""The daemon's end of the reader's socket: asks rows of the table, many at a time."""

import asyncio
import contextlib
import logging
import os
import signal
import socket
import struct
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn, cast

import storewatch_reader
from storewatch_reader import attributes
from storewatch_reader.message import BadMessage, Unpacker, pack
from storewatch_reader.table import ROWS, Row, ToolRow, TreeRow, digest
from storewatchd import process
from storewatchd.clock import Clock
from storewatchd.errors import (
    ProbeAbsent,
    ProbeDeferred,
    ProbeFailed,
    ReadRefused,
    ReadStuck,
)
from storewatchd.interpreter import aside
from storewatchd.port import Heard, Reading

logger = logging.getLogger(__name__)

MARGIN_S = 5.0
"""How much longer than the reader may take an answer is waited for: it may hang itself."""

MANY_ATTRIBUTES = 4_096
"""From how many on a tree takes longer to convert than the loop may stand still."""

LISTEN_AGAIN_S = 1.0
"""How soon a watch is asked for again that ended with its connection, or could not be asked for."""

HEAP = {"MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "65536"}
"""So the reader gives back what large answers took (mallopt(3)); its unit says the same."""

LOOK_AGAIN_S = 60.0
"""How often the socket is tried while a reader of our own stands in."""


class ReaderPort:
    """A connection to the reader, made when it is needed and made again when it breaks.

    Where no reader listens at the socket, one of our own is started, by a socket pair. It stands in
    until one listens there: `look_again_s` is how often that is tried. `own_options` are what it is
    started with besides.
    """

    def __init__(
        self,
        path: Path,
        clock: Clock,
        *,
        own_lock_directory: Path,
        own_options: Sequence[str] = (),
        program: Sequence[str] = (sys.executable, "-m", "storewatch_reader"),
        rows: Mapping[str, Row] = ROWS,
        margin_s: float = MARGIN_S,
        look_again_s: float = LOOK_AGAIN_S,
    ) -> None:
        self._path = path
        self._clock = clock
        self._own_lock_directory = own_lock_directory
        self._own_options = own_options
        self._program = program
        self._rows = rows
        self._margin_s = margin_s
        self._look_again_s = look_again_s
        self._next_look = 0.0  # at the socket, monotonic
        self._child: process.Child | None = None
        self._watch: process.Watch | None = None
        self._protocol: _Protocol | None = None
        self._connecting = asyncio.Lock()
        # A plan is a digest of its paths, so it stays true when another reader answers.
        self._plans: dict[tuple[str, str], _Plan] = {}

    async def read(self, row: str, object_id: str = "") -> Reading:
        """Return the answer to a row; see `Port.read` for what it raises."""
        about = self._rows[row]
        request: dict[str, Any] = {"verb": about.verb, "row": row, "object": object_id}
        known = self._plans.get((row, object_id))
        if known is not None:
            request["plan"] = known.digest
        began = self._clock.monotonic()
        try:
            # A read may wait for its turn as long as it may take then.
            async with asyncio.timeout(2 * about.answer_by_s + self._margin_s):
                protocol = await self._connected()
                header, blob = await protocol.ask(request)
        except TimeoutError as error:
            raise ProbeFailed(f"the reader does not answer ({row})") from error
        _check(header)
        match about:
            case TreeRow():
                value = await self._attributes((row, object_id), known, header, blob)
            case ToolRow():
                value = {**header["value"], "stdout": blob}
            case _:
                value = header["value"]
        # What comes of a slow read is older than its answer.
        at = self._clock.wall() - float(header.get("age", 0.0))
        return Reading(value, at, self._clock.monotonic() - began)

    async def listen(self, row: str, take: Callable[[Heard], None]) -> NoReturn:
        """Hand over what a row of the verb `watch` tells, until cancelled. It is asked for anew
        whenever the connection is lost; where it cannot be, that is told. Who listens again to the
        same has the reader look at once whether there is something to listen to by now."""
        is_heard = False

        def note(heard: Heard) -> None:
            nonlocal is_heard
            is_heard = True
            take(heard)

        while True:
            is_heard = False
            try:
                async with asyncio.timeout(self._margin_s):
                    protocol = await self._connected()
                await protocol.listen({"verb": "watch", "row": row}, note)
                # One that comes back at once, as after a restart, is no failure.
                failure = "" if is_heard else "the reader is gone"
            except TimeoutError:
                failure = "the reader does not answer"
            except ProbeFailed as error:
                failure = error.reason
            if failure:
                take(Heard("failed", failure))
                await asyncio.sleep(LISTEN_AGAIN_S)

    async def close(self) -> None:
        """Let go of the reader; one of our own ends. Stuck workers are left behind."""
        if self._protocol is not None:
            self._protocol.close()
            self._protocol = None
        await self._end_child()

    def _note_death(self) -> None:
        """Say how a reader of our own ended; the next read starts another."""
        if self._child is not None and self._child.poll() is not None:
            ending = process.explain_status(self._child.returncode)
            logger.warning(
                "the reader of our own (pid %d) %s; starting it again with the next read",
                *(self._child.pid, ending),
            )
            self._child = None

    async def _reap_child(self) -> None:
        """Let a reader of our own whose connection is lost come to its end."""
        if self._child is not None:
            await process.ended(self._child, within_s=1.0)
            self._note_death()
        await self._end_child()

    async def _end_child(self) -> None:
        if self._watch is not None:
            self._watch.end()
            self._watch = None
        if self._child is not None:
            await process.stop(self._child, signal_first=signal.SIGTERM, within_s=1.0)
            self._child = None

    async def _attributes(
        self, tree: tuple[str, str], known: "_Plan | None", header: dict[str, Any], blob: bytes
    ) -> dict[str, bytes | int]:
        """Return what a tree holds; `known` is the plan that the request named."""
        what = " ".join(tree).strip()
        if "count" not in header:
            raise ProbeFailed(f"the reader is of another version: restart it ({what})")
        try:
            if header["count"] < MANY_ATTRIBUTES:
                plan, value = _converted(known, header, blob)
            else:
                plan, value = await aside(_converted, known, header, blob)
        except _LeftOut:
            raise ProbeFailed(f"the reader left out the paths of {what}") from None
        except (attributes.BadAttributes, struct.error, KeyError, TypeError) as error:
            raise ProbeFailed(f"the reader's answer of {what} is damaged: {error!r}") from error
        self._plans[tree] = plan
        return value

    async def _connected(self) -> "_Protocol":
        async with self._connecting:
            if self._protocol is None or not self._protocol.is_open:
                await self._reap_child()
                self._protocol = await self._connect()
            elif self._is_time_to_look(self._protocol):
                await self._prefer_the_socket(self._protocol)
            return self._protocol

    async def _connect(self) -> "_Protocol":
        try:
            return await self._reach()
        except (FileNotFoundError, ConnectionRefusedError):
            self._next_look = self._clock.monotonic() + self._look_again_s
            ours = self._spawn()
            loop = asyncio.get_running_loop()
            _, protocol = await loop.create_unix_connection(_Protocol, sock=ours)
            await self._greet(protocol)
            return protocol
        except PermissionError as error:
            raise ProbeFailed(f"the reader's socket {self._path} is closed to us") from error
        except OSError as error:
            why = error.strerror or error
            raise ProbeFailed(
                f"the reader's socket {self._path} cannot be reached: {why}"
            ) from error

    async def _reach(self) -> "_Protocol":
        """Return a connection to the reader that listens at the socket.

        Raises:
            OSError: none can be made.
            ProbeFailed: what listens there does not let us ask.
        """
        loop = asyncio.get_running_loop()
        _, protocol = await loop.create_unix_connection(_Protocol, str(self._path))
        await self._greet(protocol)
        logger.info("connected to the reader at %s", self._path)
        return protocol

    def _is_time_to_look(self, protocol: "_Protocol") -> bool:
        # Nobody asks anew meanwhile: so no read is lost when our own reader ends.
        is_our_own = self._child is not None and protocol.is_idle
        return is_our_own and self._clock.monotonic() >= self._next_look

    async def _prefer_the_socket(self, protocol: "_Protocol") -> None:
        """Leave our own reader where another one can be asked by now."""
        self._next_look = self._clock.monotonic() + self._look_again_s
        try:
            self._protocol = await self._reach()
        except (OSError, ProbeFailed) as error:
            logger.debug("our own reader stands in still: %s", error)
        else:
            await self._end_child()
            protocol.close()

    async def _greet(self, protocol: "_Protocol") -> None:
        try:
            async with asyncio.timeout(self._margin_s):
                hello, _ = await protocol.ask({"verb": "hello"})
            if "error" in hello:
                raise ProbeFailed(str(hello.get("message")))
        except TimeoutError as error:
            protocol.close()
            raise ProbeFailed("the reader does not answer") from error
        except BaseException:
            protocol.close()
            raise
        if hello.get("table") != digest():
            logger.warning("the reader is of another version: restart storewatch-reader")

    def _spawn(self) -> socket.socket:
        """Start a reader of our own; return our end of its socket."""
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        with theirs:
            try:
                self._child = process.spawn(
                    [
                        *(*self._program, "--fd", str(theirs.fileno())),
                        *("--lock-directory", str(self._own_lock_directory)),
                        *self._own_options,
                    ],
                    pass_fds=(theirs.fileno(),),
                    env={"PYTHONPATH": _package_root(), **HEAP},
                )
            except process.CommandFailed as error:
                ours.close()
                raise ProbeFailed(f"no reader can be started: {error}") from error
        with contextlib.suppress(ProcessLookupError):
            self._watch = process.Watch(self._child.pid, self._note_death)
        unprivileged = "" if os.geteuid() == 0 else "; what needs root will say so"
        logger.info("started a reader of our own (pid %d)%s", self._child.pid, unprivileged)
        return ours


class _Protocol(asyncio.Protocol):
    """Numbers requests and matches answers to them."""

    def __init__(self) -> None:
        self._transport: asyncio.Transport | None = None
        self._unpacker = Unpacker()
        self._next = 0
        self._end = "the reader is gone"
        self._waiting: dict[int, asyncio.Future[tuple[dict[str, Any], bytes]]] = {}
        self._heard: dict[int, Callable[[Heard], None]] = {}
        self._lost = asyncio.Event()

    @property
    def is_open(self) -> bool:
        return self._transport is not None and not self._transport.is_closing()

    @property
    def is_idle(self) -> bool:
        """Whether nobody waits for an answer."""
        return not self._waiting

    async def ask(self, request: dict[str, Any]) -> tuple[dict[str, Any], bytes]:
        """Return the header and blob of the answer.

        Raises:
            ProbeFailed: the reader is gone.
        """
        if self._transport is None or self._transport.is_closing():
            raise ProbeFailed(self._end)
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

    async def listen(self, request: dict[str, Any], take: Callable[[Heard], None]) -> None:
        """Hand over what is told of a request until the connection ends.

        Raises:
            ProbeFailed: the reader is gone.
        """
        if self._transport is None or self._transport.is_closing():
            raise ProbeFailed(self._end)
        self._next += 1
        number = self._next
        self._heard[number] = take
        self._transport.write(pack({"id": number, **request}))
        try:
            await self._lost.wait()
        finally:
            del self._heard[number]

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
            if header.get("id") is None:  # it refuses us as a whole
                self._end = str(header.get("message", self._end))
                self.close()
                return
            take = self._heard.get(header["id"])
            if take is not None:
                take(_heard(header, blob))
                continue
            answer = self._waiting.get(header["id"])
            if answer is not None and not answer.done():
                answer.set_result((header, blob))

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        self._lost.set()
        for answer in self._waiting.values():
            if not answer.done():
                answer.set_exception(ProbeFailed(self._end))


@dataclass(frozen=True, slots=True)
class _Plan:
    """The paths of a tree, and their digest, by which the reader leaves them out."""

    digest: str
    paths: list[str]


def _check(header: dict[str, Any]) -> None:
    """Raise what an answer refuses with."""
    message = str(header.get("message", "the reader refused"))
    match header.get("error"):
        case None:
            return
        case "stuck":
            raise ReadStuck(message, key=str(header["key"]), since=float(header["since"]))
        case "absent":
            raise ProbeAbsent(message)
        case "deferred":
            raise ProbeDeferred(message)
        case "refused":
            raise ReadRefused(message, errno=int(header["errno"]))
        case _:
            raise ProbeFailed(message)


class _LeftOut(Exception):
    """An answer has no paths, and those of its plan are not known."""


def _converted(
    known: _Plan | None, header: dict[str, Any], blob: bytes
) -> tuple[_Plan, dict[str, bytes | int]]:
    """Return the plan of an answer of a tree, and what the tree holds."""
    if known is None or known.digest != header["plan"]:
        paths = attributes.paths(header, blob)
        if paths is None:
            raise _LeftOut
        known = _Plan(header["plan"], paths)
    return known, attributes.attributes(known.paths, header, blob)


def _heard(header: dict[str, Any], blob: bytes) -> Heard:
    """Return what one answer to a watch says; a reader that knows no watch refuses."""
    if "error" in header:
        return Heard("failed", str(header.get("message", "the reader refused")))
    if "state" in header:
        return Heard(str(header["state"]), str(header["message"]))
    records, start = [], 0
    for length in header["lengths"]:
        records.append(blob[start : start + length])
        start += length
    patterns = tuple(header["patterns"])
    return Heard("", "", tuple(records), patterns, header["more"], header["lost"])


def _package_root() -> str:
    """Return where the reader's package lies: an editable install's hook is not the child's."""
    return str(Path(storewatch_reader.__file__).parent.parent)
