"""Faults of SCST that look alike and are not: which alert each state gives. Each row is a state
that a real SCST was brought into."""

from collections.abc import Callable

import pytest

from fix_scst_watch import ACTIVE, HEALTHY, Watch
from probes.scst.fix_scst import TGT1, saved_text, seen
from storewatchd.core.frames import Scope
from storewatchd.core.model import Alert, AlertState
from storewatchd.probes.scst.drift import Change, Drift, drifts
from storewatchd.probes.scst.saved import parse_saved

LOOKS = 12  # of half a minute

# Before each state came one that it is to be compared with: some faults stayed for good.
BEFORE = {
    "run1/01": "run1/11-persistent-reservation",
    "run1/16": "run1/15-backend-io-errors",
    "run2/01": HEALTHY,
    "run2/06": "run2/05-user-handler-dead",
}


def fired(watch: Watch) -> set[tuple[str, str]]:
    """Return what fires, and for what."""
    return {
        (one.rule, one.resource_id.rpartition(":")[2] if one.resource_id else "")
        for one in watch.open()
        if one.state is AlertState.FIRING
    }


def alerts_of(state: str) -> set[tuple[str, str]]:
    """Return what a state gives that its state before did not."""
    watch = Watch(BEFORE[max(one for one in BEFORE if one <= state)])
    watch.looks(LOOKS)
    known = fired(watch)
    watch.be(state, **ACTIVE)
    watch.looks(LOOKS)
    return fired(watch) - known


@pytest.mark.parametrize(
    ("state", "alerts"),
    [
        pytest.param("run1/02-core-only", [
            ("ScstHandlerGone", "vcdrom"),
            ("ScstHandlerGone", "vdisk_blockio"),
            ("ScstHandlerGone", "vdisk_fileio"),
            ("ScstHandlerGone", "vdisk_nullio"),
            ("ScstTargetsLost", "iscsi"),
            ("ScstTargetsLost", "scst_local"),
        ], id="core only, of what had targets and devices"),
        pytest.param("run1/34-no-iscsi-driver", [
            ("ScstTargetsLost", "iscsi"),
        ], id="iscsi module unloaded"),
        pytest.param("run1/25-target-disabled-with-sessions-t0", [
            ("TargetDisabled", "tgt1"),
        ], id="target disabled under load"),
        pytest.param("run1/13-alua-standby", [
            ("LunBackingMissing", "blk01"),
        ], id="standby, which makes block devices inactive"),
        pytest.param("run1/14-devices-inactive", [
            ("LunBackingMissing", "gone"),
            ("LunBackingMissing", "thin_vol-1"),
        ], id="device inactive"),
        pytest.param("run1/17-device-blocked", [
            ("LunBlocked", "disk02"),
            ("LunStuck", "blk01"),
        ], id="device blocked, and another back end that hangs"),
        pytest.param("run1/21-suspended", [("ScstSuspended", "")], id="all suspended"),
        pytest.param("run1/16-backend-hung-5s", [("LunStuck", "blk01")], id="back end hung"),
        pytest.param("run1/15-backend-io-errors", [
            ("LunBackingMissing", "gone"),
            ("LunBackingMissing", "thin_vol-1"),
        ], id="back-end errors, which the tree hides: two devices were inactive still"),
        pytest.param("run1/12-media-removed-resized-file-deleted", [], id="file deleted, likewise"),
        pytest.param("run1/24-session-logged-out", [], id="initiator logged out"),
        pytest.param("run1/29-threads-changed", [], id="threads changed"),
        pytest.param("run2/02-spc2-reserved-conflict", [], id="reserved after SPC-2"),
        pytest.param("run2/03-pr-exclusive-conflict", [], id="reserved persistently"),
        pytest.param("run2/05-user-handler-dead", [
            ("ScstHandlerGone", "udisk0"),
        ], id="handler in user space died"),
        pytest.param("run2/08-initiator-silent-18s", [], id="initiator silent"),
        pytest.param("run2/10-mgmt-del_device-blocked", [
            ("ScstManagementStuck", ""),
        ], id="management stuck behind a hung command"),
        pytest.param("run2/12-mgmt-del-lun-blocked", [
            ("LunBlocked", "disk02"),
            ("ScstManagementStuck", ""),
        ], id="management stuck behind a blocked device"),
        pytest.param("run2/14-iscsi-scstd-SIGKILL", [
            ("ScstTargetsLost", "iscsi"),
        ], id="iscsi-scstd killed"),
        pytest.param("run2/16-tape-pass-through-registered", [
            ("ScstTargetsLost", "iscsi"),
        ], id="iscsi-scstd started again, without its targets"),
    ],
)  # fmt: skip
def test_a_state_gives_its_alert(state: str, alerts: list[tuple[str, str]]) -> None:
    assert alerts_of(state) == set(alerts)


def test_modules_that_are_absent_are_missed_where_they_were_and_not_where_never() -> None:
    assert alerts_of("run1/01-absent-no-modules") == {("ScstDown", "")}
    never = Watch("run1/01-absent-no-modules")
    never.absent = {Scope("scst_state"), Scope("scst"), Scope("scst_slow")}
    assert never.looks(LOOKS)[-1] == []


@pytest.mark.parametrize(
    "state",
    [
        pytest.param("run1/02-core-only", id="core only"),
        pytest.param("run1/03-handlers-scst_local-empty", id="handlers without devices"),
        pytest.param("run1/04-iscsi-module-no-daemon", id="iscsi module without its daemon"),
        pytest.param("run1/05-iscsi-daemon-running-empty", id="daemon without targets"),
        pytest.param("run1/37-all-unloaded", id="local devices only"),
    ],
)
def test_what_never_was_set_up_is_not_missed(state: str) -> None:
    watch = Watch(state)
    watch.looks(LOOKS)
    assert list(watch.incidents) == []


def told(change: Callable[[Watch], None]) -> Alert:
    """Return the alert that a change of what lies outside of SCST's tree gives."""
    watch = Watch()
    watch.looks(25)
    change(watch)
    watch.be()
    watch.looks(LOOKS)
    (alert,) = [one for one in watch.open() if one.state is AlertState.FIRING]
    return alert


def test_errors_of_a_back_end_are_in_the_kernels_log_only() -> None:
    alert = told(lambda watch: watch.appliance.tell("io"))
    assert alert.rule == "LunBackendErrors"


def test_a_file_that_was_deleted_is_told_by_looking_at_it() -> None:
    alert = told(lambda watch: watch.files.update({"/var/lab/disk01.img": {"exists": False}}))
    assert (alert.rule, alert.resource_id) == ("LunBackingMissing", "disk01")


def test_an_initiator_that_its_group_refuses_has_no_session_and_no_alert() -> None:
    acl = next(one for one in seen(HEALTHY).exported() if one.name.endswith(":acl"))
    assert [one.identity and one.identity.initiator for one in acl.sessions] == [
        "iqn.2026-11.lab.client:two"
    ]
    watch = Watch()
    watch.looks(LOOKS)
    assert list(watch.incidents) == []


def test_a_disk_that_was_passed_through_and_vanished_is_a_difference_to_what_is_saved() -> None:
    live = seen("run1/31-pass-through-disk-gone")
    found = drifts(live, live, parse_saved(saved_text("pass-through")))
    assert Drift("device", "9:0:0:0", Change.RETURNS) in found
    assert Drift("lun", f"iscsi/{TGT1}/20", Change.RETURNS) in found
