"""Health by component, and of the whole: the worst of those that matter.

`unknown` is honest ignorance: absent hardware, or nothing looked at yet. It never makes the whole
unhealthy.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

from storewatchd.core.frames import Outcome
from storewatchd.core.model import Alert, AlertState, Severity, format_time
from storewatchd.core.repositories import Repository
from storewatchd.core.scopes import ScopeState
from storewatchd.core.series import SeriesTable

FULL_RATIO = 0.95


class Status(StrEnum):
    HEALTHY = "healthy"
    DEGRADED = "degraded"
    UNHEALTHY = "unhealthy"
    UNKNOWN = "unknown"


_BADNESS = {Status.UNKNOWN: 0, Status.HEALTHY: 1, Status.DEGRADED: 2, Status.UNHEALTHY: 3}


@dataclass(frozen=True, slots=True)
class Component:
    """How one part stands. Times are Unix seconds, durations seconds; None before any check."""

    name: str
    status: Status
    message: str
    checked_at: float | None = None
    duration_s: float | None = None

    def to_json(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "status": self.status.value,
            "message": self.message,
            "checked_at": format_time(self.checked_at),
            "duration_ms": None if self.duration_s is None else round(1000 * self.duration_s, 3),
        }


def whole(components: Iterable[Component]) -> Status:
    """Return the worst of those that matter: unknown only where nothing is known at all."""
    return max((one.status for one in components), key=_BADNESS.__getitem__, default=Status.UNKNOWN)


def absent(name: str, why: str) -> Component:
    """Return a component that this machine does not have, or that nothing looks at."""
    return Component(name, Status.UNKNOWN, why)


def with_alerts(component: Component, alerts: Iterable[Alert]) -> Component:
    """Return a component no better than degraded where critical alerts about it fire that nobody
    has acknowledged, and with them in its message; `alerts` are those of its source."""
    critical = [
        one
        for one in alerts
        if one.state is AlertState.FIRING
        and one.severity is Severity.CRITICAL
        and one.acknowledged_at is None
    ]
    if not critical:
        return component
    newest = max(critical, key=lambda one: (one.first_seen, one.id)).title
    told = (
        f"a critical alert: {newest}"
        if len(critical) == 1
        else f"{len(critical)} critical alerts, the newest: {newest}"
    )
    status = max(component.status, Status.DEGRADED, key=_BADNESS.__getitem__)
    return replace(component, status=status, message=f"{component.message}; {told}")


def storage(
    table: SeriesTable, repositories: Iterable[Repository], at: float, probe: str
) -> Component:
    """Judge the repositories: all seen, and none over 95 % full. One that was not looked at yet is
    neither healthy nor not."""
    known = list(repositories)
    states = [state for state in table.scopes(probe) if state.outcome is not None]
    looked_at = {dict(state.scope.labels).get("repository") for state in states}
    pending = sum(one.name not in looked_at for one in known)
    checked_at = max((s.last_look for s in states if s.last_look is not None), default=None)
    duration_s = max((state.duration_s for state in states), default=None)
    if not known:
        return Component(
            "storage", Status.UNKNOWN, "no repository is declared or found", checked_at, duration_s
        )
    if not states:
        return Component("storage", Status.UNKNOWN, "not looked at yet")
    unusable = [
        state for state in states if state.outcome is Outcome.ABSENT or not state.is_known(at)
    ]
    used = {r.labels["repository"]: r.value for r in table.read("repo_used_bytes", at)}
    full: dict[bool, list[str]] = {True: [], False: []}  # by whether that is so now
    for reading in table.read("repo_free_bytes", at):
        name = reading.labels["repository"]
        if _is_full(used.get(name), reading.value):
            full[reading.exact].append(name)
    if full[True] or full[False]:
        # Who cannot be seen any more has not become any better.
        told = [f"over 95 % full: {_names(full[True])}"] * bool(full[True])
        told += [f"over 95 % full when seen last: {_names(full[False])}"] * bool(full[False])
        return Component("storage", Status.UNHEALTHY, "; ".join(told), checked_at, duration_s)
    not_yet = f"{pending} of {len(known)} not looked at yet"
    if unusable:
        message = f"{len(unusable)} of {len(known)} cannot be used; {_first(unusable[0])}"
        message += f"; {not_yet}" * bool(pending)
        status = Status.UNHEALTHY if len(unusable) >= len(known) else Status.DEGRADED
        return Component("storage", status, message, checked_at, duration_s)
    if pending:
        return Component("storage", Status.UNKNOWN, not_yet, checked_at, duration_s)
    return Component(
        "storage",
        Status.HEALTHY,
        f"{len(known)} {'repository' if len(known) == 1 else 'repositories'}, none over 95 % full",
        checked_at,
        duration_s,
    )


def _is_full(used: float | None, free: float) -> bool:
    return used is not None and used + free > 0 and used / (used + free) > FULL_RATIO


def _names(names: list[str]) -> str:
    shown = ", ".join(sorted(names)[:3])
    return f"{shown} and {len(names) - 3} more" if len(names) > 3 else shown


def _first(state: ScopeState) -> str:
    name = dict(state.scope.labels).get("repository", str(state.scope))
    return f"{name}: {state.reason or 'not seen for too long'}"


@dataclass(frozen=True, slots=True)
class Hardware:
    """A component that consists of many things: by which probes it is seen, and which gauges say
    that a thing is up, by the label that names it; `whole` is one for all of them, and `gone` says
    what it means when that is not up. `lost` counts those that were there and are not any more."""

    name: str
    what: str
    probes: tuple[str, ...]
    parts: Mapping[str, str]
    whole: str = ""
    gone: str = "it is not loaded"
    lost: str = ""


def hardware(one: Hardware, table: SeriesTable, at: float) -> Component:
    """Judge hardware: unhealthy where nothing of it is up, degraded where a part is not, or cannot
    be seen."""
    scopes = [state for probe in one.probes for state in table.scopes(probe)]
    looked = [state for state in scopes if state.outcome not in (None, Outcome.ABSENT)]
    if not looked:
        at_last = max((s.last_look for s in scopes if s.last_look is not None), default=None)
        return Component(one.name, Status.UNKNOWN, f"no {one.what} are here", at_last)
    checked_at = max((s.last_look for s in looked if s.last_look is not None), default=None)
    duration_s = max(state.duration_s for state in looked)

    def judged(status: Status, message: str) -> Component:
        return Component(one.name, status, message, checked_at, duration_s)

    if any(reading.exact and not reading.value for reading in table.read(one.whole, at)):
        return judged(Status.UNHEALTHY, f"the {one.what} are gone: {one.gone}")
    parts = [
        (reading.labels[label], reading.exact and not reading.value)
        for family, label in one.parts.items()
        for reading in table.read(family, at)
    ]
    down = [name for name, is_down in parts if is_down]
    lost = round(sum(reading.value for reading in table.read(one.lost, at)))
    if lost and not parts:
        return judged(Status.UNHEALTHY, f"no {one.what} are left: all {lost} of them are lost")
    also = f"; {lost} more {'is' if lost == 1 else 'are'} lost" if lost else ""
    if down:
        status = Status.UNHEALTHY if len(down) == len(parts) else Status.DEGRADED
        told = f"{len(down)} of {len(parts)} {one.what} are down: {_names(down)}"
        return judged(status, told + also)
    blind = [state for state in looked if not state.is_known(at)]
    if blind:
        why = blind[0].reason or "not seen for too long"
        message = f"{len(blind)} of {len(looked)} cannot be seen; {blind[0].scope}: {why}{also}"
        return judged(Status.DEGRADED, message)
    return judged(Status.HEALTHY, f"{len(parts)} {one.what}, none down{also}")
