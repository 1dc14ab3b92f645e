"""storewatchctl rules."""

import re
import sys
from pathlib import Path

import click

from storewatch import clock
from storewatch.ctl import words
from storewatch.ctl.command import Group
from storewatch.ctl.failures import Exit
from storewatch.ctl.output import Cell, Column, Output, state
from storewatch.ctl.session import Session, decoded
from storewatch.wire import encode, params, types

_LIST = (
    Column("RULE"),
    Column("SEVERITY"),
    Column("FOR", right=True),
    Column("FIRING", right=True),
    Column("PENDING", right=True, wide=True),
    Column("LOOKED", right=True),
    Column("GROUP", wide=True),
    Column("ORIGIN", flexible=True, wide=True),
    Column("STATE", flexible=True),
)


_GROUPS = re.compile(r"""\bgroups["']?\s*:""")
"""The one key that every rule file has."""


@click.group(
    cls=Group,
    help="The rules that decide about alerts.",
    examples=(
        "storewatchctl rules list",
        "storewatchctl rules validate /etc/storewatch/rules.d/mine.yml",
        "storewatchctl rules reload",
    ),
)
def rules() -> None: ...


@rules.command(
    "list",
    help="List the rules that are in force.",
    examples=("storewatchctl rules list --json | jq '.rules[] | select(.error)'",),
)
@click.pass_obj
def list_rules(session: Session) -> None:
    def show(found: types.RuleList) -> None:
        now = clock.now()
        session.out.table(
            _LIST,
            [
                (
                    words.line(one.name),
                    state(one.labels.get("severity", one.kind)),
                    words.duration(one.for_seconds) if one.for_seconds else "at once",
                    str(one.firing),
                    str(one.pending),
                    words.ago(one.last_evaluation, now),
                    words.line(one.group),
                    words.line(one.origin),
                    _state(one),
                )
                for one in found.rules
            ],
            empty="there are no rules",
        )

    session.show("rules.list", None, types.RuleList, show)


def _state(one: types.Rule) -> Cell:
    if one.error:
        return Cell(words.line(one.error), "red")
    if one.warnings:
        return Cell(words.line("; ".join(one.warnings)), "yellow")
    if one.unknown:
        return Cell(words.line(one.unseen or "part of its input cannot be seen"), "yellow")
    return Cell("never evaluated", "dim") if one.last_evaluation is None else state("ok")


@rules.command(
    "show",
    help="Show one rule in full.",
    examples=("storewatchctl rules show StorageCapacityWarning",),
)
@click.argument("name")
@click.pass_obj
def show(session: Session, name: str) -> None:
    session.show(
        "rules.get",
        params.RuleName(name=name),
        types.Rule,
        lambda one: session.out.fields(
            [
                (one.kind, words.line(one.name)),
                ("expr", words.block(one.expr.strip())),
                ("for", words.duration(one.for_seconds) if one.for_seconds else "at once"),
                ("keep firing for", words.duration(one.keep_firing_for_seconds)),
                ("every", words.duration(one.interval_seconds)),
                ("group", words.line(one.group)),
                ("origin", words.line(one.origin)),
                ("version", one.version),
                *((f"label {key}", words.block(text)) for key, text in one.labels.items()),
                *((key, words.block(text.strip())) for key, text in one.annotations.items()),
                ("last evaluation", words.full_time(one.last_evaluation)),
                ("took", words.duration(one.evaluation_seconds)),
                ("alerts", f"{one.firing} firing, {one.pending} pending"),
                ("state", _state(one)),
            ]
        ),
    )


@rules.command(
    "validate",
    help=(
        "Check a rule file, or standard input with -, or the files in force where none is named. "
        "Nothing is changed. Exits 1 where something is wrong."
    ),
    examples=(
        "storewatchctl rules validate mine.yml",
        "storewatchctl rules validate - < mine.yml",
        "storewatchctl rules validate",
    ),
)
@click.argument("file", required=False, type=click.Path(allow_dash=True))
@click.pass_obj
def validate(session: Session, file: str | None) -> int:
    content = None if file is None else _content(file)
    asked = params.RulesValidate()
    if content is not None:
        asked.content = content
        asked.path = "(standard input)" if file == "-" else str(file)
    answer = session.call("rules.validate", asked)
    found = decoded(answer, "rules.validate", types.RuleCheck)
    if content is not None and not found.valid and not _GROUPS.search(content):
        found.problems = [_no_rule_file(found.problems)]
        answer = encode(found)
    if session.as_json:
        session.out.json(answer)
    else:
        _show_check(session.out, found, "right")
    return 0 if found.valid else Exit.FAILED


def _no_rule_file(problems: list[types.RuleProblem]) -> types.RuleProblem:
    """Return what to say of a file that is something else: of its lines, which may be secret,
    nothing."""
    first = problems[0]
    if not first.line:
        return first  # it is about the file as a whole
    return types.RuleProblem(
        path=first.path,
        line=first.line,
        column=first.column,
        message="this is no rule file: expected a mapping with the key groups",
    )


def _content(file: str) -> str:
    raw = sys.stdin.buffer.read() if file == "-" else Path(file).read_bytes()
    try:
        return raw.decode()
    except UnicodeDecodeError as error:
        raise click.FileError(file, f"it is not UTF-8 text, from byte {error.start} on") from error


@rules.command(
    "reload",
    help="Read the rule files again. With a problem in any of them the old rules stay in force.",
    examples=("storewatchctl rules reload",),
)
@click.pass_obj
def reload(session: Session) -> int:
    found = session.show(
        "rules.reload",
        None,
        types.RuleCheck,
        lambda check: _show_check(session.out, check, "in force"),
    )
    return 0 if found.valid else Exit.FAILED


def _show_check(out: Output, check: types.RuleCheck, good: str) -> None:
    for warning in check.warnings:
        place = f"{warning.path}:{warning.line}:{warning.column}" if warning.line else warning.path
        out.line(f"{words.line(place)}: warning: {words.line(warning.message)}", "yellow")
    if check.valid:
        out.line(f"{words.plural(check.rules, 'rule')}: {good}")
        return
    for problem in check.problems:
        place = f"{problem.path}:{problem.line}:{problem.column}" if problem.line else problem.path
        out.line(f"{words.line(place)}: {words.line(problem.message)}", "red")
    out.note(f"{words.plural(len(check.problems), 'problem')}; nothing was changed")
