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
    put(tmp_path / "boot" / f"initrd.img-{RUNNING}", "x" * 4096)
    names = ("scst", "scst_vdisk", "iscsi_scst")
    listed = "".join(f"updates/{name}.ko.xz:\n" for name in names)
    for name in names:
        put(tmp_path / "modules" / RUNNING / "updates" / f"{name}.ko.xz")
    put(tmp_path / "modules" / RUNNING / "modules.dep", listed)
    put(tmp_path / "modules" / NEXT / "modules.dep", "kernel/fs/ext4/ext4.ko.xz:\n")
    put(tmp_path / "etc" / "scst.conf", CONFIG)
    put(tmp_path / "etc" / "systemd/system/multi-user.target.wants/scst.service")
    put(tmp_path / "etc" / "fstab", "proc /proc proc defaults 0 0\n")
    put(tmp_path / "etc" / "crypttab", f"backup UUID=5 /etc/keys/{SECRET} luks\n")
    bareos = f"Device {{\n Archive Device = /dev/nst0\n Password = {SECRET}\n}}\n"
    put(tmp_path / "etc" / "bareos/bareos-sd.conf", bareos)
    (tmp_path / "run").mkdir()
    efivars = tmp_path / "sys/firmware/efi/efivars"
    put(efivars / "SecureBoot-8be4df61-93ca-11d2-aa0d-00e098032b8c", "\6\0\0\0\1")
    return tmp_path


@pytest.fixture
def watched(appliance: Appliance, machine: Path) -> Appliance:
    return watch(appliance, machine)


def watch(appliance: Appliance, machine: Path) -> Appliance:
    """Let the programs watch a machine, until they have seen it."""
    appliance.configure(interval_s=1, more='[database]\nkind = "none"')
    roots = ("sys", "boot", "modules", "etc", "run")
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
        **dict.fromkeys(("kernel", "fstab", "scst_conf", "unit_scst", "boot_space"), "ok"),
        **dict.fromkeys(("initramfs", "crypttab", "tape_names"), "problem"),
        **dict.fromkeys(("module_scst", "module_scst_vdisk", "module_iscsi_scst"), "problem"),
        **dict.fromkeys(("stable_names", "scst_config"), "problem"),
    }
    done = watched.ctl("boot", "check")
    assert (done.returncode, done.stderr) == (1, "")
    assert f"dkms autoinstall -k {NEXT}" in done.stdout
    assert "disk1 at /dev/sdb" in done.stdout
    assert f"lun iscsi/{IQN}/0 vanishes" in done.stdout
    assert "not there: UUID=5 for backup" in done.stdout
    assert "/dev/nst0 (archive device, bareos/bareos-sd.conf)" in done.stdout
    assert "score 38 %: 5 of 13 checks are well" in done.stdout
    assert json.loads(watched.ctl("boot", "check", "--json").stdout)["ready"] is False
    pending = watched.alerts(rule="NextBootNotReady", state=["pending", "firing"])
    assert {one["resource_id"] for one in pending} == {
        *("module_scst", "module_scst_vdisk", "module_iscsi_scst", "stable_names"),
        *("initramfs", "crypttab", "tape_names"),
    }
    assert watched.alerts(rule="ScstConfigDrift", state=["pending", "firing"])


def module(version: str, *, is_signed: bool) -> bytes:
    signature = b"~Module signature appended~\n" if is_signed else b""
    return b"\x7fELF\0vermagic=" + version.encode() + b" SMP mod_unload \0" + signature


def test_a_module_that_the_kernel_would_refuse_is_told(appliance: Appliance, machine: Path) -> None:
    place = machine / "modules" / NEXT
    found = {"scst": (NEXT, False), "scst_vdisk": (RUNNING, True), "iscsi_scst": (NEXT, True)}
    for name, (version, is_signed) in found.items():
        (place / f"{name}.ko").write_bytes(module(version, is_signed=is_signed))
    (place / "modules.dep").write_text("".join(f"{name}.ko:\n" for name in found))
    watch(appliance, machine)
    checks: list[dict[str, Any]] = appliance.call("boot.check")["checks"]
    told = {one["check"]: one["about"] for one in checks if one["state"] == "problem"}
    assert "is not signed, and Secure Boot is on: the kernel refuses it" in told["module_scst"]
    expected = f"the module scst_vdisk of {NEXT} was built for {RUNNING}: the kernel refuses it"
    assert told["module_scst_vdisk"] == expected
    assert states(appliance)["module_iscsi_scst"] == "ok"


def test_a_start_that_is_planned_makes_it_critical(watched: Appliance, machine: Path) -> None:
    assert watched.call("boot.check")["scheduled"] is None
    put(machine / "run/systemd/shutdown/scheduled", "USEC=4102444800000000\nMODE=reboot\n")
    wait_for("the plan", lambda: watched.call("boot.check")["scheduled"])
    assert watched.call("boot.check")["scheduled"] == "2100-01-01T00:00:00.000Z"

    def severities() -> set[str]:
        found = watched.alerts(rule="NextBootNotReady", state=["pending", "firing"])
        return {one["severity"] for one in found}

    wait_for("the alerts", lambda: severities() == {"critical"})


def test_no_secret_of_any_configuration_leaves_the_reader(
    watched: Appliance, tmp_path: Path
) -> None:
    recording = tmp_path / "all.recording"
    done = watched.ctl("probes", "record", "--for", "3s", "-o", os.fspath(recording))
    assert done.returncode == 0, done.stderr
    said = [watched.ctl("boot", "check").stdout, watched.call("metrics.text")]
    assert SECRET not in "".join(said)
    kept = [file for file in watched.state.rglob("*") if file.is_file()]
    assert kept
    for file in (recording, *kept):
        assert SECRET.encode() not in file.read_bytes(), file
