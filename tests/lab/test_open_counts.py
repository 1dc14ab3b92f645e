"""The counts of open nodes that the emulated machine shows: as a kernel's, they are never late."""

import dataclasses
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab.tape.job import TapeJob
from lab.tape.library import EmulatedLibrary
from lab.tape.machine import Machine
from storewatch_reader import tools
from storewatch_reader.roots import Roots
from storewatch_reader.table import ROWS, ToolRow
from storewatch_reader.tools import Deferred
from system.appliance import wait_for


@pytest.fixture
def library(tmp_path: Path) -> Iterator[EmulatedLibrary]:
    with Machine(tmp_path / "lab", counts_open=True) as machine:
        yield EmulatedLibrary(machine=machine, serial="LABLIB0001", drives=1)


def counts(library: EmulatedLibrary) -> dict[str, int]:
    return {
        driver: int((library.sysfs / f"module/{driver}/refcnt").read_text())
        for driver in ("sg", "st", "ch")
    }


CLOSED = {"sg": 0, "st": 0, "ch": 0}


@pytest.mark.parametrize(
    "words",
    [
        ("sg_logs", "-r", "-p", "0x11", "{sg}"),
        ("sg_raw", "-r", "64", "{sg}", "12", "00", "00", "00", "40", "00"),
        ("mtx", "-f", "{changer}", "status"),
    ],
    ids=lambda words: words[0],
)
def test_a_tool_that_has_ended_has_nothing_open(
    library: EmulatedLibrary, words: tuple[str, ...]
) -> None:
    names = {"{sg}": library.drive_sg(0), "{changer}": library.sg}
    for _ in range(10):
        done = subprocess.run(
            [names.get(word, word) for word in words], env=library.env, capture_output=True
        )
        assert (done.returncode, counts(library)) == (0, CLOSED), done.stderr


def test_a_tool_at_work_and_a_job_are_counted(library: EmulatedLibrary) -> None:
    drive = library.drives[0]
    drive.unit_attentions.clear()
    library.machine.hang(drive)
    argv = ["sg_logs", "-r", "-p", "0x11", library.drive_sg(0)]
    with subprocess.Popen(argv, env=library.env, stdout=subprocess.DEVNULL) as tool:
        wait_for("its opening", lambda: counts(library)["sg"] == 2)
        tool.kill()
    # sg itself holds its module until the command of who is gone is over.
    assert counts(library)["sg"] == 2
    library.machine.clear(drive)
    wait_for("its closing", lambda: counts(library) == CLOSED)
    with TapeJob(library.machine, drive, bytes_per_s=0) as job:
        assert counts(library) == {**CLOSED, "st": 2}
        job.stop()
        assert counts(library) == CLOSED
    assert counts(library) == CLOSED


def test_a_drive_at_rest_is_asked_without_a_look_at_any_process(library: EmulatedLibrary) -> None:
    drive = library.drives[0]
    drive.unit_attentions.clear()
    env = {name: library.env[name] for name in ("LD_PRELOAD", "SGSHIM_MAP")}
    roots = Roots(sysfs=str(library.sysfs), dev=str(library.dev), environ=env, procfs="/nowhere")
    row = ROWS["tape.log.11"]
    assert isinstance(row, ToolRow)
    address = str(library.machine.addresses[drive])
    value, page = tools.run(roots, row, address)
    assert (value["status"], value["raced"], page[0] & 0x3F) == (0, False, 0x11)
    with TapeJob(library.machine, drive, bytes_per_s=0):
        with pytest.raises(FileNotFoundError):
            tools.run(roots, row, address)
        with pytest.raises(Deferred, match=r"bareos-sd|sleep"):
            tools.run(dataclasses.replace(roots, procfs="/proc"), row, address)
