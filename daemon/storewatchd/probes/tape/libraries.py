"""Tape libraries: there or not, and what is in every element of them.

READ ELEMENT STATUS with CURDATA=1 moves nothing (SMC-3 6.11). An inventory that suddenly shows much
less than before is not believed at once: a library that is starting, or a transfer that ended
short, looks the same. It is believed when the library has said that somebody was at it, or has
shown the same for long.
"""

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

from storewatchd.core.frames import Frame, Row, Scope
from storewatchd.errors import Malformed, ProbeAbsent, ProbeFailed
from storewatchd.port import Port
from storewatchd.probes.base import gauge, seen
from storewatchd.probes.tape.asking import Asker
from storewatchd.probes.tape.changes import NAMES, attentions, changes
from storewatchd.probes.tape.devices import Devices
from storewatchd.probes.tape.drives import RUNNING
from storewatchd.scsi.elements import Element, ElementType, parse_assignment, parse_elements
from storewatchd.scsi.inquiry import CHANGER

if TYPE_CHECKING:
    from storewatchd.scsi.sense import Sense

CLEANING_PREFIX = "CLN"
SUSPECT_SHARE = 0.5
SUSPECT_COUNT = 3
"""Bar codes of which at least so many, and more than that share, are gone at once."""

CONVINCING_LOOKS = 10
"""How many looks in a row that show the same are believed, whatever it is."""

ACCESSED = 0x28
"""The additional sense codes of a library that somebody was at: 28/00 to 28/03."""

LIBRARY_FAMILIES = (
    gauge("library_up", "Whether the kernel can talk to a library.", "library"),
    gauge(
        "library_info",
        "What a library is, and what it is called now.",
        *("library", "vendor", "model", "firmware", "sg", "address", "state"),
    ),
)
INVENTORY_FAMILIES = (
    gauge("library_elements", "Places of a library.", "library", "type"),
    gauge("library_elements_full", "Places with a cartridge.", "library", "type"),
    gauge("library_elements_abnormal", "Places with an exception.", "library", "type"),
    gauge("library_elements_inaccessible", "Places out of reach.", "library", "type"),
    gauge(
        "library_element_exception",
        "A place with an exception, and what it is.",
        *("library", "type", "element", "code", "meaning"),
    ),
    gauge("library_slot_unreadable_barcodes", "Cartridges without a bar code.", "library"),
    gauge("library_duplicate_barcodes", "Bar codes that several cartridges have.", "library"),
    gauge("library_duplicate_barcode", "Cartridges with this bar code.", "library", "barcode"),
    gauge("library_import_export_full", "Whether every mail slot is taken.", "library"),
    gauge("library_media", "Cartridges by where they are.", "library", "state"),
    gauge("library_cleaning_cartridges", "Cleaning cartridges.", "library"),
    gauge(
        "library_drive_bay",
        "Which drive is in which bay, where the library tells.",
        *("library", "bay", "element", "drive"),
    ),
    gauge("tape_drive_loaded", "A cartridge in a drive.", "library", "bay", "drive", "barcode"),
)


class LibrariesProbe:
    """Every library, without a command to it."""

    name = "libraries"
    families = LIBRARY_FAMILIES

    def __init__(self) -> None:
        self._devices = Devices(CHANGER, "library")

    def to_plain(self) -> object:
        return self._devices.to_plain()

    def restore(self, kept: object) -> None:
        self._devices.restore(kept)

    async def discover(self, port: Port) -> tuple[Scope, ...]:
        return await self._devices.scopes(port, self.name)

    async def collect(self, port: Port, scope: Scope) -> Frame:
        try:
            device = await self._devices.find(port, scope)
        except ProbeAbsent:
            # That it is gone is a fact, and no failure to look.
            ((_, gone),) = scope.labels
            return seen(scope, {"library_up": [Row((gone,), 0.0)]})
        library = device.identity or ""
        facts = (device.vendor, device.product, device.revision, device.sg, device.address)
        return seen(
            scope,
            {
                "library_up": [Row((library,), float(device.state == RUNNING))],
                "library_info": [Row((library, *facts, device.state), 1.0)],
            },
        )


class InventoriesProbe:
    """What is in every library, asked while nobody uses it."""

    name = "library_inventories"
    families = INVENTORY_FAMILIES
    max_age_s = 24 * 3600.0  # a library that is busy all night is not failed

    def __init__(self) -> None:
        self._devices = Devices(CHANGER, "library")
        self._before: dict[Scope, tuple[Element, ...]] = {}
        self._doubted: dict[Scope, tuple[tuple[Element, ...], int]] = {}  # and for how many looks
        self._heard: dict[Scope, list[Sense]] = {}  # and not told yet

    def to_plain(self) -> object:
        return self._devices.to_plain()

    def restore(self, kept: object) -> None:
        self._devices.restore(kept)

    async def discover(self, port: Port) -> tuple[Scope, ...]:
        return await self._devices.scopes(port, self.name)

    async def collect(self, port: Port, scope: Scope) -> Frame:
        device = await self._devices.find(port, scope)
        library = device.identity or ""
        asker = Asker(port, device.address)
        heard = self._heard.setdefault(scope, [])
        try:
            elements = await inventory(asker)
        finally:
            heard += asker.heard
        if not any(one.asc == ACCESSED for one in heard):
            self._doubt(scope, elements)
        news = [*attentions("library", library, heard)]
        if scope in self._before:
            news += changes(library, self._before[scope], elements)
        self._before[scope] = elements
        self._doubted.pop(scope, None)
        heard.clear()
        return seen(scope, rows_of(library, elements), news)

    def _doubt(self, scope: Scope, elements: tuple[Element, ...]) -> None:
        """Raises ProbeFailed: this shows much less than before, and not for long."""
        before = _tags(self._before.get(scope, ()))
        lost = before - _tags(elements)
        if len(lost) < SUSPECT_COUNT or len(lost) <= SUSPECT_SHARE * len(before):
            return
        shown, looks = self._doubted.get(scope, (elements, 0))
        looks = looks + 1 if shown == elements else 1
        self._doubted[scope] = elements, looks
        if looks < CONVINCING_LOOKS:
            raise ProbeFailed(
                f"it shows {len(lost)} of {len(before)} cartridges no more, and has not said that "
                f"anybody was at it: believed after {CONVINCING_LOOKS} looks that show the same"
            )


async def inventory(asker: Asker) -> tuple[Element, ...]:
    """Return every element of a library.

    Raises:
        ProbeDeferred: somebody uses it.
        ProbeFailed: it did not answer, or the answer cannot be so.
    """
    try:
        expected = parse_assignment(await asker.ask("changer.addresses"))
        is_large = sum(expected.counts.values()) >= MANY_ELEMENTS
        row = "changer.elements.all" if is_large else "changer.elements"
        return parse_elements(await asker.ask(row), expected=expected)
    except Malformed as error:
        raise ProbeFailed(str(error)) from error


MANY_ELEMENTS = 400
"""From so many elements on a report may be longer than 65,528 bytes: 8 + 8 for each type, and for
each element at most 12 bytes, two bar codes of 36 and a designator of 4 + 34."""


def rows_of(library: str, elements: Sequence[Element]) -> dict[str, list[Row]]:
    """Return the rows of an inventory."""
    rows: dict[str, list[Row]] = {family.name: [] for family in INVENTORY_FAMILIES}
    for kind, name in NAMES.items():
        ours = [one for one in elements if one.type is kind]
        for family, count in (
            ("library_elements", len(ours)),
            ("library_elements_full", sum(one.is_full for one in ours)),
            ("library_elements_abnormal", sum(one.is_exception for one in ours)),
            ("library_elements_inaccessible", sum(_is_out_of_reach(one) for one in ours)),
        ):
            rows[family].append(Row((library, name), float(count)))
        if kind is ElementType.IMPORT_EXPORT and ours:
            is_full = all(one.is_full for one in ours)
            rows["library_import_export_full"].append(Row((library,), float(is_full)))
    for one in elements:
        if one.is_exception:
            code = "" if one.asc is None else f"{one.asc:02X}/{one.ascq or 0:02X}"
            labels = (library, NAMES[one.type], str(one.address), code, one.exception)
            rows["library_element_exception"].append(Row(labels, 1.0))
    _add_cartridges(rows, library, elements)
    _add_bays(rows, library, elements)
    return rows


def _add_cartridges(rows: dict[str, list[Row]], library: str, elements: Sequence[Element]) -> None:
    full = [one for one in elements if one.is_full]
    tags = Counter(one.tag for one in full if one.tag)
    twice = sorted(tag for tag, count in tags.items() if count > 1)
    cleaning = sum(one.tag.startswith(CLEANING_PREFIX) for one in full)
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


def _add_bays(rows: dict[str, list[Row]], library: str, elements: Sequence[Element]) -> None:
    bays = sorted((one.address, one) for one in elements if one.type is ElementType.DRIVE)
    for number, (address, one) in enumerate(bays):
        labels = (library, str(number), str(address), one.drive_serial)
        rows["library_drive_bay"].append(Row(labels, 1.0))
        if one.is_full:
            loaded = (library, str(number), one.drive_serial, one.tag)
            rows["tape_drive_loaded"].append(Row(loaded, 1.0))


def _is_out_of_reach(element: Element) -> bool:
    """Whether the robot cannot reach a place; a drive with a cartridge in it may say so too."""
    return element.is_accessible is False and not (
        element.type is ElementType.DRIVE and element.is_full
    )


def _tags(elements: Sequence[Element]) -> set[str]:
    return {one.tag for one in elements if one.is_full and one.tag}
