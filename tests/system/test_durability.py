"""What survives a power cut, and what PostgreSQL holds afterwards."""

import contextlib
import os
import signal
from typing import Any

import pytest

from storewatch import CallError
from system.appliance import Appliance, wait_for

pytestmark = pytest.mark.timeout(120)  # several starts of daemon and cluster


def test_a_power_cut_loses_nothing_that_was_told(running: Appliance) -> None:
    running.start_web()
    token = running.token("monitoring:read")
    kept = running.call("alerts.create", severity="warning", source="t", title="kept", key="k")
    marked = running.call("alerts.acknowledge", id=kept["id"], note="mine")
    gone = running.call("alerts.create", severity="info", source="t", title="gone")
    running.call("alerts.resolve", id=gone["id"])
    running.call("tasks.start", name="long", id="run-1")
    running.call("repositories.add", name="added", path="/")
    before = running.call("events.list", limit=1000)["events"]

    running.kill()
    running.start()

    assert running.call("alerts.get", id=kept["id"])["alert"] == marked
    assert [alert["id"] for alert in running.alerts(state=["resolved"])] == [gone["id"]]
    assert running.call("tasks.get", id="run-1")["state"] == "running"
    assert "added" in [one["name"] for one in running.call("repositories.list")["repositories"]]
    wait_for(
        "the sidecar",
        lambda: running.http("/api/v1/monitoring/alerts", token=token)[0] == 200,
    )
    after = running.call("events.list", limit=1000)["events"]
    assert after[: len(before)] == before
    new = running.call("alerts.create", severity="info", source="t", title="new")
    last = running.call("events.list", limit=1)["events"][0]
    assert last["data"]["id"] == new["id"]
    assert last["seq"] > before[-1]["seq"]
    missed = running.call("events.list", since=before[-1]["id"])
    assert not missed["gap"]
    assert [event["id"] for event in missed["events"]][-1] == last["id"]


def test_a_request_with_an_idempotency_key_is_done_once_also_over_a_power_cut(
    running: Appliance,
) -> None:
    asked: dict[str, Any] = {
        "severity": "info",
        "source": "t",
        "title": "once",
        "idempotency_key": "k1",
    }
    first = running.call("alerts.create", **asked)
    running.call("alerts.resolve", id=first["id"])
    assert running.call("alerts.create", **asked) == first
    running.kill()
    running.start()
    assert running.call("alerts.create", **asked) == first
    with pytest.raises(CallError, match="used for another request"):
        running.call("alerts.create", **{**asked, "title": "twice"})
    assert len(running.alerts(source=["t"])) == 1
    running.start_web()
    token = running.token("monitoring:write")
    path, body = "/api/v1/monitoring/alerts", b'{"severity":"info","source":"t","title":"web"}'
    headers = {"Idempotency-Key": "k2"}
    answers = [
        running.http(path, token=token, method="POST", body=body, headers=headers) for _ in "ab"
    ]
    assert answers[0] == answers[1]
    assert answers[0][0] == 201
    assert len(running.alerts(source=["t"])) == 2


def test_with_postgresql_away_everything_goes_on_and_it_catches_up_once_and_in_order(
    running: Appliance,
) -> None:
    running.wait_database()
    first = running.call("alerts.create", severity="info", source="t", title="before")
    running.wait_database()
    # Stopped, not killed: the daemon would start a killed one again at once.
    postgres = running.postgres_pids()
    for pid in postgres:
        os.kill(pid, signal.SIGSTOP)
    try:
        made = [
            running.call("alerts.create", severity="info", source="t", title=f"n{n}")
            for n in range(50)
        ]
        for alert in made[::2]:
            running.call("alerts.resolve", id=alert["id"])
        listed = wait_for(
            "an incomplete list",
            lambda: (
                page if not (page := running.call("alerts.list", limit=100))["complete"] else None
            ),
            within_s=30,
        )
        assert "history cannot be read" in listed["incomplete_reason"]
        assert len(listed["alerts"]) == 51
        running.kill()
    finally:
        for pid in postgres:
            os.kill(pid, signal.SIGKILL)
    running.start()
    running.wait_database()
    assert running.call("alerts.list", limit=100)["complete"]
    rows = running.sql("SELECT count(*), count(DISTINCT id) FROM alert")
    assert rows == [["51", "51"]]
    events = running.sql("SELECT seq FROM alert_event ORDER BY time, seq")
    numbers = [int(row[0]) for row in events]
    assert numbers == sorted(set(numbers))
    assert len(numbers) == 1 + 50 + 25
    assert running.sql(f"SELECT state FROM alert WHERE id = '{first['id']}'") == [["firing"]]


def test_a_postgresql_that_is_killed_is_back_long_before_anybody_would_have_asked(
    running: Appliance,
) -> None:
    running.wait_database()
    pid = running.postgres_pid()
    os.kill(pid, signal.SIGKILL)

    def is_another() -> bool:
        with contextlib.suppress(OSError, IndexError):  # its file is being written
            return running.postgres_pid() != pid
        return False

    wait_for("another", is_another, within_s=5)
    running.wait_database(within_s=5)
    said = running.log.read_text()
    assert f"PostgreSQL (pid {pid}) was ended by SIGKILL; starting it again" in said


def test_a_second_daemon_on_the_same_state_is_refused_and_harms_nothing(
    running: Appliance,
) -> None:
    second = Appliance.__new__(Appliance)
    second.__dict__.update(running.__dict__)
    second.daemon = None
    with pytest.raises(AssertionError, match="another daemon"):
        second.start()
    assert running.is_up()


def test_a_revoked_token_is_refused_at_once_and_ends_its_connections(running: Appliance) -> None:
    running.start_web()
    made = running.call("tokens.create", name="short", permissions=["monitoring:read"])
    assert running.http("/api/v1/monitoring/alerts", token=made["secret"])[0] == 200
    running.call("tokens.revoke", id=made["token"]["id"])
    assert running.http("/api/v1/monitoring/alerts", token=made["secret"])[0] == 401
    assert made["secret"] not in (running.state / "state.db").read_bytes().decode(errors="replace")


def test_an_unknown_alert_is_named_in_the_answer(running: Appliance) -> None:
    with pytest.raises(CallError, match="there is no alert 'nonsense'"):
        wait_for(
            "PostgreSQL's word",
            lambda: running.call("alerts.get", id="nonsense"),
        )
