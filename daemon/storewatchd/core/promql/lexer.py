"""Cuts PromQL text into tokens, each with its place.

Grammar: https://prometheus.io/docs/prometheus/latest/querying/basics/
"""

import re
from collections.abc import Iterator
from typing import NamedTuple

from storewatchd.errors import ExpressionError

MAX_TEXT_BYTES = 16_384

_SKIP = re.compile(r"(?:[ \t\r\n]+|#[^\n]*)+")
_TOKEN = re.compile(
    r"""
    (?P<duration>[0-9]+(?:ms|[smhdwy])(?:[0-9]+(?:ms|[smhdwy]))*(?![A-Za-z0-9_.]))
  | (?P<number>0[xX][0-9a-fA-F]+ | (?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?)
  | (?P<identifier>[A-Za-z_:][A-Za-z0-9_:]*)
  | (?P<string>"(?:\\.|[^"\\\n])*" | '(?:\\.|[^'\\\n])*' | `[^`]*`)
  | (?P<operator>==|!=|=~|!~|<=|>=|[-+*/%^<>=(){}\[\],:@])
    """,
    re.VERBOSE | re.DOTALL,
)

_UNIT_SECONDS = {
    "ms": 0.001,
    "s": 1.0,
    "m": 60.0,
    "h": 3600.0,
    "d": 86400.0,
    "w": 604800.0,
    "y": 31536000.0,
}
_ESCAPES = {"a": "\a", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v"}


class Token(NamedTuple):
    """A piece of an expression. `kind` is end, duration, number, identifier, string or operator;
    `text` is the piece as written, for a string its value."""

    kind: str
    text: str
    start: int


def error_at(text: str, start: int, message: str) -> ExpressionError:
    """Return the error for a place in an expression, with its line and column from 1."""
    line = text.count("\n", 0, start) + 1
    column = start - (text.rfind("\n", 0, start) + 1) + 1
    return ExpressionError(message, line=line, column=column)


def tokens(text: str) -> Iterator[Token]:
    """Yield the tokens of an expression; the last one has the kind `end`.

    Raises:
        ExpressionError: a character that starts no token, or an unfinished string.
    """
    if len(text.encode()) > MAX_TEXT_BYTES:
        raise error_at(text, 0, f"an expression has at most {MAX_TEXT_BYTES} bytes")
    position = 0
    while True:
        skipped = _SKIP.match(text, position)
        if skipped:
            position = skipped.end()
        if position == len(text):
            yield Token("end", "", position)
            return
        match = _TOKEN.match(text, position)
        if match is None or match.lastgroup is None:
            character = text[position]
            if character in "\"'`":
                raise error_at(text, position, "this string has no end")
            raise error_at(text, position, f"unexpected character {character!r}")
        piece = match.group()
        if match.lastgroup == "string":
            yield Token("string", _unquote(text, piece, position), position)
        else:
            yield Token(match.lastgroup, piece, position)
        position = match.end()


def duration_seconds(text: str) -> float:
    """Return the seconds of a Prometheus duration such as 1h30m.

    Raises:
        ValueError: it is no such duration.
    """
    if not re.fullmatch(r"(?:[0-9]+(?:ms|[smhdwy]))+|0", text):
        raise ValueError(f"{text!r} is no duration: expected one such as 30s, 5m or 1h30m")
    return sum(
        int(number) * _UNIT_SECONDS[unit]
        for number, unit in re.findall(r"([0-9]+)(ms|[smhdwy])", text)
    )


def _unquote(text: str, piece: str, start: int) -> str:
    quote, body = piece[0], piece[1:-1]
    if quote == "`" or "\\" not in body:
        return body
    out: list[str] = []
    index = 0
    while index < len(body):
        if body[index] != "\\":
            out.append(body[index])
            index += 1
            continue
        value, length = _escape(body[index + 1 :], quote)
        if value is None:
            raise error_at(text, start + 1 + index, f"unknown escape \\{body[index + 1]}")
        out.append(value)
        index += 1 + length
    return "".join(out)


def _escape(rest: str, quote: str) -> tuple[str | None, int]:
    """Return what an escape stands for, after Go's string literals, and how long it is."""
    first = rest[0]
    if first in _ESCAPES:
        return _ESCAPES[first], 1
    if first in ("\\", quote):
        return first, 1
    for letter, digits in (("x", 2), ("u", 4), ("U", 8)):
        code = rest[1 : 1 + digits]
        if first == letter and re.fullmatch(rf"[0-9a-fA-F]{{{digits}}}", code):
            number = int(code, 16)
            return (chr(number), 1 + digits) if number <= 0x10FFFF else (None, 0)
    if re.fullmatch(r"[0-3][0-7]{2}", rest[:3]):
        return chr(int(rest[:3], 8)), 3
    return None, 0
