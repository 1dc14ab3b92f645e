"""The nodes of a parsed expression. Each one knows where in the text it starts."""

from dataclasses import dataclass
from enum import StrEnum

from storewatchd.core.matchers import Matcher


class ValueType(StrEnum):
    """What an expression yields."""

    SCALAR = "scalar"
    VECTOR = "instant vector"
    RANGE = "range vector"


@dataclass(frozen=True, slots=True)
class Number:
    value: float
    start: int


@dataclass(frozen=True, slots=True)
class Selector:
    """`name` is "" where only matchers select. `range_s` is None for an instant selector."""

    name: str
    matchers: tuple[Matcher, ...]
    range_s: float | None
    offset_s: float
    start: int


@dataclass(frozen=True, slots=True)
class Negation:
    operand: "Expr"
    yields: ValueType
    start: int


@dataclass(frozen=True, slots=True)
class Matching:
    """How rows of two vectors find each other: by the labels named, or by all but those."""

    on: bool
    labels: tuple[str, ...]

    def keeps(self, label: str) -> bool:
        """Whether a label takes part in the match."""
        return (label in self.labels) is self.on

    @property
    def keeps_metric(self) -> bool:
        """Whether metric names take part in the match: only where they are asked for."""
        return self.on and "__name__" in self.labels


@dataclass(frozen=True, slots=True)
class Binary:
    """`returns_bool` makes a comparison yield 0 or 1 instead of filtering."""

    operator: str
    left: "Expr"
    right: "Expr"
    returns_bool: bool
    matching: Matching
    yields: ValueType
    start: int


@dataclass(frozen=True, slots=True)
class Aggregate:
    """`by` keeps the labels named; otherwise (`without`) all but those."""

    operator: str
    operand: "Expr"
    by: bool
    labels: tuple[str, ...]
    start: int


@dataclass(frozen=True, slots=True)
class Call:
    function: str
    arguments: tuple["Expr", ...]
    start: int


Expr = Number | Selector | Negation | Binary | Aggregate | Call

COMPARISONS = frozenset({"==", "!=", "<", ">", "<=", ">="})
SET_OPERATORS = frozenset({"and", "or", "unless"})


def children(expr: Expr) -> tuple[Expr, ...]:
    """Return the expressions directly inside this one."""
    match expr:
        case Negation() | Aggregate():
            return (expr.operand,)
        case Binary():
            return (expr.left, expr.right)
        case Call():
            return expr.arguments
        case _:
            return ()
