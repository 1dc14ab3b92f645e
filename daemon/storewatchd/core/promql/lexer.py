"""Cuts PromQL text into tokens, each with its place.

Grammar: https://prometheus.io/docs/prometheus/latest/querying/basics/
"""

import re
from collections.abc import Iterator
from typing import NamedTuple

from storewatchd.errors import ExpressionError

MAX_TEXT_BYTES = 16_384
MAX_DURATION_S = 2**63 / 1e9
"""Prometheus counts durations in nanoseconds, in 64 bits."""

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
    "y": 31536000.0,
    "w": 604800.0,
    "d": 86400.0,
    "h": 3600.0,
    "m": 60.0,
    "s": 1.0,
    "ms": 0.001,
}
_DURATION = re.compile("".join(rf"(?:([0-9]+){unit})?" for unit in _UNIT_SECONDS))
_ESCAPES = {"a": b"\a", "b": b"\b", "f": b"\f", "n": b"\n", "r": b"\r", "t": b"\t", "v": b"\v"}


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
    """Return the seconds of a Prometheus duration such as 1h30m: larger units first, each once.

    Raises:
        ValueError: it is no such duration, or longer than Prometheus can count.
    """
    if text == "0":
        return 0.0
    match = _DURATION.fullmatch(text)
    if match is None or not text:
        raise ValueError(f"{text[:40]!r} is no duration: expected one such as 30s, 5m or 1h30m")
    seconds = sum(
        float(number or 0) * unit_s
        for number, unit_s in zip(match.groups(), _UNIT_SECONDS.values(), strict=True)
    )
    if seconds > MAX_DURATION_S:
        raise ValueError("a duration has at most 292 years")
    return seconds


def _unquote(text: str, piece: str, start: int) -> str:
    quote, body = piece[0], piece[1:-1]
    if quote == "`" or "\\" not in body:
        return body
    out = bytearray()
    index = 0
    while index < len(body):
        if body[index] != "\\":
            out += body[index].encode()
            index += 1
            continue
        value, length = _escape(body[index + 1 :], quote)
        if value is None:
            raise error_at(text, start + 1 + index, f"unknown escape \\{body[index + 1]}")
        out += value
        index += 1 + length
    try:
        return out.decode()
    except UnicodeDecodeError:
        raise error_at(text, start, "the bytes of this string are no UTF-8") from None


def _escape(rest: str, quote: str) -> tuple[bytes | None, int]:
    """Return the bytes that an escape stands for, and how long it is.

    As in Go's string literals: \\x and octal give a byte, \\u and \\U a character.
    """
    first = rest[0]
    if first in _ESCAPES:
        return _ESCAPES[first], 1
    if first in ("\\", quote):
        return first.encode(), 1
    if re.fullmatch(r"x[0-9a-fA-F]{2}", rest[:3]):
        return bytes.fromhex(rest[1:3]), 3
    if re.fullmatch(r"[0-3][0-7]{2}", rest[:3]):
        return bytes((int(rest[:3], 8),)), 3
    found = re.match(r"u([0-9a-fA-F]{4})|U([0-9a-fA-F]{8})", rest)
    if found is None:
        return None, 0
    number = int(found[1] or found[2], 16)
    is_character = number <= 0x10FFFF and not 0xD800 <= number <= 0xDFFF
    return (chr(number).encode() if is_character else None), found.end()
