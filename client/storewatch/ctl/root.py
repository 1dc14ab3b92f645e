"""storewatchctl itself: its commands, in the order in which help shows them."""

import click

from storewatch.ctl.command import Group
from storewatch.ctl.commands import (
    alerts,
    boot,
    events,
    metrics,
    objects,
    probes,
    repositories,
    rules,
    status,
    tape,
    tasks,
    tokens,
    version,
)

root = Group(
    "storewatchctl",
    help=(
        "Ask the Storewatch daemon of this machine, and tell it.\n\n"
        "The daemon is found by --socket, by STOREWATCH_SOCKET, or at "
        "/run/storewatch/control.sock.\n\n"
        "Exit codes: 0 done, 1 failed, 2 wrong usage, 3 the daemon cannot be reached, 4 not "
        'permitted, 5 not found. With --json an error is {"error": {"code", "message"}} on '
        "standard error."
    ),
    examples=(
        "storewatchctl status",
        "storewatchctl alerts list --severity critical",
        "storewatchctl tasks run nightly -- /usr/local/sbin/backup --all",
        "storewatchctl metrics --query 'repo_used_bytes / (repo_used_bytes + repo_free_bytes)'",
    ),
    params=[
        click.Option(
            ["--version"],
            is_flag=True,
            expose_value=False,
            is_eager=True,
            callback=version.print_own_version,
            help="Print the version of storewatchctl.",
        )
    ],
)

for command in (
    status.status,
    status.health,
    alerts.alerts,
    metrics.metrics,
    events.events,
    rules.rules,
    tasks.tasks,
    repositories.repositories,
    objects.objects,
    probes.probes,
    boot.boot,
    tape.tape,
    tokens.tokens,
    version.version,
):
    root.add_command(command)
