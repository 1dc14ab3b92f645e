"""probes.* and repositories.*: what is looked at, and how that goes."""

import asyncio
import contextlib
from collections.abc import Mapping
from typing import Any

from storewatch.wire import params
from storewatchd.collector import Collector
from storewatchd.control.dispatch import Call, Handler
from storewatchd.control.plan import planned
from storewatchd.control.recordings import Recordings
from storewatchd.core.commands import AddRepository, RemoveRepository
from storewatchd.core.frames import Outcome
from storewatchd.core.model import format_time
from storewatchd.core.repositories import Repository
from storewatchd.core.scopes import ScopeState
from storewatchd.core.snapshot import percent
from storewatchd.errors import NotFound
from storewatchd.monitor import Monitor
from storewatchd.probes.storage import (
    REPOSITORIES,
    REPOSITORY_STATES,
    repository_scope,
)

FIRST_LOOK_S = 10.0
"""How long the answer to an addition waits for the first look."""

_STATUS = {Outcome.SEEN: "ok", Outcome.ABSENT: "absent", Outcome.DEFERRED: "ok"}


def handlers(
    monitor: Monitor, collector: Collector, recordings: Recordings
) -> Mapping[str, Handler]:
    """Return the methods of both nouns."""

    def list_probes(_: Call, asked: params.ProbesList) -> dict[str, Any]:
        if asked.probe is not None:
            collector.check_known(asked.probe)
        return {"probes": collector.statuses(asked.probe)}

    async def run_probe(_: Call, asked: params.ProbesRun) -> dict[str, Any]:
        await collector.run_now(asked.probe)
        return {"probes": collector.statuses(asked.probe)}

    def record(call: Call, asked: params.ProbesRecord) -> dict[str, Any]:
        return {"recording": recordings.start(call, asked.seconds)}

    def plan(_: Call, asked: params.ProbesPlan) -> dict[str, Any]:
        at = monitor.now().wall
        return {"reads": planned(collector, monitor.books.table, at, asked.device)}

    def list_repositories(_: Call, __: params.Nothing) -> dict[str, Any]:
        return {"repositories": _repositories(monitor)}

    async def add(call: Call, asked: params.RepositoryAdd) -> dict[str, Any]:
        repository = await monitor.command(AddRepository(call.caller.name, asked.name, asked.path))
        _rediscover(collector, REPOSITORY_STATES)
        # What is wrong with it now is told, whatever becomes of it.
        with contextlib.suppress(NotFound, TimeoutError):
            async with asyncio.timeout(FIRST_LOOK_S):
                await collector.look_at(repository_scope(REPOSITORIES, repository))
        shown = next(
            (one for one in _repositories(monitor) if one["name"] == repository.name),
            _shape(repository, None, "unknown", {}, {}),
        )
        return {**shown, **_failure(collector, repository)}

    async def remove(call: Call, asked: params.RepositoryName) -> bool:
        await monitor.command(RemoveRepository(call.caller.name, asked.name))
        _rediscover(collector, REPOSITORIES, REPOSITORY_STATES)
        return True

    return {
        "probes.list": list_probes,
        "probes.run": run_probe,
        "probes.record": record,
        "probes.plan": plan,
        "repositories.list": list_repositories,
        "repositories.add": add,
        "repositories.remove": remove,
    }


def _rediscover(collector: Collector, *probes: str) -> None:
    for probe in probes:
        with contextlib.suppress(NotFound):  # it may be disabled
            collector.rediscover(probe)


def _failure(collector: Collector, repository: Repository) -> dict[str, Any]:
    """Return why a repository could not be looked at last; nothing where it could."""
    labels = dict(repository_scope(REPOSITORIES, repository).labels)
    return next(
        (
            {"status": "failed", "error": one["reason"]}
            for one in collector.statuses(REPOSITORIES)
            if one["scope"] == labels and one["outcome"] == Outcome.FAILED
        ),
        {},
    )


def _repositories(monitor: Monitor) -> list[dict[str, Any]]:
    table, at = monitor.books.table, monitor.now().wall
    values: dict[str, dict[str, float]] = {}
    for family in ("repo_size_bytes", "repo_used_bytes", "repo_free_bytes"):
        values[family] = {
            reading.labels["repository"]: reading.value
            for reading in table.read(family, at)
            if reading.exact
        }
    places = {
        reading.labels["repository"]: reading.labels for reading in table.read("repo_info", at)
    }
    states = {dict(state.scope.labels)["repository"]: state for state in table.scopes(REPOSITORIES)}
    return [
        _shape(one, states.get(one.name), _status(states.get(one.name), at), values, places)
        for one in sorted(monitor.books.repositories, key=lambda one: one.name)
    ]


def _status(state: ScopeState | None, at: float) -> str:
    if state is None or state.outcome is None:
        return "unknown"
    if state.outcome is Outcome.FAILED:
        return "failed"
    return _STATUS[state.outcome] if state.is_known(at) else "unknown"


def _shape(
    repository: Repository,
    state: ScopeState | None,
    status: str,
    values: dict[str, dict[str, float]],
    places: dict[str, dict[str, str]],
) -> dict[str, Any]:
    name = repository.name

    def value(family: str) -> float | None:
        return values.get(family, {}).get(name)

    used, free = value("repo_used_bytes"), value("repo_free_bytes")
    place = places.get(name, {})
    return {
        "name": name,
        "path": repository.path,
        "origin": repository.origin.value,
        "status": status,
        "error": (state.reason or None) if state is not None else None,
        "size_bytes": value("repo_size_bytes"),
        "used_bytes": used,
        "available_bytes": free,
        "usage_percent": percent(used, None if used is None or free is None else used + free),
        "mount_point": place.get("mountpoint") or None,
        "file_system": place.get("fstype") or None,
        "checked_at": None if state is None else format_time(state.last_look),
    }
