"""From whatever is in a state directory to a journal in a new epoch."""

import os
import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

from fakes import NOON
from fix_records import no_room, stored
from storewatchd.errors import JournalError
from storewatchd.journal import opening
from storewatchd.journal.database import Database
from storewatchd.journal.opening import BLOCK, Start
from storewatchd.journal.records import Rebuild

NAMES = ("state.db", "state.db-wal", "state.db-shm")


@pytest.fixture(autouse=True)
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file of a machine's id."""
    path = tmp_path / "machine-id"
    path.write_text("m1\n")
    monkeypatch.setattr(opening, "_MACHINE_ID", path)
    return path


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    path = tmp_path / "state"
    path.mkdir()
    return path


def started(directory: Path, now: float = NOON) -> Start:
    """Open a state directory's journal and close it again."""
    start = opening.start(directory, now)
    start.database.close()
    return start


def filled(directory: Path) -> Start:
    """Leave a journal with three records and two pieces of state."""
    start = opening.start(directory, NOON)
    database = start.database
    records = [stored(seq, epoch=start.epoch, node=database.node) for seq in (1, 2, 3)]
    database.write(records, [("alert", "a", b"1"), ("alert", "b", b"2")], [("reserved", "10003")])
    database.set_cursor("drain", 2)
    database.close()
    return start


def held(directory: Path) -> tuple[list[int], dict[str, bytes], dict[str, int]]:
    """Return the numbers, the alerts and the cursors of a journal."""
    database = Database.open(directory / "state.db")
    numbers = [one.seq for one in database.read(0, 100, None, False)]
    found = (numbers, database.state("alert"), database.cursors())
    database.close()
    return found


WHOLE = ([1, 2, 3], {"a": b"1", "b": b"2"}, {"drain": 2})


def told(directory: Path) -> list[tuple[str, object, object]]:
    """Return kind, lost records and lost state of what has to be told."""
    database = Database.open(directory / "state.db")
    notices = database.notices()
    database.close()
    return [(one.kind, one.facts["lost_records"], one.facts["lost_state"]) for one in notices]


# A new one.


def test_a_new_journal_appears_whole_and_knows_that_the_store_may_know_more(
    directory: Path,
) -> None:
    start = started(directory)
    assert (start.first_seq, start.rebuild) == (1, Rebuild.STORE)
    assert sorted(path.name for path in directory.iterdir()) == ["state.db"]
    assert (directory / "state.db").stat().st_size > 0


def test_what_an_interrupted_making_left_is_no_journal(directory: Path) -> None:
    for name in ("state.db.new", "state.db.new-wal"):
        (directory / name).write_bytes(b"half")
    assert started(directory).first_seq == 1
    assert told(directory) == []
    assert sorted(path.name for path in directory.iterdir()) == ["state.db"]


def test_an_epoch_is_linked_to_those_before(directory: Path) -> None:
    first = filled(directory)
    second = started(directory)
    third = started(directory)
    assert list(third.epochs) == [first.epoch, second.epoch, third.epoch]
    assert (second.first_seq, third.first_seq) == (10_004, 10_004)


# The node.


def test_a_lost_journal_comes_back_as_the_same_node(directory: Path) -> None:
    before = started(directory).database.node
    shutil.rmtree(directory)
    directory.mkdir()
    assert started(directory).database.node == before


def test_nodes_differ_by_directory_and_machine(directory: Path, machine: Path) -> None:
    nodes = {started(directory).database.node}
    other = directory.with_name("other")
    other.mkdir()
    nodes.add(started(other).database.node)
    shutil.rmtree(directory)
    directory.mkdir()
    machine.write_text("m2\n")
    nodes.add(started(directory).database.node)
    assert len(nodes) == 3
    assert not any("m1" in node for node in nodes)


def test_a_directory_that_moves_on_its_machine_stays_the_same_node(directory: Path) -> None:
    before = started(directory).database.node
    directory.rename(directory.with_name("moved"))
    assert started(directory.with_name("moved")).database.node == before


def test_a_machine_without_an_id_gives_nodes_by_chance(directory: Path, machine: Path) -> None:
    machine.unlink()
    before = started(directory).database.node
    assert started(directory).database.node == before
    shutil.rmtree(directory)
    directory.mkdir()
    assert started(directory).database.node != before


# Damage.


def empty(path: Path) -> None:
    os.truncate(path, 0)


def overwrite_the_first_page(path: Path) -> None:
    with path.open("r+b") as file:
        file.write(b"\xa5" * 4096)


def make_it_read_only_by_its_own_words(path: Path) -> None:
    with path.open("r+b") as file:
        file.seek(18)  # the version that a program must know to write it
        file.write(b"\x06")


def spoil_a_fact(path: Path) -> None:
    change(path, "UPDATE meta SET value = value || '7' WHERE key = 'reserved'")


def spoil_a_cursor(path: Path) -> None:
    change(path, "UPDATE cursor SET seq = 1000000")


def spoil_an_index(path: Path) -> None:
    change(
        path,
        "PRAGMA writable_schema=ON",
        "DELETE FROM sqlite_master WHERE name = 'record_key'",
    )


def change_the_type_of_a_column(path: Path) -> None:
    change(
        path,
        "PRAGMA writable_schema=ON",
        "UPDATE sqlite_master SET sql = replace(sql, 'key TEXT', 'key TEX') WHERE name = 'record'",
    )


def change(path: Path, *statements: str) -> None:
    connection = sqlite3.connect(path, isolation_level=None)
    for statement in statements:
        connection.execute(statement)
    connection.close()


@pytest.mark.parametrize(
    "harm",
    [
        pytest.param(overwrite_the_first_page, id="the head"),
        pytest.param(make_it_read_only_by_its_own_words, id="read-only by its own words"),
        pytest.param(spoil_an_index, id="an index"),
        pytest.param(change_the_type_of_a_column, id="the schema"),
    ],
)
def test_what_holds_no_row_costs_none(directory: Path, harm: Callable[[Path], None]) -> None:
    filled(directory)
    harm(directory / "state.db")
    before = (directory / "state.db").read_bytes()
    start = started(directory)
    assert held(directory) == WHOLE
    assert told(directory) == [("journal_damaged", 0, 0)]
    assert (start.first_seq, start.rebuild) == (10_004, Rebuild.RECORDS)
    assert (directory / f"state.db.damaged-{NOON:.0f}").read_bytes() == before


def test_a_cursor_that_is_not_right_is_none(directory: Path) -> None:
    filled(directory)
    spoil_a_cursor(directory / "state.db")
    started(directory)
    assert held(directory) == (*WHOLE[:2], {})


def test_numbers_go_on_far_enough_where_it_is_lost_how_far_they_went(directory: Path) -> None:
    filled(directory)
    spoil_a_fact(directory / "state.db")
    assert started(directory).first_seq == 3 + 2 * BLOCK + 1
    assert held(directory) == WHOLE


def test_a_file_that_was_cut_to_nothing_is_not_taken_for_a_new_one(directory: Path) -> None:
    filled(directory)
    empty(directory / "state.db")
    started(directory)
    assert held(directory) == ([], {}, {})
    assert told(directory) == [("journal_damaged", None, None)]


def test_what_only_the_log_of_a_missing_file_holds_is_taken_over(
    directory: Path, tmp_path: Path
) -> None:
    start = opening.start(directory, NOON)
    start.database.write([stored(seq) for seq in (1, 2, 3)], [("alert", "a", b"1")])
    shutil.copy(directory / "state.db-wal", tmp_path / "log")
    start.database.close()
    shutil.rmtree(directory)
    directory.mkdir()
    shutil.move(tmp_path / "log", directory / "state.db-wal")
    started(directory)
    assert held(directory)[:2] == ([1, 2, 3], {"a": b"1"})
    assert [kind for kind, _, _ in told(directory)] == ["journal_damaged"]


def test_pieces_of_state_alone_are_taken_out_of_the_file_itself(
    directory: Path, caplog: pytest.LogCaptureFixture
) -> None:
    filled(directory)
    change(directory / "state.db", "UPDATE state SET value = x'00' WHERE key = 'a'")
    start = started(directory)
    assert held(directory) == (WHOLE[0], {"b": b"2"}, WHOLE[2])
    assert told(directory) == [("journal_damaged", 0, 1)]
    assert start.rebuild is Rebuild.RECORDS
    assert "1 pieces of state are damaged and dropped" in caplog.text
    assert not list(directory.glob("*.damaged-*"))


def test_what_has_to_be_told_and_rebuilt_is_known_until_it_is_done(directory: Path) -> None:
    filled(directory)
    overwrite_the_first_page(directory / "state.db")
    assert [started(directory).rebuild for _ in range(3)] == [Rebuild.RECORDS] * 3
    assert len(told(directory)) == 1


def set_aside(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.glob("*.damaged-*"))


@pytest.mark.parametrize("clock", [0, -60], ids=["stands", "goes back"])
def test_of_one_damage_after_the_other_the_first_and_the_newest_file_are_kept(
    directory: Path, clock: int, caplog: pytest.LogCaptureFixture
) -> None:
    filled(directory)
    for number in range(4):
        overwrite_the_first_page(directory / "state.db")
        started(directory, NOON + clock * number)
    assert held(directory) == WHOLE
    names = [f"state.db.damaged-{NOON + number:.0f}" for number in range(4)]
    assert set_aside(directory) == [names[0], names[3]]
    database = Database.open(directory / "state.db")
    removed = [[Path(one).name for one in notice.facts["removed"]] for notice in database.notices()]
    database.close()
    assert removed == [[], [], [names[1]], [names[2]]]
    assert f"{names[1]} is removed" in caplog.text


def test_what_was_set_aside_goes_with_its_log_and_what_a_person_named_stays(
    directory: Path,
) -> None:
    named = ("1", "2", "2-wal", "2-shm", "3", "3-wal", "2.mine")
    for name in named:
        (directory / f"state.db.damaged-{name}").write_text(name)
    started(directory)
    assert set_aside(directory) == [
        f"state.db.damaged-{name}" for name in ("1", "2.mine", "3", "3-wal")
    ]


def test_what_was_set_aside_and_cannot_be_removed_is_no_hindrance(
    directory: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for name in "123":
        (directory / f"state.db.damaged-{name}").mkdir()
    started(directory)
    assert len(set_aside(directory)) == 3
    assert "damaged-2 stays: " in caplog.text


@pytest.mark.parametrize("moved", range(len(NAMES) + 1), ids=["none", "one", "two", "all"])
def test_a_swap_that_was_interrupted_is_finished(directory: Path, moved: int) -> None:
    filled(directory)
    (directory / "state.db").rename(directory / "state.db.salvaged-7")
    for name in NAMES:
        (directory / name).write_text(name)
    for name in NAMES[:moved]:
        shutil.move(directory / name, directory / name.replace("state.db", "state.db.damaged-7"))
    started(directory)
    assert held(directory) == WHOLE
    for name in NAMES:
        aside = directory / name.replace("state.db", "state.db.damaged-7")
        assert aside.read_text() == name


def test_a_salvage_that_finds_no_room_leaves_everything_as_it_is(directory: Path) -> None:
    filled(directory)
    overwrite_the_first_page(directory / "state.db")
    before = (directory / "state.db").read_bytes()
    with no_room(4096), pytest.raises(JournalError, match="cannot be"):
        opening.start(directory, NOON)
    assert (directory / "state.db").read_bytes() == before
    started(directory)
    assert held(directory) == WHOLE
