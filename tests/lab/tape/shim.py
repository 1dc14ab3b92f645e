"""Builds the shim that carries SG_IO from real tools to the emulator."""

import hashlib
import os
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

_HERE = Path(__file__).parent
_SOURCES = ("shim.c", "targets.c")
_FLAGS = ("-O2", "-Wall", "-Wextra", "-Werror")


class BuildError(Exception):
    """The compiler is not there, or refuses."""


def built(*, has_iscsi: bool = False, cache: Path | None = None) -> Path:
    """Return the shared library, made if it is not there for these sources yet.

    Raises:
        BuildError: it cannot be made.
    """
    words = (*_FLAGS, *(["-DWITH_ISCSI"] if has_iscsi else []))
    libraries = (*(["-liscsi"] if has_iscsi else []), "-ldl", "-lpthread")
    sources = [_HERE / name for name in _SOURCES]
    return compiled("sgshim", sources, words, libraries, (_HERE / "shim.h",), cache=cache)


def compiled(
    name: str,
    sources: Sequence[Path],
    words: Sequence[str],
    libraries: Sequence[str],
    headers: Sequence[Path] = (),
    *,
    cache: Path | None = None,
) -> Path:
    """Return a library to preload, made if it is not there for these sources yet.

    Raises:
        BuildError: it cannot be made.
    """
    cache = cache or Path(tempfile.gettempdir()) / f"storewatch-lab-{os.getuid()}"
    digest = hashlib.sha256(" ".join(words).encode())
    for path in (*sources, *headers):
        digest.update(path.read_bytes())
    library = cache / f"{name}-{digest.hexdigest()[:16]}.so"
    if library.exists():
        return library
    cache.mkdir(mode=0o700, exist_ok=True)
    # Others may build it at the same time.
    draft = library.with_suffix(f".{os.getpid()}")
    command = ["gcc", *words, "-shared", "-fPIC", "-o", str(draft), *map(str, sources), *libraries]
    try:
        made = subprocess.run(command, capture_output=True, text=True)
    except FileNotFoundError:
        raise BuildError("gcc is not installed: apt-get install gcc libc6-dev") from None
    if made.returncode:
        raise BuildError(f"gcc ended with status {made.returncode}: {made.stderr.strip()}")
    draft.replace(library)
    return library
