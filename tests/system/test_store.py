"""PostgreSQL and the journal under the real daemon: each is the other's witness, and either may be
lost or run full."""

import contextlib
import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from storewatch import PlainClient
from system.appliance import Appliance, mounted_tmpfs, wait_for

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


def test_that_it_answers_is_known_before_the_next_look_is_due(appliance: Appliance) -> None:
    appliance.configure(interval_s=600)
    appliance.start()
    appliance.wait_database()

    def is_seen() -> bool:
        (one,) = appliance.call("probes.list", probe="database")["probes"]
        return bool(one["outcome"] == "seen")

    wait_for("the look", is_seen)


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


# Full disks.


@pytest.fixture
def cluster_disk(appliance: Appliance) -> Iterator[Path]:
    """A file system of 96 MB, which the cluster has for itself."""
    if os.geteuid() != 0:
        pytest.skip("mounting needs root")
    with mounted_tmpfs(appliance.directory / "disk", 96) as disk:
        disk.chmod(0o755)
        appliance.configure(more=f'[database]\ndirectory = "{disk}/postgresql"\n')
        yield disk
        appliance.close()


def fill(directory: Path) -> Path:
    """Leave no room in a file system; return what fills it."""
    path = directory / "ballast"
    with path.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(bytes(1 << 16))
    return path


def create(appliance: Appliance, title: str) -> str:
    made = appliance.call(
        "alerts.create", severity="info", source="t", title=title, message=MESSAGE
    )
    return str(made["id"])


MESSAGE = "".join(chr(0x4E00 + n * n * 7919 % 20_000) for n in range(2_000))
"""A text that no compression makes much shorter."""


def database(appliance: Appliance) -> dict[str, Any]:
    found: dict[str, Any] = appliance.call("daemon.status")["database"]
    return found


def crash(appliance: Appliance) -> None:
    """Have the server write more log than there is room for, which ends it."""
    for _ in range(100):
        try:
            appliance.sql("SELECT pg_logical_emit_message(true, 'x', repeat('y', 1000000))")
        except subprocess.CalledProcessError as error:
            assert "server closed the connection" in error.stderr  # noqa: PT017  it is no other
            return
    raise AssertionError("there is more room than was filled")


@pytest.mark.parametrize("crashes", [False, True], ids=["for data", "for its log"])
def test_a_cluster_whose_disk_is_full_delays_history_and_nothing_else(
    appliance: Appliance, cluster_disk: Path, crashes: bool
) -> None:
    appliance.start()
    appliance.wait_database()
    made = [create(appliance, "before")]
    appliance.wait_database()

    ballast = fill(cluster_disk)
    while database(appliance)["up"]:
        made += [create(appliance, f"n{number}") for number in range(50)]
        assert len(made) < 20_000
    if crashes:
        crash(appliance)
    wait_for(
        "why",
        lambda: "No space left on device" in str(database(appliance)["message"]),
        within_s=60,
    )
    made += [create(appliance, "while it is full")]
    health = {one["name"]: one for one in appliance.call("health.get")["components"]}
    assert health["database"]["status"] == "degraded"
    assert appliance.alerts(limit=1)[0]["id"] == made[-1]
    listed = wait_for(
        "an incomplete list",
        lambda: page if not (page := appliance.call("alerts.list", limit=10))["complete"] else None,
    )
    assert listed["alerts"][0]["id"] == made[-1]

    ballast.unlink()
    appliance.wait_database(within_s=60)
    rows = appliance.sql(
        "SELECT alert_id FROM alert_event WHERE body->>'source' = 't' ORDER BY seq"
    )
    assert [row[0] for row in rows] == made
    log = appliance.log.read_text()
    assert log.count("history waits in the journal") < 10
    assert "Traceback" not in log


@pytest.fixture
def one_disk(appliance: Appliance) -> Iterator[Path]:
    """A file system of 160 MB, for journal and cluster."""
    if os.geteuid() != 0:
        pytest.skip("mounting needs root")
    with mounted_tmpfs(appliance.state, 160) as disk:
        disk.chmod(0o755)
        yield disk
        appliance.close()


def test_a_cluster_on_the_disk_of_the_journal_leaves_it_the_last_room(
    appliance: Appliance, one_disk: Path
) -> None:
    appliance.start()
    appliance.wait_database()
    reserve = one_disk / "reserve"
    wait_for("the reserve", lambda: reserve.exists() and reserve.stat().st_blocks)

    ballast = fill(one_disk)
    made: list[str] = []
    while "is left to the journal" not in str(database(appliance)["message"]):
        made += [create(appliance, f"n{number}") for number in range(20)]
        assert len(made) < 20_000
    assert reserve.stat().st_size == 0
    there = appliance.sql("SELECT count(*) FROM alert")
    free = os.statvfs(one_disk).f_bavail
    made += [create(appliance, f"more {number}") for number in range(20)]
    assert appliance.sql("SELECT count(*) FROM alert") == there
    assert free > 0
    events = appliance.call("events.list", limit=40)["events"]
    assert not any(event.get("unjournalled") for event in events)

    ballast.unlink()
    appliance.wait_database(within_s=75)  # the disk is looked at every half a minute
    rows = appliance.sql(
        "SELECT alert_id FROM alert_event WHERE body->>'source' = 't' ORDER BY seq"
    )
    assert [row[0] for row in rows] == made
