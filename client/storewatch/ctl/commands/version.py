"""storewatchctl version."""

import importlib.metadata

import click

from storewatch.ctl.command import Command
from storewatch.ctl.session import Session, decoded
from storewatch.wire import encode, types


def own_version() -> str:
    """Return the version of this program."""
    return importlib.metadata.version("storewatch")


def print_own_version(context: click.Context, _: click.Parameter, is_asked: bool) -> None:
    """Answer --version, which asks no daemon."""
    if is_asked and not context.resilient_parsing:
        click.echo(f"storewatchctl {own_version()}")
        context.exit()


@click.command(
    cls=Command,
    help="Show the versions of storewatchctl and of the daemon.",
    examples=("storewatchctl version", "storewatchctl version --json"),
)
@click.pass_obj
def version(session: Session) -> None:
    mine = own_version()
    if not session.as_json:
        session.out.line(f"storewatchctl {mine}")
    answer = session.call("daemon.version")
    theirs = decoded(answer, "daemon.version", types.Version)
    if session.as_json:
        session.out.json(
            encode(
                {
                    "client": mine,
                    "version": theirs.version,
                    "node": theirs.node,
                    "protocol": theirs.protocol,
                }
            )
        )
    else:
        session.out.line(f"storewatchd {theirs.version}, node {theirs.node}")
