"""Whether this machine has what settings name: groups and users, and directories to use."""

import grp
import os
import pwd
import tempfile
from collections.abc import Iterator
from pathlib import Path

from storewatchd.errors import ConfigError
from storewatchd.settings import (
    ControlSettings,
    DatabaseKind,
    RulesSettings,
    Settings,
    Source,
)

_PROGRAMS = ("initdb", "postgres")

_OWN_DIRECTORY = "a directory that can be made and written"


def missing_names(settings: Settings, source: Source) -> Iterator[ConfigError]:
    """Yield which groups, users and programs are named and do not exist. The usual groups need not:
    without one nobody has its permissions."""
    usual = ControlSettings()
    for key in ("read_group", "write_group"):
        name = getattr(settings.control, key)
        if name != getattr(usual, key) and not _is_group(name):
            yield ConfigError(
                source.name,
                f"control.{key}",
                expected="a group that exists",
                found=f"{name!r}, so that nobody gets its permissions",
            )
    yield from _missing_of_database(settings, source)


def _missing_of_database(settings: Settings, source: Source) -> Iterator[ConfigError]:
    if settings.database.kind is not DatabaseKind.EMBEDDED:
        return
    user, binaries = settings.database.user, settings.database.binaries
    if user and not _is_user(user):
        yield ConfigError(
            source.name, "database.user", expected="a user that exists", found=repr(user)
        )
    if binaries is None:
        return
    missing = [one for one in _PROGRAMS if not os.access(binaries / one, os.X_OK)]
    if missing:
        yield ConfigError(
            source.name,
            "database.binaries",
            expected=f"the directory of {' and '.join(_PROGRAMS)}",
            found=f"{binaries}, where {missing[0]} cannot be run",
        )


def unusable_directories(settings: Settings, source: Source) -> Iterator[ConfigError]:
    """Yield which directories cannot be used as a start would use them. Nothing of it stays."""
    for name in ("state_directory", "runtime_directory"):
        found = _why_not_written(getattr(settings.daemon, name))
        if found:
            yield own_directory_error(source, name, found)
    usual = RulesSettings().directories
    for index, directory in enumerate(settings.rules.directories):
        try:
            os.scandir(directory).close()
        except OSError as error:
            if directory in usual and isinstance(error, FileNotFoundError):
                continue
            yield ConfigError(
                source.name,
                f"rules.directories[{index}]",
                expected="a directory that can be read",
                found=f"{directory}: {error.strerror}",
            )


def own_directory_error(source: Source, name: str, found: str) -> ConfigError:
    """Return the error about a directory of the daemon's own, as whoever set it named it."""
    by_word = getattr(source, name) is not None
    path = "the command line" if by_word else source.name
    key = f"--{name.replace('_', '-')}" if by_word else f"daemon.{name}"
    return ConfigError(path, key, expected=_OWN_DIRECTORY, found=found)


def _why_not_written(directory: Path) -> str:
    """Return why a directory cannot be made and written; nothing where it can, or where only
    another user than this one could tell."""
    nearest = directory
    try:
        while not nearest.exists():
            nearest = nearest.parent
        with tempfile.TemporaryDirectory(prefix=".storewatchd-", dir=nearest):
            return ""
    except OSError as error:
        if isinstance(error, PermissionError) and os.geteuid() != 0:
            return ""
        made = "" if nearest == directory else f", which cannot be made in {nearest}"
        return f"{directory}{made}: {error.strerror}"


def _is_group(name: str) -> bool:
    try:
        grp.getgrnam(name)
    except (KeyError, ValueError):
        return False
    return True


def _is_user(name: str) -> bool:
    try:
        pwd.getpwnam(name)
    except (KeyError, ValueError):
        return False
    return True
