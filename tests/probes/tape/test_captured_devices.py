"""Tape drives and libraries in sysfs as a real kernel showed them: mhvtl 1.8.0 and tgt 1.0.85 on
Linux 6.1. What is expected was read in the captures by hand."""

import functools
import json
import lzma
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from storewatchd.probes.tape.devices import ScsiDevice, parse_devices
from storewatchd.scsi.inquiry import CHANGER, TAPE

DATA = Path(__file__).parent.parent.parent / "data" / "scsi" / "sysfs.json.xz"
STATES = (
    *("mhvtl-empty", "mhvtl-loaded", "mhvtl-drive-offlined", "mhvtl-stopped"),
    *("tgt-empty", "tgt-killed"),
)


@functools.cache
def captured() -> dict[str, dict[str, bytes]]:
    """Return the attributes of each state as the reader tells them; bytes are kept as Latin-1."""
    states = json.loads(lzma.decompress(DATA.read_bytes()))
    return {
        name: {path: text.encode("latin-1") for path, text in found.items()}
        for name, found in states.items()
    }


def devices(state: str) -> dict[str | None, ScsiDevice]:
    return {one.identity: one for one in parse_devices(captured()[state])}


def test_every_state_is_tested() -> None:
    assert sorted(captured()) == sorted(STATES)


@pytest.mark.parametrize(
    ("state", "drives", "libraries"),
    [
        pytest.param(
            "mhvtl-empty",
            [f"XYZZY_{name}" for name in ("A1", "A2", "A3", "A4", "B1", "B2", "B3", "B4")],
            ["XYZZY_A", "XYZZY_B"],
            id="mhvtl",
        ),
        pytest.param(
            "mhvtl-stopped",
            [f"XYZZY_{name}" for name in ("A1", "A3", "A4", "B1", "B2", "B3", "B4")],
            ["XYZZY_B"],
            id="a library and a drive of mhvtl are gone",
        ),
        pytest.param("tgt-empty", ["DRV00001", "DRV00002"], ["XYZZY_0"], id="tgt"),
        pytest.param("tgt-killed", ["DRV00001", "DRV00002"], ["XYZZY_0"], id="tgt is dead"),
    ],
)
def test_devices_are_told_by_their_serial_numbers_and_nothing_else_is_one(
    state: str, drives: list[str], libraries: list[str]
) -> None:
    """mhvtl fills a library's serial number up with blanks and zeros, tgt puts blanks before it."""
    found = devices(state).values()
    assert sorted(one.serial or "" for one in found if one.device_type == TAPE) == drives
    assert sorted(one.serial or "" for one in found if one.device_type == CHANGER) == libraries


def test_a_library_of_mhvtl_has_no_tape_node() -> None:
    assert devices("mhvtl-loaded")["XYZZY_A"] == ScsiDevice(
        address="6:0:0:0",
        device_type=CHANGER,
        vendor="STK",
        product="L700",
        revision="0108",
        state="running",
        serial="XYZZY_A",
        sg="sg0",
        changer="sch0",
    )


def test_a_drive_that_was_written_tells_what_the_kernel_counted() -> None:
    drive = devices("mhvtl-loaded")["XYZZY_A1"]
    assert (drive.vendor, drive.product, drive.revision) == ("IBM", "ULT3580-TD8", "2160")
    assert (drive.address, drive.sg, drive.tape) == ("6:0:1:0", "sg2", "st0")
    assert drive.statistics == {
        "in_flight": 0,
        "io_ns": 3_668_801_710,
        "other_cnt": 153,
        "read_byte_cnt": 0,
        "read_cnt": 0,
        "read_ns": 0,
        "resid_cnt": 0,
        "write_byte_cnt": 19_660_800,
        "write_cnt": 300,
        "write_ns": 1_381_219_510,
    }
    for name in ("/dev/nst0", "/dev/st0l", "/dev/nst0a", "/dev/sg2", "6:0:1:0"):
        assert drive.is_at(name)
    assert not drive.is_at("/dev/nst1")


def test_a_drive_that_has_another_name_after_a_start_is_the_same() -> None:
    before, after = devices("mhvtl-loaded")["XYZZY_A2"], devices("mhvtl-drive-offlined")["XYZZY_A2"]
    assert (before.sg, before.tape) == ("sg3", "st1")
    assert (after.sg, after.tape) == ("sg4", "st2")
    assert before.address == after.address == "6:0:2:0"


@pytest.mark.parametrize(
    ("state", "down"),
    [
        pytest.param("mhvtl-loaded", {}, id="all is well"),
        pytest.param("mhvtl-drive-offlined", {"XYZZY_A1": "offline"}, id="a drive"),
        pytest.param(
            "tgt-killed",
            dict.fromkeys(("DRV00001", "DRV00002", "XYZZY_0"), "transport-offline"),
            id="the transport",
        ),
    ],
)
def test_what_the_kernel_took_offline_is_not_running(state: str, down: dict[str, str]) -> None:
    found = {name: one.state for name, one in devices(state).items() if one.state != "running"}
    assert found == down


@given(state=st.sampled_from(STATES), data=st.data())
def test_a_garbled_attribute_garbles_no_other_device(state: str, data: st.DataObject) -> None:
    whole = captured()[state]
    path = data.draw(st.sampled_from(sorted(one for one in whole if one.startswith("scsi_device"))))
    spoilt: bytes | int = data.draw(st.one_of(st.binary(max_size=40), st.integers(-100, -1)))
    found = parse_devices({**whole, path: spoilt})
    address = path.split("/")[1]
    others = [one for one in parse_devices(whole) if one.address != address]
    assert [one for one in found if one.address != address] == others
