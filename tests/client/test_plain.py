"""The blocking client against a real peer."""

import json
import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from fix_peer import Refusal, Silence, WirePeer, event, notice
from storewatch.errors import (
    CallError,
    ConnectionLost,
    ProtocolError,
    Unreachable,
    Unsendable,
)
from storewatch.plain import PlainClient
from storewatch.wire.framing import MAX_REQUEST_BYTES


@pytest.fixture
def peer(tmp_path: Path) -> Iterator[WirePeer]:
    with WirePeer(tmp_path / "s") as peer:
        yield peer


def test_calls_share_one_connection_and_carry_the_token(peer: WirePeer) -> None:
    peer.answers["echo"] = lambda params: params
    with PlainClient(str(peer.path), token="secret") as client:
        assert client.call("echo", {"a": 1}) == {"a": 1}
        assert client.call("echo", {"b": [None]}) == {"b": [None]}
    assert [one["auth"] for one in peer.requests] == ["secret", "secret"]
    assert [one["id"] for one in peer.requests] == [1, 2]


def test_an_error_keeps_its_facts(peer: WirePeer) -> None:
    def refuse(_: object) -> None:
        raise Refusal(-32004, "there is no alert 'x'", {"id": "x"})

    peer.answers["alerts.get"] = refuse
    with PlainClient(str(peer.path)) as client:
        with pytest.raises(CallError, match="there is no alert 'x'") as caught:
            client.call("alerts.get")
        assert (caught.value.code, caught.value.data) == (-32004, {"id": "x"})
        assert client.call("daemon.version")["node"] == "peer"


def test_events_between_question_and_answer_do_not_disturb(peer: WirePeer) -> None:
    peer.greeting = notice("s1", event(1), event(2))
    with PlainClient(str(peer.path)) as client:
        assert client.call("daemon.version")["node"] == "peer"


def test_notifications_come_one_by_one_until_the_daemon_goes(peer: WirePeer) -> None:
    peer.behind = notice("s1", event(1), event(2))
    with PlainClient(str(peer.path)) as client:
        client.call("daemon.version")
        heard = client.notifications()
        assert [next(heard)[1]["event"]["seq"] for _ in range(2)] == [1, 2]
        peer.hang_up()
        with pytest.raises(ConnectionLost, match="closed the connection"):
            next(heard)


def test_a_path_without_a_socket_is_unreachable_and_named(tmp_path: Path) -> None:
    path = tmp_path / "none"
    with pytest.raises(Unreachable, match=f"no daemon answers at {path}: no such file"):
        PlainClient(str(path))


def test_a_stale_socket_is_unreachable(tmp_path: Path) -> None:
    path = tmp_path / "stale"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(os.fspath(path))
    with pytest.raises(Unreachable, match="connection refused"):
        PlainClient(str(path))


def test_a_daemon_that_closes_before_it_answers_is_lost(peer: WirePeer) -> None:
    def leave(_: object) -> None:
        peer.hang_up()
        raise Silence

    peer.answers["daemon.status"] = leave
    with (
        PlainClient(str(peer.path)) as client,
        pytest.raises(ConnectionLost, match="closed the connection"),
    ):
        client.call("daemon.status")


def test_a_daemon_that_says_nothing_is_given_up(peer: WirePeer) -> None:
    def nothing(_: object) -> None:
        raise Silence

    peer.answers["daemon.status"] = nothing
    with (
        PlainClient(str(peer.path), timeout_s=0.05) as client,
        pytest.raises(ConnectionLost, match=r"did not answer daemon\.status within 0\.05 s"),
    ):
        client.call("daemon.status")


def test_a_refused_connection_tells_the_daemons_reason(peer: WirePeer) -> None:
    refusal = {"id": None, "error": {"code": -32012, "message": "512 connections are open already"}}
    peer.greeting = json.dumps(refusal).encode() + b"\n"
    with (
        PlainClient(str(peer.path)) as client,
        pytest.raises(CallError, match="512 connections") as caught,
    ):
        client.call("daemon.version")
    assert caught.value.is_passing


@pytest.mark.parametrize(
    "words",
    [
        pytest.param(b"SSH-2.0-OpenSSH\r\n", id="another protocol"),
        pytest.param(b'{"id":1}\n', id="neither result nor error"),
        pytest.param(b"\xff\xfe\n", id="no text"),
    ],
)
def test_what_is_no_daemon_is_told_so(peer: WirePeer, words: bytes) -> None:
    peer.greeting = words
    with PlainClient(str(peer.path)) as client, pytest.raises(ProtocolError, match="is no daemon"):
        client.call("daemon.version")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        pytest.param("x" * MAX_REQUEST_BYTES, "is too long", id="too long"),
        pytest.param("a\udcffb", "not UTF-8 text: a", id="no text"),
    ],
)
def test_what_cannot_be_sent_is_refused_and_the_connection_goes_on(
    peer: WirePeer, text: str, said: str
) -> None:
    with PlainClient(str(peer.path)) as client:
        with pytest.raises(Unsendable, match=said):
            client.call("daemon.version", {"x": text})
        assert client.call("daemon.version")["node"] == "peer"
