"""Cuts a template into text and actions, and parses the actions into nodes."""

import math
import re
from dataclasses import dataclass, field
from typing import NamedTuple

from storewatchd.core.promql.lexer import error_at
from storewatchd.errors import TemplateError

MAX_TEMPLATE_BYTES = 65_536
MAX_DEPTH = 50

_ACTION = re.compile(
    r"\{\{(?:-\s)?\s*/\*.*?\*/\s*(?:\s-)?\}\}|\{\{(?P<left>-\s)?(?P<body>(?:\"(?:\\.|[^\"\\])*\"|`[^`]*`|'(?:\\.|[^'\\])*'|[^}\"`']|\}(?!\}))*?)(?P<right>\s-)?\}\}",
    re.DOTALL,
)
_TOKEN = re.compile(
    r"""\s*(?:
    (?P<string>"(?:\\.|[^"\\])*"|`[^`]*`)
  | (?P<number>[+-]?(?:0[xX][0-9a-fA-F]+|[0-9]+\.?[0-9]*(?:[eE][+-]?[0-9]+)?|\.[0-9]+))
  | (?P<variable>\$[A-Za-z0-9_]*)
  | (?P<field>\.[A-Za-z_][A-Za-z0-9_]*)
  | (?P<dot>\.)
  | (?P<assign>:=|=)
  | (?P<punctuation>[|(),])
  | (?P<word>[A-Za-z_][A-Za-z0-9_]*)
    )""",
    re.VERBOSE,
)


class Piece(NamedTuple):
    """One token of an action; `start` is its place in the whole template."""

    kind: str
    text: str
    start: int
    spaced: bool


@dataclass(frozen=True, slots=True)
class Literal:
    value: object


@dataclass(frozen=True, slots=True)
class Access:
    """A value and the fields taken of it: `$labels.x`, `.Value`, `(f).y`. An empty `variable`
    is the dot; `inner` is set for a parenthesis."""

    variable: str
    inner: "Pipeline | None"
    fields: tuple[str, ...]
    start: int


@dataclass(frozen=True, slots=True)
class Apply:
    """A function with its arguments; the piped value comes last."""

    name: str
    arguments: tuple["Operand", ...]
    start: int


Operand = Literal | Access | Apply


@dataclass(frozen=True, slots=True)
class Pipeline:
    """Commands, each fed with what the one before gave. `declares` are variables set to it."""

    commands: tuple[Operand, ...]
    declares: tuple[str, ...] = ()
    assigns: bool = False


@dataclass(frozen=True, slots=True)
class Text:
    text: str


@dataclass(frozen=True, slots=True)
class Branch:
    """`if`, `with` or `range`, with what is done otherwise."""

    kind: str
    pipeline: Pipeline
    body: tuple["Node", ...]
    otherwise: tuple["Node", ...]


Node = Text | Pipeline | Branch


@dataclass(slots=True)
class _Open:
    """A block that waits for its end."""

    kind: str
    pipeline: Pipeline
    start: int
    body: list[Node] = field(default_factory=list)
    otherwise: list[Node] | None = None
    chained: bool = False  # an "else if", closed together with the block around it


def parse_template(text: str, known: frozenset[str]) -> tuple[Node, ...]:
    """Return the nodes of a template that uses only known functions.

    Raises:
        TemplateError: with line and column in the text.
    """
    if len(text.encode()) > MAX_TEMPLATE_BYTES:
        raise TemplateError(f"a template has at most {MAX_TEMPLATE_BYTES} bytes")
    return _Parser(text, known).nodes()


class _Parser:
    def __init__(self, text: str, known: frozenset[str]) -> None:
        self._text = text
        self._known = known
        self._root: list[Node] = []
        self._stack: list[_Open] = []
        self._variables = [{"$", "$labels", "$externalLabels", "$externalURL", "$value"}]
        self._pieces: list[Piece] = []
        self._at = 0
        self._end = 0
        self._depth = 0

    def nodes(self) -> tuple[Node, ...]:
        position, trim = 0, False
        while True:
            opening = self._text.find("{{", position)
            match = _ACTION.match(self._text, opening) if opening >= 0 else None
            if opening >= 0 and match is None:
                raise self._error(opening, "this action has no end: expected }}")
            plain = self._text[position : opening if match else len(self._text)]
            is_comment = match is not None and match.group("body") is None
            left = match is not None and (
                match.group("left") or (is_comment and match.group().startswith("{{-"))
            )
            plain = plain.lstrip() if trim else plain
            plain = plain.rstrip() if left else plain
            if plain:
                self._body().append(Text(plain))
            if match is None:
                break
            trim = bool(match.group("right")) or (is_comment and match.group().endswith("-}}"))
            if not is_comment:
                self._action(match.group("body"), match.start("body"))
            position = match.end()
        if self._stack:
            block = self._stack[-1]
            raise self._error(block.start, f"{block.kind} has no {{{{ end }}}}")
        return tuple(self._root)

    def _body(self) -> list[Node]:
        if not self._stack:
            return self._root
        block = self._stack[-1]
        return block.body if block.otherwise is None else block.otherwise

    def _error(self, start: int, message: str) -> TemplateError:
        placed = error_at(self._text, start, message)
        return TemplateError(placed.message, line=placed.line, column=placed.column)

    # Actions.

    def _action(self, body: str, start: int) -> None:
        self._pieces = list(self._cut(body, start))
        self._at, self._end = 0, start + len(body)
        first = self._peek()
        if first is None:
            raise self._error(start, "an action says something")
        word = first.text if first.kind == "word" else ""
        match word:
            case "if" | "with" | "range":
                self._at += 1
                self._open(word, first.start)
            case "else":
                self._at += 1
                self._else(first)
            case "end":
                self._at += 1
                self._close(first)
            case "define" | "template" | "block" | "break" | "continue":
                raise self._error(first.start, f"{word} is not supported")
            case _:
                self._body().append(self._pipeline())
        rest = self._peek()
        if rest is not None:
            raise self._error(rest.start, f"unexpected {rest.text!r}")

    def _open(self, kind: str, start: int, *, chained: bool = False) -> None:
        if len(self._stack) >= MAX_DEPTH:
            raise self._error(start, f"blocks nest deeper than {MAX_DEPTH}")
        self._variables.append(set())
        pipeline = self._pipeline(in_range=kind == "range")
        self._variables.append(set())
        self._stack.append(_Open(kind, pipeline, start, chained=chained))

    def _else(self, piece: Piece) -> None:
        if not self._stack or self._stack[-1].otherwise is not None:
            raise self._error(piece.start, "else without an open if, with or range")
        block = self._stack[-1]
        block.otherwise = []
        self._variables.pop()  # what the body declared
        if block.kind == "range":
            self._variables[-1].clear()  # there is no item
        self._variables.append(set())
        following = self._peek()
        if following is not None and following.text in ("if", "with"):
            self._at += 1
            self._open(following.text, following.start, chained=True)

    def _close(self, piece: Piece) -> None:
        if not self._stack:
            raise self._error(piece.start, "end without an open if, with or range")
        while True:
            block = self._stack.pop()
            del self._variables[-2:]
            self._body().append(
                Branch(block.kind, block.pipeline, tuple(block.body), tuple(block.otherwise or ()))
            )
            if not block.chained:
                return

    # Pipelines.

    def _pipeline(self, *, in_range: bool = False) -> Pipeline:
        names, assigns = self._declarations(in_range=in_range)
        commands = [self._command()]
        while self._take_if("|"):
            commands.append(self._command(piped=True))
        for name in names:
            if assigns and not any(name in scope for scope in self._variables):
                raise self._error(self._end, f"the variable {name} is not defined")
            self._variables[-1].add(name)
        return Pipeline(tuple(commands), names, assigns)

    def _declarations(self, *, in_range: bool) -> tuple[tuple[str, ...], bool]:
        pieces = self._pieces[self._at :]
        kinds = [piece.kind for piece in pieces[:4]]
        if kinds[:2] == ["variable", "assign"]:
            self._at += 2
            return (pieces[0].text,), pieces[1].text == "="
        if (
            in_range
            and kinds == ["variable", "punctuation", "variable", "assign"]
            and pieces[1].text == ","
        ):
            self._at += 4
            return (pieces[0].text, pieces[2].text), pieces[3].text == "="
        return (), False

    def _command(self, *, piped: bool = False) -> Operand:
        first = self._peek()
        if first is None:
            raise self._error(self._end, "expected a value or a function")
        if first.kind == "word" and first.text not in ("true", "false", "nil"):
            return self._apply(self._next())
        operand = self._operand()
        following = self._peek()
        if piped or (following is not None and following.text not in ("|", ")")):
            raise self._error(first.start, f"{first.text!r} is no function and takes no arguments")
        return operand

    def _apply(self, piece: Piece) -> Apply:
        if piece.text not in self._known:
            raise self._error(piece.start, f"there is no function {piece.text}")
        arguments: list[Operand] = []
        while (following := self._peek()) is not None and following.text not in ("|", ")"):
            arguments.append(self._operand())
        return Apply(piece.text, tuple(arguments), piece.start)

    def _operand(self) -> Operand:
        piece = self._next()
        match piece.kind:
            case "string":
                return Literal(_unquoted(piece.text))
            case "number":
                number = _number(piece.text)
                if abs(number) >= 1 << 64 and (isinstance(number, int) or math.isinf(number)):
                    raise self._error(piece.start, "this number is too large")
                return Literal(number)
            case "variable":
                if not any(piece.text in scope for scope in self._variables):
                    raise self._error(piece.start, f"the variable {piece.text} is not defined")
                return Access(piece.text, None, self._fields(), piece.start)
            case "field":
                return Access("", None, (piece.text[1:], *self._fields()), piece.start)
            case "dot":
                return Access("", None, (), piece.start)
            case "word":
                if piece.text in ("true", "false", "nil"):
                    return Literal({"true": True, "false": False, "nil": None}[piece.text])
                if piece.text in self._known:
                    return Apply(piece.text, (), piece.start)
                raise self._error(piece.start, f"there is no function {piece.text}")
        if piece.text == "(":
            return self._parenthesis(piece)
        raise self._error(piece.start, f"unexpected {piece.text!r}")

    def _parenthesis(self, piece: Piece) -> Access:
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise self._error(piece.start, f"parentheses nest deeper than {MAX_DEPTH}")
        inner = self._pipeline()
        if not self._take_if(")"):
            raise self._error(piece.start, "this parenthesis has no end")
        self._depth -= 1
        return Access("", inner, self._fields(), piece.start)

    def _fields(self) -> tuple[str, ...]:
        names: list[str] = []
        while (piece := self._peek()) is not None and piece.kind == "field" and not piece.spaced:
            names.append(self._next().text[1:])
        return tuple(names)

    # Tokens.

    def _cut(self, body: str, start: int) -> list[Piece]:
        pieces: list[Piece] = []
        position, end = 0, len(body.rstrip())
        while position < end:
            match = _TOKEN.match(body, position)
            if match is None or match.lastgroup is None:
                where = position + len(body[position:]) - len(body[position:].lstrip())
                raise self._error(start + where, f"unexpected character {body[where]!r}")
            kind = match.lastgroup
            pieces.append(
                Piece(
                    kind,
                    match.group(kind),
                    start + match.start(kind),
                    match.start(kind) > position,
                )
            )
            position = match.end()
        return pieces

    def _peek(self) -> Piece | None:
        return self._pieces[self._at] if self._at < len(self._pieces) else None

    def _next(self) -> Piece:
        piece = self._peek()
        assert piece is not None  # whoever calls has looked
        self._at += 1
        return piece

    def _take_if(self, text: str) -> bool:
        piece = self._peek()
        if piece is None or piece.kind != "punctuation" or piece.text != text:
            return False
        self._at += 1
        return True


def _unquoted(text: str) -> str:
    if text[0] == "`":
        return text[1:-1]
    escapes = {"n": "\n", "t": "\t", "r": "\r"}
    return re.sub(r"\\(.)", lambda match: escapes.get(match.group(1), match.group(1)), text[1:-1])


def _number(text: str) -> float | int:
    try:
        return int(text, 0)
    except ValueError:
        return float(text)
