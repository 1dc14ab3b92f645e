"""Mounts: from load to unload, also of what was not seen of them."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fakes import NOON
from storewatchd.core.model import format_time
from storewatchd.probes.tape.mounts import Mounts, Sight

GB = 10**9


def sight(look: int, tape: str = "", loads: int | None = 100, **more: Any) -> Sight:
    """Return the look of that number, half a minute after the one before."""
    written = more.pop("moved", 0)
    statistics = {
        "write_byte_cnt": written,
        "write_ns": written * 5,  # 200 MB/s
        "read_byte_cnt": 0,
        "read_ns": 0,
        "in_flight": 0,
    }
    more.setdefault("statistics", statistics)
    return Sight(NOON + 30 * look, bool(tape), loads=loads, barcode=tape, **more)


def records(*sights: Sight) -> list[dict[str, Any]]:
    mounts = Mounts("DRV0001")
    return [record for one in sights for record in mounts.take(one)]


def test_a_mount_is_told_at_unload_with_all_that_was_seen_of_it() -> None:
    (record,) = records(
        sight(0),
        sight(1, "A", 101, is_new=True, celsius=30, flags=frozenset({1})),
        sight(2, "A", 101, moved=3 * GB, celsius=41, errors={"corrected_write_errors": 9}),
        sight(3, "A", 101, moved=6 * GB, celsius=38, flags=frozenset({20, 3})),
        sight(4, "", 101, moved=8 * GB, celsius=35, errors={"corrected_write_errors": 12}),
    )
    assert record == {
        "drive": "DRV0001",
        "barcode": "A",
        "serial": "",
        "loads": 1,
        "complete": True,
        "from": format_time(NOON + 30),
        "to": format_time(NOON + 120),
        "written_bytes": 8 * GB,
        "mean_write_bytes_per_second": 200_000_000,
        "read_bytes": 0,
        "corrected_write_errors": 12,
        "flags": [1, 3, 20],
        "max_temperature_celsius": 41,
    }


def test_counters_that_a_drive_sets_back_at_unload_are_those_of_before() -> None:
    (record,) = records(
        sight(0),
        sight(1, "A", 101, is_new=True, errors={"uncorrected_write_errors": 2}),
        sight(2, "", 101, errors={"uncorrected_write_errors": 0}),
    )
    assert record["uncorrected_write_errors"] == 2


def test_what_was_loaded_before_anybody_looked_is_not_complete() -> None:
    (record,) = records(sight(0, "A", moved=5 * GB, is_new=True), sight(1, "", moved=7 * GB))
    assert (record["complete"], record["written_bytes"]) == (False, 2 * GB)


def test_a_mount_that_nobody_saw_is_told_without_its_cartridge() -> None:
    (record,) = records(sight(0, "", 100, moved=GB), sight(240, "", 101, moved=9 * GB))
    assert (record["barcode"], record["loads"], record["complete"]) == ("", 1, False)
    assert record["written_bytes"] == 8 * GB


def test_a_cartridge_that_came_for_another_one_ends_its_mount() -> None:
    first, second = records(
        sight(0),
        sight(1, "A", 101, is_new=True),
        sight(2, "B", 102, is_new=True, moved=10 * GB, written_bytes=4 * GB),
        sight(3, "", 102, moved=11 * GB),
    )
    assert (first["barcode"], first["written_bytes"]) == ("A", 6 * GB)
    assert (second["barcode"], second["written_bytes"]) == ("B", 5 * GB)
    for record in (first, second):
        assert "mean_write_bytes_per_second" not in record, "of the time nobody knows the share"
        assert not record["complete"]
        assert record["read_bytes"] == 0, "nothing was read by either"


@pytest.mark.parametrize("own", [None, 11 * GB], ids=["not told", "more than there was"])
def test_bytes_of_which_nobody_knows_the_share_are_left_out(own: int | None) -> None:
    first, second = records(
        sight(0),
        sight(1, "A", 101, is_new=True),
        sight(2, "B", 102, is_new=True, moved=10 * GB, written_bytes=own),
        sight(3, "", 102, moved=11 * GB),
    )
    assert "written_bytes" not in first
    assert "written_bytes" not in second


def test_a_cartridge_that_came_for_another_one_which_did_nothing_is_complete() -> None:
    first, second = records(
        sight(0),
        sight(1, "A", 101, is_new=True, moved=GB),
        sight(2, "B", 102, is_new=True, moved=GB),
        sight(3, "", 102, moved=2 * GB),
    )
    assert (first["written_bytes"], first["complete"]) == (GB, True)
    assert (second["written_bytes"], second["complete"]) == (GB, True)


def test_a_mount_in_which_others_hide_says_so_and_takes_none_of_their_errors() -> None:
    (record,) = records(
        sight(0),
        sight(1, "A", 101, is_new=True),
        sight(200, "", 103, moved=9 * GB, errors={"uncorrected_write_errors": 7}),
    )
    assert (record["barcode"], record["loads"], record["complete"]) == ("A", 3, False)
    assert "uncorrected_write_errors" not in record


def test_a_mount_before_the_one_that_is_seen_is_told_by_the_count_of_loads() -> None:
    first, second = records(
        sight(0),
        sight(1, "B", 102, is_new=True, moved=5 * GB, written_bytes=GB),
        sight(2, "", 102, moved=5 * GB),
    )
    assert (first["barcode"], first["loads"], first["written_bytes"]) == ("", 1, 4 * GB)
    assert (second["barcode"], second["written_bytes"]) == ("B", GB)


def test_without_a_count_of_loads_only_what_is_seen_is_told() -> None:
    assert records(sight(0, loads=None), sight(1, loads=None, moved=GB)) == []
    (record,) = records(
        sight(0, loads=None),
        sight(1, "A", None, is_new=True),
        sight(2, "", None, moved=GB),
    )
    assert (record["loads"], record["written_bytes"]) == (1, GB)


@pytest.mark.parametrize(
    "statistics",
    [{}, {"write_byte_cnt": 5, "write_ns": 5, "read_byte_cnt": 0, "read_ns": 0}],
    ids=["none", "begun anew"],
)
def test_counters_that_cannot_be_compared_are_left_out(statistics: dict[str, int]) -> None:
    (record,) = records(
        sight(0, moved=GB),
        sight(1, "A", 101, is_new=True, moved=GB),
        sight(2, "", 101, statistics=statistics),
    )
    assert record.keys().isdisjoint({"written_bytes", "read_bytes"})


@given(
    st.lists(
        st.tuples(st.sampled_from(["", "A", "B"]), st.booleans(), st.integers(0, 3)), max_size=20
    )
)
def test_bytes_are_never_invented(looks: list[tuple[str, bool, int]]) -> None:
    """Whatever is seen, the records have together no more bytes than the kernel counted."""
    loads, moved, sights = 100, 0, []
    for look, (tape, is_new, more) in enumerate(looks):
        loads, moved = loads + is_new, moved + more * GB
        sights.append(sight(look, tape, loads, is_new=is_new, moved=moved, written_bytes=GB))
    found = records(*sights)
    assert sum(record.get("written_bytes", 0) for record in found) <= moved
    assert all(record.get("written_bytes", 0) >= 0 for record in found)
