"""What the tree of SCST tells the inventory."""

from collections.abc import Iterator

from storewatchd.core.frames import Found, ObjectKind
from storewatchd.probes.scst.model import Scst


def objects_of(scst: Scst) -> Iterator[Found]:
    """Yield the targets that initiators may log in to, and the devices that have a handler."""
    for target in scst.exported():
        facts = {"driver": target.driver, "hardware": target.hardware}
        told = {name: text for name, text in facts.items() if text}
        yield Found(ObjectKind.SCST_TARGET, f"{target.driver}/{target.name}", told)
    for device in scst.devices:
        if not device.handler:
            continue
        facts = {"handler": device.handler, "t10_dev_id": device.t10_dev_id, "usn": device.usn}
        told = {name: text for name, text in facts.items() if text}
        # One that is inactive says 0: what it had before still holds.
        if device.size_bytes:
            told["size_bytes"] = str(device.size_bytes)
        yield Found(ObjectKind.SCST_DEVICE, device.name, told)
