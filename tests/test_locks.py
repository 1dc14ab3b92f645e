"""storewatchd.locks: one holder at a time, told to whoever comes second, gone with its process."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from storewatchd import locks
from storewatchd.errors import LockedElsewhere

HOLD = """
import sys
from pathlib import Path
from storewatchd import locks

locks.take(Path(sys.argv[1]))
print("has it", flush=True)
sys.stdin.read()
"""


def test_a_second_taker_is_told_who_has_it(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    descriptor = locks.take(path)

    with pytest.raises(LockedElsewhere, match=f"pid {os.getpid()}") as caught:
        locks.take(path)

    os.close(descriptor)
    assert caught.value.holder == str(os.getpid())


def test_a_closed_descriptor_lets_go(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    os.close(locks.take(path))

    os.close(locks.take(path))


def test_a_killed_process_lets_go_and_its_longer_pid_leaves_nothing_behind(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    holder = subprocess.Popen(
        [
            sys.executable,
            "-c",
            HOLD,
            str(path),
        ],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    try:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"has it\n"
        with pytest.raises(LockedElsewhere, match=f"pid {holder.pid}"):
            locks.take(path)
    finally:
        holder.kill()
        holder.communicate()

    descriptor = locks.take(path)

    assert path.read_text() == f"{os.getpid()}\n"
    os.close(descriptor)


def test_a_holder_that_could_not_say_who_it_is_is_unknown(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    descriptor = locks.take(path)
    path.write_bytes(b"")

    with pytest.raises(LockedElsewhere, match="pid unknown"):
        locks.take(path)
    os.close(descriptor)


def test_a_directory_that_is_not_there_is_the_kernels_refusal(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        locks.take(tmp_path / "nowhere" / "lock")


def test_a_child_does_not_inherit_it(tmp_path: Path) -> None:
    descriptor = locks.take(tmp_path / "lock")

    assert not os.get_inheritable(descriptor)
    os.close(descriptor)
