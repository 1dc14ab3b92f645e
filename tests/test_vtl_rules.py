"""The rules of virtual tape libraries on the real engine, over states that were recorded."""

import importlib.resources
import itertools
from dataclasses import replace

import pytest

from fakes import NOON
from probes.vtl.fix_vtl import (
    DRIVE_CRASHED,
    DRIVE_DELETED,
    DRIVE_KILLED,
    DRIVE_OFFLINE,
    DRIVE_SIGSTOP,
    DRIVE_STOPPED,
    GIB,
    LIBRARY_KILLED,
    LIBRARY_RESTARTED,
    LIBRARY_SIGSTOP,
    LIBRARY_STOPPED,
    NO_CHANGER,
    RECOVERED,
    TARGET_STOPPED,
    TGT_SIGSTOP,
    TGT_UP,
    UP,
    A,
    B,
    Desk,
    tell_media,
    tell_room,
)
from storewatchd.core.engine import Engine
from storewatchd.core.frames import Frame, Row, Scope
from storewatchd.core.incidents import Incidents
from storewatchd.core.model import Alert, AlertState, Instant, Severity
from storewatchd.core.rules import RuleFile, doubtful, load
from storewatchd.core.series import SeriesTable
from storewatchd.errors import ReadStuck
from storewatchd.probes.tape.libraries import InventoriesProbe
from storewatchd.probes.tape.reports import Reports
from storewatchd.rule_files import built_in_files

INTERVAL_S = 30.0
FILE = importlib.resources.files("storewatchd.rules").joinpath("vtl.yml")
RULES, PROBLEMS = load([RuleFile("vtl.yml", FILE.read_text(), "built-in")])
FOR_1M = 3
FOR_10M = 21
"""Looks until what lasts so long fires."""


class Watch:
    """The rules over a machine whose state may be changed between looks."""

    def __init__(self, name: str = UP) -> None:
        self.desk = Desk(name)
        self.table = SeriesTable()
        for probe in self.desk.probes.values():
            self.table.declare(probe.name, probe.families, max_age_s=5 * INTERVAL_S)
        ids = itertools.count()
        self.incidents = Incidents("node", lambda _: f"id-{next(ids)}")
        self.engine = Engine(self.table, self.incidents, RULES)
        self.now = Instant(NOON, 1000.0)
        self.looks(2)

    def look(self) -> list[str]:
        """Let half a minute pass, look at everything, judge, and return what fires."""
        self.now = self.now.later(INTERVAL_S)
        for name in self.desk.probes:
            frames = [one for one in self.desk.look(name).values() if isinstance(one, Frame)]
            self.table.expect(name, [frame.scope for frame in frames])
            for frame in frames:
                self.table.feed(replace(frame, at=self.now.wall))
        self.engine.evaluate(self.now, frozenset(self.table.names()))
        return sorted(f"{one.rule} {one.resource_id}" for one in self.firing())

    def looks(self, count: int) -> list[list[str]]:
        return [self.look() for _ in range(count)]

    def firing(self) -> list[Alert]:
        alerts = [one.alert for one in self.incidents]
        return [one for one in alerts if one.state is AlertState.FIRING]

    def alert(self, resource: str) -> Alert:
        """Return the one alert of a resource that fires."""
        (found,) = [one for one in self.firing() if one.resource_id == resource]
        assert found.source == "vtl"
        assert found.message.endswith(".")
        return found


def assert_fires(watch: Watch, *expected: str, looks: int = FOR_1M) -> None:
    """Look so often; these fire at the last look, and not before."""
    assert watch.looks(looks) == [*([[]] * (looks - 1)), list(expected)]


def say_of_unit(watch: Watch, number: int, **facts: object) -> None:
    """Change what systemd says of a unit."""
    for one in watch.desk.port.readings["vtl.units", ""]["units"]:
        if one["unit"] == number:
            one |= facts


def test_the_rules_are_whole_and_ship() -> None:
    assert PROBLEMS == []
    assert "vtl.yml" in [file.path for file in built_in_files()]
    for rule in (one for one in RULES if one.kind == "alert"):
        assert {"summary", "description"} <= rule.annotations.keys(), rule.name


def test_every_metric_that_they_name_is_a_probes() -> None:
    probes = [*Desk().probes.values(), InventoriesProbe(Reports())]
    known = frozenset(family.name for probe in probes for family in probe.families)
    assert doubtful(RULES, known) == []


@pytest.mark.parametrize("state", [UP, TGT_UP])
def test_where_all_is_up_nothing_fires_or_pends(state: str) -> None:
    watch = Watch(state)
    watch.looks(30)
    assert list(watch.incidents) == []


def test_mhvtl_without_its_module_is_down_as_one() -> None:
    watch = Watch()
    watch.desk.port.readings |= {("vtl.module", ""): {}, ("sys.scsi", ""): {}}
    watch.desk.port.readings["vtl.daemons", ""] = {"daemons": []}
    assert_fires(watch, "VtlDown mhvtl")
    alert = watch.alert("mhvtl")
    assert alert.severity is Severity.CRITICAL
    assert alert.title == "mhvtl does not run: every virtual library and drive of it is gone"
    assert "`modprobe mhvtl`" in alert.message
    watch.desk.be(UP)
    assert watch.look() == []


def test_mhvtl_whose_daemons_were_killed_is_down_as_one() -> None:
    watch = Watch()
    watch.desk.port.readings["vtl.daemons", ""] = {"daemons": []}
    assert_fires(watch, "VtlDown mhvtl")
    assert "None of its daemons works" in watch.alert("mhvtl").message


def test_a_suspended_tgtd_is_down() -> None:
    watch = Watch(TGT_UP)
    watch.desk.be(TGT_SIGSTOP)
    assert_fires(watch, "VtlDown stgt")
    assert "is suspended" in watch.alert("stgt").message


def test_a_drive_that_was_stopped_is_down() -> None:
    watch = Watch()
    watch.desk.be(DRIVE_STOPPED)
    assert_fires(watch, f"VtlDown {A}2")
    alert = watch.alert(f"{A}2")
    assert alert.severity is Severity.WARNING
    assert "`systemctl start vtltape@12`" in alert.message


def test_a_library_that_was_stopped_is_down() -> None:
    watch = Watch()
    port = watch.desk.port
    found = port.readings["vtl.daemons", ""]["daemons"]
    port.readings["vtl.daemons", ""] = {"daemons": [one for one in found if one["unit"] != 30]}
    say_of_unit(watch, 30, state="inactive")
    tree = port.readings["sys.scsi", ""]
    port.readings["sys.scsi", ""] = {path: tree[path] for path in tree if "6:0:8:0" not in path}
    assert_fires(watch, f"VtlDown {B}")
    alert = watch.alert(B)
    assert alert.severity is Severity.CRITICAL
    assert "`systemctl status vtllibrary@30`" in alert.message


def test_a_library_started_again_too_soon_is_half_up() -> None:
    watch = Watch()
    watch.desk.be(NO_CHANGER)
    assert_fires(watch, f"VtlHalfUp {A}", f"VtlHalfUp {A}2")
    alert = watch.alert(A)
    assert alert.severity is Severity.CRITICAL
    assert alert.title == (
        f"The virtual library {A} is half up: its daemon runs, and the kernel cannot use its device"
    )
    assert "wait for ten seconds" in alert.message


def test_a_suspended_daemon_is_half_up() -> None:
    watch = Watch()
    watch.desk.be(DRIVE_SIGSTOP)
    assert_fires(watch, f"VtlDown {A}2", f"VtlHalfUp {A}3")
    alert = watch.alert(f"{A}3")
    assert alert.severity is Severity.CRITICAL
    assert alert.title == (
        f"The virtual drive {A}3 is half up: its device is there, and its daemon does not run"
    )
    assert alert.message.startswith("The daemon is suspended: `kill -CONT`")


def test_a_library_that_was_killed_leaves_its_device() -> None:
    watch = Watch()
    watch.desk.be(LIBRARY_KILLED)
    assert_fires(watch, f"VtlHalfUp {A}")
    title = watch.alert(A).title
    assert title.endswith("its device is there, and its daemon does not run")


@pytest.mark.parametrize(
    ("state", "expected"),
    [
        (DRIVE_OFFLINE, [f"VtlHalfUp {A}1"]),
        (DRIVE_DELETED, [f"VtlHalfUp {A}2"]),
        (LIBRARY_STOPPED, [f"VtlHalfUp {A}", f"VtlHalfUp {A}2"]),
        (LIBRARY_SIGSTOP, [f"VtlHalfUp {A}"]),
        (DRIVE_KILLED, [f"VtlHalfUp {A}3"]),
        (DRIVE_CRASHED, [f"VtlHalfUp {A}4"]),
        (LIBRARY_RESTARTED, [f"VtlHalfUp {A}4"]),
        *((state, []) for state in RECOVERED),
    ],
)
def test_each_recorded_state_has_its_alerts(state: str, expected: list[str]) -> None:
    watch = Watch()
    watch.desk.be(state)
    assert_fires(watch, *expected)


def test_an_active_unit_without_a_daemon_is_half_up() -> None:
    watch = Watch()
    watch.desk.be(DRIVE_STOPPED)
    say_of_unit(watch, 12, state="active")
    assert_fires(watch, f"VtlHalfUp {A}2")
    title = watch.alert(f"{A}2").title
    assert title.endswith("its unit is active, and its daemon does not run")


def test_a_daemon_that_goes_on_without_its_unit_is_half_up_and_its_stop_hangs() -> None:
    watch = Watch()
    say_of_unit(watch, 12, state="inactive", left_s=61.0)
    assert_fires(watch, f"VtlHalfUp {A}2", "VtlStopHangs vtltape@12.service")
    alert = watch.alert(f"{A}2")
    assert alert.title.endswith("its unit has been stopped, and its daemon goes on")
    assert alert.message.startswith("Its units do not kill it (KillMode=none)")
    hangs = watch.alert("vtltape@12.service")
    assert hangs.severity is Severity.WARNING
    expected = "The stop of vtltape@12.service has not come to an end for 1m 1s"
    assert hangs.title == expected
    assert "a new one would be started beside it" in hangs.message
    assert hangs.message.endswith("`vtlcmd 12 exit`.")


def test_a_stop_that_systemd_waits_for_is_told() -> None:
    watch = Watch()
    say_of_unit(watch, 10, state="deactivating", left_s=80.0)
    assert_fires(watch, f"VtlHalfUp {A}", "VtlStopHangs vtllibrary@10.service")
    hangs = watch.alert("vtllibrary@10.service")
    assert hangs.message.startswith("systemd waits for it, and so would a start of the machine.")
    assert f"still holds the library {A}" in hangs.message


def test_everything_stopped_while_the_host_was_wedged_is_down_as_one() -> None:
    watch = Watch()
    watch.desk.be(TARGET_STOPPED)
    assert_fires(watch, "VtlDown mhvtl")


def test_a_drive_that_does_not_answer_is_half_up() -> None:
    watch = Watch()
    stuck = ReadStuck("it hangs", key="scsi:6:0:1:0", since=NOON)
    watch.desk.port.readings["scsi.inquiry", "6:0:1:0"] = stuck
    assert_fires(watch, f"VtlHalfUp {A}1")
    alert = watch.alert(f"{A}1")
    assert alert.title.endswith("its daemon and its device are there, and it does not answer")
    assert "One daemon that is suspended or hangs" in alert.message


@pytest.mark.parametrize(
    ("free", "severity"),
    [(14, Severity.WARNING), (5, Severity.WARNING), (4, Severity.CRITICAL)],
)
def test_a_store_that_fills_up(free: int, severity: Severity) -> None:
    watch = Watch()
    tell_room(watch.desk.port, free=free)
    assert_fires(watch, "VtlStoreFull /opt/mhvtl", looks=FOR_10M)
    alert = watch.alert("/opt/mhvtl")
    assert alert.severity is severity
    assert alert.title.endswith(f"/opt/mhvtl has {free}% left")
    assert "The cartridges take 5Gi" in alert.message
    assert "and could take 39.06GiB" in alert.message


def test_what_is_left_of_a_store_is_told_in_tenths_of_a_percent() -> None:
    watch = Watch()
    tell_room(watch.desk.port, free=3.7239)
    assert_fires(watch, "VtlStoreFull /opt/mhvtl", looks=FOR_10M)
    assert watch.alert("/opt/mhvtl").title.endswith("/opt/mhvtl has 3.7% left")


def test_a_store_with_room_is_well() -> None:
    watch = Watch()
    tell_room(watch.desk.port, free=15)
    assert watch.looks(FOR_10M + 1)[-1] == []


def test_a_store_that_could_overflow_is_critical_sooner() -> None:
    watch = Watch()
    more = [["BIG001L8", 0, 70 * GIB, None]]
    tell_media(watch.desk.port, *more)
    watch.desk.clock.forward(3600)
    tell_room(watch.desk.port, free=14)
    assert_fires(watch, "VtlStoreFull /opt/mhvtl", looks=FOR_10M)
    assert watch.alert("/opt/mhvtl").severity is Severity.CRITICAL


@pytest.mark.parametrize(
    ("per_day", "severity", "lasts"),
    [
        (40.0, Severity.CRITICAL, "about 22 hours"),
        (10.0, Severity.WARNING, "about 4 days"),
        (5.0, None, ""),
    ],
)
def test_a_store_that_will_be_full_soon(
    per_day: float, severity: Severity | None, lasts: str
) -> None:
    watch = Watch()
    begin = 36.0 + 2.1 * per_day
    for count in range(int(2.1 * 48)):
        watch.desk.clock.forward(1800 - 30)
        tell_room(watch.desk.port, free=begin - count * per_day / 48, size=200)
        watch.desk.look("vtl_stores")
    watch.looks(FOR_10M + 1)
    if severity is None:
        assert watch.firing() == []
        return
    (alert,) = watch.firing()
    assert (alert.rule, alert.severity) == ("VtlStoreRunway", severity)
    assert alert.title.endswith(f"will be full in {lasts}")
    assert "; at the worst it lasts about " in alert.message


def test_what_an_inventory_says_of_a_virtual_library_has_its_names_too() -> None:
    watch = Watch()
    probe = InventoriesProbe.name
    scopes = {name: Scope(probe, (("library", name),)) for name in (A, "REAL001")}
    watch.table.declare(probe, InventoriesProbe.families, max_age_s=600)
    watch.table.expect(probe, list(scopes.values()))
    for name, scope in scopes.items():
        rows = {
            "library_elements": [Row((name, "storage"), 39.0)],
            "library_elements_full": [Row((name, "storage"), 32.0)],
            "library_media": [Row((name, "storage"), 32.0), Row((name, "drive"), 1.0)],
            "tape_drive_loaded": [Row((name, "0", f"{name}1", "E01001L8"), 1.0)],
        }
        watch.table.feed(Frame(scope, watch.now.wall, rows=rows))
    watch.look()

    def told(family: str) -> dict[tuple[str, ...], float]:
        found = watch.table.read(family, watch.now.wall)
        return {tuple(value for _, value in sorted(one.labels.items())): one.value for one in found}

    assert told("vtl_slots") == {(A, "full"): 32.0, (A, "empty"): 7.0}
    assert told("vtl_media") == {(A, "storage"): 32.0, (A, "drive"): 1.0}
    assert told("vtl_drive_loaded") == {("E01001L8", f"{A}1"): 1.0}
    size = 100 * GIB
    assert told("vtl_oversubscription_ratio") == {("/opt/mhvtl",): 80 * (500 << 20) / size}
