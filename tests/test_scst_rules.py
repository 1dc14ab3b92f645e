"""The rules of SCST on the real engine, over the states of a real SCST: when they fire, when they
end, and what they say."""

import asyncio
import functools
import itertools
from collections.abc import Iterable
from typing import Any

import pytest

from fakes import NOON
from probes.scst.fix_scst import ONE, TGT1, Appliance, attributes, seen
from storewatch_reader.scst import LATENCY, QUEUED
from storewatchd.core.engine import Engine
from storewatchd.core.frames import Frame, MetricType, Outcome, Row, Scope
from storewatchd.core.incidents import Incidents
from storewatchd.core.model import Alert, AlertState, Severity
from storewatchd.core.rules import doubtful, load
from storewatchd.core.series import SeriesTable
from storewatchd.errors import ProbeAbsent, ProbeError, ReadStuck
from storewatchd.probes.block import BLOCK_FAMILIES
from storewatchd.probes.fibrechannel import FAMILIES as PORT_FAMILIES
from storewatchd.probes.scst.memory import EXPECTED_AFTER_S, EXPIRES_AFTER_S
from storewatchd.probes.scst.presence import Presence, hour_of
from storewatchd.rule_files import built_in_files

INTERVAL_S = 30.0
RULES, PROBLEMS = load([file for file in built_in_files() if file.path == "scst.yml"])
BLOCK, PORTS = Scope("block"), Scope("fibrechannel")

# Everything works; of the devices one was made inactive on purpose, which is put right here.
HEALTHY = "run2/01-multi-initiator-sessions"
ACTIVE: dict[str, bytes | int] = {
    "devices/inact/active": b"1\n",
    "devices/inact/size": b"16777216\n[key]\n",
}

ACL = "iqn.2026-11.lab.example:acl"


class Watch:
    """The rules over what the probes of SCST say of an appliance."""

    def __init__(self, name: str = HEALTHY, *, max_age_s: float = 5 * INTERVAL_S) -> None:
        self.appliance = Appliance(name)
        self.table = SeriesTable()
        for probe in self.appliance.probes.values():
            self.table.declare(probe.name, probe.families, max_age_s=max_age_s)
        self.table.declare(BLOCK.probe, BLOCK_FAMILIES, max_age_s=max_age_s)
        self.table.declare(PORTS.probe, PORT_FAMILIES, max_age_s=max_age_s)
        ids = itertools.count()
        self.incidents = Incidents("node", lambda _: f"id-{next(ids)}")
        self.engine = Engine(self.table, self.incidents, RULES)
        self.files: dict[str, dict[str, Any]] = {}
        self.disks: dict[str, list[Row]] = {}
        self.ports: dict[str, bool] = {}  # whether each is online
        self.absent: set[Scope] = set()
        self.be(name)

    def be(self, name: str = HEALTHY, **changes: bytes | int) -> None:
        """Be in another state. What is behind each device is there, unless `files` says other."""
        self.appliance.be(name, **(ACTIVE if name == HEALTHY else {}), **changes)
        sizes = {one.name: one.size_bytes for one in seen(name).devices}
        for path, filename in attributes(name, QUEUED).items():
            if path.endswith("/filename") and isinstance(filename, bytes):
                size = sizes[path.split("/")[1]]
                place = filename.decode().split("\n", 1)[0]
                facts = {"exists": True, "kind": "file", "size": size}
                self.appliance.readings["file.size", place] = self.files.get(place, facts)

    def look(self, seconds: float = INTERVAL_S) -> list[str]:
        """Let time pass, look at everything, judge, and return what fires."""
        self.appliance.clock.forward(seconds)
        now = self.appliance.clock.now()
        for probe in self.appliance.probes.values():
            try:
                scopes = self.appliance.scopes(probe.name)
            except ProbeError:
                continue
            self.table.expect(probe.name, scopes)
            for scope in scopes:
                self.table.feed(self._frame(scope, now.wall))
        self.table.feed(Frame(BLOCK, now.wall, rows=self.disks))
        states = [Row((port, "online"), float(is_up)) for port, is_up in self.ports.items()]
        self.table.feed(Frame(PORTS, now.wall, rows={"fc_host_port_state": states}))
        self.engine.evaluate(now, frozenset(self.table.names()))
        return self.firing()

    def _frame(self, scope: Scope, at: float) -> Frame:
        probe = self.appliance.probes[scope.probe]
        try:
            found = asyncio.run(probe.collect(self.appliance, scope))
        except ProbeAbsent as error:
            # As the collector takes it: what was there before has failed.
            was_seen = scope not in self.absent
            outcome = Outcome.FAILED if was_seen else Outcome.ABSENT
            return Frame(scope, at, outcome, reason=str(error))
        except ProbeError as error:
            return Frame(scope, at, Outcome.FAILED, reason=str(error))
        return Frame(scope, at, rows=found.rows)

    def looks(self, count: int) -> list[list[str]]:
        return [self.look() for _ in range(count)]

    def open(self) -> list[Alert]:
        return sorted((one.alert for one in self.incidents), key=lambda alert: alert.rule)

    def firing(self) -> list[str]:
        return [alert.rule for alert in self.open() if alert.state is AlertState.FIRING]

    def alert(self, rule: str) -> Alert:
        """Return the one alert of a rule that fires."""
        (found,) = [
            one for one in self.open() if (one.rule, one.state) == (rule, AlertState.FIRING)
        ]
        return found


@pytest.fixture
def watch() -> Watch:
    watch = Watch()
    watch.look()
    return watch


def test_the_rules_are_whole() -> None:
    assert PROBLEMS == []
    for rule in RULES:
        if rule.kind == "alert":
            assert {"summary", "description"} <= rule.annotations.keys(), rule.name


def test_every_metric_that_they_name_is_a_probes() -> None:
    families = [family for probe in Appliance(HEALTHY).probes.values() for family in probe.families]
    known = frozenset(one.name for one in (*families, *BLOCK_FAMILIES, *PORT_FAMILIES))
    assert doubtful(RULES, known) == []


def test_only_counters_are_asked_for_their_increase() -> None:
    families = [family for probe in Appliance(HEALTHY).probes.values() for family in probe.families]
    for family in families:
        # Those of a latency are named as a summary's are.
        counts = family.name.endswith(("_total", "_seconds_sum", "_seconds_count"))
        assert counts == (family.type is MetricType.COUNTER)


def test_where_all_is_well_nothing_fires_or_pends() -> None:
    watch = Watch()
    for _ in range(60):
        watch.look()
        assert watch.open() == []


def test_where_there_is_no_scst_nothing_fires_or_pends() -> None:
    watch = Watch("run1/01-absent-no-modules")
    watch.absent = {Scope("scst_state"), Scope("scst"), Scope("scst_slow")}
    for _ in range(10):
        watch.look()
        assert watch.open() == []


# Each rule by itself: how things are, after how many looks it fires, and what it says.


@pytest.mark.parametrize(
    ("changes", "rule", "severity", "after", "title"),
    [
        pytest.param(
            {"suspend": b"2\n"},
            "ScstSuspended",
            Severity.CRITICAL,
            3,
            "SCST is suspended: all I/O of all hosts stands still",
            id="suspended",
        ),
        pytest.param(
            {"last_sysfs_mgmt_res": -11},
            "ScstManagementStuck",
            Severity.WARNING,
            11,
            "A management operation of SCST does not end",
            id="management",
        ),
        pytest.param(
            {f"targets/iscsi/{TGT1}/enabled": b"0\n"},
            "TargetDisabled",
            Severity.CRITICAL,
            3,
            f"The target {TGT1} is disabled: no host can log in",
            id="disabled",
        ),
        pytest.param(
            {"devices/disk02/block": b"1 0\n"},
            "LunBlocked",
            Severity.WARNING,
            5,
            "The device disk02 is blocked: its I/O waits",
            id="blocked",
        ),
        pytest.param(
            {f"targets/iscsi/{TGT1}/black_hole": b"3\n"},
            "BlackHoleActive",
            Severity.CRITICAL,
            1,
            f"The target {TGT1} swallows commands",
            id="black hole of a target",
        ),
        pytest.param(
            {f"targets/iscsi/{ACL}/ini_groups/hosts/black_hole": b"1\n[key]\n"},
            "BlackHoleActive",
            Severity.CRITICAL,
            1,
            f"The target {ACL}, group hosts, swallows commands",
            id="black hole of a group",
        ),
        pytest.param(
            {"devices/inact/active": b"0\n[key]\n"},
            "LunBackingMissing",
            Severity.CRITICAL,
            2,
            "The device inact is inactive: hosts see it, and cannot use it",
            id="inactive",
        ),
    ],
)
def test_a_state_is_told_until_it_is_over(
    watch: Watch,
    changes: dict[str, bytes | int],
    rule: str,
    severity: Severity,
    after: int,
    title: str,
) -> None:
    watch.appliance.be(HEALTHY, **{**ACTIVE, **changes})
    fired = watch.looks(after)
    assert fired == [*([[]] * (after - 1)), [rule]]
    alert = watch.alert(rule)
    assert (alert.severity, alert.title, alert.source) == (severity, title, "scst")
    watch.be()
    assert watch.look() == []


# SCST and its drivers.


def test_scst_that_is_gone_is_down_and_what_it_did_stays_as_it_was(watch: Watch) -> None:
    disabled: dict[str, bytes | int] = {f"targets/iscsi/{TGT1}/enabled": b"0\n"}
    watch.be(HEALTHY, **disabled)
    watch.looks(3)
    watch.appliance.be("run1/01-absent-no-modules")
    assert watch.looks(2) == [["TargetDisabled"], ["ScstDown", "TargetDisabled"]]
    assert watch.alert("TargetDisabled").stale_since is not None
    assert watch.alert("ScstDown").title == (
        "SCST is not loaded any more: no host sees its storage"
    )
    watch.be()
    assert watch.look() == []


@pytest.mark.parametrize(
    ("name", "why"),
    [
        pytest.param("run2/14-iscsi-scstd-SIGKILL", ": its daemon does not run", id="killed"),
        pytest.param("run2/16-tape-pass-through-registered", "", id="started again"),
    ],
)
def test_a_driver_that_lost_all_of_its_targets_is_told(watch: Watch, name: str, why: str) -> None:
    watch.be(name)
    assert [fired[-1:] for fired in watch.looks(2)] == [[], ["ScstTargetsLost"]]
    alert = watch.alert("ScstTargetsLost")
    assert (alert.severity, alert.resource_id) == (Severity.CRITICAL, "iscsi")
    assert alert.title == f"The driver iscsi has lost all of its 3 targets{why}"
    watch.be()
    assert "ScstTargetsLost" not in watch.look()


def test_targets_that_were_taken_out_are_not_missed_while_there_are_others(watch: Watch) -> None:
    watch.be("run1/06-configured-idle")
    watch.looks(4)
    assert "ScstTargetsLost" not in watch.firing()


def test_a_driver_that_never_had_targets_is_no_matter() -> None:
    watch = Watch("run1/04-iscsi-module-no-daemon")
    assert watch.looks(10) == [[]] * 10


# Initiators.


def with_sids(sids: Iterable[str]) -> dict[str, bytes | int]:
    place = f"targets/iscsi/{TGT1}/sessions/{ONE}/sid"
    return {place: f"{''.join(sids)}\n".encode()}


def test_an_initiator_that_logs_in_again_and_again_is_told(watch: Watch) -> None:
    watch.looks(20)
    fired = []
    for login in range(5):
        watch.be(HEALTHY, **with_sids(f"{login}01"))
        fired += watch.looks(3)
    assert fired.index(["SessionFlapping"]) in range(9, 12)  # with the fourth login
    alert = watch.alert("SessionFlapping")
    assert alert.resource_id == ONE
    assert alert.title.startswith(f"{ONE} logs in again and again: 5 times")
    quiet = watch.looks(90)
    ended = quiet.index([])
    assert 60 <= ended <= 82, "at most 10 minutes of logins, and half an hour of rest"


def test_logging_in_again_now_and_then_is_no_matter(watch: Watch) -> None:
    watch.looks(20)
    for login in range(6):
        watch.be(HEALTHY, **with_sids(f"{login}01"))
        assert watch.looks(8) == [[]] * 8


def test_an_initiator_that_lost_a_path_is_told_for_a_day(watch: Watch) -> None:
    watch.look(EXPECTED_AFTER_S)
    gone = "run2/01-multi-initiator-sessions"
    without_acl = {
        path: content
        for path, content in attributes(gone).items()
        if not path.startswith(f"targets/iscsi/{ACL}/sessions/")
    }
    for _ in range(11):
        watch.be()
        watch.appliance.readings["scst.cheap", ""] = {**without_acl, **ACTIVE}
        watch.look()
    alert = watch.alert("MultipathLostAtTarget")
    assert watch.firing() == ["MultipathLostAtTarget"]
    assert alert.title == "iqn.2026-11.lab.client:two has lost 1 of its paths"
    assert f"than before: {ACL} (iscsi). The next fault" in alert.message
    for _ in range(4):
        watch.look(EXPIRES_AFTER_S / 4)
    assert watch.look() == []


def test_who_has_gone_for_good_has_lost_no_path(watch: Watch) -> None:
    watch.look(EXPECTED_AFTER_S)
    without = {
        path: content
        for path, content in attributes(HEALTHY).items()
        if "/sessions/iqn.2026-11.lab.client:two" not in path
    }
    watch.appliance.readings["scst.cheap", ""] = {**without, **ACTIVE}
    assert watch.looks(12) == [[]] * 12


TWO_ONLY = "iqn.2026-11.lab.client:two"


@functools.cache
def two_weeks() -> Presence:
    """Return what a probe knows that has looked at the healthy state for two weeks."""
    targets = list(seen(HEALTHY).exported())
    here = {
        (target.driver, target.name, session.identity.initiator): session.group
        for target in targets
        for session in target.sessions
        if session.identity is not None
    }
    presence, places = Presence(), [(one.driver, one.name) for one in targets]
    for number in range(14 * 144):
        at = NOON + 600.0 * number
        presence.take(here, places, hour_of(at), at)
    return presence


@pytest.fixture
def settled() -> Watch:
    """A watch over an appliance that is known for two weeks."""
    return known_for_two_weeks(two_weeks().to_plain())


def known_for_two_weeks(presence: dict[str, Any]) -> Watch:
    watch = Watch()
    watch.appliance.clock.forward(14 * 86_400)
    watch.appliance.start({"presence": presence})
    watch.be()
    assert watch.looks(3)[-1] == []
    return watch


def leave(watch: Watch, **changes: bytes | int) -> None:
    """Have one initiator have no session at any target."""
    watch.be(HEALTHY, **changes)
    watch.appliance.readings["scst.cheap", ""] = {
        path: content
        for path, content in watch.appliance.readings["scst.cheap", ""].items()
        if f"/sessions/{TWO_ONLY}" not in path
    }


def test_an_initiator_that_usually_is_here_and_is_not_is_told(settled: Watch) -> None:
    leave(settled)
    assert settled.looks(11) == [*([[]] * 10), ["ExpectedInitiatorMissing"]]
    alert = settled.alert("ExpectedInitiatorMissing")
    assert (alert.severity, alert.resource_id) == (Severity.WARNING, TWO_ONLY)
    assert alert.title == f"{TWO_ONLY} has no session, and usually has at this hour"
    assert f"100% of the days like this one at {ACL} (iscsi)" in alert.message
    settled.be()
    assert settled.look() == []


def test_an_initiator_that_is_away_shortly_is_not_told(settled: Watch) -> None:
    for _ in range(3):
        leave(settled)
        assert settled.looks(9) == [[]] * 9
        settled.be()
        assert settled.looks(2) == [[]] * 2


def test_on_a_new_machine_nobody_is_missed(watch: Watch) -> None:
    leave(watch)
    assert watch.looks(30) == [[]] * 30


def test_nobody_is_missed_at_targets_that_are_disabled(settled: Watch) -> None:
    targets = {path for path in attributes(HEALTHY) if path.endswith("/enabled")}
    leave(settled, **dict.fromkeys(targets, b"0\n"))
    assert {rule for fired in settled.looks(14) for rule in fired} == {"TargetDisabled"}


def test_nobody_is_missed_where_scst_is_down(settled: Watch) -> None:
    settled.appliance.be("run1/01-absent-no-modules")
    assert {rule for fired in settled.looks(14) for rule in fired} == {"ScstDown"}


def test_nobody_is_missed_where_the_driver_has_lost_its_targets(settled: Watch) -> None:
    settled.be("run2/14-iscsi-scstd-SIGKILL")
    fired = {rule for fired in settled.looks(14) for rule in fired}
    assert "ScstTargetsLost" in fired
    assert "ExpectedInitiatorMissing" not in fired


def test_who_was_taken_out_of_its_group_is_not_missed() -> None:
    presence = two_weeks().to_plain()
    # It saw LUNs by no group at the other target, where nobody can be taken out.
    presence["here"] = [one for one in presence["here"] if one[1:3] != [TGT1, TWO_ONLY]]
    settled = known_for_two_weeks(presence)
    leave(settled)
    assert settled.looks(11)[-1] == ["ExpectedInitiatorMissing"]
    place = f"targets/iscsi/{ACL}/ini_groups/hosts/initiators/"
    steady = settled.appliance.readings["scst.steady", ""]
    settled.appliance.readings["scst.steady", ""] = {
        path: content for path, content in steady.items() if not path.startswith(f"{place}iqn")
    }
    assert settled.looks(12)[-1] == []


WWPN, HOST = "21:00:00:24:ff:7e:3c:01", "10:00:00:90:fa:5b:e2:7a"


@pytest.mark.parametrize("is_online", [True, False])
def test_nobody_is_missed_at_a_port_that_is_down(is_online: bool) -> None:
    presence = Presence()
    for number in range(14 * 144):
        at = NOON + 600.0 * number
        peers = {("qla2x00t", WWPN, HOST): ""}
        presence.take(peers, [("qla2x00t", WWPN)], hour_of(at), at)
    watch = known_for_two_weeks(presence.to_plain())
    tree = dict(watch.appliance.readings["scst.cheap", ""])
    tree |= {f"targets/qla2x00t/{WWPN}/": b"", f"targets/qla2x00t/{WWPN}/enabled": b"1\n"}
    watch.appliance.readings["scst.cheap", ""] = tree
    watch.ports = {WWPN: is_online}
    missed = "ExpectedInitiatorMissing" in watch.looks(12)[-1]
    assert missed == is_online


# LUNs.


def test_a_hung_back_end_is_told_with_its_lun_and_file() -> None:
    watch = Watch("run1/15-backend-io-errors")
    watch.looks(4)
    fired = []
    for name in (
        *("run1/16-backend-hung-5s", "run1/16-backend-hung-5s"),
        *("run1/16-backend-hung-5s", "run1/16-backend-hung-5s", "run1/16-backend-hung-5s"),
    ):
        watch.be(name)
        fired.append("LunStuck" in watch.look())
    assert fired == [False, False, False, True, True]
    alert = watch.alert("LunStuck")
    assert (alert.severity, alert.resource_id) == (Severity.CRITICAL, "blk01")
    assert alert.title == f"LUN 2 of {TGT1} (blk01) does not answer {ONE}"
    assert "It lies at /dev/mapper/lab-lin0." in alert.message
    watch.be("run1/20-unstuck")
    assert "LunStuck" not in watch.look()


def test_commands_without_data_are_no_progress() -> None:
    watch = Watch("run1/15-backend-io-errors")
    watch.looks(4)
    place = f"targets/iscsi/{TGT1}/sessions/{ONE}_1/none_cmd_count"
    for count in range(5):
        watch.be("run1/16-backend-hung-5s", **{place: f"{1000 + count}\n".encode()})
        watch.look()
    assert "LunStuck" in watch.firing()


def test_a_lun_that_is_busy_and_gets_on_is_not_stuck() -> None:
    watch = Watch("run1/15-backend-io-errors")
    place = f"targets/iscsi/{TGT1}/sessions/{ONE}_1/read_cmd_count"
    for count in range(20):
        watch.be("run1/16-backend-hung-5s", **{place: f"{20000 + count}\n".encode()})
        assert "LunStuck" not in watch.look()


def test_a_lun_that_is_stuck_beside_others_that_work_is_told_by_the_age_of_its_command() -> None:
    watch = Watch("run1/15-backend-io-errors")
    place = f"targets/iscsi/{TGT1}/sessions/{ONE}_1/read_cmd_count"
    trace = attributes("run1/16-backend-hung-5s", QUEUED)["trace_cmds"]
    assert isinstance(trace, bytes)
    old = trace.replace(b"proc time 8 sec", b"proc time 68 sec")
    fired = []
    for count in range(14):
        changes: dict[str, bytes | int] = {place: f"{20000 + count}\n".encode()}
        watch.be("run1/16-backend-hung-5s", **changes, trace_cmds=old)
        fired.append("LunStuck" in watch.look())
    assert fired.index(True) <= 11  # the list of commands is read every 5 minutes
    assert watch.alert("LunStuck").resource_id == "blk01"


def test_a_lun_that_waits_because_its_device_is_blocked_is_not_stuck_too() -> None:
    watch = Watch("run1/15-backend-io-errors")
    for _ in range(6):
        watch.be("run1/17-device-blocked")
        watch.look()
    assert [one.resource_id for one in watch.open() if one.rule == "LunStuck"] == ["blk01"]
    assert watch.alert("LunBlocked").resource_id == "disk02"


def test_when_all_is_suspended_no_lun_is_stuck() -> None:
    watch = Watch("run1/15-backend-io-errors")
    for _ in range(8):
        watch.be("run1/16-backend-hung-5s", suspend=b"1\n")
        watch.look()
    assert "LunStuck" not in watch.firing()
    assert "ScstSuspended" in watch.firing()


def test_a_tape_may_take_twenty_minutes() -> None:
    tape = "run5/scst-tree"
    place = next(path for path in attributes(tape) if path.endswith("lun1/active_commands"))
    watch = Watch(tape)
    watch.look()
    fired = []
    for _ in range(45):
        watch.be(tape, **{place: b"1\n"})
        fired.append("LunStuck" in watch.look())
    assert 40 <= fired.index(True) <= 43


GONE = "/var/lab/disk02.img"


def put(watch: Watch, **facts: Any) -> None:
    watch.files[GONE] = facts
    watch.be()


def test_a_file_that_was_deleted_is_told(watch: Watch) -> None:
    put(watch, exists=False)
    fired = watch.looks(6)
    assert fired[-1] == ["LunBackingMissing"]
    assert fired.index(["LunBackingMissing"]) <= 5  # looked at every two minutes
    assert watch.alert("LunBackingMissing").title == (
        f"{GONE} is gone, where the device disk02 has its data"
    )
    watch.files.clear()
    watch.be()
    assert watch.looks(5)[-1] == []


def test_a_file_that_was_cut_off_is_told(watch: Watch) -> None:
    size = next(one.size_bytes for one in seen(HEALTHY).devices if one.name == "disk02")
    assert size is not None
    put(watch, exists=True, kind="file", size=size - (1 << 20))
    watch.looks(6)
    alert = watch.alert("LunBackingMissing")
    assert alert.title == "The device disk02 is 1MiB larger than its data"
    assert f"{GONE} was cut off after SCST opened it." in alert.message


def test_a_file_that_has_grown_is_told_softly(watch: Watch) -> None:
    size = next(one.size_bytes for one in seen(HEALTHY).devices if one.name == "disk02")
    assert size is not None
    put(watch, exists=True, kind="file", size=size + (16 << 20))
    watch.looks(26)
    assert watch.firing() == ["LunSizeOutdated"]
    alert = watch.alert("LunSizeOutdated")
    assert (alert.severity, alert.resource_id) == (Severity.INFO, "disk02")
    assert "has grown by 16MiB" in alert.title


def test_an_inactive_device_whose_file_is_gone_is_told_once(watch: Watch) -> None:
    put(watch, exists=False)
    watch.looks(6)
    watch.be(HEALTHY, **{"devices/disk02/active": b"0\n"})
    assert watch.looks(3)[-1] == ["LunBackingMissing"]


def test_what_lies_on_a_hung_mount_stays_as_it_was(watch: Watch) -> None:
    put(watch, exists=False)
    watch.looks(6)
    stuck = ReadStuck("it has not answered", key=f"file.size:{GONE}", since=0.0)
    watch.appliance.readings["file.size", GONE] = stuck
    assert watch.looks(8)[-1] == ["LunBackingMissing"]
    assert watch.alert("LunBackingMissing").stale_since is not None


def test_errors_of_back_ends_are_told_for_an_hour() -> None:
    watch = Watch()
    watch.appliance.tell("io", "io")  # before anybody looked
    assert watch.looks(25) == [[]] * 25
    watch.appliance.tell("io", "other", "connection")
    assert watch.looks(2)[-1] == ["LunBackendErrors"]
    assert watch.alert("LunBackendErrors").severity is Severity.CRITICAL
    quiet = watch.looks(150)
    assert 120 <= quiet.index([]) <= 142, "an hour, after ten minutes"


@pytest.mark.parametrize("kind", ["other", "connection", "timeout", "event_lost"])
def test_other_errors_in_the_log_are_none_of_back_ends(watch: Watch, kind: str) -> None:
    watch.looks(25)
    watch.appliance.tell(kind)
    assert watch.looks(5) == [[]] * 5


# Data integrity.


def test_damaged_data_is_told_for_a_day() -> None:
    watch = Watch(max_age_s=3600)

    def errors(count: int) -> None:
        table = b"\tapp\tref\tguard\ntgt\t0\t0\t%d\nscst\t0\t0\t0\ndev\t0\t0\t0\n" % count
        queued: dict[str, bytes | int] = dict(attributes(HEALTHY, QUEUED))
        queued[f"targets/iscsi/{TGT1}/sessions/{ONE}/dif_checks_failed"] = table
        watch.appliance.readings["scst.queued", ""] = queued

    errors(7)
    assert watch.looks(50)[-1] == []  # they happened before anybody looked
    errors(8)
    assert watch.looks(12)[-1] == ["DifErrors"]
    alert = watch.alert("DifErrors")
    assert alert.title == f"Data of {ONE} at {TGT1} was damaged on its way"
    assert "(guard tag) failed where it comes in: the host" in alert.message
    fired = [watch.look(600) for _ in range(150)]
    assert 144 <= fired.index([]) <= 147


# Latency.


def disks(seconds: float, *, await_s: float, iops: float, rotational: str) -> dict[str, list[Row]]:
    requests = seconds * iops
    disk = ("dm-0",)
    return {
        "node_disk_reads_completed_total": [Row(disk, requests)],
        "node_disk_writes_completed_total": [Row(disk, 0.0)],
        "node_disk_read_time_seconds_total": [Row(disk, requests * await_s)],
        "node_disk_write_time_seconds_total": [Row(disk, 0.0)],
        "node_disk_info": [Row((*disk, "", "", "", rotational), 1.0)],
    }


@pytest.mark.parametrize(
    ("await_s", "iops", "rotational", "fires"),
    [
        pytest.param(0.060, 100, "1", ["LunLatencyHigh"], id="slow for a disk"),
        pytest.param(0.030, 100, "1", [], id="good for a disk"),
        pytest.param(0.030, 100, "0", ["LunLatencyHigh"], id="slow for an ssd"),
        pytest.param(0.005, 100, "0", [], id="good for an ssd"),
        pytest.param(0.060, 5, "1", [], id="hardly used"),
        pytest.param(0.700, 100, "1", ["LunLatencyCritical", "LunLatencyHigh"], id="very slow"),
    ],
)
def test_a_slow_disk_behind_a_device_is_told(
    await_s: float, iops: float, rotational: str, fires: list[str]
) -> None:
    watch = Watch()
    facts = {"exists": True, "kind": "block", "size": 128 << 20, "disk": "dm-0"}
    watch.files["/dev/mapper/lab-lin0"] = facts
    watch.be()
    for look in range(26):
        watch.disks = disks(look * 30, await_s=await_s, iops=iops, rotational=rotational)
        watch.look()
    assert watch.firing() == fires
    if fires == ["LunLatencyHigh"]:
        title = watch.alert("LunLatencyHigh").title
        assert title == f"The disk dm-0 takes {await_s * 1000:.0f}ms for a request, behind blk01"


def test_a_slow_disk_that_scst_does_not_use_is_no_matter() -> None:
    watch = Watch()
    for look in range(26):
        watch.disks = disks(look * 30, await_s=1.0, iops=100, rotational="1")
        assert watch.look() == []


MEASURED = "run1/10-during-io-measure_latency"


def waits(watch: Watch, *, count: int, average_ms: float) -> None:
    """Have the reads of a session have waited for the back end."""
    place = f"targets/iscsi/{TGT1}/sessions/{ONE}/latency/r4096"
    us = f"{average_ms * 1000:.1f}"
    lines = "".join(
        f"{stage} {count} 0.1 {us} {average} 0.3 us\n"
        for stage, average in (("EXEC_WAIT", us), ("total", f"{average_ms * 1250:.1f}"))
    )
    tables = dict(attributes(MEASURED, LATENCY))
    tables[place] = f"state count min max avg stddev\n{lines}".encode()
    watch.appliance.readings["scst.latency", ""] = tables


@pytest.mark.parametrize(
    ("average_ms", "iops", "fires"),
    [
        pytest.param(80, 50, {"LunLatencyHigh"}, id="slow"),
        pytest.param(20, 50, set(), id="good"),
        pytest.param(80, 5, set(), id="hardly used"),
        pytest.param(900, 50, {"LunLatencyHigh", "LunLatencyCritical"}, id="very slow"),
    ],
)
def test_commands_that_wait_for_the_back_end_are_told_where_that_is_measured(
    average_ms: float, iops: int, fires: set[str]
) -> None:
    watch = Watch(MEASURED)
    for look in range(40):
        waits(watch, count=100 + 30 * iops * look, average_ms=average_ms)
        watch.look()
    told = {one.rule for one in watch.open() if one.resource_id == ONE}
    assert told & {"LunLatencyHigh", "LunLatencyCritical"} == fires
    if fires == {"LunLatencyHigh"}:
        alert = watch.alert("LunLatencyHigh")
        assert alert.title == f"Commands of {ONE} at {TGT1} wait 80ms for the back end"
        assert "Of the time that its commands take, 80% is that wait" in alert.message
