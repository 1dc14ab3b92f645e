"""Media stores: their room, what is in them, and for how long there is room."""

from itertools import pairwise
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from probes.vtl.fix_vtl import GIB, STORE, TGT_UP, UP, A, B, Desk, tell_media, tell_room
from storewatchd.core.frames import Frame
from storewatchd.core.model import EventType
from storewatchd.errors import ProbeFailed
from storewatchd.probes.base import Remembering
from storewatchd.probes.vtl.runway import DAY_S, KEEP_S, SAMPLE_S
from storewatchd.probes.vtl.stores import MOST_CARTRIDGES, VtlStoresProbe, media_rows

MIB = float(1 << 20)


def test_a_store_is_told_with_its_room_and_media() -> None:
    desk = Desk(UP)
    assert desk.rows("vtl_stores", "vtl_store_size_bytes") == {(STORE,): 100.0 * GIB}
    assert desk.rows("vtl_stores", "vtl_store_free_bytes") == {(STORE,): 50.0 * GIB}
    assert desk.rows("vtl_media", "vtl_store_media") == {(STORE,): 80.0}
    assert desk.rows("vtl_media", "vtl_store_capacity_bytes") == {(STORE,): 80 * 500 * MIB}


def test_what_media_take_is_told_by_library() -> None:
    desk = Desk(UP)
    tell_media(desk.port, ["STRAY", 3 << 20, None, None], ["OTHER", 1 << 20, None, 99])
    assert desk.rows("vtl_media", "vtl_media_bytes") == {
        (STORE, A): 40 * 64 * MIB,
        (STORE, B): 40 * 64 * MIB,
        (STORE, ""): 4 * MIB,
    }
    # One of them does not tell its capacity: nobody knows what all of them could take.
    assert desk.rows("vtl_media", "vtl_store_capacity_bytes") == {}


def test_each_cartridge_is_told() -> None:
    desk = Desk(UP)
    tell_media(desk.port, ["NEW001L8", 0, None, None])
    used = desk.rows("vtl_media", "vtl_media_used_bytes")
    assert len(used) == 81
    assert used[STORE, "E00007L8"] == 64 * MIB
    assert used[STORE, "NEW001L8"] == 0.0
    capacity = desk.rows("vtl_media", "vtl_media_capacity_bytes")
    assert len(capacity) == 80
    assert capacity[STORE, "E00007L8"] == 500 * MIB


def test_of_many_cartridges_the_largest_are_told() -> None:
    cartridges = [[f"E{number:05}L8", number, None, None] for number in range(MOST_CARTRIDGES + 5)]
    rows = media_rows(STORE, cartridges, {})
    assert len(rows["vtl_media_used_bytes"]) == MOST_CARTRIDGES
    assert min(row.value for row in rows["vtl_media_used_bytes"]) == 5.0
    assert rows["vtl_store_media"][0].value == MOST_CARTRIDGES + 5


def test_media_are_looked_at_every_hour() -> None:
    desk = Desk(UP)
    desk.look("vtl_media")
    del desk.port.readings["vtl.media", ""]
    assert desk.rows("vtl_media", "vtl_store_media") == {(STORE,): 80.0}
    desk.clock.forward(3600)
    assert isinstance(desk.look("vtl_media")[STORE], ProbeFailed)


def test_media_that_could_not_be_looked_at_are_after_five_minutes() -> None:
    desk = Desk(UP)
    told = desk.port.readings.pop(("vtl.media", ""))
    assert isinstance(desk.look("vtl_media")[STORE], ProbeFailed)
    desk.port.readings["vtl.media", ""] = told
    assert isinstance(desk.look("vtl_media")[STORE], ProbeFailed)
    desk.clock.forward(300)
    assert desk.rows("vtl_media", "vtl_store_media") == {(STORE,): 80.0}


@pytest.mark.parametrize("facts", [{"exists": False}, {"exists": True, "is_whole": False}])
def test_media_that_cannot_be_counted_are_not_told(facts: dict[str, bool]) -> None:
    desk = Desk(UP)
    desk.port.readings["vtl.media", ""] = {"stores": {STORE: facts}}
    assert isinstance(desk.look("vtl_media")[STORE], ProbeFailed)


def test_a_store_that_is_not_there_cannot_be_seen() -> None:
    desk = Desk(UP)
    desk.port.readings["statvfs.path", STORE] = {"exists": False}
    desk.port.readings["vtl.media", ""] = {"stores": {}}
    assert isinstance(desk.look("vtl_stores")[STORE], ProbeFailed)
    assert isinstance(desk.look("vtl_media")[STORE], ProbeFailed)


def test_a_back_end_that_tells_no_store_has_none() -> None:
    desk = Desk(TGT_UP)
    assert desk.look("vtl_stores") == desk.look("vtl_media") == {}


# What came and went.


def news(desk: Desk) -> list[tuple[str, Any]]:
    frame = desk.look("vtl_media")[STORE]
    assert isinstance(frame, Frame)
    assert {one.type for one in frame.news} <= {EventType.VTL}
    return [(one.kind, dict(one.facts)) for one in frame.news]


def test_cartridges_that_come_and_go_are_events() -> None:
    desk = Desk(UP)
    assert news(desk) == []
    tell_media(desk.port, ["NEW001L8", 0, None, None], ["NEW002L8", 0, None, None])
    desk.clock.forward(3600)
    added = {"store": STORE, "count": 2, "barcodes": ["NEW001L8", "NEW002L8"]}
    assert news(desk) == [("media_added", added)]
    assert news(desk) == []
    tell_media(desk.port, ["NEW002L8", 0, None, None])
    desk.clock.forward(3600)
    removed = {"store": STORE, "count": 1, "barcodes": ["NEW001L8"]}
    assert news(desk) == [("media_removed", removed)]


def test_what_came_while_nobody_looked_is_told_after_a_restart() -> None:
    desk, later = Desk(UP), Desk(UP)
    desk.look("vtl_media")
    hand_over(desk, later, "vtl_media")
    tell_media(later.port, ["NEW001L8", 0, None, None])
    assert [kind for kind, _ in news(later)] == ["media_added"]


# Growth.


def hand_over(desk: Desk, later: Desk, name: str) -> None:
    """Let the probes of another process remember what those of this one do."""
    before, after = desk.probes[name], later.probes[name]
    assert isinstance(before, Remembering)
    assert isinstance(after, Remembering)
    after.restore(msgspec.msgpack.decode(msgspec.msgpack.encode(before.to_plain())))


def fill(desk: Desk, *, hours: int, per_day: float, begin: float = 90.0) -> float:
    """Let a store fill for so long, looked at every half hour; return what is free then."""
    free = begin
    for _ in range(2 * hours):
        desk.clock.forward(SAMPLE_S - 30)
        tell_room(desk.port, free=free)
        desk.look("vtl_stores")
        free -= per_day / 48
    return free


def test_how_long_the_room_lasts_is_said_when_two_days_are_known() -> None:
    desk = Desk(UP)
    free = fill(desk, hours=47, per_day=8)
    assert desk.rows("vtl_stores", "vtl_store_runway_seconds") == {}
    assert desk.rows("vtl_stores", "vtl_store_growth_bytes_per_day") == {}
    free = fill(desk, hours=2, per_day=8, begin=free)
    grows = desk.rows("vtl_stores", "vtl_store_growth_bytes_per_day")
    assert set(grows) == {(STORE, quantile) for quantile in ("0.1", "0.5", "0.9")}
    assert list(grows.values()) == pytest.approx([8.0 * GIB] * 3, rel=0.01)
    lasts = desk.rows("vtl_stores", "vtl_store_runway_seconds")
    assert list(lasts.values()) == pytest.approx([free / 8 * DAY_S] * 3, rel=0.01)


def test_what_is_known_of_growth_survives_a_restart() -> None:
    desk, later = Desk(UP), Desk(UP)
    free = fill(desk, hours=49, per_day=8)
    hand_over(desk, later, "vtl_stores")
    later.clock.forward(desk.clock.monotonic() - later.clock.monotonic())
    tell_room(later.port, free=free)
    expected = desk.rows("vtl_stores", "vtl_store_runway_seconds")
    told = later.rows("vtl_stores", "vtl_store_runway_seconds")
    assert told
    assert told == pytest.approx(expected, rel=0.05)


def test_the_more_it_may_grow_the_sooner_it_may_be_full() -> None:
    desk = Desk(UP)
    free = 90.0
    for per_day in (4.0, 12.0, 8.0, 4.0):
        free = fill(desk, hours=24, per_day=per_day, begin=free)
    lasts = desk.rows("vtl_stores", "vtl_store_runway_seconds")
    soon, likely, late = (lasts[STORE, quantile] for quantile in ("0.1", "0.5", "0.9"))
    assert 0 < soon < likely < late
    assert soon == pytest.approx(free / 12 * DAY_S, rel=0.05)
    assert late == pytest.approx(free / 4 * DAY_S, rel=0.05)
    grows = desk.rows("vtl_stores", "vtl_store_growth_bytes_per_day")
    assert grows[STORE, "0.1"] < grows[STORE, "0.5"] < grows[STORE, "0.9"]


def test_a_store_that_does_not_grow_has_no_end_and_says_so_by_its_growth() -> None:
    desk = Desk(UP)
    fill(desk, hours=50, per_day=0)
    assert desk.rows("vtl_stores", "vtl_store_runway_seconds") == {}
    assert set(desk.rows("vtl_stores", "vtl_store_growth_bytes_per_day").values()) == {0.0}


def test_a_file_system_of_another_size_is_another_one() -> None:
    desk = Desk(UP)
    free = fill(desk, hours=50, per_day=8)
    tell_room(desk.port, free=free, size=200)
    assert desk.rows("vtl_stores", "vtl_store_runway_seconds") == {}


def test_a_disk_that_is_another_has_another_growth() -> None:
    desk = Desk(UP)
    free = fill(desk, hours=50, per_day=8)
    tell_room(desk.port, free=free, device="8:17")
    assert desk.rows("vtl_stores", "vtl_store_runway_seconds") == {}


def test_of_a_file_system_that_shares_its_room_the_growth_is_known_too() -> None:
    """ZFS tells as the size of one what it uses and what is left in the pool, which others use up
    too; and its number is another one after each start."""
    desk, later = Desk(UP), Desk(UP)
    size, used = 100.0, 10.0
    for _ in range(2 * 50):
        desk.clock.forward(SAMPLE_S - 30)
        size -= 4 / 48
        used += 8 / 48
        tell_room(desk.port, free=size - used, size=size, device="0:45")
        desk.look("vtl_stores")
    hand_over(desk, later, "vtl_stores")
    later.clock.forward(desk.clock.monotonic() - later.clock.monotonic())
    tell_room(later.port, free=size - used, size=size, device="0:51")
    grows = later.rows("vtl_stores", "vtl_store_growth_bytes_per_day")
    assert grows[STORE, "0.5"] == pytest.approx(8.0 * GIB, rel=0.01)


def test_samples_are_half_an_hour_apart_and_kept_for_two_weeks() -> None:
    desk = Desk(UP)
    fill(desk, hours=24 * 17, per_day=1)
    probe = desk.probes["vtl_stores"]
    assert isinstance(probe, VtlStoresProbe)
    ((_, samples),) = probe.to_plain().values()  # type: ignore[attr-defined]
    moments = [at for at, _ in samples]
    assert max(moments) - min(moments) <= KEEP_S
    assert len(samples) <= KEEP_S / SAMPLE_S + 1
    assert min(b - a for a, b in pairwise(moments)) >= SAMPLE_S


def test_a_clock_that_was_set_back_leaves_no_samples_of_the_future() -> None:
    desk = Desk(UP)
    free = fill(desk, hours=50, per_day=8)
    desk.clock.jump(-DAY_S)
    fill(desk, hours=1, per_day=8, begin=free)
    assert desk.rows("vtl_stores", "vtl_store_runway_seconds") == {}


junk = st.recursive(
    st.none() | st.integers(0, 1 << 62) | st.text(max_size=3),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3), inner, max_size=3)
    ),
    max_leaves=12,
)


@given(junk | st.dictionaries(st.just(STORE), junk))
def test_a_garbled_memory_is_none(kept: object) -> None:
    desk = Desk(UP)
    for name in ("vtl_stores", "vtl_media", "vtl_units"):
        probe = desk.probes[name]
        assert isinstance(probe, Remembering)
        probe.restore(kept)
    assert isinstance(desk.look("vtl_stores")[STORE], Frame)
    assert isinstance(desk.look("vtl_media")[STORE], Frame)
