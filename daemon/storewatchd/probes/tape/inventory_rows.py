"""The rows of a library's inventory: what is in it, and the state of its places."""

from collections import Counter
from collections.abc import Mapping, Sequence

from storewatchd.core.frames import Row
from storewatchd.probes.base import counter, gauge
from storewatchd.probes.tape.changes import NAMES
from storewatchd.scsi.elements import Element, ElementType

CLEANING_PREFIX = "CLN"
CLEANING_USES = 50
"""How often a universal cleaning cartridge of LTO can be used, by its makers."""

INVENTORY_FAMILIES = (
    gauge("library_elements", "Places of a library.", "library", "type"),
    gauge("library_elements_full", "Places with a cartridge.", "library", "type"),
    gauge("library_slot_unreadable_barcodes", "Cartridges without a bar code.", "library"),
    gauge("library_duplicate_barcodes", "Bar codes that several cartridges have.", "library"),
    gauge("library_duplicate_barcode", "Cartridges with this bar code.", "library", "barcode"),
    gauge("library_import_export_full", "Whether every mail slot is taken.", "library"),
    gauge("library_media", "Cartridges by where they are.", "library", "state"),
    gauge("library_cleaning_cartridges", "Cleaning cartridges.", "library"),
    gauge(
        "tape_cleaning_cartridge_uses_remaining",
        "Uses that a cleaning cartridge has left at most: those that were seen are counted.",
        *("library", "barcode"),
    ),
    gauge("tape_drive_loaded", "A cartridge in a drive.", "library", "bay", "drive", "barcode"),
    gauge(
        "library_inventory_info",
        "By what the inventory was read: the library's report, or mtx where that is no use.",
        *("library", "source", "reason"),
    ),
    counter(
        "library_moves_total",
        "Cartridges that were seen to be elsewhere than before.",
        *("library", "result"),
    ),
)
STATE_FAMILIES = (
    gauge("library_elements_abnormal", "Places with an exception.", "library", "type"),
    gauge("library_elements_inaccessible", "Places out of reach.", "library", "type"),
    gauge(
        "library_element_exception",
        "A place with an exception, and what it is.",
        *("library", "type", "element", "code", "meaning"),
    ),
    gauge(
        "library_element_access",
        "Whether the robot can reach a drive, or 0 for another place that it cannot.",
        *("library", "type", "element"),
    ),
    gauge(
        "library_drive_bay",
        "Which drive is in which bay, where the library tells.",
        *("library", "bay", "element", "drive"),
    ),
)


def inventory_rows(
    library: str, elements: Sequence[Element], cleanings: Mapping[str, int]
) -> dict[str, list[Row]]:
    """Return the rows of what is in a library; `cleanings` are the uses of each cleaning cartridge
    that were seen, by its bar code."""
    rows: dict[str, list[Row]] = {family.name: [] for family in INVENTORY_FAMILIES}
    for kind, name in NAMES.items():
        ours = [one for one in elements if one.type is kind]
        for family, count in (
            ("library_elements", len(ours)),
            ("library_elements_full", sum(one.is_full for one in ours)),
        ):
            rows[family].append(Row((library, name), float(count)))
        if kind is ElementType.IMPORT_EXPORT and ours:
            is_full = all(one.is_full for one in ours)
            rows["library_import_export_full"].append(Row((library,), float(is_full)))
    _add_cartridges(rows, library, elements)
    for tag in sorted({one.tag for one in elements if one.is_full and is_cleaning(one.tag)}):
        left = max(0, CLEANING_USES - cleanings.get(tag, 0))
        rows["tape_cleaning_cartridge_uses_remaining"].append(Row((library, tag), float(left)))
    for number, one in _bays(elements):
        if one.is_full:
            loaded = (library, str(number), one.drive_serial, one.tag)
            rows["tape_drive_loaded"].append(Row(loaded, 1.0))
    return rows


def state_rows(library: str, elements: Sequence[Element]) -> dict[str, list[Row]]:
    """Return the rows of how the places of a library are."""
    rows: dict[str, list[Row]] = {family.name: [] for family in STATE_FAMILIES}
    for kind, name in NAMES.items():
        ours = [one for one in elements if one.type is kind]
        for family, count in (
            ("library_elements_abnormal", sum(one.is_exception for one in ours)),
            ("library_elements_inaccessible", sum(map(_is_out_of_reach, ours))),
        ):
            rows[family].append(Row((library, name), float(count)))
    for one in elements:
        place = (library, NAMES[one.type], str(one.address))
        if one.is_exception:
            code = "" if one.asc is None else f"{one.asc:02X}/{one.ascq or 0:02X}"
            rows["library_element_exception"].append(Row((*place, code, one.exception), 1.0))
        if one.type is ElementType.DRIVE or _is_out_of_reach(one):
            rows["library_element_access"].append(Row(place, float(not _is_out_of_reach(one))))
    for number, one in _bays(elements):
        labels = (library, str(number), str(one.address), one.drive_serial)
        rows["library_drive_bay"].append(Row(labels, 1.0))
    return rows


def is_cleaning(barcode: str) -> bool:
    """Return whether a bar code is that of a cleaning cartridge."""
    return barcode.startswith(CLEANING_PREFIX)


def used_up(cleanings: Mapping[str, int]) -> list[str]:
    """Return the cleaning cartridges that have no use left, by the uses that were seen of each."""
    return [tag for tag, uses in cleanings.items() if uses >= CLEANING_USES]


def _bays(elements: Sequence[Element]) -> list[tuple[int, Element]]:
    bays = [one for one in elements if one.type is ElementType.DRIVE]
    return [*enumerate(sorted(bays, key=lambda one: one.address))]


def _add_cartridges(rows: dict[str, list[Row]], library: str, elements: Sequence[Element]) -> None:
    full = [one for one in elements if one.is_full]
    tags = Counter(one.tag for one in full if one.tag)
    twice = sorted(tag for tag, count in tags.items() if count > 1)
    cleaning = sum(is_cleaning(one.tag) for one in full)
    for family, count in (
        ("library_slot_unreadable_barcodes", sum(not one.tag for one in full)),
        ("library_duplicate_barcodes", len(twice)),
        ("library_cleaning_cartridges", cleaning),
    ):
        rows[family].append(Row((library,), float(count)))
    for tag in twice:
        rows["library_duplicate_barcode"].append(Row((library, tag), float(tags[tag])))
    for kind, state in NAMES.items():
        count = sum(one.type is kind for one in full)
        rows["library_media"].append(Row((library, state), float(count)))


def _is_out_of_reach(element: Element) -> bool:
    """Whether the robot cannot reach a place; a drive with a cartridge in it may say so too."""
    return element.is_accessible is False and not (
        element.type is ElementType.DRIVE and element.is_full
    )
