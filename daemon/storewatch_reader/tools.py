"""Tools that ask a SCSI device: run by a worker, with a look before and a look after.

A command of class P1 runs only while nobody holds the device and its statistics rest: any command
may be the one that receives a unit attention that a backup program waits for. Nobody does while the
kernel counts no open node of its kind; otherwise every process is looked at. The window cannot be
closed, so what changed meanwhile is told. One of class P2 is asked by who holds the device.
"""

import os
import re
import selectors
import signal
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from storewatch_reader import clock
from storewatch_reader.roots import CONSUMING, Roots
from storewatch_reader.table import ToolRow

MAX_STDERR_BYTES = 65_536
RUNNING = "running"
SAFE_QUEUE = 1
"""A host with so few slots is asked one thing at a time: one dead device wedges all of it."""

_NODE = re.compile(r"n?(sg|st)\d+[alm]?")  # and the module of its driver


class Deferred(Exception):
    """Looking now would disturb, or hang; the sentence says why."""


class Gone(Exception):
    """There is no such device."""


class NotAllowed(Exception):
    """This reader was not told to run a command of this class."""


@dataclass
class Device:
    """A SCSI device as sysfs has it, and the names of its nodes."""

    address: str
    state: str
    sg: str
    nodes: frozenset[str]
    tape: str = ""  # the name of its statistics
    can_queue: int = 0


def run(roots: Roots, row: ToolRow, address: str) -> tuple[dict[str, Any], bytes]:
    """Return what a tool said of a device, and its output.

    Raises:
        Gone, Deferred, NotAllowed: it was not run.
        OSError: it could not be.
    """
    if row.safety not in roots.allowed:
        option = ": start it with --tapealert-broker" if row.safety == CONSUMING else ""
        raise NotAllowed(
            f"{row.name} is of class {row.safety}, which this reader was not told to run{option}"
        )
    device = find(roots, address)
    if device.state != RUNNING:
        raise Deferred(f"the kernel has {address} as {device.state!r}")
    # What is of class P2 is asked by who waits for it: the program that holds the device.
    is_looked_at = row.safety != CONSUMING
    before = _rest(roots, device) if is_looked_at else ()
    began = clock.monotonic()
    status, stdout, stderr = _spawned(roots, row, device)
    duration_s = clock.monotonic() - began
    try:
        raced = is_looked_at and _rest(roots, device) != before
    except Deferred:
        raced = True
    value = {
        "status": status,
        "stderr": stderr.decode(errors="replace"),
        "duration_s": duration_s,
        "raced": raced,
        "host_limit": host_limit(device.can_queue),
    }
    return value, stdout


def find(roots: Roots, address: str) -> Device:
    """Return a device by its address.

    Raises:
        Gone: it is not there.
        OSError: sysfs cannot be read.
    """
    place = f"{roots.sysfs}/class/scsi_device/{address}/device"
    state = _line(f"{place}/state")
    if state is None:
        raise Gone(f"there is no SCSI device {address}")
    sg = _names(f"{place}/scsi_generic")
    if not sg:
        raise Gone(f"{address} has no sg node: is the module sg loaded?")
    tapes = _names(f"{place}/scsi_tape")
    host = address.partition(":")[0]
    can_queue = _line(f"{roots.sysfs}/class/scsi_host/host{host}/can_queue") or ""
    return Device(
        address,
        state,
        sg[0],
        frozenset((*sg, *tapes)),
        tape=next((name for name in tapes if re.fullmatch(r"st\d+", name)), ""),
        can_queue=int(can_queue) if can_queue.isdecimal() else 0,
    )


def kind(roots: Roots, address: str) -> str | None:
    """Return the type of a device, a number; None where it is not there."""
    return _line(f"{roots.sysfs}/class/scsi_device/{address}/device/type")


def host_limit(can_queue: int) -> int:
    """Return how many commands a host may have from us at the same time."""
    return 1 if can_queue <= SAFE_QUEUE else 4


def _rest(roots: Roots, device: Device) -> tuple[str, ...]:
    """Return the device's counters while it is idle.

    Raises:
        Deferred: somebody uses it, or who does cannot be seen.
    """
    try:
        held = holders(roots, device.nodes)
    except PermissionError:
        raise Deferred("who holds the device cannot be seen: the reader is not root") from None
    if held:
        one = held[0]
        who = f"{one['comm']} (pid {one['pid']}, {one['node']})"
        raise Deferred(f"{who} holds {device.address}")
    if device.can_queue <= SAFE_QUEUE:
        host = device.address.partition(":")[0]
        busy = _line(f"{roots.sysfs}/class/scsi_host/host{host}/host_busy")
        if busy not in (None, "0"):
            raise Deferred(f"host {host} takes one command at a time, and has one")
    if not device.tape:
        return ()
    stats = f"{roots.sysfs}/class/scsi_tape/{device.tape}/stats"
    if _line(f"{stats}/in_flight") not in (None, "0"):
        raise Deferred(f"{device.address} has a command of a backup in flight")
    return tuple(_line(f"{stats}/{name}") or "" for name in ("read_cnt", "write_cnt", "other_cnt"))


def holders(roots: Roots, nodes: frozenset[str]) -> list[dict[str, Any]]:
    """Return who has one of these nodes open: `pid`, `comm` and `node`.

    Raises:
        PermissionError: that cannot be seen.
    """
    if _are_all_closed(roots, nodes):
        return []
    own = os.getpid()
    found = []
    for pid in os.listdir(roots.procfs):
        if not pid.isdigit() or int(pid) == own:
            continue
        try:
            names = os.listdir(f"{roots.procfs}/{pid}/fd")
        except PermissionError:
            raise
        except OSError:
            continue  # it ended meanwhile
        for name in names:
            try:
                target = os.readlink(f"{roots.procfs}/{pid}/fd/{name}")
            except OSError:
                continue
            directory, _, node = target.rpartition("/")
            if node in nodes and directory == roots.dev:
                comm = _line(f"{roots.procfs}/{pid}/comm") or "a process"
                found.append({"pid": int(pid), "comm": comm, "node": node})
    return found


def _are_all_closed(roots: Roots, nodes: frozenset[str]) -> bool:
    """Return whether the kernel counts no open node of these kinds, of any device; False where that
    cannot be known, as of a driver that is built in.

    An open file holds the module of its driver: sg, st and every other character device name
    theirs as the owner of their file operations (fs/char_dev.c, chrdev_open). Tools of our own
    count too.
    """
    drivers = set()
    for node in nodes:
        kind = _NODE.fullmatch(node)
        if kind is None:
            return False
        drivers.add(kind[1])
    try:
        counts = {_line(f"{roots.sysfs}/module/{driver}/refcnt") for driver in drivers}
    except OSError:
        return False
    return counts <= {"0"}


def _spawned(roots: Roots, row: ToolRow, device: Device) -> tuple[int, bytes, bytes]:
    argv = [word.replace("{sg}", f"{roots.dev}/{device.sg}") for word in row.argv]
    return spawned(roots, argv, row.max_bytes)


def spawned(roots: Roots, argv: list[str], max_bytes: int) -> tuple[int, bytes, bytes]:
    """Run a tool to its end; return its exit status, standard output and error.

    Raises:
        OSError: it cannot be run.
    """
    program = _found(roots.path, argv[0])
    out, out_end = os.pipe2(os.O_CLOEXEC)
    err, err_end = os.pipe2(os.O_CLOEXEC)
    pid = os.posix_spawn(
        program,
        argv,
        {"PATH": roots.path, "LC_ALL": "C", **roots.environ},
        file_actions=[
            (os.POSIX_SPAWN_OPEN, 0, "/dev/null", os.O_RDONLY, 0),
            (os.POSIX_SPAWN_DUP2, out_end, 1),
            (os.POSIX_SPAWN_DUP2, err_end, 2),
        ],
        setsigmask=[],
        setsigdef=[signal.SIGINT, signal.SIGPIPE, signal.SIGTERM],
    )
    os.close(out_end)
    os.close(err_end)
    stdout, stderr = _drained(out, err, (max_bytes, MAX_STDERR_BYTES))
    _, ended = os.waitpid(pid, 0)
    return os.waitstatus_to_exitcode(ended), stdout, stderr


def _drained(out: int, err: int, bounds: Sequence[int]) -> tuple[bytes, bytes]:
    """Return what comes from two pipes, up to their bounds; what is more is thrown away."""
    said = {out: bytearray(), err: bytearray()}
    with selectors.DefaultSelector() as selector:
        for pipe in said:
            selector.register(pipe, selectors.EVENT_READ)
        while selector.get_map():
            for key, _ in selector.select():
                chunk = os.read(key.fd, 1 << 16)
                if not chunk:
                    selector.unregister(key.fd)
                    os.close(key.fd)
                said[key.fd] += chunk[: bounds[key.fd == err] - len(said[key.fd])]
    return bytes(said[out]), bytes(said[err])


def _found(path: str, name: str) -> str:
    for directory in path.split(":"):
        if os.access(f"{directory}/{name}", os.X_OK):
            return f"{directory}/{name}"
    raise FileNotFoundError(2, "No such program; install it", name)


def _names(directory: str) -> list[str]:
    try:
        return sorted(os.listdir(directory))
    except (FileNotFoundError, NotADirectoryError):
        return []


def _line(path: str) -> str | None:
    """Return an attribute's text, None where there is none."""
    try:
        with open(path, "rb", buffering=0) as file:
            return file.read(4096).decode(errors="replace").strip()
    except (FileNotFoundError, NotADirectoryError, ProcessLookupError):
        return None
