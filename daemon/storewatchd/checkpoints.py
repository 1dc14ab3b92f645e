"""Keeps the table's samples over a restart, so that windows need not fill anew, and what probes
remember.

The file is written now and then and at the end, and never synced: what is lost with it are minutes
of samples, and no alert. One that cannot be read is left out.
"""

import asyncio
import logging
import os
import zlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

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


_UNREADABLE = (
    *(OSError, RecordingError, zlib.error, msgspec.MsgspecError),
    *(KeyError, AttributeError, TypeError, ValueError),
)


class Checkpoints:
    """The file of one state directory; that of another version of the daemon is left out."""

    def __init__(
        self, directory: Path, table: SeriesTable, version: str, probes: Iterable[Probe] = ()
    ) -> None:
        self._probes = [probe for probe in probes if isinstance(probe, Remembering)]
        self._path = directory / "samples"
        self._table = table
        self._version = version

    async def load(self) -> None:
        """Take over what the file holds, if it is one of ours."""
        try:
            told = await asyncio.to_thread(self._read)
            if told is None:
                return
            series = {name: thaw(one) for name, one in told["series"].items()}
            probes = {name: thaw(one) for name, one in told["probes"].items()}
            self._table.adopt(series, probes)
            for probe in self._probes:
                probe.restore(told["memories"].get(probe.name))
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
        """Write the file. The loop is let go between families."""
        series, probes = self._table.parts()
        memories = {probe.name: await asyncio.to_thread(probe.to_plain) for probe in self._probes}
        told: dict[str, Any] = {
            "version": self._version,
            "series": {},
            "probes": {},
            "memories": memories,
        }
        for name, owner, mine in [
            (name, owner, {family: series[family] for family in owner.families})
            for name, owner in probes.items()
        ]:
            told["probes"][name], frozen = await _frozen(owner, mine)
            told["series"] |= frozen
        try:
            await asyncio.to_thread(self._write, told)
        except OSError as error:
            logger.debug("the samples cannot be kept over a restart: %s", error)

    def _read(self) -> dict[str, Any] | None:
        try:
            content = self._path.read_bytes()
        except FileNotFoundError:
            return None
        stream = zlib.decompressobj()
        told = msgspec.msgpack.decode(stream.decompress(content, MAX_BYTES))
        if not isinstance(told, dict) or told.get("version") != self._version:
            logger.info("the samples of the last run are of another version, and left out")
            return None
        return told

    def _write(self, told: dict[str, Any]) -> None:
        fresh = self._path.with_name("samples.new")
        fresh.write_bytes(zlib.compress(msgspec.msgpack.encode(told), 1))
        os.replace(fresh, self._path)


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
