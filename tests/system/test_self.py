"""The daemon watched by itself: silent while it is well, and heard where it is not."""

import contextlib
import os
from pathlib import Path
from typing import Any

import pytest

from storewatch import CallError
from system.appliance import Appliance, mounted_tmpfs, wait_for

pytestmark = pytest.mark.timeout(90)  # real programs start, and a cluster is made

LOOKS = 5


def metric(appliance: Appliance, expr: str) -> float | None:
    """Return the value of an expression that has one row, None while it has none."""
    rows = appliance.call("metrics.query", expr=expr)["rows"]
    return float(rows[0]["value"]) if rows else None


def wait_looks(appliance: Appliance, count: int) -> None:
    """Wait until the daemon has looked at itself so many times from now on."""
    seen: set[str] = set()

    def looked() -> bool:
        (own,) = appliance.call("probes.list", probe="self")["probes"]
        seen.add(own["last_run"])
        return len(seen) > count

    wait_for("looks", looked, within_s=30)


def transitions(appliance: Appliance) -> list[tuple[str, str, str]]:
    """Return what became of every alert so far."""
    told = appliance.call("events.list", types=["alert"])["events"]
    return [(one["timestamp"], one["kind"], one["data"]["title"]) for one in told]


def of_rule(appliance: Appliance, rule: str) -> list[dict[str, Any]]:
    """Return every alert of a rule, whatever became of it, newest first."""
    return appliance.alerts(rule=rule, state=["pending", "firing", "resolved"])


def fill(directory: Path) -> None:
    """Leave no room on a file system."""
    with (directory / "filler").open("wb") as file, contextlib.suppress(OSError):
        while True:
            file.write(bytes(1 << 16))
            file.flush()


@pytest.mark.parametrize("kind", ["embedded", "none"])
def test_a_healthy_daemon_alerts_nobody(appliance: Appliance, kind: str) -> None:
    appliance.configure(repositories={"root": "/"}, more=f'[database]\nkind = "{kind}"')
    appliance.start()
    if kind == "embedded":
        appliance.wait_database()
    wait_looks(appliance, LOOKS)
    assert transitions(appliance) == []
    assert metric(appliance, 'storewatch_rules{state="failing"}') == 0
    appliance.stop()
    appliance.start()
    wait_looks(appliance, LOOKS)
    assert transitions(appliance) == []


def test_what_the_daemon_says_of_itself_is_there_for_prometheus(running: Appliance) -> None:
    running.wait_database()
    wait_looks(running, 2)
    text = running.call("metrics.text")
    told = {line.split(" ")[2] for line in text.splitlines() if line.startswith("# TYPE")}
    assert {
        *("storewatch_build_info", "storewatch_loop_lag_seconds", "storewatch_probe_age_seconds"),
        *("storewatch_probe_success", "storewatch_probe_failed_looks", "storewatch_rules"),
        *("storewatch_rule_eval_seconds", "storewatch_alerts", "storewatch_series"),
        *("storewatch_series_dropped_total", "storewatch_db_up", "storewatch_journal_records"),
        *("storewatch_journal_oldest_unconfirmed_seconds", "storewatch_journal_commit_seconds"),
        *("storewatch_journal_reserve_bytes", "storewatch_journal_writable"),
        *("storewatch_events_total", "storewatch_unjournalled_total", "storewatch_queue_length"),
        *("storewatch_config_last_reload_success", "process_cpu_seconds_total"),
        *("process_resident_memory_bytes", "process_open_fds", "process_start_time_seconds"),
        "process_threads",
    } <= told
    assert metric(running, "storewatch_db_up") == 1
    assert (metric(running, "storewatch_loop_lag_seconds") or 0.0) >= 0


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting needs root")
def test_a_state_directory_without_room_is_told_while_it_lasts(appliance: Appliance) -> None:
    appliance.configure(more='[database]\nkind = "none"')
    with mounted_tmpfs(appliance.state, 20):
        appliance.start()
        try:
            wait_looks(appliance, 2)
            assert of_rule(appliance, "StateUnwritable") == []
            fill(appliance.state)
            with contextlib.suppress(CallError):  # refused, once nothing can be written
                for number in range(100):  # SQLite still has room in its file for some of them
                    title = f"{number} " * 500
                    appliance.call("alerts.create", severity="info", source="t", title=title)
            alert = wait_for("the alert", lambda: appliance.firing("StateUnwritable"))
            assert alert["severity"] == "critical"
            (appliance.state / "filler").unlink()
            wait_for("room", lambda: appliance.firing("StateUnwritable") is None, within_s=60)
        finally:
            appliance.close()
