"""A tape library and its drives under the real programs: real tools ask an emulated library."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab.tape.library import EmulatedLibrary
from system.appliance import Appliance, wait_for
from system.fix_tape import INTERVAL_S, events, outcomes, rows, value, wait_looks, watch

pytestmark = pytest.mark.timeout(90)  # real programs start

LOG_SENSE = 0x4D


@pytest.fixture
def library(tmp_path: Path) -> Iterator[EmulatedLibrary]:
    with EmulatedLibrary(tmp_path / "lab") as library:
        yield library


@pytest.fixture
def watched(appliance: Appliance, library: EmulatedLibrary) -> Appliance:
    """A daemon that watches the library by a reader whose roots are those of the laboratory."""
    watch(appliance, library)
    return appliance


def test_a_library_is_seen_with_its_drives_slots_and_cartridges(
    watched: Appliance, library: EmulatedLibrary
) -> None:
    wait_for("drives", lambda: len(rows(watched, "tape_drive_up == 1")) == 2)
    snapshot = watched.call("metrics.get")["tape"]
    assert snapshot == {
        "total_libraries": 1,
        "total_drives": 2,
        "total_slots": 20,
        "occupied_slots": 12,
    }
    bays = wait_for("bays", lambda: rows(watched, "library_drive_bay"))
    assert {one["labels"]["drive"] for one in bays} == {
        library.drives[0].serial,
        library.drives[1].serial,
    }
    assert value(watched, "library_duplicate_barcodes") == 0
    assert watched.alerts() == []


def test_what_happens_in_the_library_is_told_as_it_happens(
    watched: Appliance, library: EmulatedLibrary
) -> None:
    library.load(3, 0)
    wait_for("the load", lambda: "loaded" in dict(events(watched)))
    loaded = dict(events(watched))["loaded"]
    assert (loaded["barcode"], loaded["to"]["drive"]) == ("LAB003L8", library.drives[0].serial)
    assert value(watched, 'tape_drive_loaded{barcode="LAB003L8"}') == 1
    library.unload(0, 3)
    wait_for("the unload", lambda: "unloaded" in dict(events(watched)))
    library.move(1, 20)
    wait_for("the move", lambda: "moved" in dict(events(watched)))
    library.export_mail(2, 1)
    wait_for("the export", lambda: "exported" in dict(events(watched)))
    library.take_mail(1)
    wait_for("the removal", lambda: "cartridge_removed" in dict(events(watched)))
    assert dict(events(watched))["cartridge_removed"]["barcode"] == "LAB002L8"


def test_a_unit_attention_that_came_to_us_is_told_to_everybody(
    watched: Appliance, library: EmulatedLibrary
) -> None:
    library.unit_attention(library.changer, 0x28, 0x01)
    wait_for("the attention", lambda: "unit_attention" in dict(events(watched)))
    told = dict(events(watched))["unit_attention"]
    assert (told["library"], told["code"]) == (library.changer.serial, "28/01")


def test_a_library_that_shows_itself_empty_for_once_has_lost_nothing(
    watched: Appliance, library: EmulatedLibrary
) -> None:
    for trouble in ({"empty": True}, {"tagless": True}, {"cut_at": 200}):
        library.corrupt_inventory(**trouble)
        wait_looks(watched, "library_inventories")
        library.mend_inventory()
        wait_for("sight", lambda: outcomes(watched, "library_inventories") == {"seen"})
        told = [kind for kind, _ in events(watched)]
        assert "cartridge_removed" not in told, trouble


def test_a_drive_at_work_is_not_disturbed_and_who_works_is_told(
    watched: Appliance, library: EmulatedLibrary
) -> None:
    drive = library.drives[0]
    library.load(1, 0)
    with library.job(0, "write", bytes_per_s=100_000_000, program="bareos-sd"):
        holder = f'tape_drive_holder{{drive="{drive.serial}"}}'
        wait_for("the holder", lambda: rows(watched, holder))
        assert rows(watched, holder)[0]["labels"]["process"] == "bareos-sd"
        asked = len(library.sees(drive, LOG_SENSE))
        wait_looks(watched, "tape_drives", 4)
        assert len(library.sees(drive, LOG_SENSE)) == asked
        rate = f'rate(node_tape_written_bytes_total{{drive="{drive.serial}"}}[5s])'
        wait_for("a rate", lambda: (value(watched, rate) or 0) > 0)


def test_a_library_that_hangs_holds_up_nothing_else_and_goes_on_by_itself(
    watched: Appliance, library: EmulatedLibrary
) -> None:
    library.hang(library.changer, opcode=0xB8)
    asked = len(library.sees(library.changer, 0xB8))
    wait_for("the command", lambda: len(library.sees(library.changer, 0xB8)) > asked)
    before = time.monotonic()
    wait_looks(watched, "tape_drives", 4)
    # What is promised is a time: four looks, each one second late at most.
    assert time.monotonic() - before < 4 * (INTERVAL_S + 1)
    library.release(library.changer)
    library.move(1, 20)
    wait_for("the move", lambda: "moved" in dict(events(watched)))


def test_a_library_that_vanishes_is_failed_and_one_that_comes_back_is_the_same(
    watched: Appliance, library: EmulatedLibrary
) -> None:
    library.vanish(library.changer)
    wait_for("its absence", lambda: value(watched, "library_up") == 0)
    wait_for("blindness", lambda: "failed" in outcomes(watched, "library_inventories"))
    (alert,) = wait_for("the alert", lambda: watched.alerts(rule="LibraryOffline"))
    watched.stop()
    watched.start()
    wait_for("its absence still", lambda: value(watched, "library_up") == 0)
    assert watched.alerts(rule="LibraryOffline")[0]["id"] == alert["id"]
    library.come_back(library.changer, sg=9)
    wait_for("its return", lambda: value(watched, "library_up") == 1)
    (info,) = rows(watched, "library_info")
    assert (info["labels"]["library"], info["labels"]["sg"]) == (library.changer.serial, "sg9")
