"""What is judged of the next start."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from probes.boot.fix_boot import MHVTL, NEXT, RUNNING, facts
from storewatchd.probes.boot.checks import Check, State, judged, next_kernel


def kernels(**more: Any) -> dict[str, Any]:
    return {
        "running": RUNNING,
        "installed": [NEXT, RUNNING],
        "link": "",
        "grub_default": "0",
        "grub_entries": {},
        "initramfs": {},
        "free_bytes": None,
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


def test_what_starts_next_where_no_kernel_is_seen_is_not_known() -> None:
    found = checks(installed=[])
    assert {name: one.state for name, one in found.items()} == {"kernel": State.UNKNOWN}
    assert found["kernel"].about == "which one is next is not known: no kernel is seen in /boot"
    assert found["kernel"].advice


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


def only(name: str, **more: Any) -> Check:
    """Return one check of a machine that needs scst, which is there."""
    return checks(loaded=["scst"], next_has=["scst"], enabled=["scst.service"], **more)[name]


OTHER = f"{RUNNING} SMP preempt mod_unload modversions"
BARE = f"{RUNNING} SMP preempt mod_unload"


@pytest.mark.parametrize(
    ("built", "state", "about"),
    [
        pytest.param({}, State.OK, f"scst is there for {NEXT}", id="right"),
        pytest.param(
            {"vermagic": BARE, "of_kernel": f"{NEXT} SMP preempt mod_unload"},
            State.PROBLEM,
            f"the module scst of {NEXT} was built for {RUNNING}: the kernel refuses it",
            id="another kernel's",
        ),
        pytest.param(
            {"vermagic": OTHER},
            State.UNKNOWN,
            f"the module scst of {NEXT} was built for {RUNNING}: it may be refused",
            id="another kernel's, with versions of symbols",
        ),
        pytest.param(
            {"vermagic": OTHER, "is_weak": True}, State.OK, f"scst is there for {NEXT}", id="weak"
        ),
        pytest.param(
            {"vermagic": f"{NEXT} SMP mod_unload modversions"},
            State.PROBLEM,
            "the module scst was built for 'SMP mod_unload modversions', and"
            f" {NEXT} is 'SMP preempt mod_unload modversions': the kernel refuses it",
            id="another configuration's",
        ),
        pytest.param(
            {"of_kernel": None}, State.OK, f"scst is there for {NEXT}", id="nothing to compare with"
        ),
        pytest.param(
            {"vermagic": None},
            State.UNKNOWN,
            f"scst is there for {NEXT}, and what it was built for cannot be read",
            id="nothing is said",
        ),
        pytest.param(
            {"exists": False},
            State.UNKNOWN,
            f"scst is there for {NEXT}, and what it was built for cannot be read",
            id="gone meanwhile",
        ),
    ],
)
def test_a_module_has_to_be_built_for_its_kernel(
    built: dict[str, Any], state: State, about: str
) -> None:
    found = only("module_scst", built={"scst": built})
    assert (found.state, found.about) == (state, about)


def test_a_module_that_was_not_looked_at_is_unknown() -> None:
    known = facts(loaded=["scst"], next_has=["scst"], enabled=["scst.service"])
    (found,) = (one for one in judged(replace(known, files={})) if one.name == "module_scst")
    assert found.state is State.UNKNOWN


def test_a_module_that_is_built_in_fits() -> None:
    known = facts(loaded=["scst"], next_has=["scst"], enabled=["scst.service"])
    known = replace(known, modules={**known.modules, "files": {}}, files={})
    (found,) = (one for one in judged(known) if one.name == "module_scst")
    assert (found.state, found.about) == (State.OK, f"{NEXT} has scst")


SECURE_BOOT = "firmware/efi/efivars/SecureBoot-8be4df61-93ca-11d2-aa0d-00e098032b8c"
LOCKDOWN = "kernel/security/lockdown"
ENFORCE = "module/module/parameters/sig_enforce"


@pytest.mark.parametrize(
    ("security", "why"),
    [
        ({}, ""),
        ({SECURE_BOOT: b"\6\0\0\0\1"}, "Secure Boot is on"),
        ({SECURE_BOOT: b"\6\0\0\0\0"}, ""),
        ({SECURE_BOOT: b"\1"}, ""),
        ({SECURE_BOOT: -5}, ""),
        ({LOCKDOWN: b"none [integrity] confidentiality\n"}, "the kernel is locked down"),
        ({LOCKDOWN: b"none integrity [confidentiality]\n"}, "the kernel is locked down"),
        ({LOCKDOWN: b"[none] integrity confidentiality\n"}, ""),
        ({ENFORCE: b"N\n"}, ""),
        ({ENFORCE: b"Y\n"}, "the kernel was told to insist on it (module.sig_enforce)"),
    ],
)
def test_where_modules_must_be_signed_this_has_to_be(
    security: dict[str, bytes | int], why: str
) -> None:
    found = only("module_scst", security=security)
    assert found.state is (State.PROBLEM if why else State.OK)
    assert why in found.about
    signed = only("module_scst", security=security, built={"scst": {"is_signed": True}})
    assert signed.state is State.OK


@given(
    st.dictionaries(
        st.sampled_from([SECURE_BOOT, LOCKDOWN, ENFORCE]), st.binary() | st.integers(-200, -1)
    )
)
def test_any_words_of_the_kernel_are_judged(security: dict[str, bytes | int]) -> None:
    assert only("module_scst", security=security).state in (State.OK, State.PROBLEM)


# Initial file systems.

MIB = 1 << 20


def test_the_next_kernel_needs_an_initial_file_system_where_others_have_one() -> None:
    assert "initramfs" not in checks()
    assert checks(initramfs={NEXT: 40 * MIB})["initramfs"].state is State.OK
    found = problems(initramfs={RUNNING: 40 * MIB})
    assert found == {"initramfs": f"{NEXT} has none"}
    found = problems(initramfs={RUNNING: 40 * MIB, NEXT: 0})
    assert found == {"initramfs": f"that of {NEXT} is empty"}
    assert "initramfs" not in checks(initramfs={RUNNING: 1}, grub_default="7")


@pytest.mark.parametrize(
    ("free", "state"),
    [(40 * MIB, State.OK), (40 * MIB - 1, State.PROBLEM), (None, State.UNKNOWN)],
)
def test_another_initial_file_system_has_to_fit(free: int | None, state: State) -> None:
    found = checks(initramfs={RUNNING: 40 * MIB, NEXT: 30 * MIB}, free_bytes=free)
    assert found["boot_space"].state is state


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


def test_a_device_of_crypttab_that_is_needed_has_to_be_there() -> None:
    entry = {"source": "UUID=5", "name": "backup", "is_needed": True, "exists": False}
    found = checks(crypttab=[entry, {**entry, "is_needed": False}])
    assert found["crypttab"].state is State.PROBLEM
    assert found["crypttab"].about == "not there: UUID=5 for backup"
    assert checks(crypttab=[{**entry, "exists": True}])["crypttab"].state is State.OK
    assert checks(crypttab=[])["crypttab"].state is State.OK


@pytest.mark.parametrize(
    ("path", "is_stable"),
    [
        ("/dev/tape/by-id/scsi-3500-nst", True),
        ("/dev/tape/by-path/pci-0-nst", True),
        ("/dev/library1", True),
        *((f"/dev/{name}", False) for name in ("nst0", "st12", "sg3", "sch0", "nst1a", "tape")),
    ],
)
def test_a_backup_program_has_to_know_tapes_by_lasting_names(path: str, is_stable: bool) -> None:
    found = checks(tape_names=["/dev/tape/by-id/x", path])["tape_names"]
    assert found.state is (State.OK if is_stable else State.PROBLEM)
    told = f"{path} (archive device, bareos-sd.conf)"
    assert is_stable or found.about == f"after a start these may be other devices: {told}"


def test_without_a_backup_program_nothing_is_said_of_it() -> None:
    assert "tape_names" not in checks()


# mhvtl's configuration.


def mhvtl(**more: Any) -> Check:
    return checks(has_mhvtl=True, next_has=["mhvtl"], enabled=["mhvtl.target"], **more)[
        "mhvtl_conf"
    ]


def daemon(name: str, unit: int | None) -> dict[str, Any]:
    return {"name": name, "unit": unit, "state": "S", "service": ""}


def test_a_configuration_of_mhvtl_that_has_all_that_runs_is_well() -> None:
    found = mhvtl(
        vtl_daemons=[daemon("vtllibrary", 10), daemon("vtltape", 11), daemon("tgtd", None)]
    )
    assert (found.state, found.about) == (
        State.OK,
        "it has all that runs (libraries: 1, drives: 1)",
    )


def test_a_configuration_of_mhvtl_that_is_gone_while_it_runs_is_told() -> None:
    found = problems(vtl_config={}, vtl_daemons=[daemon("vtltape", 11)])
    expected = "vtltape 11 runs, and is not configured, device.conf has no device"
    assert found == {"mhvtl_conf": expected}


@pytest.mark.parametrize(
    ("more", "about"),
    [
        (
            {"vtl_daemons": [daemon("vtltape", 10), daemon("vtllibrary", 10)]},
            "vtltape 10 runs, and is not configured",
        ),
        ({"vtl_config": {**MHVTL, "contents": []}}, "library_contents.10 is missing"),
        (
            {"vtl_config": {**MHVTL, "devices": [], "contents": []}},
            "device.conf has no device",
        ),
        (
            {
                "vtl_config": {
                    **MHVTL,
                    "devices": [
                        {"kind": "library", "number": 10},
                        {"kind": "drive", "number": 31, "library": 30},
                    ],
                }
            },
            "the drive 31 is in library 30, which is not configured",
        ),
    ],
)
def test_a_configuration_of_mhvtl_that_lacks_something_is_told(
    more: dict[str, Any], about: str
) -> None:
    found = mhvtl(**more)
    assert (found.state, found.about) == (State.PROBLEM, about)


@pytest.mark.parametrize(
    ("fact", "check"),
    [
        ("crypttab", "crypttab"),
        ("tape_names", "tape_names"),
        ("vtl_config", "mhvtl_conf"),
        ("vtl_daemons", "mhvtl_conf"),
        ("security", "module_mhvtl"),
    ],
)
def test_what_cannot_be_read_leaves_one_check_open(fact: str, check: str) -> None:
    known = facts(has_mhvtl=True, next_has=["mhvtl"], enabled=["mhvtl.target"])
    unread: dict[str, Any] = {fact: "it cannot be read: Permission denied"}
    found = {one.name: one for one in judged(replace(known, **unread))}
    assert found[check].state is State.UNKNOWN
    assert found[check].about.endswith("it cannot be read: Permission denied")
    assert {name for name, one in found.items() if one.state is not State.OK} == {check}


@pytest.mark.parametrize("count", [6, 500])
def test_of_many_only_a_few_are_listed(count: int) -> None:
    entry = {"mount_point": "/a", "is_needed": True, "exists": False}
    found = checks(fstab=[{**entry, "source": f"/dev/{n}"} for n in range(count)])
    assert found["fstab"].about.endswith(f"/dev/4 for /a and {count - 5} more")


def test_every_problem_comes_with_advice() -> None:
    entry = {"source": "UUID=5", "mount_point": "/srv", "is_needed": True, "exists": False}
    crypttab = [{"source": "UUID=5", "name": "a", "is_needed": True, "exists": False}]
    more: dict[str, Any] = {
        "has_mhvtl": True,
        "fstab": [entry],
        "crypttab": crypttab,
        "tape_names": ["/dev/nst0"],
        "initramfs": {RUNNING: 1},
        "free_bytes": 0,
        "vtl_config": {},
    }
    for config in (CONFIG, "}"):
        for one in checks(config=config, **more).values():
            assert bool(one.advice) == (one.state is not State.OK)
