"""The runs of tasks that programs report, and the metrics that follow from them: pure.

Reports may come twice, late or out of order of time; each id is one run, and its end is told once.
An id that is used again for another run is refused, long after that run has left memory.
"""

from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any, Self

import msgspec

from storewatchd.core.commands import FinishTask, ProgressTask, StartTask
from storewatchd.core.frames import Family, Frame, MetricType, Row, Scope
from storewatchd.core.model import Instant, format_time, parse_time, to_milliseconds
from storewatchd.core.past_runs import PastRuns
from storewatchd.core.task_names import TaskName, later
from storewatchd.errors import Conflict, LimitReached, NotFound

PROBE = "tasks"
SCOPE = Scope(PROBE)

MAX_RUNNING = 10_000
MAX_FINISHED = 1_000
"""How many finished runs memory keeps whole; the store keeps them all."""

MAX_OUTPUT_BYTES = 16 << 20
"""How much output of theirs it keeps: a few that print much must not fill the journal."""

MAX_NAMES = 5_000
OUTPUT_BYTES = 65_536
INFO_OUTPUT = 2_048
"""How much of a failed run's output goes with its metric, characters."""


class TaskState(StrEnum):
    PENDING = "pending"
    RUNNING = "running"
    COMPLETED = "completed"
    FAILED = "failed"


_PLAIN_FIELDS = (
    *("id", "name", "type", "progress_percent", "message", "exit_status", "signal", "output"),
    *("bytes", "reported_by", "node", "version"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskRun:
    """One run. Times are Unix seconds; `first_seen` is when the first report came."""

    id: str
    name: str
    type: str
    state: TaskState
    first_seen: float
    started_at: float | None = None
    finished_at: float | None = None
    progress_percent: float | None = None
    message: str = ""
    exit_status: int | None = None
    signal: str | None = None
    output: str = ""
    bytes: int | None = None
    reported_by: str = ""
    node: str = ""
    version: int = 1

    @property
    def is_over(self) -> bool:
        return self.state in (TaskState.COMPLETED, TaskState.FAILED)

    @property
    def duration_s(self) -> float | None:
        """How long it took, None while it runs."""
        if self.started_at is None or self.finished_at is None:
            return None
        return max(0.0, self.finished_at - self.started_at)

    def to_json(self) -> dict[str, Any]:
        """Return the wire shape."""
        return {
            "id": self.id,
            "name": self.name,
            "type": self.type,
            "state": self.state.value,
            "started_at": format_time(self.started_at),
            "finished_at": format_time(self.finished_at),
            "duration_seconds": self.duration_s,
            "progress_percent": self.progress_percent,
            "message": self.message,
            "exit_status": self.exit_status,
            "signal": self.signal,
            "output": self.output,
            "bytes": self.bytes,
            "reported_by": self.reported_by,
            "node": self.node,
            "version": self.version,
        }

    def to_state(self) -> dict[str, Any]:
        """Return what the journal and the store keep."""
        return {**self.to_json(), "first_seen": format_time(self.first_seen)}

    @classmethod
    def from_state(cls, shape: Mapping[str, Any]) -> Self:
        plain = {name: shape[name] for name in _PLAIN_FIELDS}
        return cls(
            state=TaskState(shape["state"]),
            first_seen=parse_time(shape["first_seen"]) or 0.0,
            started_at=parse_time(shape["started_at"]),
            finished_at=parse_time(shape["finished_at"]),
            **plain,
        )


@dataclass(frozen=True, slots=True)
class TaskChange:
    """What a report changed. `kind` is the event's: start, progress, end; None for a repeat."""

    run: TaskRun
    kind: str | None


class TaskBook:
    """The runs of this node. `new_id` makes time-ordered ids."""

    def __init__(self, node: str, new_id: Callable[[float], str]) -> None:
        self._node = node
        self._new_id = new_id
        self._runs: dict[str, TaskRun] = {}
        self._finished: deque[str] = deque()
        self._output_bytes = 0
        self._past = PastRuns()
        self._names: dict[str, TaskName] = {}
        self._changed: dict[str, dict[str, Any] | None] = {}
        self._changed_names: set[str] = set()

    # State that outlives a restart.

    def restore(
        self, runs: Iterable[Mapping[str, Any]], names: Mapping[str, Mapping[str, Any]]
    ) -> None:
        """Take over what `take_changes` and `take_name_changes` gave before a restart."""
        for name, state in names.items():
            self._names[name] = TaskName.from_state(state)
        states = self._past.restore(runs)
        for state in sorted(states, key=lambda state: state["first_seen"]):
            run = TaskRun.from_state(state)
            self._runs[run.id] = run
            if run.is_over:
                self._note_finished(run)

    def take_changes(self) -> dict[str, dict[str, Any] | None]:
        """Return what the journal has to keep by run id, None for what it may drop."""
        changed, self._changed = self._changed, {}
        return changed

    def take_name_changes(self) -> dict[str, dict[str, Any] | None]:
        """Return what the journal has to keep by task name, None for what it may drop."""
        changed, self._changed_names = self._changed_names, set()
        return {
            name: self._names[name].to_state() if name in self._names else None
            for name in sorted(changed)
        }

    def dump(self) -> dict[str, Any]:
        """Return the book's values as they are, for `load`."""
        return {
            "runs": dict(self._runs),
            "finished": list(self._finished),
            "past": self._past.dump(),
            "names": dict(self._names),
        }

    def load(self, told: Mapping[str, Any]) -> None:
        """Take over what `dump` gave."""
        self._runs.update(told["runs"])
        for run_id in told["finished"]:
            self._note_finished(self._runs[run_id])
        self._past.load(told["past"])
        self._names.update(told["names"])

    # Reports.

    def start(self, command: StartTask, now: Instant) -> TaskChange:
        """Note that a run began; the same id again changes nothing.

        Raises:
            Conflict: the id belongs to a run of another task, or to one that left memory.
            LimitReached: too many runs or names.
        """
        wall = to_milliseconds(now.wall)
        known = self._runs.get(command.id or "")
        if known is not None:
            if known.name != command.name:
                raise Conflict(f"the id {known.id!r} belongs to a run of {known.name!r}")
            return TaskChange(known, None)
        if command.id in self._past:
            raise Conflict(f"the id {command.id!r} belongs to an earlier run: each has its own")
        if len(self._runs) - len(self._finished) >= MAX_RUNNING:
            raise LimitReached(f"{MAX_RUNNING} tasks are running already")
        about = self._about(command.name)
        run = TaskRun(
            id=command.id or self._new_id(now.wall),
            name=command.name,
            type=command.type,
            state=TaskState.RUNNING,
            first_seen=wall,
            # A report may come late, but never from the future.
            started_at=wall if command.at is None else min(to_milliseconds(command.at), wall),
            message=command.message,
            reported_by=command.actor,
            node=self._node,
        )
        if _is_latest(run.started_at, about.last_start):
            about.type = run.type
            about.last_start = run.started_at
        self._put(run)
        return TaskChange(run, "start")

    def progress(self, command: ProgressTask) -> TaskChange:
        """Note how far a run is.

        Raises:
            NotFound: no run has this id.
            Conflict: the run is over.
        """
        run = self._known(command.id)
        if run.is_over:
            raise Conflict(f"the task {run.name!r} is over: it {run.state}")
        run = replace(
            run,
            progress_percent=_or(command.percent, run.progress_percent),
            message=_or(command.message, run.message),
            bytes=_or(command.bytes, run.bytes),
            version=run.version + 1,
        )
        self._put(run)
        return TaskChange(run, "progress")

    def finish(self, command: FinishTask, now: Instant) -> TaskChange:
        """Note how a run ended; the same end again changes nothing.

        Raises:
            NotFound: no run has this id: its start was never reported.
            Conflict: it ended already, and otherwise; or the report contradicts itself.
        """
        run = self._known(command.id)
        failed = command.failed
        if failed is None:
            failed = bool(command.exit_status) or command.signal is not None
        if not failed and (command.exit_status or command.signal):
            raise Conflict("a task with a signal or an exit status other than 0 has failed")
        state = TaskState.FAILED if failed else TaskState.COMPLETED
        if run.is_over:
            same = (run.state, run.exit_status, run.signal) == (
                state,
                command.exit_status,
                command.signal,
            )
            if same:
                return TaskChange(run, None)
            raise Conflict(f"the task {run.name!r} ended already: it {run.state}")
        wall = to_milliseconds(now.wall)
        finished_at = wall if command.at is None else min(to_milliseconds(command.at), wall)
        run = replace(
            run,
            state=state,
            finished_at=max(finished_at, run.started_at or finished_at),
            progress_percent=100.0 if state is TaskState.COMPLETED else run.progress_percent,
            message=command.message or run.message,
            exit_status=command.exit_status,
            signal=command.signal,
            # A program may print anything; U+0000 is what PostgreSQL cannot store.
            output=command.output[-OUTPUT_BYTES:].replace("\0", "\ufffd"),
            bytes=_or(command.bytes, run.bytes),
            version=run.version + 1,
        )
        self._note_end(run)
        self._put(run)
        self._note_finished(run)
        while len(self._finished) > MAX_FINISHED or self._output_bytes > MAX_OUTPUT_BYTES:
            oldest = self._runs.pop(self._finished.popleft())
            self._output_bytes -= _size(oldest.output)
            self._changed |= self._past.add(oldest.id, oldest.finished_at or 0.0)
        return TaskChange(run, "end")

    def take_back(
        self, runs: Iterable[Mapping[str, Any]], names: Mapping[str, Mapping[str, Any]]
    ) -> list[TaskRun]:
        """Take over runs under way and what is known of names, as far as it was lost; return these
        runs. Of a run that is known the higher version stays, and one that is over stays so."""
        for name, state in names.items():
            lost, known = TaskName.from_state(state), self._names.get(name)
            whole = lost if known is None else known.with_lost(lost)
            if whole != known and (known is not None or len(self._names) < MAX_NAMES):
                self._names[name] = whole
                self._changed_names.add(name)
        taken: list[TaskRun] = []
        room = MAX_RUNNING - (len(self._runs) - len(self._finished))
        for run in map(TaskRun.from_state, runs):
            mine = self._runs.get(run.id)
            is_known = mine is not None and (mine.is_over or mine.version >= run.version)
            is_known |= run.id in self._past
            if run.name in self._names and not is_known and len(taken) < room:
                self._put(run)
                taken.append(run)
        return taken

    def shift(self, seconds: float) -> list[TaskRun]:
        """Take what still matters along with a wall clock that was set by so much: when runs
        under way began, and when each task last ran. Return the runs under way."""
        for name, about in self._names.items():
            about.last_start = _moved(about.last_start, seconds)
            about.last_end = _moved(about.last_end, seconds)
            about.last_success = _moved(about.last_success, seconds)
            about.last_failure = _moved(about.last_failure, seconds)
            self._changed_names.add(name)
        moved = [
            replace(run, started_at=_moved(run.started_at, seconds), version=run.version + 1)
            for run in self._runs.values()
            if not run.is_over
        ]
        for run in moved:
            self._put(run)
        return moved

    def _note_end(self, run: TaskRun) -> None:
        about = self._about(run.name)
        about.runs = {**(about.runs or {})}
        about.runs[run.state.value] = about.runs.get(run.state.value, 0) + 1
        # A report that comes late is of an earlier end: what came after that stays the last.
        if _is_latest(run.finished_at, about.last_end):
            about.last_end = run.finished_at
            about.last_duration_s = run.duration_s
            about.last_bytes = run.bytes
        if run.state is TaskState.COMPLETED:
            about.last_success = later(about.last_success, run.finished_at)
        elif _is_latest(run.finished_at, about.last_failure):
            about.last_failure = run.finished_at
            about.failure = failure_of(run)

    def _about(self, name: str) -> TaskName:
        if name not in self._names and len(self._names) >= MAX_NAMES:
            self._forget_a_name()
        self._changed_names.add(name)
        return self._names.setdefault(name, TaskName())

    def _forget_a_name(self) -> None:
        """Make room: forget the task that has not run for the longest time.

        Raises:
            LimitReached: every one of them is running.
        """
        running = {run.name for run in self._runs.values() if not run.is_over}
        idle = [name for name in self._names if name not in running]
        if not idle:
            raise LimitReached(f"{MAX_NAMES} different tasks are running already")
        oldest = min(idle, key=lambda name: self._names[name].last_end or 0.0)
        del self._names[oldest]
        self._changed_names.add(oldest)

    def _known(self, run_id: str) -> TaskRun:
        run = self._runs.get(run_id)
        if run is None and run_id in self._past:
            raise Conflict(f"the task with the id {run_id!r} is over")
        if run is None:
            raise NotFound(f"no task with the id {run_id!r} was started here")
        return run

    def _put(self, run: TaskRun) -> None:
        self._runs[run.id] = run
        self._changed[run.id] = run.to_state()

    def _note_finished(self, run: TaskRun) -> None:
        self._finished.append(run.id)
        self._output_bytes += _size(run.output)

    # What is so.

    def runs(self) -> list[TaskRun]:
        """Return the runs that memory holds."""
        return list(self._runs.values())

    def frame(self, now: Instant) -> Frame:
        """Return the metrics of every task at this moment."""
        rows: dict[str, list[Row]] = {family.name: [] for family in FAMILIES}

        def add(family: str, labels: tuple[str, ...], value: float | None) -> None:
            if value is not None:
                rows[family].append(Row(labels, value))

        running: dict[str, list[TaskRun]] = {}
        for run in self._runs.values():
            if not run.is_over:
                running.setdefault(run.name, []).append(run)
        for name, about in self._names.items():
            one = (name,)
            for result, count in (about.runs or {}).items():
                add("task_runs_total", (name, about.type, result), count)
            add("task_last_start_timestamp_seconds", one, about.last_start)
            add("task_last_end_timestamp_seconds", one, about.last_end)
            add("task_last_success_timestamp_seconds", one, about.last_success)
            add("task_last_failure_timestamp_seconds", one, about.last_failure)
            add("task_last_duration_seconds", one, about.last_duration_s)
            add("task_last_bytes", one, about.last_bytes)
            if about.last_failure is not None:
                add("task_last_failure_info", (name, *about.failure), 1.0)
            mine = running.get(name, [])
            add("task_running", one, len(mine))
            starts = [run.started_at for run in mine if run.started_at is not None]
            if starts:
                add("task_running_seconds", one, max(0.0, now.wall - min(starts)))
        return Frame(SCOPE, now.wall, rows=rows)


def _size(text: str) -> int:
    """Return how many bytes a text takes in the journal."""
    return len(msgspec.json.encode(text))


def failure_of(run: TaskRun) -> tuple[str, str, str]:
    """Return what the metrics tell of a failure: exit status, signal, and the output's tail."""
    return (
        "" if run.exit_status is None else str(run.exit_status),
        run.signal or "",
        run.output[-INFO_OUTPUT:].strip(),
    )


def _is_latest(moment: float | None, known: float | None) -> bool:
    return moment == later(known, moment)


def _moved(moment: float | None, seconds: float) -> float | None:
    return None if moment is None else to_milliseconds(moment + seconds)


def _or(value: Any, otherwise: Any) -> Any:
    return otherwise if value is None else value


def _gauge(name: str, help_text: str, unit: str, *labels: str) -> Family:
    return Family(name, MetricType.GAUGE, help_text, ("task", *labels), unit)


FAMILIES = (
    Family(
        "task_runs_total",
        MetricType.COUNTER,
        "Finished runs of a task by result.",
        ("task", "type", "result"),
    ),
    _gauge("task_last_start_timestamp_seconds", "When a task last began.", "seconds"),
    _gauge("task_last_end_timestamp_seconds", "When a task last ended.", "seconds"),
    _gauge("task_last_success_timestamp_seconds", "When a task last succeeded.", "seconds"),
    _gauge("task_last_failure_timestamp_seconds", "When a task last failed.", "seconds"),
    _gauge("task_last_duration_seconds", "How long the last finished run took.", "seconds"),
    _gauge("task_last_bytes", "What the last finished run moved, as it reported.", "bytes"),
    _gauge("task_running", "How many runs of a task are under way.", ""),
    _gauge("task_running_seconds", "How long the oldest run under way has taken.", "seconds"),
    _gauge(
        "task_last_failure_info",
        "How the last failed run ended, and the tail of what it printed.",
        "",
        "exit_status",
        "signal",
        "output",
    ),
)
