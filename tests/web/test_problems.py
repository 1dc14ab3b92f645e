"""Problem documents, and which status each refusal of the daemon has."""

import json
from typing import Any

import pytest
from aiohttp import web

from storewatch import CallError, ClientError
from storewatch.errors import ConnectionLost, ProtocolError
from storewatch.wire import Code
from storewatch_web.problems import Problem, of_client_error, response


def document(answer: web.Response) -> Any:
    assert answer.content_type == "application/problem+json"
    assert isinstance(answer.body, bytes)
    return json.loads(answer.body)


def test_a_problem_is_told_with_its_status_and_facts() -> None:
    answer = response(404, "there is no alert x", id="x")
    assert answer.status == 404
    assert document(answer) == {
        "type": "about:blank",
        "title": "Not found",
        "status": 404,
        "detail": "there is no alert x",
        "id": "x",
    }


def test_a_status_without_a_title_is_an_error() -> None:
    assert document(response(418, "no coffee"))["title"] == "Error"


@pytest.mark.parametrize(
    ("status", "header", "value"),
    [
        (401, "WWW-Authenticate", 'Bearer realm="storewatch"'),
        (429, "Retry-After", "5"),
        (503, "Retry-After", "2"),
    ],
)
def test_some_say_what_to_do(status: int, header: str, value: str) -> None:
    assert response(status, "").headers[header] == value


def test_a_problem_is_its_detail() -> None:
    problem = Problem(400, "limit: expected int", parameter="limit")
    assert str(problem) == "limit: expected int"
    assert (problem.status, problem.facts) == (400, {"parameter": "limit"})


@pytest.mark.parametrize(
    ("code", "status"),
    [
        (Code.INVALID_PARAMS, 400),
        (Code.INVALID_REQUEST, 400),
        (Code.UNAUTHENTICATED, 401),
        (Code.FORBIDDEN, 403),
        (Code.NOT_FOUND, 404),
        (Code.CONFLICT, 409),
        (Code.LIMIT_REACHED, 429),
        (Code.UNAVAILABLE, 503),
        (Code.METHOD_NOT_FOUND, 500),
        (Code.PARSE_ERROR, 500),
        (Code.INTERNAL_ERROR, 500),
        pytest.param(-1, 500, id="a code of a newer daemon"),
    ],
)
def test_every_refusal_has_its_status(code: int, status: int) -> None:
    answer = of_client_error(CallError(code, "it says why"))
    assert answer.status == status
    assert document(answer)["detail"] == "it says why"


@pytest.mark.parametrize(
    ("data", "facts"),
    [
        pytest.param({"missing": "monitoring:read"}, {"missing": "monitoring:read"}, id="facts"),
        pytest.param(
            {"status": 200, "title": "fine", "type": "x", "detail": "y", "id": "z"},
            {"id": "z"},
            id="facts that are ours to say",
        ),
        pytest.param(None, {}, id="nothing"),
        pytest.param(["a"], {}, id="no object"),
    ],
)
def test_the_daemons_facts_are_passed_on(data: Any, facts: dict[str, Any]) -> None:
    told = document(of_client_error(CallError(Code.FORBIDDEN, "no", data)))
    assert told == {
        "type": "about:blank",
        "title": "Not permitted",
        "status": 403,
        "detail": "no",
        **facts,
    }


@pytest.mark.parametrize("error", [ConnectionLost("gone"), ProtocolError("garbled")])
def test_a_daemon_that_cannot_be_asked_is_away(error: ClientError) -> None:
    answer = of_client_error(error)
    assert answer.status == 503
    assert document(answer)["detail"] == f"the daemon is away: {error}"
