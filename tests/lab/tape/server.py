"""Carries what programs ask, over a Unix socket, to devices by their paths; see targets.c."""

import errno
import os
import socket
import struct
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from lab.tape.device import Device
from lab.tape.scsi import Dropped, Stuck

_DEFAULT_TIMEOUT_MS = 60_000


@dataclass
class Node:
    """A path in /dev."""

    device: Device
    refusal: int = 0
    """The errno with which it refuses to be opened."""
    exclusive: int = 0
    """How many hold it with O_EXCL."""


@dataclass
class Server:
    """Serves until it is stopped; `nodes` may change meanwhile. `count` is told of every node that
    is opened (1) and closed (-1), before who does so hears of it."""

    path: Path
    nodes: dict[str, Node] = field(default_factory=dict)
    count: Callable[[str, int], None] | None = None

    def __post_init__(self) -> None:
        self._changed = threading.Condition()
        self._connections: set[socket.socket] = set()
        self._threads: list[threading.Thread] = []
        self._is_stopping = False
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(self.path))
        self._listener.listen(64)
        self._start(self._accept)

    def stop(self) -> None:
        """End every connection."""
        with self._changed:
            self._is_stopping = True
            self._changed.notify_all()
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.drop_all()
        for thread in self._threads:
            thread.join(5)
        self.path.unlink(missing_ok=True)

    def drop_all(self) -> None:
        with self._changed:
            for connection in self._connections:
                _end(connection)

    def change(self) -> None:
        """Say that nodes were changed."""
        with self._changed:
            self._changed.notify_all()

    def _start(self, work: Callable[..., None], *words: socket.socket) -> None:
        thread = threading.Thread(target=work, args=words, daemon=True)
        self._threads = [t for t in self._threads if t.is_alive()] + [thread]
        thread.start()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return  # stopped
            self._start(self._serve, connection)

    def _serve(self, connection: socket.socket) -> None:
        with self._changed:
            self._connections.add(connection)
        try:
            with connection:
                self._converse(connection)
        except (OSError, Dropped):
            pass  # either side ended it
        finally:
            with self._changed:
                self._connections.discard(connection)

    def _converse(self, connection: socket.socket) -> None:
        _, length, flags = struct.unpack("<4sHI", _receive(connection, 10))
        path = _receive(connection, length).decode()
        refusal, node = self._open(path, flags)
        if node is None:
            connection.sendall(struct.pack("<i", refusal))
            return
        self._note(path, 1)
        try:
            connection.sendall(struct.pack("<i", 0))
            while True:
                self._command(connection, path, node)
        finally:
            self._note(path, -1)
            if flags & os.O_EXCL:
                node.exclusive -= 1
                self.change()

    def _note(self, path: str, step: int) -> None:
        if self.count:
            self.count(path, step)

    def _open(self, path: str, flags: int) -> tuple[int, Node | None]:
        """Return an errno, or the node; wait, as sg does, for whoever holds it exclusively."""
        with self._changed:
            node = self.nodes.get(path)
            if node is None or node.refusal:
                return (node.refusal if node else errno.ENXIO), None
            if node.exclusive and flags & os.O_NONBLOCK:
                return errno.EBUSY, None
            self._changed.wait_for(lambda: self._is_stopping or not node.exclusive)
            node.exclusive += bool(flags & os.O_EXCL)
        return 0, node

    def _command(self, connection: socket.socket, path: str, node: Node) -> None:
        head = _receive(connection, 16)
        _, length, direction, _, size, timeout_ms = struct.unpack("<4sBBHII", head)
        cdb = _receive(connection, length)
        if direction == 2:
            _receive(connection, size)
        if self.nodes.get(path) is not node:
            connection.sendall(_answer(ioctl_errno=errno.ENODEV))
            return

        def block(stuck: str) -> None:
            connection.sendall(struct.pack("<4s8xI", b"SGH1", len(stuck)) + os.fsencode(stuck))

        timeout_s = (timeout_ms or _DEFAULT_TIMEOUT_MS) / 1000
        try:
            answer = node.device.run(cdb, size, timeout_s, block)
        except Stuck:
            return
        data = answer.data if direction == 1 else b""
        words = (answer.status, len(answer.sense), answer.host_status, answer.driver_status)
        head = struct.pack("<4sBBHHHI", b"SGR1", *words, answer.errno, len(data))
        connection.sendall(head + answer.sense + data)


def _answer(*, ioctl_errno: int) -> bytes:
    return struct.pack("<4sBBHHHI", b"SGR1", 0, 0, 0, 0, ioctl_errno, 0)


def _receive(connection: socket.socket, size: int) -> bytes:
    received = bytearray()
    while len(received) < size:
        part = connection.recv(size - len(received))
        if not part:
            raise Dropped
        received += part
    return bytes(received)


def _end(connection: socket.socket) -> None:
    try:
        connection.shutdown(socket.SHUT_RDWR)
    except OSError:
        return  # it has ended by itself
