"""Whose a directory is: a lock file that the kernel lets go of when its process ends."""

import contextlib
import fcntl
import os
from pathlib import Path

from storewatchd.errors import LockedElsewhere


def take(path: Path) -> int:
    """Take a lock for this process; return its descriptor, which holds it while it is open.

    Raises:
        LockedElsewhere: another process has it.
        OSError: the file cannot be made.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o640)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        holder = os.pread(descriptor, 32, 0).decode(errors="replace").strip()
        os.close(descriptor)
        raise LockedElsewhere(holder) from error
    # Who has it is told to people only, and a full disk must keep nobody from starting.
    with contextlib.suppress(OSError):
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
    return descriptor
