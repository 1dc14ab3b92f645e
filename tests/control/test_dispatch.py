"""From a line to its answer: envelopes, batches, permissions, and one code for each error."""

import asyncio
import json
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from storewatch.wire import Code
from storewatch.wire.methods import METHODS
from storewatchd.control.connection import Connection
from storewatchd.control.dispatch import MAX_BATCH, Call, Dispatcher, Handler
from storewatchd.control.errors import CODES
from storewatchd.core.permissions import EVERYTHING, NOTHING, READ_ONLY, Caller
from storewatchd.errors import (
    Conflict,
    Forbidden,
    InvalidParams,
    JournalError,
    LimitReached,
    NotFound,
    RequestError,
    Unauthenticated,
    Unavailable,
)

Doing = Callable[[Any], Any]


def authenticate(secret: str) -> Caller:
    return Caller(f"token {secret}", READ_ONLY if secret == "reader" else NOTHING, "t1")


class Desk:
    """A dispatcher whose every method answers with its caller and parameters; `doings` replace
    what single methods do."""

    def __init__(self, **doings: Doing) -> None:
        self.calls: list[str] = []
        self._doings = doings
        handlers = {name: self._handler(name) for name in METHODS}
        self.dispatcher = Dispatcher(handlers, authenticate)
        self.connection = Connection(
            self.dispatcher, admit=_never, spawn=_never, closed=lambda _: None
        )
        self.connection.caller = Caller("root", EVERYTHING)

    def _handler(self, name: str) -> Handler:
        doing = self._doings.get(name.replace(".", "_"), _limit_of)

        def prompt(call: Call, asked: Any) -> Any:
            self.calls.append(name)
            assert call.connection is self.connection
            return doing(asked) if name != "daemon.version" else {"caller": call.caller.name}

        async def waiting(call: Call, asked: Any) -> Any:
            self.calls.append(name)
            return doing(asked)

        return waiting if METHODS[name].permission == "monitoring:write" else prompt

    async def answer(self, document: Any) -> Any:
        """Return the decoded answer to a document, None where there is none."""
        line = document if isinstance(document, bytes) else json.dumps(document).encode()
        answer = self.dispatcher.answer(line, self.connection)
        if asyncio.iscoroutine(answer):
            answer = await answer
        assert answer is None or isinstance(answer, bytes)
        return None if answer is None else json.loads(answer)

    async def error(self, document: Any) -> dict[str, Any]:
        found: dict[str, Any] = (await self.answer(document))["error"]
        return found


def _limit_of(asked: Any) -> Any:
    return {"limit": asked.limit}


def _never(*_: Any) -> Any:
    raise AssertionError("nothing is connected")


def call(method: str, call_id: Any = 1, **members: Any) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "method": method, "id": call_id, **members}


# Which methods there are.


@pytest.mark.parametrize(
    ("change", "named"),
    [
        pytest.param({"alerts.list": None}, "alerts.list", id="missing"),
        pytest.param({"alerts.lost": _never}, "alerts.lost", id="unknown"),
    ],
)
def test_handlers_and_contract_must_agree(change: dict[str, Any], named: str) -> None:
    handlers = {**dict.fromkeys(METHODS, _never), **change}
    handlers = {name: handler for name, handler in handlers.items() if handler is not None}
    with pytest.raises(ValueError, match=f"differ: {named}"):
        Dispatcher(handlers, authenticate)


async def test_what_never_waits_is_answered_at_once() -> None:
    desk = Desk()
    answer = desk.dispatcher.answer(json.dumps(call("daemon.version")).encode(), desk.connection)
    assert isinstance(answer, bytes)


async def test_what_may_wait_is_a_coroutine() -> None:
    desk = Desk(alerts_create=lambda asked: {"title": asked.title})
    params = {"severity": "info", "source": "s", "title": "Fan"}
    line = json.dumps(call("alerts.create", params=params)).encode()
    answer = desk.dispatcher.answer(line, desk.connection)
    assert isinstance(answer, Coroutine)
    assert json.loads(await answer or b"")["result"] == {"title": "Fan"}


# Lines and envelopes.


@pytest.mark.parametrize(
    ("line", "words"),
    [
        pytest.param(b'{"a":', "not JSON", id="truncated"),
        pytest.param(b'{"jsonrpc":"2.0","method":"\xff"}', "not", id="not UTF-8"),
        pytest.param(b"[" * 100_000, "nested too deep", id="deep"),
    ],
)
async def test_what_is_no_document_has_no_id(line: bytes, words: str) -> None:
    answer = await Desk().answer(line)
    assert (answer["error"]["code"], answer["id"]) == (Code.PARSE_ERROR, None)
    assert words in answer["error"]["message"]


@pytest.mark.parametrize("call_id", ["a", 7, None, 1.5])
async def test_an_answer_has_the_id_of_its_call(call_id: Any) -> None:
    assert (await Desk().answer(call("daemon.version", call_id)))["id"] == call_id


@pytest.mark.parametrize(
    ("element", "call_id"),
    [
        pytest.param({"id": "a"}, "a", id="text"),
        pytest.param({"id": 7}, 7, id="number"),
        pytest.param({"id": 1.5}, None, id="fraction"),
        pytest.param({"id": []}, None, id="list"),
        pytest.param([1], None, id="no object"),
    ],
)
async def test_a_bad_envelope_is_answered_with_its_id_where_it_has_one(
    element: Any, call_id: Any
) -> None:
    (answer,) = await Desk().answer([element])
    assert (answer["error"]["code"], answer["id"]) == (Code.INVALID_REQUEST, call_id)


async def test_a_truth_value_is_no_id() -> None:
    assert "id: expected" in (await Desk().error(call("daemon.version", True)))["message"]


@pytest.mark.parametrize(
    ("params", "place"),
    [
        pytest.param({"expr": "a\0b"}, "expr", id="text"),
        pytest.param({"labels": {"a\0": "b"}}, "a name", id="name"),
        pytest.param({"label": ["a", "b\0"]}, "label", id="list"),
        pytest.param({"labels": {"deep": "\0"}}, "deep", id="inner text"),
    ],
)
async def test_the_place_of_a_zero_character_is_named(params: Any, place: str) -> None:
    error = await Desk().error(call("metrics.query", params=params))
    assert error == {
        "code": Code.INVALID_REQUEST,
        "message": f"{place} holds the character U+0000",
    }


async def test_the_words_for_a_zero_character_are_no_zero_character() -> None:
    desk = Desk(metrics_query=lambda asked: asked.expr)
    answer = await desk.answer(call("metrics.query", params={"expr": "\\u0000"}))
    assert answer["result"] == "\\u0000"


# Batches.


async def test_a_batch_is_answered_in_its_order_also_by_those_that_wait() -> None:
    desk = Desk(probes_run=lambda asked: asked.probe)
    batch = [
        call("probes.run", "first", params={"probe": "a"}),
        call("daemon.version", "second"),
        call("probes.run", "third", params={"probe": "b"}),
    ]
    answers = await desk.answer(batch)
    assert [answer["id"] for answer in answers] == ["first", "second", "third"]
    assert desk.calls == ["probes.run", "daemon.version", "probes.run"]


async def test_a_batch_of_notifications_is_done_and_not_answered() -> None:
    desk = Desk()
    notification = {"jsonrpc": "2.0", "method": "daemon.version"}
    assert await desk.answer([notification, notification]) is None
    assert desk.calls == ["daemon.version"] * 2


async def test_a_notification_that_waits_is_done_and_not_answered() -> None:
    desk = Desk(probes_run=lambda asked: asked.probe)
    params = {"probe": "a"}
    assert await desk.answer({"jsonrpc": "2.0", "method": "probes.run", "params": params}) is None
    assert desk.calls == ["probes.run"]


async def test_a_notification_of_nothing_known_is_passed_over() -> None:
    assert await Desk().answer({"jsonrpc": "2.0", "method": "no.such"}) is None


async def test_a_batch_at_its_limit_is_taken() -> None:
    answers = await Desk().answer([call("daemon.version", n) for n in range(MAX_BATCH)])
    assert len(answers) == MAX_BATCH


# Who may call what.


async def test_a_lacking_permission_is_named_before_any_parameter() -> None:
    desk = Desk()
    desk.connection.caller = Caller("ann", READ_ONLY)
    error = await desk.error(call("repositories.add", params={"nonsense": 1}))
    assert error == {
        "code": Code.FORBIDDEN,
        "message": "ann lacks monitoring:admin",
        "data": {"missing": "monitoring:admin"},
    }
    assert desk.calls == []


@pytest.mark.parametrize("name", [name for name in METHODS if METHODS[name].permission])
async def test_every_permission_is_granted_by_itself(name: str) -> None:
    desk = Desk()
    others = frozenset(one for one in EVERYTHING if one != METHODS[name].permission)
    desk.connection.caller = Caller("ann", others)
    error = await desk.error(call(name))
    assert error["data"] == {"missing": METHODS[name].permission}


async def test_what_needs_no_permission_answers_anybody() -> None:
    desk = Desk(health_get=lambda asked: "fine")
    desk.connection.caller = Caller("nobody", NOTHING)
    assert (await desk.answer(call("health.get")))["result"] == "fine"


async def test_a_tokens_permissions_replace_the_peers() -> None:
    desk = Desk(metrics_get=lambda asked: "numbers")
    assert (await desk.answer(call("metrics.get", auth="reader")))["result"] == "numbers"
    assert (await desk.error(call("metrics.get", auth="other")))["code"] == Code.FORBIDDEN


# Parameters and errors.


@pytest.mark.parametrize(
    ("params", "sentence"),
    [
        pytest.param({"since": 1}, "since: expected text, found a whole number", id="type"),
        pytest.param(
            {"types": ["fan"]},
            (
                "types[0]: expected one of alert, metrics, scst, storage, system, tape, task, vtl, "
                "found 'fan'"
            ),
            id="closed set",
        ),
        pytest.param({"limit": 1001}, "limit: expected a whole number <= 1000", id="range"),
        pytest.param({"sinse": "x"}, "unknown parameter sinse", id="unknown"),
        pytest.param(["x"], "parameters are named: send an object, not a list", id="positional"),
    ],
)
async def test_a_wrong_parameter_is_told_in_one_sentence(params: Any, sentence: str) -> None:
    error = await Desk().error(call("events.list", params=params))
    assert error["code"] == Code.INVALID_PARAMS
    assert error["message"] == sentence


async def test_a_missing_parameter_is_told_in_one_sentence() -> None:
    assert (await Desk().error(call("probes.run")))["message"] == "missing parameter probe"


async def test_parameters_may_be_left_out() -> None:
    assert (await Desk().answer(call("events.list")))["result"] == {"limit": 50}


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (InvalidParams("no"), -32602),
        (NotFound("no"), -32004),
        (Conflict("no"), -32009),
        (Forbidden("no"), -32003),
        (Unauthenticated("no"), -32001),
        (Unavailable("no"), -32010),
        (LimitReached("no"), -32012),
    ],
    ids=lambda one: type(one).__name__ if isinstance(one, RequestError) else "",
)
async def test_each_refusal_has_its_code_and_facts(error: RequestError, code: int) -> None:
    def refuse(_: Any) -> Any:
        error.facts = {"id": "x"}
        raise error

    desk = Desk(events_list=refuse)
    assert await desk.error(call("events.list")) == {
        "code": code,
        "message": "no",
        "data": {"id": "x"},
    }


def test_every_kind_of_refusal_has_a_code() -> None:
    assert set(RequestError.__subclasses__()) == set(CODES)


@pytest.mark.parametrize("method", ["events.list", "probes.run"], ids=["prompt", "waiting"])
@pytest.mark.parametrize(
    ("cause", "message"),
    [
        pytest.param(TimeoutError(), "this took too long and was given up", id="time"),
        pytest.param(JournalError("state.db: no"), "state.db: no", id="journal"),
    ],
)
async def test_what_the_disk_or_time_did_not_allow_is_unavailable(
    method: str, cause: Exception, message: str
) -> None:
    def give_up(_: Any) -> Any:
        raise cause

    desk = Desk(events_list=give_up, probes_run=give_up)
    params = {"probe": "a"} if method == "probes.run" else {}
    error = await desk.error(call(method, params=params))
    assert (error["code"], error["message"]) == (
        Code.UNAVAILABLE,
        message,
    )


@pytest.mark.parametrize("method", ["events.list", "probes.run"], ids=["prompt", "waiting"])
async def test_an_unexpected_error_is_logged_and_not_told(
    method: str, caplog: pytest.LogCaptureFixture
) -> None:
    def break_(_: Any) -> Any:
        raise ZeroDivisionError("a secret detail")

    desk = Desk(events_list=break_, probes_run=break_)
    params = {"probe": "a"} if method == "probes.run" else {}
    error = await desk.error(call(method, params=params))
    assert error["code"] == Code.INTERNAL_ERROR
    assert "secret" not in json.dumps(error)
    assert "a secret detail" in caplog.text


async def test_a_zero_character_is_answered_by_its_own_element_and_spoils_no_other() -> None:
    desk = Desk()
    bad = {"jsonrpc": "2.0", "id": 7, "method": "alerts.get", "params": {"id": "a\0b"}}
    good = {"jsonrpc": "2.0", "id": 8, "method": "daemon.version"}
    refused, answered = await desk.answer(json.dumps([bad, good]).encode())
    assert refused["id"] == 7
    assert refused["error"] == {
        "code": Code.INVALID_REQUEST,
        "message": "id holds the character U+0000",
    }
    assert answered == {"jsonrpc": "2.0", "id": 8, "result": {"caller": "root"}}
