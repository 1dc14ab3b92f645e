"""Label matchers as Prometheus has them, on RE2."""

import pytest

from storewatchd.core.matchers import MAX_PATTERN_BYTES, make_matcher, parse_matcher, rewrite
from storewatchd.errors import RuleError


@pytest.mark.parametrize(
    ("text", "labels", "matches"),
    [
        ('a="x"', {"a": "x"}, True),
        ('a="x"', {"a": "xx"}, False),
        ("a=x", {"a": "x"}, True),
        ("a=", {}, True),
        ('a!="x"', {}, True),
        ('a!="x"', {"a": "x"}, False),
        ('a=~"x.*"', {"a": "xyz"}, True),
        ('a=~"x"', {"a": "xyz"}, False),
        ("a=~x.+", {"a": "xyz"}, True),
        ('a=~"x.y"', {"a": "x\ny"}, True),
        ('a!~"x|y"', {"a": "y"}, False),
        ('a!~"x|y"', {}, True),
        (r'a="q\"\\"', {"a": 'q"\\'}, True),
        (' a = "x" ', {"a": "x"}, True),
    ],
)
def test_a_matcher_admits_what_prometheus_admits(
    text: str, labels: dict[str, str], matches: bool
) -> None:
    assert parse_matcher(text).matches(labels) is matches


@pytest.mark.parametrize("text", ["", "a", '="x"', '1a="x"', 'a="x', "a-b=1"])
def test_what_is_no_matcher_is_refused(text: str) -> None:
    with pytest.raises(RuleError, match="expected a matcher"):
        parse_matcher(text)


def test_a_bare_value_may_begin_with_anything_but_white_space_and_a_quote() -> None:
    assert parse_matcher("a==x").value == "=x"


@pytest.mark.parametrize(
    "pattern",
    [
        pytest.param("(", id="no pattern"),
        pytest.param("x" * (MAX_PATTERN_BYTES + 1), id="too long"),
        pytest.param("(?<=a)b", id="not of RE2"),
        pytest.param("((a{0,1000}){0,1000}){0,1000}", id="too large when compiled"),
    ],
)
def test_a_bad_pattern_is_refused_with_a_reason(pattern: str) -> None:
    with pytest.raises(RuleError, match="pattern"):
        make_matcher("a", "=~", pattern)


def test_a_pattern_may_be_as_long_as_is_said() -> None:
    assert make_matcher("a", "=~", "x" * MAX_PATTERN_BYTES).admits("x" * MAX_PATTERN_BYTES)


def test_why_a_pattern_is_bad_is_said_in_words() -> None:
    with pytest.raises(RuleError, match=r"^bad pattern '\(': missing \)"):
        make_matcher("a", "=~", "(")


def test_a_pattern_that_explodes_elsewhere_is_answered() -> None:
    assert not make_matcher("a", "=~", "(a+)+b").admits("a" * 100_000)


def test_only_an_equality_is_one() -> None:
    assert make_matcher("a", "=", "x").is_equality
    assert not make_matcher("a", "!=", "x").is_equality


@pytest.mark.parametrize(
    ("pattern", "replacement", "text", "result"),
    [
        ("b", "x", "abc", "axc"),
        ("(b)(c)", "$2$1", "abc", "acb"),
        ("(?P<one>b)", "<${one}>", "abc", "a<b>c"),
        ("b", r"\1", "abc", r"a\1c"),
        ("b", "<$7>", "abc", "a<>c"),
        ("(b)", "$1x", "abc", "ac"),
        ("(b)", "$$1", "abc", "a$1c"),
        ("b", "$", "abc", "a$c"),
    ],
)
def test_rewriting_knows_groups(pattern: str, replacement: str, text: str, result: str) -> None:
    assert rewrite(pattern, replacement, text, limit=100) == result


def test_a_replacement_of_any_letters_is_put_in_as_it_is() -> None:
    assert rewrite("b", "é\\x", "abc", limit=100) == "aé\\xc"


@pytest.mark.parametrize(
    ("pattern", "replacement"),
    [
        pytest.param("", "x" * 20, id="many matches"),
        pytest.param("a*", "$0" * 20, id="much of a match"),
        pytest.param("()", "$1" * 20, id="much of nothing"),
    ],
)
def test_what_replaces_matches_is_bounded(pattern: str, replacement: str) -> None:
    with pytest.raises(RuleError, match="beyond 100 characters"):
        rewrite(pattern, replacement, "a" * 50, limit=100)
