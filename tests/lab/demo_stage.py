"""What the demonstration watches: a tape library, SCST with busy initiators, repositories."""

import os
import subprocess
from contextlib import ExitStack, suppress
from pathlib import Path
from types import TracebackType
from typing import Self

from lab.scst import ScstTree, Target
from lab.tape.job import TapeJob
from lab.tape.library import READ_ELEMENT_STATUS, EmulatedLibrary

TARGET_A = "iqn.2026-01.example.lab:vm-a"
TARGET_B = "iqn.2026-01.example.lab:vm-b"
ESX = "iqn.1998-01.com.vmware:esx07"
PROXMOX = "iqn.1993-08.org.debian:proxmox1"
REPOSITORIES = ("daily", "archive")
_REPOSITORY_MB = 64
_LUN_BYTES = 4 << 20


class Stage:
    """A context manager over a directory of its own. What it emulates is a part of this process,
    and used by one thread."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.has_own_repositories = False
        """Whether each repository is a file system, which can be filled; that needs root."""
        self.procfs = directory / "proc" if os.geteuid() else None
        """Where the reader finds processes. An ordinary user may not see what others have open, and
        without that no tape device is asked: there are only those here that can have ours open."""
        self._undo = ExitStack()
        self._job: TapeJob | None = None
        self._is_suspended = False
        self._asked_before_hang = 0

    def __enter__(self) -> Self:
        with ExitStack() as undo:
            self.library = undo.enter_context(EmulatedLibrary(self.directory / "lab"))
            if self.procfs:
                _make_procfs(self.procfs)
            self.tree = self._make_tree()
            undo.callback(self.tree.close)
            self.has_own_repositories = os.geteuid() == 0
            for name in REPOSITORIES:
                self._make_repository(name, undo)
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
        for name in ("LD_PRELOAD", "SGSHIM_MAP"):
            words += ["--tool-env", f"{name}={self.library.env[name]}"]
        return [*words, "--procfs", str(self.procfs)] if self.procfs else words

    def move(self) -> None:
        """Have the initiators do some of their work."""
        if self._is_suspended:
            return
        for target in (self.target_a, self.target_b):
            for session in target.sessions:
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

    def leave(self) -> None:
        """Have an initiator leave by one of its two paths."""
        self._second_path.log_out()

    def come_again(self) -> None:
        self._second_path = self.target_b.log_in(ESX)

    # Tape.

    def begin_job(self) -> None:
        """Have a backup program write to the first drive."""
        self._job = TapeJob(self.library.machine, self.library.drives[0], program="bareos-sd")
        self._job.__enter__()
        if self.procfs:
            pid = str(self._job.process.pid)
            (self.procfs / pid).symlink_to(Path("/proc") / pid)

    def end_job(self) -> None:
        if self._job:
            self._job.stop()
            if self.procfs:
                (self.procfs / str(self._job.process.pid)).unlink()
            self._job = None

    def raise_flag(self, *flags: int) -> None:
        """Have the first drive raise exactly these TapeAlert flags."""
        self.library.set_tapealert(self.library.drives[0], *flags)

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
        for name in ("vm-a", "vm-b"):
            (luns / f"{name}.img").write_bytes(bytes(_LUN_BYTES))
            backing = str(luns / f"{name}.img")
            tree.add_device(name, "vdisk_fileio", filename=backing, size=_LUN_BYTES)
        self.target_a = self._add_target(tree, TARGET_A, 1, "vm-a")
        self.target_b = self._add_target(tree, TARGET_B, 2, "vm-b")
        self.target_a.log_in(ESX)
        self.target_a.log_in(PROXMOX)
        self._second_path = self.target_b.log_in(ESX)
        return tree

    def _add_target(self, tree: ScstTree, name: str, relative_id: int, device: str) -> Target:
        target = tree.add_target("iscsi", name, relative_id=relative_id)
        target.add_lun(0, device)
        return target

    def _make_repository(self, name: str, undo: ExitStack) -> None:
        path = self.repositories[name]
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
