"""The functions of templates give what Prometheus 2.42 and Go's fmt give."""

import math
from typing import Any

import pytest

from storewatchd.core.templates.functions import FUNCTIONS, QueryRow, is_true, show
from storewatchd.errors import TemplateError

ROW = QueryRow({"a": "1", "__value__": "v"}, 3.0)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "<no value>"),
        (True, "true"),
        (False, "false"),
        (3, "3"),
        (0.1, "0.1"),
        (100000.0, "100000"),
        (123456789.0, "123456789"),
        (1e20, "100000000000000000000"),
        (1e21, "1e+21"),
        (1.5e300, "1.5e+300"),
        (0.00012, "0.00012"),
        (0.00001, "1e-05"),
        (1.25e-7, "1.25e-07"),
        (-0.5, "-0.5"),
        (math.nan, "NaN"),
        (math.inf, "+Inf"),
        (-math.inf, "-Inf"),
        ({"b": 1, "a": "x"}, "map[a:x b:1]"),
        ([1, "b"], "[1 b]"),
        ("text", "text"),
    ],
)
def test_values_are_shown_as_go_prints_them(value: Any, text: str) -> None:
    assert show(value) == text


@pytest.mark.parametrize(
    ("name", "arguments", "result"),
    [
        ("eq", (1, 1.0), True),
        ("eq", ("a", "b", "a"), True),
        ("eq", (True, 1), False),
        ("ne", ("a", "b"), True),
        ("lt", (1, 2), True),
        ("le", (2, 2), True),
        ("gt", ("b", "a"), True),
        ("ge", (1, 2), False),
        ("not", ("",), True),
        ("len", ("é",), 2),
        ("len", ([1, 2],), 2),
        ("index", ([1, 2], 1), 2),
        ("index", ({"a": {"b": 3}}, "a", "b"), 3),
        ("index", ({}, "a"), ""),
        ("print", (1, "a", 2.5), "1a2.5"),
        ("println", (1, "a"), "1 a\n"),
        ("printf", ("%s %d %5.1f|%-4s|%04d%%", "a", 2.9, 1.25, "b", 7), "a 2   1.2|b   |0007%"),
        ("printf", ("%q %t %x %v", 'a"b', 1, 255, None), '"a\\"b" true ff <no value>'),
        ("printf", ("%s %s", "a"), "a %!s(MISSING)"),
        ("printf", ("a", 1, "b"), "a%!(EXTRA 1)%!(EXTRA b)"),
        ("printf", ("%e %g", 1500.0, 0.5), "1.500000e+03 0.5"),
        ("humanize", (0,), "0"),
        ("humanize", (1e-30,), "1e-06y"),
        ("humanizeDuration", (1e-30,), "1e-06ys"),
        ("print", (1e-300,), "1e-300"),
        ("humanize", (1234567,), "1.235M"),
        ("humanize", (0.00123,), "1.23m"),
        ("humanize", (-1500,), "-1.5k"),
        ("humanize", (1e30,), "1e+06Y"),
        ("humanize", (math.nan,), "NaN"),
        ("humanize", ("12",), "12"),
        ("humanize1024", (1536,), "1.5ki"),
        ("humanize1024", (0.5,), "0.5"),
        ("humanize1024", (2**40,), "1Ti"),
        ("humanize1024", (2.0**90,), "1024Yi"),
        ("humanize1024", (math.inf,), "+Inf"),
        ("humanizeDuration", (0,), "0s"),
        ("humanizeDuration", (59.5,), "59.5s"),
        ("humanizeDuration", (61,), "1m 1s"),
        ("humanizeDuration", (3661,), "1h 1m 1s"),
        ("humanizeDuration", (-90061,), "-1d 1h 1m 1s"),
        ("humanizeDuration", (0.0021,), "2.1ms"),
        ("humanizeDuration", (math.inf,), "+Inf"),
        ("humanizePercentage", (0.8765,), "87.65%"),
        ("humanizePercentage", (0.5,), "50%"),
        ("humanizeTimestamp", (1_767_268_800,), "2026-01-01 12:00:00 +0000 UTC"),
        ("humanizeTimestamp", (math.nan,), "NaN"),
        ("title", ("two words",), "Two Words"),
        ("toUpper", ("a",), "A"),
        ("toLower", ("A",), "a"),
        ("stripPort", ("host:9100",), "host"),
        ("stripPort", ("host",), "host"),
        ("reReplaceAll", ("(.)b", "${1}x", "abab"), "axax"),
        ("match", ("b+", "abbc"), True),
        ("match", ("^b", "abbc"), False),
        ("parseDuration", ("1h30m",), 5400.0),
        ("first", ([1, 2],), 1),
        ("label", ("a", ROW), "1"),
        ("label", ("none", ROW), ""),
        ("value", (ROW,), 3.0),
        ("strvalue", (ROW,), "v"),
        ("sortByLabel", ("a", [QueryRow({"a": "2"}, 0), ROW]), [ROW, QueryRow({"a": "2"}, 0)]),
    ],
)
def test_a_function_gives(name: str, arguments: tuple[Any, ...], result: Any) -> None:
    assert FUNCTIONS[name](*arguments) == result


@pytest.mark.parametrize(
    ("name", "arguments", "why"),
    [
        ("humanize", (True,), "true is no number"),
        ("humanize", (None,), "<no value> is no number"),
        ("humanize", ("x",), "'x' is no number"),
        ("lt", ("a", 1), "a and 1 cannot be compared"),
        ("first", ([],), "first: there is no row"),
        ("value", (1,), "1 is no row of a query"),
        ("index", ([1], 5), "index: [1] has no 5"),
        ("index", (1, 5), "index: 1 has no 5"),
        ("len", (1,), "1 has no length"),
        ("match", ("(", "a"), "bad pattern"),
        ("reReplaceAll", ("(", "a", "b"), "bad pattern"),
        ("parseDuration", ("soon",), "soon"),
        ("humanizeTimestamp", (1e30,), "is no time"),
    ],
)
def test_what_a_function_cannot_do_is_said(name: str, arguments: tuple[Any, ...], why: str) -> None:
    with pytest.raises(TemplateError) as failed:
        FUNCTIONS[name](*arguments)
    assert why in failed.value.message


def test_truth_is_gos() -> None:
    assert not any(map(is_true, (0, "", [], {}, None, False)))
    assert all(map(is_true, (1, "x", [0], True)))


@pytest.mark.parametrize(
    ("text", "quoted"),
    [
        ('a "b" \\c', r'"a \"b\" \\c"'),
        ("a\nb\tc\r", r'"a\nb\tc\r"'),
        ("\x1b[1m\x7f", r'"\x1b[1m\x7f"'),
        ("\u200b\U000e0001ä", r'"\u200b\U000e0001ä"'),
    ],
)
def test_a_quoted_text_can_stand_in_an_expression(text: str, quoted: str) -> None:
    assert FUNCTIONS["printf"]("%q", text) == quoted
