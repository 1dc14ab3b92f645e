"""What is heard has those probes look whose facts it touches, at once and together."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from typing import NoReturn

import pytest

from fakes import HandClock, ScriptedPort
from lab.scst_events import lun_not_found, task_management
from storewatch_reader.kernel_log import PATTERNS
from storewatchd.core import recording
from storewatchd.core.repositories import RepositoryBook
from storewatchd.port import Heard
from storewatchd.port.tap import Fact, TappedPort
from storewatchd.port.uevents import LOST, Uevent
from storewatchd.probes import Ears, make_probes
from storewatchd.probes.kernel_log import NAME as KERNEL_LOG
from storewatchd.settings import Settings
from storewatchd.triggers import (
    BY_PATTERN,
    BY_SUBSYSTEM,
    COMMANDS_EVERY_S,
    EVERYTHING,
    Triggers,
)

PROBES = [probe.name for probe in make_probes(RepositoryBook(), Settings())]


class Outside:
    """The watches and the collector around the triggers."""

    def __init__(self, *disabled: str) -> None:
        self.touched: list[str] = []
        self.spaced: dict[str, float] = {}
        self.listening: dict[str, Callable[[Heard], None]] = {}
        self.asked: list[str] = []
        self.facts: list[Fact] = []
        self._changed = asyncio.Event()
        tap = TappedPort(ScriptedPort())
        tap.listener = self.facts.append
        self.ears = Ears.deaf(HandClock().clock)
        self.triggers = Triggers(
            listen=self._listen,
            touch=self._touch,
            tap=tap,
            ears=self.ears,
            probes=[name for name in PROBES if name not in disabled],
        )

    async def _listen(self, row: str, take: Callable[[Heard], None]) -> NoReturn:
        self.asked.append(row)
        self.listening[row] = take
        self._changed.set()
        while True:
            await asyncio.Event().wait()

    def _touch(self, probe: str, *, every_s: float = 1.0) -> None:
        self.touched.append(probe)
        self.spaced[probe] = every_s

    async def until_asked(self, count: int) -> None:
        async with asyncio.timeout(10):
            while len(self.asked) < count:
                self._changed.clear()
                await self._changed.wait()

    async def taken(self) -> list[str]:
        """Return what was touched since the last time, when the loop has turned."""
        await asyncio.sleep(0)
        touched, self.touched = self.touched, []
        return touched


@pytest.fixture
async def outside() -> AsyncIterator[Outside]:
    outside = Outside()
    async with asyncio.TaskGroup() as tasks:
        work = tasks.create_task(outside.triggers.run())
        await outside.until_asked(2)
        yield outside
        work.cancel()


def test_what_is_touched_is_a_probe() -> None:
    named = {name for names in (*BY_SUBSYSTEM.values(), *BY_PATTERN.values()) for name in names}
    assert named <= set(PROBES)
    assert set(EVERYTHING) <= named


def test_every_pattern_touches_something() -> None:
    assert BY_PATTERN.keys() == {name for name, _ in PATTERNS}


async def test_log_and_events_are_listened_to(outside: Outside) -> None:
    assert sorted(outside.asked) == ["kernel.log", "scst.events"]


@pytest.mark.parametrize(
    ("disabled", "asked"), [("scst_events", ["kernel.log"]), ("kernel_log", ["scst.events"])]
)
async def test_what_no_probe_tells_is_not_listened_to(disabled: str, asked: list[str]) -> None:
    outside = Outside(disabled)
    async with asyncio.TaskGroup() as tasks:
        work = tasks.create_task(outside.triggers.run())
        await outside.until_asked(1)
        await outside.taken()
        assert outside.asked == asked
        work.cancel()


async def test_a_device_touches_the_probes_that_look_at_it(outside: Outside) -> None:
    outside.triggers.hear_uevent(Uevent("change", "/devices/x", "scsi_tape"))
    touched = await outside.taken()
    assert {"tape_drives", "libraries", "vtl"} <= set(touched)
    assert "block" not in touched
    assert outside.facts[-1].value == ["change", "/devices/x", "scsi_tape"]


async def test_a_device_of_no_concern_touches_nothing(outside: Outside) -> None:
    outside.triggers.hear_uevent(Uevent("change", "/devices/x", "power_supply"))
    assert await outside.taken() == []


async def test_what_comes_together_touches_once(outside: Outside) -> None:
    for _ in range(100):
        outside.triggers.hear_uevent(Uevent("add", "/devices/x", "block"))
    assert await outside.taken() == ["block"]
    outside.triggers.hear_uevent(Uevent("remove", "/devices/x", "block"))
    assert await outside.taken() == ["block"]


async def test_commands_to_devices_are_far_between(outside: Outside) -> None:
    outside.triggers.hear_uevent(Uevent("add", "/devices/x", "scsi"))
    await outside.taken()
    assert outside.spaced["tape_drive_logs"] == COMMANDS_EVERY_S
    assert outside.spaced["library_inventories"] == COMMANDS_EVERY_S
    assert outside.spaced["tape_drives"] == 1.0


async def test_what_the_kernel_could_not_tell_may_be_anything(outside: Outside) -> None:
    outside.triggers.hear_uevent(LOST)
    assert set(await outside.taken()) == set(EVERYTHING)


async def test_a_line_of_the_log_touches_its_count_and_what_it_is_about(outside: Outside) -> None:
    line = Heard(records=(b"3,1,1,-;I/O error, dev sdb\n",), patterns=("io_error",))
    outside.listening["kernel.log"](line)
    assert await outside.taken() == [KERNEL_LOG, "block"]
    counts = {row.labels: row.value for row in outside.ears.log.rows()["kernel_log_matches_total"]}
    assert counts[("io_error",)] == 1
    assert outside.facts[-1].row == "kernel.log"


async def test_lines_that_are_only_counted_touch_too(outside: Outside) -> None:
    outside.listening["kernel.log"](Heard(more={"scst_error": 3}))
    assert set(await outside.taken()) == {
        KERNEL_LOG,
        "scst_state",
        "scst",
        "scst_backing",
        "scst_log",
    }


async def test_events_that_scst_lost_are_known_from_the_log(outside: Outside) -> None:
    outside.listening["kernel.log"](Heard(more={"scst_event_lost": 4}))
    assert set(await outside.taken()) == {KERNEL_LOG, "scst_event_reader", "scst_log"}
    assert outside.ears.events.lost == 4


async def test_what_a_host_does_touches_scst(outside: Outside) -> None:
    outside.listening["scst.events"](Heard(records=(task_management(4, "i", "t"),)))
    touched = await outside.taken()
    assert set(touched) == {
        "scst_event_reader",
        "scst_events",
        "scst_state",
        "scst",
        "scst_backing",
    }
    outside.listening["scst.events"](Heard(records=(lun_not_found("i", "t", 1),)))
    assert set(await outside.taken()) == {"scst_event_reader", "scst_events"}


async def test_what_is_heard_can_be_recorded(outside: Outside) -> None:
    line = Heard(records=(b"3,1,1,-;scst: \xff\n",), patterns=("scst",))
    outside.listening["kernel.log"](line)
    outside.listening["scst.events"](Heard(records=(task_management(4, "i", "t"),)))
    outside.triggers.hear_uevent(Uevent("add", "/devices/x", "scsi"))
    writer = recording.Writer()
    for fact in outside.facts:
        writer.write(["fact", 0.0, 0.0, fact.row, fact.object, fact.outcome, fact.value])
    assert {fact.row for fact in outside.facts} == {"kernel.log", "scst.events", "uevent"}
    assert writer.flush()


async def test_when_scst_is_loaded_its_events_are_asked_for_again(outside: Outside) -> None:
    outside.triggers.hear_uevent(Uevent("add", "/devices/virtual/scst_event", "scst_event"))
    await outside.until_asked(3)
    assert outside.asked.count("scst.events") == 2


async def test_without_the_kernels_messages_the_rest_is_heard(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    # A number that no kernel has: as where netlink is forbidden by a sandbox.
    monkeypatch.setattr("storewatchd.port.uevents.NETLINK_KOBJECT_UEVENT", 255)
    outside = Outside()
    with caplog.at_level(logging.WARNING):
        async with asyncio.TaskGroup() as tasks:
            work = tasks.create_task(outside.triggers.run())
            await outside.until_asked(2)
            work.cancel()
    assert "by the schedule only" in caplog.text
