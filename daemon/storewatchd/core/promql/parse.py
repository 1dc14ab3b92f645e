"""Turns PromQL text into nodes, by precedence climbing, with the place of every error.

What Prometheus has and this engine has not is refused by name and place, never ignored. Depth is
bounded, so no text can exhaust the stack.
"""

import math
from collections.abc import Callable
from typing import assert_never

from storewatchd.core.matchers import Matcher, make_matcher
from storewatchd.core.promql.lexer import Token, duration_seconds, error_at, tokens
from storewatchd.core.promql.syntax import (
    COMPARISONS,
    SET_OPERATORS,
    Aggregate,
    Binary,
    Call,
    Expr,
    Matching,
    Negation,
    Number,
    Selector,
    ValueType,
    children,
)
from storewatchd.errors import ExpressionError, RuleError

MAX_DEPTH = 100

AGGREGATIONS = frozenset({"sum", "min", "max", "avg", "count"})
RANGE_FUNCTIONS = frozenset({"rate", "increase", "max_over_time", "avg_over_time"})
FUNCTIONS = RANGE_FUNCTIONS | {"absent", "time"}

# The rest of the language, to be refused by name. Prometheus 2.42, promql/parser.
_OTHER_AGGREGATIONS = frozenset(
    {"stddev", "stdvar", "topk", "bottomk", "count_values", "group", "quantile"}
)
_OTHER_FUNCTIONS = frozenset(
    {
        *("abs", "absent_over_time", "acos", "acosh", "asin", "asinh", "atan", "atanh", "ceil"),
        *("changes", "clamp", "clamp_max", "clamp_min", "cos", "cosh", "count_over_time"),
        *("day_of_month", "day_of_week", "day_of_year", "days_in_month", "deg", "delta", "deriv"),
        *("exp", "floor", "histogram_count", "histogram_fraction", "histogram_quantile"),
        *("histogram_sum", "holt_winters", "hour", "idelta", "irate", "label_join"),
        *("label_replace", "last_over_time", "ln", "log10", "log2", "min_over_time", "minute"),
        *("month", "pi", "predict_linear", "present_over_time", "quantile_over_time", "rad"),
        *("resets", "round", "scalar", "sgn", "sin", "sinh", "sort", "sort_desc", "sqrt"),
        *("stddev_over_time", "stdvar_over_time", "sum_over_time", "tan", "tanh", "timestamp"),
        *("vector", "year"),
    }
)

_PRECEDENCE = {
    "or": 1,
    **dict.fromkeys(("and", "unless"), 2),
    **dict.fromkeys(COMPARISONS, 3),
    **dict.fromkeys("+-", 4),
    **dict.fromkeys((*"*/%", "atan2"), 5),
    "^": 6,
}
_UNARY_PRECEDENCE = 5
_EVERYTHING = Matching(on=False, labels=())


def parse(text: str) -> Expr:
    """Return the expression that the text says.

    Raises:
        ExpressionError: it is no PromQL, or PromQL that this engine does not have; with line and
            column from 1.
    """
    return _Parser(text).whole()


def type_of(expr: Expr) -> ValueType:
    """Return what an expression yields."""
    match expr:
        case Number():
            return ValueType.SCALAR
        case Selector():
            return ValueType.VECTOR if expr.range_s is None else ValueType.RANGE
        case Negation() | Binary():
            # Kept in the node: a long chain is as deep as it is long.
            return expr.yields
        case Aggregate():
            return ValueType.VECTOR
        case Call():
            return ValueType.SCALAR if expr.function == "time" else ValueType.VECTOR
        case _:
            assert_never(expr)


class _Parser:
    def __init__(self, text: str) -> None:
        self._text = text
        self._tokens = tokens(text)
        self._token = next(self._tokens)
        self._depth = 0

    def whole(self) -> Expr:
        if self._token.kind == "end":
            raise self._error(self._token, "the expression is empty")
        expr = self._expression(0)
        if self._token.kind != "end":
            raise self._unexpected("an operator or the end")
        if type_of(expr) is ValueType.RANGE:
            raise error_at(
                self._text, expr.start, "a range vector needs a function such as rate() around it"
            )
        if _depth_of(expr) > MAX_DEPTH:
            raise error_at(self._text, 0, f"nested deeper than {MAX_DEPTH}")
        return expr

    # Tokens.

    def _take(self) -> Token:
        token = self._token
        self._token = next(self._tokens)
        return token

    def _at(self, text: str) -> bool:
        return self._token.kind == "operator" and self._token.text == text

    def _word(self) -> str:
        """Return the keyword at this place, in lower case as keywords are case-blind."""
        return self._token.text.lower() if self._token.kind == "identifier" else ""

    def _expect(self, text: str, purpose: str) -> Token:
        if not self._at(text):
            raise self._unexpected(f"{text!r} {purpose}")
        return self._take()

    def _error(self, token: Token, message: str) -> ExpressionError:
        return error_at(self._text, token.start, message)

    def _unexpected(self, expected: str) -> ExpressionError:
        found = "the end" if self._token.kind == "end" else repr(self._token.text[:40])
        return self._error(self._token, f"expected {expected}, found {found}")

    def _unsupported(self, token: Token, what: str) -> ExpressionError:
        return self._error(token, f"{what} is not supported yet")

    # Expressions.

    def _expression(self, lowest: int) -> Expr:
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise self._error(self._token, f"nested deeper than {MAX_DEPTH}")
        left = self._operand()
        while True:
            operator = self._word() or (self._token.text if self._token.kind == "operator" else "")
            precedence = _PRECEDENCE.get(operator, 0)
            if precedence == 0 or precedence < lowest:
                break
            left = self._binary(left, operator, precedence)
        self._depth -= 1
        return left

    def _operand(self) -> Expr:
        token = self._token
        if self._at("-") or self._at("+"):
            self._take()
            operand = self._expression(_UNARY_PRECEDENCE + 1)
            if type_of(operand) is ValueType.RANGE:
                raise self._error(token, f"unary {token.text} takes no range vector")
            if token.text == "+":
                return operand
            return Negation(operand, type_of(operand), token.start)
        if self._at("("):
            self._take()
            inside = self._expression(0)
            self._expect(")", "to close the parenthesis")
            return self._modified(inside)
        match token.kind:
            case "number":
                self._take()
                return Number(self._number(token), token.start)
            case "duration":
                raise self._error(token, "a duration stands only in [ ] or after offset")
            case "string":
                raise self._error(token, "a string is no value here")
            case "identifier":
                return self._named()
        if self._at("{"):
            return self._selector(name="", start=token.start)
        raise self._unexpected("a number, a metric, a function or '('")

    def _number(self, token: Token) -> float:
        text = token.text
        try:
            value = float(int(text, 16)) if text[:2].lower() == "0x" else float(text)
        except OverflowError:
            value = math.inf
        if math.isinf(value):
            raise self._error(token, "the number is too large")
        return value

    def _modified(self, inside: Expr) -> Expr:
        if self._at("["):
            raise self._unsupported(self._token, "a subquery")
        if self._at("@"):
            raise self._unsupported(self._token, "the @ modifier")
        if self._word() == "offset":
            raise self._error(self._token, "offset stands directly behind a selector")
        return inside

    def _named(self) -> Expr:
        token = self._take()
        word = token.text.lower()
        if word in AGGREGATIONS and (self._at("(") or self._word() in ("by", "without")):
            return self._aggregate(token, word)
        if word in _OTHER_AGGREGATIONS and (self._at("(") or self._word() in ("by", "without")):
            raise self._unsupported(token, f"the aggregation {word}")
        if self._at("("):
            return self._call(token)
        if word in ("inf", "nan"):
            return Number(math.inf if word == "inf" else math.nan, token.start)
        if word in _PRECEDENCE or word in ("by", "without", "on", "ignoring", "bool", "offset"):
            raise self._error(token, f"expected a value, found the keyword {token.text!r}")
        return self._selector(name=token.text, start=token.start)

    def _call(self, token: Token) -> Expr:
        if token.text not in FUNCTIONS:
            if token.text in _OTHER_FUNCTIONS:
                raise self._unsupported(token, f"the function {token.text}()")
            raise self._error(token, f"there is no function {token.text}()")
        self._expect("(", "to open the arguments")
        arguments: list[Expr] = []
        while not self._at(")"):
            arguments.append(self._expression(0))
            if not self._at(")"):
                self._expect(",", "or ')' after an argument")
        self._take()
        wanted = {"time": None, "absent": ValueType.VECTOR}.get(token.text, ValueType.RANGE)
        if len(arguments) != (0 if wanted is None else 1):
            count = "no argument" if wanted is None else "one argument"
            raise self._error(token, f"{token.text}() takes {count}, found {len(arguments)}")
        if wanted is not None and type_of(arguments[0]) is not wanted:
            raise error_at(
                self._text,
                arguments[0].start,
                f"{token.text}() takes a {wanted}, found a {type_of(arguments[0])}"
                + ("; write a window such as [5m] behind it" if wanted is ValueType.RANGE else ""),
            )
        return self._modified(Call(token.text, tuple(arguments), token.start))

    def _aggregate(self, token: Token, operator: str) -> Expr:
        grouping = self._grouping()
        self._expect("(", f"behind {operator}")
        operand = self._expression(0)
        if self._at(","):
            raise self._error(self._token, f"{operator} takes one argument")
        self._expect(")", f"to close {operator}")
        grouping = grouping or self._grouping() or (True, ())
        if type_of(operand) is not ValueType.VECTOR:
            raise error_at(
                self._text,
                operand.start,
                f"{operator} takes an instant vector, found a {type_of(operand)}",
            )
        by, labels = grouping
        return self._modified(Aggregate(operator, operand, by, labels, token.start))

    def _grouping(self) -> tuple[bool, tuple[str, ...]] | None:
        word = self._word()
        if word not in ("by", "without"):
            return None
        self._take()
        return word == "by", self._label_names(word)

    def _label_names(self, purpose: str) -> tuple[str, ...]:
        self._expect("(", f"behind {purpose}")
        names: list[str] = []
        while not self._at(")"):
            if self._token.kind != "identifier" or ":" in self._token.text:
                raise self._unexpected("a label name")
            names.append(self._take().text)
            if not self._at(")"):
                self._expect(",", "or ')' after a label name")
        self._take()
        return tuple(names)

    def _binary(self, left: Expr, operator: str, precedence: int) -> Expr:
        token = self._take()
        if operator == "atan2":
            raise self._unsupported(token, "the operator atan2")
        returns_bool = False
        if self._word() == "bool":
            if operator not in COMPARISONS:
                raise self._error(self._token, "bool stands only behind a comparison")
            self._take()
            returns_bool = True
        matching_token = self._token
        matching = self._matching()
        # ^ is the one operator that associates to the right.
        right = self._expression(precedence if operator == "^" else precedence + 1)
        sides = (type_of(left), type_of(right))
        if ValueType.RANGE in sides:
            raise self._error(token, f"{operator} takes no range vector")
        if ValueType.SCALAR in sides and operator in SET_OPERATORS:
            raise self._error(token, f"{operator} stands between two vectors, not with a scalar")
        of_scalars = sides == (ValueType.SCALAR, ValueType.SCALAR)
        if of_scalars and operator in COMPARISONS and not returns_bool:
            raise self._error(token, "a comparison of two scalars needs bool")
        if ValueType.SCALAR in sides and matching is not None and matching.labels:
            raise self._error(matching_token, "on and ignoring stand only between two vectors")
        yields = ValueType.SCALAR if of_scalars else ValueType.VECTOR
        return Binary(
            operator, left, right, returns_bool, matching or _EVERYTHING, yields, token.start
        )

    def _matching(self) -> Matching | None:
        word = self._word()
        if word not in ("on", "ignoring"):
            return None
        self._take()
        matching = Matching(on=word == "on", labels=self._label_names(word))
        if self._word() in ("group_left", "group_right"):
            raise self._unsupported(self._token, self._word())
        return matching

    # Selectors.

    def _selector(self, name: str, start: int) -> Expr:
        matchers: tuple[Matcher, ...] = ()
        if self._at("{"):
            matchers = self._matchers(has_name=bool(name))
        if not name and not any(not matcher.admits("") for matcher in matchers):
            raise error_at(
                self._text, start, "a selector needs a name or one matcher that excludes the empty"
            )
        range_s: float | None = None
        if self._at("["):
            self._take()
            range_s = self._duration("a window such as 5m")
            # ":1m" is one word to the lexer: names of recorded series may start so.
            if self._token.text.startswith(":"):
                raise self._unsupported(self._token, "a subquery")
            self._expect("]", "to close the window")
        offset_s = 0.0
        if self._word() == "offset":
            self._take()
            if self._at("-"):
                raise self._unsupported(self._token, "a negative offset")
            offset_s = self._duration("a duration such as 5m")
        if self._at("@"):
            raise self._unsupported(self._token, "the @ modifier")
        if self._at("["):
            if range_s is None:
                raise self._error(self._token, "the window stands before offset")
            raise self._unsupported(self._token, "a subquery")
        return Selector(name, matchers, range_s, offset_s, start)

    def _duration(self, expected: str) -> float:
        if self._token.kind != "duration":
            raise self._unexpected(expected)
        token = self._take()
        try:
            seconds = duration_seconds(token.text)
        except ValueError as error:
            raise self._error(token, str(error)) from error
        if seconds == 0:
            raise self._error(token, "a duration is longer than 0")
        return seconds

    def _matchers(self, *, has_name: bool) -> tuple[Matcher, ...]:
        self._take()
        found: list[Matcher] = []
        while not self._at("}"):
            label = self._token
            if label.kind != "identifier" or ":" in label.text:
                raise self._unexpected("a label name or '}'")
            self._take()
            operator = self._token
            if operator.text not in ("=", "!=", "=~", "!~"):
                raise self._unexpected("one of = != =~ !~")
            self._take()
            value = self._token
            if value.kind != "string":
                raise self._unexpected("a string in quotes")
            self._take()
            if label.text == "__name__" and has_name:
                raise self._error(label, "the metric's name is given twice")
            found.append(self._matcher(label, operator, value))
            if not self._at("}"):
                self._expect(",", "or '}' after a matcher")
        self._take()
        return tuple(found)

    def _matcher(self, label: Token, operator: Token, value: Token) -> Matcher:
        try:
            return make_matcher(label.text, operator.text, value.text)
        except RuleError as error:
            raise self._error(value, error.message) from error


def _depth_of(expr: Expr) -> int:
    """Return the depth of the tree; long chains are deep without any parenthesis."""
    deepest = 0
    waiting: list[tuple[Expr, int]] = [(expr, 1)]
    while waiting:
        node, depth = waiting.pop()
        deepest = max(deepest, depth)
        waiting.extend((child, depth + 1) for child in children(node))
    return deepest


def walk(expr: Expr, visit: Callable[[Expr], None]) -> None:
    """Visit every node of an expression."""
    waiting = [expr]
    while waiting:
        node = waiting.pop()
        visit(node)
        waiting.extend(children(node))
