"""Renders a template for one row of a rule's answer, within bounds."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from storewatchd.core.templates.functions import FUNCTIONS, MAX_TEXT, QueryRow, is_true, show
from storewatchd.core.templates.syntax import (
    Access,
    Apply,
    Branch,
    Literal,
    Node,
    Operand,
    Pipeline,
    Text,
    parse_template,
)
from storewatchd.errors import TemplateError

MAX_OUTPUT = 65_536
MAX_STEPS = 100_000

_KNOWN = frozenset({*FUNCTIONS, "and", "or", "query"})


@dataclass(frozen=True, slots=True)
class Context:
    """What a template may use: the row's labels and value, and queries at the same moment."""

    labels: Mapping[str, str]
    value: float
    query: Callable[[str], list[QueryRow]]


class Template:
    """A template made ready.

    Raises:
        TemplateError: the text is no template, or uses what is not known here.
    """

    def __init__(self, text: str) -> None:
        self.text = text
        self._nodes = parse_template(text, _KNOWN)
        self.depends_on_labels_only = not any(
            word in text for word in ("$value", ".Value", "query", "humanizeTimestamp")
        )
        """Whether the same labels always give the same text."""
        self.asks = "query" in text
        """Whether the text is also of what a query says."""

    def render(self, context: Context) -> str:
        """Return the text for a row.

        Raises:
            TemplateError: a function failed, or a bound was reached.
        """
        if all(isinstance(node, Text) for node in self._nodes):
            return "".join(node.text for node in self._nodes if isinstance(node, Text))
        return _Renderer(context).render(self._nodes)


class _Renderer:
    def __init__(self, context: Context) -> None:
        labels = {name: value for name, value in context.labels.items() if name != "__name__"}
        self._query = context.query
        root = {"Labels": labels, "Value": context.value, "ExternalLabels": {}, "ExternalURL": ""}
        self._scopes: list[dict[str, Any]] = [
            {
                "$": root,
                "$labels": labels,
                "$value": context.value,
                "$externalLabels": {},
                "$externalURL": "",
            }
        ]
        self._dot: Any = root
        self._out: list[str] = []
        self._size = 0
        self._steps = 0

    def render(self, nodes: tuple[Node, ...]) -> str:
        self._nodes(nodes)
        return "".join(self._out)

    def _write(self, text: str) -> None:
        self._size += len(text)
        if self._size > MAX_OUTPUT:
            raise TemplateError(f"the text grows beyond {MAX_OUTPUT} characters")
        self._out.append(text)

    def _nodes(self, nodes: tuple[Node, ...]) -> None:
        for node in nodes:
            self._step()
            match node:
                case Text():
                    self._write(node.text)
                case Pipeline():
                    value = self._pipeline(node)
                    if not node.declares:
                        self._write(show(value))
                case _:
                    self._branch(node)

    def _step(self) -> None:
        self._steps += 1
        if self._steps > MAX_STEPS:
            raise TemplateError(f"more than {MAX_STEPS} steps")

    def _branch(self, branch: Branch) -> None:
        self._scopes.append({})
        dot = self._dot
        if branch.kind == "range":
            self._range(branch)
        else:
            value = self._pipeline(branch.pipeline)
            if is_true(value):
                self._dot = value if branch.kind == "with" else dot
                self._body(branch.body)
            else:
                self._body(branch.otherwise)
        self._dot = dot
        self._scopes.pop()

    def _body(self, nodes: tuple[Node, ...]) -> None:
        self._scopes.append({})
        self._nodes(nodes)
        self._scopes.pop()

    def _range(self, branch: Branch) -> None:
        names = branch.pipeline.declares
        value = self._pipeline(Pipeline(branch.pipeline.commands))
        items = list(_items(value))
        if not items:
            self._body(branch.otherwise)
        for key, item in items:
            for name, part in zip(reversed(names), (item, key), strict=False):
                self._scopes[-1][name] = part
            self._dot = item
            self._body(branch.body)

    def _pipeline(self, pipeline: Pipeline) -> Any:
        value: Any = None
        for position, command in enumerate(pipeline.commands):
            piped = (value,) if position else ()
            value = self._operand(command, piped)
        for name in pipeline.declares:
            scope = self._scope_of(name) if pipeline.assigns else self._scopes[-1]
            scope[name] = value
        return value

    def _scope_of(self, name: str) -> dict[str, Any]:
        for scope in self._scopes[::-1]:
            if name in scope:
                return scope
        # It is declared in an argument that `and` or `or` left out.
        raise TemplateError(f"the variable {name} has no value")

    def _operand(self, operand: Operand, piped: tuple[Any, ...] = ()) -> Any:
        self._step()
        match operand:
            case Literal():
                return operand.value
            case Access():
                return self._access(operand)
            case _:
                return self._apply(operand, piped)

    def _access(self, access: Access) -> Any:
        if access.inner is not None:
            value = self._pipeline(access.inner)
        elif access.variable:
            value = self._scope_of(access.variable)[access.variable]
        else:
            value = self._dot
        for name in access.fields:
            if isinstance(value, Mapping):
                value = value.get(name, "")
            elif isinstance(value, QueryRow) and name in ("Labels", "Value"):
                value = getattr(value, name)
            else:
                raise TemplateError(f"{show(value)} has no field {name}")
        return value

    def _apply(self, apply: Apply, piped: tuple[Any, ...]) -> Any:
        if apply.name in ("and", "or"):
            return self._logic(apply, piped)
        arguments = [self._operand(argument) for argument in apply.arguments]
        arguments.extend(piped)
        function = self._query if apply.name == "query" else FUNCTIONS[apply.name]
        try:
            value = function(*arguments)
        except (TypeError, ValueError, OverflowError) as error:
            raise TemplateError(f"{apply.name}: {error}") from error
        if isinstance(value, str) and len(value) > MAX_TEXT:
            raise TemplateError(f"{apply.name}: its text grows beyond {MAX_TEXT} characters")
        return value

    def _logic(self, apply: Apply, piped: tuple[Any, ...]) -> Any:
        value: Any = None
        stops_at = apply.name == "or"
        for argument in apply.arguments:
            value = self._operand(argument)
            if is_true(value) is stops_at:
                return value
        return piped[0] if piped else value


def _items(value: Any) -> Iterator[tuple[Any, Any]]:
    if isinstance(value, Mapping):
        return iter(sorted(value.items()))
    if isinstance(value, list | tuple):
        return iter(enumerate(value))
    if not value:
        return iter(())
    raise TemplateError(f"range: {show(value)} is no list")
