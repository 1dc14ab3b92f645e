"""Child processes: how they end in words, what they inherit, and that none is left behind."""

import asyncio
import errno
import logging
import os
import signal
import socket
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab.dstate import HangingMount
from storewatchd import process
from storewatchd.process import CommandFailed, Finished, explain_status


class Lifeline:
    """A named pipe that a child opens for writing: while the child lives, it has a writer."""

    def __init__(self, path: Path) -> None:
        self.path = path
        os.mkfifo(path)
        self._end = os.open(path, os.O_RDONLY | os.O_NONBLOCK)

    def sleeper(self, before: str = "exec") -> list[str]:
        """Return a command that holds the pipe and sleeps."""
        return ["sh", "-c", f"{before} sleep 60 > {self.path}"]

    async def begun(self) -> None:
        """Wait until a child holds it."""
        await self._until(held=True)

    async def cut(self) -> None:
        """Wait until nobody holds it."""
        await self._until(held=False)

    async def _until(self, *, held: bool) -> None:
        # The end of a grandchild is told to nobody.
        async with asyncio.timeout(10):
            while self._is_held() is not held:  # noqa: ASYNC110  there is no event to await
                await asyncio.sleep(0.01)

    def _is_held(self) -> bool:
        try:
            return os.read(self._end, 1) != b""
        except BlockingIOError:
            return True

    def close(self) -> None:
        os.close(self._end)


@pytest.fixture
def lifeline(tmp_path: Path) -> Iterator[Lifeline]:
    lifeline = Lifeline(tmp_path / "life")
    yield lifeline
    lifeline.close()


# In words.


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (0, "ended well"),
        (3, "ended with status 3"),
        (-15, "was ended by SIGTERM"),
        (-60, "was ended by signal 60"),
    ],
)
def test_a_status_is_told_in_words(status: int, words: str) -> None:
    assert explain_status(status) == words


@pytest.mark.parametrize(
    ("stderr", "words"),
    [
        pytest.param(b"", "tool ended with status 3", id="silent"),
        pytest.param(b"one\ntwo\n\n", "tool ended with status 3: two", id="its last line"),
        pytest.param(b"\xff", "tool ended with status 3: \ufffd", id="no text"),
    ],
)
def test_an_ending_is_told_with_the_last_complaint(stderr: bytes, words: str) -> None:
    assert Finished(("tool", "-x"), 3, b"", stderr).explain() == words


# Commands.


async def test_a_command_is_told_with_its_streams() -> None:
    done = await process.run(["sh", "-c", "echo out; echo err >&2"], timeout_s=10)
    assert (done.status, done.stdout, done.stderr) == (0, b"out\n", b"err\n")


async def test_a_command_has_nothing_to_read() -> None:
    assert (await process.run(["cat"], timeout_s=10)).stdout == b""


async def test_a_command_runs_where_it_is_told(tmp_path: Path) -> None:
    done = await process.run(["pwd"], timeout_s=10, cwd=os.fspath(tmp_path))
    assert done.stdout.decode() == f"{tmp_path}\n"


async def test_a_bad_end_is_an_error_with_the_streams() -> None:
    with pytest.raises(CommandFailed, match=r"^sh ended with status 3: boom$") as caught:
        await process.run(["sh", "-c", "echo said; echo boom >&2; exit 3"], timeout_s=10)
    assert caught.value.finished is not None
    assert (caught.value.finished.status, caught.value.finished.stdout) == (3, b"said\n")


async def test_an_end_by_signal_is_named() -> None:
    with pytest.raises(CommandFailed, match=r"^sh was ended by SIGKILL$"):
        await process.run(["sh", "-c", "kill -KILL $$"], timeout_s=10)


async def test_a_bad_end_may_be_none_of_an_error() -> None:
    assert (await process.run(["false"], timeout_s=10, check=False)).status == 1


@pytest.mark.parametrize(
    ("name", "number"),
    [
        pytest.param("missing", errno.ENOENT, id="missing"),
        pytest.param("text", errno.EACCES, id="not executable"),
    ],
)
async def test_what_cannot_be_run_is_named(tmp_path: Path, name: str, number: int) -> None:
    (tmp_path / "text").write_text("no program")
    words = f"{tmp_path}/{name} cannot be run: {os.strerror(number)}"
    with pytest.raises(CommandFailed, match=words):
        await process.run([f"{tmp_path}/{name}"], timeout_s=10)
    with pytest.raises(CommandFailed, match=words):
        process.spawn([f"{tmp_path}/{name}"])


@pytest.mark.parametrize("before", ["exec", ":;"], ids=["itself", "its own child"])
async def test_a_command_that_takes_too_long_is_ended(lifeline: Lifeline, before: str) -> None:
    with pytest.raises(CommandFailed, match=r"^sh took over 0\.3 s and was ended$"):
        await process.run(lifeline.sleeper(before), timeout_s=0.3)
    await lifeline.cut()


async def test_what_a_command_leaves_behind_is_ended_too(lifeline: Lifeline) -> None:
    argv = ["sh", "-c", f"sleep 60 3> {lifeline.path} & exit 0"]
    with pytest.raises(CommandFailed, match="took over"):
        await process.run(argv, timeout_s=0.3)
    await lifeline.cut()


@pytest.mark.parametrize("before", ["exec", ":;"], ids=["itself", "its own child"])
async def test_cancelling_ends_a_command(lifeline: Lifeline, before: str) -> None:
    run = asyncio.ensure_future(process.run(lifeline.sleeper(before), timeout_s=60))
    await lifeline.begun()
    run.cancel()
    with pytest.raises(asyncio.CancelledError):
        await run
    await lifeline.cut()


# What they inherit.


async def test_a_commands_words_can_be_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LC_ALL", "de_DE.UTF-8")
    monkeypatch.setenv("STOREWATCH_TEST", "inherited")
    done = await process.run(["env"], timeout_s=10, env={"MORE": "more"})
    lines = done.stdout.decode().splitlines()
    assert {"LC_ALL=C", "STOREWATCH_TEST=inherited", "MORE=more"} <= set(lines)


def test_a_command_may_be_given_another_locale() -> None:
    assert process.environment({"LC_ALL": "C.UTF-8"})["LC_ALL"] == "C.UTF-8"


def test_what_the_service_manager_says_to_us_is_kept_from_children(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ours = ("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID", "LISTEN_FDS", "LISTEN_PID")
    for name in ours:
        monkeypatch.setenv(name, "1")
    assert not process.environment().keys() & set(ours)


# Long-lived children.


async def test_a_child_writes_where_it_is_told(tmp_path: Path) -> None:
    with (tmp_path / "log").open("wb") as log:
        child = process.spawn(
            ["sh", "-c", "pwd; echo err >&2"], stdout=log.fileno(), cwd=os.fspath(tmp_path)
        )
    assert await process.ended(child, within_s=10) == 0
    assert (tmp_path / "log").read_text() == f"{tmp_path}\nerr\n"


async def test_a_child_gets_the_descriptors_that_it_is_given() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        number = theirs.fileno()
        child = process.spawn(
            [sys.executable, "-c", f"import os; os.write({number}, b'hello')"], pass_fds=(number,)
        )
        assert await process.ended(child, within_s=10) == 0
        assert ours.recv(16) == b"hello"


@pytest.mark.parametrize("own", [True, False], ids=["its own", "ours"])
async def test_a_child_has_a_session(own: bool) -> None:
    child = process.spawn(["sleep", "60"], new_session=own)
    session = os.getsid(child.pid)
    await process.stop(child, signal_first=signal.SIGKILL, within_s=10)
    assert session == (child.pid if own else os.getsid(0))


async def test_a_child_that_lives_on_has_no_status() -> None:
    child = process.spawn(["sleep", "60"])
    assert await process.ended(child, within_s=0.05) is None
    assert await process.stop(child, signal_first=signal.SIGTERM, within_s=10) == -signal.SIGTERM


async def test_a_child_that_is_over_is_told_at_once() -> None:
    child = process.spawn(["true"])
    child.wait()
    assert await process.ended(child, within_s=0) == 0
    assert await process.stop(child, signal_first=signal.SIGTERM, within_s=0) == 0


async def test_who_watches_is_told_of_an_end_once_and_not_after_looking_away() -> None:
    child, other = process.spawn(["sleep", "60"]), process.spawn(["sleep", "60"])
    told: list[str] = []
    gone = asyncio.Event()

    def note() -> None:
        told.append("child")
        gone.set()

    process.Watch(child.pid, note)
    process.Watch(other.pid, lambda: told.append("other")).end()
    for one in (other, child):
        one.kill()
        one.wait()
    async with asyncio.timeout(10):
        await gone.wait()
    assert told == ["child"]


# In the first turns the child is still being started.
@pytest.mark.parametrize("turns", range(6))
async def test_cancelling_ends_a_command_at_any_turn(lifeline: Lifeline, turns: int) -> None:
    run = asyncio.ensure_future(process.run(lifeline.sleeper(":;"), timeout_s=60))
    for _ in range(turns):
        await asyncio.sleep(0)
    run.cancel()
    with pytest.raises(asyncio.CancelledError):
        await run
    await lifeline.cut()


async def test_cancelling_what_cannot_be_run_is_a_cancellation(tmp_path: Path) -> None:
    run = asyncio.ensure_future(process.run([f"{tmp_path}/missing"], timeout_s=60))
    await asyncio.sleep(0)
    run.cancel()
    with pytest.raises(asyncio.CancelledError):
        await run


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting needs root")
@pytest.mark.timeout(60)  # a kernel that is slow to unmount is no failure of ours
async def test_a_child_that_cannot_die_is_left_behind(tmp_path: Path) -> None:
    with HangingMount(tmp_path / "hung") as hung:
        hung.hang()
        stuck = process.spawn(["stat", os.fspath(hung.path)])
        assert await asyncio.to_thread(hung.held.wait, 10)
        assert await process.stop(stuck, signal_first=signal.SIGTERM, within_s=0.1) is None
        hung.release()
        assert await process.ended(stuck, within_s=10) == -signal.SIGTERM


async def test_a_child_that_minds_no_request_is_killed_and_named(
    lifeline: Lifeline, caplog: pytest.LogCaptureFixture
) -> None:
    child = process.spawn(lifeline.sleeper("trap '' TERM; exec"))
    await lifeline.begun()
    with caplog.at_level(logging.WARNING):
        status = await process.stop(child, signal_first=signal.SIGTERM, within_s=0.2)
    assert status == -signal.SIGKILL
    assert "did not end within 0.2 s and is killed" in caplog.text
