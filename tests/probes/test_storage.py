"""Mounts, file systems and repositories: which there are, how full, and what cannot be seen."""

import asyncio
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fakes import ScriptedPort
from probes.fix_probes import assert_keeps_to_its_families, captured, values
from storewatchd.core.frames import Frame, Scope
from storewatchd.core.repositories import RepositoryBook
from storewatchd.errors import ProbeAbsent, ProbeError, ProbeFailed, ReadRefused, ReadStuck
from storewatchd.probes.base import Probe
from storewatchd.probes.storage import (
    FileSystemsProbe,
    Mount,
    RepositoriesProbe,
    RepositoryStatesProbe,
    is_above,
    local_file_systems,
    mount_of,
    parse_filesystems,
    parse_mountinfo,
    seen_mount_points,
)

ON_DEVICES = frozenset({"ext4", "xfs", "squashfs", "fuseblk"})


def mount(mount_point: str, **changes: Any) -> Mount:
    plain: dict[str, Any] = {
        "mount_id": 1,
        "device": "8:1",
        "root": "/",
        "mount_point": mount_point,
        "file_system": "ext4",
        "source": "/dev/sda1",
        "read_only": False,
    }
    return Mount(**{**plain, **changes})


def points(mounts: list[Mount]) -> list[str]:
    return [one.mount_point for one in mounts]


# Mountinfo. The facts are read off the captured text by eye.


def test_a_line_is_a_mount() -> None:
    by_id = {one.mount_id: one for one in parse_mountinfo(captured("mountinfo"))}
    assert by_id[64] == Mount(64, "254:0", "/", "/", "ext4", "/dev/vda", read_only=False)
    assert by_id[106] == Mount(
        106, "7:0", "/", "/mnt/lab/vault", "ext4", "/dev/loop0", read_only=True
    )
    assert by_id[113].root == "/etc"
    assert by_id[113].read_only
    assert len(by_id) == 17


def test_what_the_kernel_escapes_is_itself_again() -> None:
    by_id = {one.mount_id: one for one in parse_mountinfo(captured("mountinfo"))}
    assert by_id[107].mount_point == "/mnt/lab/with space"
    assert by_id[108].mount_point == "/mnt/lab/line\nbreak"
    assert by_id[109].mount_point == "/mnt/lab/tab\tand\\back"
    assert by_id[109].source == "odd name"


@pytest.mark.parametrize("character", ["\x0b", "\x0c", "\x1c", "\x85", "\u2028", "\r"])
def test_no_other_character_ends_a_line(character: str) -> None:
    line = f"9 1 8:1 / /a{character}b rw - ext4 /dev/sda1 rw\n"
    assert points(parse_mountinfo(line)) == [f"/a{character}b"]


@pytest.mark.parametrize(
    ("options", "of_file_system", "read_only"),
    [
        pytest.param("rw,relatime", "rw", False, id="neither"),
        pytest.param("ro,relatime", "rw", True, id="the mount"),
        pytest.param("rw", "ro,errors=remount-ro", True, id="the file system"),
        pytest.param("rw", "rw,errors=remount-ro", False, id="only after an error"),
    ],
)
def test_read_only_is_the_mount_or_the_whole(
    options: str, of_file_system: str, read_only: bool
) -> None:
    line = f"9 1 8:1 / /a {options} - ext4 /dev/sda1 {of_file_system}"
    assert parse_mountinfo(line)[0].read_only is read_only


@pytest.mark.parametrize("optional", ["", "shared:1 ", "shared:1 master:2 propagate_from:3 "])
def test_optional_fields_are_skipped(optional: str) -> None:
    line = f"9 1 8:1 / /a rw {optional}- ext4 /dev/sda1 rw"
    assert parse_mountinfo(line)[0].source == "/dev/sda1"


@pytest.mark.parametrize(
    "line",
    [
        pytest.param("9 1 8:1 / /a rw ext4 /dev/sda1 rw", id="no dash"),
        pytest.param("9 1 8:1 / /a rw - ext4 /dev/sda1", id="cut"),
        pytest.param("x 1 8:1 / /a rw - ext4 /dev/sda1 rw", id="no number"),
        pytest.param("² 1 8:1 / /a rw - ext4 /dev/sda1 rw", id="a digit of another kind"),
        pytest.param("", id="nothing"),
    ],
)
def test_a_line_that_is_no_mount_is_left_out(line: str) -> None:
    good = "9 1 8:1 / /good rw - ext4 /dev/sda1 rw"
    assert points(parse_mountinfo(f"{line}\n{good}\n")) == ["/good"]


@given(cut=st.integers(0, len(captured("mountinfo"))))
def test_a_truncated_text_has_the_mounts_that_are_whole(cut: int) -> None:
    whole = captured("mountinfo")
    complete = whole[:cut].count("\n")
    assert parse_mountinfo(whole[:cut])[:complete] == parse_mountinfo(whole)[:complete]


WORDS = st.lists(
    st.sampled_from(["9", "-", "/", "rw", "\\040", "\\777", "\\", "²", ""]) | st.text()
)


@given(lines=st.lists(WORDS.map(" ".join), max_size=3))
def test_garbage_harms_nothing(lines: list[str]) -> None:
    for one in parse_mountinfo("\n".join(lines)):
        assert one.mount_id >= 0


# File systems.


def test_a_file_system_on_a_device_is_known_by_the_kernel() -> None:
    assert parse_filesystems(captured("filesystems")) == {
        *("ext3", "ext2", "ext4", "squashfs", "fuseblk", "xfs", "erofs", "btrfs")
    }


@given(text=st.text())
def test_a_garbled_list_harms_nothing(text: str) -> None:
    assert "" not in parse_filesystems(text)


def test_a_machines_own_file_systems_are_chosen_from_all_its_mounts() -> None:
    mounts = parse_mountinfo(captured("mountinfo"))
    local = local_file_systems(mounts, parse_filesystems(captured("filesystems")))
    assert points(local) == ["/", "/mnt/lab/vault"]


@pytest.mark.parametrize(
    ("mounts", "chosen"),
    [
        pytest.param([mount("/b/c"), mount("/b")], ["/b"], id="the shorter place"),
        pytest.param([mount("/b"), mount("/b/c")], ["/b"], id="whatever their order"),
        pytest.param([mount("/b", root="/part"), mount("/b/c")], ["/b/c"], id="the larger part"),
        pytest.param([mount("/b"), mount("/a", device="8:2")], ["/a", "/b"], id="by place"),
    ],
)
def test_a_file_system_is_told_once_where_most_of_it_is_seen(
    mounts: list[Mount], chosen: list[str]
) -> None:
    assert points(local_file_systems(mounts, ON_DEVICES)) == chosen


@pytest.mark.parametrize(
    ("file_system", "mount_point", "is_local"),
    [
        pytest.param("xfs", "/a", True, id="on a device"),
        pytest.param("zfs", "/a", True, id="zfs, which has no device of its own"),
        pytest.param("btrfs", "/a", True, id="btrfs"),
        pytest.param("overlay", "/", True, id="a container's root"),
        pytest.param("overlay", "/a", False, id="another overlay"),
        pytest.param("nfs4", "/a", False, id="network"),
        pytest.param("tmpfs", "/a", False, id="memory"),
        pytest.param("squashfs", "/a", False, id="an image"),
        pytest.param("squashfs", "/", False, id="an image as the root"),
        pytest.param("fuseblk", "/a", False, id="fuse on a device"),
        pytest.param("fuse.sshfs", "/", False, id="fuse as the root"),
    ],
)
def test_what_is_local_storage(file_system: str, mount_point: str, is_local: bool) -> None:
    mounts = [mount(mount_point, file_system=file_system)]
    assert bool(local_file_systems(mounts, ON_DEVICES)) is is_local


@pytest.mark.parametrize(
    ("path", "device", "mount_id"),
    [
        pytest.param("/data", "8:2", 2, id="the mount point itself"),
        pytest.param("/data/x", "8:2", 2, id="below it"),
        pytest.param("/database", "8:1", 1, id="only a common beginning"),
        pytest.param("/data/x", "8:1", 1, id="of another device: a link leads away"),
        pytest.param("/data/x", "0:99", 2, id="of no device: the longest"),
        pytest.param("/over", "0:99", 4, id="one hides another"),
        pytest.param("/", "8:1", 1, id="the root"),
    ],
)
def test_a_path_is_on_a_mount(path: str, device: str, mount_id: int) -> None:
    mounts = [
        mount("/", mount_id=1),
        mount("/data", mount_id=2, device="8:2"),
        mount("/over", mount_id=3, device="0:50", file_system="autofs"),
        mount("/over", mount_id=4, device="0:51", file_system="btrfs"),
    ]
    found = mount_of(mounts, path, device)
    assert found is not None
    assert found.mount_id == mount_id


def test_a_path_on_no_mount_is_on_none() -> None:
    assert mount_of([mount("/data")], "/other", "8:1") is None


# Looks.

FACTS: dict[str, Any] = {
    "exists": True,
    "is_directory": True,
    "real_path": "/data",
    "device": "8:1",
    "block_bytes": 4096,
    "blocks": 1000,
    "blocks_free": 300,
    "blocks_available": 250,
    "files": 100,
    "files_free": 40,
}
MOUNTINFO = """\
1 0 8:2 / / rw - ext4 /dev/sda2 rw
2 1 8:1 / /data rw - xfs /dev/sdb1 ro
3 1 0:9 / /home/nas rw - nfs4 nas:/x rw
"""


@pytest.fixture
def port() -> ScriptedPort:
    port = ScriptedPort()
    see_mounts(port, MOUNTINFO)
    port.readings[("statvfs.path", "/data")] = FACTS
    return port


def see_mounts(port: ScriptedPort, mountinfo: str) -> None:
    value = {"mountinfo": mountinfo, "filesystems": "nodev\tproc\n\text4\n\txfs\n"}
    port.readings[("mounts", "")] = value


def discover(probe: Probe, port: ScriptedPort) -> list[Scope]:
    return list(asyncio.run(probe.discover(port)))


def look(probe: Probe, port: ScriptedPort, scope: Scope) -> Frame:
    frame = asyncio.run(probe.collect(port, scope))
    assert_keeps_to_its_families(probe, frame)
    assert frame.scope == scope
    return frame


def file_system(place: str) -> Scope:
    return Scope("filesystems", (("mountpoint", place),))


def test_every_local_file_system_is_a_scope(port: ScriptedPort) -> None:
    assert discover(FileSystemsProbe(), port) == [file_system("/"), file_system("/data")]


def test_a_file_system_is_told_in_bytes(port: ScriptedPort) -> None:
    probe = FileSystemsProbe()
    discover(probe, port)
    frame = look(probe, port, file_system("/data"))
    labels = ("/dev/sdb1", "xfs", "/data")
    assert {name: values(frame, name) for name in frame.rows} == {
        "node_filesystem_size_bytes": {labels: 4_096_000},
        "node_filesystem_free_bytes": {labels: 1_228_800},
        "node_filesystem_avail_bytes": {labels: 1_024_000},
        "node_filesystem_files": {labels: 100},
        "node_filesystem_files_free": {labels: 40},
        "node_filesystem_readonly": {labels: 1.0},
    }


def test_a_mount_point_that_is_gone_is_a_failure(port: ScriptedPort) -> None:
    probe = FileSystemsProbe()
    discover(probe, port)
    port.readings[("statvfs.path", "/data")] = {"exists": False}
    with pytest.raises(ProbeFailed, match="the mount point /data is not there"):
        look(probe, port, file_system("/data"))


def test_a_look_at_what_was_unmounted_meanwhile_finds_nothing(port: ScriptedPort) -> None:
    probe = FileSystemsProbe()
    discover(probe, port)
    see_mounts(port, MOUNTINFO.splitlines()[0])
    discover(probe, port)
    with pytest.raises(ProbeAbsent, match="nothing is mounted at /data any more"):
        look(probe, port, file_system("/data"))


def test_a_look_before_the_next_discovery_takes_no_other_file_system_for_it(
    port: ScriptedPort,
) -> None:
    probe = FileSystemsProbe()
    discover(probe, port)
    port.readings[("statvfs.path", "/data")] = {**FACTS, "device": "8:99"}
    with pytest.raises(ProbeFailed, match="what is mounted at /data has changed meanwhile"):
        look(probe, port, file_system("/data"))
    see_mounts(port, MOUNTINFO.splitlines()[0])
    with pytest.raises(ProbeAbsent, match="nothing is mounted at /data any more"):
        look(probe, port, file_system("/data"))


def test_what_is_mounted_instead_is_told_as_that(port: ScriptedPort) -> None:
    probe = FileSystemsProbe()
    discover(probe, port)
    see_mounts(port, f"{MOUNTINFO}\n9 1 8:33 / /data rw - ext4 /dev/sdc1 rw")
    port.readings[("statvfs.path", "/data")] = {**FACTS, "device": "8:33"}
    for _ in range(2):
        frame = look(probe, port, file_system("/data"))
        assert list(values(frame, "node_filesystem_readonly")) == [("/dev/sdc1", "ext4", "/data")]


def test_btrfs_shows_other_devices_to_stat_than_to_mountinfo(port: ScriptedPort) -> None:
    probe = FileSystemsProbe()
    see_mounts(port, "9 1 0:33 / /data rw - btrfs /dev/sdc1 rw")
    discover(probe, port)
    port.readings[("statvfs.path", "/data")] = {**FACTS, "device": "0:34"}
    assert look(probe, port, file_system("/data")).rows
    see_mounts(port, MOUNTINFO.splitlines()[0])
    with pytest.raises(ProbeAbsent):
        look(probe, port, file_system("/data"))


@pytest.mark.parametrize(
    "error",
    [
        pytest.param(ReadStuck("it hangs", key="k", since=1.0), id="stuck"),
        pytest.param(ReadRefused("it is broken", errno=5), id="refused"),
        pytest.param(ProbeFailed("the reader is gone"), id="no reader"),
    ],
)
def test_what_the_reader_cannot_say_is_not_seen(port: ScriptedPort, error: ProbeError) -> None:
    book = RepositoryBook()
    book.declare([("vault", "/data")])
    probes: list[tuple[Probe, Scope]] = [
        (FileSystemsProbe(), file_system("/data")),
        (RepositoriesProbe(book, discovers=False), repository("vault", "/data")),
        (RepositoryStatesProbe(book, discovers=False), state("vault", "/data")),
    ]
    for probe, scope in probes:
        discover(probe, port)
        port.readings[("statvfs.path", "/data")] = error
        with pytest.raises(type(error), match=error.reason):
            look(probe, port, scope)


def test_without_mounts_nothing_is_discovered(port: ScriptedPort) -> None:
    port.readings[("mounts", "")] = ProbeFailed("the reader is gone")
    for probe in (
        FileSystemsProbe(),
        RepositoriesProbe(RepositoryBook(), discovers=True),
        RepositoryStatesProbe(RepositoryBook(), discovers=True),
    ):
        with pytest.raises(ProbeFailed):
            discover(probe, port)


# Repositories.


def repository(name: str, path: str) -> Scope:
    return Scope("repositories", (("path", path), ("repository", name)))


def state(name: str, path: str) -> Scope:
    return Scope("repository_states", (("path", path), ("repository", name)))


def is_up(port: ScriptedPort, book: RepositoryBook) -> bool:
    """Whether the repository at /data is told to be one that can be used."""
    probe = RepositoryStatesProbe(book, discovers=False)
    frame = look(probe, port, state("vault", "/data"))
    return values(frame, "repo_up") == {("vault", "/data"): 1.0}


@pytest.fixture
def book() -> RepositoryBook:
    book = RepositoryBook()
    book.declare([("vault", "/data")])
    return book


def test_every_repository_of_the_book_is_a_scope(port: ScriptedPort, book: RepositoryBook) -> None:
    book.add("more", "/data/more")
    assert discover(RepositoriesProbe(book, discovers=False), port) == [
        repository("more", "/data/more"),
        repository("vault", "/data"),
    ]


def test_both_probes_of_repositories_find_the_same(
    port: ScriptedPort, book: RepositoryBook
) -> None:
    states = discover(RepositoryStatesProbe(book, discovers=True), port)
    assert states == [state("vault", "/data"), state("/", "/")]


def test_local_file_systems_are_discovered_unless_read_only_or_declared(
    port: ScriptedPort, book: RepositoryBook
) -> None:
    writable = "4 1 8:3 / /backup rw - ext4 /dev/sdc1 rw\n"
    see_mounts(port, MOUNTINFO.replace("xfs /dev/sdb1 ro", "xfs /dev/sdb1 rw") + writable)
    probe = RepositoriesProbe(book, discovers=True)
    assert discover(probe, port) == [
        repository("vault", "/data"),
        repository("/", "/"),
        repository("/backup", "/backup"),
    ]
    see_mounts(port, MOUNTINFO)
    assert discover(probe, port) == [repository("vault", "/data"), repository("/", "/")]


@pytest.mark.parametrize(
    ("place", "is_one"),
    [
        *(
            (place, False)
            for place in (
                *("/boot", "/boot/efi", "/efi", "/run/media/x", "/snap/core/1", "/dev/shm", "/sys"),
                *("/var/lib/docker/overlay2", "/var/lib/kubelet/pods/x", "/proc/x"),
            )
        ),
        *((place, True) for place in ("/bootstrap", "/srv/boot", "/var/lib/dockerish", "/snap")),
    ],
)
def test_the_systems_own_places_are_no_repositories(
    port: ScriptedPort, place: str, is_one: bool
) -> None:
    see_mounts(port, f"1 0 8:2 / {place} rw - ext4 /dev/sda2 rw\n")
    found = discover(RepositoriesProbe(RepositoryBook(), discovers=True), port)
    assert found == ([repository(place, place)] if is_one else [])


def test_a_repository_is_told_in_bytes_with_where_it_lies(
    port: ScriptedPort, book: RepositoryBook
) -> None:
    probe = RepositoriesProbe(book, discovers=False)
    discover(probe, port)
    frame = look(probe, port, repository("vault", "/data"))
    labels = ("vault", "/data")
    assert {name: values(frame, name) for name in frame.rows} == {
        "repo_size_bytes": {labels: 4_096_000},
        "repo_used_bytes": {labels: 2_867_200},
        "repo_free_bytes": {labels: 1_024_000},
        "repo_files": {(*labels, "used"): 60, (*labels, "free"): 40},
        "repo_readonly": {labels: 1.0},
        "repo_info": {(*labels, "/data", "xfs", "configuration"): 1.0},
    }


def test_a_repository_on_no_known_mount_is_told_without_one(
    port: ScriptedPort, book: RepositoryBook
) -> None:
    see_mounts(port, "")
    probe = RepositoriesProbe(book, discovers=False)
    discover(probe, port)
    frame = look(probe, port, repository("vault", "/data"))
    assert frame.rows["repo_readonly"] == []
    assert values(frame, "repo_info") == {("vault", "/data", "", "", "configuration"): 1.0}


def test_a_link_is_on_the_mount_where_it_leads(port: ScriptedPort, book: RepositoryBook) -> None:
    book.declare([("vault", "/link")])
    port.readings[("statvfs.path", "/link")] = {**FACTS, "real_path": "/data/inside"}
    probe = RepositoriesProbe(book, discovers=False)
    discover(probe, port)
    frame = look(probe, port, repository("vault", "/link"))
    assert list(values(frame, "repo_info")) == [("vault", "/link", "/data", "xfs", "configuration")]


@pytest.mark.parametrize(
    ("facts", "words"),
    [
        pytest.param({"exists": False}, "/data does not exist", id="missing"),
        pytest.param({**FACTS, "is_directory": False}, "/data is no directory", id="a file"),
    ],
)
def test_a_repository_that_cannot_be_used_has_no_sizes_and_is_not_up(
    port: ScriptedPort, book: RepositoryBook, facts: dict[str, Any], words: str
) -> None:
    assert is_up(port, book)
    port.readings[("statvfs.path", "/data")] = facts
    probe = RepositoriesProbe(book, discovers=False)
    with pytest.raises(ProbeFailed, match=words):
        look(probe, port, repository("vault", "/data"))
    assert not is_up(port, book)


def test_the_directory_beneath_is_not_taken_for_a_repository_that_is_not_mounted(
    port: ScriptedPort, book: RepositoryBook
) -> None:
    book.note_mount_point("/data", "/data")
    see_mounts(port, MOUNTINFO.splitlines()[0])
    probe = RepositoriesProbe(book, discovers=False)
    with pytest.raises(ProbeFailed, match=r"was on the file system at /data.* lands on / "):
        look(probe, port, repository("vault", "/data"))
    assert not is_up(port, book)


@pytest.mark.parametrize(
    "was_on",
    [
        pytest.param("/data", id="the same as ever"),
        pytest.param("/", id="it has a file system of its own now"),
        pytest.param("/other", id="it lies elsewhere now"),
    ],
)
def test_a_repository_is_seen_where_it_was_or_deeper(
    port: ScriptedPort, book: RepositoryBook, was_on: str
) -> None:
    book.note_mount_point("/data", was_on)
    probe = RepositoriesProbe(book, discovers=False)
    frame = look(probe, port, repository("vault", "/data"))
    assert seen_mount_points(frame) == [("/data", "/data")]
    assert is_up(port, book)


def test_no_mount_point_is_seen_where_none_is_known(
    port: ScriptedPort, book: RepositoryBook
) -> None:
    see_mounts(port, "")
    probe = RepositoriesProbe(book, discovers=False)
    assert seen_mount_points(look(probe, port, repository("vault", "/data"))) == []
    assert seen_mount_points(Frame(Scope("repositories"), 0.0)) == []


@pytest.mark.parametrize(
    ("directory", "path", "above"),
    [
        ("/", "/data", True),
        ("/data", "/data/x", True),
        ("/data", "/data", False),
        ("/data", "/database", False),
        ("/data/x", "/data", False),
        ("/", "/", False),
    ],
)
def test_a_directory_is_above_what_lies_below_it(directory: str, path: str, above: bool) -> None:
    assert is_above(directory, path) is above


def test_a_repository_that_was_removed_meanwhile_is_absent(
    port: ScriptedPort, book: RepositoryBook
) -> None:
    book.declare([])
    for probe, scope in (
        (RepositoriesProbe(book, discovers=False), repository("vault", "/data")),
        (RepositoryStatesProbe(book, discovers=False), state("vault", "/data")),
    ):
        with pytest.raises(ProbeAbsent, match="the repository vault was removed"):
            look(probe, port, scope)


def test_in_a_changed_root_without_a_mount_of_its_own_one_that_is_gone_is_noticed(
    port: ScriptedPort,
) -> None:
    book = RepositoryBook()
    book.add("vault", "/data")
    book.note_mount_point("/data", "/data")
    port.readings["mounts", ""] = {"mountinfo": "", "filesystems": ""}
    with pytest.raises(ProbeFailed, match="what is written to it lands on / "):
        asyncio.run(
            RepositoriesProbe(book, discovers=False).collect(port, repository("vault", "/data"))
        )
