"""The book of idempotency keys: once for a key, for a day, within a bound."""

import pytest

from fakes import jumped
from storewatchd.core.answers import KEEP_S, MAX_BYTES, MAX_KEYS, AnswerBook
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


@pytest.mark.parametrize("restarts", [False, True])
@pytest.mark.parametrize("replays", [False, True])
def test_there_is_a_bound_of_what_was_answered_too(restarts: bool, replays: bool) -> None:
    answers = AnswerBook()
    large = {"message": "x" * (MAX_BYTES // 3)}
    for key in ("k0", "k1"):
        answers.note(key, create(), large, NOON)
    if restarts:
        kept, answers = answers.take_changes(), AnswerBook()
        answers.restore((key, state or {}) for key, state in kept.items())
    if replays:
        told, answers = answers.dump(), AnswerBook()
        answers.load(told)
    answers.note("k2", create(), large, NOON)
    assert [answers.is_done(f"k{number}", create()) for number in range(3)] == [False, True, True]
    assert answers.take_changes()["k0"] is None
    answers.note("k3", create(), {}, NOON)
    assert answers.is_done("k1", create())


def test_the_last_answer_stays_however_large_it_is() -> None:
    answers = AnswerBook()
    answers.note("k", create(), {"message": "x" * MAX_BYTES}, NOON)
    assert answers.is_done("k", create())


def test_there_is_a_bound_and_the_oldest_keys_give_way() -> None:
    answers = AnswerBook()
    for number in range(MAX_KEYS + 1):
        answers.note(f"k{number}", create(), {}, NOON)
    assert not answers.is_done("k0", create())
    assert answers.is_done("k1", create())
