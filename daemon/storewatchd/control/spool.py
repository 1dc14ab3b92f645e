"""Task reports that were left while the daemon was away.

Anybody may drop a file into the spool directory (mode 1733, like a letter box); what it asks for
is judged by who owns it. A file holds one report a line: `{"version": 1, "method": "tasks.finish",
"params": {...}}`.
"""

import asyncio
import logging
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from storewatch.wire import params
from storewatchd.control.dispatch import place_of_zero
from storewatchd.control.methods.tasks import finish_command, progress_command, start_command
from storewatchd.control.peer import Peer, groups_of, judge
from storewatchd.core.permissions import PeerGroups, Permission
from storewatchd.errors import RequestError, Unavailable
from storewatchd.monitor import Monitor

logger = logging.getLogger(__name__)

LOOK_S = 10.0
"""How often the directory is looked into; it is our own, so looking never blocks for long."""

MAX_FILE_BYTES = 1 << 20
MAX_FILES = 1_000
"""How many files one look takes."""


# msgspec's errors are ValueErrors, but for the one about a document that is nested too deep.
_BAD = (OSError, ValueError, RecursionError, RequestError)


class _Report(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    version: int
    method: str
    params: msgspec.Raw


class Spool:
    """The letter box of one node."""

    def __init__(self, directory: Path, monitor: Monitor, groups: PeerGroups) -> None:
        self._directory = directory
        self._monitor = monitor
        self._groups = groups

    def prepare(self) -> None:
        """Make the directory, open to everybody's reports and nobody's eyes."""
        try:
            self._directory.mkdir(parents=True, exist_ok=True)
            self._directory.chmod(0o1733)
        except OSError as error:
            logger.warning("no spool for task reports at %s: %s", self._directory, error.strerror)

    async def run(self) -> None:
        """Deliver what comes, until cancelled."""
        while True:
            await self.deliver()
            await asyncio.sleep(LOOK_S)

    async def deliver(self) -> int:
        """Deliver what is there now; return how many files were taken."""
        taken = 0
        for path in self._files():
            try:
                owner, lines = _read(path)
                await self._deliver_file(owner, lines)
                path.unlink()
            except Unavailable as error:
                logger.debug("the spooled reports wait: %s", error)
                break
            except _BAD as error:
                logger.warning("the spooled report %s is set aside: %s", path.name, error)
                _rename(path, path.with_suffix(".bad"))
                continue
            taken += 1
        if taken:
            logger.info("delivered %d spooled task report(s)", taken)
        return taken

    def _files(self) -> list[Path]:
        try:
            names = sorted(name for name in os.listdir(self._directory) if name.endswith(".json"))
        except OSError:
            return []
        return [self._directory / name for name in names[:MAX_FILES]]

    async def _deliver_file(self, owner: Peer, lines: Iterator[bytes]) -> None:
        caller = judge(owner, self._groups)
        if Permission.WRITE not in caller.permissions:
            raise ValueError(f"its owner {caller.name} may not report tasks")
        for line in lines:
            report = msgspec.json.decode(line, type=_Report)
            if (place := place_of_zero(msgspec.json.decode(report.params))) is not None:
                raise ValueError(f"{place} holds the character U+0000")
            if report.version != 1:
                raise ValueError(f"version {report.version} is not known")
            await self._monitor.command(_command(caller.name, report))


def _command(actor: str, report: _Report) -> Any:
    match report.method:
        case "tasks.start":
            return start_command(actor, msgspec.json.decode(report.params, type=params.TaskStart))
        case "tasks.progress":
            return progress_command(
                actor, msgspec.json.decode(report.params, type=params.TaskProgress)
            )
        case "tasks.finish":
            return finish_command(actor, msgspec.json.decode(report.params, type=params.TaskFinish))
        case method:
            raise ValueError(f"{method!r} cannot be spooled")


def _read(path: Path) -> tuple[Peer, Iterator[bytes]]:
    # O_NOFOLLOW and fstat: who dropped a file must not make us read another one.
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        about = os.fstat(descriptor)
        if not stat.S_ISREG(about.st_mode):
            raise ValueError("it is no regular file")
        # A file object that cannot be made, as of a directory, would leave the descriptor open.
        with open(descriptor, "rb", closefd=False) as file:
            content = file.read(MAX_FILE_BYTES + 1)
    finally:
        os.close(descriptor)
    if len(content) > MAX_FILE_BYTES:
        raise ValueError(f"it is larger than {MAX_FILE_BYTES} bytes")
    lines = (line for line in content.splitlines() if line.strip())
    return Peer(0, about.st_uid, groups_of(about.st_uid)), lines


def _rename(path: Path, to: Path) -> None:
    try:
        path.rename(to)
    except OSError as error:
        logger.error("%s cannot be set aside: %s", path, error.strerror)
