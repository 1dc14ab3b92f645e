"""Who was logged in and what was there, so that it can be missed. Pure."""

from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from storewatchd.probes.scst.model import MOST_PEERS, Identity

EXPECTED_AFTER_S = 3600.0
"""How long a session must have been there for anybody to miss it."""

EXPIRES_AFTER_S = 86_400.0
"""How long what is gone is missed."""

OVERLAP_S = 600.0
"""For how long a session may still be there when its initiator has logged in again instead."""

_VERSION = 2

Peer = tuple[str, str, str]  # driver, target, initiator
Place = tuple[str, str]  # driver, target


@dataclass(slots=True)
class _Stay:
    """From when to when something was seen, Unix seconds."""

    first: float
    last: float
    since: float  # when it was first seen, or what it replaces
    is_here: bool = True
    replaces: bool = False  # another session of its initiator, which is gone

    @property
    def length_s(self) -> float:
        return self.last - self.since

    @property
    def times(self) -> tuple[float, float, float]:
        return self.first, self.last, self.since


class Memory:
    """The sessions, targets and handlers that were seen. Who logs in again has a new session, and
    the old one is not missed."""

    def __init__(self) -> None:
        self._sessions: dict[Identity, _Stay] = {}
        self._targets: dict[Place, _Stay] = {}
        self._handlers: dict[str, tuple[int, float]] = {}  # devices, and when it was seen last
        self._lost_handlers: dict[str, int] = {}

    def take(
        self,
        sessions: Collection[Identity],
        targets: Collection[Place],
        at: float,
        handlers: Mapping[str, int] | None = None,
    ) -> None:
        """Take what a look found, at this moment; of handlers how many devices each has."""
        self._note_handlers(handlers or {}, at)
        _note(self._sessions, sessions, at)
        _note(self._targets, targets, at)
        gone = [one for one, stay in self._sessions.items() if not stay.is_here]
        if not gone:
            return
        if len(gone) > MOST_PEERS:
            # Who was here for long is the last to be forgotten.
            gone.sort(key=lambda one: self._sessions[one].length_s)
            for session in gone[:-MOST_PEERS]:
                del self._sessions[session]
            gone = gone[-MOST_PEERS:]
        here: dict[Peer, list[_Stay]] = {}
        for session, stay in self._sessions.items():
            if stay.is_here and not stay.replaces:
                here.setdefault(_peer(session), []).append(stay)
        for session in sorted(gone, key=lambda one: (self._sessions[one].last, one.sid)):
            since = self._sessions[session].last - OVERLAP_S
            for stay in here.get(_peer(session), ()):
                if stay.first >= since and not stay.replaces:
                    stay.replaces = True
                    stay.since = min(stay.since, self._sessions.pop(session).since)
                    break

    def began(self, session: Identity) -> float:
        """Return when a session was first seen that is there."""
        return self._sessions[session].first

    def missed(self) -> Iterator[Identity]:
        """Yield the sessions that should be there and are not."""
        for session, stay in self._sessions.items():
            if not stay.is_here and stay.length_s >= EXPECTED_AFTER_S:
                yield session

    def lost_targets(self) -> Counter[str]:
        """Return how many targets each driver had in the last day, and has no more."""
        return Counter(driver for (driver, _), stay in self._targets.items() if not stay.is_here)

    def lost_handlers(self) -> Mapping[str, int]:
        """Return the handlers that were there in the last day, and how many devices each had."""
        return self._lost_handlers

    def _note_handlers(self, handlers: Mapping[str, int], at: float) -> None:
        self._handlers |= {name: (count, at) for name, count in handlers.items()}
        self._handlers = {
            name: (count, seen)
            for name, (count, seen) in self._handlers.items()
            if at - seen <= EXPIRES_AFTER_S
        }
        self._lost_handlers = {
            name: count
            for name, (count, _) in self._handlers.items()
            if name not in handlers and count
        }

    # Over a restart.

    def to_plain(self) -> dict[str, Any]:
        """Return all of it as what JSON can say."""
        return {
            "version": _VERSION,
            "sessions": [
                [one.driver, one.target, one.initiator, one.sid, *stay.times]
                for one, stay in self._sessions.items()
            ],
            "targets": [[*one, *stay.times] for one, stay in self._targets.items()],
            "handlers": [[name, *known] for name, known in self._handlers.items()],
        }

    @classmethod
    def from_plain(cls, plain: object) -> "Memory":
        """Return what `to_plain` said. Of anything else nothing is believed."""
        memory = cls()
        try:
            memory._restore(plain)
        except (AttributeError, KeyError, OverflowError, TypeError, ValueError):
            return cls()
        return memory

    def _restore(self, plain: Any) -> None:
        if plain["version"] != _VERSION:
            raise ValueError("another version")
        for *names, first, last, since in plain["sessions"]:
            stay = _Stay(float(first), float(last), float(since))
            self._sessions[Identity(*_texts(names, 4))] = stay
        for *names, first, last, since in plain["targets"]:
            driver, target = _texts(names, 2)
            self._targets[driver, target] = _Stay(float(first), float(last), float(since))
        for name, count, seen in plain["handlers"]:
            self._handlers[str(name)] = (int(count), float(seen))


def _peer(one: Identity) -> Peer:
    return one.driver, one.target, one.initiator


def _note(stays: dict[Any, _Stay], here: Collection[Any], at: float) -> None:
    for one, stay in list(stays.items()):
        stay.is_here = one in here
        if not stay.is_here and at - stay.last > EXPIRES_AFTER_S:
            del stays[one]
    for one in here:
        stays.setdefault(one, _Stay(at, at, at)).last = at


def _texts(names: list[object], size: int) -> list[str]:
    if len(names) != size:
        raise ValueError("no names")
    texts = [one for one in names if isinstance(one, str)]
    if len(texts) != size:
        raise ValueError("no names")
    return texts
