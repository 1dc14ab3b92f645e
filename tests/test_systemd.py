"""The door to the service manager: what it is told, what it passes, and how log lines look."""

import io
import logging
import os
import re
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from fakes import HandClock
from storewatchd import systemd as systemd_module
from storewatchd.systemd import FieldsHandler, LogQueue, Notifier, logs_to_journal

ALERT_ID = "01900000-0000-7000-8000-000000000001"


class Manager:
    """The service manager's end of the notification socket."""

    def __init__(self, address: str) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(address)
        self._socket.setblocking(False)

    def heard(self) -> list[str]:
        """Return what was said since the last time."""
        said = []
        while True:
            try:
                said.append(self._socket.recv(65536).decode())
            except BlockingIOError:
                return said

    def close(self) -> None:
        self._socket.close()


@pytest.fixture
def manager(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Manager]:
    address = os.fspath(tmp_path / "notify")
    monkeypatch.setenv("NOTIFY_SOCKET", address)
    monkeypatch.delenv("WATCHDOG_USEC", raising=False)
    manager = Manager(address)
    yield manager
    manager.close()


@pytest.fixture
def clock() -> HandClock:
    return HandClock(monotonic=1000.0)


@pytest.fixture
def notifier(manager: Manager, clock: HandClock) -> Iterator[Notifier]:
    notifier = Notifier(clock.clock)
    yield notifier
    notifier.close()


# What the manager is told.


def test_states_are_told(manager: Manager, notifier: Notifier) -> None:
    notifier.ready()
    notifier.reloading()
    notifier.ready()
    notifier.stopping()
    assert manager.heard() == [
        "READY=1",
        "RELOADING=1\nMONOTONIC_USEC=1000000000",
        "READY=1",
        "STOPPING=1",
    ]


def test_a_status_is_told_when_it_changes(manager: Manager, notifier: Notifier) -> None:
    for sentence in ("one", "one", "two", "one"):
        notifier.status(sentence)
    assert manager.heard() == ["STATUS=one", "STATUS=two", "STATUS=one"]


@pytest.mark.parametrize(
    ("sentence", "told"),
    [
        pytest.param("Fülle: Архив 85 %", "Fülle: Архив 85 %", id="any script"),
        pytest.param("full\nWATCHDOG=trigger", "full WATCHDOG=trigger", id="another assignment"),
        pytest.param("a\r\n\tb", "a b", id="white space"),
        pytest.param("half \ud800", "half ?", id="no character"),
    ],
)
def test_a_status_is_one_line_of_utf_8(
    manager: Manager, notifier: Notifier, sentence: str, told: str
) -> None:
    notifier.status(sentence)
    assert manager.heard() == [f"STATUS={told}"]


def test_an_abstract_socket_is_told(monkeypatch: pytest.MonkeyPatch, clock: HandClock) -> None:
    name = f"storewatch-test-{os.getpid()}"
    monkeypatch.setenv("NOTIFY_SOCKET", f"@{name}")
    manager = Manager(f"\0{name}")
    notifier = Notifier(clock.clock)
    notifier.ready()
    assert manager.heard() == ["READY=1"]
    notifier.close()
    manager.close()


def test_the_watchdog_is_fed_no_more_often_than_it_wants(
    manager: Manager, clock: HandClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WATCHDOG_USEC", "8000000")
    notifier = Notifier(clock.clock)
    told = []
    for _ in range(5):
        notifier.alive()
        told.append(manager.heard())
        clock.forward(1.0)
    notifier.close()
    assert told == [["WATCHDOG=1"], [], ["WATCHDOG=1"], [], ["WATCHDOG=1"]]


def test_what_was_left_of_the_watchdogs_time_at_worst_is_told_once(
    manager: Manager, clock: HandClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WATCHDOG_USEC", "8000000")
    notifier = Notifier(clock.clock)
    margins = [notifier.take_margin()]
    notifier.alive()
    margins.append(notifier.take_margin())
    for seconds in (1.0, 5.0, 0.5):
        clock.forward(seconds)
        notifier.alive()
    margins += [notifier.take_margin(), notifier.take_margin()]
    clock.forward(3)
    clock.suspend(3600)  # the watchdog's clock stands still
    margins.append(notifier.take_margin())
    notifier.close()
    assert margins == [None, 8, 2, 7.5, 4.5]


HELD_UP = """
import ctypes
from storewatchd.clock import Clock
from storewatchd.systemd import Notifier
def hold_up():
    # PyDLL keeps the interpreter's lock: no other thread of Python's runs meanwhile.
    ctypes.PyDLL(None).usleep(700_000)
notifier = Notifier(Clock())
notifier.alive()
hold_up()
notifier.close()
"""


def test_who_holds_everything_up_is_told_before_the_watchdog_bites() -> None:
    done = subprocess.run(
        [sys.executable, "-c", HELD_UP],
        env={**os.environ, "WATCHDOG_USEC": "500000"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stderr.startswith("Timeout (0:00:00.450000)!")
    assert "in hold_up" in done.stderr


@pytest.mark.parametrize("microseconds", [None, "", "soon"])
def test_without_a_watchdog_none_is_fed(
    manager: Manager,
    clock: HandClock,
    monkeypatch: pytest.MonkeyPatch,
    microseconds: str | None,
) -> None:
    if microseconds is not None:
        monkeypatch.setenv("WATCHDOG_USEC", microseconds)
    notifier = Notifier(clock.clock)
    notifier.alive()
    assert manager.heard() == []
    assert notifier.take_margin() is None
    notifier.close()


def test_without_a_manager_every_call_is_harmless(
    monkeypatch: pytest.MonkeyPatch, clock: HandClock
) -> None:
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    monkeypatch.setenv("WATCHDOG_USEC", "1000000")
    notifier = Notifier(clock.clock)
    notifier.ready()
    notifier.reloading()
    notifier.status("alone")
    notifier.alive()
    notifier.stopping()
    notifier.close()


def test_a_manager_that_goes_away_harms_nothing(manager: Manager, notifier: Notifier) -> None:
    manager.close()
    notifier.ready()


# sdnotify drops the socket that it could not connect.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_manager_that_cannot_be_reached_harms_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, clock: HandClock
) -> None:
    monkeypatch.setenv("NOTIFY_SOCKET", os.fspath(tmp_path / "nobody"))
    notifier = Notifier(clock.clock)
    notifier.ready()
    notifier.close()


# What the manager passes.

TAKE_OVER = """
import os, sys
for place, number in enumerate(sys.argv[1:]):
    os.dup2(int(number), 3 + place)
if sys.argv[1:]:
    os.environ |= {"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": str(len(sys.argv) - 1)}
from storewatchd.systemd import passed_sockets
for one in passed_sockets():
    print(one.getsockname())
    one.close()
"""


@pytest.mark.parametrize("count", [0, 1, 2])
def test_every_socket_that_was_passed_is_taken_over(tmp_path: Path, count: int) -> None:
    paths = [os.fspath(tmp_path / str(number)) for number in range(count)]
    passed = [socket.socket(socket.AF_UNIX) for _ in paths]
    for one, path in zip(passed, paths, strict=True):
        one.bind(path)
    # Their numbers are far from those at which they arrive.
    numbers = [os.dup2(one.fileno(), 100 + one.fileno()) for one in passed]
    done = subprocess.run(
        [sys.executable, "-c", TAKE_OVER, *map(str, numbers)],
        pass_fds=numbers,
        capture_output=True,
        text=True,
        check=True,
    )
    for one in passed:
        one.close()
    for number in numbers:
        os.close(number)
    assert done.stdout.splitlines() == paths


# Where log lines go.


def stderr_stream() -> str:
    about = os.fstat(sys.stderr.fileno())
    return f"{about.st_dev}:{about.st_ino}"


def test_standard_error_may_be_the_journals_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JOURNAL_STREAM", stderr_stream())
    assert logs_to_journal()


@pytest.mark.parametrize("said", [None, "", "1", "1:2", "a:b"])
def test_otherwise_it_is_somebody_elses(monkeypatch: pytest.MonkeyPatch, said: str | None) -> None:
    monkeypatch.delenv("JOURNAL_STREAM", raising=False)
    if said is not None:
        monkeypatch.setenv("JOURNAL_STREAM", said)
    assert not logs_to_journal()


def test_a_standard_error_that_is_no_file_is_not_the_journals(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("JOURNAL_STREAM", stderr_stream())
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    assert not logs_to_journal()


@pytest.fixture
def root() -> Iterator[logging.Logger]:
    """The root logger, which is as it was afterwards."""
    root, chatty = logging.getLogger(), logging.getLogger("jsonrpcserver")
    handlers, level, chatty_level = root.handlers[:], root.level, chatty.level
    yield root
    root.handlers[:] = handlers
    root.setLevel(level)
    chatty.setLevel(chatty_level)


@pytest.fixture
def lines(
    root: logging.Logger,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> Callable[[], str]:
    """What was written to standard error since the last time."""
    monkeypatch.delenv("JOURNAL_STREAM", raising=False)
    return lambda: capfd.readouterr().err


def test_a_line_says_when_how_bad_and_who(lines: Callable[[], str]) -> None:
    logs = LogQueue("info")
    logging.getLogger("storewatchd.test").warning("%s is %d %% full", "vault", 85)
    logs.close()
    assert re.fullmatch(
        r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3} WARNING  storewatchd\.test: vault is 85 % full\n",
        lines(),
    )


def test_a_record_is_a_line_and_cannot_draw(lines: Callable[[], str]) -> None:
    logs = LogQueue("info")
    logging.getLogger("storewatchd.test").info("a\n\x1b[2Jb\u202ec")
    logs.close()
    line = lines()
    assert line.endswith("test: a\\n\\x1b[2Jb\\u202ec\n")
    assert line.count("\n") == 1


def test_an_error_is_told_with_where_it_came_from(lines: Callable[[], str]) -> None:
    logs = LogQueue("info")
    try:
        raise ZeroDivisionError("of the test")
    except ZeroDivisionError:
        logging.getLogger("storewatchd.test").exception("it broke")
    logs.close()
    line = lines()
    assert "it broke" in line
    assert "ZeroDivisionError: of the test" in line


def test_only_what_is_bad_enough_is_told(lines: Callable[[], str]) -> None:
    logs = LogQueue("warning")
    logger = logging.getLogger("storewatchd.test")
    logger.info("before")
    logs.set_level("info")
    logger.info("after")
    logging.getLogger("jsonrpcserver").info("every request")
    logs.close()
    said = lines()
    assert "before" not in said
    assert "after" in said
    assert "every request" not in said


def test_after_the_end_nothing_is_told(lines: Callable[[], str], root: logging.Logger) -> None:
    logs = LogQueue("info")
    logs.close()
    assert root.handlers == []


def test_what_finds_no_room_is_counted_and_told(
    lines: Callable[[], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(systemd_module, "MAX_WAITING", 4)
    logger = logging.getLogger("storewatchd.test")
    hung, goes_on = threading.Event(), threading.Event()

    def write(descriptor: int, line: bytes) -> int:
        hung.set()
        assert goes_on.wait(10)
        said.append(line.decode())
        return len(line)

    said: list[str] = []
    logs = LogQueue("info")
    monkeypatch.setattr(os, "write", write)
    logger.info("taken")
    assert hung.wait(10)
    for number in range(10):
        logger.info("line %d", number)
    goes_on.set()
    logs.close()
    told = [line.partition(": ")[2].strip() for line in said]
    assert told[0] == "taken"
    assert [one for one in told if one.startswith("line")] == [f"line {n}" for n in range(4)]
    assert told[3] == (
        "6 log records found no room and were dropped: nobody took the log for a while"
    )
    assert len(told) == 6


STUCK = """
import logging, os
from storewatchd.systemd import LogQueue
logs = LogQueue("info")
for number in range(20_000):
    logging.getLogger("storewatchd.test").info("a line that nobody takes")
logs.close()
logging.getLogger().addHandler(logging.StreamHandler())
"""


def test_a_log_that_hangs_holds_up_no_end() -> None:
    reading, writing = os.pipe()
    environment = {name: value for name, value in os.environ.items() if name != "JOURNAL_STREAM"}
    with subprocess.Popen([sys.executable, "-c", STUCK], stderr=writing, env=environment) as stuck:
        os.close(writing)
        assert stuck.wait(15) == 0
    os.close(reading)


def test_a_closed_standard_error_harms_nothing(
    lines: Callable[[], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def write(descriptor: int, line: bytes) -> int:
        raise BrokenPipeError

    logs = LogQueue("info")
    monkeypatch.setattr(os, "write", write)
    logging.getLogger("storewatchd.test").info("to nobody")
    logs.close()
    assert lines() == ""


def test_the_journals_lines_are_its_own(
    root: logging.Logger, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("JOURNAL_STREAM", stderr_stream())
    logs = LogQueue("info")
    logging.getLogger("storewatchd.test").warning("for the journal")
    logs.close()
    assert capfd.readouterr().err == ""


# The journal's fields.


def sent(**fields: Any) -> dict[str, Any]:
    """Return what the journal gets of a record with these fields."""
    entries: list[dict[str, Any]] = []

    def send(message: str, /, **rest: Any) -> None:
        entries.append({"MESSAGE": message, **rest})

    handler = FieldsHandler(sender_function=send, SYSLOG_IDENTIFIER="storewatchd")
    handler.setFormatter(logging.Formatter("%(message)s"))
    record = logging.makeLogRecord(
        {"name": "storewatchd.monitor", "msg": "it is full", "levelno": logging.WARNING, **fields}
    )
    handler.emit(record)
    (entry,) = entries
    return {name: value for name, value in entry.items() if name.isupper()}


def test_an_entry_has_the_fields_of_its_record() -> None:
    entry = sent(ALERT_ID=ALERT_ID, RULE="Full", SEVERITY="warning", ALERT_STATE="firing")
    assert entry["MESSAGE"] == "it is full"
    assert entry["SYSLOG_IDENTIFIER"] == "storewatchd"
    assert entry["PRIORITY"] == "4"
    assert (entry["ALERT_ID"], entry["RULE"]) == (ALERT_ID, "Full")
    assert (entry["SEVERITY"], entry["ALERT_STATE"]) == ("warning", "firing")


def test_an_entry_names_the_module_that_speaks_unless_it_says_so_itself() -> None:
    assert sent()["COMPONENT"] == "monitor"
    assert sent(COMPONENT="rules")["COMPONENT"] == "rules"


def test_a_field_that_says_nothing_is_left_out() -> None:
    assert "RESOURCE" not in sent()
