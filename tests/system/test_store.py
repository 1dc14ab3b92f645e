"""PostgreSQL and the journal under the real daemon: each is the other's witness, and either may be
lost or run full."""

from collections.abc import Callable
from typing import Any

import pytest

from storewatch import PlainClient
from system.appliance import Appliance, wait_for

pytestmark = pytest.mark.timeout(180)  # several starts of daemon and cluster

RULES = """
groups:
- name: always
  rules:
  - {alert: Always, expr: node_memory_MemTotal_bytes > 0, labels: {severity: warning}}
"""
PAGE = 4096


@pytest.fixture
def lived(appliance: Appliance) -> Appliance:
    """An appliance that has lived: with alerts, marks, tokens, repositories and tasks."""
    (appliance.rules / "always.yml").write_text(RULES)
    appliance.start()
    return appliance


def lose(appliance: Appliance) -> None:
    for path in appliance.state.glob("state.db*"):
        path.unlink()


def spoil_first_page(appliance: Appliance) -> None:
    with (appliance.state / "state.db").open("r+b") as file:
        file.write(b"\xa5" * PAGE)


def heard(appliance: Appliance, since: str, kind: str) -> dict[str, Any]:
    """Return the first event of a kind that a client is told that goes on from an event."""
    with PlainClient(str(appliance.socket)) as client:
        client.call("events.subscribe", {"since": since, "types": ["system"]})
        for _, params in client.notifications():
            if params["event"]["kind"] == kind:
                event: dict[str, Any] = params["event"]
                return event
    raise AssertionError(f"the stream ended without {kind}")


@pytest.mark.parametrize(
    ("harm", "told"),
    [
        pytest.param(lose, "gap", id="deleted"),
        # All but that page is salvaged.
        pytest.param(spoil_first_page, "journal_damaged", id="damaged"),
    ],
)
def test_a_journal_that_is_gone_is_rebuilt(
    lived: Appliance, harm: Callable[[Appliance], None], told: str
) -> None:
    always = wait_for("the alert", lambda: lived.firing("Always"))
    lived.call("alerts.acknowledge", id=always["id"], note="mine")
    made = lived.call("alerts.create", severity="info", source="t", title="made", key="k", ttl=3600)
    over = lived.call("alerts.create", severity="info", source="t", title="over")
    lived.call("alerts.resolve", id=over["id"])
    token = lived.token("monitoring:read")
    revoked = lived.call("tokens.create", name="gone", permissions=["monitoring:read"])
    lived.call("tokens.revoke", id=revoked["token"]["id"])
    lived.call("repositories.add", name="added", path=str(lived.directory))
    lived.call("tasks.start", name="nightly", id="done")
    lived.call("tasks.finish", id="done", exit_status=3)
    lived.call("tasks.start", name="nightly", id="under-way")
    lived.wait_database()
    last = lived.call("events.list", limit=1)["events"][-1]
    lived.stop()
    harm(lived)

    lived.start()
    assert heard(lived, last["id"], told)
    wait_for(
        "the rebuilding",
        lambda: always["id"] in {alert["id"] for alert in lived.alerts(state=["firing"])},
        within_s=30,
    )
    lived.wait_database()

    found = {alert["id"]: alert for alert in lived.alerts(state=["firing"])}
    marked = found[always["id"]]
    assert (marked["acknowledged_note"], marked["first_seen"]) == ("mine", always["first_seen"])
    assert [one["title"] for one in found.values() if one["rule"] == ""] == ["made"]
    again = lived.call("alerts.create", severity="info", source="t", title="made", key="k")
    assert again["id"] == made["id"]
    assert len([one for one in found.values() if one["rule"] == "Always"]) == 1
    resolved = lived.call("alerts.list", state=["resolved"])
    assert resolved["complete"]
    assert over["id"] in {alert["id"] for alert in resolved["alerts"]}
    lived.start_web()
    assert lived.http("/api/v1/monitoring/alerts", token=token)[0] == 200
    assert lived.http("/api/v1/monitoring/alerts", token=revoked["secret"])[0] == 401
    named = {one["name"] for one in lived.call("repositories.list")["repositories"]}
    assert "added" in named
    assert lived.call("tasks.finish", id="under-way")["state"] == "completed"
    counts = lived.call("metrics.query", expr='task_runs_total{task="nightly"}')["rows"]
    assert {row["labels"]["result"]: row["value"] for row in counts} == {
        "completed": 1,
        "failed": 1,
    }
    new = lived.call("alerts.create", severity="info", source="t", title="new")
    event = lived.call("events.list", limit=1)["events"][-1]
    assert event["data"]["id"] == new["id"]
    assert event["seq"] > last["seq"]
    lived.wait_database()
    rows = lived.sql("SELECT epoch, seq FROM alert_event UNION ALL SELECT epoch, seq FROM event")
    assert len(rows) == len({tuple(row) for row in rows})
    open_there = lived.sql("SELECT id FROM alert WHERE state <> 'resolved'")
    assert {row[0] for row in open_there} == {
        alert["id"] for alert in lived.alerts(state=["firing", "pending"])
    }
