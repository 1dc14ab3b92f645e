"""What the kernel's log said: counted by pattern, and told as events within bounds."""

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fakes import HandClock, ScriptedPort
from probes.fix_probes import assert_keeps_to_its_families, values
from storewatch_reader.kernel_log import PATTERNS
from storewatchd.core.frames import Frame, Scope
from storewatchd.errors import ProbeAbsent, ProbeDeferred
from storewatchd.port import Heard
from storewatchd.probes.kernel_log import (
    MESSAGE_CHARACTERS,
    NEWS_AT_ONCE,
    KernelLine,
    KernelLog,
    KernelLogProbe,
    parse_line,
)

# As Linux 6.1 gives them.
DISK = (
    b"3,1042,177821756,-;I/O error, dev sdb, sector 0 op 0x0:(READ) flags 0x800 phys_seg 1\n"
    b" SUBSYSTEM=block\n DEVICE=b8:16\n"
)
TAPE = b"6,1201,311173588,-;st 9:0:1:0: Power-on or device reset occurred\n DEVICE=+scsi:9:0:1:0\n"


@pytest.fixture
def log() -> KernelLog:
    log = KernelLog(HandClock().clock)
    log.take(Heard("listening"))
    return log


def look(log: KernelLog) -> Frame:
    probe = KernelLogProbe(log)
    frame = asyncio.run(probe.collect(ScriptedPort(), Scope("kernel_log")))
    assert_keeps_to_its_families(probe, frame)
    return frame


def counts(log: KernelLog) -> dict[str, float]:
    found = values(look(log), "kernel_log_matches_total")
    return {name: count for (name,), count in found.items() if count}


def test_a_line_names_its_device() -> None:
    assert parse_line("io_error", DISK) == KernelLine(
        "io_error",
        "I/O error, dev sdb, sector 0 op 0x0:(READ) flags 0x800 phys_seg 1",
        "b8:16",
    )
    assert parse_line("tape_error", TAPE).device == "+scsi:9:0:1:0"


@given(st.binary(max_size=2000))
def test_whatever_the_log_holds_a_line_of_it_can_be_shown(record: bytes) -> None:
    line = parse_line("scst", record)
    assert len(line.message) <= MESSAGE_CHARACTERS
    assert (line.message + line.device).isprintable()


def test_every_pattern_has_its_count_from_the_start(log: KernelLog) -> None:
    found = values(look(log), "kernel_log_matches_total")
    assert found == {(name,): 0.0 for name, _ in PATTERNS}


def test_lines_are_counted_and_told(log: KernelLog) -> None:
    found = log.take(Heard(records=(DISK, TAPE, DISK), patterns=("io_error", "tape_error") * 2))
    assert found["io_error"] == 2
    log.take(Heard(more={"io_error": 7}, lost=4))
    frame = look(log)
    assert {one.kind for one in frame.news} == {"kernel_message"}
    assert [one.facts["count"] for one in frame.news] == [2, 1]
    assert frame.news[1].facts == {
        "pattern": "tape_error",
        "message": "st 9:0:1:0: Power-on or device reset occurred",
        "device": "+scsi:9:0:1:0",
        "count": 1,
    }
    assert values(frame, "kernel_log_lost_total") == {(): 4.0}
    assert counts(log) == {"io_error": 9.0, "tape_error": 2.0}
    assert look(log).news == ()


def test_what_scst_says_of_its_daily_work_is_no_event(log: KernelLog) -> None:
    log.take(Heard(records=(b"6,1,1,-;scst: hello\n",), patterns=("scst",)))
    assert counts(log) == {"scst": 1.0}
    assert look(log).news == ()


def test_a_flood_is_no_flood_of_events(log: KernelLog) -> None:
    count = NEWS_AT_ONCE + 30
    records = tuple(b"3,%d,1,-;I/O error, dev sd%d" % (one, one) for one in range(count))
    log.take(Heard(records=records, patterns=("io_error",) * count))
    news = look(log).news
    assert len(news) == NEWS_AT_ONCE + 1
    assert (news[-1].kind, news[-1].facts) == ("kernel_messages_not_told", {"count": 30})


def test_a_pattern_of_a_newer_reader_is_left_out(log: KernelLog) -> None:
    log.take(Heard(more={"of_tomorrow": 1}))
    assert counts(log) == {}


def test_without_a_log_there_is_nothing_to_look_at() -> None:
    log = KernelLog(HandClock().clock)
    probe = KernelLogProbe(log)
    port = ScriptedPort()
    assert asyncio.run(probe.discover(port)) == (Scope("kernel_log"),)
    with pytest.raises(ProbeDeferred):
        look(log)
    log.take(Heard("absent", "/dev/kmsg: No such file or directory"))
    with pytest.raises(ProbeAbsent, match="/dev/kmsg"):
        look(log)
    assert asyncio.run(probe.discover(port)) == ()
