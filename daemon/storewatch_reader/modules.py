"""What the file of a kernel module says of itself: for which kernel it was built, and whether it is
signed.

Linux: include/linux/vermagic.h, include/linux/module_signature.h. A file may be compressed, as kmod
reads them.
"""

import contextlib
import os
import re
from typing import Any

from storewatch_reader import tools
from storewatch_reader.roots import Roots

FILE_BYTES = 64 << 20
"""A module that is longer, unpacked, is not looked at."""

_SIGNATURE = b"~Module signature appended~\n"
_VERMAGIC = re.compile(rb"(?<![0-9A-Za-z_])vermagic=([\x20-\x7e]{1,500})\0")
_FILE = re.compile(r"(?:.*/)?([^/]+)\.ko(?:\.(?:xz|zst|gz))?")
_WEAK = "weak-updates/"


def name_of(path: str) -> str:
    """Return the module of a file; empty for one that is none."""
    match = _FILE.fullmatch(path)
    return match[1].replace("-", "_") if match else ""


def module(roots: Roots, object_id: str) -> dict[str, Any]:
    """Return what a module, KERNEL/NAME, says of itself; None is what cannot be read.

    `vermagic` is that of the module, `of_kernel` that of one which came with the kernel;
    `is_weak` says whether it was linked in for this kernel by weak-modules(8), which has compared
    the symbols.
    """
    version, _, name = object_id.partition("/")
    place = f"{roots.modules}/{version}"
    own = other = ""
    try:
        with open(f"{place}/modules.dep", encoding="utf-8", errors="surrogateescape") as lines:
            for line in lines:
                path = line.partition(":")[0]
                if name_of(path) == name:
                    own = path
                elif not other and path.startswith("kernel/"):
                    other = path
    except FileNotFoundError:
        return {"exists": False}
    if not own:
        return {"exists": False}
    try:
        content = unpacked(roots, os.path.join(place, own))
    except FileNotFoundError:
        return {"exists": False}
    beside = None
    if other:
        with contextlib.suppress(FileNotFoundError):
            beside = unpacked(roots, os.path.join(place, other))
    return {
        "exists": True,
        "vermagic": vermagic(content),
        "of_kernel": vermagic(beside),
        "is_signed": None if content is None else content.endswith(_SIGNATURE),
        "is_weak": own.startswith(_WEAK),
    }


def vermagic(content: bytes | None) -> str | None:
    """Return for what a module was built; None where it does not say, or cannot be read."""
    match = _VERMAGIC.search(content) if content is not None else None
    return match[1].decode("ascii").strip() if match else None


def unpacked(roots: Roots, path: str) -> bytes | None:
    """Return the content of a module's file; None where it cannot be unpacked.

    Raises:
        OSError: it cannot be read.
    """
    if path.endswith(".zst"):
        # Python 3.11 has no zstd; kernels that use it come with the program.
        os.stat(path)
        try:
            status, content, _ = tools.spawned(roots, ["zstd", "-dcq", "--", path], FILE_BYTES + 1)
        except FileNotFoundError:
            return None
        return content if status == 0 and len(content) <= FILE_BYTES else None
    with open(path, "rb") as file:
        content = file.read(FILE_BYTES + 1)
    if len(content) > FILE_BYTES:
        return None
    return _decompressed(path, content)


def _decompressed(path: str, content: bytes) -> bytes | None:
    # Imported here: of all processes of the reader only such a worker needs them.
    if path.endswith(".xz"):
        import lzma

        unpacker = lzma.LZMADecompressor()
        try:
            found = unpacker.decompress(content, FILE_BYTES)
        except lzma.LZMAError:
            return None
        return found if unpacker.eof else None
    if path.endswith(".gz"):
        import zlib

        inflater = zlib.decompressobj(16 + zlib.MAX_WBITS)
        try:
            found = inflater.decompress(content, FILE_BYTES)
        except zlib.error:
            return None
        return found if inflater.eof else None
    return content
