"""Virtual tape libraries as they were recorded: which parts of them are up, and which are not."""

import asyncio
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fakes import NOON
from probes.boot.fix_boot import RUNNING
from probes.boot.fix_boot import facts as boot_facts
from probes.fix_probes import values
from probes.tape.fix_tape import ran
from probes.vtl.fix_vtl import (
    DRIVE_CRASHED,
    DRIVE_DELETED,
    DRIVE_KILLED,
    DRIVE_OFFLINE,
    DRIVE_SIGSTOP,
    DRIVE_STOPPED,
    HOST_WEDGED,
    LIBRARY_KILLED,
    LIBRARY_RESTARTED,
    LIBRARY_SIGSTOP,
    LIBRARY_STOPPED,
    NO_CHANGER,
    PARTS,
    RECOVERED,
    TARGET_STOPPED,
    TGT_SIGSTOP,
    TGT_UP,
    UP,
    A,
    B,
    Desk,
    daemons,
    scsi,
)
from storewatch_reader.vtl import parse_config
from storewatchd.core.frames import Found, Frame, ObjectKind
from storewatchd.errors import ProbeAbsent, ProbeDeferred, ProbeFailed, ReadRefused, ReadStuck
from storewatchd.probes.base import Remembering
from storewatchd.probes.vtl.looks import WEDGED_AFTER_S
from storewatchd.probes.vtl.mhvtl import Mhvtl
from storewatchd.probes.vtl.model import Facts
from storewatchd.probes.vtl.probe import KERNEL_AGAIN_AFTER_S
from storewatchd.probes.vtl.stgt import Stgt

DRIVES = [*(f"{A}{number}" for number in range(1, 5)), *(f"{B}{number}" for number in range(1, 5))]
CHANGER_10, DRIVE_11, DRIVE_13 = "6:0:0:0", "6:0:1:0", "6:0:3:0"


def before_the_module(desk: Desk) -> None:
    """Let nothing run, as before the module was loaded for the first time."""
    desk.port.readings["vtl.module", ""] = {}
    desk.port.readings["vtl.daemons", ""] = {"daemons": []}
    desk.port.readings["vtl.units", ""] = {"is_known": True, "units": []}
    desk.port.readings["sys.scsi", ""] = {}


# mhvtl.


def test_before_the_module_was_ever_loaded_nothing_is_said() -> None:
    desk = Desk()
    before_the_module(desk)
    assert [desk.look(name) for name in desk.probes] == [{}] * 6


def test_when_all_is_up_each_device_is() -> None:
    desk = Desk(UP)
    assert desk.rows("vtl", "vtl_up") == {("mhvtl",): 1.0}
    assert desk.rows("vtl", "vtl_module_loaded") == {("mhvtl",): 1.0}
    assert desk.rows("vtl", "vtl_module_info") == {("mhvtl", "0.18.42"): 1.0}
    assert desk.rows("vtl_units", "vtl_library_up") == {(A,): 1.0, (B,): 1.0}
    drives = desk.rows("vtl_units", "vtl_drive_up")
    assert drives == {(name[:-1], name): 1.0 for name in DRIVES}
    assert desk.down() == {}


def test_what_is_virtual_is_told_by_serial_number() -> None:
    desk = Desk(UP)
    assert set(desk.rows("vtl", "vtl_library_info")) == {
        ("mhvtl", A, "10", "STK", "L700", CHANGER_10, "running", "S"),
        ("mhvtl", B, "30", "STK", "L80", "6:0:8:0", "running", "S"),
    }
    drives = desk.rows("vtl", "vtl_drive_info")
    assert len(drives) == 8
    assert (*("mhvtl", A, f"{A}1", "11", "IBM", "ULT3580-TD8"), DRIVE_11, "running", "S") in drives


def objects(desk: Desk) -> list[Found]:
    (frame,) = desk.look("vtl").values()
    assert isinstance(frame, Frame)
    return list(frame.objects)


def test_the_inventory_learns_what_is_virtual_when_the_devices_are_known() -> None:
    desk = Desk(UP)
    assert objects(desk) == []
    found = {(one.kind, one.id): one for one in objects(desk)}
    assert set(found) == {
        *((ObjectKind.TAPE_LIBRARY, name) for name in (A, B)),
        *((ObjectKind.TAPE_DRIVE, name) for name in DRIVES),
    }
    for one in found.values():
        assert (one.facts, one.is_here) == ({"virtual": "mhvtl"}, False)
    desk.be(DRIVE_DELETED)
    assert (ObjectKind.TAPE_DRIVE, f"{A}2") not in {(one.kind, one.id) for one in objects(desk)}


def test_a_drive_whose_daemon_was_stopped_is_gone_altogether() -> None:
    assert Desk(DRIVE_STOPPED).down() == {f"{A}2": "unit daemon device answer"}


def test_a_suspended_daemon_does_not_run_and_its_device_is_there() -> None:
    desk = Desk().after(DRIVE_SIGSTOP)
    assert desk.down() == {f"{A}2": "unit daemon device answer", f"{A}3": "daemon answer"}
    facts = desk.rows("vtl", "vtl_drive_info")
    assert (*("mhvtl", A, f"{A}3", "13", "IBM", "ULT3580-TD6"), DRIVE_13, "running", "T") in facts


def test_a_drive_whose_daemon_does_not_run_is_not_asked() -> None:
    desk = Desk().after(DRIVE_SIGSTOP)
    desk.port.readings["scsi.inquiry", DRIVE_13] = AssertionError  # what is asked is unpacked
    assert desk.down()[f"{A}3"] == "daemon answer"


def test_a_library_started_again_too_soon_has_a_daemon_and_no_device() -> None:
    # Its drive 12 was deleted in the state before.
    assert Desk(NO_CHANGER).down() == {A: "device answer", f"{A}2": "device answer"}


@pytest.mark.parametrize(
    ("state", "expected"),
    [
        pytest.param(DRIVE_OFFLINE, {f"{A}1": "device answer"}, id="a drive set offline"),
        pytest.param(DRIVE_DELETED, {f"{A}2": "device answer"}, id="a drive deleted"),
        pytest.param(
            LIBRARY_STOPPED,
            {A: "unit daemon answer", f"{A}2": "device answer"},
            id="a library stopped, whose device stays",
        ),
        pytest.param(LIBRARY_KILLED, {A: "unit daemon answer"}, id="a library killed"),
        pytest.param(LIBRARY_SIGSTOP, {A: "daemon answer"}, id="a library suspended"),
        pytest.param(DRIVE_KILLED, {f"{A}3": "unit daemon answer"}, id="a drive killed"),
        pytest.param(DRIVE_CRASHED, {f"{A}4": "unit daemon answer"}, id="a drive crashed"),
        pytest.param(
            LIBRARY_RESTARTED,
            {f"{A}4": "unit daemon answer"},
            id="a library started again after ten seconds",
        ),
        pytest.param(
            HOST_WEDGED,
            {A: "device answer", f"{A}2": "device answer", f"{A}4": "unit daemon answer"},
            id="a wedged host",
        ),
        pytest.param(
            TARGET_STOPPED,
            {
                **dict.fromkeys((f"{A}1", f"{A}3", B, *DRIVES[4:]), "unit answer"),
                **dict.fromkeys((A, f"{A}2"), "unit device answer"),
                f"{A}4": "unit daemon answer",
            },
            id="everything stopped, and daemons that go on",
        ),
        *(pytest.param(state, {}, id=state) for state in RECOVERED),
    ],
)
def test_what_was_recorded_is_told_apart(state: str, expected: dict[str, str]) -> None:
    assert Desk().after(state).down() == expected


def test_daemons_that_outlive_their_units_serve_nobody() -> None:
    desk = Desk().after(TARGET_STOPPED)
    assert desk.rows("vtl", "vtl_up") == {("mhvtl",): 0.0}
    hangs = desk.rows("vtl_services", "vtl_stop_hang_seconds")
    assert hangs == {
        (*name, unit): 0.0 if unit == "vtltape@14.service" else 11.7
        for name, unit in zip(
            [
                (A, ""),
                *((A, one) for one in DRIVES[:4]),
                (B, ""),
                *((B, one) for one in DRIVES[4:]),
            ],
            [
                *(
                    "vtllibrary@10.service",
                    *(f"vtltape@{number}.service" for number in range(11, 15)),
                ),
                *(
                    "vtllibrary@30.service",
                    *(f"vtltape@{number}.service" for number in range(31, 35)),
                ),
            ],
            strict=True,
        )
    }


# Units of systemd.


def test_the_state_of_each_unit_is_told() -> None:
    desk = Desk().after(DRIVE_KILLED)
    rows = desk.rows("vtl_services", "vtl_unit_state")
    assert len(rows) == 10 * 5
    assert {labels[2:] for labels, value in rows.items() if value} == {
        *((f"vtllibrary@{number}.service", "active") for number in (10, 30)),
        *((f"vtltape@{number}.service", "active") for number in (11, 12, 14, 31, 32, 33, 34)),
        ("vtltape@13.service", "failed"),
    }


def unit(desk: Desk, number: int, **facts: Any) -> None:
    """Change what systemd says of a drive's unit."""
    told = desk.port.readings["vtl.units", ""]
    units = [one | facts if one["unit"] == number else one for one in told["units"]]
    desk.port.readings["vtl.units", ""] = {**told, "units": units}


def test_a_unit_that_does_not_come_to_its_end_hangs() -> None:
    desk = Desk(UP)
    unit(desk, 12, state="deactivating", left_s=75.0)
    hangs = desk.rows("vtl_services", "vtl_stop_hang_seconds")
    assert {labels[2]: value for labels, value in hangs.items() if value} == {
        "vtltape@12.service": 75.0
    }
    assert desk.down() == {f"{A}2": "unit answer"}


def test_a_unit_that_systemd_has_forgotten_hangs_since_it_was_seen_to() -> None:
    desk = Desk(UP)
    known = desk.port.readings["vtl.units", ""]
    others = [one for one in known["units"] if one["unit"] != 12]
    desk.port.readings["vtl.units", ""] = {**known, "units": others}
    assert desk.down() == {f"{A}2": "unit answer"}
    hangs = [desk.rows("vtl_services", "vtl_stop_hang_seconds") for _ in range(3)]
    name = (A, f"{A}2", "vtltape@12.service")
    assert [one[name] for one in hangs] == [0.0, 30.0, 60.0]
    desk.be(UP)
    assert desk.rows("vtl_services", "vtl_stop_hang_seconds")[name] == 0.0


def test_a_daemon_that_was_started_by_hand_is_up_without_its_unit() -> None:
    desk = Desk(UP)
    unit(desk, 12, state="inactive", left_s=None)
    for one in desk.port.readings["vtl.daemons", ""]["daemons"]:
        one["service"] = "" if one["unit"] == 12 else one["service"]
    parts = desk.rows("vtl_units", "vtl_part_up")
    assert {part for library, drive, part in parts if drive == f"{A}2"} == {
        *("daemon", "device", "answer")
    }
    assert desk.down() == {}
    assert not any(desk.rows("vtl_services", "vtl_stop_hang_seconds").values())


def test_a_unit_that_is_active_without_a_daemon_is_told_apart() -> None:
    desk = Desk(UP)
    found = desk.port.readings["vtl.daemons", ""]["daemons"]
    alive = [one for one in found if one["unit"] != 12]
    desk.port.readings["vtl.daemons", ""] = {"daemons": alive}
    assert desk.down() == {f"{A}2": "daemon answer"}


def test_systemd_is_asked_once_an_interval_and_where_other_daemons_run() -> None:
    desk = Desk(UP)
    assert desk.down() == {}
    unit(desk, 12, state="deactivating", left_s=3.0)
    assert desk.down() == {}
    desk.look("vtl_services")
    assert desk.down() == {f"{A}2": "unit answer"}
    unit(desk, 12, state="active", left_s=None)
    assert desk.down() == {f"{A}2": "unit answer"}
    for one in desk.port.readings["vtl.daemons", ""]["daemons"]:
        one["pid"] += 1000
    assert desk.down() == {}


def test_without_systemd_nothing_is_said_of_units() -> None:
    desk = Desk(UP)
    desk.port.readings["vtl.units", ""] = {"is_known": False}
    assert {part for _, _, part in desk.rows("vtl_units", "vtl_part_up")} == set(PARTS[1:])
    assert isinstance(desk.look("vtl_services")[""], ProbeAbsent)


def test_while_systemd_does_not_answer_units_are_as_they_were_and_their_probe_fails() -> None:
    desk = Desk().after(DRIVE_STOPPED)
    desk.look("vtl_units")
    desk.port.readings["vtl.units", ""] = ReadStuck("it hangs", key="vtl.units", since=NOON)
    assert desk.down() == {f"{A}2": "unit daemon device answer"}
    assert isinstance(desk.look("vtl_services")[""], ReadStuck)


# Latency and errors.


def test_the_time_of_the_last_inquiry_is_told_and_held() -> None:
    desk = Desk(UP)
    answer = desk.port.readings["scsi.inquiry", DRIVE_11]
    desk.port.readings["scsi.inquiry", DRIVE_11] = {**answer, "duration_s": 0.75}
    assert desk.rows("vtl_units", "vtl_command_latency_seconds")[A, f"{A}1"] == 0.75
    desk.port.readings["scsi.inquiry", DRIVE_11] = ProbeDeferred("tar holds it")
    assert desk.rows("vtl_units", "vtl_command_latency_seconds")[A, f"{A}1"] == 0.75
    desk.port.readings["scsi.inquiry", DRIVE_11] = ReadStuck("it hangs", key="scsi", since=NOON)
    assert (A, f"{A}1") not in desk.rows("vtl_units", "vtl_command_latency_seconds")


def test_errors_are_those_that_the_kernel_counts() -> None:
    desk = Desk(UP)
    errors = desk.rows("vtl_units", "vtl_io_errors_total")
    assert errors == {
        **{(A, one): 2.0 for one in DRIVES[:4]},
        **{(B, one): 2.0 for one in DRIVES[4:]},
        (A, ""): 1.0,
        (B, ""): 1.0,
    }
    garbled = {f"scsi_device/{DRIVE_11}/device/ioerr_cnt": b"\xff"}
    desk.port.readings["sys.scsi", ""] |= garbled
    assert (A, f"{A}1") not in desk.rows("vtl_units", "vtl_io_errors_total")


# The module for the next kernel.


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        pytest.param({"next_has": ["mhvtl"]}, {("mhvtl",): 1.0}, id="it is there"),
        pytest.param({"loaded": ["mhvtl"]}, {("mhvtl",): 0.0}, id="only for this one"),
        pytest.param({"next_has": ["mhvtl"], "grub_default": "7"}, {}, id="which is not known"),
        pytest.param({"kernels": {}}, {}, id="no module of any kernel is seen"),
        pytest.param({"kernels": {RUNNING: ["mhvtl"]}}, {("mhvtl",): 0.0}, id="no modules at all"),
    ],
)
def test_whether_the_next_kernel_has_the_module(
    more: dict[str, Any], expected: dict[tuple[str, ...], float]
) -> None:
    desk = Desk(UP)
    desk.port.readings["boot.kernels", ""] = boot_facts(**more).kernels
    desk.port.readings["boot.modules", ""] = boot_facts(**more).modules
    assert desk.rows("vtl_kernel", "vtl_module_for_next_kernel") == expected


def test_the_next_kernel_is_looked_at_every_few_minutes() -> None:
    desk = Desk(UP)
    family = "vtl_module_for_next_kernel"
    assert desk.rows("vtl_kernel", family) == {("mhvtl",): 1.0}
    desk.port.readings["boot.modules", ""] = boot_facts(loaded=["mhvtl"]).modules
    assert desk.rows("vtl_kernel", family) == {("mhvtl",): 1.0}
    desk.clock.forward(KERNEL_AGAIN_AFTER_S)
    assert desk.rows("vtl_kernel", family) == {("mhvtl",): 0.0}


def test_stgt_needs_no_module() -> None:
    assert Desk(TGT_UP).look("vtl_kernel") == {}


def test_a_device_that_is_offline_is_not_there() -> None:
    desk = Desk(UP)
    desk.port.readings["sys.scsi", ""] |= {f"scsi_device/{DRIVE_11}/device/state": b"offline\n"}
    assert desk.down() == {f"{A}1": "device answer"}


def test_a_zombie_does_not_run() -> None:
    desk = Desk(UP)
    for one in desk.port.readings["vtl.daemons", ""]["daemons"]:
        one["state"] = "Z" if one["unit"] == 30 else one["state"]
    assert desk.down() == {B: "daemon answer"}


def test_once_it_was_here_its_absence_is_told() -> None:
    desk = Desk(UP)
    desk.look("vtl")
    before_the_module(desk)
    assert desk.rows("vtl", "vtl_up") == {("mhvtl",): 0.0}
    assert desk.rows("vtl", "vtl_module_loaded") == {("mhvtl",): 0.0}
    assert desk.rows("vtl", "vtl_module_info") == {}
    assert len(desk.down()) == 10


def test_what_was_taken_away_with_its_configuration_is_not_missed() -> None:
    desk = Desk(UP)
    desk.look("vtl")
    before_the_module(desk)
    desk.port.readings["vtl.config", ""] = {"exists": False}
    assert desk.look("vtl") == {}


def test_that_it_was_here_is_known_after_a_restart() -> None:
    desk, later = Desk(UP), Desk(UP)
    desk.look("vtl")
    before, after = desk.probes["vtl"], later.probes["vtl"]
    assert isinstance(before, Remembering)
    assert isinstance(after, Remembering)
    before_the_module(later)
    after.restore(before.to_plain())
    assert later.rows("vtl", "vtl_up") == {("mhvtl",): 0.0}


@pytest.mark.parametrize("kept", [None, 7, {"mhvtl": 1}, [7]])
def test_a_garbled_memory_is_none(kept: object) -> None:
    desk = Desk(UP)
    before_the_module(desk)
    probe = desk.probes["vtl"]
    assert isinstance(probe, Remembering)
    probe.restore(kept)
    assert desk.look("vtl") == {}


def test_a_module_without_daemons_is_not_up() -> None:
    desk = Desk(UP)
    desk.port.readings["vtl.daemons", ""] = {"daemons": []}
    assert desk.rows("vtl", "vtl_up") == {("mhvtl",): 0.0}
    assert desk.rows("vtl", "vtl_module_loaded") == {("mhvtl",): 1.0}


@pytest.mark.parametrize("row", ["vtl.module", "vtl.daemons", "vtl.config", "sys.scsi"])
def test_where_something_cannot_be_read_nothing_is_said(row: str) -> None:
    desk = Desk(UP)
    desk.port.readings[row, ""] = ReadRefused("no", errno=13)
    with pytest.raises(ReadRefused):
        desk.look("vtl_units")


def test_what_may_not_be_read_is_not_absent() -> None:
    desk = Desk(UP)
    desk.port.readings["vtl.module", ""] = {"module/mhvtl/": -13}
    with pytest.raises(ReadRefused):
        desk.look("vtl")


def test_what_is_not_configured_any_more_is_absent() -> None:
    desk = Desk(UP)
    probe = desk.probes["vtl_units"]
    first, *_ = asyncio.run(probe.discover(desk.port))
    desk.port.readings["vtl.config", ""] = {"exists": True, "devices": []}
    desk.clock.forward(30)
    with pytest.raises(ProbeAbsent):
        asyncio.run(probe.collect(desk.port, first))


def test_devices_with_the_same_serial_number_are_told_apart() -> None:
    devices = parse_config(
        "Library: 1 CHANNEL: 00 TARGET: 00 LUN: 00\n Unit serial number: X\n\n"
        "Library: 2 CHANNEL: 00 TARGET: 01 LUN: 00\n Unit serial number: X\n\n"
        "Drive: 3 CHANNEL: 00 TARGET: 02 LUN: 00\n Library ID: 2 Slot: 01\n"
    )
    found = Mhvtl().look(Facts({}, [], devices, {}))
    assert [unit.name for unit in found.units] == [
        ("mhvtl 1", ""),
        ("mhvtl 2", ""),
        ("mhvtl 2", "mhvtl 3"),
    ]


# Whether a device answers.


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(ran(b"", 2, "not ready"), id="an error"),
        pytest.param(ran(b""), id="nothing"),
        pytest.param(ran(bytes(36)), id="zeros"),
        pytest.param(ReadStuck("it hangs", key="scsi", since=NOON), id="it hangs"),
    ],
)
def test_one_that_does_not_answer_is_half_up(answer: Any) -> None:
    desk = Desk(UP)
    desk.port.readings["scsi.inquiry", DRIVE_11] = answer
    assert desk.down() == {f"{A}1": "answer"}


def test_one_that_answers_as_something_else_is_not_it() -> None:
    desk = Desk(UP)
    changer = desk.port.readings["scsi.inquiry", CHANGER_10]
    desk.port.readings["scsi.inquiry", DRIVE_11] = changer
    assert desk.down() == {f"{A}1": "answer"}


def test_one_that_cannot_be_asked_is_not_seen() -> None:
    desk = Desk(UP)
    desk.port.readings["scsi.inquiry", DRIVE_11] = ProbeFailed("no reader")
    assert isinstance(desk.look("vtl_units")[f"{A}1 {A}"], ProbeFailed)


def test_one_that_is_in_use_answers_as_it_did() -> None:
    desk = Desk(UP)
    busy = desk.port.readings["scsi.inquiry", DRIVE_11]
    desk.look("vtl_units")
    desk.port.readings["scsi.inquiry", DRIVE_11] = ProbeDeferred("tar holds it")
    assert desk.down() == {}
    desk.port.readings["scsi.inquiry", DRIVE_11] = ran(b"", 2, "not ready")
    desk.look("vtl_units")
    desk.port.readings["scsi.inquiry", DRIVE_11] = ProbeDeferred("tar holds it")
    assert desk.down() == {f"{A}1": "answer"}
    desk.port.readings["scsi.inquiry", DRIVE_11] = busy
    assert desk.down() == {}


def test_of_one_that_was_always_in_use_nothing_is_said() -> None:
    desk = Desk(UP)
    desk.port.readings["scsi.inquiry", DRIVE_11] = ProbeDeferred("tar holds it")
    assert isinstance(desk.look("vtl_units")[f"{A}1 {A}"], ProbeDeferred)


def wedge(desk: Desk) -> None:
    """Let the host be busy with a command, as one with a suspended daemon was recorded."""
    desk.be(UP)
    tree = scsi(DRIVE_SIGSTOP)
    desk.port.readings["sys.scsi", ""] = scsi(UP) | {
        path: tree[path] for path in tree if path.endswith(("/host_busy", "/iodone_cnt"))
    }
    for row, address in list(desk.port.readings):
        if row == "scsi.inquiry":
            desk.port.readings[row, address] = ProbeDeferred("the host has a command")


def test_a_host_that_ends_no_command_for_long_does_not_answer() -> None:
    desk = Desk(UP)
    desk.look("vtl_units")
    wedge(desk)
    assert desk.down() == {}
    desk.clock.forward(WEDGED_AFTER_S)
    assert set(desk.down()) == {A, B, *DRIVES}


def test_a_busy_host_that_ends_commands_is_at_work() -> None:
    desk = Desk(UP)
    desk.look("vtl_units")
    wedge(desk)
    for count in range(10):
        desk.clock.forward(WEDGED_AFTER_S / 2)
        done = {f"scsi_device/{DRIVE_11}/device/iodone_cnt": b"0x%x\n" % (0x700 + count)}
        desk.port.readings["sys.scsi", ""] |= done
        desk.look("vtl_units")
    assert desk.down() == {}


# stgt.


def test_a_library_of_stgt_is_told_with_its_drives() -> None:
    desk = Desk(TGT_UP)
    assert desk.rows("vtl", "vtl_up") == {("stgt",): 1.0}
    assert desk.rows("vtl", "vtl_module_loaded") == {}
    assert set(desk.rows("vtl", "vtl_library_info")) == {
        ("stgt", "XYZZY_0", "3", "STK", "L700", "6:0:0:3", "running", "S")
    }
    assert desk.rows("vtl_units", "vtl_drive_up") == {
        ("XYZZY_0", "DRV00001"): 1.0,
        ("XYZZY_0", "DRV00002"): 1.0,
    }


def test_a_suspended_tgtd_is_down_and_nothing_of_it_is_asked() -> None:
    desk = Desk(TGT_UP)
    desk.look("vtl")
    desk.be(TGT_SIGSTOP)
    assert desk.rows("vtl", "vtl_up") == {("stgt",): 0.0}
    nothing = "daemon device answer"
    assert desk.down() == {"XYZZY_0": nothing, "DRV00001": nothing, "DRV00002": nothing}


def test_a_tgtd_without_tapes_is_no_virtual_library() -> None:
    desk = Desk(TGT_UP)
    desk.port.readings["sys.scsi", ""] = {}
    assert desk.look("vtl") == {}


def test_devices_of_another_machine_are_not_told() -> None:
    desk = Desk(TGT_UP)
    desk.port.readings["vtl.daemons", ""] = {"daemons": []}
    assert desk.look("vtl") == {}


# What comes may be anything.


@given(
    st.dictionaries(
        st.sampled_from(sorted(scsi(UP)) + sorted(scsi(TGT_UP))),
        st.binary(max_size=40) | st.integers(-200, -1),
    ),
    st.text(),
)
def test_any_content_makes_devices_up_only_that_were_configured(
    garbage: dict[str, bytes | int], conf: str
) -> None:
    for name in (UP, TGT_UP):
        facts = Facts({}, daemons(name), parse_config(conf), scsi(name) | garbage)
        assert {unit.number for unit in Mhvtl().look(facts).units} <= {
            str(one["number"]) for one in facts.devices
        }
        for unit in Stgt().look(facts).units:
            assert unit.library or unit.drive


@given(st.binary(max_size=80))
def test_any_answer_is_one_or_none(answer: bytes) -> None:
    desk = Desk(UP)
    desk.port.readings["scsi.inquiry", DRIVE_11] = ran(answer)
    frame = desk.look("vtl_units")[f"{A}1 {A}"]
    assert isinstance(frame, Frame)
    is_drive = len(answer) >= 36 and answer[0] == 1 and answer[4] >= 31
    told = values(frame, "vtl_part_up")[A, f"{A}1", "answer"]
    assert told == 0.0 or is_drive
