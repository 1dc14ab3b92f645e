"""storewatchctl repositories."""

import os

import click

from storewatch.ctl import words
from storewatch.ctl.command import Group
from storewatch.ctl.failures import Exit
from storewatch.ctl.output import Cell, Column, state
from storewatch.ctl.session import Session
from storewatch.wire import params, types

COLUMNS = (
    Column("NAME"),
    Column("PATH", flexible=True),
    Column("USED", right=True),
    Column("FREE", right=True),
    Column("%", right=True),
    Column("STATUS"),
    Column("KIND", wide=True),
    Column("ORIGIN", wide=True),
    Column("REASON", cut=True),
)

NEARLY_FULL_PERCENT = 80
FULL_PERCENT = 95


def row(one: types.Repository) -> tuple[str | Cell, ...]:
    """Return one repository as a row of COLUMNS."""
    return (
        words.line(one.name),
        words.line(one.path),
        words.size(one.used_bytes),
        words.size(one.available_bytes),
        Cell(
            "?" if one.usage_percent is None else f"{one.usage_percent:.1f}",
            _fullness(one.usage_percent),
        ),
        state(one.status),
        words.line(one.file_system or ""),
        one.origin,
        words.line(one.error or ""),
    )


def _fullness(percent: float | None) -> str:
    if percent is None:
        return "dim"
    if percent > FULL_PERCENT:
        return "bold red"
    return "yellow" if percent > NEARLY_FULL_PERCENT else ""


@click.group(
    cls=Group,
    help="The repositories that are watched: declared in the settings, added here, or discovered.",
    examples=(
        "storewatchctl repositories list",
        "storewatchctl repositories add archive /srv/archive",
        "storewatchctl repositories remove archive",
    ),
)
def repositories() -> None: ...


@repositories.command(
    "list",
    help="List the repositories with their fill, and why one cannot be looked at.",
    examples=("storewatchctl repositories list --json | jq '.repositories[].name'",),
)
@click.pass_obj
def list_repositories(session: Session) -> None:
    session.show(
        "repositories.list",
        None,
        types.RepositoryList,
        lambda found: session.out.table(
            COLUMNS, [row(one) for one in found.repositories], empty="there are no repositories"
        ),
    )


@repositories.command(
    "add",
    help=(
        "Watch another repository: a directory or a mount point. One that cannot be used now is "
        "added all the same; standard error says why, and it exits 1."
    ),
    examples=("storewatchctl repositories add archive /srv/archive",),
)
@click.argument("name")
@click.argument("path")
@click.pass_obj
def add(session: Session, name: str, path: str) -> int:
    if path in (".", "..") or path.startswith(("./", "../")):
        path = os.path.abspath(path)

    def show(one: types.Repository) -> None:
        session.out.line(f"watching {words.line(one.name)} at {words.line(one.path)}")
        if one.error:
            session.out.note(f"it cannot be used now: {one.error}")

    added = session.show(
        "repositories.add", params.RepositoryAdd(name=name, path=path), types.Repository, show
    )
    return Exit.FAILED if added.error else 0


@repositories.command(
    "remove",
    help="Watch a repository that was added here no longer; nothing is deleted in it.",
    examples=("storewatchctl repositories remove archive",),
)
@click.argument("name")
@click.pass_obj
def remove(session: Session, name: str) -> None:
    session.show(
        "repositories.remove",
        params.RepositoryName(name=name),
        bool,
        lambda _: session.out.line(f"{words.line(name)} is no longer watched"),
    )
