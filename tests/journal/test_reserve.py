"""Space that is held back: made where there is room, given up when there is none."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from fix_records import no_room
from storewatchd.journal.reserve import SHARE, Reserve
from system.appliance import mounted_tmpfs

MB = 1 << 20


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 16 MB."""
    if os.geteuid() != 0:
        pytest.skip("mounting needs root")
    with mounted_tmpfs(tmp_path / "disk", 16) as path:
        yield path


def used_bytes(disk: Path) -> int:
    about = os.statvfs(disk)
    return (about.f_blocks - about.f_bfree) * about.f_frsize


def test_what_is_held_back_is_taken_from_the_file_system(disk: Path) -> None:
    reserve = Reserve(disk, MB)
    before = used_bytes(disk)
    reserve.look()
    assert reserve.held_bytes == used_bytes(disk) - before == MB
    assert reserve.free_bytes == 16 * MB - used_bytes(disk)


def test_a_small_file_system_gives_its_share(disk: Path) -> None:
    reserve = Reserve(disk, 64 * MB)
    reserve.look()
    assert reserve.held_bytes == 16 * MB // SHARE


@pytest.mark.parametrize(
    ("taken", "held"),
    [pytest.param(14 * MB, MB, id="room for it twice"), pytest.param(15 * MB, 0, id="for it once")],
)
def test_nothing_is_held_back_where_little_would_be_left(disk: Path, taken: int, held: int) -> None:
    (disk / "ballast").write_bytes(bytes(taken))
    reserve = Reserve(disk, MB)
    reserve.look()
    assert reserve.held_bytes == held


def test_it_is_given_up_once_and_made_again_when_there_is_room(
    disk: Path, caplog: pytest.LogCaptureFixture
) -> None:
    reserve = Reserve(disk, MB)
    reserve.look()
    ballast = disk / "ballast"
    ballast.write_bytes(bytes(15 * MB))
    assert reserve.release()
    assert not reserve.release()
    assert (reserve.held_bytes, used_bytes(disk)) == (0, 15 * MB)
    assert "a reserve of 1 MiB is given up" in caplog.text
    reserve.look()
    assert reserve.held_bytes == 0
    ballast.unlink()
    reserve.look()
    assert reserve.held_bytes == MB


def test_what_an_earlier_start_held_back_is_known(disk: Path) -> None:
    Reserve(disk, MB).look()
    again = Reserve(disk, MB)
    assert again.held_bytes == MB
    assert again.release()


def test_a_file_of_holes_holds_nothing_back(disk: Path) -> None:
    with (disk / "reserve").open("wb") as file:
        file.truncate(MB)
    reserve = Reserve(disk, MB)
    assert reserve.held_bytes == 0
    reserve.look()
    assert reserve.held_bytes == MB


def test_none_is_held_back_where_none_is_wanted(tmp_path: Path) -> None:
    reserve = Reserve(tmp_path, 0)
    reserve.look()
    assert (reserve.held_bytes, reserve.free_bytes > 0, list(tmp_path.iterdir())) == (0, True, [])


def test_one_that_cannot_be_made_leaves_nothing_and_is_told_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    reserve = Reserve(tmp_path, MB)
    with no_room(MB // 2):
        reserve.look()
        reserve.look()
    assert (reserve.held_bytes, reserve.path.stat().st_blocks) == (0, 0)
    assert caplog.text.count("no reserve is held back") == 1


def test_something_else_in_its_place_is_no_error(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "reserve").mkdir()
    reserve = Reserve(tmp_path, MB)
    reserve.look()
    reserve.release()
    assert "no reserve is held back" in caplog.text
