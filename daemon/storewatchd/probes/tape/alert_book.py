"""The TapeAlert flags of every drive and library: which are set, and who was told of what. Pure.

Two pages tell of them. Page 12h says which are set now, and may be read at any time; page 2Eh is
cleared by being read, so that what it said once is kept here. A flag that only page 2Eh told is
over when two later reads do not show it, or when a cartridge that was loaded after it did its work
without an error. Each time that a flag becomes set is an *occurrence*, with a number of its own;
whoever asks is told each occurrence once, and is not taken for told before it says so.
"""

from collections import Counter, deque
from dataclasses import dataclass, field
from typing import Any

from storewatchd.scsi.logs import TapeAlerts

CLEAN_READS = 2
"""How many reads without a flag end it that page 2Eh told."""

MAX_OCCURRENCES = 256
MAX_ASKERS = 64
"""Of a device; who asked the longest ago is forgotten first, and is told what is set when it asks
again."""

EVENTS = ""
"""The asker that our own events are."""


@dataclass(frozen=True, slots=True)
class Occurrence:
    """A flag that became set, or was set again: when that was seen, Unix seconds."""

    number: int
    flag: int
    at: float


@dataclass(slots=True)
class _Set:
    """A flag that is set, and by which page: 12h, 2Eh or both. `clean` counts the reads since that
    did not show it."""

    occurrence: Occurrence
    by_response: bool = False
    by_read: bool = False
    clean: int = 0


@dataclass(slots=True)
class Flags:
    """The flags of one device.

    `seen_at` is when a page last told all of them, None while none has. `has_response_page` is
    None while that is not known. `is_blind` says that the last look at page 12h failed.

    The rest is what the other pages of a drive said when they were last read (`looked_at`): whether
    it asks to be cleaned, None where no page tells, and the bar code and generation of the
    cartridge in it, empty where they are not known.
    """

    seen_at: float | None = None
    has_response_page: bool | None = None
    is_blind: bool = False
    looked_at: float | None = None
    is_cleaning_required: bool | None = None
    is_cleaning_requested: bool | None = None
    barcode: str = ""
    generation: str = ""
    raised: Counter[int] = field(default_factory=Counter)
    last: int = 0
    occurrences: deque[Occurrence] = field(default_factory=lambda: deque(maxlen=MAX_OCCURRENCES))
    _set: dict[int, _Set] = field(default_factory=dict)
    _told: dict[str, int] = field(default_factory=dict)  # in the order of their last word

    @property
    def active(self) -> frozenset[int]:
        """The flags that are set."""
        return frozenset(self._set)

    @property
    def of_this_cartridge(self) -> frozenset[int]:
        """The flags that were set as the cartridge was seen whose bar code is known: page 12h is
        read with it. What page 2Eh told may be of one before."""
        if not self.barcode or not self.has_response_page:
            return frozenset()
        return frozenset(flag for flag, one in self._set.items() if one.by_response)

    @property
    def told_at(self) -> dict[int, float]:
        """The flags that page 2Eh told, and when."""
        return {flag: one.occurrence.at for flag, one in self._set.items() if one.by_read}

    def see_response(self, page: TapeAlerts, at: float) -> None:
        """Take page 12h. What is set at the very first look was set before, and is no news."""
        is_first = self.seen_at is None
        for flag in sorted(page.active):
            self._raise(flag, at, is_news=not is_first).by_response = True
        for flag, one in tuple(self._set.items()):
            if flag not in page.active:
                one.by_response = False
                self._note_clean(flag)
        self.seen_at, self.has_response_page, self.is_blind = at, True, False

    def see_read(self, page: TapeAlerts, at: float) -> None:
        """Take page 2Eh, which has forgotten now what it said."""
        for flag in sorted(page.active):
            known = self._set.get(flag)
            if known is not None and known.by_read:
                known.occurrence = self._occur(flag, at)  # it was cleared, and set again
                known.clean = 0
            else:
                self._raise(flag, at, is_news=True).by_read = True
        for flag in sorted(self.active - page.active - page.missing):
            self._note_clean(flag)
        self.seen_at = at

    def see_good_mount(self, since: float) -> None:
        """Take that a cartridge, loaded at a time, did its work without an error or a flag."""
        for flag, one in tuple(self._set.items()):
            if one.occurrence.at < since:
                one.by_read = False
                self._drop_unset(flag)

    def due(self, asker: str) -> list[Occurrence]:
        """Return what an asker was not told yet: of one that never asked, what is set."""
        told = 0 if asker == EVENTS else self._told.get(asker)
        if told is None:
            return sorted((one.occurrence for one in self._set.values()), key=_number)
        told = max(told, self._told.get(asker, 0))
        return [one for one in self.occurrences if one.number > told]

    def tell(self, asker: str, number: int) -> None:
        """Take that an asker was told everything up to an occurrence."""
        told = max(self._told.pop(asker, 0), min(number, self.last))
        self._told[asker] = told
        while len(self._told) > MAX_ASKERS:
            oldest = next(name for name in self._told if name != EVENTS)
            del self._told[oldest]

    def _raise(self, flag: int, at: float, *, is_news: bool) -> _Set:
        known = self._set.get(flag)
        if known is None:
            if is_news:
                occurrence = self._occur(flag, at)
            else:
                self.last += 1
                occurrence = Occurrence(self.last, flag, at)
            known = self._set[flag] = _Set(occurrence)
        known.clean = 0
        return known

    def _occur(self, flag: int, at: float) -> Occurrence:
        self.last += 1
        self.raised[flag] += 1
        self.occurrences.append(Occurrence(self.last, flag, at))
        return self.occurrences[-1]

    def _note_clean(self, flag: int) -> None:
        one = self._set[flag]
        one.clean += 1
        if one.clean >= CLEAN_READS:
            one.by_read = False
        self._drop_unset(flag)

    def _drop_unset(self, flag: int) -> None:
        one = self._set[flag]
        if not one.by_response and not one.by_read:
            del self._set[flag]

    def to_plain(self) -> dict[str, Any]:
        """Return all of it as what MessagePack can say."""
        return {
            "seen_at": self.seen_at,
            "has_response_page": self.has_response_page,
            "raised": [list(one) for one in list(self.raised.items())],
            "looked_at": self.looked_at,
            "last": self.last,
            "occurrences": [[one.number, one.flag, one.at] for one in list(self.occurrences)],
            "set": [
                [
                    *(one.occurrence.number, flag, one.occurrence.at),
                    *(one.by_response, one.by_read, one.clean),
                ]
                for flag, one in list(self._set.items())
            ],
            "told": [list(one) for one in list(self._told.items())],
        }


def _number(occurrence: Occurrence) -> int:
    return occurrence.number


def restored(kept: dict[str, Any]) -> Flags:
    """Return the flags that `to_plain` told of.

    Raises:
        KeyError, TypeError, ValueError: it told nothing like that.
    """
    flags = Flags(
        seen_at=None if kept["seen_at"] is None else float(kept["seen_at"]),
        has_response_page=kept["has_response_page"],
        looked_at=None if kept["looked_at"] is None else float(kept["looked_at"]),
        raised=Counter({int(flag): int(count) for flag, count in kept["raised"]}),
        last=int(kept["last"]),
    )
    flags.occurrences.extend(_occurrence(*one) for one in kept["occurrences"])
    for number, flag, at, by_response, by_read, clean in kept["set"]:
        occurrence = _occurrence(number, flag, at)
        flags._set[occurrence.flag] = _Set(occurrence, bool(by_response), bool(by_read), int(clean))
    flags._told.update((str(asker), int(number)) for asker, number in kept["told"])
    return flags


def _occurrence(number: Any, flag: Any, at: Any) -> Occurrence:
    if not 1 <= int(flag) <= 64:
        raise ValueError(f"there is no flag {flag}")
    return Occurrence(int(number), int(flag), float(at))


class AlertBook:
    """The flags of every device of one kind, by its identity."""

    def __init__(self) -> None:
        self._devices: dict[str, Flags] = {}

    def of(self, device: str) -> Flags:
        """Return the flags of a device, which nobody may have seen yet."""
        return self._devices.setdefault(device, Flags())

    def to_plain(self) -> dict[str, Any]:
        """Return all of it as what MessagePack can say."""
        return {name: flags.to_plain() for name, flags in list(self._devices.items())}

    def restore(self, kept: object) -> None:
        """Take back what `to_plain` told of; anything else is left out."""
        if not isinstance(kept, dict):
            return
        for name, told in kept.items():
            try:
                self._devices[str(name)] = restored(told)
            except (KeyError, TypeError, ValueError):
                continue
