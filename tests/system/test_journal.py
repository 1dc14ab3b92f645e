"""A state directory that runs full, and is emptied: everything is told, and nothing is forgotten
that can be kept."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Self

import pytest

from storewatch import CallError
from system.appliance import Appliance, mounted_tmpfs, wait_for

pytestmark = pytest.mark.timeout(120)  # a disk is filled, line by line

MB = 1 << 20
RULES = 40
"""So many alerts fire and resolve at a time."""


class Follower:
    """`storewatchctl events --follow`, and what it has been told so far."""

    def __init__(self, appliance: Appliance, since: str) -> None:
        self._path = appliance.directory / "told"
        with self._path.open("wb") as output:
            self._process = subprocess.Popen(
                [
                    *(sys.executable, "-m", "storewatch.ctl", "--socket", appliance.socket),
                    *("events", "--follow", "--json", "--since", since),
                    *("--type", "alert", "--type", "system"),
                ],
                stdout=output,
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._process.kill()
        self._process.wait()

    def events(self) -> list[dict[str, Any]]:
        lines = self._path.read_bytes().split(b"\n")[:-1]
        return [json.loads(line) for line in lines]

    def has(self, kind: str) -> bool:
        return any(event["kind"] == kind for event in self.events())


class Swing:
    """A repository that is over and under its threshold in turn."""

    def __init__(self, appliance: Appliance, disk: Path, told: Follower) -> None:
        self._appliance = appliance
        self._filler = disk / "filler"
        self._told = told

    def once(self) -> list[dict[str, Any]]:
        """Swing; return the events of the alerts that fire and resolve by that."""
        before = len(self._alerts())
        self._filler.write_bytes(bytes(8 * MB))
        self._look("firing", before + RULES)
        self._filler.unlink()
        self._look("resolved", before + 2 * RULES)
        return self._alerts()[before:]

    def _look(self, kind: str, count: int) -> None:
        self._appliance.call("probes.run", probe="repositories")
        wait_for(f"alerts that are {kind}", lambda: len(self._alerts()) >= count, within_s=30)

    def _alerts(self) -> list[dict[str, Any]]:
        return [event for event in self._told.events() if event["type"] == "alert"]


@pytest.fixture
def tight(appliance: Appliance, tmp_path: Path) -> Iterator[Appliance]:
    """A running appliance whose state directory is a file system of 20 MB."""
    if os.geteuid() != 0:
        pytest.skip("mounting needs root")
    text = "All of it is full. " * 150
    rules = "\n".join(
        f"      - alert: Swing{number:02d}\n"
        f"        expr: repo_used_bytes / (repo_used_bytes + repo_free_bytes) > 0.3\n"
        f'        annotations: {{summary: "it swings", description: "{text}"}}'
        for number in range(RULES)
    )
    (appliance.rules / "swing.yml").write_text(f"groups:\n  - name: swing\n    rules:\n{rules}\n")
    with mounted_tmpfs(tmp_path / "disk", 20) as disk, mounted_tmpfs(appliance.state, 20):
        appliance.configure(
            repositories={"swing": str(disk)}, more='[database]\nkind = "none"\n', interval_s=60.0
        )
        appliance.start()
        yield appliance
        appliance.close()


def fill(directory: Path) -> Path:
    """Leave no room in a file system; return what fills it."""
    path = directory / "ballast"
    with path.open("wb", buffering=0) as file:
        while True:
            try:
                file.write(bytes(4096))
            except OSError:
                return path


def journalled(appliance: Appliance, since: str) -> list[str]:
    """Return the ids of all events after one that are on disk, in order."""
    ids: list[str] = []
    while page := appliance.call("events.list", since=since, limit=500)["events"]:
        ids += [event["id"] for event in page]
        since = ids[-1]
    return ids


def test_a_state_directory_that_runs_full_silences_nothing_and_is_caught_up_with(
    tight: Appliance, tmp_path: Path
) -> None:
    reserve = tight.state / "reserve"
    wait_for("the reserve", lambda: reserve.exists() and reserve.stat().st_blocks)
    tight.call("alerts.create", severity="info", source="t", title="Before")
    (first,) = tight.call("events.list", limit=1)["events"]
    with Follower(tight, first["id"]) as told:
        swing = Swing(tight, tmp_path / "disk", told)
        assert not any(event.get("unjournalled") for event in swing.once())

        ballast = fill(tight.state)
        swings = 0
        while not any(event.get("unjournalled") for event in swing.once()):
            swings += 1
            fill(tight.state)
            assert swings < 100
        # What is held back for this was used first.
        assert (swings > 0, reserve.stat().st_size) == (True, 0)
        with pytest.raises(CallError, match=r"state\.db.*: nothing was changed"):
            tight.call("alerts.create", severity="info", source="t", title="Refused")
        refused = tight.ctl(
            "alerts", "create", "--severity", "info", "--source", "t", "--title", "x"
        )
        assert (refused.returncode, "nothing was changed" in refused.stderr) == (1, True)
        assert tight.call("health.get")["status"] == "unhealthy"
        assert all(event["unjournalled"] for event in swing.once())

        ballast.unlink()
        wait_for("the recovery", lambda: told.has("journal_recovered"), within_s=30)
        assert not any(event.get("unjournalled") for event in swing.once())
        made = tight.call("alerts.create", severity="info", source="t", title="Taken again")
        wait_for("its event", lambda: told.events()[-1]["data"].get("id") == made["id"])
        events = told.events()

    (recovered,) = [event["data"] for event in events if event["kind"] == "journal_recovered"]
    waited = [event for event in events if event.get("unjournalled")]
    assert recovered == {"unjournalled": len(waited), "lost": 0}
    assert [event["seq"] for event in events] == sorted(event["seq"] for event in events)
    tight.kill()
    tight.start()
    kept = journalled(tight, first["id"])
    assert [one for one in kept if one in {event["id"] for event in events}] == [
        event["id"] for event in events
    ]
    assert [alert["title"] for alert in tight.alerts(state=["firing"], source=["t"])] == [
        "Taken again",
        "Before",
    ]
