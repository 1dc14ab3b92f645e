"""stgt: one daemon, tgtd, that serves libraries and drives over iSCSI.

tgt 1.0.85. They are seen where this machine logs in to them itself: LUN 0 of each target is a
controller of the vendor IET. tgtadm is not asked: it hangs where tgtd is suspended and exits 107
where it is gone, both of which the process's state in /proc tells at once; and what else it knows,
targets that only other machines use, nobody here could ask whether they answer.
"""

from storewatchd.probes.tape.devices import parse_devices
from storewatchd.probes.vtl.model import Facts, Installation, Unit, io_errors, is_serving
from storewatchd.scsi.inquiry import CHANGER

_CONTROLLER = (b"IET", b"Controller")


class Stgt:
    """The devices of a target with a library in it are that library's."""

    name = "stgt"

    def look(self, facts: Facts) -> Installation:
        states = [one["state"] for one in facts.daemons if one["name"] == "tgtd"]
        serving = [state for state in states if is_serving(state)]
        state = (serving or states or [""])[0]
        devices = [
            device
            for device in parse_devices(facts.scsi)
            if device.serial and _is_of_stgt(facts, device.address)
        ]
        libraries = {
            _target(one.address): one.serial for one in devices if one.device_type == CHANGER
        }
        units = []
        for device in devices:
            is_library = device.device_type == CHANGER
            serial = device.serial or ""
            library = libraries.get(_target(device.address)) or ""
            units.append(
                Unit(
                    backend=self.name,
                    number=device.address.rpartition(":")[2],
                    library=serial if is_library else library,
                    drive="" if is_library else serial,
                    vendor=device.vendor,
                    product=device.product,
                    daemon=state,
                    device=device,
                    io_errors=io_errors(facts.scsi, device),
                )
            )
        return Installation(self.name, None, bool(serving), tuple(units))

    def is_here(self, found: Installation) -> bool:
        return bool(found.units) and any(unit.daemon for unit in found.units)


def _target(address: str) -> str:
    return address.rpartition(":")[0]


def _is_of_stgt(facts: Facts, address: str) -> bool:
    host = address.partition(":")[0]
    place = f"scsi_device/{_target(address)}:0/device"
    told = (facts.scsi.get(f"{place}/vendor"), facts.scsi.get(f"{place}/model"))
    driver = facts.scsi.get(f"scsi_host/host{host}/proc_name")
    return _word(driver) == b"iscsi_tcp" and tuple(map(_word, told)) == _CONTROLLER


def _word(content: bytes | int | None) -> bytes:
    return content.strip() if isinstance(content, bytes) else b""
