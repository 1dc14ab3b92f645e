"""The same tools against a target that others wrote: what is asserted of both is not ours alone."""

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab.tape.tgt import TgtLibrary


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TgtLibrary]:
    with TgtLibrary(tmp_path_factory.mktemp("tgt") / "lab") as made:
        yield made


def out(library: TgtLibrary, *command: str) -> str:
    done = subprocess.run(command, env=library.env, capture_output=True, timeout=10)
    assert done.returncode == 0, done
    return done.stdout.decode("latin-1")


def test_mtx_loads_and_unloads(library: TgtLibrary) -> None:
    lines = out(library, "mtx", "-f", library.sg, "status").splitlines()
    assert lines[0].endswith(":2 Drives, 22 Slots ( 2 Import/Export )")
    assert lines[3].rstrip() == "      Storage Element 1:Full :VolumeTag=LAB001L8"
    out(library, "mtx", "-f", library.sg, "load", "3", "1")
    printed = out(library, "mtx", "-f", library.sg, "status")
    assert re.search(
        r"^Data Transfer Element 1:Full \(Storage Element 3 Loaded\):VolumeTag = LAB003L8 *$",
        printed,
        re.MULTILINE,
    )
    out(library, "mtx", "-f", library.sg, "unload", "3", "1")


def test_inquiry_tells_what_it_is(library: TgtLibrary) -> None:
    assert "Peripheral device type: tape" in out(library, "sg_inq", library.drive_sg(0))
    assert "Product Type: Medium Changer" in out(library, "mtx", "-f", library.sg, "inquiry")


def test_element_status_is_read_by_type(library: TgtLibrary) -> None:
    cdb = ["b8", "12", "00", "00", "ff", "ff", "00", "00", "40", "00", "00", "00"]
    command = ["sg_raw", "-b", "-r", "16384", library.sg, *cdb]
    done = subprocess.run(command, env=library.env, capture_output=True, timeout=10)
    assert int.from_bytes(done.stdout[2:4], "big") == 20
    assert re.findall(rb"LAB\d\d\dL8", done.stdout) == [
        f"LAB{number:03}L8".encode() for number in range(1, 13)
    ]


def test_there_is_no_log_sense(library: TgtLibrary) -> None:
    command = ["sg_logs", "-p", "0x2e", library.drive_sg(0)]
    done = subprocess.run(command, env=library.env, capture_output=True, timeout=10)
    assert done.returncode == 9


def test_a_target_that_is_gone_is_no_device(tmp_path: Path) -> None:
    with TgtLibrary(tmp_path / "gone", filled=0, slots=2) as library:
        pass
    command = ["sg_turs", library.sg]
    done = subprocess.run(command, env=library.env, capture_output=True, timeout=10)
    assert done.returncode == 56  # 50 and ENXIO
