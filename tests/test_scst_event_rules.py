"""The rules of what SCST tells of its hosts, on the real engine: when they fire, when they end, and
what they say."""

import asyncio
import itertools

import pytest

from fakes import HandClock, ScriptedPort
from lab.scst_events import lun_not_found, masked_initiator, task_management
from storewatchd.core.engine import Engine
from storewatchd.core.frames import Frame, Outcome, Row, Scope
from storewatchd.core.incidents import Incidents
from storewatchd.core.model import Alert, AlertState, Severity
from storewatchd.core.rules import load
from storewatchd.core.series import SeriesTable
from storewatchd.errors import ProbeError
from storewatchd.port import Heard
from storewatchd.probes.scst.families import FAMILIES
from storewatchd.probes.scst.heard import EVENTS, ScstEvents, make_event_probes
from storewatchd.rule_files import built_in_files

INTERVAL_S = 30.0
RULES, PROBLEMS = load([file for file in built_in_files() if file.path == "scst.yml"])
ESX = "iqn.1998-01.com.vmware:esx07"
OTHER = "iqn.1998-01.com.vmware:esx08"
TGT = "iqn.2026-01.example:disk1"
MINUTES_15 = 30
"""Looks in a quarter of an hour."""


class Watch:
    """The rules over what SCST tells, beside a tree in which one session may be."""

    def __init__(self) -> None:
        self.clock = HandClock()
        self.events = ScstEvents(self.clock.clock)
        self.events.take(Heard("listening"))
        self.probes = make_event_probes(self.events)
        self.table = SeriesTable()
        for probe in self.probes:
            self.table.declare(probe.name, probe.families, max_age_s=5 * INTERVAL_S)
        self.table.declare("scst", FAMILIES, max_age_s=5 * INTERVAL_S)
        ids = itertools.count()
        self.incidents = Incidents("node", lambda _: f"id-{next(ids)}")
        self.engine = Engine(self.table, self.incidents, RULES)
        self.sessions: list[Row] = []

    def hear(self, *records: bytes) -> list[str]:
        """Let something happen, and be looked at at once."""
        self.events.take(Heard(records=records))
        return self.look(0.0)

    def look(self, seconds: float = INTERVAL_S) -> list[str]:
        """Let time pass, look, judge, and return what fires."""
        self.clock.forward(seconds)
        now = self.clock.now()
        for probe in self.probes:
            scope = Scope(probe.name)
            try:
                rows = asyncio.run(probe.collect(ScriptedPort(), scope)).rows
                frame = Frame(scope, now.wall, rows=rows)
            except ProbeError as error:
                frame = Frame(scope, now.wall, Outcome.FAILED, reason=str(error))
            self.table.expect(probe.name, (scope,))
            self.table.feed(frame)
        self.table.feed(Frame(Scope("scst"), now.wall, rows={"scst_session_up": self.sessions}))
        self.engine.evaluate(now, frozenset(self.table.names()))
        return sorted(alert.rule for alert in self.firing())

    def looks(self, count: int) -> list[list[str]]:
        return [self.look() for _ in range(count)]

    def firing(self) -> list[Alert]:
        return [one.alert for one in self.incidents if one.alert.state is AlertState.FIRING]

    def alert(self, rule: str) -> Alert:
        (found,) = [one for one in self.firing() if one.rule == rule]
        return found


@pytest.fixture
def watch() -> Watch:
    watch = Watch()
    assert watch.look() == []
    return watch


def abort(initiator: str = ESX, lun: int = 3) -> bytes:
    return task_management(0, initiator, TGT, lun=lun, device="disk1", tag=1, cdb=b"\x8a")


def test_five_aborts_in_five_minutes_are_a_warning_at_once(watch: Watch) -> None:
    assert watch.hear(*[abort()] * 4) == []
    assert watch.hear(abort()) == ["InitiatorAborting"]
    alert = watch.alert("InitiatorAborting")
    assert alert.severity is Severity.WARNING
    assert alert.resource_id == ESX
    assert alert.title == f"{ESX} gave up 5 times in five minutes at LUN 3 of {TGT} (disk1)"
    assert "where SCST knew the command: WRITE(16) (5). Look at the disks" in alert.message


def test_aborts_that_are_far_between_are_none(watch: Watch) -> None:
    for _ in range(12):
        assert watch.hear(abort()) == []
        watch.looks(3)  # a minute and a half: four in six minutes


def test_aborts_of_two_hosts_or_luns_are_not_added_up(watch: Watch) -> None:
    assert watch.hear(*[abort(lun=1)] * 4, *[abort(lun=2)] * 4, *[abort(OTHER)] * 4) == []


@pytest.mark.parametrize("function", [4, 5])
def test_a_reset_is_critical_at_once(watch: Watch, function: int) -> None:
    assert watch.hear(task_management(function, ESX, TGT, lun=3, device="disk1")) == [
        "InitiatorResetting"
    ]
    alert = watch.alert("InitiatorResetting")
    assert alert.severity is Severity.CRITICAL
    where = f"LUN 3 of {TGT} (disk1)" if function == 4 else TGT
    assert f"is about to lose {where}: it resets it" in alert.title


def test_twenty_aborts_are_critical(watch: Watch) -> None:
    assert watch.hear(*[abort()] * 20) == ["InitiatorAborting", "InitiatorResetting"]


def test_a_session_that_ends_is_no_reset(watch: Watch) -> None:
    assert watch.hear(*[task_management(6, ESX, TGT), task_management(10, ESX, TGT)] * 30) == []


def test_it_ends_after_a_quarter_of_an_hour_of_rest(watch: Watch) -> None:
    watch.hear(*[abort()] * 20)
    looks = watch.looks(MINUTES_15 + 2)
    assert all(looks[: MINUTES_15 - 1])
    assert looks[-1] == []


def test_while_nobody_listens_it_stays_as_it_is(watch: Watch) -> None:
    watch.hear(*[abort()] * 5)
    watch.events.take(Heard("failed", "the reader is gone"))
    assert all(watch.looks(2 * MINUTES_15))
    assert watch.alert("InitiatorAborting").stale_since is not None


def test_who_is_shown_no_lun_is_told_once_for_a_day(watch: Watch) -> None:
    assert watch.hear(masked_initiator(ESX, TGT)) == ["MaskedOrUnknownInitiator"]
    alert = watch.alert("MaskedOrUnknownInitiator")
    assert alert.severity is Severity.INFO
    assert alert.title == f"{ESX} looks in vain for storage at {TGT}"
    assert alert.message.startswith("It is shown no LUN at all. If it should have storage,")
    for _ in range(23):
        watch.looks(2)
        watch.clock.forward(3540)  # nobody could look meanwhile, which ends nothing
        assert watch.look()


def test_who_has_a_session_is_told_what_it_asked_for(watch: Watch) -> None:
    watch.sessions = [Row(("iscsi", "iqn.2026-01.example:disk2", ESX, "1"), 1.0)]
    assert watch.hear(*[lun_not_found(ESX, TGT, 9)] * 3) == ["MaskedOrUnknownInitiator"]
    message = watch.alert("MaskedOrUnknownInitiator").message
    assert message.startswith(
        "It asked for LUN 9, 3 times; which it does not have. "
        "It is logged in at iqn.2026-01.example:disk2; so its group"
    )


def test_who_asks_for_what_is_no_lun(watch: Watch) -> None:
    watch.hear(lun_not_found(ESX, TGT, (1 << 64) - 1))
    assert "LUN (none at all), 1 times" in watch.alert("MaskedOrUnknownInitiator").message


def test_who_insists_is_a_warning_until_it_rests(watch: Watch) -> None:
    watch.hear(*[masked_initiator(ESX, TGT)] * 49)
    assert watch.hear(lun_not_found(ESX, TGT, 1)) == [
        "MaskedInitiatorInsists",
        "MaskedOrUnknownInitiator",
    ]
    alert = watch.alert("MaskedInitiatorInsists")
    assert alert.severity is Severity.WARNING
    assert "looked 50 times within an hour" in alert.title
    watch.looks(122)
    assert watch.look() == ["MaskedOrUnknownInitiator"]


def test_the_rules_name_families_of_these_probes(watch: Watch) -> None:
    assert PROBLEMS == []
    assert {EVENTS} <= {probe.name for probe in watch.probes}
