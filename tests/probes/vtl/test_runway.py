"""How fast a store fills, of series that are known to be so."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fakes import NOON
from storewatchd.probes.vtl.runway import DAY_S, SAMPLE_S, Growth, Sample, growth, runway_s

GIB = float(1 << 30)
MIDNIGHT = NOON - NOON % DAY_S


def series(days: float, *, nights: list[float], gap: tuple[float, float] = (0, 0)) -> list[Sample]:
    """Return samples of a store to which each night, from 1 to 3 o'clock, so much is written, the
    nights over again; of a gap, in days, there are none."""
    found = []
    for number in range(int(days * DAY_S / SAMPLE_S) + 1):
        at = number * SAMPLE_S
        whole, rest = int(at // DAY_S), at % DAY_S
        before = sum(nights[night % len(nights)] for night in range(whole))
        share = min(1.0, max(0.0, (rest - 3600) / 7200))
        if not gap[0] <= at / DAY_S < gap[1]:
            found.append(Sample(MIDNIGHT + at, before + share * nights[whole % len(nights)]))
    return found


def test_what_grows_alike_every_night_is_known_well() -> None:
    for days in (2, 3.5, 9, 15):
        found = growth(series(days, nights=[24 * GIB]))
        assert found is not None
        assert found == pytest.approx(Growth(24 * GIB, 24 * GIB, 24 * GIB))


def test_of_one_day_nothing_is_said_though_a_night_is_in_it() -> None:
    assert growth(series(1.9, nights=[24 * GIB])) is None
    assert growth([]) is None
    assert growth([Sample(NOON, 1.0)]) is None


def test_while_few_days_are_known_the_interval_has_all_of_them() -> None:
    found = growth(series(4, nights=[10 * GIB, 30 * GIB]))
    assert found is not None
    assert found.low == pytest.approx(10 * GIB)
    assert found.middle == pytest.approx(20 * GIB)
    assert found.high == pytest.approx(30 * GIB)


def test_weekends_without_backups_do_not_make_it_last_for_ever() -> None:
    found = growth(series(15, nights=[70 * GIB] * 5 + [0.0] * 2))
    assert found is not None
    assert found.middle == pytest.approx(50 * GIB, rel=0.15)
    assert 0 < found.low < found.middle < found.high <= 70 * GIB


def test_a_time_without_samples_is_no_growth_of_its_own() -> None:
    found = growth(series(8, nights=[24 * GIB], gap=(2.2, 5.4)))
    assert found == pytest.approx(Growth(24 * GIB, 24 * GIB, 24 * GIB))


def test_what_was_seen_at_the_ends_of_two_days_only_is_not_enough() -> None:
    found = series(3, nights=[GIB])
    assert growth([*found[:10], *found[-10:]]) is None


def test_one_that_shrinks_has_no_end() -> None:
    found = growth(series(5, nights=[-GIB]))
    assert found is not None
    assert found.high == pytest.approx(-GIB)
    assert runway_s(100 * GIB, found.high) is None
    assert runway_s(100 * GIB, 0.0) is None
    assert runway_s(100 * GIB, 10 * GIB) == 10 * DAY_S


@given(
    st.lists(
        st.tuples(st.floats(0, 40 * DAY_S), st.floats(0, 1e18)),
        max_size=200,
        unique_by=lambda x: x[0],
    )
)
def test_of_any_series_the_interval_is_in_order(told: list[tuple[float, float]]) -> None:
    found = growth([Sample(at, used) for at, used in sorted(told)])
    if found is not None:
        assert all(map(math.isfinite, found))
        assert found.low <= found.middle <= found.high
