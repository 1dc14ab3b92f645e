"""boot.check: what the next start needs, as it is known."""

from typing import Any

import pytest

from control.fix_control import Control
from fix_node import MAX_AGE_S
from storewatchd.core.frames import Frame, Outcome, Row, Scope
from storewatchd.probes.base import gauge
from storewatchd.probes.boot.probe import (
    NEXT_BOOT,
    NEXT_BOOT_FAMILIES,
    SCST_CONFIG,
    SCST_CONFIG_FAMILIES,
)

KERNEL = ("kernel", "ok", "6.1 is next")


@pytest.fixture
def seen(control: Control) -> Control:
    """A control plane whose probes of the next start have looked; there is no SCST."""
    table = control.node.books.table
    table.declare(NEXT_BOOT, NEXT_BOOT_FAMILIES, max_age_s=MAX_AGE_S)
    table.declare(SCST_CONFIG, SCST_CONFIG_FAMILIES, max_age_s=MAX_AGE_S)
    feed(control, NEXT_BOOT, node_next_boot_check_info=[KERNEL])
    feed(control, SCST_CONFIG, Outcome.ABSENT)
    return control


def feed(
    control: Control,
    probe: str,
    outcome: Outcome = Outcome.SEEN,
    **rows: list[tuple[str, ...]],
) -> None:
    """Let a probe have seen rows of information, or nothing."""
    found = {name: [Row(labels, 1.0) for labels in values] for name, values in rows.items()}
    at = control.node.clock.wall()
    frame = Frame(Scope(probe), at, outcome, rows=found, reason="nobody knows")
    control.node.books.table.feed(frame)


async def checks(control: Control) -> tuple[bool, list[tuple[str, ...]]]:
    """Return whether all is well, and the checks."""
    found: dict[str, Any] = await control.call("boot.check")
    return found["ready"], [tuple(one.values()) for one in found["checks"]]


async def test_a_machine_that_needs_nothing_more_is_ready(seen: Control) -> None:
    assert await checks(seen) == (True, [(*KERNEL, "")])


async def test_problems_come_with_advice_after_the_kernel(seen: Control) -> None:
    feed(
        seen,
        NEXT_BOOT,
        node_next_boot_check_info=[("fstab", "problem", "not there: /dev/a"), KERNEL],
        node_next_boot_problem_info=[("fstab", "not there: /dev/a", "Mend it.")],
    )
    assert await checks(seen) == (
        False,
        [(*KERNEL, ""), ("fstab", "problem", "not there: /dev/a", "Mend it.")],
    )


async def test_what_is_not_known_is_not_ready(seen: Control) -> None:
    feed(seen, NEXT_BOOT, node_next_boot_check_info=[("module_mhvtl", "unknown", "no GRUB")])
    assert await checks(seen) == (False, [("module_mhvtl", "unknown", "no GRUB", "")])


async def test_what_could_not_be_looked_at_is_not_known(seen: Control) -> None:
    feed(seen, NEXT_BOOT, Outcome.FAILED)
    feed(seen, SCST_CONFIG, Outcome.FAILED)
    assert await checks(seen) == (
        False,
        [
            (name, "unknown", "nobody knows", f"storewatchctl probes list {name}")
            for name in (NEXT_BOOT, SCST_CONFIG)
        ],
    )


async def test_where_the_probes_are_disabled_nothing_is_known(control: Control) -> None:
    ready, found = await checks(control)
    assert not ready
    assert [(name, state) for name, state, *_ in found] == [
        (NEXT_BOOT, "unknown"),
        (SCST_CONFIG, "unknown"),
    ]
    assert "disabled" in found[0][2]


async def test_scst_that_is_saved_is_well(seen: Control) -> None:
    feed(seen, SCST_CONFIG, scst_config_drift=[])
    assert await checks(seen) == (
        True,
        [(*KERNEL, ""), (SCST_CONFIG, "ok", "what SCST does is what is saved", "")],
    )


@pytest.mark.parametrize(("count", "more"), [(1, ""), (5, ""), (7, " and 2 more")])
async def test_what_would_vanish_of_scst_is_told_first(
    seen: Control, count: int, more: str
) -> None:
    changes = [("lun", f"a/{n}", "vanishes") for n in range(count - 1)]
    rows = {
        "scst_config_drift": [Row(("lun",), float(count - 1)), Row(("device",), 1.0)],
        "scst_config_drift_info": [
            Row(labels, 1.0) for labels in (("device", "a", "returns"), *changes)
        ],
    }
    at = seen.node.clock.wall()
    seen.node.books.table.feed(Frame(Scope(SCST_CONFIG), at, rows=rows))
    ready, [_, (name, state, about, advice)] = await checks(seen)
    told = ", ".join([*(f"lun a/{n} vanishes" for n in range(count - 1)), "device a returns"][:5])
    assert (ready, name, state) == (False, SCST_CONFIG, "problem")
    assert about == f"at the next start: {told}{more}"
    assert "scstadmin -write_config" in advice


async def test_the_score_is_the_share_of_checks_that_are_well(seen: Control) -> None:
    assert (await seen.call("boot.check"))["score"] == 100
    others = [("fstab", "problem", "a"), ("units", "unknown", "b")]
    feed(seen, NEXT_BOOT, node_next_boot_check_info=[KERNEL, *others])
    assert (await seen.call("boot.check"))["score"] == 33
    feed(seen, NEXT_BOOT)
    found = await seen.call("boot.check")
    assert (found["ready"], found["score"]) == (False, 0)


async def test_a_start_that_is_planned_is_told(seen: Control) -> None:
    assert (await seen.call("boot.check"))["scheduled"] is None
    table, at = seen.node.books.table, seen.node.clock.wall()
    planned = {"node_reboot_scheduled_timestamp_seconds": [Row((), 1_767_268_800.0)]}
    table.feed(Frame(Scope(NEXT_BOOT), at, rows=planned))
    assert (await seen.call("boot.check"))["scheduled"] == "2026-01-01T12:00:00.000Z"
    table.feed(Frame(Scope(NEXT_BOOT), at, Outcome.FAILED, reason="no"))
    assert (await seen.call("boot.check"))["scheduled"] is None


async def test_how_old_it_is_is_told_by_the_older_look(seen: Control) -> None:
    assert (await seen.call("boot.check"))["checked_at"] is None
    table, at = seen.node.books.table, seen.node.clock.wall()
    for probe, family, seconds in (
        (NEXT_BOOT, "node_next_boot_checked_timestamp_seconds", 60.0),
        (SCST_CONFIG, "scst_config_checked_timestamp_seconds", 240.0),
    ):
        table.feed(Frame(Scope(probe), at, rows={family: [Row((), at - seconds)]}))
    assert (await seen.call("boot.check"))["checked_at"] == "2026-01-01T11:56:00.000Z"


SCST_NEEDED = ("module_scst", "ok", "scst is there")
NOT_COMPARED = (
    SCST_CONFIG,
    "unknown",
    "SCST is not loaded: nothing can be compared with what is saved",
    "Start SCST (`systemctl start scst`), and look again.",
)


async def test_drift_of_scst_that_is_not_loaded_is_not_known(seen: Control) -> None:
    feed(seen, NEXT_BOOT, node_next_boot_check_info=[KERNEL, SCST_NEEDED])
    assert await checks(seen) == (False, [(*KERNEL, ""), (*SCST_NEEDED, ""), NOT_COMPARED])


async def test_what_was_compared_before_scst_was_unloaded_is_not_told(seen: Control) -> None:
    table, at = seen.node.books.table, seen.node.clock.wall()
    table.declare("scst_state", (gauge("scst_up", "."),), max_age_s=MAX_AGE_S)
    feed(seen, NEXT_BOOT, node_next_boot_check_info=[KERNEL, SCST_NEEDED])
    feed(seen, SCST_CONFIG, scst_config_drift=[])
    table.feed(Frame(Scope("scst_state"), at, rows={"scst_up": [Row((), 1.0)]}))
    assert (await checks(seen))[0]
    table.feed(Frame(Scope("scst_state"), at, rows={"scst_up": [Row((), 0.0)]}))
    assert (await checks(seen))[1][-1] == NOT_COMPARED
