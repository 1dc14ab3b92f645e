"""What the reader tells of virtual tape libraries: daemons, configuration, and media."""

import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reader.fix_reader import paths_of
from storewatch_reader import reads, vtl
from storewatch_reader.roots import Roots
from storewatch_reader.table import ROWS, TreeRow

CONF = Path(__file__).parent.parent / "data" / "vtl" / "mhvtl-1.8.0-device.conf"

# Daemons, as `ps` had them of a running mhvtl.


def processes(root: Path, **told: tuple[bytes, bytes]) -> Roots:
    """Write /proc/PID/stat and cmdline; names of keyword arguments cannot begin with a digit."""
    for name, (stat, cmdline) in told.items():
        (root / name[1:]).mkdir()
        (root / name[1:] / "stat").write_bytes(stat)
        (root / name[1:] / "cmdline").write_bytes(cmdline)
    return Roots(procfs=os.fspath(root))


INIT = (b"1 (systemd) S 0 1", b"/sbin/init\0")


def test_daemons_are_told_with_their_device_and_state(tmp_path: Path) -> None:
    roots = processes(
        tmp_path,
        p1=INIT,
        p477=(b"477 (vtltape) T 1 477", b"/usr/bin/vtltape\0-F\0-q11\0-v1\0"),
        p475=(b"475 (vtllibrary) S 1 475", b"/usr/bin/vtllibrary\0-F\0-q\x0010\0-v1\0"),
        p600=(b"600 (tgtd) S 1 600", b"/usr/sbin/tgtd\0-f\0"),
        p601=(b"601 (vtlcmd) S 1 601", b"/usr/bin/vtlcmd\x0011\0exit\0"),
        p602=(b"602 (vtltape) Z 1 602", b""),
    )
    assert vtl.daemons(roots, "")["daemons"] == [
        {"pid": 475, "name": "vtllibrary", "unit": 10, "state": "S"},
        {"pid": 477, "name": "vtltape", "unit": 11, "state": "T"},
        {"pid": 600, "name": "tgtd", "unit": None, "state": "S"},
        {"pid": 602, "name": "vtltape", "unit": None, "state": "Z"},
    ]


def test_a_process_that_ends_meanwhile_is_left_out(tmp_path: Path) -> None:
    roots = processes(tmp_path, p1=INIT, p2=(b"2 (vtltape) S 1", b""), p3=(b"", b""))
    (tmp_path / "2" / "cmdline").unlink()
    (tmp_path / "4").mkdir()
    assert vtl.daemons(roots, "")["daemons"] == []


def test_where_processes_are_hidden_nobody_knows_what_runs(tmp_path: Path) -> None:
    with pytest.raises(PermissionError):
        vtl.daemons(processes(tmp_path, p7=(b"7 (sh) S 1", b"sh\0")), "")


@given(st.lists(st.text(), max_size=5))
def test_any_command_line_names_one_device_or_none(words: list[str]) -> None:
    unit = vtl.unit_of(words)
    assert unit is None or unit >= 0


@pytest.mark.parametrize("word", ["-q", "-qq1", "-q1x", "-q-1", "-q\u0661"])
def test_what_is_no_number_names_no_device(word: str) -> None:
    assert vtl.unit_of([word, "-v1"]) is None


# The configuration.


def test_the_configuration_names_libraries_and_drives() -> None:
    devices = vtl.parse_config(CONF.read_text())
    numbers = [10, 11, 12, 13, 14, 30, 31, 32, 33, 34]
    assert [one["number"] for one in devices] == numbers
    assert devices[0] == {
        "kind": "library",
        "number": 10,
        "place": "0:0:0",
        "vendor": "STK",
        "product": "L700",
        "serial": "XYZZY_A",
        "home": "/opt/mhvtl",
    }
    assert devices[7] == {
        "kind": "drive",
        "number": 32,
        "place": "0:10:0",
        "library": 30,
        "slot": 2,
        "vendor": "STK",
        "product": "T10000B",
        "serial": "XYZZY_B2",
    }


def test_the_configuration_is_where_the_command_line_says(tmp_path: Path) -> None:
    assert vtl.config(Roots(etc=os.fspath(tmp_path)), "") == {"exists": False}
    (tmp_path / "mhvtl").mkdir()
    (tmp_path / "mhvtl" / "device.conf").write_bytes(b"VERSION: 5\n\xff\n")
    assert vtl.config(Roots(etc=os.fspath(tmp_path)), "") == {"exists": True, "devices": []}


def test_what_is_behind_an_empty_line_belongs_to_no_device() -> None:
    text = "Library: 1 CHANNEL: 00 TARGET: 08 LUN: 00\n\n Unit serial number: X\n"
    assert vtl.parse_config(text) == [{"kind": "library", "number": 1, "place": "0:8:0"}]


@given(st.text())
def test_any_text_is_a_configuration_of_some_devices_or_none(text: str) -> None:
    for one in vtl.parse_config(text):
        assert one["kind"] in ("library", "drive")


@given(st.data())
def test_a_damaged_configuration_invents_no_device(data: st.DataObject) -> None:
    raw = bytearray(CONF.read_bytes())
    raw = raw[: data.draw(st.integers(0, len(raw)))]
    for _ in range(data.draw(st.integers(0, 8)) if raw else 0):
        raw[data.draw(st.integers(0, len(raw) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    assert len(vtl.parse_config(raw.decode(errors="replace"))) <= 10


# Media.


def store(root: Path, *homes: Path) -> Roots:
    lines = [
        f"Library: {number} CHANNEL: 00 TARGET: 00 LUN: 00\n Home directory: {home}\n\n"
        for number, home in enumerate(homes)
    ]
    (root / "mhvtl").mkdir()
    (root / "mhvtl" / "device.conf").write_text("".join(lines))
    return Roots(etc=os.fspath(root))


def medium(home: Path, barcode: str, size: int) -> int:
    """Write a cartridge; return what is allocated to it."""
    (home / barcode).mkdir(parents=True)
    (home / barcode / "meta.0").touch()
    with open(home / barcode / "data.0", "wb") as file:
        file.write(b"x" * size)
        os.fsync(file.fileno())
    return 512 * (home / barcode / "data.0").stat().st_blocks


def told(roots: Roots, home: Path) -> dict[str, Any]:
    (found,) = vtl.media(roots, "")["stores"].items()
    assert found[0] == os.fspath(home)
    facts: dict[str, Any] = found[1]
    return facts


def test_a_store_is_told_with_its_media_and_what_they_take(tmp_path: Path) -> None:
    home = tmp_path / "opt"
    roots = store(tmp_path, home, home)
    taken = medium(home, "E01001L8", 20_000) + medium(home, "E01002L8", 0)
    (home / "lost+found").mkdir()
    (home / "note").write_text("x" * 9000)
    (home / "outside").symlink_to(tmp_path / "mhvtl")
    assert told(roots, home) == {"exists": True, "is_whole": True, "media": 2, "bytes": taken}


def test_a_store_that_is_not_there_is_an_answer(tmp_path: Path) -> None:
    assert told(store(tmp_path, tmp_path / "opt"), tmp_path / "opt") == {"exists": False}


def test_a_store_of_too_many_files_is_not_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(vtl, "MAX_FILES", 3)
    home = tmp_path / "opt"
    medium(home, "A", 0)
    roots = store(tmp_path, home)
    assert told(roots, home)["is_whole"]
    medium(home, "B", 0)
    assert told(roots, home) == {"exists": True, "is_whole": False}


def test_a_directory_that_is_not_absolute_is_no_store(tmp_path: Path) -> None:
    assert vtl.media(store(tmp_path, Path("opt")), "") == {"stores": {}}


# The module.


def test_the_module_is_told_with_its_hosts(tmp_path: Path) -> None:
    row = ROWS["vtl.module"]
    assert isinstance(row, TreeRow)
    roots = Roots(sysfs=os.fspath(tmp_path))
    assert reads.tree(roots, row).names == []
    (tmp_path / "module/mhvtl").mkdir(parents=True)
    (tmp_path / "module/mhvtl/version").write_text("0.18.42\n")
    (tmp_path / "devices/mhvtl_pseudo/adapter0/host6/scsi_host").mkdir(parents=True)
    (tmp_path / "devices/pci0000:00/host1").mkdir(parents=True)
    assert paths_of(reads.tree(roots, row)) == [
        "module/mhvtl/",
        "module/mhvtl/version",
        "devices/mhvtl_pseudo/adapter0/host6/",
    ]
