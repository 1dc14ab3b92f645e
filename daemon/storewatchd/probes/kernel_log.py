"""What the kernel's log says of storage: counted by pattern, and told.

Which lines speak of storage, the reader's table says; no other leaves the reader.
"""

from collections import Counter
from collections.abc import Iterable
from typing import NamedTuple

from storewatch_reader.kernel_log import PATTERNS
from storewatchd.clock import Clock
from storewatchd.core.frames import Frame, News, Row, Scope
from storewatchd.core.model import EventType
from storewatchd.port import Heard, Port
from storewatchd.probes.base import counter, seen
from storewatchd.probes.hearing import ABSENT, Standing, Telling

NAME = "kernel_log"

NEWS_A_MINUTE = 20
NEWS_AT_ONCE = 20

MESSAGE_CHARACTERS = 500

# What SCST says of its daily work is counted, and no event.
_UNTOLD = frozenset(("scst", "scst_event_lost"))

FAMILIES = (
    counter("kernel_log_matches_total", "Lines of the kernel's log about storage.", "pattern"),
    counter("kernel_log_lost_total", "Lines of the kernel's log that nobody here has read."),
)


class KernelLine(NamedTuple):
    """A line and the device that it is about, as the kernel names it (`+scsi:0:0:0:0`, `b8:0`),
    where it says that."""

    pattern: str
    message: str
    device: str


def parse_line(pattern: str, record: bytes) -> KernelLine:
    """Return what a record of /dev/kmsg says (Documentation/ABI/testing/dev-kmsg): behind the first
    semicolon the text, and after it lines ` NAME=value`. What cannot be printed is left out."""
    _, _, rest = record.partition(b";")
    text, *more = rest.split(b"\n")
    device = next((one[8:] for one in more if one.startswith(b" DEVICE=")), b"")
    return KernelLine(pattern, _shown(text), _shown(device))


def _shown(raw: bytes) -> str:
    text = "".join(one for one in raw.decode(errors="replace") if one.isprintable())
    return text[:MESSAGE_CHARACTERS]


class KernelLog:
    """What was read of the log since somebody listens."""

    def __init__(self, clock: Clock) -> None:
        self.standing = Standing()
        self._clock = clock
        self._counts = Counter(dict.fromkeys((name for name, _ in PATTERNS), 0))
        self._lost = 0
        self._telling: Telling[KernelLine] = Telling(a_minute=NEWS_A_MINUTE, at_once=NEWS_AT_ONCE)

    def take(self, heard: Heard) -> Counter[str]:
        """Take what the watch tells; return how many lines of which pattern there were."""
        self.standing.note(heard)
        found = Counter(heard.patterns) + Counter(heard.more)
        for name, count in found.items():
            if name in self._counts:  # not of a reader that is newer
                self._counts[name] += count
        self._lost += heard.lost
        for pattern, record in zip(heard.patterns, heard.records, strict=False):
            if pattern not in _UNTOLD:
                self._telling.add(parse_line(pattern, record))
        return found

    def rows(self) -> dict[str, list[Row]]:
        """Return the counts, also of what never was there."""
        return {
            "kernel_log_matches_total": [
                Row((name,), float(count)) for name, count in self._counts.items()
            ],
            "kernel_log_lost_total": [Row((), float(self._lost))],
        }

    def news(self) -> Iterable[News]:
        """Return what is to be told since the last time."""
        told, untold = self._telling.take(self._clock.monotonic())
        for line, count in told:
            facts = {name: value for name, value in line._asdict().items() if value}
            yield News(EventType.STORAGE, "kernel_message", {**facts, "count": count})
        if untold:
            yield News(EventType.STORAGE, "kernel_messages_not_told", {"count": untold})


class KernelLogProbe:
    """The log, as far as it speaks of storage."""

    name = NAME
    families = FAMILIES

    def __init__(self, log: KernelLog) -> None:
        self._log = log

    async def discover(self, port: Port) -> tuple[Scope, ...]:
        return () if self._log.standing.state == ABSENT else (Scope(self.name),)

    async def collect(self, port: Port, scope: Scope) -> Frame:
        self._log.standing.check()
        return seen(scope, self._log.rows(), self._log.news())
