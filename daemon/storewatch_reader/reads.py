"""What workers do: the reads of the table, each free to block, each in a process of its own."""

import errno
import os
import stat
from collections.abc import Callable
from typing import Any

from storewatch_reader import boot, modules, scst_log, tools, vtl
from storewatch_reader.roots import Roots
from storewatch_reader.table import TreeRow
from storewatch_reader.trees import Pass, compiled


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


def file_size(roots: Roots, path: str) -> dict[str, Any]:
    """Return what a file or block device is and how long, in bytes, None where that has no
    meaning; and by which name the kernel counts what goes to its disk, where it is on one."""
    try:
        about = os.stat(path)
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ENOTDIR):
            return {"exists": False}
        raise
    if stat.S_ISREG(about.st_mode):
        disk = _disk(roots, about.st_dev)
        return {"exists": True, "kind": "file", "size": about.st_size, "disk": disk}
    if not stat.S_ISBLK(about.st_mode):
        return {"exists": True, "kind": "other", "size": None, "disk": ""}
    number = f"{os.major(about.st_rdev)}:{os.minor(about.st_rdev)}"
    size = 512 * int(_text(f"{roots.sysfs}/dev/block/{number}/size"))
    return {"exists": True, "kind": "block", "size": size, "disk": _disk(roots, about.st_rdev)}


def _disk(roots: Roots, number: int) -> str:
    """Return the name of a block device in sysfs; empty for a file system that is on none."""
    try:
        target = os.readlink(f"{roots.sysfs}/dev/block/{os.major(number)}:{os.minor(number)}")
    except OSError:
        return ""
    return os.path.basename(target)


_TAPE_KINDS = ("1", "8")  # sequential access device, medium changer (SPC-4 6.4.2)


def scsi_holders(roots: Roots, _: str) -> dict[str, Any]:
    """Return which processes hold each tape drive and changer, by its address."""
    devices = []
    try:
        addresses = os.listdir(f"{roots.sysfs}/class/scsi_device")
    except FileNotFoundError:
        addresses = []
    for address in addresses:
        try:
            if tools.kind(roots, address) in _TAPE_KINDS:
                devices.append(tools.find(roots, address))
        except tools.Gone:
            continue
    held = tools.holders(roots, frozenset[str]().union(*(one.nodes for one in devices)))
    return {
        "devices": {
            one.address: [holder for holder in held if holder["node"] in one.nodes]
            for one in devices
        }
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
    "file.size": file_size,
    "scsi.holders": scsi_holders,
    "mounts": mounts,
    "proc.states": process_states,
    "scst.log": scst_log.errors,
    "vtl.daemons": vtl.daemons,
    "vtl.units": vtl.units,
    "vtl.config": vtl.config,
    "vtl.media": vtl.media,
    "boot.kernels": boot.kernels,
    "boot.modules": boot.modules,
    "boot.units": boot.units,
    "boot.fstab": boot.fstab,
    "boot.crypttab": boot.crypttab,
    "boot.scst": boot.scst_config,
    "boot.module": modules.module,
    "boot.tape_names": boot.tape_names,
    "boot.reboot": boot.reboot,
}


def tree(roots: Roots, row: TreeRow, object_id: str = "") -> Pass:
    """Return what a pass over a tree found, or over what is below an object in it."""
    found = Pass()
    found.take(os.path.join(roots.sysfs, row.root, object_id), compiled(row.attributes))
    return found


def _wchan(roots: Roots, pid: str) -> str:
    try:
        return _text(f"{roots.procfs}/{pid}/wchan")
    except OSError:
        return ""


def _text(path: str) -> str:
    with open(path, "rb", buffering=0) as file:
        return file.read().decode(errors="replace")
