"""A full disk, a failed task, a blind probe: what an operator sees, by every door."""

import asyncio
import json
import os
import shutil
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from system.appliance import Appliance, unmounted, wait_for

pytestmark = pytest.mark.timeout(90)  # real programs start, and a cluster is made

MB = 1 << 20


def fill(disk: Path, percent: float) -> None:
    """Make a file system this full."""
    (disk / "filler").unlink(missing_ok=True)
    sizes = os.statvfs(disk)
    wanted = int(sizes.f_blocks * sizes.f_frsize * percent / 100)
    with (disk / "filler").open("wb") as file:
        for _ in range(wanted // MB):
            file.write(bytes(MB))


class WebSocketListener:
    """Collects events from a WebSocket, in a thread of its own."""

    def __init__(self, appliance: Appliance, token: str, query: str = "") -> None:
        self.events: list[dict[str, Any]] = []
        self._url = f"http://127.0.0.1:{appliance.port}/api/v1/monitoring/events{query}"
        self._token = token
        self._loop = asyncio.new_event_loop()
        self._connected = threading.Event()
        self._task: asyncio.Task[None] | None = None
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> "WebSocketListener":
        self._thread.start()
        assert self._connected.wait(10)
        return self

    def __exit__(self, *exc_info: object) -> None:
        assert self._task is not None
        self._loop.call_soon_threadsafe(self._task.cancel)
        self._thread.join()

    def saw(self, **wanted: Any) -> Callable[[], bool]:
        def look() -> bool:
            return any(
                event["kind"] == wanted["kind"] and event["data"].get("rule") == wanted["rule"]
                for event in list(self.events)
            )

        return look

    def _run(self) -> None:
        with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
            try:
                runner.run(self._listen())
            except asyncio.CancelledError:
                return

    async def _listen(self) -> None:
        self._task = asyncio.current_task()
        headers = {"Authorization": f"Bearer {self._token}"}
        async with (
            aiohttp.ClientSession() as session,
            session.ws_connect(self._url, headers=headers) as connection,
        ):
            self._connected.set()
            async for message in connection:
                self.events.append(json.loads(message.data))


def test_a_filling_disk_is_seen_by_every_door_and_resolves_when_emptied(
    appliance: Appliance, small_disk: Path
) -> None:
    appliance.configure(repositories={"vault": str(small_disk)})
    appliance.start()
    appliance.start_web()
    token = appliance.token("monitoring:read")
    with WebSocketListener(appliance, token, "?types=alert") as listener:
        fill(small_disk, 85)
        warning = wait_for("the warning", lambda: appliance.firing("StorageCapacityWarning"))
        assert warning["severity"] == "warning"
        assert warning["source"] == "storage"
        assert warning["resource_id"] == "vault"
        assert "85" in warning["title"]
        status, listed = appliance.http("/api/v1/monitoring/alerts?severity=warning", token=token)
        assert status == 200
        assert listed["alerts"][0]["id"] == warning["id"]
        wait_for("the WebSocket", listener.saw(kind="firing", rule="StorageCapacityWarning"))
        assert appliance.firing("StorageCapacityCritical") is None

        fill(small_disk, 96.5)
        critical = wait_for("the critical", lambda: appliance.firing("StorageCapacityCritical"))
        assert critical["severity"] == "critical"
        assert appliance.http("/api/v1/health")[0] == 503

        (small_disk / "filler").unlink()
        wait_for(
            "both resolutions",
            lambda: (
                {alert["id"] for alert in appliance.alerts(state=["resolved"])}
                == {warning["id"], critical["id"]}
            ),
        )
        wait_for("the WebSocket", listener.saw(kind="resolved", rule="StorageCapacityWarning"))
    appliance.wait_database()
    rows = appliance.sql("SELECT rule, state, severity FROM alert ORDER BY first_seen")
    assert rows == [
        ["StorageCapacityWarning", "resolved", "warning"],
        ["StorageCapacityCritical", "resolved", "critical"],
    ]
    kinds = appliance.sql(
        f"SELECT kind FROM alert_event WHERE alert_id = '{warning['id']}' ORDER BY seq"
    )
    assert kinds == [["firing"], ["resolved"]]
    log = appliance.log.read_text()
    assert "warning firing: Repository vault is" in log
    assert "warning resolved: Repository vault is" in log


def test_a_failed_task_alerts_at_once_with_the_tail_of_its_output(running: Appliance) -> None:
    done = running.ctl("tasks", "run", "nightly", "--", "sh", "-c", "echo boom >&2; exit 3")
    assert done.returncode == 3
    assert done.stderr == "boom\n"
    alert = wait_for("the alert", lambda: running.firing("TaskFailed"), within_s=1)
    assert alert["resource_id"] == "nightly"
    assert "exit status 3" in alert["title"]
    assert "Its last words were: “boom”. Look at" in alert["message"]
    again = running.ctl("tasks", "run", "nightly", "--", "true")
    assert again.returncode == 0
    wait_for("the end", lambda: running.firing("TaskFailed") is None)


def test_a_task_that_ends_by_a_signal_keeps_the_signal(running: Appliance) -> None:
    done = running.ctl("tasks", "run", "killed", "--", "sh", "-c", "kill -TERM $$")
    assert done.returncode == 128 + 15
    alert = wait_for("the alert", lambda: running.firing("TaskFailed"))
    assert "SIGTERM" in alert["title"]


def test_a_report_made_while_the_daemon_is_away_is_delivered_later(running: Appliance) -> None:
    running.stop()
    done = running.ctl("tasks", "run", "away", "--", "sh", "-c", "echo lost; exit 4")
    assert done.returncode == 4
    assert done.stdout == "lost\n"
    running.start()
    alert = wait_for("the alert", lambda: running.firing("TaskFailed"), within_s=30)
    assert alert["resource_id"] == "away"
    run = running.call("tasks.list", name="away")["tasks"][0]
    assert (run["exit_status"], run["output"]) == (4, "lost\n")


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting needs root")
def test_a_probe_that_goes_blind_makes_its_alert_stale_and_resolves_nothing(
    appliance: Appliance, small_disk: Path
) -> None:
    vault = small_disk / "vault"
    vault.mkdir()
    appliance.configure(repositories={"vault": str(vault)})
    appliance.start()
    fill(small_disk, 85)
    wait_for("the warning", lambda: appliance.firing("StorageCapacityWarning"))
    shutil.rmtree(vault)
    stale = wait_for(
        "the mark",
        lambda: [
            alert
            for alert in appliance.alerts(rule="StorageCapacityWarning")
            if alert["stale_since"] is not None
        ],
    )
    assert stale[0]["state"] == "firing"
    (repository,) = appliance.call("repositories.list")["repositories"]
    assert repository["status"] == "failed"
    assert "does not exist" in repository["error"]
    assert repository["usage_percent"] is None
    vault.mkdir()
    wait_for(
        "sight",
        lambda: appliance.alerts(rule="StorageCapacityWarning")[0]["stale_since"] is None,
    )
    assert appliance.alerts(rule="StorageCapacityWarning")[0]["state"] == "firing"


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting needs root")
def test_a_repository_that_is_not_mounted_any_more_is_not_taken_for_the_directory_beneath(
    appliance: Appliance, small_disk: Path
) -> None:
    appliance.configure(repositories={"vault": str(small_disk)})
    appliance.start()
    fill(small_disk, 85)
    wait_for("the warning", lambda: appliance.firing("StorageCapacityWarning"))

    def blind() -> dict[str, Any] | None:
        (repository,) = appliance.call("repositories.list")["repositories"]
        return repository if repository["status"] == "failed" else None

    def is_surely_down() -> bool:
        # A probe of its own tells it, within its own interval.
        down = appliance.call("metrics.query", expr='repo_up{repository="vault"} == 0')
        return ([row["exact"] for row in down["rows"]], down["holes"]) == ([True], [])

    with unmounted(small_disk):
        assert "nothing is mounted there now" in wait_for("blindness", blind)["error"]
        wait_for("certainty", is_surely_down)
        appliance.kill()
        appliance.start()  # as after a boot that did not mount it
        assert "nothing is mounted there now" in wait_for("blindness", blind)["error"]
        (alert,) = appliance.alerts(rule="StorageCapacityWarning")
        assert (alert["state"], alert["stale_since"] is None) == ("firing", False)
    wait_for("sight", lambda: blind() is None)
    with unmounted(small_disk):
        wait_for("blindness", blind)
        appliance.call("repositories.add", name="vault", path=str(small_disk))
        wait_for("acceptance", lambda: blind() is None)


def test_every_filter_narrows_and_every_combination_holds(running: Appliance) -> None:
    def create(**said: Any) -> str:
        return str(running.call("alerts.create", title="t", **said)["id"])

    a = create(severity="info", source="one", labels={"rack": "a1"}, resource_type="disk")
    b = create(severity="critical", source="two", labels={"rack": "b2"}, resource_id="sda")
    running.call("alerts.acknowledge", id=b, note="on it")

    def ids(**filters: Any) -> list[str]:
        return [alert["id"] for alert in running.alerts(**filters)]

    assert ids() == [b, a]
    assert ids(severity=["info"]) == [a]
    assert ids(source=["two"]) == [b]
    assert ids(state=["firing"]) == [b, a]
    assert ids(state=["resolved"]) == []
    assert ids(acknowledged=True) == [b]
    assert ids(resource_type="disk") == [a]
    assert ids(resource_id="sda") == [b]
    assert ids(label=['rack=~"a.*"']) == [a]
    assert ids(label=['rack!="a1"'], severity=["info", "critical"]) == [b]
    assert ids(until="2020-01-01T00:00:00Z") == []
    assert ids(since="2020-01-01T00:00:00Z", limit=1) == [b]


def test_acknowledge_and_resolve_keep_actor_and_note_and_repeat_harmlessly(
    running: Appliance,
) -> None:
    made = running.call("alerts.create", severity="warning", source="test", title="look")
    marked = running.call("alerts.acknowledge", id=made["id"], note="looking")
    assert marked["acknowledged_by"]
    assert marked["acknowledged_note"] == "looking"
    assert running.call("alerts.acknowledge", id=made["id"], note="again") == marked
    resolved = running.call("alerts.resolve", id=made["id"], note="done")
    assert resolved["state"] == "resolved"
    running.wait_database()
    assert running.call("alerts.resolve", id=made["id"]) == resolved
    detail = running.call("alerts.get", id=made["id"])
    assert [line["kind"] for line in detail["timeline"]] == ["firing", "acknowledged", "resolved"]
    assert detail["timeline"][1]["reason"]["note"] == "looking"


def test_a_key_counts_one_alert_and_its_time_to_live_ends_it(running: Appliance) -> None:
    first = running.call(
        "alerts.create", severity="info", source="cron", title="late", key="backup", ttl=1
    )
    second = running.call(
        "alerts.create", severity="info", source="cron", title="later", key="backup", ttl=1
    )
    assert (second["id"], second["occurrences"]) == (first["id"], 2)
    assert second["title"] == "later"
    ended = wait_for(
        "the expiry",
        lambda: [
            alert for alert in running.alerts(state=["resolved"]) if alert["id"] == first["id"]
        ],
    )
    assert ended[0]["resolved_by"] == "expired"


def test_paging_over_a_thousand_alerts_while_others_arrive_and_end_skips_and_repeats_none(
    running: Appliance,
) -> None:
    ids = [
        running.call("alerts.create", severity="info", source="load", title=f"n{n}")["id"]
        for n in range(1000)
    ]
    for one in ids[::3]:
        running.call("alerts.resolve", id=one)
    running.wait_database()
    seen: list[str] = []
    cursor = None
    turn = 0
    while True:
        page = running.call("alerts.list", limit=37, **({"cursor": cursor} if cursor else {}))
        assert page["complete"]
        seen += [alert["id"] for alert in page["alerts"]]
        cursor = page["next_cursor"]
        if cursor is None:
            break
        # New ones come and old ones end between the pages.
        running.call("alerts.create", severity="info", source="noise", title=f"x{turn}")
        running.call("alerts.resolve", id=ids[(turn * 7 + 1) % 1000])
        turn += 1
    assert len(seen) == len(set(seen))
    assert [one for one in seen if one in set(ids)] == ids[::-1]
