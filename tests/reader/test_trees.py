"""Passes over trees: which patterns match what, and what cannot be read."""

import errno
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reader.fix_reader import paths_of
from storewatch_reader import reads
from storewatch_reader.roots import Roots
from storewatch_reader.table import ROWS, TreeRow
from storewatch_reader.trees import ATTRIBUTE_BYTES, MAX_NAMES, Pass, compiled

CAPTURED = Path(__file__).parent.parent / "data" / "linux-6.18-virtual"


def take(root: Path, *patterns: str) -> tuple[list[str], list[int], bytes]:
    """Return what a pass finds: paths, lengths, bytes."""
    found = Pass()
    found.take(os.fspath(root), compiled(patterns))
    return paths_of(found), found.lengths, b"".join(found.parts)


def make(root: Path, **files: bytes) -> Path:
    """Write files; `__` in a name stands for a slash."""
    for name, content in files.items():
        path = root / name.replace("__", "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return root


def test_a_tree_is_the_attributes_that_there_are_in_order() -> None:
    row = ROWS["sys.block"]
    assert isinstance(row, TreeRow)
    found = reads.tree(Roots(sysfs=f"{CAPTURED}/sys"), row)
    paths, lengths, blob = paths_of(found), found.lengths, b"".join(found.parts)
    assert paths[:7] == [
        *("loop0/size", "loop0/ro", "loop0/removable", "loop0/stat", "loop0/inflight"),
        *("loop0/queue/rotational", "vda/size"),
    ]
    assert "vda/device/vendor" in paths
    assert "loop0/device/vendor" not in paths
    assert blob.startswith(b"81920\n1\n0\n")
    assert lengths[:3] == [6, 2, 2]
    assert sum(lengths) == len(blob)


def test_a_pattern_finds_every_attribute_that_matches(tmp_path: Path) -> None:
    make(tmp_path, h__temp2_input=b"2", h__temp1_input=b"1", h__temp1_max=b"9")
    assert take(tmp_path, "*/temp*_input") == (
        ["h/temp1_input", "h/temp2_input"],
        [1, 1],
        b"12",
    )


def test_a_tree_of_an_object_is_what_is_below_it(tmp_path: Path) -> None:
    chips = tmp_path / "class" / "hwmon"
    make(chips, hwmon1__name=b"nvme\n", hwmon1__temp1_input=b"4\n", hwmon2__name=b"other\n")
    row = ROWS["sys.hwmon.chip"]
    assert isinstance(row, TreeRow)
    found = reads.tree(Roots(sysfs=os.fspath(tmp_path)), row, "hwmon1")
    assert dict(zip(paths_of(found), found.parts, strict=True)) == {
        "name": b"nvme\n",
        "temp1_input": b"4\n",
    }
    assert reads.tree(Roots(sysfs=os.fspath(tmp_path)), row, "hwmon3").names == []


@pytest.mark.parametrize(
    ("code", "lengths"),
    [
        pytest.param(errno.ENXIO, [-errno.ENXIO], id="a driver's answer"),
        pytest.param(errno.ENODEV, [], id="gone while it was open"),
    ],
)
def test_what_a_driver_refuses_is_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int, lengths: list[int]
) -> None:
    def refuse(*_: object) -> bytes:
        raise OSError(code, os.strerror(code))

    make(tmp_path, hwmon0__temp1_input=b"1")
    # No file of a test's says so; an i2c sensor that is silent does.
    monkeypatch.setattr(os, "read", refuse)
    assert take(tmp_path, "*/temp*_input")[1] == lengths


def test_a_pattern_finds_nothing_in_what_is_no_directory(tmp_path: Path) -> None:
    make(tmp_path, file=b"", h__temp1_input=b"1")
    assert take(tmp_path, "*/temp*_input")[0] == ["h/temp1_input"]


def test_an_attribute_that_cannot_be_read_is_its_error_number(tmp_path: Path) -> None:
    make(tmp_path, a__size=b"1\n", b__size__below=b"", c__size=b"3\n")
    assert take(tmp_path, "*/size") == (
        ["a/size", "b/size", "c/size"],
        [2, -errno.EISDIR, 2],
        b"1\n3\n",
    )


def test_an_attribute_that_waits_for_something_is_not_waited_for(tmp_path: Path) -> None:
    make(tmp_path, a__ro=b"0")
    os.mkfifo(tmp_path / "a" / "size")
    assert take(tmp_path, "*/size", "*/ro") == (["a/size", "a/ro"], [0, 1], b"0")


def test_of_an_endless_attribute_only_the_beginning_is_taken(tmp_path: Path) -> None:
    make(tmp_path, a__size=b"x" * (ATTRIBUTE_BYTES + 1))
    assert take(tmp_path, "*/size")[1] == [ATTRIBUTE_BYTES]


def test_a_tree_that_this_kernel_does_not_have_is_empty(tmp_path: Path) -> None:
    assert take(tmp_path / "nothing", "*/size") == ([], [], b"")


def test_nothing_is_kept_open(tmp_path: Path) -> None:
    make(tmp_path, a__size=b"1", b__size__below=b"")
    before = os.listdir("/proc/self/fd")
    take(tmp_path, "*/size", "*/siz*")
    assert os.listdir("/proc/self/fd") == before


# Patterns.


def test_names_are_found_at_any_depth(tmp_path: Path) -> None:
    make(tmp_path, a__b__c__x=b"1", a__d__c__x=b"2", a__d__e__x=b"3", z__b__c__x=b"4", x=b"0")
    assert take(tmp_path, "a/*/c/x")[0] == ["a/b/c/x", "a/d/c/x"]
    assert take(tmp_path, "*/b/*/x")[0] == ["a/b/c/x", "z/b/c/x"]
    assert take(tmp_path, "x", "?/b/c/x")[0] == ["x", "a/b/c/x", "z/b/c/x"]


def test_directories_and_links_are_told_where_they_are_asked_for(tmp_path: Path) -> None:
    make(tmp_path, luns__0__x=b"1", luns__list=b"")
    (tmp_path / "luns" / "0" / "device").symlink_to("../../devices/disk")
    (tmp_path / "luns" / "0" / "mgmt").mkdir()
    assert take(tmp_path, "luns/*/", "luns/*/device@", "luns/*/x@", "devices/", "luns/") == (
        ["luns/", "luns/0/", "luns/0/device@"],
        [0, 0, 18],
        b"../../devices/disk",
    )


def test_what_is_in_a_small_directory_is_refused_as_in_a_large_one(tmp_path: Path) -> None:
    make(tmp_path, a__x=b"1", a__y__below=b"", b__x=b"2")
    (tmp_path / "c").symlink_to("c")
    assert take(tmp_path, "*/x", "*/y", "*/z") == (
        ["a/x", "a/y", "b/x", "c/"],
        [1, -errno.EISDIR, 1, -errno.ELOOP],
        b"12",
    )


def test_more_names_than_are_remembered_are_found(tmp_path: Path) -> None:
    for number in range(MAX_NAMES + 2):
        (tmp_path / f"n{number:05}").write_bytes(b"")
    assert len(take(tmp_path, "n*")[0]) == MAX_NAMES + 2


def test_a_link_to_a_directory_is_gone_through(tmp_path: Path) -> None:
    make(tmp_path, devices__a__state=b"running")
    (tmp_path / "class").mkdir()
    (tmp_path / "class" / "0").symlink_to("../devices/a")
    (tmp_path / "class" / "1").symlink_to("../devices/gone")
    assert take(tmp_path, "class/*/state", "class/*@")[0] == ["class/0/state"]
    assert take(tmp_path, "class/0@")[2] == b"../devices/a"


def test_what_may_not_be_entered_is_not_what_is_not_there(tmp_path: Path) -> None:
    make(tmp_path, a__x=b"1", b__x=b"2")
    (tmp_path / "c").symlink_to("c")
    assert take(tmp_path, "*/x", "c/y/z", "d/y/z") == (
        ["c/", "a/x", "b/x", "c/"],
        [-errno.ELOOP, 1, 1, -errno.ELOOP],
        b"12",
    )


def test_characters_of_other_patterns_are_themselves(tmp_path: Path) -> None:
    make(tmp_path)
    for name in ("iqn.2026[1]", "iqn.2026(1"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "x").write_bytes(b"")
    assert take(tmp_path, "iqn.2026[1]*/x")[0] == ["iqn.2026[1]/x"]


def test_a_root_that_cannot_be_entered_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "loop").symlink_to("loop")
    with pytest.raises(OSError, match="symbolic links"):
        take(tmp_path / "loop", "*/x")


@given(
    names=st.lists(st.from_regex(r"[ab]{1,2}(/[ab]{1,2}){0,2}", fullmatch=True), max_size=8),
    pattern=st.from_regex(r"[ab?]?[ab*](/[ab?]?[ab*]){0,2}", fullmatch=True),
)
def test_a_pass_finds_what_the_shell_finds(
    tmp_path_factory: pytest.TempPathFactory, names: list[str], pattern: str
) -> None:
    root = tmp_path_factory.mktemp("tree")
    for name in names:
        path = root / name
        if not any(
            (root / one).is_file() for one in path.relative_to(root).parents if str(one) != "."
        ):
            path.parent.mkdir(parents=True, exist_ok=True)
            if not path.exists():
                path.write_bytes(b"")
    wanted = sorted(str(one.relative_to(root)) for one in root.glob(pattern) if one.is_file())
    paths, lengths, _ = take(root, pattern)
    assert sorted(p for p, size in zip(paths, lengths, strict=True) if size >= 0) == wanted
