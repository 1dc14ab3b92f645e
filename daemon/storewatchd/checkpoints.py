"""Keeps the table's samples over a restart, so that windows need not fill anew, and what probes
remember.

The file is written now and then and at the end, and never synced: what is lost with it are minutes
of samples, and no alert. One that cannot be read is left out.
"""

import asyncio
import logging
import os
import struct
import zlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import msgspec

from storewatchd.core.freeze import freeze, thaw
from storewatchd.core.rows import Series
from storewatchd.core.scopes import ProbeScopes
from storewatchd.core.series import SeriesTable
from storewatchd.errors import RecordingError
from storewatchd.probes.base import Probe, Remembering

logger = logging.getLogger(__name__)

INTERVAL_S = 300.0
MAX_BYTES = 256 << 20

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
            memories, *parts = told
            series = {name: thaw(one) for part in parts for name, one in part["series"].items()}
            self._table.adopt(series, {part["name"]: thaw(part["scopes"]) for part in parts})
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
        """Write the file, one probe after the other, so that no more of it than that is in memory;
        the loop is let go between families."""
        async with self._writing:
            await self._write()

    async def _write(self) -> None:
        series, probes = self._table.parts()
        memories = {probe.name: await asyncio.to_thread(probe.to_plain) for probe in self._probes}
        fresh = self._path.with_name("samples.new")
        try:
            with await asyncio.to_thread(fresh.open, "wb") as file:
                stream = zlib.compressobj(1)
                for part in ({"version": self._version}, memories):
                    await asyncio.to_thread(_add, file, stream, part)
                for name, owner in probes.items():
                    mine = {family: series[family] for family in owner.families}
                    scopes, told = await _frozen(owner, mine)
                    part = {"name": name, "scopes": scopes, "series": told}
                    await asyncio.to_thread(_add, file, stream, part)
                await asyncio.to_thread(file.write, stream.flush())
            await asyncio.to_thread(os.replace, fresh, self._path)
        except OSError as error:
            logger.debug("the samples cannot be kept over a restart: %s", error)

    def _read(self) -> list[Any] | None:
        """Return what probes remember, and after it what was written of each probe."""
        try:
            content = self._path.read_bytes()
        except FileNotFoundError:
            return None
        rest = memoryview(zlib.decompressobj().decompress(content, MAX_BYTES))
        parts = []
        while rest:
            (length,) = _LENGTH.unpack_from(rest)
            parts.append(msgspec.msgpack.decode(rest[4 : 4 + length]))
            rest = rest[4 + length :]
        head, *told = parts
        if head.get("version") != self._version:
            logger.info("the samples of the last run are of another version, and left out")
            return told[:1]  # what probes remember each of them judges for itself
        return told


def _add(file: BinaryIO, stream: "zlib._Compress", part: Mapping[str, Any]) -> None:
    told = msgspec.msgpack.encode(part)
    file.write(stream.compress(_LENGTH.pack(len(told)) + told))


async def _frozen(owner: ProbeScopes, series: Mapping[str, Series]) -> tuple[Any, dict[str, Any]]:
    """Return a probe's scopes and its series as plain values that belong together."""
    pauses = True
    while True:
        states = owner.states
        # Before the series: of a look that is told of, every sample must be there.
        scopes, told = freeze(owner), {}
        for name, one in series.items():
            told[name] = freeze(one)
            if pauses:
                await asyncio.sleep(0)
        if owner.states is states:
            return scopes, told
        pauses = False  # the scopes were numbered anew in between
