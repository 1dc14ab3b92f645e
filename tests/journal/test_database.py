"""The file under the journal: one transaction a write, and no damaged row ever given out."""

import logging
import os
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fakes import NOON
from fix_records import no_room, stored
from storewatchd.errors import JournalDamaged, JournalError
from storewatchd.journal.database import Database
from storewatchd.journal.records import Counted, Notice, StoredRecord

FEW = [stored(seq) for seq in (1, 2, 3)]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state.db"


def make(path: Path, *records: StoredRecord) -> Database:
    """Return an open file that holds records."""
    database = Database.open(path)
    database.node = "node"
    database.write(records, ())
    return database


def change(path: Path, statement: str, *values: object) -> None:
    """Change a file behind its owner's back."""
    with sqlite3.connect(path) as connection:
        connection.execute(statement, values)
    connection.close()


def everything(database: Database) -> list[StoredRecord]:
    return database.read(0, 10_000, None, False)


# Opening.


def test_what_was_written_is_there_when_it_is_opened_again(path: Path) -> None:
    first = make(path, *FEW)
    first.write((), [("alert", "a", b"1")], [("fact", "so")])
    first.set_cursor("drain", 2)
    first.start_epoch("e1", 1, NOON)
    first.close()

    again = Database.open(path)
    again.node = "node"

    assert everything(again) == FEW
    assert again.state("alert") == {"a": b"1"}
    assert again.meta("fact") == "so"
    assert again.cursors() == {"drain": 2}
    assert again.epochs() == {"e1": 1}
    assert again.last_seq() == 3
    again.close()


def test_a_new_file_holds_nothing(path: Path) -> None:
    database = Database.open(path)
    assert everything(database) == []
    assert (database.last_seq(), database.pruned(), database.meta("fact")) == (0, 0, None)
    assert (database.state("alert"), database.cursors(), database.epochs()) == ({}, {}, {})
    assert (database.count_after(0), database.first_after(0)) == (0, None)
    database.close()


def test_a_newer_schema_is_refused_and_stays_as_it_is(path: Path) -> None:
    database = make(path, *FEW)
    database.set_meta("schema", "99")
    database.close()
    before = path.read_bytes()
    with pytest.raises(JournalError, match=r"newer version \(99, this one knows 1\)") as caught:
        Database.open(path)
    assert not isinstance(caught.value, JournalDamaged)
    assert path.read_bytes() == before


def truncate(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def overwrite(path: Path) -> None:
    path.write_bytes(b"no SQLite file at all" * 1000)


def spoil_a_page(path: Path) -> None:
    with path.open("r+b") as file:
        file.seek(3 * 4096)
        file.write(b"\xa5" * 4096)


def replace_by_another(path: Path) -> None:
    path.unlink()
    change(path, "CREATE TABLE record (something TEXT)")


@pytest.mark.parametrize(
    "harm",
    [
        pytest.param(truncate, id="truncated"),
        pytest.param(overwrite, id="overwritten"),
        pytest.param(spoil_a_page, id="a page spoilt"),
        pytest.param(replace_by_another, id="another program's"),
    ],
)
def test_a_file_that_is_no_whole_journal_is_told_as_damaged(
    path: Path, harm: Callable[[Path], None]
) -> None:
    make(path, *FEW).close()
    harm(path)
    with pytest.raises(JournalDamaged, match=r"state\.db is damaged or no journal: "):
        Database.open(path)


def test_a_path_that_no_file_can_have_is_not_told_as_damage(path: Path) -> None:
    path.mkdir()
    with pytest.raises(JournalError, match="cannot be opened") as caught:
        Database.open(path)
    assert not isinstance(caught.value, JournalDamaged)


def test_a_full_disk_is_not_told_as_damage(path: Path) -> None:
    make(path, *FEW).close()
    with no_room(), pytest.raises(JournalError, match="cannot be used") as caught:
        Database.open(path)
    assert not isinstance(caught.value, JournalDamaged)


# Writing.


def test_a_write_is_whole_or_not_at_all(path: Path) -> None:
    database = make(path, *FEW)
    database.write((), [("alert", "a", b"old"), ("alert", "b", b"old")])
    with pytest.raises(sqlite3.IntegrityError):
        database.write([stored(4), stored(2)], [("alert", "a", b"new")], [("fact", "so")])
    assert everything(database) == FEW
    assert database.state("alert") == {"a": b"old", "b": b"old"}
    assert database.meta("fact") is None
    database.close()


def test_a_state_change_that_is_refused_takes_its_records_with_it(path: Path) -> None:
    database = make(path, *FEW)
    not_bytes: Any = [1]
    with pytest.raises(TypeError):
        database.write([stored(4)], [("alert", "a", not_bytes)])
    database.write([stored(5)], ())
    assert [one.seq for one in everything(database)] == [1, 2, 3, 5]
    database.close()


def test_state_is_put_replaced_and_forgotten(path: Path) -> None:
    database = make(path)
    database.write((), [("alert", "a", b"1"), ("alert", "b", b"1"), ("task", "a", b"1")])
    database.write((), [("alert", "a", b"2"), ("alert", "b", None), ("alert", "never", None)])
    assert database.state("alert") == {"a": b"2"}
    assert database.state("task") == {"a": b"1"}
    database.close()


@pytest.mark.parametrize(
    ("beyond", "size"),
    [
        pytest.param(0, 1, id="a small one at its end"),
        pytest.param(30_000, 100_000, id="one half way"),
        pytest.param(0, 8_000_000, id="one that does not fit into memory"),
    ],
)
def test_a_full_disk_refuses_a_write_and_harms_no_other(path: Path, beyond: int, size: int) -> None:
    database = make(path, *FEW)
    room = Path(f"{path}-wal").stat().st_size + beyond
    with no_room(room), pytest.raises(sqlite3.OperationalError, match="disk"):
        database.write([stored(4, data=b"x" * size), stored(5)], [("alert", "a", b"1")])
    database.write([stored(5)], ())
    assert [one.seq for one in everything(database)] == [1, 2, 3, 5]
    assert database.state("alert") == {}
    database.close()


# Cursors and pruning.


def test_a_cursor_never_goes_back(path: Path) -> None:
    database = make(path)
    database.set_cursor("drain", 7)
    database.set_cursor("drain", 3)
    database.set_cursor("mail", 1)
    assert database.cursors() == {"drain": 7, "mail": 1}
    database.close()


@pytest.mark.parametrize(
    ("keep", "before", "left", "pruned"),
    [
        pytest.param(100, 10, range(1, 11), 0, id="few are kept anyway"),
        pytest.param(4, 10, range(7, 11), 6, id="the newest are kept"),
        pytest.param(4, 3, range(4, 11), 3, id="what a follower lacks is kept"),
        pytest.param(0, 10, range(0), 10, id="none has to be kept"),
        pytest.param(0, 0, range(1, 11), 0, id="a follower has nothing yet"),
    ],
)
def test_pruning_keeps_the_newest_and_what_a_follower_lacks(
    path: Path, keep: int, before: int, left: range, pruned: int
) -> None:
    database = make(path, *(stored(seq) for seq in range(1, 11)))
    assert database.prune(keep, before=before) == pruned
    assert [one.seq for one in everything(database)] == list(left)
    assert database.pruned() == pruned
    database.close()


def test_pruning_counts_records_not_numbers(path: Path) -> None:
    database = make(path, *(stored(seq) for seq in (1, 500, 1000, 1500)))
    assert database.prune(2, before=1500) == 500
    assert [one.seq for one in everything(database)] == [1000, 1500]
    database.close()


def test_dropping_what_is_not_there_changes_nothing(path: Path) -> None:
    database = make(path, *FEW)
    database.drop(2)
    database.drop(1)
    assert (database.pruned(), database.records) == (2, 1)
    database.close()


def test_what_records_take_is_known_through_all_that_becomes_of_them(path: Path) -> None:
    def counted_anew() -> int:
        with closing(Database.open(path)) as other:
            return other.record_bytes()

    database = make(path, *FEW)
    assert database.record_bytes() == counted_anew() > 0
    few = database.record_bytes()
    database.write([stored(4, data=b"x" * 5_000)], ())
    assert database.record_bytes() == counted_anew() > few + 5_000
    with pytest.raises(sqlite3.IntegrityError):
        database.write([stored(5), stored(2)], ())
    assert database.record_bytes() == counted_anew()
    database.drop(1)
    assert database.record_bytes() == counted_anew() > 5_000
    database.take_out([4], (), Notice("journal_damaged", {}, "n"))
    assert database.record_bytes() == counted_anew() < few
    database.close()


def test_rows_that_are_taken_out_are_told_of_in_the_same_transaction(path: Path) -> None:
    database = make(path, *FEW)
    notice = Notice("journal_damaged", {"lost_records": 1}, "n1")
    with no_room(), pytest.raises(sqlite3.OperationalError):
        database.take_out([2], (), notice)
    assert (database.notices(), database.records) == ([], 3)
    database.take_out([2], (), notice)
    assert (database.notices(), database.records) == ([notice], 2)
    assert [one.seq for one in everything(database)] == [1, 3]
    database.close()


def test_the_file_knows_by_its_own_account_which_rows_it_has(path: Path) -> None:
    database = make(path, *FEW)
    database.write([stored(9)], [("alert", "a", b"1"), ("alert", "b", b"1")])
    database.write((), [("alert", "a", b"2"), ("alert", "b", None), ("alert", "c", None)])
    database.drop(2)
    assert database.counted() == Counted(2, 1, 9, 1)
    assert (database.records, database.states) == (2, 1)
    database.close()


def test_the_last_dropped_number_is_remembered_when_nothing_is_dropped(path: Path) -> None:
    database = make(path, *FEW)
    database.prune(1, before=3)
    assert database.prune(1, before=3) == 2
    database.close()


def test_a_full_disk_refuses_to_prune_and_harms_no_write(path: Path) -> None:
    database = make(path, *(stored(seq, data=b"x" * 9_000) for seq in range(1, 11)))
    size = Path(f"{path}-wal").stat().st_size
    with no_room(size), pytest.raises(sqlite3.OperationalError):
        database.prune(0, before=10)
    database.write([stored(11)], ())
    assert [one.seq for one in everything(database)] == list(range(1, 12))
    assert database.pruned() == 0
    database.close()


def test_damage_that_is_met_while_pruning_harms_no_write(path: Path) -> None:
    make(path, *(stored(seq, data=b"x" * 3_000) for seq in range(1, 2_001))).close()
    database = Database.open(path)
    database.node = "node"
    with path.open("r+b") as file:  # since it was opened, where its cache does not reach
        file.seek(path.stat().st_size // 8 * 5)
        file.write(b"\xa5" * 10_000)
    with pytest.raises(sqlite3.DatabaseError):
        database.prune(0, before=2_000)
    database.write([stored(2_001)], ())
    assert [one.seq for one in database.tail(1, None, False)] == [2_001]
    assert database.records == 2_001
    database.close()


# Reading.


def test_records_are_read_in_order_after_a_number(path: Path) -> None:
    database = make(path, *reversed(FEW))
    assert [one.seq for one in database.read(1, 10, None, False)] == [2, 3]
    assert [one.seq for one in database.read(0, 2, None, False)] == [1, 2]
    assert database.read(3, 10, None, False) == []
    database.close()


def test_a_record_comes_back_as_it_was_written(path: Path) -> None:
    odd = stored(
        5,
        epoch="e2",
        time=NOON + 0.123,
        type="alert",
        kind="firing",
        key="é\0",
        event=False,
        data=b'{"a":"\xc3\xa9"}',
        reason=b"",
    )
    database = make(path, odd)
    assert everything(database) == [odd]
    database.close()


@pytest.mark.parametrize(
    ("types", "events_only", "wanted"),
    [
        pytest.param(None, False, [1, 2, 3, 4], id="all"),
        pytest.param(None, True, [1, 2, 4], id="events"),
        pytest.param(("alert",), False, [1, 3], id="one type"),
        pytest.param(("alert",), True, [1], id="events of one type"),
        pytest.param(("task", "system"), False, [2, 4], id="two types"),
        pytest.param((), False, [], id="no type"),
    ],
)
def test_reading_takes_what_is_wanted(
    path: Path, types: tuple[str, ...] | None, events_only: bool, wanted: list[int]
) -> None:
    database = make(
        path,
        stored(1, type="alert"),
        stored(2, type="task"),
        stored(3, type="alert", event=False),
        stored(4, type="system"),
    )
    assert [one.seq for one in database.read(0, 9, types, events_only)] == wanted
    assert [one.seq for one in database.tail(9, types, events_only)] == wanted
    assert [one.seq for one in database.tail(1, types, events_only)] == wanted[-1:]
    database.close()


def test_history_is_what_is_about_one_key(path: Path) -> None:
    database = make(path, stored(1, key="a"), stored(2, key="b"), stored(3, key="a"), stored(4))
    assert [one.seq for one in database.history("a")] == [1, 3]
    assert database.history("c") == []
    assert database.history("") == []
    database.close()


def test_what_comes_after_a_number_is_counted(path: Path) -> None:
    database = make(path, *FEW)
    assert (database.count_after(1), database.first_after(1)) == (2, (2, NOON + 2))
    assert (database.count_after(3), database.first_after(3)) == (0, None)
    assert database.count_after(0, 2) == 2
    database.close()


# Damage.

OTHERS = [
    pytest.param("'\u00e9'", id="another text"),
    pytest.param("CAST(x'ff' AS TEXT)", id="no UTF-8"),
    pytest.param("x'00'", id="other bytes"),
    pytest.param("7", id="a number"),
]


@pytest.mark.parametrize("other", OTHERS)
@pytest.mark.parametrize(
    "column", ["epoch", "time", "type", "kind", "key", "data", "reason", "checksum"]
)
def test_a_damaged_record_is_left_out_and_logged(
    path: Path, caplog: pytest.LogCaptureFixture, column: str, other: str
) -> None:
    make(path, *(stored(seq, key="k") for seq in (1, 2, 3))).close()
    change(path, f"UPDATE record SET {column} = {other} WHERE seq = 2")
    database = Database.open(path)
    database.node = "node"
    assert [one.seq for one in everything(database)] == [1, 3]
    assert [one.seq for one in database.tail(9, None, False)] == [1, 3]
    assert [one.seq for one in database.history("k")] == [1, 3]
    assert "record 2 is damaged and left out" in caplog.text
    database.close()


def test_an_event_that_damage_made_of_none_is_left_out(path: Path) -> None:
    make(path, stored(1, event=False), stored(2)).close()
    change(path, "UPDATE record SET event = 1 - event")
    database = Database.open(path)
    assert everything(database) == []
    database.close()


def test_a_value_whose_type_alone_is_damaged_is_still_what_it_was(path: Path) -> None:
    database = make(path, *FEW)
    database.write((), [("alert", "a", b"1")])
    database.close()
    for column in ("data", "reason"):
        change(path, f"UPDATE record SET {column} = CAST({column} AS TEXT)")
    for column in ("epoch", "type", "kind", "key"):
        change(path, f"UPDATE record SET {column} = CAST({column} AS BLOB)")
    change(path, "UPDATE state SET value = CAST(value AS TEXT)")
    database = Database.open(path)
    database.node = "node"
    assert everything(database) == FEW
    assert database.state("alert") == {"a": b"1"}
    database.close()


@pytest.mark.parametrize("other", OTHERS)
@pytest.mark.parametrize("column", ["key", "value", "checksum"])
def test_a_damaged_piece_of_state_is_left_out_and_logged(
    path: Path, caplog: pytest.LogCaptureFixture, column: str, other: str
) -> None:
    database = make(path)
    database.write((), [("alert", "a", b"1"), ("alert", "b", b"2")])
    database.close()
    change(path, f"UPDATE state SET {column} = {other} WHERE key = 'a'")
    database = Database.open(path)
    assert database.state("alert") == {"b": b"2"}
    assert "is damaged and left out" in caplog.text
    database.close()


def test_one_piece_of_state_is_had_unless_it_is_damaged(path: Path) -> None:
    database = make(path)
    database.write((), [("alert", "a", b"1"), ("alert", "b", b"2")])
    change(path, "UPDATE state SET value = x'00' WHERE key = 'b'")
    assert database.state_of("alert", "a") == b"1"
    assert database.state_of("alert", "b") is None
    assert database.state_of("task", "a") is None
    database.close()


def test_reading_goes_on_past_a_page_of_nothing_but_damage(path: Path) -> None:
    make(path, *(stored(seq) for seq in range(1, 9))).close()
    change(path, "UPDATE record SET data = x'00' WHERE seq BETWEEN 2 AND 6")
    database = Database.open(path)
    database.node = "node"
    assert [one.seq for one in database.read(1, 2, None, False)] == [7]
    database.close()


def test_reading_ends_where_the_rest_is_damage(path: Path) -> None:
    make(path, *FEW).close()
    change(path, "UPDATE record SET data = x'00' WHERE seq > 1")
    database = Database.open(path)
    assert database.read(1, 1, None, False) == []
    database.close()


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A closed file with records and state, all of it in one piece."""
    path = tmp_path_factory.mktemp("whole") / "state.db"
    database = make(path, *(stored(seq, key=f"k{seq}") for seq in range(1, 20)))
    database.write((), [("alert", f"a{n}", b"%d" % n) for n in range(20)])
    database.close()
    return path


@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(place=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7))
def test_no_flipped_bit_makes_another_row_of_one(
    whole: Path, tmp_path: Path, place: float, bit: int
) -> None:
    path = tmp_path / "state.db"
    for leftover in (path, Path(f"{path}-wal"), Path(f"{path}-shm")):
        leftover.unlink(missing_ok=True)
    shutil.copy(whole, path)
    content = bytearray(path.read_bytes())
    content[int(place * len(content))] ^= 1 << bit
    path.write_bytes(content)
    try:
        database = Database.open(path)
    except JournalError:
        return
    database.node = "node"
    logging.disable()
    try:
        records, state = everything(database), database.state("alert")
    except sqlite3.DatabaseError:
        return
    finally:
        logging.disable(logging.NOTSET)
        database.close()
    assert set(records) <= {stored(seq, key=f"k{seq}") for seq in range(1, 20)}
    assert state.items() <= {f"a{n}": b"%d" % n for n in range(20)}.items()
