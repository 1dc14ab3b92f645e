"""The reader as its askers see it: one end of a connection, and reads that block on demand."""

import os
import selectors
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

from storewatch_reader import attributes
from storewatch_reader.message import Unpacker, pack
from storewatch_reader.roots import Roots
from storewatch_reader.server import Server
from storewatch_reader.trees import Pass
from storewatch_reader.watches import Watches
from storewatch_reader.workers import Pool
from system.appliance import wait_for

NOBODY = 65534


class Asker:
    """One end of a connection to a reader."""

    def __init__(self, connection: socket.socket) -> None:
        self.connection = connection
        connection.settimeout(15)
        self._unpacker = Unpacker()
        self._heard: list[tuple[dict[str, Any], bytes]] = []
        self._number = 0

    def say(self, verb: str, row: str | None = None, **more: Any) -> int:
        """Send a request; return its number."""
        self._number += 1
        named = {} if row is None else {"row": row}
        self.connection.sendall(pack({"id": self._number, "verb": verb, **named, **more}))
        return self._number

    def hear(self) -> tuple[dict[str, Any], bytes]:
        """Return the next message.

        Raises:
            EOFError: the reader hung up.
        """
        while not self._heard:
            try:
                chunk = self.connection.recv(1 << 20)
            except ConnectionResetError:
                chunk = b""
            if not chunk:
                raise EOFError
            self._heard += self._unpacker.feed(chunk)
        return self._heard.pop(0)

    def ask(self, verb: str, row: str | None = None, **more: Any) -> dict[str, Any]:
        """Return the header of the answer to a request; nothing else is under way."""
        number = self.say(verb, row, **more)
        header, _ = self.hear()
        assert header["id"] == number
        return header

    def tree(self, row: str, **more: Any) -> tuple[str, list[str] | None, bytes]:
        """Return the plan of a tree, its paths where they are told, and what follows them."""
        self.say("tree", row, **more)
        header, blob = self.hear()
        paths = attributes.paths(header, blob)
        return header["plan"], paths, blob[4 * header["count"] + header["text"] :]

    def settle(self) -> None:
        """Wait until what was said before has begun: it does after the turn that took it."""
        self.ask("hello")
        self.ask("hello")

    def is_cut(self) -> bool:
        """Wait for the reader to hang up; whether that is what comes next."""
        try:
            self.hear()
        except EOFError:
            return True
        return False

    def close(self) -> None:
        self.connection.close()


def paths_of(found: Pass) -> list[str]:
    """Return the paths that a pass found, as an asker gets them."""
    paths = attributes.paths(*attributes.told(found, ""))
    assert paths is not None
    return paths


class SlowKernel:
    """A procfs whose list of file systems is a pipe: the row `mounts` waits until somebody writes
    there, and a signal ends the wait. Nobody is left waiting behind the context."""

    def __init__(self, root: Path) -> None:
        (root / "self").mkdir(parents=True)
        (root / "self" / "mountinfo").write_text("mounts\n")
        self.path = root / "filesystems"
        os.mkfifo(self.path)
        self.roots = Roots(procfs=os.fspath(root))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        descriptor = os.open(self.path, os.O_RDWR | os.O_NONBLOCK)
        self.path.unlink()
        os.close(descriptor)

    def release(self) -> None:
        """Let everybody go on who waits now; somebody does, or begins to."""
        descriptor = os.open(self.path, os.O_WRONLY)
        os.write(descriptor, b"\text4\n")
        os.close(descriptor)

    def mend(self) -> None:
        """Let no later read wait."""
        self.path.unlink()
        self.path.write_text("\text4\n")


class Serving:
    """A server in a thread of its own, on an abstract socket that anybody can reach."""

    def __init__(self, roots: Roots, locks: Path, **options: Any) -> None:
        locks.mkdir(exist_ok=True)
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._listener.bind("")  # the kernel chooses a name (unix(7), autobind)
        self._listener.listen(64)
        self.address: bytes = self._listener.getsockname()
        watches = Watches(roots, os.fspath(locks))
        self._server = Server(
            Pool(roots, os.fspath(locks)), listener=self._listener, watches=watches, **options
        )
        self._wake, self._wake_read = socket.socketpair()
        self._server.wake_on(self._wake_read)
        self._thread = threading.Thread(target=self._server.run)
        self._askers: list[Asker] = []

    def start(self) -> None:
        self._thread.start()

    def connect(self) -> Asker:
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        connection.connect(self.address)
        self._askers.append(Asker(connection))
        return self._askers[-1]

    def stop(self) -> None:
        self._server.stop()
        self._wake.send(b"\0")
        if self._thread.ident is not None:
            self._thread.join(15)
        for asker in self._askers:
            asker.close()
        for end in (self._wake, self._wake_read, self._listener):
            end.close()
        assert not self._thread.is_alive()


@contextmanager
def serving(roots: Roots, locks: Path, **options: Any) -> Iterator[Serving]:
    serving = Serving(roots, locks, **options)
    serving.start()
    try:
        yield serving
    finally:
        serving.stop()


@contextmanager
def running(argv: Sequence[str], **options: Any) -> Iterator[subprocess.Popen[bytes]]:
    """Run a program; it is ended with the context."""
    with subprocess.Popen(argv, stderr=subprocess.PIPE, **options) as process:
        try:
            yield process
        finally:
            process.terminate()
            try:
                process.wait(5)
            except subprocess.TimeoutExpired:
                process.kill()
                raise


def reader_argv(*words: str | Path) -> list[str]:
    return [sys.executable, "-m", "storewatch_reader", *(os.fspath(word) for word in words)]


@contextmanager
def over_a_pair(
    *words: str | Path, **options: Any
) -> Iterator[tuple[Asker, subprocess.Popen[bytes]]]:
    """Run a reader that serves one connected socket."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        number = theirs.fileno()
        argv = reader_argv("--fd", str(number), *words)
        with running(argv, pass_fds=(number,), **options) as process:
            theirs.close()
            yield Asker(ours), process


@contextmanager
def over_a_path(path: Path, *words: str | Path) -> Iterator[tuple[Asker, subprocess.Popen[bytes]]]:
    """Run a reader that listens at a path, and connect to it."""
    argv = reader_argv("--socket", path, *words)
    with running(argv) as process, connected(path) as connection:
        yield Asker(connection), process


@contextmanager
def connected(path: Path) -> Iterator[socket.socket]:
    """Connect to a path as soon as somebody listens there."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:

        def connect() -> bool:
            try:
                connection.connect(os.fspath(path))
            except (FileNotFoundError, ConnectionRefusedError):
                return False
            return True

        wait_for("the reader", connect)
        yield connection


def as_another_user(act: Callable[[], bytes], *, uid: int = NOBODY) -> bytes:
    """Return what a function returns in a process of another user; needs root."""
    read_end, write_end = os.pipe()
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            os.setgroups([])
            os.setresgid(uid, uid, uid)
            os.setresuid(uid, uid, uid)
            os.write(write_end, act())
            status = 0
        finally:
            os._exit(status)
    os.close(write_end)
    with open(read_end, "rb") as said:
        answer = said.read()
    _, status = os.waitpid(pid, 0)
    assert status == 0
    return answer


class Desk:
    """A pool without a server: its pipes are watched, and its clock is heeded, by hand."""

    def __init__(self, roots: Roots, locks: Path) -> None:
        locks.mkdir(exist_ok=True)
        self.pool = Pool(roots, os.fspath(locks))

    def work(self, until: Callable[[], bool]) -> None:
        """Do what the server's loop does until something is so."""
        self.pool.start()
        while not until():
            with selectors.DefaultSelector() as selector:
                for pipe in self.pool.pipes:
                    selector.register(pipe, selectors.EVENT_READ)
                for key, _ in selector.select(self.pool.next_deadline()):
                    if self.pool.has_ended(key.fd):
                        self.pool.reap(key.fd)
            self.pool.tick()
            self.pool.start()

    def settle(self) -> None:
        """Work until no worker is left."""
        self.work(lambda: not len(self.pool))


class Reply:
    """An asker of a pool, and what it was answered."""

    def __init__(self) -> None:
        self.answers: list[tuple[dict[str, Any], bytes]] = []

    def __call__(self, header: dict[str, Any], blob: bytes) -> None:
        self.answers.append((header, blob))

    @property
    def header(self) -> dict[str, Any]:
        ((header, _),) = self.answers
        return header
