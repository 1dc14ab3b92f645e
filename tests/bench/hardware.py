"""Measurements against emulated hardware, with the real reader and the real tools."""

import asyncio
import os
import shutil
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from bench.measure import Bench, Figure, Samples
from bench.programs import IDLE_FIGURES, idle_shares
from lab.memory import memory_directory
from lab.scst import ScstTree
from lab.tape.library import EmulatedLibrary
from lab.tape.machine import Machine
from lab.tape.process import LibraryProcess
from storewatchd.clock import Clock
from storewatchd.core.series import SeriesTable
from storewatchd.port import HostAndReader
from storewatchd.port.host import fact
from storewatchd.port.reader import ReaderPort
from storewatchd.probes.tape.libraries import InventoriesProbe
from storewatchd.probes.tape.reports import Reports

SLOTS = 10_000
FILLED = 9_000
LOOKS = 15

LIBRARIES = 2
DRIVES = 4  # of each library
LUNS = 40


@contextmanager
def place() -> Iterator[Path]:
    """Give a directory in memory, and remove it afterwards."""
    directory = memory_directory()
    try:
        yield directory
    finally:
        shutil.rmtree(directory)


def reader_words(sysfs: Path, dev: Path, env: Mapping[str, str]) -> list[str]:
    """Return how a reader is told to look at what is emulated."""
    words = ["--sysfs", os.fspath(sysfs), "--dev", os.fspath(dev)]
    for name in ("LD_PRELOAD", "SGSHIM_MAP"):
        words += ["--tool-env", f"{name}={env[name]}"]
    return words


def reader_port(directory: Path, words: list[str]) -> ReaderPort:
    """Return a port that starts a reader of its own."""
    return ReaderPort(
        directory / "nobody-listens-here",
        Clock(),
        own_lock_directory=directory / "locks",
        program=(sys.executable, "-m", "storewatch_reader", *words),
    )


async def _inventories(reader: ReaderPort) -> list[tuple[float, float]]:
    """Return for each look how long this process computed, and how long it took, seconds."""
    port = HostAndReader(reader.read, fact)
    probe, table = InventoriesProbe(Reports()), SeriesTable()
    table.declare(probe.name, probe.families, max_age_s=probe.max_age_s)
    found = []
    try:
        (scope,) = await probe.discover(port)
        for turn in range(1 + LOOKS):
            began, computed = time.perf_counter(), time.process_time()
            frame = await probe.collect(port, scope)
            table.feed(replace(frame, at=1_767_268_800.0 + 30 * turn))
            if turn:  # the first one knows nothing of the library yet
                found.append((time.process_time() - computed, time.perf_counter() - began))
        (full,) = (
            one.value
            for one in table.read("library_elements_full", 1_767_268_800.0 + 30 * LOOKS)
            if one.labels["type"] == "storage"
        )
        assert full == FILLED, full
    finally:
        await reader.close()
    return found


def _inventory() -> Samples:
    with (
        place() as directory,
        LibraryProcess(directory / "lab", slots=SLOTS, filled=FILLED) as library,
    ):
        port = reader_port(directory, reader_words(library.sysfs, library.dev, library.env))
        for computed_s, took_s in asyncio.run(_inventories(port)):
            yield f"{SLOTS} slots, CPU of the daemon", 1000 * computed_s
            yield f"{SLOTS} slots, until it is known", 1000 * took_s


def _appliance_tree(sysfs: Path) -> None:
    """Make a small appliance's SCST: eight targets with five LUNs each, two initiators each."""
    tree = ScstTree(sysfs)
    tree.add_driver("iscsi")
    for number in range(8):
        target = tree.add_target("iscsi", f"iqn.2026-11.lab.example:t{number}")
        for lun in range(LUNS // 8):
            name = f"disk{number}-{lun}"
            tree.add_device(name, "vdisk_blockio", filename=f"/dev/mapper/{name}")
            target.add_lun(lun, name)
        for initiator in ("a", "b"):
            target.log_in(f"iqn.2026-11.lab.client:{initiator}{number}")


def _idle() -> Samples:
    with place() as directory, Machine(directory / "lab", counts_open=True) as machine:
        for number in range(LIBRARIES):
            EmulatedLibrary(machine=machine, serial=f"LABLIB{number:04}", drives=DRIVES)
        _appliance_tree(machine.sysfs)
        yield from idle_shares(reader_words(machine.sysfs, machine.dev, machine.env))


BENCHES = (
    Bench(
        "inventory",
        f"the inventory of a library with {SLOTS:,} slots, from sg_raw's bytes to the table",
        (
            Figure(f"{SLOTS} slots, CPU of the daemon", "ms", 100),
            Figure(f"{SLOTS} slots, until it is known", "ms"),
        ),
        _inventory,
    ),
    Bench(
        "idle-hardware",
        f"the same with {LIBRARIES} libraries, {LIBRARIES * DRIVES} drives and {LUNS} LUNs, tools"
        " included",
        IDLE_FIGURES,
        _idle,
    ),
)
