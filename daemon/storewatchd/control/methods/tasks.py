"""tasks.*: what programs report of their runs."""

from collections.abc import Mapping
from itertools import islice
from typing import Any

from storewatch.wire import encode, params
from storewatchd.control.dispatch import Call, Handler
from storewatchd.control.methods.alerts import cannot_tell, time_of, what_is_missing
from storewatchd.control.pages import fitting
from storewatchd.core.commands import FinishTask, ProgressTask, StartTask
from storewatchd.core.queries import Position
from storewatchd.core.tasks import TaskRun
from storewatchd.errors import InvalidParams, NotFound, StoreError
from storewatchd.monitor import Monitor
from storewatchd.store import Store


def start_command(actor: str, asked: params.TaskStart) -> StartTask:
    """Return the command that a report asks for.

    Raises:
        InvalidParams: a time in it is no time.
    """
    return StartTask(
        actor=actor,
        name=asked.name,
        type=asked.type,
        id=asked.id,
        message=asked.message,
        at=time_of("at", asked.at),
    )


def progress_command(actor: str, asked: params.TaskProgress) -> ProgressTask:
    """Return the command that a report asks for."""
    return ProgressTask(
        actor=actor,
        id=asked.id,
        percent=asked.percent,
        message=asked.message,
        bytes=asked.bytes,
    )


def finish_command(actor: str, asked: params.TaskFinish) -> FinishTask:
    """Return the command that a report asks for.

    Raises:
        InvalidParams: a time in it is no time.
    """
    return FinishTask(
        actor=actor,
        id=asked.id,
        failed=asked.failed,
        exit_status=asked.exit_status,
        signal=asked.signal,
        message=asked.message,
        output=asked.output,
        bytes=asked.bytes,
        at=time_of("at", asked.at),
    )


def handlers(monitor: Monitor, store: Store) -> Mapping[str, Handler]:
    """Return the methods of this noun."""

    async def list_tasks(_: Call, asked: params.TasksList) -> dict[str, Any]:
        after = _position(asked.cursor)
        states = None if asked.state is None else frozenset(asked.state)
        known_runs: dict[str, TaskRun] = {
            run.id: run
            for run in islice(monitor.view.runs(asked.name, states, after), asked.limit + 1)
        }
        problem = None
        try:
            stored_page = await store.tasks.page(
                name=asked.name, states=states, after=after, limit=asked.limit + 1
            )
            for stored in stored_page:
                known = known_runs.get(stored.id) or monitor.view.run(stored.id)
                if known is None or known.version < stored.version:
                    known_runs[stored.id] = stored
        except StoreError as error:
            problem = what_is_missing(error)
        problem = problem or store.lacks
        runs = sorted(known_runs.values(), key=_place, reverse=True)
        page = fitting(encode(run.to_json()) for run in runs[: asked.limit])
        more = len(runs) > len(page)
        return {
            "tasks": page,
            "next_cursor": _place(runs[len(page) - 1]).encode() if more else None,
            "complete": problem is None,
            "incomplete_reason": problem,
        }

    async def get_task(_: Call, asked: params.TaskId) -> dict[str, Any]:
        run = monitor.view.run(asked.id)
        if run is None:
            try:
                run = await store.tasks.get(asked.id)
            except StoreError as error:
                raise cannot_tell("task", asked.id, error) from error
        if run is None:
            raise NotFound(f"there is no task {asked.id!r}")
        return run.to_json()

    async def start(call: Call, asked: params.TaskStart) -> dict[str, Any]:
        run = await monitor.command(start_command(call.caller.name, asked))
        return run.to_json()

    async def progress(call: Call, asked: params.TaskProgress) -> dict[str, Any]:
        run = await monitor.command(progress_command(call.caller.name, asked))
        return run.to_json()

    async def finish(call: Call, asked: params.TaskFinish) -> dict[str, Any]:
        run = await monitor.command(finish_command(call.caller.name, asked))
        return run.to_json()

    return {
        "tasks.list": list_tasks,
        "tasks.get": get_task,
        "tasks.start": start,
        "tasks.progress": progress,
        "tasks.finish": finish,
    }


def _place(run: TaskRun) -> Position:
    return Position.of(run.first_seen, run.id)


def _position(cursor: str | None) -> Position | None:
    try:
        return None if cursor is None else Position.decode(cursor)
    except ValueError as error:
        raise InvalidParams(f"cursor: {error}") from error
