"""One client of the control socket: it can slow, confuse and overload nobody but itself."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any, cast

import pytest

from control.fix_client import request
from control.fix_wire import Wire
from fakes import HandClock
from storewatch.wire import Code
from storewatch.wire.framing import MAX_REQUEST_BYTES
from storewatch.wire.methods import METHODS
from storewatchd.control import connection as connection_module
from storewatchd.control.connection import MAX_CALLS, Connection
from storewatchd.control.dispatch import Call, Dispatcher
from storewatchd.control.turns import SLICE_S, Turns
from storewatchd.core.permissions import EVERYTHING, Caller

ROOT = Caller("root", EVERYTHING)


class Bench:
    """A connection over a noted transport. `daemon.version` answers at once, `alerts.list` at the
    gate, `events.list` with as much text as it is asked for."""

    def __init__(
        self, tasks: asyncio.TaskGroup, verdict: Caller | str | asyncio.Task[Caller] = ROOT
    ) -> None:
        self.gate = asyncio.Event()
        self.verdict = verdict
        self.closed = 0
        self.tasks = tasks
        self.work: list[asyncio.Task[None]] = []
        self.wire = Wire()

        async def wait(call: Call, asked: Any) -> Any:
            await self.gate.wait()
            return asked.limit

        handlers: dict[str, Any] = dict.fromkeys(METHODS, lambda call, asked: call.caller.name)
        self.doing: Callable[[], None] = lambda: None
        handlers |= {"metrics.get": lambda *_: self.doing()}
        handlers |= {"alerts.list": wait, "events.list": lambda _, asked: "x" * 100 * asked.limit}
        self.clock = HandClock()
        self.dispatcher = Dispatcher(handlers, lambda secret: ROOT, Turns(self.clock.clock))
        self.connection = Connection(
            self.dispatcher,
            admit=lambda connection, transport: self.verdict,
            spawn=self._spawn,
            closed=self._note_closed,
        )
        self.connection.connection_made(self.wire)

    def _spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = self.tasks.create_task(work)
        self.work.append(task)
        return task

    def _note_closed(self, connection: Connection) -> None:
        assert connection is self.connection
        self.closed += 1

    def say(self, *documents: Any) -> None:
        """Let documents arrive in one piece."""
        self.connection.data_received(
            b"".join(json.dumps(document).encode() + b"\n" for document in documents)
        )

    @property
    def ids(self) -> list[Any]:
        """The ids of the answers so far."""
        return [answer["id"] for answer in self.wire.lines]

    async def begun(self) -> None:
        """Wait until every call has begun."""
        await asyncio.wait(self.work, timeout=0)

    async def ended(self) -> None:
        """Wait until every call has ended."""
        while any(not task.done() for task in self.work):
            await asyncio.wait(self.work)

    async def open_gate(self) -> None:
        """Let every waiting call end."""
        self.gate.set()
        await self.ended()


def version(number: int) -> dict[str, Any]:
    return request("daemon.version", number)


def waiting(number: int) -> dict[str, Any]:
    return request("alerts.list", number)


@pytest.fixture
async def bench() -> AsyncIterator[Bench]:
    async with asyncio.TaskGroup() as tasks:
        bench = Bench(tasks)
        yield bench
        bench.connection.connection_lost(None)


# Answers.


def test_prompt_answers_to_one_piece_are_written_in_one(bench: Bench) -> None:
    bench.say(version(1), version(2), version(3))
    assert bench.ids == [1, 2, 3]
    assert len(bench.wire.written) == 1


def test_many_answers_are_written_in_pieces(bench: Bench) -> None:
    bench.say(*(request("events.list", n, params={"limit": 300}) for n in range(5)))
    assert bench.ids == [0, 1, 2, 3, 4]
    assert len(bench.wire.written) == 2


def test_a_line_that_comes_in_pieces_is_one(bench: Bench) -> None:
    line = json.dumps(version(1)).encode()
    bench.connection.data_received(line[:7])
    bench.connection.data_received(line[7:])
    assert bench.ids == []
    bench.connection.data_received(b"\n")
    assert bench.ids == [1]


def test_what_needs_no_answer_writes_nothing(bench: Bench) -> None:
    bench.say({"jsonrpc": "2.0", "method": "daemon.version"})
    assert bench.wire.written == []


async def test_a_notification_that_waits_writes_nothing(bench: Bench) -> None:
    bench.say({"jsonrpc": "2.0", "method": "alerts.list"})
    await bench.open_gate()
    assert bench.wire.written == []


async def test_a_prompt_call_passes_one_that_waits(bench: Bench) -> None:
    bench.say(waiting(1), version(2))
    assert bench.ids == [2]
    await bench.open_gate()
    assert bench.ids == [2, 1]


# Bounds.


async def test_reading_stops_at_the_limit_of_calls_and_goes_on_after(bench: Bench) -> None:
    bench.say(*(waiting(number) for number in range(MAX_CALLS)))
    assert not bench.wire.reading
    bench.say(version(MAX_CALLS))
    assert bench.ids == []
    await bench.open_gate()
    assert sorted(bench.ids) == list(range(MAX_CALLS + 1))
    assert bench.wire.reading


async def test_a_client_that_takes_no_answers_is_not_read(bench: Bench) -> None:
    bench.connection.pause_writing()
    bench.say(version(1))
    assert (bench.wire.reading, bench.ids) == (False, [])
    bench.connection.resume_writing()
    assert (bench.wire.reading, bench.ids) == (True, [1])


async def test_who_writes_to_a_slow_client_waits_until_it_takes(bench: Bench) -> None:
    bench.connection.pause_writing()
    writing = bench.tasks.create_task(bench.connection.writable())
    await asyncio.wait([writing], timeout=0)
    assert not writing.done()
    bench.connection.resume_writing()
    await writing


async def test_who_writes_to_a_client_that_is_gone_does_not_wait(bench: Bench) -> None:
    bench.connection.pause_writing()
    bench.connection.connection_lost(None)
    await bench.connection.writable()


async def test_a_call_that_takes_too_long_ends_the_connection_with_a_sentence(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(connection_module, "CALL_TIMEOUT_S", 0.01)
    bench.say(waiting(1))
    await bench.ended()
    (answer,) = bench.wire.lines
    assert answer["error"] == {"code": Code.UNAVAILABLE, "message": "a call took too long"}
    assert bench.wire.is_closing()
    assert "a call of root took over 0.01 s and was ended" in caplog.text


def test_an_oversized_line_ends_the_connection_with_a_sentence(bench: Bench) -> None:
    bench.connection.data_received(b" " * (MAX_REQUEST_BYTES + 2))
    (answer,) = bench.wire.lines
    assert answer["error"]["code"] == Code.INVALID_REQUEST
    assert bench.wire.is_closing()


def test_who_is_not_admitted_gets_the_reason() -> None:
    tasks = asyncio.TaskGroup()
    bench = Bench(tasks, verdict="512 connections are open already")
    (answer,) = bench.wire.lines
    assert answer["error"] == {
        "code": Code.LIMIT_REACHED,
        "message": "512 connections are open already",
    }
    assert bench.wire.is_closing()
    assert bench.connection.caller.permissions == frozenset()


async def test_who_is_still_looked_up_is_answered_when_it_is_known() -> None:
    async with asyncio.TaskGroup() as tasks:
        known = asyncio.Event()

        async def look_up() -> Caller:
            await known.wait()
            return ROOT

        bench = Bench(tasks, verdict=tasks.create_task(look_up()))
        bench.say(version(1))
        assert (bench.ids, bench.wire.reading) == ([], False)
        known.set()
        await bench.wire.wrote()
        assert bench.wire.lines == [{"jsonrpc": "2.0", "result": "root", "id": 1}]
        bench.connection.connection_lost(None)


async def test_who_is_gone_before_it_is_known_harms_nothing() -> None:
    async with asyncio.TaskGroup() as tasks:
        looking = tasks.create_task(asyncio.Event().wait())
        bench = Bench(tasks, verdict=cast("asyncio.Task[Caller]", looking))
        bench.say(version(1))
        bench.connection.connection_lost(None)
        looking.cancel()
        await asyncio.wait([looking])
        assert bench.wire.written == []


async def test_one_piece_of_many_dear_lines_leaves_turns_to_others(bench: Bench) -> None:
    bench.doing = lambda: bench.clock.forward(1.01 * SLICE_S)
    bench.say(*(request("metrics.get", number) for number in range(4)))
    assert (bench.ids, bench.wire.reading) == ([0], False)
    bench.say(request("metrics.get", 4))
    for number in range(1, 5):
        await bench.wire.wrote()
        assert bench.ids == list(range(number + 1))
    assert bench.wire.reading


async def test_a_batch_of_dear_elements_leaves_turns_to_others(bench: Bench) -> None:
    done: list[int] = []

    def hold() -> None:
        bench.clock.forward(1.01 * SLICE_S)
        done.append(turn)

    bench.doing = hold
    turn = 0
    bench.say([request("metrics.get", number) for number in range(4)])
    while not bench.wire.written:
        await asyncio.sleep(0)
        turn += 1
    assert len(set(done)) == 4
    assert [answer["id"] for answer in bench.wire.lines[0]] == [0, 1, 2, 3]


# Ends.


def test_an_end_in_the_middle_of_a_line_gets_a_sentence(bench: Bench) -> None:
    bench.connection.data_received(b'{"jsonrpc"')
    assert bench.connection.eof_received() is False
    (answer,) = bench.wire.lines
    assert answer["error"]["message"] == "the connection ended in the middle of a message"
    assert bench.wire.is_closing()


def test_a_client_that_ends_its_side_with_nothing_under_way_is_let_go(bench: Bench) -> None:
    bench.say(version(1))
    assert bench.connection.eof_received() is False


async def test_a_client_that_ends_its_side_gets_the_answers_still_made(bench: Bench) -> None:
    bench.say(waiting(1), waiting(2))
    assert bench.connection.eof_received() is True
    await bench.open_gate()
    assert sorted(bench.ids) == [1, 2]
    assert bench.wire.is_closing()


async def test_a_client_that_ends_its_side_before_it_takes_its_answers_gets_them(
    bench: Bench,
) -> None:
    bench.connection.pause_writing()
    bench.say(version(1), version(2))
    assert bench.connection.eof_received() is True
    bench.connection.resume_writing()
    assert bench.ids == [1, 2]
    assert bench.wire.is_closing()


async def test_what_goes_on_by_itself_ends_when_the_client_ends_its_side(bench: Bench) -> None:
    bench.say(waiting(1))
    bench.connection.run(_for_ever())
    await bench.begun()
    assert bench.connection.eof_received() is True
    late = bench.connection.run(_for_ever())
    await asyncio.wait([bench.work[1], late])
    assert bench.work[1].cancelled()
    assert late.cancelled()
    assert not bench.wire.is_closing()  # there is a call yet to be answered
    await bench.open_gate()
    assert bench.ids == [1]
    assert bench.wire.is_closing()


async def _for_ever() -> None:
    await asyncio.Event().wait()


async def test_the_end_of_a_connection_ends_its_work_and_is_told_once(bench: Bench) -> None:
    bench.say(waiting(1))
    await bench.begun()
    bench.connection.connection_lost(None)
    await bench.ended()
    assert bench.work[0].cancelled()
    assert (bench.closed, bench.connection.is_open) == (1, False)
    assert bench.wire.written == []


async def test_lines_that_wait_are_dropped_with_the_connection(bench: Bench) -> None:
    bench.connection.pause_writing()
    bench.say(version(1))
    bench.connection.connection_lost(None)
    bench.connection.resume_writing()
    assert bench.wire.written == []


async def test_nothing_is_written_after_a_close(bench: Bench) -> None:
    bench.connection.close()
    assert not bench.connection.is_open
    bench.connection.send(b"late")
    assert bench.wire.written == []


async def test_closing_what_is_gone_changes_nothing(bench: Bench) -> None:
    bench.connection.connection_lost(None)
    bench.connection.close()
    assert not bench.wire.is_closing()


async def test_a_daemon_that_stops_abandons_what_is_under_way(bench: Bench) -> None:
    bench.say(waiting(1))
    await bench.begun()
    bench.connection.abandon()
    await bench.ended()
    assert bench.work[0].cancelled()
    assert bench.wire.is_closing()
