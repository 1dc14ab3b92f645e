"""A place in memory for trees of many small files: making one on a disk is what takes the time."""

import tempfile
from pathlib import Path

_MEMORY = Path("/dev/shm")


def memory_directory() -> Path:
    """Return a new directory; it is the caller's to remove."""
    return Path(tempfile.mkdtemp(prefix="lab-", dir=_MEMORY if _MEMORY.is_dir() else None))
