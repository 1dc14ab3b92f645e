"""What happens to virtual libraries and drives is told once, as events."""

import msgspec
import pytest

from fakes import NOON
from probes.vtl.fix_vtl import (
    DRIVE_DELETED,
    DRIVE_SIGSTOP,
    DRIVE_STOPPED,
    LIBRARY_KILLED,
    TGT_UP,
    UP,
    A,
    B,
    Desk,
)
from storewatchd.core.frames import Frame
from storewatchd.core.model import EventType
from storewatchd.errors import ReadStuck
from storewatchd.probes.base import Remembering
from storewatchd.probes.vtl.changes import MOST_NAMED, media_changes

DRIVE_11 = "6:0:1:0"


def told(desk: Desk) -> list[tuple[str, str]]:
    """Return what a look tells: kinds, and the drive or library."""
    found = []
    for frame in desk.look("vtl_units").values():
        assert isinstance(frame, Frame), frame
        for one in frame.news:
            assert one.type is EventType.VTL
            found.append((one.kind, str(one.facts.get("drive", one.facts["library"]))))
    return found


def test_the_first_look_tells_nothing() -> None:
    assert told(Desk(UP)) == []
    assert told(Desk(TGT_UP)) == []


def test_a_drive_that_is_stopped_and_started_is_told_part_by_part() -> None:
    desk = Desk(UP)
    told(desk)
    drive = f"{A}2"
    gone = [("unit_stopped", drive), ("device_vanished", drive)]
    assert told(desk.be(DRIVE_STOPPED)) == gone
    assert told(desk) == []
    assert told(desk.be(UP)) == [("unit_started", drive), ("device_appeared", drive)]


def test_an_event_says_what_it_is_about() -> None:
    desk = Desk(UP)
    told(desk)
    desk.be(DRIVE_DELETED)
    frames = desk.look("vtl_units").values()
    (news,) = (one for frame in frames if isinstance(frame, Frame) for one in frame.news)
    facts = {"backend": "mhvtl", "library": A, "drive": f"{A}2", "number": "12"}
    assert (news.kind, news.facts) == ("device_vanished", facts)


def test_one_that_is_half_up_for_two_looks_is_told_with_its_end() -> None:
    desk = Desk(UP)
    told(desk)
    assert told(desk.be(LIBRARY_KILLED)) == [("unit_stopped", A)]
    assert told(desk) == [("half_up_begun", A)]
    assert told(desk) == []
    assert told(desk.be(UP)) == [("unit_started", A), ("half_up_ended", A)]


def test_a_start_that_is_half_done_at_one_look_is_not_half_up() -> None:
    desk = Desk(UP)
    told(desk)
    desk.port.readings["scsi.inquiry", DRIVE_11] = ReadStuck("it hangs", key="scsi", since=NOON)
    assert told(desk) == []
    assert told(desk.be(UP)) == []


def test_a_suspended_daemon_is_told_to_have_stopped() -> None:
    desk = Desk(DRIVE_STOPPED)
    told(desk)
    assert told(desk.be(DRIVE_SIGSTOP)) == [("unit_stopped", f"{A}3")]


def test_what_happened_while_nobody_looked_is_told_after_a_restart() -> None:
    desk, later = Desk(UP), Desk(DRIVE_DELETED)
    told(desk)
    before, after = desk.probes["vtl_units"], later.probes["vtl_units"]
    assert isinstance(before, Remembering)
    assert isinstance(after, Remembering)
    after.restore(msgspec.msgpack.decode(msgspec.msgpack.encode(before.to_plain())))
    assert told(later) == [("device_vanished", f"{A}2")]


def test_a_drive_that_was_configured_anew_is_no_change() -> None:
    desk = Desk(UP)
    devices = desk.port.readings["vtl.config", ""]["devices"]
    few = {"exists": True, "devices": [one for one in devices if one["number"] < 30]}
    desk.port.readings["vtl.config", ""] = few
    told(desk)
    desk.port.readings["vtl.config", ""] = {"exists": True, "devices": devices}
    assert told(desk) == []
    assert B in desk.look("vtl_units")


@pytest.mark.parametrize("count", [1, MOST_NAMED, MOST_NAMED + 1, 5000])
def test_of_many_cartridges_only_some_are_named(count: int) -> None:
    names = [f"E{number:05}" for number in range(count)]
    (news,) = media_changes("/opt", [], names)
    assert news.facts["count"] == count
    assert news.facts["barcodes"] == names[:MOST_NAMED]
