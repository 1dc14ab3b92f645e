"""Runs a command as if nobody stood between: its streams, signals and exit status pass through.

The command inherits standard input; its output goes through pipes, so that the end of it can be
kept. One poll loop moves bytes and signals. A background process that outlives the command keeps
its output: a small copy of this process goes on moving it.
"""

import contextlib
import ctypes
import os
import select
import signal
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

TAIL_BYTES = 65_536
"""How much of the output's end is kept, both streams together."""

CHUNK_BYTES = 65_536
PIPE_BUF = 4_096  # pipe(7): what can be written without blocking when poll says that one can

NOT_FOUND = 127
NOT_EXECUTABLE = 126

# Faults of our own, job control and the child's end are not ours to hand on.
FORWARDED = (
    signal.SIGHUP,
    signal.SIGINT,
    signal.SIGQUIT,
    signal.SIGUSR1,
    signal.SIGUSR2,
    signal.SIGALRM,
    signal.SIGTERM,
    signal.SIGPWR,
)

_SI_KERNEL = 0x80  # asm-generic/siginfo.h: what the terminal sends to the whole foreground group
_SFD_NONBLOCK = os.O_NONBLOCK
_SFD_CLOEXEC = os.O_CLOEXEC
_SIGINFO_BYTES = 128  # signalfd(2): struct signalfd_siginfo


class Ending(NamedTuple):
    """How a command ended: by `exit_status` or by `signal`, never both. `output` is its tail."""

    exit_status: int | None
    signal: int | None
    output: bytes
    problem: str = ""

    @property
    def own_status(self) -> int:
        """The exit status that a shell would report."""
        return 128 + self.signal if self.signal is not None else self.exit_status or 0


class Tail:
    """The last bytes of what passed by."""

    def __init__(self, limit: int = TAIL_BYTES) -> None:
        self._limit = limit
        self._kept = bytearray()

    def add(self, chunk: bytes) -> None:
        self._kept += chunk
        if len(self._kept) > 2 * self._limit:
            del self._kept[: -self._limit]

    def bytes(self) -> bytes:
        return bytes(self._kept[-self._limit :])


@dataclass(slots=True)
class _Stream:
    """One pipe from the command to one of our own streams."""

    source: int
    target: int
    pending: bytes = b""

    @property
    def is_open(self) -> bool:
        return self.source >= 0

    def close(self) -> None:
        if self.is_open:
            os.close(self.source)
        self.source = -1
        self.pending = b""

    def fill(self, tail: Tail) -> None:
        chunk = os.read(self.source, CHUNK_BYTES)
        if chunk:
            tail.add(chunk)
            self.pending = chunk
        else:
            self.close()

    def drain(self) -> None:
        try:
            written = os.write(self.target, self.pending[:PIPE_BUF])
        except BlockingIOError:
            return  # Somebody made our stream non-blocking: poll says when.
        except OSError:
            # Nobody takes it: let the command hear that, as it would have without us.
            self.close()
            return
        self.pending = self.pending[written:]


class Passage:
    """One command from its start to its end."""

    def __init__(self) -> None:
        self._tail = Tail()
        self._streams: tuple[_Stream, ...] = ()
        self._old_mask = signal.pthread_sigmask(signal.SIG_BLOCK, FORWARDED)
        self._signals = _signalfd()

    def run(self, argv: Sequence[str], environ: Mapping[str, str]) -> Ending:
        """Run the command to its end. Signals that come are its signals, from now on until
        `release`."""
        try:
            pid = self._spawn(argv, environ)
        except OSError as error:
            return _could_not_start(argv[0], error)
        child = os.pidfd_open(pid)
        try:
            self._move_until_over(pid, child)
        finally:
            os.close(child)
        _, status = os.waitpid(pid, 0)
        code = os.waitstatus_to_exitcode(status)
        output = self._tail.bytes()
        return Ending(None, -code, output) if code < 0 else Ending(code, None, output)

    def release(self) -> None:
        """Leave what the command left running to itself, and signals to their defaults."""
        if any(stream.is_open for stream in self._streams) and os.fork() == 0:
            self._go_on()
        for stream in self._streams:
            stream.close()
        os.close(self._signals)
        signal.pthread_sigmask(signal.SIG_SETMASK, self._old_mask)

    def _spawn(self, argv: Sequence[str], environ: Mapping[str, str]) -> int:
        pipes = [os.pipe(), os.pipe()]
        try:
            pid = os.posix_spawnp(
                argv[0],
                list(argv),
                environ,
                file_actions=[
                    (os.POSIX_SPAWN_DUP2, write_end, target)
                    for target, (_, write_end) in enumerate(pipes, start=1)
                ],
                setsigmask=self._old_mask,
                # What Python ignores for itself is not the command's wish.
                setsigdef=(signal.SIGPIPE, signal.SIGXFSZ),
            )
        except OSError:
            for read_end, _ in pipes:
                os.close(read_end)
            raise
        finally:
            for _, write_end in pipes:
                os.close(write_end)
        self._streams = tuple(
            _Stream(read_end, target) for target, (read_end, _) in enumerate(pipes, start=1)
        )
        return pid

    def _move_until_over(self, pid: int, child: int) -> None:
        is_over = False
        while True:
            ready = _wait([*self._streams], also=(child, self._signals), at_once=is_over)
            if self._signals in ready:
                self._forward(pid)
            moved = self._move(ready)
            if is_over and not moved:
                return
            # What was in the pipes when the command ended is still moved.
            is_over = is_over or child in ready

    def _move(self, ready: Mapping[int, int]) -> bool:
        moved = False
        for stream in self._streams:
            if stream.pending:
                moved = True
                if stream.target in ready:
                    stream.drain()
            elif stream.is_open and stream.source in ready:
                moved = True
                stream.fill(self._tail)
        return moved

    def _forward(self, pid: int) -> None:
        with contextlib.suppress(BlockingIOError):
            number, _, code = struct.unpack_from("Iii", os.read(self._signals, _SIGINFO_BYTES))
            # The terminal has sent it to the command itself.
            if code != _SI_KERNEL:
                os.kill(pid, number)

    def _go_on(self) -> None:
        """Be the copy that moves what is left, and end with it."""
        try:
            signal.pthread_sigmask(signal.SIG_SETMASK, self._old_mask)
            while any(stream.is_open for stream in self._streams):
                self._move(_wait(self._streams))
        finally:
            os._exit(0)


def _wait(
    streams: Sequence[_Stream], *, also: Sequence[int] = (), at_once: bool = False
) -> dict[int, int]:
    poll = select.poll()
    for descriptor in also:
        poll.register(descriptor, select.POLLIN)
    is_pending = False
    for stream in streams:
        if stream.pending:
            is_pending = True
            poll.register(stream.target, select.POLLOUT)
        elif stream.is_open:
            poll.register(stream.source, select.POLLIN)
    return dict(poll.poll(0 if at_once and not is_pending else None))


def _signalfd() -> int:
    """Return a descriptor that reads blocked signals with who sent them; Python has no name for
    it."""
    libc = ctypes.CDLL(None, use_errno=True)
    mask = (ctypes.c_uint64 * 16)()  # sigset_t is 1024 bits
    for number in FORWARDED:
        mask[0] |= 1 << (number - 1)
    descriptor = int(libc.signalfd(-1, ctypes.byref(mask), _SFD_NONBLOCK | _SFD_CLOEXEC))
    if descriptor < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return descriptor


def _could_not_start(name: str, error: OSError) -> Ending:
    if isinstance(error, FileNotFoundError):
        return Ending(NOT_FOUND, None, b"", f"{name}: command not found")
    reason = os.strerror(error.errno).lower() if error.errno else str(error)
    return Ending(NOT_EXECUTABLE, None, b"", f"{name}: {reason}")
