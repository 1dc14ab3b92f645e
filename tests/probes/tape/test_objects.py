"""What looks at tapes tell the inventory, and what is forgotten."""

import asyncio

import pytest

from fakes import ScriptedPort
from probes.tape.fix_drive import DRIVE, Desk, FakeDrive, Tape
from probes.tape.fix_tape import CHANGER_AT, LIBRARY, library
from storewatchd.clock import Clock
from storewatchd.core.frames import Found, ObjectKind, Scope
from storewatchd.probes.base import Forgetting
from storewatchd.probes.tape.alert_book import AlertBook
from storewatchd.probes.tape.alerts import make_tape_alerts
from storewatchd.probes.tape.drive_logs import DriveLogsProbe
from storewatchd.probes.tape.drives import DrivesProbe
from storewatchd.probes.tape.libraries import ElementStatesProbe, InventoriesProbe, LibrariesProbe
from storewatchd.probes.tape.reports import Reports

OF_LIBRARY = (("library", LIBRARY),)
OF_DRIVE = (("drive", "DRV0001"),)
LIBRARIES = LibrariesProbe(Reports(), Clock())
IS = {"vendor": "ACME", "model": "Tape 9", "firmware": "1.00"}


@pytest.fixture
def port() -> ScriptedPort:
    port = ScriptedPort()
    library("A1", None, "A2").tell(port, DRV0001="st0")
    port.readings["scsi.holders", ""] = {"devices": {"3:0:1:0": []}}
    return port


def found(
    probe: LibrariesProbe | DrivesProbe | InventoriesProbe, port: ScriptedPort
) -> list[Found]:
    label = OF_DRIVE if isinstance(probe, DrivesProbe) else OF_LIBRARY
    return [*asyncio.run(probe.collect(port, Scope(probe.name, label))).objects]


def test_devices_are_told_with_the_kernels_names(port: ScriptedPort) -> None:
    nodes = {"sg": "sg3", "address": CHANGER_AT}
    assert found(LIBRARIES, port) == [Found(ObjectKind.TAPE_LIBRARY, LIBRARY, IS | nodes)]
    nodes = {"sg": "sg4", "tape": "nst0", "address": "3:0:1:0"}
    assert found(DrivesProbe(AlertBook(), Clock()), port) == [
        Found(ObjectKind.TAPE_DRIVE, "DRV0001", IS | nodes)
    ]


@pytest.mark.parametrize(
    "probe", [LIBRARIES, DrivesProbe(AlertBook(), Clock())], ids=lambda one: one.name
)
def test_a_device_that_is_gone_is_not_found(
    probe: LibrariesProbe | DrivesProbe, port: ScriptedPort
) -> None:
    port.readings["sys.scsi", ""] = {}
    assert found(probe, port) == []


def test_a_library_tells_of_its_cartridges_and_bays(port: ScriptedPort) -> None:
    def place(label: str, element: int) -> Found:
        where = {"library": LIBRARY, "place": "storage", "element": str(element)}
        return Found(ObjectKind.CARTRIDGE, label, where)

    assert found(InventoriesProbe(Reports()), port) == [
        place("A1", 1000),
        place("A2", 1002),
        Found(ObjectKind.TAPE_DRIVE, "DRV0001", {"library": LIBRARY, "bay": "0"}),
    ]


def test_a_drive_tells_what_it_has_read_of_its_cartridge() -> None:
    desk = Desk(FakeDrive(Tape("A00001L8", "SN1", loads=7, threads=8)))
    (told,) = desk.look().objects
    assert (told.kind, told.id, told.is_here) == (ObjectKind.CARTRIDGE, "A00001L8", False)
    assert (told.facts["serial"], told.facts["last_drive"]) == ("SN1", DRIVE)


def test_an_empty_drive_tells_of_no_cartridge() -> None:
    assert Desk(FakeDrive(None)).look().objects == ()


@pytest.mark.parametrize(
    ("probe", "kind", "name"),
    [
        (LIBRARIES, ObjectKind.TAPE_LIBRARY, LIBRARY),
        (InventoriesProbe(Reports()), ObjectKind.TAPE_LIBRARY, LIBRARY),
        (ElementStatesProbe(Reports(), Clock()), ObjectKind.TAPE_LIBRARY, LIBRARY),
        (make_tape_alerts(Clock()).drives, ObjectKind.TAPE_DRIVE, "DRV0001"),
        (make_tape_alerts(Clock()).libraries, ObjectKind.TAPE_LIBRARY, LIBRARY),
        (DrivesProbe(AlertBook(), Clock()), ObjectKind.TAPE_DRIVE, "DRV0001"),
        (DriveLogsProbe(make_tape_alerts(Clock()).drives.book), ObjectKind.TAPE_DRIVE, "DRV0001"),
    ],
    ids=lambda one: getattr(one, "name", None),
)
def test_who_is_gone_is_looked_for_until_it_is_forgotten(
    probe: Forgetting, kind: ObjectKind, name: str, port: ScriptedPort
) -> None:
    def scopes() -> int:
        return len(asyncio.run(probe.discover(port)))  # type: ignore[attr-defined]

    assert scopes() == 1
    port.readings["sys.scsi", ""] = {}
    assert scopes() == 1
    assert not probe.forget(ObjectKind.DISK, name)
    assert not probe.forget(kind, "X")
    assert probe.forget(kind, name)
    assert scopes() == 0
