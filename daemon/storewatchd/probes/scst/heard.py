"""What SCST says of its hosts through /dev/scst_event, added up; and the probes that tell it."""

import logging
import threading
from collections import Counter, deque
from collections.abc import Iterable
from dataclasses import asdict
from typing import Any

from storewatchd.clock import Clock
from storewatchd.core.frames import Frame, News, Row, Scope
from storewatchd.core.model import EventType
from storewatchd.errors import Malformed, ProbeDeferred, ProbeFailed
from storewatchd.port import Heard, Port
from storewatchd.probes.base import counter, gauge, seen
from storewatchd.probes.hearing import ABSENT, LISTENING, Standing, Telling
from storewatchd.probes.scst.events import (
    ABORTS,
    RESETS,
    Event,
    LunNotFound,
    MaskedInitiator,
    TaskManagement,
    VirtualDevice,
    parse_event,
)

logger = logging.getLogger(__name__)

EVENTS = "scst_events"
EVENT_READER = "scst_event_reader"

ABORTS_WITHIN_S = 300.0
REFUSED_WITHIN_S = 3600.0
"""How far back the gauges of what happened lately look."""

MAX_SERIES = 1000
"""How many series a counter has at most: names come from the network. Others are counted together,
with the label values "other"."""

MAX_LATELY = 5_000
"""How much of what happened lately is remembered."""

NEWS_A_MINUTE = 60
NEWS_AT_ONCE = 50

_VERSION = 1

_PAIR = ("target", "initiator")

EVENT_FAMILIES = (
    counter(
        "scst_task_management_total",
        "Task management functions: of initiators, and SCST's own.",
        *(*_PAIR, "device", "lun", "function"),
    ),
    counter(
        "scst_aborted_commands_total",
        "Commands that initiators gave up, by what they were.",
        *(*_PAIR, "lun", "command"),
    ),
    counter("scst_lun_not_found_total", "Commands to LUNs that are not there.", *_PAIR, "lun"),
    counter("scst_masked_initiator_total", "Looks of initiators that are shown no LUN.", *_PAIR),
    gauge(
        "scst_task_management_recent",
        "Aborts and resets of an initiator in the last five minutes.",
        *(*_PAIR, "device", "lun", "kind"),
    ),
    gauge(
        "scst_refused_recent",
        "How often an initiator looked in vain in the last hour: for any LUN, or for one.",
        *(*_PAIR, "reason"),
    ),
)
READER_FAMILIES = (
    gauge("scst_event_reader_up", "Whether SCST's events are heard."),
    counter("scst_event_lost_total", "Events of SCST that were not heard, as far as is known."),
)

Labels = tuple[str, ...]


class ScstEvents:
    """The events of SCST since somebody listens: counted for good, and for a while one by one."""

    def __init__(self, clock: Clock) -> None:
        self.standing = Standing()
        self.lost = 0
        self._clock = clock
        self._counts: dict[str, Counter[Labels]] = {
            family.name: Counter() for family in EVENT_FAMILIES[:4]
        }
        self._lately: dict[str, deque[tuple[float, Labels]]] = {
            family.name: deque(maxlen=MAX_LATELY) for family in EVENT_FAMILIES[4:]
        }
        self._telling: Telling[Event] = Telling(a_minute=NEWS_A_MINUTE, at_once=NEWS_AT_ONCE)
        self._is_malformed = False
        self._state = threading.Lock()

    def take(self, heard: Heard) -> list[Event]:
        """Take what the watch tells; return the events in it. What cannot be understood is lost."""
        self.standing.note(heard)
        now = self._clock.monotonic()
        found = []
        with self._state:
            self.lost += heard.lost
            for record in heard.records:
                try:
                    event = parse_event(record)
                except Malformed as error:
                    self.lost += 1
                    if not self._is_malformed:
                        logger.warning("SCST says what cannot be understood: %s", error)
                    self._is_malformed = True
                    continue
                if event is not None:
                    self._count(event, now)
                    found.append(event)
        return found

    def note_lost(self, count: int) -> None:
        """Take note of events that SCST had no room for, as it says in the kernel's log."""
        with self._state:
            self.lost += count

    def rows(self) -> dict[str, list[Row]]:
        """Return what is known now."""
        now = self._clock.monotonic()
        with self._state:
            rows = {
                name: [Row(labels, float(count)) for labels, count in counts.items()]
                for name, counts in self._counts.items()
            }
            for name, within_s in (
                ("scst_task_management_recent", ABORTS_WITHIN_S),
                ("scst_refused_recent", REFUSED_WITHIN_S),
            ):
                lately = self._lately[name]
                while lately and lately[0][0] < now - within_s:
                    lately.popleft()
                recent = Counter(labels for _, labels in lately)
                rows[name] = [
                    Row(labels, float(count)) for labels, count in recent.most_common(MAX_SERIES)
                ]
        return rows

    def news(self) -> Iterable[News]:
        """Return what is to be told since the last time."""
        told, untold = self._telling.take(self._clock.monotonic())
        for event, count in told:
            facts = {name: value for name, value in asdict(event).items() if value}
            yield News(EventType.SCST, _KINDS[type(event)], {**facts, "count": count})
        if untold:
            yield News(EventType.SCST, "events_not_told", {"count": untold})

    def to_plain(self) -> dict[str, Any]:
        """Return the counts as what MessagePack can say."""
        with self._state:
            counts = {
                name: [[*labels, count] for labels, count in found.items()]
                for name, found in self._counts.items()
            }
            return {"version": _VERSION, "lost": self.lost, "counts": counts}

    def restore(self, kept: object) -> None:
        """Take back what `to_plain` said; anything else is left out."""
        try:
            lost, counts = _restored(kept)
        except (AttributeError, KeyError, OverflowError, TypeError, ValueError):
            return
        with self._state:
            self.lost += lost
            for name, found in counts.items():
                self._counts[name].update(found)

    def _count(self, event: Event, now: float) -> None:
        self._telling.add(event)
        match event:
            case TaskManagement():
                pair = (event.target, event.initiator)
                where = (event.device, event.lun)
                self._add("scst_task_management_total", (*pair, *where, event.function))
                if event.command:
                    self._add("scst_aborted_commands_total", (*pair, event.lun, event.command))
                kind = "abort" if event.function in ABORTS else "reset"
                if event.function in ABORTS | RESETS:
                    self._remember("scst_task_management_recent", (*pair, *where, kind), now)
            case LunNotFound():
                pair = (event.target, event.initiator)
                self._add("scst_lun_not_found_total", (*pair, event.lun))
                self._remember("scst_refused_recent", (*pair, "lun_not_found"), now)
            case MaskedInitiator():
                pair = (event.target, event.initiator)
                self._add("scst_masked_initiator_total", pair)
                self._remember("scst_refused_recent", (*pair, "masked"), now)
            case VirtualDevice():
                pass  # which there are, SCST's tree tells

    def _add(self, name: str, labels: Labels) -> None:
        counts = self._counts[name]
        counts[labels if labels in counts or len(counts) < MAX_SERIES else _others(labels)] += 1

    def _remember(self, name: str, labels: Labels, now: float) -> None:
        self._lately[name].append((now, labels))


_KINDS = {
    TaskManagement: "task_management",
    LunNotFound: "lun_not_found",
    MaskedInitiator: "masked_initiator",
    VirtualDevice: "virtual_device",
}


def _others(labels: Labels) -> Labels:
    return ("other",) * len(labels)


def _restored(kept: Any) -> tuple[int, dict[str, dict[Labels, int]]]:
    if kept["version"] != _VERSION:
        raise ValueError("another version")
    counts: dict[str, dict[Labels, int]] = {}
    for family in EVENT_FAMILIES[:4]:
        found = counts[family.name] = {}
        for *labels, count in kept["counts"][family.name][: MAX_SERIES + 1]:
            if len(labels) != len(family.labels) or not all(isinstance(one, str) for one in labels):
                raise ValueError("other labels")
            found[tuple(labels)] = _count_of(count)
    return _count_of(kept["lost"]), counts


def _count_of(kept: object) -> int:
    if not isinstance(kept, int) or kept < 0:
        raise ValueError("no count")
    return kept


class ScstEventsProbe:
    """What hosts did, as SCST tells it at once. Where it tells nothing there is nothing to say;
    where it cannot be heard, nobody knows."""

    name = EVENTS
    families = EVENT_FAMILIES

    def __init__(self, events: ScstEvents) -> None:
        self._events = events

    def to_plain(self) -> object:
        return self._events.to_plain()

    def restore(self, kept: object) -> None:
        self._events.restore(kept)

    async def discover(self, port: Port) -> tuple[Scope, ...]:
        return () if self._events.standing.state == ABSENT else (Scope(self.name),)

    async def collect(self, port: Port, scope: Scope) -> Frame:
        self._events.standing.check()
        return seen(scope, self._events.rows(), self._events.news())


class ScstEventReaderProbe:
    """Whether the events of SCST are heard: that is known also where they are not."""

    name = EVENT_READER
    families = READER_FAMILIES

    def __init__(self, events: ScstEvents) -> None:
        self._events = events

    async def discover(self, port: Port) -> tuple[Scope, ...]:
        return () if self._events.standing.state == ABSENT else (Scope(self.name),)

    async def collect(self, port: Port, scope: Scope) -> Frame:
        try:
            self._events.standing.check()
        except ProbeDeferred:
            if not self._events.standing.state:
                raise
        except ProbeFailed:
            pass  # that is what is to be told
        is_up = self._events.standing.state == LISTENING
        return seen(
            scope,
            {
                "scst_event_reader_up": [Row((), float(is_up))],
                "scst_event_lost_total": [Row((), float(self._events.lost))],
            },
        )


def make_event_probes(
    events: ScstEvents,
) -> tuple[ScstEventReaderProbe, ScstEventsProbe]:
    """Return the probes of what SCST tells."""
    return ScstEventReaderProbe(events), ScstEventsProbe(events)
