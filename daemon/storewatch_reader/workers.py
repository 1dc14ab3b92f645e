"""Disposable workers: one forked process a read, so that a stuck device costs one of them.

Only so many reads are under way at once; the others wait for their turn, in the order in which
they came. A stuck one holds up nobody's turn, and only so many of these may be left behind.

A worker holds its key's lock file until it is gone, whatever becomes of the reader: locked means
closed. Past `answer_by` the asker is told that the read is stuck; past `kill_after` the worker is
killed, and where the kernel does not let it die it is abandoned and its key stays closed until it
does. A read of a SCSI device takes one of its host's slots besides, which are locks too.

A read that is slow is not stuck: what comes too late for its asker is kept for a while, and given,
with its age, to the next one whose own read is late. What a read of class P2 consumed is kept until
somebody comes for it: the device does not say it again.
"""

import errno
import os
import signal
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NoReturn

from storewatch_reader import attributes, clock, reads, tools
from storewatch_reader.keys import Keys
from storewatch_reader.message import Unpacker, pack
from storewatch_reader.roots import CONSUMING, Roots
from storewatch_reader.table import Row, ToolRow, TreeRow

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
    name: str
    key: str
    host: str
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
    plan: str
    since: float  # monotonic
    replies: list[Reply]

    @property
    def key(self) -> str:
        return self.row.key(self.object_id)

    @property
    def host(self) -> str:
        return self.row.host(self.object_id)


@dataclass(frozen=True)
class Late:
    """An answer that came after its askers had been told that the read is stuck."""

    header: dict[str, Any]
    blob: bytes
    since: float  # monotonic, when it came
    is_only: bool = False  # whether nothing like it can be read again

    def is_kept(self, now: float) -> bool:
        return self.is_only or now - self.since < KEEP_LATE_S

    def told(self, now: float) -> tuple[dict[str, Any], bytes]:
        """Return it as an answer, with its age."""
        return {**self.header, "age": now - self.since}, self.blob


class Pool:
    """The workers that are alive, by the pipe on which each one answers, and the reads that wait
    for one."""

    def __init__(self, roots: Roots, lock_directory: str) -> None:
        self._roots = roots
        self._keys = Keys(lock_directory)
        self._workers: dict[int, Worker] = {}
        self._waiting: dict[str, Waiting] = {}  # by name, oldest first
        self._late: dict[str, Late] = {}  # by name
        self._limits: dict[str, int] = {}  # of hosts that were asked; one of which nothing is known

    def __len__(self) -> int:
        return len(self._workers)

    @property
    def pipes(self) -> list[int]:
        return list(self._workers)

    def ask(self, row: Row, object_id: str, reply: Reply, *, plan: str = "") -> None:
        """Ask for a read: it shares one of the same that has no answer yet, or waits for its
        turn, which `start` gives it. Of a tree, the asker may know the paths of a plan."""
        name = f"{row.name}:{object_id}:{plan}"
        for worker in self._workers.values():
            if worker.name == name and not worker.late:
                worker.replies.append(reply)
                return
        if name in self._waiting:
            self._waiting[name].replies.append(reply)
        elif len(self._waiting) < MAX_WAITING:
            self._waiting[name] = Waiting(row, object_id, plan, clock.monotonic(), [reply])
        else:
            reply(_busy(f"{MAX_WAITING} reads wait for their turn"), b"")

    def start(self) -> list[int]:
        """Start what waits, as far as there is room; return the new pipes to watch. A read that
        cannot begin is answered at once; one whose key or host is being read waits."""
        pipes = []
        for name, waiting in tuple(self._waiting.items()):
            if self._under_way() >= MAX_UNDER_WAY:
                break
            kept = self._late.get(name)
            if self._is_taken(waiting) and not (kept and kept.is_only):
                continue
            del self._waiting[name]
            worker: Worker | tuple[dict[str, Any], bytes]
            if kept and kept.is_only:
                worker = self._late.pop(name).told(clock.monotonic())
            else:
                worker = self._begin(name, waiting)
            if isinstance(worker, Worker):
                self._workers[worker.pipe] = worker
                pipes.append(worker.pipe)
                continue
            for reply in waiting.replies:
                reply(*worker)
        return pipes

    def _is_taken(self, waiting: Waiting) -> bool:
        """Whether a read of ours that is not late yet has the key or the last slot of the host."""
        key, host = waiting.key, waiting.host
        asked = [one for one in self._workers.values() if host and one.host == host]
        if len(asked) >= self._limits.get(host, 1) and not all(one.late for one in asked):
            return True
        return any(one.key == key and not one.late for one in self._workers.values())

    def _under_way(self) -> int:
        return len(self._workers) - self._stuck()

    def _stuck(self) -> int:
        return sum(worker.late for worker in self._workers.values())

    def _begin(self, name: str, waiting: Waiting) -> Worker | tuple[dict[str, Any], bytes]:
        """Return the worker of a read, or what to answer where there can be none."""
        row, key = waiting.row, waiting.key
        try:
            locks, closed, since = self._take(waiting)
            if closed:
                return self._late_or_stuck(name, closed, since)
            if row.object and self._stuck() >= MAX_STUCK:
                _close(locks)
                return _busy(f"{MAX_STUCK} reads are stuck, and no further one is begun"), b""
            pid, pipe = fork(lambda out: _write(out, _answer(self._roots, waiting)), locks)
        except OSError as error:
            message = f"no worker can be started: {error.strerror}"
            return {"error": "failed", "message": message}, b""
        began = clock.monotonic()
        return Worker(pid, pipe, name, key, waiting.host, row, since, began, waiting.replies)

    def _take(self, waiting: Waiting) -> tuple[list[int], str, float]:
        """Lock what a read needs; return the locks and now, or which one is held, since when."""
        lock, since = self._keys.take(waiting.key)
        if lock is None:
            return [], waiting.key, since
        if not waiting.host:
            return [lock], "", since
        try:
            for number in range(self._limits.get(waiting.host, 1)):
                slot, held_since = self._keys.take(f"{waiting.host}:{number}")
                if slot is not None:
                    return [lock, slot], "", since
        except OSError:
            os.close(lock)
            raise
        os.close(lock)
        return [], waiting.host, held_since

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
        self._late.pop(worker.name, None)
        if worker.answer is not None:
            if worker.host and "host_limit" in worker.answer[0]:
                self._limits[worker.host] = worker.answer[0]["host_limit"]
            is_only = worker.row.safety == CONSUMING and _succeeded(worker.answer[0])
            if worker.late or (is_only and not worker.replies):
                self._late[worker.name] = Late(*worker.answer, clock.monotonic(), is_only)
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
                self._answer_all(
                    worker, *self._late_or_stuck(worker.name, worker.key, worker.since)
                )
            if age >= worker.row.kill_after_s and not worker.killed:
                worker.killed = True
                _kill(worker.pid)
        for name, waiting in tuple(self._waiting.items()):
            if now - waiting.since >= waiting.row.answer_by_s:
                self._waiting.pop(name, None)  # an asker that is cut off takes its reads along
                for reply in waiting.replies:
                    reply(_busy(f"{self._under_way()} reads are under way"), b"")

    def _late_or_stuck(self, name: str, key: str, since: float) -> tuple[dict[str, Any], bytes]:
        """Return what the read before gave, where that is not too old; else that this is stuck."""
        now = clock.monotonic()
        self._late = {one: late for one, late in self._late.items() if late.is_kept(now)}
        late = self._late.get(name)
        return (_stuck(key, since), b"") if late is None else late.told(now)

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
        for name, waiting in tuple(self._waiting.items()):
            waiting.replies = [reply for reply in waiting.replies if reply not in replies]
            if not waiting.replies:
                del self._waiting[name]
        for worker in self._workers.values():
            worker.replies = [reply for reply in worker.replies if reply not in replies]

    @staticmethod
    def _answer_all(worker: Worker, header: dict[str, Any], blob: bytes) -> None:
        replies, worker.replies = worker.replies, []
        for reply in replies:
            reply(header, blob)


def fork(work: Callable[[int], None], locks: list[int]) -> tuple[int, int]:
    """Start a worker, which does its work with the pipe on which it answers; return its pid and
    our end of that. The locks are its own from now on, and free where there is none.

    Raises:
        OSError: no worker can be started.
    """
    try:
        pipe, child_end = os.pipe2(os.O_CLOEXEC)
        try:
            pid = os.fork()
            if pid == 0:
                _close_all_but(*locks, child_end)
                _live(work, child_end, locks)
        except OSError:
            os.close(pipe)
            raise
        finally:
            os.close(child_end)
    finally:
        _close(locks)
    os.set_blocking(pipe, False)
    return pid, pipe


def _close(descriptors: list[int]) -> None:
    for descriptor in descriptors:
        os.close(descriptor)


def _kill(pid: int) -> None:
    """Kill a worker and the tool that it runs; they are a process group as soon as it is awake."""
    try:
        os.killpg(pid, signal.SIGKILL)
    except ProcessLookupError:
        os.kill(pid, signal.SIGKILL)


def _succeeded(header: dict[str, Any]) -> bool:
    return "value" in header and header["value"]["status"] == 0


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


def _live(work: Callable[[int], None], child_end: int, locks: list[int]) -> NoReturn:
    """Work, and end: the life of a worker."""
    status = 1
    try:
        os.setpgid(0, 0)
        for lock in locks:
            os.set_inheritable(lock, True)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        work(child_end)
        status = 0
    finally:
        os._exit(status)


def _write(child_end: int, answer: bytes) -> None:
    view = memoryview(answer)
    while view:
        view = view[os.write(child_end, view) :]


def _answer(roots: Roots, asked: Waiting) -> bytes:
    row, object_id = asked.row, asked.object_id
    try:
        if isinstance(row, ToolRow):
            return _tool_answer(roots, row, object_id)
        if isinstance(row, TreeRow):
            found = reads.tree(roots, row, object_id)
            return pack(*attributes.told(found, asked.plan))
        return pack({"value": reads.READS[row.name](roots, object_id)})
    except OSError as error:
        code = error.errno or errno.EIO
        where = error.filename or object_id or row.name
        message = f"{where}: {error.strerror or os.strerror(code)}"
        return pack({"error": "refused", "errno": code, "message": message})


def _tool_answer(roots: Roots, row: ToolRow, address: str) -> bytes:
    try:
        value, output = tools.run(roots, row, address)
    except tools.Gone as error:
        return pack({"error": "absent", "message": str(error)})
    except tools.Deferred as error:
        return pack({"error": "deferred", "message": str(error)})
    except tools.NotAllowed as error:
        return pack({"error": "unknown", "message": str(error)})
    return pack({"value": value, "host_limit": value.pop("host_limit")}, output)
