"""Real tools against the emulated library: what they print is theirs, what it means is asserted."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab.tape.drive_pages import WRITING
from lab.tape.library import EmulatedLibrary
from lab.tape.media import Cartridge
from lab.tape.tools import (
    DRIVES_CDB,
    MAIL_CDB,
    SLOTS_CDB,
    barcode,
    inventory,
    out,
    raw,
    run,
    status,
)


@pytest.fixture
def library(tmp_path: Path) -> Iterator[EmulatedLibrary]:
    with EmulatedLibrary(tmp_path / "lab", without_response_page=[1]) as made:
        yield made


class TestInventory:
    def test_mtx_lists_drives_slots_and_mail_slots(self, library: EmulatedLibrary) -> None:
        lines = status(library).splitlines()
        assert lines[0] == (
            f"  Storage Changer {library.sg}:2 Drives, 22 Slots ( 2 Import/Export )"
        )
        assert lines[1] == "Data Transfer Element 0:Empty"
        assert lines[3].rstrip() == "      Storage Element 1:Full :VolumeTag=LAB001L8"
        assert lines[-1] == "      Storage Element 22 IMPORT/EXPORT:Empty"

    def test_mtx_loads_and_unloads(self, library: EmulatedLibrary) -> None:
        out(library, "mtx", "-f", library.sg, "load", "3", "1")
        line = status(library).splitlines()[2].rstrip()
        assert (
            line == "Data Transfer Element 1:Full (Storage Element 3 Loaded):VolumeTag = LAB003L8"
        )
        assert barcode(library.bay(1)) == "LAB003L8"
        out(library, "mtx", "-f", library.sg, "unload", "3", "1")
        assert barcode(library.bay(1)) == ""
        assert barcode(library.slot(3)) == "LAB003L8"

    def test_mtx_transfers_to_a_mail_slot(self, library: EmulatedLibrary) -> None:
        out(library, "mtx", "-f", library.sg, "transfer", "1", "21")
        assert "Storage Element 21 IMPORT/EXPORT:Full :VolumeTag=LAB001L8" in status(library)
        taken = library.take_mail()
        assert taken is not None
        assert taken.barcode == "LAB001L8"

    def test_moves_by_hand_are_seen(self, library: EmulatedLibrary) -> None:
        library.load(1, 0)
        library.move(2, 20)
        library.export_mail(3, 2)
        listing = status(library)
        assert "Element 0:Full (Storage Element 1 Loaded):VolumeTag = LAB001L8" in listing
        assert "Storage Element 20:Full :VolumeTag=LAB002L8" in listing
        assert "Storage Element 22 IMPORT/EXPORT:Full :VolumeTag=LAB003L8" in listing
        library.unload()
        assert "      Storage Element 1:Full :VolumeTag=LAB001L8" in status(library)

    def test_moving_from_an_empty_slot_is_refused(self, library: EmulatedLibrary) -> None:
        done = run(
            library,
            "sg_raw",
            library.sg,
            *["a5", "00", "00", "01", "03", "f5", "01", "01", "00", "00", "00", "00"],
        )
        assert done.returncode == 5
        assert b"Medium source element empty" in done.stderr

    def test_exchange_carries_both_cartridges(self, library: EmulatedLibrary) -> None:
        library.load(1, 0)
        # Slot 2 to the drive, what is in the drive to slot 13.
        run(
            library,
            "sg_raw",
            library.sg,
            *["a6", "00", "00", "01", "03", "ea", "01", "01", "03", "f5", "00", "00"],
        )
        assert barcode(library.bay(0)) == "LAB002L8"
        assert barcode(library.slot(13)) == "LAB001L8"

    def test_element_status_names_the_drive_in_a_bay(self, library: EmulatedLibrary) -> None:
        answer = inventory(library, DRIVES_CDB)
        # Two elements of 12 bytes, a tag of 36 and an identifier of 38.
        assert int.from_bytes(answer[2:4], "big") == 2
        assert int.from_bytes(answer[10:12], "big") == 12 + 36 + 38
        identifier = answer[16 + 48 : 16 + 86]
        assert identifier[:4] == bytes([2, 1, 0, 34])
        assert identifier[4:].decode().split() == ["LABEMU", "Ultrium", "8-SCSI", "LABD000100"]

    def test_exceptions_and_access_are_told(self, library: EmulatedLibrary) -> None:
        library.element_exception(library.slot(1), 0x83, 0x02)
        library.slot(2).is_accessible = False
        described = inventory(library, SLOTS_CDB)[16:]
        assert described[2:6] == bytes([0x01 | 0x04 | 0x08, 0, 0x83, 0x02])
        assert described[48 + 2] == 0x01

    def test_mail_from_the_operator_is_told_with_a_unit_attention(
        self, library: EmulatedLibrary
    ) -> None:
        library.put_mail(Cartridge("NEW001L8"))
        done = run(library, "sg_turs", "-v", library.sg)
        assert done.returncode == 6
        assert b"Import or export element accessed" in done.stderr
        assert inventory(library, MAIL_CDB)[18] & 0x03 == 0x03

    def test_a_cartridge_without_label_has_no_tag(self, library: EmulatedLibrary) -> None:
        library.slot(13).held = Cartridge("")
        assert "      Storage Element 13:Full" in status(library)
        assert "      Storage Element 13:Full :VolumeTag" not in status(library)

    def test_ten_thousand_slots_fit(self, tmp_path: Path) -> None:
        with EmulatedLibrary(tmp_path / "big", slots=10_000, filled=9_000) as library:
            library.changer.mail.clear()
            assert library.changer.slots[-1].address == 11_000
            answer = raw(library, library.sg, 1 << 20, "b8 10 00 00 ff ff 00 10 00 00 00 00")
        assert int.from_bytes(answer[2:4], "big") == 10_003
        assert answer.count(b"L8 ") == 9_000


class TestDrive:
    def test_identity_is_the_same_everywhere(self, library: EmulatedLibrary) -> None:
        drive = library.drives[0]
        printed = out(library, "sg_inq", library.drive_sg(0))
        assert f"Unit serial number: {drive.serial}" in printed
        assert "Peripheral device type: tape" in printed
        page = out(library, "sg_vpd", "-r", "-p", "0x83", library.drive_sg(0))
        device = library.sysfs / "class/scsi_device" / library.address(drive) / "device"
        assert (device / "vpd_pg83").read_text("latin-1") == page
        assert (device / "vpd_pg80").read_bytes()[4:].decode() == drive.serial
        assert (device / "model").read_text() == "Ultrium 8-SCSI  \n"

    def test_an_empty_drive_is_not_ready(self, library: EmulatedLibrary) -> None:
        done = run(library, "sg_turs", "-v", library.drive_sg(0))
        assert done.returncode == 2
        assert b"Medium not present" in done.stderr
        assert "Ready: no" in out(library, "tapeinfo", "-f", library.drive_sg(0))

    def test_a_load_is_told_by_a_unit_attention_once(self, library: EmulatedLibrary) -> None:
        library.load(1)
        assert run(library, "sg_turs", library.drive_sg(0)).returncode == 6
        assert run(library, "sg_turs", library.drive_sg(0)).returncode == 0

    def test_tapeinfo_sees_the_tape(self, library: EmulatedLibrary) -> None:
        library.load(1)
        run(library, "sg_turs", library.drive_sg(0))
        printed = out(library, "tapeinfo", "-f", library.drive_sg(0))
        assert "Ready: yes" in printed
        assert "Partition 0 Remaining Kbytes: 11444091" in printed

    def test_an_unloaded_tape_waits_in_the_drive(self, library: EmulatedLibrary) -> None:
        library.load(1)
        run(library, "sg_turs", library.drive_sg(0))
        assert (
            run(
                library, "sg_raw", library.drive_sg(0), *["1b", "00", "00", "00", "00", "00"]
            ).returncode
            == 0
        )
        assert run(library, "sg_turs", library.drive_sg(0)).returncode == 2
        assert "Data Transfer Element 0:Full" in status(library)

    def test_mt_and_loaderinfo_understand(self, library: EmulatedLibrary) -> None:
        library.load(1)
        assert "ONLINE" in out(library, "mt", "-f", library.drive_nst(0), "status")
        printed = out(library, "loaderinfo", "-f", library.sg)
        assert "Number of Storage Elements: 20" in printed
        assert "Number of Data Transfer Elements: 2" in printed

    def test_supported_pages_differ_by_the_response_page(self, library: EmulatedLibrary) -> None:
        with_it = raw(library, library.drive_sg(0), 64, "4d 00 40 00 00 00 00 00 40 00")
        without = raw(library, library.drive_sg(1), 64, "4d 00 40 00 00 00 00 00 40 00")
        changer = raw(library, library.sg, 64, "4d 00 40 00 00 00 00 00 40 00")
        assert with_it[4:].hex(" ") == "00 02 03 0c 0d 11 12 14 17 18 1b 2e 31"
        assert without[4:].hex(" ") == "00 02 03 0c 0d 11 14 17 18 1b 2e 31"
        assert changer[4:].hex(" ") == "00 2e"

    @pytest.mark.parametrize(
        ("page", "words"),
        [
            pytest.param("0x02", "Total bytes processed = 262144", id="write-errors"),
            pytest.param("0x03", "Total bytes processed = 0", id="read-errors"),
            pytest.param("0x0c", "Data bytes received with WRITE commands: 0 GB", id="bytes"),
            pytest.param("0x0d", "Current temperature = 34 C", id="temperature"),
            pytest.param("0x11", "Very high frequency data", id="status"),
            pytest.param("0x14", "Lifetime media loads: 4712", id="statistics"),
            pytest.param("0x17", "Volume barcode: LAB001L8", id="volume"),
            pytest.param("0x18", "Invalid DWORD count = 2", id="port"),
            pytest.param("0x1b", "Write compression ratio x100: 250", id="compression"),
            pytest.param("0x31", "Main partition remaining capacity", id="capacity"),
        ],
    )
    def test_sg_logs_decodes_the_pages(
        self, library: EmulatedLibrary, page: str, words: str
    ) -> None:
        library.load(1)
        library.drives[0].unit_attentions.clear()
        library.drives[0].write(262_144)
        printed = out(library, "sg_logs", "-p", page, library.drive_sg(0))
        assert words in printed, printed

    def test_the_status_page_tells_what_the_drive_does(self, library: EmulatedLibrary) -> None:
        library.load(1)
        drive = library.drives[0]
        drive.unit_attentions.clear()
        drive.is_cleaning_required, drive.activity = True, WRITING
        printed = out(library, "sg_logs", "-p", "0x11", library.drive_sg(0))
        for words in ("CRQST=0 CRQRD=1", "INXTN=0", "MPRSNT=1", "MTHRD=1 MOUNTED=1"):
            assert words in printed.replace("  ", " "), printed
        assert "DT device activity: Writing" in printed

    def test_attributes_of_the_medium(self, library: EmulatedLibrary) -> None:
        library.load(2)
        library.drives[0].unit_attentions.clear()
        printed = out(library, "sg_read_attr", library.drive_sg(0))
        assert re.search(r"Barcode: +LAB002L8", printed)
        assert re.search(r"Medium serial number: +SNLAB002L8", printed)

    def test_densities_are_reported(self, library: EmulatedLibrary) -> None:
        answer = raw(library, library.drive_sg(0), 512, "44 00 00 00 00 00 00 02 00 00")
        assert int.from_bytes(answer[:2], "big") == 2 + 2 * 52
        assert b"Ultrium 8/32T" in answer
