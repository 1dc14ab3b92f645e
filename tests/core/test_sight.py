"""How well a scope can be seen: counted over its looks, and told without a guess."""

import pytest

from fakes import NOON, HandClock, jumped, suspended
from storewatchd.core.frames import Frame, Outcome, Row, Scope
from storewatchd.core.model import Instant
from storewatchd.core.sight import (
    BLINDNESS,
    BLINDNESS_FAMILIES,
    COLLECTOR,
    COLLECTOR_FAMILIES,
    DISCOVERY,
    Age,
    Sight,
    told_scopes,
)

NOW = HandClock().now()
SCOPE = Scope("repositories", (("path", "/a"), ("repository", "a")))
LABELS = ("repositories", "path=/a,repository=a")

GOOD, BAD, NONE, LATER = Outcome.SEEN, Outcome.FAILED, Outcome.ABSENT, Outcome.DEFERRED


def sight(*outcomes: Outcome, scope: Scope = SCOPE) -> Sight:
    """Return the sight of a scope after looks that ended so, one each second."""
    made = Sight(scope, NOW.awake)
    for second, outcome in enumerate(outcomes, 1):
        made.note(outcome, NOW.later(second), reason="broken" if outcome is BAD else "")
    return made


def blindness(made: Sight) -> float | None:
    """Return how many looks are told to have failed; None where nothing is told."""
    told = [frame for frame in made.frames(NOW) if frame.scope.probe == BLINDNESS]
    return told[0].rows["storewatch_probe_failed_looks"][0].value if told else None


@pytest.mark.parametrize(
    ("outcomes", "failed"),
    [
        pytest.param((), None, id="no look"),
        pytest.param((GOOD,), None, id="one good look decides nothing"),
        pytest.param((GOOD, GOOD), 0, id="two good looks"),
        pytest.param((GOOD, NONE), 0, id="absence is as good"),
        pytest.param((BAD, BAD), None, id="two failures decide nothing"),
        pytest.param((BAD, BAD, BAD), 3, id="three failures"),
        pytest.param((BAD, BAD, GOOD, BAD), 3, id="one good look ends nothing"),
        pytest.param((BAD, BAD, BAD, GOOD, GOOD), 0, id="two in a row do"),
        pytest.param((GOOD, GOOD, BAD), 1, id="once decided, every look is told"),
        pytest.param((BAD, BAD, BAD, GOOD, LATER, GOOD), 0, id="a deferred look counts neither"),
        pytest.param((LATER, LATER, LATER), None, id="nor does it decide"),
    ],
)
def test_failed_looks_are_counted_until_two_in_a_row_succeed(
    outcomes: tuple[Outcome, ...], failed: float | None
) -> None:
    made = sight(*outcomes)
    assert blindness(made) == failed
    assert made.is_blind == (failed is not None and failed >= 3)


@pytest.mark.parametrize(
    ("outcome", "success"), [(GOOD, 1.0), (NONE, 1.0), (LATER, 1.0), (BAD, 0.0)]
)
def test_success_is_told_of_every_look(outcome: Outcome, success: float) -> None:
    made = sight(outcome)
    made.note(outcome, NOW, duration_s=0.25)
    told = next(iter(made.frames(NOW)))
    scope = Scope(COLLECTOR, (("probe", LABELS[0]), ("scope", LABELS[1])))
    assert (told.scope, told.at, told.monotonic) == (scope, NOON, NOW.monotonic)
    assert told.rows["storewatch_probe_success"] == [Row(LABELS, success)]
    assert told.rows["storewatch_probe_duration_seconds"] == [Row(LABELS, 0.25)]


def test_before_the_first_look_has_ended_none_took_any_time() -> None:
    (told,) = sight().frames(NOW)
    assert told.rows["storewatch_probe_duration_seconds"] == [Row(LABELS, 0.0)]


def test_why_a_look_failed_is_told_in_so_many_words_until_one_succeeds() -> None:
    made = sight()
    made.note(BAD, NOW, reason=500 * "x")
    told = next(iter(made.frames(NOW))).rows["storewatch_probe_failure_info"]
    assert told == [Row((*LABELS, 300 * "x"), 1.0)]
    made.note(GOOD, NOW)
    assert "storewatch_probe_failure_info" not in next(iter(made.frames(NOW))).rows


def test_every_row_is_of_a_declared_family() -> None:
    families = {one.name: one for one in (*COLLECTOR_FAMILIES, *BLINDNESS_FAMILIES)}
    frames: list[Frame] = list(sight(BAD, BAD, BAD).frames(NOW))
    told = {name: rows for frame in frames for name, rows in frame.rows.items()}
    assert told.keys() == families.keys()
    for name, rows in told.items():
        assert {len(row.labels) for row in rows} == {len(families[name].labels)}


@pytest.mark.parametrize(
    ("outcomes", "age_s"),
    [
        pytest.param((), 10, id="as old as it is known of"),
        pytest.param((GOOD, BAD, BAD), 9, id="since it was last seen"),
        pytest.param((BAD, NONE), 8, id="or seen to be absent"),
        pytest.param((BAD, BAD, LATER), 7, id="or was deferred"),
    ],
)
def test_a_scope_grows_old_until_a_look_does_not_fail(
    outcomes: tuple[Outcome, ...], age_s: float
) -> None:
    assert sight(*outcomes).age(NOW.later(10)) == Age(*LABELS, age_s)


@pytest.mark.parametrize(
    "later", [jumped(NOW.later(10), 3600), jumped(NOW.later(10), -3600), suspended(NOW, 3600)]
)
def test_nothing_grows_old_by_the_clock_or_in_suspend(later: Instant) -> None:
    assert sight().age(later).age_s == later.awake - NOW.awake


def test_the_age_of_a_stuck_read_is_known_while_it_is() -> None:
    made = sight()
    made.note(BAD, NOW, stuck=("statvfs.path:/a", NOON - 60))
    ages = [made.age(NOW), made.age(jumped(NOW, -3600))]
    made.note(GOOD, NOW)
    ages.append(made.age(NOW))
    assert [(age.stuck_key, age.stuck_s) for age in ages] == [
        ("statvfs.path:/a", 60),
        ("statvfs.path:/a", 0),
        ("", None),
    ]


def test_a_discovery_is_named_by_its_probe() -> None:
    assert sight(scope=Scope(DISCOVERY, (("probe", "block"),))).labels == ("block", DISCOVERY)


def test_of_an_unknown_probe_anything_may_be_told() -> None:
    told = dict(told_scopes([sight()], ["block"]))
    assert told == {
        probe: (
            Scope(probe, (("probe", LABELS[0]), ("scope", LABELS[1]))),
            Scope(probe, (("probe", "block"),)),
        )
        for probe in (COLLECTOR, BLINDNESS)
    }
