"""Hardware that hangs: whoever asks it is blocked in the kernel, where no signal reaches."""

import itertools
import os
import signal
import subprocess
import sys
import threading
import time
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from lab.dstate import HangingMount
from storewatch import ClientError
from system.appliance import Appliance, wait_for

pytestmark = [
    pytest.mark.timeout(90),  # real programs start, and a cluster is made
    pytest.mark.skipif(os.geteuid() != 0, reason="mounting needs root"),
]

INTERVAL_S = 1.0

RESTART_S = 2.0
"""Within this a daemon is ready again, whatever hangs."""

Scope = tuple[str, tuple[tuple[str, str], ...]]


class ScheduleWatch:
    """Notes when every probe was last run, by scope, from outside and all the time."""

    def __init__(self, appliance: Appliance) -> None:
        self._appliance = appliance
        self._runs: dict[Scope, dict[str, float]] = {}
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> "ScheduleWatch":
        self._thread.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._stopped.set()
        self._thread.join()

    def longest_waits(self) -> dict[Scope, float]:
        """Return the longest time between two looks at each scope, in seconds."""
        return {
            scope: max(later - earlier for earlier, later in itertools.pairwise(seen))
            for scope, seen in ((one, sorted(runs.values())) for one, runs in self._runs.items())
            if len(seen) > 1
        }

    def _run(self) -> None:
        while not self._stopped.wait(INTERVAL_S / 10):
            try:
                listed = self._appliance.call("probes.list")["probes"]
            except ClientError:
                continue  # it is being restarted
            for one in listed:
                if one["last_run"] is not None:
                    scope = (one["probe"], tuple(sorted(one["scope"].items())))
                    self._runs.setdefault(scope, {})[one["last_run"]] = _seconds(one["last_run"])


def _seconds(timestamp: str) -> float:
    return datetime.fromisoformat(timestamp).timestamp()


def repository(appliance: Appliance, name: str) -> dict[str, Any]:
    listed = appliance.call("repositories.list")["repositories"]
    return next(one for one in listed if one["name"] == name)


def stuck(appliance: Appliance) -> list[dict[str, Any]]:
    listed = appliance.call("probes.list", probe="repositories")["probes"]
    return [one for one in listed if one["stuck_since"] is not None]


def test_a_hung_mount_costs_one_worker_and_no_other_probe_its_schedule(
    appliance: Appliance, small_disk: Path, tmp_path: Path
) -> None:
    with HangingMount(tmp_path / "hung") as hung:
        appliance.configure(
            interval_s=INTERVAL_S,
            discover=True,
            repositories={"good": str(small_disk), "hung": str(hung.path)},
        )
        appliance.start()
        appliance.wait_database()
        wait_for("both", lambda: repository(appliance, "hung")["status"] == "ok")
        with ScheduleWatch(appliance) as watch:
            hung.hang()
            assert hung.held.wait(10)
            (one,) = wait_for("the stuck scope", lambda: stuck(appliance))
            assert one["scope"]["repository"] == "hung"
            wait_for("its failure", lambda: repository(appliance, "hung")["status"] == "failed")
            assert repository(appliance, "hung")["usage_percent"] is None
            alert = wait_for("the alert", lambda: appliance.firing("ProbeBlind"), within_s=30)
        assert (alert["severity"], alert["labels"]["probe"]) == ("critical", "repositories")
        assert alert["title"].startswith("Repository hung cannot be looked at: ")
        assert "has not answered" in alert["message"]
        age = "storewatch_worker_age_seconds"
        wait_for("its age", lambda: age in appliance.call("metrics.text"))

        waits = watch.longest_waits()
        others = {scope: wait for scope, wait in waits.items() if dict(scope[1]) != one["scope"]}
        assert {scope[0] for scope in others} >= {"system", "repositories", "self", "filesystems"}
        # What is promised is a time: one second late at most, while something hangs.
        late = {scope: wait for scope, wait in others.items() if wait > INTERVAL_S + 1}
        assert late == {}

        began = time.monotonic()
        appliance.stop()
        appliance.start()
        took = time.monotonic() - began
        assert took < RESTART_S  # what is promised is a time here too
        wait_for("still stuck", lambda: stuck(appliance))
        wait_for("its failure", lambda: repository(appliance, "hung")["status"] == "failed")
        wait_for("sight", lambda: (appliance.firing("ProbeBlind") or {}).get("stale_since") is None)

        hung.release()
        wait_for("recovery", lambda: repository(appliance, "hung")["status"] == "ok", within_s=20)
        wait_for("the end", lambda: appliance.firing("ProbeBlind") is None, within_s=20)
        everything = appliance.alerts(rule="ProbeBlind", state=["pending", "firing", "resolved"])
        assert [one["id"] for one in everything] == [alert["id"]]  # a restart began none anew


def test_a_tool_that_hangs_is_a_running_task_until_the_device_lets_go(
    appliance: Appliance, tmp_path: Path
) -> None:
    with HangingMount(tmp_path / "hung") as hung:
        appliance.start()
        hung.hang()
        words = ("tasks", "run", "dump", "--", "cat", os.fspath(hung.path / "tape"))
        tool = subprocess.Popen(
            [sys.executable, "-m", "storewatch.ctl", "--socket", appliance.socket, *words],
        )
        try:
            assert hung.held.wait(10)
            (task,) = wait_for(
                "the task",
                lambda: appliance.call("tasks.list", state=["running"])["tasks"],
            )
            tool.terminate()  # the wrapper hands it on; the kernel gives it to the tool later
            began = time.monotonic()
            appliance.stop()
            appliance.start()
            assert time.monotonic() - began < RESTART_S  # as promised
            assert appliance.call("tasks.list", state=["running"])["tasks"][0]["id"] == task["id"]
        finally:
            hung.release()
        tool.wait(20)
        assert tool.returncode == 128 + signal.SIGTERM
        (done,) = appliance.call("tasks.list")["tasks"]
        assert (done["id"], done["state"], done["signal"]) == (task["id"], "failed", "SIGTERM")
        assert wait_for("the alert", lambda: appliance.firing("TaskFailed"))
