"""The journal as the daemon uses it: durable before it answers, numbered for good, never silent."""

import asyncio
import re
import shutil
import sqlite3
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack
from itertools import chain
from pathlib import Path
from typing import Any

import pytest

from fakes import NOON, HandClock
from fix_records import no_room, record
from storewatchd.errors import JournalError, JournalRefused
from storewatchd.journal import (
    NOTICE,
    Gap,
    Journal,
    Rebuild,
    Record,
    StateChange,
    StoredRecord,
)
from storewatchd.journal.opening import BLOCK
from storewatchd.journal.records import checksum_of

PAGE = 4096


class Place:
    """A state directory. `open` opens its journal, and at its end whatever is still open is
    closed."""

    def __init__(self, directory: Path, stack: AsyncExitStack) -> None:
        self.directory = directory
        self.path = directory / "state.db"
        self.wal = directory / "state.db-wal"
        self.clock = HandClock()
        self._stack = stack

    async def open(self, **options: Any) -> Journal:
        journal = await Journal.open(self.directory, self.clock.clock, **options)
        self._stack.push_async_callback(journal.close)
        return journal

    def copy(self, directory: Path) -> "Place":
        """Return what a power cut would leave of this, elsewhere."""
        shutil.copytree(self.directory, directory)
        return Place(directory, self._stack)

    def change(self, statement: str, *values: object) -> None:
        """Change the file behind the journal's back."""
        connection = sqlite3.connect(self.path, isolation_level=None)
        connection.execute(statement, values)
        connection.close()

    def set_meta(self, key: str, value: str) -> None:
        """Change a fact of the file as another version, or another machine, would have it."""
        connection = sqlite3.connect(self.path, isolation_level=None)
        connection.execute(
            "UPDATE meta SET value = ?, checksum = ? WHERE key = ?",
            (value, checksum_of(key.encode(), value.encode()), key),
        )
        connection.close()


@pytest.fixture
async def place(tmp_path: Path) -> AsyncIterator[Place]:
    async with AsyncExitStack() as stack:
        yield Place(tmp_path / "state", stack)


async def note(journal: Journal, count: int = 1, **changes: Any) -> list[Record]:
    """Append so many records under new numbers."""
    records = [record(seq, **changes) for seq in await journal.numbers(count)]
    await journal.append(records, ())
    return records


def damages(journal: Journal) -> list[Mapping[str, Any]]:
    """Return what the journal has to tell of damage since this was last called."""
    return [one.facts for one in journal.take_notices() if one.kind == "journal_damaged"]


async def numbers_in(journal: Journal) -> list[int]:
    return [one.seq for one in await journal.read(0, 100_000)]


# Appending.


async def test_a_record_comes_back_with_its_node_and_epoch(place: Place) -> None:
    journal = await place.open()
    await note(journal, type="alert", kind="firing", key="a", event=False, reason=b'{"r":1}')
    assert await journal.read(0, 10) == [
        StoredRecord(
            *(journal.node, journal.epoch, 1, NOON + 1, "alert", "firing", "a", False),
            *(b'{"number":1}', b'{"r":1}'),
        )
    ]


async def test_what_was_appended_survives_a_power_cut(place: Place, tmp_path: Path) -> None:
    journal = await place.open()
    [one] = await journal.numbers(1)
    await journal.append([record(one)], [StateChange("alert", "a", b"1")])
    after = await place.copy(tmp_path / "copy").open()
    assert await numbers_in(after) == [1]
    assert await after.state("alert") == {"a": b"1"}


async def test_appends_that_wait_together_share_a_commit(place: Place) -> None:
    journal = await place.open()
    records = [record(seq) for seq in await journal.numbers(100)]
    before = place.wal.stat().st_size
    await asyncio.gather(*(journal.append([one], ()) for one in records))
    assert place.wal.stat().st_size - before < 50 * PAGE
    assert await numbers_in(journal) == list(range(1, 101))


async def test_one_bad_append_fails_alone(place: Place) -> None:
    journal = await place.open()
    await note(journal)
    numbers = await journal.numbers(20)
    appends = [journal.append([record(seq)], ()) for seq in numbers]
    appends.insert(10, journal.append([record(1)], [StateChange("alert", "a", b"1")]))
    ends = await asyncio.gather(*appends, return_exceptions=True)
    assert [end for end in ends if end is not None] == [ends[10]]
    assert isinstance(ends[10], JournalRefused)
    assert await numbers_in(journal) == list(range(1, 22))
    assert await journal.state("alert") == {}


async def test_a_full_disk_is_told_and_harms_no_later_append(place: Place) -> None:
    journal = await place.open()
    await note(journal)
    numbers = await journal.numbers(2)
    with no_room(place.wal.stat().st_size), pytest.raises(JournalError, match=r"state\.db: .*disk"):
        await journal.append([record(numbers[0])], ())
    await journal.append([record(numbers[1])], ())
    assert await numbers_in(journal) == [1, 3]


async def test_a_cancelled_append_is_written_all_the_same(place: Place) -> None:
    journal = await place.open()
    async with asyncio.TaskGroup() as tasks:
        task = tasks.create_task(journal.append([record(1)], ()))
        asyncio.get_running_loop().call_soon(task.cancel)
    assert task.cancelled()
    assert await numbers_in(journal) == [1]


async def test_state_is_put_and_forgotten_with_an_append(place: Place) -> None:
    journal = await place.open()
    await journal.append((), [StateChange("alert", "a", b"1"), StateChange("alert", "b", b"1")])
    await journal.append((), [StateChange("alert", "a", None), StateChange("task", "a", b"2")])
    assert await journal.state("alert") == {"b": b"1"}
    assert await journal.state("task") == {"a": b"2"}
    assert await journal.state_of("task", "a") == b"2"
    assert await journal.state_of("alert", "a") is None


async def test_a_follower_hears_of_an_append_once(place: Place) -> None:
    journal = await place.open()
    async with asyncio.timeout(10):
        await note(journal)
        await journal.appended()
        async with asyncio.TaskGroup() as tasks:
            waiting = tasks.create_task(journal.appended())
            await journal.read(0, 1)
            assert not waiting.done()
            await note(journal)


# Numbers.


@pytest.mark.parametrize(
    "counts",
    [
        pytest.param([1], id="one"),
        pytest.param([3, 2, 0, 4], id="a few"),
        pytest.param([BLOCK], id="a block"),
        pytest.param([BLOCK - 1, 1, 1], id="over a block's end"),
        pytest.param([3 * BLOCK, 5], id="many and few"),
        pytest.param([BLOCK - 1000] * 4, id="nearly a block each"),
    ],
)
@pytest.mark.parametrize("together", [False, True], ids=["one by one", "together"])
async def test_a_number_is_never_given_twice_though_nothing_of_it_was_written(
    place: Place, tmp_path: Path, counts: list[int], together: bool
) -> None:
    journal = await place.open()
    if together:
        given = await asyncio.gather(*(journal.numbers(count) for count in counts))
    else:
        given = [await journal.numbers(count) for count in counts]
    after = await place.copy(tmp_path / "copy").open()
    given.append(await after.numbers(3))
    assert [len(numbers) for numbers in given] == [*counts, 3]
    every = sorted(chain(*given))
    assert len(every) == len(set(every))
    assert given[-1][-1] == every[-1]


async def test_a_number_that_could_not_be_reserved_is_not_given(place: Place) -> None:
    journal = await place.open()
    with no_room(place.wal.stat().st_size), pytest.raises(JournalError, match="disk"):
        await journal.numbers(1)
    [one] = await journal.numbers(1)
    await journal.append([record(one)], ())
    assert await numbers_in(journal) == [one]


async def test_numbers_rise_over_restarts_and_epochs(place: Place) -> None:
    first = await place.open()
    assert (first.first_seq, first.last_seq) == (1, 0)
    await note(first, 2)
    assert first.last_seq == 2
    await first.close()
    second = await place.open()
    assert second.epoch != first.epoch
    assert second.node == first.node
    assert second.first_seq > 2
    assert second.last_seq == second.first_seq - 1
    await note(second)
    assert [one.epoch for one in await second.read(0, 10)] == [first.epoch] * 2 + [second.epoch]


async def test_a_record_beyond_what_was_reserved_pushes_the_numbers_on(place: Place) -> None:
    journal = await place.open()
    await journal.append([record(1_000_000)], ())
    await journal.close()
    again = await place.open()
    assert again.first_seq == 1_000_001


async def test_numbers_that_are_only_taken_are_not_given_again_by_the_same_start(
    place: Place,
) -> None:
    journal = await place.open()
    taken = journal.take(3)
    given = await journal.numbers(2)
    assert (list(taken), list(given)) == ([1, 2, 3], [4, 5])


async def test_numbers_go_on_above_what_a_lost_journal_gave_out_also_after_a_restart(
    place: Place, tmp_path: Path
) -> None:
    journal = await place.open()
    await journal.advance(1_000_000)
    assert journal.last_seq == 1_000_000
    await journal.advance(5)
    after = await place.copy(tmp_path / "copy").open()
    assert after.first_seq > 1_000_000
    assert list(await journal.numbers(1)) == [1_000_001]


# Going on from an event.


@pytest.fixture
async def long(place: Place) -> Journal:
    """A journal in its second epoch, whose first four records are no longer kept."""
    first = await place.open(keep=3)
    await note(first, 5)
    await first.close()
    second = await place.open(keep=3)
    await note(second, 2)
    await second.confirm("drain", second.last_seq)
    return second


@pytest.mark.parametrize("number", [4, 5])
async def test_a_client_goes_on_after_an_event_of_an_earlier_epoch(
    long: Journal, number: int
) -> None:
    [oldest, *_] = await long.read(0, 10)
    assert oldest.seq == 5
    assert long.resolve_cursor(f"{oldest.epoch}.{number}") == number


async def test_a_client_goes_on_after_the_newest_event(long: Journal) -> None:
    assert long.resolve_cursor(f"{long.epoch}.{long.last_seq}") == long.last_seq


@pytest.mark.parametrize(
    ("event_id", "why"),
    [
        pytest.param("{first}.3", "what followed '.*' is no longer kept", id="no longer kept"),
        pytest.param("{epoch}.99999999", "lies beyond this journal's end", id="beyond the end"),
        pytest.param("ffffffff.5", "is not of this journal", id="another epoch"),
        pytest.param("{epoch}.x", "is not of this journal", id="no number"),
        pytest.param("{epoch}.-1", "is not of this journal", id="a negative number"),
        pytest.param("{epoch}.٣", "is not of this journal", id="a number of another script"),
        pytest.param("{epoch}.", "is not of this journal", id="an empty number"),
        pytest.param("5", "is not of this journal", id="no epoch"),
        pytest.param("", "is not of this journal", id="nothing"),
    ],
)
async def test_what_cannot_be_gone_on_from_is_a_gap_with_its_reason(
    long: Journal, event_id: str, why: str
) -> None:
    first = (await long.read(0, 1))[0].epoch
    found = long.resolve_cursor(event_id.format(first=first, epoch=long.epoch))
    assert isinstance(found, Gap)
    assert found.oldest_kept == 5
    assert re.search(why, found.reason)


@pytest.mark.parametrize(
    ("seconds", "after"),
    [
        pytest.param(-10, 0, id="before all"),
        pytest.param(3, 2, id="of that moment"),
        pytest.param(2.5, 2, id="between two"),
        pytest.param(5.5, 5, id="after all"),
    ],
)
async def test_a_client_goes_on_from_a_time(place: Place, seconds: float, after: int) -> None:
    journal = await place.open()
    await note(journal, 5)
    assert await journal.resolve_time(NOON + seconds) == after


async def test_what_was_told_after_the_clock_went_back_is_not_left_out(place: Place) -> None:
    journal = await place.open()
    await note(journal, 3)
    await note(journal, time=NOON - 60)
    await note(journal)
    assert await journal.resolve_time(NOON + 3) == 2
    assert await journal.resolve_time(NOON - 60) == 0


async def test_a_time_of_which_something_may_be_no_longer_kept_is_a_gap(long: Journal) -> None:
    found = await long.resolve_time(NOON + 2)
    assert found == Gap(5, "some of what happened since then may be no longer kept")
    [_, second, *_] = await long.read(0, 10)
    assert await long.resolve_time(second.time) == second.seq - 1


async def test_a_client_that_was_told_more_than_was_reserved_misses_nothing_of_the_next_epoch(
    place: Place, tmp_path: Path
) -> None:
    first = await place.open()
    await note(first)
    told = first.take(3 * BLOCK)[-1]
    second = await place.copy(tmp_path / "copy").open()
    (one,) = await second.numbers(1)
    assert one <= told
    await second.numbers(told)
    assert second.resolve_cursor(f"{first.epoch}.{told}") == one - 1
    assert second.resolve_cursor(f"{first.epoch}.1") == 1


async def test_an_epoch_is_known_by_the_journal_that_had_it(long: Journal) -> None:
    (oldest, *_) = await long.read(0, 1)
    assert [long.knows(epoch) for epoch in (oldest.epoch, long.epoch, "", "ffffffff")] == [
        *(True, True, False, False)
    ]


# Followers.


async def test_nothing_is_dropped_that_a_follower_lacks(place: Place) -> None:
    journal = await place.open(keep=0)
    await note(journal, 10)
    await journal.confirm("slow", 3)
    await journal.confirm("drain", 8)
    assert await numbers_in(journal) == list(range(4, 11))
    await journal.confirm("slow", 6)
    assert await numbers_in(journal) == list(range(7, 11))


async def test_the_newest_are_kept_though_every_follower_has_them(place: Place) -> None:
    journal = await place.open(keep=4)
    await note(journal, 10)
    await journal.confirm("drain", 10)
    assert await numbers_in(journal) == [7, 8, 9, 10]


async def test_a_follower_goes_on_where_it_was_after_a_restart(place: Place) -> None:
    journal = await place.open()
    await note(journal, 4)
    assert journal.confirmed("drain") == 0
    await journal.confirm("drain", 3)
    assert journal.confirmed("drain") == 3
    await journal.confirm("drain", 2)
    assert journal.confirmed("drain") == 3
    await journal.close()
    assert (await place.open()).confirmed("drain") == 3


async def test_a_follower_from_before_a_restart_still_holds_records(place: Place) -> None:
    journal = await place.open(keep=0)
    await note(journal, 4)
    await journal.confirm("slow", 1)
    await journal.close()
    again = await place.open(keep=0)
    await again.confirm("drain", 4)
    assert await numbers_in(again) == [2, 3, 4]


async def test_what_a_follower_lacks_is_counted_and_dated(place: Place) -> None:
    journal = await place.open()
    await note(journal, 4)
    assert await journal.unconfirmed() == (4, NOON + 1)
    await journal.confirm("drain", 3)
    assert await journal.unconfirmed() == (1, NOON + 4)
    assert await journal.unconfirmed("mail") == (4, NOON + 1)
    await journal.confirm("drain", 4)
    assert await journal.unconfirmed() == (0, None)


async def test_a_follower_that_lost_what_it_had_gets_it_again(place: Place) -> None:
    journal = await place.open(keep=0)
    await note(journal, 4)
    await journal.confirm("mail", 0)
    await journal.confirm("drain", 4)
    await journal.rewind("drain", 1)
    assert (journal.confirmed("drain"), journal.facts().unconfirmed) == (1, 3)
    await journal.confirm("mail", 4)
    assert await numbers_in(journal) == [2, 3, 4]
    await journal.close()
    assert (await place.open()).confirmed("drain") == 1


# How it stands.


async def test_the_facts_follow_what_happens_without_asking_the_disk(place: Place) -> None:
    journal = await place.open()
    before = journal.facts()
    assert (before.appended_total, before.unconfirmed, before.oldest_unconfirmed) == (0, 0, None)
    await note(journal, 4)
    await journal.confirm("drain", 1)
    journal.note_unjournalled(7)
    await journal.close()
    facts = journal.facts()
    assert (facts.appended_total, facts.unconfirmed, facts.oldest_unconfirmed) == (4, 3, NOON + 2)
    assert (facts.is_writable, facts.unjournalled_total) == (True, 7)
    assert facts.file_bytes > 0
    assert facts.free_bytes > 0


async def test_the_facts_know_what_an_earlier_start_left(place: Place) -> None:
    journal = await place.open()
    await note(journal, 4)
    await journal.confirm("drain", 3)
    await journal.close()
    facts = (await place.open()).facts()
    assert (facts.unconfirmed, facts.oldest_unconfirmed) == (1, NOON + 4)


async def test_what_has_to_be_rebuilt_is_known_until_an_append_says_otherwise(
    place: Place,
) -> None:
    journal = await place.open()
    assert journal.rebuild is Rebuild.STORE
    await journal.close()
    again = await place.open()
    kept = again.rebuild
    await again.append((), [StateChange("alert", "a", b"1")], rebuild=Rebuild.NONE)
    assert (kept, again.rebuild) == (Rebuild.STORE, Rebuild.NONE)
    await again.close()
    assert (await place.open()).rebuild is Rebuild.NONE


# Reading.


async def test_reading_the_tail_and_the_history(place: Place) -> None:
    journal = await place.open()
    numbers = await journal.numbers(5)
    kinds: list[dict[str, Any]] = [
        {"type": "alert", "key": "a"},
        {"type": "task", "key": "b"},
        {"type": "audit", "event": False},
        {"type": "alert", "key": "a"},
        {"type": "alert", "key": "c"},
    ]
    await journal.append(
        [record(seq, **kind) for seq, kind in zip(numbers, kinds, strict=True)], ()
    )
    read = [one.seq for one in await journal.read(1, 2, types=("alert", "audit"))]
    events = [one.seq for one in await journal.read(0, 9, events_only=True)]
    tail = [one.seq for one in await journal.tail(2, types=("alert", "task"))]
    history = [one.seq for one in await journal.history("a")]
    assert (read, events, tail, history) == ([3, 4], [1, 2, 4, 5], [4, 5], [1, 4])


async def test_a_read_after_an_append_that_waits_has_it(place: Place) -> None:
    journal = await place.open()
    [one] = await journal.numbers(1)
    _, found = await asyncio.gather(journal.append([record(one)], ()), journal.read(0, 9))
    assert [one.seq for one in found] == [1]


async def test_a_file_that_can_no_longer_be_read_is_told(place: Place) -> None:
    journal = await place.open()
    place.change("DROP TABLE state")
    with pytest.raises(JournalError, match=r"state\.db: no such table"):
        await journal.state("alert")
    assert await journal.read(0, 9) == []


# One opener.


async def test_a_second_opener_is_refused_and_harms_nothing(place: Place) -> None:
    journal = await place.open()
    with pytest.raises(JournalError, match=r"another daemon \(pid \d+\) uses the state directory"):
        await place.open()
    await note(journal)
    await journal.close()
    assert await numbers_in(await place.open()) == [1]


async def test_a_lock_that_names_nobody_still_holds(place: Place) -> None:
    await place.open()
    (place.directory / "lock").write_text("")
    with pytest.raises(JournalError, match=r"another daemon \(pid unknown\)"):
        await place.open()


async def test_a_directory_that_cannot_be_made_is_named(place: Place) -> None:
    place.directory.write_text("a file")
    with pytest.raises(JournalError, match=r"state directory .* cannot be used: "):
        await place.open()


# Closing.


async def test_closing_writes_what_waits(place: Place) -> None:
    journal = await place.open()
    numbers = await journal.numbers(3)
    appends = (journal.append([record(seq)], ()) for seq in numbers)
    await asyncio.gather(*appends, journal.close())
    assert await numbers_in(await place.open()) == [1, 2, 3]


async def test_closing_again_changes_nothing(place: Place) -> None:
    journal = await place.open()
    await asyncio.gather(journal.close(), journal.close())
    again = await place.open()
    await journal.close()
    await note(again)


async def test_a_closed_journal_refuses(place: Place) -> None:
    journal = await place.open()
    await journal.close()
    with pytest.raises(JournalError, match="the journal is closed"):
        await journal.append([record(1)], ())
    with pytest.raises(JournalError, match="the journal is closed"):
        await journal.read(0, 1)


async def test_an_append_behind_the_closing_is_refused_at_once(place: Place) -> None:
    journal = await place.open()
    async with asyncio.timeout(10):
        ends = await asyncio.gather(
            journal.close(), journal.append([record(1)], ()), return_exceptions=True
        )
    assert isinstance(ends[1], JournalError)


def test_an_append_whose_caller_is_gone_is_written(tmp_path: Path) -> None:
    clock = HandClock().clock

    async def begin() -> Journal:
        journal = await Journal.open(tmp_path, clock)
        other.execute("BEGIN IMMEDIATE")  # the thread waits for this
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0):
                await journal.append([record(1)], ())
        return journal

    async def finish(journal: Journal) -> list[int]:
        await journal.close()
        again = await Journal.open(tmp_path, clock)
        found = await numbers_in(again)
        await again.close()
        return found

    other = sqlite3.connect(tmp_path / "state.db", isolation_level=None)
    journal = asyncio.run(begin())
    other.execute("ROLLBACK")
    other.close()
    assert asyncio.run(finish(journal)) == [1]


# A file that cannot be used.


async def test_a_damaged_file_is_set_aside_and_a_new_one_begun(
    place: Place, caplog: pytest.LogCaptureFixture
) -> None:
    first = await place.open()
    await note(first)
    await first.close()
    place.path.write_bytes(b"garbage" * 1000)

    journal = await place.open()

    aside = place.directory / f"state.db.damaged-{NOON:.0f}"
    assert [facts["path"] for facts in damages(journal)] == [str(aside)]
    assert aside.read_bytes() == b"garbage" * 1000
    assert f"it is set aside as {aside}" in caplog.text
    assert await numbers_in(journal) == []
    assert journal.node == first.node
    await note(journal)
    await journal.append(
        (), [StateChange(NOTICE, key, None) for key in await journal.state(NOTICE)]
    )
    await journal.close()
    again = await place.open()
    assert damages(again) == []
    assert again.node == journal.node


@pytest.mark.parametrize(
    "statement",
    [
        pytest.param("UPDATE meta SET value = 'many' WHERE key = 'reserved'", id="no number"),
        pytest.param("DROP TABLE cursor", id="no cursors"),
        pytest.param("DROP TABLE meta", id="no facts"),
    ],
)
async def test_a_file_without_what_a_start_needs_is_set_aside(place: Place, statement: str) -> None:
    first = await place.open()
    await note(first)
    await first.close()
    place.change(statement)
    journal = await place.open()
    (facts,) = damages(journal)
    assert facts["path"] is not None
    assert await numbers_in(journal) == [1]
    await note(journal)


async def test_a_newer_schema_is_refused_and_the_directory_let_go(place: Place) -> None:
    first = await place.open()
    await note(first)
    await first.close()
    place.set_meta("schema", "2")
    with pytest.raises(JournalError, match="newer version"):
        await place.open()
    place.set_meta("schema", "1")
    assert await numbers_in(await place.open()) == [1]


async def test_a_start_on_a_full_disk_is_refused_and_sets_nothing_aside(place: Place) -> None:
    first = await place.open()
    await note(first)
    await first.close()
    with no_room(), pytest.raises(JournalError, match="cannot be used"):
        await place.open()
    journal = await place.open()
    assert damages(journal) == []
    assert await numbers_in(journal) == [1]


async def test_a_directory_in_the_files_place_is_refused_and_stays(place: Place) -> None:
    place.path.mkdir(parents=True)
    with pytest.raises(JournalError, match="cannot be opened"):
        await place.open()
    assert place.path.is_dir()


async def test_a_damaged_record_is_left_out(place: Place, caplog: pytest.LogCaptureFixture) -> None:
    journal = await place.open()
    await note(journal, 3)
    place.change("UPDATE record SET data = x'00' WHERE seq = 2")
    assert await numbers_in(journal) == [1, 3]
    assert "record 2 is damaged and left out" in caplog.text


# The node.


async def test_a_copy_on_another_machine_is_another_node(
    place: Place, caplog: pytest.LogCaptureFixture
) -> None:
    first = await place.open()
    await first.close()
    place.set_meta("machine", "another")
    place.set_meta("node", "of the other")
    moved = await place.open()
    assert moved.node != "of the other"
    assert "comes from another machine" in caplog.text
    await moved.close()
    assert (await place.open()).node == moved.node
