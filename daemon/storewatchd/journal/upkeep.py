"""What the journal's thread does between two jobs, in steps that take a few milliseconds each.

It looks after the reserve, keeps the file within its bound, gives free pages back, and once after
the start reads every record, so that none is spoilt unnoticed.
"""

import logging
import secrets
from collections import deque

from storewatchd.clock import Clock
from storewatchd.journal.database import PRUNE_STEP, Database
from storewatchd.journal.figures import Figures
from storewatchd.journal.records import Notice
from storewatchd.journal.reserve import Reserve

logger = logging.getLogger(__name__)

LOOK_S = 30.0
"""How often the disk is looked at."""

SCRUB_RECORDS = 200
SHRINK_PAGES = 256

FLOOR_SHARE = 4
"""One part in so many of the bound is for records, however much state there is: were they dropped
for it, so would be what tells of that."""

DROP_SHARE = 20
"""Over its bound the file loses one record in so many at a time."""

FREE_SHARE = 4
"""Pages are given back while more than one in so many is free."""


class Upkeep:
    """The upkeep of one file; `max_bytes` is what it may hold."""

    def __init__(
        self,
        figures: Figures,
        notices: deque[Notice],
        reserve: Reserve,
        clock: Clock,
        *,
        max_bytes: int,
    ) -> None:
        self._figures = figures
        self._notices = notices
        self._reserve = reserve
        self._clock = clock
        self._max_bytes = max_bytes
        self._is_over_by_state = False
        self._scrubbed: int | None = 0
        self._next_look = clock.monotonic()

    def begin_again(self) -> None:
        """Read every record anew, and look at the disk: the file is another one."""
        self._scrubbed = 0
        self._next_look = self._clock.monotonic()

    def step(self, database: Database, *, is_idle: bool) -> bool:
        """Do one step; return whether there is more to do soon.

        Raises:
            sqlite3.Error: as it comes; nothing is lost by that.
        """
        now = self._clock.monotonic()
        if now >= self._next_look:
            self._next_look = now + LOOK_S
            self._reserve.look()
            self._figures.measure_damaged(database.path.parent)
        self._figures.measure(database.path)
        return self._keep_within(database) or (
            is_idle and (self._shrink(database) or self._scrub(database))
        )

    def _keep_within(self, database: Database) -> bool:
        """Drop the oldest records from a file that is too large: first those that nobody needs."""
        first = database.first_after(0)
        if first is None or not self._has_too_many_records(database):
            return False
        last = database.number_of(max(1, min(database.records // DROP_SHARE, PRUNE_STEP)))
        needed_after = min(database.cursors().values(), default=0)
        if first[0] <= needed_after:
            database.drop(min(last, needed_after))
        else:
            self._lose(database, first[0], last)
        self._figures.pruned = database.pruned()
        return True

    def _has_too_many_records(self, database: Database) -> bool:
        """Return whether the records are more than state leaves of the bound, and than their part
        of it."""
        if database.used_bytes() <= self._max_bytes:
            self._is_over_by_state = False
            return False
        if database.record_bytes() > self._max_bytes // FLOOR_SHARE:
            return True
        if not self._is_over_by_state:
            logger.warning(
                "state.db is over its bound of %d MiB by what is so now, which is kept: allow more "
                "(journal.max_megabytes)",
                self._max_bytes >> 20,
            )
        self._is_over_by_state = True
        return False

    def _lose(self, database: Database, first: int, last: int) -> None:
        lost = database.count_after(0, last)
        reason = f"state.db had reached its bound of {self._max_bytes >> 20} MiB"
        waiting = self._take_waiting(reason)
        notice = _gap(first, last, lost, reason, waiting)
        try:
            database.drop(last, notice)
        except BaseException:
            self._notices.extend([] if waiting is None else [waiting])
            raise
        logger.error("%s: the oldest %d records are dropped, which PostgreSQL lacks", reason, lost)
        self._notices.append(notice)
        self._figures.lost_total += lost
        self._figures.count(database)

    def _take_waiting(self, reason: str) -> Notice | None:
        """Return the newest of what waits to be told, where that is a gap for the same reason."""
        try:
            waiting = self._notices.pop()
        except IndexError:
            return None
        if waiting.kind == "gap" and waiting.facts["reason"] == reason:
            return waiting
        self._notices.append(waiting)
        return None

    def _shrink(self, database: Database) -> bool:
        free = database.free_pages()
        if free <= max(SHRINK_PAGES, database.pages() // FREE_SHARE):
            return False
        database.shrink(SHRINK_PAGES)
        return True

    def _scrub(self, database: Database) -> bool:
        if self._scrubbed is None:
            return False
        records = database.read(self._scrubbed, SCRUB_RECORDS, None, False)
        self._scrubbed = records[-1].seq if records else None
        return True


def _gap(first: int, last: int, lost: int, reason: str, waiting: Notice | None) -> Notice:
    """Return what has to be told of a loss, together with one that waits to be told."""
    key = secrets.token_hex(8)
    if waiting is not None:
        first, lost, key = waiting.facts["from_seq"], lost + waiting.facts["records"], waiting.key
    facts = {"from_seq": first, "to_seq": last, "records": lost, "reason": reason}
    return Notice("gap", facts, key)
