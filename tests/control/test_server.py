"""The control socket from outside: what a hostile, clumsy or slow client gets."""

import asyncio
import json
import os
import socket
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from control.fix_client import LineClient, request
from storewatch.wire import Code
from storewatch.wire.framing import MAX_REQUEST_BYTES
from storewatch.wire.methods import METHODS
from storewatchd.control import server as server_module
from storewatchd.control.connection import MAX_CALLS
from storewatchd.control.dispatch import MAX_BATCH, Call, Dispatcher, Handler
from storewatchd.control.peer import Peer
from storewatchd.control.server import OWN_PLACES, ControlServer
from storewatchd.core.permissions import NOTHING, Caller, PeerGroups
from storewatchd.errors import NotFound, StorewatchError, Unauthenticated

NO_GROUPS = PeerGroups(read=None, write=None)


class Plane:
    """Handlers that answer from their parameters, and a gate that some of them wait at."""

    def __init__(self) -> None:
        self.gate = asyncio.Event()
        self.waiting = 0
        self.most_waiting = 0

    def handlers(self) -> dict[str, Handler]:
        def refuse(call: Call, asked: Any) -> Any:
            raise NotFound("nothing is here", id="x")

        def version(call: Call, asked: Any) -> Any:
            return {"caller": call.caller.name}

        def broken(call: Call, asked: Any) -> Any:
            raise ZeroDivisionError("a secret detail")

        async def wait(call: Call, asked: Any) -> Any:
            self.waiting += 1
            self.most_waiting = max(self.most_waiting, self.waiting)
            await self.gate.wait()
            self.waiting -= 1
            return asked.limit

        def text(call: Call, asked: Any) -> Any:
            return "x" * 1_000_000

        known: dict[str, Handler] = dict.fromkeys(METHODS, refuse)
        return known | {
            "daemon.version": version,
            "daemon.status": broken,
            "alerts.list": wait,
            "metrics.text": text,
        }


def authenticate(secret: str) -> Caller:
    if secret != "good":
        raise Unauthenticated("the bearer token is unknown, expired or revoked")
    return Caller("token reader", NOTHING, "t1")


@pytest.fixture
def plane() -> Plane:
    return Plane()


@pytest.fixture
async def path(plane: Plane, tmp_path: Path) -> AsyncIterator[Path]:
    path = tmp_path / "control.sock"
    async with ControlServer(Dispatcher(plane.handlers(), authenticate), NO_GROUPS) as server:
        await server.listen_at(path)
        yield path


@pytest.fixture
async def client(path: Path) -> AsyncIterator[LineClient]:
    client = await LineClient.at(path)
    yield client
    client.close()


async def test_a_peer_of_the_daemons_own_user_is_known_by_name(client: LineClient) -> None:
    answer = await client.ask(request("daemon.version", "a"))
    assert answer["id"] == "a"
    assert answer["result"]["caller"]


@pytest.mark.parametrize(
    ("line", "code", "words"),
    [
        pytest.param(b"{", Code.PARSE_ERROR, "not JSON", id="truncated"),
        pytest.param(b"\xff\xfe", Code.PARSE_ERROR, "not JSON", id="garbage"),
        pytest.param(b"[" * 100_000, Code.PARSE_ERROR, "nested too deep", id="deep"),
        pytest.param(b"[]", Code.INVALID_REQUEST, "at least one", id="empty batch"),
        pytest.param(b"7", Code.INVALID_REQUEST, "is an object", id="a number"),
        pytest.param(b'{"method":"x"}', Code.INVALID_REQUEST, "jsonrpc", id="no version"),
        pytest.param(
            b'{"jsonrpc":"2.0","method":1}', Code.INVALID_REQUEST, "method", id="method type"
        ),
        pytest.param(
            b'{"jsonrpc":"2.0","method":"m","params":1}',
            Code.INVALID_REQUEST,
            "params",
            id="params type",
        ),
        pytest.param(
            b'{"jsonrpc":"2.0","method":"m","id":{}}', Code.INVALID_REQUEST, "id", id="id type"
        ),
        pytest.param(
            b'{"jsonrpc":"2.0","method":"m","id":1,"auth":1}',
            Code.INVALID_REQUEST,
            "auth",
            id="auth type",
        ),
    ],
)
async def test_a_malformed_line_gets_a_sentence_and_the_connection_goes_on(
    client: LineClient, line: bytes, code: Code, words: str
) -> None:
    answer = await client.ask(line)
    assert answer["error"]["code"] == code
    assert words in answer["error"]["message"]
    assert "result" in await client.ask(request("daemon.version"))


async def test_an_unknown_method_is_named_with_its_nearest_neighbour(client: LineClient) -> None:
    answer = await client.ask(request("alert.list"))
    assert answer["error"]["code"] == Code.METHOD_NOT_FOUND
    assert "did you mean alerts.list?" in answer["error"]["message"]


@pytest.mark.parametrize(
    ("params", "words"),
    [
        pytest.param({"limti": 1}, "unknown parameter limti", id="unknown"),
        pytest.param({"limit": "many"}, "limit: expected a whole number", id="type"),
        pytest.param({"limit": 0}, "limit: expected a whole number >= 1", id="range"),
        pytest.param(
            {"severity": ["bad"]}, "severity[0]: expected one of critical, info", id="closed set"
        ),
        pytest.param([1], "parameters are named", id="positional"),
    ],
)
async def test_a_wrong_parameter_is_named(client: LineClient, params: Any, words: str) -> None:
    answer = await client.ask(request("alerts.list", params=params))
    assert answer["error"]["code"] == Code.INVALID_PARAMS
    assert words in answer["error"]["message"]


async def test_a_missing_parameter_is_named(client: LineClient) -> None:
    answer = await client.ask(request("alerts.get"))
    assert answer["error"]["message"] == "missing parameter id"


async def test_one_bad_element_of_a_batch_spoils_nothing(client: LineClient) -> None:
    answers = await client.ask(
        [
            request("daemon.version", 1),
            {"nonsense": True},
            request("alerts.get", 3, params={"id": "x"}),
            {"jsonrpc": "2.0", "method": "daemon.version"},
        ]
    )
    assert [answer["id"] for answer in answers] == [1, None, 3]
    assert "result" in answers[0]
    assert answers[1]["error"]["code"] == Code.INVALID_REQUEST
    assert answers[2]["error"] == {
        "code": Code.NOT_FOUND,
        "message": "nothing is here",
        "data": {"id": "x"},
    }


async def test_a_batch_over_the_limit_is_refused_whole(client: LineClient) -> None:
    answer = await client.ask([request("daemon.version", n) for n in range(MAX_BATCH + 1)])
    assert answer["error"]["code"] == Code.LIMIT_REACHED


async def test_a_notification_is_never_answered(client: LineClient) -> None:
    await client.say({"jsonrpc": "2.0", "method": "daemon.version"})
    await client.say({"jsonrpc": "2.0", "method": "no.such.method"})
    assert (await client.ask(request("daemon.version", "next")))["id"] == "next"


async def test_an_unexpected_error_tells_no_detail(client: LineClient) -> None:
    answer = await client.ask(request("daemon.status"))
    assert answer["error"]["code"] == Code.INTERNAL_ERROR
    assert "secret" not in json.dumps(answer)


async def test_a_bearer_token_is_judged_instead_of_the_peer(client: LineClient) -> None:
    known = await client.ask(request("daemon.version", auth="good"))
    assert known["result"]["caller"] == "token reader"
    lacking = await client.ask(request("metrics.text", auth="good"))
    assert lacking["error"]["code"] == Code.FORBIDDEN
    assert lacking["error"]["data"] == {"missing": "monitoring:read"}
    unknown = await client.ask(request("daemon.version", auth="bad"))
    assert unknown["error"]["code"] == Code.UNAUTHENTICATED


async def test_an_oversized_line_ends_the_connection_with_a_sentence(client: LineClient) -> None:
    client.writer.write(b" " * (MAX_REQUEST_BYTES + 2))
    answer = await client.hear()
    assert f"longer than {MAX_REQUEST_BYTES} bytes" in answer["error"]["message"]
    assert await client.ended()


async def test_a_half_sent_message_gets_a_sentence_at_its_end(client: LineClient) -> None:
    client.writer.write(b'{"jsonrpc":"2.0","met')
    client.writer.write_eof()
    assert "middle of a message" in (await client.hear())["error"]["message"]
    assert await client.ended()


async def test_a_client_that_ends_its_side_still_gets_its_answers(
    client: LineClient, plane: Plane
) -> None:
    await client.say(request("alerts.list", params={"limit": 7}))
    client.writer.write_eof()
    plane.gate.set()
    assert (await client.hear())["result"] == 7
    assert await client.ended()


async def test_slow_calls_do_not_hold_up_prompt_ones(client: LineClient, plane: Plane) -> None:
    await client.say(request("alerts.list", "slow"))
    assert (await client.ask(request("daemon.version", "prompt")))["id"] == "prompt"
    plane.gate.set()
    assert (await client.hear())["id"] == "slow"


async def test_calls_under_way_are_bounded_and_none_is_lost(
    client: LineClient, plane: Plane
) -> None:
    for number in range(3 * MAX_CALLS):
        # One write each, so that reading can stop between them.
        await client.say(request("alerts.list", number))
    plane.gate.set()
    ids = {(await client.hear())["id"] for _ in range(3 * MAX_CALLS)}
    assert ids == set(range(3 * MAX_CALLS))


async def test_a_client_that_reads_nothing_stops_being_read(path: Path, client: LineClient) -> None:
    loop = asyncio.get_running_loop()
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as deaf:
        deaf.setblocking(False)
        await loop.sock_connect(deaf, os.fspath(path))
        # 50 MB of requests, each answered with 1 MB: sent whole only by a daemon without a bound.
        flood = (json.dumps(request("metrics.text")).encode() + b"\n") * 1_000_000
        with pytest.raises(TimeoutError):
            # The bound is the act: the daemon stops reading, so the send never ends.
            await asyncio.wait_for(loop.sock_sendall(deaf, flood), 1)
        assert "result" in await client.ask(request("daemon.version"))


async def test_a_stale_socket_file_is_replaced(plane: Plane, tmp_path: Path) -> None:
    path = tmp_path / "stale.sock"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(os.fspath(path))
    async with ControlServer(Dispatcher(plane.handlers(), authenticate), NO_GROUPS) as server:
        await server.listen_at(path)
        client = await LineClient.at(path)
        assert "result" in await client.ask(request("daemon.version"))
        client.close()
    assert not path.exists()


async def test_a_second_daemon_is_refused_and_harms_nothing(
    plane: Plane, path: Path, client: LineClient
) -> None:
    async with ControlServer(Dispatcher(plane.handlers(), authenticate), NO_GROUPS) as second:
        with pytest.raises(StorewatchError, match="another daemon answers at"):
            await second.listen_at(path)
    assert "result" in await client.ask(request("daemon.version"))


async def test_a_file_in_the_way_is_named_and_kept(plane: Plane, tmp_path: Path) -> None:
    path = tmp_path / "control.sock"
    path.write_text("precious")
    async with ControlServer(Dispatcher(plane.handlers(), authenticate), NO_GROUPS) as server:
        with pytest.raises(StorewatchError, match="in the way of the control socket"):
            await server.listen_at(path)
    assert path.read_text() == "precious"


async def test_a_path_beyond_the_kernels_limit_is_refused_with_its_length(
    plane: Plane, tmp_path: Path
) -> None:
    async with ControlServer(Dispatcher(plane.handlers(), authenticate), NO_GROUPS) as server:
        with pytest.raises(StorewatchError, match="at most 107 bytes"):
            await server.listen_at(tmp_path / ("x" * 120))


async def test_one_connection_too_many_gets_the_reason(
    path: Path, client: LineClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "result" in await client.ask(request("daemon.version"))
    monkeypatch.setattr(server_module, "MAX_CONNECTIONS", 1)
    late = await LineClient.at(path)
    assert (await late.hear())["error"] == {
        "code": Code.LIMIT_REACHED,
        "message": "1 connections are open already",
    }
    assert await late.ended()
    assert "result" in await client.ask(request("daemon.version"))
    late.close()


async def test_places_are_kept_for_root_and_the_daemons_own_user(
    path: Path, client: LineClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "result" in await client.ask(request("daemon.version"))
    monkeypatch.setattr(server_module, "MAX_CONNECTIONS", OWN_PLACES + 1)
    own = await LineClient.at(path)
    assert "result" in await own.ask(request("daemon.version"))
    # The kernel's word about somebody else, which only root could have it say.
    monkeypatch.setattr(server_module, "peer_of", lambda _: Peer(1, 4_000_000, frozenset()))
    stranger = await LineClient.at(path)
    assert (await stranger.hear())["error"]["message"] == "1 connections are open already"
    stranger.close()
    own.close()


async def test_subscribers_that_closed_take_no_place(plane: Plane, tmp_path: Path) -> None:
    handlers = plane.handlers()
    handlers["events.subscribe"] = lambda call, _: bool(call.connection.run(_for_ever()))
    async with ControlServer(Dispatcher(handlers, authenticate), NO_GROUPS) as server:
        await server.listen_at(tmp_path / "control.sock")
        for _ in range(3):
            gone = await LineClient.at(tmp_path / "control.sock")
            assert (await gone.ask(request("events.subscribe")))["result"]
            gone.close()
        last = await LineClient.at(tmp_path / "control.sock")
        assert "result" in await last.ask(request("daemon.version"))
        assert len(server) == 1
        last.close()


async def _for_ever() -> None:
    await asyncio.Event().wait()


async def test_a_socket_of_another_kind_in_the_way_is_named_and_kept(
    plane: Plane, tmp_path: Path
) -> None:
    path = tmp_path / "control.sock"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as other:
        other.bind(os.fspath(path))
        async with ControlServer(Dispatcher(plane.handlers(), authenticate), NO_GROUPS) as server:
            with pytest.raises(StorewatchError, match="in the way of the control socket"):
                await server.listen_at(path)
    assert path.exists()


async def test_a_directory_that_is_not_there_is_named(plane: Plane, tmp_path: Path) -> None:
    path = tmp_path / "none" / "control.sock"
    async with ControlServer(Dispatcher(plane.handlers(), authenticate), NO_GROUPS) as server:
        with pytest.raises(StorewatchError, match=f"{path} cannot be made: No such file"):
            await server.listen_at(path)


async def test_a_connection_that_ends_is_forgotten(plane: Plane, tmp_path: Path) -> None:
    async with ControlServer(Dispatcher(plane.handlers(), authenticate), NO_GROUPS) as server:
        await server.listen_at(tmp_path / "control.sock")
        first, second = [await LineClient.at(tmp_path / "control.sock") for _ in range(2)]
        await second.ask(request("daemon.version"))
        first.writer.write_eof()
        assert await first.ended()
        await second.ask(request("daemon.version"))
        assert len(server) == 1
        first.close()
        second.close()
