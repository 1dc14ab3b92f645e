"""storewatchctl tokens."""

from datetime import datetime

import click
import msgspec

from storewatch import clock
from storewatch.ctl import words
from storewatch.ctl.command import DURATION, Choice, Group
from storewatch.ctl.failures import Exit, Problem
from storewatch.ctl.names import short, whole_id
from storewatch.ctl.output import Cell, Column, state
from storewatch.ctl.session import Session, attempt, decoded
from storewatch.wire import encode, params, types

_SHORT = {
    "read": "monitoring:read",
    "write": "monitoring:write",
    "admin": "monitoring:admin",
}
_PERMISSIONS = Choice([*_SHORT, *_SHORT.values()])

_LIST = (
    Column("NAME", flexible=True),
    Column("STATE"),
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
        known = attempt(lambda: session.ask("tokens.list", None, types.TokenList).tokens)
        alike = [] if isinstance(known, str) else _valid_ones(known, name)
        if len(alike) > 1:
            session.out.note(
                f"{len(alike)} tokens are called {name!r} now; the ids tell which to revoke"
            )

    session.show(
        "tokens.create",
        params.TokenCreate(name=name, permissions=wanted, ttl=ttl),  # type: ignore[arg-type]  # Choice has judged them
        types.NewToken,
        show,
    )


@tokens.command(
    "list",
    help="List the tokens that are valid, or with --all every one; never their secrets.",
    examples=("storewatchctl tokens list", "storewatchctl tokens list --all"),
)
@click.option("--all", "is_all", is_flag=True, help="Expired and revoked ones too, after them.")
@click.pass_obj
def list_tokens(session: Session, is_all: bool) -> None:
    answer = session.call("tokens.list")
    known = decoded(answer, "tokens.list", types.TokenList).tokens
    now = clock.now()
    shown = sorted(
        (one for one in known if is_all or _state(one, now) == "valid"),
        key=lambda one: _state(one, now) != "valid",
    )
    if session.as_json:
        # What the daemon says of each, also what this client does not know.
        said = {one["id"]: one for one in msgspec.json.decode(answer)["tokens"]}
        session.out.json(encode({"tokens": [said[one.id] for one in shown]}))
        return
    session.out.table(
        _LIST,
        [
            (
                words.line(one.name),
                state(_state(one, now)),
                short(one.id) if session.out.is_narrow else one.id,
                ",".join(name.removeprefix("monitoring:") for name in one.permissions),
                words.ago(one.last_used_at, now),
                Cell("never" if one.expires_at is None else words.local_time(one.expires_at)),
                words.local_time(one.created_at),
                words.line(one.created_by),
            )
            for one in shown
        ],
        empty="there are no tokens" if is_all or not known else "no token is valid: see --all",
    )


def _state(one: types.Token, now: datetime) -> str:
    if one.revoked_at is not None:
        return "revoked"
    is_over = one.expires_at is not None and words.moment(one.expires_at) <= now
    return "expired" if is_over else "valid"


def _valid_ones(known: list[types.Token], name: str) -> list[str]:
    """Return the ids of the valid tokens of this name."""
    now = clock.now()
    return [one.id for one in known if one.name == name and _state(one, now) == "valid"]


@tokens.command(
    "revoke",
    help="Revoke a token by its id, the end of its id, or its name. Its connections close at once.",
    examples=("storewatchctl tokens revoke grafana",),
)
@click.argument("token")
@click.pass_obj
def revoke(session: Session, token: str) -> None:
    known = session.ask("tokens.list", None, types.TokenList).tokens
    session.show(
        "tokens.revoke",
        params.TokenId(id=_token_id(known, token)),
        types.Token,
        lambda one: session.out.line(f"token {words.line(one.name)} is revoked"),
    )


def _token_id(known: list[types.Token], typed: str) -> str:
    named = _valid_ones(known, typed)
    if len(named) == 1:
        return named[0]
    if named:
        raise Problem(
            f"{len(named)} tokens are called {typed!r}: name one by its id",
            "they are " + ", ".join(named),
            Exit.USAGE,
        )
    by_id = [one.id for one in known]
    if any(one.name == typed for one in known) and not any(one.endswith(typed) for one in by_id):
        raise Problem(
            f"no token called {typed!r} is valid any more",
            "storewatchctl tokens list --all shows what became of them",
            Exit.NOT_FOUND,
        )
    return whole_id(typed, by_id, "token")
