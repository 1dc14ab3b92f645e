"""A virtual tape library under the real programs: daemons are processes, devices emulated."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from lab.tape.library import EmulatedLibrary
from lab.tape.tgt import TgtLibrary
from storewatch_reader.roots import Roots
from storewatch_reader.vtl import daemons
from storewatchd.probes.vtl.model import is_serving
from system.appliance import Appliance, wait_for
from system.fix_tape import rows, value

pytestmark = pytest.mark.timeout(90)  # real programs start

INTERVAL_S = 1.0
LIBRARY = "LABLIB0001"


class Vtl:
    """mhvtl with one library and one drive: module, configuration, daemons and devices."""

    def __init__(self, root: Path, library: EmulatedLibrary, stack: ExitStack) -> None:
        self.library = library
        self.drive = library.drives[0].serial
        self.etc = root / "etc"
        self.store = root / "opt"
        self._root = root
        self._stack = stack
        host, _, drive_place = library.address(library.drives[0]).partition(":")
        place = library.address(library.changer).partition(":")[2]
        (library.sysfs / "module/mhvtl").mkdir(parents=True)
        (library.sysfs / "module/mhvtl/version").write_text("0.18.42\n")
        (library.sysfs / f"devices/mhvtl_pseudo/adapter0/host{host}").mkdir(parents=True)
        (self.store / "LAB001L8").mkdir(parents=True)
        (self.store / "LAB001L8" / "meta.0").write_bytes(b"x" * 512)
        (self.etc / "mhvtl").mkdir(parents=True)
        (self.etc / "mhvtl" / "device.conf").write_text(
            f"Library: 10 {_at(place)}\n Unit serial number: {LIBRARY}\n"
            f" Home directory: {self.store}\n\n"
            f"Drive: 11 {_at(drive_place)}\n Library ID: 10 Slot: 01\n"
            f" Unit serial number: {self.drive}\n"
        )
        self.start("vtllibrary", 10)
        self.drive_daemon = self.start("vtltape", 11)

    def start(self, name: str, unit: int) -> subprocess.Popen[bytes]:
        """Start what is called as a daemon, and does nothing."""
        program = self._root / name
        program.write_text(f"#!{sys.executable}\nimport signal\nsignal.pause()\n")
        program.chmod(0o755)
        daemon = subprocess.Popen([program, "-F", f"-q{unit}", "-v1"])
        self._stack.callback(daemon.wait)
        self._stack.callback(daemon.kill)
        return daemon

    def part(self, appliance: Appliance, drive: str, part: str) -> float | None:
        return value(appliance, f'vtl_part_up{{drive="{drive}",part="{part}"}}')


def _at(place: str) -> str:
    return "CHANNEL: {} TARGET: {} LUN: {}".format(*place.split(":"))


@pytest.fixture
def vtl(tmp_path: Path) -> Iterator[Vtl]:
    with (
        ExitStack() as stack,
        EmulatedLibrary(tmp_path / "lab", can_queue=1, driver="mhvtl") as library,
    ):
        yield Vtl(tmp_path, library, stack)


@pytest.fixture
def watched(appliance: Appliance, vtl: Vtl) -> Appliance:
    appliance.configure(interval_s=INTERVAL_S, more='[database]\nkind = "none"')
    library = vtl.library
    tools = [
        word
        for name in ("LD_PRELOAD", "SGSHIM_MAP")
        for word in ("--tool-env", f"{name}={library.env[name]}")
    ]
    roots = ("--sysfs", str(library.sysfs), "--dev", str(library.dev), "--etc", str(vtl.etc))
    appliance.start_reader(*roots, *tools)
    appliance.start()
    wait_for("the drive", lambda: value(appliance, "vtl_drive_up") == 1, within_s=30)
    return appliance


def test_a_virtual_library_is_seen_and_counted(watched: Appliance, vtl: Vtl) -> None:
    wait_for("the library", lambda: value(watched, "vtl_library_up") == 1)
    wait_for("the inventory", lambda: rows(watched, "library_elements_full"))
    assert value(watched, "vtl_up") == 1
    assert value(watched, "vtl_store_media") == 1
    assert value(watched, f'vtl_store_free_bytes{{store="{vtl.store}"}}')
    shown = wait_for(
        "what is virtual",
        lambda: [
            one
            for one in watched.call("objects.list")["objects"]
            if one["facts"].get("virtual") == "mhvtl"
        ],
    )
    assert {(one["kind"], one["id"]) for one in shown} == {
        ("tape_library", LIBRARY),
        ("tape_drive", vtl.drive),
    }
    (drive,) = rows(watched, "vtl_drive_info")
    assert drive["labels"]["number"] == "11"
    told = watched.call("metrics.get")["vtl"]
    assert told == {
        "total_libraries": 1,
        "total_drives": 1,
        "total_tapes": 12,
        "active_drives": 1,
        "loaded_tapes": 0,
    }


def test_a_daemon_that_is_suspended_is_told_and_its_drive_is_left_alone(
    watched: Appliance, vtl: Vtl
) -> None:
    vtl.drive_daemon.send_signal(signal.SIGSTOP)
    wait_for("the daemon", lambda: vtl.part(watched, vtl.drive, "daemon") == 0)
    assert vtl.part(watched, vtl.drive, "device") == 1
    assert value(watched, "vtl_drive_up") == 0
    vtl.drive_daemon.send_signal(signal.SIGCONT)
    wait_for("the drive", lambda: value(watched, "vtl_drive_up") == 1)


def test_a_device_that_vanishes_leaves_a_daemon_without_one(watched: Appliance, vtl: Vtl) -> None:
    vtl.library.vanish(vtl.library.drives[0])
    wait_for("the device", lambda: vtl.part(watched, vtl.drive, "device") == 0)
    assert vtl.part(watched, vtl.drive, "daemon") == 1
    components = watched.call("health.get")["components"]
    (told,) = (one for one in components if one["name"] == "vtl")
    assert told["status"] == "degraded"
    assert vtl.drive in told["message"]


def test_a_real_tgtd_is_seen_as_it_stands(tmp_path: Path) -> None:
    def state() -> str:
        (found,) = [one for one in daemons(Roots(), "")["daemons"] if one["pid"] == pid] or [{}]
        return str(found.get("state", ""))

    with TgtLibrary(tmp_path / "tgt", filled=0, slots=2) as library:
        pid = library.pid
        assert state() in ("S", "R", "D")
        assert is_serving(state())
        os.kill(pid, signal.SIGSTOP)
        wait_for("its stop", lambda: state() == "T")
        assert not is_serving(state())
        os.kill(pid, signal.SIGCONT)
        wait_for("it to go on", lambda: is_serving(state()))
    assert state() == ""
