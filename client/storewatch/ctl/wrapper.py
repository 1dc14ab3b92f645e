"""`tasks run`: a command under watch. Whatever becomes of the watching, the command runs, and its
exit status is kept."""

import contextlib
import os
import signal
from collections.abc import Sequence
from pathlib import Path

from storewatch import clock, spool
from storewatch.ctl import words
from storewatch.ctl.passthrough import Ending, Passage
from storewatch.ctl.session import DELIVERY_S, Session, given
from storewatch.errors import CallError, ClientError, Unsendable
from storewatch.ids import new_id
from storewatch.plain import PlainClient
from storewatch.wire.params import Params, TaskFinish, TaskStart

START_TIMEOUT_S = 5.0
"""How long a command may be held up by a daemon that does not answer."""

FINISH_TIMEOUT_S = 15.0


def run(session: Session, name: str, kind: str, argv: Sequence[str]) -> int:
    """Run a command, report its start and its end, and return its exit status."""
    task_id = new_id()
    passage = Passage()
    account = _Account(session, task_id)
    begun = words.wire_time(clock.now())
    start = TaskStart(name=name, type=kind, id=task_id, message=_shown(argv), at=begun)
    account.tell("tasks.start", start, START_TIMEOUT_S)
    # A daemon that did not answer then is not given longer later.
    patience_s = FINISH_TIMEOUT_S if account.is_told else START_TIMEOUT_S
    ending = passage.run(argv, {**os.environ, "STOREWATCH_TASK_ID": task_id})
    if ending.problem:
        session.out.note(ending.problem)
    account.tell("tasks.finish", _finish(task_id, ending), patience_s)
    passage.release()
    if account.is_told:
        _deliver_others(session)
    return ending.own_status


class _Account:
    """What the daemon is told of one run. What it has not taken waits in one file, in order: an
    end that reached it without its start would be thrown away."""

    def __init__(self, session: Session, task_id: str) -> None:
        self._session = session
        self._task_id = task_id
        self._untold: list[spool.Report] = []
        self._kept: Path | None = None  # where they are
        self._is_refused = False

    @property
    def is_told(self) -> bool:
        """Whether the daemon has taken all of it."""
        return not self._untold and not self._is_refused

    def tell(self, method: spool.Method, params: Params, timeout_s: float) -> None:
        """Tell the daemon, and before it what it has not taken yet: a start that comes twice
        changes nothing. Where the daemon is away, leave both for later. Never fails."""
        if self._is_refused:
            return
        self._untold.append(spool.Report(method=method, params=given(params)))
        try:
            with PlainClient(self._session.socket, timeout_s=timeout_s) as client:
                while self._untold:
                    client.call(self._untold[0].method, self._untold[0].params)
                    del self._untold[0]
        except (CallError, Unsendable) as error:
            if isinstance(error, CallError) and error.is_passing:
                self._keep(str(error))
                return
            self._session.out.note(f"this run is not recorded: {error}")
            self._is_refused = True
        except ClientError as error:
            self._keep(str(error))
            return
        self._wait_in(None)

    def _keep(self, reason: str) -> None:
        step = self._untold[-1].method.removeprefix("tasks.")
        # Zero-padded nanoseconds keep the order of the names that of time.
        name = f"{int(clock.wall() * 1e9):020d}-{self._task_id}-{step}"
        problems = []
        for directory in self._session.spools():
            try:
                kept = spool.keep(directory, self._untold, name=name)
            except OSError as error:
                problems.append(f"{directory}: {(error.strerror or str(error)).lower()}")
                continue
            if step == "start":
                self._session.out.note(f"{reason}; the reports of this run are kept in {directory}")
            self._wait_in(kept)
            return
        self._session.out.note(f"{reason}, and the report cannot be kept: {'; '.join(problems)}")

    def _wait_in(self, path: Path | None) -> None:
        """Note which file says all of it now; none where the daemon has it."""
        if self._kept is not None:
            with contextlib.suppress(OSError):
                self._kept.unlink()
        self._kept = path


def _deliver_others(session: Session) -> None:
    """Bring the daemon what other runs have left: behind the command, which waits for none."""
    try:
        with PlainClient(session.socket, timeout_s=DELIVERY_S) as client:
            session.deliver_spool(client)
    except ClientError as error:
        session.out.note(f"reports of earlier runs stay for later: {error}")


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
