"""The reads of the table: what they find, what is not there, and what cannot be read."""

import errno
import os
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from storewatch_reader import reads
from storewatch_reader.roots import Roots

# Paths.


def test_a_directory_is_told_with_its_file_system(tmp_path: Path) -> None:
    facts = reads.statvfs_path(Roots(), os.fspath(tmp_path))
    about, sizes = tmp_path.stat(), os.statvfs(tmp_path)
    assert facts["exists"]
    assert facts["is_directory"]
    assert facts["real_path"] == os.fspath(tmp_path)
    assert facts["device"] == f"{os.major(about.st_dev)}:{os.minor(about.st_dev)}"
    assert (facts["block_bytes"], facts["blocks"]) == (sizes.f_frsize, sizes.f_blocks)
    assert facts["blocks_available"] <= facts["blocks_free"] <= facts["blocks"]
    assert facts["files_free"] <= facts["files"]


def test_a_link_is_told_with_where_it_leads(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    facts = reads.statvfs_path(Roots(), f"{tmp_path}/link")
    assert (facts["real_path"], facts["is_directory"]) == (f"{tmp_path}/real", True)


def test_a_file_is_no_directory(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert reads.statvfs_path(Roots(), f"{tmp_path}/file")["is_directory"] is False


@pytest.mark.parametrize("path", ["missing", "file/below"])
def test_what_is_not_there_is_an_answer(tmp_path: Path, path: str) -> None:
    (tmp_path / "file").touch()
    assert reads.statvfs_path(Roots(), f"{tmp_path}/{path}") == {"exists": False}


def test_what_cannot_be_looked_at_is_no_answer(tmp_path: Path) -> None:
    (tmp_path / "loop").symlink_to("loop")
    with pytest.raises(OSError, match="symbolic links") as caught:
        reads.statvfs_path(Roots(), f"{tmp_path}/loop")
    assert caught.value.errno == errno.ELOOP


# Mounts.


def procfs(root: Path, *, root_of_process_1: str | None) -> Roots:
    for name in ("1", "self"):
        (root / name).mkdir()
        (root / name / "mountinfo").write_text(f"of {name}\n")
    (root / "filesystems").write_bytes(b"\text4\n\xff\n")
    if root_of_process_1 is not None:
        (root / "1" / "root").symlink_to(root_of_process_1)
    return Roots(procfs=os.fspath(root))


@pytest.mark.parametrize(
    ("root_of_process_1", "seen"),
    [
        pytest.param("/", "of 1\n", id="the same root"),
        pytest.param(".", "of self\n", id="another root"),
        pytest.param(None, "of self\n", id="not permitted"),
    ],
)
def test_mounts_are_the_machines_where_they_can_be_seen(
    tmp_path: Path, root_of_process_1: str | None, seen: str
) -> None:
    roots = procfs(tmp_path, root_of_process_1=root_of_process_1)
    assert reads.mounts(roots, "") == {"mountinfo": seen, "filesystems": "\text4\n\ufffd\n"}


# Processes.


def processes(root: Path, **stats: bytes) -> Roots:
    """Write /proc/PID/stat; names of keyword arguments cannot begin with a digit."""
    for name, stat in stats.items():
        directory = root / name.removeprefix("p")
        directory.mkdir()
        (directory / "stat").write_bytes(stat)
    return Roots(procfs=os.fspath(root))


def test_processes_are_counted_by_state(tmp_path: Path) -> None:
    roots = processes(
        tmp_path,
        p1=b"1 (init) S 0 0",
        p7=b"7 (a) b) (c) R 1 7",
        p8=b"8 (kworker/0:1) S 2 0",
        loadavg=b"9 (no process) R",
    )
    assert reads.process_states(roots, "") == {"states": {"S": 2, "R": 1}, "blocked": []}


def test_a_blocked_process_is_named_with_where_it_waits(tmp_path: Path) -> None:
    roots = processes(tmp_path, p7=b"7 (tar (x)) D 1 7", p8=b"8 (dd) D 1 8")
    (tmp_path / "7" / "wchan").write_text("nfs_wait")
    blocked = reads.process_states(roots, "")["blocked"]
    assert sorted(blocked, key=lambda one: int(one["pid"])) == [
        {"pid": 7, "comm": "tar (x)", "wchan": "nfs_wait"},
        {"pid": 8, "comm": "dd", "wchan": ""},
    ]


def test_at_most_a_hundred_blocked_processes_are_named_and_all_are_counted(tmp_path: Path) -> None:
    roots = processes(tmp_path, **{f"p{n}": b"%d (dd) D 1" % n for n in range(1, 131)})
    found = reads.process_states(roots, "")
    assert (found["states"], len(found["blocked"])) == ({"D": 130}, 100)


def test_a_process_that_ends_meanwhile_is_left_out(tmp_path: Path) -> None:
    (tmp_path / "7").mkdir()
    assert reads.process_states(Roots(procfs=os.fspath(tmp_path)), "")["states"] == {}


@given(stat=st.binary(max_size=60))
def test_a_garbled_process_harms_nothing(
    tmp_path_factory: pytest.TempPathFactory, stat: bytes
) -> None:
    roots = processes(tmp_path_factory.mktemp("proc"), p7=stat)
    states = reads.process_states(roots, "")["states"]
    assert "" not in states
    assert sum(states.values()) <= 1


# Sizes.


def test_the_size_of_a_file_is_told(tmp_path: Path) -> None:
    (tmp_path / "disk").write_bytes(b"x" * 1000)
    number = (tmp_path / "disk").stat().st_dev
    links = tmp_path / "dev" / "block"
    links.mkdir(parents=True)
    (links / f"{os.major(number)}:{os.minor(number)}").symlink_to("../../devices/x/block/sdq")
    found = {"exists": True, "kind": "file", "size": 1000}
    told = reads.file_size(Roots(sysfs=os.fspath(tmp_path)), f"{tmp_path}/disk")
    assert told == {**found, "disk": "sdq"}
    told = reads.file_size(Roots(sysfs="/nowhere"), f"{tmp_path}/disk")
    assert told == {**found, "disk": ""}
    assert reads.file_size(Roots(), os.fspath(tmp_path))["kind"] == "other"


@pytest.mark.parametrize("path", ["missing", "file/below"])
def test_a_file_that_is_gone_is_an_answer(tmp_path: Path, path: str) -> None:
    (tmp_path / "file").touch()
    assert reads.file_size(Roots(), f"{tmp_path}/{path}") == {"exists": False}


def test_a_file_that_cannot_be_looked_at_is_no_answer(tmp_path: Path) -> None:
    (tmp_path / "loop").symlink_to("loop")
    with pytest.raises(OSError, match="symbolic links"):
        reads.file_size(Roots(), f"{tmp_path}/loop")


def test_the_size_of_a_block_device_is_the_kernels(tmp_path: Path) -> None:
    root = Path("/sys/dev/block")
    device = next(
        Path("/dev") / (root / one).resolve().name
        for one in sorted(os.listdir(root))
        if (Path("/dev") / (root / one).resolve().name).is_block_device()
    )
    sectors = int((Path("/sys/class/block") / device.name / "size").read_text())
    assert reads.file_size(Roots(), os.fspath(device)) == {
        "exists": True,
        "kind": "block",
        "size": sectors * 512,
        "disk": device.name,
    }


# Holders.


def test_who_holds_tape_devices_is_told_of_all_at_once(tmp_path: Path) -> None:
    for address, kind, sg in (("3:0:0:0", 8, "sg3"), ("3:0:1:0", 1, "sg4"), ("0:0:0:0", 0, "sg0")):
        device = tmp_path / "sys/class/scsi_device" / address / "device"
        (device / "scsi_generic" / sg).mkdir(parents=True)
        (device / "state").write_text("running\n")
        (device / "type").write_text(f"{kind}\n")
    # One is being taken away: it has no node any more.
    (tmp_path / "sys/class/scsi_device/3:0:2:0/device").mkdir(parents=True)
    for name, content in (("type", "1"), ("state", "cancel")):
        (tmp_path / f"sys/class/scsi_device/3:0:2:0/device/{name}").write_text(f"{content}\n")
    (tmp_path / "dev").mkdir()
    for name in ("sg0", "sg4"):
        (tmp_path / "dev" / name).touch()
    roots = Roots(sysfs=f"{tmp_path}/sys", dev=f"{tmp_path}/dev")
    assert reads.scsi_holders(roots, "") == {"devices": {"3:0:0:0": [], "3:0:1:0": []}}
    with (tmp_path / "dev/sg4").open("rb") as held, (tmp_path / "dev/sg0").open("rb") as disk:
        child = subprocess.Popen(["sleep", "60"], pass_fds=(held.fileno(), disk.fileno()))
    try:
        assert reads.scsi_holders(roots, "") == {
            "devices": {
                "3:0:0:0": [],
                "3:0:1:0": [{"pid": child.pid, "comm": "sleep", "node": "sg4"}],
            }
        }
    finally:
        child.kill()
        child.wait()


def test_a_machine_without_scsi_holds_nothing(tmp_path: Path) -> None:
    roots = Roots(sysfs=str(tmp_path), procfs="/nowhere")
    assert reads.scsi_holders(roots, "") == {"devices": {}}, "and no process is looked at"
