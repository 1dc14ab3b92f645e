"""The book of idempotency keys: once for a key, for a day, within a bound."""

import pytest

from fakes import jumped
from storewatchd.core.answers import KEEP_S, MAX_KEYS, AnswerBook
from storewatchd.core.commands import CreateAlert
from storewatchd.core.model import Instant, Severity
from storewatchd.errors import Conflict

NOON = Instant(1_767_268_800.0, 1000.0)


def create(title: str = "t") -> CreateAlert:
    return CreateAlert(actor="a", severity=Severity.INFO, source="s", title=title)


def test_a_key_is_done_once_it_is_noted() -> None:
    answers = AnswerBook()
    assert not answers.is_done("k", create())
    answers.note("k", create(), {"id": "1"}, NOON)
    assert answers.is_done("k", create())


def test_a_key_for_another_request_is_refused() -> None:
    answers = AnswerBook()
    answers.note("k", create(), {"id": "1"}, NOON)
    with pytest.raises(Conflict, match="used for another request"):
        answers.is_done("k", create("other"))


def test_a_restart_keeps_keys_in_the_order_of_their_age() -> None:
    before = AnswerBook()
    before.note("old", create(), {"id": "1"}, NOON)
    before.note("new", create(), {"id": "2"}, NOON.later(KEEP_S - 1))
    kept = before.take_changes()
    assert kept["old"] is not None
    assert kept["old"]["answer"] == {"id": "1"}
    after = AnswerBook()
    after.restore([(key, kept[key] or {}) for key in ("new", "old")])
    after.note("newest", create(), {"id": "3"}, NOON.later(KEEP_S))
    assert not after.is_done("old", create())
    assert after.is_done("new", create())
    assert after.take_changes()["old"] is None


@pytest.mark.parametrize("jump_s", [2 * KEEP_S, -2 * KEEP_S])
def test_a_clock_that_is_set_makes_no_key_older_or_younger(jump_s: float) -> None:
    answers = AnswerBook()
    answers.note("k", create(), {}, NOON)
    answers.shift(jump_s)
    answers.note("soon", create(), {}, jumped(NOON.later(60), jump_s))
    assert answers.is_done("k", create())
    answers.note("a day later", create(), {}, jumped(NOON.later(KEEP_S), jump_s))
    assert not answers.is_done("k", create())
    assert answers.is_done("soon", create())


def test_there_is_a_bound_and_the_oldest_keys_give_way() -> None:
    answers = AnswerBook()
    for number in range(MAX_KEYS + 1):
        answers.note(f"k{number}", create(), {}, NOON)
    assert not answers.is_done("k0", create())
    assert answers.is_done("k1", create())
