"""Which metrics an expression names, and which of these names nobody knows: a mistyped one."""

import difflib
from collections.abc import Collection, Iterator
from functools import lru_cache
from typing import NamedTuple

from storewatchd.core.promql.parse import walk
from storewatchd.core.promql.syntax import Expr, Selector


class Mention(NamedTuple):
    """A metric that is named, and where: in an expression its start, in a file line and column."""

    name: str
    line: int
    column: int


def named_metrics(expr: Expr) -> dict[str, int]:
    """Return the metrics that an expression names, with the place of each one's first mention. A
    pattern for names, which may mean to match nothing, names none."""
    found: dict[str, int] = {}

    def note(node: Expr) -> None:
        if isinstance(node, Selector):
            names = [one.value for one in node.matchers if _names_one(one.label, one.operator)]
            for name in (node.name, *names):
                if name:
                    found[name] = min(node.start, found.get(name, node.start))

    walk(expr, note)
    return found


def doubts(names: Collection[str], known: frozenset[str]) -> Iterator[tuple[str, str]]:
    """Yield each of these names that is not known, with a sentence about it."""
    for name in names:
        if name not in known:
            near = _nearest(name, known)
            meant = f"; did you mean {near}?" if near else ""
            yield name, f"no metric {name!r} is known{meant}"


def _names_one(label: str, operator: str) -> bool:
    return label == "__name__" and operator == "="


@lru_cache(maxsize=256)  # a list of rules asks for the same each time
def _nearest(name: str, known: frozenset[str]) -> str:
    return next(iter(difflib.get_close_matches(name, known, n=1)), "")
