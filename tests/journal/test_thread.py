"""The thread under the journal: what it does when the disk is full, the file breaks, or time passes
with nothing to do."""

import asyncio
import os
import sqlite3
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from fakes import NOON, HandClock
from fix_records import no_room, record
from lab.frozen import FreezableDisk
from storewatchd.errors import JournalError, JournalRefused
from storewatchd.journal import Journal, Notice, Rebuild, Record, StateChange, thread
from system.appliance import mounted_tmpfs

MB = 1 << 20


class Odd(bytes):
    """Bytes of which nothing can be made."""

    def __len__(self) -> int:
        raise RuntimeError("nobody has thought of it")


class StumblingClock(HandClock):
    """A clock that fails where it is asked to, once for each of `stumbles`."""

    def __init__(self) -> None:
        super().__init__()
        self.stumbles: list[Exception] = []

    def monotonic(self) -> float:
        if self.stumbles:
            raise self.stumbles.pop()
        return super().monotonic()


@asynccontextmanager
async def opened(
    directory: Path, clock: HandClock | None = None, **options: Any
) -> AsyncIterator[Journal]:
    journal = await Journal.open(directory, (clock or HandClock()).clock, **options)
    try:
        yield journal
    finally:
        await journal.close()


async def note(journal: Journal, count: int = 1, **changes: Any) -> list[Record]:
    records = [record(seq, **changes) for seq in await journal.numbers(count)]
    await journal.append(records, [StateChange("alert", "a", b"1")])
    return records


async def numbers_in(journal: Journal) -> list[int]:
    return [one.seq for one in await journal.read(0, 100_000)]


async def noticed(journal: Journal, kind: str) -> Notice:
    """Wait for a notice, whenever the thread comes to it."""
    async with asyncio.timeout(10):
        while True:
            for one in journal.take_notices():
                if one.kind == kind:
                    return one
            await asyncio.sleep(0)


# A full disk.


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Path]:
    """A state directory on a file system of 16 MB."""
    if os.geteuid() != 0:
        pytest.skip("mounting needs root")
    with mounted_tmpfs(tmp_path / "state", 16) as path:
        yield path


def fill(directory: Path) -> Path:
    path = directory / "ballast"
    with path.open("wb", buffering=0) as file:
        while True:
            try:
                file.write(bytes(4096))
            except OSError:
                return path


async def test_a_full_disk_costs_the_reserve_and_no_append(small: Path) -> None:
    async with opened(small, reserve_bytes=2 * MB) as journal:
        await note(journal)
        assert journal.facts().reserve_bytes == 2 * MB
        ballast = fill(small)
        await note(journal, 20, data=b"x" * 10_000)
        assert journal.facts().reserve_bytes == 0
        assert await numbers_in(journal) == list(range(1, 22))
        ballast.unlink()


async def test_past_the_reserve_an_append_is_refused_and_a_later_one_is_taken(small: Path) -> None:
    async with opened(small, reserve_bytes=2 * MB) as journal:
        await note(journal)
        ballast = fill(small)
        with pytest.raises(JournalError, match=r"^state\.db: .*disk"):
            await note(journal, 1_000, data=b"x" * 10_000)
        ballast.unlink()
        await note(journal)
        assert len(await numbers_in(journal)) == 2


async def test_what_was_freed_in_the_file_is_used_on_a_full_disk(small: Path) -> None:
    async with opened(small, keep=0) as journal:
        await note(journal, 500, data=b"x" * 8_000)
        await journal.confirm("drain", journal.last_seq)
        ballast = fill(small)
        for _ in range(20):
            await note(journal, 20, data=b"x" * 8_000)
            await journal.confirm("drain", journal.last_seq)
        ballast.unlink()
        await note(journal)


async def test_a_start_on_a_full_disk_takes_the_reserve(small: Path) -> None:
    async with opened(small, reserve_bytes=2 * MB) as journal:
        await note(journal)
    fill(small)
    async with opened(small, reserve_bytes=2 * MB) as journal:
        await note(journal)
        assert len(await numbers_in(journal)) == 2


async def test_a_follower_on_a_full_disk_is_no_error_and_is_noted_later(tmp_path: Path) -> None:
    async with opened(tmp_path) as journal:
        await note(journal, 4)
        with no_room():
            await journal.confirm("drain", 3)
        assert (journal.confirmed("drain"), journal.facts().unconfirmed) == (3, 1)
        await journal.confirm("drain", 4)
    async with opened(tmp_path) as journal:
        assert journal.confirmed("drain") == 4


async def test_lines_that_no_file_takes_are_refused_for_themselves(tmp_path: Path) -> None:
    async with opened(tmp_path) as journal:
        no_time: Any = None
        with pytest.raises(JournalRefused, match="NOT NULL"):
            await journal.append([record(1, time=no_time)], ())
        with pytest.raises(JournalRefused, match="surrogates"):
            await journal.append([record(1, key="\udc00")], ())
        await note(journal)


# A file that breaks under it.


def spoil(path: Path, page: int) -> None:
    """Overwrite a page of a file that is open, in all that the kernel has of it."""
    with path.open("r+b") as file:
        file.seek(page * 4096)
        file.write(b"\xa5" * 4096)


async def broken(journal: Journal, directory: Path) -> None:
    """Spoil a page in the midst of the records, out of the reach of SQLite's cache."""
    await note(journal, 2_000, data=b"x" * 3_000)
    connection = sqlite3.connect(directory / "state.db", isolation_level=None)
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.close()
    spoil(directory / "state.db", 1_000)


async def test_a_file_that_breaks_is_mended_under_way(tmp_path: Path) -> None:
    async with opened(tmp_path) as journal:
        await broken(journal, tmp_path)
        kept = await numbers_in(journal)
        assert 1_990 < len(kept) < 2_000
        damaged = await noticed(journal, "journal_damaged")
        assert damaged.facts == {
            "path": str(tmp_path / f"state.db.damaged-{NOON:.0f}"),
            "kept_records": len(kept),
            "kept_state": 1,
            "lost_records": 2_000 - len(kept),
            "lost_state": 0,
            "removed": [],
        }
        assert journal.rebuild is Rebuild.RECORDS
        await note(journal)
        assert len(await numbers_in(journal)) == len(kept) + 1
        assert {one.epoch for one in await journal.read(0, 9)} == {journal.epoch}
        assert journal.facts().unconfirmed == len(kept) + 1
    async with opened(tmp_path) as again:
        assert again.knows(journal.epoch)
        assert again.node == journal.node


async def test_a_file_that_breaks_again_and_again_is_mended_now_and_then(tmp_path: Path) -> None:
    clock = HandClock()
    async with opened(tmp_path, clock) as journal:
        await broken(journal, tmp_path)
        await numbers_in(journal)
        await broken(journal, tmp_path)
        with pytest.raises(JournalError, match="it is damaged: "):
            await numbers_in(journal)
        clock.forward(60)
        assert len(await numbers_in(journal)) > 3_900
    assert (tmp_path / f"state.db.damaged-{NOON + 60:.0f}").exists()


async def test_a_file_that_cannot_be_mended_now_is_mended_later(tmp_path: Path) -> None:
    clock = HandClock()
    async with opened(tmp_path, clock) as journal:
        await broken(journal, tmp_path)
        with no_room(), pytest.raises(JournalError, match="cannot be"):
            await numbers_in(journal)
        clock.forward(60)
        assert len(await numbers_in(journal)) > 1_900
        await note(journal)


async def test_an_error_that_nobody_has_thought_of_fails_its_job_and_has_the_file_mended(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with opened(tmp_path) as journal:
        await note(journal, 3)
        with pytest.raises(JournalError, match=r"^state\.db: nobody has thought of it"):
            await journal.append((), [StateChange("alert", "b", Odd(b"2"))])
        assert await numbers_in(journal) == [1, 2, 3]
        assert (await noticed(journal, "journal_damaged")).facts["lost_records"] == 0
        assert "state.db is taken for broken: RuntimeError" in caplog.text
        await journal.append((), [StateChange("alert", "b", b"2")])


async def test_an_error_in_the_upkeep_that_nobody_has_thought_of_does_not_end_the_thread(
    tmp_path: Path,
) -> None:
    clock = StumblingClock()
    async with opened(tmp_path, clock) as journal:
        await note(journal, 3)
        # A read asks for no time: the upkeep behind it is the first that does.
        clock.stumbles.append(RuntimeError("nobody has thought of it"))
        assert await numbers_in(journal) == [1, 2, 3]
        await noticed(journal, "journal_damaged")
        assert not clock.stumbles
        assert await numbers_in(journal) == [1, 2, 3]


async def test_a_record_that_has_lost_its_time_is_left_out_and_ends_nothing(
    tmp_path: Path,
) -> None:
    async with opened(tmp_path) as journal:
        await note(journal, 3)
        with sqlite3.connect(tmp_path / "state.db", isolation_level=None) as other:
            other.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            # How SQLite keeps a row that begins so: no number of its own, a text of 8 bytes, and 4
            # bytes for the time, which are none any more by one flipped bit.
            content = (tmp_path / "state.db").read_bytes()
            assert content.count(b"\x00\x1d\x04") == 3
            (tmp_path / "state.db").write_bytes(content.replace(b"\x00\x1d\x04", b"\x00\x1d\x00"))
            other.execute("UPDATE meta SET value = value")  # so that what is cached is read anew
        other.close()
        await note(journal)
        damaged = await noticed(journal, "journal_damaged")
        assert damaged.facts["lost_records"] == 3
        assert await numbers_in(journal) == [4]


async def test_a_record_that_is_spoilt_is_told_once_though_nobody_asked_for_it(
    tmp_path: Path,
) -> None:
    async with opened(tmp_path) as journal:
        await note(journal, 3)
    connection = sqlite3.connect(tmp_path / "state.db", isolation_level=None)
    connection.execute("UPDATE record SET data = x'00' WHERE seq = 2")
    connection.close()
    async with opened(tmp_path) as journal:
        damaged = await noticed(journal, "journal_damaged")
        assert damaged.facts == {
            "path": None,
            "lost_records": 1,
            "lost_state": 0,
            "from_seq": 2,
            "to_seq": 2,
        }
        assert await numbers_in(journal) == [1, 3]
        assert (journal.facts().unconfirmed, journal.facts().lost_total) == (2, 1)
        assert journal.take_notices() == []
        await journal.append((), [StateChange("notice", damaged.key, None)])
    async with opened(tmp_path) as journal:
        await journal.state("nothing")
        assert journal.take_notices() == []


async def test_over_its_bound_the_file_is_kept_within_it_under_load(tmp_path: Path) -> None:
    async with opened(tmp_path, max_bytes=MB) as journal:
        for _ in range(30):
            await note(journal, 20, data=b"x" * 4_000)
        gap = await noticed(journal, "gap")
        assert (gap.facts["from_seq"], gap.facts["to_seq"] >= 1) == (1, True)
        (first, *_) = await numbers_in(journal)
        assert journal.resolve_cursor(f"{journal.epoch}.{first - 1}") == first - 1
        assert journal.facts().unconfirmed == 601 - first


# A disk that hangs.


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[FreezableDisk]:
    if os.geteuid() != 0:
        pytest.skip("mounting needs root")
    with FreezableDisk(tmp_path / "image", tmp_path / "disk") as disk:
        yield disk


async def test_a_read_behind_a_write_that_hangs_is_given_up_in_time(disk: FreezableDisk) -> None:
    async with opened(disk.path, patience_s=0.05) as journal:
        await note(journal)
        (number,) = await journal.numbers(1)
        with disk.frozen():
            hanging = journal.submit([record(number)], ())
            with pytest.raises(JournalError, match=r"has not answered for 0\.05 s"):
                await numbers_in(journal)
            assert not hanging.done()
        await hanging
        assert len(await numbers_in(journal)) == 2


async def test_whatever_is_asked_of_a_disk_that_hangs_is_given_up_in_time(
    disk: FreezableDisk,
) -> None:
    async with opened(disk.path, patience_s=0.05) as journal:
        await note(journal, 3)
        with disk.frozen():
            for asked in (
                journal.numbers(20_000),
                journal.advance(1_000_000),
                journal.confirm("drain", 3),
                journal.rewind("drain", 1),
            ):
                with pytest.raises(JournalError, match=r"has not answered for 0\.05 s"):
                    await asked
        assert await numbers_in(journal) == [1, 2, 3]
        assert journal.facts().unconfirmed == 2


async def test_what_was_given_up_behind_a_write_that_hangs_is_bounded(
    disk: FreezableDisk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(thread, "MAX_WAITING", 2)
    async with opened(disk.path, patience_s=0.05) as journal:
        await note(journal)
        first, second = await journal.numbers(2)
        refusals = []
        with disk.frozen():
            hanging = [journal.submit([record(first)], ())]
            for _ in range(6):  # some are taken together with the write
                with pytest.raises(JournalError) as refused:
                    await numbers_in(journal)
                refusals.append(str(refused.value))
            hanging.append(journal.submit([record(second)], ()))
        await asyncio.gather(*hanging)
        assert refusals[0] == "state.db has not answered for 0.05 s"
        assert refusals[-1] == "state.db does not answer: 2 calls wait for it already"
        assert len(await numbers_in(journal)) == 3


async def test_closing_waits_for_a_disk_that_hangs_no_longer_than_for_any_other(
    disk: FreezableDisk, caplog: pytest.LogCaptureFixture
) -> None:
    async with opened(disk.path, patience_s=0.05) as journal:
        await note(journal)
        (number,) = await journal.numbers(1)
        with disk.frozen():
            hanging = journal.submit([record(number)], ())
            await journal.close()
            assert "the disk hangs" in caplog.text
        await hanging
