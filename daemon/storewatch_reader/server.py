"""One thread, one loop: takes requests from the daemon, gives each to a worker, sends answers.

Verbs: `hello` (protocol and table), `read` (a row of the table), `tree` (a pass over a tree of
attributes), `tool` (a command to a SCSI device) and `watch` (what a device tells, as it comes,
until the connection ends: many answers to one request). Only the user that the reader was told of,
and root, may ask.
"""

import contextlib
import os
import re
import selectors
import socket
import struct
from collections import deque
from collections.abc import Collection, Mapping
from typing import Any

from storewatch_reader.message import BadMessage, Unpacker, pack
from storewatch_reader.table import PROTOCOL, ROWS, Row, WatchRow, digest
from storewatch_reader.watches import Listener, Watches
from storewatch_reader.workers import Pool, Reply

MAX_WAITING_BYTES = 128 << 20
"""How much may wait for a client that reads nothing before it is cut off."""

MAX_OBJECT_BYTES = 4096

MAX_REFUSED = 8
"""How many strangers are kept until they have read why they may not ask."""


class Client:
    """One connected daemon."""

    def __init__(self, connection: socket.socket) -> None:
        self.connection = connection
        self.unpacker = Unpacker()
        self.waiting = bytearray()
        self.replies: set[Reply] = set()
        self.listeners: dict[str, Listener] = {}  # by row


class Server:
    """The reader's loop. With `only` the reader ends when that client does."""

    def __init__(
        self,
        pool: Pool,
        *,
        listener: socket.socket | None = None,
        only: socket.socket | None = None,
        allowed_uids: Collection[int] = (),
        rows: Mapping[str, Row] = ROWS,
        watches: Watches,
    ) -> None:
        self._pool = pool
        self._watches = watches
        self._rows = rows
        self._listener = listener
        self._allowed = {0, os.geteuid(), *allowed_uids}
        self._selector = selectors.DefaultSelector()
        self._only: Client | None = None
        self._refused: deque[socket.socket] = deque()
        self._stopping = False
        if listener is not None:
            listener.setblocking(False)
            self._selector.register(listener, selectors.EVENT_READ)
        if only is not None:
            self._only = self._add(only)

    def wake_on(self, wake: socket.socket) -> None:
        """End the wait whenever this socket has something to read; what it is does not matter."""
        wake.setblocking(False)
        self._selector.register(wake, selectors.EVENT_READ, wake)

    def stop(self) -> None:
        """End the loop at its next turn; workers under way are left to themselves."""
        self._stopping = True

    def run(self) -> None:
        """Serve until stopped, or until the only client is gone; then hang up on all of them."""
        while not self._stopping:
            for pipe in (*self._pool.start(), *self._watches.start()):
                self._selector.register(pipe, selectors.EVENT_READ)
            for key, mask in self._selector.select(self._next_deadline()):
                if key.fileobj is self._listener:
                    self._accept()
                elif isinstance(key.data, Client):
                    self._serve(key.data, mask)
                elif isinstance(key.data, socket.socket):
                    key.data.recv(64)
                else:
                    self._hear_worker(key.fd)
            self._pool.tick()
            self._watches.tick()
        self._watches.close()
        for key in tuple(self._selector.get_map().values()):
            if isinstance(key.data, Client):
                self._drop(key.data)
        for connection in self._refused:
            connection.close()
        self._selector.close()

    def _next_deadline(self) -> float | None:
        deadlines = (self._pool.next_deadline(), self._watches.next_deadline())
        return min((one for one in deadlines if one is not None), default=None)

    def _hear_worker(self, pipe: int) -> None:
        workers = self._watches if self._watches.owns(pipe) else self._pool
        if workers.has_ended(pipe):
            # While it is open still: a worker that was forked just now has it open too, and epoll
            # would go on telling of it.
            self._selector.unregister(pipe)
            workers.reap(pipe)

    def _accept(self) -> None:
        assert self._listener is not None
        try:
            connection, _ = self._listener.accept()
        except OSError:
            return
        _, uid, _ = struct.unpack(
            "iII", connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
        )
        if uid in self._allowed:
            self._add(connection)
        else:
            self._refuse(connection, uid)

    def _refuse(self, connection: socket.socket, uid: int) -> None:
        message = f"uid {uid} may not ask this reader"
        # A stranger that is gone already must not end the reader.
        with contextlib.suppress(OSError):
            connection.send(pack({"id": None, "error": "forbidden", "message": message}))
            connection.shutdown(socket.SHUT_WR)
        # Closed later: who writes to a connection that is closed may never read what was said.
        self._refused.append(connection)
        if len(self._refused) > MAX_REFUSED:
            self._refused.popleft().close()

    def _add(self, connection: socket.socket) -> Client:
        connection.setblocking(False)
        client = Client(connection)
        self._selector.register(connection, selectors.EVENT_READ, client)
        return client

    def _serve(self, client: Client, mask: int) -> None:
        try:
            if mask & selectors.EVENT_WRITE:
                self._flush(client)
            if mask & selectors.EVENT_READ:
                chunk = client.connection.recv(1 << 16)
                if not chunk:
                    self._drop(client)
                    return
                for request, _ in client.unpacker.feed(chunk):
                    self._take(client, request)
        except BlockingIOError:
            return
        except (BadMessage, OSError):
            self._drop(client)

    def _take(self, client: Client, request: dict[str, Any]) -> None:
        number, verb, name = request.get("id"), request.get("verb"), request.get("row", "")
        if not (isinstance(number, int) and isinstance(verb, str) and isinstance(name, str)):
            raise BadMessage("a request has a number, a verb and maybe a row")
        if verb == "hello":
            facts = {"protocol": PROTOCOL, "table": digest(), "pid": os.getpid()}
            self._send(client, {"id": number, **facts, "uid": os.geteuid()})
            return
        row = self._rows.get(name)
        object_id, plan = request.get("object", ""), request.get("plan", "")
        problem = ""
        if row is None or row.verb != verb:
            problem = f"this reader has no {verb!r} of {name!r}; after an upgrade, restart it"
        elif not isinstance(object_id, str) or not _is_object(row.object, object_id):
            problem = f"{name}: the object is {_OBJECTS[row.object]}"
        elif not isinstance(plan, str):
            problem = f"{name}: the plan is text"
        if row is None or problem:
            self._send(client, {"id": number, "error": "unknown", "message": problem})
            return

        if isinstance(row, WatchRow):
            self._listen(client, number, row)
            return

        def reply(header: dict[str, Any], blob: bytes) -> None:
            client.replies.discard(reply)
            self._send(client, {"id": number, **header}, blob)

        client.replies.add(reply)
        self._pool.ask(row, object_id, reply, plan=plan)

    def _listen(self, client: Client, number: int, row: WatchRow) -> None:
        listener = Listener(
            lambda header, blob: self._send(client, {"id": number, **header}, blob),
            lambda: len(client.waiting),
        )
        before = client.listeners.pop(row.name, None)
        client.listeners[row.name] = listener
        self._watches.listen(row, listener)
        if before is not None:
            self._watches.forget((before,))  # who asks again hears it once

    def _send(self, client: Client, header: dict[str, Any], blob: bytes = b"") -> None:
        client.waiting += pack(header, blob)
        if len(client.waiting) > MAX_WAITING_BYTES:
            self._drop(client)
            return
        try:
            self._flush(client)
        except OSError:
            self._drop(client)

    def _flush(self, client: Client) -> None:
        while client.waiting:
            try:
                sent = client.connection.send(client.waiting)
            except BlockingIOError:
                break
            del client.waiting[:sent]
        wanted = selectors.EVENT_READ | (selectors.EVENT_WRITE if client.waiting else 0)
        self._selector.modify(client.connection, wanted, client)

    def _drop(self, client: Client) -> None:
        if client.connection.fileno() < 0:
            return
        self._selector.unregister(client.connection)
        client.connection.close()
        self._pool.forget_asker(client.replies)
        self._watches.forget(client.listeners.values())
        if client is self._only:
            self._stopping = True


_OBJECTS = {
    "": "empty",
    "path": "a normal absolute path",
    "scsi": "a SCSI address, H:C:T:L",
    "hwmon": "a chip, hwmonN",
    "zone": "a zone, thermal_zoneN",
    "fc_host": "a Fibre Channel port, hostN",
    "module": "a kernel and a module of it, KERNEL/NAME",
}
_NAMES = {
    "module": re.compile(r"[A-Za-z0-9][A-Za-z0-9._+~-]{0,127}/[a-z0-9_]{1,64}"),
    "scsi": re.compile(r"[0-9]{1,5}:[0-9]{1,5}:[0-9]{1,10}:[0-9]{1,20}"),
    "hwmon": re.compile(r"hwmon[0-9]{1,10}"),
    "zone": re.compile(r"thermal_zone[0-9]{1,10}"),
    "fc_host": re.compile(r"host[0-9]{1,10}"),
}


def _is_object(kind: str, object_id: str) -> bool:
    if not kind:
        return not object_id
    if kind in _NAMES:
        return _NAMES[kind].fullmatch(object_id) is not None
    try:
        path = os.fsencode(object_id)
    except UnicodeEncodeError:
        return False
    return (
        path.startswith(b"/")
        and len(path) <= MAX_OBJECT_BYTES
        and b"\0" not in path
        and not {b"..", b"."} & set(path.split(b"/"))
    )
