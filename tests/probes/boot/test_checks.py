"""What is judged of the next start."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from probes.boot.fix_boot import NEXT, RUNNING, facts
from storewatchd.probes.boot.checks import Check, State, judged, next_kernel


def kernels(**more: Any) -> dict[str, Any]:
    return {
        "running": RUNNING,
        "installed": [NEXT, RUNNING],
        "link": "",
        "grub_default": "0",
        "grub_entries": {},
        **more,
    }


def checks(**more: Any) -> dict[str, Check]:
    return {one.name: one for one in judged(facts(**more))}


def problems(**more: Any) -> dict[str, str]:
    """Return what is about each check that is a problem."""
    found = checks(**more).values()
    return {one.name: one.about for one in found if one.state is State.PROBLEM}


# The kernel.

ADVANCED = "gnulinux-advanced-1-2>gnulinux-{}-advanced-1-2"
TITLE = "Advanced options for Debian GNU/Linux>Debian GNU/Linux, with Linux {}"


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        pytest.param({}, NEXT, id="the newest, by number"),
        pytest.param({"grub_default": ""}, NEXT, id="GRUB without a default"),
        pytest.param({"grub_default": "saved"}, NEXT, id="nothing saved"),
        pytest.param(
            {"grub_default": "saved", "grub_entries": {"saved_entry": ADVANCED.format(RUNNING)}},
            RUNNING,
            id="saved by its id",
        ),
        pytest.param({"grub_default": TITLE.format(RUNNING)}, RUNNING, id="by its title"),
        pytest.param(
            {"grub_default": f"{TITLE.format(RUNNING)} (recovery mode)"}, RUNNING, id="recovery"
        ),
        pytest.param({"grub_entries": {"saved_entry": "1"}}, NEXT, id="saved and not asked for"),
        pytest.param(
            {"grub_entries": {"next_entry": ADVANCED.format(RUNNING)}}, RUNNING, id="only once"
        ),
        pytest.param({"grub_default": f"0123abcd-{RUNNING}"}, RUNNING, id="BLS"),
        pytest.param({"grub_default": "gnulinux-simple-1-2"}, NEXT, id="simple"),
        pytest.param({"grub_default": "2"}, "", id="an entry by its number"),
        pytest.param({"grub_default": "1>2"}, "", id="an entry of a menu by its number"),
        pytest.param({"grub_default": ADVANCED.format("6.1.0-5")}, "", id="one that is gone"),
        pytest.param({"grub_default": None}, NEXT, id="no GRUB"),
        pytest.param({"grub_default": None, "link": RUNNING}, RUNNING, id="no GRUB, and a link"),
        pytest.param({"grub_default": None, "link": "gone"}, NEXT, id="a link to nothing"),
        pytest.param({"installed": []}, "", id="no kernel"),
    ],
)
def test_the_next_kernel_is_known_or_not(more: dict[str, Any], expected: str) -> None:
    assert next_kernel(kernels(**more))[0] == expected


@given(st.text(), st.text(), st.lists(st.text()))
def test_no_kernel_is_next_that_is_not_installed(
    default: str, entry: str, installed: list[str]
) -> None:
    asked = kernels(installed=installed, grub_default=default, grub_entries={"next_entry": entry})
    version, why = next_kernel(asked)
    assert version in ("", *installed)
    assert why


# What is needed.


def test_a_machine_without_scst_is_ready() -> None:
    found = checks()
    assert {name: one.state for name, one in found.items()} == {"kernel": State.OK}
    assert found["kernel"].about == (
        f"{NEXT} is next: it is the newest that is installed; {RUNNING} runs"
    )


def test_a_machine_without_a_kernel_of_its_own_needs_none() -> None:
    assert checks(installed=[]) == {}


def test_modules_that_are_loaded_have_to_be_there() -> None:
    found = checks(loaded=["mhvtl", "scst"], next_has=["mhvtl"], enabled=["scst.service"])
    assert {name: one.state for name, one in found.items()} == {
        "kernel": State.OK,
        "module_mhvtl": State.OK,
        "module_scst": State.PROBLEM,
        "unit_scst": State.OK,
        "unit_mhvtl": State.PROBLEM,
    }
    scst = found["module_scst"]
    assert scst.about == f"{NEXT} has no module scst"
    assert f"dkms autoinstall -k {NEXT}" in scst.advice
    assert RUNNING in scst.advice


CONFIG = """\
HANDLER vdisk_blockio {
DEVICE a {
filename /dev/sdb
}
}
HANDLER dev_tape {
DEVICE 1:0:0:0
}
TARGET_DRIVER iscsi {
TARGET b {
LUN 0 a
}
}
TARGET_DRIVER ib_srpt {
enabled 1
}
"""


def test_what_the_configuration_needs_has_to_be_there_though_it_is_not_loaded() -> None:
    found = checks(config=CONFIG)
    assert {name for name in found if name.startswith("module_")} == {
        *("module_scst", "module_scst_vdisk", "module_scst_tape", "module_iscsi_scst"),
    }


def test_mhvtl_that_is_configured_has_to_be_there() -> None:
    assert set(problems(has_mhvtl=True)) == {"module_mhvtl", "unit_mhvtl"}


def test_where_the_next_kernel_is_not_known_its_modules_are_not() -> None:
    found = checks(loaded=["scst"], grub_default="7", enabled=["scst.service"])
    assert found["kernel"].state is State.UNKNOWN
    assert found["module_scst"].state is State.UNKNOWN


def test_modules_that_cannot_be_seen_are_not_missing() -> None:
    found = checks(loaded=["scst"], kernels={})
    assert found["module_scst"].state is State.UNKNOWN


def test_a_kernel_without_modules_has_none() -> None:
    found = problems(loaded=["scst"], kernels={RUNNING: ["scst"]}, enabled=["scst.service"])
    assert found == {"module_scst": f"{NEXT} has no modules.dep"}


# Units.


@pytest.mark.parametrize(
    ("more", "is_well"),
    [
        ({}, False),
        ({"enabled": ["scst.service"]}, True),
        ({"enabled": ["scst-local.service"]}, True),
        ({"scripts": ["scst"]}, True),
        ({"enabled": ["iscsi.service"]}, False),
        ({"enabled": ["scst.service"], "masked": ["scst.service"]}, False),
    ],
)
def test_something_has_to_start_scst(more: dict[str, Any], is_well: bool) -> None:
    found = checks(loaded=["scst"], next_has=["scst"], **more)
    assert found["unit_scst"].state is (State.OK if is_well else State.PROBLEM)


# Configuration.


def test_devices_at_names_that_may_change_are_told() -> None:
    found = problems(config=CONFIG)
    assert found["stable_names"] == (
        "the data of a at /dev/sdb may be those of another disk after a start"
    )


def test_a_configuration_that_nobody_understands_is_a_problem() -> None:
    found = problems(config="HANDLER a {\n")
    assert found["scst_conf"].startswith("it cannot be understood: scst.conf, byte")


def test_a_device_of_fstab_that_is_needed_has_to_be_there() -> None:
    entry = {"source": "UUID=5", "mount_point": "/srv", "is_needed": True, "exists": False}
    found = checks(fstab=[entry, {**entry, "is_needed": False}])
    assert found["fstab"].state is State.PROBLEM
    assert found["fstab"].about == "not there: UUID=5 for /srv"
    assert checks(fstab=[{**entry, "exists": True}])["fstab"].state is State.OK


@pytest.mark.parametrize("count", [6, 500])
def test_of_many_only_a_few_are_listed(count: int) -> None:
    entry = {"mount_point": "/a", "is_needed": True, "exists": False}
    found = checks(fstab=[{**entry, "source": f"/dev/{n}"} for n in range(count)])
    assert found["fstab"].about.endswith(f"/dev/4 for /a and {count - 5} more")


def test_every_problem_comes_with_advice() -> None:
    entry = {"source": "UUID=5", "mount_point": "/srv", "is_needed": True, "exists": False}
    for config in (CONFIG, "}"):
        for one in checks(config=config, has_mhvtl=True, fstab=[entry]).values():
            assert bool(one.advice) == (one.state is not State.OK)
