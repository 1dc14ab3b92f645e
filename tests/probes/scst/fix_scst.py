"""Snapshots of a real SCST, as the reader tells them of what its patterns match."""

import asyncio
import functools
import json
import lzma
import re
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from fakes import HandClock, ScriptedPort
from probes.fix_probes import assert_keeps_to_its_families
from storewatch_reader.scst import CHEAP, LATENCY, QUEUED, STATE, STEADY
from storewatchd.core.frames import Frame, Scope
from storewatchd.port import Reading
from storewatchd.probes.base import Remembering
from storewatchd.probes.scst.model import Device, Driver, Scst, Session, Target
from storewatchd.probes.scst.probe import make_scst_probes
from storewatchd.probes.scst.tree import Attributes, Content, parse_tree

SNAPSHOTS = Path(__file__).parents[2] / "data" / "scst" / "snapshots.json.xz"

CONFIGS = SNAPSHOTS.parent

ROWS = {
    "scst.state": STATE,
    "scst.cheap": CHEAP,
    "scst.steady": STEADY,
    "scst.latency": LATENCY,
    "scst.queued": QUEUED,
}

TGT = "iqn.2026-11.lab.example:{}"
TGT1, TGT2 = TGT.format("tgt1"), TGT.format("tgt2")
ONE, TWO = "iqn.2026-11.lab.client:one", "iqn.2026-11.lab.client:two"


@functools.cache
def _everything() -> dict[str, dict[str, str | int]]:
    found: dict[str, dict[str, str | int]] = json.loads(lzma.decompress(SNAPSHOTS.read_bytes()))
    return found


def names() -> list[str]:
    """Return the names of all snapshots."""
    return sorted(_everything())


def whole(name: str) -> dict[str, Content]:
    """Return everything in a snapshot, whether anybody may ask for it or not."""
    return {
        path: content.encode() if isinstance(content, str) else content
        for path, content in _everything()[name].items()
    }


@functools.cache
def matcher(patterns: tuple[str, ...]) -> re.Pattern[str]:
    """Return what matches the paths that match any of the reader's patterns."""
    words = []
    for pattern in patterns:
        names = (re.escape(one).replace(r"\*", "[^/]*") for one in pattern.split("/"))
        # A name is never empty; a pattern of directories ends in no name at all.
        words.append("/".join("[^/]+" if one == "[^/]*" else one for one in names))
    return re.compile("|".join(words))


@functools.cache
def attributes(name: str, patterns: tuple[str, ...] = CHEAP) -> Attributes:
    """Return what the reader tells of a snapshot."""
    matching = matcher(patterns)
    return {path: content for path, content in whole(name).items() if matching.fullmatch(path)}


def saved_text(name: str) -> str:
    """Return an scst.conf."""
    return (CONFIGS / f"{name}.conf").read_text()


def seen(name: str) -> Scst:
    """Return a snapshot as the probe sees it at every look."""
    return parse_tree(attributes(name))


def rarely_seen(name: str) -> Scst:
    """Return a snapshot as the probe sees it every few minutes."""
    return parse_tree(attributes(name, (*STEADY, *QUEUED)))


def driver(scst: Scst, name: str) -> Driver:
    return next(one for one in scst.drivers if one.name == name)


def target(scst: Scst, name: str) -> Target:
    return next(one for one in scst.exported() if one.name == name)


def device(scst: Scst, name: str) -> Device:
    return next(one for one in scst.devices if one.name == name)


def sessions(found: Iterable[Session]) -> dict[str, Session]:
    """Return sessions by the names of their directories."""
    return {one.directory: one for one in found}


class Appliance(ScriptedPort):
    """A machine that is in a state of the snapshots, and the probes that look at it."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self.clock = HandClock()
        self.asked_for: list[tuple[str, str]] = []
        self.readings["scst.log", ""] = {"exists": True, "boot": "a", "last": 99, "lines": []}
        self.readings["boot.scst", ""] = {"exists": False, "text": ""}
        self.readings["scst.modules", ""] = {}
        self.be(name)
        self.start()

    def start(self, state: object = None) -> None:
        probes = make_scst_probes(self.clock.clock)
        for probe in probes:
            if probe.name == "scst" and isinstance(probe, Remembering):
                probe.restore(state)
        self.probes = {probe.name: probe for probe in probes}

    def be(self, name: str, **changes: Content) -> None:
        """Be in another state, but for some attributes."""
        for row, patterns in ROWS.items():
            found = dict(attributes(name, patterns))
            found |= {path: content for path, content in changes.items() if path in found}
            self.readings[row, ""] = found

    def tell(self, *kinds: str) -> None:
        """Have SCST tell of errors in the kernel's log."""
        log = self.readings["scst.log", ""]
        for kind in kinds:
            log["last"] += 1
            log["lines"].append((log["last"], kind))

    async def read(self, row: str, object_id: str = "") -> Reading:
        self.asked_for.append((row, object_id))
        return replace(await super().read(row, object_id), at=self.clock.wall())

    def look(self, probe: str = "scst", scope: Scope | None = None, after_s: float = 30) -> Frame:
        self.clock.forward(after_s)
        one = self.probes[probe]
        frame = asyncio.run(one.collect(self, scope or Scope(probe)))
        assert_keeps_to_its_families(one, frame)
        return frame

    def scopes(self, probe: str) -> tuple[Scope, ...]:
        return asyncio.run(self.probes[probe].discover(self))
