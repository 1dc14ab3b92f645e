"""What is told of the kernel's log: SCST's errors by kind, and nothing of their words."""

import errno
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from storewatch_reader import scst_log
from storewatch_reader.roots import Roots

DATA = Path(__file__).parents[1] / "data" / "scst"
RECORDED = (DATA / "kmsg-recorded.txt").read_text()
WRITTEN = (DATA / "kmsg-written.txt").read_text()


def told(root: Path, text: str | bytes) -> dict[str, object]:
    (root / "dev").mkdir(exist_ok=True)
    content = text if isinstance(text, bytes) else text.encode()
    (root / "dev/kmsg").write_bytes(content)
    random = root / "proc/sys/kernel/random"
    random.mkdir(parents=True, exist_ok=True)
    (random / "boot_id").write_text("0b1d-77\n")
    return scst_log.errors(Roots(dev=f"{root}/dev", procfs=f"{root}/proc"), "")


def test_errors_are_told_by_kind(tmp_path: Path) -> None:
    assert told(tmp_path, RECORDED) == {
        "exists": True,
        "boot": "0b1d-77",
        "last": 1207,
        "lines": [
            *((1201, "io"), (1202, "io"), (1205, "connection")),
            *((1206, "timeout"), (1207, "other")),
        ],
    }


def test_other_builds_and_programs_are_told_apart(tmp_path: Path) -> None:
    assert told(tmp_path, WRITTEN)["lines"] == [
        *((1300, "io"), (1301, "event_lost"), (1302, "critical"), (1303, "io")),
    ], "1304 was written by a program, and 1305 quotes another log"


def test_no_word_of_the_log_is_told(tmp_path: Path) -> None:
    facts = told(tmp_path, "3,1,1,-;[7]: scst: ***ERROR***: IncomingUser joe SECRET rejected\n")
    assert facts["lines"] == [(1, "other")]
    assert "SECRET" not in repr(facts)


def test_a_record_that_is_longer_than_a_read_is_put_together(tmp_path: Path) -> None:
    filler = "6,1,1,-;" + "x" * (scst_log.RECORD_BYTES - 40) + "\n"
    assert told(tmp_path, filler + RECORDED)["lines"] == told(tmp_path, RECORDED)["lines"]


def test_of_too_many_the_newest_are_told(tmp_path: Path) -> None:
    line = "3,{},1,-;[7]: scst: ***ERROR***: x\n"
    text = "".join(line.format(number) for number in range(scst_log.MOST_LINES + 3))
    lines = told(tmp_path, text)["lines"]
    assert isinstance(lines, list)
    assert (len(lines), lines[0]) == (scst_log.MOST_LINES, (3, "other"))


def test_where_there_is_no_log_there_is_none(tmp_path: Path) -> None:
    assert scst_log.errors(Roots(dev=f"{tmp_path}/dev"), "") == {"exists": False}


def test_a_log_that_cannot_be_opened_is_no_absence(tmp_path: Path) -> None:
    (tmp_path / "kmsg").symlink_to("kmsg")
    with pytest.raises(OSError, match="symbolic links") as caught:
        scst_log.errors(Roots(dev=os.fspath(tmp_path)), "")
    assert caught.value.errno == errno.ELOOP


def test_an_empty_log_is_one(tmp_path: Path) -> None:
    assert told(tmp_path, "")["last"] == -1


def test_where_no_start_is_told_none_is_known(tmp_path: Path) -> None:
    (tmp_path / "kmsg").write_text(RECORDED)
    facts = scst_log.errors(Roots(dev=os.fspath(tmp_path), procfs=f"{tmp_path}/none"), "")
    assert (facts["boot"], facts["last"]) == ("", 1207)


def test_the_log_of_this_machine_can_be_read() -> None:
    """The kernel gives a record at each read, and says EAGAIN at the end."""
    try:
        facts = scst_log.errors(Roots(), "")
    except PermissionError:
        return  # an ordinary user may not where dmesg_restrict is set
    assert facts == {"exists": False} or facts["last"] >= -1


@given(st.binary(max_size=200), st.integers(0, len(RECORDED)), st.integers(0, 255))
def test_garbled_logs_harm_nothing(
    tmp_path_factory: pytest.TempPathFactory, garbage: bytes, place: int, byte: int
) -> None:
    root = tmp_path_factory.getbasetemp()
    whole = RECORDED.encode()
    for text in (garbage, whole[:place] + bytes([byte]) + whole[place + 1 :], whole + garbage):
        lines = told(root, text)["lines"]
        assert isinstance(lines, list)
        assert len(lines) <= 9
