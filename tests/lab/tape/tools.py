"""Runs real tools on an emulated library, for tests."""

import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from lab.tape.changer import Element
from lab.tape.library import EmulatedLibrary

SLOTS_CDB = "b8 12 00 00 ff ff 00 01 00 00 00 00"
MAIL_CDB = "b8 13 00 00 ff ff 00 01 00 00 00 00"
DRIVES_CDB = "b8 14 00 00 ff ff 01 01 00 00 00 00"


def run(
    library: EmulatedLibrary, *command: str, timeout_s: float = 10
) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(command, env=library.env, capture_output=True, timeout=timeout_s)


def out(library: EmulatedLibrary, *command: str) -> str:
    """Return what a tool printed that must succeed."""
    done = run(library, *command)
    assert done.returncode == 0, done
    return done.stdout.decode("latin-1")


def status(library: EmulatedLibrary) -> str:
    return out(library, "mtx", "-f", library.sg, "status")


def raw(library: EmulatedLibrary, path: str, size: int, cdb: str) -> bytes:
    """Return what a command answered that must succeed."""
    command = ("sg_raw", "-b", "-t", "5", "-r", str(size), path, *cdb.split())
    done = run(library, *command)
    assert done.returncode == 0, done
    return done.stdout


def barcode(element: Element) -> str:
    """Return the bar code of what is in a place; empty where nothing is."""
    return element.tape.barcode if element.tape else ""


def ask(library: EmulatedLibrary, path: str, cdb: str) -> subprocess.CompletedProcess[bytes]:
    """Send a command; what it answers is not printed."""
    return run(library, "sg_raw", "-t", "1", "-r", "64", path, *cdb.split())


def flags(library: EmulatedLibrary, path: str) -> list[int]:
    """Read page 2Eh: the raised flags."""
    page = raw(library, path, 1024, "4d 00 6e 00 00 00 00 04 00 00")
    assert page[:4] == bytes([0x2E, 0, 0x01, 0x40])
    return [n for n in range(1, 65) if page[4 + 5 * (n - 1) + 4] & 1]


def wait_for(holds: Callable[[], bool], *, within_s: float = 5.0) -> None:
    """Wait for what another process does; nothing tells when it has."""
    end = time.monotonic() + within_s
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.005)


@contextmanager
def asking(library: EmulatedLibrary, *command: str) -> Iterator[subprocess.Popen[bytes]]:
    """Have a tool run meanwhile."""
    tool = subprocess.Popen(command, env=library.env, stdout=subprocess.DEVNULL)
    try:
        yield tool
    finally:
        tool.kill()
        for device in (*library.drives, library.changer):
            library.release(device)
        tool.wait(5)


def host_busy(library: EmulatedLibrary) -> int:
    return int((library.sysfs / "class/scsi_host/host2/host_busy").read_text())


def state(pid: int) -> str:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


def comm(pid: int) -> str:
    return Path(f"/proc/{pid}/comm").read_text().strip()


def element_flags(library: EmulatedLibrary, cdb: str, offset: int) -> bytes:
    return raw(library, library.sg, 65536, cdb)[offset : offset + 12]


def inventory(library: EmulatedLibrary, cdb: str) -> bytes:
    """Return the answer to a READ ELEMENT STATUS."""
    return raw(library, library.sg, 65536, cdb)
