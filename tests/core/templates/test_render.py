"""Templates render as Go's text/template does, within bounds."""

import math

import pytest

from storewatchd.core.templates import Context, QueryRow, Template
from storewatchd.core.templates.render import MAX_OUTPUT, MAX_STEPS
from storewatchd.errors import TemplateError

ROWS = [QueryRow({"disk": "sdb", "n": "2"}, 2.0), QueryRow({"disk": "sda", "n": "1"}, 1.0)]


def render(text: str, value: float = 0.5) -> str:
    labels = {"__name__": "full", "repository": "a", "path": "/srv"}
    return Template(text).render(Context(labels, value, lambda asked: ROWS if asked else []))


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain", "plain"),
        ("", ""),
        ("{{ $labels.repository }} {{ $value }}", "a 0.5"),
        ("{{ .Labels.path }} {{ .Value }}", "/srv 0.5"),
        ("{{ $labels.nothing }}|", "|"),
        ("{{ $labels.__name__ }}|", "|"),
        ("{{ $.Labels.path }}", "/srv"),
        ("{{ $externalLabels.x }}{{ $externalURL }}", ""),
        ("a {{- 1 -}} b", "a1b"),
        ("a {{/* note */}} b", "a  b"),
        ("a {{- /* note */ -}} b", "ab"),
        ('{{ "q\\"\\n\\t\\x" }}', 'q"\n\tx'),
        ("{{ `raw\\n` }}", "raw\\n"),
        ("{{ 1 }} {{ 1.5 }} {{ 0x10 }} {{ -2 }} {{ 1e3 }}", "1 1.5 16 -2 1000"),
        ("{{ true }} {{ false }} {{ print nil }}", "true false <no value>"),
        ("{{ if gt $value 0.4 }}high{{ else }}low{{ end }}", "high"),
        ("{{ if gt $value 0.9 }}a{{ else if gt $value 0.4 }}b{{ else }}c{{ end }}", "b"),
        ("{{ if gt $value 0.9 }}a{{ else if gt $value 0.8 }}b{{ else }}c{{ end }}", "c"),
        ('{{ if "" }}x{{ end }}|', "|"),
        ("{{ with $labels.path }}{{ . }}{{ end }}", "/srv"),
        ("{{ with $labels.no }}x{{ else }}none{{ end }}", "none"),
        ("{{ with $labels.no }}x{{ else with $labels.path }}{{ . }}{{ end }}", "/srv"),
        ("{{ $x := 1 }}{{ if true }}{{ $x = 2 }}{{ end }}{{ $x }}", "2"),
        ("{{ $x := 1 }}{{ if true }}{{ $x := 2 }}{{ $x }}{{ end }}{{ $x }}", "21"),
        ("{{ if $x := 0 }}{{ else }}{{ $x }}{{ end }}", "0"),
        ("{{ if 0 }}{{ else if $x := 2 }}{{ $y := 3 }}{{ $x }}{{ $y }}{{ end }}", "23"),
        ("{{ $x := 1 }}{{ range query `q` }}{{ $x }}{{ $x := 2 }}{{ $x }}{{ end }}", "1212"),
        ("{{ range query `` }}{{ else }}{{ $x := 1 }}{{ $x }}{{ end }}", "1"),
        ("{{ 1e30 }} {{ 0xffffffffffffffff }}", "1e+30 18446744073709551615"),
        ("{{ range query `q` }}{{ .Labels.disk }}={{ .Value }};{{ end }}", "sdb=2;sda=1;"),
        ("{{ range $row := query `q` }}{{ $row.Labels.n }}{{ end }}", "21"),
        ("{{ range $i, $row := query `q` }}{{ $i }}{{ $row | value }} {{ end }}", "02 11 "),
        ("{{ range $k, $v := .Labels }}{{ $k }}={{ $v }} {{ end }}", "path=/srv repository=a "),
        ("{{ range query `` }}x{{ else }}none{{ end }}", "none"),
        ('{{ range "" }}x{{ else }}none{{ end }}', "none"),
        ("{{ query `q` | first | label `disk` }}", "sdb"),
        ("{{ query `q` | sortByLabel `disk` | first | value }}", "1"),
        ("{{ (index (query `q`) 1).Labels.disk }}", "sda"),
        ("{{ $value | printf `%.2f` }}", "0.50"),
        ("{{ and 1 0 2 }} {{ and 1 2 }} {{ or 0 3 }} {{ or 0 `` }}|", "0 2 3 |"),
        ("{{ 5 | and 1 }} {{ 5 | or 0 }}", "5 5"),
        ("{{ print (print 1) (print 2) }}", "12"),
        ("{{ print }}|", "|"),
        ("{{ print query }}", "[]"),
    ],
)
def test_it_renders_as_go_does(text: str, shown: str) -> None:
    if text == "{{ print query }}":
        with pytest.raises(TemplateError, match="query"):
            render(text)
    else:
        assert render(text) == shown


@pytest.mark.parametrize(
    ("text", "why"),
    [
        pytest.param("{{ $value.x }}", "0.5 has no field x", id="field of a number"),
        pytest.param("{{ range $value }}{{ end }}", "range: 0.5 is no list", id="range of it"),
        pytest.param("{{ (query `q` | first).Other }}", "has no field Other", id="field of a row"),
        pytest.param(
            "{{ if or 1 ($x := 2) }}{{ $x }}{{ end }}",
            "the variable $x has no value",
            id="variable that was left out",
        ),
        pytest.param("{{ humanize }}", "humanize:", id="argument missing"),
        pytest.param("{{ first 1 }}", "first: there is no row", id="first of a number"),
        pytest.param("{{ toUpper 1 2 3 }}", "toUpper:", id="arguments too many"),
    ],
)
def test_what_fails_says_why(text: str, why: str) -> None:
    with pytest.raises(TemplateError) as failed:
        render(text)
    assert why in failed.value.message


def test_output_and_steps_are_bounded() -> None:
    rows = [QueryRow({}, 1.0)] * 1000
    nested = "{{ range query `q` }}{{ range query `q` }}%s{{ end }}{{ end }}"
    for body, why in (("x" * 100, str(MAX_OUTPUT)), ("{{ if 0 }}{{ end }}", str(MAX_STEPS))):
        with pytest.raises(TemplateError, match=why):
            Template(nested % body).render(Context({}, 1.0, lambda _: rows))


@pytest.mark.parametrize(
    ("function", "why"),
    [
        pytest.param("print $x $x", "the text grows beyond", id="print"),
        pytest.param("println $x $x", "the text grows beyond", id="println"),
        pytest.param("printf `%s%s` $x $x", "the text grows beyond", id="printf"),
        pytest.param("printf `` $x $x", "the text grows beyond", id="printf with more"),
        pytest.param("reReplaceAll `ß` `$0$0` $x", "the text grows beyond", id="reReplaceAll"),
        pytest.param("printf `%s` $x | toUpper", "toUpper: its text grows beyond", id="toUpper"),
    ],
)
def test_no_text_on_the_way_grows_beyond_the_bound(function: str, why: str) -> None:
    doubled = "{{ $x := `ß` }}" + "{{ $x = print $x $x }}" * 16 + "{{ $x = %s }}{{ len $x }}"
    with pytest.raises(TemplateError) as failed:
        render(doubled % function)
    assert why in failed.value.message


@pytest.mark.parametrize(
    ("text", "only_labels"),
    [("{{ $labels.a }}", True), ("{{ $value }}", False), ("{{ query `q` }}", False), ("x", True)],
)
def test_it_knows_whether_the_same_labels_give_the_same_text(text: str, only_labels: bool) -> None:
    assert Template(text).depends_on_labels_only is only_labels


def test_a_value_that_is_no_number_is_shown() -> None:
    assert render("{{ $value }} {{ $value | humanize }}", math.inf) == "+Inf +Inf"
