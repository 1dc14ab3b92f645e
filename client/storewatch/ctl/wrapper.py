"""`tasks run`: a command under watch. Whatever becomes of the watching, the command runs, and its
exit status is kept."""

import os
import signal
from collections.abc import Sequence
from enum import Enum, auto

from storewatch import clock, spool
from storewatch.ctl import words
from storewatch.ctl.passthrough import Ending, Passage
from storewatch.ctl.session import Session, given
from storewatch.errors import CallError, ClientError, Unsendable
from storewatch.ids import new_id
from storewatch.plain import PlainClient
from storewatch.wire.params import Params, TaskFinish, TaskStart

START_TIMEOUT_S = 5.0
"""How long a command may be held up by a daemon that does not answer."""

FINISH_TIMEOUT_S = 15.0


class _Heard(Enum):
    """What became of a report."""

    TAKEN = auto()
    REFUSED = auto()
    AWAY = auto()


def run(session: Session, name: str, kind: str, argv: Sequence[str]) -> int:
    """Run a command, report its start and its end, and return its exit status."""
    task_id = new_id()
    passage = Passage()
    begun = words.wire_time(clock.now())
    heard = _report(
        session,
        "tasks.start",
        TaskStart(name=name, type=kind, id=task_id, message=_shown(argv), at=begun),
        task_id,
        START_TIMEOUT_S,
    )
    ending = passage.run(argv, {**os.environ, "STOREWATCH_TASK_ID": task_id})
    if ending.problem:
        session.out.note(ending.problem)
    if heard is not _Heard.REFUSED:
        # A daemon that did not answer then is not given longer now.
        patience_s = FINISH_TIMEOUT_S if heard is _Heard.TAKEN else START_TIMEOUT_S
        _report(session, "tasks.finish", _finish(task_id, ending), task_id, patience_s)
    passage.release()
    return ending.own_status


def _finish(task_id: str, ending: Ending) -> TaskFinish:
    return TaskFinish(
        id=task_id,
        failed=ending.own_status != 0,
        exit_status=ending.exit_status,
        signal=None if ending.signal is None else signal_name(ending.signal),
        message=ending.problem,
        output=text_of(ending.output),
        at=words.wire_time(clock.now()),
    )


def signal_name(number: int) -> str:
    """Return the name of a signal, or its number where it has none."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def text_of(output: bytes) -> str:
    """Return output as text that every store can keep: no half character at its start, and no
    zero byte, which PostgreSQL refuses."""
    start = 0
    while start < min(3, len(output)) and output[start] & 0xC0 == 0x80:
        start += 1
    return output[start:].decode(errors="replace").replace("\0", "\ufffd")


def _shown(argv: Sequence[str]) -> str:
    text = " ".join(argv).encode(errors="replace").decode().replace("\0", "\ufffd")
    return text if len(text) <= 1000 else text[:999] + "…"


def _report(
    session: Session, method: str, params: Params, task_id: str, timeout_s: float
) -> _Heard:
    """Tell the daemon; where it is away, leave the report for later. Never fails."""
    reported = given(params)
    try:
        with PlainClient(session.socket, timeout_s=timeout_s) as client:
            # A start that was left for later goes first.
            session.deliver_spool(client)
            client.call(method, reported)
        return _Heard.TAKEN
    except (CallError, Unsendable) as error:
        if not (isinstance(error, CallError) and error.is_passing):
            session.out.note(f"this run is not recorded: {error}")
            return _Heard.REFUSED
        reason = str(error)
    except ClientError as error:
        reason = str(error)
    _keep(session, spool.Report(method=method, params=reported), task_id, reason)  # type: ignore[arg-type]  # both names are among them
    return _Heard.AWAY


def _keep(session: Session, report: spool.Report, task_id: str, reason: str) -> None:
    step = report.method.removeprefix("tasks.")
    # Zero-padded nanoseconds keep the order of the names that of time.
    name = f"{int(clock.wall() * 1e9):020d}-{task_id}-{step}"
    problems = []
    for directory in session.spools():
        try:
            spool.keep(directory, [report], name=name)
        except OSError as error:
            problems.append(f"{directory}: {(error.strerror or str(error)).lower()}")
            continue
        if report.method == "tasks.start":
            session.out.note(f"{reason}; the reports of this run are kept in {directory}")
        return
    session.out.note(f"{reason}, and the report cannot be kept: {'; '.join(problems)}")
