"""Errors of SCST in the kernel's log: counted once, over looks, restarts and starts."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from probes.fix_probes import values
from probes.scst.fix_scst import Appliance
from storewatchd.core.frames import Scope
from storewatchd.errors import ProbeAbsent
from storewatchd.probes.base import Remembering
from storewatchd.probes.scst.log import KINDS, Log

IDLE = "run1/07-with-sessions-idle"


@pytest.fixture
def appliance() -> Appliance:
    appliance = Appliance(IDLE)
    appliance.look()
    return appliance


def counts(appliance: Appliance) -> dict[str, float]:
    """Return what is counted, but for nothing."""
    found = values(appliance.look("scst_log"), "scst_log_errors_total")
    assert [kind for (kind,) in found] == list(KINDS)
    return {kind: count for (kind,), count in found.items() if count}


def test_an_error_is_counted_once(appliance: Appliance) -> None:
    assert counts(appliance) == {}
    appliance.tell("io", "io", "timeout")
    assert [counts(appliance), counts(appliance)] == [{"io": 2, "timeout": 1}] * 2
    appliance.tell("io")
    assert counts(appliance) == {"io": 3, "timeout": 1}


def test_it_is_counted_once_over_a_restart_too(appliance: Appliance) -> None:
    appliance.tell("io")
    assert counts(appliance) == {"io": 1}
    probe = appliance.probes["scst_log"]
    assert isinstance(probe, Remembering)
    kept = json.loads(json.dumps(probe.to_plain()))
    appliance.start()
    appliance.look()
    fresh = appliance.probes["scst_log"]
    assert isinstance(fresh, Remembering)
    fresh.restore(kept)
    appliance.tell("io")
    assert counts(appliance) == {"io": 2}


def test_a_start_of_the_machine_begins_the_log_anew(appliance: Appliance) -> None:
    appliance.tell("io")
    counts(appliance)
    lines = [(40, "io"), (41, "other")]  # as soon, and the log is longer by now
    appliance.readings["scst.log", ""] = {"exists": True, "boot": "b", "last": 500, "lines": lines}
    assert counts(appliance) == {"io": 2, "other": 1}


def test_a_log_that_is_shorter_than_it_was_began_anew(appliance: Appliance) -> None:
    appliance.tell("io")
    counts(appliance)
    lines = [(3, "io")]
    appliance.readings["scst.log", ""] = {"exists": True, "boot": "a", "last": 5, "lines": lines}
    assert counts(appliance) == {"io": 2}


def test_lines_that_the_ring_lost_meanwhile_are_not_counted_twice(appliance: Appliance) -> None:
    appliance.tell("io", "io", "io")
    counts(appliance)
    log = appliance.readings["scst.log", ""]
    del log["lines"][:2]
    appliance.tell("io")
    assert counts(appliance) == {"io": 4}


def test_where_no_scst_is_nobody_looks() -> None:
    assert Appliance("run1/01-absent-no-modules").scopes("scst_log") == ()


def test_where_it_was_loaded_it_is_looked_at(appliance: Appliance) -> None:
    assert appliance.scopes("scst_log") == (Scope("scst_log"),)
    appliance.readings["scst.log", ""] = {"exists": False}
    with pytest.raises(ProbeAbsent, match="no /dev/kmsg"):
        appliance.look("scst_log")


@given(
    st.recursive(
        st.none() | st.integers() | st.text(max_size=3) | st.floats(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(max_size=6), inner),
        max_leaves=6,
    )
)
def test_of_a_memory_that_is_none_nothing_is_believed(plain: object) -> None:
    assert Log.from_plain(plain).to_plain() == Log().to_plain()
    Log.from_plain({**Log().to_plain(), "last": plain})
    Log.from_plain({**Log().to_plain(), "counts": plain})
