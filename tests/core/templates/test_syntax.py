"""What is no template is refused, with the place of the mistake."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from storewatchd.core.templates import Context, Template
from storewatchd.core.templates.syntax import MAX_DEPTH, MAX_TEMPLATE_BYTES
from storewatchd.errors import TemplateError


@pytest.mark.parametrize(
    ("text", "message", "column"),
    [
        pytest.param("{{ nope 1 }}", "there is no function nope", 4, id="function"),
        pytest.param("{{ print nope }}", "there is no function nope", 10, id="inner function"),
        pytest.param("{{ $x }}", "the variable $x is not defined", 4, id="variable"),
        pytest.param("{{ $x = 1 }}", "the variable $x is not defined", 11, id="assignment"),
        pytest.param("a{{ 1", "this action has no end: expected }}", 2, id="no end"),
        pytest.param('{{ "a }}', "this action has no end: expected }}", 1, id="open text"),
        pytest.param("{{ }}", "an action says something", 3, id="empty"),
        pytest.param("{{ if 1 }}x", "if has no {{ end }}", 4, id="open block"),
        pytest.param("{{ end }}", "end without an open if, with or range", 4, id="end"),
        pytest.param("{{ else }}", "else without an open if, with or range", 4, id="else"),
        pytest.param(
            "{{ if 1 }}{{ else }}{{ else }}{{ end }}",
            "else without an open if, with or range",
            24,
            id="second else",
        ),
        pytest.param('{{ template "x" }}', "template is not supported", 4, id="template"),
        pytest.param("{{ (1 }}", "this parenthesis has no end", 4, id="parenthesis"),
        pytest.param("{{ 1 2 }}", "'1' is no function and takes no arguments", 4, id="call of 1"),
        pytest.param("{{ 1 | 2 }}", "'2' is no function and takes no arguments", 8, id="pipe to 2"),
        pytest.param("{{ 1 | }}", "expected a value or a function", 8, id="pipe to nothing"),
        pytest.param("{{ print , }}", "unexpected ','", 10, id="comma"),
        pytest.param("{{ if }}x{{ end }}", "expected a value or a function", 7, id="if of nothing"),
        pytest.param("{{ 1 ) }}", "unexpected ')'", 6, id="rest"),
        pytest.param("{{ ? }}", "unexpected character '?'", 4, id="character"),
        pytest.param("{{ print := }}", "unexpected ':='", 10, id="misplaced assignment"),
        pytest.param("{{ $a, $b := 1 }}", "", 0, id="two outside of range"),
        pytest.param("{{ ( ) }}", "unexpected ')'", 6, id="empty parenthesis"),
        pytest.param(
            "{{ if 0 }}{{ $x := 1 }}{{ else }}{{ $x }}{{ end }}",
            "the variable $x is not defined",
            37,
            id="variable of the other branch",
        ),
        pytest.param(
            "{{ range $x := 0 }}{{ else }}{{ $x }}{{ end }}",
            "the variable $x is not defined",
            33,
            id="item where there is none",
        ),
        pytest.param(
            "{{ range 0 }}{{ else }}{{ $x := 1 }}{{ end }}{{ $x }}",
            "the variable $x is not defined",
            49,
            id="variable of a block that has ended",
        ),
        pytest.param(
            "{{ 0x" + "f" * 4000 + " }}", "this number is too large", 4, id="whole number too large"
        ),
        pytest.param("{{ 1e999 }}", "this number is too large", 4, id="number too large"),
        pytest.param("{{ (print) . }}", "'(' is no function and takes no arguments", 4, id="call"),
    ],
)
def test_a_mistake_is_named_with_its_place(text: str, message: str, column: int) -> None:
    with pytest.raises(TemplateError) as wrong:
        Template(text)
    if message:
        assert (wrong.value.message, wrong.value.line, wrong.value.column) == (message, 1, column)


def test_the_line_is_counted() -> None:
    with pytest.raises(TemplateError) as wrong:
        Template("one\ntwo {{ nope }}")
    assert (wrong.value.line, wrong.value.column) == (2, 8)


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("{{ if 1 }}" * (MAX_DEPTH + 1), id="blocks"),
        pytest.param("{{ " + "(" * (MAX_DEPTH + 1) + "1" + ")" * 60 + " }}", id="parentheses"),
        pytest.param("x" * (MAX_TEMPLATE_BYTES + 1), id="length"),
    ],
)
def test_size_and_depth_are_bounded(text: str) -> None:
    with pytest.raises(TemplateError, match=r"deeper|at most"):
        Template(text)


def test_many_tokens_are_cut_in_linear_time() -> None:
    # What is cut is refused at once, but only after all of it was cut.
    with pytest.raises(TemplateError, match="takes no arguments"):
        Template("{{ " + "1 " * 30_000 + "}}")


@given(st.text(alphabet="{}()|$.,=:\"`'-/* \nabif1", max_size=60))
def test_any_text_is_a_template_or_refused(text: str) -> None:
    try:
        template = Template("{{ if 1 }}" + text)
        template.render(Context({}, 1.0, lambda _: []))
    except TemplateError as error:
        assert error.message  # noqa: PT017  either is right, and nothing else is raised
