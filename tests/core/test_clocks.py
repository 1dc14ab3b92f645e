"""What the clocks did between two moments: set, suspended, or neither."""

import pytest

from fakes import NOON, jumped, suspended
from storewatchd.core.clocks import JUMP_S, Passed, as_set_at, passed, wall_of
from storewatchd.core.model import Instant

NOW = Instant(NOON, 1000.0, 50.0)
HOUR_S = 3600.0


@pytest.mark.parametrize(
    ("after", "what"),
    [
        pytest.param(NOW, Passed(0, 0), id="no time"),
        pytest.param(NOW.later(HOUR_S), Passed(0, 0), id="time"),
        pytest.param(jumped(NOW.later(1), HOUR_S), Passed(HOUR_S, 0), id="set forward"),
        pytest.param(jumped(NOW.later(1), -HOUR_S), Passed(-HOUR_S, 0), id="set back"),
        pytest.param(jumped(NOW, JUMP_S), Passed(0, 0), id="hardly set"),
        pytest.param(jumped(NOW, -1.25), Passed(-1.25, 0), id="set by a little more"),
        pytest.param(suspended(NOW, HOUR_S), Passed(0, HOUR_S), id="suspended"),
        pytest.param(suspended(NOW, 0.5), Passed(0, 0), id="hardly suspended"),
        pytest.param(
            jumped(suspended(NOW, 60), -30), Passed(-30, 60), id="suspended, and set meanwhile"
        ),
    ],
)
def test_a_clock_that_was_set_and_a_suspended_machine_are_told_apart(
    after: Instant, what: Passed
) -> None:
    assert passed(NOW, after) == what


def test_a_moment_can_be_told_by_the_clock_as_it_was_set() -> None:
    later = NOW.later(30)
    assert as_set_at(NOW, later) == later
    assert as_set_at(NOW, jumped(later, -HOUR_S)) == later


def test_a_moment_is_dated_by_the_clock_as_it_is_set_now() -> None:
    later = jumped(NOW.later(30), -HOUR_S)
    assert wall_of(NOW.monotonic, later) == NOON - HOUR_S
