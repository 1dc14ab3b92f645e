"""Functions over a window of samples, each row by its own."""

import math

import numpy as np
import pytest

from core.promql.fix_vectors import MAYBE, Rows, rows, vector
from storewatchd.core.promql.select import Window
from storewatchd.core.promql.windows import over_time

RANGE_S = 100.0
END = 1000.0


def window(lost: int = 0, **samples: dict[float, float]) -> Window:
    """Return a window of rows: the samples of each by how long before the end they are."""
    ages = sorted({age for row in samples.values() for age in row}, reverse=True)
    values = np.zeros((len(ages), len(samples)))
    valid = np.zeros((len(ages), len(samples)), np.bool_)
    for place, row in enumerate(samples.values()):
        for age, value in row.items():
            values[ages.index(age), place] = value
            valid[ages.index(age), place] = True
    return Window(
        vector(dict.fromkeys(samples, 0.0), {"x": "hidden"}, names=("x",), metric="m"),
        END - np.array(ages),
        values,
        valid,
        np.full(len(samples), lost),
    )


def value(function: str, samples: dict[float, float]) -> float:
    with np.errstate(all="ignore"):
        found = over_time(function, window(a=samples), range_s=RANGE_S, end=END)
    value = rows(found)["a"]
    assert isinstance(value, float)
    return value


@pytest.mark.parametrize(
    ("samples", "increase"),
    [
        pytest.param({90: 10, 50: 50, 10: 90}, 100, id="to both ends of the window"),
        pytest.param({60: 100, 40: 110}, 20, id="half an interval where it begins or ends inside"),
        pytest.param({90: 1, 50: 41, 10: 81}, 91, id="not past the moment when it was zero"),
        pytest.param({90: 10, 50: 50, 10: 30}, 87.5, id="over a reset"),
        pytest.param({90: 0, 50: 0, 10: 0}, 0, id="of nothing"),
        pytest.param({90: -40, 50: 0, 10: 40}, 100, id="from below zero"),
        pytest.param({90: 10, 50: math.nan, 10: 90}, 100, id="whatever NaN is between"),
        pytest.param({90: 0, 10: math.inf}, math.inf, id="to infinity"),
        pytest.param({90: math.inf, 10: math.inf}, math.nan, id="between infinities"),
    ],
)
def test_a_counter_s_increase_is_extrapolated(samples: dict[float, float], increase: float) -> None:
    assert value("increase", samples) == pytest.approx(increase, nan_ok=True)
    assert value("rate", samples) == pytest.approx(increase / RANGE_S, nan_ok=True)


@pytest.mark.parametrize(
    ("samples", "highest", "average"),
    [
        pytest.param({90: 1, 50: 5, 10: 3}, 5, 3, id="some"),
        pytest.param({10: -2}, -2, -2, id="one"),
        pytest.param({90: math.nan, 10: 1}, 1, math.nan, id="with NaN"),
        pytest.param({90: math.nan}, math.nan, math.nan, id="nothing but NaN"),
        pytest.param({90: math.inf, 10: -math.inf}, math.inf, math.nan, id="infinities"),
    ],
)
def test_highest_and_average_are_those_of_the_samples(
    samples: dict[float, float], highest: float, average: float
) -> None:
    assert value("max_over_time", samples) == pytest.approx(highest, nan_ok=True)
    assert value("avg_over_time", samples) == pytest.approx(average, nan_ok=True)


def test_each_row_has_its_own_samples() -> None:
    found = over_time(
        "max_over_time", window(a={90: 1.0}, b={50: 2.0, 10: 3.0}), range_s=RANGE_S, end=END
    )
    assert rows(found) == {"a": 1.0, "b": 3.0}


@pytest.mark.parametrize(
    ("function", "lost", "result"),
    [
        pytest.param("rate", 0, {"two": 0.0}, id="a change needs two samples"),
        pytest.param("increase", 1, {"two": 0.0, "one": MAYBE}, id="and one may have been lost"),
        pytest.param("increase", 2, {"two": 0.0, "one": MAYBE, "none": MAYBE}, id="and so may two"),
        pytest.param("avg_over_time", 0, {"two": 1.0, "one": 1.0}, id="an average needs one"),
        pytest.param(
            "max_over_time", 1, {"two": 1.0, "one": 1.0, "none": MAYBE}, id="that may be lost"
        ),
    ],
)
def test_a_row_with_too_few_samples_is_not_there(function: str, lost: int, result: Rows) -> None:
    seen = window(lost, two={90: 1.0, 10: 1.0}, one={10: 1.0}, none={})
    with np.errstate(all="ignore"):
        assert rows(over_time(function, seen, range_s=RANGE_S, end=END)) == result


@pytest.mark.parametrize("function", ["rate", "increase", "max_over_time", "avg_over_time"])
def test_a_window_without_samples_has_no_rows(function: str) -> None:
    with np.errstate(all="ignore"):
        assert rows(over_time(function, window(a={}), range_s=RANGE_S, end=END)) == {}


def test_a_result_has_no_name_and_the_holes_of_the_window() -> None:
    found = over_time("max_over_time", window(a={10: 1.0}), range_s=RANGE_S, end=END)
    assert found.frame.labels(0) == {"x": "a"}
    assert found.holes == ({"x": "hidden"},)
