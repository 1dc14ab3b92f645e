"""daemon.*, health.get and metrics.*: how the daemon and the machine stand."""

import os
from pathlib import Path
from typing import Any

import msgspec
import pytest

from control.fix_control import NO_DATABASE, SCRIPTED, Control, open_control
from fix_postgres import Postgres
from storewatch.wire import Code, types


async def test_the_version_names_the_node_and_the_protocol(control: Control) -> None:
    assert await control.call("daemon.version") == {
        "version": "1.2.3",
        "node": control.node.monitor.node,
        "protocol": 1,
    }


async def test_the_status_is_of_the_whole(control: Control) -> None:
    await control.call("probes.run", probe=SCRIPTED)
    made = await control.call("alerts.create", severity="info", source="test", title="Fan")
    await control.call("alerts.acknowledge", id=made["id"])
    status = await control.call("daemon.status")
    assert {**status, "probes": []} == {
        "node": control.node.monitor.node,
        "version": "1.2.3",
        "pid": os.getpid(),
        "uptime_seconds": 12.346,
        "ready": True,
        "health": "degraded",
        "alerts": {"firing": 1, "pending": 0, "acknowledged": 1},
        "probes": [],
        "database": {
            "kind": "external",
            "up": False,
            "message": "not connected yet",
            "unconfirmed": 4,
            "server_version": None,
        },
    }
    assert status["probes"] == (await control.call("probes.list"))["probes"]


async def test_a_database_that_answers_is_shown_with_its_version(
    tmp_path: Path, postgres: Postgres
) -> None:
    async with open_control(tmp_path, settings=postgres.settings()) as control:
        await control.store.connect()
        await control.call("alerts.create", severity="info", source="test", title="Fan")
        await control.drain()
        database = (await control.call("daemon.status"))["database"]
    assert (database["up"], database["message"], database["unconfirmed"]) == (True, "answers", 0)
    assert int(database["server_version"].split(".")[0]) >= 13


async def test_without_a_database_nothing_waits_for_it(tmp_path: Path) -> None:
    async with open_control(tmp_path, settings=NO_DATABASE) as control:
        await control.call("alerts.create", severity="info", source="test", title="Fan")
        database = (await control.call("daemon.status"))["database"]
    assert (database["kind"], database["up"], database["unconfirmed"]) == ("none", False, 0)
    assert database["message"] == "no database is configured"


async def test_health_is_told_with_every_component(control: Control) -> None:
    health = await control.call("health.get")
    assert {one["name"] for one in health["components"]} >= {
        *("database", "storage", "scst", "tape", "vtl", "tasks", "services", "rules"),
        "notifications",
    }
    assert health == control.health.report()


async def test_the_snapshot_is_of_this_moment(control: Control) -> None:
    await control.call("tasks.start", name="nightly")
    control.node.clock.forward(5)
    snapshot = await control.call("metrics.get")
    assert (snapshot["timestamp"], snapshot["tasks"]["running_tasks"], snapshot["scst"]) == (
        "2026-01-01T12:00:05.000Z",
        1.0,
        None,
    )


async def test_the_families_are_told_as_prometheus_reads_them(control: Control) -> None:
    await control.node.see(a=0.5)
    text = await control.call("metrics.text")
    assert '# TYPE full gauge\nfull{repository="a"} 0.5\n' in text


async def test_a_query_gives_rows_and_what_could_not_be_looked_at(control: Control) -> None:
    await control.node.see(a=0.9, b=0.5)
    assert await control.call("metrics.query", expr="full > 0.8") == {
        "rows": [
            {
                "labels": {"__name__": "full", "repository": "a"},
                "value": 0.9,
                "exact": True,
                "state": "exact",
            }
        ],
        "holes": [],
        "warnings": [],
    }
    await control.node.fail()
    found = await control.call("metrics.query", expr="full > 0.8")
    assert [row["exact"] for row in found["rows"]] == [False, False]
    assert [row["state"] for row in found["rows"]] == ["unknown", "unknown"]
    assert found["holes"] == [{}]


async def test_a_query_tells_of_a_metric_that_nobody_knows(control: Control) -> None:
    found = await control.call("metrics.query", expr="nod_load5 > 8 or full")
    assert found["warnings"] == ["no metric 'nod_load5' is known; did you mean node_load5?"]


@pytest.mark.parametrize(("function", "state"), [("max", "at_least"), ("min", "at_most")])
async def test_a_query_says_which_values_are_bounds(
    control: Control, function: str, state: str
) -> None:
    await control.node.see(a=0.9)
    await control.node.fail()
    found = await control.call("metrics.query", expr=f"{function}(absent(nothing) or full)")
    assert found["rows"] == [{"labels": {}, "value": 1.0, "exact": False, "state": state}]


@pytest.mark.parametrize(
    ("expr", "value"), [("1 / 0", "+Inf"), ("-1 / 0", "-Inf"), ("0 / 0", "NaN"), ("1 / 4", 0.25)]
)
async def test_what_json_has_no_number_for_is_told_as_prometheus_does(
    control: Control, expr: str, value: Any
) -> None:
    (row,) = (await control.call("metrics.query", expr=expr))["rows"]
    assert row["value"] == value
    assert msgspec.convert(row, types.QueryRow).value == value


async def test_a_query_that_would_hold_everything_up_is_refused(control: Control) -> None:
    await control.node.see(**{f"r{number}": 1.0 for number in range(5000)})
    await control.call("metrics.query", expr="count(full + full)")
    code, message = await control.refusal(
        "metrics.query", expr="+".join(["count(full + full)"] * 60)
    )
    assert code == Code.INVALID_PARAMS
    assert message == (
        "expr: it is too dear: it handles over 2000000 labels and values; "
        "name metrics, and aggregate less at once"
    )


@pytest.mark.parametrize(
    ("expr", "place"),
    [pytest.param("full >", (1, 7), id="cut off"), pytest.param("full +\n(", (2, 2), id="line 2")],
)
async def test_a_wrong_query_is_refused_with_its_place(
    control: Control, expr: str, place: tuple[int, int]
) -> None:
    await control.client.say(
        {"jsonrpc": "2.0", "method": "metrics.query", "params": {"expr": expr}, "id": "q"}
    )
    error = (await control.client.hear())["error"]
    assert error["code"] == Code.INVALID_PARAMS
    assert error["message"].startswith("expr: ")
    assert (error["data"]["line"], error["data"]["column"]) == place
