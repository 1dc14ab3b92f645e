"""The rules of SCST on the real engine: when they fire, when they end, and what they say."""

import functools
from collections.abc import Iterable
from typing import Any

import pytest

from fakes import NOON
from fix_scst_watch import ACL, ACTIVE, HEALTHY, PROBLEMS, RULES, Watch
from probes.scst.fix_scst import ONE, TGT1, Appliance, attributes, seen
from storewatchd.core.frames import MetricType, Scope
from storewatchd.core.model import Severity
from storewatchd.core.rules import doubtful
from storewatchd.core.templates import Context
from storewatchd.probes.block import BLOCK_FAMILIES
from storewatchd.probes.fibrechannel import FAMILIES as PORT_FAMILIES
from storewatchd.probes.scst.heard import EVENT_FAMILIES
from storewatchd.probes.scst.memory import EXPECTED_AFTER_S, EXPIRES_AFTER_S
from storewatchd.probes.scst.presence import Presence, hour_of


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
    elsewhere = (*BLOCK_FAMILIES, *PORT_FAMILIES, *EVENT_FAMILIES)
    known = frozenset(one.name for one in (*families, *elsewhere))
    assert doubtful(RULES, known) == []


def test_only_counters_are_asked_for_their_increase() -> None:
    families = [family for probe in Appliance(HEALTHY).probes.values() for family in probe.families]
    for family in families:
        # Those of a latency are named as a summary's are.
        counts = family.name.endswith(("_total", "_seconds_sum", "_seconds_count", "_bucket"))
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
    assert watch.alert("ScstDown").title == ("SCST is not loaded: no host sees its storage")
    watch.be()
    assert watch.look() == []


def test_a_module_that_the_configuration_needs_is_missed(watch: Watch) -> None:
    text = "TARGET_DRIVER iscsi {\n TARGET iqn.a {\n }\n}\n"
    watch.appliance.readings["boot.scst", ""] = {"exists": True, "text": text}
    watch.appliance.readings["scst.modules", ""] = {"scst/": b""}
    assert watch.looks(3)[-1] == ["ScstModuleMissing"]
    alert = watch.alert("ScstModuleMissing")
    assert (alert.severity, alert.resource_id) == (Severity.CRITICAL, "iscsi_scst")
    assert alert.title == ("The kernel module iscsi_scst is not loaded, and scst.conf needs it")
    watch.appliance.readings["scst.modules", ""] = {"scst/": b"", "iscsi_scst/": b""}
    assert watch.look() == []


def test_without_scst_its_modules_are_not_missed_one_by_one(watch: Watch) -> None:
    text = "TARGET_DRIVER iscsi {\n TARGET iqn.a {\n }\n}\n"
    watch.appliance.readings["boot.scst", ""] = {"exists": True, "text": text}
    watch.appliance.readings["scst.modules", ""] = {}
    watch.appliance.be("run1/01-absent-no-modules")
    assert watch.looks(3)[-1] == ["ScstDown"]


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
    assert "When iscsi-scstd ends" in alert.message
    watch.be()
    assert "ScstTargetsLost" not in watch.look()


@pytest.mark.parametrize(
    ("driver", "words"),
    [
        ("scst_local", "Its targets are made by hand or from the configuration"),
        ("qla2x00t", "Its targets are ports of adapters"),
    ],
)
def test_what_to_do_about_lost_targets_depends_on_the_driver(driver: str, words: str) -> None:
    (rule,) = (one for one in RULES if one.name == "ScstTargetsLost")
    context = Context({"driver": driver}, 1.0, lambda _: [])
    message = rule.annotations["description"].render(context)
    assert message.startswith(f"No host reaches storage over {driver}. {words}")
    assert "iscsi" not in message


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
    assert alert.title == "iqn.2026-11.lab.client:two has lost 1 of its 2 paths"
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
    assert f"most of the days like this one: at {ACL} (iscsi) on 100% of them;" in alert.message
    settled.be()
    assert settled.look() == []


def test_an_initiator_of_iscsi_is_missed_though_adapters_of_other_kinds_hang(
    settled: Watch,
) -> None:
    settled.ports = None
    leave(settled)
    assert settled.looks(11)[-1] == ["ExpectedInitiatorMissing"]


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
