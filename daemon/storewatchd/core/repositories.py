"""Where backups live: the repositories that the configuration declares, that people added, and
that were found as local file systems.

The book also remembers which mount point each one was last seen on, so that a repository whose
file system is not mounted any more is not mistaken for the directory beneath.
"""

import posixpath
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum

from storewatchd.errors import Conflict, InvalidParams, NotFound


class Origin(StrEnum):
    CONFIGURATION = "configuration"
    ADDED = "added"
    DISCOVERED = "discovered"


@dataclass(frozen=True, slots=True)
class Repository:
    """A named place. `path` is absolute and normal: no `.`, no `..`, no double slash."""

    name: str
    path: str
    origin: Origin


def normal_path(path: str) -> str:
    """Return an absolute path without `.`, `..` and double slashes.

    Raises:
        InvalidParams: the path is relative, empty, or holds a zero byte.
    """
    if not path.startswith("/"):
        raise InvalidParams(f"path: expected an absolute path, found {path!r}")
    if "\0" in path or "\n" in path:
        raise InvalidParams("path: a path holds no zero byte and no line break")
    return "/" + posixpath.normpath(path).lstrip("/")


def is_name(name: str) -> bool:
    """Whether this can be a repository's name: something that can be shown as it is."""
    return bool(name) and name.isprintable()


class RepositoryBook:
    """The repositories of this node, by name."""

    def __init__(self) -> None:
        self._declared: dict[str, Repository] = {}
        self._added: dict[str, Repository] = {}
        self._discovered: dict[str, Repository] = {}
        self._mount_points: dict[str, str] = {}

    def __iter__(self) -> Iterator[Repository]:
        """Yield every repository; a file system that is one by declaration is not found again."""
        named = {**self._added, **self._declared}
        yield from named.values()
        paths = {repository.path for repository in named.values()}
        for repository in self._discovered.values():
            if repository.name not in named and repository.path not in paths:
                yield repository

    def get(self, name: str) -> Repository | None:
        return next((one for one in self if one.name == name), None)

    def declare(self, repositories: Iterable[tuple[str, str]]) -> None:
        """Replace what the configuration declares, as names and paths."""
        self._declared = {
            name: Repository(name, path, Origin.CONFIGURATION) for name, path in repositories
        }

    def discover(self, mount_points: Iterable[str]) -> None:
        """Replace what was found: local file systems by mount point, which is also their name."""
        self._discovered = {
            path: Repository(path, path, Origin.DISCOVERED) for path in mount_points
        }

    def added(self) -> list[Repository]:
        return list(self._added.values())

    def restore(self, name: str, path: str) -> None:
        """Take over what was added before a restart."""
        self._added[name] = Repository(name, path, Origin.ADDED)

    def mount_point(self, path: str) -> str | None:
        """Return the mount point that the repository at a path was last seen on."""
        return self._mount_points.get(path)

    def note_mount_point(self, path: str, mount_point: str | None) -> bool:
        """Remember, or with None forget, where one was seen; return whether that changes it."""
        if self._mount_points.get(path) == mount_point:
            return False
        if mount_point is None:
            del self._mount_points[path]
        else:
            self._mount_points[path] = mount_point
        return True

    def add(self, name: str, path: str) -> tuple[Repository, bool]:
        """Add a repository; return it, and whether it was not there before. The same again changes
        nothing, nor does one that the configuration declares.

        Raises:
            InvalidParams: the path is not absolute, or the name cannot be shown as it is.
            Conflict: the name or the path belongs to another repository.
        """
        if not is_name(name):
            raise InvalidParams(f"name: expected printable characters, found {name!r}")
        path = normal_path(path)
        for known in (*self._declared.values(), *self._added.values()):
            if known.name == name and known.path != path:
                raise Conflict(f"the repository {name!r} is at {known.path} already")
            if known.path == path and known.name != name:
                raise Conflict(f"{path} is the repository {known.name!r} already")
        there = self._declared.get(name) or self._added.get(name)
        if there is not None:
            return there, False
        repository = Repository(name, path, Origin.ADDED)
        self._added[name] = repository
        return repository, True

    def remove(self, name: str) -> Repository:
        """Remove a repository that was added.

        Raises:
            NotFound: there is none of this name.
            Conflict: it was not added, so it cannot be removed here.
        """
        if name in self._added:
            return self._added.pop(name)
        if name in self._declared:
            raise Conflict(f"{name!r} is declared in the configuration: remove it there")
        if name in self._discovered:
            raise Conflict(
                f"{name!r} was discovered, not added; storage.discover = false turns that off"
            )
        raise NotFound(f"there is no repository {name!r}")
