"""A peer that speaks the wire: a small real server on a Unix socket, answering as it is told."""

import contextlib
import json
import os
import socket
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, Self

Answer = Callable[[dict[str, Any]], Any]


class Refusal(Exception):
    """What a method raises to answer with an error."""

    def __init__(self, code: int, message: str, data: Any = None) -> None:
        super().__init__(message)
        self.code = code
        self.data = data


class Silence(Exception):
    """What a method raises to answer nothing at all."""


class WirePeer:
    """A daemon's place on a socket. `answers` maps methods to functions of their parameters.

    `requests` is what was asked, in order; `tell` sends a line to every connection; `stop` and
    `start` make it go away and come back at the same path.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.answers: dict[str, Answer] = {
            "daemon.version": lambda _: {"version": "9.9", "node": "peer", "protocol": 1}
        }
        self.requests: list[dict[str, Any]] = []
        self.greeting = b""
        """What a new connection gets at once."""
        self.behind = b""
        """What goes out in the same piece as the next answer, once."""
        self._changed = threading.Condition()
        self._connections: set[socket.socket] = set()
        self._threads: list[threading.Thread] = []
        self._listener: socket.socket | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.stop()

    def start(self) -> None:
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        listener.bind(os.fspath(self.path))
        listener.listen(16)
        self._listener = listener
        self._spawn(self._accept, listener)

    def stop(self) -> None:
        listener, self._listener = self._listener, None
        if listener is not None:
            # Closing alone does not wake an accept that waits.
            listener.shutdown(socket.SHUT_RDWR)
            listener.close()
            self.path.unlink(missing_ok=True)
        self.hang_up()
        for thread in self._threads:
            thread.join(10)
        self._threads.clear()

    def hang_up(self) -> None:
        """End every connection."""
        with self._changed:
            for connection in self._connections:
                with contextlib.suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)

    def tell(self, line: bytes) -> None:
        """Send bytes to every connection."""
        with self._changed:
            for connection in self._connections:
                connection.sendall(line)

    def wait_for(self, method: str, count: int = 1) -> list[dict[str, Any]]:
        """Return the parameters of the calls of a method once there are so many."""

        def asked() -> list[dict[str, Any]]:
            return [one["params"] for one in self.requests if one["method"] == method]

        with self._changed:
            assert self._changed.wait_for(lambda: len(asked()) >= count, 10), self.requests
            return asked()

    def _spawn(self, work: Callable[..., None], *args: Any) -> None:
        thread = threading.Thread(target=work, args=args, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            with self._changed:
                self._connections.add(connection)
            self._spawn(self._serve, connection)

    def _serve(self, connection: socket.socket) -> None:
        try:
            with connection, connection.makefile("rb") as lines:
                if self.greeting:
                    connection.sendall(self.greeting)
                for line in lines:
                    request = json.loads(line)
                    answer = self._answer(request)
                    with self._changed:
                        # First noted, then answered: who has the answer finds it noted.
                        self.requests.append(request)
                        self._changed.notify_all()
                        if answer is not None:
                            behind, self.behind = self.behind, b""
                            connection.sendall(answer + behind)
        except OSError:
            pass
        finally:
            with self._changed:
                self._connections.discard(connection)

    def _answer(self, request: dict[str, Any]) -> bytes | None:
        reply: dict[str, Any] = {"jsonrpc": "2.0", "id": request["id"]}
        try:
            if request["method"] not in self.answers:
                raise Refusal(-32601, f"there is no method {request['method']!r}")
            reply["result"] = self.answers[request["method"]](request["params"])
        except Silence:
            return None
        except Refusal as refusal:
            reply["error"] = {"code": refusal.code, "message": str(refusal), "data": refusal.data}
        return json.dumps(reply).encode() + b"\n"


def event(number: int, **more: Any) -> dict[str, Any]:
    """Return an event with this number."""
    return {
        "id": f"e.{number}",
        "seq": number,
        "node": "peer",
        "timestamp": "2026-01-01T12:00:00.000Z",
        "type": "system",
        "kind": "noted",
        "data": {"number": number},
        **more,
    }


def notice(subscription: str, *events: dict[str, Any]) -> bytes:
    """Return the lines that bring events of a subscription."""
    return b"".join(
        json.dumps(
            {
                "jsonrpc": "2.0",
                "method": "event",
                "params": {"subscription": subscription, "event": one},
            }
        ).encode()
        + b"\n"
        for one in events
    )
