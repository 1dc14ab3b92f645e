"""What an alert is called and says: which one a row belongs to, its labels, texts and evidence.

Identity is the rule's name and the labels, the row's and the rule's own, never the text.
"""

from collections.abc import Callable, Mapping
from typing import Any

from storewatchd.core.incidents import Incident
from storewatchd.core.model import Instant, fingerprint
from storewatchd.core.promql import Plan, ResultRow, parse
from storewatchd.core.rules import Rule
from storewatchd.core.series import SeriesTable
from storewatchd.core.templates import Context, QueryRow, Template
from storewatchd.errors import ExpressionError, TemplateError

MAX_IDENTITIES = 100_000
"""How many of a rule's are remembered."""

MAX_WHY = 300
"""How much of why a text failed is told in its place, characters."""

Place = tuple[tuple[str, str], ...]
"""Labels as a key."""


class Names:
    """The names of one rule's alerts, worked out once for each row where its labels decide."""

    def __init__(self, rule: Rule, table: SeriesTable, *, bound: int = MAX_IDENTITIES) -> None:
        self._rule = rule
        self._table = table
        self._bound = bound
        self._known: dict[Place, tuple[str, dict[str, str]]] = {}
        self.depend_on_labels_only = all(
            template.depends_on_labels_only for template in rule.labels.values()
        )
        """Whether which alert a row belongs to does not depend on its value."""
        self.ask = any(template.asks for template in rule.annotations.values())
        """Whether the texts ask for more than labels and value, and may change without these."""

    def identity(self, row: ResultRow, now: Instant) -> tuple[str, dict[str, str]]:
        """Return the key and the labels of the alert that a row belongs to."""
        place = place_of(row.labels)
        known = self._known.get(place)
        if known is not None:
            return known
        added = {
            name: self._render(template, row, now) for name, template in self._rule.labels.items()
        }
        labels = {name: value for name, value in {**series_of(row), **added}.items() if value}
        identity = fingerprint(self._rule.name, labels), labels
        if self.depend_on_labels_only:
            if len(self._known) >= self._bound:
                self._known.clear()
            self._known[place] = identity
        return identity

    def texts(self, row: ResultRow, now: Instant) -> dict[str, str]:
        """Return the annotations of an alert by its row."""
        return {
            name: self._render(template, row, now)
            for name, template in self._rule.annotations.items()
        }

    def shown(self, row: ResultRow, now: Instant) -> dict[str, Any]:
        """Return what an alert says of its row: the values of its title, message and
        annotations."""
        texts = self.texts(row, now)
        return {
            "title": texts.get("summary") or self._rule.name,
            "message": texts.get("description", ""),
            "annotations": texts,
        }

    def evidence(self, row: ResultRow) -> dict[str, Any]:
        """Return why an alert is there: the rule and the row that decided."""
        rule = self._rule
        return {
            "rule": rule.name,
            "version": rule.version,
            "expr": rule.expr,
            "value": row.value,
            "state": row.state.word,
            "series": dict(row.labels),
            "for_seconds": rule.for_s,
        }

    def may_be_of(self, incident: Incident) -> bool:
        """Whether this rule could have given an alert of its name the labels that it has."""
        labels, series = incident.alert.labels, incident.series
        given = {name for name in {*labels, *series} if labels.get(name) != series.get(name)}
        return given <= self._rule.labels.keys() and all(
            labels.get(name, "") == template.text
            for name, template in self._rule.labels.items()
            if "{{" not in template.text
        )

    def _render(self, template: Template, row: ResultRow, now: Instant) -> str:
        context = Context(labels=row.labels, value=row.value, query=self._asker(now))
        try:
            return template.render(context)
        except Exception as error:  # noqa: BLE001  one text is the boundary
            # As Prometheus does: a text that fails must not hide the alert. Whatever the reason,
            # it would be there again at every start: nothing that a text does ends the daemon.
            why = error.message if isinstance(error, TemplateError) else repr(error)
            return f"<error in the template of {self._rule.name}: {why[:MAX_WHY]}> {template.text}"

    def _asker(self, now: Instant) -> Callable[[str], list[QueryRow]]:
        def ask(text: str) -> list[QueryRow]:
            try:
                result = Plan(parse(text)).evaluate(self._table, now.wall)
            except ExpressionError as error:
                raise TemplateError(f"query {text!r}: {error}") from error
            return [QueryRow(row.labels, row.value) for row in result.rows if row.exact]

        return ask


def series_of(row: ResultRow) -> dict[str, str]:
    """Return the labels of a row without its metric name."""
    return {name: value for name, value in row.labels.items() if name != "__name__"}


def place_of(labels: Mapping[str, str]) -> Place:
    """Return labels in a form that can be a key."""
    return tuple(sorted(labels.items()))
