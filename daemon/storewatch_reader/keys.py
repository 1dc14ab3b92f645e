"""Keys: what one stuck read can block, as lock files that a worker holds until it is gone.

A worker and the tool that it runs inherit the descriptor, so that a key is closed as long as the
kernel keeps either of them, whatever becomes of the reader.
"""

import fcntl
import os

from storewatch_reader import clock
from storewatch_reader.digests import digest_of


class Keys:
    """The lock files of one directory. Which key a file is of, and since when it is held, is
    written in it."""

    def __init__(self, directory: str) -> None:
        self._directory = directory

    def take(self, key: str) -> tuple[int | None, float]:
        """Lock a key; return the descriptor and now, or None and since when another holds it.

        Raises:
            OSError: there is no room or no right for a lock file.
        """
        name = digest_of(os.fsencode(key), size=16)
        lock = os.open(
            f"{self._directory}/{name}",
            os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW,
            0o600,
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
