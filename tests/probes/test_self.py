"""What the daemon says of itself: nothing before it runs, then all of it."""

import pytest

from fakes import NOON, ScriptedPort
from storewatchd.core.frames import Row, Scope
from storewatchd.errors import ProbeAbsent, ProbeDeferred
from storewatchd.probes.self import (
    DATABASE,
    DATABASE_FAMILIES,
    SELF,
    SELF_FAMILIES,
    DatabaseProbe,
    Own,
    Rows,
    SelfProbe,
)

PROCESS = {
    "cpu_seconds": 1.5,
    "resident_bytes": 8e7,
    "virtual_bytes": 5e8,
    "open_fds": 20,
    "max_fds": 1024,
    "threads": 7,
    "start_time": NOON,
}


@pytest.fixture
def port() -> ScriptedPort:
    port = ScriptedPort()
    port.facts["process"] = PROCESS
    return port


@pytest.mark.parametrize("probe", [SelfProbe(Own()), DatabaseProbe(Own())], ids=[SELF, DATABASE])
async def test_before_the_daemon_runs_nothing_is_said(
    port: ScriptedPort, probe: SelfProbe | DatabaseProbe
) -> None:
    (scope,) = await probe.discover(port)
    assert scope == Scope(probe.name)
    with pytest.raises(ProbeDeferred):
        await probe.collect(port, scope)


async def test_vital_signs_are_told_with_what_the_process_takes(port: ScriptedPort) -> None:
    lag: Rows = {"storewatch_loop_lag_seconds": [Row((), 0.5)]}
    frame = await SelfProbe(Own(vitals=lambda: lag)).collect(port, Scope(SELF))
    assert {name: rows[0].value for name, rows in frame.rows.items()} == {
        "storewatch_loop_lag_seconds": 0.5,
        "process_cpu_seconds_total": 1.5,
        "process_resident_memory_bytes": 8e7,
        "process_virtual_memory_bytes": 5e8,
        "process_open_fds": 20,
        "process_max_fds": 1024,
        "process_threads": 7,
        "process_start_time_seconds": NOON,
    }


async def test_how_the_database_stands_is_told_as_it_is(port: ScriptedPort) -> None:
    up: Rows = {"storewatch_db_up": [Row((), 1.0)]}
    frame = await DatabaseProbe(Own(database=lambda: up)).collect(port, Scope(DATABASE))
    assert (frame.scope, frame.rows) == (Scope(DATABASE), up)


async def test_a_database_that_is_not_configured_is_absent(port: ScriptedPort) -> None:
    def absent() -> Rows:
        raise ProbeAbsent("no database is configured")

    with pytest.raises(ProbeAbsent):
        await DatabaseProbe(Own(database=absent)).collect(port, Scope(DATABASE))


def test_families_are_named_once_and_say_what_they_mean() -> None:
    families = (*SELF_FAMILIES, *DATABASE_FAMILIES)
    assert len({family.name for family in families}) == len(families)
    assert all(family.help.endswith(".") for family in families)
