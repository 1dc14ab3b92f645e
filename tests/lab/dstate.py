"""A file system that hangs on demand: whoever asks it is blocked in the kernel and cannot be
killed, as with a dead network mount. Kernel FUSE without libfuse; needs root.

Protocol: include/uapi/linux/fuse.h.
"""

import ctypes
import errno
import os
import struct
import subprocess
import threading
from pathlib import Path
from types import TracebackType
from typing import Self

LOOKUP, FORGET, GETATTR, OPEN, STATFS, INIT = 1, 2, 3, 14, 17, 26
OPENDIR, INTERRUPT, BATCH_FORGET = 27, 36, 42
_SILENT = (FORGET, INTERRUPT, BATCH_FORGET)
_ROOT = 1

_libc = ctypes.CDLL(None, use_errno=True)


class HangingMount:
    """A mounted file system of 1 GiB, half full. While it hangs, `statvfs` never returns."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = threading.Lock()
        self._hangs = False
        self._held: list[tuple[int, int]] = []
        self._device = -1
        self.held = threading.Event()
        """Set when somebody is blocked."""

    def __enter__(self) -> Self:
        self.path.mkdir(exist_ok=True)
        self._device = os.open("/dev/fuse", os.O_RDWR | os.O_CLOEXEC)
        options = f"fd={self._device},rootmode=40000,user_id=0,group_id=0,allow_other".encode()
        if _libc.mount(b"hanging", os.fsencode(self.path), b"fuse", 6, options):
            raise OSError(ctypes.get_errno(), "mount")
        threading.Thread(target=self._serve, daemon=True).start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.release()
        subprocess.run(["umount", "-l", self.path], check=True)
        os.close(self._device)

    def hang(self) -> None:
        """Answer nothing from now on."""
        with self._lock:
            self._hangs = True

    def release(self) -> None:
        """Answer what waits, and everything after it."""
        with self._lock:
            self._hangs = False
            held, self._held = self._held, []
        self.held.clear()
        for unique, operation in held:
            self._answer(unique, operation, _ROOT)

    def _serve(self) -> None:
        while True:
            try:
                request = os.read(self._device, 1 << 17 | 4096)
            except OSError as error:
                if error.errno in (errno.EINTR, errno.EAGAIN, errno.ENOENT):
                    continue
                return  # unmounted
            _, operation, unique, node = struct.unpack_from("<IIQQ", request)
            with self._lock:
                hold = self._hangs and operation in (STATFS, GETATTR, LOOKUP, OPEN, OPENDIR)
                if hold:
                    # Taken and not answered: the asker waits where no signal reaches it.
                    self._held.append((unique, operation))
            if hold:
                self.held.set()
            elif operation not in _SILENT:
                self._answer(unique, operation, node)

    def _answer(self, unique: int, operation: int, node: int) -> None:
        if operation == INIT:
            body = struct.pack("<IIIIHHII", 7, 31, 0, 0, 12, 10, 65536, 1) + bytes(32)
            self._reply(unique, body)
        elif operation == GETATTR:
            # No caching of attributes: every stat comes here.
            self._reply(unique, struct.pack("<QII", 0, 0, 0) + _attributes(node))
        elif operation == STATFS:
            blocks = 262_144
            sizes = struct.pack(
                "<QQQQQIIII", blocks, blocks // 2, blocks // 2, 1000, 500, 4096, 255, 4096, 0
            )
            self._reply(unique, sizes + bytes(24))
        elif operation == OPENDIR:
            self._reply(unique, struct.pack("<QII", 0, 0, 0))
        else:
            self._reply(unique, error=errno.ENOENT if operation == LOOKUP else errno.ENOSYS)

    def _reply(self, unique: int, body: bytes = b"", *, error: int = 0) -> None:
        try:
            os.write(self._device, struct.pack("<IiQ", 16 + len(body), -error, unique) + body)
        except OSError:
            return  # the asker or the mount is gone


def _attributes(node: int) -> bytes:
    mode, links = (0o40755, 2) if node == _ROOT else (0o100644, 1)
    return struct.pack(
        "<QQQQQQIIIIIIIIII", node, 0, 0, 0, 0, 0, 0, 0, 0, mode, links, 0, 0, 0, 4096, 0
    )
