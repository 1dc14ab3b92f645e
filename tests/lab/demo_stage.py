"""What the demonstration watches: tape libraries, SCST with busy initiators, repositories."""

import errno
import os
import subprocess
from contextlib import ExitStack, suppress
from pathlib import Path
from types import TracebackType
from typing import Self

from lab import scst_events
from lab.answers import Answer
from lab.demo_vtl import Vtl
from lab.scst import ScstTree, Session, Target
from lab.scst_events import ScstEventDevice, masked_initiator, task_management
from lab.tape.job import TapeJob
from lab.tape.library import READ_ELEMENT_STATUS, EmulatedLibrary
from lab.tape.media import Cartridge
from storewatch_reader.roots import TOOLS
from storewatchd.probes.scst.model import Identity

TARGET_A = "iqn.2026-01.example.lab:vm-a"
TARGET_B = "iqn.2026-01.example.lab:vm-b"
ESX = "iqn.1998-01.com.vmware:esx07"
PROXMOX = "iqn.1993-08.org.debian:proxmox1"
VEEAM = "iqn.1991-05.com.microsoft:veeam3"
BACKUP = "iqn.2005-03.org.open-iscsi:backup2"
STRANGER = "iqn.2020-01.example.guest:laptop"
LOCAL = "local-backup"
REPOSITORIES = ("daily", "archive")
LIBRARY_OFFLINE = 21  # its TapeAlert flag
_REPOSITORY_MB = 64
_LUN_BYTES = 4 << 20


class Stage:
    """A context manager over a directory of its own. What it emulates is a part of this process,
    and used by one thread."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.machine = directory / "machine"
        self.has_own_repositories = False
        """Whether each repository is a file system, which can be filled; that needs root."""
        self.procfs = directory / "proc" if os.geteuid() else None
        """Where the reader finds processes. An ordinary user may not see what others have open, and
        without that no tape device is asked: there are only those here that can have ours open."""
        self._undo = ExitStack()
        self._job: TapeJob | None = None
        self._is_suspended = False
        self._flapping: Session | None = None
        self._stuck: Session | None = None
        self._asked_before_hang = 0

    def __enter__(self) -> Self:
        with ExitStack() as undo:
            self.library = undo.enter_context(EmulatedLibrary(self.directory / "lab"))
            if self.procfs:
                _make_procfs(self.procfs)
            self.tree = self._make_tree()
            undo.callback(self.tree.close)
            self._events = undo.enter_context(ScstEventDevice(self.library.dev))
            self.load_module(is_loaded=True)
            self.has_own_repositories = os.geteuid() == 0
            for path in (*self.repositories.values(), self.machine / "vtl"):
                self._make_repository(path, undo)
            self.vtl = Vtl(
                self.machine,
                self.library.machine,
                started=self._show_process,
                ended=self._hide_process,
            )
            undo.callback(self.vtl.close)
            if self.has_own_repositories:
                self.vtl.use_store()
            worn = self.library.slot(3).held
            assert worn is not None
            worn.loads = 19_000
            self._log = self.library.dev / "kmsg"
            self._log.write_text("6,1,1,-;Linux version 6.1.0-demo\n")
            self._save_part()
            self._undo = undo.pop_all()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.end_job()
        self._undo.close()

    @property
    def repositories(self) -> dict[str, Path]:
        return {name: self.directory / "repositories" / name for name in REPOSITORIES}

    @property
    def reader_words(self) -> list[str]:
        """How a reader is told to look here, and not at this machine."""
        words = ["--sysfs", str(self.library.sysfs), "--dev", str(self.library.dev)]
        for name in ("etc", "boot", "modules", "run"):
            words += [f"--{name}", str(self.machine / name)]
        words += ["--tool-path", f"{self.machine}/bin:{TOOLS}"]
        for name in ("LD_PRELOAD", "SGSHIM_MAP"):
            words += ["--tool-env", f"{name}={self.library.env[name]}"]
        return [*words, "--procfs", str(self.procfs)] if self.procfs else words

    @property
    def reader_env(self) -> dict[str, str]:
        """What makes a reader hear SCST's events."""
        return {"LD_PRELOAD": str(scst_events.shim())}

    def move(self) -> None:
        """Have the initiators do some of their work."""
        if self._is_suspended:
            return
        for target in (self.target_a, self.target_b):
            for session in target.sessions:
                if session is self._stuck:
                    continue
                session.transfer(reads=20, read_kib=1280, writes=30, write_kib=1920)

    # Repositories and SCST.

    def fill(self, name: str, percent: float) -> None:
        """Fill a repository that is a file system of its own."""
        path = self.repositories[name]
        total = os.statvfs(path)
        with (path / "backup").open("wb") as file:
            os.posix_fallocate(
                file.fileno(), 0, int(total.f_blocks * total.f_frsize * percent / 100)
            )

    def empty(self, name: str) -> None:
        (self.repositories[name] / "backup").unlink(missing_ok=True)

    def suspend(self, *, is_suspended: bool) -> None:
        self._is_suspended = is_suspended
        self.tree.suspend(int(is_suspended))

    def delete_backing(self) -> None:
        """Take the file behind a LUN away; SCST goes on with it."""
        self._backing.rename(self._backing.with_suffix(".kept"))

    def restore_backing(self) -> None:
        with suppress(FileNotFoundError):
            self._backing.with_suffix(".kept").rename(self._backing)

    @property
    def second_path(self) -> Identity:
        """The session by which a host has its second path."""
        sid = (self.tree.path / self._second_path.path / "sid").read_text().strip()
        return Identity("iscsi", TARGET_B, ESX, sid)

    def leave(self) -> None:
        """Have an initiator leave by one of its two paths."""
        self._second_path.log_out()

    def come_again(self) -> None:
        self._second_path = self.target_b.log_in(ESX)

    def hide_scst(self, *, is_hidden: bool) -> None:
        """Unload SCST, or load it as it was."""
        place = self.library.sysfs / "kernel/scst_tgt"
        self._is_suspended = is_hidden  # nobody gets anything done meanwhile
        if is_hidden:
            place.rename(self.library.sysfs / "kernel/unloaded")
        else:
            (self.library.sysfs / "kernel/unloaded").rename(place)

    def lose_target(self) -> None:
        """Have a driver lose its only target."""
        self.target_local.remove()

    def add_target_again(self) -> None:
        self.target_local = self._add_target(self.tree, LOCAL, 3, "vm-a", driver="scst_local")

    def lose_handler(self) -> None:
        """Have a handler end, with its device."""
        self.tree.remove_device("cache")
        self._handler.rename(self._handler.with_name("handler-gone"))

    def find_handler(self) -> None:
        self._handler.with_name("handler-gone").rename(self._handler)
        self._add_cache(self.tree)

    def jam(self, *, is_jammed: bool) -> None:
        """Have a management operation not end; that needs root."""
        if is_jammed:
            self.tree.trouble("last_sysfs_mgmt_res", Answer(errno=errno.EAGAIN))
        else:
            self.tree.mend("last_sysfs_mgmt_res")

    def stick(self, *, is_stuck: bool) -> None:
        """Have a command of a host not end, and its session stand still."""
        session = self.target_a.sessions[0]
        self._stuck = session if is_stuck else None
        session.wait(int(is_stuck), lun=0)

    def swallow(self, *, is_on: bool) -> None:
        """Have a target swallow commands."""
        self.tree.set(f"{self.target_a.path}/black_hole", str(int(is_on)))

    def log_in_again(self) -> None:
        """Have a host log in, and out where it was in."""
        if self._flapping is not None:
            self._flapping.log_out()
        self._flapping = self.target_a.log_in(BACKUP)

    def show_new_size(self) -> None:
        """Have SCST see how large the file of a LUN has become."""
        self.tree.set("devices/vm-c/size", str(2 * _LUN_BYTES), is_key=True)

    def log_error(self) -> None:
        """Have SCST tell of a medium error in the kernel's log."""
        with self._log.open("a") as file:
            file.write(
                "3,2,2,-;[9]: dev_vdisk: ***ERROR***: BLOCKIO for cmd 1 finished with error -5\n"
            )

    def give_up(self) -> None:
        """Have an initiator abort all that it asked a LUN for, and reset it."""
        for tag in range(1, 21):
            abort = task_management(0, ESX, TARGET_A, device="vm-a", tag=tag, cdb=b"\x8a")
            self._events.say(abort)
        self._events.say(task_management(4, ESX, TARGET_A, device="vm-a"))

    def knock(self) -> None:
        """Have a stranger look for storage again and again."""
        self._events.say(*[masked_initiator(STRANGER, TARGET_B)] * 60)

    def load_module(self, *, is_loaded: bool) -> None:
        """Have a module that scst.conf needs loaded, or not."""
        modules = self.library.sysfs / "module"
        for name in ("scst", "iscsi_scst", "scst_vdisk"):
            (modules / name).mkdir(parents=True, exist_ok=True)
        if not is_loaded:
            (modules / "scst_vdisk").rmdir()

    def _save_part(self) -> None:
        """Write an scst.conf that was saved before two of the LUNs were made."""
        devices = "".join(
            f"\tDEVICE {name} {{\n\t\tfilename {self.directory}/luns/{name}.img\n\t}}\n"
            for name in ("vm-a", "vm-b")
        )
        targets = "".join(
            f"\tTARGET {target} {{\n\t\tenabled 1\n\t\tLUN 0 {device}\n\t}}\n"
            for target, device in ((TARGET_A, "vm-a"), (TARGET_B, "vm-b"))
        )
        (self.machine / "etc/scst.conf").write_text(
            f"HANDLER vdisk_fileio {{\n{devices}}}\nTARGET_DRIVER iscsi {{\n{targets}}}\n"
        )

    # Tape.

    def fill_mail(self, *, is_full: bool) -> None:
        """Have a person put a cartridge into each mail slot, or take them out."""
        for number in (1, 2):
            if is_full:
                self.library.put_mail(Cartridge(f"MAIL{number:02}L8"), number)
            else:
                self.library.take_mail(number)

    def spoil_label(self, *, is_spoilt: bool) -> None:
        """Have a cartridge whose label nobody can read."""
        element = self.library.slot(7)
        with self.library.changer.lock:
            if element.held is not None:
                element.held.barcode = "" if is_spoilt else "LAB007L8"

    def spoil_slot(self, *, is_spoilt: bool) -> None:
        """Have a place with an exception."""
        element = self.library.slot(20)
        with self.library.changer.lock:
            element.exception = (0x83, 0x00) if is_spoilt else None

    def flag_offline(self, *, is_on: bool) -> None:
        """Have the library say that somebody took it offline, or say so no more."""
        self.library.set_tapealert(self.library.changer, *([] if is_on else [LIBRARY_OFFLINE]))

    def switch_library(self, *, is_on: bool) -> None:
        state = "running" if is_on else "offline"
        self.library.set_state(self.library.changer, state)

    def begin_job(self) -> None:
        """Have a backup program write to the first drive."""
        self._job = TapeJob(self.library.machine, self.library.drives[0], program="bareos-sd")
        self._job.__enter__()
        self._show_process(self._job.process.pid)

    def end_job(self) -> None:
        if self._job:
            self._job.stop()
            self._hide_process(self._job.process.pid)
            self._job = None

    def _show_process(self, pid: int) -> None:
        if self.procfs:
            (self.procfs / str(pid)).symlink_to(Path("/proc") / str(pid))

    def _hide_process(self, pid: int) -> None:
        if self.procfs:
            (self.procfs / str(pid)).unlink()

    def raise_flag(self, *flags: int) -> None:
        """Have the first drive raise exactly these TapeAlert flags."""
        self.library.set_tapealert(self.library.drives[0], *flags)

    def ask_for_cleaning(self, *, asks: bool) -> None:
        """Have the first drive ask to be cleaned, or be clean."""
        if asks:
            self.library.cleaning(0, is_urgent=False)
            return
        drive = self.library.drives[0]
        with drive.lock:
            drive.is_cleaning_requested = False
        self.raise_flag()

    def unload(self) -> None:
        """Carry the first drive's cartridge back; the drive takes its flags back with that."""
        self.library.unload(0)
        self.raise_flag()

    def hang_library(self) -> None:
        """Have the library not answer who asks for its inventory."""
        self._asked_before_hang = self._asked
        self.library.hang(self.library.changer, opcode=READ_ELEMENT_STATUS)

    @property
    def holds_a_tool(self) -> bool:
        """Whether a tool has asked since the library hangs."""
        return self._asked > self._asked_before_hang

    @property
    def _asked(self) -> int:
        return len(self.library.sees(self.library.changer, READ_ELEMENT_STATUS))

    def _make_tree(self) -> ScstTree:
        tree = ScstTree(self.library.sysfs)
        luns = self.directory / "luns"
        luns.mkdir()
        self._backing = luns / "vm-b.img"
        tree.add_driver("iscsi")
        tree.add_driver("scst_local")
        for name, times in (("vm-a", 1), ("vm-b", 1), ("vm-c", 2)):
            (luns / f"{name}.img").write_bytes(bytes(times * _LUN_BYTES))
            backing = str(luns / f"{name}.img")
            tree.add_device(name, "vdisk_fileio", filename=backing, size=_LUN_BYTES)
        self._handler = tree.path / "handlers/vdisk_nullio"
        self._add_cache(tree)
        self.target_a = self._add_target(tree, TARGET_A, 1, "vm-a")
        self.target_b = self._add_target(tree, TARGET_B, 2, "vm-b")
        self.target_local = self._add_target(tree, LOCAL, 3, "vm-a", driver="scst_local")
        self.target_a.log_in(ESX)
        self.target_a.log_in(PROXMOX)
        self._second_path = self.target_b.log_in(ESX)
        return tree

    def _add_cache(self, tree: ScstTree) -> None:
        tree.add_device("cache", "vdisk_nullio", size=_LUN_BYTES)

    def _add_target(
        self,
        tree: ScstTree,
        name: str,
        relative_id: int,
        device: str,
        *,
        driver: str = "iscsi",
    ) -> Target:
        target = tree.add_target(driver, name, relative_id=relative_id)
        target.add_lun(0, device)
        return target

    def _make_repository(self, path: Path, undo: ExitStack) -> None:
        path.mkdir(parents=True)
        if not self.has_own_repositories:
            return
        command = ["mount", "-t", "tmpfs", "-o", f"size={_REPOSITORY_MB}m", "tmpfs", str(path)]
        if subprocess.run(command, capture_output=True).returncode:
            self.has_own_repositories = False  # root of a container may not mount
            return
        undo.callback(subprocess.run, ["umount", "-l", str(path)], check=True)


def _make_procfs(path: Path) -> None:
    path.mkdir()
    for name in os.listdir("/proc"):
        if not name.isdigit():
            (path / name).symlink_to(Path("/proc") / name)
    # Without the first process nobody believes that this shows processes.
    (path / "1").mkdir()
    for name in ("cmdline", "comm", "stat"):
        (path / "1" / name).symlink_to(Path("/proc/1") / name)
