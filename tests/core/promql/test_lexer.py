"""Tokens: what one is, what its text stands for, and where each begins."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from storewatchd.core.promql.lexer import MAX_DURATION_S, duration_seconds, error_at, tokens
from storewatchd.errors import ExpressionError


def kinds(text: str) -> list[tuple[str, str]]:
    return [(token.kind, token.text) for token in tokens(text)][:-1]


def value(text: str) -> str:
    """Return what the one string of a text stands for."""
    ((kind, found),) = kinds(text)
    assert kind == "string"
    return found


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        *(("5m", "duration"), ("1h30m", "duration"), ("10ms", "duration")),
        *(("5", "number"), ("0x1F", "number"), (".5", "number"), ("1e-3", "number")),
        *(("5.", "number"), ("a:b_1", "identifier"), (":a", "identifier"), ("_", "identifier")),
        *(("'a'", "string"), ("=~", "operator"), ("<=", "operator"), ("@", "operator")),
    ],
)
def test_a_token_is_taken_whole(text: str, kind: str) -> None:
    assert [found for found, _ in kinds(text)] == [kind]


def test_a_unit_with_letters_behind_it_is_no_duration() -> None:
    assert kinds("5mx") == [("number", "5"), ("identifier", "mx")]


def test_spaces_and_comments_separate_and_say_nothing() -> None:
    found = list(tokens("a # one\n\t# two\r\n  b"))
    assert [(token.text, token.start) for token in found] == [("a", 0), ("b", 18), ("", 19)]
    assert found[-1].kind == "end"


@pytest.mark.parametrize(
    ("text", "stands_for"),
    [
        pytest.param(r'"a\tb\n"', "a\tb\n", id="letters"),
        pytest.param(r'"\\ \""', '\\ "', id="backslash and quote"),
        pytest.param(r"'\''", "'", id="single quote"),
        pytest.param(r'"\x41\101"', "AA", id="bytes"),
        pytest.param(r'"\xc3\xa4\303\244"', "ää", id="bytes of one character"),
        pytest.param(r'"\u00e4\U0001F600"', "ä\U0001f600", id="characters"),
        pytest.param(r"`\n'`", r"\n'", id="raw"),
        pytest.param('"ä"', "ä", id="plain"),
    ],
)
def test_escapes_stand_for_what_they_do_in_go(text: str, stands_for: str) -> None:
    assert value(text) == stands_for


@pytest.mark.parametrize(
    ("text", "column", "words"),
    [
        pytest.param(r'a "x\q"', 5, r"unknown escape \q", id="unknown letter"),
        pytest.param(r'"\x4"', 2, r"unknown escape \x", id="short byte"),
        pytest.param(r'"\400"', 2, r"unknown escape \4", id="octal above a byte"),
        pytest.param(r'"\ud800"', 2, r"unknown escape \u", id="half a surrogate"),
        pytest.param(r'"\U00110000"', 2, r"unknown escape \U", id="beyond Unicode"),
        pytest.param(r'"\'"', 2, r"unknown escape \'", id="the other quote"),
        pytest.param(r'a "\xff"', 3, "no UTF-8", id="a byte that is no text"),
        pytest.param('a "b', 3, "no end", id="unfinished"),
        pytest.param('"a\nb"', 1, "no end", id="line break"),
        pytest.param("a ? b", 3, "unexpected character '?'", id="no token"),
    ],
)
def test_what_is_no_token_is_refused_at_its_place(text: str, column: int, words: str) -> None:
    with pytest.raises(ExpressionError) as caught:
        list(tokens(text))
    assert words in caught.value.message
    assert (caught.value.line, caught.value.column) == (1, column)


def test_places_count_lines_and_columns_from_one() -> None:
    error = error_at("a\nbc\nd", 3, "x")
    assert (error.line, error.column) == (2, 2)


@given(st.text())
def test_a_string_in_quotes_stands_for_itself(text: str) -> None:
    quoted = "".join(f"\\U{ord(character):08x}" for character in text)
    assert value(f'"{quoted}"') == text


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("0", 0), ("30s", 30), ("1h30m", 5400), ("1y2w3d", 33_004_800), ("1m500ms", 60.5)],
)
def test_durations_are_seconds(text: str, seconds: float) -> None:
    assert duration_seconds(text) == seconds


@pytest.mark.parametrize("text", ["", "5", "m", "1m1h", "1m1m", "1.5h", "-1m", "1 m", "1M", "٣s"])
def test_what_is_no_duration_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is no duration: expected one such as 30s"):
        duration_seconds(text)


@pytest.mark.parametrize("digits", [10, 400, 5000])
def test_a_duration_is_bounded(digits: int) -> None:
    assert duration_seconds(f"{int(MAX_DURATION_S)}s") <= MAX_DURATION_S
    with pytest.raises(ValueError, match="at most 292 years"):
        duration_seconds("9" * digits + "y")
