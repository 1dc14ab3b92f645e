"""The damaged files that were set aside, for whoever wants to know what broke them.

The first and the newest are kept: a disk that breaks one file after the other must not be filled
by them.
"""

import logging
import re
from pathlib import Path

logger = logging.getLogger(__name__)

NAME = "state.db"

DAMAGED = f"{NAME}.damaged-"

_FILE = re.compile(rf"{re.escape(DAMAGED)}(\d{{1,18}})(?:-wal|-shm)?")


def next_number(directory: Path, now: float) -> int:
    """Return by what number the next one is set aside: the time in seconds, above all others."""
    return max([round(now), *(number + 1 for number in _files(directory))])


def superfluous(directory: Path, *, coming: int = 0) -> list[Path]:
    """Return the files of all but the first and the newest, where so many more are coming."""
    files = _files(directory)
    numbers = sorted(files)
    last = len(numbers) - 1 + coming
    return [path for number in numbers[1:last] for path in files[number]]


def thin_out(directory: Path) -> None:
    """Remove all but the first and the newest; one that cannot be removed stays."""
    for path in superfluous(directory):
        try:
            path.unlink()
        except OSError as error:
            logger.warning("%s stays: %s", path, error.strerror)
        else:
            logger.warning("%s is removed: there are an older and a newer one", path)


def size(directory: Path) -> int:
    """Return how large they are together, in bytes."""
    files = [path for paths in _files(directory).values() for path in paths]
    return sum(path.stat().st_size for path in files)


def _files(directory: Path) -> dict[int, list[Path]]:
    """Return the files by their number."""
    found: dict[int, list[Path]] = {}
    for path in sorted(directory.iterdir()):
        match = _FILE.fullmatch(path.name)
        if match:
            found.setdefault(int(match[1]), []).append(path)
    return found
