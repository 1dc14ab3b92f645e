"""The only door to child processes: a list of words, a bound in time, and endings in words."""

import asyncio
import contextlib
import logging
import os
import shlex
import signal
import subprocess
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from storewatchd.errors import StorewatchError

logger = logging.getLogger(__name__)


KILL_S = 1.0
"""How long the end of what was killed is waited for."""

Child = subprocess.Popen[bytes]
"""A long-lived child that `spawn` started."""


@dataclass(frozen=True, slots=True)
class Finished:
    """How a command ended. `status` is negative for a signal, as the kernel's wait gives it."""

    argv: tuple[str, ...]
    status: int
    stdout: bytes
    stderr: bytes

    def explain(self) -> str:
        """Return the ending in words, with the last line of what it complained."""
        said = self.stderr.decode(errors="replace").strip().splitlines()
        why = f": {said[-1]}" if said else ""
        return f"{self.argv[0]} {explain_status(self.status)}{why}"


class CommandFailed(StorewatchError):
    """A command could not be run, took too long, or ended badly."""

    def __init__(self, message: str, finished: Finished | None = None) -> None:
        super().__init__(message)
        self.finished = finished


def explain_status(status: int) -> str:
    """Return a wait status in words."""
    if status < 0:
        try:
            return f"was ended by {signal.Signals(-status).name}"
        except ValueError:
            return f"was ended by signal {-status}"
    return "ended well" if status == 0 else f"ended with status {status}"


# What the service manager says to us alone (sd_notify(3), sd_listen_fds(3)). A postgres that is
# built with systemd would tell it that we are ready.
_OURS = ("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID", "LISTEN_FDS", "LISTEN_PID")


def environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return the environment for a tool: ours, in the C locale, so that its words can be read."""
    inherited = {name: value for name, value in os.environ.items() if name not in _OURS}
    return {**inherited, "LC_ALL": "C", **(extra or {})}


async def run(
    argv: Sequence[str],
    *,
    timeout_s: float,
    env: Mapping[str, str] | None = None,
    cwd: str | None = None,
    check: bool = True,
) -> Finished:
    """Run a command to its end, its standard input empty.

    A command that takes too long is killed, with all that it started. Cancelling kills it too.

    Raises:
        CommandFailed: it is not there, took too long, or (with `check`) ended badly.
    """
    logger.debug("running %s", shlex.join(argv))
    # Cancelled half-way, asyncio waits for ever for pipes that it has not connected.
    start = asyncio.ensure_future(
        asyncio.create_subprocess_exec(
            *argv,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=environment(env),
            cwd=cwd,
            start_new_session=True,
        )
    )
    try:
        child = await asyncio.shield(start)
    except asyncio.CancelledError:
        with contextlib.suppress(OSError):
            await _kill(await start)
        raise
    except OSError as error:
        raise CommandFailed(f"{argv[0]} cannot be run: {error.strerror or error}") from error
    try:
        async with asyncio.timeout(timeout_s):
            stdout, stderr = await child.communicate()
    except asyncio.CancelledError:
        await _kill(child)
        raise
    except TimeoutError as error:
        await _kill(child)
        raise CommandFailed(f"{argv[0]} took over {timeout_s:g} s and was ended") from error
    assert child.returncode is not None
    finished = Finished(tuple(argv), child.returncode, stdout, stderr)
    if check and finished.status != 0:
        raise CommandFailed(finished.explain(), finished)
    return finished


async def _kill(child: asyncio.subprocess.Process) -> None:
    """End a command and what it started; one that is blocked in the kernel does not even end
    then, and is left behind."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(child.pid, signal.SIGKILL)
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(KILL_S):
            await child.communicate()


def spawn(
    argv: Sequence[str],
    *,
    env: Mapping[str, str] | None = None,
    pass_fds: Sequence[int] = (),
    stdout: int | None = None,
    cwd: str | None = None,
    new_session: bool = True,
) -> Child:
    """Start a long-lived child; the caller ends and reaps it.

    It is started from the calling thread: a child that asks to die with its parent dies with that
    thread (prctl(2), PR_SET_PDEATHSIG).

    Raises:
        CommandFailed: it cannot be started.
    """
    logger.debug("starting %s", shlex.join(argv))
    try:
        return subprocess.Popen(
            list(argv),
            stdin=subprocess.DEVNULL,
            stdout=stdout,
            stderr=None if stdout is None else subprocess.STDOUT,
            env=environment(env),
            pass_fds=tuple(pass_fds),
            cwd=cwd,
            start_new_session=new_session,
        )
    except OSError as error:
        raise CommandFailed(f"{argv[0]} cannot be run: {error.strerror or error}") from error


class Watch:
    """Calls `tell` once, from the loop, when a process ends, whoever started it; `end` it before
    the process is ended on purpose.

    Raises:
        ProcessLookupError: there is no such process any more.
    """

    def __init__(self, pid: int, tell: Callable[[], None]) -> None:
        self._tell = tell
        self._loop = asyncio.get_running_loop()
        self._process: int | None = os.pidfd_open(pid)
        self._loop.add_reader(self._process, self._note)

    def end(self) -> None:
        if self._process is not None:
            self._loop.remove_reader(self._process)
            os.close(self._process)
            self._process = None

    def _note(self) -> None:
        self.end()
        self._tell()


async def ended(child: Child, *, within_s: float) -> int | None:
    """Wait for a spawned child's end; return its status, None where it lives on."""
    if child.poll() is not None:
        return child.returncode
    gone = asyncio.Event()
    watch = Watch(child.pid, gone.set)
    try:
        async with asyncio.timeout(within_s):
            await gone.wait()
    except TimeoutError:
        return None
    finally:
        watch.end()
    return child.wait()


async def stop(child: Child, *, signal_first: int, within_s: float) -> int | None:
    """Ask a spawned child to end, then kill it; return its status, None where even that hangs."""
    if child.poll() is None:
        child.send_signal(signal_first)
    status = await ended(child, within_s=within_s)
    if status is None:
        logger.warning("%s did not end within %g s and is killed", child.args, within_s)
        child.kill()
        status = await ended(child, within_s=KILL_S)
    return status
