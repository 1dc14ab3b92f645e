"""Query strings and bodies: what they become, and how what is wrong is named."""

import asyncio
from typing import Any
from urllib.parse import urlencode

import pytest
from aiohttp import StreamReader
from aiohttp.base_protocol import BaseProtocol
from aiohttp.test_utils import make_mocked_request
from hypothesis import given
from hypothesis import strategies as st

from storewatch.wire import params
from storewatch_web.problems import Problem
from storewatch_web.query import MAX_BODY_BYTES, allowed, body, decode


def decoded(query: str, kind: type[params.Params] = params.AlertsList) -> dict[str, Any]:
    return decode(make_mocked_request("GET", f"/?{query}"), kind)


# Query strings.


@pytest.mark.parametrize(
    ("query", "found"),
    [
        pytest.param("", {}, id="nothing"),
        pytest.param("limit=5", {"limit": 5}, id="number"),
        pytest.param("acknowledged=true", {"acknowledged": True}, id="true"),
        pytest.param("acknowledged=0", {"acknowledged": False}, id="false"),
        pytest.param("rule=A%20b", {"rule": "A b"}, id="text"),
        pytest.param("severity=info", {"severity": ["info"]}, id="list of one"),
        pytest.param(
            "severity=info,critical", {"severity": ["info", "critical"]}, id="joined by commas"
        ),
        pytest.param(
            "severity=info&severity=critical", {"severity": ["info", "critical"]}, id="repeated"
        ),
        pytest.param("source=a,b&source=c", {"source": ["a", "b", "c"]}, id="joined and repeated"),
        pytest.param(
            'label=a%3D~"x,y"&label=b%3D"z"',
            {"label": ['a=~"x,y"', 'b="z"']},
            id="matchers keep their commas",
        ),
    ],
)
def test_a_query_string_is_the_parameters_of_a_method(query: str, found: dict[str, Any]) -> None:
    assert decoded(query) == found


@pytest.mark.parametrize(
    ("query", "parameter", "detail"),
    [
        pytest.param("bogus=1", "bogus", "unknown parameter bogus; known are severity", id="name"),
        pytest.param(
            "limit=many", "limit", "limit: expected a whole number, found text", id="no number"
        ),
        pytest.param("limit=0", "limit", "limit: expected a whole number >= 1", id="range"),
        pytest.param("limit=1&limit=2", "limit", "limit: given 2 times, once is meant", id="twice"),
        pytest.param(
            "severity=bad",
            "severity",
            "severity: expected one of critical, info, warning",
            id="closed set",
        ),
        pytest.param(
            "source=a,,b", "source", "source: expected text of at least 1 character", id="empty"
        ),
        pytest.param("acknowledged=maybe", "acknowledged", "acknowledged: ", id="boolean"),
    ],
)
def test_what_is_wrong_is_named(query: str, parameter: str, detail: str) -> None:
    with pytest.raises(Problem) as caught:
        decoded(query)
    assert caught.value.status == 400
    assert caught.value.detail.startswith(detail)
    assert caught.value.facts == {"parameter": parameter}
    assert "`" not in caught.value.detail


def test_a_method_without_parameters_says_that_it_has_none() -> None:
    with pytest.raises(Problem, match="unknown parameter a; known are none"):
        decoded("a=1", params.Nothing)


NAMES = st.sampled_from(["limit", "severity", "label", "acknowledged", "rule", "x"])


@given(pairs=st.lists(st.tuples(NAMES, st.text(max_size=8)), max_size=4))
def test_any_query_string_is_decoded_or_refused(pairs: list[tuple[str, str]]) -> None:
    said = {name for name, _ in pairs}
    try:
        named = set(decoded(urlencode(pairs)))
    except Problem as problem:
        named = {problem.facts["parameter"]}
    assert named <= said


# Bodies.


def read(raw: bytes, *, limit: int = MAX_BODY_BYTES) -> dict[str, Any]:
    async def take() -> dict[str, Any]:
        loop = asyncio.get_running_loop()
        payload = StreamReader(BaseProtocol(loop), limit=1 << 16, loop=loop)
        payload.feed_data(raw)
        payload.feed_eof()
        request = make_mocked_request("POST", "/", payload=payload, client_max_size=limit)
        return await body(request)

    return asyncio.run(take())


@pytest.mark.parametrize(
    ("raw", "document"),
    [
        pytest.param(b"", {}, id="nothing"),
        pytest.param(b" \r\n", {}, id="white space"),
        pytest.param(b"{}", {}, id="empty"),
        pytest.param('{"note": "Ü"}'.encode(), {"note": "Ü"}, id="object"),
    ],
)
def test_a_body_is_an_object(raw: bytes, document: dict[str, Any]) -> None:
    assert read(raw) == document


@pytest.mark.parametrize(
    ("raw", "detail"),
    [
        pytest.param(b"{", "the body is no JSON: ", id="half"),
        pytest.param(b"\xff", "the body is no JSON: ", id="bytes"),
        pytest.param(b'{"a": "\xff"}', "the body is no JSON: ", id="no UTF-8"),
        pytest.param(b"[" * 100_000, "the body is no JSON: ", id="deep"),
        pytest.param(b"[]", "the body is no JSON object", id="list"),
        pytest.param(b"null", "the body is no JSON object", id="null"),
    ],
)
def test_what_is_no_object_is_refused(raw: bytes, detail: str) -> None:
    with pytest.raises(Problem) as caught:
        read(raw)
    assert caught.value.status == 400
    assert caught.value.detail.startswith(detail)


def test_a_body_is_bounded() -> None:
    with pytest.raises(Problem, match="a body has at most 1048576 bytes") as caught:
        read(b" " * 11, limit=10)
    assert caught.value.status == 413


@given(raw=st.binary(max_size=40))
def test_any_body_is_an_object_or_a_problem(raw: bytes) -> None:
    try:
        document = read(raw)
    except Problem:
        document = {}
    assert isinstance(document, dict)


def test_a_body_may_have_these_members_alone() -> None:
    document = {"note": "x"}
    assert allowed(document, "note", "more") == document
    with pytest.raises(Problem, match="unknown member note; known are a, b") as caught:
        allowed(document, "a", "b")
    assert (caught.value.status, caught.value.facts) == (400, {"parameter": "note"})
