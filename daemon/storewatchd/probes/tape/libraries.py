"""Tape libraries: there or not, and what is in every element of them.

READ ELEMENT STATUS with CURDATA=1 moves nothing (SMC-3 6.11). An inventory that suddenly shows much
less than before is not believed at once: a library that is starting, or a transfer that ended
short, looks the same. It is believed when the library has said that somebody was at it, or has
shown the same for long; and never against mtx, which is asked for a second opinion.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from storewatchd.clock import Clock
from storewatchd.core.frames import Found, Frame, News, ObjectKind, Row, Scope
from storewatchd.core.model import EventType
from storewatchd.errors import ProbeAbsent, ProbeDeferred, ProbeFailed
from storewatchd.port import Port
from storewatchd.probes.base import counter, gauge, seen
from storewatchd.probes.tape.asking import MAX_HEARD, Asker
from storewatchd.probes.tape.changes import attentions, changes
from storewatchd.probes.tape.devices import DeviceProbe, ScsiDevice
from storewatchd.probes.tape.drives import RUNNING
from storewatchd.probes.tape.inventory_rows import (
    INVENTORY_FAMILIES,
    STATE_FAMILIES,
    inventory_rows,
    is_cleaning,
    state_rows,
    used_up,
)
from storewatchd.probes.tape.objects import (
    cartridges_found,
    device_found,
    drives_found,
)
from storewatchd.probes.tape.reports import (
    Inventory,
    Known,
    Reports,
    Source,
    listed,
    take_inventory,
)
from storewatchd.scsi.elements import Element
from storewatchd.scsi.sg_tools import Ending

if TYPE_CHECKING:
    from storewatchd.scsi.sense import Sense

SUSPECT_SHARE = 0.5
SUSPECT_COUNT = 3
"""Bar codes of which at least so many, and more than that share, are gone at once."""

CONVINCING_LOOKS = 10
"""How many looks in a row that show the same are believed, whatever it is."""

ACCESSED = 0x28
"""The additional sense codes of a library that somebody was at: 28/00 to 28/03."""

MAX_AGE_S = 24 * 3600.0
"""How long an inventory holds: a library that is busy all night is not failed."""

LIBRARY_FAMILIES = (
    gauge("library_up", "Whether the kernel can talk to a library.", "library"),
    gauge(
        "library_info",
        "What a library is, and what it is called now.",
        *("library", "vendor", "model", "firmware", "sg", "address", "state"),
    ),
    gauge(
        "library_inventory_age_seconds",
        "How old what is known of its elements is.",
        "library",
        unit="seconds",
    ),
    counter(
        "library_reservation_conflict_total",
        "Looks that found it reserved by another host.",
        "library",
    ),
)


class LibrariesProbe(DeviceProbe):
    """Every library, without a command to it."""

    name = "libraries"
    families = LIBRARY_FAMILIES
    looks_together = True

    def __init__(self, reports: Reports, clock: Clock) -> None:
        self._reports = reports
        self._clock = clock
        super().__init__(ObjectKind.TAPE_LIBRARY)

    async def collect(self, port: Port, scope: Scope) -> Frame:
        try:
            device = await self._devices.find(port, scope)
        except ProbeAbsent:
            # That it is gone is a fact, and no failure to look.
            ((_, gone),) = scope.labels
            return seen(scope, {"library_up": [Row((gone,), 0.0)]})
        library = device.identity or ""
        facts = (device.vendor, device.product, device.revision, device.sg, device.address)
        known = self._reports.of(library)
        rows = {
            "library_up": [Row((library,), float(device.state == RUNNING))],
            "library_info": [Row((library, *facts, device.state), 1.0)],
            "library_reservation_conflict_total": [Row((library,), float(known.conflicts))],
        }
        if known.at is not None:
            age_s = max(0.0, self._clock.wall() - known.at)
            rows["library_inventory_age_seconds"] = [Row((library,), age_s)]
        return seen(scope, rows, objects=[device_found(ObjectKind.TAPE_LIBRARY, device)])


class InventoriesProbe(DeviceProbe):
    """What is in every library, asked while nobody uses it."""

    name = "library_inventories"
    families = INVENTORY_FAMILIES
    max_age_s = MAX_AGE_S

    def __init__(self, reports: Reports) -> None:
        self._reports = reports
        super().__init__(ObjectKind.TAPE_LIBRARY)
        self._before: dict[Scope, Inventory] = {}
        self._tags: dict[str, frozenset[str]] = {}  # bar codes that a library showed, believed
        self._doubted: dict[Scope, tuple[tuple[Element, ...], int]] = {}  # and for how many looks
        self._heard: dict[Scope, list[Sense]] = {}  # and not told yet
        self._bays: dict[Scope, tuple[Found, ...]] = {}

    def to_plain(self) -> object:
        return {
            "devices": self._devices.to_plain(),
            "cleanings": self._reports.to_plain(),
            "tags": {library: sorted(tags) for library, tags in list(self._tags.items())},
        }

    def restore(self, kept: object) -> None:
        if not isinstance(kept, dict):
            return
        self._devices.restore(kept.get("devices"))
        self._reports.restore(kept.get("cleanings"))
        shown = kept.get("tags")
        for library, tags in shown.items() if isinstance(shown, dict) else ():
            if isinstance(tags, list) and all(isinstance(one, str) for one in tags):
                self._tags[str(library)] = frozenset(tags)

    async def collect(self, port: Port, scope: Scope) -> Frame:
        device = await self._devices.find(port, scope)
        library = device.identity or ""
        known = self._reports.of(library)
        asker = Asker(port, device.address)
        heard = self._heard.setdefault(scope, [])
        try:
            found = await take_inventory(port, asker, known)
            if not any(one.asc == ACCESSED for one in [*heard, *asker.heard]):
                await self._doubt(port, device, scope, found)
        except ProbeFailed as error:
            known.failure = error.reason
            raise
        finally:
            heard[:] = [*heard, *asker.heard][-MAX_HEARD:]
            known.conflicts += asker.ending is Ending.RESERVATION_CONFLICT
        known.inventory, known.at, known.failure = found, asker.at, ""
        news = [*attentions("library", library, heard)]
        before = self._before.get(scope)
        if before is not None:
            moved = [*changes(library, before.elements, found.elements)]
            known.moves += sum("from" in one.facts and "to" in one.facts for one in moved)
            loaded = (one.facts["barcode"] for one in moved if one.kind == "loaded")
            known.cleanings.update(filter(is_cleaning, loaded))
            news += moved
        news += _switched(library, before, found)
        self._before[scope] = found
        shown = self._tags[library] = frozenset(_tags(found.elements))
        # One that was used up and taken out is not put in again: the next of its label is new.
        for tag in [one for one in used_up(known.cleanings) if one not in shown]:
            del known.cleanings[tag]
        self._doubted.pop(scope, None)
        heard.clear()
        if found.source is Source.REPORT:
            self._bays[scope] = tuple(drives_found(library, found.elements))
        # mtx does not tell which drive is in which bay: as far as anybody knows, the one that was.
        objects = (*cartridges_found(library, found.elements), *self._bays.get(scope, ()))
        return seen(scope, _rows(library, found, known), news, objects)

    async def _doubt(self, port: Port, device: ScsiDevice, scope: Scope, found: Inventory) -> None:
        """Raises ProbeFailed: this shows much less than before, and not for long, or not by mtx
        too."""
        before = self._before.get(scope)
        had = self._tags.get(device.identity or "", frozenset())
        lost = had - _tags(found.elements)
        if len(lost) < SUSPECT_COUNT or len(lost) <= SUSPECT_SHARE * len(had):
            return
        shown, looks = self._doubted.get(scope, (found.elements, 0))
        looks = looks + 1 if shown == found.elements else 1
        self._doubted[scope] = found.elements, looks
        what = f"it shows {len(lost)} of {len(had)} cartridges no more"
        if found.is_spoilt and before and before.source is Source.REPORT:
            raise ProbeFailed(f"{what} by mtx, and its own report makes no sense: {found.reason}")
        if found.source is Source.REPORT:
            still = await _shown_by_mtx(port, device.address, lost)
            if still:
                raise ProbeFailed(f"{what}, and mtx still shows {still} of them")
        if looks < CONVINCING_LOOKS:
            raise ProbeFailed(
                f"{what}, and has not said that anybody was at it: believed after "
                f"{CONVINCING_LOOKS} looks that show the same"
            )


class ElementStatesProbe(DeviceProbe):
    """How the places of every library are, as its own report says: mtx does not tell that."""

    name = "library_element_states"
    families = STATE_FAMILIES
    looks_together = True

    def __init__(self, reports: Reports, clock: Clock) -> None:
        self._reports = reports
        self._clock = clock
        super().__init__(ObjectKind.TAPE_LIBRARY)

    async def collect(self, port: Port, scope: Scope) -> Frame:
        device = await self._devices.find_again(port, scope)
        library = device.identity or ""
        known = self._reports.of(library)
        if known.inventory is None or known.at is None:
            raise ProbeDeferred("its inventory was not read yet")
        if known.failure:
            raise ProbeDeferred(f"its inventory cannot be read: {known.failure}")
        if known.inventory.source is Source.MTX:
            why = known.inventory.reason
            what = f"mtx does not tell, and the library's own report is no use: {why}"
            if known.reported:
                raise ProbeFailed(what)
            raise ProbeDeferred(what)
        if self._clock.wall() - known.at > MAX_AGE_S:
            raise ProbeDeferred("its inventory could not be read for a day: somebody uses it")
        return seen(scope, state_rows(library, known.inventory.elements))


async def _shown_by_mtx(port: Port, address: str, lost: frozenset[str]) -> int:
    """Return how many of these bar codes mtx still shows; none where it cannot be asked."""
    try:
        listing = await listed(port, address)
    except (ProbeAbsent, ProbeDeferred, ProbeFailed):
        return 0
    return len(lost & {one.tag for one in listing.elements if one.is_full})


def _switched(library: str, before: Inventory | None, found: Inventory) -> Iterator[News]:
    """Yield that an inventory is read by other means than before."""
    was = before.source if before else Source.REPORT
    if found.source is not was:
        facts = {"library": library, "source": found.source.value, "reason": found.reason}
        yield News(EventType.TAPE, "inventory_source", facts)


def _rows(library: str, found: Inventory, known: Known) -> dict[str, list[Row]]:
    rows = inventory_rows(library, found.elements, known.cleanings)
    if found.source is Source.MTX:
        # It lists no robot, of which there is one or more.
        for family in ("library_elements", "library_elements_full", "library_media"):
            rows[family] = [row for row in rows[family] if row.labels[1] != "robot"]
    info = (library, found.source.value, found.reason)
    rows["library_inventory_info"] = [Row(info, 1.0)]
    rows["library_moves_total"] = [Row((library, "ok"), float(known.moves))]
    return rows


def _tags(elements: tuple[Element, ...]) -> set[str]:
    return {one.tag for one in elements if one.is_full and one.tag}
