"""Disposable workers: one forked process a read, so that a stuck device costs one of them.

Only so many reads are under way at once; the others wait for their turn, in the order in which
they came. A stuck one holds up nobody's turn, and only so many of these may be left behind.

A worker holds its key's lock file until it is gone, whatever becomes of the reader: locked means
closed. Past `answer_by` the asker is told that the read is stuck; past `kill_after` the worker is
killed, and where the kernel does not let it die it is abandoned and its key stays closed until it
does.

A read that is slow is not stuck: what comes too late for its asker is kept for a while, and given,
with its age, to the next one whose own read is late.
"""

import errno
import fcntl
import hashlib
import os
import signal
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NoReturn

from storewatch_reader import clock, reads
from storewatch_reader.message import Unpacker, pack
from storewatch_reader.table import Row, TreeRow

MAX_UNDER_WAY = 64
"""How many reads are under way at once, stuck ones not counted."""

MAX_WAITING = 4096
"""How many reads wait for their turn."""

MAX_STUCK = 128
"""How many stuck workers are left behind before no further object is read. What has no object is
read all the same: the table bounds it."""

KEEP_LATE_S = 60.0
"""How long an answer that came too late is kept: twice the usual interval between two looks."""

Reply = Callable[[dict[str, Any], bytes], None]


@dataclass
class Worker:
    """A forked read under way. Those who ask for the same share it; `replies` are the askers
    that have had no answer yet."""

    pid: int
    pipe: int
    key: str
    row: Row
    since: float  # Unix seconds
    began: float  # monotonic
    replies: list[Reply]
    late: bool = False
    killed: bool = False
    unpacker: Unpacker = field(default_factory=Unpacker)
    answer: tuple[dict[str, Any], bytes] | None = None


@dataclass
class Waiting:
    """A read that has not begun. Those who ask for the same share it."""

    row: Row
    object_id: str
    since: float  # monotonic
    replies: list[Reply]


@dataclass(frozen=True)
class Late:
    """An answer that came after its askers had been told that the read is stuck."""

    header: dict[str, Any]
    blob: bytes
    since: float  # monotonic, when it came


class Pool:
    """The workers that are alive, by the pipe on which each one answers, and the reads that wait
    for one."""

    def __init__(self, roots: reads.Roots, lock_directory: str) -> None:
        self._roots = roots
        self._locks = lock_directory
        self._workers: dict[int, Worker] = {}
        self._waiting: dict[str, Waiting] = {}  # by key, oldest first
        self._late: dict[str, Late] = {}  # by key

    def __len__(self) -> int:
        return len(self._workers)

    @property
    def pipes(self) -> list[int]:
        return list(self._workers)

    def ask(self, row: Row, object_id: str, reply: Reply) -> None:
        """Ask for a read: it shares one of the same that has no answer yet, or waits for its
        turn, which `start` gives it."""
        key = row.key(object_id)
        for worker in self._workers.values():
            if worker.key == key and not worker.late:
                worker.replies.append(reply)
                return
        if key in self._waiting:
            self._waiting[key].replies.append(reply)
        elif len(self._waiting) < MAX_WAITING:
            self._waiting[key] = Waiting(row, object_id, clock.monotonic(), [reply])
        else:
            reply(_busy(f"{MAX_WAITING} reads wait for their turn"), b"")

    def start(self) -> list[int]:
        """Start what waits, as far as there is room; return the new pipes to watch. A read that
        cannot begin is answered at once."""
        pipes = []
        while self._waiting and self._under_way() < MAX_UNDER_WAY:
            waiting = self._waiting.pop(next(iter(self._waiting)))
            worker = self._begin(waiting)
            if isinstance(worker, Worker):
                self._workers[worker.pipe] = worker
                pipes.append(worker.pipe)
                continue
            for reply in waiting.replies:
                reply(*worker)
        return pipes

    def _under_way(self) -> int:
        return len(self._workers) - self._stuck()

    def _stuck(self) -> int:
        return sum(worker.late for worker in self._workers.values())

    def _begin(self, waiting: Waiting) -> Worker | tuple[dict[str, Any], bytes]:
        """Return the worker of a read, or what to answer where there can be none."""
        row, object_id = waiting.row, waiting.object_id
        key = row.key(object_id)
        try:
            lock, since = self._take(key)
            if lock is None:
                return self._late_or_stuck(key, since)
            if row.object and self._stuck() >= MAX_STUCK:
                os.close(lock)
                return _busy(f"{MAX_STUCK} reads are stuck, and no further one is begun"), b""
            pid, pipe = self._fork(row, object_id, lock)
        except OSError as error:
            message = f"no worker can be started: {error.strerror}"
            return {"error": "failed", "message": message}, b""
        return Worker(pid, pipe, key, row, since, clock.monotonic(), waiting.replies)

    def has_ended(self, pipe: int) -> bool:
        """Take what a worker says; return whether that was all, and it is to be reaped."""
        worker = self._workers[pipe]
        try:
            chunk = os.read(pipe, 1 << 20)
        except BlockingIOError:
            return False
        messages = worker.unpacker.feed(chunk)
        if messages:
            worker.answer = messages[-1]
        return not chunk

    def reap(self, pipe: int) -> None:
        """Let go of a worker that has ended, close its pipe, and answer its askers."""
        worker = self._workers.pop(pipe)
        os.close(pipe)
        _, status = os.waitpid(worker.pid, 0)
        self._late.pop(worker.key, None)
        if worker.answer is not None:
            if worker.late:
                self._late[worker.key] = Late(*worker.answer, clock.monotonic())
            self._answer_all(worker, *worker.answer)
        else:
            how = os.waitstatus_to_exitcode(status)
            message = f"the worker ended with status {how} and no answer"
            self._answer_all(worker, {"error": "failed", "message": message}, b"")

    def tick(self) -> None:
        """Answer for the workers that are late, kill those that are very late, and send away
        who has waited for too long."""
        now = clock.monotonic()
        for worker in self._workers.values():
            age = now - worker.began
            if age >= worker.row.answer_by_s and not worker.late:
                worker.late = True
                self._answer_all(worker, *self._late_or_stuck(worker.key, worker.since))
            if age >= worker.row.kill_after_s and not worker.killed:
                worker.killed = True
                os.kill(worker.pid, signal.SIGKILL)
        for key, waiting in tuple(self._waiting.items()):
            if now - waiting.since >= waiting.row.answer_by_s:
                self._waiting.pop(key, None)  # an asker that is cut off takes its reads along
                for reply in waiting.replies:
                    reply(_busy(f"{self._under_way()} reads are under way"), b"")

    def _late_or_stuck(self, key: str, since: float) -> tuple[dict[str, Any], bytes]:
        """Return what the read before gave, where that is not too old; else that this is stuck."""
        now = clock.monotonic()
        self._late = {
            one: late for one, late in self._late.items() if now - late.since < KEEP_LATE_S
        }
        late = self._late.get(key)
        if late is None:
            return _stuck(key, since), b""
        return {**late.header, "age": now - late.since}, late.blob

    def next_deadline(self) -> float | None:
        """Return in how many seconds `tick` has something to do, None for never."""
        now = clock.monotonic()
        waits = [
            waiting.since + waiting.row.answer_by_s - now for waiting in self._waiting.values()
        ]
        for worker in self._workers.values():
            if not worker.late:
                waits.append(worker.began + worker.row.answer_by_s - now)
            elif not worker.killed:
                waits.append(worker.began + worker.row.kill_after_s - now)
        return max(0.0, min(waits)) if waits else None

    def forget_asker(self, replies: set[Reply]) -> None:
        """Let workers go on whose asker is gone; what only it waits for is not read."""
        for key, waiting in tuple(self._waiting.items()):
            waiting.replies = [reply for reply in waiting.replies if reply not in replies]
            if not waiting.replies:
                del self._waiting[key]
        for worker in self._workers.values():
            worker.replies = [reply for reply in worker.replies if reply not in replies]

    @staticmethod
    def _answer_all(worker: Worker, header: dict[str, Any], blob: bytes) -> None:
        replies, worker.replies = worker.replies, []
        for reply in replies:
            reply(header, blob)

    def _fork(self, row: Row, object_id: str, lock: int) -> tuple[int, int]:
        """Start a worker; return its pid and the pipe on which it answers. The lock is its own
        from now on, and free where there is none."""
        try:
            pipe, child_end = os.pipe2(os.O_CLOEXEC)
            try:
                pid = os.fork()
                if pid == 0:
                    _close_all_but(lock, child_end)
                    _work(self._roots, row, object_id, child_end)
            except OSError:
                os.close(pipe)
                raise
            finally:
                os.close(child_end)
        finally:
            os.close(lock)
        os.set_blocking(pipe, False)
        return pid, pipe

    def _take(self, key: str) -> tuple[int | None, float]:
        """Lock a key; return the descriptor and now, or None and since when another holds it."""
        name = hashlib.sha256(os.fsencode(key)).hexdigest()[:32]
        lock = os.open(
            f"{self._locks}/{name}", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600
        )
        now = clock.wall()
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.ftruncate(lock, 0)
            os.pwrite(lock, os.fsencode(f"{now!r}\n{key}\n"), 0)
        except BlockingIOError:
            said = os.pread(lock, 64, 0).decode(errors="replace").split("\n")[0]
            os.close(lock)
            return None, _seconds(said, now)
        except OSError:
            os.close(lock)
            raise
        return lock, now


def _seconds(text: str, otherwise: float) -> float:
    try:
        return float(text)
    except ValueError:
        return otherwise


def _busy(message: str) -> dict[str, Any]:
    return {"error": "busy", "message": message}


def _stuck(key: str, since: float) -> dict[str, Any]:
    return {
        "error": "stuck",
        "key": key,
        "since": since,
        "message": f"{key} has not answered since its read began",
    }


def _close_all_but(*kept: int) -> None:
    """Close what the reader has open: a stuck worker must not hold sockets and pipes alive."""
    low = 3
    for descriptor in sorted(kept):
        os.closerange(low, descriptor)
        low = descriptor + 1
    os.closerange(low, 65_536)


def _work(roots: reads.Roots, row: Row, object_id: str, child_end: int) -> NoReturn:
    """Do a read, answer, and end: the life of a worker."""
    status = 1
    try:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        answer = _answer(roots, row, object_id)
        view = memoryview(answer)
        while view:
            view = view[os.write(child_end, view) :]
        status = 0
    finally:
        os._exit(status)


def _answer(roots: reads.Roots, row: Row, object_id: str) -> bytes:
    try:
        if isinstance(row, TreeRow):
            found = reads.tree(roots, row)
            plan = hashlib.sha256(os.fsencode("\0".join(found.paths))).hexdigest()[:16]
            header = {"plan": plan, "paths": found.paths, "lengths": found.lengths}
            return pack(header, b"".join(found.parts))
        return pack({"value": reads.READS[row.name](roots, object_id)})
    except OSError as error:
        code = error.errno or errno.EIO
        where = error.filename or object_id or row.name
        return pack({"error": "refused", "errno": code, "message": f"{where}: {os.strerror(code)}"})
