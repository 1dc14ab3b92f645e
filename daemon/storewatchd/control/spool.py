"""Task reports that were left while the daemon was away.

Anybody may drop a file into the spool directory (mode 1733, like a letter box); what it asks for
is judged by who owns it, before a byte of it is read. A file holds one report a line: `{"version":
1, "method": "tasks.finish", "params": {...}}`.

What is refused goes to a directory in it that only the daemon can read, under another name; of
those the newest are kept. What cannot even be moved is passed over. All that touches the directory
is done in a thread: how much there is to do, anybody decides.
"""

import asyncio
import heapq
import logging
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from storewatch.wire import params
from storewatchd.control.dispatch import place_of_zero
from storewatchd.control.methods.tasks import finish_command, progress_command, start_command
from storewatchd.control.peer import Peer, judge
from storewatchd.control.users import user_of
from storewatchd.core.permissions import Caller, PeerGroups, Permission
from storewatchd.errors import RequestError, Unavailable
from storewatchd.monitor import Monitor

logger = logging.getLogger(__name__)

LOOK_S = 10.0
"""How often the directory is looked into."""

MAX_FILE_BYTES = 1 << 20
MAX_FILES = 1_000
"""How many files one look takes, and how many it refuses unread."""

REFUSED = ".refused"
MAX_REFUSED = 100
"""How many files are kept that were refused."""

MAX_TOLD = 20
"""How many refusals of one look are told one by one."""

# msgspec's errors are ValueErrors, but for the one about a document that is nested too deep.
_BAD = (OSError, ValueError, RecursionError, RequestError)


class _Report(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    version: int
    method: str
    params: msgspec.Raw


@dataclass(slots=True)
class _Letter:
    """What a file asks for, up to the first line that is wrong; `problem` is None where none is."""

    commands: list[Any] = field(default_factory=list)
    problem: Exception | None = None


class Spool:
    """The letter box of one node."""

    def __init__(self, directory: Path, monitor: Monitor, groups: PeerGroups) -> None:
        self._directory = directory
        self._refused = directory / REFUSED
        self._monitor = monitor
        self._groups = groups
        self._passed_over: set[str] = set()  # what is no report and cannot be moved
        self._told = 0  # refusals of this look

    def prepare(self) -> None:
        """Make the directory, open to everybody's reports and nobody's eyes."""
        try:
            self._directory.mkdir(parents=True, exist_ok=True)
            self._directory.chmod(0o1733)
            self._refused.mkdir(exist_ok=True)
            self._refused.chmod(0o700)
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
        for path in await asyncio.to_thread(self._look):
            letter = await asyncio.to_thread(self._open, path)
            try:
                for command in letter.commands:
                    await self._monitor.command(command)
            except Unavailable as error:
                logger.debug("the spooled reports wait: %s", error)
                break
            except _BAD as error:
                letter.problem = error
            if await asyncio.to_thread(self._put_away, path, letter.problem):
                taken += 1
        if self._told > MAX_TOLD:
            logger.warning("%d more spooled reports are refused", self._told - MAX_TOLD)
        if taken:
            logger.info("delivered %d spooled task report(s)", taken)
        return taken

    # In a thread.

    def _look(self) -> list[Path]:
        """Return the files to take now, by name; set aside what nobody who may report left."""
        self._told = 0
        callers: dict[int, Caller] = {}
        welcome: list[str] = []
        others: list[tuple[str, Exception]] = []
        there: set[str] = set()
        for entry in self._entries():
            there.add(entry.name)
            if entry.name in self._passed_over:
                continue
            try:
                about = entry.stat(follow_symlinks=False)
                self._check(about, callers)
                welcome.append(entry.name)
            except FileNotFoundError:
                continue
            except (OSError, ValueError) as error:
                if len(others) < MAX_FILES:
                    others.append((entry.name, error))
        self._passed_over &= there
        for name, problem in others:
            self._put_away(self._directory / name, problem)
        return [self._directory / name for name in heapq.nsmallest(MAX_FILES, welcome)]

    def _entries(self) -> Iterator[os.DirEntry[str]]:
        try:
            with os.scandir(self._directory) as entries:
                yield from (entry for entry in entries if entry.name.endswith(".json"))
        except OSError:
            return  # it could not be made, which was told

    def _check(self, about: os.stat_result, callers: dict[int, Caller]) -> Caller:
        """Return who owns a file.

        Raises:
            ValueError: it is no report of somebody who may report.
        """
        if not stat.S_ISREG(about.st_mode):
            raise ValueError("it is no regular file")
        caller = callers.get(about.st_uid)
        if caller is None:
            user = user_of(about.st_uid)
            owner = Peer(0, about.st_uid, frozenset(), has_more=True)
            caller = callers[about.st_uid] = judge(owner, user, self._groups)
        if Permission.WRITE not in caller.permissions:
            raise ValueError(f"its owner {caller.name} may not report tasks")
        if about.st_size > MAX_FILE_BYTES:
            raise ValueError(f"it is larger than {MAX_FILE_BYTES} bytes")
        return caller

    def _open(self, path: Path) -> _Letter:
        letter = _Letter()
        try:
            # O_NOFOLLOW and fstat: who dropped a file must not make us read another one.
            flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
            descriptor = os.open(path, flags)
            try:
                caller = self._check(os.fstat(descriptor), {})
                with open(descriptor, "rb", closefd=False) as file:
                    content = file.read(MAX_FILE_BYTES)
            finally:
                os.close(descriptor)
            for line in content.splitlines():
                if line.strip():
                    letter.commands.append(_command(caller.name, line))
        except _BAD as error:
            letter.problem = error
        return letter

    def _put_away(self, path: Path, problem: Exception | None) -> bool:
        """Remove a file whose reports were taken, or set it aside; return whether it was taken."""
        try:
            if problem is None:
                path.unlink()
                return True
            self._tell("the spooled report %s is refused: %s", path.name, problem)
            if stat.S_ISDIR(path.lstat().st_mode):
                path.rmdir()  # somebody else's directory cannot be moved to another one
            else:
                self._keep(path)
        except FileNotFoundError:
            pass  # its owner took it back
        except OSError as error:
            self._passed_over.add(path.name)
            self._tell("%s cannot be set aside, and is passed over: %s", path.name, error.strerror)
        return False

    def _keep(self, path: Path) -> None:
        numbers = sorted(int(name) for name in os.listdir(self._refused) if name.isdecimal())
        path.rename(self._refused / str(numbers[-1] + 1 if numbers else 1))
        for number in numbers[: max(0, len(numbers) + 1 - MAX_REFUSED)]:
            (self._refused / str(number)).unlink()

    def _tell(self, message: str, *words: object) -> None:
        self._told += 1
        if self._told <= MAX_TOLD:
            logger.warning(message, *words)


def _command(actor: str, line: bytes) -> Any:
    report = msgspec.json.decode(line, type=_Report)
    if (place := place_of_zero(msgspec.json.decode(report.params))) is not None:
        raise ValueError(f"{place} holds the character U+0000")
    if report.version != 1:
        raise ValueError(f"version {report.version} is not known")
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
