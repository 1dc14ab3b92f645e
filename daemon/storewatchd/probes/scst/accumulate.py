"""Totals that never fall, of counters that do: a session's start anew at each login, and anybody
may zero them. Pure.

A target's own counters are the sums of its live sessions', and fall at each logout: they are not
used. What a session counted between the last look and its end is lost.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Any

from storewatchd.probes.scst.model import MOST_PEERS, Counters, Identity

KEEP_SESSION_S = 86_400.0
"""How long the last counts of a session are kept that is gone: it may only have been overlooked."""

KEEP_TOTAL_S = 30 * 86_400.0
"""How long the totals of an initiator are kept that does not come back."""

Key = tuple[str, str]
"""What is counted, and of which kind: ("commands", "read")."""

Counts = Mapping[Key, int]
Peer = tuple[str, str, str]  # driver, target, initiator
Place = tuple[str, str]  # driver, target

LOGINS = ("logins", "")

_VERSION = 1
_MAX_COUNT = 1 << 80  # of what is read anew at a start


def counts_of(counters: Counters) -> dict[Key, int]:
    """Return a session's counters by what they count."""
    found = {}
    for name in ("commands", "kib", "unaligned"):
        counts: Mapping[str, int] = getattr(counters, name)
        found.update({(name, direction): count for direction, count in counts.items()})
    return found


class Ledger:
    """The totals of each initiator at each target, and of each target. The first look is where they
    begin: what its sessions have counted until then is in them, and is no login."""

    def __init__(self) -> None:
        self.initiators: dict[Peer, dict[Key, int]] = {}
        self.targets: dict[Place, dict[Key, int]] = {}
        self._last: dict[Identity, dict[Key, int]] = {}
        self._seen: dict[Identity | Peer | Place, float] = {}
        self._has_begun = False

    def take(self, sessions: Iterable[tuple[Identity, Counts]], at: float) -> None:
        """Take what a look found, at this moment (Unix seconds)."""
        for identity, counts in _merged(sessions).items():
            self._take_one(identity, counts, at)
        self._has_begun = True
        self._forget(at)

    def _take_one(self, identity: Identity, counts: Counts, at: float) -> None:
        place = (identity.driver, identity.target)
        peer = (*place, identity.initiator)
        totals = self.initiators.setdefault(peer, {LOGINS: 0})
        sums = self.targets.setdefault(place, {})
        last = self._last.get(identity)
        if last is None:
            last = self._last[identity] = {}
            totals[LOGINS] += self._has_begun
        for key, count in counts.items():
            before = last.get(key, 0)
            # A count that fell began anew: all of it came since.
            change = count - before if count >= before else count
            totals[key] = totals.get(key, 0) + change
            sums[key] = sums.get(key, 0) + change
            last[key] = count
        for one in (identity, peer, place):
            self._seen[one] = at

    def _forget(self, at: float) -> None:
        for session in [one for one in self._last if at - self._seen[one] > KEEP_SESSION_S]:
            del self._last[session], self._seen[session]
        for peer in [one for one in self.initiators if at - self._seen[one] > KEEP_TOTAL_S]:
            del self.initiators[peer], self._seen[peer]
        for place in [one for one in self.targets if at - self._seen[one] > KEEP_TOTAL_S]:
            del self.targets[place], self._seen[place]
        self._bound(self._last, at)
        self._bound(self.initiators, at)

    def _bound(self, kept: dict[Any, Any], at: float) -> None:
        """Forget, of those that are gone, who was seen the longest ago, where they are too many."""
        more = len(kept) - MOST_PEERS
        if more <= 0:
            return
        gone = sorted((one for one in kept if self._seen[one] < at), key=self._seen.__getitem__)
        for one in gone[:more]:
            del kept[one], self._seen[one]

    # Over a restart.

    def to_plain(self) -> dict[str, Any]:
        """Return all of it as what JSON can say."""
        return {
            "version": _VERSION,
            "begun": self._has_begun,
            **{
                name: [
                    [_names(one), self._seen[one], [[*key, count] for key, count in counts.items()]]
                    for one, counts in kept.items()
                ]
                for name, kept in self._kept()
            },
        }

    @classmethod
    def from_plain(cls, plain: object) -> "Ledger":
        """Return what `to_plain` said. Of anything else nothing is believed: totals begin anew,
        as after a reset."""
        ledger = cls()
        try:
            ledger._restore(plain)
        except (AttributeError, KeyError, OverflowError, TypeError, ValueError):
            return cls()
        return ledger

    def _restore(self, plain: Any) -> None:
        if plain["version"] != _VERSION:
            raise ValueError("another version")
        for (name, kept), size in zip(self._kept(), (4, 3, 2), strict=True):
            for names, at, counts in plain[name]:
                if len(names) != size or not all(isinstance(one, str) for one in names):
                    raise ValueError("no names")
                one: Any = Identity(*names) if size == 4 else tuple(names)
                self._seen[one] = float(at)
                kept[one] = {(str(what), str(kind)): _count(count) for what, kind, count in counts}
        for totals in self.initiators.values():
            totals.setdefault(LOGINS, 0)
        self._has_begun = bool(plain["begun"])

    def _kept(self) -> tuple[tuple[str, dict[Any, dict[Key, int]]], ...]:
        return (
            ("sessions", self._last),
            ("initiators", self.initiators),
            ("targets", self.targets),
        )


def _merged(sessions: Iterable[tuple[Identity, Counts]]) -> dict[Identity, Counts]:
    """Return the counts of each identity: sessions that nothing tells apart count as one."""
    found: dict[Identity, Counts] = {}
    for identity, counts in sessions:
        if identity not in found:
            found[identity] = counts
            continue
        both = defaultdict(int, found[identity])
        for key, count in counts.items():
            both[key] += count
        found[identity] = both
    return found


def _names(one: Identity | Peer | Place) -> list[str]:
    if isinstance(one, Identity):
        return [one.driver, one.target, one.initiator, one.sid]
    return list(one)


def _count(value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < _MAX_COUNT:
        raise ValueError("no count")
    return value
