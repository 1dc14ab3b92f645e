"""Label matchers, as Prometheus has them: =, !=, =~ and !~, the last two anchored.

Patterns come over the network, so they run on RE2, which has no exponential case.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import re2

from storewatchd.errors import RuleError

MAX_PATTERN_BYTES = 1_000
MAX_PROGRAM_BYTES = 1 << 20
"""How much memory RE2 may take for one compiled pattern."""

_MATCHER = re.compile(
    r"""\s*([A-Za-z_][A-Za-z0-9_]*)\s*(=~|!~|!=|=)\s*(?:"((?:\\.|[^"\\])*)"|([^"\s].*?)?)\s*""",
    re.DOTALL,
)
_REFERENCE = re.compile(r"\$(?:\{([A-Za-z0-9_]+)\}|([A-Za-z0-9_]+)|\$)")


@dataclass(frozen=True, slots=True)
class Matcher:
    """One condition on one label. A label that is not there has the value ""."""

    label: str
    operator: str
    value: str
    _pattern: Any = field(default=None, compare=False, repr=False)

    def admits(self, value: str) -> bool:
        """Return whether this value of the label satisfies the matcher."""
        match self.operator:
            case "=":
                return value == self.value
            case "!=":
                return value != self.value
            case "=~":
                return self._pattern.fullmatch(value) is not None
            case _:
                return self._pattern.fullmatch(value) is None

    def matches(self, labels: Mapping[str, str]) -> bool:
        return self.admits(labels.get(self.label, ""))

    @property
    def is_equality(self) -> bool:
        return self.operator == "="


def make_matcher(label: str, operator: str, value: str) -> Matcher:
    """Return a matcher, its pattern compiled.

    Raises:
        RuleError: the pattern is too long or is no RE2 pattern.
    """
    if operator not in ("=~", "!~"):
        return Matcher(label, operator, value)
    return Matcher(label, operator, value, _compile(value))


def rewrite(pattern: str, replacement: str, text: str, *, limit: int) -> str:
    """Return the text with every match replaced; $1 or ${name} in the replacement are groups.

    As in Go's regexp.Expand, a name is as long as it can be, a group that is not there is empty,
    and $$ is a dollar.

    Raises:
        RuleError: the pattern is too long or is no RE2 pattern, or what takes the place of the
            matches grows beyond a limit, characters.
    """
    compiled = _compile(pattern)
    groups = {str(number): number for number in range(compiled.groups + 1)} | compiled.groupindex
    parts = list(_parts(replacement, groups))
    size = 0

    def rewritten(match: "re.Match[str]") -> str:
        nonlocal size
        taken = []
        for part in parts:
            piece = part if isinstance(part, str) else match.group(part) or ""
            size += max(1, len(piece))  # one that is empty takes time all the same
            if size > limit:
                raise RuleError(f"the text grows beyond {limit} characters")
            taken.append(piece)
        return "".join(taken)

    return str(compiled.sub(rewritten, text))


def _parts(replacement: str, groups: Mapping[str, int]) -> Iterator[str | int]:
    """Yield the texts of a replacement, and the numbers of the groups between them."""
    end = 0
    for found in _REFERENCE.finditer(replacement):
        if found.start() > end:
            yield replacement[end : found.start()]
        name = found.group(1) or found.group(2)
        if name is None:
            yield "$"
        elif name in groups:
            yield groups[name]
        end = found.end()
    if end < len(replacement):
        yield replacement[end:]


def _compile(value: str) -> Any:
    if len(value.encode()) > MAX_PATTERN_BYTES:
        raise RuleError(f"a pattern has at most {MAX_PATTERN_BYTES} bytes")
    options = re2.Options()
    options.max_mem = MAX_PROGRAM_BYTES
    options.log_errors = False
    options.dot_nl = True  # as Prometheus compiles them: ^(?s:...)$
    try:
        return re2.compile(value, options)
    except re2.error as error:
        raise RuleError(f"bad pattern {value!r}: {_reason(error)}") from error


def parse_matcher(text: str) -> Matcher:
    """Return the matcher that a person wrote, such as `repository="a"` or `node=~x.*`.

    Raises:
        RuleError: the text is no matcher.
    """
    match = _MATCHER.fullmatch(text)
    if match is None:
        raise RuleError('expected a matcher such as name="value" or name=~"pattern"')
    label, operator, quoted, bare = match.groups()
    value = bare or ""
    if quoted is not None:
        value = re.sub(r"\\(.)", lambda escaped: escaped.group(1), quoted)
    return make_matcher(label, operator, value)


def _reason(error: Exception) -> str:
    reason = error.args[0] if error.args else error
    return reason.decode(errors="replace") if isinstance(reason, bytes) else str(reason)
