"""Measurements of SCST with a thousand targets: the reader against C, and the daemon's loop."""

import asyncio
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AsyncExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil
import uvloop

from bench.hardware import place, reader_port
from bench.measure import Bench, Figure, Samples
from lab.scst import ScstTree, large_tree
from storewatch_reader import attributes, reads
from storewatch_reader.message import Unpacker, pack
from storewatch_reader.roots import Roots
from storewatch_reader.table import ROWS, TreeRow
from storewatchd.bus import Bus
from storewatchd.checkpoints import Checkpoints
from storewatchd.clock import Clock
from storewatchd.collector import Collector
from storewatchd.core.engine import Engine
from storewatchd.core.frames import Frame, Scope
from storewatchd.core.ids import Ids
from storewatchd.core.incidents import Incidents
from storewatchd.core.permissions import TokenBook
from storewatchd.core.repositories import RepositoryBook
from storewatchd.core.rules import load
from storewatchd.core.series import SeriesTable
from storewatchd.core.sight import (
    BLINDNESS,
    BLINDNESS_FAMILIES,
    COLLECTOR,
    COLLECTOR_FAMILIES,
)
from storewatchd.core.tasks import TaskBook
from storewatchd.interpreter import keep_prompt
from storewatchd.journal import Journal
from storewatchd.monitor import Books, Monitor
from storewatchd.port import HostAndReader
from storewatchd.port.host import fact
from storewatchd.probes.scst.probe import make_scst_probes
from storewatchd.rule_files import built_in_files

PAIRS = 9
CONVERSIONS = 9
LOOKS = 8
INTERVAL_S = 4.0

PIPE_BYTES = 1 << 16

WALK = r"""
/* Reads every attribute and link below a directory, save those of the names that follow it. */
#define _GNU_SOURCE
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static char content[65536];
static long found;
static char **skipped;

static int skips(const char *name)
{
    if (!strcmp(name, ".") || !strcmp(name, ".."))
        return 1;
    for (char **one = skipped; *one; one++)
        if (!strcmp(name, *one))
            return 1;
    return 0;
}

static void walk(int directory)
{
    DIR *listing = fdopendir(directory);
    struct dirent *entry;
    while ((entry = readdir(listing))) {
        if (skips(entry->d_name))
            continue;
        if (entry->d_type == DT_LNK) {
            found += readlinkat(directory, entry->d_name, content, sizeof content) >= 0;
            continue;
        }
        int below = openat(directory, entry->d_name, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
        if (below < 0)
            continue;
        if (entry->d_type == DT_DIR) {
            walk(below);
            continue;
        }
        found += read(below, content, sizeof content) >= 0;
        close(below);
    }
    closedir(listing);
}

int main(int count, char **words)
{
    skipped = words + 2;
    walk(open(words[1], O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    printf("%ld\n", found);
    return count < 2;
}
"""

NOT_READ = ("mgmt", "exported", "filename", "tid", "threads_num", "scsi_device")
"""What the tree has beside what is read of it at every look."""


@contextmanager
def tree() -> Iterator[tuple[Path, ScstTree]]:
    """Give a directory with the large tree below `sys`, and the data of its devices."""
    with place() as directory:
        scst = large_tree(directory / "sys")
        for number in range(len(scst.targets)):
            data = directory / f"lv{number:05}"
            data.touch()
            os.truncate(data, 64 << 20)
            scst.write(f"devices/disk{number:05}/filename", f"{data}\n[key]\n")
        yield directory, scst


def _row() -> TreeRow:
    row = ROWS["scst.cheap"]
    assert isinstance(row, TreeRow)
    return row


# The reader.


def _against_c() -> Samples:
    with tree() as (directory, _):
        source, program = directory / "walk.c", directory / "walk"
        source.write_text(WALK)
        subprocess.run(["gcc", "-O2", "-o", program, source], check=True)
        words = [str(program), f"{directory}/sys/kernel/scst_tgt", *NOT_READ]
        by_c = int(subprocess.run(words, capture_output=True, check=True).stdout)
        roots = Roots(sysfs=f"{directory}/sys")
        found = reads.tree(roots, _row())
        ours = sum(not name.endswith("/") for name in _paths(found))
        assert abs(ours - by_c) < ours / 100, (ours, by_c)

        yield "attributes and links", ours
        for mine, theirs, memory_mb in _pairs(directory / "sys", words):
            yield "worker, against a walk in C", mine / theirs
            yield "worker, CPU", 1000 * mine
            yield "worker, memory at most", memory_mb
            yield "walk in C, CPU", 1000 * theirs
        plan, paths = _plan(found)
        for _ in range(CONVERSIONS):
            yield "transport and conversion, CPU", 1000 * _converted(found, plan, paths)
            yield "the same with new paths, CPU", 1000 * _converted(found, "", None)


def _pairs(sysfs: Path, words: list[str]) -> Iterator[tuple[float, ...]]:
    """Yield what a worker and a program take, pair by pair."""
    asked = [sys.executable, "-m", "bench.walks", "scst.cheap", str(sysfs), str(PAIRS), *words]
    with subprocess.Popen(asked, stdout=subprocess.PIPE, text=True) as walks:
        assert walks.stdout is not None
        for line in walks.stdout:
            yield tuple(map(float, line.split()))
    assert walks.returncode == 0


def _paths(found: Any) -> list[str]:
    paths = attributes.paths(*attributes.told(found, ""))
    assert paths is not None
    return paths


def _plan(found: Any) -> tuple[str, list[str]]:
    header, _ = attributes.told(found, "")
    return header["plan"], _paths(found)


def _converted(found: Any, plan: str, paths: list[str] | None) -> float:
    """Take an answer all the way from the worker by the reader to the daemon, through a pipe and a
    socket; return what that takes of a processor, in seconds."""
    began = time.process_time()
    ours, theirs = os.pipe()
    ((header, blob),) = _through(
        pack(*attributes.told(found, plan)),
        lambda chunk: os.write(theirs, chunk),
        lambda: os.read(ours, 1 << 20),
    )
    os.close(ours)
    os.close(theirs)
    daemon, reader = socket.socketpair()
    with daemon, reader:
        ((header, blob),) = _through(
            pack({"id": 1, **header}, blob), reader.send, lambda: daemon.recv(1 << 18)
        )
    if paths is None:
        paths = attributes.paths(header, blob)
        assert paths is not None
    value = attributes.attributes(paths, header, blob)
    took_s = time.process_time() - began
    assert len(value) == len(found.lengths)
    return took_s


def _through(
    message: bytes, give: Callable[[memoryview], int], take: Callable[[], bytes]
) -> list[tuple[dict[str, Any], bytes]]:
    rest, unpacker = memoryview(message), Unpacker()
    found: list[tuple[dict[str, Any], bytes]] = []
    while rest:
        rest = rest[give(rest[:PIPE_BYTES]) :]
        found += unpacker.feed(take())
    return found


# The loop.


class Beat:
    """A task that wants to run every millisecond, and how late it was at worst."""

    def __init__(self) -> None:
        self._worst = dict.fromkeys(("computes", "held up", "late"), 0.0)

    def take(self) -> dict[str, float]:
        """Return, in ms, for how long the loop's thread computed at once, for how long it was held
        up, waits for a processor apart, and with them, at worst since this was last asked."""
        worst = {name: 1000 * value for name, value in self._worst.items()}
        self._worst = dict.fromkeys(worst, 0.0)
        return worst

    async def run(self) -> None:
        while True:
            began, computed, waited = time.perf_counter(), time.thread_time(), _waited_s()
            await asyncio.sleep(0.001)  # late is what the loop was held up
            late_s = time.perf_counter() - began - 0.001
            self._note("computes", time.thread_time() - computed)
            self._note("held up", late_s - (_waited_s() - waited))
            self._note("late", late_s)

    def _note(self, name: str, value: float) -> None:
        self._worst[name] = max(self._worst[name], value)


def _waited_s() -> float:
    """Return for how long this thread has waited for a processor, ever."""
    with open("/proc/thread-self/schedstat", "rb", buffering=0) as file:
        return int(file.read().split()[1]) / 1e9


@contextmanager
def first() -> Iterator[None]:
    """Come before what else runs on this machine, where that may be."""
    usual = os.getpriority(os.PRIO_PROCESS, 0)
    with suppress(PermissionError):
        os.setpriority(os.PRIO_PROCESS, 0, -20)
    try:
        yield
    finally:
        os.setpriority(os.PRIO_PROCESS, 0, usual)


async def _watched(directory: Path, scst: ScstTree) -> list[tuple[str, float]]:
    """Have a daemon's parts watch the tree; return figures of it."""
    async with AsyncExitStack() as stack:
        return await _figures(directory, scst, stack)


async def _figures(
    directory: Path, scst: ScstTree, stack: AsyncExitStack
) -> list[tuple[str, float]]:
    clock = Clock()
    reader = reader_port(directory, ["--sysfs", f"{directory}/sys"])
    stack.push_async_callback(reader.close)
    journal = await Journal.open(directory / "state", clock)
    stack.push_async_callback(journal.close)
    table, ids = SeriesTable(), Ids(1)
    probes = make_scst_probes(clock)
    for probe in probes:
        table.declare(probe.name, probe.families, max_age_s=60)
    table.declare(COLLECTOR, COLLECTOR_FAMILIES, max_age_s=60)
    table.declare(BLINDNESS, BLINDNESS_FAMILIES, max_age_s=60)
    rules, problems = load(built_in_files(), taken=table.probe_families())
    assert not problems, problems
    incidents = Incidents(journal.node, ids.new)
    books = Books(
        table=table,
        engine=Engine(table, incidents, rules),
        incidents=incidents,
        tasks=TaskBook(journal.node, ids.new),
        repositories=RepositoryBook(),
        tokens=TokenBook(),
        ids=ids,
    )
    monitor = Monitor(books, journal=journal, bus=Bus(journal.last_seq), clock=clock)
    await monitor.restore()
    looks: asyncio.Queue[Frame] = asyncio.Queue()

    async def feed(frame: Frame) -> None:
        await monitor.feed(frame)
        if frame.scope == Scope("scst"):
            looks.put_nowait(frame)

    collector = Collector(
        probes,
        HostAndReader(reader.read, fact),
        clock,
        interval_s=INTERVAL_S,
        feed=feed,
        expect=monitor.expect,
    )
    checkpoints = Checkpoints(directory / "state", table, "bench", probes)
    beat = Beat()
    figures: list[tuple[str, float]] = []
    keep_prompt()
    async with asyncio.TaskGroup() as tasks:
        work = [tasks.create_task(one) for one in (monitor.run(), collector.run(), beat.run())]
        for number in range(LOOKS):
            await looks.get()
            figures += _of_loop(beat, "first look" if number == 0 else "look")
            if number == 2:
                scst.targets[0].enable(is_enabled=False)
                await asyncio.to_thread(scst.targets[1].log_in, "iqn.2026-11.lab.client:new")
            await asyncio.sleep(INTERVAL_S / 2)  # the daemon looks by its own clock
            figures += _of_loop(beat, "first rules" if number == 0 else "rules")
        await checkpoints.write()
        figures += _of_loop(beat, "checkpoint")
        figures += [
            ("rows", len(table)),
            ("rows without a place", table.room.dropped_total),
            ("TargetDisabled", len(list(incidents.of_rule("TargetDisabled")))),
            ("reader, resident", _reader_mb()),
            ("this process, resident", psutil.Process().memory_info().rss / 1e6),
        ]
        for one in work:
            one.cancel()
    return figures


def _of_loop(beat: Beat, what: str) -> list[tuple[str, float]]:
    return [(f"{what}, loop {how}", value) for how, value in beat.take().items()]


def _reader_mb() -> float:
    (reader,) = (
        child for child in psutil.Process().children() if "storewatch_reader" in child.cmdline()
    )
    return float(reader.memory_info().rss / 1e6)


def _loop() -> Samples:
    with tree() as (directory, scst):
        (directory / "state").mkdir()
        with first(), asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            yield from runner.run(_watched(directory, scst))


BENCHES = (
    Bench(
        "scst-reader",
        "a pass over SCST with 1,000 targets, 10,000 LUNs and 5,000 sessions",
        (
            Figure("attributes and links", ""),
            Figure("worker, against a walk in C", "", 1.1),
            Figure("worker, CPU", "ms"),
            Figure("walk in C, CPU", "ms"),
            Figure("worker, memory at most", "MB"),
            Figure("transport and conversion, CPU", "ms", 40),
            Figure("the same with new paths, CPU", "ms"),
        ),
        _against_c,
    ),
    Bench(
        "scst-loop",
        "the daemon's loop while it watches the same, with the rules that ship: at worst in each"
        " look; held up is late without its waits for a processor",
        (
            *(
                figure
                for what in ("first look", "look", "first rules", "rules", "checkpoint")
                for figure in (
                    Figure(f"{what}, loop computes", "ms", 5),
                    Figure(f"{what}, loop held up", "ms", 5),
                    Figure(f"{what}, loop late", "ms"),
                )
            ),
            Figure("rows", ""),
            Figure("rows without a place", "", 0),
            Figure("TargetDisabled", "", 1, at_least=True),
            Figure("reader, resident", "MB", 20),
            Figure("this process, resident", "MB"),
        ),
        _loop,
    ),
)
