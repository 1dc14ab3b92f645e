"""What workers do: the reads of the table, each free to block, each in a process of its own."""

import errno
import fnmatch
import os
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from storewatch_reader.table import TreeRow

ATTRIBUTE_BYTES = 65_536  # more than a page, which is what sysfs gives at most


@dataclass(frozen=True)
class Roots:
    """Where the kernel's trees are; moved by tests."""

    sysfs: str = "/sys"
    procfs: str = "/proc"


def statvfs_path(roots: Roots, path: str) -> dict[str, Any]:
    """Return what a path is and how full its file system is; `exists` alone where it is not."""
    try:
        about = os.stat(path)
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ENOTDIR):
            return {"exists": False}
        raise
    sizes = os.statvfs(path)
    real = os.path.realpath(path)
    device = f"{os.major(about.st_dev)}:{os.minor(about.st_dev)}"
    return {
        "exists": True,
        "is_directory": stat.S_ISDIR(about.st_mode),
        "real_path": real,
        "device": device,
        "block_bytes": sizes.f_frsize,
        "blocks": sizes.f_blocks,
        "blocks_free": sizes.f_bfree,
        "blocks_available": sizes.f_bavail,
        "files": sizes.f_files,
        "files_free": sizes.f_ffree,
    }


def mounts(roots: Roots, _: str) -> dict[str, Any]:
    """Return the raw texts of mountinfo and of the kernel's list of file systems.

    A sandbox shows its own processes everything read-only; process 1 sees what is so.
    """
    return {
        "mountinfo": _machine_mountinfo(roots),
        "filesystems": _text(f"{roots.procfs}/filesystems"),
    }


def _machine_mountinfo(roots: Roots) -> str:
    try:
        if os.path.samestat(os.stat(f"{roots.procfs}/1/root"), os.stat("/")):
            return _text(f"{roots.procfs}/1/mountinfo")
    except OSError:
        pass  # not permitted: then this process is an ordinary user's, and in no sandbox
    return _text(f"{roots.procfs}/self/mountinfo")


def process_states(roots: Roots, _: str) -> dict[str, Any]:
    """Return how many processes are in which state, and which are blocked in the kernel."""
    states: dict[str, int] = {}
    blocked: list[dict[str, Any]] = []
    for name in os.listdir(roots.procfs):
        if not name.isdigit():
            continue
        try:
            line = _text(f"{roots.procfs}/{name}/stat")
        except OSError:
            continue  # it ended meanwhile
        comm, _, rest = line.partition("(")[2].rpartition(")")
        state = rest.strip()[:1]
        if not state:
            continue
        states[state] = states.get(state, 0) + 1
        if state == "D" and len(blocked) < 100:
            blocked.append({"pid": int(name), "comm": comm, "wchan": _wchan(roots, name)})
    return {"states": states, "blocked": blocked}


READS: dict[str, Callable[[Roots, str], dict[str, Any]]] = {
    "statvfs.path": statvfs_path,
    "mounts": mounts,
    "proc.states": process_states,
}


def tree(roots: Roots, row: TreeRow) -> tuple[list[str], list[int], bytes]:
    """Return the paths of a tree's attributes, the length of each (negative: the errno of its
    read) and all their bytes in a row.

    Directories are listed anew at each pass and nothing is kept open between passes: a kept
    descriptor would block an unmount.
    """
    paths: list[str] = []
    lengths: list[int] = []
    parts: list[bytes] = []
    for relative, full in _attributes(f"{roots.sysfs}/{row.root}", row.attributes):
        paths.append(relative)
        try:
            content = _bytes(full)
        except OSError as error:
            lengths.append(-(error.errno or errno.EIO))
        else:
            lengths.append(len(content))
            parts.append(content)
    return paths, lengths, b"".join(parts)


def _attributes(root: str, patterns: tuple[str, ...]) -> Iterator[tuple[str, str]]:
    try:
        objects = sorted(os.listdir(root))
    except FileNotFoundError:
        return
    for name in objects:
        for pattern in patterns:
            folder, _, last = pattern.rpartition("/")
            below = f"{name}/{folder}" if folder else name
            if "*" not in last:
                if os.path.exists(f"{root}/{below}/{last}"):
                    yield f"{below}/{last}", f"{root}/{below}/{last}"
                continue
            try:
                found = sorted(fnmatch.filter(os.listdir(f"{root}/{below}"), last))
            except OSError:
                continue  # the object went away, or is no directory
            for one in found:
                yield f"{below}/{one}", f"{root}/{below}/{one}"


def _wchan(roots: Roots, pid: str) -> str:
    try:
        return _text(f"{roots.procfs}/{pid}/wchan")
    except OSError:
        return ""


def _bytes(path: str) -> bytes:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    try:
        return os.read(descriptor, ATTRIBUTE_BYTES)
    finally:
        os.close(descriptor)


def _text(path: str) -> str:
    with open(path, "rb", buffering=0) as file:
        return file.read().decode(errors="replace")
