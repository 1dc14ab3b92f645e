"""What the parser takes, what it refuses, and the place that it names."""

import promql_parser
import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.promql.fix_expressions import expressions
from storewatchd.core.promql import parse
from storewatchd.core.promql.parse import MAX_DEPTH
from storewatchd.errors import ExpressionError

TAKEN = [
    "1",
    "0x1F + 1e3 - .5",
    "-foo",
    "+foo",
    "foo",
    'foo{a="b",c!="d",e=~"f.*",g!~"h"}',
    'foo{a="b",}',
    '{__name__=~"repo_.*"}',
    "foo offset 5m",
    "foo{} offset 1h30m",
    "rate(foo[5m])",
    "increase(foo[1h] offset 5m)",
    "max_over_time(foo[90s])",
    "avg_over_time(foo[1d])",
    "sum(foo)",
    "sum by (a, b) (foo)",
    "sum(foo) without (a)",
    "count by () (foo)",
    "a + on (x) b",
    "a / ignoring (x, y) b",
    "a > bool b",
    "1 == bool 2",
    "a and b or c unless d",
    "a AND b",
    "a ^ b ^ c",
    "-a ^ b",
    "absent(foo{a='x'})",
    "time() - foo",
    "foo # a comment\n > 1",
    "sum",
    "by",
    'foo{a="\\n\\x41\\u00e4\\101\\\\"}',
    "foo{a=`raw\\n`}",
    "Inf + NaN",
    "foo:bar:rate5m > 1",
]

REFUSED = [
    ("", 1, 1, "empty"),
    ("foo bar", 1, 5, "expected an operator or the end"),
    ("sum(", 1, 5, "expected a number, a metric"),
    ("foo{a=}", 1, 7, "a string in quotes"),
    ("foo{a~'b'}", 1, 6, "unexpected character"),
    ("foo{1='b'}", 1, 5, "a label name"),
    ('foo{a="b}', 1, 7, "this string has no end"),
    ('foo{a="\\q"}', 1, 8, "unknown escape"),
    ("foo[5m]", 1, 1, "a range vector needs a function"),
    ("rate(foo)", 1, 6, "takes a range vector"),
    ("sum(rate(foo[5m]) + \n  )", 2, 3, "found ')'"),
    ("foo[5]", 1, 5, "a window such as 5m"),
    ("foo[0s]", 1, 5, "longer than 0"),
    ("5m", 1, 1, "a duration stands only"),
    ("'text'", 1, 1, "a string is no value"),
    ("1 > 2", 1, 3, "needs bool"),
    ("a + bool b", 1, 5, "bool stands only behind a comparison"),
    ("a and 1", 1, 3, "stands between two vectors"),
    ("a + on (x) 1", 1, 5, "only between two vectors"),
    ("foo offset 5m [5m]", 1, 15, "the window stands before offset"),
    ("(foo) offset 5m", 1, 7, "directly behind a selector"),
    ("{a=''}", 1, 1, "excludes the empty"),
    ("foo{__name__='bar'}", 1, 5, "given twice"),
    ("sum(a, b)", 1, 6, "takes one argument"),
    ("sum(1)", 1, 5, "takes an instant vector"),
    ("time(1)", 1, 1, "takes no argument"),
    ("nosuch(foo)", 1, 1, "there is no function nosuch()"),
    ('foo{a=~"("}', 1, 8, "bad pattern"),
    ("- foo[5m]", 1, 1, "takes no range vector"),
    ("foo[5m] + 1", 1, 9, "takes no range vector"),
    ("and foo", 1, 1, "the keyword 'and'"),
    ("0x" + "f" * 400, 1, 1, "the number is too large"),
    ("1 + 1e999", 1, 5, "the number is too large"),
    (f"rate(foo[{'9' * 400}s])", 1, 10, "at most 292 years"),
    (f"foo offset {'9' * 5000}s", 1, 12, "at most 292 years"),
    ("rate(foo[1m1h])", 1, 10, "is no duration"),
    ("foo{a=5m}", 1, 7, "a string in quotes"),
    ("foo{a 'b'}", 1, 7, "one of = != =~ !~"),
    ("foo{a='b' c='d'}", 1, 11, "or '}' after a matcher"),
    ("sum by (a b) (foo)", 1, 11, "or ')' after a label name"),
    ("sum by (1) (foo)", 1, 9, "a label name"),
    ("rate(foo[5m] foo[5m])", 1, 14, "or ')' after an argument"),
    ("foo offset", 1, 11, "a duration such as 5m"),
    ("sum foo", 1, 5, "an operator or the end"),
]

UNSUPPORTED = [
    ("topk(3, foo)", 1, "topk"),
    ("quantile by (a) (0.9, foo)", 1, "quantile"),
    ("histogram_quantile(0.9, foo)", 1, "histogram_quantile()"),
    ("label_replace(a, 'b', 'c', 'd', 'e')", 1, "label_replace()"),
    ("a * on (x) group_left (y) b", 12, "group_left"),
    ("max_over_time(foo[5m:1m])", 21, "subquery"),
    ("(foo)[5m:]", 6, "subquery"),
    ("foo @ 5", 5, "@ modifier"),
    ("foo offset -5m", 12, "negative offset"),
    ("a atan2 b", 3, "atan2"),
    ("(foo) @ 5", 7, "@ modifier"),
    ("rate(foo[5m] offset 1m [5m])", 24, "subquery"),
]


@pytest.mark.parametrize("text", TAKEN)
def test_promql_is_taken(text: str) -> None:
    if text not in ("by", "sum") and "Inf" not in text:
        promql_parser.parse(text)  # the oracle agrees that this is PromQL
    if text == "by":
        with pytest.raises(ExpressionError):
            parse(text)
    else:
        parse(text)


@pytest.mark.parametrize(("text", "line", "column", "words"), REFUSED)
def test_what_is_wrong_is_refused_at_its_place(
    text: str, line: int, column: int, words: str
) -> None:
    with pytest.raises(ExpressionError) as caught:
        parse(text)
    assert words in caught.value.message
    assert (caught.value.line, caught.value.column) == (line, column)


@pytest.mark.parametrize(("text", "column", "words"), UNSUPPORTED)
def test_the_rest_of_the_language_is_refused_by_name_and_place(
    text: str, column: int, words: str
) -> None:
    with pytest.raises(ExpressionError) as caught:
        parse(text)
    assert words in caught.value.message
    assert "not supported yet" in caught.value.message
    assert caught.value.column == column


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("(" * 10_000, id="parentheses"),
        pytest.param("1" + "+1" * 1000, id="a long chain"),
        pytest.param("-" * 5000 + "1", id="signs"),
        pytest.param("sum(" * 1000, id="calls"),
    ],
)
def test_depth_is_bounded(text: str) -> None:
    with pytest.raises(ExpressionError, match=f"nested deeper than {MAX_DEPTH}"):
        parse(text)


def test_length_is_bounded() -> None:
    with pytest.raises(ExpressionError, match="at most 16384 bytes"):
        parse("a" * 20_000)


def test_a_pattern_that_explodes_elsewhere_is_harmless() -> None:
    expr = parse('foo{a=~"(a+)+b"}')
    (matcher,) = expr.matchers  # type: ignore[union-attr]  # it is a selector
    assert not matcher.admits("a" * 5000)


def test_an_oversized_pattern_is_refused() -> None:
    with pytest.raises(ExpressionError, match="at most 1000 bytes"):
        parse(f'foo{{a=~"{"x" * 1001}"}}')


@given(st.text(max_size=60))
def test_any_text_gives_an_expression_or_an_error_with_a_place(text: str) -> None:
    try:
        parse(text)
    except ExpressionError as error:
        place = (error.line, error.column)
    else:
        place = (1, 1)
    assert min(place) >= 1


EXPRESSIONS = expressions(
    st.sampled_from(
        [
            *("foo", "foo{a='b'}", "{a!~'|b.*'}", "rate(foo[5m])", "increase(foo[5m] offset 1m)"),
            *("foo offset 1h", "time()", "1", ".5e3", "0x1f", "absent(foo)"),
        ]
    ),
    labels=("a", "b"),
)
WORDS = st.sampled_from(
    [
        *("foo", "sum", "by", "(", ")", "[5m]", "+", "-", "and", "on", "(a)", "1", "rate", ">"),
        *("bool", "offset 5m", "{a='b'}", "==", "or", "time()", "^", ",", "without (b)", "Inf"),
    ]
)


@st.composite
def nearly(draw: st.DrawFn) -> str:
    """Return an expression with one word added, left out or put in another's place."""
    words = draw(EXPRESSIONS).split()
    place = draw(st.integers(0, len(words)))
    words[place : place + draw(st.integers(0, 1))] = draw(st.lists(WORDS, max_size=1))
    return " ".join(words)


@given(nearly())
def test_what_is_taken_is_promql_to_another_parser_too(text: str) -> None:
    try:
        parse(text)
    except ExpressionError:
        return
    promql_parser.parse(text)  # raises where it is none


@given(EXPRESSIONS)
def test_what_is_made_of_operators_is_refused_only_for_its_types(text: str) -> None:
    try:
        parse(text)
    except ExpressionError as error:
        reasons = ("scalar", "two vectors", "needs bool", "takes an instant vector")
        assert any(reason in error.message for reason in reasons)  # noqa: PT017
