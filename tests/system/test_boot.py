"""The next start under the real programs: SCST that runs, and a kernel that lacks its module."""

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lab.scst import ScstTree
from system.appliance import Appliance, wait_for

pytestmark = pytest.mark.timeout(90)  # real programs start

IQN = "iqn.2026-01.example:disk1"
RUNNING, NEXT = "6.1.0-9-amd64", "6.1.0-56-amd64"
SECRET = "s3cr3t12charsX"
CONFIG = f"""\
HANDLER vdisk_blockio {{
\tDEVICE disk1 {{
\t\tfilename /dev/sdb
\t}}
}}

TARGET_DRIVER iscsi {{
\tenabled 1
\tIncomingUser "me {SECRET}"

\tTARGET {IQN} {{
\t\tIncomingUser "me {SECRET}"
\t\tenabled 1
\t}}
}}
"""


def put(place: Path, text: str = "") -> None:
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_text(text)


@pytest.fixture
def tree(tmp_path: Path) -> Iterator[ScstTree]:
    tree = ScstTree(tmp_path / "sys")
    tree.add_device("disk1", "vdisk_blockio", filename="/dev/sdb", size=1 << 20)
    tree.add_driver("iscsi")
    tree.add_target("iscsi", IQN, relative_id=1).add_lun(0, "disk1")
    yield tree
    tree.close()


@pytest.fixture
def machine(tmp_path: Path, tree: ScstTree) -> Path:
    """A machine with a new kernel that dkms has not seen yet, and a LUN that nobody saved."""
    for version in (RUNNING, NEXT):
        put(tmp_path / "boot" / f"vmlinuz-{version}")
    names = ("scst", "scst_vdisk", "iscsi_scst")
    listed = "".join(f"updates/{name}.ko.xz:\n" for name in names)
    for name in names:
        put(tmp_path / "modules" / RUNNING / "updates" / f"{name}.ko.xz")
    put(tmp_path / "modules" / RUNNING / "modules.dep", listed)
    put(tmp_path / "modules" / NEXT / "modules.dep", "kernel/fs/ext4/ext4.ko.xz:\n")
    put(tmp_path / "etc" / "scst.conf", CONFIG)
    put(tmp_path / "etc" / "systemd/system/multi-user.target.wants/scst.service")
    put(tmp_path / "etc" / "fstab", "proc /proc proc defaults 0 0\n")
    return tmp_path


@pytest.fixture
def watched(appliance: Appliance, machine: Path) -> Appliance:
    appliance.configure(interval_s=1, more='[database]\nkind = "none"')
    roots = ("sys", "boot", "modules", "etc")
    words = [
        word
        for name in roots
        for word in ("--sysfs" if name == "sys" else f"--{name}", os.fspath(machine / name))
    ]
    appliance.start_reader(*words)
    appliance.start()
    wait_for("the checks", lambda: len(states(appliance)) > 2)
    wait_for("SCST's configuration", lambda: states(appliance).get("scst_config") == "problem")
    return appliance


def states(appliance: Appliance) -> dict[str, str]:
    checks: list[dict[str, Any]] = appliance.call("boot.check")["checks"]
    return {one["check"]: one["state"] for one in checks}


def test_what_would_not_come_back_is_told_before_the_machine_is_started(
    watched: Appliance,
) -> None:
    assert states(watched) == {
        **dict.fromkeys(("kernel", "fstab", "scst_conf", "unit_scst"), "ok"),
        **dict.fromkeys(("module_scst", "module_scst_vdisk", "module_iscsi_scst"), "problem"),
        **dict.fromkeys(("stable_names", "scst_config"), "problem"),
    }
    done = watched.ctl("boot", "check")
    assert (done.returncode, done.stderr) == (1, "")
    assert f"dkms autoinstall -k {NEXT}" in done.stdout
    assert "disk1 at /dev/sdb" in done.stdout
    assert f"lun iscsi/{IQN}/0 vanishes" in done.stdout
    assert json.loads(watched.ctl("boot", "check", "--json").stdout)["ready"] is False
    pending = watched.alerts(rule="NextBootNotReady", state=["pending", "firing"])
    assert {one["resource_id"] for one in pending} == {
        *("module_scst", "module_scst_vdisk", "module_iscsi_scst", "stable_names"),
    }
    assert watched.alerts(rule="ScstConfigDrift", state=["pending", "firing"])


def test_no_secret_of_scst_conf_leaves_the_reader(watched: Appliance, tmp_path: Path) -> None:
    recording = tmp_path / "all.recording"
    done = watched.ctl("probes", "record", "--for", "3s", "-o", os.fspath(recording))
    assert done.returncode == 0, done.stderr
    said = [watched.ctl("boot", "check").stdout, watched.call("metrics.text")]
    assert SECRET not in "".join(said)
    kept = [file for file in watched.state.rglob("*") if file.is_file()]
    assert kept
    for file in (recording, *kept):
        assert SECRET.encode() not in file.read_bytes(), file
