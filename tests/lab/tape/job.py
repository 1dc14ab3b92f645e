"""A backup program at work: it holds a tape drive, and the kernel's statistics move."""

import shutil
import subprocess
import threading
from pathlib import Path
from types import TracebackType
from typing import Self

from lab.tape.drive import Drive
from lab.tape.drive_pages import READING, WRITING
from lab.tape.machine import Machine

_TICK_S = 0.02
_BLOCK_BYTES = 1 << 18


class TapeJob:
    """A process of a name of one's choice that has the non-rewinding node open, while bytes are
    written or read at a rate. With rate 0 it holds the drive and does nothing.

    The process is an honest one: its name and what it has open are in /proc.
    """

    def __init__(
        self,
        machine: Machine,
        drive: Drive,
        direction: str = "write",
        *,
        bytes_per_s: int = 160_000_000,
        program: str = "bareos-sd",
    ) -> None:
        self._machine = machine
        self._drive = drive
        self._is_write = direction == "write"
        self._rate = bytes_per_s
        self._program = program
        self._owed = 0.0
        self._over = threading.Event()
        self._is_closed = False
        self._thread = threading.Thread(target=self._work, daemon=True)

    def __enter__(self) -> Self:
        programs = self._machine.root / "programs"
        programs.mkdir(exist_ok=True)
        link = programs / self._program
        if not link.is_symlink():
            link.symlink_to(Path(shutil.which("sleep") or "/bin/sleep"))
        self._machine.count_open(self._machine.tape_node(self._drive), 1)
        with open(self._machine.tape_node(self._drive), "rb") as node:
            self.process = subprocess.Popen([str(link), "3600"], stdin=node)
        self._machine.show_open(self._drive, is_open=True)
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def stop(self) -> None:
        """Close the drive. A second call changes nothing."""
        self._over.set()
        self._thread.join()
        self.process.kill()
        self.process.wait()
        if not self._is_closed:
            self._is_closed = True
            self._machine.count_open(self._machine.tape_node(self._drive), -1)
        self._machine.show_open(self._drive, is_open=False)

    def _work(self) -> None:
        while not self._over.wait(_TICK_S):
            self.advance(_TICK_S)
        self._drive.activity = 0
        shown = self._machine.tree.shown(self._drive)
        if shown:
            shown.statistics.in_flight = 0
            self._machine.show_statistics(self._drive)

    def advance(self, seconds: float) -> None:
        """Do what it does in a time."""
        self._owed += self._rate * seconds
        blocks = int(self._owed) // _BLOCK_BYTES
        self._owed -= blocks * _BLOCK_BYTES
        shown = self._machine.tree.shown(self._drive)
        if not blocks or shown is None:
            return
        size, took_ns = blocks * _BLOCK_BYTES, int(seconds * 1e9)
        with self._drive.lock:
            if self._is_write:
                self._drive.write(size)
                self._drive.activity = WRITING
            else:
                self._drive.read(size)
                self._drive.activity = READING
        counted = shown.statistics
        counted.in_flight = 1
        counted.io_ns += took_ns
        if self._is_write:
            counted.write_byte_cnt += size
            counted.write_cnt += blocks
            counted.write_ns += took_ns
        else:
            counted.read_byte_cnt += size
            counted.read_cnt += blocks
            counted.read_ns += took_ns
        self._machine.show_statistics(self._drive)
