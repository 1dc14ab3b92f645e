"""What a measurement is: a figure with its bar, taken several times."""

import statistics
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TypeAlias

Samples: TypeAlias = Iterator[tuple[str, float]]
"""Names of figures and values of them, as they are taken."""


@dataclass(frozen=True, slots=True)
class Figure:
    """What is measured: its unit and the bar that it should stay under, or reach, where there is
    one."""

    name: str
    unit: str
    bar: float | None = None
    at_least: bool = False

    def is_within(self, value: float) -> bool:
        """Return whether a value is on the right side of the bar."""
        return self.bar is None or (value >= self.bar if self.at_least else value <= self.bar)


@dataclass(frozen=True, slots=True)
class Bench:
    """A measurement that yields samples of its figures, in any order and as often as it likes."""

    name: str
    about: str
    figures: tuple[Figure, ...]
    take: Callable[[], Samples]
    if_asked: bool = False
    """Whether it is taken only where it is asked for by name: it takes long."""


def report(bench: Bench, samples: dict[str, list[float]]) -> Iterator[str]:
    """Yield a line for each figure: median, range, number of samples, and share of the bar."""
    for figure in bench.figures:
        values = samples.get(figure.name, [])
        if not values:
            yield f"  {figure.name:<42} no sample"
            continue
        median = statistics.median(values)
        line = (
            f"  {figure.name:<42} {_number(median):>9} {figure.unit:<3}"
            f"  ({_number(min(values))} to {_number(max(values))}, {len(values)})"
        )
        if figure.bar is not None:
            word = "within" if figure.is_within(median) else "SHORT" if figure.at_least else "OVER"
            share = f"{median / figure.bar:.2f} of " if figure.bar else "at most "
            line += f"  {share}{_number(figure.bar)}, {word}"
        yield line


def _number(value: float) -> str:
    return f"{value:.0f}" if value >= 1000 else f"{value:.3g}"
