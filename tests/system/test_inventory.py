"""The inventory under the real programs: what changes its name, its place or its label, and what is
gone, are told apart."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lab.tape.library import EmulatedLibrary
from system.appliance import Appliance, wait_for
from system.fix_tape import events, outcomes, wait_looks, watch

pytestmark = pytest.mark.timeout(90)  # real programs start


@pytest.fixture
def library(tmp_path: Path) -> Iterator[EmulatedLibrary]:
    with EmulatedLibrary(tmp_path / "lab") as library:
        yield library


@pytest.fixture
def watched(appliance: Appliance, library: EmulatedLibrary) -> Appliance:
    watch(appliance, library)
    wait_for("the objects", lambda: len(objects(appliance)) == 15)
    wait_for("the bays", lambda: "bay" in detail(appliance, library.drives[0].serial)["facts"])
    return appliance


def objects(appliance: Appliance, **asked: Any) -> dict[str, str]:
    """Return the status of every object of the library, by id."""
    found = appliance.call("objects.list", limit=1000, **asked)["objects"]
    return {one["id"]: one["status"] for one in found if one["kind"] not in ("disk",)}


def detail(appliance: Appliance, name: str) -> dict[str, Any]:
    found: dict[str, Any] = appliance.call("objects.get", id=name)["object"]
    return found


def told(appliance: Appliance, kind: str) -> list[dict[str, Any]]:
    return [data for name, data in events(appliance) if name == kind]


def scopes(appliance: Appliance, probe: str) -> list[dict[str, str]]:
    return [one["scope"] for one in appliance.call("probes.list", probe=probe)["probes"]]


def changes(appliance: Appliance, name: str) -> list[str]:
    """Return what became of an object, oldest first."""
    versions = appliance.call("objects.get", id=name)["versions"]
    return [one["change"] for one in reversed(versions)]


def test_everything_is_found_once_and_is_the_same_after_a_restart(
    watched: Appliance, library: EmulatedLibrary
) -> None:
    serials = {library.changer.serial, *(one.serial for one in library.drives)}
    cartridges = {f"LAB{number:03d}L8" for number in range(1, 13)}
    assert objects(watched) == dict.fromkeys(serials | cartridges, "here")
    found = {one["id"] for one in told(watched, "object_found")}
    assert found == serials  # of its cartridges the library tells
    watched.stop()
    watched.start()
    wait_for("sight", lambda: outcomes(watched, "library_inventories") == {"seen"})
    wait_looks(watched, "library_inventories")
    assert len(told(watched, "object_found")) == len(serials)


def test_another_node_is_the_same_drive(watched: Appliance, library: EmulatedLibrary) -> None:
    drive = library.drives[0]
    library.vanish(drive)
    # Its library still says that it is in its bay.
    wait_for("its node's end", lambda: "sg" not in detail(watched, drive.serial)["facts"])
    assert detail(watched, drive.serial)["status"] == "here"
    library.come_back(drive, sg=9)
    wait_for("its return", lambda: detail(watched, drive.serial)["facts"].get("sg") == "sg9")
    assert told(watched, "object_disconnected")[-1]["from"]["sg"] == "sg0"
    assert told(watched, "object_connected")[-1]["to"]["sg"] == "sg9"
    assert {"object_gone", "object_swapped"}.isdisjoint(kind for kind, _ in events(watched))


def test_another_drive_in_the_bay_is_told_as_such(
    watched: Appliance, library: EmulatedLibrary
) -> None:
    old = library.drives[0].serial
    library.swap_drive(0, "NEWDRIVE01")
    (swapped,) = wait_for("the exchange", lambda: told(watched, "object_swapped"))
    assert (swapped["id"], swapped["other"]) == ("NEWDRIVE01", old)
    assert swapped["facts"]["bay"] == "0"
    wait_for("its end", lambda: objects(watched)[old] == "gone")
    assert watched.call("objects.forget", id=old)["status"] == "gone"
    assert old not in objects(watched)
    wait_for("its alert's end", lambda: watched.alerts(rule="DriveOffline", state=["firing"]) == [])
    wait_for(
        "nobody's search",
        lambda: (
            scopes(watched, "tape_drives")
            == [
                {"drive": library.drives[1].serial},
                {"drive": "NEWDRIVE01"},
            ]
        ),
    )


def test_a_cartridge_under_another_bar_code_is_relabelled(
    watched: Appliance, library: EmulatedLibrary
) -> None:
    library.load(3, 0)
    wait_for("its number", lambda: "serial" in detail(watched, "LAB003L8")["facts"])
    library.unload(0, 3)
    tape = library.slot(3).held
    assert tape is not None
    tape.barcode = "NEW003L8"
    wait_for("its end", lambda: objects(watched)["LAB003L8"] == "gone")
    library.load(3, 0)
    (relabelled,) = wait_for("the new label", lambda: told(watched, "object_relabelled"))
    assert (relabelled["id"], relabelled["other"]) == ("NEW003L8", "LAB003L8")


def test_of_a_library_that_is_gone_the_cartridges_are_unknown_until_it_is_forgotten(
    watched: Appliance, library: EmulatedLibrary
) -> None:
    name = library.changer.serial
    library.vanish(library.changer)
    wait_for("its end", lambda: objects(watched)[name] == "gone")
    wait_for("blindness", lambda: "failed" in outcomes(watched, "library_inventories"))
    wait_for("not knowing", lambda: objects(watched)["LAB001L8"] == "unknown")
    assert told(watched, "cartridge_removed") == []
    watched.call("objects.forget", id=name)
    wait_for("their end", lambda: objects(watched)["LAB001L8"] == "gone")
    assert changes(watched, "LAB001L8") == ["found", "gone"]
    assert scopes(watched, "library_inventories") == [{}]  # its discovery: there is no library
    wait_for(
        "the alert's end", lambda: watched.alerts(rule="LibraryOffline", state=["firing"]) == []
    )


def test_what_is_here_is_not_forgotten(watched: Appliance, library: EmulatedLibrary) -> None:
    done = watched.ctl("objects", "forget", library.changer.serial)
    assert done.returncode == 1
    assert "only what is gone can be forgotten" in done.stderr
