"""What SQLite's errors mean for the journal: damage of the file, or the state of the world."""

import sqlite3
from pathlib import Path

from storewatchd.errors import JournalDamaged, JournalError

# What these errors say is of the disk, of the memory or of another process. Everything else that
# SQLite may say at the opening of a file is of the file.
_OF_THE_WORLD = (
    *(sqlite3.SQLITE_PERM, sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_NOMEM),
    *(sqlite3.SQLITE_READONLY, sqlite3.SQLITE_INTERRUPT, sqlite3.SQLITE_IOERR),
    *(sqlite3.SQLITE_FULL, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PROTOCOL, sqlite3.SQLITE_AUTH),
)
# A sector that cannot be read is damage as much as one that holds something else.
_UNREADABLE = (
    sqlite3.SQLITE_IOERR_READ,
    sqlite3.SQLITE_IOERR_SHORT_READ,
    sqlite3.SQLITE_IOERR_CORRUPTFS,
)
_BROKEN = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)
_FULL = (sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR)


def failure(path: Path, error: Exception) -> JournalError:
    """Return what an error at the opening of a file means; that nothing can be made of its
    content is damage too."""
    if isinstance(error, sqlite3.Error) and not _is_of_the_file(path, error):
        return JournalError(f"{path} cannot be used: {error}")
    return JournalDamaged(f"{path} is damaged or no journal: {error}")


def _is_of_the_file(path: Path, error: sqlite3.Error) -> bool:
    if _code(error) == sqlite3.SQLITE_READONLY:
        return _can_be_written(path)
    return error.sqlite_errorcode in _UNREADABLE or _code(error) not in _OF_THE_WORLD


def _can_be_written(path: Path) -> bool:
    """Return whether only the file's own words make it read-only: a flipped bit in them does."""
    try:
        with path.open("r+b"):
            return True
    except OSError:
        return False


def is_broken(error: Exception) -> bool:
    """Return whether SQLite says that the file under it is no whole one any more."""
    return _code(error) in _BROKEN


def is_for_want_of_room(error: Exception) -> bool:
    """Return whether more room on the disk may help; a quota shows as an input or output error."""
    code = getattr(error, "sqlite_errorcode", 0)
    return _code(error) in _FULL and code not in _UNREADABLE


def _code(error: Exception) -> int:
    # The last byte of an extended code is the code itself. Python's own errors have none.
    return int(getattr(error, "sqlite_errorcode", 0)) & 0xFF
