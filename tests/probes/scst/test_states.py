"""The rest of the recorded states, each as it was made: facts read in the captures by hand."""

import pytest

from probes.scst.fix_scst import (
    ONE,
    TGT,
    TGT1,
    TGT2,
    TWO,
    device,
    driver,
    names,
    rarely_seen,
    seen,
    sessions,
    target,
)
from storewatchd.probes.scst.model import Command, Identity, Scst


def handled(scst: Scst) -> list[str]:
    """Return the devices that have a handler."""
    return [one.name for one in scst.devices if one.handler]


def test_handlers_that_are_loaded_have_no_devices_yet() -> None:
    scst = seen("run1/03-handlers-scst_local-empty")
    assert [one.name for one in scst.drivers] == ["copy_manager", "scst_local"]
    assert len(scst.handlers) == 15
    assert handled(scst) == []
    (session,) = target(scst, "scst_local_tgt").sessions
    assert session.identity == Identity("scst_local", "scst_local_tgt", "scst_local_host", "")


def test_a_device_may_be_taken_out_while_another_hangs() -> None:
    before, after = seen("run1/17-device-blocked"), seen("run1/18-mgmt-op-while-stuck")
    assert set(handled(before)) - set(handled(after)) == {"null-dummy"}
    assert after.is_management_pending is False
    assert device(after, "disk02").blocked == 1
    assert [one.age_s for one in rarely_seen("run1/18-mgmt-op-while-stuck").commands] == [20, 12]


def test_a_target_stays_disabled_with_its_sessions() -> None:
    tgt1 = target(seen("run1/26-target-disabled-with-sessions-t4"), TGT1)
    assert (tgt1.is_enabled, len(tgt1.sessions)) == (False, 2)


def test_another_number_of_threads_is_told() -> None:
    assert seen("run1/29-threads-changed").threads == 3


def test_without_a_driver_of_its_own_no_target_has_a_session() -> None:
    scst = seen("run1/35-no-target-drivers")
    assert [one.name for one in scst.drivers] == ["copy_manager", "scst_local"]
    assert [one.name for one in driver(scst, "scst_local").targets] == ["local1", "local_nolun"]
    # The local session stays; its module could not be unloaded.
    assert [len(one.sessions) for one in scst.exported()] == [1, 0]


def test_handlers_that_are_unloaded_take_their_devices_along() -> None:
    scst = seen("run1/36-no-vdisk-handlers")
    assert not {"vcdrom", "vdisk_blockio", "vdisk_fileio", "vdisk_nullio"} & set(scst.handlers)
    assert len(scst.handlers) == 11
    assert {one.handler for one in scst.devices if one.handler} == {"dev_changer", "dev_tape"}
    assert target(scst, "local1").luns == ()


def test_when_all_is_unloaded_local_devices_remain() -> None:
    scst = seen("run1/37-all-unloaded")
    assert scst.handlers == {}
    assert handled(scst) == []
    assert len([one for one in scst.devices if one.name.startswith("11:0:")]) == 10
    assert scst.version == "3.11.0-pre"


def test_reservations_of_spc_2_change_nothing_that_is_told() -> None:
    before = seen("run2/01-multi-initiator-sessions")
    after = seen("run2/02-spc2-reserved-conflict")
    assert [one.identity for one in target(before, TGT1).sessions] == [
        one.identity for one in target(after, TGT1).sessions
    ]
    assert rarely_seen("run2/02-spc2-reserved-conflict").commands == ()


@pytest.mark.parametrize(
    ("name", "none"),
    [
        ("run2/06-initiator-silent-6s", (143, 160, 3)),
        ("run2/07-initiator-silent-12s", (145, 163, 3)),
        ("run2/08-initiator-silent-18s", (147, 165, 3)),
        ("run2/09-initiator-back", (152, 170, 3)),
    ],
)
def test_an_initiator_that_is_silent_keeps_its_session(
    name: str, none: tuple[int, int, int]
) -> None:
    scst = seen(name)
    first = sessions(target(scst, TGT1).sessions)
    (third,) = target(scst, TGT.format("acl")).sessions
    found = (first[ONE], first[TWO], third)
    assert [one.identity and one.identity.sid for one in found] == [
        *("10100003d0200", "20200003d0200", "30400003d0200"),
    ]
    assert [one.connections[0].state for one in found] == ["established idle"] * 3
    assert tuple(one.counters.commands["none"] for one in found) == none
    assert target(scst, TGT2).sessions == ()


def test_a_lun_that_is_being_taken_out_is_gone_and_its_command_waits() -> None:
    name = "run2/12-mgmt-del-lun-blocked"
    scst = seen(name)
    assert scst.is_management_pending
    assert [lun.number for lun in target(scst, TGT1).luns] == [0, 3, 4, 5, 6]
    assert (device(scst, "disk02").blocked, device(scst, "disk02").block_pending) == (1, 0)
    assert rarely_seen(name).commands == (Command("iscsi", TGT1, ONE, 1, "EXEC_CHECK_BLOCKING", 4),)
    (session,) = [one for one in target(scst, TGT1).sessions if one.outstanding]
    assert session.identity == Identity("iscsi", TGT1, ONE, "40100003d0200")


TAPES = ["6:0:10:0", "6:0:11:0", "6:0:12:0", "6:0:1:0", "6:0:2:0", "6:0:3:0", "6:0:4:0", "6:0:9:0"]


@pytest.mark.parametrize(
    ("name", "tapes"),
    [
        ("run2/16-tape-pass-through-registered", TAPES),
        ("run2/17-tape-pass-through-drive-gone", [one for one in TAPES if one != "6:0:1:0"]),
        ("run2/18-tape-pass-through-library-killed", [one for one in TAPES if one != "6:0:1:0"]),
    ],
)
def test_a_drive_that_went_away_is_no_device_any_more(name: str, tapes: list[str]) -> None:
    scst = seen(name)
    assert [one.name for one in scst.devices if one.handler == "dev_tape"] == tapes
    # Of a library whose daemon was killed SCST knows nothing.
    changers = [one.name for one in scst.devices if one.handler == "dev_changer"]
    assert changers == ["6:0:0:0", "6:0:8:0"]


def test_a_tape_that_two_initiators_see_is_told() -> None:
    scst = seen("run5/scst-tree")
    tape = target(scst, TGT.format("tape"))
    found = {one.identity.initiator for one in tape.sessions if one.identity}
    assert (found, len(tape.luns)) == ({ONE, TWO}, 3)
    assert device(scst, "6:0:1:0").exports == 1


def test_every_recorded_tree_is_here() -> None:
    """13-iscsi-scstd-SIGSTOP has no tree: what was read there, nothing here ever asks for."""
    recorded = {name.split("-")[0] for name in names()}
    assert recorded == {
        *(f"run1/{number:02}" for number in range(1, 38)),
        *(f"run2/{number:02}" for number in range(1, 19) if number != 13),
        "run5/scst",
    }
