"""boot.check: whether this machine will come back from its next start as it is now."""

from collections.abc import Iterator, Mapping
from typing import Any

from storewatch.wire import params
from storewatchd.control.dispatch import Call, Handler
from storewatchd.core.frames import Outcome
from storewatchd.core.model import format_time
from storewatchd.core.series import SeriesTable
from storewatchd.monitor import Monitor
from storewatchd.probes.boot.checks import State
from storewatchd.probes.boot.probe import NEXT_BOOT, SCST_CONFIG

MOST_DRIFTS = 5
"""How many differences are told by name."""

_SAVE = (
    "If what SCST does now is right: `scstadmin -write_config /etc/scst.conf`; otherwise put right"
    " what it does."
)


def handlers(monitor: Monitor) -> Mapping[str, Handler]:
    """Return the one method of this noun."""

    def check(_: Call, __: params.Nothing) -> dict[str, Any]:
        table, at = monitor.books.table, monitor.now().wall
        checks = [*_next_boot(table, at), *_scst_config(table, at)]
        well = sum(one["state"] == State.OK for one in checks)
        return {
            "ready": well == len(checks),
            "score": round(100 * well / len(checks)) if checks else 100,
            "scheduled": _scheduled(table, at),
            "checks": checks,
        }

    return {"boot.check": check}


def _scheduled(table: SeriesTable, at: float) -> str | None:
    """Return when the next start is planned to be; None where nothing is known of any."""
    for planned in table.read("node_reboot_scheduled_timestamp_seconds", at):
        if planned.exact:
            return format_time(planned.value)
    return None


def _shape(name: str, state: State, about: str, advice: str = "") -> dict[str, Any]:
    return {"check": name, "state": state.value, "about": about, "advice": advice}


def _next_boot(table: SeriesTable, at: float) -> list[dict[str, Any]]:
    why, _ = _unseen(table, NEXT_BOOT, at)
    if why:
        return [_shape(NEXT_BOOT, State.UNKNOWN, why, f"storewatchctl probes list {NEXT_BOOT}")]
    advice = {
        reading.labels["check"]: reading.labels["advice"]
        for reading in table.read("node_next_boot_problem_info", at)
    }
    rows = [reading.labels for reading in table.read("node_next_boot_check_info", at)]
    return [
        _shape(one["check"], State(one["state"]), one["about"], advice.get(one["check"], ""))
        # On the kernel the others depend.
        for one in sorted(rows, key=lambda one: (one["check"] != "kernel", one["check"]))
    ]


def _scst_config(table: SeriesTable, at: float) -> Iterator[dict[str, Any]]:
    """Yield how SCST's configuration stands; nothing where there is no SCST."""
    why, is_absent = _unseen(table, SCST_CONFIG, at)
    if is_absent:
        return
    if why:
        yield _shape(SCST_CONFIG, State.UNKNOWN, why, f"storewatchctl probes list {SCST_CONFIG}")
        return
    count = sum(reading.value for reading in table.read("scst_config_drift", at))
    if not count:
        yield _shape(SCST_CONFIG, State.OK, "what SCST does is what is saved")
        return
    named = sorted(
        (one["change"] != "vanishes", f"{one['kind']} {one['name']} {one['change']}")
        for one in (reading.labels for reading in table.read("scst_config_drift_info", at))
    )
    shown = ", ".join(text for _, text in named[:MOST_DRIFTS])
    more = f" and {count - MOST_DRIFTS:.0f} more" if count > MOST_DRIFTS else ""
    yield _shape(SCST_CONFIG, State.PROBLEM, f"at the next start: {shown}{more}", _SAVE)


def _unseen(table: SeriesTable, probe: str, at: float) -> tuple[str, bool]:
    """Return why nothing is known of a probe's only scope, empty where something is, and whether
    what it looks at is surely absent."""
    for state in table.scopes(probe):
        if state.outcome is Outcome.ABSENT and state.is_known(at):
            return state.reason, True
        if state.outcome is None:
            return "it has not been looked at yet", False
        return ("" if state.is_known(at) else state.reason or "the last look is too old"), False
    return f"it is not looked at: the probe {probe} is disabled, or has not begun", False
