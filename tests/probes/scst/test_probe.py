"""The probes of SCST from what is read to their frames, over looks, failures and restarts."""

import asyncio
import errno
import json
from collections.abc import Mapping
from typing import Any

import pytest

from fakes import NOON
from probes.fix_probes import values
from probes.scst.fix_scst import ONE, TGT1, TGT2, TWO, Appliance, attributes, saved_text
from storewatch_reader.scst import QUEUED
from storewatchd.core.frames import Frame, Scope
from storewatchd.errors import ProbeAbsent, ProbeFailed, ReadRefused, ReadStuck
from storewatchd.probes.base import Remembering
from storewatchd.probes.scst.families import FAMILIES
from storewatchd.probes.scst.memory import EXPECTED_AFTER_S, EXPIRES_AFTER_S
from storewatchd.probes.scst.probe import (
    LOOK_AT_FILE_AFTER_S,
    ScstProbe,
    make_scst_probes,
)
from storewatchd.probes.scst.readings import AGAIN_AFTER_S, SOONER_AFTER_S, ReadTimes

IDLE = "run1/07-with-sessions-idle"


@pytest.fixture
def appliance() -> Appliance:
    return Appliance(IDLE)


def is_up(frame: Frame) -> dict[tuple[str, ...], float]:
    """Return which sessions at the second target are up, by initiator and sid."""
    found = values(frame, "scst_session_up")
    return {labels[2:]: up for labels, up in found.items() if labels[1] == TGT2}


def test_each_probe_of_the_whole_has_one_scope(appliance: Appliance) -> None:
    for name in ("scst_state", "scst", "scst_slow"):
        assert appliance.scopes(name) == (Scope(name),)


@pytest.mark.parametrize("name", ["scst_state", "scst", "scst_slow"])
def test_without_scst_there_is_nothing_to_look_at(name: str) -> None:
    appliance = Appliance("run1/01-absent-no-modules")
    with pytest.raises(ProbeAbsent, match="no SCST is loaded"):
        appliance.look(name)


def test_without_scst_there_are_no_files_to_look_at() -> None:
    assert Appliance("run1/01-absent-no-modules").scopes("scst_backing") == ()


@pytest.mark.parametrize("name", ["scst_state", "scst", "scst_slow"])
def test_what_cannot_be_read_is_not_absent(appliance: Appliance, name: str) -> None:
    appliance.readings.clear()
    with pytest.raises(ProbeFailed, match="nothing is set"):
        appliance.look(name)


def test_the_probes_are_seven(appliance: Appliance) -> None:
    names = ["scst_state", "scst", "scst_slow", "scst_backing", "scst_latency", "scst_log"]
    assert list(appliance.probes) == [*names, "scst_modules"]


def test_no_family_is_told_by_two_probes(appliance: Appliance) -> None:
    told = [family.name for probe in appliance.probes.values() for family in probe.families]
    assert len(told) == len(set(told))


# Whether it is loaded.


ABSENT = "run1/01-absent-no-modules"


def test_scst_that_is_configured_and_not_loaded_is_down() -> None:
    appliance = Appliance(ABSENT)
    text = saved_text("configured-idle")
    appliance.readings["boot.scst", ""] = {"exists": True, "text": text}
    assert values(appliance.look("scst_state"), "scst_up") == {(): 0.0}


def test_a_configuration_without_targets_asks_for_nothing() -> None:
    appliance = Appliance(ABSENT)
    text = "HANDLER vdisk_fileio {\n}\n"
    appliance.readings["boot.scst", ""] = {"exists": True, "text": text}
    with pytest.raises(ProbeAbsent):
        appliance.look("scst_state")


def test_a_configuration_that_cannot_be_understood_is_not_none() -> None:
    appliance = Appliance(ABSENT)
    appliance.readings["boot.scst", ""] = {"exists": True, "text": "TARGET_DRIVER iscsi {\n"}
    with pytest.raises(ProbeFailed, match="SCST is not loaded, and whether it should be"):
        appliance.look("scst_state")


def test_scst_that_is_loaded_is_not_asked_for_its_configuration(appliance: Appliance) -> None:
    appliance.look("scst_state")
    assert ("boot.scst", "") not in appliance.asked_for


def test_scst_that_was_unloaded_is_known_to_be_down(appliance: Appliance) -> None:
    up = [values(appliance.look("scst_state"), "scst_up")]
    appliance.be("run1/01-absent-no-modules")
    up.append(values(appliance.look("scst_state"), "scst_up"))
    appliance.be(IDLE)
    up.append(values(appliance.look("scst_state"), "scst_up"))
    assert up == [{(): 1.0}, {(): 0.0}, {(): 1.0}]


def test_scst_that_should_be_there_is_down_from_the_start() -> None:
    appliance = Appliance("run1/01-absent-no-modules")
    (probe, *_) = make_scst_probes(appliance.clock.clock)
    assert isinstance(probe, Remembering)
    probe.restore(True)
    assert probe.to_plain() is True
    frame = asyncio.run(probe.collect(appliance, Scope("scst_state")))
    assert values(frame, "scst_up") == {(): 0.0}


def test_of_scst_that_was_unloaded_nothing_else_is_known(appliance: Appliance) -> None:
    appliance.look()
    appliance.be("run1/01-absent-no-modules")
    with pytest.raises(ProbeAbsent):
        appliance.look()


# The tree.


def test_a_look_tells_the_whole_tree(appliance: Appliance) -> None:
    frame = appliance.look()
    assert set(frame.rows) == {family.name for family in FAMILIES}
    assert values(frame, "scst_suspended") == {(): 0.0}
    assert values(frame, "scst_target_enabled")["iscsi", TGT1] == 1.0
    assert is_up(frame) == {(ONE, "20200003d0200"): 1.0, (TWO, "40400003d0200"): 1.0}
    assert appliance.asked_for == [("scst.cheap", "")]


@pytest.mark.parametrize(
    ("path", "number"),
    [
        pytest.param("suspend", errno.EACCES, id="a value, permission"),
        pytest.param("suspend", errno.EPERM, id="a value, capability"),
        pytest.param(f"targets/iscsi/{TGT1}/", errno.EACCES, id="a directory, permission"),
        pytest.param(f"targets/iscsi/{TGT1}/", errno.EIO, id="a directory that cannot be listed"),
    ],
)
def test_what_may_not_be_read_is_not_taken_for_absent(
    appliance: Appliance, path: str, number: int
) -> None:
    appliance.be(IDLE, **{path: -number})
    with pytest.raises(ReadRefused, match=path) as refused:
        appliance.look()
    assert refused.value.errno == number


def test_one_value_that_cannot_be_read_hides_no_other(appliance: Appliance) -> None:
    appliance.be(IDLE, suspend=-errno.EIO)
    frame = appliance.look()
    assert values(frame, "scst_suspended") == {}
    assert values(frame, "scst_threads") == {(): 2.0}


def test_who_logged_in_again_is_up_and_who_is_gone_is_missed(appliance: Appliance) -> None:
    appliance.look()
    appliance.look(after_s=EXPECTED_AFTER_S)
    appliance.be("run1/23-session-after-initiator-reconnect")
    assert is_up(appliance.look()) == {(ONE, "50200003d0200"): 1.0, (TWO, "40400003d0200"): 1.0}
    appliance.be("run1/24-session-logged-out")
    gone = {(ONE, "50200003d0200"): 0.0, (TWO, "40400003d0200"): 0.0}
    assert is_up(appliance.look()) == gone
    assert is_up(appliance.look(after_s=EXPIRES_AFTER_S - 30)) == gone
    assert is_up(appliance.look()) == {}


def test_totals_do_not_fall_when_a_session_ends(appliance: Appliance) -> None:
    def reads() -> tuple[float, float]:
        frame = appliance.look()
        return (
            values(frame, "scst_target_commands_total")["iscsi", TGT2, "read"],
            values(frame, "scst_initiator_logins_total")["iscsi", TGT2, ONE],
        )

    found = [reads()]
    for name in ("run1/23-session-after-initiator-reconnect", "run1/24-session-logged-out"):
        appliance.be(name)
        found.append(reads())
    assert found == [(568.0, 0.0), (568.0, 1.0), (568.0, 1.0)]


def test_what_was_learnt_is_kept_over_a_restart(appliance: Appliance) -> None:
    appliance.look()
    appliance.look(after_s=EXPECTED_AFTER_S)
    probe = appliance.probes["scst"]
    assert isinstance(probe, ScstProbe)
    state = json.loads(json.dumps(probe.to_plain()))
    appliance.be("run1/24-session-logged-out")
    appliance.start(state)
    frame = appliance.look()
    assert set(is_up(frame).values()) == {0.0}
    assert values(frame, "scst_target_commands_total")["iscsi", TGT2, "read"] == 568.0


@pytest.mark.parametrize("state", [None, 7, {"ledger": 1}, {"memory": {"version": 1}}])
def test_a_state_that_is_none_is_as_good_as_no_state(appliance: Appliance, state: object) -> None:
    appliance.start(state)
    assert values(appliance.look(), "scst_initiator_logins_total")["iscsi", TGT2, ONE] == 0.0


# What is rarely read.


def filenames(frame: Frame) -> dict[str, str]:
    return {labels[0]: labels[2] for labels in values(frame, "scst_device_info") if labels[2]}


def test_what_is_queued_is_asked_for_every_five_minutes(appliance: Appliance) -> None:
    before = filenames(appliance.look("scst_slow"))
    assert before["disk01"] == "/var/lab/disk01.img"
    appliance.be(IDLE, **{"devices/disk01/filename": b"/elsewhere\n[key]\n\n"})
    assert filenames(appliance.look("scst_slow", after_s=AGAIN_AFTER_S - 1)) == before
    after = filenames(appliance.look("scst_slow", after_s=1))
    assert after == {**before, "disk01": "/elsewhere"}
    assert appliance.asked_for == 2 * [("scst.steady", ""), ("scst.queued", "")]


def test_what_says_to_ask_again_is_as_it_was_and_counted(appliance: Appliance) -> None:
    before = filenames(appliance.look("scst_slow"))
    path = "devices/disk01/filename"
    appliance.be(IDLE, **{path: -errno.EAGAIN})
    frame = appliance.look("scst_slow", after_s=AGAIN_AFTER_S)
    assert filenames(frame) == before
    assert values(frame, "scst_sysfs_eagain_total") == {
        ("scst.cheap",): 0.0,
        ("scst.steady",): 0.0,
        ("scst.queued",): 1.0,
    }
    assert filenames(appliance.look("scst_slow", after_s=AGAIN_AFTER_S)) == before


def test_what_never_said_anything_else_is_not_known_and_asked_for_sooner(
    appliance: Appliance,
) -> None:
    appliance.be(IDLE, **{"devices/disk01/filename": -errno.EAGAIN})
    assert "disk01" not in filenames(appliance.look("scst_slow"))
    with pytest.raises(ProbeFailed, match="does not say where"):
        appliance.scopes("scst_backing")
    appliance.be(IDLE)
    assert "disk01" in filenames(appliance.look("scst_slow", after_s=SOONER_AFTER_S))
    assert DISK in appliance.scopes("scst_backing")


def test_an_attribute_of_the_tree_that_says_to_ask_again_is_counted(appliance: Appliance) -> None:
    appliance.be(IDLE, **{"devices/disk01/size": -errno.EAGAIN})
    assert ("disk01",) not in values(appliance.look(), "scst_device_size_bytes")
    appliance.look()
    frame = appliance.look("scst_slow")
    assert values(frame, "scst_sysfs_eagain_total")["scst.cheap",] == 2.0
    assert values(frame, "scst_sysfs_read_seconds_count") == {
        ("scst.cheap",): 2.0,
        ("scst.steady",): 1.0,
        ("scst.queued",): 1.0,
    }


def test_how_long_reads_take_is_a_histogram() -> None:
    times = ReadTimes()
    for seconds in (0.004, 0.01, 0.5, 15.0, 31.0):
        times.add("scst.queued", seconds)
    rows = times.rows()
    assert {row.labels[1]: row.value for row in rows["bucket"]} == {
        "0.01": 2,
        "0.1": 2,
        "1": 3,
        "5": 3,
        "15": 4,
        "30": 4,
        "+Inf": 5,
    }
    assert [row.value for row in rows["count"]] == [5]
    assert [row.value for row in rows["sum"]] == [pytest.approx(46.514)]


@pytest.mark.parametrize("row", ["scst.steady", "scst.queued"])
def test_what_is_stuck_is_not_known_and_asked_for_until_it_answers(
    appliance: Appliance, row: str
) -> None:
    before = filenames(appliance.look("scst_slow"))
    answer = appliance.readings[row, ""]
    stuck = ReadStuck(f"{row} has not answered", key=row, since=NOON)
    appliance.readings[row, ""] = stuck
    assert filenames(appliance.look("scst_slow")) == before
    for after_s in (AGAIN_AFTER_S, 30):
        with pytest.raises(ReadStuck):
            appliance.look("scst_slow", after_s=after_s)
    appliance.readings[row, ""] = answer
    assert filenames(appliance.look("scst_slow")) == before


def test_while_what_is_queued_is_stuck_the_tree_is_seen(appliance: Appliance) -> None:
    appliance.be("run2/10-mgmt-del_device-blocked")
    stuck = ReadStuck("scst.queued has not answered", key="scst.queued", since=NOON)
    appliance.readings["scst.queued", ""] = stuck
    with pytest.raises(ReadStuck):
        appliance.look("scst_slow")
    assert values(appliance.look(), "scst_management_pending") == {(): 1.0}


def test_errors_of_data_integrity_add_up_over_sessions(appliance: Appliance) -> None:
    table = b"\tapp\tref\tguard\ntgt\t0\t0\t%d\nscst\t0\t0\t0\ndev\t0\t0\t0\n"
    sessions = f"targets/iscsi/{TGT1}/sessions"

    def errors(*found: tuple[str, int]) -> float:
        queued: dict[str, bytes | int] = dict(attributes(IDLE, QUEUED))
        queued |= {
            f"{sessions}/{directory}/dif_checks_failed": table % count for directory, count in found
        }
        appliance.readings["scst.queued", ""] = queued
        frame = appliance.look("scst_slow", after_s=AGAIN_AFTER_S)
        total = values(frame, "scst_initiator_dif_errors_total")
        return total["iscsi", TGT1, ONE, "tgt", "guard"]

    assert errors((ONE, 2), (f"{ONE}_1", 3)) == 5.0
    assert errors((f"{ONE}_1", 4)) == 6.0


# Files behind devices.


def backing(path: str) -> Scope:
    return Scope("scst_backing", (("path", path),))


DISK = backing("/var/lab/disk01.img")


def put(appliance: Appliance, facts: Mapping[str, Any]) -> None:
    appliance.readings["file.size", "/var/lab/disk01.img"] = dict(facts)


def test_each_file_is_a_scope(appliance: Appliance) -> None:
    assert {dict(one.labels)["path"] for one in appliance.scopes("scst_backing")} == {
        "/dev/mapper/lab-lin0",
        "/dev/mapper/lab-lin1",
        "/var/lab/big.img",
        "/var/lab/cd.iso",
        "/var/lab/disk01.img",
        "/var/lab/disk02.img",
        "/var/lab/disk03.img",
        "/var/lab/gone.img",
        "/var/lab/thin.img",
    }


def test_a_device_that_is_being_taken_out_has_no_file(appliance: Appliance) -> None:
    appliance.be(IDLE, **{"devices/disk01/filename": -errno.ENOENT})
    scopes = appliance.scopes("scst_backing")
    assert scopes
    assert DISK not in scopes


def test_a_file_that_is_no_devices_any_more_is_not_looked_at(appliance: Appliance) -> None:
    appliance.scopes("scst_backing")
    with pytest.raises(ProbeAbsent, match="no device of SCST lies at /etc/passwd"):
        appliance.look("scst_backing", backing("/etc/passwd"))


def test_devices_that_share_a_file_are_looked_at_once(appliance: Appliance) -> None:
    appliance.readings["file.size", "/var/lab/big.img"] = {"exists": False}
    appliance.scopes("scst_backing")
    frame = appliance.look("scst_backing", backing("/var/lab/big.img"))
    assert values(frame, "scst_device_backing_present") == {
        ("a_very_long_device_name_0123456789012345678901234567890123456789", "/var/lab/big.img"): 0,
        ("name:with@odd#chars+1%20", "/var/lab/big.img"): 0,
    }


def test_the_disk_that_a_device_lies_on_is_told(appliance: Appliance) -> None:
    facts = {"exists": True, "kind": "block", "size": 128 << 20, "disk": "dm-0"}
    appliance.readings["file.size", "/dev/mapper/lab-lin0"] = facts
    appliance.scopes("scst_backing")
    frame = appliance.look("scst_backing", backing("/dev/mapper/lab-lin0"))
    assert values(frame, "scst_backing_disk") == {("dm-0", "blk01", "/dev/mapper/lab-lin0"): 1.0}


@pytest.mark.parametrize(
    ("facts", "present", "size"),
    [
        pytest.param({"exists": True, "kind": "file", "size": 64 << 20}, 1.0, 64 << 20, id="file"),
        pytest.param({"exists": True, "kind": "block", "size": 512}, 1.0, 512, id="block device"),
        pytest.param({"exists": True, "kind": "block", "size": None}, 1.0, None, id="size unknown"),
        pytest.param({"exists": True, "kind": "other", "size": None}, 0.0, None, id="no file"),
        pytest.param({"exists": False}, 0.0, None, id="deleted"),
    ],
)
def test_a_file_is_there_or_not(
    appliance: Appliance, facts: dict[str, Any], present: float, size: float | None
) -> None:
    appliance.scopes("scst_backing")
    put(appliance, facts)
    frame = appliance.look("scst_backing", DISK)
    labels = ("disk01", "/var/lab/disk01.img")
    assert values(frame, "scst_device_backing_present") == {labels: present}
    sizes = frame.rows["scst_device_backing_size_bytes"]
    assert [row.value for row in sizes] == ([] if size is None else [size])


def test_a_file_is_looked_at_every_two_minutes(appliance: Appliance) -> None:
    def is_present(after_s: float) -> float:
        frame = appliance.look("scst_backing", DISK, after_s)
        return values(frame, "scst_device_backing_present")["disk01", "/var/lab/disk01.img"]

    appliance.scopes("scst_backing")
    put(appliance, {"exists": True, "kind": "file", "size": 512})
    found = [is_present(30)]
    put(appliance, {"exists": False})
    found += [is_present(LOOK_AT_FILE_AFTER_S - 1), is_present(1)]
    assert found == [1.0, 1.0, 0.0]


def test_a_file_on_a_hung_mount_is_not_known(appliance: Appliance) -> None:
    appliance.scopes("scst_backing")
    stuck = ReadStuck("it has not answered", key="file.size:/var/lab/disk01.img", since=NOON)
    appliance.readings["file.size", "/var/lab/disk01.img"] = stuck
    with pytest.raises(ReadStuck):
        appliance.look("scst_backing", DISK)
    put(appliance, {"exists": False})
    frame = appliance.look("scst_backing", DISK)
    assert set(values(frame, "scst_device_backing_present").values()) == {0.0}


def test_files_are_found_by_the_same_reads_as_the_rest(appliance: Appliance) -> None:
    appliance.look("scst_slow")
    before = len(appliance.asked_for)
    appliance.scopes("scst_backing")
    assert len(appliance.asked_for) == before


def test_a_device_that_is_gone_is_forgotten(appliance: Appliance) -> None:
    appliance.scopes("scst_backing")
    put(appliance, {"exists": False})
    appliance.look("scst_backing", DISK)
    appliance.be("run1/02-core-only")
    appliance.clock.forward(AGAIN_AFTER_S)
    assert appliance.scopes("scst_backing") == ()
    appliance.be(IDLE)
    appliance.clock.forward(AGAIN_AFTER_S)
    put(appliance, {"exists": True, "kind": "file", "size": 512})
    assert DISK in appliance.scopes("scst_backing")
    frame = appliance.look("scst_backing", DISK, after_s=0)
    assert set(values(frame, "scst_device_backing_present").values()) == {1.0}


# Who is usually here.


def test_time_in_which_a_target_is_disabled_counts_for_nobody(appliance: Appliance) -> None:
    appliance.be(IDLE, **{f"targets/iscsi/{TGT1}/enabled": b"0\n"})
    appliance.look()
    appliance.look()
    kept = appliance.probes["scst"].to_plain()["presence"]  # type: ignore[attr-defined]
    seconds = {target: count for _, target, count in kept["seconds"]}
    assert TGT1 not in seconds
    assert seconds[TGT2] == 30
    assert seconds["local1"] == 30  # a driver whose targets cannot be disabled
