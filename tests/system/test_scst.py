"""SCST under the real programs: a tree of it that moves, in which things go wrong."""

import os
from collections.abc import Iterator
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest

from lab.answers import Answer
from lab.fibrechannel import FcPort
from lab.scst import ScstTree, Target
from storewatchd.checkpoints import Checkpoints
from storewatchd.clock import Clock
from storewatchd.core.series import SeriesTable
from storewatchd.probes.scst.presence import Presence, hour_of
from storewatchd.probes.scst.probe import ScstProbe
from storewatchd.probes.scst.readings import SlowReadings
from system.appliance import Appliance, wait_for

pytestmark = pytest.mark.timeout(90)  # real programs start

IQN = "iqn.2026-01.example:disk1"
ESX = "iqn.1998-01.com.vmware:esx07"
MB = 1 << 20


@pytest.fixture
def tree(tmp_path: Path) -> Iterator[ScstTree]:
    tree = ScstTree(tmp_path / "sys")
    backing = tmp_path / "disk1.img"
    backing.write_bytes(bytes(MB))
    tree.add_device("disk1", "vdisk_fileio", filename=str(backing), size=MB)
    tree.add_driver("iscsi")
    yield tree
    tree.close()


@pytest.fixture
def target(tree: ScstTree) -> Target:
    target = tree.add_target("iscsi", IQN, relative_id=1)
    target.add_lun(0, "disk1")
    return target


@pytest.fixture
def watched(appliance: Appliance, tree: ScstTree, target: Target, tmp_path: Path) -> Appliance:
    """A daemon whose reader finds SCST in the tree."""
    appliance.configure(interval_s=1, more='[database]\nkind = "none"')
    appliance.start_reader("--sysfs", os.fspath(tmp_path / "sys"))
    appliance.start()
    wait_for("the target", lambda: value(appliance, "scst_target_enabled") is not None)
    return appliance


def value(appliance: Appliance, expr: str) -> float | None:
    """Return the value of an expression that is known and has one row; else None."""
    rows = appliance.call("metrics.query", expr=expr)["rows"]
    found = [one for one in rows if one["state"] == "exact"]
    return float(found[0]["value"]) if len(found) == 1 else None


def outcome(appliance: Appliance, probe: str) -> set[str]:
    listed: list[dict[str, Any]] = appliance.call("probes.list", probe=probe)["probes"]
    return {one["outcome"] for one in listed}


def test_targets_luns_and_sessions_are_seen_and_counted(watched: Appliance, target: Target) -> None:
    session = target.log_in(ESX)
    wait_for("the session", lambda: value(watched, "scst_target_sessions") == 1)
    session.transfer(reads=10, read_kib=40, writes=5, write_kib=20)
    written = f'scst_session_bytes_total{{initiator="{ESX}",direction="write"}}'
    wait_for("its bytes", lambda: value(watched, written) == 20 * 1024)
    # The target's own counters fall at a logout; ours do not.
    total = 'scst_target_bytes_total{direction="write"}'
    assert value(watched, total) == 20 * 1024
    session.log_out()
    wait_for("the logout", lambda: value(watched, "scst_target_sessions") == 0)
    assert value(watched, total) == 20 * 1024


def test_a_disabled_target_and_a_suspended_scst_are_critical(
    watched: Appliance, tree: ScstTree, target: Target
) -> None:
    target.enable(is_enabled=False)
    wait_for("its state", lambda: value(watched, "scst_target_enabled") == 0)
    tree.suspend()
    wait_for("the suspension", lambda: value(watched, "scst_suspended") == 1)
    for rule in ("TargetDisabled", "ScstSuspended"):
        # What a look found is there before the rules have judged it, and that is on disk.
        pending = wait_for(rule, partial(watched.alerts, rule=rule, state=["pending", "firing"]))
        assert [one["severity"] for one in pending] == ["critical"], rule


def test_a_test_mode_left_on_fires_at_once(watched: Appliance, tree: ScstTree) -> None:
    tree.set(f"targets/iscsi/{IQN}/black_hole", "1")
    alert = wait_for("the alert", lambda: watched.firing("BlackHoleActive"))
    assert (alert["severity"], IQN in alert["title"]) == ("critical", True)
    tree.set(f"targets/iscsi/{IQN}/black_hole", "0")
    wait_for("its end", lambda: watched.firing("BlackHoleActive") is None)


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting needs root")
def test_what_scst_answers_from_a_stuck_queue_blinds_nothing_else(
    watched: Appliance, tree: ScstTree, target: Target
) -> None:
    tree.trouble("devices/disk1/filename", Answer(hangs=True))
    tree.trouble(f"targets/iscsi/{IQN}/rel_tgt_id", Answer(errno=11))
    session = target.log_in(ESX)
    wait_for("the session", lambda: value(watched, "scst_target_sessions") == 1)
    session.transfer(reads=1, read_kib=4)
    counted = f'scst_session_bytes_total{{initiator="{ESX}",direction="read"}}'
    wait_for("its bytes", lambda: value(watched, counted) == 4096)
    assert outcome(watched, "scst") == {"seen"}


def test_scst_that_was_unloaded_is_failed_and_told(
    watched: Appliance, tree: ScstTree, tmp_path: Path
) -> None:
    (tmp_path / "sys" / "kernel" / "scst_tgt").rename(tmp_path / "gone")
    wait_for("its absence", lambda: value(watched, "scst_up") == 0)
    wait_for("blindness", lambda: outcome(watched, "scst") == {"failed"})
    (tmp_path / "gone").rename(tmp_path / "sys" / "kernel" / "scst_tgt")
    wait_for("its return", lambda: value(watched, "scst_up") == 1)
    wait_for("sight", lambda: outcome(watched, "scst") == {"seen"})


async def test_an_initiator_that_usually_is_here_is_missed(
    appliance: Appliance, tree: ScstTree, target: Target, tmp_path: Path
) -> None:
    now, presence = Clock().wall(), Presence()
    peer, place = ("iscsi", IQN, ESX), ("iscsi", IQN)
    for number in range(15 * 144):
        at = now - 15 * 86_400 + 600 * number
        presence.take({peer: ""}, [place], hour_of(at), at)
    probe = ScstProbe(SlowReadings(Clock()))
    probe.restore({"presence": presence.to_plain()})
    appliance.state.mkdir()
    await Checkpoints(appliance.state, SeriesTable(), version("storewatch"), [probe]).write()
    appliance.configure(interval_s=1, more='[database]\nkind = "none"')
    appliance.start_reader("--sysfs", os.fspath(tmp_path / "sys"))
    appliance.start()
    wait_for("its expectation", lambda: value(appliance, "scst_initiator_expected") == 1)
    rule = "ExpectedInitiatorMissing"
    (alert,) = wait_for("the alert", lambda: appliance.alerts(rule=rule, state=["pending"]))
    assert (alert["severity"], alert["resource_id"]) == ("warning", ESX)
    target.log_in(ESX)
    wait_for("its end", lambda: not appliance.alerts(rule=rule, state=["pending", "firing"]))


def test_latencies_are_told_while_they_are_measured_and_missed_by_nobody_after(
    watched: Appliance, tree: ScstTree, target: Target
) -> None:
    session = target.log_in(ESX)
    session.spend("r4096", 40, wait_us=250.0)
    waits = 'scst_session_latency_stage_seconds_sum{stage="EXEC_WAIT",io="r"}'
    tree.set("measure_latency", "1")
    wait_for("its latency", lambda: value(watched, waits) == 0.01)
    assert outcome(watched, "scst_latency") == {"seen"}
    tree.set("measure_latency", "0")
    wait_for("its end", lambda: watched.call("metrics.query", expr=waits)["rows"] == [])
    assert outcome(watched, "scst_latency") == {"seen"}  # that there is nothing
    assert watched.alerts(rule="ProbeBlind", state=["pending", "firing"]) == []


def test_errors_of_a_back_end_are_told_by_the_kernels_log(
    appliance: Appliance, tree: ScstTree, target: Target, tmp_path: Path
) -> None:
    log = tmp_path / "dev" / "kmsg"
    log.parent.mkdir()
    log.write_text("6,7,1,-;a quiet machine\n")
    appliance.configure(interval_s=1, more='[database]\nkind = "none"')
    appliance.start_reader("--sysfs", f"{tmp_path}/sys", "--dev", os.fspath(log.parent))
    appliance.start()
    errors = 'scst_log_errors_total{kind="io"}'
    wait_for("the log", lambda: value(appliance, errors) == 0)
    with log.open("a") as file:
        file.write(
            "3,8,2,-;[9]: dev_vdisk: ***ERROR***: BLOCKIO for cmd 1 finished with error -5\n"
        )
    wait_for("the error", lambda: value(appliance, errors) == 1)


# Fibre Channel.

WWPN = "21:00:00:24:ff:7e:3c:01"


def test_a_port_of_a_target_that_goes_down_is_told(
    watched: Appliance, tree: ScstTree, tmp_path: Path
) -> None:
    port = FcPort(tmp_path / "sys", 3, WWPN)
    port.count("invalid_crc_count", 7)
    tree.add_driver("qla2x00t")
    tree.add_target("qla2x00t", WWPN).add_lun(0, "disk1")
    port.log_in()
    remote = f'fc_remote_ports{{port="{WWPN}",state="online"}}'
    wait_for("who is logged in", lambda: value(watched, remote) == 1)
    assert value(watched, "fc_host_speed_bits_per_second") == 16e9
    wait_for("its statistics", lambda: value(watched, "fc_host_invalid_crc_total") == 7)
    (read,) = watched.call("probes.plan", device="host3")["reads"]
    assert (read["row"], read["safety"]) == ("sys.fc.statistics", "P0")
    port.go_down()
    alert = wait_for("the alert", lambda: watched.firing("FcPortDown"), within_s=40)
    assert (alert["severity"], alert["resource_id"]) == ("critical", WWPN)
    assert value(watched, remote) == 0
    port.die()
    gone = f'fc_host_port_state{{port="{WWPN}",state="gone"}}'
    wait_for("its end", lambda: value(watched, gone) == 1)
    assert watched.firing("FcPortDown") is not None
