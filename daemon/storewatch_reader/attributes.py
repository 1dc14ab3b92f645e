"""The answer to a row of a tree, in bytes: the length of each content (negative: the errno of its
read), the paths where the asker does not know them, and the contents, one behind the other.

The header says the `plan`, which is a digest of the paths; how many there are, `count`; and how
many bytes of the blob their text takes, `text`, 0 where it is left out. Lengths are 32-bit integers
of this machine, on which both ends are. Names that are no text are those of os.fsdecode.

The text is names with NUL behind each. The name `//` begins a directory: the one behind it is what
stands before all that follow. So of a large tree it takes a tenth of its paths.
"""

import os
import struct
from collections.abc import Iterator
from typing import Any

from storewatch_reader.digests import digest_of
from storewatch_reader.trees import Pass

_LENGTH_BYTES = 4


class BadAttributes(ValueError):
    """An answer holds no attributes."""


def told(found: Pass, known: str) -> tuple[dict[str, Any], bytes]:
    """Return header and blob for what a pass found; the asker knows the paths of one plan."""
    text = os.fsencode("\0".join((*found.names, "")))
    plan = digest_of(text)
    if plan == known:
        text = b""
    count = len(found.lengths)
    lengths = struct.pack(f"{count}i", *found.lengths)
    header = {"plan": plan, "count": count, "text": len(text)}
    return header, b"".join((lengths, text, *found.parts))


def paths(header: dict[str, Any], blob: bytes) -> list[str] | None:
    """Return the paths of an answer, None where they were left out.

    Raises:
        BadAttributes: there are not as many as there should be.
    """
    count, size = header["count"], header["text"]
    if count and not size:
        return None
    begin = _LENGTH_BYTES * count
    found = list(_paths(blob[begin : begin + size]))
    if len(found) != count:
        raise BadAttributes(f"{len(found)} paths were told of {count} attributes")
    return found


def _paths(text: bytes) -> Iterator[str]:
    # In pieces, for one call holds up everybody else until its end.
    for group in text.removeprefix(b"//\0").removesuffix(b"\0").split(b"\0//\0"):
        prefix, *names = os.fsdecode(group).split("\0")
        for name in names:
            yield prefix + name


def attributes(paths: list[str], header: dict[str, Any], blob: bytes) -> dict[str, bytes | int]:
    """Return contents, or negative errnos, by path.

    Raises:
        BadAttributes: the lengths are not those of these paths, or of the contents.
    """
    count = header["count"]
    start = _LENGTH_BYTES * count + header["text"]
    if count != len(paths) or start > len(blob):
        raise BadAttributes(f"the lengths of {count} attributes were told of {len(paths)}")
    found: dict[str, bytes | int] = {}
    for path, length in zip(paths, struct.unpack_from(f"{count}i", blob), strict=True):
        if length < 0:
            found[path] = length
        else:
            end = start + length
            found[path] = blob[start:end]
            start = end
    if start != len(blob):
        raise BadAttributes(f"the contents end at {start} of {len(blob)} bytes")
    return found
