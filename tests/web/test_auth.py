"""Bearer tokens, and the tickets that stand for them once."""

import pytest
from aiohttp.test_utils import make_mocked_request

from fakes import HandClock
from storewatch_web.auth import MAX_TICKETS, TICKET_S, Tickets, bearer
from storewatch_web.problems import Problem


@pytest.mark.parametrize("header", ["Bearer swt_x", "bearer swt_x", "BEARER  swt_x "])
def test_a_bearer_token_is_found(header: str) -> None:
    assert bearer(make_mocked_request("GET", "/", {"Authorization": header})) == "swt_x"


@pytest.mark.parametrize("header", [None, "", "Bearer", "Bearer  ", "Basic swt_x", "swt_x"])
def test_without_one_the_request_says_how_to_send_it(header: str | None) -> None:
    headers = {} if header is None else {"Authorization": header}
    with pytest.raises(Problem, match="send the header Authorization: Bearer TOKEN") as caught:
        bearer(make_mocked_request("GET", "/", headers))
    assert caught.value.status == 401


@pytest.fixture
def clock() -> HandClock:
    return HandClock()


@pytest.fixture
def tickets(clock: HandClock) -> Tickets:
    return Tickets(clock.monotonic)


def assert_refused(tickets: Tickets, name: str) -> None:
    with pytest.raises(Problem, match="unknown, used or too old") as caught:
        tickets.redeem(name)
    assert caught.value.status == 401


def test_a_ticket_stands_for_its_token_once(tickets: Tickets) -> None:
    first, second = tickets.issue("one"), tickets.issue("two")
    assert (tickets.redeem(second), tickets.redeem(first)) == ("two", "one")
    assert_refused(tickets, first)


def test_an_unknown_ticket_is_refused(tickets: Tickets) -> None:
    assert_refused(tickets, "")
    assert_refused(tickets, "x" * 43)


def test_a_ticket_cannot_be_guessed(tickets: Tickets) -> None:
    names = {tickets.issue("one") for _ in range(100)}
    assert len(names) == 100
    assert {len(name) for name in names} == {43}  # 256 bits


def test_a_ticket_holds_until_its_time_is_over(tickets: Tickets, clock: HandClock) -> None:
    holds, too_old = tickets.issue("one"), tickets.issue("two")
    clock.forward(TICKET_S - 0.001)
    assert tickets.redeem(holds) == "one"
    clock.forward(0.001)
    assert_refused(tickets, too_old)


def test_tickets_that_wait_are_bounded_and_the_old_ones_make_room(
    tickets: Tickets, clock: HandClock
) -> None:
    for _ in range(MAX_TICKETS - 1):
        tickets.issue("early")
    clock.forward(1.0)
    late = tickets.issue("late")
    with pytest.raises(Problem, match=f"{MAX_TICKETS} tickets wait") as caught:
        tickets.issue("one more")
    assert caught.value.status == 429
    clock.forward(TICKET_S - 1.0)
    assert tickets.redeem(tickets.issue("in their place")) == "in their place"
    assert tickets.redeem(late) == "late"
