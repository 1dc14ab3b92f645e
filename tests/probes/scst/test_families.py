"""The rows that the states of a real SCST give."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fakes import NOON
from probes.fix_probes import by_labels
from probes.scst.fix_scst import ONE, TGT, TGT1, TGT2, TWO, attributes, names, rarely_seen, seen
from storewatch_reader.scst import CHEAP, QUEUED, STEADY
from storewatchd.core.frames import Family
from storewatchd.probes.scst.accumulate import Ledger, counts_of
from storewatchd.probes.scst.families import (
    FAMILIES,
    SLOW_FAMILIES,
    Rows,
    devices_by_handler,
    slow_rows,
    tree_rows,
)
from storewatchd.probes.scst.memory import Memory
from storewatchd.probes.scst.model import (
    Command,
    Counters,
    Driver,
    Identity,
    Scst,
    Session,
    Target,
)
from storewatchd.probes.scst.presence import Presence
from storewatchd.probes.scst.tree import Content, parse_tree

SID = "30300003d0200"


def told(*looks: Scst) -> Rows:
    """Return the rows of the last of several looks."""
    ledger, memory, rows = Ledger(), Memory(), {}
    for at, scst in enumerate(looks):
        found = [
            (one.identity, counts_of(one.counters))
            for target in scst.exported()
            for one in target.sessions
            if one.identity is not None
        ]
        ledger.take(found, NOON + at)
        places = {(target.driver, target.name) for target in scst.exported()}
        memory.take({one for one, _ in found}, places, NOON + at, devices_by_handler(scst))
        rows = tree_rows(scst, ledger, memory, Presence())
    return rows


def rarely_told(scst: Scst) -> Rows:
    return slow_rows(scst, Ledger())


def nonzero(rows: Rows, family: str) -> dict[tuple[str, ...], float]:
    return {labels: value for labels, value in by_labels(rows[family]).items() if value}


def assert_keeps_to(families: tuple[Family, ...], rows: Rows) -> None:
    labels = {family.name: family.labels for family in families}
    for name, found in rows.items():
        by_labels(found)
        assert all(len(row.labels) == len(labels[name]) for row in found)


@pytest.mark.parametrize("name", names())
def test_every_snapshot_keeps_to_the_families(name: str) -> None:
    assert_keeps_to(FAMILIES, told(seen(name)))
    assert_keeps_to(SLOW_FAMILIES, rarely_told(rarely_seen(name)))


def test_scst_tells_of_itself() -> None:
    rows = told(seen("run1/21-suspended"))
    assert by_labels(rows["scst_info"]) == {("3.11.0-pre", "TRACING"): 1.0}
    assert by_labels(rows["scst_suspended"]) == {(): 1.0}
    assert by_labels(rows["scst_threads"]) == {(): 2.0}
    assert by_labels(rows["scst_poll_seconds"]) == {(): 0.0}
    assert by_labels(rows["scst_management_pending"]) == {(): 0.0}
    assert by_labels(rows["scst_latency_measured"]) == {(): 0.0}


def test_a_driver_that_lost_its_targets_is_told() -> None:
    rows = told(seen("run1/31-pass-through-disk-gone"), seen("run1/32-iscsi-scstd-killed"))
    assert by_labels(rows["scst_driver_open"]) == {("iscsi",): 0.0}
    assert by_labels(rows["scst_driver_targets"]) == {("iscsi",): 0.0, ("scst_local",): 3.0}
    assert by_labels(rows["scst_driver_lost_targets"]) == {("iscsi",): 6.0, ("scst_local",): 0.0}
    restarted = told(seen("run1/31-pass-through-disk-gone"), seen("run1/33-iscsi-scstd-restarted"))
    assert by_labels(restarted["scst_driver_open"]) == {("iscsi",): 1.0}
    assert by_labels(restarted["scst_driver_lost_targets"])[("iscsi",)] == 6.0


def test_a_driver_that_was_unloaded_has_lost_its_targets() -> None:
    rows = told(seen("run1/31-pass-through-disk-gone"), seen("run1/34-no-iscsi-driver"))
    assert by_labels(rows["scst_driver_open"]) == {}
    assert by_labels(rows["scst_driver_targets"])["iscsi",] == 0.0
    assert by_labels(rows["scst_driver_lost_targets"])["iscsi",] == 6.0


def test_targets_are_told() -> None:
    rows = told(seen("run1/07-with-sessions-idle"))
    enabled = by_labels(rows["scst_target_enabled"])
    assert enabled == {
        ("iscsi", TGT.format("chap")): 1.0,
        ("iscsi", TGT.format("disabled")): 0.0,
        ("iscsi", TGT.format("nolun")): 1.0,
        ("iscsi", TGT1): 1.0,
        ("iscsi", TGT2): 1.0,
        ("iscsi", "not-an-iqn_name"): 0.0,
    }
    assert ("iscsi", TGT1, "1", "", "primary lab target") in by_labels(rows["scst_target_info"])
    first, second = ("iscsi", TGT1), ("iscsi", TGT2)
    counts = [by_labels(rows[f"scst_target_{what}"]) for what in ("luns", "groups", "sessions")]
    assert [one[first] for one in counts] == [9.0, 0.0, 2.0]
    assert [one[second] for one in counts] == [0.0, 3.0, 2.0]
    assert by_labels(rows["scst_target_black_hole"])[(*second, "hosts")] == 0.0
    assert nonzero(rows, "scst_target_forwarding") == {}


def test_a_target_that_is_a_port_is_told_with_it() -> None:
    target = Target("qla2x00t", "21:00:00:24:FF:7E:3C:01")
    other = Target("qla2x00t", "21:00:00:24:ff:7e:3c")
    rows = told(Scst(drivers=(Driver("qla2x00t", targets=(target, other)),)))
    assert by_labels(rows["scst_target_port"]) == {
        ("qla2x00t", target.name, "21:00:00:24:ff:7e:3c:01"): 1.0
    }


def test_a_handler_that_is_gone_is_told_with_its_devices() -> None:
    rows = told(seen("run2/04-vcdrom-ejected"), seen("run2/05-user-handler-dead"))
    assert by_labels(rows["scst_handler_lost_devices"]) == {("udisk0",): 1.0}


def test_who_is_usually_here_is_told() -> None:
    presence, peer = Presence(), ("iscsi", "t", "i")
    presence.ratios = {peer: 0.95, ("iscsi", "t", "j"): 0.5}
    presence.expected = {peer}
    rows = tree_rows(Scst(), Ledger(), Memory(), presence)
    assert by_labels(rows["scst_initiator_presence_ratio"])[peer] == 0.95
    assert by_labels(rows["scst_initiator_expected"]) == {peer: 1.0, ("iscsi", "t", "j"): 0.0}


def test_sessions_are_told_under_their_initiator_and_sid() -> None:
    rows = told(seen("run1/08-during-io-t0"), seen("run1/09-during-io-t5"))
    labels = ("iscsi", TGT1, ONE, SID)
    assert by_labels(rows["scst_session_up"])[labels] == 1.0
    assert by_labels(rows["scst_session_start_timestamp_seconds"])[labels] == NOON
    commands = by_labels(rows["scst_session_commands_total"])
    assert (commands[*labels, "read"], commands[*labels, "none"]) == (9773.0, 259.0)
    assert by_labels(rows["scst_session_bytes_total"])[*labels, "write"] == 180288 * 1024
    assert by_labels(rows["scst_session_unaligned_commands_total"])[*labels, "read"] == 556.0
    assert by_labels(rows["scst_session_commands_outstanding"])[labels] == 1.0
    assert by_labels(rows["scst_iscsi_session_reinstating"])[labels] == 0.0


def test_totals_are_told_by_initiator_and_by_target() -> None:
    rows = told(seen("run1/08-during-io-t0"), seen("run1/09-during-io-t5"))
    both = ("iscsi", TGT1, ONE)
    # 1157 reads of the one session, 9773 of the other.
    assert by_labels(rows["scst_initiator_commands_total"])[*both, "read"] == 10930.0
    assert by_labels(rows["scst_initiator_bytes_total"])[*both, "read"] == (14125 + 93449) * 1024
    assert by_labels(rows["scst_target_commands_total"])["iscsi", TGT1, "read"] == 10930.0
    assert by_labels(rows["scst_target_bytes_total"])["iscsi", TGT1, "write"] == 180288 * 1024
    assert by_labels(rows["scst_initiator_logins_total"])[both] == 0.0


def test_a_busy_lun_is_told_with_its_device() -> None:
    rows = told(seen("run1/17-device-blocked"))
    place = ("iscsi", TGT1, ONE, SID)
    assert nonzero(rows, "scst_lun_commands_outstanding") == {
        (*place, "1", "disk02"): 1.0,
        (*place, "2", "blk01"): 1.0,
    }
    assert nonzero(rows, "scst_device_blocked") == {("disk02",): 1.0}
    assert nonzero(rows, "scst_device_block_pending") == {}


def test_a_lun_of_a_group_is_told_with_the_groups_device() -> None:
    rows = told(seen("run1/07-with-sessions-idle"))
    found = by_labels(rows["scst_lun_commands_outstanding"])
    assert ("iscsi", TGT2, TWO, "40400003d0200", "1", "blk02") in found


def test_only_devices_that_scst_serves_are_told() -> None:
    rows = told(seen("run1/30-pass-through"))
    kinds = by_labels(rows["scst_device_kind"])
    assert ("9:0:0:0", "dev_disk", "disk") in kinds
    assert ("11:0:1:0", "dev_tape", "tape") in kinds
    assert ("11:0:0:0", "dev_changer", "changer") in kinds
    assert ("cd01", "vcdrom", "cdrom") in kinds
    assert all(handler for _, handler, _ in kinds)
    assert by_labels(rows["scst_device_exports"])["disk01",] == 3.0
    assert by_labels(rows["scst_device_exports"])["cd-empty",] == 0.0
    assert by_labels(rows["scst_device_size_bytes"])["disk01",] == 64 << 20
    assert by_labels(rows["scst_handler_devices"])["dev_changer",] == 2.0


def test_inactive_devices_are_told() -> None:
    active = by_labels(told(seen("run1/14-devices-inactive"))["scst_device_active"])
    assert [device for device, is_active in active.items() if not is_active] == [
        ("gone",),
        ("thin_vol-1",),
    ]


def test_an_alua_state_is_one_of_all_that_there_are() -> None:
    rows = told(seen("run1/13-alua-standby"))
    assert nonzero(rows, "scst_alua_state") == {
        ("dgroup1", "controller_A", "standby"): 1.0,
        ("dgroup1", "controller_B", "nonoptimized"): 1.0,
    }
    assert by_labels(rows["scst_alua_state"])["dgroup1", "controller_A", "active"] == 0.0


def test_connections_are_told_by_state() -> None:
    rows = told(seen("run2/10-mgmt-del_device-blocked"))
    found = by_labels(rows["scst_iscsi_connections"])
    assert found["iscsi", TGT1, ONE, "closing", "iSCSI-TCP"] == 1.0
    assert found["iscsi", TGT1, ONE, "open", "iSCSI-TCP"] == 1.0
    assert by_labels(rows["scst_management_pending"]) == {(): 1.0}


def test_what_scst_has_for_its_own_is_left_out() -> None:
    rows = told(seen("run1/07-with-sessions-idle"))
    for found in rows.values():
        assert not any("copy_manager" in row.labels for row in found)


def test_what_is_not_known_has_no_row() -> None:
    session = Session("s", Identity("iscsi", "iqn.a", "iqn.h", ""))
    target = Target("iscsi", "iqn.a", sessions=(session, Session("other", None)))
    rows = told(Scst(drivers=(Driver("iscsi", targets=(target,)),)))
    assert by_labels(rows["scst_target_sessions"]) == {("iscsi", "iqn.a"): 2.0}
    assert by_labels(rows["scst_session_up"]) == {("iscsi", "iqn.a", "iqn.h", ""): 1.0}
    for family in (
        *("scst_suspended", "scst_management_pending", "scst_driver_open", "scst_target_enabled"),
        *("scst_target_black_hole", "scst_session_commands_total"),
        *("scst_session_commands_outstanding", "scst_iscsi_session_reinstating"),
    ):
        assert rows[family] == []


def test_sessions_that_nothing_tells_apart_are_one_row() -> None:
    identity = Identity("scst_local", "t", "i", "")
    one, other = (
        Session(name, identity, Counters({"read": count}, {"read": 1}), count, {0: count})
        for name, count in (("i", 3), ("i_1", 4))
    )
    target = Target("scst_local", "t", sessions=(one, other))
    rows = told(Scst(drivers=(Driver("scst_local", targets=(target,)),)))
    labels = ("scst_local", "t", "i", "")
    assert by_labels(rows["scst_session_commands_total"]) == {(*labels, "read"): 7.0}
    assert by_labels(rows["scst_session_bytes_total"]) == {(*labels, "read"): 2048.0}
    assert by_labels(rows["scst_session_commands_outstanding"]) == {labels: 7.0}
    assert by_labels(rows["scst_lun_commands_outstanding"]) == {(*labels, "0", ""): 7.0}


# What is rarely read.


def test_what_a_device_is_made_of_is_told() -> None:
    rows = rarely_told(rarely_seen("run1/06-configured-idle"))
    found = by_labels(rows["scst_device_info"])
    disk = ("disk01", "vdisk_fileio", "/var/lab/disk01.img", "lab-t10-id-disk01", "USN00001")
    assert (*disk, "0", "0", "1", "0", "0") in found
    assert any(labels[:3] == ("cd-empty", "vcdrom", "") for labels in found)


def test_what_a_session_negotiated_is_told() -> None:
    rows = rarely_told(rarely_seen("run1/07-with-sessions-idle"))
    values = ("None", "None", "No", "Yes", "1", "1048576", "262144", "65536", "1048576")
    found = by_labels(rows["scst_iscsi_session_info"])
    assert ("iscsi", TGT1, ONE, SID, *values) in found
    assert len(found) == 4


def test_the_oldest_command_of_a_lun_is_told() -> None:
    rows = rarely_told(rarely_seen("run1/19-backend-hung-after-initiator-abort"))
    assert by_labels(rows["scst_command_age_seconds"]) == {
        ("iscsi", TGT1, ONE, "2", "EXEC_WAIT"): 48.0,
        ("iscsi", TGT1, ONE, "1", "EXEC_CHECK_BLOCKING"): 39.0,
    }
    young, old = (Command("iscsi", "t", "i", 0, "EXEC_WAIT", age_s) for age_s in (3, 9))
    found = rarely_told(Scst(commands=(young, old)))["scst_command_age_seconds"]
    assert by_labels(found) == {("iscsi", "t", "i", "0", "EXEC_WAIT"): 9.0}


def test_memory_caches_are_told() -> None:
    rows = rarely_told(rarely_seen("run1/09-during-io-t5"))
    assert by_labels(rows["scst_sgv_inactive_pages"]) == {(): 32.0}
    assert ("sgv-clust-1",) in by_labels(rows["scst_sgv_allocations_total"])
    assert ("sgv-dma",) in by_labels(rows["scst_sgv_hits_total"])
    assert by_labels(rows["scst_sgv_cached_pages"])["sgv",] == 0.0


def test_errors_of_data_integrity_are_told_by_session_and_by_initiator() -> None:
    identity = Identity("qla2x00t", "50:01", "50:02", "")
    errors = {("tgt", "guard"): 4, ("dev", "app"): 0}
    session = Session("50:02", identity, dif_errors=errors)
    target = Target("qla2x00t", "50:01", sessions=(session,))
    ledger = Ledger()
    ledger.take([(identity, errors)], NOON)
    rows = slow_rows(Scst(drivers=(Driver("qla2x00t", targets=(target,)),)), ledger)
    labels = ("qla2x00t", "50:01", "50:02")
    assert by_labels(rows["scst_session_dif_errors_total"]) == {
        (*labels, "", "tgt", "guard"): 4.0,
        (*labels, "", "dev", "app"): 0.0,
    }
    assert by_labels(rows["scst_initiator_dif_errors_total"]) == {
        (*labels, "tgt", "guard"): 4.0,
        (*labels, "dev", "app"): 0.0,
    }


TREE = attributes("run1/09-during-io-t5", (*CHEAP, *STEADY, *QUEUED))
CONTENT = st.binary(max_size=60) | st.integers(-133, -1)


@given(st.dictionaries(st.sampled_from(sorted(TREE)), CONTENT, max_size=12))
def test_garbled_trees_keep_to_the_families(changes: dict[str, Content]) -> None:
    scst = parse_tree({**TREE, **changes})
    assert_keeps_to(FAMILIES, told(seen("run1/08-during-io-t0"), scst))
    assert_keeps_to(SLOW_FAMILIES, rarely_told(scst))
