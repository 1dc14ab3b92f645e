"""Parses scst.conf: what SCST is to be after the next start. Pure.

A line is one statement, as scstadmin writes it: an object or an attribute, with a block where it
ends in `{`; a block ends with a line `}`. A line that begins with `#` is a comment. The reader has
held back what may be a secret, and says `withheld` in its place.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from storewatchd.errors import Malformed
from storewatchd.probes.scst.model import COPY_MANAGER

_MOST_DEPTH = 16


@dataclass(frozen=True, slots=True)
class SavedDevice:
    """A device of a handler. `filename` is empty where none is given."""

    handler: str
    filename: str = ""


@dataclass(frozen=True, slots=True)
class SavedGroup:
    luns: Mapping[int, str] = field(default_factory=dict)
    initiators: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class SavedTarget:
    """A target, with the devices of its own LUNs. `is_enabled` is None where it is not said."""

    is_enabled: bool | None = None
    luns: Mapping[int, str] = field(default_factory=dict)
    groups: Mapping[str, SavedGroup] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Saved:
    """The whole file. Targets are by driver and name; those of SCST's copy manager are left out."""

    drivers: frozenset[str] = frozenset()
    handlers: frozenset[str] = frozenset()
    devices: Mapping[str, SavedDevice] = field(default_factory=dict)
    targets: Mapping[tuple[str, str], SavedTarget] = field(default_factory=dict)


@dataclass(slots=True)
class _Statement:
    words: list[str]
    rest: str
    at: int  # the offset of its line
    block: list["_Statement"] = field(default_factory=list)


def parse_saved(text: str) -> Saved:
    """Return what an scst.conf says.

    Raises:
        Malformed: it is none, or only a part of one.
    """
    drivers: set[str] = set()
    handlers: set[str] = set()
    devices: dict[str, SavedDevice] = {}
    targets: dict[tuple[str, str], SavedTarget] = {}
    for statement in _statements(text):
        if statement.words[0] == "HANDLER":
            (handler,) = _arguments(statement, 1)
            handlers.add(handler)
            devices.update(_devices(handler, statement.block))
        elif statement.words[0] == "TARGET_DRIVER":
            (driver,) = _arguments(statement, 1)
            if driver == COPY_MANAGER:
                continue
            drivers.add(driver)
            for one in _of(statement.block, "TARGET"):
                (name,) = _arguments(one, 1)
                targets[driver, name] = _target(one)
    return Saved(frozenset(drivers), frozenset(handlers), devices, targets)


def _statements(text: str) -> list[_Statement]:
    top: list[_Statement] = []
    blocks = [top]
    at = 0
    for raw in text.split("\n"):
        line = raw.strip()
        if line == "}":
            if len(blocks) == 1:
                raise Malformed("scst.conf", at, "a statement, and not the end of a block")
            blocks.pop()
        elif line and not line.startswith("#"):
            opens = line.endswith("{")
            words = line.removesuffix("{").split()
            if not words:
                raise Malformed("scst.conf", at, "a name before the block")
            rest = line.removesuffix("{").strip().removeprefix(words[0]).strip()
            statement = _Statement(words, rest, at)
            blocks[-1].append(statement)
            if opens:
                blocks.append(statement.block)
                if len(blocks) > _MOST_DEPTH:
                    raise Malformed("scst.conf", at, "no more blocks in blocks")
        at += len(raw.encode(errors="surrogatepass")) + 1
    if len(blocks) > 1:
        raise Malformed("scst.conf", at - 1, "the end of a block")
    return top


def _of(block: list[_Statement], keyword: str) -> Iterator[_Statement]:
    return (one for one in block if one.words[0] == keyword)


def _arguments(statement: _Statement, count: int) -> list[str]:
    keyword, *arguments = statement.words
    if len(arguments) != count:
        expected = "one name" if count == 1 else "a number and a name"
        raise Malformed(f"{keyword} of scst.conf", statement.at, expected)
    return arguments


def _devices(handler: str, block: list[_Statement]) -> Iterator[tuple[str, SavedDevice]]:
    for one in _of(block, "DEVICE"):
        (name,) = _arguments(one, 1)
        yield name, SavedDevice(handler, _attribute(one.block, "filename"))


def _target(statement: _Statement) -> SavedTarget:
    groups = {}
    for one in _of(statement.block, "GROUP"):
        (name,) = _arguments(one, 1)
        initiators = frozenset(
            # scstadmin escapes what would begin a comment.
            initiator.replace("\\#", "#")
            for each in _of(one.block, "INITIATOR")
            for initiator in _arguments(each, 1)
        )
        groups[name] = SavedGroup(_luns(one.block), initiators)
    enabled = _attribute(statement.block, "enabled")
    is_enabled = {"1": True, "0": False}.get(enabled)
    return SavedTarget(is_enabled, _luns(statement.block), groups)


def _luns(block: list[_Statement]) -> dict[int, str]:
    luns = {}
    for one in _of(block, "LUN"):
        number, device = _arguments(one, 2)
        if not (number.isascii() and number.isdecimal() and len(number) <= 10):
            raise Malformed("LUN of scst.conf", one.at, "a number")
        luns[int(number)] = device
    return luns


def _attribute(block: list[_Statement], name: str) -> str:
    """Return an attribute's value; empty where it is not given."""
    for one in _of(block, name):
        quoted = len(one.rest) > 1 and one.rest[0] == one.rest[-1] == '"'
        return one.rest[1:-1] if quoted else one.rest
    return ""
