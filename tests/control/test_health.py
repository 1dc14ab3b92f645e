"""Health: each component in each state it can be in, and the whole."""

import asyncio
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from control.fix_control import AWAY, NO_DATABASE, SCRIPTED, Control, open_control
from core.fix_engine import rule
from fakes import NOON, ScriptedProbe
from fix_records import no_room
from probes.vtl.fix_vtl import NO_CHANGER, UP, Desk
from storewatchd.collector import Collector
from storewatchd.control.health import HealthChecks
from storewatchd.core.frames import Frame, Scope
from storewatchd.core.model import Severity
from storewatchd.errors import ProbeFailed
from storewatchd.monitor import writer as writer_module
from storewatchd.probes.base import STALE_AFTER_INTERVALS
from storewatchd.probes.storage import REPOSITORIES


def component(control: Control, name: str) -> dict[str, Any]:
    """Return a component of the report."""
    (found,) = (one for one in control.health.report()["components"] if one["name"] == name)
    return dict(found)


def verdict(control: Control, name: str) -> tuple[str, str]:
    """Return the status and the message of a component."""
    found = component(control, name)
    return found["status"], found["message"]


async def see_repository(control: Control, used: int = 60, free: int = 40) -> None:
    """Have a repository with so much used and free, and look at it."""
    control.outside.see_directory("/a", used=used, free=free)
    await control.call("repositories.add", name="a", path="/a")
    await look(control)


async def look_at_all(control: Control) -> None:
    for probe in (SCRIPTED, REPOSITORIES):
        await control.call("probes.run", probe=probe)
    await control.node.settled()


async def look(control: Control) -> None:
    await control.call("probes.run", probe=REPOSITORIES)
    await control.node.settled()


# The whole.


async def test_the_whole_is_the_worst_of_those_that_matter(control: Control) -> None:
    control.store.problem = None
    await look_at_all(control)
    report = control.health.report()
    assert (report["status"], report["timestamp"], report["node"]) == (
        "healthy",
        "2026-01-01T12:00:00.000Z",
        control.node.monitor.node,
    )
    control.store.problem = "away"
    assert control.health.report()["status"] == "degraded"
    await see_repository(control, used=96, free=4)
    assert control.health.report()["status"] == "unhealthy"


@pytest.mark.parametrize("name", ["scst", "tape", "vtl", "services", "notifications"])
async def test_what_is_not_watched_is_unknown_with_the_reason(control: Control, name: str) -> None:
    status, message = verdict(control, name)
    assert status == "unknown"
    assert message.startswith("no ")


@pytest.mark.parametrize("name", ["scst", "tape", "vtl", "services", "storage"])
async def test_a_component_is_degraded_while_a_critical_alert_about_it_fires(
    control: Control, name: str
) -> None:
    _, before = verdict(control, name)
    about = await control.node.create("It is stuck", source=name, severity=Severity.CRITICAL)
    await control.node.create("Another", source="ups", severity=Severity.CRITICAL)
    assert verdict(control, name) == ("degraded", f"{before}; a critical alert: It is stuck")
    assert control.health.report()["status"] == "degraded"
    await control.call("alerts.acknowledge", id=about.id)
    assert verdict(control, name) == ("unknown", before)


async def test_hardware_that_was_looked_for_and_not_found_was_checked_then(
    control: Control,
) -> None:
    drives = ScriptedProbe("tape_drives")
    drives.scopes = ()
    collector = looker(control, drives)
    health = HealthChecks(control.node.monitor, collector, control.store)

    def checked_at(name: str = "tape") -> Any:
        return {one["name"]: one["checked_at"] for one in health.report()["components"]}[name]

    assert checked_at() is None
    async with asyncio.TaskGroup() as tasks:
        work = tasks.create_task(collector.run())
        await collector.run_now("tape_drives")
        work.cancel()
    assert checked_at() == "2026-01-01T12:00:00.000Z"
    assert checked_at("scst") is None


# Virtual tape libraries.


async def watch_vtl(control: Control, desk: Desk) -> tuple[str, str]:
    """Let the probes look at virtual tape libraries; return what health says of them."""
    table = control.node.monitor.books.table
    for name in ("vtl", "vtl_units"):
        table.declare(name, desk.probes[name].families, max_age_s=90)
        for frame in (await desk.frames(name)).values():
            assert isinstance(frame, Frame)
            table.feed(replace(frame, at=NOON))
    return verdict(control, "vtl")


async def test_virtual_libraries_that_are_up_are_healthy(control: Control) -> None:
    assert await watch_vtl(control, Desk(UP)) == (
        "healthy",
        "10 virtual tape libraries and drives, none down",
    )


async def test_a_virtual_library_that_is_half_up_degrades(control: Control) -> None:
    assert await watch_vtl(control, Desk(NO_CHANGER)) == (
        "degraded",
        "2 of 10 virtual tape libraries and drives are down: XYZZY_A, XYZZY_A2",
    )


async def test_virtual_libraries_without_their_software_are_unhealthy(control: Control) -> None:
    desk = Desk(UP)
    desk.port.readings["vtl.daemons", ""] = {"daemons": []}
    assert await watch_vtl(control, desk) == (
        "unhealthy",
        "the virtual tape libraries and drives are gone: their software does not run",
    )


# The database.


async def test_a_database_that_answers_is_healthy_with_its_last_check(control: Control) -> None:
    control.store.problem = None
    control.store.server_version = "15.3"
    control.store.checked_at = NOON - 5
    control.store.check_s = 0.0025
    assert component(control, "database") == {
        "name": "database",
        "status": "healthy",
        "message": "PostgreSQL 15.3 answers",
        "checked_at": "2026-01-01T11:59:55.000Z",
        "duration_ms": 2.5,
    }


async def test_a_database_that_is_away_degrades(control: Control) -> None:
    assert verdict(control, "database") == (
        "degraded",
        "history waits in the journal: not connected yet",
    )


async def test_a_database_that_refuses_records_degrades(control: Control) -> None:
    control.store.problem = None
    control.store.refused = 2
    assert verdict(control, "database") == (
        "degraded",
        "2 records were refused; the log has the reasons",
    )


@pytest.mark.parametrize("settings", [AWAY, NO_DATABASE], ids=["external", "none"])
async def test_a_journal_that_refuses_is_unhealthy_whatever_the_database(
    tmp_path: Path, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer_module, "RETRY_S", 0.01)
    async with open_control(tmp_path, settings=settings) as control:
        with no_room():
            await control.client.say(
                {
                    "jsonrpc": "2.0",
                    "method": "tasks.start",
                    "params": {"name": "nightly"},
                    "id": "held",
                }
            )
            await control.node.blocked()
            status, message = verdict(control, "database")
        assert (await control.client.hear())["id"] == "held"
    assert status == "unhealthy"
    assert message.startswith("the journal: state.db: ")


async def test_no_database_is_unknown(tmp_path: Path) -> None:
    async with open_control(tmp_path, settings=NO_DATABASE) as control:
        assert verdict(control, "database") == ("unknown", "no database is configured")


# Storage.


async def test_storage_is_unknown_before_anything_is_known(control: Control) -> None:
    assert verdict(control, "storage") == ("unknown", "no repository is declared or found")


async def test_storage_is_healthy_while_every_repository_has_room(control: Control) -> None:
    await see_repository(control, used=60, free=40)
    assert component(control, "storage") == {
        "name": "storage",
        "status": "healthy",
        "message": "1 repository, none over 95 % full",
        "checked_at": "2026-01-01T12:00:00.000Z",
        "duration_ms": 0.0,
    }


async def test_storage_is_unhealthy_when_a_repository_is_full(control: Control) -> None:
    await see_repository(control, used=96, free=4)
    assert verdict(control, "storage") == ("unhealthy", "over 95 % full: a")


async def test_storage_is_no_better_than_what_can_be_seen(control: Control) -> None:
    await see_repository(control)
    control.outside.port.readings["statvfs.path", "/a"] = ProbeFailed("input/output error")
    await look(control)
    assert verdict(control, "storage") == (
        "unhealthy",
        "1 of 1 cannot be used; a: input/output error",
    )


async def test_storage_is_unknown_while_its_probe_is_disabled(tmp_path: Path) -> None:
    async with open_control(tmp_path, with_repositories=False) as control:
        assert verdict(control, "storage")[0] == "unknown"
        await control.call("repositories.add", name="a", path="/a")
        assert verdict(control, "storage") == ("unknown", "not looked at yet")


# Tasks.


async def test_tasks_are_unknown_before_the_first_report(control: Control) -> None:
    assert verdict(control, "tasks") == ("unknown", "no task was ever reported")


async def test_tasks_are_healthy_while_none_has_failed(control: Control) -> None:
    await control.call("tasks.start", name="nightly")
    assert verdict(control, "tasks") == ("healthy", "1 running, none failed")


async def test_an_alert_that_people_create_makes_no_task_fail(control: Control) -> None:
    await control.call("tasks.start", name="nightly")
    await control.node.create(source="task", resource_id="what people say is no failed task")
    assert verdict(control, "tasks") == ("healthy", "1 running, none failed")


async def test_tasks_whose_failure_a_rule_tells_are_named(tmp_path: Path) -> None:
    labels = '{source: task, resource_id: "{{ $labels.task }}"}'
    failed = rule('task_runs_total{result="failed"} > 0', labels=labels)
    async with open_control(tmp_path, rules=failed) as control:
        for name in ("d", "c", "b", "a"):
            run = await control.call("tasks.start", name=name)
            await control.call("tasks.finish", id=run["id"], exit_status=1)
        assert verdict(control, "tasks") == ("degraded", "failed and not run since: a, b, c")


# Rules.


async def test_rules_are_healthy_while_they_are_evaluated(tmp_path: Path) -> None:
    async with open_control(tmp_path, rules=rule()) as control:
        await control.node.see(a=0.5)
        assert component(control, "rules") == {
            "name": "rules",
            "status": "healthy",
            "message": "1 rules are evaluated",
            "checked_at": "2026-01-01T12:00:00.000Z",
            "duration_ms": 0.0,
        }


async def test_rules_are_unknown_until_each_was_evaluated(tmp_path: Path) -> None:
    async with open_control(tmp_path, rules=rule()) as control:
        (state,) = control.node.books.engine.states
        state.last_evaluation = None
        assert verdict(control, "rules") == ("unknown", "1 of 1 not evaluated yet")


async def test_rules_that_cannot_be_decided_are_counted(tmp_path: Path) -> None:
    async with open_control(tmp_path, rules=rule()) as control:
        await control.node.fail()
        assert verdict(control, "rules") == (
            "healthy",
            "1 rules are evaluated, 1 of them undecided",
        )


async def test_rules_that_are_not_evaluated_any_more_are_overdue(tmp_path: Path) -> None:
    async with open_control(tmp_path, rules=rule()) as control:
        await control.node.see(a=0.5)
        (state,) = control.node.books.engine.states
        state.due -= 4 * state.rule.interval_s
        assert verdict(control, "rules") == ("degraded", "1 of 1 are overdue; Full")


async def test_rules_that_fail_are_named_with_the_reason(tmp_path: Path) -> None:
    # The label that tells the rows apart is gone: two rows give the same alert.
    text = rule(expr="full > 0.8", labels="{repository: all}")
    async with open_control(tmp_path, rules=text) as control:
        await control.node.see(a=0.9, b=0.9)
        status, message = verdict(control, "rules")
    assert status == "degraded"
    assert message.startswith("1 of 1 fail; Full: ")


async def test_no_rules_were_never_checked(control: Control) -> None:
    found = component(control, "rules")
    assert (found["status"], found["checked_at"]) == ("healthy", None)


# Probes.


async def test_probes_are_healthy_while_no_look_fails(control: Control) -> None:
    await look_at_all(control)
    control.node.clock.forward(7)
    assert component(control, "probes") == {
        "name": "probes",
        "status": "healthy",
        "message": "2 looks, none failed",
        "checked_at": "2026-01-01T12:00:00.000Z",
        "duration_ms": 0.0,
    }


async def test_probes_are_unknown_until_everything_was_looked_at(control: Control) -> None:
    control.store.problem = None
    health = not_looking(control, ScriptedProbe("one"), ScriptedProbe("two"))
    report = health.report()
    assert report["status"] == "unknown"
    assert report["components"][-1] == {
        "name": "probes",
        "status": "unknown",
        "message": "2 of 2 not looked at yet",
        "checked_at": None,
        "duration_ms": None,
    }


async def test_a_first_look_that_does_not_end_degrades(control: Control) -> None:
    health = not_looking(control, ScriptedProbe("one"))
    control.node.clock.forward(STALE_AFTER_INTERVALS * 30.0 + 1)
    found = health.report()["components"][-1]
    assert found["status"] == "degraded"
    assert found["message"] == "1 of 1 looks are overdue; one discovery"


async def test_no_probe_is_nothing_known(control: Control) -> None:
    found = not_looking(control).report()["components"][-1]
    assert (found["status"], found["message"]) == ("unknown", "no probe is enabled")
    assert (found["checked_at"], found["duration_ms"]) == (None, None)


def looker(control: Control, *probes: ScriptedProbe) -> Collector:
    """Return what looks by these probes, which has not begun."""
    monitor = control.node.monitor
    clock = control.node.clock.clock
    feed, expect = monitor.feed, monitor.expect
    return Collector(probes, control.outside.port, clock, interval_s=30.0, feed=feed, expect=expect)


def not_looking(control: Control, *probes: ScriptedProbe) -> HealthChecks:
    """Return the health of a node whose probes have not looked yet."""
    return HealthChecks(control.node.monitor, looker(control, *probes), control.store)


async def test_a_look_that_fails_is_named_with_the_reason(control: Control) -> None:
    control.outside.probe.answers[Scope(SCRIPTED)] = ProbeFailed("input/output error")
    await control.call("probes.run", probe=SCRIPTED)
    assert verdict(control, "probes") == (
        "degraded",
        f"1 of 2 looks fail; {SCRIPTED}: input/output error",
    )


async def test_what_finds_no_place_is_told_with_the_family_that_lacks_most(
    control: Control,
) -> None:
    room = control.node.books.table.room
    room.note("one", Scope(SCRIPTED), 2)
    room.note("other", Scope(SCRIPTED), 3)
    assert verdict(control, "probes") == (
        "degraded",
        f"5 series find no place, of other most: metrics.max_series is {room.most}",
    )
    room.note("one", Scope(SCRIPTED), 0)
    room.note("other", Scope(SCRIPTED), 0)
    assert verdict(control, "probes")[0] != "degraded"
    assert room.dropped_total == 5


async def test_a_discovery_that_fails_is_named_too(control: Control) -> None:
    control.outside.port.readings["mounts", ""] = ProbeFailed("the reader is gone")
    await control.call("probes.run", probe=REPOSITORIES)
    assert verdict(control, "probes") == (
        "degraded",
        f"1 of 2 looks fail; {REPOSITORIES}: the reader is gone",
    )
