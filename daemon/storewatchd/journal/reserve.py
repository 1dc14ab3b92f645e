"""Disk space that is held back, so that a full disk can still be written of.

It is a file of allocated blocks beside state.db: given up when SQLite finds no room, made again
when there is room for it twice.
"""

import logging
import os
from pathlib import Path

logger = logging.getLogger(__name__)

RESERVE_BYTES = 64 << 20

SHARE = 8
"""The reserve takes at most one part in so many of a file system."""


class Reserve:
    """The reserve of one state directory; `size` is how large it is at most, in bytes."""

    def __init__(self, directory: Path, size: int) -> None:
        self.path = directory / "reserve"
        self.held_bytes = _allocated(self.path)
        """How much is held back now."""
        self.free_bytes = 0
        """What was free on the file system when it was last looked at."""
        self.is_short = False
        """Whether there is too little room to hold back what should be."""
        self._size = size
        self._problem: str | None = None

    def look(self) -> None:
        """Look how much is free, and hold back what can be."""
        try:
            about = os.statvfs(self.path.parent)
            self.free_bytes = about.f_bavail * about.f_frsize
            wanted = min(self._size, about.f_blocks * about.f_frsize // SHARE)
            missing = wanted - self.held_bytes
            self.is_short = missing > 0 and self.free_bytes < missing + wanted
            if missing > 0 and not self.is_short:
                self._make(wanted)
                self.free_bytes -= missing
        except OSError as error:
            self._tell(f"no reserve is held back: {error}")

    def release(self) -> bool:
        """Give the reserve up; return whether there was one."""
        if not self.held_bytes:
            return False
        try:
            os.truncate(self.path, 0)
        except OSError as error:
            self._tell(f"the reserve cannot be given up: {error}")
            return False
        logger.warning(
            "the file system of %s is full: a reserve of %d MiB is given up",
            self.path.parent,
            self.held_bytes >> 20,
        )
        self.held_bytes = 0
        self.is_short = True
        return True

    def _make(self, wanted: int) -> None:
        descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o640)
        try:
            os.posix_fallocate(descriptor, 0, wanted)
        except OSError:
            os.ftruncate(descriptor, 0)
            raise
        finally:
            os.close(descriptor)
            self.held_bytes = _allocated(self.path)
        self._problem = None

    def _tell(self, problem: str) -> None:
        if problem != self._problem:
            logger.warning("%s", problem)
        self._problem = problem


def _allocated(path: Path) -> int:
    try:
        about = path.stat()
    except OSError:
        return 0
    # A file with holes holds nothing back.
    return min(about.st_size, about.st_blocks * 512)
