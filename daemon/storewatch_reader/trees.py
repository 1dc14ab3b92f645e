"""Passes over trees of attributes, as sysfs has them: which paths match, and what is there.

A pattern is a path below a row's root, with `*` and `?` in any of its names (fnmatch(3), less
brackets). `a/*/size` matches attributes; with a `/` at its end a pattern matches directories, whose
content is empty; with an `@` symbolic links, whose content is where they lead.

Containers are listed anew at each pass, attributes that are named are just opened, and nothing is
kept open between passes: a kept descriptor would block an unmount, and pins memory of the kernel's.
"""

import errno
import os
import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field

ATTRIBUTE_BYTES = 65_536  # more than a page, which is what sysfs gives at most

PAGE_BYTES = 4096  # what is read at first: a buffer of more costs time, and hardly ever is needed

FEW = 4
"""Of how few attributes a directory is not opened: they are opened by way of it."""

MAX_NAMES = 1024
"""Of how many names is remembered what matches them, for each directory of the patterns."""

_GONE = (errno.ENOENT, errno.ENOTDIR, errno.ENODEV, errno.ENXIO)
_FLAGS = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK


@dataclass
class Node:
    """What is looked for in a directory, by name."""

    is_told: bool = False  # the directory itself
    files: list[str] = field(default_factory=list)
    links: list[str] = field(default_factory=list)
    below: dict[str, "Node"] = field(default_factory=dict)
    any_files: list[re.Pattern[str]] = field(default_factory=list)
    any_below: list[tuple[re.Pattern[str], "Node"]] = field(default_factory=list)
    is_listed: bool = False
    """Whether the names in the directory have to be known."""
    is_short: bool = False
    """Whether only a few attributes and links are looked for in it, by name."""
    _matching: dict[str, tuple[bool, list["Node"]]] = field(default_factory=dict)

    def close(self) -> None:
        """Work out what follows from the patterns: all of them are there."""
        self.is_listed = bool(self.any_files or self.any_below)
        few = 0 < len(self.files) + len(self.links) <= FEW
        self.is_short = few and not (self.is_told or self.is_listed or self.below)
        for node in (*self.below.values(), *(node for _, node in self.any_below)):
            node.close()

    def matching(self, name: str) -> tuple[bool, list["Node"]]:
        """Return whether a name that was listed is an attribute to be read, and what is looked for
        in it where it is a directory."""
        known = self._matching.get(name)
        if known is None:
            if len(self._matching) >= MAX_NAMES:
                self._matching.clear()
            is_file = any(pattern.fullmatch(name) for pattern in self.any_files)
            below = [node for pattern, node in self.any_below if pattern.fullmatch(name)]
            known = self._matching[name] = is_file, below
        return known


def compiled(patterns: Iterable[str]) -> Node:
    """Return what to look for at a root."""
    root = Node()
    globs: dict[tuple[int, str], Node] = {}
    for pattern in patterns:
        node = root
        *folders, last = pattern.split("/")
        for name in folders:
            if not _is_glob(name):
                node = node.below.setdefault(name, Node())
                continue
            key = (id(node), name)
            if key not in globs:
                globs[key] = Node()
                node.any_below.append((_glob(name), globs[key]))
            node = globs[key]
        if not last:
            node.is_told = True
        elif last.endswith("@"):
            node.links.append(last[:-1])
        elif _is_glob(last):
            node.any_files.append(_glob(last))
        else:
            node.files.append(last)
    root.close()
    return root


def _is_glob(name: str) -> bool:
    return "*" in name or "?" in name


def _glob(name: str) -> re.Pattern[str]:
    words = re.escape(name).replace(r"\*", ".*").replace(r"\?", ".")
    return re.compile(words, re.DOTALL)


class Pass:
    """One pass: the names that matched, the length of each one's content (negative: the errno of
    its read), and all the bytes in a row.

    Among the names, `//` says that the one behind it is what stands before those that follow."""

    def __init__(self) -> None:
        self.names: list[str] = []
        self.lengths: list[int] = []
        self.parts: list[bytes] = []
        self._prefix: str | None = None

    def take(self, root: str, node: Node) -> None:
        """Look at everything below a root; one that is not there holds nothing.

        Raises:
            OSError: the root cannot be looked at.
        """
        try:
            descriptor = os.open(root, _FLAGS | os.O_DIRECTORY)
        except FileNotFoundError:
            return
        try:
            self._look(descriptor, "", node)
        finally:
            os.close(descriptor)

    def _tell(self, prefix: str, name: str, content: bytes) -> None:
        if prefix != self._prefix:
            self._begin(prefix)
        self.names.append(name)
        self.lengths.append(len(content))
        self.parts.append(content)

    def _refuse(
        self, prefix: str, name: str, error: OSError, gone: Collection[int] = _GONE
    ) -> None:
        """Tell of what may be there and cannot be read; what is surely not there is left out."""
        if error.errno in gone:
            return
        if prefix != self._prefix:
            self._begin(prefix)
        self.names.append(name)
        self.lengths.append(-(error.errno or errno.EIO))

    def _begin(self, prefix: str) -> None:
        self.names += ("//", prefix)
        self._prefix = prefix

    def _look(self, directory: int, prefix: str, node: Node) -> None:
        # Asking for what is not there takes as long as for what is.
        names = os.listdir(directory) if node.is_listed else None
        there = names if names is None else set(names)
        if node.is_told:
            self._tell(prefix, "", b"")
        for name in node.files:
            if there is None or name in there:
                self._read(directory, prefix, name)
        for name in node.links:
            if there is None or name in there:
                self._follow(directory, prefix, name)
        for name, below in node.below.items():
            if there is None or name in there:
                self._go(directory, prefix, name, below)
        if names is None:
            return
        for name in sorted(names):
            is_file, nodes = node.matching(name)
            if is_file:
                self._read(directory, prefix, name)
            for below in nodes:
                self._go(directory, prefix, name, below)

    def _go(self, directory: int, prefix: str, name: str, node: Node) -> None:
        """Look at a directory below. One in which there is little to look for is not opened."""
        if not node.is_short:
            self._enter(directory, prefix, name, node)
            return
        before, lengths, parts = len(self.names), len(self.lengths), len(self.parts)
        prefix_before = self._prefix
        for file in node.files:
            self._read(directory, prefix, f"{name}/{file}")
        for link in node.links:
            self._follow(directory, prefix, f"{name}/{link}")
        if min(self.lengths[lengths:], default=0) < 0:
            # Whether it is the directory that refuses, or what is in it, is not known yet.
            del self.names[before:], self.lengths[lengths:], self.parts[parts:]
            self._prefix = prefix_before
            self._enter(directory, prefix, name, node)

    def _enter(self, directory: int, prefix: str, name: str, node: Node) -> None:
        try:
            descriptor = os.open(name, _FLAGS | os.O_DIRECTORY, dir_fd=directory)
        except OSError as error:
            self._refuse(prefix, f"{name}/", error)
            return
        try:
            self._look(descriptor, f"{prefix}{name}/", node)
        except OSError as error:
            self._refuse(prefix, f"{name}/", error)  # it cannot be listed
        finally:
            os.close(descriptor)

    def _follow(self, directory: int, prefix: str, name: str) -> None:
        try:
            target = os.readlink(name, dir_fd=directory)
        except OSError as error:
            if error.errno != errno.EINVAL:  # it is no link
                self._refuse(prefix, f"{name}@", error)
        else:
            self._tell(prefix, f"{name}@", os.fsencode(target))

    def _read(self, directory: int, prefix: str, name: str) -> None:
        try:
            descriptor = os.open(name, _FLAGS, dir_fd=directory)
        except OSError as error:
            self._refuse(prefix, name, error)
            return
        try:
            content = os.read(descriptor, PAGE_BYTES)
            if len(content) == PAGE_BYTES:
                content += os.read(descriptor, ATTRIBUTE_BYTES - PAGE_BYTES)
        except OSError as error:
            # It is there, and its driver answers: an i2c sensor that is silent says ENXIO. Only of
            # what went after it was opened the kernel itself says ENODEV.
            self._refuse(prefix, name, error, gone=(errno.ENODEV,))
        else:
            self._tell(prefix, name, content)
        finally:
            os.close(descriptor)
