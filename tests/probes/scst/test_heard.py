"""SCST's events added up: counts for good, what happened lately, and what is told."""

import asyncio
import json
import logging

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fakes import HandClock, ScriptedPort
from lab.scst_events import lun_not_found, masked_initiator, task_management, virtual_device
from probes.fix_probes import assert_keeps_to_its_families, values
from storewatchd.core.frames import Frame, Scope
from storewatchd.errors import ProbeAbsent, ProbeDeferred, ProbeError, ProbeFailed, ReadRefused
from storewatchd.port import Heard
from storewatchd.probes.scst.heard import (
    ABORTS_WITHIN_S,
    EVENT_READER,
    EVENTS,
    MAX_LATELY,
    MAX_SERIES,
    NEWS_AT_ONCE,
    REFUSED_WITHIN_S,
    ScstEvents,
    make_event_probes,
)

ESX = "iqn.1998-01.com.vmware:esx07"
TGT = "iqn.2026-01.example:disk1"

WRITE = b"\x8a"


class Ears:
    """The events of SCST as they come, and the probes that tell them."""

    def __init__(self) -> None:
        self.clock = HandClock()
        self.events = ScstEvents(self.clock.clock)
        self.probes = {probe.name: probe for probe in make_event_probes(self.events)}
        self.events.take(Heard("listening"))

    def hear(self, *records: bytes, lost: int = 0) -> None:
        self.events.take(Heard(records=records, lost=lost))

    def look(self, name: str = EVENTS) -> Frame:
        probe = self.probes[name]
        frame = asyncio.run(probe.collect(ScriptedPort(), Scope(name)))
        assert_keeps_to_its_families(probe, frame)
        return frame

    def outcome(self, name: str) -> type[ProbeError] | float:
        """Return how a look ends, or whether the reader is up."""
        try:
            frame = self.look(name)
        except ProbeError as error:
            return type(error)
        return values(frame, "scst_event_reader_up").get((), 1.0) if name == EVENT_READER else 1.0

    def scopes(self, name: str) -> tuple[Scope, ...]:
        return asyncio.run(self.probes[name].discover(ScriptedPort()))


@pytest.fixture
def ears() -> Ears:
    return Ears()


def test_nothing_heard_is_nothing_to_count(ears: Ears) -> None:
    frame = ears.look()
    assert not any(frame.rows.values())
    assert frame.news == ()


def test_what_hosts_do_is_counted_and_told(ears: Ears) -> None:
    abort = task_management(0, ESX, TGT, lun=3, device="disk1", tag=1, cdb=WRITE)
    ears.hear(abort, task_management(4, ESX, TGT, lun=3, device="disk1"), abort)
    ears.hear(lun_not_found(ESX, TGT, 9), masked_initiator("who", TGT), virtual_device("disk2"))
    frame = ears.look()
    assert values(frame, "scst_task_management_total") == {
        (TGT, ESX, "disk1", "3", "abort_task"): 2.0,
        (TGT, ESX, "disk1", "3", "lun_reset"): 1.0,
    }
    assert values(frame, "scst_aborted_commands_total") == {(TGT, ESX, "3", "WRITE(16)"): 2.0}
    assert values(frame, "scst_lun_not_found_total") == {(TGT, ESX, "9"): 1.0}
    assert values(frame, "scst_masked_initiator_total") == {(TGT, "who"): 1.0}
    assert values(frame, "scst_task_management_recent") == {
        (TGT, ESX, "disk1", "3", "abort"): 2.0,
        (TGT, ESX, "disk1", "3", "reset"): 1.0,
    }
    assert values(frame, "scst_refused_recent") == {
        (TGT, ESX, "lun_not_found"): 1.0,
        (TGT, "who", "masked"): 1.0,
    }
    told = [(one.type.value, one.kind, one.facts["count"]) for one in frame.news]
    assert told == [
        ("scst", "task_management", 2),
        ("scst", "task_management", 1),
        ("scst", "lun_not_found", 1),
        ("scst", "masked_initiator", 1),
        ("scst", "virtual_device", 1),
    ]
    assert frame.news[0].facts == {
        "function": "abort_task",
        "initiator": ESX,
        "target": TGT,
        "session": ESX,
        "lun": "3",
        "device": "disk1",
        "command": "WRITE(16)",
        "count": 2,
    }
    assert ears.look().news == ()


def test_what_scst_does_itself_when_a_session_ends_is_no_abort_of_its_initiator(
    ears: Ears,
) -> None:
    ears.hear(task_management(6, ESX, TGT), task_management(10, ESX, TGT))
    frame = ears.look()
    assert sum(values(frame, "scst_task_management_total").values()) == 2
    assert values(frame, "scst_task_management_recent") == {}


def test_what_happened_lately_is_forgotten_and_the_count_stays(ears: Ears) -> None:
    ears.hear(task_management(0, ESX, TGT), masked_initiator(ESX, TGT))
    ears.clock.forward(ABORTS_WITHIN_S + 1)
    ears.hear(task_management(0, ESX, TGT))
    frame = ears.look()
    assert list(values(frame, "scst_task_management_recent").values()) == [1.0]
    assert list(values(frame, "scst_refused_recent").values()) == [1.0]
    ears.clock.forward(REFUSED_WITHIN_S)
    frame = ears.look()
    assert values(frame, "scst_refused_recent") == {}
    assert sum(values(frame, "scst_task_management_total").values()) == 2


def test_names_without_end_are_counted_together(ears: Ears) -> None:
    for number in range(MAX_SERIES + 5):
        ears.hear(masked_initiator(f"iqn.flood:{number}", TGT))
    ears.hear(masked_initiator("iqn.flood:0", TGT))
    found = values(ears.look(), "scst_masked_initiator_total")
    assert len(found) == MAX_SERIES + 1
    assert found["other", "other"] == 5
    assert found[TGT, "iqn.flood:0"] == 2
    assert len(values(ears.look(), "scst_refused_recent")) == MAX_SERIES


def test_a_flood_is_remembered_within_bounds_and_told_within_bounds(ears: Ears) -> None:
    for number in range(MAX_LATELY + 500):
        ears.hear(task_management(0, ESX, TGT, lun=number % 1000))
    frame = ears.look()
    assert sum(values(frame, "scst_task_management_recent").values()) == MAX_LATELY
    assert sum(values(frame, "scst_task_management_total").values()) == MAX_LATELY + 500
    assert len(frame.news) == NEWS_AT_ONCE + 1
    assert frame.news[-1].kind == "events_not_told"
    told = sum(one.facts["count"] for one in frame.news)
    assert told == MAX_LATELY + 500


def test_what_was_lost_is_counted(ears: Ears, caplog: pytest.LogCaptureFixture) -> None:
    ears.hear(lost=3)
    ears.events.note_lost(2)
    with caplog.at_level(logging.WARNING):
        ears.hear(b"garbage", b"", masked_initiator(ESX, TGT))
    assert values(ears.look(EVENT_READER), "scst_event_lost_total") == {(): 7.0}
    assert sum(values(ears.look(), "scst_masked_initiator_total").values()) == 1
    assert len(caplog.records) == 1  # the second says nothing new


@pytest.mark.parametrize(
    ("state", "events", "reader"),
    [
        ("listening", 1.0, 1.0),
        ("absent", ProbeAbsent, ProbeAbsent),
        ("forbidden", ReadRefused, 0.0),
        ("failed", ProbeFailed, 0.0),
        ("stuck", ProbeFailed, 0.0),
        ("deferred", ProbeDeferred, 0.0),
    ],
)
def test_what_is_not_heard_is_not_known_and_that_it_is_not_is(
    ears: Ears, state: str, events: object, reader: object
) -> None:
    ears.events.take(Heard(state, "why"))
    assert (ears.outcome(EVENTS), ears.outcome(EVENT_READER)) == (events, reader)
    is_there = state != "absent"
    for name in (EVENTS, EVENT_READER):
        assert ears.scopes(name) == ((Scope(name),) if is_there else ())


def test_before_anything_was_said_nothing_is_known() -> None:
    ears = Ears()
    ears.events.standing.state = ""
    assert (ears.outcome(EVENTS), ears.outcome(EVENT_READER)) == (ProbeDeferred, ProbeDeferred)


def test_counts_go_on_over_a_restart(ears: Ears) -> None:
    ears.hear(masked_initiator(ESX, TGT), task_management(0, ESX, TGT, tag=1, cdb=WRITE), lost=2)
    after = Ears()
    probe = after.probes[EVENTS]
    kept = json.loads(json.dumps(ears.events.to_plain()))
    probe.restore(kept)  # type: ignore[union-attr]
    after.hear(masked_initiator(ESX, TGT))
    assert values(after.look(), "scst_masked_initiator_total") == {(TGT, ESX): 2.0}
    assert values(after.look(), "scst_aborted_commands_total") == {(TGT, ESX, "0", "WRITE(16)"): 1}
    assert values(after.look(EVENT_READER), "scst_event_lost_total") == {(): 2.0}
    assert values(after.look(), "scst_task_management_recent") == {}


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner),
    max_leaves=10,
)


@given(json_values)
def test_of_anything_else_that_was_kept_nothing_is_believed(kept: object) -> None:
    ears = Ears()
    before = ears.events.to_plain()
    ears.events.restore(kept)
    assert ears.events.to_plain() == before


@pytest.mark.parametrize(
    "change",
    [
        {"version": 2},
        {"lost": -1},
        {"counts": {}},
        {"counts": {"scst_masked_initiator_total": [["only one label", 1]]}},
    ],
)
def test_a_memory_that_is_not_ours_is_left_out(ears: Ears, change: dict[str, object]) -> None:
    ears.hear(masked_initiator(ESX, TGT))
    after = Ears()
    after.events.restore({**ears.events.to_plain(), **change})
    assert after.events.to_plain() == Ears().events.to_plain()
