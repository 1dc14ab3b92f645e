"""When what a scope said held: now, at a moment in the past, and for how much of a time."""

import pytest

from storewatchd.core.frames import Scope
from storewatchd.core.scopes import ScopeState

NOON = 1_767_268_800.0
MAX_AGE_S = 90.0
KEPT_S = 3600.0


def state(*looks: float, failed: float | None = None) -> ScopeState:
    """Return a scope that was seen at some seconds after noon, and then could not be seen."""
    scope = ScopeState(Scope("p"), MAX_AGE_S)
    for look in looks:
        scope.note_known(NOON + look, kept_s=KEPT_S)
    if failed is not None:
        scope.note_failed(NOON + failed)
    return scope


def was_known(scope: ScopeState, at: float, *, kept_since: float = 0.0) -> bool:
    return scope.was_known(NOON + at, kept_since=NOON + kept_since)


def test_nothing_is_known_before_the_first_look() -> None:
    scope = state()
    assert scope.last_known is None
    assert not scope.is_known(NOON)
    assert not was_known(scope, 0)
    assert scope.known_s(0, NOON) == 0


def test_a_failure_before_the_first_look_changes_nothing() -> None:
    assert not state(failed=0).is_known(NOON)


@pytest.mark.parametrize(
    ("at", "known"),
    [
        pytest.param(0, True, id="at once"),
        pytest.param(MAX_AGE_S, True, id="at the end of its age"),
        pytest.param(MAX_AGE_S + 1, False, id="overdue"),
        pytest.param(-30, True, id="by a clock that was set back a little"),
        pytest.param(-3600, False, id="by a clock that was set back far"),
    ],
)
def test_a_look_holds_for_its_age(at: float, known: bool) -> None:
    assert state(0).is_known(NOON + at) is known


def test_a_failure_ends_what_is_known_and_the_next_look_begins_it_anew() -> None:
    scope = state(0, 30, failed=60)
    assert not scope.is_known(NOON + 60)
    assert scope.last_known == NOON + 30
    scope.note_known(NOON + 90, kept_s=KEPT_S)
    assert scope.is_known(NOON + 90)
    assert [was_known(scope, at) for at in (0, 59, 60, 89, 90)] == [True, True, False, False, True]
    assert scope.known_s(NOON, NOON + 120) == 60 + 30


def test_a_second_failure_changes_nothing() -> None:
    scope = state(0, failed=30)
    scope.note_failed(NOON + 60)
    assert scope.known_s(NOON, NOON + 120) == 30


def test_an_overdue_look_is_known_until_its_age_ends() -> None:
    scope = state(0, 300)
    assert [was_known(scope, at) for at in (89, 90, 299, 300)] == [True, False, False, True]
    assert state(0, failed=300).known_s(NOON, NOON + 300) == MAX_AGE_S


def test_a_time_that_no_look_reaches_is_not_known() -> None:
    scope = state(300, failed=330)
    assert scope.known_s(NOON, NOON + 60) == 0
    assert scope.known_s(NOON + 600, NOON + 660) == 0


def test_what_was_known_is_known_of_then_after_a_restart_and_not_of_now() -> None:
    scope = state(0, 30)
    scope.forget_now()
    assert not scope.is_known(NOON + 31)
    assert (scope.outcome, scope.last_known) == (None, NOON + 30)
    assert [was_known(scope, at) for at in (0, 29, 30)] == [True, True, False]
    scope.note_known(NOON + 60, kept_s=KEPT_S)
    assert scope.known_s(NOON, NOON + 90) == 30 + 30


def test_a_restart_before_the_first_look_forgets_nothing() -> None:
    scope = state()
    scope.forget_now()
    assert scope.last_known is None


def test_a_moment_before_what_is_kept_is_not_known() -> None:
    scope = state(0, 30, 60, 90)
    assert was_known(scope, 50, kept_since=20)
    assert not was_known(scope, 50, kept_since=21), "the look at 30 may be the last one that was"
    assert was_known(scope, 10, kept_since=0), "no look was before the first one"
    assert was_known(scope, 100, kept_since=90)


@pytest.mark.parametrize("jump_s", [3600, -3600, 0.25])
def test_all_that_was_known_goes_along_with_a_clock_that_is_set(jump_s: float) -> None:
    scope = state(0, 30, failed=60)
    scope.note_known(NOON + 90, kept_s=KEPT_S)
    scope.last_look = NOON + 90
    scope.shift(jump_s)
    assert (scope.last_look, scope.last_known) == (NOON + 90 + jump_s, NOON + 90 + jump_s)
    assert scope.is_known(NOON + jump_s + 90 + MAX_AGE_S)
    assert not scope.is_known(NOON + jump_s + 91 + MAX_AGE_S)
    seen = [was_known(scope, at + jump_s, kept_since=jump_s) for at in (-1, 0, 59, 60, 89, 90)]
    assert seen == [False, True, True, False, False, True]
    assert scope.known_s(NOON + jump_s, NOON + jump_s + 120) == 60 + 30


def test_a_scope_that_was_never_seen_has_nothing_to_go_along() -> None:
    scope = state()
    scope.shift(3600)
    assert (scope.last_look, scope.last_known) == (None, None)


def test_a_look_that_is_dated_before_the_last_one_forgets_what_was_known() -> None:
    scope = state(0, 30)
    scope.note_known(NOON - 3600, kept_s=KEPT_S)
    assert not was_known(scope, 0)
    assert scope.is_known(NOON - 3600)


def test_a_failure_that_is_dated_before_the_last_look_leaves_nothing_known() -> None:
    scope = state(0, 30, failed=-3600)
    assert scope.known_s(0, NOON + 30) == 0


def test_a_look_that_is_dated_less_than_a_second_before_the_last_one_is_none_before_it() -> None:
    scope = state(0, 30, 29.5)
    assert scope.last_known == NOON + 30
    assert scope.known_s(NOON, NOON + 30) == 30


def test_what_ended_long_ago_is_forgotten() -> None:
    scope = state(0, failed=30)
    scope.note_known(NOON + KEPT_S + 30, kept_s=KEPT_S)
    assert was_known(scope, 0)
    scope.note_failed(NOON + KEPT_S + 60)
    scope.note_known(NOON + KEPT_S + 90, kept_s=KEPT_S)
    assert not was_known(scope, 0)
