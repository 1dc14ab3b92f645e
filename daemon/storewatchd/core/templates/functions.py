"""The functions of templates: Go's own and Prometheus' (template/template.go)."""

import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from storewatchd.core.matchers import make_matcher, rewrite
from storewatchd.core.promql.lexer import duration_seconds
from storewatchd.errors import RuleError, TemplateError

MAX_TEXT = 65_536
"""How long a text that a function gives may be, characters."""

_VERB = re.compile(r"%([-+ #0]*[0-9]{0,3}(?:\.[0-9]{0,2})?)([vsdfgexqt%])")


@dataclass(frozen=True, slots=True)
class QueryRow:
    """A row that `query` gave: what `.Labels`, `.Value`, `label` and `value` read."""

    Labels: Mapping[str, str]
    Value: float


def is_true(value: Any) -> bool:
    """Return Go's truth of a value: false, 0, nil and what is empty are false."""
    return bool(value)


def show(value: Any) -> str:
    """Return how Go prints a value."""
    if value is None:
        return "<no value>"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return _shortest(value)
    if isinstance(value, Mapping):
        return "map[" + " ".join(f"{key}:{show(value[key])}" for key in sorted(value)) + "]"
    if isinstance(value, list | tuple):
        return "[" + " ".join(show(item) for item in value) + "]"
    return str(value)


def _shortest(value: float) -> str:
    """Print a float as Go's %v does: shortest, with an exponent from 1e21 up or below 1e-4."""
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "+Inf" if value > 0 else "-Inf"
    if value == 0 or 1e-4 <= abs(value) < 1e21:
        if value == int(value):
            return str(int(value))
        return format(value, "f") if "e" in repr(value) else repr(value)
    mantissa, _, exponent = f"{value!r}".partition("e")
    mantissa = mantissa.rstrip("0").rstrip(".") if "." in mantissa else mantissa
    return f"{mantissa}e{int(exponent):+03d}"


def _four_digits(value: float) -> str:
    """Print a float as Go's %.4g does."""
    text = f"{value:.4g}"
    if "e" in text:
        mantissa, exponent = text.split("e")
        return f"{mantissa}e{int(exponent):+03d}"
    return text


def number(value: Any) -> float:
    """Return the number that a value is, or that its text says."""
    if isinstance(value, bool) or value is None:
        raise TemplateError(f"{show(value)} is no number")
    try:
        return float(value)
    except (TypeError, ValueError) as error:
        raise TemplateError(f"{show(value)!r} is no number") from error


def _odd(value: float) -> str | None:
    return show(value) if math.isnan(value) or math.isinf(value) else None


def _humanize(value: Any) -> str:
    number_ = number(value)
    if number_ == 0 or _odd(number_):
        return _odd(number_) or _four_digits(number_)
    prefix = ""
    if abs(number_) >= 1:
        for one in "kMGTPEZY":
            if abs(number_) < 1000:
                break
            prefix, number_ = one, number_ / 1000
    else:
        for one in "mµnpfazy":
            if abs(number_) >= 1:
                break
            prefix, number_ = one, number_ * 1000
    return _four_digits(number_) + prefix


def _humanize1024(value: Any) -> str:
    number_ = number(value)
    if abs(number_) <= 1 or _odd(number_):
        return _odd(number_) or _four_digits(number_)
    prefix = ""
    for one in ("ki", "Mi", "Gi", "Ti", "Pi", "Ei", "Zi", "Yi"):
        if abs(number_) < 1024:
            break
        prefix, number_ = one, number_ / 1024
    return _four_digits(number_) + prefix


def _humanize_duration(value: Any) -> str:
    number_ = number(value)
    if _odd(number_):
        return show(number_)
    if number_ == 0:
        return "0s"
    if abs(number_) < 1:
        prefix = ""
        for one in "mµnpfazy":
            if abs(number_) >= 1:
                break
            prefix, number_ = one, number_ * 1000
        return f"{_four_digits(number_)}{prefix}s"
    sign = "-" if number_ < 0 else ""
    number_ = abs(number_)
    whole = int(number_)
    seconds, minutes = whole % 60, whole // 60 % 60
    hours, days = whole // 3600 % 24, whole // 86400
    if days:
        return f"{sign}{days}d {hours}h {minutes}m {seconds}s"
    if hours:
        return f"{sign}{hours}h {minutes}m {seconds}s"
    if minutes:
        return f"{sign}{minutes}m {seconds}s"
    return f"{sign}{_four_digits(number_)}s"


def _humanize_timestamp(value: Any) -> str:
    number_ = number(value)
    if _odd(number_):
        return show(number_)
    try:
        moment = datetime.fromtimestamp(number_, UTC)
    except (OverflowError, ValueError, OSError) as error:
        raise TemplateError(f"{show(number_)} is no time") from error
    return f"{moment:%Y-%m-%d %H:%M:%S} +0000 UTC"


_ESCAPES = dict(zip('\\"\a\b\f\n\r\t\v', (f"\\{one}" for one in '\\"abfnrtv'), strict=True))


def _quoted(text: str) -> str:
    """Return a text as Go's strconv.Quote does, and as an expression can hold it."""
    return '"' + "".join(_ESCAPES.get(one) or _escaped(one) for one in text) + '"'


def _escaped(one: str) -> str:
    if one.isprintable():
        return one
    number = ord(one)
    if number < 0x80:
        return f"\\x{number:02x}"
    return f"\\u{number:04x}" if number < 0x10000 else f"\\U{number:08x}"


def _printf(template: Any, *values: Any) -> str:
    """Format as Go's fmt does, for the verbs v s d f g e x q t and %."""
    waiting = list(values)

    def one(match: re.Match[str]) -> str:
        flags, verb = match.group(1), match.group(2)
        if verb == "%":
            return "%"
        if not waiting:
            return f"%!{verb}(MISSING)"
        value = waiting.pop(0)
        match verb:
            case "v" | "s":
                return f"%{flags}s" % show(value)
            case "q":
                return _quoted(show(value))
            case "t":
                return show(is_true(value))
            case "d" | "x":
                return f"%{flags}{verb}" % int(number(value))
            case _:
                return f"%{flags}{verb}" % number(value)

    def pieces() -> Iterator[str]:
        text, end = show(template), 0
        for match in _VERB.finditer(text):
            yield text[end : match.start()]
            yield one(match)
            end = match.end()
        yield text[end:]
        yield from (f"%!(EXTRA {show(value)})" for value in waiting)

    return _joined(pieces())


def _joined(texts: Iterable[str]) -> str:
    """Join texts, of which no more are made than there is room for."""
    room, taken = MAX_TEXT, []
    for text in texts:
        room -= len(text)
        if room < 0:
            raise TemplateError(f"the text grows beyond {MAX_TEXT} characters")
        taken.append(text)
    return "".join(taken)


def _same(first: Any, *others: Any) -> bool:
    return any(_comparable(first) == _comparable(other) for other in others)


def _comparable(value: Any) -> Any:
    if isinstance(value, bool):
        return ("bool", value)  # to Python, and to nobody else, True is 1
    return float(value) if isinstance(value, int | float) else value


def _ordered(test: Callable[[Any, Any], bool]) -> Callable[[Any, Any], bool]:
    def compare(a: Any, b: Any) -> bool:
        if isinstance(a, str) != isinstance(b, str):
            raise TemplateError(f"{show(a)} and {show(b)} cannot be compared")
        return test(a, b)

    return compare


def _first(rows: Any) -> Any:
    if not isinstance(rows, Sequence) or not rows:
        raise TemplateError("first: there is no row")
    return rows[0]


def _row(value: Any) -> QueryRow:
    if not isinstance(value, QueryRow):
        raise TemplateError(f"{show(value)} is no row of a query")
    return value


def _index(value: Any, *keys: Any) -> Any:
    for key in keys:
        try:
            value = value.get(key, "") if isinstance(value, Mapping) else value[int(key)]
        except (IndexError, TypeError, ValueError, AttributeError) as error:
            raise TemplateError(f"index: {show(value)} has no {show(key)}") from error
    return value


def _matches(pattern: Any, text: Any) -> bool:
    try:
        return make_matcher("text", "=~", f".*(?:{pattern}).*").admits(show(text))
    except RuleError as error:
        raise TemplateError(error.message) from error


def _replace_all(pattern: Any, replacement: Any, text: Any) -> str:
    try:
        return rewrite(show(pattern), show(replacement), show(text), limit=MAX_TEXT)
    except RuleError as error:
        raise TemplateError(error.message) from error


def _parse_duration(text: Any) -> float:
    try:
        return duration_seconds(show(text))
    except ValueError as error:
        raise TemplateError(str(error)) from error


def _length(value: Any) -> int:
    try:
        return len(value.encode() if isinstance(value, str) else value)
    except TypeError as error:
        raise TemplateError(f"{show(value)} has no length") from error


def _sort_by_label(label: Any, rows: Any) -> list[Any]:
    return sorted(rows, key=lambda row: str(_row(row).Labels.get(show(label), "")))


FUNCTIONS: Mapping[str, Callable[..., Any]] = {
    "eq": _same,
    "ne": lambda a, b: not _same(a, b),
    "lt": _ordered(lambda a, b: a < b),
    "le": _ordered(lambda a, b: a <= b),
    "gt": _ordered(lambda a, b: a > b),
    "ge": _ordered(lambda a, b: a >= b),
    "not": lambda value: not is_true(value),
    "len": _length,
    "index": _index,
    "print": lambda *values: _joined(map(show, values)),
    "println": lambda *values: _joined(f"{show(value)} " for value in values)[:-1] + "\n",
    "printf": _printf,
    "humanize": _humanize,
    "humanize1024": _humanize1024,
    "humanizeDuration": _humanize_duration,
    "humanizePercentage": lambda value: f"{_four_digits(number(value) * 100)}%",
    "humanizeTimestamp": _humanize_timestamp,
    "title": lambda text: re.sub(r"(^|\s)(\S)", lambda m: m[1] + m[2].upper(), show(text)),
    "toUpper": lambda text: show(text).upper(),
    "toLower": lambda text: show(text).lower(),
    "stripPort": lambda text: re.sub(r":[0-9]+$", "", show(text)),
    "reReplaceAll": _replace_all,
    "match": _matches,
    "parseDuration": _parse_duration,
    "first": _first,
    "label": lambda name, row: _row(row).Labels.get(show(name), ""),
    "value": lambda row: _row(row).Value,
    "strvalue": lambda row: _row(row).Labels.get("__value__", ""),
    "sortByLabel": _sort_by_label,
}
"""By name; `and`, `or` and `query` are the renderer's own."""
