"""Attributes that do not just answer: they are late, they fail with an errno, or they never come.

A file system of one directory (kernel FUSE without libfuse; needs root). Symbolic links in a tree
of plain files lead to it, so that open(2) and read(2) end as those of sysfs do. Whoever waits for
what hangs is blocked in the kernel and cannot be killed.

Protocol: include/uapi/linux/fuse.h.
"""

import ctypes
import errno
import os
import struct
import subprocess
import threading
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

_LOOKUP, _FORGET, _GETATTR, _OPEN, _READ, _RELEASE = 1, 2, 3, 14, 15, 18
_INIT, _INTERRUPT, _BATCH_FORGET = 26, 36, 42
_SILENT = (_FORGET, _INTERRUPT, _BATCH_FORGET)
_ROOT = 1
_HEAD_BYTES = 40
_DIRECT_IO = 1  # the length of a file is what a read gives

_OPENED = struct.pack("<QII", 0, _DIRECT_IO, 0)

_libc = ctypes.CDLL(None, use_errno=True)


@dataclass(frozen=True)
class Answer:
    """How reads of an attribute end: with the content, or with `errno`; at once, late, or not
    before it is mended."""

    content: bytes = b""
    errno: int = 0
    refuses_open: bool = False
    """Whether the errno is that of open(2)."""
    delay_s: float = 0.0
    hangs: bool = False
    hangs_open: bool = False
    """Whether open(2) does not end before it is mended."""


class AnswersMount:
    """The mount. Answers are put and taken away by name."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.held = threading.Event()
        """Set when somebody is blocked."""
        self._device = -1
        self._lock = threading.Lock()
        self._nodes: dict[str, int] = {}
        self._answers: dict[int, Answer] = {}
        self._waiting: dict[int, list[int]] = {}
        self._opening: dict[int, list[int]] = {}
        self._timers: list[threading.Timer] = []

    def __enter__(self) -> Self:
        self.path.mkdir(parents=True, exist_ok=True)
        self._device = os.open("/dev/fuse", os.O_RDWR | os.O_CLOEXEC)
        options = f"fd={self._device},rootmode=40000,user_id=0,group_id=0,allow_other".encode()
        if _libc.mount(b"answers", os.fsencode(self.path), b"fuse", 6, options):
            raise OSError(ctypes.get_errno(), "mount")
        self._server = threading.Thread(target=self._serve, daemon=True)
        self._server.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for name in list(self._nodes):
            self.mend(name)
        for timer in self._timers:
            timer.cancel()
        subprocess.run(["umount", "-l", self.path], check=True)
        # Who has it open still is answered until he lets go; then the kernel ends the reading.
        # Before that, the number of the descriptor must not become another file's.
        self._server.join(5)
        os.close(self._device)

    def put(self, name: str, answer: Answer) -> Path:
        """Have a name answer so from now on; return its path."""
        with self._lock:
            node = self._nodes.setdefault(name, _ROOT + 1 + len(self._nodes))
            self._answers[node] = answer
        return self.path / name

    def mend(self, name: str, content: bytes = b"") -> None:
        """Have a name answer with a content, also to those who wait."""
        self.put(name, Answer(content))
        with self._lock:
            waiting = self._waiting.pop(self._nodes[name], [])
            opening = self._opening.pop(self._nodes[name], [])
            if not self._waiting and not self._opening:
                self.held.clear()
        for unique in waiting:
            self._reply(unique, content)
        for unique in opening:
            self._reply(unique, _OPENED)

    def _serve(self) -> None:
        while True:
            try:
                request = os.read(self._device, 1 << 17 | 4096)
            except OSError as error:
                if error.errno in (errno.EINTR, errno.EAGAIN, errno.ENOENT):
                    continue
                return  # unmounted
            _, operation, unique, node = struct.unpack_from("<IIQQ", request)
            if operation not in _SILENT:
                self._take(operation, unique, node, request[_HEAD_BYTES:])

    def _take(self, operation: int, unique: int, node: int, body: bytes) -> None:
        with self._lock:
            answer = self._answers.get(node, Answer())
            found = self._nodes.get(os.fsdecode(body.rstrip(b"\0"))) if operation == _LOOKUP else 0
        if operation == _INIT:
            self._reply(unique, struct.pack("<IIIIHHII", 7, 31, 0, 0, 12, 10, 65536, 1) + bytes(32))
        elif operation == _LOOKUP:
            if found:
                entry = struct.pack("<QQQQII", found, 0, 0, 0, 0, 0)
                self._reply(unique, entry + _attributes(found))
            else:
                self._reply(unique, error=errno.ENOENT)
        elif operation == _GETATTR:
            self._reply(unique, struct.pack("<QII", 0, 0, 0) + _attributes(node))
        elif operation == _OPEN and answer.hangs_open:
            with self._lock:
                self._opening.setdefault(node, []).append(unique)
            self.held.set()
        elif operation == _OPEN:
            error = answer.errno if answer.refuses_open else 0
            self._reply(unique, _OPENED, error=error)
        elif operation == _READ:
            _, offset = struct.unpack_from("<QQ", body)
            self._read(unique, node, answer, offset)
        elif operation == _RELEASE:
            self._reply(unique)
        else:
            self._reply(unique, error=errno.ENOSYS)

    def _read(self, unique: int, node: int, answer: Answer, offset: int) -> None:
        if answer.hangs:
            with self._lock:
                self._waiting.setdefault(node, []).append(unique)
            self.held.set()
        elif answer.delay_s:
            timer = threading.Timer(answer.delay_s, self._end_read, (unique, answer, offset))
            timer.daemon = True
            self._timers.append(timer)
            timer.start()
        else:
            self._end_read(unique, answer, offset)

    def _end_read(self, unique: int, answer: Answer, offset: int) -> None:
        if answer.errno:
            self._reply(unique, error=answer.errno)
        else:
            self._reply(unique, answer.content[offset:])

    def _reply(self, unique: int, body: bytes = b"", *, error: int = 0) -> None:
        body = b"" if error else body
        try:
            os.write(self._device, struct.pack("<IiQ", 16 + len(body), -error, unique) + body)
        except OSError:
            return  # the asker or the mount is gone


def _attributes(node: int) -> bytes:
    mode, links = (0o40755, 2) if node == _ROOT else (0o100444, 1)
    return struct.pack(
        "<QQQQQQIIIIIIIIII", node, 4096, 0, 0, 0, 0, 0, 0, 0, mode, links, 0, 0, 0, 4096, 0
    )
