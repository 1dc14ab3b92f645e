"""The tree of SCST: what a real one said in many states, each as it was made."""

import pytest

from probes.scst.fix_scst import (
    ONE,
    TGT,
    TGT1,
    TGT2,
    TWO,
    attributes,
    device,
    driver,
    names,
    rarely_seen,
    seen,
    sessions,
    target,
)
from storewatch_reader.scst import CHEAP, QUEUED, STEADY
from storewatchd.probes.scst.model import (
    Cache,
    Command,
    Connection,
    Counters,
    Device,
    Identity,
    Lun,
    Scst,
    TargetGroup,
)
from storewatchd.probes.scst.tree import parse_tree

ALL = (*CHEAP, *STEADY, *QUEUED)


def busy(scst: Scst) -> dict[tuple[str, int], int]:
    """Return the LUNs that are busy, by the directory of their session."""
    return {
        (session.directory, lun): count
        for one in scst.exported()
        for session in one.sessions
        for lun, count in session.active.items()
        if count
    }


@pytest.mark.parametrize("name", names())
def test_every_snapshot_says_what_it_is(name: str) -> None:
    scst = parse_tree(attributes(name, ALL))
    if name == "run1/01-absent-no-modules":
        assert scst == Scst()
        return
    assert (scst.version, scst.features) == ("3.11.0-pre", ("TRACING",))
    assert [len(one.targets) for one in scst.drivers if one.name == "copy_manager"] == [1]
    for one in scst.exported():
        for session in one.sessions:
            assert session.identity is not None
            assert set(session.counters.commands) == {"read", "write", "bidi", "none", "unknown"}
            assert set(session.counters.kib) == {"read", "write", "bidi"}
            assert session.outstanding is not None
            visible = {lun.number for lun in one.luns_of(session.group)}
            assert set(session.active) == visible
    assert scst.asked_again == 0


def test_the_core_alone_exports_nothing() -> None:
    scst = seen("run1/02-core-only")
    assert list(scst.exported()) == []
    assert scst.handlers == {}
    assert (scst.suspended, scst.threads, scst.poll_us) == (0, 2, 0)


def test_a_driver_without_its_daemon_is_closed() -> None:
    scst = seen("run1/04-iscsi-module-no-daemon")
    assert [(one.name, one.is_open) for one in scst.drivers] == [
        ("copy_manager", None),
        ("iscsi", False),
        ("scst_local", None),
    ]
    assert driver(scst, "iscsi").targets == ()


def test_a_driver_whose_daemon_runs_is_open() -> None:
    scst = seen("run1/05-iscsi-daemon-running-empty")
    assert driver(scst, "iscsi").is_open
    assert driver(scst, "iscsi").targets == ()


def test_targets_are_told_with_their_luns_and_groups() -> None:
    scst = seen("run1/06-configured-idle")
    assert {one.name: one.is_enabled for one in driver(scst, "iscsi").targets} == {
        TGT.format("chap"): True,
        TGT.format("disabled"): False,
        TGT.format("nolun"): True,
        TGT1: True,
        TGT2: True,
        "not-an-iqn_name": False,
    }
    first, second = target(scst, TGT1), target(scst, TGT2)
    assert (first.relative_id, first.comment) == (1, "primary lab target")
    assert (second.relative_id, second.comment) == (2, "")
    assert first.black_hole == 0
    assert (first.is_forwarding, first.forwards_source) == (False, False)
    assert first.luns == (
        Lun(0, "disk01", False),
        Lun(1, "disk02", False),
        Lun(2, "blk01", False),
        Lun(3, "null01", False),
        Lun(5, "thin_vol-1", False),
        Lun(6, "blk02", True),
        Lun(7, "disk03", False),
        Lun(9, "cd01", True),
        Lun(300, "gone", False),
    )
    assert second.luns == ()
    assert {group.name: group.luns for group in second.groups} == {
        "empty": (),
        "hosts": (Lun(0, "disk02", False), Lun(1, "blk02", True)),
        "wild.card": (Lun(0, "null01", False),),
    }
    assert target(scst, "local1").is_enabled is None
    assert all(one.sessions == () for one in driver(scst, "iscsi").targets)


def test_devices_are_told_with_who_shows_them() -> None:
    scst = seen("run1/06-configured-idle")
    assert device(scst, "disk01") == Device(
        "disk01",
        handler="vdisk_fileio",
        type=0,
        size_bytes=64 << 20,
        is_active=True,
        blocked=0,
        block_pending=0,
        exports=3,  # tgt1, disabled, local1
    )
    assert device(scst, "cd-empty") == Device(
        "cd-empty", handler="vcdrom", type=5, size_bytes=0, blocked=0, block_pending=0
    )
    odd = device(scst, "name:with@odd#chars+1%20")
    assert (odd.handler, odd.size_bytes, odd.exports) == ("vdisk_fileio", 128 << 20, 0)
    assert device(scst, "blk02").exports == 2  # of tgt1, and of a group of tgt2


def test_what_a_device_is_made_of_is_seen_rarely() -> None:
    scst = rarely_seen("run1/06-configured-idle")
    disk = device(scst, "disk01")
    assert (disk.filename, disk.t10_dev_id, disk.usn) == (
        "/var/lab/disk01.img",
        "lab-t10-id-disk01",
        "USN00001",
    )
    assert (disk.is_read_only, disk.is_write_through, disk.has_nv_cache) == (False, False, True)
    assert device(scst, "blk01").filename == "/dev/mapper/lab-lin0"
    assert device(scst, "cd01").filename == "/var/lab/cd.iso"
    assert device(scst, "cd-empty").filename == ""
    assert device(scst, "null01").filename is None
    assert scst.handlers["vcdrom"] == 5
    assert {one.name: one.initiators for one in target(scst, TGT2).groups} == {
        "empty": (),
        "hosts": (ONE, TWO),
        "wild.card": ("*#127.0.0.1", "iqn.1993-08.org.debian:*"),
    }


def test_sessions_are_known_by_initiator_and_sid_not_by_directory() -> None:
    first = target(seen("run1/07-with-sessions-idle"), TGT1)
    found = sessions(first.sessions)
    assert {name: one.identity for name, one in found.items()} == {
        ONE: Identity("iscsi", TGT1, ONE, "10100003d0200"),
        f"{ONE}_1": Identity("iscsi", TGT1, ONE, "30300003d0200"),
    }
    assert found[ONE].connections == (
        Connection("127.0.0.1", "established idle", "iSCSI-TCP", "127.0.0.1"),
    )
    assert found[ONE].is_reinstating is False
    assert set(found[ONE].active) == {0, 1, 2, 3, 5, 6, 7, 9, 300}


def test_a_session_says_by_which_group_it_sees_its_luns() -> None:
    second = target(seen("run1/07-with-sessions-idle"), TGT2)
    found = sessions(second.sessions)
    assert [(one.group, set(one.active)) for one in found.values()] == [("hosts", {0, 1})] * 2
    assert second.luns_of("hosts") == (Lun(0, "disk02", False), Lun(1, "blk02", True))


def test_local_sessions_have_no_sid() -> None:
    scst = seen("run1/07-with-sessions-idle")
    (session,) = target(scst, "local1").sessions
    assert session.identity == Identity("scst_local", "local1", "local1_sess", "")
    assert session.connections == ()


def test_counters_move_while_there_is_io() -> None:
    before, after = (
        sessions(target(seen(name), TGT1).sessions)[f"{ONE}_1"]
        for name in ("run1/08-during-io-t0", "run1/09-during-io-t5")
    )
    assert before.counters == Counters(
        {"read": 4703, "write": 1200, "bidi": 0, "none": 241, "unknown": 0},
        {"read": 46439, "write": 76800, "bidi": 0},
        {"read": 456, "write": 0, "bidi": 0},
    )
    assert after.counters == Counters(
        {"read": 9773, "write": 2817, "bidi": 0, "none": 259, "unknown": 0},
        {"read": 93449, "write": 180288, "bidi": 0},
        {"read": 556, "write": 0, "bidi": 0},
    )
    assert (before.outstanding, after.outstanding) == (0, 1)


def test_what_was_negotiated_is_seen_rarely() -> None:
    (session, _) = target(rarely_seen("run1/07-with-sessions-idle"), TGT1).sessions
    assert session.negotiated == {
        "HeaderDigest": "None",
        "DataDigest": "None",
        "InitialR2T": "No",
        "ImmediateData": "Yes",
        "MaxOutstandingR2T": "1",
        "MaxRecvDataSegmentLength": "1048576",
        "MaxXmitDataSegmentLength": "262144",
        "FirstBurstLength": "65536",
        "MaxBurstLength": "1048576",
    }


def test_that_latency_is_measured_is_told() -> None:
    assert seen("run1/10-during-io-measure_latency").measures_latency
    assert seen("run1/09-during-io-t5").measures_latency is False


def test_a_file_that_was_deleted_changes_nothing_that_scst_says() -> None:
    name = "run1/12-media-removed-resized-file-deleted"
    gone, resized = device(seen(name), "gone"), device(seen(name), "disk03")
    assert (gone.size_bytes, gone.is_active, resized.size_bytes) == (16 << 20, True, 48 << 20)
    assert device(rarely_seen(name), "gone").filename == "/var/lab/gone.img"
    assert device(seen("run1/11-persistent-reservation"), "disk03").size_bytes == 32 << 20


@pytest.mark.parametrize(
    ("name", "state"),
    [("run1/12-media-removed-resized-file-deleted", "active"), ("run1/13-alua-standby", "standby")],
)
def test_alua_states_are_told(name: str, state: str) -> None:
    assert seen(name).target_groups == (
        TargetGroup("dgroup1", "controller_A", state, 101, True),
        TargetGroup("dgroup1", "controller_B", "nonoptimized", 102, False),
    )


def test_devices_that_are_inactive_are_told() -> None:
    scst = seen("run1/14-devices-inactive")
    active = {one.name: one.is_active for one in scst.devices if one.handler == "vdisk_fileio"}
    assert [name for name, is_active in active.items() if not is_active] == ["gone", "thin_vol-1"]


def test_a_hung_back_end_is_a_busy_lun_whose_session_counts_nothing() -> None:
    before = seen("run1/15-backend-io-errors")
    hung = seen("run1/16-backend-hung-5s")
    later = seen("run1/19-backend-hung-after-initiator-abort")
    assert busy(before) == {}
    assert busy(hung) == {(f"{ONE}_1", 2): 1}
    assert busy(later) == {(f"{ONE}_1", 1): 1, (f"{ONE}_1", 2): 1}
    for scst in (hung, later):
        counters = sessions(target(scst, TGT1).sessions)[f"{ONE}_1"].counters
        assert (counters.commands["read"], counters.commands["write"]) == (15302, 4550)


def test_a_hung_command_is_told_with_its_age() -> None:
    assert rarely_seen("run1/19-backend-hung-after-initiator-abort").commands == (
        Command("iscsi", TGT1, ONE, 2, "EXEC_WAIT", 48),
        Command("iscsi", TGT1, ONE, 1, "EXEC_CHECK_BLOCKING", 39),
    )


def test_a_device_that_is_blocked_is_told() -> None:
    scst = seen("run1/17-device-blocked")
    assert {one.name: (one.blocked, one.block_pending) for one in scst.devices if one.blocked} == {
        "disk02": (1, 0)
    }
    assert seen("run1/20-unstuck").devices == tuple(
        one for one in seen("run1/20-unstuck").devices if not one.blocked
    )


def test_all_of_it_suspended_is_told() -> None:
    assert seen("run1/21-suspended").suspended == 1
    assert seen("run1/22-session-force-closed-immediate").suspended == 0


def test_who_logs_in_again_has_another_session_and_directory() -> None:
    before = sessions(target(seen("run1/21-suspended"), TGT2).sessions)
    after = sessions(target(seen("run1/23-session-after-initiator-reconnect"), TGT2).sessions)
    assert {name: one.identity and one.identity.sid for name, one in before.items()} == {
        ONE: "20200003d0200",
        TWO: "40400003d0200",
    }
    assert {name: one.identity and one.identity.sid for name, one in after.items()} == {
        f"{ONE}_1": "50200003d0200",
        TWO: "40400003d0200",
    }
    assert after[f"{ONE}_1"].identity == Identity("iscsi", TGT2, ONE, "50200003d0200")


def test_who_logged_out_has_no_session() -> None:
    scst = seen("run1/24-session-logged-out")
    assert target(scst, TGT2).sessions == ()
    assert len(target(scst, TGT1).sessions) == 2


def test_a_target_that_is_disabled_keeps_its_sessions() -> None:
    disabled = target(seen("run1/25-target-disabled-with-sessions-t0"), TGT1)
    assert (disabled.is_enabled, len(disabled.sessions)) == (False, 2)
    assert target(seen("run1/27-target-reenabled"), TGT1).is_enabled


def test_luns_and_devices_that_were_taken_out_are_gone() -> None:
    scst = seen("run1/28-device-and-lun-removed")
    assert [lun.number for lun in target(scst, TGT1).luns] == [0, 2, 3, 5, 6, 9, 300]
    assert "disk03" not in [one.name for one in scst.devices]


def test_devices_that_are_passed_through_are_told_by_their_addresses() -> None:
    scst = seen("run1/30-pass-through")
    disk = device(scst, "9:0:0:0")
    assert (disk.handler, disk.type, disk.exports, disk.size_bytes) == ("dev_disk", 0, 1, None)
    assert (device(scst, "11:0:1:0").handler, device(scst, "11:0:1:0").type) == ("dev_tape", 1)
    assert (device(scst, "11:0:0:0").handler, device(scst, "11:0:0:0").type) == ("dev_changer", 8)
    shown = {lun.number: lun.device for lun in target(scst, TGT1).luns}
    assert (shown[20], shown[33], shown[40]) == ("9:0:0:0", "11:0:1:0", "11:0:0:0")
    gone = seen("run1/31-pass-through-disk-gone")
    assert "9:0:0:0" not in [one.name for one in gone.devices]
    assert 20 not in [lun.number for lun in target(gone, TGT1).luns]


@pytest.mark.parametrize(
    ("name", "is_open"),
    [
        ("run1/32-iscsi-scstd-killed", False),
        ("run1/33-iscsi-scstd-restarted", True),
        ("run2/14-iscsi-scstd-SIGKILL", False),
        ("run2/15-iscsi-scstd-SIGKILL-t20", False),
    ],
)
def test_when_the_iscsi_daemon_dies_all_of_its_targets_go(name: str, is_open: bool) -> None:
    iscsi = driver(seen(name), "iscsi")
    assert (iscsi.is_open, iscsi.targets) == (is_open, ())


def test_a_driver_that_is_unloaded_is_gone() -> None:
    assert [one.name for one in seen("run1/34-no-iscsi-driver").drivers] == [
        "copy_manager",
        "scst_local",
    ]


def test_an_initiator_that_is_refused_has_no_session() -> None:
    acl = target(seen("run2/01-multi-initiator-sessions"), TGT.format("acl"))
    (session,) = acl.sessions
    assert session.identity == Identity("iscsi", TGT.format("acl"), TWO, "30400003d0200")
    assert session.group == "hosts"
    assert [one.name for one in acl.groups] == ["hosts"]


def test_when_a_handler_in_user_space_dies_it_and_its_device_go() -> None:
    before, after = seen("run2/04-vcdrom-ejected"), seen("run2/05-user-handler-dead")
    assert device(before, "udisk0").handler == "udisk0"
    assert device(before, "udisk0").exports == 1
    assert 7 in [lun.number for lun in target(before, TGT1).luns]
    assert "udisk0" in before.handlers
    assert "udisk0" not in after.handlers
    assert "udisk0" not in [one.name for one in after.devices]
    assert 7 not in [lun.number for lun in target(after, TGT1).luns]


def test_a_management_operation_that_is_stuck_is_told() -> None:
    name = "run2/10-mgmt-del_device-blocked"
    scst = seen(name)
    assert scst.is_management_pending
    assert not seen("run2/11-mgmt-after-unstick").is_management_pending
    found = sessions(target(scst, TGT1).sessions)
    assert [one.connections[0].state for one in found.values()] == [
        "closing",
        "established idle",
        "established idle",
    ]
    assert found[ONE].outstanding == 2
    (command,) = rarely_seen(name).commands
    assert command == Command("iscsi", TGT1, ONE, 2, "EXEC_WAIT", 90)
    assert all(one.filename is None for one in rarely_seen(name).devices)


def test_memory_caches_are_told() -> None:
    scst = rarely_seen("run1/09-during-io-t5")
    assert len(scst.caches) == 9
    assert scst.caches[0] == Cache("sgv", 0, 0, 0)
    assert scst.inactive_pages == 32
