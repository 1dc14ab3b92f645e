"""The drain between a real journal and a real server: everything once, in order, whatever
happens to either."""

import logging
import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path

import pytest

from fix_drain import Make, desks
from fix_postgres import Postgres
from fix_records import record
from storewatchd.drain import BATCH
from storewatchd.settings import DatabaseKind
from storewatchd.store.ledger import write

REFUSED = b'{"text":"\\u0000"}'


@pytest.fixture
async def make(postgres: Postgres, tmp_path: Path) -> AsyncIterator[Make]:
    """Make a desk, and close it at the end."""
    async with desks(postgres, tmp_path) as make:
        yield make


class Files:
    """The files of the journal, while it is closed or idle."""

    def __init__(self, directory: Path) -> None:
        self._paths = [directory / name for name in ("state.db", "state.db-wal")]

    def lose(self) -> None:
        for path in self._paths:
            path.unlink(missing_ok=True)

    def copy(self) -> list[bytes]:
        return [path.read_bytes() for path in self._paths]

    def put_back(self, copy: list[bytes]) -> None:
        for path, content in zip(self._paths, copy, strict=True):
            path.write_bytes(content)


@pytest.fixture
def files(tmp_path: Path) -> Files:
    return Files(tmp_path)


# In order, each once.


async def test_what_waits_and_what_comes_is_written_in_order(make: Make) -> None:
    desk = await make()
    waiting = await desk.note(3)
    async with desk.draining():
        await desk.until_confirmed(3)
        coming = await desk.note(2) + await desk.note(2)
        await desk.until_confirmed(7)
    assert desk.stored() == [*waiting, *coming]
    assert desk.confirmed == sorted(desk.confirmed)
    assert desk.journal.confirmed("drain") == 7
    assert await desk.journal.unconfirmed() == (0, None)


async def test_more_than_a_batch_is_written_batch_by_batch(make: Make) -> None:
    desk = await make()
    numbers = await desk.note(2 * BATCH + 1)
    async with desk.draining():
        await desk.until_confirmed(numbers[-1])
    assert desk.confirmed == [0, BATCH, 2 * BATCH, 2 * BATCH + 1]
    assert desk.stored() == numbers


async def test_a_drain_that_starts_again_goes_on_behind_what_is_there(make: Make) -> None:
    desk = await make()
    await desk.note(2)
    async with desk.draining():
        await desk.until_confirmed(2)
    await desk.note(2)
    desk.confirmed.clear()
    async with desk.draining():
        await desk.until_confirmed(4)
    assert desk.confirmed == [2, 4]
    assert desk.stored() == [1, 2, 3, 4]


async def test_where_the_confirmation_was_lost_nothing_is_written_twice(
    make: Make, postgres: Postgres
) -> None:
    desk = await make()
    await desk.note(3)
    async with await postgres.connect() as connection:
        await write(connection, (await desk.journal.read(0, 10))[:2])
    async with desk.draining():
        await desk.until_confirmed(3)
    assert desk.confirmed == [2, 3]
    assert desk.stored() == [1, 2, 3]


async def test_a_damaged_record_holds_up_no_other(make: Make, tmp_path: Path) -> None:
    desk = await make()
    await desk.note(3)
    with closing(sqlite3.connect(tmp_path / "state.db", isolation_level=None)) as behind:
        behind.execute("UPDATE record SET data = x'00' WHERE seq = 2")
    async with desk.draining():
        await desk.until_confirmed(3)
    assert desk.stored() == [1, 3]


# What PostgreSQL refuses.


@pytest.mark.parametrize(
    "places",
    [
        pytest.param({4}, id="one"),
        pytest.param({1, 7}, id="the first and the last"),
        pytest.param({3, 4, 5}, id="neighbours"),
        pytest.param(set(range(1, 8)), id="all"),
    ],
)
async def test_a_refused_record_is_set_aside_and_holds_up_no_other(
    make: Make, caplog: pytest.LogCaptureFixture, places: set[int]
) -> None:
    desk = await make()
    numbers = await desk.journal.numbers(7)
    await desk.journal.append(
        [record(seq, **({"data": REFUSED} if seq in places else {})) for seq in numbers], ()
    )
    async with desk.draining():
        await desk.until_confirmed(7)
    assert desk.stored() == [seq for seq in numbers if seq not in places]
    assert desk.store.refused == len(places)
    assert desk.store.problem is None
    told = [line for line in caplog.messages if line.startswith("PostgreSQL refuses record")]
    assert [line.split("(")[0].strip() for line in told] == [
        f"PostgreSQL refuses record {desk.journal.epoch}.{seq}" for seq in sorted(places)
    ]
    assert [one.seq for one in await desk.journal.read(0, 10)] == list(numbers)


async def test_a_record_that_was_refused_last_is_not_tried_again(
    make: Make, caplog: pytest.LogCaptureFixture
) -> None:
    desk = await make()
    await desk.note(1)
    await desk.note(1, data=REFUSED)
    for _ in range(2):
        async with desk.draining():
            await desk.until_confirmed(2)
        desk.confirmed.clear()
    assert desk.store.refused == 1
    assert "is sent again" not in caplog.text


async def test_a_number_with_other_bytes_is_set_aside(make: Make, postgres: Postgres) -> None:
    desk = await make()
    await desk.note(3)
    async with await postgres.connect() as connection:
        await connection.execute(
            "INSERT INTO event VALUES (%s, %s, 2, now(), 'system', 'noted', '{}', 'other')",
            (desk.journal.node, desk.journal.epoch),
        )
    async with desk.draining():
        await desk.until_confirmed(3)
    assert desk.store.refused == 1
    assert desk.stored() == [1, 2, 3]


async def test_a_record_that_is_not_what_its_type_says_is_set_aside(make: Make) -> None:
    desk = await make()
    await desk.note(type="alert", data=b"{}")
    await desk.note()
    async with desk.draining():
        await desk.until_confirmed(2)
    assert desk.store.refused == 1
    assert desk.stored() == [2]


# Over restarts, and what either of them has lost.


async def test_what_an_earlier_start_left_goes_first(make: Make) -> None:
    first = await make()
    numbers = await first.note(3)
    async with first.draining():
        await first.until_confirmed(3)
    numbers += await first.note(2)
    second = await make()
    assert second.journal.epoch != first.journal.epoch
    numbers += await second.note(2)
    async with second.draining():
        await second.until_confirmed(numbers[-1])
    assert second.confirmed == [3, numbers[-1]]
    assert second.stored() == numbers
    assert second.told == []


@pytest.mark.parametrize("upto", [3, 0], ids=["older", "empty"])
async def test_an_older_backup_gets_again_what_the_journal_still_has(
    make: Make, caplog: pytest.LogCaptureFixture, upto: int
) -> None:
    desk = await make()
    numbers = await desk.note(6)
    async with desk.draining():
        await desk.until_confirmed(6)
    desk.restore_older(upto)
    numbers += await desk.note(1)
    async with desk.draining():
        await desk.until_confirmed(7)
    assert desk.confirmed[-2:] == [upto, 7]
    assert desk.stored() == numbers
    assert desk.journal.confirmed("drain") == 7
    assert await desk.journal.unconfirmed() == (0, None)
    assert desk.told == []
    (line,) = [line for line in caplog.messages if "is sent again" in line]
    assert f"up to 6 and has them up to {upto}" in line


async def test_while_it_is_sent_again_history_is_known_to_be_incomplete(make: Make) -> None:
    desk = await make()
    await desk.note(6)
    async with desk.draining():
        await desk.until_confirmed(6)
    assert desk.store.lacks is None
    desk.restore_older(3)
    seen: list[str | None] = []
    async with desk.draining(check_s=0.01, heard=lambda _: seen.append(desk.store.lacks)):
        await desk.until(lambda: len(seen) == 2)
        await desk.until(lambda: desk.store.lacks is None)
    assert seen == ["what PostgreSQL lacks is still on its way there"] * 2


async def test_a_backup_that_is_put_back_under_a_running_drain_is_noticed(make: Make) -> None:
    desk = await make()
    async with desk.draining():
        numbers = await desk.note(6)
        await desk.until_confirmed(6)
        desk.restore_older(3)
        numbers += await desk.note(1)
        await desk.until(lambda: desk.stored() == numbers)
    assert desk.confirmed[-2:] == [3, 7]


async def test_what_an_older_backup_lacks_and_nobody_keeps_is_told(
    make: Make, caplog: pytest.LogCaptureFixture
) -> None:
    desk = await make(keep=5)
    numbers = await desk.note(20)
    async with desk.draining():
        await desk.until_confirmed(20)
    assert desk.journal.oldest_kept == 16
    desk.restore_older(10)
    async with desk.draining():
        await desk.until(lambda: desk.stored()[-1:] == [20])
    assert desk.stored() == numbers[:10] + numbers[15:]
    reason = "PostgreSQL has lost these records, and the journal no longer keeps them"
    assert desk.told == [("gap", {"from_seq": 11, "to_seq": 15, "reason": reason})]
    assert f"{reason}: 11 to 15" in caplog.messages


async def test_a_lost_journal_goes_on_above_what_postgresql_has(
    make: Make, files: Files, caplog: pytest.LogCaptureFixture
) -> None:
    first = await make()
    old = await first.note(6)
    async with first.draining():
        await first.until_confirmed(6)
    await first.journal.close()
    files.lose()
    second = await make()
    new = await second.note(2)
    assert new == [1, 2]
    async with second.draining():
        await second.until_confirmed(2)
        later = await second.note(2)
        await second.until_confirmed(later[-1])
    assert min(later) > 6
    epochs = first.journal.epoch, second.journal.epoch
    assert sorted(second.stored_of_epochs()) == sorted(
        [*((epochs[0], seq) for seq in old), *((epochs[1], seq) for seq in new + later)]
    )
    ((kind, facts),) = second.told
    assert (kind, facts["from_seq"], facts["to_seq"]) == ("gap", 7, None)
    assert f"PostgreSQL has records up to {epochs[0]}.6" in facts["reason"]
    assert facts["reason"] in caplog.messages


async def test_a_journal_that_was_put_back_goes_on_above_what_postgresql_has(
    make: Make, files: Files
) -> None:
    first = await make()
    await first.note(2)
    copy = files.copy()
    numbers = list(await first.journal.numbers(30_000))[-1:]
    await first.journal.append([record(numbers[0])], ())
    async with first.draining():
        await first.until_confirmed(numbers[0])
    await first.journal.close()
    files.put_back(copy)
    second = await make()
    assert second.journal.last_seq < numbers[0]
    assert second.journal.knows(first.journal.epoch)
    await second.note(1)
    async with second.draining():
        await second.until(lambda: bool(second.told))
        await second.until(lambda: len(second.stored()) == 4)
        (later,) = await second.note(1)
    assert later > numbers[0]
    assert second.told[0][1]["from_seq"] == numbers[0] + 1


async def test_that_a_journal_was_lost_is_told_once(make: Make, files: Files) -> None:
    first = await make()
    await first.note(3)
    async with first.draining():
        await first.until_confirmed(3)
    await first.journal.close()
    files.lose()
    second = await make()
    await second.note(1)
    second.recall_fails = True
    async with second.draining():
        await second.until(lambda: len(second.recalled) == 2)
        second.recall_fails = False
        await second.until_confirmed(1)
    assert len(second.told) == 1


# What a lost journal takes back.


async def test_what_was_lost_is_taken_back_before_anything_is_added(
    make: Make, files: Files
) -> None:
    first = await make()
    async with first.draining():
        await first.note(3)
        await first.until_confirmed(3)
    assert first.recalled == [[]]
    await first.journal.close()
    files.lose()
    second = await make()
    await second.note(1)
    async with second.draining():
        await second.until_confirmed(1)
    assert second.recalled == [[1, 2, 3]]


async def test_what_was_taken_back_is_not_asked_for_again(make: Make) -> None:
    desk = await make()
    for _ in range(2):
        async with desk.draining():
            await desk.until_confirmed(0)
        desk.confirmed.clear()
    assert len(desk.recalled) == 1


async def test_nothing_is_added_before_what_was_lost_is_taken_back(make: Make) -> None:
    desk = await make()
    await desk.note(1)
    desk.recall_fails = True
    async with desk.draining():
        await desk.until(lambda: len(desk.recalled) == 3)
        assert desk.stored() == []
        assert desk.store.lacks is not None
        desk.recall_fails = False
        await desk.until_confirmed(1)
        await desk.until(lambda: desk.store.lacks is None)
    assert desk.stored() == [1]


# When the journal is away, or needs the room.


async def test_a_journal_that_hangs_is_waited_for(make: Make) -> None:
    desk = await make(patience_s=0.05)
    async with desk.draining():
        await desk.until_confirmed(0)
        numbers = await desk.journal.numbers(1)
        adding = desk.journal.submit([record(numbers[0])], ())
        let_go = await desk.journal.hang()
        await adding
        await desk.until(lambda: desk.store.connects == 2)
        let_go.set()
        await desk.until_confirmed(numbers[0])
    assert desk.stored() == list(numbers)


async def test_what_room_there_is_is_left_to_the_journal(
    make: Make, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "storewatchd.store.store")
    desk = await make()
    desk.store.is_on_the_disk = desk.journal.is_short = True
    await desk.note(2)
    async with desk.draining():
        await desk.until(lambda: desk.store.connects == 4)
        assert desk.stored() == []
        assert "is left to the journal" in (desk.store.problem or "")
        desk.journal.is_short = False
        await desk.until_confirmed(2)
    assert desk.store.problem is None
    told = [one.message for one in caplog.records if one.name == "storewatchd.store.store"]
    assert [line.split(":")[0] for line in told[1:]] == [
        "history waits in the journal",
        f"PostgreSQL {desk.store.server_version} is there",
    ]


async def test_a_server_on_another_disk_is_written_to_whatever_the_room(make: Make) -> None:
    desk = await make()
    desk.journal.is_short = True
    await desk.note(2)
    async with desk.draining():
        await desk.until_confirmed(2)
    assert desk.stored() == [1, 2]


# When PostgreSQL is away.


async def test_a_database_that_is_away_is_tried_again_with_growing_pauses_until_it_is_there(
    make: Make, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "storewatchd.drain")
    desk = await make()
    await desk.note(2)
    desk.store.away = "gone fishing"
    async with desk.draining():
        await desk.until(lambda: desk.store.connects == 3)
        assert desk.confirmed == []
        desk.store.away = None
        await desk.until_confirmed(2)
    assert desk.stored() == [1, 2]
    waits = [line for line in caplog.messages if line.startswith("the drain waits")]
    assert waits[:2] == [f"the drain waits {pause} s: gone fishing" for pause in ("0.5", "1.0")]


async def test_a_connection_that_breaks_loses_and_repeats_nothing(
    make: Make, postgres: Postgres
) -> None:
    desk = await make()
    await desk.note(2)
    async with desk.draining():
        await desk.until_confirmed(2)
        await postgres.end_connections()
        await desk.note(2)
        await desk.until_confirmed(4)
    assert desk.stored() == [1, 2, 3, 4]
    assert desk.store.refused == 0


@pytest.mark.parametrize(
    "condition",
    [
        pytest.param("disk_full", id="no room"),
        pytest.param("read_only_sql_transaction", id="no writes"),
        pytest.param("insufficient_privilege", id="no right to it"),
        pytest.param("undefined_table", id="no table"),
        pytest.param("data_corrupted", id="a broken table"),
    ],
)
async def test_a_server_that_cannot_write_now_costs_no_record(
    make: Make, postgres: Postgres, condition: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    dsn = postgres.fresh()
    desk = await make(dsn=dsn)
    await desk.store.connect()
    await desk.note(2)
    async with await postgres.connect(dsn) as operator:
        await operator.execute(
            "CREATE FUNCTION fail() RETURNS trigger LANGUAGE plpgsql AS"
            f" $$BEGIN RAISE EXCEPTION USING ERRCODE = '{condition}'; END$$;"
            "CREATE TRIGGER fail BEFORE INSERT ON event EXECUTE FUNCTION fail()".encode()
        )
        async with desk.draining():
            await desk.until(lambda: desk.store.connects == 3)
            await operator.execute("DROP TRIGGER fail ON event")
            await desk.until_confirmed(2)
    assert desk.store.refused == 0
    assert postgres.rows("SELECT seq FROM event ORDER BY seq", dsn) == [(1,), (2,)]
    told = [line for line in caplog.messages if "history waits" in line or "is there" in line]
    assert len(told) == 3, "it was there, is away, and is there again"


async def test_an_idle_drain_looks_whether_the_server_still_answers(make: Make) -> None:
    desk = await make()
    async with desk.draining(check_s=0.01):
        await desk.until(lambda: desk.store.connects >= 4)
    assert desk.confirmed == [0]


# Without PostgreSQL.


async def test_without_a_database_the_journal_keeps_its_newest_records(make: Make) -> None:
    desk = await make(DatabaseKind.NONE, keep=5)
    async with desk.draining():
        await desk.note(BATCH)
        last = (await desk.note(10))[-1]
        await desk.until_confirmed(last - 5)
        found = [one.seq for one in await desk.journal.read(0, 2 * BATCH)]
    assert found == list(range(last - 4, last + 1))
    assert desk.store.problem == "no database is configured"


async def test_without_a_database_little_is_dropped_at_once(make: Make) -> None:
    desk = await make(DatabaseKind.NONE, keep=5)
    async with desk.draining():
        await desk.note(100)
        assert len(await desk.journal.read(0, 1000)) == 100
    assert desk.confirmed == []
