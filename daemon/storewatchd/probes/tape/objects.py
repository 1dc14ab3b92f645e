"""What the looks at tapes tell the inventory."""

from collections.abc import Iterator, Sequence

from storewatchd.core.frames import Found, ObjectKind
from storewatchd.probes.tape.changes import NAMES
from storewatchd.probes.tape.devices import ScsiDevice
from storewatchd.probes.tape.pages import Pages
from storewatchd.scsi.elements import Element, ElementType


def device_found(kind: ObjectKind, device: ScsiDevice) -> Found:
    """Return a drive or a library as the kernel has it."""
    facts = {
        "vendor": device.vendor,
        "model": device.product,
        "firmware": device.revision,
        "sg": device.sg,
        "tape": f"n{device.tape}" if device.tape else "",
        "address": device.address,
    }
    told = {name: text for name, text in facts.items() if text}
    return Found(kind, device.identity or "", told)


def cartridges_found(library: str, elements: Sequence[Element]) -> Iterator[Found]:
    """Yield the cartridges of a library that have a bar code."""
    for one in elements:
        if one.is_full and one.tag:
            place = {"library": library, "place": NAMES[one.type], "element": str(one.address)}
            yield Found(ObjectKind.CARTRIDGE, one.tag, place)


def drives_found(library: str, elements: Sequence[Element]) -> Iterator[Found]:
    """Yield the drives that a library says are in its bays, where it knows them apart."""
    bays = sorted((one.address, one) for one in elements if one.type is ElementType.DRIVE)
    for number, (_, one) in enumerate(bays):
        if one.drive_serial:
            place = {"library": library, "bay": str(number)}
            yield Found(ObjectKind.TAPE_DRIVE, one.drive_serial, place)


def cartridge_found(drive: str, pages: Pages) -> Iterator[Found]:
    """Yield what a drive has read of the cartridge in it: where that is, its library says."""
    if not pages.is_loaded or not pages.barcode:
        return
    facts = {"serial": pages.serial, "last_drive": drive}
    if pages.medium is not None:
        medium_type = pages.medium.medium_type
        facts["manufacturer"] = pages.medium.manufacturer
        facts["type"] = "" if medium_type is None else medium_type.name.lower()
        facts["made"] = pages.medium.made
    told = {name: text for name, text in facts.items() if text}
    yield Found(ObjectKind.CARTRIDGE, pages.barcode, told, is_here=False)
