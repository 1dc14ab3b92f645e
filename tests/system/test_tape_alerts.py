"""The TapeAlert broker under the real programs: sg_logs, an emulated library, and who asks."""

from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from lab.tape.library import EmulatedLibrary
from system.appliance import Appliance, wait_for
from system.fix_tape import events, rows, wait_looks, watch

pytestmark = pytest.mark.timeout(90)  # real programs start

BROKER = "[tape]\nalert_broker = true"
OPTION = "--tapealert-broker"
LOG_SENSE = 0x4D
NST1, SG1, CHANGER = "/dev/nst1", "/dev/sg1", "/dev/sg2"
"""As the laboratory's nodes are called where it is the whole machine."""

CRITICAL = 'tape_drive_tapealert_active{severity="critical"}'


@pytest.fixture
def library(tmp_path: Path) -> Iterator[EmulatedLibrary]:
    """A library whose second drive has no page 12h."""
    with EmulatedLibrary(tmp_path / "lab", without_response_page=[1]) as library:
        yield library


def alert(appliance: Appliance, device: object, *more: str) -> list[str]:
    """Ask as a backup program does; return the lines."""
    done = appliance.ctl("tape", "alert", str(device), *more)
    assert (done.returncode, done.stderr) == (0, ""), done
    return done.stdout.splitlines()


def test_flags_are_read_when_the_job_that_holds_the_drive_asks_and_everybody_sees_them(
    appliance: Appliance, library: EmulatedLibrary
) -> None:
    watch(appliance, library, OPTION, settings=BROKER)
    drive, serial = library.drives[1], library.drives[1].serial
    library.load(1, 1)
    wait_looks(appliance, "tape_alerts")
    with library.job(1, "write", program="bareos-sd"):
        wait_for("the holder", lambda: rows(appliance, f'tape_drive_holder{{drive="{serial}"}}'))
        library.set_tapealert(drive, 6, 30)
        assert [line.split(":")[0] for line in alert(appliance, NST1, "--asker", "bareos")] == [
            "TapeAlert[6]",
            "TapeAlert[30]",
        ]
        assert drive.flags == set(), "the drive has said it, and forgotten"
        assert alert(appliance, NST1, "--asker", "bareos") == []
        wait_for("the metric", lambda: len(rows(appliance, CRITICAL)) == 2)
        wait_for("the alerts", lambda: len(appliance.alerts(rule="TapeAlertCritical")) == 2)
        told = [facts for kind, facts in events(appliance) if kind == "tapealert"]
        assert [(one["drive"], one["number"]) for one in told] == [(serial, 6), (serial, 30)]
        # Another program, which asks for the first time, by another name of the same drive.
        assert len(alert(appliance, serial, "--asker", "by-hand")) == 2


def test_flags_that_were_read_outlive_a_restart_and_a_kill(
    appliance: Appliance, library: EmulatedLibrary
) -> None:
    watch(appliance, library, OPTION, settings=BROKER)
    library.set_tapealert(library.drives[1], 30)
    assert len(alert(appliance, SG1)) == 1
    (before,) = wait_for("the alert", lambda: appliance.alerts(rule="TapeAlertCritical"))
    appliance.kill()
    appliance.start()
    wait_for("the metric", lambda: rows(appliance, CRITICAL))
    appliance.stop()
    appliance.start()
    wait_for("the metric", lambda: rows(appliance, CRITICAL))
    (after,) = appliance.alerts(rule="TapeAlertCritical")
    assert (after["id"], after["state"]) == (before["id"], "firing")
    assert alert(appliance, SG1) == [], "root was told before"
    assert alert(appliance, SG1) == []
    wait_for("the end, after two reads without it", lambda: not rows(appliance, CRITICAL))


def test_a_library_has_flags_and_alerts_of_its_own(
    appliance: Appliance, library: EmulatedLibrary
) -> None:
    watch(appliance, library, OPTION, settings=BROKER)
    library.door(open=True)
    (line,) = alert(appliance, CHANGER)
    assert line.startswith("Library TapeAlert[16]: library door: ")
    wait_for("the door", lambda: rows(appliance, "library_door_open == 1"))


def test_a_drive_that_is_busy_keeps_its_flags_for_the_next_ask(
    appliance: Appliance, library: EmulatedLibrary
) -> None:
    watch(appliance, library, OPTION, settings=BROKER)
    drive = library.drives[1]
    library.set_tapealert(drive, 30)
    library.busy(drive)
    done = appliance.ctl("tape", "alert", SG1)
    assert (done.returncode, done.stdout) == (1, "")
    assert "may have more TapeAlert flags" in done.stderr
    assert "could not be read now" in done.stderr
    library.release(drive)
    assert len(alert(appliance, SG1)) == 1


def test_flags_that_came_too_late_for_who_asked_are_told_to_the_next(
    appliance: Appliance, library: EmulatedLibrary
) -> None:
    watch(appliance, library, OPTION, settings=BROKER)
    drive = library.drives[1]
    library.set_tapealert(drive, 30)
    library.fault(drive, opcode=LOG_SENSE, page=0x2E, hangs=True)
    done = appliance.ctl("tape", "alert", SG1)  # after 20 s it is told that the drive is stuck
    assert (done.returncode, done.stdout) == (1, "")
    assert "has not answered since its read began" in done.stderr
    library.release(drive)
    wait_for("the answer, which clears them", lambda: drive.flags == set())
    (line,) = alert(appliance, SG1)
    assert line.startswith("TapeAlert[30]: ")
    wait_for("the alert", lambda: appliance.alerts(rule="TapeAlertCritical"))


def test_the_privileged_side_has_to_consent_too(
    appliance: Appliance, library: EmulatedLibrary
) -> None:
    watch(appliance, library, settings=BROKER)
    drive = library.drives[1]
    library.set_tapealert(drive, 30)
    done = appliance.ctl("tape", "alert", NST1)
    assert (done.returncode, done.stdout) == (1, "")
    assert "this reader was not told to run: start it with --tapealert-broker" in done.stderr
    assert drive.flags == {30}


def test_who_is_no_broker_reads_nothing_whoever_asks(
    appliance: Appliance, library: EmulatedLibrary
) -> None:
    watch(appliance, library, OPTION)
    drive = library.drives[1]
    library.set_tapealert(drive, 30)
    done = appliance.ctl("tape", "alert", NST1)
    assert (done.returncode, done.stdout) == (1, "")
    assert "the TapeAlert broker is off" in done.stderr
    appliance.stop()
    done = appliance.ctl("tape", "alert", NST1)
    assert (done.returncode, done.stdout) == (3, "")
    assert "are not known, and were not read, so that the device keeps them" in done.stderr
    asked = {cdb[2] & 0x3F for cdb in library.sees(drive, LOG_SENSE)}
    assert 0x2E not in asked
    assert drive.flags == {30}


@pytest.mark.parametrize(("settings", "has_option"), [(BROKER, True), ("", False)])
def test_a_reader_that_the_daemon_starts_is_told_by_the_setting(
    appliance: Appliance, settings: str, has_option: bool
) -> None:
    appliance.configure(more=f'[database]\nkind = "none"\n{settings}')
    appliance.start()
    assert appliance.daemon is not None
    daemon = psutil.Process(appliance.daemon.pid)
    words = wait_for("its reader", lambda: [one.cmdline() for one in daemon.children()])
    assert (OPTION in words[0]) == has_option
