"""Watches in a server: who hears what, whose worker it is, and what becomes of it."""

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest

from lab.answers import Answer, AnswersMount
from reader.fix_reader import Asker, Serving, over_a_pair, serving
from reader.test_listen import log, needs_root
from storewatch_reader.keys import Keys
from storewatch_reader.roots import Roots
from storewatch_reader.table import ROWS, Row, WatchRow
from storewatch_reader.watches import MAX_BACKLOG_BYTES, Listener, Watches
from system.appliance import wait_for

LOG = ROWS["kernel.log"]

pytestmark = needs_root


@pytest.fixture
def reader(tmp_path: Path) -> Iterator[Serving]:
    with serving(Roots(), tmp_path / "locks") as reader:
        yield reader


def listen(asker: Asker) -> int:
    """Ask for the kernel's log; return the number of the request as soon as it is listened to."""
    number = asker.say("watch", "kernel.log")
    header, _ = asker.hear()
    assert header == {"id": number, "state": "listening", "message": ""}
    return number


def heard(asker: Asker) -> bytes:
    """Return the records of the next message that has some."""
    while True:
        _, blob = asker.hear()
        if blob:
            return blob


_others: set[int] = set()


@pytest.fixture(autouse=True)
def no_others() -> Iterator[None]:
    """Know what other tests have left, and leave nothing."""
    _others.clear()
    _others.update(one.pid for one in workers())
    yield
    wait_for("the end of all workers", lambda: not workers())


def workers(parent: int | None = None) -> list[psutil.Process]:
    """Return the watch workers of a reader, or of the one in a thread of ours."""
    return [
        one
        for one in psutil.Process(parent).children()
        if one.pid not in _others and one.status() != psutil.STATUS_ZOMBIE
    ]


def worker() -> psutil.Process:
    (found,) = workers()
    return found


def test_everybody_who_listens_hears_it_from_one_worker(reader: Serving) -> None:
    one, other = reader.connect(), reader.connect()
    listen(one)
    listen(other)
    assert len(workers()) == 1
    log("<6>I/O error, dev both")
    assert b"dev both" in heard(one)
    assert b"dev both" in heard(other)


def test_who_asks_again_hears_it_once(reader: Serving) -> None:
    asker = reader.connect()
    listen(asker)
    number = listen(asker)
    log("<6>I/O error, dev once", "<6>I/O error, dev twice")
    said = b""
    while b"twice" not in said:
        header, blob = asker.hear()
        assert header["id"] == number
        said += blob
    assert said.count(b"dev once") == 1


def test_a_watch_ends_with_its_last_listener(reader: Serving) -> None:
    one, other = reader.connect(), reader.connect()
    listen(one)
    listen(other)
    one.close()
    log("<6>I/O error, dev left")
    assert b"dev left" in heard(other)
    other.close()
    wait_for("the worker's end", lambda: not workers())


def test_who_comes_while_a_worker_ends_gets_another(reader: Serving) -> None:
    one = reader.connect()
    listen(one)
    os.kill(worker().pid, signal.SIGSTOP)  # so that its end is not seen at once
    one.close()
    other = reader.connect()
    listen(other)
    log("<6>I/O error, dev another")
    assert b"dev another" in heard(other)


def test_a_reader_that_ends_leaves_no_worker_behind(tmp_path: Path) -> None:
    with over_a_pair("--lock-directory", tmp_path / "locks") as (asker, process):
        listen(asker)
        (left,) = workers(process.pid)
    assert not psutil.pid_exists(left.pid) or left.status() == psutil.STATUS_ZOMBIE


def test_a_worker_does_not_outlive_a_reader_that_was_killed(tmp_path: Path) -> None:
    with over_a_pair("--lock-directory", tmp_path / "locks") as (asker, process):
        listen(asker)
        (left,) = workers(process.pid)
        process.kill()
        wait_for("the worker's end", lambda: not left.is_running())


def test_a_worker_that_dies_is_told_and_started_again(reader: Serving) -> None:
    asker = reader.connect()
    number = listen(asker)
    worker().kill()
    assert asker.hear()[0] == {
        "id": number,
        "state": "failed",
        "message": "the worker of kernel.log has ended",
    }
    assert asker.hear()[0] == {"id": number, "state": "listening", "message": ""}
    log("<6>I/O error, dev again")
    assert b"dev again" in heard(asker)


def test_what_comes_to_be_there_is_heard_when_it_is_asked_for_again(tmp_path: Path) -> None:
    (tmp_path / "dev").mkdir()
    with serving(Roots(dev=os.fspath(tmp_path / "dev")), tmp_path / "locks") as reader:
        asker = reader.connect()
        asker.say("watch", "kernel.log")
        header, _ = asker.hear()
        assert header["state"] == "absent"
        (tmp_path / "dev" / "kmsg").symlink_to("/dev/kmsg")
        # Otherwise it is tried again a quarter of a minute later.
        listen(asker)


def test_a_watch_that_another_reader_left_behind_is_not_begun(tmp_path: Path) -> None:
    (tmp_path / "locks").mkdir()
    lock, _ = Keys(os.fspath(tmp_path / "locks")).take(LOG.key(""))
    assert lock is not None
    try:
        with serving(Roots(), tmp_path / "locks") as reader:
            asker = reader.connect()
            asker.say("watch", "kernel.log")
            header, _ = asker.hear()
            assert header["state"] == "failed"
            assert header["message"] == "a worker of kernel.log from before has not ended"
            assert workers() == []
    finally:
        os.close(lock)


@contextmanager
def stuck(place: Path, *, kill_after_s: float = 30.0) -> Iterator[tuple[AnswersMount, Asker]]:
    """Let a log be listened to that cannot be opened; give its place and who listens, who was told
    that it is stuck."""
    with AnswersMount(place / "dev") as mount:
        mount.put("kmsg", Answer(hangs_open=True))
        rows: dict[str, Row] = {
            "kernel.log": replace(LOG, answer_by_s=0.1, kill_after_s=kill_after_s)
        }
        with serving(Roots(dev=os.fspath(place / "dev")), place / "locks", rows=rows) as reader:
            asker = reader.connect()
            asker.say("watch", "kernel.log")
            assert mount.held.wait(5)
            asker.say("hello")
            said = [asker.hear()[0] for _ in range(2)]  # in whichever order
            assert any("table" in one for one in said)  # nobody else waits
            assert any(one.get("state") == "stuck" for one in said)
            yield mount, asker


def test_a_device_that_is_slow_to_open_is_stuck_until_it_does(tmp_path: Path) -> None:
    with stuck(tmp_path) as (mount, asker):
        mount.mend("kmsg")
        states = [asker.hear()[0] for _ in range(2)]
        assert [one["state"] for one in states] == ["listening", "failed"]
        # A log that has an end is none.
        assert states[1]["message"].endswith("dev/kmsg: Input/output error")


def test_a_worker_that_cannot_be_killed_is_abandoned_until_it_ends(tmp_path: Path) -> None:
    with stuck(tmp_path, kill_after_s=0.2) as (mount, asker):
        status = Path(f"/proc/{worker().pid}/status")
        wait_for("the signal", lambda: "SigPnd:\t0000000000000100" in status.read_text())
        mount.mend("kmsg")
        header, _ = asker.hear()
        assert header["state"] == "failed"
        assert header["message"] == "the worker of kernel.log has ended"


def test_a_reader_of_an_older_table_says_that_it_cannot(tmp_path: Path) -> None:
    with serving(Roots(), tmp_path / "locks", rows={}) as reader:
        answer = reader.connect().ask("watch", "kernel.log")
        assert answer["error"] == "unknown"
        assert "restart it" in answer["message"]


def test_a_watch_of_what_is_read_is_refused(reader: Serving) -> None:
    assert reader.connect().ask("watch", "mounts")["error"] == "unknown"
    assert reader.connect().ask("read", "kernel.log")["error"] == "unknown"


# What a listener is too slow to take.


def header(lengths: list[int], more: dict[str, int] | None = None, lost: int = 0) -> dict[str, Any]:
    patterns = ["io_error"] * len(lengths)
    return {"lengths": lengths, "patterns": patterns, "more": more or {}, "lost": lost}


def test_what_a_slow_listener_has_no_room_for_is_dropped_counted_and_told() -> None:
    sent: list[dict[str, Any]] = []
    waiting = MAX_BACKLOG_BYTES + 1
    listener = Listener(lambda header, _: sent.append(header), lambda: waiting)
    listener.tell(header([3, 4], {"scst": 5}, 6), b"1234567")
    listener.tell_lost()
    assert sent == []
    listener.tell({"state": "failed", "message": "how it stands is told always"})
    assert len(sent) == 1
    waiting = 0
    listener.tell_lost()
    assert sent[1:] == [header([], lost=2 + 5 + 6)]
    listener.tell_lost()
    assert len(sent) == 2


def test_a_listener_that_reads_nothing_makes_the_reader_no_larger() -> None:
    waiting = bytearray()
    listener = Listener(lambda _, blob: waiting.extend(blob), lambda: len(waiting))
    for _ in range(10_000):
        listener.tell(header([1000]), bytes(1000))
    assert len(waiting) <= MAX_BACKLOG_BYTES + 1000
    assert listener.lost == 10_000 - len(waiting) // 1000


def test_a_listener_may_go_when_it_is_told_something(tmp_path: Path) -> None:
    """As one does whose connection breaks while it is written to."""
    (tmp_path / "locks").mkdir()
    watches = Watches(Roots(dev=os.fspath(tmp_path)), os.fspath(tmp_path / "locks"))
    states: list[str] = []

    def send(header: dict[str, Any], _: bytes) -> None:
        if "state" in header:
            states.append(header["state"])
        else:
            watches.forget((listener,))

    listener = Listener(send, lambda: 0)
    assert isinstance(LOG, WatchRow)
    watches.listen(LOG, listener)
    (pipe,) = watches.start()
    os.set_blocking(pipe, True)
    while not watches.has_ended(pipe):
        pass
    watches.reap(pipe)
    assert states == ["absent"]
    listener.lost = 1
    watches.tick()
    assert watches.start() == []
    assert watches.next_deadline() is None
