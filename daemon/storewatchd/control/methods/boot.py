"""boot.check: whether this machine will come back from its next start as it is now."""

from collections.abc import Iterable, Iterator, Mapping
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

_CHECKED = ("node_next_boot_checked_timestamp_seconds", "scst_config_checked_timestamp_seconds")

_SAVE = (
    "If what SCST does now is right: `scstadmin -write_config /etc/scst.conf`; otherwise put right"
    " what it does."
)

_NEEDS_SCST = "module_scst"
"""The check that is there where the next start needs SCST."""

_UNLOADED = "SCST is not loaded: nothing can be compared with what is saved"
_LOAD = "Start SCST (`systemctl start scst`), and look again."


def handlers(monitor: Monitor) -> Mapping[str, Handler]:
    """Return the one method of this noun."""

    def check(_: Call, __: params.Nothing) -> dict[str, Any]:
        table, at = monitor.books.table, monitor.now().wall
        checks = _next_boot(table, at)
        checks += list(_scst_config(table, at, checks))
        well = sum(one["state"] == State.OK for one in checks)
        return {
            # Without a kernel nothing starts: no checks are no good sign.
            "ready": bool(checks) and well == len(checks),
            "score": round(100 * well / len(checks)) if checks else 0,
            "scheduled": _scheduled(table, at),
            "checked_at": _checked_at(table, at),
            "checks": checks,
        }

    return {"boot.check": check}


def _scheduled(table: SeriesTable, at: float) -> str | None:
    """Return when the next start is planned to be; None where nothing is known of any."""
    for planned in table.read("node_reboot_scheduled_timestamp_seconds", at):
        if planned.exact:
            return format_time(planned.value)
    return None


def _checked_at(table: SeriesTable, at: float) -> str | None:
    """Return when the older of the looks was that this rests on."""
    looks = [reading.value for name in _CHECKED for reading in table.read(name, at)]
    return format_time(min(looks, default=None))


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


def _scst_config(
    table: SeriesTable, at: float, needs: Iterable[Mapping[str, Any]]
) -> Iterator[dict[str, Any]]:
    """Yield how SCST's configuration stands; nothing where the next start needs no SCST."""
    why, is_absent = _unseen(table, SCST_CONFIG, at)
    if is_absent or _is_unloaded(table, at):
        if any(one["check"] == _NEEDS_SCST for one in needs):
            yield _shape(SCST_CONFIG, State.UNKNOWN, _UNLOADED, _LOAD)
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


def _is_unloaded(table: SeriesTable, at: float) -> bool:
    return any(one.exact and not one.value for one in table.read("scst_up", at))


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
