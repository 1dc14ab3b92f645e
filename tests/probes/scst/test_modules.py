"""SCST's kernel modules: which are loaded, and which scst.conf cannot do without."""

import errno
from typing import Any

import pytest

from probes.fix_probes import values
from probes.scst.fix_scst import Appliance, saved_text
from storewatchd.errors import ProbeAbsent, ProbeFailed, ReadRefused
from storewatchd.probes.scst.modules import NEEDED_AGAIN_AFTER_S, needed_modules
from storewatchd.probes.scst.saved import parse_saved

IDLE = "run1/07-with-sessions-idle"


class Machine(Appliance):
    """A machine on which modules are loaded."""

    def __init__(self, *modules: str, text: str | None = None) -> None:
        super().__init__(IDLE)
        self.load(*modules)
        self.save(text)

    def load(self, *modules: str) -> None:
        self.readings["scst.modules", ""] = {f"{name}/": b"" for name in modules}

    def save(self, text: str | None) -> None:
        config: dict[str, Any] = {"exists": text is not None, "text": text or ""}
        self.readings["boot.scst", ""] = config

    def loaded(self, after_s: float = 30.0) -> dict[str, float]:
        found = values(self.look("scst_modules", after_s=after_s), "scst_module_loaded")
        return {name: value for (name,), value in found.items()}


def test_what_is_loaded_is_told() -> None:
    assert Machine("scst", "iscsi_scst", "scst_vdisk").loaded() == {
        "scst": 1.0,
        "iscsi_scst": 1.0,
        "scst_vdisk": 1.0,
    }


def test_what_the_configuration_needs_is_missed() -> None:
    machine = Machine("scst", "scst_local", text=saved_text("configured-idle"))
    # Its targets are of iscsi and of scst_local, its devices of vdisk_fileio and its kin.
    assert machine.loaded() == {
        "scst": 1.0,
        "scst_local": 1.0,
        "iscsi_scst": 0.0,
        "scst_vdisk": 0.0,
    }


def test_without_any_module_all_that_are_needed_are_missed() -> None:
    machine = Machine(text=saved_text("configured-idle"))
    assert set(machine.loaded().values()) == {0.0}
    assert "scst" in machine.loaded()


def test_what_a_new_configuration_needs_is_known_soon() -> None:
    machine = Machine("scst")
    assert machine.loaded() == {"scst": 1.0}
    machine.save(saved_text("configured-idle"))
    assert machine.loaded(after_s=NEEDED_AGAIN_AFTER_S / 2) == {"scst": 1.0}
    assert machine.loaded(after_s=NEEDED_AGAIN_AFTER_S / 2)["iscsi_scst"] == 0.0


@pytest.mark.parametrize("text", [None, "", "HANDLER vdisk_fileio {\n}\n"])
def test_where_none_is_loaded_and_none_needed_there_is_nothing_to_say(text: str | None) -> None:
    with pytest.raises(ProbeAbsent):
        Machine(text=text).loaded()


def test_a_driver_that_another_target_has_too_is_scsts_only_beside_scst() -> None:
    with pytest.raises(ProbeAbsent):
        Machine("ib_srpt").loaded()
    assert Machine("ib_srpt", "scst").loaded() == {"ib_srpt": 1.0, "scst": 1.0}


def test_a_configuration_that_cannot_be_understood_is_not_none() -> None:
    machine = Machine("scst", text="TARGET_DRIVER iscsi {\n")
    with pytest.raises(ProbeFailed, match=r"which modules scst\.conf needs is not known"):
        machine.loaded()


@pytest.mark.parametrize("error", [errno.EACCES, errno.EIO])
def test_what_cannot_be_looked_at_is_not_absent(error: int) -> None:
    machine = Machine()
    machine.readings["scst.modules", ""] = {"scst/": -error}
    with pytest.raises(ReadRefused):
        machine.loaded()


def test_a_handler_that_nobody_knows_needs_nothing() -> None:
    saved = parse_saved("HANDLER of_tomorrow {\n DEVICE a {\n }\n}\n")
    assert saved.devices
    assert needed_modules(saved) == frozenset()
