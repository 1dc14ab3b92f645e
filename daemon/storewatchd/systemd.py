"""The door to the service manager: states, the journal's fields, and passed sockets.

Without systemd every call is harmless: notifications go nowhere and log lines are readable text.
"""

import contextlib
import faulthandler
import logging
import logging.handlers
import os
import queue
import socket
import sys
import threading
from typing import Any

import sdnotify
import systemd.daemon
import systemd.journal

from storewatchd.clock import Clock

_STANDARD_ERROR = 2

_FIELDS = (
    *("ALERT_ID", "RULE", "SEVERITY", "SOURCE", "RESOURCE", "ALERT_STATE", "NODE"),
    *("COMPONENT", "MESSAGE_ID"),
)


STACK_AT = 0.9
"""At which part of the watchdog's time the stacks of all threads are written."""


MAX_WAITING = 10_000
"""How many log records wait for whoever takes the log."""

CLOSE_S = 2.0
"""For how long the end waits for whoever takes the log."""


class Notifier:
    """Tells the service manager how the daemon stands.

    Shortly before the watchdog bites, the stacks of all threads are written to standard error, by
    a thread that needs no interpreter: whatever holds it up then, its name is told.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        # sdnotify opens a socket that it never closes where there is nobody to tell.
        self._peer = sdnotify.SystemdNotifier() if os.environ.get("NOTIFY_SOCKET") else None
        microseconds = os.environ.get("WATCHDOG_USEC", "")
        self._watchdog_s = int(microseconds) / 1e6 if microseconds.isdigit() else None
        self._fed: float | None = None  # on the kernel's monotonic clock, which is the manager's
        self._longest_s = 0.0
        self._status = ""

    def _say(self, text: str) -> None:
        if self._peer is not None:
            # The protocol is UTF-8 (sd_notify(3)), and sdnotify encodes as Latin-1.
            self._peer.notify(text.encode(errors="replace").decode("latin-1"))

    def ready(self) -> None:
        self._say("READY=1")

    def reloading(self) -> None:
        """Say that a reload began; `ready` says that it ended."""
        microseconds = int(self._clock.awake() * 1e6)
        self._say(f"RELOADING=1\nMONOTONIC_USEC={microseconds}")

    def stopping(self) -> None:
        self._say("STOPPING=1")

    def status(self, sentence: str) -> None:
        """Tell how things stand, in a sentence; the same again is not repeated.

        Titles in it come from anybody, and a line break would begin another assignment.
        """
        sentence = " ".join(sentence.split())
        if sentence != self._status:
            self._status = sentence
            self._say(f"STATUS={sentence}")

    def alive(self) -> None:
        """Feed the watchdog, at most as often as it wants: call it from the loop that works."""
        if self._watchdog_s is None:
            return
        now = self._clock.awake()
        if self._fed is not None:
            self._longest_s = max(self._longest_s, now - self._fed)
        if self._fed is None or now - self._fed >= self._watchdog_s / 4:
            self._fed = now
            self._say("WATCHDOG=1")
            faulthandler.dump_traceback_later(STACK_AT * self._watchdog_s, file=_STANDARD_ERROR)

    def take_margin(self) -> float | None:
        """Return how much of the watchdog's time was left at worst since this was last asked,
        seconds; None without a watchdog, or before it was fed."""
        if self._watchdog_s is None or self._fed is None:
            return None
        longest_s = max(self._longest_s, self._clock.awake() - self._fed)
        self._longest_s = 0.0
        return self._watchdog_s - longest_s

    def close(self) -> None:
        """Say nothing any more."""
        if self._fed is not None:
            faulthandler.cancel_dump_traceback_later()
        if self._peer is not None and self._peer.socket is not None:
            self._peer.socket.close()


def passed_sockets() -> list[socket.socket]:
    """Return the sockets that systemd passed (sd_listen_fds(3))."""
    return [socket.socket(fileno=number) for number in systemd.daemon.listen_fds()]


def logs_to_journal() -> bool:
    """Whether standard error is the journal's own stream (systemd.exec(5), JOURNAL_STREAM)."""
    device, _, inode = os.environ.get("JOURNAL_STREAM", "").partition(":")
    try:
        stream = os.fstat(sys.stderr.fileno())
    except (OSError, ValueError):
        return False
    return (device, inode) == (str(stream.st_dev), str(stream.st_ino))


class FieldsHandler(systemd.journal.JournalHandler):  # type: ignore[misc]
    """Sends a record with its fields, and with COMPONENT, the module that speaks."""

    def emit(self, record: logging.LogRecord) -> None:
        fields: dict[str, Any] = {
            name: value for name in _FIELDS if (value := getattr(record, name, None))
        }
        fields.setdefault("COMPONENT", record.name.removeprefix("storewatchd."))
        record.__dict__.update(fields)
        super().emit(record)


class _Readable(logging.Formatter):
    """A line a record: titles come from anybody, and must not draw on a terminal."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802  logging's name
        record.message = "".join(
            one if one.isprintable() else repr(one)[1:-1] for one in record.message
        )
        return super().formatMessage(record)


class _Lines(logging.Handler):
    """Writes lines to standard error, unbuffered: a buffer's lock, held by a write that hangs,
    would hold up the end of the process."""

    def emit(self, record: logging.LogRecord) -> None:
        left = self.format(record).encode(errors="backslashreplace") + b"\n"
        try:
            while left:
                left = left[os.write(_STANDARD_ERROR, left) :]
        except OSError:
            pass  # it is closed, and there is no other place to say so


class _Sender(logging.handlers.QueueHandler):
    """Puts records into the queue, and counts those that find no room."""

    def __init__(self, waiting: "queue.Queue[logging.LogRecord | None]") -> None:
        super().__init__(waiting)
        self._dropped = 0

    def enqueue(self, record: logging.LogRecord) -> None:
        try:
            self.queue.put_nowait(record)
        except queue.Full:
            self._dropped += 1

    def take_dropped(self) -> int:
        """Return how many found no room since this was last asked."""
        self.acquire()
        try:
            dropped, self._dropped = self._dropped, 0
            return dropped
        finally:
            self.release()


class LogQueue:
    """Logging that never blocks the loop: a thread of its own writes. Close it to flush.

    What finds no room while nobody takes the lines is counted, and told as soon as there is room.
    """

    def __init__(self, level: str) -> None:
        if logs_to_journal():
            self._handler: logging.Handler = FieldsHandler(SYSLOG_IDENTIFIER="storewatchd")
            self._handler.setFormatter(logging.Formatter("%(message)s"))
        else:
            self._handler = _Lines()
            self._handler.setFormatter(
                _Readable("%(asctime)s %(levelname)-8s %(name)s: %(message)s")
            )
        self._waiting: queue.Queue[logging.LogRecord | None] = queue.Queue(MAX_WAITING)
        self._sender = _Sender(self._waiting)
        # A daemon thread: the end of the process does not wait for a log that hangs.
        self._writer = threading.Thread(target=self._write, name="log", daemon=True)
        root = logging.getLogger()
        root.handlers[:] = [self._sender]
        root.setLevel(level.upper())
        # It logs every request at info.
        logging.getLogger("jsonrpcserver").setLevel(logging.WARNING)
        # It logs every attempt to connect; the store says once that PostgreSQL is away.
        logging.getLogger("psycopg.pool").setLevel(logging.ERROR)
        self._writer.start()

    def set_level(self, level: str) -> None:
        logging.getLogger().setLevel(level.upper())

    def close(self) -> None:
        """Write what waits and stop the thread; give up on a log that hangs."""
        logging.getLogger().removeHandler(self._sender)
        with contextlib.suppress(queue.Full):
            self._waiting.put(None, timeout=CLOSE_S)
            self._writer.join(CLOSE_S)

    def _write(self) -> None:
        # The handler's lock is never taken: whoever else takes it would wait for a log that hangs.
        while (record := self._waiting.get()) is not None:
            self._handler.emit(record)
            if self._waiting.qsize() <= MAX_WAITING // 2:
                self._tell_dropped()
        self._tell_dropped()

    def _tell_dropped(self) -> None:
        dropped = self._sender.take_dropped()
        if dropped:
            told = {
                "name": __name__,
                "levelno": logging.WARNING,
                "levelname": "WARNING",
                "msg": f"{dropped} log records found no room and were dropped: "
                "nobody took the log for a while",
            }
            self._handler.emit(logging.makeLogRecord(told))
