"""Watches: one long-lived worker a row, whose words go to everybody that listens.

A worker ends with its last listener. One that ends by itself is started again: soon where a device
was let go, later where it is not there, and ever later where it fails. What a listener is too slow
to take is dropped and counted, and the count is told when there is room again.
"""

import contextlib
import os
import signal
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from storewatch_reader import clock
from storewatch_reader.keys import Keys
from storewatch_reader.message import BadMessage, Unpacker
from storewatch_reader.roots import Roots
from storewatch_reader.table import WatchRow
from storewatch_reader.workers import fork

MAX_BACKLOG_BYTES = 1 << 20
"""How much may wait for a listener before records are dropped."""

TELL_LOST_EVERY_S = 1.0

AGAIN_S = {"deferred": 5.0, "absent": 15.0, "forbidden": 60.0}
"""How soon a worker is started again, by how the one before ended."""

FIRST_AGAIN_S, LAST_AGAIN_S = 1.0, 60.0
"""How soon after a failure, and after many in a row."""


@dataclass(eq=False)
class Listener:
    """One that listens. `backlog` says how many bytes wait for it."""

    send: Callable[[dict[str, Any], bytes], None]
    backlog: Callable[[], int]
    lost: int = 0

    def tell(self, header: dict[str, Any], blob: bytes = b"") -> None:
        """Pass on a message; one with records is dropped where too much waits."""
        if "lengths" not in header:
            self.send(header, blob)
        elif self.backlog() > MAX_BACKLOG_BYTES:
            self.lost += len(header["lengths"]) + sum(header["more"].values()) + header["lost"]
        else:
            lost, self.lost = self.lost, 0
            self.send({**header, "lost": header["lost"] + lost}, blob)

    def tell_lost(self) -> None:
        """Say what was dropped, where there is room for that by now."""
        if self.lost:
            self.tell({"lengths": [], "patterns": [], "more": {}, "lost": 0})


@dataclass
class Watch:
    """What is listened to, by whom, and its worker."""

    row: WatchRow
    listeners: list[Listener] = field(default_factory=list)
    state: str = ""  # how the worker stands; empty before it has said
    told: dict[str, Any] | None = None  # what listeners know of that
    pid: int = 0
    pipe: int = -1  # of the worker that is alive
    began: float = 0.0
    is_killed: bool = False  # it is not heard any more
    is_asked_again: bool = False  # while a worker came to its end
    due: float = 0.0  # when a worker is to be started, monotonic
    failures: int = 0  # in a row
    unpacker: Unpacker = field(default_factory=Unpacker)

    def tell(self, state: str, message: str = "") -> None:
        """Take note of how it stands, and say so where that is news."""
        self.state = state
        header = {"state": state, "message": message}
        if header != self.told:
            self.told = header
            for listener in self.listeners:
                listener.tell(header)

    def is_late(self, age_s: float) -> bool:
        """Whether the worker should have said by now how it stands."""
        return self.pipe >= 0 and not self.state and age_s >= self.row.answer_by_s

    def is_hopeless(self, age_s: float) -> bool:
        """Whether the worker will not say any more how it stands."""
        is_stuck = self.pipe >= 0 and self.state == "stuck" and not self.is_killed
        return is_stuck and age_s >= self.row.kill_after_s


class Watches:
    """The watches of a reader, by row. Telling a listener something may be what ends it."""

    def __init__(self, roots: Roots, lock_directory: str) -> None:
        self._roots = roots
        self._keys = Keys(lock_directory)
        self._watches: dict[str, Watch] = {}

    def listen(self, row: WatchRow, listener: Listener) -> None:
        """Let one more listen. What has no worker gets one now."""
        watch = self._watches.setdefault(row.name, Watch(row))
        watch.listeners.append(listener)
        if watch.pipe < 0:
            watch.due = 0.0
        elif watch.state in AGAIN_S or watch.state == "failed":
            watch.told, watch.is_asked_again = None, True  # its worker has said its last word
        elif watch.told is not None and not watch.is_killed:
            listener.tell(watch.told)

    def forget(self, listeners: Collection[Listener]) -> None:
        """Let go of those that listen no more; a worker that nobody hears is ended."""
        for name, watch in tuple(self._watches.items()):
            watch.listeners = [one for one in watch.listeners if one not in listeners]
            if not watch.listeners:
                _end(watch)
                if watch.pipe < 0:
                    del self._watches[name]

    def close(self) -> None:
        """End all workers; their pipes end with the reader."""
        for watch in tuple(self._watches.values()):
            _end(watch)

    def start(self) -> list[int]:
        """Start the workers that are due; return their pipes."""
        now = clock.monotonic()
        pipes = []
        for watch in tuple(self._watches.values()):
            if watch.pipe < 0 and watch.due <= now and watch.listeners:
                self._begin(watch, now)
                if watch.pipe >= 0:
                    pipes.append(watch.pipe)
        return pipes

    def owns(self, pipe: int) -> bool:
        return any(watch.pipe == pipe for watch in self._watches.values())

    def has_ended(self, pipe: int) -> bool:
        """Take what a worker says, and pass it on; return whether that was all."""
        watch = self._by_pipe(pipe)
        try:
            chunk = os.read(pipe, 1 << 18)
        except BlockingIOError:
            return False
        if watch.is_killed:
            return not chunk
        try:
            for header, blob in watch.unpacker.feed(chunk):
                if "state" in header:
                    watch.tell(header["state"], header.get("message", ""))
                    continue
                for listener in watch.listeners:
                    listener.tell(header, blob)
        except BadMessage:
            return True
        return not chunk

    def reap(self, pipe: int) -> None:
        """Let go of a worker that has ended, and settle when there will be another."""
        watch = self._by_pipe(pipe)
        _kill(watch.pid)  # one that said what is no message has not ended by itself
        os.close(pipe)
        watch.pipe = -1
        os.waitpid(watch.pid, 0)
        if not watch.listeners:
            del self._watches[watch.row.name]
            return
        if watch.is_asked_again or (watch.is_killed and watch.state != "stuck"):
            # Who listens now came after its end was asked for, or known.
            watch.told, watch.due, watch.is_asked_again = None, 0.0, False
            return
        if watch.state in ("", "listening", "stuck"):
            watch.tell("failed", f"the worker of {watch.row.name} has ended")
        self._put_off(watch)

    def next_deadline(self) -> float | None:
        """Return in how many seconds there is something to do, None for never."""
        now = clock.monotonic()
        waits = []
        for watch in self._watches.values():
            if watch.pipe < 0:
                waits.append(watch.due - now)
            elif not watch.state:
                waits.append(watch.began + watch.row.answer_by_s - now)
            elif watch.state == "stuck" and not watch.is_killed:
                waits.append(watch.began + watch.row.kill_after_s - now)
            if any(one.lost for one in watch.listeners):
                waits.append(TELL_LOST_EVERY_S)
        return max(0.0, min(waits)) if waits else None

    def tick(self) -> None:
        """Say of workers that have not begun to listen that they have not, end those that never
        do, and tell what was dropped."""
        now = clock.monotonic()
        for watch in tuple(self._watches.values()):
            if watch.is_late(now - watch.began):
                watch.tell("stuck", f"{watch.row.node} cannot be opened: it does not answer")
            if watch.is_hopeless(now - watch.began):
                _end(watch)
            for listener in watch.listeners:
                listener.tell_lost()

    def _by_pipe(self, pipe: int) -> Watch:
        (watch,) = (one for one in self._watches.values() if one.pipe == pipe)
        return watch

    def _begin(self, watch: Watch, now: float) -> None:
        watch.unpacker, watch.began, watch.is_killed, watch.state = Unpacker(), now, False, ""
        try:
            lock, _ = self._keys.take(watch.row.key(""))
            if lock is not None:
                watch.pid, watch.pipe = fork(partial(_listen, self._roots, watch.row), [lock])
                return
            watch.tell("failed", f"a worker of {watch.row.name} from before has not ended")
        except OSError as error:
            watch.tell("failed", f"no worker can be started: {error.strerror}")
        self._put_off(watch)

    @staticmethod
    def _put_off(watch: Watch) -> None:
        now = clock.monotonic()
        if watch.state in AGAIN_S:
            watch.failures, wait_s = 0, AGAIN_S[watch.state]
        else:
            # A worker that lasted has not failed before.
            watch.failures = 1 if now - watch.began > LAST_AGAIN_S else watch.failures + 1
            wait_s = min(LAST_AGAIN_S, FIRST_AGAIN_S * 2.0 ** min(watch.failures - 1, 10))
        watch.due = now + wait_s


def _end(watch: Watch) -> None:
    """Have a worker end, if there is one; its pipe tells when it has."""
    if watch.pipe >= 0:
        watch.is_killed = True
        _kill(watch.pid)


def _kill(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


def _listen(roots: Roots, row: WatchRow, pipe: int) -> None:
    # What listens is loaded in the worker only: the reader itself stays small.
    from storewatch_reader.listen import listen

    listen(roots, row, pipe)
