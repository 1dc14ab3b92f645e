"""storewatchctl tokens."""

import click

from storewatch import clock
from storewatch.ctl import words
from storewatch.ctl.command import DURATION, Group
from storewatch.ctl.names import short, whole_id
from storewatch.ctl.output import Cell, Column
from storewatch.ctl.session import Session
from storewatch.wire import params, types

_SHORT = {
    "read": "monitoring:read",
    "write": "monitoring:write",
    "admin": "monitoring:admin",
}
_PERMISSIONS = click.Choice([*_SHORT, *_SHORT.values()])

_LIST = (
    Column("NAME", flexible=True),
    Column("ID"),
    Column("PERMISSIONS"),
    Column("USED", right=True),
    Column("EXPIRES"),
    Column("CREATED", wide=True),
    Column("BY", wide=True),
)


@click.group(
    cls=Group,
    help="Bearer tokens for other machines and browsers.",
    examples=(
        "storewatchctl tokens create grafana",
        "storewatchctl tokens create console --permission read --permission write --ttl 30d",
        "storewatchctl tokens revoke grafana",
    ),
)
def tokens() -> None: ...


@tokens.command(
    "create",
    help=(
        "Make a token and print its secret, which is shown this once. Without --permission it may "
        "read."
    ),
    examples=(
        "storewatchctl tokens create grafana",
        "TOKEN=$(storewatchctl tokens create ci --permission write --ttl 1h)",
    ),
)
@click.argument("name")
@click.option(
    "--permission",
    "permissions",
    type=_PERMISSIONS,
    multiple=True,
    metavar="read|write|admin",
    help="What it may do; once for each.",
)
@click.option("--ttl", type=DURATION, metavar="DURATION", help="How long it is good.")
@click.pass_obj
def create(session: Session, name: str, permissions: tuple[str, ...], ttl: float | None) -> None:
    wanted = [_SHORT.get(one, one) for one in permissions] or [_SHORT["read"]]

    def show(made: types.NewToken) -> None:
        until = "until it is revoked"
        if made.token.expires_at is not None:
            until = f"until {words.full_time(made.token.expires_at)}"
        may = ", ".join(made.token.permissions)
        session.out.note(f"token {made.token.name} ({may}) is good {until}; its secret is:")
        session.out.line(made.secret)

    session.show(
        "tokens.create",
        params.TokenCreate(name=name, permissions=wanted, ttl=ttl),  # type: ignore[arg-type]  # click.Choice has judged them
        types.NewToken,
        show,
    )


@tokens.command(
    "list", help="List the tokens, without their secrets.", examples=("storewatchctl tokens list",)
)
@click.pass_obj
def list_tokens(session: Session) -> None:
    def show(found: types.TokenList) -> None:
        now = clock.now()
        session.out.table(
            _LIST,
            [
                (
                    words.line(one.name),
                    short(one.id) if session.out.is_narrow else one.id,
                    ",".join(name.removeprefix("monitoring:") for name in one.permissions),
                    words.ago(one.last_used_at, now),
                    _expiry(one),
                    words.local_time(one.created_at),
                    words.line(one.created_by),
                )
                for one in found.tokens
            ],
            empty="there are no tokens",
        )

    session.show("tokens.list", None, types.TokenList, show)


def _expiry(one: types.Token) -> Cell:
    if one.revoked_at is not None:
        return Cell("revoked", "dim")
    return Cell("never" if one.expires_at is None else words.local_time(one.expires_at))


@tokens.command(
    "revoke",
    help="Revoke a token by its id, the end of its id, or its name. Its connections close at once.",
    examples=("storewatchctl tokens revoke grafana",),
)
@click.argument("token")
@click.pass_obj
def revoke(session: Session, token: str) -> None:
    known = session.ask("tokens.list", None, types.TokenList).tokens
    named = [one.id for one in known if one.name == token and one.revoked_at is None]
    token_id = named[0] if len(named) == 1 else whole_id(token, (one.id for one in known), "token")
    session.show(
        "tokens.revoke",
        params.TokenId(id=token_id),
        types.Token,
        lambda one: session.out.line(f"token {words.line(one.name)} is revoked"),
    )
