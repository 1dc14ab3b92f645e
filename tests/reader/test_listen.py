"""Watch workers on the kernel's own log and on an emulated scst_event: what they tell, what they
leave out, and how they end."""

import os
import select
import signal
import socket
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil
import pytest

from lab import scst_events
from lab.scst_events import ScstEventDevice
from reader.fix_reader import Asker, as_another_user, over_a_pair
from storewatch_reader.kernel_log import LINE_BYTES, LINES_AT_ONCE
from storewatch_reader.listen import listen
from storewatch_reader.message import Unpacker
from storewatch_reader.roots import Roots
from storewatch_reader.table import ROWS, WatchRow
from storewatch_reader.workers import fork
from system.appliance import wait_for

if TYPE_CHECKING:
    import subprocess

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="writes to /dev/kmsg")

PRINTK = Path("/proc/sys/kernel/printk_devkmsg")

NETLINK_KOBJECT_UEVENT = 15

Message = tuple[dict[str, Any], bytes]


class Worker:
    """A watch worker, and what it writes to its pipe."""

    def __init__(self, row: str, roots: Roots) -> None:
        about = ROWS[row]
        assert isinstance(about, WatchRow)
        self.pid, self._pipe = fork(lambda pipe: listen(roots, about, pipe), [])
        os.set_blocking(self._pipe, True)
        self._unpacker = Unpacker()
        self._heard: list[Message] = []

    def hear(self) -> Message:
        """Return the next message.

        Raises:
            EOFError: the worker has ended.
        """
        while not self._heard:
            chunk = os.read(self._pipe, 1 << 16)
            if not chunk:
                raise EOFError
            self._heard += self._unpacker.feed(chunk)
        return self._heard.pop(0)

    def lines(self, count: int) -> list[tuple[str, str]]:
        """Return so many lines, by pattern and text."""
        found: list[tuple[str, str]] = []
        while len(found) < count:
            found += lines_of(self.hear())
        return found

    def has_said_more(self, *, within_s: float) -> bool:
        """Return whether there is something to hear, as soon as there is."""
        return bool(self._heard or select.select([self._pipe], [], [], within_s)[0])

    def leave(self) -> int:
        """Read no more; return the status with which the worker ends then."""
        os.close(self._pipe)
        _, status = os.waitpid(self.pid, 0)
        return status


@contextmanager
def listening(row: str, roots: Roots | None = None) -> Iterator[Worker]:
    """Run a worker that listens."""
    worker = Worker(row, roots or Roots())
    assert worker.hear() == ({"state": "listening"}, b"")
    yield worker
    assert worker.leave() == 0


def said(row: str, roots: Roots) -> dict[str, Any]:
    """Return the last words of a worker that cannot listen."""
    worker = Worker(row, roots)
    header, blob = worker.hear()
    with pytest.raises(EOFError):
        worker.hear()
    worker.leave()
    assert blob == b""
    return header


def log(*lines: str) -> None:
    """Have the kernel log lines, as root may; it keeps one without an end to itself,
    and says those of level 6 on no console."""
    kmsg = os.open("/dev/kmsg", os.O_WRONLY)
    try:
        for line in lines:
            os.write(kmsg, f"{line}\n".encode())
    finally:
        os.close(kmsg)


@pytest.fixture
def unlimited() -> Iterator[None]:
    """Let us log more than ten lines in five seconds."""
    before = PRINTK.read_text()
    PRINTK.write_text("on\n")
    yield
    PRINTK.write_text(before)


def lines_of(message: Message) -> list[tuple[str, str]]:
    """Return the pattern and the text of each line in a message."""
    header, blob = message
    found, start = [], 0
    for name, length in zip(header["patterns"], header["lengths"], strict=True):
        record = blob[start : start + length].decode()
        found.append((name, record.partition(";")[2].rstrip("\n")))
        start += length
    assert start == len(blob)
    return found


@needs_root
def test_lines_about_storage_are_told_and_no_others() -> None:
    with listening("kernel.log") as worker:
        log("<6>of no interest", "<6>I/O error, dev sdzz, sector 0", "<6>sd 9:9:9:9: timing out")
        assert worker.lines(2) == [
            ("io_error", "I/O error, dev sdzz, sector 0"),
            ("scsi_error", "sd 9:9:9:9: timing out"),
        ]


@needs_root
def test_what_was_logged_before_is_not_told() -> None:
    log("<6>I/O error, dev before")
    with listening("kernel.log") as worker:
        log("<6>I/O error, dev after")
        assert worker.lines(1) == [("io_error", "I/O error, dev after")]


@needs_root
def test_what_programs_log_there_is_not_the_kernels() -> None:
    with listening("kernel.log") as worker:
        log("<27>I/O error, dev of a program", "<6>I/O error, dev ours")  # 27: a daemon's
        assert worker.lines(1) == [("io_error", "I/O error, dev ours")]


@needs_root
def test_a_line_by_which_a_secret_may_go_is_counted_and_not_told() -> None:
    with listening("kernel.log") as worker:
        log("<6>scst: ***ERROR***: chap geheim", "<6>I/O error, dev sdzz")
        counted, told = Counter[str](), b""
        while not (counted and told):
            header, blob = worker.hear()
            counted.update(header["more"])
            told += blob
        assert counted == {"scst_error": 1}
        assert b"geheim" not in told


@needs_root
def test_what_is_only_counted_is_told_while_others_go_on_logging(unlimited: None) -> None:
    with listening("kernel.log") as worker:
        log("<6>scst: ***ERROR***: chap geheim")
        for _ in range(50):
            log("<6>of no interest")
            # So that there is never a second without a line.
            if worker.has_said_more(within_s=0.1):
                break
        else:
            pytest.fail("nothing was told in five seconds")
        header, _ = worker.hear()
        assert header["more"] == {"scst_error": 1}


@needs_root
def test_a_long_line_is_cut_off() -> None:
    with listening("kernel.log") as worker:
        log("<6>I/O error, dev " + "x" * 900 + "\n", "<6>I/O error, dev short")
        header, _ = worker.hear()
        assert max(header["lengths"]) <= LINE_BYTES


@needs_root
def test_a_flood_is_counted_and_only_its_beginning_is_told(unlimited: None) -> None:
    count = LINES_AT_ONCE + 150
    with listening("kernel.log") as worker:
        log(*(f"<6>I/O error, dev flood{number}" for number in range(count)))
        told = counted = 0
        while told + counted < count:
            header, _ = worker.hear()
            told += len(header["lengths"])
            counted += header["more"].get("io_error", 0)
        assert told + counted == count
        assert LINES_AT_ONCE <= told < count


@needs_root
def test_what_was_overwritten_before_it_was_read_is_counted(unlimited: None) -> None:
    with listening("kernel.log") as worker:
        log("<6>I/O error, dev first")
        assert worker.lines(1) == [("io_error", "I/O error, dev first")]
        os.kill(worker.pid, signal.SIGSTOP)
        # More than the ring of any usual kernel holds: 2 MB.
        count = 4000
        log(*["<6>I/O error, dev " + "f" * 500] * count)
        os.kill(worker.pid, signal.SIGCONT)
        lost = seen = 0
        while seen + lost < count:
            header, _ = worker.hear()
            lost += header["lost"]
            seen += len(header["lengths"]) + sum(header["more"].values())
        assert seen
        assert lost


@pytest.mark.parametrize("row", ["kernel.log", "scst.events"])
def test_a_device_that_is_not_there_is_absent(row: str, tmp_path: Path) -> None:
    header = said(row, Roots(dev=os.fspath(tmp_path)))
    assert header["state"] == "absent"
    assert header["message"].startswith(os.fspath(tmp_path))


@needs_root
def test_a_device_that_may_not_be_opened_is_forbidden(tmp_path: Path) -> None:
    (tmp_path / "kmsg").touch(mode=0)
    tmp_path.chmod(0o755)
    for parent in tmp_path.parents[:2]:
        parent.chmod(0o755)

    def ask() -> bytes:
        return str(said("kernel.log", Roots(dev=os.fspath(tmp_path)))).encode()

    assert b"'state': 'forbidden'" in as_another_user(ask)


def test_a_device_that_is_none_has_failed(tmp_path: Path) -> None:
    (tmp_path / "scst_event").touch()
    header = said("scst.events", Roots(dev=os.fspath(tmp_path)))
    assert (header["state"], header["message"]) == (
        "failed",
        f"{tmp_path}/scst_event: Inappropriate ioctl for device",
    )


# SCST's events.


@pytest.fixture
def device(tmp_path: Path) -> Iterator[ScstEventDevice]:
    (tmp_path / "dev").mkdir()
    with ScstEventDevice(tmp_path / "dev") as device:
        yield device


@contextmanager
def hearing(
    device: ScstEventDevice, *words: str
) -> Iterator[tuple[Asker, "subprocess.Popen[bytes]"]]:
    """Run a reader that hears SCST's events, and listen to it."""
    places = ("--lock-directory", device.path.parent / "locks", "--dev", device.path.parent)
    environ = {**os.environ, "LD_PRELOAD": os.fspath(scst_events.shim())}
    with over_a_pair(*places, *words, env=environ) as (asker, reader):
        asker.say("watch", "scst.events")
        assert asker.hear()[0] == {"id": 1, "state": "listening", "message": ""}
        yield asker, reader


def test_the_events_of_four_codes_are_asked_of_the_core_and_no_others(
    device: ScstEventDevice,
) -> None:
    with hearing(device):
        assert device.allowed == ["1 SCST core", "2 SCST core", "4 SCST core", "6 SCST core"]


def test_events_come_as_the_kernel_gives_them(device: ScstEventDevice) -> None:
    first = scst_events.lun_not_found("iqn.a:one", "iqn.b:disk", 7)
    second = scst_events.task_management(0, "iqn.a:one", "iqn.b:disk", tag=3, cdb=b"\x2a")
    with hearing(device) as (asker, _):
        device.say(first, scst_events.event(5, bytes(90)), second)
        lengths: list[int] = []
        heard = b""
        while len(lengths) < 2:  # the worker may have come between them
            header, blob = asker.hear()
            lengths += header["lengths"]
            heard += blob
        # Without the padding behind the payload.
        assert lengths == [len(first) - 2, len(second) - 2]
        assert heard == first[:-2] + second[:-2]


def test_an_event_that_claims_more_than_there_can_be_is_cut_off(device: ScstEventDevice) -> None:
    hostile = (1 << 30).to_bytes(4, "little") + scst_events.masked_initiator("a", "b")[4:]
    with hearing(device) as (asker, _):
        device.say(hostile)
        header, _ = asker.hear()
        assert header["lengths"] == [4096]


@needs_root
def test_who_unloads_scst_finds_nobody_in_the_way(device: ScstEventDevice, tmp_path: Path) -> None:
    """Said in the kernel's place: a kernel without loadable modules, as of many a test machine,
    does not say it itself."""
    (tmp_path / "module" / "scst" / "holders" / "scst_vdisk").mkdir(parents=True)
    with (
        hearing(device, "--sysfs", os.fspath(tmp_path)) as (asker, reader),
        socket.socket(socket.AF_NETLINK, socket.SOCK_DGRAM, NETLINK_KOBJECT_UEVENT) as kernel,
    ):
        for name in ("nf_tables", "scst_vdisk"):
            kernel.sendto(f"remove@/module/{name}\0ACTION=remove\0".encode(), (0, 1))
        header, _ = asker.hear()
        assert header["state"] == "deferred"
        assert header["message"] == "scst_vdisk is unloaded: SCST is let go for a moment"
        wait_for("the worker's end", lambda: not psutil.Process(reader.pid).children())


@needs_root
def test_who_unloads_scst_while_the_kernel_has_much_to_tell_finds_nobody_in_the_way(
    device: ScstEventDevice, tmp_path: Path
) -> None:
    holder = tmp_path / "module" / "scst" / "holders" / "scst_vdisk"
    holder.mkdir(parents=True)
    with (
        hearing(device, "--sysfs", os.fspath(tmp_path)) as (asker, reader),
        socket.socket(socket.AF_NETLINK, socket.SOCK_DGRAM, NETLINK_KOBJECT_UEVENT) as kernel,
    ):
        (worker,) = psutil.Process(reader.pid).children()
        worker.suspend()
        # More than the kernel holds for who does not read, less than for the others on the machine.
        for number in range(600):
            kernel.sendto(f"add@/devices/{number}\0ACTION=add\0".encode(), (0, 1))
        kernel.sendto(b"remove@/module/scst_vdisk\0ACTION=remove\0", (0, 1))
        holder.rmdir()
        worker.resume()
        assert asker.hear()[0]["state"] == "deferred"
