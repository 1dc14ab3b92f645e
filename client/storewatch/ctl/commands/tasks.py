"""storewatchctl tasks."""

from typing import Any

import click
import msgspec

from storewatch.ctl import words
from storewatch.ctl.command import TASK_STATE, Group, some
from storewatch.ctl.names import short, whole_id
from storewatch.ctl.output import Cell, Column, Output, state
from storewatch.ctl.session import Session, decoded
from storewatch.ctl.stories import ending
from storewatch.errors import CallError
from storewatch.wire import Code, encode, params, types

_LIST = (
    Column("TASK", flexible=True),
    Column("STATE"),
    Column("STARTED"),
    Column("TOOK", right=True),
    Column("ENDED", flexible=True),
    Column("ID"),
    Column("BY", wide=True),
)

PAGE = 1000

LONGEST_ID = 128


@click.group(
    cls=Group,
    help="Runs of tasks: backups, copies, checks, whatever a program reports.",
    examples=(
        "storewatchctl tasks run nightly -- /usr/local/sbin/backup --all",
        "storewatchctl tasks list --state failed",
        "storewatchctl tasks show nightly",
    ),
)
def tasks() -> None: ...


@tasks.command(
    "list",
    help="List runs, newest first.",
    examples=(
        "storewatchctl tasks list --name nightly",
        "storewatchctl tasks list --json | jq -r '.tasks[0].output'",
    ),
)
@click.option("--name")
@click.option("--state", "states", type=TASK_STATE, multiple=True, help="Once for each.")
@click.option("--limit", type=click.IntRange(1, PAGE), default=50, show_default=True)
@click.option("--cursor", help="Go on where a list ended.")
@click.pass_obj
def list_tasks(
    session: Session, name: str | None, states: tuple[Any, ...], limit: int, cursor: str | None
) -> None:
    asked = params.TasksList(name=name, state=some(states), limit=limit, cursor=cursor)
    answer = session.call("tasks.list", asked)
    found = decoded(answer, "tasks.list", types.TaskList)
    if session.as_json:
        session.out.json(answer)
    else:
        session.out.table(_LIST, [_row(session, one) for one in found.tasks], empty="no tasks")
        if found.next_cursor is not None:
            session.out.note(f"there are more: --cursor {found.next_cursor}")
    if not found.complete:
        session.out.note(f"the list is incomplete: {found.incomplete_reason}")


def _row(session: Session, one: types.Task) -> tuple[str | Cell, ...]:
    return (
        words.line(one.name),
        state(one.state),
        words.local_time(one.started_at),
        "" if one.duration_seconds is None else words.duration(one.duration_seconds),
        words.line(_ending(one)),
        short(one.id) if session.out.is_narrow else words.line(one.id),
        words.line(one.reported_by),
    )


def _ending(one: types.Task) -> str:
    if one.state in ("pending", "running"):
        return "" if one.progress_percent is None else f"{one.progress_percent:.0f} % done"
    if one.signal:
        return f"by {one.signal}"
    last = one.output.strip().rpartition("\n")[2] if one.state == "failed" else ""
    status = "" if not one.exit_status else f"status {one.exit_status}"
    return ": ".join(part for part in (status, last) if part)


@tasks.command(
    "show",
    help=(
        "Show one run with what is kept of its output. It is named by its id, by the end of that, "
        "or by its task, whose newest run is shown."
    ),
    examples=(
        "storewatchctl tasks show nightly",
        "storewatchctl tasks show 5f1a2b3c",
        "storewatchctl tasks show nightly --json | jq -r .output",
    ),
)
@click.argument("run", metavar="ID|NAME")
@click.pass_obj
def show(session: Session, run: str) -> None:
    found = _run_called(session, run)
    if session.as_json:
        session.out.json(found)
    else:
        _show_run(session.out, decoded(found, "tasks.get", types.Task))


def _run_called(session: Session, typed: str) -> bytes:
    """Return the JSON of the run with this id, of the newest with this name, or of the one whose
    id ends so."""
    away: CallError | None = None
    if len(typed) <= LONGEST_ID:
        try:
            return session.call("tasks.get", params.TaskId(id=typed))
        except CallError as error:
            if error.code == Code.UNAVAILABLE:
                away = error
            elif error.code != Code.NOT_FOUND:
                raise
    asked = params.TasksList(name=typed, limit=1)
    answer = session.call("tasks.list", asked)
    if decoded(answer, "tasks.list", types.TaskList).tasks:
        # As the daemon says it, also what this client does not know.
        return encode(msgspec.json.decode(answer)["tasks"][0])
    recent = session.ask("tasks.list", params.TasksList(limit=PAGE), types.TaskList).tasks
    known = [one.id for one in recent]
    if away is not None and not any(one.endswith(typed) for one in known):
        raise away
    return session.call("tasks.get", params.TaskId(id=whole_id(typed, known, "task")))


def _show_run(out: Output, one: types.Task) -> None:
    moved = "" if one.bytes is None else words.size(one.bytes)
    pairs: list[tuple[str, str | Cell]] = [
        ("task", words.line(one.name)),
        ("type", words.line(one.type)),
        ("state", state(one.state)),
        ("message", words.block(one.message.strip())),
        ("started", "" if one.started_at is None else words.full_time(one.started_at)),
        ("finished", "" if one.finished_at is None else words.full_time(one.finished_at)),
        ("took", "" if one.duration_seconds is None else words.duration(one.duration_seconds)),
        ("done", "" if one.progress_percent is None else words.percent(one.progress_percent)),
        ("exit status", "" if one.exit_status is None else str(one.exit_status)),
        ("signal", words.line(one.signal or "")),
        ("moved", moved),
        ("reported by", words.line(one.reported_by)),
        ("id", words.line(one.id)),
        ("node", words.line(one.node)),
        ("version", str(one.version)),
    ]
    out.fields([(name, value) for name, value in pairs if value])
    out.line()
    if one.output:
        out.heading("The end of its output")
        out.line(words.block(one.output.rstrip("\n")))
    else:
        out.line("nothing is kept of its output", "dim")


@tasks.command(
    "run",
    help=(
        "Run a command and report its start, its end and the last 64 KiB of what it printed. Its "
        "streams, signals and exit status are its own; it also runs while the daemon is away. The "
        "command finds its task's id in STOREWATCH_TASK_ID."
    ),
    examples=(
        "storewatchctl tasks run nightly -- /usr/local/sbin/backup --all",
        "storewatchctl tasks run --type copy offsite -- rsync -a /srv/ far:/srv/",
    ),
)
@click.argument("name")
@click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED)
@click.option("--type", "kind", default="task", show_default=True, help="What kind of task it is.")
@click.pass_obj
def run(session: Session, name: str, command: tuple[str, ...], kind: str) -> int:
    for what, text in (("NAME", name), ("--type", kind)):
        if not 0 < len(text) <= 200 or "\0" in text:
            raise click.UsageError(f"{what} is 1 to 200 characters long")
    from storewatch.ctl import wrapper  # ctypes takes 10 ms, which other commands need not pay.

    return wrapper.run(session, name, kind, command)


@tasks.command(
    "start",
    help=(
        "Report that a task began, and print its id. This needs the daemon, and ends with 3 where "
        "it is away; tasks run does not."
    ),
    examples=("id=$(storewatchctl tasks start nightly)",),
)
@click.argument("name")
@click.option("--type", "kind", default="task", show_default=True, help="What kind of task it is.")
@click.option("--id", "task_id", help="An id of your own; the same id twice is one run.")
@click.option("--message", default="")
@click.pass_obj
def start(session: Session, name: str, kind: str, task_id: str | None, message: str) -> None:
    session.show(
        "tasks.start",
        params.TaskStart(name=name, type=kind, id=task_id, message=message),
        types.Task,
        lambda one: session.out.line(one.id),
    )


@tasks.command(
    "progress",
    help="Report how far a task is. Inside tasks run the id is known.",
    examples=('storewatchctl tasks progress "$id" --percent 40 --message "3 of 7 volumes"',),
)
@click.argument("task_id", metavar="ID", envvar="STOREWATCH_TASK_ID")
@click.option("--percent", type=click.FloatRange(0, 100))
@click.option("--message")
@click.option("--bytes", "count", type=click.IntRange(0), help="What it has moved.")
@click.pass_obj
def progress(
    session: Session, task_id: str, percent: float | None, message: str | None, count: int | None
) -> None:
    session.show(
        "tasks.progress",
        params.TaskProgress(id=task_id, percent=percent, message=message, bytes=count),
        types.Task,
        lambda one: None,
    )


@tasks.command(
    "finish",
    help="Report how a task ended. It ended well unless something says otherwise.",
    examples=(
        'storewatchctl tasks finish "$id"',
        'storewatchctl tasks finish "$id" --exit-status $? --output "$(tail -n 50 log)"',
    ),
)
@click.argument("task_id", metavar="ID", envvar="STOREWATCH_TASK_ID")
@click.option("--exit-status", type=click.IntRange(0, 255))
@click.option("--signal", "signal_name", metavar="NAME", help="What ended it, such as SIGKILL.")
@click.option("--failed", is_flag=True, default=None, help="It failed without an exit status.")
@click.option("--message", default="")
@click.option("--output", default="", help="The tail of what it printed.")
@click.option("--bytes", "count", type=click.IntRange(0), help="What it has moved.")
@click.pass_obj
def finish(
    session: Session,
    task_id: str,
    exit_status: int | None,
    signal_name: str | None,
    failed: bool | None,
    message: str,
    output: str,
    count: int | None,
) -> None:
    session.show(
        "tasks.finish",
        params.TaskFinish(
            id=task_id,
            exit_status=exit_status,
            signal=signal_name,
            failed=failed or None,
            message=message,
            output=output,
            bytes=count,
        ),
        types.Task,
        lambda one: session.out.line(f"{words.line(one.name)} {_how(one)}"),
    )


def _how(one: types.Task) -> str:
    return ending(
        {
            "state": one.state,
            "signal": one.signal,
            "exit_status": one.exit_status,
            "duration_seconds": one.duration_seconds,
        }
    )
