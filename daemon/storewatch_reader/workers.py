"""Disposable workers: one forked process a read, so that a stuck device costs one of them.

A worker holds its key's lock file until it is gone, whatever becomes of the reader: locked means
closed. Past `answer_by` the asker is told that the read is stuck; past `kill_after` the worker is
killed, and where the kernel does not let it die it is abandoned and its key stays closed until it
does.
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

MAX_WORKERS = 64

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


class Pool:
    """The workers that are alive, by the pipe on which each one answers."""

    def __init__(self, roots: reads.Roots, lock_directory: str) -> None:
        self._roots = roots
        self._locks = lock_directory
        self._workers: dict[int, Worker] = {}

    def __len__(self) -> int:
        return len(self._workers)

    @property
    def pipes(self) -> list[int]:
        return list(self._workers)

    def start(self, row: Row, object_id: str, reply: Reply) -> int | None:
        """Start a read; return the pipe to watch, or None where there is no new one: it was
        answered at once, or shares a read that has just begun."""
        key = row.key(object_id)
        for worker in self._workers.values():
            if worker.key == key and not worker.late:
                worker.replies.append(reply)
                return None
        if len(self._workers) >= MAX_WORKERS:
            reply({"error": "busy", "message": f"{MAX_WORKERS} reads are under way"}, b"")
            return None
        try:
            lock, since = self._take(key)
            if lock is None:
                reply(_stuck(row, key, since), b"")
                return None
            pid, pipe = self._fork(row, object_id, lock)
        except OSError as error:
            message = f"no worker can be started: {error.strerror}"
            reply({"error": "failed", "message": message}, b"")
            return None
        self._workers[pipe] = Worker(pid, pipe, key, row, since, clock.monotonic(), [reply])
        return pipe

    def readable(self, pipe: int) -> bool:
        """Take what a worker says; return whether it is gone and its pipe closed."""
        worker = self._workers[pipe]
        try:
            chunk = os.read(pipe, 1 << 20)
        except BlockingIOError:
            return False
        if chunk:
            messages = worker.unpacker.feed(chunk)
            if messages:
                worker.answer = messages[-1]
            return False
        self._reap(worker)
        return True

    def tick(self) -> None:
        """Answer for the workers that are late, and kill those that are very late."""
        now = clock.monotonic()
        for worker in self._workers.values():
            age = now - worker.began
            if age >= worker.row.answer_by_s and not worker.late:
                worker.late = True
                self._answer_all(worker, _stuck(worker.row, worker.key, worker.since), b"")
            if age >= worker.row.kill_after_s and not worker.killed:
                worker.killed = True
                os.kill(worker.pid, signal.SIGKILL)

    def next_deadline(self) -> float | None:
        """Return in how many seconds `tick` has something to do, None for never."""
        now = clock.monotonic()
        waits = []
        for worker in self._workers.values():
            if not worker.late:
                waits.append(worker.began + worker.row.answer_by_s - now)
            elif not worker.killed:
                waits.append(worker.began + worker.row.kill_after_s - now)
        return max(0.0, min(waits)) if waits else None

    def forget_asker(self, replies: set[Reply]) -> None:
        """Let workers go on whose asker is gone."""
        for worker in self._workers.values():
            worker.replies = [reply for reply in worker.replies if reply not in replies]

    def _reap(self, worker: Worker) -> None:
        del self._workers[worker.pipe]
        os.close(worker.pipe)
        _, status = os.waitpid(worker.pid, 0)
        if worker.answer is not None:
            self._answer_all(worker, *worker.answer)
        else:
            how = os.waitstatus_to_exitcode(status)
            message = f"the worker ended with status {how} and no answer"
            self._answer_all(worker, {"error": "failed", "message": message}, b"")

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


def _stuck(row: Row, key: str, since: float) -> dict[str, Any]:
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
            paths, lengths, blob = reads.tree(roots, row)
            plan = hashlib.sha256(os.fsencode("\0".join(paths))).hexdigest()[:16]
            return pack({"plan": plan, "paths": paths, "lengths": lengths}, blob)
        return pack({"value": reads.READS[row.name](roots, object_id)})
    except OSError as error:
        code = error.errno or errno.EIO
        where = error.filename or object_id or row.name
        return pack({"error": "refused", "errno": code, "message": f"{where}: {os.strerror(code)}"})
