"""What the reader tells of virtual tape libraries: daemons, configuration, and media."""

import os
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reader.fix_reader import paths_of
from storewatch_reader import reads, vtl
from storewatch_reader.roots import Roots
from storewatch_reader.table import ROWS, VTL_UNITS_COMMAND, TreeRow

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
    in_unit = tmp_path / "477" / "cgroup"
    in_unit.write_text("0::/system.slice/system-vtltape.slice/vtltape@11.service\n")
    (tmp_path / "475" / "cgroup").write_text("0::/user.slice/user-0.slice/session-1.scope\n")
    assert vtl.daemons(roots, "")["daemons"] == [
        {"pid": 475, "name": "vtllibrary", "unit": 10, "state": "S", "service": ""},
        {"pid": 477, "name": "vtltape", "unit": 11, "state": "T", "service": "vtltape@11.service"},
        {"pid": 600, "name": "tgtd", "unit": None, "state": "S", "service": ""},
        {"pid": 602, "name": "vtltape", "unit": None, "state": "Z", "service": ""},
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


# Units.

SHOWN = """\
Result=success
Id=vtllibrary@10.service
ActiveState=inactive
SubState=dead
ActiveExitTimestampMonotonic=108330000

Result=success
Id=vtltape@11.service
ActiveState=active
SubState=running
ActiveExitTimestampMonotonic=0

Result=signal
Id=vtltape@14.service
ActiveState=failed
SubState=failed
ActiveExitTimestampMonotonic=0

Id=mhvtl.target
ActiveState=active
SubState=active
"""


def unit(name: str, number: int, state: str, *more: object) -> dict[str, object]:
    keys = ("sub_state", "result", "left_s")
    return {"name": name, "unit": number, "state": state, **dict(zip(keys, more, strict=True))}


def test_units_are_told_with_how_long_ago_they_were_active() -> None:
    assert vtl.parse_units(SHOWN, 115.5) == [
        unit("vtllibrary", 10, "inactive", "dead", "success", pytest.approx(7.17)),
        unit("vtltape", 11, "active", "running", "success", None),
        unit("vtltape", 14, "failed", "failed", "signal", None),
    ]


@given(st.integers(0, len(SHOWN)), st.integers(0, len(SHOWN) - 1), st.characters())
def test_of_damaged_words_no_unit_is_made_up(length: int, place: int, other: str) -> None:
    text = SHOWN[:place] + other + SHOWN[place + 1 :]
    known = {("vtllibrary", 10), ("vtltape", 11), ("vtltape", 14)}
    for one in vtl.parse_units(SHOWN[:length], 1.0):
        assert (one["name"], one["unit"]) in known
    for one in vtl.parse_units(text, 1.0):
        assert one["state"]
        assert one["left_s"] is None or one["left_s"] >= 0


def systemctl(tmp_path: Path, script: str) -> Roots:
    """Return the roots of a machine that systemd runs, with a systemctl of ours."""
    (tmp_path / "run/systemd/system").mkdir(parents=True)
    (tmp_path / "bin").mkdir()
    program = tmp_path / "bin/systemctl"
    program.write_text(f"#!/bin/sh\n{script}")
    program.chmod(0o755)
    return Roots(run=os.fspath(tmp_path / "run"), path=os.fspath(tmp_path / "bin"))


def test_systemd_is_asked_where_it_runs_this_machine(tmp_path: Path) -> None:
    assert vtl.units(Roots(run=os.fspath(tmp_path)), "") == {"is_known": False}
    script = 'echo "Id=vtltape@11.service"; echo ActiveState=active; echo "Result=$*"'
    told = vtl.units(systemctl(tmp_path, script), "")
    assert told["is_known"]
    (found,) = told["units"]
    assert (found["name"], found["unit"], found["state"]) == ("vtltape", 11, "active")
    assert found["result"] == " ".join(VTL_UNITS_COMMAND[1:])


def test_a_systemd_that_does_not_answer_is_an_error(tmp_path: Path) -> None:
    roots = systemctl(tmp_path, "echo 'Failed to connect to bus' >&2; exit 1")
    with pytest.raises(OSError, match="Failed to connect to bus"):
        vtl.units(roots, "")


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
    for name in ("library_contents.30", "library_contents.10", "library_contents.10.bak"):
        (tmp_path / "mhvtl" / name).touch()
    found = vtl.config(Roots(etc=os.fspath(tmp_path)), "")
    assert found == {"exists": True, "devices": [], "contents": [10, 30]}


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


def memory(home: Path, barcode: str, content: bytes) -> int:
    """Write a cartridge's memory; return what is allocated to it."""
    place = home / barcode / "mam"
    with open(place, "wb") as file:
        file.write(content)
        os.fsync(file.fileno())
    return 512 * place.stat().st_blocks


def attribute(number: int, value: bytes) -> bytes:
    head = (number.to_bytes(2, sys.byteorder), len(value).to_bytes(2, sys.byteorder))
    return b"".join(head) + value


VERSIONS = (5).to_bytes(4, sys.byteorder) + (4).to_bytes(4, sys.byteorder)
# As mhvtl 1.8.0 writes it: what is left, what there could be, and more.
MEMORY = (
    VERSIONS
    + attribute(0x0000, (487 << 20).to_bytes(8, "big"))
    + attribute(0x0001, (500 << 20).to_bytes(8, "big"))
    + attribute(0x0401, b"E01001L8_1795471286".ljust(32))
)


def test_a_store_is_told_with_its_media_and_what_they_take(tmp_path: Path) -> None:
    home = tmp_path / "opt"
    roots = store(tmp_path, home, home)
    first = medium(home, "E01001L8", 20_000) + memory(home, "E01001L8", MEMORY)
    second = medium(home, "E01002L8", 0)
    (home / "lost+found").mkdir()
    (home / "note").write_text("x" * 9000)
    (home / "outside").symlink_to(tmp_path / "mhvtl")
    put = tmp_path / "mhvtl" / "library_contents.10"
    put.write_text("VERSION: 2\n\nDrive 1:\nPicker 1:\nMAP 1:\n# Slot 9: X\nSlot 1: E01001L8\n")
    assert told(roots, home) == {
        "exists": True,
        "is_whole": True,
        "cartridges": [("E01001L8", first, 500 << 20, 10), ("E01002L8", second, None, None)],
    }


def test_a_cartridge_that_two_libraries_list_belongs_to_none(tmp_path: Path) -> None:
    home = tmp_path / "opt"
    roots = store(tmp_path, home)
    medium(home, "A", 0)
    for number in (10, 30):
        (tmp_path / "mhvtl" / f"library_contents.{number}").write_text("Slot 1: A\n")
    (tmp_path / "mhvtl" / "library_contents.bak").write_text("Slot 1: A\n")
    assert told(roots, home)["cartridges"][0][3] is None


def test_the_contents_of_a_library_are_its_bar_codes() -> None:
    tags = vtl.parse_contents((CONF.parent / "mhvtl-1.8.0-library_contents.10").read_text())
    assert len(tags) == 32
    assert tags[0] == "E01001L8"
    assert tags[20] == "CLN101L8"
    assert tags[-1] == "F01039L6"


@given(st.text())
def test_any_text_is_the_contents_of_some_library(text: str) -> None:
    for tag in vtl.parse_contents(text):
        assert tag == tag.strip() != ""


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (MEMORY, 500 << 20),
        (b"", None),
        (VERSIONS, None),
        (MEMORY[:-1], 500 << 20),
        (MEMORY[:30], None),
        (VERSIONS + attribute(1, (500).to_bytes(8, "big")), None),
        (VERSIONS + attribute(1, bytes(8)), None),
        (VERSIONS + attribute(1, (1 << 20).to_bytes(4, "big")), None),
        (VERSIONS + attribute(0x400, b"") + attribute(1, (1 << 20).to_bytes(8, "big")), 1 << 20),
    ],
)
def test_a_capacity_is_told_where_it_can_be_one(content: bytes, expected: int | None) -> None:
    assert vtl.parse_memory(content) == expected


@given(st.binary(max_size=200), st.binary(max_size=8))
def test_any_memory_tells_a_capacity_of_whole_mib_or_none(garbage: bytes, value: bytes) -> None:
    for content in (garbage, VERSIONS + garbage, VERSIONS + attribute(1, value)):
        found = vtl.parse_memory(content)
        assert found is None or (found > 0 and found % (1 << 20) == 0)


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


def test_a_store_of_too_many_cartridges_is_not_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(vtl, "MAX_CARTRIDGES", 1)
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
