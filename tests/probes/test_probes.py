"""Which probes there are, and that each keeps to its families."""

from pathlib import Path

import pytest

from storewatchd.core.repositories import RepositoryBook
from storewatchd.probes import make_probes
from storewatchd.probes.base import Probe
from storewatchd.settings import ProbesSettings, Settings

EVERY_PROBE = make_probes(RepositoryBook(), Settings())


def names(probes: tuple[Probe, ...]) -> list[str]:
    return [probe.name for probe in probes]


def test_every_module_of_the_package_is_in_the_tuple() -> None:
    assert names(EVERY_PROBE) == [
        *("system", "filesystems", "repositories", "repository_states"),
        *("block", "sensors", "thermal", "processes", "fibrechannel", "fibrechannel_statistics"),
        *("scst_state", "scst", "scst_slow", "scst_backing", "scst_latency", "scst_log"),
        "scst_modules",
        *("scst_event_reader", "scst_events", "kernel_log", "next_boot", "scst_config"),
        *("tape_drives", "tape_drive_logs", "tape_alerts", "library_alerts"),
        *("libraries", "library_inventories", "library_element_states"),
        *("vtl", "vtl_units", "vtl_services", "vtl_kernel", "vtl_stores", "vtl_media"),
        *("database", "self"),
    ]


def test_what_is_disabled_is_left_out() -> None:
    settings = Settings(probes=ProbesSettings(disabled=("sensors", "block")))
    left = names(make_probes(RepositoryBook(), settings))
    assert set(names(EVERY_PROBE)) - set(left) == {"sensors", "block"}


def test_no_family_belongs_to_two_probes() -> None:
    families = [family.name for probe in EVERY_PROBE for family in probe.families]
    assert len(families) == len(set(families))


@pytest.mark.parametrize("probe", EVERY_PROBE, ids=names(EVERY_PROBE))
def test_a_family_says_what_it_means_and_a_counter_is_named_one(probe: Probe) -> None:
    for family in probe.families:
        assert family.help.endswith(".")
        # vmstat's counters have node_exporter's names, which lack the ending; those of a summary
        # or a histogram have theirs.
        if family.type == "counter" and not family.name.startswith("node_vmstat_"):
            assert family.name.endswith(("_total", "_sum", "_count", "_bucket"))


def test_every_module_has_its_test() -> None:
    here = Path(__file__).parent
    assert {one.stem for one in here.glob("test_*.py")} == {
        *("test_base", "test_block", "test_fibrechannel", "test_hearing", "test_kernel_log"),
        *("test_probes", "test_self", "test_storage", "test_system"),
    }
