"""The way to the disk: first there and then told; or told at once, and marked as what it is."""

import asyncio
import json
import logging
import os
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from fakes import NOON, HandClock
from fix_node import empty_books, events
from fix_records import alert, no_room
from lab.frozen import FreezableDisk
from storewatchd.bus import Bus, Filter, Published
from storewatchd.core.model import AlertState, EventType, Instant, Transition
from storewatchd.journal import Journal, Rebuild, Record
from storewatchd.monitor import writer as writer_module
from storewatchd.monitor.backlog import Backlog
from storewatchd.monitor.batch import Batch
from storewatchd.monitor.view import View
from storewatchd.monitor.writer import Writer


@pytest.fixture(autouse=True)
def short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writer_module, "RETRY_S", 0.01)


class Desk:
    """A writer with a real journal, a bus and a view."""

    def __init__(self, journal: Journal, backlog: Backlog) -> None:
        self.journal = journal
        self.bus = Bus(journal.last_seq)
        self.told = self.bus.subscribe(Filter())
        self.view = View()
        self.writer = Writer(
            journal=journal,
            view=self.view,
            bus=self.bus,
            incidents=empty_books().incidents,
            backlog=backlog,
        )

    async def write(self, *kinds: str, **changes: Any) -> bool:
        """Write a round with an event of each kind, and an alert's first transition."""
        return await self.writer.write(batch(*kinds, **changes))

    async def recovered(self) -> None:
        """Wait until what waits is on disk."""
        async with asyncio.timeout(10):
            while self.writer.problem is not None:
                await self.journal.state("nothing")

    async def kinds(self) -> list[str]:
        """Return the kinds of the records on disk."""
        return [one.kind for one in await self.journal.read(0, 100_000)]

    async def heard(self) -> list[Published]:
        return await events(self.told)


def batch(*kinds: str, alert_id: str = "", facts: str = "") -> Batch:
    """Return a round with an event of each kind, and an alert that fires where one is named."""
    made = Batch(Instant(NOON, 1000.0))
    for kind in kinds:
        made.note_event(EventType.SYSTEM, kind, {"facts": facts})
    if alert_id:
        shown = alert("n", id=alert_id, state=AlertState.FIRING)
        made.note_alert(Transition("firing", shown, {}))
        made.put_state("alert", alert_id, {"n": 1})
    return made


@asynccontextmanager
async def opened(
    directory: Path, *, backlog: Backlog | None = None, **options: Any
) -> AsyncIterator[Desk]:
    journal = await Journal.open(directory, HandClock().clock, **options)
    try:
        desk = Desk(journal, Backlog() if backlog is None else backlog)
        yield desk
        desk.writer.close()
    finally:
        await journal.close()


@pytest.fixture
async def desk(tmp_path: Path) -> AsyncIterator[Desk]:
    async with opened(tmp_path) as desk:
        assert await desk.write("first")
        await desk.heard()
        yield desk


async def test_what_is_told_and_shown_is_on_disk(desk: Desk) -> None:
    assert await desk.write("noted", alert_id="a")
    assert await desk.kinds() == ["first", "noted", "firing"]
    told = await desk.heard()
    assert [(one.event.seq, one.event.unjournalled) for one in told] == [(2, False), (3, False)]
    assert [one.id for one in desk.view.all_alerts()] == ["a"]
    assert (desk.writer.waiting(), desk.writer.take_notices()) == ([], [])
    assert desk.journal.facts().is_writable


async def test_a_round_without_a_line_costs_nothing(desk: Desk) -> None:
    before = desk.journal.last_seq
    assert await desk.write()
    assert desk.journal.last_seq == before


async def test_a_round_of_state_alone_is_written(desk: Desk) -> None:
    made = batch()
    made.put_state("alert", "a", {"n": 1})
    made.rebuild = Rebuild.NONE
    assert await desk.writer.write(made)
    assert list(await desk.journal.state("alert")) == ["a"]
    assert desk.journal.rebuild is Rebuild.NONE


# A disk that refuses.


async def test_what_cannot_be_written_is_told_and_shown_and_marked(
    desk: Desk, caplog: pytest.LogCaptureFixture
) -> None:
    with no_room():
        assert not await desk.write("noted", alert_id="a")
        assert not await desk.write("again")
        told = await desk.heard()
        assert [one.event.kind for one in told] == ["noted", "firing", "again"]
        assert all(json.loads(one.line)["unjournalled"] for one in told)
        assert [one.id for one in desk.view.all_alerts()] == ["a"]
        assert [one.seq for one in desk.writer.waiting()] == [one.event.seq for one in told]
        assert (desk.journal.facts().is_writable, desk.journal.facts().unjournalled_total) == (
            False,
            3,
        )
    await desk.recovered()
    errors = [one.getMessage() for one in caplog.records if one.levelno == logging.ERROR]
    assert len(errors) == 1
    assert errors[0].startswith("state.db: ")
    assert "until it can be written events are told unjournalled" in errors[0]


async def test_what_waited_is_written_in_order_before_all_that_comes_after(
    desk: Desk, caplog: pytest.LogCaptureFixture
) -> None:
    with no_room():
        for number in range(5):
            await desk.write(f"waited {number}", alert_id=f"a{number}")
    await desk.recovered()
    assert await desk.write("after")
    waited = [kind for number in range(5) for kind in (f"waited {number}", "firing")]
    assert await desk.kinds() == ["first", *waited, "after"]
    assert sorted(await desk.journal.state("alert")) == [f"a{number}" for number in range(5)]
    (notice,) = desk.writer.take_notices()
    assert (notice.kind, notice.facts) == ("journal_recovered", {"unjournalled": 10, "lost": 0})
    assert "of 10 lines that were told meanwhile 0 are lost" in caplog.text
    assert desk.journal.facts().is_writable
    assert [one.event.unjournalled for one in await desk.heard()] == [True] * 10 + [False]


async def test_numbers_rise_over_a_refusal_and_none_is_given_twice(desk: Desk) -> None:
    with no_room():
        await desk.write("waited")
    await desk.recovered()
    await desk.write("after")
    numbers = [one.event.seq for one in await desk.heard()]
    assert numbers == sorted(set(numbers))
    assert [one.seq for one in await desk.journal.read(1, 9)] == numbers


async def test_what_is_told_and_never_written_is_not_marked(desk: Desk) -> None:
    made = batch("noted")
    made.note_snapshot({})
    with no_room():
        await desk.writer.write(made)
    marks = {one.event.kind: one.event.unjournalled for one in await desk.heard()}
    assert marks == {"noted": True, "snapshot": False}
    await desk.recovered()
    assert await desk.kinds() == ["first", "noted"]


async def test_what_memory_does_not_hold_is_lost_and_told_as_a_gap(tmp_path: Path) -> None:
    async with opened(tmp_path, backlog=Backlog(most_lines=3)) as desk:
        await desk.write("first")
        with no_room():
            for number in range(6):
                await desk.write(f"waited {number}", alert_id=f"a{number}")
        await desk.recovered()
        recovered, gap = desk.writer.take_notices()
        assert recovered.facts == {"unjournalled": 12, "lost": 10}
        assert desk.journal.facts().lost_total == 10
        assert (gap.kind, gap.facts) == (
            "gap",
            {
                "from_seq": 2,
                "to_seq": 11,
                "records": 10,
                "reason": "more was told than memory could hold until state.db could be written",
            },
        )
        assert await desk.kinds() == ["first", "waited 5", "firing"]
        # Which alerts there are is not history.
        assert len(await desk.journal.state("alert")) == 6


async def test_a_second_refusal_is_told_for_itself(desk: Desk) -> None:
    for number in (1, 2):
        with no_room():
            await desk.write(*["waited"] * number)
        await desk.recovered()
    told = [one.facts["unjournalled"] for one in desk.writer.take_notices()]
    assert told == [1, 2]


async def test_a_round_that_no_file_takes_takes_no_other_with_it(
    desk: Desk, caplog: pytest.LogCaptureFixture
) -> None:
    # A record with its number is there already.
    await desk.journal.append([Record(3, NOON, "system", "in the way", b"{}")], ())
    with no_room():
        await desk.write("before")
        await desk.write("refused")
        await desk.write("after")
    await desk.recovered()
    assert await desk.kinds() == ["first", "before", "in the way", "after"]
    recovered, gap = desk.writer.take_notices()
    assert recovered.facts == {"unjournalled": 3, "lost": 1}
    assert (gap.facts["from_seq"], gap.facts["to_seq"]) == (3, 3)
    assert "lines that cannot be written are dropped" in caplog.text


async def test_numbers_that_cannot_be_reserved_are_given_all_the_same(tmp_path: Path) -> None:
    async with opened(tmp_path) as desk:
        with no_room():
            assert not await desk.write("waited")
            (told,) = await desk.heard()
        await desk.recovered()
        assert await desk.write("after")
        (after,) = await desk.heard()
        assert after.event.seq > told.event.seq
        assert await desk.kinds() == ["waited", "after"]


async def test_a_recovery_needs_nothing_that_waits(tmp_path: Path) -> None:
    async with opened(tmp_path) as desk:
        made = batch()
        made.note_snapshot({})
        with no_room():
            assert not await desk.writer.write(made)
        await desk.recovered()
        (notice,) = desk.writer.take_notices()
        assert notice.facts == {"unjournalled": 0, "lost": 0}


async def test_what_waits_at_the_end_is_tried_once_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(writer_module, "RETRY_S", 3600.0)
    async with opened(tmp_path) as desk:
        await desk.write("first")
        with no_room():
            await desk.write("waited")
    assert "1 lines are not on disk yet" in caplog.text
    async with opened(tmp_path) as desk:
        assert await desk.kinds() == ["first", "waited"]


# A disk that hangs.


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[FreezableDisk]:
    if os.geteuid() != 0:
        pytest.skip("mounting needs root")
    with FreezableDisk(tmp_path / "image", tmp_path / "disk") as disk:
        yield disk


async def test_a_disk_that_hangs_holds_nothing_up_for_longer_than_its_time(
    disk: FreezableDisk,
) -> None:
    async with opened(disk.path, patience_s=0.05) as desk:
        assert await desk.write("first")
        with disk.frozen():
            for number in range(3):
                assert not await desk.write(f"waited {number}")
            assert desk.writer.problem == "state.db has not answered for 0.05 s"
            assert len(desk.writer.waiting()) == 3
        await desk.recovered()
        assert await desk.write("after")
        assert await desk.kinds() == ["first", "waited 0", "waited 1", "waited 2", "after"]
        told = [(one.event.kind, one.event.unjournalled) for one in await desk.heard()]
        assert told[-2:] == [("waited 2", True), ("after", False)]
        (notice,) = desk.writer.take_notices()
        assert notice.facts == {"unjournalled": 3, "lost": 0}


async def test_a_disk_that_hangs_from_the_first_number_on_holds_nothing_up(
    disk: FreezableDisk,
) -> None:
    async with opened(disk.path, patience_s=0.05) as desk:
        with disk.frozen():
            assert not await desk.write("waited")
        await desk.recovered()
        assert await desk.kinds() == ["waited"]
