"""What happened in a library between two inventories, by the bar codes of its cartridges."""

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

from storewatchd.core.frames import News
from storewatchd.core.model import EventType
from storewatchd.scsi.elements import Element, ElementType
from storewatchd.scsi.sense import Sense

NAMES = {
    ElementType.TRANSPORT: "robot",
    ElementType.STORAGE: "storage",
    ElementType.IMPORT_EXPORT: "import_export",
    ElementType.DRIVE: "drive",
}


def changes(library: str, before: Sequence[Element], after: Sequence[Element]) -> Iterator[News]:
    """Yield what became of every cartridge whose bar code is there once in both inventories, or
    in one of them."""
    was, now = _places(before), _places(after)
    for tag in sorted({*was, *now}):
        old, new = was.get(tag), now.get(tag)
        facts: dict[str, Any] = {"library": library, "barcode": tag}
        if old is None and new is not None:
            yield News(EventType.TAPE, "cartridge_added", {**facts, "to": _place(new)})
        elif new is None and old is not None:
            yield News(EventType.TAPE, "cartridge_removed", {**facts, "from": _place(old)})
        elif old is not None and new is not None and old.address != new.address:
            moved = {**facts, "from": _place(old), "to": _place(new)}
            yield News(EventType.TAPE, _kind(old, new), moved)


def attentions(label: str, device: str, heard: Sequence[Sense]) -> Iterator[News]:
    """Yield the unit attentions that came to us, and to nobody else; each once for a look, however
    often it was told."""
    told = Counter((_sentence(label, sense), sense.code) for sense in heard)
    for (sentence, code), times in told.items():
        facts: dict[str, Any] = {label: device, "sense": sentence, "code": code}
        if times > 1:
            facts["times"] = times
        yield News(EventType.TAPE, "unit_attention", facts)


def _sentence(label: str, sense: Sense) -> str:
    """Say what a device told: 28/00 is of the cartridge in a drive, and of all of a library's."""
    if label == "library" and sense.code == "28/00":
        return f"{sense.key.words}: it became ready; its cartridges may be others (28/00)"
    return sense.sentence


def _kind(old: Element, new: Element) -> str:
    if new.type is ElementType.DRIVE:
        return "loaded"
    if old.type is ElementType.DRIVE:
        return "unloaded"
    if new.type is ElementType.IMPORT_EXPORT:
        return "exported"
    if old.type is ElementType.IMPORT_EXPORT:
        return "imported"
    return "moved"


def _places(elements: Sequence[Element]) -> dict[str, Element]:
    """Return where each bar code is; one that is there twice tells nothing."""
    found: dict[str, Element] = {}
    twice = set()
    for one in elements:
        if one.is_full and one.tag:
            if one.tag in found:
                twice.add(one.tag)
            found[one.tag] = one
    return {tag: one for tag, one in found.items() if tag not in twice}


def _place(element: Element) -> dict[str, Any]:
    place: dict[str, Any] = {"type": NAMES[element.type], "element": element.address}
    return {**place, "drive": element.drive_serial} if element.drive_serial else place
