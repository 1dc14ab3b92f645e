"""mhvtl: a kernel module with one SCSI host, and one daemon for each library and drive.

mhvtl 1.8.0. The host takes one command at a time, so that one dead daemon stops all devices.
"""

import re
from collections import Counter
from collections.abc import Mapping
from typing import Any

from storewatchd.probes.tape.devices import ScsiDevice, parse_devices
from storewatchd.probes.vtl.model import (
    Attributes,
    Facts,
    Installation,
    Service,
    Unit,
    io_errors,
    is_serving,
)
from storewatchd.scsi.inquiry import CHANGER, TAPE

LIBRARY, DRIVE = "library", "drive"
_DAEMONS = {LIBRARY: "vtllibrary", DRIVE: "vtltape"}
_TYPES = {LIBRARY: CHANGER, DRIVE: TAPE}
_HOST = re.compile(r"devices/mhvtl_pseudo[^/]*/adapter[^/]*/host(?P<number>\d+)/", re.ASCII)


class Mhvtl:
    """Devices are those of its configuration: one that was never started is missed too."""

    name = "mhvtl"

    def look(self, facts: Facts) -> Installation:
        states = _states(facts)
        services = _services(facts)
        devices = _devices(facts)
        serials = Counter(one.get("serial", "") for one in facts.devices)

        def named(one: Mapping[str, Any]) -> str:
            serial = str(one.get("serial", ""))
            return serial if serial and serials[serial] == 1 else f"{self.name} {one['number']}"

        libraries = {one["number"]: named(one) for one in facts.devices if one["kind"] == LIBRARY}
        units = []
        for one in facts.devices:
            kind, number = one["kind"], one["number"]
            is_library = kind == LIBRARY
            process = _DAEMONS[kind], number
            state, home = states.get(process, ("", ""))
            device = devices.get((one["place"], _TYPES[kind]))
            units.append(
                Unit(
                    backend=self.name,
                    number=str(number),
                    library=named(one) if is_library else libraries.get(one.get("library"), ""),
                    drive="" if is_library else named(one),
                    vendor=one.get("vendor", ""),
                    product=one.get("product", ""),
                    daemon=state,
                    device=device,
                    io_errors=io_errors(facts.scsi, device),
                    service=_service(services, process, home),
                )
            )
        homes = dict.fromkeys(one["home"] for one in facts.devices if one.get("home"))
        configured = {(_DAEMONS[one["kind"]], one["number"]) for one in facts.devices}
        others = [state for process, (state, _) in states.items() if process not in configured]
        module = _version(facts.module)
        return Installation(
            self.name,
            module,
            any(unit.is_served for unit in units) or any(map(is_serving, others)),
            tuple(units),
            tuple(home for home in homes if home.startswith("/")),
            is_installed=bool(units or module or states),
        )

    def is_here(self, found: Installation) -> bool:
        return found.module != "" or any(unit.daemon for unit in found.units)


def _version(module: Attributes) -> str:
    """Return the version of the module, empty where it is not loaded."""
    if "module/mhvtl/" not in module:
        return ""
    told = module.get("module/mhvtl/version")
    return (told.decode(errors="replace").strip() if isinstance(told, bytes) else "") or "unknown"


def _states(facts: Facts) -> dict[tuple[str, int], tuple[str, str]]:
    """Return the states of the daemons, and the units they run in, by their name and device; of
    two, that of the one that serves."""
    found: dict[tuple[str, int], tuple[str, str]] = {}
    for one in facts.daemons:
        if one["name"] in _DAEMONS.values() and one["unit"] is not None:
            key = (one["name"], one["unit"])
            if not is_serving(found.get(key, ("", ""))[0]):
                found[key] = one["state"], one["service"]
    return found


_Services = Mapping[tuple[str, int], Mapping[str, Any]]


def _services(facts: Facts) -> _Services | None:
    if facts.services is None:
        return None
    return {(one["name"], one["unit"]): one for one in facts.services}


def _service(services: _Services | None, process: tuple[str, int], home: str) -> Service | None:
    """Return the unit of a daemon that runs in `home`, which is empty where it runs in none."""
    if services is None:
        return None
    name = f"{process[0]}@{process[1]}.service"
    told = services.get(process)
    if told is not None:
        return Service(name, told["state"], told["left_s"], has_daemon=home == name)
    # systemd may forget a unit that is not active.
    return Service(name, "inactive", has_daemon=True) if home == name else None


def _devices(facts: Facts) -> dict[tuple[str, int], ScsiDevice]:
    """Return the devices on the hosts of the module, by their place there and their type."""
    hosts = {match["number"] for path in facts.module if (match := _HOST.fullmatch(path))}
    found = {}
    for device in parse_devices(facts.scsi):
        host, _, place = device.address.partition(":")
        if host in hosts:
            found[place, device.device_type] = device
    return found
