"""Keeps the table's samples over a restart, so that windows need not fill anew, and what probes
remember.

The file is written now and then and at the end, and at once where a device has said what it says
only once. It is never synced: what is lost with it are minutes of samples, and no alert. One that
cannot be read is left out.
"""

import asyncio
import logging
import os
import struct
import zlib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import msgspec

from storewatchd.core.freeze import freeze, thaw
from storewatchd.core.images import Image, rebuilt
from storewatchd.core.rows import Series
from storewatchd.core.scopes import ProbeScopes, ScopeState
from storewatchd.core.series import SeriesTable
from storewatchd.errors import RecordingError
from storewatchd.probes.base import Probe, Remembering

logger = logging.getLogger(__name__)

INTERVAL_S = 300.0

MAX_PIECE_BYTES = 64 << 20
CHUNK_BYTES = 1 << 20

DEPTH = 3
ENTRIES_AT_ONCE = 500
"""How deep what a probe remembers is looked into for long lists, and how many entries of one are
encoded in one call, which holds up all other threads."""

SCOPES_AT_ONCE = 50
"""Of how many scopes is told before the loop turns."""

_LENGTH = struct.Struct(">I")

_UNREADABLE = (
    *(OSError, RecordingError, zlib.error, msgspec.MsgspecError),
    *(KeyError, AttributeError, TypeError, ValueError, struct.error),
)


class Checkpoints:
    """The file of one state directory; of that of another version of the daemon only what probes
    remember is taken."""

    def __init__(
        self, directory: Path, table: SeriesTable, version: str, probes: Iterable[Probe] = ()
    ) -> None:
        self._probes = [probe for probe in probes if isinstance(probe, Remembering)]
        self._path = directory / "samples"
        self._table = table
        self._version = version
        self._writing = asyncio.Lock()

    async def load(self) -> None:
        """Take over what the file holds, if it is one of ours."""
        try:
            told = await asyncio.to_thread(self._read)
            if told is None:
                return
            memories, series, owners = told
            if owners:
                self._table.adopt(series, owners)
            for probe in self._probes:
                probe.restore(memories.get(probe.name))
        except _UNREADABLE as error:
            logger.warning("the samples of the last run are left out: %s", error)

    async def run(self) -> None:
        """Write every few minutes until cancelled, and then once more."""
        try:
            while True:
                await asyncio.sleep(INTERVAL_S)
                await self.write()
        finally:
            await self.write()

    async def write(self) -> None:
        """Write the file in pieces, so that no more than one is in memory. The loop is let go
        between them. Two at the same time write one after the other."""
        async with self._writing:
            try:
                await self._write()
            except OSError as error:
                logger.debug("the samples cannot be kept over a restart: %s", error)

    async def keep(self) -> None:
        """Write the file now: a probe has learnt what nobody says again. Where that cannot be, who
        reads the log has to know."""
        async with self._writing:
            try:
                await self._write()
            except OSError as error:
                logger.warning("what a device said once will be lost with this process: %s", error)

    async def _write(self) -> None:
        series, owners = self._table.parts()
        memories = {probe.name: await asyncio.to_thread(probe.to_plain) for probe in self._probes}
        fresh = self._path.with_name("samples.new")
        with await asyncio.to_thread(fresh.open, "wb") as file:
            stream = zlib.compressobj(1)
            head = [{"version": self._version, "probes": len(owners)}]
            await asyncio.to_thread(_add, file, stream, head)
            for name, told in memories.items():
                await asyncio.to_thread(_add, file, stream, _parts(told, [name]))
            await asyncio.to_thread(_add, file, stream, [{"memory": None}])
            for name, owner in owners.items():
                scopes = await _frozen(owner)
                # In one piece with that: rows say by a number whose they are.
                images = [Image(series[family]) for family in sorted(owner.families)]
                about = {"probe": name, "max_age_s": owner.max_age_s, "scopes": scopes}
                about["families"] = len(images)
                await asyncio.to_thread(_add, file, stream, [about])
                for image in images:
                    await asyncio.to_thread(_add, file, stream, image.pieces())
            await asyncio.to_thread(file.write, stream.flush())
        await asyncio.to_thread(os.replace, fresh, self._path)

    def _read(
        self,
    ) -> tuple[dict[str, Any], dict[str, Series], dict[str, ProbeScopes]] | None:
        """Return what probes remember, and every family and probe; None where there is nothing."""
        try:
            file = self._path.open("rb")
        except FileNotFoundError:
            return None
        with file:
            pieces = _pieces(file)
            head = next(pieces, {})
            memories: dict[str, Any] = {}
            while (told := next(pieces, {}))["memory"] is not None:
                _remember(memories, told)
            if head["version"] != self._version:
                logger.info("the samples of the last run are of another version, and left out")
                return memories, {}, {}  # each probe judges for itself what it remembers
            series: dict[str, Series] = {}
            owners = {}
            for _ in range(head["probes"]):
                about = next(pieces, {})
                mine = [rebuilt(pieces) for _ in range(about["families"])]
                series |= {one.family.name: one for one in mine}
                states = [None if one is None else thaw(one) for one in about["scopes"]]
                owners[about["probe"]] = _owner(mine, states, about["max_age_s"])
            return memories, series, owners


def _owner(
    series: Iterable[Series], states: list[ScopeState | None], max_age_s: float
) -> ProbeScopes:
    families = frozenset(one.family.name for one in series)
    scopes = {state.scope: place for place, state in enumerate(states) if state is not None}
    return ProbeScopes(families, max_age_s, scopes, states)


def _add(file: BinaryIO, stream: "zlib._Compress", pieces: Iterable[Mapping[str, Any]]) -> None:
    for piece in pieces:
        told = msgspec.msgpack.encode(piece)
        file.write(stream.compress(_LENGTH.pack(len(told)) + told))


def _parts(told: object, path: list[str]) -> Iterator[Mapping[str, Any]]:
    """Yield what a probe remembers, or what stands in it, long lists a part at a time."""
    where = {"memory": path}
    if isinstance(told, dict) and len(path) < DEPTH and all(isinstance(key, str) for key in told):
        yield {**where, "told": {}}
        for key, value in told.items():
            yield from _parts(value, [*path, key])
    elif isinstance(told, list):
        yield {**where, "told": []}
        for start in range(0, len(told), ENTRIES_AT_ONCE):
            yield {**where, "more": told[start : start + ENTRIES_AT_ONCE]}
    else:
        yield {**where, "told": told}


def _remember(memories: dict[str, Any], piece: Mapping[str, Any]) -> None:
    """Put a piece of what a probe remembers back in its place."""
    *above, name = piece["memory"]
    place = memories
    for key in above:
        place = place[key]
    if "more" in piece:
        place[name] += piece["more"]
    else:
        place[name] = piece["told"]


def _pieces(file: BinaryIO) -> Iterator[Mapping[str, Any]]:
    """Yield what was added to a file.

    Raises:
        zlib.error, msgspec.MsgspecError, ValueError: it is damaged.
    """
    stream, rest = zlib.decompressobj(), bytearray()
    while chunk := stream.unconsumed_tail or file.read(CHUNK_BYTES):
        rest += stream.decompress(chunk, CHUNK_BYTES)
        while len(rest) >= _LENGTH.size:
            (length,) = _LENGTH.unpack_from(rest)
            if length > MAX_PIECE_BYTES:
                raise ValueError(f"a piece claims {length} bytes")
            end = _LENGTH.size + length
            if len(rest) < end:
                break
            yield msgspec.msgpack.decode(rest[_LENGTH.size : end], type=dict[str, Any])
            del rest[:end]


async def _frozen(owner: ProbeScopes) -> list[Any]:
    """Return a probe's scopes as plain values, by their numbers; these are so still.

    Of a look that is told of, every sample must be there: tell of samples after this.
    """
    while True:
        states = owner.states
        told = []
        for number, state in enumerate(states):
            told.append(None if state is None else freeze(state))
            if number % SCOPES_AT_ONCE == SCOPES_AT_ONCE - 1:
                await asyncio.sleep(0)
        if owner.states is states and len(told) == len(states):
            return told
