"""A library whose own report is no use, told by the real mtx: Debian's tgtd."""

from pathlib import Path

import pytest

from lab.tape.library import EmulatedLibrary
from lab.tape.tgt import TgtLibrary
from system.appliance import Appliance, wait_for
from system.fix_tape import events, outcomes, rows, start, value, wait_looks, watch

pytestmark = pytest.mark.timeout(90)  # real programs start


def sysfs_of(library: TgtLibrary, root: Path) -> Path:
    """Make a sysfs in which tgtd's changer is a device of a host."""
    device = root / "class/scsi_device/4:0:0:3/device"
    (device / "scsi_generic" / Path(library.sg).name).mkdir(parents=True)
    facts = {"type": "8", "vendor": "LABLIB", "model": "VCHANGER-20", "rev": "0001"}
    for name, text in {**facts, "state": "running"}.items():
        (device / name).write_text(f"{text}\n")
    (device / "vpd_pg80").write_bytes(b"\x08\x80\x00\x0aCHG0000001")
    host = root / "class/scsi_host/host4"
    host.mkdir(parents=True)
    (host / "can_queue").write_text("64\n")
    return root


def test_a_report_that_makes_no_sense_is_replaced_by_what_mtx_says(
    appliance: Appliance, tmp_path: Path
) -> None:
    with TgtLibrary(tmp_path / "lab") as library:
        sysfs = sysfs_of(library, tmp_path / "sys")
        start(appliance, env=library.env, sysfs=sysfs, dev=Path("/dev"))
        (info,) = rows(appliance, "library_inventory_info")
        assert info["labels"]["source"] == "mtx"
        assert info["labels"]["reason"].startswith("element status, byte ")
        assert value(appliance, 'library_elements_full{type="storage"}') == 12
        assert value(appliance, 'library_elements{type="drive"}') == 2
        assert value(appliance, "library_slot_unreadable_barcodes") == 0
        (told,) = [facts for kind, facts in events(appliance) if kind == "inventory_source"]
        assert (told["library"], told["source"]) == ("CHG0000001", "mtx")
        wait_looks(appliance, "library_element_states")
        assert outcomes(appliance, "library_element_states") == {"deferred"}
        assert rows(appliance, "library_element_exception") == []


def test_a_loss_is_not_believed_while_mtx_shows_what_is_lost(
    appliance: Appliance, tmp_path: Path
) -> None:
    with EmulatedLibrary(tmp_path / "lab") as library:
        watch(appliance, library)
        # Our own form of the command has CURDATA; mtx's has not, and this library answers it well.
        library.changer.shows_empty_to_curdata = True
        wait_for("doubt", lambda: outcomes(appliance, "library_inventories") == {"failed"})
        (one,) = appliance.call("probes.list", probe="library_inventories")["probes"]
        assert "12 of 12 cartridges no more, and mtx still shows 12 of them" in one["reason"]
        wait_looks(appliance, "library_inventories", 12)
        assert not [kind for kind, _ in events(appliance) if kind == "cartridge_removed"]
        library.changer.shows_empty_to_curdata = False
        wait_for("sight", lambda: outcomes(appliance, "library_inventories") == {"seen"})
