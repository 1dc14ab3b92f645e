"""storewatchctl boot: whether this machine will come back from its next start."""

import click

from storewatch import clock
from storewatch.ctl import words
from storewatch.ctl.command import Group
from storewatch.ctl.failures import Exit
from storewatch.ctl.output import Column, state
from storewatch.ctl.session import Session
from storewatch.wire import types

_CHECKS = (
    Column("CHECK"),
    Column("STATE"),
    Column("WHAT", flexible=True),
    Column("ADVICE", flexible=True),
)


@click.group(
    cls=Group,
    help="The next start of this machine.",
    examples=("storewatchctl boot check",),
)
def boot() -> None: ...


@boot.command(
    "check",
    help=(
        "Check whether this machine will come back from its next start as it is now: the next "
        "kernel, its initial file system and modules, units, fstab and crypttab, what is saved of "
        "SCST and mhvtl, and by which names backup programs know tapes. It is looked at every few "
        "minutes, and the last line says when that was: what was changed since is not in it. The "
        "score is the share of checks that are well. Exits 0 where all of them are, 1 where "
        "something is wrong, or not known."
    ),
    examples=(
        "storewatchctl boot check",
        "storewatchctl boot check || echo 'look at this before you start it again'",
        "storewatchctl boot check --json | jq '.checks[] | select(.state != \"ok\")'",
    ),
)
@click.pass_obj
def check(session: Session) -> int:
    def show(found: types.BootReport) -> None:
        session.out.table(
            _CHECKS,
            [
                (
                    words.line(one.check),
                    state(one.state),
                    words.line(one.about),
                    words.line(one.advice),
                )
                for one in found.checks
            ],
            empty="this machine needs nothing that could be missing",
        )
        well = sum(one.state == "ok" for one in found.checks)
        session.out.line(f"score {found.score} %: {well} of {len(found.checks)} checks are well")
        if found.scheduled:
            session.out.line(f"a start is planned for {words.full_time(found.scheduled)}")
        if found.checked_at is not None:
            session.out.line(f"looked at {words.ago(found.checked_at, clock.now())}")

    found = session.show("boot.check", None, types.BootReport, show)
    return 0 if found.ready else Exit.FAILED
