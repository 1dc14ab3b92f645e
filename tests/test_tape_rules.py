"""The rules of tapes on the real engine, over what the probes see: when they fire, when they end,
and what they say."""

import asyncio
import importlib.resources
import itertools
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

import pytest

from fakes import NOON, ScriptedPort
from probes.tape.fix_drive import AT, DRIVE, Desk, FakeDrive, Tape
from probes.tape.fix_tape import (
    CHANGER_AT,
    LIBRARY,
    MAIL,
    ROBOT,
    STORAGE,
    FakeLibrary,
    Place,
    device,
    library,
)
from probes.tape.fix_tape import DRIVE as BAY
from scsi.fix_logs import parameter
from storewatchd.core.engine import Engine
from storewatchd.core.frames import Frame, Row, Scope
from storewatchd.core.incidents import Incidents
from storewatchd.core.model import Alert, AlertState, Instant, Severity
from storewatchd.core.rules import RuleFile, doubtful, load
from storewatchd.core.series import SeriesTable
from storewatchd.errors import ProbeDeferred
from storewatchd.probes.base import Probe
from storewatchd.probes.tape.alerts import make_tape_alerts
from storewatchd.probes.tape.drives import DrivesProbe
from storewatchd.probes.tape.libraries import ElementStatesProbe, InventoriesProbe, LibrariesProbe
from storewatchd.probes.tape.reports import Reports
from storewatchd.probes.vtl.probe import VtlProbe
from storewatchd.rule_files import built_in_files
from storewatchd.scsi.logs import FLAGS, TapeAlerts

INTERVAL_S = 30.0
FILE = importlib.resources.files("storewatchd.rules").joinpath("tape.yml")
RULES, PROBLEMS = load([RuleFile("tape.yml", FILE.read_text(), "built-in")])
FOR_5M = 11
FOR_10M = 21
"""Looks until what lasts so long fires."""


def deferred_to_none(look: Callable[[], Frame]) -> list[Frame]:
    """Return the frame of a look, or none where it was put off."""
    try:
        return [look()]
    except ProbeDeferred:
        return []


class Watch:
    """The rules over a library with one drive of ours in it, and perhaps others beside it."""

    def __init__(self) -> None:
        self.desk = Desk(FakeDrive())
        self.library = library("A00001L8", "CLN001L8", None)
        self.states = {DRIVE: b"running\n", LIBRARY: b"running\n"}
        self.others: list[str] = []
        """Serial numbers of more drives, which are well."""
        self.holders: list[dict[str, object]] = []
        self.counts: dict[str, int] = {}
        """The kernel's statistics of the drive."""
        self.is_gone = False
        """Whether the kernel has no device of the drive."""
        self.virtual: tuple[str, ...] = ()
        """Drives and libraries that mhvtl is said to have."""
        self.is_held = False
        """Whether the drive is never read, because of who holds it."""
        self.table = SeriesTable()
        self.reports = reports = Reports()
        self.product = b"Tape 9"
        self.libraries = make_tape_alerts(self.desk.clock.clock, is_broker=True).libraries
        """The flags of libraries, which somebody asks for."""
        self.probes = (
            DrivesProbe(self.desk.alerts.book, self.desk.clock.clock),
            *(self.desk.probe, self.desk.alerts),
            LibrariesProbe(reports, self.desk.clock.clock),
            InventoriesProbe(reports),
            ElementStatesProbe(reports, self.desk.clock.clock),
            self.libraries,
        )
        for probe in (*self.probes, VtlProbe):
            self.table.declare(probe.name, probe.families, max_age_s=5 * INTERVAL_S)
        ids = itertools.count()
        self.incidents = Incidents("node", lambda _: f"id-{next(ids)}")
        self.engine = Engine(self.table, self.incidents, RULES)
        self.now = Instant(NOON, 1000.0)

    @property
    def drive(self) -> FakeDrive:
        return self.desk.drive

    def look(self) -> list[str]:
        """Let half a minute pass, look at everything, judge, and return what fires."""
        self.now = self.now.later(INTERVAL_S)
        port = ScriptedPort()
        self.library.tell(port)
        tree = port.readings["sys.scsi", ""] | device(AT, 1, DRIVE, "sg4", "st0")
        held = {AT: self.holders}
        for number, serial in enumerate(self.others, 2):
            tree |= device(f"3:0:{number}:0", 1, serial, f"sg{number + 9}", f"st{number}")
            held[f"3:0:{number}:0"] = []
        tree[f"scsi_device/{AT}/device/state"] = self.states[DRIVE]
        tree[f"scsi_device/{AT}/device/model"] = self.product
        if self.is_gone:
            tree = {path: one for path, one in tree.items() if f"/{AT}/" not in f"/{path}/"}
        tree[f"scsi_device/{CHANGER_AT}/device/state"] = self.states[LIBRARY]
        port.readings["sys.scsi", ""] = tree
        port.readings["scsi.holders", ""] = {"devices": held}
        tree |= {
            f"scsi_tape/st0/stats/{name}": b"%d\n" % count for name, count in self.counts.items()
        }
        for probe in self.probes:
            if probe is self.desk.probe:
                if self.is_held:
                    self.desk.now += INTERVAL_S
                    continue
                found = [self.desk.look(INTERVAL_S)]
            elif probe is self.desk.alerts:
                found = deferred_to_none(self.desk.flags)
            elif probe is self.libraries and self.libraries.book.of(LIBRARY).seen_at is None:
                continue
            else:
                scopes = asyncio.run(probe.discover(port))
                looks = [partial(self._collected, probe, port, scope) for scope in scopes]
                found = [frame for look in looks for frame in deferred_to_none(look)]
            if not found:
                continue
            self.feed(probe.name, found)
        self.feed(VtlProbe.name, [self._virtual()])
        self.engine.evaluate(self.now, frozenset(self.table.names()))
        return self.firing()

    def _virtual(self) -> Frame:
        found: dict[str, list[Row]] = {"vtl_drive_info": [], "vtl_library_info": []}
        for family in VtlProbe.families:
            if family.name in found:
                place = family.labels.index(family.name.split("_")[1])
                blank = [""] * len(family.labels)
                found[family.name] = [
                    Row((*blank[:place], name, *blank[place + 1 :]), 1.0) for name in self.virtual
                ]
        return Frame(Scope(VtlProbe.name), self.now.wall, rows=found)

    @staticmethod
    def _collected(probe: Probe, port: ScriptedPort, scope: Scope) -> Frame:
        return asyncio.run(probe.collect(port, scope))

    def sleep(self, seconds: float) -> None:
        """Let time pass in which nobody looks."""
        self.now = self.now.later(seconds)
        self.desk.now += seconds
        self.desk.clock.forward(seconds)

    def feed(self, probe: str, found: Iterable[Frame]) -> None:
        frames = list(found)
        self.table.expect(probe, [frame.scope for frame in frames])
        for frame in frames:
            self.table.feed(Frame(frame.scope, self.now.wall, rows=frame.rows))

    def looks(self, count: int) -> list[list[str]]:
        return [self.look() for _ in range(count)]

    def open(self) -> list[Alert]:
        return sorted((one.alert for one in self.incidents), key=lambda alert: alert.rule)

    def firing(self) -> list[str]:
        return [alert.rule for alert in self.open() if alert.state is AlertState.FIRING]

    def of_rule(self, rule: str) -> Alert:
        """Return the one alert of a rule that fires."""
        (found,) = [one for one in self.open() if one.rule == rule]
        return found

    def alert(self) -> Alert:
        """Return the one alert that fires."""
        (found,) = [one for one in self.open() if one.state is AlertState.FIRING]
        return found


@pytest.fixture
def watch() -> Watch:
    watch = Watch()
    watch.look()
    return watch


def assert_fires_after(watch: Watch, looks: int, rule: str) -> Alert:
    """Look so often, and return the alert of the rule that fires at the last look, not before."""
    assert watch.looks(looks) == [*([[]] * (looks - 1)), [rule]]
    alert = watch.alert()
    assert alert.source == "tape"
    assert alert.message.endswith(".")
    return alert


def test_the_rules_are_whole_and_ship() -> None:
    assert PROBLEMS == []
    assert "tape.yml" in [file.path for file in built_in_files()]
    for rule in RULES:
        assert {"summary", "description"} <= rule.annotations.keys(), rule.name


def test_every_metric_that_they_name_is_a_probes(watch: Watch) -> None:
    probes = (*watch.probes, VtlProbe)
    known = frozenset(family.name for probe in probes for family in probe.families)
    assert doubtful(RULES, known) == []


def test_where_all_is_well_nothing_fires_or_pends(watch: Watch) -> None:
    watch.drive.tape = Tape()
    watch.holders = [{"comm": "bareos-sd", "pid": 7}]
    for _ in range(40):
        watch.look()
        assert watch.open() == []


# TapeAlert.

CRITICAL = (4, 5, 6, 13, 14, 23, 30, 31, 33, 38, 52, 53, 54, 55, 56, 57)
WARNING = (*(1, 2, 3, 7, 8, 15, 16, 18, 26, 27, 29, 32, 34, 35, 36, 37, 39, 50, 51, 58, 59),)
OF_CLEANING = {20: "DriveNeedsCleaning", 21: "DriveNeedsCleaning", 22: "CleaningRunOut"}


@pytest.mark.parametrize("flag", FLAGS)
def test_a_flag_fires_at_once_as_bad_as_it_is(watch: Watch, flag: int) -> None:
    watch.drive.flags = frozenset({flag})
    expected = OF_CLEANING.get(flag, "")
    if flag in CRITICAL:
        expected = "TapeAlertCritical"
    if flag in WARNING:
        expected = "TapeAlertWarning"
    assert watch.look() == ([expected] if expected else [])


def test_two_looks_without_a_flag_end_its_alert(watch: Watch) -> None:
    watch.drive.flags = frozenset({30})
    watch.look()
    watch.drive.flags = frozenset()
    assert watch.looks(3) == [["TapeAlertCritical"], ["TapeAlertCritical"], []]


def test_a_flag_says_what_to_do_and_with_which_cartridge(watch: Watch) -> None:
    watch.drive.tape, watch.drive.flags = Tape("A00001L8", "SN1"), frozenset({4})
    watch.look()
    alert = watch.of_rule("TapeAlertCritical")
    assert (alert.severity, alert.resource_type, alert.resource_id) == (
        Severity.CRITICAL,
        "drive",
        DRIVE,
    )
    assert alert.title == "The drive DRV0001 reports media (TapeAlert flag 4)"
    assert alert.message.startswith(
        "The cartridge is at fault: copy its data off and stop using it. The cartridge in it is "
        "A00001L8. Before anything else, copy what can still be read. This alert ends when"
    )


def test_a_cartridge_that_a_flag_blamed_is_told_for_a_day_after_it_was_unloaded(
    watch: Watch,
) -> None:
    watch.drive.tape, watch.drive.flags = Tape("A00001L8", "SN1"), frozenset({3, 4})
    watch.look()
    watch.drive.tape, watch.drive.flags = None, frozenset()
    assert watch.looks(4)[-1] == ["CartridgeHealth"]
    alert = watch.alert()
    assert (alert.severity, alert.resource_type, alert.resource_id) == (
        Severity.WARNING,
        "cartridge",
        "A00001L8",
    )
    assert alert.title == (
        "The cartridge A00001L8 is at fault by the drive DRV0001: media (TapeAlert flag 4)"
    )
    watch.drive.tape = Tape("B00001L8", "SN2")
    assert watch.looks(2)[-1] == ["CartridgeHealth"]
    assert watch.alert().resource_id == "A00001L8", "another one is not blamed"


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        ({3, 4, 6}, "It comes with flag 4 (media) and flag 6 (write failure), which"),
        ({3}, "None of the flags 4 (media), 5 (read failure) and 6 (write failure) is set"),
    ],
)
def test_a_hard_error_names_the_flags_that_tell_who_is_bad(
    watch: Watch, flags: set[int], words: str
) -> None:
    watch.drive.flags = frozenset(flags)
    watch.look()
    assert words in watch.of_rule("TapeAlertWarning").message


def test_a_cartridge_without_a_bar_code_is_named_by_its_serial_number(watch: Watch) -> None:
    watch.drive.tape, watch.drive.flags = Tape("", "SN1"), frozenset({7})
    watch.look()
    assert watch.alert().severity is Severity.WARNING
    assert (
        "The cartridge in it is the one with the serial number SN1. This" in watch.alert().message
    )


def test_two_flags_are_two_alerts(watch: Watch) -> None:
    watch.drive.flags = frozenset({3, 5, 6})
    assert watch.look() == ["TapeAlertCritical", "TapeAlertCritical", "TapeAlertWarning"]


def test_a_forced_eject_is_critical_where_a_job_used_the_drive(watch: Watch) -> None:
    watch.holders = [{"comm": "bareos-sd", "pid": 7}]
    watch.looks(3)
    watch.holders = []
    watch.drive.flags = frozenset({16})
    assert watch.look() == ["TapeAlertCritical", "TapeAlertWarning"]
    critical = next(one for one in watch.open() if one.rule == "TapeAlertCritical")
    assert critical.title.endswith("by force, while a job used it")
    assert "The drive was held by bareos-sd." in critical.message
    assert watch.looks(20)[-1] == ["TapeAlertCritical", "TapeAlertWarning"]
    watch.drive.flags = frozenset()
    fired = watch.looks(110)
    assert fired[90] == ["TapeAlertCritical"]
    assert fired[-1] == [], "an hour later"


# Cleaning.


def test_a_drive_that_must_be_cleaned_is_critical_until_it_is(watch: Watch) -> None:
    watch.drive.flags = frozenset({20, 21})
    assert watch.look() == ["DriveNeedsCleaning"]
    alert = watch.alert()
    assert alert.severity is Severity.CRITICAL
    assert alert.title == "The drive DRV0001 must be cleaned before it does any more work"
    assert f"The drive is in bay 0 of the library {LIBRARY}. Load a cleaning" in alert.message
    assert "Load a cleaning cartridge into the drive when it is idle." in alert.message
    watch.drive.flags = frozenset()
    assert watch.look() == []


def test_a_drive_that_asks_to_be_cleaned_is_a_warning(watch: Watch) -> None:
    watch.drive.flags = frozenset({21})
    watch.look()
    assert watch.alert().severity is Severity.WARNING
    assert watch.alert().title == "The drive DRV0001 asks to be cleaned"


def test_a_cleaning_cartridge_that_is_used_up_is_critical(watch: Watch) -> None:
    watch.drive.flags = frozenset({22})
    watch.look()
    assert watch.alert().severity is Severity.CRITICAL
    assert watch.alert().title == (
        "The cleaning cartridge that the drive DRV0001 was given is used up"
    )


def test_a_library_without_a_cleaning_cartridge_matters_when_one_is_needed(watch: Watch) -> None:
    watch.library = library("A00001L8")
    assert watch.looks(FOR_5M + 1) == [[]] * (FOR_5M + 1)
    watch.drive.flags = frozenset({21})
    fired = watch.looks(FOR_5M)
    assert fired[-2:] == [["DriveNeedsCleaning"], ["CleaningRunOut", "DriveNeedsCleaning"]]
    alert = next(one for one in watch.open() if one.rule == "CleaningRunOut")
    assert (alert.severity, alert.resource_id) == (Severity.WARNING, LIBRARY)
    assert alert.title == (
        f"A drive of the library {LIBRARY} asks to be cleaned, and there is no cleaning cartridge"
    )


def test_a_drive_asks_to_be_cleaned_where_nothing_is_there_to_do_it(watch: Watch) -> None:
    watch.library = library("A00001L8", "B00001L8", None)
    watch.drive.flags = frozenset({20})
    watch.look()
    watch.look()
    message = watch.of_rule("DriveNeedsCleaning").message
    assert f"The drive is in bay 0 of the library {LIBRARY}, which has no cleaning" in message


def cleaned(watch: Watch, times: int) -> None:
    """Let the cleaning cartridge have been used so often."""
    known = watch.reports.of(LIBRARY)
    known.cleanings["CLN001L8"] = times


@pytest.mark.parametrize(
    ("times", "severity", "title"),
    [
        pytest.param(45, Severity.WARNING, "has at most 5 uses left", id="five left"),
        pytest.param(49, Severity.WARNING, "has at most 1 use left", id="one left"),
        pytest.param(50, Severity.CRITICAL, "is used up", id="none left"),
        pytest.param(60, Severity.CRITICAL, "is used up", id="more than there were"),
    ],
)
def test_a_cleaning_cartridge_runs_out(
    watch: Watch, times: int, severity: Severity, title: str
) -> None:
    cleaned(watch, times)
    assert watch.look() == ["CleaningRunOut"]
    alert = watch.alert()
    assert (alert.severity, alert.resource_id) == (severity, LIBRARY)
    assert alert.title == f"The cleaning cartridge CLN001L8 in the library {LIBRARY} {title}"
    watch.library = library("A00001L8", "CLN002L8", None)
    assert watch.look() == [], "it was replaced"


def test_a_cleaning_cartridge_is_counted_when_it_is_loaded(watch: Watch) -> None:
    cleaned(watch, 44)
    assert watch.look() == []
    watch.library = library("A00001L8", None, None)
    watch.library.places[2] = Place(BAY, 500, "CLN001L8", drive=DRIVE)
    assert watch.look() == ["CleaningRunOut"]


# Drives that somebody holds.

HELD = [{"comm": "bareos-sd", "pid": 7}]
QUARTER_DAY = 6 * 3600.0


def test_a_command_that_does_not_come_back_is_told_after_six_hours(watch: Watch) -> None:
    watch.holders, watch.is_held = HELD, True
    watch.counts = {"write_cnt": 5, "in_flight": 1}
    watch.looks(2)
    watch.sleep(QUARTER_DAY)
    fired = watch.looks(FOR_5M + 1)
    assert (fired[0], fired[-1]) == ([], ["DriveStuck"])
    alert = watch.alert()
    assert (alert.severity, alert.resource_id) == (Severity.CRITICAL, DRIVE)
    assert alert.title.startswith(f"A command to the drive {DRIVE} has not come back for 6h ")
    assert alert.message.startswith(
        f"bareos-sd (pid 7) waits for it. It is in bay 0 of the library {LIBRARY}. Look at"
    )
    watch.counts["write_cnt"] = 6
    assert watch.look() == []


def test_a_drive_that_is_held_for_nothing_is_told_softly(watch: Watch) -> None:
    watch.holders, watch.is_held = HELD, True
    watch.counts = {"write_cnt": 5, "in_flight": 0}
    watch.looks(2)
    watch.sleep(QUARTER_DAY)
    assert watch.looks(FOR_5M + 1)[-1] == ["DriveHeldIdle"]
    alert = watch.alert()
    assert (alert.severity, alert.resource_id) == (Severity.INFO, DRIVE)
    assert alert.message.startswith("bareos-sd (pid 7) has it open. A storage daemon that keeps")
    watch.holders = []
    assert watch.look() == []


def test_a_drive_at_work_all_night_is_no_trouble(watch: Watch) -> None:
    watch.holders, watch.is_held = HELD, True
    for hour in range(8):
        watch.sleep(3600)
        watch.counts = {"write_cnt": hour, "in_flight": 1}
        assert watch.looks(FOR_5M + 1) == [[]] * (FOR_5M + 1)


def test_a_drive_that_cannot_be_read_for_a_day_is_told(watch: Watch) -> None:
    watch.holders, watch.is_held = HELD, True
    for hour in range(25):
        watch.sleep(3600)
        watch.counts = {"write_cnt": hour, "in_flight": 1}
        watch.look()
    assert watch.looks(FOR_5M + 1)[-1] == ["DriveUnread"]
    alert = watch.alert()
    assert (alert.severity, alert.resource_id) == (Severity.INFO, DRIVE)
    assert "could not be read for 1d " in alert.title
    assert alert.message.startswith(
        "They are read only while nobody holds it, and bareos-sd does now: temperature"
    )
    watch.holders, watch.is_held = [], False
    assert watch.looks(2)[-1] == []


def written(watch: Watch, megabytes_per_s: int, looks: int) -> list[list[str]]:
    """Let the drive be written at a rate, and look so often."""
    found = []
    for _ in range(looks):
        bytes_more = int(megabytes_per_s * 10**6 * INTERVAL_S)
        watch.counts["write_byte_cnt"] = watch.counts.get("write_byte_cnt", 0) + bytes_more
        found.append(watch.look())
    return found


def test_a_drive_that_is_written_too_slowly_is_told_after_a_quarter_of_an_hour(
    watch: Watch,
) -> None:
    watch.product = b"ULT3580-TD8"
    watch.holders, watch.is_held = HELD, True
    fired = written(watch, 60, 60)
    assert fired[29] == []
    assert fired[-1] == ["TapeNotStreaming"]
    alert = watch.alert()
    assert (alert.severity, alert.resource_id) == (Severity.INFO, DRIVE)
    assert alert.message.startswith("Below 112MB/s it stops and winds back again and again")
    assert "It gets 60MB/s now." in alert.message
    assert written(watch, 300, 40)[-1] == []


@pytest.mark.parametrize(
    ("product", "rate"), [(b"ULT3580-TD8", 200), (b"T10000B", 20), (b"ULT3580-TD8", 0)]
)
def test_a_drive_that_streams_or_whose_speed_nobody_knows_is_no_trouble(
    watch: Watch, product: bytes, rate: int
) -> None:
    watch.product = product
    watch.holders, watch.is_held = HELD, True
    assert written(watch, rate, 70) == [[]] * 70


# Cartridges.


def with_tape(watch: Watch, **more: Any) -> None:
    watch.drive.tape = Tape("A00001L8", "SN1", **more)
    watch.drive.loads += 1


def test_errors_that_could_not_be_corrected_are_told_with_cartridge_and_drive(
    watch: Watch,
) -> None:
    with_tape(watch)
    assert watch.look() == []
    watch.drive.uncorrected = 2
    watch.desk.count(write_cnt=1)
    assert watch.look() == ["CartridgeHealth"]
    alert = watch.alert()
    assert (alert.severity, alert.resource_type, alert.resource_id) == (
        Severity.WARNING,
        "cartridge",
        "A00001L8",
    )
    assert alert.title == (
        "The cartridge A00001L8 had errors that could not be corrected, by the drive DRV0001"
    )
    assert alert.message.startswith("2 write errors since it was loaded.")


@pytest.mark.parametrize(
    ("more", "title"),
    [
        pytest.param(
            {"more": (parameter(0x19, (10, 1)),)},
            "The cartridge A00001L8 has 10% of its life left",
            id="life",
        ),
        pytest.param(
            {"more": (parameter(9, (3, 2)),)},
            "The cartridge A00001L8 has 3 errors behind it that ended a read",
            id="hard errors",
        ),
        pytest.param(
            {"more": (parameter(6, (1, 2)),)},
            "The cartridge A00001L8 has 1 error behind it that ended a write",
            id="servo",
        ),
        pytest.param(
            {"loads": 18_001}, "The cartridge A00001L8 was loaded 18001 times", id="loads"
        ),
    ],
)
def test_a_cartridge_that_is_worn_is_told(watch: Watch, more: dict[str, Any], title: str) -> None:
    with_tape(watch, **more)
    assert watch.look() == ["CartridgeHealth"]
    alert = watch.alert()
    assert (alert.title, alert.resource_id) == (title, "A00001L8")
    watch.drive.tape = None
    assert watch.looks(5)[-1] == ["CartridgeHealth"], "it is told for a day"


def test_a_cartridge_that_is_well_is_no_trouble(watch: Watch) -> None:
    with_tape(watch, loads=17_000, more=(parameter(0x19, (11, 1)),))
    assert watch.looks(5) == [[]] * 5


# What a library tells of itself.


def shown(watch: Watch, *flags: int) -> None:
    """Let somebody ask the library for its flags, which shows these."""
    page = TapeAlerts(frozenset(flags))
    watch.libraries.book.of(LIBRARY).see_read(page, watch.now.wall)


@pytest.mark.parametrize(
    ("flag", "severity"),
    [
        *((flag, Severity.CRITICAL) for flag in (1, 3, 4, 6, 9, 12, 17, 18, 21, 24, 30, 31)),
        *((flag, Severity.WARNING) for flag in (2, 5, 7, 8, 13, 14, 15, 19, 23, 25, 26, 27, 28)),
        *((flag, Severity.INFO) for flag in (20, 22, 32)),
    ],
)
def test_a_fault_of_a_library_is_as_bad_as_its_flag(
    watch: Watch, flag: int, severity: Severity
) -> None:
    shown(watch, flag)
    assert watch.look() == ["LibraryFault"]
    alert = watch.alert()
    assert (alert.severity, alert.resource_id) == (severity, LIBRARY)
    assert alert.title.endswith(f"(TapeAlert flag {flag})")
    for _ in range(2):
        shown(watch)
    assert watch.looks(4)[-1] == []


def test_a_door_is_trouble_when_it_stays_open(watch: Watch) -> None:
    shown(watch, 16)
    alert = assert_fires_after(watch, FOR_5M, "LibraryFault")
    assert alert.severity is Severity.CRITICAL
    assert alert.title == f"The library {LIBRARY} reports library door (TapeAlert flag 16)"


# Drives and libraries that cannot be used.


def test_a_drive_that_the_robot_cannot_reach_is_told(watch: Watch) -> None:
    watch.library = with_places(Place(BAY, 500, drive=DRIVE, is_accessible=False))
    alert = assert_fires_after(watch, FOR_5M, "DriveOffline")
    assert (alert.severity, alert.resource_id) == (Severity.WARNING, LIBRARY)
    assert alert.title == (
        f"The robot of the library {LIBRARY} cannot reach its drive at element 500"
    )
    assert alert.message.startswith("It is in bay 0, with the serial number DRV0001. ")
    watch.library = with_places(Place(BAY, 500, "X", drive=DRIVE, is_accessible=False))
    assert watch.look() == [], "a loaded drive may say so"


@pytest.mark.parametrize(
    ("others", "severity", "title"),
    [
        ([], Severity.CRITICAL, "and at most one other is left"),
        (["X1"], Severity.CRITICAL, "and at most one other is left"),
        (["X1", "X2"], Severity.WARNING, "others go on"),
    ],
)
def test_a_drive_that_the_kernel_took_offline_is_told(
    watch: Watch, others: list[str], severity: Severity, title: str
) -> None:
    watch.others = others
    watch.states[DRIVE] = b"offline\n"
    alert = assert_fires_after(watch, FOR_5M, "DriveOffline")
    assert (alert.severity, alert.resource_id) == (severity, DRIVE)
    assert alert.title.startswith("The kernel cannot use the drive DRV0001")
    assert alert.title.endswith(title)
    assert alert.message.startswith(
        f"The kernel has the ACME Tape 9 at {AT} as offline. It is in bay 0 of the library "
        f"{LIBRARY}. Look at"
    )
    watch.states[DRIVE] = b"running\n"
    assert watch.look() == []


def test_a_drive_that_has_vanished_is_not_to_be_told_to_run(watch: Watch) -> None:
    watch.look()
    watch.is_gone = True
    alert = assert_fires_after(watch, FOR_5M, "DriveOffline")
    assert alert.message.startswith(
        f"The kernel has no device of it any more. It is in bay 0 of the library {LIBRARY}."
    )
    assert alert.message.endswith("have it look: `rescan-scsi-bus.sh -a`.")


def test_a_virtual_drive_or_library_is_told_by_the_rules_of_virtual_ones(watch: Watch) -> None:
    watch.virtual = (DRIVE, LIBRARY)
    watch.states |= {DRIVE: b"offline\n", LIBRARY: b"offline\n"}
    assert watch.looks(FOR_5M + 1)[-1] == []


def test_virtual_drives_go_on_in_place_of_no_other(watch: Watch) -> None:
    watch.others = ["X1", "X2"]
    watch.virtual = ("X1",)
    watch.states[DRIVE] = b"offline\n"
    assert assert_fires_after(watch, FOR_5M, "DriveOffline").severity is Severity.CRITICAL


def test_a_library_that_the_kernel_took_offline_is_told(watch: Watch) -> None:
    watch.states[LIBRARY] = b"offline\n"
    alert = assert_fires_after(watch, FOR_5M, "LibraryOffline")
    assert (alert.severity, alert.resource_id) == (Severity.CRITICAL, LIBRARY)
    assert alert.title == (
        f"The kernel cannot use the library {LIBRARY}: no cartridge can be moved"
    )
    assert f"The kernel has the ACME Tape 9 at {CHANGER_AT} as offline. Jobs" in alert.message


def with_places(*places: Place) -> FakeLibrary:
    """Return a library in which a place is otherwise, or is there besides."""
    found = library("A00001L8", "CLN001L8", None)
    there = {one.address: one for one in found.places} | {one.address: one for one in places}
    found.places = list(there.values())
    return found


@pytest.mark.parametrize(("others", "severity"), [(1, Severity.CRITICAL), (2, Severity.WARNING)])
def test_a_drive_that_the_library_cannot_use_is_told(
    watch: Watch, others: int, severity: Severity
) -> None:
    more = [Place(BAY, 501 + one, drive=f"DRV100{one}") for one in range(others)]
    watch.library = with_places(Place(BAY, 500, drive=DRIVE, code=(0x40, 0x02)), *more)
    alert = assert_fires_after(watch, FOR_5M, "DriveOffline")
    assert (alert.severity, alert.resource_type, alert.resource_id) == (
        severity,
        "library",
        LIBRARY,
    )
    assert alert.title.startswith(f"The library {LIBRARY} cannot use its drive at element 500: ")
    assert alert.message.startswith("It is in bay 0, with the serial number DRV0001. ")


@pytest.mark.parametrize(
    ("place", "severity", "title"),
    [
        pytest.param(
            Place(ROBOT, 1, code=(0x15, 0x01)),
            Severity.CRITICAL,
            f"The robot of the library {LIBRARY} is in trouble: ",
            id="robot",
        ),
        pytest.param(
            Place(STORAGE, 1000, "A00001L8", code=(0x30, 0x00)),
            Severity.WARNING,
            f"The library {LIBRARY} has trouble with its slot at element 1000: ",
            id="slot",
        ),
        pytest.param(
            Place(MAIL, 10, code=(0x3B, 0x12)),
            Severity.WARNING,
            f"The library {LIBRARY} has trouble with its mail slot at element 10: ",
            id="mail slot",
        ),
    ],
)
def test_a_place_in_trouble_is_told(
    watch: Watch, place: Place, severity: Severity, title: str
) -> None:
    watch.library = with_places(place)
    alert = assert_fires_after(watch, FOR_5M, "LibraryException")
    assert (alert.severity, alert.resource_id) == (severity, LIBRARY)
    assert alert.title.startswith(title)
    watch.library = with_places()
    assert watch.look() == []


def test_what_is_not_built_in_is_no_trouble(watch: Watch) -> None:
    watch.library = with_places(
        Place(BAY, 501, drive="DRV1000", code=(0x83, 0x04)), Place(STORAGE, 1002, code=(0x83, 0x02))
    )
    assert watch.looks(FOR_5M + 1) == [[]] * (FOR_5M + 1)


# Labels and mail slots.


def test_a_bar_code_that_is_there_twice_is_named(watch: Watch) -> None:
    watch.library = library("A00001L8", "CLN001L8", "A00001L8")
    alert = assert_fires_after(watch, FOR_10M, "DuplicateOrUnreadableBarcode")
    assert alert.severity is Severity.WARNING
    assert alert.title == f"2 cartridges in the library {LIBRARY} have the bar code A00001L8"


@pytest.mark.parametrize(
    ("tags", "title"),
    [
        pytest.param(["", None], "1 cartridge in the library", id="one"),
        pytest.param(["", ""], "2 cartridges in the library", id="two"),
    ],
)
def test_cartridges_without_a_bar_code_are_counted(
    watch: Watch, tags: list[str | None], title: str
) -> None:
    watch.library = library(*tags, "CLN001L8")
    alert = assert_fires_after(watch, FOR_10M, "DuplicateOrUnreadableBarcode")
    assert alert.title.startswith(title)
    assert "`mtx -f /dev/sg3 status` shows which full place has no VolumeTag. Put" in alert.message


def test_a_full_mail_slot_is_told_softly(watch: Watch) -> None:
    watch.library = with_places(Place(MAIL, 10, "OUT001L8"))
    alert = assert_fires_after(watch, FOR_10M, "MailSlotFull")
    assert alert.severity is Severity.INFO
    assert alert.title == f"Every mail slot of the library {LIBRARY} is taken"
