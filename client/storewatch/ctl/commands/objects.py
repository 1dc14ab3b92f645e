"""storewatchctl objects."""

import click

from storewatch import clock
from storewatch.ctl import words
from storewatch.ctl.command import OBJECT_KIND, Group
from storewatch.ctl.output import Cell, Column, Output, state
from storewatch.ctl.session import Session, decoded
from storewatch.ctl.stories import facts
from storewatch.wire import inventory, params

_LIST = (
    Column("KIND"),
    Column("ID", flexible=True),
    Column("STATUS"),
    Column("SINCE"),
    Column("FACTS", flexible=True),
)
_VERSIONS = (
    Column("SINCE"),
    Column("CHANGE"),
    Column("FACTS", flexible=True),
)

PAGE = 1000


@click.group(
    cls=Group,
    help=(
        "What this machine consists of: libraries, drives, cartridges, disks, targets, devices, "
        "each by its serial number, bar code or name, wherever it is and whatever the kernel "
        "calls it."
    ),
    examples=(
        "storewatchctl objects list --kind tape_drive",
        "storewatchctl objects list --gone",
        "storewatchctl objects list --at '2026-01-31 03:10' --kind cartridge",
        "storewatchctl objects show HU1234567A",
        "storewatchctl objects forget HU1234567A",
    ),
)
def objects() -> None: ...


@objects.command(
    "list",
    help=(
        "List what is here. Of what is unknown, nobody can look now. With --at, what was here "
        "then: a time as 2h (ago), 08:30, 2026-01-31 or RFC 3339."
    ),
    examples=("storewatchctl objects list --kind tape_drive --json | jq -r '.objects[].facts.sg'",),
)
@click.option("--kind", type=OBJECT_KIND)
@click.option("--gone", "is_gone", is_flag=True, help="What is not here any more, instead.")
@click.option("--all", "is_all", is_flag=True, help="What is here, and what is not any more.")
@click.option("--at", metavar="TIME", help="What was so then.")
@click.option("--limit", type=click.IntRange(1, PAGE), default=200, show_default=True)
@click.option("--cursor", help="Go on where a list ended.")
@click.pass_obj
def list_objects(
    session: Session,
    kind: inventory.ObjectKindName | None,
    is_gone: bool,
    is_all: bool,
    at: str | None,
    limit: int,
    cursor: str | None,
) -> None:
    if is_gone and is_all:
        raise click.UsageError("--gone does not go with --all")
    asked = params.ObjectsList(
        kind=kind,
        here=None if is_all else not is_gone,
        at=None if at is None else _wire_time(at),
        limit=limit,
        cursor=cursor,
    )
    answer = session.call("objects.list", asked)
    found = decoded(answer, "objects.list", inventory.ObjectList)
    if session.as_json:
        session.out.json(answer)
    else:
        nothing = "nothing is gone" if is_gone else "nothing is known yet"
        if at is not None:
            nothing = "nothing was gone then" if is_gone else "nothing was known then"
        session.out.table(_LIST, [_row(one) for one in found.objects], empty=nothing)
        if found.next_cursor is not None:
            session.out.note(f"there are more: --cursor {found.next_cursor}")
    if not found.complete:
        session.out.note(f"the list is incomplete: {found.incomplete_reason}")


@objects.command(
    "show",
    help="Show one object, and what became of it since it was first seen.",
    examples=("storewatchctl objects show A00001L8 --kind cartridge",),
)
@click.argument("object_id", metavar="ID")
@click.option("--kind", type=OBJECT_KIND, help="Where objects of several kinds have this id.")
@click.pass_obj
def show(session: Session, object_id: str, kind: inventory.ObjectKindName | None) -> None:
    session.show(
        "objects.get",
        params.ObjectId(id=object_id, kind=kind),
        inventory.ObjectDetail,
        lambda detail: _show(session.out, detail),
    )


@objects.command(
    "forget",
    help=(
        "Forget an object that is gone for good, so that nothing waits for it any more. What is "
        "here is not forgotten, and what comes back is found again. Of what is unknown, nobody can "
        "look whether it is there: --unseen forgets it all the same."
    ),
    examples=("storewatchctl objects forget HU1234567A",),
)
@click.argument("object_id", metavar="ID")
@click.option("--kind", type=OBJECT_KIND, help="Where objects of several kinds have this id.")
@click.option("--unseen", is_flag=True, help="Even if nobody can look whether it is there.")
@click.pass_obj
def forget(
    session: Session, object_id: str, kind: inventory.ObjectKindName | None, unseen: bool
) -> None:
    session.show(
        "objects.forget",
        params.ObjectForget(id=object_id, kind=kind, unseen=unseen),
        inventory.Object,
        lambda one: session.out.line(f"the {_kind(one.kind)} {words.line(one.id)} is forgotten"),
    )


def _wire_time(text: str) -> str:
    try:
        return words.wire_time(words.parse_moment(text, clock.now()))
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--at") from error


def _row(one: inventory.Object) -> tuple[str | Cell, ...]:
    return (
        _kind(one.kind),
        words.line(one.id),
        state(one.status),
        words.local_time(one.since),
        _facts(one.facts),
    )


def _facts(found: dict[str, str]) -> str:
    # From memory and from PostgreSQL they come in different order.
    return words.line(facts(dict(sorted(found.items()))))


def _kind(name: str) -> str:
    return words.line(name.replace("_", " "))


def _show(out: Output, detail: inventory.ObjectDetail) -> None:
    one = detail.object
    out.fields(
        [
            ("kind", _kind(one.kind)),
            ("id", words.line(one.id)),
            ("status", state(one.status)),
            *(
                (words.line(name), words.line(text))
                for name, text in sorted(one.facts.items())
                if text
            ),
            ("seen by", words.line(", ".join(one.seen_by)) or "nobody"),
            ("first seen", words.full_time(one.first_seen)),
            ("so since", words.full_time(one.since)),
            ("node", words.line(one.node)),
        ]
    )
    out.line()
    out.heading("What became of it")
    versions = [
        (words.local_time(one.since), _change(one), _facts(one.facts)) for one in detail.versions
    ]
    out.table(_VERSIONS, versions, empty="nothing is kept of it")
    if not detail.complete:
        out.note(f"some may be missing: {detail.incomplete_reason}")


def _change(one: inventory.ObjectVersion) -> str:
    if one.other is None:
        return words.line(one.change)
    beside = "with" if one.change == "shared" else "was"
    return words.line(f"{one.change} ({beside} {one.other})")
