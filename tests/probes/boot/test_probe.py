"""The probes of the next start, from what is read to their frames."""

import asyncio

import pytest

from fakes import NOON, HandClock, ScriptedPort
from probes.boot.fix_boot import NEXT, RIGHT, facts, plan, tell
from probes.fix_probes import assert_keeps_to_its_families, values
from probes.scst.fix_scst import TGT1, Appliance, saved_text
from storewatchd.core.frames import Frame, Scope
from storewatchd.errors import ProbeAbsent, ProbeFailed, ReadRefused
from storewatchd.port import Port
from storewatchd.probes.base import Probe
from storewatchd.probes.boot.probe import (
    AGAIN_AFTER_S,
    MOST_DRIFTS,
    NEXT_BOOT,
    SCST_CONFIG,
    SOONER_AFTER_S,
    NextBootProbe,
    ScstConfigProbe,
)
from storewatchd.probes.scst.drift import KINDS
from storewatchd.probes.scst.readings import SlowReadings

IDLE = "run1/06-configured-idle"
CONFIG = saved_text("configured-idle")


def look(probe: Probe, port: Port) -> Frame:
    (scope,) = asyncio.run(probe.discover(port))
    assert scope == Scope(probe.name)
    frame = asyncio.run(probe.collect(port, scope))
    assert_keeps_to_its_families(probe, frame)
    return frame


# The next start.


@pytest.fixture
def clock() -> HandClock:
    return HandClock()


@pytest.fixture
def port() -> ScriptedPort:
    port = ScriptedPort()
    tell(port, facts(loaded=["scst"], enabled=["scst.service"]))
    return port


def test_each_check_is_told_and_each_problem_with_advice(
    clock: HandClock, port: ScriptedPort
) -> None:
    frame = look(NextBootProbe(clock.clock), port)
    assert values(frame, "node_next_boot_ready") == {
        ("kernel",): 1.0,
        ("module_scst",): 0.0,
        ("unit_scst",): 1.0,
    }
    ((check, problem, advice),) = values(frame, "node_next_boot_problem_info")
    assert (check, problem) == ("module_scst", f"{NEXT} has no module scst")
    assert advice
    assert ("module_scst", "problem", problem) in values(frame, "node_next_boot_check_info")


def test_what_is_not_known_is_neither_ready_nor_a_problem(
    clock: HandClock, port: ScriptedPort
) -> None:
    tell(port, facts(loaded=["scst"], enabled=["scst.service"], grub_default="9"))
    frame = look(NextBootProbe(clock.clock), port)
    assert values(frame, "node_next_boot_ready") == {("unit_scst",): 1.0}
    assert values(frame, "node_next_boot_problem_info") == {}
    states = {labels[0]: labels[1] for labels in values(frame, "node_next_boot_check_info")}
    assert states == {"kernel": "unknown", "module_scst": "unknown", "unit_scst": "ok"}


def test_it_is_looked_at_every_few_minutes_and_sooner_after_a_problem(
    clock: HandClock, port: ScriptedPort
) -> None:
    probe = NextBootProbe(clock.clock)

    def is_ready(after_s: float) -> float:
        clock.forward(after_s)
        return values(look(probe, port), "node_next_boot_ready")["module_scst",]

    assert is_ready(0) == 0.0
    tell(port, facts(loaded=["scst"], next_has=["scst"], enabled=["scst.service"]))
    assert is_ready(SOONER_AFTER_S - 1) == 0.0
    assert is_ready(1) == 1.0
    tell(port, facts(loaded=["scst"], enabled=["scst.service"]))
    assert is_ready(AGAIN_AFTER_S - 1) == 1.0
    assert is_ready(1) == 0.0


def test_it_says_when_it_was_looked_at(clock: HandClock, port: ScriptedPort) -> None:
    probe = NextBootProbe(clock.clock)

    def read_at() -> float:
        return values(look(probe, port), "node_next_boot_checked_timestamp_seconds")[()]

    assert read_at() == NOON
    clock.forward(SOONER_AFTER_S - 1)
    assert read_at() == NOON
    clock.forward(1)
    assert read_at() == NOON + SOONER_AFTER_S


def test_what_cannot_be_read_fails_and_is_due(clock: HandClock, port: ScriptedPort) -> None:
    probe = NextBootProbe(clock.clock)
    del port.readings["boot.units", ""]
    with pytest.raises(ProbeFailed):
        look(probe, port)
    tell(port, facts())
    assert values(look(probe, port), "node_next_boot_ready") == {("kernel",): 1.0}


# What is saved of SCST.


def test_a_start_that_is_planned_is_told_at_each_look(clock: HandClock, port: ScriptedPort) -> None:
    probe = NextBootProbe(clock.clock)
    frame = look(probe, port)
    assert values(frame, "node_reboot_scheduled") == {(): 0.0}
    assert values(frame, "node_reboot_scheduled_timestamp_seconds") == {}
    assert values(frame, "reboot_required") == {(): 0.0}
    plan(port, at=NOON, is_required=True)
    frame = look(probe, port)
    assert values(frame, "node_reboot_scheduled") == {(): 1.0}
    assert values(frame, "node_reboot_scheduled_timestamp_seconds") == {(): NOON}
    assert values(frame, "reboot_required") == {(): 1.0}


@pytest.mark.parametrize("mode", ["poweroff", "halt"])
def test_an_end_is_no_start(clock: HandClock, port: ScriptedPort, mode: str) -> None:
    plan(port, at=NOON, mode=mode)
    frame = look(NextBootProbe(clock.clock), port)
    assert values(frame, "node_reboot_scheduled") == {(): 0.0}
    assert values(frame, "node_reboot_scheduled_timestamp_seconds") == {}


def test_a_module_that_could_not_be_unpacked_is_looked_at_again(
    clock: HandClock, appliance: Appliance
) -> None:
    tell(appliance, facts(loaded=["scst"], next_has=["scst"], enabled=["scst.service"]))
    asked = ("boot.module", f"{NEXT}/scst")
    right = appliance.readings[asked]
    appliance.readings[asked] = {**RIGHT, "vermagic": None}
    probe = NextBootProbe(clock.clock)
    assert ("module_scst",) not in values(look(probe, appliance), "node_next_boot_ready")
    appliance.readings[asked] = right  # zstd was installed
    clock.forward(AGAIN_AFTER_S)
    assert values(look(probe, appliance), "node_next_boot_ready")["module_scst",] == 1.0


def test_the_file_of_a_module_is_looked_at_when_it_is_another(
    clock: HandClock, appliance: Appliance
) -> None:
    port = appliance
    known = facts(loaded=["scst"], next_has=["scst"], enabled=["scst.service"])
    tell(port, known)
    probe = NextBootProbe(clock.clock)
    asked = ("boot.module", f"{NEXT}/scst")
    for _ in range(3):
        clock.forward(AGAIN_AFTER_S)
        assert values(look(probe, port), "node_next_boot_ready")["module_scst",] == 1.0
    assert port.asked_for.count(asked) == 1
    assert values(look(probe, port), "node_next_boot_module_info") == {
        (NEXT, "scst", f"{NEXT} SMP preempt mod_unload modversions", "false"): 1.0
    }
    marks = {**known.modules, "files": {NEXT: {"scst": "1 2 4"}}}
    port.readings["boot.modules", ""] = marks
    port.readings["boot.module", asked[1]] = {**RIGHT, "vermagic": "5.10.0 SMP"}
    clock.forward(AGAIN_AFTER_S)
    assert values(look(probe, port), "node_next_boot_ready")["module_scst",] == 0.0
    assert port.asked_for.count(asked) == 2


@pytest.mark.parametrize(
    ("row", "check"),
    [("boot.crypttab", "crypttab"), ("boot.tape_names", "tape_names")],
)
def test_what_may_not_be_read_is_unknown_and_the_rest_is_seen(
    clock: HandClock, port: ScriptedPort, row: str, check: str
) -> None:
    port.readings[row, ""] = ReadRefused("Permission denied", errno=13)
    told = values(look(NextBootProbe(clock.clock), port), "node_next_boot_check_info")
    assert (check, "unknown", "it cannot be read: Permission denied") in told
    assert ("module_scst", "problem") in {labels[:2] for labels in told}


def test_what_the_kernel_does_not_tell_of_signatures_is_unknown(
    clock: HandClock, port: ScriptedPort
) -> None:
    tell(port, facts(loaded=["scst"], next_has=["scst"], enabled=["scst.service"]))
    port.readings["boot.security", ""] = {"kernel/security/": -13}
    told = values(look(NextBootProbe(clock.clock), port), "node_next_boot_check_info")
    assert ("module_scst", "unknown") in {labels[:2] for labels in told}


def test_a_reader_that_does_not_answer_leaves_all_unseen(
    clock: HandClock, port: ScriptedPort
) -> None:
    port.readings["boot.crypttab", ""] = ProbeFailed("it does not answer")
    with pytest.raises(ProbeFailed):
        look(NextBootProbe(clock.clock), port)


def test_a_module_that_cannot_be_read_is_unknown_and_asked_again(
    clock: HandClock, port: ScriptedPort
) -> None:
    tell(port, facts(loaded=["scst"], next_has=["scst"], enabled=["scst.service"]))
    right = port.readings["boot.module", f"{NEXT}/scst"]
    port.readings["boot.module", f"{NEXT}/scst"] = ProbeFailed("no")
    probe = NextBootProbe(clock.clock)
    assert ("module_scst",) not in values(look(probe, port), "node_next_boot_ready")
    port.readings["boot.module", f"{NEXT}/scst"] = right
    clock.forward(SOONER_AFTER_S)
    assert values(look(probe, port), "node_next_boot_ready")["module_scst",] == 1.0


@pytest.fixture
def appliance() -> Appliance:
    appliance = Appliance(IDLE)
    tell(appliance, facts(config=CONFIG))
    return appliance


@pytest.fixture
def saved(appliance: Appliance) -> ScstConfigProbe:
    clock = appliance.clock.clock
    return ScstConfigProbe(SlowReadings(clock), clock)


def test_where_all_is_saved_each_kind_has_no_difference(
    appliance: Appliance, saved: ScstConfigProbe
) -> None:
    frame = look(saved, appliance)
    assert values(frame, "scst_config_drift") == {(kind,): 0.0 for kind in KINDS}
    assert values(frame, "scst_config_drift_info") == {}


def test_what_would_vanish_is_told(appliance: Appliance, saved: ScstConfigProbe) -> None:
    tell(appliance, facts(config=CONFIG.replace("\t\tLUN 300 gone\n", "")))
    frame = look(saved, appliance)
    assert values(frame, "scst_config_drift")["lun",] == 1.0
    assert values(frame, "scst_config_drift_info") == {
        ("lun", f"iscsi/{TGT1}/300", "vanishes"): 1.0
    }


def test_a_machine_that_saves_nothing_loses_all(
    appliance: Appliance, saved: ScstConfigProbe
) -> None:
    tell(appliance, facts())
    frame = look(saved, appliance)
    assert values(frame, "scst_config_drift")["device",] == 13.0
    assert 0 < len(values(frame, "scst_config_drift_info")) <= MOST_DRIFTS


def test_without_scst_nothing_is_said(appliance: Appliance, saved: ScstConfigProbe) -> None:
    appliance.be("run1/01-absent-no-modules")
    with pytest.raises(ProbeAbsent):
        look(saved, appliance)


def test_what_cannot_be_understood_is_not_compared(
    appliance: Appliance, saved: ScstConfigProbe
) -> None:
    tell(appliance, facts(config=CONFIG[:-100]))
    with pytest.raises(ProbeFailed, match=r"what is saved cannot be understood: scst\.conf, byte"):
        look(saved, appliance)


def test_it_is_compared_every_few_minutes(appliance: Appliance, saved: ScstConfigProbe) -> None:
    look(saved, appliance)
    appliance.asked_for.clear()
    appliance.clock.forward(AGAIN_AFTER_S - 1)
    look(saved, appliance)
    assert appliance.asked_for == []
    appliance.clock.forward(1)
    look(saved, appliance)
    assert ("boot.scst", "") in appliance.asked_for


def test_the_probes_have_their_names(saved: ScstConfigProbe, clock: HandClock) -> None:
    assert (NextBootProbe(clock.clock).name, saved.name) == (NEXT_BOOT, SCST_CONFIG)
