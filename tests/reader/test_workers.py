"""Workers: who shares them, when their askers are answered, and what a stuck one blocks."""

import errno
import fcntl
import json
import os
import resource
import signal
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from lab.dstate import HangingMount
from reader.fix_reader import Desk, Reply, SlowKernel, as_another_user
from storewatch_reader import attributes, clock
from storewatch_reader.roots import Roots
from storewatch_reader.table import ROWS, Row, ToolRow, TreeRow
from storewatch_reader.workers import KEEP_LATE_S, MAX_STUCK, MAX_UNDER_WAY, MAX_WAITING

PATH = ROWS["statvfs.path"]
MOUNTS = ROWS["mounts"]

# The same key with bounds that are soon over, for what blocks in any case.
KILLED_SOON = Row("mounts", "read", "", answer_by_s=0.05, kill_after_s=0.1)
NEVER_KILLED = Row("mounts", "read", "", answer_by_s=0.05, kill_after_s=3600)


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(Roots(), tmp_path / "locks")


@pytest.fixture
def kernel(tmp_path: Path) -> Iterator[SlowKernel]:
    with SlowKernel(tmp_path / "proc") as kernel:
        yield kernel


@pytest.fixture
def slow(kernel: SlowKernel, tmp_path: Path) -> Desk:
    """A pool whose row `mounts` blocks."""
    return Desk(kernel.roots, tmp_path / "locks")


def ask(desk: Desk, row: Row, object_id: str = "") -> Reply:
    reply = Reply()
    desk.pool.ask(row, object_id, reply)
    desk.pool.start()
    return reply


def answer_of(desk: Desk, row: Row, object_id: str = "") -> Reply:
    """Ask, and work until there is an answer."""
    reply = ask(desk, row, object_id)
    desk.work(lambda: bool(reply.answers))
    return reply


# Answers.


def test_a_read_is_answered_with_its_value(desk: Desk, tmp_path: Path) -> None:
    reply = answer_of(desk, PATH, f"{tmp_path}/missing")
    assert reply.answers == [({"value": {"exists": False}}, b"")]


def test_an_answer_longer_than_a_pipe_holds_comes_whole(tmp_path: Path) -> None:
    for name in "abc":
        (tmp_path / "big" / name).mkdir(parents=True)
        (tmp_path / "big" / name / "text").write_bytes(name.encode() * 60_000)
    desk = Desk(Roots(sysfs=os.fspath(tmp_path)), tmp_path / "locks")
    reply = answer_of(desk, TreeRow("t", "tree", "", root="big", attributes=("*/text",)))
    ((header, blob),) = reply.answers
    paths = attributes.paths(header, blob)
    assert paths == ["a/text", "b/text", "c/text"]
    found = attributes.attributes(paths, header, blob)
    assert found == {f"{name}/text": name.encode() * 60_000 for name in "abc"}


def test_a_tree_keeps_its_plan_while_it_has_the_same_attributes(tmp_path: Path) -> None:
    directory = tmp_path / "block" / "sda"
    directory.mkdir(parents=True)
    desk = Desk(Roots(sysfs=os.fspath(tmp_path)), tmp_path / "locks")
    row = TreeRow("t", "tree", "", root="block", attributes=("*/size", "*/ro"))
    plans = []
    for name, content in (("size", "1"), ("size", "22"), ("ro", "0")):
        (directory / name).write_text(content)
        plans.append(answer_of(desk, row).header["plan"])
    assert plans[0] == plans[1]
    assert plans[1] != plans[2]


def test_a_name_that_is_no_text_is_a_name(tmp_path: Path) -> None:
    (tmp_path / "block").mkdir()
    os.mkdir(os.fsencode(tmp_path) + b"/block/\xff")
    (tmp_path / "block" / "\udcff" / "size").write_text("1")
    desk = Desk(Roots(sysfs=os.fspath(tmp_path)), tmp_path / "locks")
    reply = answer_of(desk, TreeRow("t", "tree", "", root="block", attributes=("*/size",)))
    assert attributes.paths(*reply.answers[0]) == ["\udcff/size"]


def test_what_the_kernel_refuses_is_told_with_its_error_number(desk: Desk) -> None:
    reply = answer_of(desk, PATH, f"/{'x' * 300}")
    assert reply.header == {
        "error": "refused",
        "errno": errno.ENAMETOOLONG,
        "message": f"/{'x' * 300}: File name too long",
    }


def test_a_worker_that_ends_without_an_answer_is_told(desk: Desk) -> None:
    reply = answer_of(desk, Row("no.such.read", "read", ""))
    message = "the worker ended with status 1 and no answer"
    assert reply.header == {"error": "failed", "message": message}


def test_a_pipe_that_has_nothing_yet_is_no_end(slow: Desk, kernel: SlowKernel) -> None:
    slow.pool.ask(MOUNTS, "", Reply())
    (pipe,) = slow.pool.start()
    assert slow.pool.has_ended(pipe) is False
    kernel.release()
    slow.settle()


# Sharing.


def test_those_who_ask_for_the_same_share_one_worker(slow: Desk, kernel: SlowKernel) -> None:
    first, second = ask(slow, MOUNTS), ask(slow, MOUNTS)
    assert len(slow.pool) == 1
    kernel.release()
    slow.settle()
    assert first.header == second.header
    assert first.header["value"]["filesystems"] == "\text4\n"


def test_other_objects_are_read_meanwhile(slow: Desk, kernel: SlowKernel) -> None:
    stuck = ask(slow, MOUNTS)
    assert answer_of(slow, PATH, "/").header["value"]["exists"]
    assert stuck.answers == []
    kernel.release()
    slow.settle()


def test_a_read_goes_on_without_an_asker_that_is_gone(slow: Desk, kernel: SlowKernel) -> None:
    gone, stays = ask(slow, MOUNTS), ask(slow, MOUNTS)
    slow.pool.forget_asker({gone})
    kernel.release()
    slow.settle()
    assert gone.answers == []
    assert "value" in stays.header


# Turns.

LASTING = Row("mounts", "read", "", object="path", answer_by_s=60, kill_after_s=3600)


def occupy(desk: Desk, row: Row = LASTING, count: int = MAX_UNDER_WAY) -> list[Reply]:
    """Have so many reads of a kernel that does not answer."""
    return [ask(desk, row, f"/{number}") for number in range(count)]


def let_all_end(kernel: SlowKernel, desk: Desk) -> None:
    kernel.mend()
    for pid in forks():
        os.kill(pid, signal.SIGKILL)
    desk.settle()


def test_a_read_beyond_the_bound_waits_for_its_turn(slow: Desk, kernel: SlowKernel) -> None:
    occupy(slow)
    late = ask(slow, PATH, "/")
    assert len(slow.pool) == MAX_UNDER_WAY
    assert late.answers == []
    let_all_end(kernel, slow)
    assert late.header["value"]["exists"]


def test_turns_come_in_the_order_in_which_they_were_asked_for(
    slow: Desk, kernel: SlowKernel
) -> None:
    occupy(slow, count=MAX_UNDER_WAY - 1)
    order: list[str] = []
    for path in ("/c", "/a", "/b", "/a"):
        slow.pool.ask(PATH, path, lambda header, blob, path=path: order.append(path))  # type: ignore[misc]  # mypy knows no default of a lambda
    slow.work(lambda: len(order) == 4)
    assert order == ["/c", "/a", "/a", "/b"]
    let_all_end(kernel, slow)


def test_stuck_workers_hold_up_nobodys_turn(slow: Desk, kernel: SlowKernel) -> None:
    stuck = occupy(slow, Row("mounts", "read", "", object="path", answer_by_s=0.05))
    slow.work(lambda: bool(stuck[-1].answers))
    assert answer_of(slow, PATH, "/").header["value"]["exists"]
    let_all_end(kernel, slow)


def test_with_too_many_stuck_workers_no_further_object_is_read(
    slow: Desk, kernel: SlowKernel
) -> None:
    row = Row("mounts", "read", "", object="path", answer_by_s=0.05, kill_after_s=3600)
    for number in range(MAX_STUCK):
        slow.pool.ask(row, f"/{number}", Reply())
        if not (number + 1) % MAX_UNDER_WAY:
            slow.work(lambda: (slow.pool.next_deadline() or 0) > 1)  # all are late
    refused = ask(slow, PATH, "/")
    message = f"{MAX_STUCK} reads are stuck, and no further one is begun"
    assert refused.header == {"error": "busy", "message": message}
    assert answer_of(slow, ROWS["proc.states"]).header["value"] == {"states": {}, "blocked": []}
    let_all_end(kernel, slow)
    assert answer_of(slow, PATH, "/").header["value"]["exists"]


def test_who_waits_for_too_long_is_sent_away(slow: Desk, kernel: SlowKernel) -> None:
    occupy(slow)
    impatient = answer_of(slow, Row("mounts", "read", "", object="path", answer_by_s=0.05), "/x")
    message = f"{MAX_UNDER_WAY} reads are under way"
    assert impatient.header == {"error": "busy", "message": message}
    let_all_end(kernel, slow)
    assert len(impatient.answers) == 1


def test_only_so_many_wait(slow: Desk, kernel: SlowKernel) -> None:
    occupy(slow)
    waiting = [ask(slow, PATH, f"/x{number}") for number in range(MAX_WAITING)]
    refused = ask(slow, PATH, "/")
    message = f"{MAX_WAITING} reads wait for their turn"
    assert refused.header == {"error": "busy", "message": message}
    slow.pool.forget_asker(set(waiting))
    let_all_end(kernel, slow)


def test_what_only_an_asker_that_is_gone_waits_for_is_not_read(
    slow: Desk, kernel: SlowKernel
) -> None:
    occupy(slow)
    gone, stays = ask(slow, PATH, "/"), ask(slow, PATH, "/tmp")
    ask(slow, PATH, "/tmp")
    slow.pool.forget_asker({gone})
    let_all_end(kernel, slow)
    assert gone.answers == []
    assert "value" in stays.header


# Stuck reads.


def test_past_its_bound_every_asker_is_told_that_the_read_is_stuck(
    slow: Desk, kernel: SlowKernel
) -> None:
    askers = [ask(slow, NEVER_KILLED), ask(slow, NEVER_KILLED)]
    slow.work(lambda: bool(askers[0].answers))
    for asker in askers:
        assert asker.header["error"] == "stuck"
        assert asker.header["key"] == "mounts"
        assert asker.header["message"] == "mounts has not answered since its read began"
    assert len(slow.pool) == 1
    kernel.release()
    slow.settle()


def test_the_key_of_a_stuck_read_is_closed_and_says_since_when(
    slow: Desk, kernel: SlowKernel
) -> None:
    stuck = answer_of(slow, NEVER_KILLED)
    again = ask(slow, NEVER_KILLED)
    assert again.header == stuck.header
    assert len(slow.pool) == 1
    kernel.release()
    slow.settle()


def test_a_stuck_key_is_closed_to_another_reader_too(
    slow: Desk, kernel: SlowKernel, tmp_path: Path
) -> None:
    stuck = answer_of(slow, NEVER_KILLED)
    another = Desk(kernel.roots, tmp_path / "locks")
    assert ask(another, NEVER_KILLED).header == stuck.header
    kernel.release()
    slow.settle()


def test_a_lock_that_says_nothing_of_its_time_is_closed_since_now(
    desk: Desk, tmp_path: Path
) -> None:
    answer_of(desk, MOUNTS)
    desk.settle()
    (lock,) = (tmp_path / "locks").iterdir()
    with lock.open("r+b") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        lock.write_bytes(b"\xffgarbage")
        header = ask(desk, MOUNTS).header
    assert header["error"] == "stuck"
    assert header["since"] == pytest.approx(lock.stat().st_mtime, abs=10)


def test_a_read_that_comes_back_late_is_told_once_and_opens_its_key(
    slow: Desk, kernel: SlowKernel
) -> None:
    late = answer_of(slow, NEVER_KILLED)
    kernel.release()
    slow.settle()
    assert late.header["error"] == "stuck"
    kernel.mend()
    assert "value" in answer_of(slow, MOUNTS).header


# Slow reads.


def late_answer(slow: Desk, kernel: SlowKernel) -> None:
    """Let a read answer after its asker was told that it is stuck."""
    assert answer_of(slow, NEVER_KILLED).header["error"] == "stuck"
    kernel.release()
    slow.settle()


def test_a_slow_read_gives_what_the_one_before_it_gave_and_its_age(
    slow: Desk, kernel: SlowKernel, monkeypatch: pytest.MonkeyPatch
) -> None:
    late_answer(slow, kernel)
    now = clock.monotonic()
    monkeypatch.setattr(clock, "monotonic", lambda: now + 30)
    asked = ask(slow, NEVER_KILLED)
    monkeypatch.setattr(clock, "monotonic", lambda: now + 35)
    slow.pool.tick()
    assert asked.header["value"]["filesystems"] == "\text4\n"
    assert asked.header["age"] == pytest.approx(35, abs=5)
    # Who asks while that read still goes on hears the same.
    assert ask(slow, NEVER_KILLED).header["value"] == asked.header["value"]
    kernel.release()
    slow.settle()


def test_an_answer_that_came_late_is_not_given_where_there_is_a_prompt_one(
    slow: Desk, kernel: SlowKernel
) -> None:
    late_answer(slow, kernel)
    kernel.mend()
    assert "age" not in answer_of(slow, NEVER_KILLED).header


def test_an_answer_that_came_too_long_ago_is_none(
    slow: Desk, kernel: SlowKernel, monkeypatch: pytest.MonkeyPatch
) -> None:
    late_answer(slow, kernel)
    now = clock.monotonic()
    monkeypatch.setattr(clock, "monotonic", lambda: now + KEEP_LATE_S)
    asked = ask(slow, NEVER_KILLED)
    monkeypatch.setattr(clock, "monotonic", lambda: now + KEEP_LATE_S + 5)
    slow.pool.tick()
    assert asked.header["error"] == "stuck"
    kernel.release()
    slow.settle()


def test_a_read_that_had_to_be_killed_leaves_nothing_to_be_given(
    slow: Desk, kernel: SlowKernel
) -> None:
    late_answer(slow, kernel)
    assert "age" in answer_of(slow, KILLED_SOON).header
    slow.settle()
    assert answer_of(slow, NEVER_KILLED).header["error"] == "stuck"
    kernel.release()
    slow.settle()


def consumed(tmp_path: Path) -> ToolRow:
    """Return a row whose tool gives what it has once, when `go` is there; the rest is silence."""
    machine = tmp_path / "machine"
    (machine / "bin").mkdir(parents=True)
    for address, node in (("3:0:1:0", "sg4"), ("3:0:2:0", "sg5")):
        device = machine / "class/scsi_device" / address / "device"
        (device / "scsi_generic" / node).mkdir(parents=True)
        (device / "state").write_text("running\n")
    tool = machine / "bin" / "take"
    tool.write_text(f'#!/bin/sh\nread go < {machine}/go\nprintf %s "$go"\n')
    tool.chmod(0o755)
    os.mkfifo(machine / "go")
    return ToolRow(
        *("take", "tool", ""),
        object="scsi",
        safety="P2",
        answer_by_s=0.2,
        kill_after_s=60.0,
        argv=("take",),
    )


def consuming(tmp_path: Path) -> Desk:
    machine = tmp_path / "machine"
    roots = Roots(
        sysfs=os.fspath(machine),
        path=f"{machine}/bin:/usr/bin:/bin",
        allowed=frozenset(("P0", "P1", "P2")),
    )
    return Desk(roots, tmp_path / "locks")


def test_what_was_consumed_too_late_waits_for_the_next_asker_however_long(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk = consuming(tmp_path)
    row = consumed(tmp_path)
    assert answer_of(desk, row, "3:0:1:0").header["error"] == "stuck"
    (tmp_path / "machine/go").write_text("flags\n")
    desk.settle()
    other = ask(desk, row, "3:0:2:0")
    now = clock.monotonic()
    monkeypatch.setattr(clock, "monotonic", lambda: now + 100 * KEEP_LATE_S)
    desk.pool.tick()
    assert other.header["error"] == "stuck", "what is kept too long is forgotten with that"
    (answer,) = ask(desk, row, "3:0:1:0").answers
    desk.settle()
    assert answer[1] == b"flags"
    assert answer[0]["age"] == pytest.approx(100 * KEEP_LATE_S, abs=5)


def test_what_was_consumed_for_an_asker_that_is_gone_is_for_the_next(tmp_path: Path) -> None:
    desk = consuming(tmp_path)
    row = consumed(tmp_path)
    desk.pool.forget_asker({ask(desk, row, "3:0:1:0")})
    (tmp_path / "machine/go").write_text("flags\n")
    desk.settle()
    assert ask(desk, row, "3:0:1:0").answers[0][1] == b"flags"
    late = ask(desk, row, "3:0:1:0")
    assert late.answers == [], "it was given once, and is read anew"
    (tmp_path / "machine/go").write_text("more\n")
    desk.work(lambda: bool(late.answers))
    assert late.answers[0][1] == b"more"


def test_a_stuck_worker_is_killed_and_its_key_is_open_again(slow: Desk, kernel: SlowKernel) -> None:
    stuck = ask(slow, KILLED_SOON)
    slow.settle()
    assert stuck.header["error"] == "stuck"
    kernel.mend()
    assert "value" in answer_of(slow, MOUNTS).header


def test_a_worker_that_is_killed_before_its_bound_is_told_by_its_signal(slow: Desk) -> None:
    killed = ask(slow, Row("mounts", "read", "", answer_by_s=60, kill_after_s=0))
    slow.pool.tick()
    slow.settle()
    assert killed.header["message"] == "the worker ended with status -9 and no answer"


def test_deadlines_are_told_one_after_the_other(slow: Desk, kernel: SlowKernel) -> None:
    def deadline() -> float:
        seconds = slow.pool.next_deadline()
        assert seconds is not None
        return seconds

    assert slow.pool.next_deadline() is None
    asker = ask(slow, Row("mounts", "read", "", answer_by_s=0.05, kill_after_s=60))
    assert 0 <= deadline() <= 0.05
    slow.work(lambda: bool(asker.answers))
    assert 50 < deadline() < 60
    kernel.release()
    slow.settle()
    assert slow.pool.next_deadline() is None


def test_a_stuck_worker_holds_nothing_else_open(slow: Desk, kernel: SlowKernel) -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ask(slow, MOUNTS)
        theirs.close()
        ours.settimeout(10)
        assert ours.recv(1) == b""
    kernel.release()
    slow.settle()


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting needs root")
@pytest.mark.timeout(60)  # a kernel that is slow to unmount is no failure of the pool
def test_a_worker_that_cannot_die_keeps_its_key_closed_until_it_does(tmp_path: Path) -> None:
    row = Row("statvfs.path", "read", "", object="path", answer_by_s=0.05, kill_after_s=0.1)
    path = os.fspath(tmp_path / "hung")
    desk = Desk(Roots(), tmp_path / "locks")
    with HangingMount(tmp_path / "hung") as hung:
        hung.hang()
        stuck = ask(desk, row, path)
        assert hung.held.wait(10)
        # Killed: there is no deadline left, and the worker lives.
        desk.work(lambda: desk.pool.next_deadline() is None)
        assert len(desk.pool) == 1
        assert ask(desk, row, path).header == stuck.header
        assert answer_of(desk, PATH, "/").header["value"]["exists"]
        hung.release()
        desk.work(lambda: not len(desk.pool))
        assert answer_of(desk, PATH, path).header["value"]["blocks"] == 262_144


# What keeps a worker from starting.


@contextmanager
def limited(which: int, soft: int) -> Iterator[None]:
    """Lower a limit of this process for a moment."""
    before = resource.getrlimit(which)
    resource.setrlimit(which, (soft, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(which, before)


def test_without_a_place_for_locks_nothing_is_read(desk: Desk, tmp_path: Path) -> None:
    (tmp_path / "locks").rmdir()
    message = "no worker can be started: No such file or directory"
    assert ask(desk, MOUNTS).header == {"error": "failed", "message": message}
    (tmp_path / "locks").mkdir()
    assert "value" in answer_of(desk, MOUNTS).header


def test_a_lock_that_cannot_be_written_is_let_go(desk: Desk) -> None:
    with limited(resource.RLIMIT_FSIZE, 0):
        refused = ask(desk, MOUNTS)
    assert refused.header["message"] == "no worker can be started: File too large"
    assert "value" in answer_of(desk, MOUNTS).header


def test_without_descriptors_the_key_stays_open(desk: Desk) -> None:
    with limited(resource.RLIMIT_NOFILE, 256):
        taken = []
        try:
            while True:
                taken.append(os.open("/dev/null", os.O_RDONLY))
        except OSError:
            os.close(taken.pop())  # one is left, for the lock, and none for the pipe
        refused = ask(desk, MOUNTS)
    for descriptor in taken:
        os.close(descriptor)
    assert refused.header["message"] == "no worker can be started: Too many open files"
    assert "value" in answer_of(desk, MOUNTS).header


@pytest.mark.skipif(os.geteuid() != 0, reason="becoming another user needs root")
def test_without_processes_the_key_stays_open(tmp_path: Path) -> None:
    locks = tmp_path / "locks"
    locks.mkdir()
    locks.chmod(0o777)
    directory = os.open(locks, os.O_PATH)

    def ask_twice() -> bytes:
        # The limit binds no root. The directory's parents are closed to others.
        desk = Desk(Roots(), Path(f"/proc/self/fd/{directory}"))
        with limited(resource.RLIMIT_NPROC, 0):
            refused = ask(desk, PATH, "/")
        return json.dumps([refused.header, answer_of(desk, PATH, "/").header]).encode()

    refused, answered = json.loads(as_another_user(ask_twice))
    os.close(directory)
    message = "no worker can be started: Resource temporarily unavailable"
    assert refused == {"error": "failed", "message": message}
    assert answered["value"]["exists"]


def test_a_worker_ends_by_the_signal_that_ends_the_reader(slow: Desk) -> None:
    before = children()
    reply = ask(slow, MOUNTS)
    (worker,) = children() - before
    os.kill(worker, signal.SIGTERM)
    slow.settle()
    assert reply.header["message"] == "the worker ended with status -15 and no answer"


def forks() -> list[int]:
    """Return the workers: other children of this process, as a database, run something else."""
    mine = Path("/proc/self/cmdline").read_bytes()
    return [pid for pid in children() if Path(f"/proc/{pid}/cmdline").read_bytes() == mine]


def children() -> set[int]:
    text = Path(f"/proc/self/task/{os.getpid()}/children").read_text()
    return {int(pid) for pid in text.split()}
