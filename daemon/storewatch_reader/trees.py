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

    @property
    def is_listed(self) -> bool:
        """Whether the names in the directory have to be known."""
        return bool(self.any_files or self.any_below)


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
    return root


def _is_glob(name: str) -> bool:
    return "*" in name or "?" in name


def _glob(name: str) -> re.Pattern[str]:
    words = re.escape(name).replace(r"\*", ".*").replace(r"\?", ".")
    return re.compile(words, re.DOTALL)


class Pass:
    """One pass: the paths that matched, the length of each one's content (negative: the errno of
    its read), and all the bytes in a row."""

    def __init__(self) -> None:
        self.paths: list[str] = []
        self.lengths: list[int] = []
        self.parts: list[bytes] = []

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

    def _tell(self, path: str, content: bytes) -> None:
        self.paths.append(path)
        self.lengths.append(len(content))
        self.parts.append(content)

    def _refuse(self, path: str, error: OSError, gone: Collection[int] = _GONE) -> None:
        """Tell of what may be there and cannot be read; what is surely not there is left out."""
        if error.errno not in gone:
            self.paths.append(path)
            self.lengths.append(-(error.errno or errno.EIO))

    def _look(self, directory: int, prefix: str, node: Node) -> None:
        if node.is_told:
            self._tell(prefix, b"")
        for name in node.files:
            self._read(directory, prefix, name)
        for name in node.links:
            try:
                target = os.readlink(name, dir_fd=directory)
            except OSError as error:
                if error.errno != errno.EINVAL:  # it is no link
                    self._refuse(f"{prefix}{name}@", error)
            else:
                self._tell(f"{prefix}{name}@", os.fsencode(target))
        for name, below in node.below.items():
            self._enter(directory, prefix, name, below)
        if not node.is_listed:
            return
        for name in sorted(os.listdir(directory)):
            if any(pattern.fullmatch(name) for pattern in node.any_files):
                self._read(directory, prefix, name)
            for pattern, below in node.any_below:
                if pattern.fullmatch(name):
                    self._enter(directory, prefix, name, below)

    def _enter(self, directory: int, prefix: str, name: str, node: Node) -> None:
        try:
            descriptor = os.open(name, _FLAGS | os.O_DIRECTORY, dir_fd=directory)
        except OSError as error:
            self._refuse(f"{prefix}{name}/", error)
            return
        try:
            self._look(descriptor, f"{prefix}{name}/", node)
        except OSError as error:
            self._refuse(f"{prefix}{name}/", error)  # it cannot be listed
        finally:
            os.close(descriptor)

    def _read(self, directory: int, prefix: str, name: str) -> None:
        try:
            descriptor = os.open(name, _FLAGS, dir_fd=directory)
        except OSError as error:
            self._refuse(f"{prefix}{name}", error)
            return
        try:
            content = os.read(descriptor, ATTRIBUTE_BYTES)
        except OSError as error:
            # It is there, and its driver answers: an i2c sensor that is silent says ENXIO. Only of
            # what went after it was opened the kernel itself says ENODEV.
            self._refuse(f"{prefix}{name}", error, gone=(errno.ENODEV,))
        else:
            self._tell(f"{prefix}{name}", content)
        finally:
            os.close(descriptor)
