"""Log pages of drives: which are asked for and when, what they become, and what is news."""

import asyncio
from collections import Counter
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from probes.fix_probes import values
from probes.tape.fix_drive import (
    AT,
    DRIVE,
    HELD,
    MB,
    MEDIUM_CHANGED,
    MIB,
    REFUSED,
    RESET,
    Desk,
    FakeDrive,
    Tape,
    of_kind,
)
from probes.tape.fix_tape import ran
from scsi.fix_captures import answer
from scsi.fix_logs import log_page, parameter
from storewatch_reader.table import LOG_PAGES
from storewatchd.errors import ProbeAbsent, ProbeDeferred, ProbeFailed
from storewatchd.probes.base import Patient
from storewatchd.probes.tape.alerts import MAX_AGE_S
from storewatchd.probes.tape.asking import MAX_HEARD
from storewatchd.probes.tape.drive_logs import READ_ANEW_S
from storewatchd.probes.tape.pages import KNOWN_PAGES
from storewatchd.scsi.logs import TapeAlerts

A = Tape("A00001L8", "SN1", loads=7, threads=8)
B = Tape("B00002L8", "SN2", loads=1, threads=2)
WHO = (DRIVE, "A00001L8", "SN1")
AT_REST = ["tape.log.11"]
FIRST = ["tape.log.11", "tape.log.12"]
OF_EMPTY = ["tape.log.0c", "tape.log.0d", "tape.log.14", "tape.log.18"]
OF_LOADED = ["tape.log.02", "tape.log.03", "tape.log.17", "tape.log.1b", "tape.log.31"]


def loaded(**more: Any) -> Desk:
    """Return a desk whose drive was loaded before the first look."""
    desk = Desk(FakeDrive(A, **more))
    desk.look()
    return desk


def failure(desk: Desk) -> str:
    """Return why a look failed; where it did not, that every byte could be so."""
    try:
        desk.look()
    except ProbeFailed as error:
        return error.reason
    return "each byte is in its place"


# What is asked, and when.


def test_every_page_that_the_reader_may_read_is_known() -> None:
    assert KNOWN_PAGES | {0x00} == set(LOG_PAGES)


def test_an_empty_drive_is_asked_for_what_is_its_own() -> None:
    desk = Desk()
    desk.look()
    assert desk.asked_for == ["tape.log.00", *FIRST, *OF_EMPTY]


def test_a_loaded_drive_is_asked_for_everything() -> None:
    assert loaded().asked_for == [
        *("tape.log.00", *FIRST, *OF_EMPTY, *OF_LOADED),
        "tape.attributes",
    ]


def test_a_drive_at_rest_is_asked_little_and_says_the_same() -> None:
    desk = loaded()
    first = desk.look()
    desk.drive.celsius = 99
    for _ in range(8):
        assert desk.look().rows == first.rows
        assert desk.asked_for == AT_REST
    frame = desk.look(READ_ANEW_S)
    assert desk.asked_for == [*FIRST, *OF_EMPTY, *OF_LOADED]
    assert values(frame, "tape_drive_temperature_celsius") == {(DRIVE,): 99.0}


def test_eight_drives_at_rest_take_less_than_one_command_a_second() -> None:
    desk = loaded()
    count = 0
    for _ in range(120):
        desk.look()
        count += len(desk.asked_for)
    assert count * 8 / 3600 < 0.6
    assert "tape.attributes" not in desk.asked_for


def test_a_clock_that_was_set_back_delays_nothing() -> None:
    desk = loaded()
    desk.look(-7200)
    assert desk.asked_for == [*FIRST, *OF_EMPTY, *OF_LOADED]


@pytest.mark.parametrize("change", ["statistics", "flags", "status", "attention"])
def test_what_happened_since_is_asked_for(change: str) -> None:
    desk = loaded()
    match change:
        case "statistics":
            desk.count(write_byte_cnt=5)
        case "flags":
            desk.drive.flags = frozenset({1})
        case "status":
            desk.drive.activity = 8  # it rewinds
        case "attention":
            desk.attentions = [RESET]
    desk.look()
    assert {*FIRST, *OF_EMPTY, *OF_LOADED} <= set(desk.asked_for)
    desk.drive.flags = frozenset()
    for _ in range(3):
        desk.look()
    assert desk.asked_for == AT_REST


def test_the_flags_are_asked_for_as_soon_as_the_drive_says_that_one_changed() -> None:
    desk = loaded()
    desk.drive.flags = frozenset({4})
    assert [one["number"] for one in desk.flag_news()] == [4]
    assert desk.asked_for[:2] == FIRST
    desk.drive.flags = frozenset()
    desk.look()
    assert values(desk.flags(), "tape_drive_tapealert_active") == {}


def test_while_a_flag_is_set_the_flags_are_asked_for_at_every_look() -> None:
    desk = loaded(flags=frozenset({4}))
    for _ in range(3):
        desk.look()
        assert desk.asked_for == FIRST
    desk.drive.flags, desk.drive.has_tafc = frozenset(), False
    desk.look()
    assert values(desk.flags(), "tape_drive_tapealert_active") == {}


def test_a_flag_that_page_2eh_told_ends_by_looks_at_page_12h_and_by_no_others() -> None:
    desk = loaded()
    desk.alerts.book.of(DRIVE).see_read(TapeAlerts(frozenset({3})), desk.now)
    for active in (1, 0):
        desk.look()
        assert desk.asked_for == FIRST
        assert len(values(desk.flags(), "tape_drive_tapealert_active")) == active


def test_a_drive_whose_flags_change_without_a_word_is_asked_for_them_at_every_look() -> None:
    desk = loaded(has_tafc=False)
    desk.look()
    assert desk.asked_for == AT_REST
    desk.drive.flags = frozenset({4})
    assert desk.flag_news() == []
    desk.look(READ_ANEW_S)
    desk.drive.flags = frozenset()
    desk.look()
    desk.look()
    assert desk.asked_for == FIRST, "it is not believed any more"
    desk.drive.flags = frozenset({5})
    assert [one["number"] for one in desk.flag_news()] == [4, 5]


def test_a_drive_without_page_11h_is_asked_for_its_flags_at_every_look() -> None:
    desk = loaded(pages=(0, 0x12))
    desk.look()
    assert desk.asked_for == ["tape.log.12"]


def test_flags_whose_answer_was_lost_are_asked_for_again() -> None:
    desk = loaded()
    desk.drive.flags = desk.drive.told_flags = frozenset({4})  # as after an answer that came late
    desk.drive.activity = 8
    desk.drive.instead["tape.log.02"] = HELD
    with pytest.raises(ProbeDeferred):
        desk.look()
    desk.drive.instead.clear()
    desk.drive.activity = 0
    desk.look()
    assert desk.asked_for[:2] == FIRST
    assert [one["number"] for one in of_kind(desk.flags().news, "tapealert")] == [4]


def test_a_command_in_flight_alone_is_no_change() -> None:
    desk = loaded()
    desk.count(in_flight=1)
    desk.look()
    assert desk.asked_for == AT_REST


def test_the_memory_is_read_once_for_each_load() -> None:
    desk = Desk()
    asked = Counter[str]()
    for tape, loads in ((None, 100), (A, 101), (A, 101), (A, 102), (B, 103), (None, 103)):
        desk.drive.tape, desk.drive.loads = tape, loads
        desk.look(READ_ANEW_S)
        asked["tape.attributes"] += desk.asked_for.count("tape.attributes")
        expected = tape.barcode if tape else None
        found = [labels[1] for labels in values(desk.look(), "tape_cartridge_info")]
        assert found == ([expected] if expected else [])
    assert asked["tape.attributes"] == 3


def test_without_a_count_of_loads_a_unit_attention_tells_of_another_one() -> None:
    desk = loaded(pages=(0, 0x11, 0x12))
    desk.attentions = [RESET]
    desk.look()
    assert "tape.attributes" not in desk.asked_for
    desk.drive.tape = B
    desk.attentions = [MEDIUM_CHANGED]
    assert list(values(desk.look(), "tape_cartridge_loads_total")) == [(DRIVE, B.barcode, B.serial)]


def test_a_drive_that_does_not_tell_whether_it_is_loaded_is_asked_for_the_memory() -> None:
    desk = Desk(FakeDrive(pages=(0, 0x12)))
    assert values(desk.look(), "tape_cartridge_info") == {}
    desk.drive.tape = A
    assert len(values(desk.look(READ_ANEW_S), "tape_cartridge_info")) == 1
    desk.drive.tape = None
    frame = desk.look(READ_ANEW_S)
    assert values(frame, "tape_cartridge_info") == {}
    assert of_kind(frame.news, "mount") == []


def test_a_memory_that_cannot_be_read_yet_is_asked_for_again() -> None:
    desk = Desk(FakeDrive(A, instead={"tape.attributes": ran(status=2)}))
    desk.look()
    desk.drive.instead.clear()
    desk.look(READ_ANEW_S)
    assert "tape.attributes" in desk.asked_for


@pytest.mark.parametrize("status", [5, 9, 3], ids=["refused", "unknown", "broken"])
def test_a_cartridge_without_a_memory_is_told_by_the_drive(status: int) -> None:
    desk = loaded(instead={"tape.attributes": ran(status=status)})
    frame = desk.look(READ_ANEW_S)
    assert "tape.attributes" not in desk.asked_for
    assert values(frame, "tape_cartridge_loads_total") == {WHO: 8.0}
    assert values(frame, "tape_cartridge_written_bytes_total") == {WHO: 600.0 * MB}


# Pages that are not there.


def test_pages_that_a_drive_does_not_list_are_never_asked_for() -> None:
    desk = loaded(pages=(0, 2, 3, 0x11, 0x2E, 0x30))
    assert desk.asked_for == [
        *("tape.log.00", "tape.log.11", "tape.log.02", "tape.log.03", "tape.attributes")
    ]
    frame = desk.look()
    assert values(frame, "tape_drive_loads_total") == {}
    assert values(frame, "tape_drive_temperature_celsius") == {}


def test_a_page_that_is_refused_is_not_asked_for_again() -> None:
    desk = loaded(instead={"tape.log.18": REFUSED, "tape.log.12": REFUSED})
    desk.look(READ_ANEW_S)
    assert not {"tape.log.18", "tape.log.12"} & set(desk.asked_for)


def test_a_drive_that_was_reset_is_asked_anew_which_pages_it_has() -> None:
    desk = loaded(instead={"tape.log.18": REFUSED})
    desk.drive.instead.clear()
    desk.attentions = [RESET]
    desk.look()
    desk.look(READ_ANEW_S)
    assert "tape.log.18" in desk.asked_for


def test_a_drive_without_log_pages_is_told_by_the_memory_of_its_cartridge() -> None:
    desk = loaded(instead={"tape.log.00": REFUSED})
    frame = desk.look()
    assert desk.asked_for == ["tape.log.00"]
    assert values(frame, "tape_cartridge_loads_total") == {WHO: 7.0}


# What cannot be looked at.


@pytest.mark.parametrize("page", [0x00, 0x02, 0x11, 0x12, 0x17, 0x31])
def test_a_page_that_is_garbled_fails_by_its_name(page: int) -> None:
    desk = Desk(FakeDrive(A, instead={f"tape.log.{page:02x}": ran(bytes(4))}))
    with pytest.raises(ProbeFailed, match=rf"log page {page:02X}h"):
        desk.look()


def test_a_memory_that_is_garbled_fails_by_its_name() -> None:
    desk = Desk(FakeDrive(A, instead={"tape.attributes": ran(b"\0\0\0\x09abc")}))
    with pytest.raises(ProbeFailed, match="medium attributes"):
        desk.look()


def test_a_drive_that_somebody_holds_is_put_off_and_what_was_known_holds() -> None:
    desk = Desk()
    desk.is_held = True
    with pytest.raises(ProbeDeferred, match="busy"):
        desk.look()
    assert isinstance(desk.probe, Patient)
    assert desk.probe.max_age_s == 24 * 3600


def test_a_drive_that_is_not_connected_is_put_off_for_others_tell_it() -> None:
    desk = Desk()
    desk.tree.clear()
    with pytest.raises(ProbeDeferred, match=f"{DRIVE} is not connected"):
        desk.look()


@given(raw=st.binary(max_size=200), row=st.sampled_from(sorted(FakeDrive(A).answers())))
def test_garbage_is_a_failure_or_nothing(raw: bytes, row: str) -> None:
    desk = Desk(FakeDrive(A, instead={row: ran(raw)}))
    assert "byte" in failure(desk)


@given(data=st.data(), row=st.sampled_from(sorted(FakeDrive(A).answers())))
def test_an_answer_that_was_cut_is_a_failure(data: st.DataObject, row: str) -> None:
    whole = FakeDrive(A).answers()[row]
    length = data.draw(st.integers(0, len(whole) - 1))
    desk = Desk(FakeDrive(A, instead={row: ran(whole[:length])}))
    with pytest.raises(ProbeFailed, match="byte"):
        desk.look()


@given(data=st.data(), row=st.sampled_from(sorted(FakeDrive(A).answers())))
def test_a_flipped_bit_never_crashes(data: st.DataObject, row: str) -> None:
    whole = bytearray(FakeDrive(A).answers()[row])
    bit = data.draw(st.integers(0, 8 * len(whole) - 1))
    whole[bit // 8] ^= 1 << bit % 8
    desk = Desk(FakeDrive(A, instead={row: ran(bytes(whole))}))
    assert "byte" in failure(desk)


# What the pages become.


def test_a_drive_tells_of_its_life() -> None:
    frame = loaded().look()
    for family, value in (
        ("tape_drive_loads_total", 100),
        ("tape_drive_cleanings_total", 3),
        ("tape_drive_power_on_seconds_total", 3_600_000),
        ("tape_drive_head_motion_seconds_total", 720_000),
        ("tape_drive_tape_metres_total", 5000),
        ("tape_drive_temperature_celsius", 34),
    ):
        assert values(frame, family) == {(DRIVE,): value}, family
    assert values(frame, "tape_drive_power_cycles_total") == {}


def test_a_drive_tells_of_this_mount() -> None:
    frame = loaded(written=8 * MB, read=2 * MB, corrected=4, uncorrected=1).look()
    write, read = (DRIVE, A.barcode, "write"), (DRIVE, A.barcode, "read")
    assert values(frame, "tape_drive_corrected_errors_total") == {write: 4, read: 0}
    assert values(frame, "tape_drive_uncorrected_errors_total") == {write: 1, read: 0}
    assert values(frame, "tape_drive_rewrites_total") == {write: 5}
    assert values(frame, "tape_drive_rereads_total") == {read: 0}
    assert values(frame, "tape_drive_processed_bytes_total") == {write: 10 * MB, read: 0}
    assert values(frame, "tape_drive_host_bytes_total") == {
        (DRIVE, "write"): 8 * MB,
        (DRIVE, "read"): 2 * MB,
    }
    assert values(frame, "tape_drive_medium_bytes_total")[DRIVE, "write"] == 4 * MB
    assert values(frame, "tape_drive_compression_ratio") == {
        (DRIVE, "read"): 1.5,
        (DRIVE, "write"): 2.47,
    }


def test_of_an_empty_drive_the_last_mount_is_not_told_any_more() -> None:
    desk = loaded(written=8 * MB)
    desk.drive.tape = None
    frame = desk.look()
    assert values(frame, "tape_drive_loads_total") == {(DRIVE,): 100.0}
    for family, rows in frame.rows.items():
        assert not rows or not family.startswith("tape_cartridge_"), family
    for family in ("corrected_errors_total", "host_bytes_total", "compression_ratio"):
        assert values(frame, f"tape_drive_{family}") == {}


def test_a_cartridge_that_is_ejected_and_not_taken_out_is_not_loaded() -> None:
    desk = loaded()
    desk.drive.instead["tape.log.11"] = ran(log_page(0x11, parameter(0, bytes((1, 0x30, 0, 0)))))
    assert values(desk.look(), "tape_cartridge_info") == {}


@pytest.mark.parametrize(
    ("activity", "state"),
    [
        (0, "idle"),
        (1, "cleaning"),
        (2, "loading"),
        (6, "writing"),
        (8, "positioning"),
        (9, "other"),
    ],
)
def test_a_drive_is_in_one_state(activity: int, state: str) -> None:
    found = values(loaded(activity=activity).look(), "tape_drive_state")
    assert [labels for labels, value in found.items() if value] == [(DRIVE, state)]
    assert sum(found.values()) == 1


def test_a_state_that_t10_does_not_have_is_not_told() -> None:
    assert values(loaded(activity=0x55).look(), "tape_drive_state") == {}


def cleaning(desk: Desk) -> tuple[list[float], list[float]]:
    """Return whether the drive must be cleaned, and whether it should be."""
    frame = desk.flags()
    required, requested = (
        list(values(frame, f"tape_drive_cleaning_{what}").values())
        for what in ("required", "requested")
    )
    return required, requested


def test_who_asks_for_cleaning_by_any_of_its_pages_asks_for_it() -> None:
    assert cleaning(loaded()) == ([0.0], [0.0])
    assert cleaning(loaded(flags=frozenset({20}))) == ([1.0], [0.0])
    status = ran(log_page(0x11, parameter(0, bytes((0x05, 0, 0, 0)))))
    assert cleaning(loaded(instead={"tape.log.11": status})) == ([0.0], [1.0])


def test_of_a_drive_without_page_12h_its_other_pages_tell_of_cleaning() -> None:
    desk = loaded(pages=(0, 0x11), activity=0)
    assert cleaning(desk) == ([0.0], [0.0])
    desk.is_held = True
    desk.alerts.book.of(DRIVE).see_read(TapeAlerts(frozenset({20})), desk.now)
    assert cleaning(desk) == ([1.0], [0.0])
    desk.now += 2 * MAX_AGE_S
    assert cleaning(desk) == ([1.0], [0.0]), "what page 2Eh said stands"
    desk.alerts.book.of(DRIVE).see_read(TapeAlerts(frozenset()), desk.now)
    desk.alerts.book.of(DRIVE).see_read(TapeAlerts(frozenset()), desk.now)
    assert cleaning(desk) == ([0.0], [0.0])


def test_a_drive_that_has_no_page_for_it_tells_nothing_of_cleaning() -> None:
    with pytest.raises(ProbeAbsent):
        loaded(pages=(0, 0x0D)).flags()


def test_a_cartridge_is_told_by_its_memory_and_by_the_drive() -> None:
    frame = loaded().look()
    assert values(frame, "tape_cartridge_info") == {
        (*WHO, "MAKER", "data", "5E", "LTO-8", "false", "false", "20240131"): 1.0
    }
    assert values(frame, "tape_cartridge_loads_total") == {WHO: 7.0}
    assert values(frame, "tape_cartridge_written_bytes_total") == {WHO: 600.0 * MB}
    assert values(frame, "tape_cartridge_read_bytes_total") == {}
    assert values(frame, "tape_cartridge_recovered_errors_total") == {(*WHO, "write"): 4.0}
    assert values(frame, "tape_cartridge_unrecovered_errors_total") == {(*WHO, "write"): 0.0}
    assert values(frame, "tape_cartridge_capacity_bytes") == {(*WHO, "0"): 4000.0 * MIB}
    assert values(frame, "tape_cartridge_remaining_bytes") == {(*WHO, "0"): 900.0 * MIB}
    assert values(frame, "tape_cartridge_last_drive_info") == {(*WHO, DRIVE, "ACME", "1"): 1.0}


def test_page_17h_is_believed_by_partition_first() -> None:
    def sizes(*numbers: int) -> bytes:
        return b"".join(
            bytes((7, 0)) + partition.to_bytes(2) + size.to_bytes(4)
            for partition, size in enumerate(numbers)
        )

    more = (parameter(0x202, sizes(10, 20)), parameter(0x203, sizes(3, 0xFFFFFFFF)))
    desk = Desk(FakeDrive(Tape(more=more)))
    frame = desk.look()
    assert values(frame, "tape_cartridge_capacity_bytes") == {
        (*WHO, "0"): 10.0 * MB,
        (*WHO, "1"): 20.0 * MB,
    }
    assert values(frame, "tape_cartridge_used_bytes") == {(*WHO, "0"): 3.0 * MB}
    assert values(frame, "tape_cartridge_remaining_bytes") == {(*WHO, "0"): 900.0 * MIB}


def test_a_drive_that_does_not_count_says_nothing_of_life_and_passes() -> None:
    zeros = (parameter(0x19, (0, 2)), parameter(0x101, (0, 4)), parameter(0x16, (0xFFFFFFFE, 4)))
    pages = (0, 0x11, 0x17)
    desk = Desk(FakeDrive(Tape(loads=0, threads=0, more=zeros), pages=pages))
    frame = desk.look()
    for family in ("life_remaining_ratio", "bom_passes_total", "loads_total"):
        assert values(frame, f"tape_cartridge_{family}") == {}, family
    counting = Desk(FakeDrive(Tape(more=(parameter(0x19, (0, 2)),)), pages=pages)).look()
    assert values(counting, "tape_cartridge_life_remaining_ratio") == {WHO: 0.0}


@pytest.mark.parametrize(
    ("vendor", "unit"), [("HP", MIB), ("IBM", MIB), ("QUANTUM", MB), ("SEAGATE", MB)]
)
def test_capacity_is_in_the_units_of_its_vendor(vendor: str, unit: int) -> None:
    desk = Desk(FakeDrive(A))
    desk.tree[f"scsi_device/{AT}/device/vendor"] = vendor.ljust(8).encode()
    frame = desk.look()
    assert values(frame, "tape_cartridge_remaining_bytes") == {(*WHO, "0"): 900.0 * unit}


def test_a_cartridge_without_a_name_has_no_rows() -> None:
    frame = Desk(FakeDrive(Tape("", ""))).look()
    for family, rows in frame.rows.items():
        assert not rows or not family.startswith("tape_cartridge_"), family
    assert values(frame, "tape_drive_rewrites_total") == {(DRIVE, "", "write"): 5.0}


def test_an_emulated_lto_8_drive_is_told_as_it_was_captured() -> None:
    captured = {
        f"tape.log.{page:02x}": ran(answer(f"logs/emulated-{page:02x}"))
        for page in (0x00, 0x02, 0x03, 0x0C, 0x0D, 0x11, 0x12, 0x14, 0x17, 0x1B, 0x31)
    }
    captured["tape.attributes"] = ran(answer("attributes/emulated-lto8"))
    frame = Desk(FakeDrive(A, instead=captured)).look()
    tape = (DRIVE, "LAB003L8", "SNLAB003L8")
    assert values(frame, "tape_drive_loads_total") == {(DRIVE,): 4712.0}
    assert values(frame, "tape_drive_seconds_since_cleaning") == {(DRIVE,): 140 * 3600.0}
    assert values(frame, "tape_drive_hard_errors_total") == {
        (DRIVE, "write"): 0.0,
        (DRIVE, "read"): 0.0,
    }
    assert values(frame, "tape_cartridge_info") == {
        (*tape, "LABTAPE", "data", "5E", "LTO-8", "false", "false", "20240131"): 1.0
    }
    assert values(frame, "tape_cartridge_bom_passes_total") == {tape: 1234.0}
    assert values(frame, "tape_cartridge_servo_errors_total") == {
        (*tape, "false"): 0.0,
        (*tape, "true"): 0.0,
    }


def test_errors_of_a_sas_port_are_told() -> None:
    phy = bytes((0, 0, 0, 44, 0, 10)) + bytes(26) + b"".join(n.to_bytes(4) for n in (1, 2, 3, 4))
    port = ran(log_page(0x18, parameter(1, bytes((6, 0, 0, 1)) + phy)))
    frame = Desk(FakeDrive(instead={"tape.log.18": port})).look()
    assert values(frame, "tape_drive_port_errors_total") == {
        (DRIVE, "1.0", "invalid_dwords"): 1.0,
        (DRIVE, "1.0", "disparity_errors"): 2.0,
        (DRIVE, "1.0", "synchronization_losses"): 3.0,
        (DRIVE, "1.0", "reset_problems"): 4.0,
    }


# News.


def test_a_flag_that_becomes_set_is_news_once_and_counted() -> None:
    desk = loaded(flags=frozenset({21}))
    assert desk.flag_news() == [], "it was set when we began to look"
    desk.drive.flags = frozenset({4, 21})
    (told,) = desk.flag_news()
    assert told["advice"].startswith("The cartridge is at fault")
    assert {**told, "advice": ""} == {
        "drive": DRIVE,
        "barcode": A.barcode,
        "number": 4,
        "name": "media",
        "severity": "critical",
        "advice": "",
    }
    desk.look()
    frame = desk.flags()
    assert frame.news == ()
    assert values(frame, "tape_drive_tapealert_active") == {
        (DRIVE, "4", "media", "critical"): 1.0,
        (DRIVE, "21", "clean periodic", "warning"): 1.0,
    }
    assert values(frame, "tape_drive_tapealert_info")[DRIVE, "4", told["advice"]] == 1.0
    assert values(frame, "tape_drive_tapealert_total") == {(DRIVE, "4"): 1.0}
    desk.drive.flags = frozenset()
    desk.look()
    assert values(desk.flags(), "tape_drive_tapealert_active") == {}
    desk.drive.flags = frozenset({4})
    desk.look()
    assert values(desk.flags(), "tape_drive_tapealert_total") == {(DRIVE, "4"): 2.0}


def test_a_flag_is_not_lost_where_the_look_fails() -> None:
    desk = loaded()
    desk.drive.flags = frozenset({3})
    desk.drive.instead["tape.log.02"] = ran(bytes(4))
    with pytest.raises(ProbeFailed):
        desk.look()
    with pytest.raises(ProbeDeferred, match="its pages cannot be read"):
        desk.flags()
    desk.drive.instead.clear()
    assert [one["number"] for one in desk.flag_news()] == [3]


def test_a_unit_attention_is_told_once_also_where_the_look_failed() -> None:
    desk = loaded()
    desk.attentions = [RESET]
    desk.drive.instead["tape.log.02"] = ran(bytes(4))
    with pytest.raises(ProbeFailed):
        desk.look()
    desk.drive.instead.clear()
    (told,) = desk.news("unit_attention")
    assert (told["drive"], told["code"]) == (DRIVE, "29/00")
    assert desk.news("unit_attention") == []


def test_only_so_many_unit_attentions_wait_to_be_told() -> None:
    desk = loaded()
    for _ in range(MAX_HEARD):
        desk.attentions = [RESET] * 3
        with pytest.raises(ProbeFailed):
            desk.look()
    (told,) = desk.news("unit_attention")
    assert told["times"] == MAX_HEARD


def test_a_mount_is_told_at_unload() -> None:
    desk = Desk()
    desk.look()
    desk.drive.tape, desk.drive.loads = A, 101
    assert desk.news("mount") == []
    desk.is_held = True
    for _ in range(3):
        with pytest.raises(ProbeDeferred):
            desk.look(1000)
    desk.is_held = False
    desk.count(write_byte_cnt=6 * 10**11, write_ns=3000 * 10**9)
    desk.drive.tape, desk.drive.corrected, desk.drive.flags = None, 17, frozenset({1})
    (mount,) = desk.news("mount")
    assert (mount["drive"], mount["barcode"], mount["serial"]) == WHO
    assert (mount["written_bytes"], mount["complete"], mount["loads"]) == (6 * 10**11, True, 1)
    assert mount["mean_write_bytes_per_second"] == 200_000_000
    assert mount["corrected_write_errors"] == 17
    assert mount["uncorrected_read_errors"] == 0
    assert (mount["flags"], mount["max_temperature_celsius"]) == ([1], 34)
    assert desk.news("mount") == []


def test_every_drive_is_a_scope() -> None:
    desk = Desk()
    (scope,) = asyncio.run(desk.probe.discover(desk))
    assert scope.labels == (("drive", DRIVE),)
