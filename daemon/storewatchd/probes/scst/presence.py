"""Which initiators are usually here at this hour, by the last two weeks. Pure, but for the zone of
the clock on the wall.

An hour of a day counts for a target when it was looked at for half of it at least while the target
was there and enabled: time in which nobody looked, SCST was down or the target was switched off
says nothing about who usually comes. An initiator was here in an hour when it was for most of what
was seen of it. Hours are local ones, since what hosts do follows the clock on the wall, and working
days are compared with working days, Saturdays and Sundays with their like: a host that is off at
the weekend is missed on Monday and not on Sunday.

An initiator is expected that was here in nine of ten such hours, in the hour before too: who comes
at five past eight is expected from nine o'clock. On a new machine nobody is, until a week has been
seen. Days after the last one on which it was here do not count, so that who stays away is expected
for about a week, until too few are left.
"""

from collections.abc import Collection, Iterator, Mapping
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from typing import Any, NamedTuple, TypeVar

from storewatchd.probes.scst.model import MOST_PEERS, Group, Target

DAYS = 14
"""How many days are remembered."""

EXPECTED_RATIO = 0.9

ENOUGH_S = 1800.0
"""For how long an hour must have been looked at to count."""

MOST_BETWEEN_S = 600.0
"""How much time between two looks is taken for seen."""

_LEAST_DAYS = {True: 2, False: 5}  # by whether it is a weekend: those of one week
_DAY_BITS = 24
_VERSION = 1
_MAX_DAY = 1 << 24

Peer = tuple[str, str, str]  # driver, target, initiator
Place = tuple[str, str]  # driver, target
K = TypeVar("K", Peer, Place)


class Hour(NamedTuple):
    """An hour of a day, by the clock on the wall."""

    day: int  # proleptic Gregorian ordinal, as date.toordinal has it
    hour: int  # 0 to 23

    @property
    def is_weekend(self) -> bool:
        return (self.day - 1) % 7 >= 5  # day 1 was a Monday

    @property
    def before(self) -> "Hour":
        if self.hour:
            return Hour(self.day, self.hour - 1)
        return Hour(self.day - 1, _DAY_BITS - 1)


def hour_of(at: float) -> Hour:
    """Return the local hour of a moment (Unix seconds)."""
    local = datetime.fromtimestamp(at, UTC).astimezone()
    return Hour(local.toordinal(), local.hour)


Days = dict[int, int]
"""A bit for each hour of a day, by day."""


class Presence:
    """Who was here when. `ratios` and `expected` are of the hour that is now."""

    def __init__(self) -> None:
        self.ratios: dict[Peer, float] = {}
        self.expected: set[Peer] = set()
        self._looked: dict[Place, Days] = {}
        self._here: dict[Peer, Days] = {}
        self._groups: dict[Peer, str] = {}  # in which each was seen last
        self._hour = Hour(0, 0)
        self._last: float | None = None
        # Of the hour that is now, seconds.
        self._seconds: dict[Place, float] = {}
        self._present: dict[Peer, float] = {}

    def take(
        self, here: Mapping[Peer, str], places: Collection[Place], hour: Hour, at: float
    ) -> None:
        """Take what a look found at this moment: who is here, and in which group each sees its
        LUNs, and the targets that are there and enabled."""
        if hour != self._hour:
            self._end_hour()
            self._hour = hour
            self._judge()
        since = 0.0 if self._last is None else min(max(at - self._last, 0.0), MOST_BETWEEN_S)
        self._last = at
        for place in places:
            self._seconds[place] = self._seconds.get(place, 0.0) + since
        for peer, group in here.items():
            if peer in self._present or len(self._present) < MOST_PEERS:
                self._present[peer] = self._present.get(peer, 0.0) + since
                self._groups[peer] = group

    def away(self, here: Collection[Peer]) -> Iterator[tuple[Peer, str]]:
        """Yield who is remembered and not here, and the group of each."""
        for peer in self._here:
            if peer not in here:
                yield peer, self._groups.get(peer, "")

    def forget(self, peer: Peer) -> None:
        """Forget an initiator that was taken out: it is not expected any more."""
        for kept in (self._here, self._groups, self._present, self.ratios):
            kept.pop(peer, None)
        self.expected.discard(peer)

    def _end_hour(self) -> None:
        day, bit = self._hour.day, 1 << self._hour.hour
        for place, seconds in self._seconds.items():
            if seconds >= ENOUGH_S:
                _mark(self._looked.setdefault(place, {}), day, bit)
        for peer, seconds in self._present.items():
            whole = self._seconds.get(peer[:2], 0.0)
            is_known = peer in self._here or len(self._here) < MOST_PEERS
            if whole >= ENOUGH_S and seconds >= whole / 2 and is_known:
                _mark(self._here.setdefault(peer, {}), day, bit)
        # A clock that is wrong for some minutes, as after a start, costs no memory.
        if max(self._seconds.values(), default=0.0) >= ENOUGH_S:
            self._looked = _recent(self._looked, day)
            self._here = _recent(self._here, day)
            self._groups = {peer: self._groups.get(peer, "") for peer in self._here}
        self._seconds, self._present = {}, {}

    def _judge(self) -> None:
        """Say who is expected in the hour that begins."""
        self.ratios, self.expected = {}, set()
        for peer in self._here:
            ratio, earlier = (self._ratio(peer, one) for one in (self._hour, self._hour.before))
            if ratio is not None:
                self.ratios[peer] = ratio
                if ratio >= EXPECTED_RATIO and earlier is not None and earlier >= EXPECTED_RATIO:
                    self.expected.add(peer)

    def _ratio(self, peer: Peer, hour: Hour) -> float | None:
        """Return in which part of the hours like this one an initiator was here; None where too
        few of them were looked at."""
        bit, here = 1 << hour.hour, self._here[peer]
        last = max(here)
        looked = [
            day
            for day, hours in self._looked.get(peer[:2], {}).items()
            if hour.day - DAYS <= day < hour.day
            and (day < last or (day == last and here[day] & bit))  # on that one it left
            and hours & bit
            and Hour(day, 0).is_weekend == hour.is_weekend
        ]
        if len(looked) < _LEAST_DAYS[hour.is_weekend]:
            return None
        return sum(bool(here.get(day, 0) & bit) for day in looked) / len(looked)

    # Over a restart.

    def to_plain(self) -> dict[str, Any]:
        """Return all of it as what JSON can say."""
        return {
            "version": _VERSION,
            "hour": list(self._hour),
            "last": self._last,
            "looked": [[*place, *map(list, days.items())] for place, days in self._looked.items()],
            "here": [[*peer, *map(list, days.items())] for peer, days in self._here.items()],
            "groups": [[*peer, group] for peer, group in self._groups.items()],
            "seconds": [[*place, seconds] for place, seconds in self._seconds.items()],
            "present": [[*peer, seconds] for peer, seconds in self._present.items()],
        }

    @classmethod
    def from_plain(cls, plain: object) -> "Presence":
        """Return what `to_plain` said. Of anything else nothing is believed."""
        presence = cls()
        try:
            presence._restore(plain)
        except (AttributeError, KeyError, OverflowError, TypeError, ValueError):
            return cls()
        return presence

    def _restore(self, plain: Any) -> None:
        if plain["version"] != _VERSION:
            raise ValueError("another version")
        day, hour = plain["hour"]
        self._hour = Hour(_number(day, _MAX_DAY), _number(hour, _DAY_BITS))
        last = plain["last"]
        self._last = None if last is None else float(last)
        for driver, target, *days in plain["looked"]:
            self._looked[_texts(driver, target)] = _days(days)
        for driver, target, initiator, *days in plain["here"]:
            self._here[(*_texts(driver, target), str(initiator))] = _days(days)
        for driver, target, initiator, group in plain["groups"]:
            self._groups[(*_texts(driver, target), str(initiator))] = str(group)
        for driver, target, seconds in plain["seconds"]:
            self._seconds[_texts(driver, target)] = float(seconds)
        for driver, target, initiator, seconds in plain["present"]:
            self._present[(*_texts(driver, target), str(initiator))] = float(seconds)
        self._judge()


def was_taken_out(
    initiator: str, group: str, target: Target | None, listed: Collection[Group]
) -> bool:
    """Whether an initiator that saw its LUNs by a group is in that group no more. `listed` are the
    target's groups with their initiators, as far as they are known."""
    if not group or target is None:
        return False
    if group not in [one.name for one in target.groups]:
        return True
    patterns = next((one.initiators for one in listed if one.name == group), None)
    # One that cannot be read is empty.
    if patterns is None or "" in patterns:
        return False
    return not any(_may_match(pattern, initiator) for pattern in patterns)


def _may_match(pattern: str, initiator: str) -> bool:
    # With a portal, `name#address`, it depends on where the initiator comes in. `!` negates.
    if "#" in pattern:
        return True
    escaped = pattern.replace("[", "[[]")  # SCST knows * and ? only
    return not pattern.startswith("!") and fnmatchcase(initiator, escaped)


def _mark(days: Days, day: int, bit: int) -> None:
    days[day] = days.get(day, 0) | bit


def _recent(kept: Mapping[K, Days], today: int) -> dict[K, Days]:
    found = {}
    for one, days in kept.items():
        recent = {day: hours for day, hours in days.items() if 0 <= today - day <= DAYS}
        if recent:
            found[one] = recent
    return found


def _days(plain: Collection[Any]) -> Days:
    return {_number(day, _MAX_DAY): _number(hours, 1 << _DAY_BITS) for day, hours in plain}


def _number(value: object, limit: int) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < limit:
        raise ValueError("no number")
    return value


def _texts(driver: object, target: object) -> Place:
    if not isinstance(driver, str) or not isinstance(target, str):
        raise ValueError("no names")
    return driver, target
