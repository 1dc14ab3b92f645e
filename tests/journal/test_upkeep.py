"""The upkeep of the file: within its bound, never silently short, and no larger than it needs."""

import sqlite3
from collections import deque
from collections.abc import Iterator
from pathlib import Path

import pytest

from fakes import HandClock
from fix_records import no_room, stored
from storewatchd.journal.database import Database
from storewatchd.journal.figures import Figures
from storewatchd.journal.records import Notice, Rebuild
from storewatchd.journal.reserve import Reserve
from storewatchd.journal.upkeep import LOOK_S, Upkeep

MB = 1 << 20


class Desk:
    """An open file with its upkeep."""

    def __init__(self, directory: Path, max_bytes: int) -> None:
        self.path = directory / "state.db"
        self.database = Database.open(self.path)
        self.clock = HandClock()
        self.reserve = Reserve(directory, MB)
        self.figures = Figures(0, 0, Rebuild.NONE)
        self.notices: deque[Notice] = deque()
        self.upkeep = Upkeep(
            self.figures, self.notices, self.reserve, self.clock.clock, max_bytes=max_bytes
        )

    def write(self, numbers: range, size: int = 4_000) -> None:
        records = [stored(seq, data=b"x" * size) for seq in numbers]
        self.database.write(records, ())
        self.figures.note_written(records, 0.0)

    def confirm(self, seq: int) -> None:
        self.database.set_cursor("drain", seq)
        self.figures.note_confirmed(self.database, seq)

    def keep_up(self, *, is_idle: bool = True) -> int:
        """Do all there is to do; return in how many steps."""
        steps = 0
        while self.upkeep.step(self.database, is_idle=is_idle):
            steps += 1
        return steps

    def numbers(self) -> list[int]:
        return [one.seq for one in self.database.read(0, 100_000, None, False)]


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    """A file that may hold 1 MB."""
    desk = Desk(tmp_path, MB)
    yield desk
    desk.database.close()


def test_a_file_within_its_bound_keeps_everything(desk: Desk) -> None:
    desk.write(range(1, 100))
    desk.keep_up()
    assert desk.numbers() == list(range(1, 100))
    assert not desk.notices


def test_confirmed_history_goes_first_and_silently(desk: Desk) -> None:
    desk.write(range(1, 401))
    desk.confirm(300)
    desk.keep_up()
    (first, *_) = desk.numbers()
    assert 1 < first <= 301
    assert desk.database.used_bytes() <= MB
    assert desk.figures.pruned == first - 1
    assert not desk.notices
    assert desk.figures.unconfirmed == 100


def test_what_a_follower_lacks_goes_when_nothing_else_is_left_and_is_told(
    desk: Desk, caplog: pytest.LogCaptureFixture
) -> None:
    desk.write(range(1, 401))
    desk.confirm(10)
    desk.keep_up()
    (first, *_) = desk.numbers()
    assert desk.database.used_bytes() <= MB
    told = [one.facts for one in desk.notices]
    assert (told[0]["from_seq"], told[-1]["to_seq"]) == (11, first - 1)
    assert sum(facts["records"] for facts in told) == first - 11
    assert {facts["reason"] for facts in told} == {"state.db had reached its bound of 1 MiB"}
    assert {one.kind for one in desk.notices} == {"gap"}
    assert "which PostgreSQL lacks" in caplog.text
    assert (desk.figures.unconfirmed, desk.figures.pruned) == (401 - first, first - 1)
    assert desk.figures.lost_total == first - 11


def test_what_is_told_of_a_loss_outlives_the_process(desk: Desk) -> None:
    desk.write(range(1, 401))
    desk.keep_up()
    assert desk.database.notices() == list(desk.notices)


def test_the_slowest_follower_holds_what_it_lacks(desk: Desk) -> None:
    desk.database.set_cursor("mail", 50)
    desk.write(range(1, 401))
    desk.confirm(300)
    desk.keep_up()
    assert desk.notices[0].facts["from_seq"] == 51


def test_a_file_over_its_bound_is_looked_after_also_where_there_is_no_rest(desk: Desk) -> None:
    desk.write(range(1, 401))
    desk.confirm(400)
    assert desk.keep_up(is_idle=False) > 0
    assert desk.database.used_bytes() <= MB


def put_state(desk: Desk, count: int) -> None:
    """Put so many pieces of state of 4 kB."""
    changes = [("alert", f"{number}", b"x" * 4_000) for number in range(count)]
    desk.database.write((), changes)


def test_a_quarter_of_the_bound_is_for_records_however_much_state_there_is(
    desk: Desk, caplog: pytest.LogCaptureFixture
) -> None:
    put_state(desk, 400)
    desk.write(range(1, 401))
    for number in range(401, 421):
        desk.keep_up()
        desk.write(range(number, number + 1))
    desk.keep_up()
    assert 55 <= len(desk.numbers()) <= 65
    assert desk.numbers()[-1] == 420
    assert len(desk.database.state("alert")) == 400
    (told,) = [line for line in caplog.messages if "by what is so now" in line]
    assert told.startswith("state.db is over its bound of 1 MiB ")


def test_what_tells_of_a_loss_does_not_lead_to_another_one(desk: Desk) -> None:
    put_state(desk, 400)
    desk.write(range(1, 401))
    desk.keep_up()
    kept = desk.numbers()
    desk.notices.clear()
    desk.write(range(401, 402), size=300)
    desk.keep_up()
    assert (desk.numbers(), list(desk.notices)) == ([*kept, 401], [])


def test_that_state_is_more_than_the_bound_is_told_again_where_it_was_less(
    desk: Desk, caplog: pytest.LogCaptureFixture
) -> None:
    desk.write(range(1, 3))
    for _ in "ab":
        put_state(desk, 400)
        desk.keep_up()
        desk.database.write((), [("alert", f"{number}", None) for number in range(400)])
        desk.keep_up()
    assert len([line for line in caplog.messages if "by what is so now" in line]) == 2


def test_losses_of_which_nobody_has_heard_are_told_as_one(desk: Desk) -> None:
    desk.write(range(1, 401))
    desk.keep_up()
    (first,) = desk.notices
    desk.notices.clear()  # it is told
    desk.write(range(401, 601))
    desk.keep_up()
    (second,) = desk.notices
    assert first.facts["from_seq"] == 1
    assert second.facts["from_seq"] == first.facts["to_seq"] + 1
    assert second.facts["records"] == second.facts["to_seq"] - first.facts["to_seq"]
    assert desk.database.notices() == [first, second]


def test_what_else_waits_to_be_told_stays_as_it_is(desk: Desk) -> None:
    others = [
        Notice("journal_damaged", {"path": None}, "a"),
        Notice("gap", {"from_seq": 1, "to_seq": 2, "records": 2, "reason": "another"}, "b"),
    ]
    for other in others:
        desk.notices.append(other)
        desk.write(range(desk.database.last_seq() + 1, desk.database.last_seq() + 401))
        desk.keep_up()
    assert [one for one in desk.notices if one in others] == others
    assert len(desk.notices) == 4


def test_what_cannot_be_dropped_now_leaves_what_waits_to_be_told(desk: Desk) -> None:
    desk.write(range(1, 401))
    desk.upkeep.step(desk.database, is_idle=False)
    waiting = list(desk.notices)
    with no_room(), pytest.raises(sqlite3.Error):
        desk.upkeep.step(desk.database, is_idle=False)
    assert list(desk.notices) == waiting
    desk.keep_up()
    (told,) = desk.notices
    assert (told.key, told.facts["from_seq"]) == (waiting[0].key, 1)


def test_a_file_of_nothing_but_state_is_left_alone(desk: Desk) -> None:
    desk.database.write((), [("alert", f"{number}", b"x" * 4_000) for number in range(400)])
    desk.keep_up()
    assert (len(desk.database.state("alert")), list(desk.notices)) == (400, [])


def test_a_file_that_was_emptied_shrinks(tmp_path: Path) -> None:
    desk = Desk(tmp_path, 100 * MB)
    desk.write(range(1, 2_001))
    desk.database.settle()
    before = desk.path.stat().st_size
    desk.database.drop(1_900)
    desk.keep_up()
    desk.database.settle()
    assert desk.path.stat().st_size < before // 5
    assert desk.numbers() == list(range(1_901, 2_001))
    desk.database.close()


def test_pages_that_will_be_needed_again_are_kept(tmp_path: Path) -> None:
    desk = Desk(tmp_path, 100 * MB)
    desk.write(range(1, 2_001))
    desk.database.drop(300)
    pages = desk.database.pages()
    desk.keep_up()
    assert desk.database.pages() == pages
    desk.database.close()


def test_every_record_is_read_once_so_that_none_is_spoilt_unnoticed(desk: Desk) -> None:
    desk.write(range(1, 50), size=10)
    desk.database.close()
    content = desk.path.read_bytes()
    desk.path.write_bytes(content.replace(b"noted" + b"x" * 10, b"noted" + b"y" * 10, 1))
    desk.database = Database.open(desk.path)
    desk.keep_up()
    assert len(desk.database.spoilt) == 1
    desk.database.spoilt.clear()
    desk.keep_up()
    assert desk.database.spoilt == set()
    desk.upkeep.begin_again()
    desk.keep_up()
    assert len(desk.database.spoilt) == 1


def test_the_disk_is_looked_at_now_and_then(desk: Desk) -> None:
    desk.keep_up()
    assert desk.reserve.held_bytes == MB
    desk.reserve.release()
    desk.clock.forward(LOOK_S - 1)
    desk.keep_up()
    assert desk.reserve.held_bytes == 0
    desk.clock.forward(1)
    desk.keep_up()
    assert desk.reserve.held_bytes == MB


def test_the_size_of_what_was_set_aside_is_looked_at_with_the_disk(desk: Desk) -> None:
    (desk.path.parent / "state.db.damaged-7").write_bytes(b"x" * 30)
    (desk.path.parent / "state.db.damaged-7-wal").write_bytes(b"x" * 12)
    desk.keep_up()
    assert desk.figures.damaged_bytes == 42


def test_the_size_is_that_of_the_file_with_its_log(desk: Desk) -> None:
    desk.write(range(1, 50))
    desk.keep_up()
    log = desk.path.with_name("state.db-wal")
    assert desk.figures.file_bytes == desk.path.stat().st_size + log.stat().st_size
