"""What the demonstration has of virtual tapes, and of the next start of its machine: mhvtl, with a
library and two drives whose daemons are processes that do nothing, and a kernel that lacks it.
"""

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from lab.tape.library import EmulatedLibrary
from lab.tape.machine import Machine
from lab.tape.media import Cartridge

LIBRARY = "LABVTL0002"
NEXT_KERNEL = "6.99.0-demo"
_LIBRARY_UNIT, _DRIVE_UNITS = 90, (91, 92)
_BARCODES = tuple(f"VTL{number:03}L8" for number in range(1, 5))
_USED_PERCENT = 60
_HANGS_S = 60
_SCST = ("scst", "scst_vdisk", "iscsi_scst", "scst_local")
_DAEMON = f"#!{sys.executable}\nimport signal\nwhile True:\n    signal.pause()\n"


class Vtl:
    """Libraries, configuration and daemons. `started` is called with each process, `ended` with
    each that has ended."""

    def __init__(
        self,
        directory: Path,
        machine: Machine,
        *,
        started: Callable[[int], None],
        ended: Callable[[int], None],
    ) -> None:
        self.directory = directory
        self.store = directory / "vtl"
        self.library = EmulatedLibrary(
            machine=machine,
            serial=LIBRARY,
            slots=8,
            filled=0,
            can_queue=1,
            driver="mhvtl",
        )
        self._started, self._ended = started, ended
        self._daemons: dict[int, subprocess.Popen[bytes]] = {}
        self._states = dict.fromkeys((_LIBRARY_UNIT, *_DRIVE_UNITS), "active")
        self._left_us: dict[int, int] = {}
        """When each stopped being active, on systemd's clock."""
        for element, barcode in zip(self.library.changer.slots, _BARCODES, strict=False):
            element.held = Cartridge(barcode)
        self._install(machine.sysfs)
        for unit in self._states:
            self._start(unit)

    def close(self) -> None:
        for unit in list(self._daemons):
            self._end(unit)

    @property
    def drives(self) -> list[str]:
        return [drive.serial for drive in self.library.drives]

    def use_store(self) -> None:
        """Have the store be used by what was there before."""
        self.fill_store(_USED_PERCENT)

    def fill_store(self, percent: float) -> None:
        """Fill the store's file system with a file that is no cartridge's."""
        total = os.statvfs(self.store)
        with (self.store / "other").open("wb") as file:
            size = int(total.f_blocks * total.f_frsize * percent / 100)
            os.posix_fallocate(file.fileno(), 0, size)

    def suspend(self, *, is_suspended: bool) -> None:
        """Suspend the daemon of the first drive, or let it go on."""
        number = "STOP" if is_suspended else "CONT"
        pid = self._daemons[_DRIVE_UNITS[0]].pid
        subprocess.run(["kill", f"-{number}", str(pid)], check=True)

    def stop_drive(self) -> None:
        """Stop the second drive, as systemd does: nothing is left of it."""
        self._end(_DRIVE_UNITS[1])
        self.library.vanish(self.library.drives[1])
        self._say(_DRIVE_UNITS[1], "inactive")

    def start_drive(self) -> None:
        self.library.come_back(self.library.drives[1])
        self._start(_DRIVE_UNITS[1])
        self._say(_DRIVE_UNITS[1], "active")

    def hang_stop(self, *, hangs: bool) -> None:
        """Have the stop of the library's unit, which began a minute ago, not come to an end."""
        self._say(_LIBRARY_UNIT, "deactivating" if hangs else "active")

    def plan_start(self, *, is_planned: bool) -> None:
        """Plan a start of the machine, in an hour, or call it off."""
        place = self.directory / "run/systemd/shutdown/scheduled"
        if is_planned:
            at = time.time_ns() // 1000 + 3_600_000_000
            _put(place, f"USEC={at}\nWARN_WALL=1\nMODE=reboot\n")
        else:
            place.unlink(missing_ok=True)

    def build_module(self) -> None:
        """Build the module for the next kernel."""
        with (self.directory / "modules" / NEXT_KERNEL / "modules.builtin").open("a") as file:
            file.write("kernel/mhvtl.ko\n")

    def _install(self, sysfs: Path) -> None:
        library, etc = self.library, self.directory / "etc"
        host, _, place = library.address(library.changer).partition(":")
        _put(sysfs / "module/mhvtl/version", "1.8.0\n")
        (sysfs / f"devices/mhvtl_pseudo/adapter0/host{host}").mkdir(parents=True)
        lines = [
            f"Library: {_LIBRARY_UNIT} {_at(place)}",
            f" Unit serial number: {LIBRARY}",
            f" Home directory: {self.store}\n",
        ]
        for bay, (unit, drive) in enumerate(zip(_DRIVE_UNITS, library.drives, strict=True), 1):
            lines += [
                f"Drive: {unit} {_at(library.address(drive).partition(':')[2])}",
                f" Library ID: {_LIBRARY_UNIT} Slot: {bay:02}",
                f" Unit serial number: {drive.serial}\n",
            ]
        _put(etc / "mhvtl/device.conf", "\n".join(lines) + "\n")
        slots = "".join(f"Slot {number}: {tag}\n" for number, tag in enumerate(_BARCODES, 1))
        _put(etc / f"mhvtl/library_contents.{_LIBRARY_UNIT}", slots)
        for barcode in _BARCODES:
            _put(self.store / barcode / "meta.0", "x" * 512)
            _put(self.store / barcode / "data.0", "x" * (1 << 20))
        for name in ("scst.service", "mhvtl.target"):
            _put(etc / "systemd/system/multi-user.target.wants" / name)
        _put(self.directory / "boot" / f"vmlinuz-{NEXT_KERNEL}")
        modules = self.directory / "modules" / NEXT_KERNEL
        _put(modules / "modules.dep")
        _put(modules / "modules.builtin", "".join(f"kernel/{name}.ko\n" for name in _SCST))
        (self.directory / "run/systemd/system").mkdir(parents=True)
        told = self.directory / "run/units"
        _put(self.directory / "bin/systemctl", f"#!/bin/sh\ncat '{told}'\n")
        for name in ("vtllibrary", "vtltape"):
            _put(self.directory / "bin" / name, _DAEMON)
        for program in (self.directory / "bin").iterdir():
            program.chmod(0o755)
        self._write_units()

    def _start(self, unit: int) -> None:
        daemon = subprocess.Popen(
            [self.directory / "bin" / _name(unit), "-F", f"-q{unit}", "-v1"],
            start_new_session=True,
        )
        self._daemons[unit] = daemon
        self._started(daemon.pid)

    def _end(self, unit: int) -> None:
        daemon = self._daemons.pop(unit)
        daemon.kill()
        daemon.wait()
        self._ended(daemon.pid)

    def _say(self, unit: int, state: str) -> None:
        self._states[unit] = state
        if state != "active":
            # A stop that hangs is told after a minute, which the play does not have.
            ago_s = _HANGS_S if state == "deactivating" else 0
            self._left_us[unit] = time.monotonic_ns() // 1000 - ago_s * 1_000_000
        self._write_units()

    def _write_units(self) -> None:
        """Write what systemd would say."""
        text = "\n".join(
            f"Id={_name(unit)}@{unit}.service\nActiveState={state}\nSubState={state}\n"
            f"ActiveExitTimestampMonotonic={self._left_us.get(unit, 0)}\n"
            for unit, state in self._states.items()
        )
        draft = self.directory / "run/units.new"
        _put(draft, text)
        shutil.move(draft, self.directory / "run/units")


def _name(unit: int) -> str:
    return "vtllibrary" if unit == _LIBRARY_UNIT else "vtltape"


def _at(place: str) -> str:
    return "CHANNEL: {} TARGET: {} LUN: {}".format(*place.split(":"))


def _put(place: Path, text: str = "") -> None:
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_text(text)
