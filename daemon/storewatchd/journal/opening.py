"""From a state directory, whatever is in it, to an open state.db in a new epoch.

A file appears whole or not at all: a new one and one that is salvaged are made beside it, and a
swap that was interrupted is finished at the next start. Only what lies outside the files ends an
opening: another daemon, a newer version, a disk that is full or cannot be reached.
"""

import logging
import os
import secrets
import sqlite3
import uuid
from dataclasses import dataclass
from pathlib import Path

from storewatchd import locks
from storewatchd.errors import JournalDamaged, JournalError, LockedElsewhere
from storewatchd.journal import damaged
from storewatchd.journal.damaged import DAMAGED, NAME
from storewatchd.journal.database import Database
from storewatchd.journal.failures import failure
from storewatchd.journal.records import Notice, Rebuild
from storewatchd.journal.salvage import Salvaged, salvage

logger = logging.getLogger(__name__)

BLOCK = 10_000
"""How many numbers are reserved on disk at a time."""

_NEW = f"{NAME}.new"
_SALVAGED = f"{NAME}.salvaged-"
_SIDES = ("", "-wal", "-shm")

_MACHINE_ID = Path("/etc/machine-id")
_NODES = uuid.UUID("6d0f3d0e-6a0b-4f0e-9c55-0d1d1c5b8a77")
"""The name space of nodes: an id says nothing of the machine's own, which is nobody's business."""


@dataclass(frozen=True, slots=True)
class Start:
    """An open file in a new epoch, and what is known from it at the start."""

    database: Database
    epoch: str
    first_seq: int
    epochs: dict[str, int]
    cursors: dict[str, int]
    rebuild: Rebuild


def lock(directory: Path) -> int:
    """Take the directory for this process, making it where there is none.

    Raises:
        JournalError: another process has it, or it cannot be used.
    """
    try:
        directory.mkdir(parents=True, exist_ok=True, mode=0o750)
        return locks.take(directory / "lock")
    except OSError as error:
        raise JournalError(
            f"the state directory {directory} cannot be used: {error.strerror}"
        ) from error
    except LockedElsewhere as error:
        raise JournalError(
            f"another daemon (pid {error.holder}) uses the state directory {directory}"
        ) from error


def start(directory: Path, now: float) -> Start:
    """Open the file and begin an epoch.

    Raises:
        JournalError: it cannot be used, or is from a newer version.
    """
    path = directory / NAME
    try:
        _finish_swap(directory)
        if not any(Path(f"{path}{side}").exists() for side in _SIDES[:2]):
            _make(directory)
        try:
            return _begin(path, now)
        except JournalDamaged as error:
            mend(path, error, now)
            return _begin(path, now)
    except OSError as error:
        raise JournalError(f"{path} cannot be used: {error}") from error


def mend(path: Path, error: Exception, now: float) -> None:
    """Set a damaged file aside, and put in its place a new one with all of it that is whole.

    Raises:
        JournalError, OSError: there is no room for it.
    """
    when = damaged.next_number(path.parent, now)
    aside = path.with_name(f"{DAMAGED}{when}")
    logger.error("%s; it is set aside as %s", error, aside)
    made = path.with_name(_NEW)
    _remove(made)
    try:
        database = Database.open(made)
        try:
            found = salvage(path, database)
            _complete(database, found, aside)
            database.settle()
        finally:
            database.close()
    except sqlite3.Error as failed:
        raise JournalError(f"{path} is damaged and cannot be salvaged: {failed}") from failed
    # From this name on it is complete: whatever happens now, it will be the journal.
    os.replace(made, path.with_name(f"{_SALVAGED}{when}"))
    _finish_swap(path.parent)


def _complete(database: Database, found: Salvaged, aside: Path) -> None:
    """Add what a salvaged file needs, and what has to be told."""
    first = database.first_after(0)
    numbers = [database.last_seq(), *database.cursors().values(), *database.epochs().values()]
    facts = {
        "path": os.fspath(aside),
        "kept_records": found.records,
        "kept_state": found.states,
        "lost_records": found.lost_records,
        "lost_state": found.lost_states,
        "removed": [os.fspath(path) for path in damaged.superfluous(aside.parent, coming=1)],
    }
    logger.error(
        "of the damaged journal %d records and %d pieces of state were taken over; "
        "%s records and %s pieces of state are lost",
        found.records,
        found.states,
        "an unknown number of" if found.lost_records is None else found.lost_records,
        "an unknown number of" if found.lost_states is None else found.lost_states,
    )
    meta = {"rebuild": Rebuild.RECORDS.value}
    if database.meta("reserved") is None:
        # More than were ever given out beyond what can be read.
        meta["reserved"] = str(max(numbers) + 2 * BLOCK)
    if database.meta("pruned") is None:
        meta["pruned"] = str(first[0] - 1 if first else max(numbers))
    database.write((), (), meta.items())
    database.take_out((), (), Notice("journal_damaged", facts, secrets.token_hex(8)))


def _finish_swap(directory: Path) -> None:
    """Put a salvaged file in its place, and the damaged one aside, as far as that is not done."""
    for salvaged in directory.glob(f"{_SALVAGED}*"):
        aside = directory / salvaged.name.replace(_SALVAGED, DAMAGED)
        for side in _SIDES:
            beside = directory / f"{NAME}{side}"
            if beside.exists():
                os.replace(beside, f"{aside}{side}")
        os.replace(salvaged, directory / NAME)
        _sync(directory)
    damaged.thin_out(directory)


def _make(directory: Path) -> None:
    made = directory / _NEW
    _remove(made)
    try:
        database = Database.open(made)
        try:
            meta = {"reserved": "0", "pruned": "0", "rebuild": Rebuild.STORE.value}
            database.write((), (), meta.items())
            database.settle()
        finally:
            database.close()
    except sqlite3.Error as error:
        raise failure(made, error) from error
    os.replace(made, directory / NAME)
    _sync(directory)


def _remove(path: Path) -> None:
    for side in _SIDES:
        Path(f"{path}{side}").unlink(missing_ok=True)


def _sync(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _begin(path: Path, now: float) -> Start:
    """Open a file that is there, take out what is not whole, and begin an epoch.

    Raises:
        JournalDamaged: it is damaged or no journal.
        JournalError: it cannot be used, or is from a newer version.
    """
    if not path.exists():
        raise JournalDamaged(f"{path} is missing, and what SQLite keeps beside it is not")
    database = Database.open(path)
    try:
        _take_out_damaged_state(database)
        database.node = _node(database)
        first_seq = max(int(database.meta("reserved") or 0), database.last_seq()) + 1
        epoch = secrets.token_hex(4)
        database.start_epoch(epoch, first_seq, now)
        return Start(
            database,
            epoch,
            first_seq,
            database.epochs(),
            database.cursors(),
            Rebuild(database.meta("rebuild") or ""),
        )
    except (sqlite3.Error, ValueError) as error:
        database.close()
        raise failure(path, error) from error


def _take_out_damaged_state(database: Database) -> None:
    spoilt = database.damaged_states()
    if not spoilt:
        return
    logger.error("%s: %d pieces of state are damaged and dropped", database.path, len(spoilt))
    facts = {"path": None, "lost_records": 0, "lost_state": len(spoilt)}
    notice = Notice("journal_damaged", facts, secrets.token_hex(8))
    database.take_out((), spoilt, notice, rebuild=Rebuild.RECORDS)


def _node(database: Database) -> str:
    """Return this node's id: of the machine and the directory, so that one whose journal is lost
    comes back as the same. A copy of the directory on another machine gets one of its own."""
    try:
        machine = _MACHINE_ID.read_text().strip()
    except OSError:
        machine = ""
    node, bound_to = database.meta("node"), database.meta("machine")
    if node is None or (machine and bound_to != machine):
        if node is not None:
            logger.warning("this journal comes from another machine: the node gets a new id")
        place = f"{machine}{database.path.absolute().parent}"
        node = str(uuid.uuid5(_NODES, place) if machine else uuid.uuid4())
        database.write((), (), (("node", node), ("machine", machine)))
    return node
