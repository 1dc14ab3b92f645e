"""The emulated SCST tree, against what captures of SCST 3.11 show."""

import errno
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab.answers import Answer
from lab.memory import memory_directory
from lab.scst import ScstTree, large_tree
from lab.tape.tools import state, wait_for

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="mounting needs root")
ONE = "iqn.2026-11.lab.client:one"


@pytest.fixture
def memory() -> Iterator[Path]:
    directory = memory_directory()
    yield directory
    shutil.rmtree(directory)


@pytest.fixture
def tree(memory: Path) -> Iterator[ScstTree]:
    made = ScstTree(memory / "sys")
    made.add_device("disk01", filename="/var/lab/disk01.img")
    made.add_device("blk01", "vdisk_blockio", filename="/dev/mapper/lin0", size=128 << 20)
    made.add_driver("iscsi")
    target = made.add_target("iscsi", "iqn.2026-11.lab.example:tgt1", relative_id=1)
    target.add_lun(0, "disk01")
    yield made
    made.close()


def read(tree: ScstTree, attribute: str) -> str:
    return (tree.path / attribute).read_text()


def read_errno(tree: ScstTree, attribute: str) -> int:
    """Return the errno with which a read fails; 0 where it does not."""
    try:
        descriptor = os.open(tree.path / attribute, os.O_RDONLY)
    except OSError as error:
        return error.errno or 0
    try:
        os.read(descriptor, 4096)
    except OSError as error:
        return error.errno or 0
    finally:
        os.close(descriptor)
    return 0


def names(tree: ScstTree, directory: str) -> list[str]:
    return sorted(os.listdir(tree.path / directory))


def test_values_look_as_scst_prints_them(tree: ScstTree) -> None:
    target = "targets/iscsi/iqn.2026-11.lab.example:tgt1"
    assert read(tree, "devices/disk01/filename") == "/var/lab/disk01.img\n[key]\n\n"
    assert read(tree, "devices/disk01/size") == "67108864\n[key]\n"
    assert read(tree, "devices/disk01/size_mb") == "64\n"
    assert read(tree, "devices/disk01/block") == "0 0\n"
    assert read(tree, f"{target}/rel_tgt_id") == "1\n[key]\n"
    assert read(tree, f"{target}/per_portal_acl") == "0\n\n"
    assert read(tree, f"{target}/comment") == ""
    assert read(tree, "targets/iscsi/enabled") == "1\n\n"
    assert read(tree, "sgv/sgv/stats").splitlines()[1:3] == [
        "sgv                            0           0           0           0/0/0",
        "  sgv-4K                       0           0           0",
    ]


def test_links_lead_where_scsts_do(tree: ScstTree) -> None:
    target = tree.targets[-1]
    target.add_group("hosts", [ONE])
    target.add_lun(3, "blk01", group="hosts", is_read_only=True)
    session = target.log_in(ONE)
    place = {
        "devices/disk01/handler": "../../handlers/vdisk_fileio",
        "handlers/vdisk_fileio/disk01": "../../devices/disk01",
        "devices/disk01/exported/export0": "../../../targets/copy_manager/copy_manager_tgt/luns/0",
        f"{target.path}/luns/0/device": "../../../../../devices/disk01",
        f"{target.path}/ini_groups/hosts/luns/3/device": "../../../../../../../devices/blk01",
        f"{session.path}/luns": "../../ini_groups/hosts/luns",
    }
    assert {path: os.readlink(tree.path / path) for path in place} == place
    assert read(tree, f"{target.path}/ini_groups/hosts/luns/3/read_only") == "1\n[key]\n"


def test_a_session_has_the_luns_of_its_group(tree: ScstTree) -> None:
    target = tree.targets[-1]
    target.add_group("hosts", [ONE])
    target.add_lun(3, "blk01", group="hosts")
    session = target.log_in(ONE, address="10.0.0.7")
    here = names(tree, session.path)
    assert "lun3" in here
    assert "lun0" not in here
    assert read(tree, f"{session.path}/10.0.0.7/ip") == "10.0.0.7"
    assert read(tree, f"{session.path}/10.0.0.7/state") == "established idle "
    assert len(names(tree, f"{session.path}/latency")) == 44
    target.add_lun(4, "disk01", group="hosts")
    assert "lun4" in names(tree, session.path)
    target.remove_lun(3, group="hosts")
    assert "lun3" not in names(tree, session.path)
    assert names(tree, "devices/blk01/exported") == ["export0"]


def test_target_counters_fall_when_a_session_leaves(tree: ScstTree) -> None:
    target = tree.targets[-1]
    first, second = target.log_in(ONE), target.log_in(ONE)
    first.transfer(reads=10, read_kib=40)
    second.transfer(reads=5, read_kib=20, writes=2, write_kib=128)
    assert names(tree, f"{target.path}/sessions") == [ONE, f"{ONE}_1"]
    assert read(tree, f"{target.path}/read_cmd_count") == "15\n"
    assert read(tree, f"{second.path}/write_io_count_kb") == "128\n"
    sids = {read(tree, f"{session.path}/sid") for session in (first, second)}
    assert len(sids) == 2
    second.log_out()
    assert read(tree, f"{target.path}/read_cmd_count") == "10\n"
    assert names(tree, f"{target.path}/sessions") == [ONE]
    first.reset()
    assert read(tree, f"{first.path}/read_io_count_kb") == "0\n"


def test_a_dead_daemon_takes_its_targets_along(tree: ScstTree) -> None:
    tree.targets[-1].log_in(ONE)
    tree.stop_daemon()
    assert names(tree, "targets/iscsi") == ["mgmt", "open_state", "trace_level", "version"]
    assert read(tree, "targets/iscsi/open_state") == "closed\n"
    tree.start_daemon(is_enabled=False)
    assert read(tree, "targets/iscsi/enabled") == "0\n\n"
    assert names(tree, "devices/disk01/exported") == ["export0"]


def test_states_of_devices_and_targets(tree: ScstTree) -> None:
    target = tree.targets[-1]
    session = target.log_in(ONE)
    tree.deactivate("disk01")
    assert read(tree, "devices/disk01/active") == "0\n[key]\n"
    tree.block("disk01", pending=3)
    assert read(tree, "devices/disk01/block") == "1 3\n"
    tree.suspend()
    assert read(tree, "suspend") == "1\n"
    session.wait(2, lun=0)
    assert read(tree, f"{session.path}/lun0/active_commands") == "2\n"
    target.enable(is_enabled=False)
    assert read(tree, f"{target.path}/enabled") == "0\n"
    tree.set("devices/disk01/filename", "/elsewhere", is_key=True)
    assert read(tree, "devices/disk01/filename") == "/elsewhere\n[key]\n\n"


def test_a_removed_device_leaves_nothing(tree: ScstTree) -> None:
    tree.remove_device("blk01")
    assert "blk01" not in names(tree, "devices") + names(tree, "handlers/vdisk_blockio")
    assert names(tree, "targets/copy_manager/copy_manager_tgt/luns") == ["0", "mgmt"]


def test_local_devices_have_no_handler(tree: ScstTree) -> None:
    tree.add_local_device("8:0:0:1")
    assert "handler" not in names(tree, "devices/8:0:0:1")
    assert "size" not in names(tree, "devices/8:0:0:1")


def test_alua_groups_name_targets_here_and_elsewhere(tree: ScstTree) -> None:
    tree.add_device_group("dg", ["disk01"])
    tree.add_target_group(
        "dg", "A", number=101, state="standby", targets=[tree.targets[-1]], remote={"other": 5}
    )
    path = "device_groups/dg/target_groups/A"
    assert read(tree, f"{path}/state") == "standby\n[key]\n"
    assert read(tree, f"{path}/other/rel_tgt_id") == "5\n[key]\n"
    link = os.readlink(tree.path / path / "iqn.2026-11.lab.example:tgt1")
    assert link == "../../../../targets/iscsi/iqn.2026-11.lab.example:tgt1"


def test_secrets_are_there_to_be_left_alone(tree: ScstTree) -> None:
    tree.targets[-1].add_user("labuser", "secretsecret12")
    path = tree.path / tree.targets[-1].path / "IncomingUser"
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.read_text() == "labuser secretsecret12\n[key]\n\n"


@needs_root
@pytest.mark.parametrize(
    ("answer", "code"),
    [
        pytest.param(Answer(errno=errno.EAGAIN), errno.EAGAIN, id="again"),
        pytest.param(Answer(errno=errno.EIO), errno.EIO, id="io"),
        pytest.param(Answer(errno=errno.EACCES, refuses_open=True), errno.EACCES, id="refused"),
    ],
)
def test_attributes_fail_until_mended(tree: ScstTree, answer: Answer, code: int) -> None:
    tree.trouble("devices/disk01/filename", answer)
    assert read_errno(tree, "devices/disk01/filename") == code
    tree.mend("devices/disk01/filename")
    assert read(tree, "devices/disk01/filename") == "/var/lab/disk01.img\n[key]\n\n"


@needs_root
def test_attributes_can_be_late(tree: ScstTree) -> None:
    tree.trouble("suspend", Answer(b"1\n", delay_s=0.1))
    began = time.monotonic()
    assert read(tree, "suspend") == "1\n"
    assert time.monotonic() - began >= 0.1


@needs_root
def test_a_hanging_attribute_cannot_be_killed_and_is_answered_once_mended(
    tree: ScstTree,
) -> None:
    tree.trouble("suspend", Answer(hangs=True))
    path = str(tree.path / "suspend")
    with subprocess.Popen(["cat", path], stdout=subprocess.PIPE) as killed:
        wait_for(lambda: tree.held)
        killed.kill()
        wait_for(lambda: state(killed.pid) == "D")
        assert killed.poll() is None
        patient = subprocess.Popen(["cat", path], stdout=subprocess.PIPE)
        tree.mend("suspend")
        assert patient.communicate(timeout=5)[0] == b"0\n"
        assert killed.wait(5) == -9


def test_a_large_tree_has_about_a_hundred_attributes_a_target(memory: Path) -> None:
    tree = large_tree(memory / "sys", targets=10, luns=100, sessions=50)
    count = sum(len(files) for _, _, files in os.walk(tree.path))
    assert len(names(tree, "targets/iscsi/iqn.2026-11.lab.example:t00003/sessions")) == 5
    assert 1_000 < count < 1_300
