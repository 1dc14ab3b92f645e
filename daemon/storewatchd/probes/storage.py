"""File systems and repositories: what they are, and how full.

Local file systems are found in mountinfo; each is a repository too, unless one is declared there.
Every path is a scope of its own, so that a hung mount blinds nothing but itself.

Whether a repository can be used and how full it is are two things, and so two probes: of one that
is missing, the first is surely known and the second surely not.
"""

import re
from dataclasses import dataclass
from typing import Any

from storewatchd.core.frames import Frame, Row, Scope
from storewatchd.core.repositories import Repository, RepositoryBook
from storewatchd.errors import ProbeAbsent, ProbeFailed
from storewatchd.port import Port
from storewatchd.probes.base import gauge, seen

FILE_SYSTEMS = "filesystems"
REPOSITORIES = "repositories"
REPOSITORY_STATES = "repository_states"

_LABELS = ("device", "fstype", "mountpoint")

FILE_SYSTEM_FAMILIES = (
    gauge("node_filesystem_size_bytes", "Size of a file system.", *_LABELS, unit="bytes"),
    gauge("node_filesystem_free_bytes", "Free space, root's reserve included.", *_LABELS),
    gauge("node_filesystem_avail_bytes", "Space that others than root can use.", *_LABELS),
    gauge("node_filesystem_files", "Inodes of a file system.", *_LABELS),
    gauge("node_filesystem_files_free", "Free inodes.", *_LABELS),
    gauge("node_filesystem_readonly", "Whether it is mounted read-only.", *_LABELS),
)
REPOSITORY_STATE_FAMILIES = (
    gauge("repo_up", "Whether a repository can be used.", "repository", "path"),
)
REPOSITORY_FAMILIES = (
    gauge("repo_size_bytes", "Size of its file system.", "repository", "path", unit="bytes"),
    gauge("repo_used_bytes", "Used space.", "repository", "path", unit="bytes"),
    gauge("repo_free_bytes", "Space left for writing.", "repository", "path", unit="bytes"),
    gauge("repo_files", "Inodes by state.", "repository", "path", "state"),
    gauge("repo_readonly", "Whether it is mounted read-only.", "repository", "path"),
    gauge(
        "repo_info",
        "Where a repository lies.",
        *("repository", "path", "mountpoint", "fstype", "origin"),
    ),
)

# Images and layers that are always full, or are shown again elsewhere.
_NOT_STORAGE = frozenset({"squashfs", "iso9660", "udf", "erofs", "cramfs", "romfs"})
_NOT_REPOSITORIES = re.compile(
    r"/(?:boot(?:/.*)?|efi(?:/.*)?|proc(?:/.*)?|sys(?:/.*)?|dev(?:/.*)?|run(?:/.*)?|snap/.*"
    r"|var/lib/(?:docker|containers|kubelet)/.*)"
)


@dataclass(frozen=True, slots=True)
class Mount:
    """A line of mountinfo."""

    mount_id: int
    device: str  # major:minor
    root: str
    mount_point: str
    file_system: str
    source: str
    read_only: bool


def parse_mountinfo(text: str) -> list[Mount]:
    """Return the mounts of a mountinfo (proc_pid_mountinfo(5)); lines that are none are left out.

    A file system may be read-only at this mount, or as a whole, as after an error on its disk.
    """
    mounts = []
    # The kernel escapes \n in a path, and none of the other characters that end a line to Python.
    for line in text.split("\n"):
        words = line.split(" ")
        if "-" not in words[6:] or not words[0].isdecimal():
            continue
        dash = words.index("-", 6)
        if len(words) < dash + 4:
            continue
        mounts.append(
            Mount(
                mount_id=int(words[0]),
                device=words[2],
                root=_unescape(words[3]),
                mount_point=_unescape(words[4]),
                file_system=words[dash + 1],
                source=_unescape(words[dash + 2]),
                read_only="ro" in (*words[5].split(","), *words[dash + 3].split(",")),
            )
        )
    return mounts


def parse_filesystems(text: str) -> frozenset[str]:
    """Return the file systems of /proc/filesystems that lie on a device."""
    return frozenset(
        line.strip() for line in text.splitlines() if line.strip() and "nodev" not in line
    )


def local_file_systems(mounts: list[Mount], on_devices: frozenset[str]) -> list[Mount]:
    """Return each local file system once, at the mount point that shows the most of it."""
    chosen: dict[str, Mount] = {}
    for mount in mounts:
        # A root is storage whatever it is made of: in a container it is an overlay.
        local = (
            mount.file_system in on_devices
            or mount.file_system in ("zfs", "btrfs")
            or mount.mount_point == "/"
        )
        if not local or mount.file_system in _NOT_STORAGE or mount.file_system.startswith("fuse"):
            continue
        known = chosen.get(mount.device)
        place = (len(mount.root), len(mount.mount_point))
        if known is None or place < (len(known.root), len(known.mount_point)):
            chosen[mount.device] = mount
    return sorted(chosen.values(), key=lambda mount: mount.mount_point)


def _unescape(text: str) -> str:
    return re.sub(r"\\([0-7]{3})", lambda match: chr(int(match.group(1), 8)), text)


async def _read_mounts(port: Port) -> tuple[list[Mount], list[Mount]]:
    """Return every mount, and the local file systems among them."""
    value = (await port.read("mounts")).value
    mounts = parse_mountinfo(value["mountinfo"])
    return mounts, local_file_systems(mounts, parse_filesystems(value["filesystems"]))


def _sizes(facts: dict[str, Any]) -> tuple[float, float, float]:
    """Return size, free and available in bytes."""
    unit = facts["block_bytes"]
    return facts["blocks"] * unit, facts["blocks_free"] * unit, facts["blocks_available"] * unit


async def _mounted_now(port: Port, place: str, device: str) -> Mount:
    """Return what is mounted at a place by now, where that is what was looked at.

    Raises:
        ProbeAbsent: nothing is.
        ProbeFailed: it is another one still.
    """
    mounts, _ = await _read_mounts(port)
    # The last one at its place hides those before it.
    mount = next((one for one in reversed(mounts) if one.mount_point == place), None)
    if mount is None:
        raise ProbeAbsent(f"nothing is mounted at {place} any more")
    # btrfs shows other devices to stat than to mountinfo.
    if device != mount.device and mount.file_system != "btrfs":
        raise ProbeFailed(f"what is mounted at {place} has changed meanwhile")
    return mount


class FileSystemsProbe:
    """Local file systems, found anew at each discovery; a scope is a mount point."""

    name = FILE_SYSTEMS
    families = FILE_SYSTEM_FAMILIES

    def __init__(self) -> None:
        self._mounts: dict[str, Mount] = {}

    async def discover(self, port: Port) -> tuple[Scope, ...]:
        _, local = await _read_mounts(port)
        self._mounts = {mount.mount_point: mount for mount in local}
        return tuple(Scope(self.name, (("mountpoint", place),)) for place in self._mounts)

    async def collect(self, port: Port, scope: Scope) -> Frame:
        place = dict(scope.labels)["mountpoint"]
        mount = self._mounts.get(place)
        if mount is None:
            raise ProbeAbsent(f"nothing is mounted at {place} any more")
        facts = (await port.read("statvfs.path", place)).value
        if not facts["exists"]:
            raise ProbeFailed(f"the mount point {place} is not there")
        if facts["device"] != mount.device:
            mount = self._mounts[place] = await _mounted_now(port, place, facts["device"])
        size, free, available = _sizes(facts)
        labels = (mount.source, mount.file_system, place)
        return seen(
            scope,
            {
                "node_filesystem_size_bytes": [Row(labels, size)],
                "node_filesystem_free_bytes": [Row(labels, free)],
                "node_filesystem_avail_bytes": [Row(labels, available)],
                "node_filesystem_files": [Row(labels, facts["files"])],
                "node_filesystem_files_free": [Row(labels, facts["files_free"])],
                "node_filesystem_readonly": [Row(labels, float(mount.read_only))],
            },
        )


@dataclass(frozen=True, slots=True)
class _Sight:
    """What a repository's path is. `problem` is why it surely cannot be used; nothing where it
    can."""

    repository: Repository
    facts: dict[str, Any]
    mount: Mount | None
    problem: str


class _Repositories:
    """The repositories of the book as the machine has them: what both of their probes ask."""

    def __init__(self, book: RepositoryBook, *, discovers: bool) -> None:
        self._book = book
        self._discovers = discovers

    async def scopes(self, port: Port, probe: str) -> tuple[Scope, ...]:
        _, local = await _read_mounts(port)
        if self._discovers:
            self._book.discover(
                mount.mount_point
                for mount in local
                if not mount.read_only and not _NOT_REPOSITORIES.fullmatch(mount.mount_point)
            )
        return tuple(repository_scope(probe, one) for one in self._book)

    async def see(self, port: Port, scope: Scope) -> _Sight:
        name = dict(scope.labels)["repository"]
        repository = self._book.get(name)
        if repository is None:
            raise ProbeAbsent(f"the repository {name} was removed")
        mounts, _ = await _read_mounts(port)
        path = repository.path
        facts = (await port.read("statvfs.path", path)).value
        if not facts["exists"]:
            return _Sight(repository, facts, None, f"{path} does not exist")
        if not facts["is_directory"]:
            return _Sight(repository, facts, None, f"{path} is no directory")
        mount = mount_of(mounts, facts["real_path"], facts["device"])
        was_on = self._book.mount_point(path)
        problem = ""
        # In a changed root the root itself is no mount.
        lies_on = "/" if mount is None else mount.mount_point
        if was_on is not None and is_above(lies_on, was_on):
            problem = (
                f"{path} was on the file system at {was_on}, and nothing is mounted there now: "
                f"what is written to it lands on {lies_on} (if that is meant, add the repository "
                "again)"
            )
        return _Sight(repository, facts, mount, problem)


class RepositoryStatesProbe:
    """Which repositories can be used; a scope is a repository. That one surely cannot is seen."""

    name = REPOSITORY_STATES
    families = REPOSITORY_STATE_FAMILIES

    def __init__(self, book: RepositoryBook, *, discovers: bool) -> None:
        self._repositories = _Repositories(book, discovers=discovers)

    async def discover(self, port: Port) -> tuple[Scope, ...]:
        return await self._repositories.scopes(port, self.name)

    async def collect(self, port: Port, scope: Scope) -> Frame:
        sight = await self._repositories.see(port, scope)
        labels = (sight.repository.name, sight.repository.path)
        return seen(scope, {"repo_up": [Row(labels, float(not sight.problem))]})


class RepositoriesProbe:
    """How full the repositories are; a scope is a repository. One that cannot be used fails."""

    name = REPOSITORIES
    families = REPOSITORY_FAMILIES

    def __init__(self, book: RepositoryBook, *, discovers: bool) -> None:
        self._repositories = _Repositories(book, discovers=discovers)

    async def discover(self, port: Port) -> tuple[Scope, ...]:
        return await self._repositories.scopes(port, self.name)

    async def collect(self, port: Port, scope: Scope) -> Frame:
        sight = await self._repositories.see(port, scope)
        if sight.problem:
            raise ProbeFailed(sight.problem)
        return seen(scope, self._rows(sight.repository, sight.facts, sight.mount))

    @staticmethod
    def _rows(
        repository: Repository, facts: dict[str, Any], mount: Mount | None
    ) -> dict[str, list[Row]]:
        size, free, available = _sizes(facts)
        labels = (repository.name, repository.path)
        place = (mount.mount_point, mount.file_system) if mount else ("", "")
        return {
            "repo_size_bytes": [Row(labels, size)],
            "repo_used_bytes": [Row(labels, size - free)],
            "repo_free_bytes": [Row(labels, available)],
            "repo_files": [
                Row((*labels, "used"), facts["files"] - facts["files_free"]),
                Row((*labels, "free"), facts["files_free"]),
            ],
            "repo_readonly": [] if mount is None else [Row(labels, float(mount.read_only))],
            "repo_info": [Row((*labels, *place, repository.origin.value), 1.0)],
        }


def repository_scope(probe: str, repository: Repository) -> Scope:
    """Return the scope that a repository is to a probe of repositories."""
    return Scope(probe, (("path", repository.path), ("repository", repository.name)))


def seen_mount_points(frame: Frame) -> list[tuple[str, str]]:
    """Return the paths of the repositories that a frame found, and the mount point of each."""
    return [
        (row.labels[1], row.labels[2]) for row in frame.rows.get("repo_info", ()) if row.labels[2]
    ]


def is_above(directory: str, path: str) -> bool:
    """Whether a path lies below a directory."""
    return path != directory and path.startswith(directory.rstrip("/") + "/")


def mount_of(mounts: list[Mount], path: str, device: str) -> Mount | None:
    """Return the mount that holds a path: the longest that is a prefix, of the path's device
    where one has it (btrfs shows other devices to stat than to mountinfo), and the last one at its
    place, which hides those before it."""
    inside = [
        mount
        for mount in mounts
        if path == mount.mount_point or path.startswith(mount.mount_point.rstrip("/") + "/")
    ]
    exact = [mount for mount in inside if mount.device == device]
    return max(reversed(exact or inside), key=lambda mount: len(mount.mount_point), default=None)
