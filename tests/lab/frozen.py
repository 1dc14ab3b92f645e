"""A disk that hangs on demand: an ext4 of its own in a file, which the kernel freezes. Whoever
writes to it is blocked until it is thawed, and cannot be killed; what is in the page cache can be
read. Needs root.
"""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Self


class FreezableDisk:
    """A mounted file system of some MB."""

    def __init__(self, image: Path, path: Path, size_mb: int = 24) -> None:
        self.path = path
        self._image = image
        self._size_mb = size_mb
        self._is_frozen = False

    def __enter__(self) -> Self:
        self.path.mkdir()
        with self._image.open("wb") as file:
            file.truncate(self._size_mb << 20)
        subprocess.run(["mkfs.ext4", "-q", self._image], check=True)
        subprocess.run(["mount", "-o", "loop", self._image, self.path], check=True)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.thaw()
        subprocess.run(["umount", "-l", self.path], check=True)
        self._image.unlink()

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """Let everything that writes hang for a while."""
        subprocess.run(["fsfreeze", "--freeze", self.path], check=True)
        self._is_frozen = True
        try:
            yield
        finally:
            self.thaw()

    def thaw(self) -> None:
        """Let what hangs go on. A second call changes nothing."""
        if self._is_frozen:
            subprocess.run(["fsfreeze", "--unfreeze", self.path], check=True)
        self._is_frozen = False
