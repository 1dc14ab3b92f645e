"""Rule files: Prometheus' own format, read strictly, with the file's line and column of an error.

Format: https://prometheus.io/docs/prometheus/latest/configuration/alerting_rules/
Beside it, an alert's labels `severity`, `source`, `resource_type` and `resource_id` and its
annotations `summary` and `description` become the fields of the alert.
"""

import hashlib
import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import yaml

from storewatchd.core.mentions import Mention, doubts, named_metrics
from storewatchd.core.model import Severity
from storewatchd.core.promql import Plan, parse
from storewatchd.core.promql.lexer import duration_seconds, error_at
from storewatchd.core.templates import Template
from storewatchd.errors import ExpressionError, RuleError, TemplateError

MAX_FILE_BYTES = 1_000_000
MAX_RULES = 10_000
MAX_DEPTH = 20
DEFAULT_INTERVAL_S = 30.0
SHORTEST_INTERVAL_S = 1.0

# libyaml's is ten times faster; a PyYAML without it reads the same.
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

_METRIC_NAME = re.compile(r"[A-Za-z_:][A-Za-z0-9_:]*")
_LABEL_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_RULE_KEYS = ("alert", "record", "expr", "for", "keep_firing_for", "labels", "annotations")
_GROUP_KEYS = ("name", "interval", "limit", "rules")
_ALERT_ONLY = ("for", "keep_firing_for", "annotations")


@dataclass(frozen=True, slots=True)
class RuleFile:
    """A rule file's text. `origin` is what people are told: "built-in" or the path."""

    path: str
    text: str
    origin: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """A rule made ready. Durations are seconds."""

    kind: Literal["alert", "record"]
    name: str
    group: str
    origin: str
    expr: str
    plan: Plan
    for_s: float = 0.0
    keep_firing_for_s: float = 0.0
    interval_s: float = DEFAULT_INTERVAL_S
    labels: Mapping[str, Template] = field(default_factory=dict)
    annotations: Mapping[str, Template] = field(default_factory=dict)
    severity: Severity = Severity.WARNING
    source: str = "monitoring"
    version: str = ""
    mentions: tuple[Mention, ...] = ()
    """The metrics that its expression names, with their places in the file."""


@dataclass(frozen=True, slots=True)
class RuleSet:
    """Every rule in force, in the order of the files that they were read from. It is not whole
    where something of them could not be read."""

    rules: tuple[Rule, ...]
    files: tuple[RuleFile, ...] = ()
    interval_s: float = DEFAULT_INTERVAL_S
    is_whole: bool = True

    def __iter__(self) -> Iterator[Rule]:
        return iter(self.rules)

    def __len__(self) -> int:
        return len(self.rules)


def load(
    files: Sequence[RuleFile],
    *,
    interval_s: float = DEFAULT_INTERVAL_S,
    taken: Collection[str] = (),
) -> tuple[RuleSet, list[RuleError]]:
    """Return the rules of all the files, and every problem found. With a problem the set is not
    whole: it lacks what could not be read. `taken` are the metrics that probes have, and that
    no rule may record."""
    rules: list[Rule] = []
    problems: list[RuleError] = []
    for file in files:
        reader = _Reader(file, interval_s, taken)
        rules.extend(reader.rules())
        problems.extend(reader.problems)
    if len(rules) > MAX_RULES:
        problems.append(RuleError(f"at most {MAX_RULES} rules, found {len(rules)}"))
    distinct = tuple(_distinct(rules, problems))
    return RuleSet(distinct, tuple(files), interval_s, is_whole=not problems), problems


def doubtful(rules: Iterable[Rule], known: frozenset[str]) -> list[RuleError]:
    """Return a warning for each metric that a rule names and nobody knows: neither is it one of
    those that are `known`, nor does one of the rules record it."""
    rules = list(rules)
    known |= {rule.name for rule in rules if rule.kind == "record"}
    found = []
    for rule in rules:
        places = {one.name: one for one in rule.mentions}
        found += [
            RuleError(
                f"{rule.name}: {sentence}",
                path=rule.origin,
                line=places[name].line,
                column=places[name].column,
            )
            for name, sentence in doubts(places, known)
        ]
    return found


def _distinct(rules: Iterable[Rule], problems: list[RuleError]) -> Iterator[Rule]:
    """Yield the rules without those that would decide or record the same again."""
    known: set[object] = set()
    for rule in rules:
        if rule.kind == "alert":
            identity: object = (rule.name, rule.version)
            message = f"the alert {rule.name} is defined twice alike"
        else:
            identity = (rule.name, frozenset((key, one.text) for key, one in rule.labels.items()))
            message = f"{rule.name} is recorded twice with the same labels"
        if identity in known:
            problems.append(RuleError(message, path=rule.origin))
        else:
            known.add(identity)
            yield rule


class _Reader:
    """Reads one file; problems are collected, so that one look shows them all."""

    def __init__(self, file: RuleFile, interval_s: float, taken: Collection[str]) -> None:
        self._taken = taken
        self._file = file
        self._interval_s = interval_s
        self.problems: list[RuleError] = []

    def rules(self) -> Iterator[Rule]:
        root = self._root()
        if root is None:
            return
        top = self._mapping(root, ("groups",), "a rule file")
        seen: set[str] = set()
        for group in self._sequence(top.get("groups"), "groups"):
            yield from self._group(group, seen)

    # YAML.

    def _root(self) -> yaml.Node | None:
        text = self._file.text
        if len(text.encode()) > MAX_FILE_BYTES:
            self.problems.append(
                RuleError(f"a rule file has at most {MAX_FILE_BYTES} bytes", path=self._file.path)
            )
            return None
        try:
            if not self._is_tame(yaml.parse(text, Loader=_LOADER)):
                return None
            root = yaml.compose(text, Loader=_LOADER)
        except yaml.MarkedYAMLError as error:
            mark = error.problem_mark
            self.problems.append(
                RuleError(
                    f"not YAML: {error.problem or error.context}",
                    path=self._file.path,
                    line=mark.line + 1 if mark else 0,
                    column=mark.column + 1 if mark else 0,
                )
            )
            return None
        except yaml.YAMLError as error:
            self.problems.append(RuleError(f"not YAML: {error}", path=self._file.path))
            return None
        if root is None:
            self.problems.append(RuleError("the file is empty", path=self._file.path))
        return root

    def _is_tame(self, events: Iterable[yaml.Event]) -> bool:
        """Whether the text can be composed, which recurses: no aliases, and no depth."""
        depth = 0
        for event in events:
            if isinstance(event, yaml.AliasEvent):
                self._problem(event, "aliases are not allowed in a rule file")
                return False
            depth += isinstance(event, yaml.CollectionStartEvent)
            depth -= isinstance(event, yaml.CollectionEndEvent)
            if depth > MAX_DEPTH:
                self._problem(event, "nested too deep")
                return False
        return True

    def _problem(self, node: yaml.Node | yaml.Event, message: str) -> None:
        mark = node.start_mark
        assert mark is not None  # text that yaml read itself always has marks
        self.problems.append(
            RuleError(message, path=self._file.path, line=mark.line + 1, column=mark.column + 1)
        )

    def _mapping(
        self, node: yaml.Node, keys: Iterable[str] | None, what: str
    ) -> dict[str, yaml.Node]:
        if not isinstance(node, yaml.MappingNode):
            self._problem(node, f"{what}: expected a mapping")
            return {}
        found: dict[str, yaml.Node] = {}
        for key, value in node.value:
            name = key.value if isinstance(key, yaml.ScalarNode) else ""
            if keys is not None and name not in keys:
                self._problem(
                    key, f"{what}: unknown key {name!r}; expected one of {', '.join(keys)}"
                )
            elif name in found:
                self._problem(key, f"{what}: {name!r} is given twice")
            else:
                found[name] = value
        return found

    def _sequence(self, node: yaml.Node | None, what: str) -> list[yaml.Node]:
        if node is None:
            return []
        if not isinstance(node, yaml.SequenceNode):
            self._problem(node, f"{what}: expected a list")
            return []
        return list(node.value)

    def _text(self, node: yaml.Node | None, what: str) -> str:
        if node is None:
            return ""
        if not isinstance(node, yaml.ScalarNode) or node.tag == "tag:yaml.org,2002:null":
            self._problem(node, f"{what}: expected text")
            return ""
        if "\0" in node.value:
            self._problem(node, f"{what}: a text holds no U+0000")
        return str(node.value).replace("\0", "")

    def _duration(self, node: yaml.Node | None, what: str, default: float = 0.0) -> float:
        if node is None:
            return default
        try:
            return duration_seconds(self._text(node, what))
        except ValueError as error:
            self._problem(node, f"{what}: {error}")
            return default

    # Groups and rules.

    def _group(self, node: yaml.Node, seen: set[str]) -> Iterator[Rule]:
        group = self._mapping(node, _GROUP_KEYS, "a group")
        name = self._text(group.get("name"), "name")
        if not name:
            self._problem(node, "a group needs a name")
        elif name in seen:
            self._problem(node, f"the group {name!r} is defined twice")
        seen.add(name)
        if "limit" in group:
            self._problem(group["limit"], "limit is not supported yet")
        interval_s = self._duration(group.get("interval"), "interval", self._interval_s)
        if 0 < interval_s < SHORTEST_INTERVAL_S:
            self._problem(group["interval"], "interval: expected a second or more")
        for rule_node in self._sequence(group.get("rules"), "rules"):
            rule = self._rule(rule_node, name, interval_s or self._interval_s)
            if rule is not None:
                yield rule

    def _rule(self, node: yaml.Node, group: str, interval_s: float) -> Rule | None:
        before = len(self.problems)
        keys = self._mapping(node, _RULE_KEYS, "a rule")
        if len({"alert", "record"} & keys.keys()) != 1:
            self._problem(node, "a rule has either alert or record")
            return None
        kind: Literal["alert", "record"] = "alert" if "alert" in keys else "record"
        name = self._text(keys[kind], kind)
        if not name or (kind == "record" and not _METRIC_NAME.fullmatch(name)):
            self._problem(keys[kind], f"{kind}: expected a name, found {name!r}")
        if kind == "record" and name in self._taken:
            self._problem(keys[kind], f"{name} is a metric of a probe: record another name")
        for key in _ALERT_ONLY:
            if kind == "record" and key in keys:
                self._problem(keys[key], f"{key} has no meaning in a recording rule")
        expr = self._text(keys.get("expr"), "expr")
        if "expr" not in keys:
            self._problem(node, f"{name}: expr is missing")
        prepared, mentions = self._plan(keys.get("expr"), expr)
        labels = self._templates(keys.get("labels"), "labels", plain=kind == "record")
        annotations = self._templates(keys.get("annotations"), "annotations")
        severity = self._severity(keys.get("labels"), labels)
        source = labels.get("source")
        rule = Rule(
            kind=kind,
            name=name,
            group=group,
            origin=self._file.origin,
            expr=expr.strip(),
            plan=prepared,
            for_s=self._duration(keys.get("for"), "for"),
            keep_firing_for_s=self._duration(keys.get("keep_firing_for"), "keep_firing_for"),
            interval_s=interval_s,
            labels=labels,
            annotations=annotations,
            severity=severity,
            source="monitoring" if source is None else source.text,
            version=_digest(node),
            mentions=mentions,
        )
        return rule if len(self.problems) == before else None

    def _plan(self, node: yaml.Node | None, text: str) -> tuple[Plan, tuple[Mention, ...]]:
        nothing = Plan(parse("0")), ()
        if node is None:
            return nothing
        try:
            expr = parse(text)
            prepared = Plan(expr)
        except ExpressionError as error:
            self.problems.append(self._placed(node, error))
            return nothing
        mentions = []
        for name, start in named_metrics(expr).items():
            place = self._placed(node, error_at(text, start, ""))
            mentions.append(Mention(name, place.line, place.column))
        return prepared, tuple(mentions)

    def _placed(self, node: yaml.Node, error: RuleError) -> RuleError:
        """Move an error inside a scalar to its place in the file.

        Exact for plain, quoted and literal block scalars without escapes; a folded one points
        to where it starts.
        """
        mark = node.start_mark
        line, column = mark.line + 1, mark.column + 1
        style = getattr(node, "style", None)
        if style == "|":
            line += error.line
            column = error.column + self._indent_below(mark.line)
        elif style != ">":
            line += max(error.line - 1, 0)
            quote = 1 if style in ("'", '"') else 0
            column = error.column + (mark.column + quote if error.line <= 1 else 0)
        kind = type(error)
        return kind(error.message, path=self._file.path, line=line, column=max(column, 1))

    def _indent_below(self, line: int) -> int:
        for text in self._file.text.splitlines()[line + 1 :]:
            if text.strip():
                return len(text) - len(text.lstrip())
        return 0

    def _templates(
        self, node: yaml.Node | None, what: str, *, plain: bool = False
    ) -> dict[str, Template]:
        if node is None:
            return {}
        found: dict[str, Template] = {}
        for name, value in self._mapping(node, None, what).items():
            if not _LABEL_NAME.fullmatch(name) or name == "__name__":
                self._problem(value, f"{what}: {name!r} is no label name")
                continue
            text = self._text(value, f"{what}: {name}")
            if plain and "{{" in text:
                self._problem(value, f"{what}: a recording rule's labels are no templates")
                continue
            try:
                found[name] = Template(text)
            except TemplateError as error:
                self.problems.append(self._placed(value, error))
        return found

    def _severity(self, node: yaml.Node | None, labels: Mapping[str, Template]) -> Severity:
        said = labels.get("severity")
        if said is None:
            return Severity.WARNING
        try:
            return Severity(said.text)
        except ValueError:
            assert node is not None
            allowed = ", ".join(Severity)
            self._problem(node, f"severity: expected one of {allowed}, found {said.text!r}")
            return Severity.WARNING


def _digest(node: yaml.Node) -> str:
    """Return the version of a rule: a digest of all that it says, but not of how it is written."""
    digest = hashlib.blake2b(digest_size=6)

    def add(part: yaml.Node) -> None:
        if isinstance(part, yaml.MappingNode):
            for key, value in sorted(part.value, key=lambda pair: str(pair[0].value)):
                add(key)
                add(value)
        elif isinstance(part, yaml.SequenceNode):
            for value in part.value:
                add(value)
        else:
            encoded = str(part.value).encode()
            digest.update(len(encoded).to_bytes(4, "little") + encoded)

    add(node)
    return digest.hexdigest()
