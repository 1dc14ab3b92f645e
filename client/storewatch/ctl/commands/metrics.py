"""storewatchctl metrics."""

import click

from storewatch.ctl import words
from storewatch.ctl.command import Command
from storewatch.ctl.output import Cell, Column, state
from storewatch.ctl.session import Session, decoded
from storewatch.wire import params, types

_BOUNDS = {"at_least": "≥ ", "at_most": "≤ "}
PARTS = ("system", "storage", "scst", "tape", "vtl", "tasks", "api")


@click.command(
    cls=Command,
    help=(
        "Show the snapshot of everything, the answer to a PromQL expression, or all families as "
        "Prometheus reads them."
    ),
    examples=(
        "storewatchctl metrics",
        "storewatchctl metrics --query 'repo_used_bytes / (repo_used_bytes + repo_free_bytes)'",
        "storewatchctl metrics --query 'rate(node_network_receive_bytes_total[5m])'",
        "storewatchctl metrics --text | grep ^node_load1",
    ),
)
@click.option("--query", "expression", metavar="EXPR", help="Evaluate a PromQL expression.")
@click.option("--text", "is_text", is_flag=True, help="The Prometheus text format.")
@click.pass_obj
def metrics(session: Session, expression: str | None, is_text: bool) -> None:
    if expression is not None and is_text:
        raise click.UsageError("--query and --text exclude each other")
    if expression is not None:
        session.show(
            "metrics.query",
            params.MetricsQuery(expr=expression),
            types.QueryAnswer,
            lambda found: _show_rows(session, found),
        )
    elif is_text:
        answer = session.call("metrics.text")
        if session.as_json:
            session.out.json(answer)
        else:
            session.out.line(decoded(answer, "metrics.text", str).rstrip("\n"))
    else:
        session.show("metrics.get", None, types.Snapshot, lambda found: _show(session, found))


def _show_rows(session: Session, found: types.QueryAnswer) -> None:
    session.out.table(
        (Column("LABELS", flexible=True), Column("VALUE", right=True), Column("KNOWN")),
        [
            (
                words.line(words.labels(one.labels)),
                _BOUNDS.get(one.state, "") + _number(one.value),
                state("ok" if one.exact else one.state.replace("_", " ")),
            )
            for one in found.rows
        ],
        empty="the answer has no rows",
    )
    for warning in found.warnings:
        session.out.note(words.line(warning))
    for hole in found.holes:
        about = words.labels(hole) if hole else "anything"
        session.out.note(f"could not be looked at: {about}")


def _number(value: float | types.NotFinite) -> str:
    return words.number(value) if isinstance(value, float) else value


def _show(session: Session, found: types.Snapshot) -> None:
    pairs: list[tuple[str, str | Cell]] = [
        ("at", words.full_time(found.timestamp)),
        ("node", words.line(found.node)),
    ]
    for part in PARTS:
        values = getattr(found, part)
        if values is None:
            pairs.append((part, Cell("not there", "dim")))
            continue
        pairs.extend(
            (f"{part} {_name(field)}", _value(field, getattr(values, field)))
            for field in values.__struct_fields__
        )
    session.out.fields(pairs)


_SUFFIXES = ("_bytes", "_seconds", "_percent", "_ms")


def _name(field: str) -> str:
    for suffix in _SUFFIXES:
        field = field.removesuffix(suffix)
    return field.replace("_", " ")


def _value(field: str, value: float | None) -> str | Cell:
    if value is None:
        return Cell("unknown", "dim")
    if field.endswith("_bytes"):
        return words.size(value)
    if field.endswith("_seconds"):
        return words.duration(value)
    if field.endswith("_percent"):
        return words.percent(value)
    if field.endswith("_ms"):
        return f"{value:.1f} ms"
    return words.number(value)
