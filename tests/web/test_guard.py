"""Host and Origin: who is let in, and what the others are told."""

from typing import Any

import pytest
from aiohttp.test_utils import make_mocked_request
from hypothesis import given
from hypothesis import strategies as st

from storewatch_web.guard import Guard
from storewatch_web.problems import Problem

GUARD = Guard(["console.example", "Nas"], ["https://Panel.example/"])


HERE = ("192.0.2.7", 8474)


class Connection:
    """A connection that arrived at an address."""

    def __init__(self, sockname: Any) -> None:
        self._sockname = sockname

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return {"sockname": self._sockname}.get(name, default)


def check(host: str | None, origin: str | None = None, *, arrival: Any = HERE) -> None:
    """Check a request that came in at an address; None is a connection that is gone since."""
    headers = {"Host": host, "Origin": origin}
    given = {name: value for name, value in headers.items() if value is not None}
    request = make_mocked_request("GET", "/", given, transport=Connection(arrival))
    if arrival is None:
        request.protocol.transport = None
    GUARD.check(request)


@pytest.mark.parametrize(
    "host",
    [
        *("localhost", "127.0.0.1:8474", "[::1]:8474", "LOCALHOST:80"),
        *("console.example", "nas:8474", "192.0.2.7:8474", "192.0.2.7"),
    ],
)
def test_a_host_of_ours_is_let_in(host: str) -> None:
    check(host)


def test_an_address_at_which_the_connection_arrived_is_ours() -> None:
    check("[2001:db8::1]:8474", arrival=("2001:db8::1", 8474, 0, 0))


@pytest.mark.parametrize(
    ("host", "detail"),
    [
        pytest.param(
            "evil.example:8474",
            "this is not 'evil.example:8474'; start storewatch-web with --allow-host evil.example",
            id="another name",
        ),
        pytest.param(
            "192.0.2.8",
            "this is not '192.0.2.8'; start storewatch-web with --allow-host 192.0.2.8",
            id="another address",
        ),
        pytest.param("", "this is not ''", id="empty"),
        pytest.param(None, "this is not ''", id="none"),
        pytest.param("[::1", "this is not '[::1'", id="half an address"),
    ],
)
def test_another_host_is_misdirected(host: str | None, detail: str) -> None:
    with pytest.raises(Problem) as caught:
        check(host)
    assert (caught.value.status, caught.value.detail) == (421, detail)


@pytest.mark.parametrize(
    "arrival", [pytest.param(None, id="gone"), pytest.param("/a.sock", id="a path")]
)
def test_a_connection_without_an_address_has_names_alone(arrival: Any) -> None:
    check("localhost", arrival=arrival)
    with pytest.raises(Problem):
        check("192.0.2.7", arrival=arrival)


@pytest.mark.parametrize(
    ("host", "origin"),
    [
        pytest.param("nas:8474", "http://nas:8474", id="its own page"),
        pytest.param("nas", "https://NAS", id="its own page behind TLS"),
        pytest.param("nas:8474", "https://panel.example", id="a page that may"),
        pytest.param("nas:8474", "HTTPS://panel.example/", id="however it is written"),
    ],
)
def test_a_page_that_may_call_is_let_in(host: str, origin: str) -> None:
    check(host, origin)


@pytest.mark.parametrize(
    "origin",
    [
        *("https://evil.example", "http://nas:80", "ftp://nas:8474", "null", "", "http://["),
        *("nas:8474", "https://panel.example.evil", "http://panel.example", "http://nas:8474@evil"),
    ],
)
def test_a_page_of_another_site_is_refused(origin: str) -> None:
    with pytest.raises(Problem) as caught:
        check("nas:8474", origin)
    assert caught.value.status == 403
    assert caught.value.detail == f"pages of {origin} may not call this; see --allow-origin"


@given(host=st.text(), origin=st.none() | st.text())
def test_garbage_is_let_in_or_refused(host: str, origin: str | None) -> None:
    status = 200
    try:
        check(host, origin)
    except Problem as problem:
        status = problem.status
    assert status in (200, 403, 421)
