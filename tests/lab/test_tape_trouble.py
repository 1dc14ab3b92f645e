"""The emulated library in trouble, as real tools and sysfs tell of it."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab.tape.library import EmulatedLibrary
from lab.tape.media import Cartridge
from lab.tape.process import LibraryProcess
from lab.tape.scsi import Refused
from lab.tape.shim import BuildError, built
from lab.tape.tools import (
    SLOTS_CDB,
    ask,
    asking,
    barcode,
    comm,
    flags,
    host_busy,
    inventory,
    out,
    raw,
    run,
    state,
    status,
    wait_for,
)


@pytest.fixture
def library(tmp_path: Path) -> Iterator[EmulatedLibrary]:
    with EmulatedLibrary(tmp_path / "lab", without_response_page=[1]) as made:
        yield made


class TestTapeAlert:
    def test_reading_2e_clears_and_12_does_not(self, library: EmulatedLibrary) -> None:
        library.set_tapealert(library.drives[0], 3, 20)
        for _ in range(2):
            page = raw(library, library.drive_sg(0), 64, "4d 00 52 00 00 00 00 00 40 00")
            assert page[8:] == (1 << 61 | 1 << 44).to_bytes(8, "big")
        # A probe of the length takes nothing.
        raw(library, library.drive_sg(0), 4, "4d 00 6e 00 00 00 00 00 04 00")
        assert flags(library, library.drive_sg(0)) == [3, 20]
        assert flags(library, library.drive_sg(0)) == []

    def test_a_changer_has_2e_only(self, library: EmulatedLibrary) -> None:
        library.set_tapealert(library.changer, 16)
        done = ask(library, library.sg, "4d 00 52 00 00 00 00 00 40 00")
        assert done.returncode == 5
        assert flags(library, library.sg) == [16]

    def test_cleaning_is_asked_for_until_it_is_done(self, library: EmulatedLibrary) -> None:
        library.cleaning(0)
        drive = library.drives[0]
        assert "Cleaning action required" in out(
            library, "sg_logs", "-p", "0x0c", library.drive_sg(0)
        )
        library.slot(20).held = Cartridge("CLN001L1", is_cleaning=True)
        library.load(20, 0)
        drive.unit_attentions.clear()
        done = run(library, "sg_turs", "-v", library.drive_sg(0))
        assert b"Cleaning cartridge installed" in done.stderr
        library.unload(0)
        assert drive.flags == set()
        assert drive.cleanings == 13


class TestTrouble:
    def test_an_open_door_stops_moves(self, library: EmulatedLibrary) -> None:
        library.door(open=True)
        done = run(library, "sg_turs", "-v", library.sg)
        assert b"manual intervention required" in done.stderr
        assert flags(library, library.sg) == [16]
        library.door(open=False)
        assert run(library, "sg_turs", library.sg).returncode == 6
        assert run(library, "sg_turs", library.sg).returncode == 0

    def test_a_reservation_elsewhere_conflicts(self, library: EmulatedLibrary) -> None:
        library.reserve_elsewhere(library.drives[0])
        assert run(library, "sg_turs", library.drive_sg(0)).returncode == 24
        assert run(library, "sg_inq", library.drive_sg(0)).returncode == 0
        library.reserve_elsewhere(library.drives[0], is_reserved=False)
        assert run(library, "sg_turs", library.drive_sg(0)).returncode == 2

    def test_busy_passes(self, library: EmulatedLibrary) -> None:
        library.busy(library.changer, count=1)
        assert run(library, "sg_turs", library.sg).returncode == 26
        assert run(library, "sg_turs", library.sg).returncode == 0

    def test_prevented_removal_keeps_the_tape(self, library: EmulatedLibrary) -> None:
        library.load(1)
        library.drives[0].unit_attentions.clear()
        run(library, "sg_prevent", library.drive_sg(0))
        done = run(library, "mtx", "-f", library.sg, "unload", "1", "0")
        assert done.returncode == 1
        assert barcode(library.bay(0)) == "LAB001L8"

    @pytest.mark.parametrize(
        ("fault", "status", "words"),
        [
            pytest.param({"sense": (4, 0x44, 0)}, 3, "Internal target failure", id="sense"),
            # As the real tool does: no failure in its exit status.
            pytest.param({"host_status": 3}, 0, "DID_TIME_OUT", id="host-timeout"),
            pytest.param({"host_status": 1}, 0, "DID_NO_CONNECT", id="no-connect"),
            pytest.param({"errno": 19}, 69, "", id="no-such-device"),
            pytest.param({"drops": True}, 0, "DID_NO_CONNECT", id="dropped"),
            pytest.param({"status": 0x28}, 27, "", id="task-set-full"),
        ],
    )
    def test_faults_reach_the_tool(
        self, library: EmulatedLibrary, fault: dict[str, object], status: int, words: str
    ) -> None:
        library.fault(library.drives[0], **fault)
        done = run(library, "sg_turs", "-v", library.drive_sg(0))
        assert done.returncode == status, done
        assert words in done.stderr.decode()

    def test_spoilt_data_is_as_long_as_it_says(self, library: EmulatedLibrary) -> None:
        good = inventory(library, SLOTS_CDB)
        library.corrupt_inventory(empty=False, cut_at=100)
        assert inventory(library, SLOTS_CDB) == good[:100]
        library.mend_inventory()
        library.fault(library.changer, opcode=0xB8, garbage=True)
        spoilt = inventory(library, SLOTS_CDB)
        assert spoilt == bytes(byte ^ 0xA5 for byte in good)

    def test_a_corrupt_inventory_looks_empty(self, library: EmulatedLibrary) -> None:
        library.corrupt_inventory()
        assert "Full" not in status(library)
        library.mend_inventory()
        assert status(library).count("Full") == 12

    def test_counts_can_be_wrong(self, library: EmulatedLibrary) -> None:
        library.wrong_counts(3)
        assert inventory(library, SLOTS_CDB)[2:4] == (23).to_bytes(2, "big")

    def test_refused_openings(self, library: EmulatedLibrary) -> None:
        library.machine.refuse(library.changer, 16)
        assert run(library, "sg_turs", library.sg).returncode == 66
        library.machine.refuse(library.changer, 0)
        assert run(library, "sg_turs", library.sg).returncode == 0

    def test_who_holds_a_device_exclusively_keeps_others_out(
        self, library: EmulatedLibrary
    ) -> None:
        hold = "import os, sys; os.open(sys.argv[1], os.O_RDWR | os.O_EXCL); sys.stdin.read()"
        command = [sys.executable, "-c", hold, library.sg]
        with subprocess.Popen(command, env=library.env, stdin=subprocess.PIPE) as holder:
            try:
                node = library.machine.server.nodes[library.sg]
                wait_for(lambda: node.exclusive == 1)
                assert run(library, "sg_turs", library.sg).returncode == 66
            finally:
                holder.communicate()
        wait_for(lambda: node.exclusive == 0)
        assert run(library, "sg_turs", library.sg).returncode == 0


class TestHanging:
    def test_a_hung_device_times_out(self, library: EmulatedLibrary) -> None:
        library.hang(library.drives[0], opcode=0x4D)
        done = ask(library, library.drive_sg(0), "4d 00 6e 00 00 00 00 00 40 00")
        assert done.returncode == 99
        assert run(library, "sg_inq", library.drive_sg(0)).returncode == 0

    def test_sysfs_shows_what_is_outstanding(self, library: EmulatedLibrary) -> None:
        drive = library.drives[0]
        device = library.sysfs / "class/scsi_device" / library.address(drive) / "device"
        run(library, "sg_turs", library.drive_sg(0))
        assert (device / "iorequest_cnt").read_text() == "0x1\n"
        assert (device / "iodone_cnt").read_text() == "0x1\n"
        assert (device / "ioerr_cnt").read_text() == "0x1\n"
        library.hang(drive)
        with asking(library, "sg_turs", library.drive_sg(0)) as asker:
            wait_for(lambda: (device / "iorequest_cnt").read_text() == "0x2\n")
            wait_for(lambda: host_busy(library) == 1)
            assert (device / "iodone_cnt").read_text() == "0x1\n"
            library.release(drive)
            assert asker.wait(5) == 2
        assert (device / "iodone_cnt").read_text() == "0x2\n"
        assert host_busy(library) == 0

    def test_one_queue_slot_holds_up_every_device(self, tmp_path: Path) -> None:
        with EmulatedLibrary(tmp_path / "vtl", can_queue=1, driver="mhvtl") as library:
            library.hang(library.drives[0])
            with asking(library, "sg_turs", library.drive_sg(0)) as first:
                wait_for(lambda: library.host.busy == 1)
                with asking(library, "sg_turs", library.sg) as second:
                    wait_for(lambda: library.host.waiting == 1)
                    assert library.changer.requested == 0
                    library.release(library.drives[0])
                    assert first.wait(5) == 2
                    assert second.wait(5) == 0

    @pytest.mark.skipif(os.geteuid() != 0, reason="mounting needs root")
    def test_an_unkillable_tool_ends_when_the_device_comes_back(
        self, library: EmulatedLibrary
    ) -> None:
        library.hang(library.changer, unkillable=True)
        with asking(library, "mtx", "-f", library.sg, "status") as asker:
            wait_for(lambda: library.machine.holds_somebody)
            asker.kill()
            wait_for(lambda: state(asker.pid) == "D")
            with pytest.raises(subprocess.TimeoutExpired):
                asker.wait(0.1)
            library.release(library.changer)
            assert asker.wait(5) == -9
        assert status(library).count("Full") == 12


class TestPresence:
    def test_a_vanished_device_is_gone_everywhere(self, library: EmulatedLibrary) -> None:
        drive, path = library.drives[0], library.drive_sg(0)
        library.vanish(drive)
        assert run(library, "sg_turs", path).returncode == 52
        assert not Path(path).exists()
        names = os.listdir(library.sysfs / "class/scsi_generic")
        assert sorted(names) == ["sg1", "sg2"]
        assert not [n for n in os.listdir(library.sysfs / "class/scsi_tape") if n.endswith("st0")]
        library.come_back(drive, sg=7)
        assert library.drive_sg(0).endswith("/sg7")
        assert run(library, "sg_turs", library.drive_sg(0)).returncode == 6

    def test_sysfs_links_lead_where_the_kernels_do(self, library: EmulatedLibrary) -> None:
        link = library.sysfs / "class/scsi_tape/nst0"
        assert re.fullmatch(
            r"\.\./\.\./devices/.*/host2/target2:0:0/2:0:0:0/scsi_tape/nst0", os.readlink(link)
        )
        assert os.readlink(link / "device") == "../../../2:0:0:0"
        assert (link / "device/scsi_generic").is_dir()
        assert (link / "device/generic").resolve().name == "sg0"
        changer = library.sysfs / "class/scsi_changer/sch0"
        assert (changer / "device/type").read_text() == "8\n"
        assert (changer / "dev").read_text() == "86:0\n"

    def test_a_job_moves_statistics_and_holds_the_drive(self, library: EmulatedLibrary) -> None:
        library.load(1)
        statistics = library.sysfs / "class/scsi_tape/nst0/stats"
        with library.job(0, bytes_per_s=100 << 20) as job:
            wait_for(lambda: int((statistics / "write_byte_cnt").read_text()) > 4 << 20)
            assert (statistics / "in_flight").read_text() == "1"
            held = {os.readlink(f"/proc/{job.process.pid}/fd/{fd}") for fd in ("0",)}
            assert held == {library.drive_nst(0)}
            assert b"busy" in run(library, "mt", "-f", library.drive_nst(0), "status").stderr
            wait_for(lambda: comm(job.process.pid) == "bareos-sd")
        assert (statistics / "in_flight").read_text() == "0"
        tape = library.drives[0].tape
        assert tape is not None
        assert tape.written_mib > 123_456

    def test_a_job_that_rests_holds_the_drive(self, library: EmulatedLibrary) -> None:
        statistics = library.sysfs / "class/scsi_tape/st0/stats"
        with library.job(0, bytes_per_s=0):
            assert (statistics / "in_flight").read_text() == "0"
        assert run(library, "mt", "-f", library.drive_nst(0), "status").returncode == 0

    def test_two_libraries_share_a_machine(self, library: EmulatedLibrary) -> None:
        second = EmulatedLibrary(machine=library.machine, serial="LABLIB0002", drives=6)
        assert library.host.number != second.host.number
        assert second.address(second.changer) == "3:0:6:0"
        assert len(os.listdir(library.dev)) == 2 + 8 * 3
        assert "6 Drives" in status(second)
        assert second.drives[0].serial != library.drives[0].serial


class TestProcess:
    def test_a_process_of_its_own_is_asked_by_name(self, tmp_path: Path) -> None:
        with LibraryProcess(tmp_path / "lab", slots=5, filled=2) as library:
            library.call("load", 1, 0)
            library.call("set_tapealert", "drive 0", 3)
            done = subprocess.run(
                ["mtx", "-f", library.sg, "status"], env=library.env, capture_output=True
            )
            assert b"Data Transfer Element 0:Full (Storage Element 1 Loaded)" in done.stdout
            assert library.call("drive_sg", 0) == str(library.dev / "sg0")
            with pytest.raises(Refused):
                library.call("load", 1, 0)
        assert not library.sysfs.exists()


class TestShim:
    def test_the_compilers_words_are_told(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("PATH", str(tmp_path))
        with pytest.raises(BuildError, match="gcc is not installed"):
            built(cache=tmp_path / "cache")
        refusing = tmp_path / "gcc"
        refusing.write_text("#!/bin/sh\necho nothing works >&2\nexit 3\n")
        refusing.chmod(0o755)
        with pytest.raises(BuildError, match="status 3: nothing works"):
            built(cache=tmp_path / "cache")

    def test_it_is_built_once(self, tmp_path: Path) -> None:
        first = built(cache=tmp_path)
        made = first.stat().st_mtime_ns
        assert built(cache=tmp_path) == first
        assert first.stat().st_mtime_ns == made
