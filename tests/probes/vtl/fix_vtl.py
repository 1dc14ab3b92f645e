"""Virtual tape libraries as they were recorded, for a scripted port."""

import asyncio
import functools
import json
import lzma
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fakes import HandClock, ScriptedPort
from probes.boot.fix_boot import facts as boot_facts
from probes.fix_probes import assert_keeps_to_its_families, values
from probes.tape.fix_tape import ran
from storewatch_reader.vtl import parse_config
from storewatchd.core.frames import Frame
from storewatchd.errors import ProbeDeferred, ProbeError
from storewatchd.probes.vtl.probe import make_vtl_probes

if TYPE_CHECKING:
    from storewatchd.probes.base import Probe

DATA = Path(__file__).parents[2] / "data" / "vtl"
CONF = (DATA / "mhvtl-1.8.0-device.conf").read_text()

UP = "mhvtl-up"
DRIVE_STOPPED = "mhvtl-drive-stopped"  # drive 12, by systemd
DRIVE_SIGSTOP = "mhvtl-drive-sigstop"  # drive 13; drive 12 is still stopped
NO_CHANGER = "mhvtl-library-without-device"  # library 10: started again too soon
DRIVE_OFFLINE = "mhvtl-drive-offline"  # drive 11, by its state in sysfs
DRIVE_DELETED = "mhvtl-drive-deleted"  # drive 12, by sysfs
LIBRARY_STOPPED = "mhvtl-library-stopped"  # library 10, by systemd; drive 12 is still deleted
HOST_WEDGED = "mhvtl-host-wedged"  # drive 14 was stopped next; library 10 came back without device
TARGET_STOPPED = "mhvtl-target-stopped"  # everything, by systemd, while the host was wedged
LIBRARY_KILLED = "mhvtl-library-killed"  # library 10, SIGKILL
LIBRARY_SIGSTOP = "mhvtl-library-sigstop"  # library 10
DRIVE_KILLED = "mhvtl-drive-killed"  # drive 13, SIGKILL
DRIVE_CRASHED = "mhvtl-drive-crashed"  # drive 14, by a log page
LIBRARY_RESTARTED = "mhvtl-library-restarted"  # library 10, ten seconds apart; 14 is down still
RECOVERED = ("mhvtl-library-recovered", "mhvtl-library-continued", "mhvtl-drive-recovered")
TGT_UP, TGT_SIGSTOP = "tgt-up", "tgt-sigstop"

A, B = "XYZZY_A", "XYZZY_B"
PARTS = ("unit", "daemon", "device", "answer")
STORE = "/opt/mhvtl"
LEFT_S = {LIBRARY_STOPPED: 4.6, TARGET_STOPPED: 11.7, HOST_WEDGED: 175.0, LIBRARY_RESTARTED: 160.0}
"""How long ago units were stopped, or crashed, as the log of the recording has it."""
GIB = 1 << 30


@functools.cache
def _states() -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = json.loads(
        lzma.decompress((DATA / "states.json.xz").read_bytes())
    )
    return found


def raw(attributes: dict[str, str]) -> dict[str, bytes | int]:
    return {path: text.encode("latin-1") for path, text in attributes.items()}


def scsi(name: str) -> dict[str, bytes | int]:
    """Return the SCSI devices of a state. Where only their addresses were recorded, they are as
    they were before."""
    state = _states()[name]
    if state["scsi"]:
        return raw(state["scsi"])
    here = [f"scsi_device/{address}/" for address in state["addresses"]]
    return {
        path: content
        for path, content in raw(_states()[UP]["scsi"]).items()
        if path.startswith(("scsi_host/", *here))
    }


def daemons(name: str) -> list[dict[str, Any]]:
    """Return the daemons of a state as they were recorded, or as it is known that they were."""
    if name == DRIVE_SIGSTOP:
        found = daemons(DRIVE_STOPPED)
        return [one | {"state": "T"} if one["unit"] == 13 else one for one in found]
    if name in (TGT_UP, TGT_SIGSTOP):
        state = "T" if name == TGT_SIGSTOP else "S"
        return [{"pid": 700, "name": "tgtd", "unit": None, "state": state, "service": ""}]
    return [dict(one) for one in _states()[name]["daemons"] or _states()[UP]["daemons"]]


def services(name: str) -> list[dict[str, Any]]:
    """Return the units of a state; where none were recorded, all were active, or as before."""
    if name == DRIVE_SIGSTOP:
        return services(DRIVE_STOPPED)
    found = _states()[name]["units"] or [
        {"name": one["name"], "unit": one["unit"], "state": "active", "sub_state": "running"}
        for one in daemons(UP)
    ]
    left_s = LEFT_S.get(name, 30.0)
    return [
        {**one, "result": "", "left_s": None if one["state"] == "active" else left_s}
        for one in found
    ]


def tell(port: ScriptedPort, name: str) -> None:
    """Let a port answer as a machine in this state."""
    source = UP if name.startswith("mhvtl") else TGT_UP
    module = raw(_states()[name]["module"] or _states()[source]["module"])
    port.readings["vtl.module", ""] = module
    port.readings["vtl.daemons", ""] = {"daemons": daemons(name)}
    conf = {"exists": True, "devices": parse_config(CONF)} if source == UP else {"exists": False}
    port.readings["vtl.units", ""] = {"is_known": True, "units": services(name)}
    port.readings["vtl.config", ""] = conf
    port.readings["sys.scsi", ""] = scsi(name)
    for address, answer in _states()[source]["inquiry"].items():
        port.readings["scsi.inquiry", address] = ran(answer.encode("latin-1"))
        if is_wedged(name):
            port.readings["scsi.inquiry", address] = ProbeDeferred("the host has a command")
    port.readings["boot.kernels", ""] = boot_facts().kernels
    port.readings["boot.modules", ""] = boot_facts(next_has=["mhvtl"]).modules
    tell_media(port)
    tell_room(port, free=50)


def is_wedged(name: str) -> bool:
    """Whether the host had a command in a state, so that no other is sent to it."""
    return name == HOST_WEDGED or scsi(name).get("scsi_host/host6/host_busy") == b"1\n"


def tell_media(port: ScriptedPort, *more: list[Any]) -> None:
    """Let the store hold 80 cartridges that take 64 MiB of 500 each; the second half is library
    30's."""
    cartridges = [
        [f"E{number:05}L8", 64 << 20, 500 << 20, 10 if number < 40 else 30] for number in range(80)
    ]
    facts = {"exists": True, "is_whole": True, "cartridges": [*cartridges, *more]}
    port.readings["vtl.media", ""] = {"stores": {STORE: facts}}


def tell_room(port: ScriptedPort, *, free: float, size: float = 100, device: str = "8:1") -> None:
    """Let the media store have so many GiB, of which these are free."""
    port.readings["statvfs.path", STORE] = {
        "exists": True,
        "device": device,
        "block_bytes": 4096,
        "blocks": int(size * GIB) // 4096,
        "blocks_free": int(free * GIB) // 4096,
        "blocks_available": int(free * GIB) // 4096,
    }


class Desk:
    """The probes over a machine whose state may be changed between looks."""

    def __init__(self, name: str = UP) -> None:
        self.clock = HandClock()
        self.port = ScriptedPort()
        self.probes: dict[str, Probe] = {
            probe.name: probe for probe in make_vtl_probes(self.clock.clock)
        }
        tell(self.port, name)

    def after(self, name: str) -> "Desk":
        """Look at everything, and let the machine be in another state then."""
        for probe in self.probes:
            self.look(probe)
        return self.be(name)

    def be(self, name: str) -> "Desk":
        self.clock.forward(30)
        tell(self.port, name)
        return self

    def look(self, probe: str) -> dict[str, Frame | ProbeError]:
        """Return what a probe says of each of its scopes, by the values of their labels."""
        return asyncio.run(self.frames(probe))

    async def frames(self, name: str) -> dict[str, Frame | ProbeError]:
        """Do the same in a coroutine."""
        self.clock.forward(30)
        probe = self.probes[name]
        found: dict[str, Frame | ProbeError] = {}
        for scope in await probe.discover(self.port):
            place = " ".join(value for _, value in scope.labels if value)
            try:
                frame = await probe.collect(self.port, scope)
            except ProbeError as error:
                found[place] = error
            else:
                assert_keeps_to_its_families(probe, frame)
                found[place] = frame
        return found

    def rows(self, probe: str, family: str) -> dict[tuple[str, ...], float]:
        """Return the rows of a family; every scope could be seen."""
        found: dict[tuple[str, ...], float] = {}
        for frame in self.look(probe).values():
            assert isinstance(frame, Frame), frame
            found |= values(frame, family)
        return found

    def down(self) -> dict[str, str]:
        """Return which libraries and drives are not up, and the parts that are not."""
        parts = self.rows("vtl_units", "vtl_part_up")
        up = self.rows("vtl_units", "vtl_drive_up") | self.rows("vtl_units", "vtl_library_up")
        found = {
            name: " ".join(part for part in PARTS if not parts.get((library, drive, part), 1.0))
            for library, drive in {(labels[0], labels[1]) for labels in parts}
            if any(not parts.get((library, drive, part), 1.0) for part in PARTS)
            for name in [drive or library]
        }
        assert set(found) == {labels[-1] for labels, value in up.items() if not value}
        return found
