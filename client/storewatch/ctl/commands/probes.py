"""storewatchctl probes."""

import click

from storewatch import clock
from storewatch.ctl import words
from storewatch.ctl.command import DURATION, Group
from storewatch.ctl.output import Column, state
from storewatch.ctl.session import Session
from storewatch.wire import params, types

_LIST = (
    Column("PROBE"),
    Column("SCOPE", flexible=True),
    Column("OUTCOME"),
    Column("SEEN", right=True),
    Column("TOOK", right=True, wide=True),
    Column("ROWS", right=True, wide=True),
    Column("EVERY", right=True, wide=True),
    Column("REASON", flexible=True),
)

_PLAN = (
    Column("READ"),
    Column("OBJECT", flexible=True),
    Column("CLASS"),
    Column("WHAT IS DONE", flexible=True),
    Column("COMMAND", flexible=True, wide=True),
    Column("ANSWER BY", right=True),
    Column("KILL AFTER", right=True, wide=True),
    Column("KEY", flexible=True, wide=True),
)


@click.group(
    cls=Group,
    help="What is looked at, and how that goes.",
    examples=(
        "storewatchctl probes list",
        "storewatchctl probes run repositories",
        "storewatchctl probes plan",
    ),
)
def probes() -> None: ...


def _show(session: Session, found: types.ProbeList) -> None:
    now = clock.now()
    session.out.table(
        _LIST,
        [
            (
                words.line(one.probe),
                words.line(_scope(one.scope, is_short=session.out.is_narrow)),
                state(one.outcome),
                words.ago(one.last_seen, now),
                words.duration(one.duration_seconds),
                str(one.rows),
                words.duration(one.interval_seconds),
                words.line(_reason(one)),
            )
            for one in found.probes
        ],
        empty="there are no probes",
    )


def _scope(labels: dict[str, str], *, is_short: bool) -> str:
    """Return what a look is at; a label that is empty does not apply."""
    return ", ".join(
        value if is_short else f"{name}={value}" for name, value in labels.items() if value
    )


def _reason(one: types.ProbeStatus) -> str:
    if one.stuck_since is not None:
        return f"stuck since {words.local_time(one.stuck_since)}: {one.reason}"
    return one.reason


@probes.command(
    "list",
    help="List the probes: what each looks at, how that ended, and why.",
    examples=("storewatchctl probes list", "storewatchctl probes list repositories"),
)
@click.argument("probe", required=False)
@click.pass_obj
def list_probes(session: Session, probe: str | None) -> None:
    session.show(
        "probes.list",
        params.ProbesList(probe=probe),
        types.ProbeList,
        lambda found: _show(session, found),
    )


@probes.command(
    "run",
    help="Run a probe now, and show what came of it.",
    examples=("storewatchctl probes run repositories",),
)
@click.argument("probe")
@click.pass_obj
def run(session: Session, probe: str) -> None:
    session.show(
        "probes.run",
        params.ProbesRun(probe=probe),
        types.ProbeList,
        lambda found: _show(session, found),
    )


@probes.command(
    "record",
    help=(
        "Record what the probes learn and what the daemon decides from it, for a bug report or a "
        "replay with storewatchd --replay. Names, paths and the output of tasks are in it; tokens "
        "never are. Ctrl-C ends it early; what was recorded so far can be used."
    ),
    examples=(
        "storewatchctl probes record --for 10m -o trouble.recording",
        "storewatchd --replay trouble.recording",
    ),
)
@click.option("--for", "seconds", type=DURATION, default=600.0, help="How long (10m).")
@click.option(
    "-o", "--output", type=click.Path(dir_okay=False), required=True, help="A file to be made."
)
@click.pass_obj
def record(session: Session, seconds: float, output: str) -> None:
    from storewatch.ctl.recording import record_to  # only this command needs it

    record_to(session, seconds, output)


@probes.command(
    "plan",
    help=(
        "Show every read that Storewatch may ever do on this machine, with its safety class: P0 "
        "passive, P1 only while idle, P2 consuming, P3 moving."
    ),
    examples=("storewatchctl probes plan", "storewatchctl probes plan --device /srv/archive"),
)
@click.option(
    "--device",
    metavar="OBJECT",
    help="Only the reads of this path, device node, serial number or SCSI address.",
)
@click.pass_obj
def plan(session: Session, device: str | None) -> None:
    session.show(
        "probes.plan",
        params.ProbesPlan(device=device),
        types.Plan,
        lambda found: session.out.table(
            _PLAN,
            [
                (
                    words.line(one.row),
                    words.line(one.object),
                    one.safety,
                    words.line(one.reads),
                    words.line(one.command),
                    words.duration(one.answer_by_seconds),
                    words.duration(one.kill_after_seconds),
                    words.line(one.key),
                )
                for one in found.reads
            ],
            empty="nothing is read",
        ),
    )
