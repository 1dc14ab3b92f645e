"""What is known of a library's inventory, and how it was read: by the library's own report, or by
`mtx status` where that is no use.

What mtx cannot know is left out: exceptions, access bits and serial numbers of drives. Its listing
is believed only by the rules of `storewatchd.scsi.mtx`.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from storewatchd.errors import Malformed, ProbeDeferred, ProbeFailed
from storewatchd.interpreter import aside
from storewatchd.port import Port
from storewatchd.probes.tape.asking import OCCUPIED, Asker
from storewatchd.scsi.elements import (
    Assignment,
    Element,
    ElementType,
    parse_assignment,
    parse_elements,
)
from storewatchd.scsi.mtx import MtxStatus, judge_mtx, parse_mtx_status
from storewatchd.scsi.sg_tools import Ending

MANY_ELEMENTS = 400
"""From so many elements on a report may be longer than 65,528 bytes: 8 + 8 for each type, and for
each element at most 12 bytes, two bar codes of 36 and a designator of 4 + 34."""

BAD_REPORTS = 3
"""After how many reports in a row that are no use mtx is asked of a library that gave good ones."""

ADDRESSES_ANEW_S = 300.0
"""How old what mode page 1Dh said may be: it changes only where somebody reconfigures the library,
which says so by a unit attention, and shows another number of elements."""

_REFUSED = (Ending.ILLEGAL_REQUEST, Ending.UNSUPPORTED)


class Source(StrEnum):
    """By what an inventory was read."""

    REPORT = "report"
    MTX = "mtx"


@dataclass(frozen=True, slots=True)
class Inventory:
    """Every element of a library. `reason` says why mtx was asked; `is_spoilt` that the library's
    own report came and makes no sense, as after a transfer that ended short."""

    elements: tuple[Element, ...]
    source: Source = Source.REPORT
    reason: str = ""
    is_spoilt: bool = False


class NoUse(ProbeFailed):
    """The library's report is refused, or makes no sense."""

    def __init__(self, reason: str, *, is_spoilt: bool) -> None:
        super().__init__(reason)
        self.is_spoilt = is_spoilt


@dataclass(slots=True)
class Known:
    """What is known of one library. `at` is when the inventory was read, Unix seconds; `failure`
    is why the last look failed, empty where it did not."""

    inventory: Inventory | None = None
    at: float | None = None
    failure: str = ""
    reported: tuple[Element, ...] = ()  # the last good report of its own
    bad_reports: int = 0  # in a row
    conflicts: int = 0  # looks that found it reserved by another host
    moves: int = 0
    cleanings: Counter[str] = field(default_factory=Counter)  # loads of cleaning cartridges
    expected: Assignment | None = None  # by mode page 1Dh, while there is no reason to doubt it
    expected_at: float = 0.0


class Reports:
    """Every library, by its identity; the probes of libraries share it."""

    def __init__(self) -> None:
        self._known: dict[str, Known] = {}

    def of(self, library: str) -> Known:
        return self._known.setdefault(library, Known())

    def to_plain(self) -> dict[str, dict[str, int]]:
        """Return what has to be kept over a restart: how often cleaning cartridges were used."""
        return {name: dict(known.cleanings) for name, known in list(self._known.items())}

    def restore(self, kept: object) -> None:
        """Take back what `to_plain` told of; anything else is left out."""
        for name, counts in kept.items() if isinstance(kept, dict) else ():
            if isinstance(counts, dict) and all(isinstance(one, int) for one in counts.values()):
                self.of(str(name)).cleanings.update(counts)


async def take_inventory(port: Port, asker: Asker, known: Known) -> Inventory:
    """Return every element of a library.

    Raises:
        ProbeDeferred: somebody uses it.
        ProbeFailed: neither its report nor mtx can be believed.
    """
    try:
        elements = await _reported(asker, known)
    except NoUse as error:
        known.bad_reports += 1
        if known.reported and known.bad_reports < BAD_REPORTS:
            raise
        try:
            listing = await listed(port, asker.address)
        except ProbeFailed as other:
            raise ProbeFailed(f"{error.reason}; and of mtx: {other.reason}") from other
        places = placed(listing, known.reported)
        return Inventory(places, Source.MTX, error.reason, error.is_spoilt)
    known.bad_reports, known.reported = 0, elements
    return Inventory(elements)


async def _reported(asker: Asker, known: Known) -> tuple[Element, ...]:
    expected, known.expected = known.expected, None  # forgotten by whatever goes wrong
    try:
        elements = await _as_expected(asker, expected) if expected else None
        if elements is None:
            expected = parse_assignment(await asker.ask("changer.addresses"))
            known.expected_at = asker.at or 0.0
            elements = await _elements(asker, expected)
        if not asker.heard and 0 <= (asker.at or 0.0) - known.expected_at < ADDRESSES_ANEW_S:
            known.expected = expected
        return elements
    except Malformed as error:
        raise NoUse(str(error), is_spoilt=True) from error
    except ProbeFailed as error:
        if asker.ending in _REFUSED:
            raise NoUse(error.reason, is_spoilt=False) from error
        raise


async def _as_expected(asker: Asker, expected: Assignment) -> tuple[Element, ...] | None:
    """Return a report that is what a library promised at another look; None where it is not, or
    somebody may have reconfigured the library."""
    try:
        elements = await _elements(asker, expected)
    except Malformed:
        return None
    counts = Counter(one.type for one in elements)
    is_same = all(counts[kind] == count for kind, count in expected.counts.items())
    return elements if is_same and not asker.heard else None


async def _elements(asker: Asker, expected: Assignment) -> tuple[Element, ...]:
    if _is_large(expected):
        report = await asker.ask("changer.elements.all")
        # That takes longer than the loop may stand still.
        return await aside(parse_elements, report, expected=expected)
    return parse_elements(await asker.ask("changer.elements"), expected=expected)


def _is_large(expected: Assignment) -> bool:
    return sum(expected.counts.values()) >= MANY_ELEMENTS


async def listed(port: Port, address: str) -> MtxStatus:
    """Return what mtx says of a library.

    Raises:
        ProbeDeferred: somebody uses it.
        ProbeFailed: mtx cannot be run, or what it says cannot be believed.
    """
    value = (await port.read("changer.mtx", address)).value
    outcome = judge_mtx(value["status"], value["stderr"])
    if outcome.ending in OCCUPIED:
        raise ProbeDeferred(outcome.sentence)
    if not outcome.is_ok:
        raise ProbeFailed(outcome.sentence)
    try:
        listing = parse_mtx_status(value["stdout"], stderr=value["stderr"], status=value["status"])
    except Malformed as error:
        raise ProbeFailed(str(error)) from error
    if listing.suspect:
        raise ProbeFailed(f"its listing cannot be believed: {'; '.join(listing.suspect)}")
    return listing


def placed(listing: MtxStatus, reported: Sequence[Element]) -> tuple[Element, ...]:
    """Return a listing as elements. Their addresses are those of the library's last good report,
    where that had as many places of a kind; otherwise the numbers that mtx gives them."""
    found = []
    for kind in (ElementType.STORAGE, ElementType.IMPORT_EXPORT, ElementType.DRIVE):
        ours = sorted(listing.of_type(kind), key=lambda one: one.number)
        addresses = sorted(one.address for one in reported if one.type is kind)
        if len(addresses) != len(ours):
            addresses = [one.number for one in ours]
        found += [
            Element(
                type=kind,
                address=address,
                is_full=one.is_full,
                is_exception=False,
                is_accessible=None,
                is_disabled=False,
                asc=None,
                ascq=None,
                medium_type=None,
                source=None,
                tag=one.tag,
                alternate_tag=one.alternate_tag,
            )
            for address, one in zip(addresses, ours, strict=True)
        ]
    return tuple(found)
