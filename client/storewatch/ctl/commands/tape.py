"""storewatchctl tape: the TapeAlert flags of a drive, as backup programs ask for them."""

import os

import click

from storewatch.ctl import words
from storewatch.ctl.command import Group
from storewatch.ctl.failures import Exit, Problem, explain
from storewatch.ctl.session import Session
from storewatch.errors import ClientError, Unreachable
from storewatch.wire import params, types

UNTOLD = "another time they are told again"
NOT_READ = "could not be read now"


@click.group(
    cls=Group,
    help="Tape drives and libraries.",
    examples=("storewatchctl tape alert /dev/nst0",),
)
def tape() -> None: ...


@tape.command(
    "alert",
    help=(
        "Read the TapeAlert flags of a drive or library, and print those that were not told yet: "
        "what Bareos and Bacula have as their alert command. Reading clears the flags, so the "
        "daemon keeps them, and tells each to everybody who asks, once. DEVICE is a node such as "
        "/dev/nst0 or /dev/sg3, a link to one, or a serial number.\n\n"
        "A line is TapeAlert[NUMBER]: name: advice; of a library it begins with Library. Exits 0 "
        "where all flags were told, none among them; otherwise some may not have been, and it "
        "says why."
    ),
    examples=(
        "storewatchctl tape alert /dev/nst0",
        "storewatchctl tape alert /dev/tape/by-id/scsi-3500104f000d-nst",
        "storewatchctl tape alert HU1234ABCD --asker by-hand",
    ),
)
@click.argument("device")
@click.option(
    "--asker",
    metavar="NAME",
    help="Who asks, where the same user asks for several: each is told every flag once.",
)
@click.pass_obj
def alert(session: Session, device: str, asker: str | None) -> None:
    def show(found: types.TapeAlertReport) -> None:
        prefix = "Library " if found.kind == "library" else ""
        for flag in found.flags:
            # Bacula reads the number up to the bracket; Bareos shows the line.
            text = words.line(f"{flag.name}: {flag.advice}")
            session.out.line(f"{prefix}TapeAlert[{flag.number}]: {text}")

    asked = params.TapeAlert(device=_node(device), asker=asker)
    try:
        found = session.show("tape.alert", asked, types.TapeAlertReport, show)
    except ClientError as error:
        raise _unknown(device, error) from error
    told = params.TapeTold(device=found.device, mark=found.mark, asker=asker)
    try:
        session.ask("tape.told", told, bool)
    except ClientError as error:
        session.out.note(f"the daemon does not know that it told them, and {UNTOLD}: {error}")
    if found.unread:
        raise Problem(f"{device} may have more TapeAlert flags, which {NOT_READ}: {found.unread}")


def _node(device: str) -> str:
    """Return what a name of a device leads to: the daemon sees no links in /dev."""
    if not device.startswith("/"):
        return device
    return os.path.realpath(device)


def _unknown(device: str, error: ClientError) -> Problem:
    """Say that flags are not known, to somebody who would take silence for good news."""
    why = explain(error)
    what = f"the TapeAlert flags of {device} are not known"
    if isinstance(error, Unreachable):
        what += ", and were not read, so that the device keeps them"
    return Problem(f"{what}: {why.sentence}", why.hint, Exit(why.code))
