"""Builds the shim that carries SG_IO from real tools to the emulator."""

import hashlib
import os
import subprocess
import tempfile
from pathlib import Path

_HERE = Path(__file__).parent
_SOURCES = ("shim.c", "targets.c")
_FLAGS = ("-O2", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC")


class BuildError(Exception):
    """The compiler is not there, or refuses."""


def built(*, has_iscsi: bool = False, cache: Path | None = None) -> Path:
    """Return the shared library, made if it is not there for these sources yet.

    Raises:
        BuildError: it cannot be made.
    """
    cache = cache or Path(tempfile.gettempdir()) / f"storewatch-lab-{os.getuid()}"
    words = [*_FLAGS, *(["-DWITH_ISCSI"] if has_iscsi else [])]
    libraries = ["-liscsi"] if has_iscsi else []
    sources = [_HERE / name for name in _SOURCES]
    digest = hashlib.sha256(" ".join(words).encode())
    for path in (*sources, _HERE / "shim.h"):
        digest.update(path.read_bytes())
    library = cache / f"sgshim-{digest.hexdigest()[:16]}.so"
    if library.exists():
        return library
    cache.mkdir(mode=0o700, exist_ok=True)
    # Others may build it at the same time.
    draft = library.with_suffix(f".{os.getpid()}")
    command = ["gcc", *words, "-o", str(draft), *map(str, sources), *libraries, "-ldl", "-lpthread"]
    try:
        made = subprocess.run(command, capture_output=True, text=True)
    except FileNotFoundError:
        raise BuildError("gcc is not installed: apt-get install gcc libc6-dev") from None
    if made.returncode:
        raise BuildError(f"gcc ended with status {made.returncode}: {made.stderr.strip()}")
    draft.replace(library)
    return library
