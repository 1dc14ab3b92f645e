"""Reports that could not be delivered, kept in files until a daemon takes them.

A file holds one or more lines `{"version":1,"method":"tasks.finish","params":{…}}` and appears
whole: it is written under another name first. Names sort by time. The daemon empties its own spool
directory and judges each file by its owner; a user's private one is emptied by that user's next
storewatchctl.
"""

import contextlib
import math
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import msgspec

from storewatch import clock
from storewatch.errors import CallError
from storewatch.wire import encode

DAEMON_DIRECTORY = Path("/var/lib/storewatch/spool")
DAEMON_SOCKET = "/run/storewatch/control.sock"

MAX_FILE_BYTES = 1 << 20

DELIVERED_AT_ONCE = 100
"""How many files one command delivers; a later one goes on."""


Method = Literal["tasks.start", "tasks.progress", "tasks.finish"]


class Report(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """One call that is still to be made."""

    version: Literal[1] = 1
    method: Method
    params: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Delivery:
    """What came of a delivery: how many reports were taken, and what was refused, in words."""

    delivered: int
    refused: tuple[str, ...]


def directory(environ: Mapping[str, str], socket: str) -> Path:
    """Return where reports for the daemon at this socket are kept."""
    if chosen := environ.get("STOREWATCH_SPOOL"):
        return Path(chosen)
    if socket == DAEMON_SOCKET and os.access(DAEMON_DIRECTORY, os.W_OK | os.X_OK):
        return DAEMON_DIRECTORY
    return private_directory(environ, socket)


def private_directory(environ: Mapping[str, str], socket: str) -> Path:
    """Return the user's own directory for the daemon at this socket: reports for one daemon must
    not reach another."""
    state = environ.get("XDG_STATE_HOME") or str(Path("~/.local/state").expanduser())
    return Path(state) / "storewatch" / "spool" / socket.strip("/").replace("/", "-")


def keep(spool: Path, reports: Iterable[Report], *, name: str) -> Path:
    """Write reports to a file that appears whole or not at all; `name` orders it among others.

    Raises:
        OSError: the directory cannot be made or written.
    """
    spool.mkdir(mode=0o700, parents=True, exist_ok=True)
    about = spool.stat()
    path = spool / f"{name}.json"
    partial = spool / f".{name}.{os.getpid()}.partial"
    descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with open(descriptor, "wb") as file:
        if about.st_uid != os.geteuid():
            _let_the_owner_read(descriptor, about.st_gid)
        file.writelines(encode(report) + b"\n" for report in reports)
        file.flush()
        os.fsync(descriptor)
    partial.rename(path)
    return path


def _let_the_owner_read(descriptor: int, group: int) -> None:
    """Open a file to the unprivileged daemon whose directory it is in."""
    try:
        os.fchown(descriptor, -1, group)
        os.fchmod(descriptor, 0o640)
    except PermissionError:
        # The directory can be listed by its owner only, and the name has a random part.
        os.fchmod(descriptor, 0o644)


def waiting(spool: Path) -> list[Path]:
    """Return this user's files in a spool directory, oldest first."""
    try:
        with os.scandir(spool) as entries:
            mine = [
                entry.path
                for entry in entries
                if entry.name.endswith(".json")
                and entry.is_file(follow_symlinks=False)
                and entry.stat(follow_symlinks=False).st_uid == os.geteuid()
            ]
    except OSError:
        return []
    return [Path(path) for path in sorted(mine)]


def read(path: Path) -> list[Report]:
    """Return the reports of a file.

    Raises:
        OSError: it cannot be read.
        ValueError: it is no such file.
    """
    with path.open("rb") as file:
        content = file.read(MAX_FILE_BYTES + 1)
    if len(content) > MAX_FILE_BYTES:
        raise ValueError(f"it is longer than {MAX_FILE_BYTES} bytes")
    return [msgspec.json.decode(line, type=Report) for line in content.splitlines() if line]


def deliver(
    spool: Path, call: Callable[[str, dict[str, Any]], object], *, until: float = math.inf
) -> Delivery:
    """Deliver this user's files, oldest first; none is begun after `until`, monotonic. A report
    that the daemon will never take is set aside under the name `….refused`.

    Raises:
        ClientError: the daemon went away; what is left stays for later.
    """
    delivered, refused = 0, []
    for path in waiting(spool)[:DELIVERED_AT_ONCE]:
        if clock.monotonic() >= until:
            break
        try:
            for report in read(path):
                call(report.method, report.params)
                delivered += 1
        except FileNotFoundError:
            continue  # Another command was faster; the daemon takes a report only once.
        except CallError as error:
            if error.is_passing:
                raise
            refused.append(_set_aside(path, str(error)))
        except (OSError, ValueError) as error:
            refused.append(_set_aside(path, str(error)))
        else:
            path.unlink(missing_ok=True)
    return Delivery(delivered, tuple(refused))


def _set_aside(path: Path, reason: str) -> str:
    aside = path.with_suffix(".refused")
    with contextlib.suppress(OSError):
        path.rename(aside)
    return f"{aside}: {reason}"
