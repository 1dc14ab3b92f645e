"""What was known and is not any more: noticed at once or late, and for how long it was so."""

import pytest

from storewatchd.core.frames import Family, Frame, MetricType, Outcome, Scope
from storewatchd.core.lapses import KnownScopes, Unseen, has_lapsed
from storewatchd.core.model import Instant
from storewatchd.core.series import SeriesTable, recording

NOON = Instant(1_767_268_800.0, 1000.0)
MAX_AGE_S = 90.0
A, B = Scope("p", (("s", "a"),)), Scope("p", (("s", "b"),))
OTHER = Scope("q")


def table_at(*looks: tuple[Scope, float, Outcome]) -> SeriesTable:
    """Return a table after looks, each so many seconds after noon."""
    table = SeriesTable()
    for probe in "pq":
        table.declare(probe, [Family(probe, MetricType.GAUGE, ".", ("s",))], max_age_s=MAX_AGE_S)
    for scope, seconds, outcome in looks:
        table.feed(Frame(scope, NOON.wall + seconds, outcome))
    return table


def seen(scope: Scope, seconds: float = 0.0) -> tuple[Scope, float, Outcome]:
    return scope, seconds, Outcome.SEEN


def failed(scope: Scope, seconds: float) -> tuple[Scope, float, Outcome]:
    return scope, seconds, Outcome.FAILED


def known(table: SeriesTable, seconds: float) -> dict[str, list[Scope]]:
    found = KnownScopes(table).look(NOON.wall + seconds)
    return {probe: list(scopes) for probe, scopes in found.items()}


def test_scopes_are_known_by_probe_while_their_look_holds() -> None:
    table = table_at(seen(A), seen(B, 30), seen(OTHER), failed(OTHER, 30))
    assert known(table, 90) == {"p": [A, B]}
    assert known(table, 91) == {"p": [B]}


def test_what_never_becomes_too_old_is_not_watched() -> None:
    table = table_at()
    scope = recording("r", {})
    table.keep_recordings([scope])
    table.record(scope, [], (), NOON.wall)
    assert known(table, 0) == {}


def test_what_is_known_is_the_same_object_while_nothing_changes() -> None:
    scopes = KnownScopes(table_at(seen(A)))
    first = scopes.look(NOON.wall)["p"]
    assert scopes.look(NOON.wall + 1)["p"] is first
    assert scopes.look(NOON.wall + 91) == {}


@pytest.mark.parametrize(
    ("before", "after", "lapsed"),
    [
        pytest.param({"p": {A: None}}, {"p": {A: None}}, False, id="the same"),
        pytest.param({"p": {A: None}}, {"p": {A: None, B: None}}, False, id="more"),
        pytest.param({"p": {A: None, B: None}}, {"p": {A: None}}, True, id="less"),
        pytest.param({"p": {A: None}}, {"q": {OTHER: None}}, True, id="nothing of a probe"),
        pytest.param({}, {"p": {A: None}}, False, id="nothing before"),
    ],
)
def test_something_has_lapsed_where_less_is_known(
    before: dict[str, dict[Scope, None]], after: dict[str, dict[Scope, None]], lapsed: bool
) -> None:
    assert has_lapsed(before, after) is lapsed


def unseen(table: SeriesTable, seconds: float, *, is_direct: bool = True) -> Unseen:
    """Return what could not be looked at from noon on, when both scopes were seen."""
    before = {"p": {A: None, B: None}}
    now = NOON.later(seconds)
    inputs = {"p": is_direct, "q": True}
    return Unseen(table, inputs, seen=before, since=NOON.monotonic, now=now)


@pytest.mark.parametrize(
    ("looks", "seconds", "unseen_s"),
    [
        pytest.param([], 90, 0, id="it holds"),
        pytest.param([], 100, 10, id="it became too old"),
        pytest.param([seen(A, 60)], 100, 0, id="it was looked at again"),
        pytest.param([seen(A, 300)], 300, 210, id="it was looked at again late"),
        pytest.param([failed(A, 30), seen(A, 50)], 60, 20, id="it failed for a while"),
        pytest.param([failed(A, 30)], 60, 30, id="it fails"),
    ],
)
def test_the_time_counts_for_which_a_scope_was_not_known(
    looks: list[tuple[Scope, float, Outcome]], seconds: float, unseen_s: float
) -> None:
    table = table_at(seen(A), seen(B), *looks, seen(B, seconds))
    assert unseen(table, seconds).seconds({"s": "a"}) == unseen_s


def test_only_scopes_count_that_a_series_may_be_about() -> None:
    table = table_at(seen(A), seen(B), seen(B, 80))
    found = unseen(table, 100)
    assert found.seconds({"s": "b"}) == 0
    assert found.seconds({"s": "a"}) == 10
    assert found.seconds({}) == 10


def test_behind_a_recording_every_scope_may_be_meant() -> None:
    table = table_at(seen(A), seen(B), seen(B, 80))
    assert unseen(table, 100, is_direct=False).seconds({"s": "b"}) == 10


def test_the_longest_time_counts() -> None:
    table = table_at(seen(A), seen(B), failed(B, 30))
    assert unseen(table, 100).seconds({}) == 70


def test_what_was_not_known_before_does_not_count_again() -> None:
    table = table_at(seen(A), failed(A, 10))
    later = Unseen(table, {"p": True}, seen={}, since=NOON.monotonic, now=NOON.later(60))
    assert later.seconds({"s": "a"}) == 0
