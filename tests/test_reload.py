"""What a reload takes. That nothing is taken where anything is wrong is tested on real processes,
under tests/system."""

from dataclasses import replace
from pathlib import Path

from storewatchd.reload import TAKEN_AT_ONCE, changed_keys, in_force
from storewatchd.settings import (
    ControlSettings,
    DaemonSettings,
    LogLevel,
    ProbesSettings,
    RepositorySettings,
    RulesSettings,
    Seconds,
    Settings,
    StorageSettings,
)

OTHER = Settings(
    daemon=DaemonSettings(Path("/other"), Path("/run/other"), LogLevel.DEBUG),
    control=ControlSettings(write_group="others"),
    probes=ProbesSettings(Seconds(5.0), ("block",)),
    storage=StorageSettings(False, (RepositorySettings("a", "/a"),)),
    rules=RulesSettings((Path("/rules"),), Seconds(7.0), built_in=False),
)


def test_what_a_reload_takes_is_in_force_and_the_rest_stays_as_it_was() -> None:
    before = Settings()
    now = in_force(before, OTHER)
    assert set(changed_keys(before, now)) == TAKEN_AT_ONCE
    assert set(changed_keys(now, OTHER)) == {
        *("daemon.state_directory", "daemon.runtime_directory", "control.write_group"),
        *("probes.disabled", "storage.discover"),
    }


def test_what_waits_for_a_start_is_told_at_each_reload() -> None:
    first = in_force(Settings(), OTHER)
    second = in_force(first, OTHER)
    assert second == first
    assert "probes.disabled" in set(changed_keys(second, OTHER))


def test_what_is_written_as_it_was_waits_for_nothing() -> None:
    changed = replace(Settings(), probes=OTHER.probes)
    assert list(changed_keys(in_force(Settings(), changed), Settings())) == ["probes.interval"]
    assert in_force(in_force(Settings(), changed), Settings()) == Settings()
