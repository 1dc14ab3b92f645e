"""What alerts are called: keys, labels, texts, and what they depend on."""

import math
from dataclasses import replace

import pytest

from core.fix_engine import NOON, rule_set
from core.fix_engine import rule as rule_text
from storewatchd.core.incidents import Incident
from storewatchd.core.model import Alert, AlertState, Instant, Severity
from storewatchd.core.naming import Names, place_of, series_of
from storewatchd.core.promql import ResultRow
from storewatchd.core.rowstate import RowState
from storewatchd.core.series import SeriesTable
from storewatchd.core.templates import Context, Template

NOW = Instant(NOON, 1000.0)
STEP = "{step: '{{ if gt $value 0.9 }}high{{ else }}low{{ end }}'}"


def names(labels: str = "{}", annotations: str = "{}") -> Names:
    (rule,) = rule_set(rule_text(labels=labels, annotations=annotations))
    return Names(rule, SeriesTable())


def row(value: float = 0.9, **labels: str) -> ResultRow:
    return ResultRow({"__name__": "full", **labels}, value, RowState.EXACT)


def test_labels_are_those_of_the_row_and_the_rule_s_own() -> None:
    called = names("{repository: 'the {{ $labels.repository }}', kind: full, none: ''}")
    _, labels = called.identity(row(repository="a", disk="1", none="x"), NOW)
    assert labels == {"repository": "the a", "disk": "1", "kind": "full"}


def test_the_key_is_that_of_the_labels_and_not_of_the_text() -> None:
    one, _ = names().identity(row(repository="a"), NOW)
    other, _ = names(annotations="{summary: other}").identity(row(0.5, repository="a"), NOW)
    assert one == other
    assert names().identity(row(repository="b"), NOW)[0] != one


def test_an_identity_by_labels_is_worked_out_once() -> None:
    called = names()
    first = called.identity(row(repository="a"), NOW)
    assert called.depend_on_labels_only
    assert called.identity(row(0.1, repository="a"), NOW) is first


def test_an_identity_by_the_value_changes_with_it() -> None:
    called = names(STEP)
    assert not called.depend_on_labels_only
    assert [called.identity(row(value), NOW)[1]["step"] for value in (0.95, 0.5)] == ["high", "low"]


def test_what_was_worked_out_is_bounded() -> None:
    (rule,) = rule_set(rule_text())
    called = Names(rule, SeriesTable(), bound=2)
    first = called.identity(row(repository="0"), NOW)
    for number in range(1, 3):
        called.identity(row(repository=str(number)), NOW)
    again = called.identity(row(repository="0"), NOW)
    assert again == first
    assert again is not first


@pytest.mark.parametrize(
    ("template", "text"),
    [
        pytest.param("{{ $labels.repository }} at {{ $value }}", "a at 0.9", id="labels and value"),
        pytest.param("plain", "plain", id="nothing"),
        pytest.param(
            "{{ query `nope` | first | value }}",
            "<error in the template of Full: first: there is no row>"
            " {{ query `nope` | first | value }}",
            id="an error",
        ),
    ],
)
def test_texts_are_rendered_for_the_row(template: str, text: str) -> None:
    called = names(annotations=f"{{summary: '{template}'}}")
    assert called.texts(row(repository="a"), NOW) == {"summary": text}


class Broken(Template):
    """A template that fails as nobody expects."""

    def render(self, context: Context) -> str:
        raise MemoryError("x" * 1000)


def test_no_failure_of_a_text_is_more_than_a_failed_text() -> None:
    (one,) = rule_set(rule_text())
    called = Names(replace(one, annotations={"summary": Broken("the text")}), SeriesTable())
    summary = called.texts(row(), NOW)["summary"]
    assert summary.startswith("<error in the template of Full: MemoryError('xxx")
    assert summary.endswith("xxx> the text")
    assert len(summary) < 400


def test_a_query_that_is_wrong_is_told_in_the_text() -> None:
    text = names(annotations="{summary: '{{ query `sum(` }}'}").texts(row(), NOW)["summary"]
    assert "query 'sum('" in text


def test_a_query_gives_what_is_exact() -> None:
    called = names(annotations="{summary: '{{ range query `1 + 1` }}{{ .Value }}{{ end }}'}")
    assert called.texts(row(math.nan), NOW) == {"summary": "2"}


def of_rule(labels: dict[str, str], series: dict[str, str]) -> Incident:
    alert = Alert(
        id="id-1",
        rule="Full",
        severity=Severity.WARNING,
        source="s",
        title="t",
        message="",
        labels=labels,
        state=AlertState.FIRING,
        first_seen=NOON,
        last_seen=NOON,
    )
    return Incident(alert=alert, key="k", series=series)


@pytest.mark.parametrize(
    ("rule_labels", "labels", "may_be"),
    [
        pytest.param("{}", {"s": "1"}, True, id="no labels of its own"),
        pytest.param("{k: v}", {"s": "1", "k": "v"}, True, id="its label"),
        pytest.param("{k: v}", {"s": "1", "k": "w"}, False, id="another value"),
        pytest.param("{k: v}", {"s": "1"}, False, id="not its label"),
        pytest.param("{}", {"s": "1", "k": "v"}, False, id="a label that it does not give"),
        pytest.param("{k: '{{ $value }}'}", {"s": "1", "k": "7"}, True, id="any value"),
        pytest.param("{s: ''}", {}, True, id="a label that it takes away"),
        pytest.param("{}", {}, False, id="a label that it does not take away"),
    ],
)
def test_a_rule_knows_the_labels_that_it_may_have_given(
    rule_labels: str, labels: dict[str, str], may_be: bool
) -> None:
    assert names(rule_labels).may_be_of(of_rule(labels, {"s": "1"})) is may_be


def test_a_series_is_a_row_without_its_name() -> None:
    assert series_of(row(s="1")) == {"s": "1"}
    assert place_of({"b": "2", "a": "1"}) == (("a", "1"), ("b", "2"))
