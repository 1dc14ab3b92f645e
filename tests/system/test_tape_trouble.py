"""A library and its drives in every kind of trouble, as event, metric and alert; by real tools."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab.tape.library import EmulatedLibrary
from lab.tape.media import Cartridge
from lab.tape.tools import flags
from system.appliance import Appliance, wait_for
from system.fix_tape import events, outcomes, rows, value, wait_looks, watch

pytestmark = pytest.mark.timeout(120)  # real programs start, and a hang is only told after 30 s

LOG_SENSE = 0x4D
TEN_MINUTES = 20
"""How many looks there are in ten minutes, at the usual interval of 30 s. Here they are a second
apart: what a look does to a drive does not depend on when the next one comes."""

HANG_IS_TOLD_WITHIN_S = 60.0
"""A command to a device is told to be stuck after 30 s, and a look is blind after the third."""

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="mounting needs root")


@pytest.fixture
def library(tmp_path: Path) -> Iterator[EmulatedLibrary]:
    with EmulatedLibrary(tmp_path / "lab", slots=50, filled=40) as library:
        yield library


@pytest.fixture
def watched(appliance: Appliance, library: EmulatedLibrary) -> Appliance:
    watch(appliance, library)
    wait_for("the drives", lambda: len(rows(appliance, "tape_drive_temperature_celsius")) == 2)
    return appliance


def told(appliance: Appliance, kind: str) -> list[dict[str, object]]:
    return [facts for one, facts in events(appliance) if one == kind]


def open_alerts(appliance: Appliance, rule: str) -> list[tuple[str, str]]:
    """Return severity and state of the alerts of a rule that are not over."""
    found = appliance.alerts(rule=rule, state=["pending", "firing"])
    return [(one["severity"], one["state"]) for one in found]


def test_a_cartridge_that_somebody_puts_in_is_an_import(
    watched: Appliance, library: EmulatedLibrary
) -> None:
    library.put_mail(Cartridge("NEW001L8"))
    wait_for("the addition", lambda: told(watched, "cartridge_added"))
    (added,) = told(watched, "cartridge_added")
    assert added["barcode"] == "NEW001L8"
    assert [one["code"] for one in told(watched, "unit_attention")] == ["28/01"]
    wait_for("the metric", lambda: value(watched, 'library_media{state="import_export"}') == 1)
    library.changer.move(library.mail(1), library.slot(50))
    wait_for("the import", lambda: told(watched, "imported"))
    wait_for("the move", lambda: value(watched, "library_moves_total") == 1)


def test_a_flag_of_a_drive_is_an_event_a_metric_and_an_alert(
    watched: Appliance, library: EmulatedLibrary
) -> None:
    drive = library.drives[0]
    library.set_tapealert(drive, 30)
    wait_for("the event", lambda: told(watched, "tapealert"))
    (flag,) = told(watched, "tapealert")
    assert (flag["drive"], flag["number"], flag["severity"]) == (drive.serial, 30, "critical")
    wait_for("the metric", lambda: rows(watched, 'tape_drive_tapealert_active{flag="30"}'))
    wait_for(
        "the alert",
        lambda: open_alerts(watched, "TapeAlertCritical") == [("critical", "firing")],
    )


def test_an_independent_reader_sees_every_flag_after_ten_minutes_of_ours(
    watched: Appliance, library: EmulatedLibrary
) -> None:
    for drive in library.drives:
        library.set_tapealert(drive, 4, 20, 38)
    library.set_tapealert(library.changer, 16, 24)
    for probe in ("tape_drive_logs", "tape_alerts", "library_inventories"):
        wait_looks(watched, probe, TEN_MINUTES)
    for device in (*library.drives, library.changer):
        assert 0x2E not in {cdb[2] & 0x3F for cdb in library.sees(device, LOG_SENSE)}
    for number in range(2):
        assert flags(library, library.drive_sg(number)) == [4, 20, 38]
    assert flags(library, library.sg) == [16, 24]


def test_a_drive_asks_to_be_cleaned_until_it_is(
    watched: Appliance, library: EmulatedLibrary
) -> None:
    drive = f'{{drive="{library.drives[0].serial}"}}'
    library.slot(50).held = Cartridge("CLN001L1", is_cleaning=True)
    library.cleaning(0)
    wait_for("the metric", lambda: value(watched, f"tape_drive_cleaning_required{drive}") == 1)
    wait_for(
        "the alert",
        lambda: open_alerts(watched, "DriveNeedsCleaning") == [("critical", "firing")],
    )
    library.load(50, 0)
    wait_for("the load", lambda: told(watched, "loaded"))
    library.unload(0, 50)
    wait_for("the end", lambda: value(watched, f"tape_drive_cleaning_required{drive}") == 0)
    wait_for("the alert's end", lambda: not open_alerts(watched, "DriveNeedsCleaning"))
    wait_for("the count", lambda: value(watched, f"tape_drive_cleanings_total{drive}") == 13)
    uses = 'tape_cleaning_cartridge_uses_remaining{barcode="CLN001L1"}'
    wait_for("its uses", lambda: value(watched, uses) == 49)


def test_a_door_is_an_event_a_metric_and_an_alert_to_be(
    appliance: Appliance, library: EmulatedLibrary
) -> None:
    watch(appliance, library, "--tapealert-broker", settings="[tape]\nalert_broker = true")
    library.door(open=True)
    assert appliance.ctl("tape", "alert", "/dev/sg2").returncode == 0
    wait_for("the metric", lambda: value(appliance, "library_door_open") == 1)
    assert [one["name"] for one in told(appliance, "tapealert")] == ["library door"]
    # It fires when it has been open for five minutes.
    wait_for(
        "the alert", lambda: open_alerts(appliance, "LibraryFault") == [("critical", "pending")]
    )
    library.door(open=False)
    for _ in range(2):
        assert appliance.ctl("tape", "alert", "/dev/sg2").returncode == 0
    wait_for("its end", lambda: value(appliance, "library_door_open") == 0)


def test_a_reservation_by_another_host_is_counted_and_no_failure(
    watched: Appliance, library: EmulatedLibrary
) -> None:
    library.reserve_elsewhere(library.changer)
    library.reserve_elsewhere(library.drives[0])
    wait_for("the wait", lambda: outcomes(watched, "library_inventories") == {"deferred"})
    wait_for("the drive's", lambda: "deferred" in outcomes(watched, "tape_drive_logs"))
    wait_for("the count", lambda: (value(watched, "library_reservation_conflict_total") or 0) > 1)
    assert value(watched, 'library_elements_full{type="storage"}') == 40, "what was known holds"
    library.reserve_elsewhere(library.changer, is_reserved=False)
    library.reserve_elsewhere(library.drives[0], is_reserved=False)
    wait_for("sight", lambda: outcomes(watched, "library_inventories") == {"seen"})
    wait_for("the drive's", lambda: outcomes(watched, "tape_drive_logs") == {"seen"})
    assert watched.alerts() == []


def test_a_library_that_is_busy_is_asked_again_later(
    watched: Appliance, library: EmulatedLibrary
) -> None:
    library.busy(library.changer)
    wait_for("the wait", lambda: outcomes(watched, "library_inventories") == {"deferred"})
    age = "library_inventory_age_seconds"
    wait_for("its age", lambda: (value(watched, age) or 0) > 2)
    library.release(library.changer)
    wait_for("sight", lambda: outcomes(watched, "library_inventories") == {"seen"})
    wait_for("its age", lambda: (value(watched, age) or 9) < 2)
    assert watched.alerts() == []


def test_a_failed_read_that_shows_an_empty_library_removes_no_cartridge(
    watched: Appliance, library: EmulatedLibrary
) -> None:
    library.corrupt_inventory(empty=True)
    wait_looks(watched, "library_inventories", 5)
    assert outcomes(watched, "library_inventories") == {"failed"}
    assert rows(watched, 'library_elements_full{type="storage"}')[0]["state"] == "unknown"
    library.mend_inventory()
    wait_for("sight", lambda: outcomes(watched, "library_inventories") == {"seen"})
    assert told(watched, "cartridge_removed") == []
    assert value(watched, 'library_elements_full{type="storage"}') == 40


def test_a_drive_that_vanishes_is_down_and_an_alert_to_be(
    watched: Appliance, library: EmulatedLibrary
) -> None:
    drive = library.drives[1]
    library.vanish(drive)
    up = f'tape_drive_up{{drive="{drive.serial}"}}'
    wait_for("its absence", lambda: value(watched, up) == 0)
    wait_for("the alert", lambda: open_alerts(watched, "DriveOffline") == [("critical", "pending")])
    library.come_back(drive)
    wait_for("its return", lambda: value(watched, up) == 1)
    wait_for("the alert's end", lambda: not open_alerts(watched, "DriveOffline"))


def blind(appliance: Appliance, scope: str) -> bool:
    return any(scope in one["title"] for one in appliance.alerts(rule="ProbeBlind"))


@pytest.mark.parametrize(
    "unkillable",
    [
        pytest.param(False, id="waits"),
        pytest.param(True, id="in D state", marks=needs_root),
    ],
)
def test_a_library_that_hangs_is_told_to_be_out_of_sight_and_comes_back_by_itself(
    watched: Appliance, library: EmulatedLibrary, unkillable: bool
) -> None:
    library.hang(library.changer, opcode=None if unkillable else 0xB8, unkillable=unkillable)
    within_s = HANG_IS_TOLD_WITHIN_S
    what = f"library_inventories cannot see library={library.changer.serial}"
    wait_for("the alert", lambda: blind(watched, what), within_s=within_s)
    assert outcomes(watched, "tape_drive_logs") == {"seen"}, "the drives are seen meanwhile"
    assert told(watched, "cartridge_removed") == []
    library.release(library.changer)
    wait_for("sight", lambda: outcomes(watched, "library_inventories") == {"seen"})
    wait_for("the alert's end", lambda: not open_alerts(watched, "ProbeBlind"))
    library.move(1, 50)
    wait_for("the move", lambda: told(watched, "moved"))


@needs_root
def test_a_drive_whose_tool_is_in_d_state_hides_its_own_pages_only(
    watched: Appliance, library: EmulatedLibrary
) -> None:
    drive = library.drives[0]
    library.hang(drive, unkillable=True)
    what = f"tape_drive_logs cannot see drive={drive.serial}"
    wait_for("the alert", lambda: blind(watched, what), within_s=HANG_IS_TOLD_WITHIN_S)
    assert library.machine.holds_somebody
    assert outcomes(watched, "tape_drives") == {"seen"}
    assert outcomes(watched, "library_inventories") == {"seen"}
    library.release(drive)
    wait_for("sight", lambda: outcomes(watched, "tape_drive_logs") == {"seen"})
    wait_for("the alert's end", lambda: not open_alerts(watched, "ProbeBlind"))
