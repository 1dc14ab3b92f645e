"""Hands to the single writer what a lost journal had held, as the store knows it.

What this journal tells of an alert or a run itself is not taken from the store, unless that has a
higher version. Until everything is handed over and written, the journal goes on saying that it
needs it.
"""

import logging
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import replace

import msgspec

from storewatchd.core.commands import Rebuild
from storewatchd.core.model import EventType
from storewatchd.journal import Journal
from storewatchd.monitor.view import View
from storewatchd.store import Store
from storewatchd.store.rebuild import OpenAlert

logger = logging.getLogger(__name__)

PAGE = 1_000
"""How many alerts are handed over at a time: what is more takes several rounds."""

Hand = Callable[[Rebuild], Awaitable[dict[str, int]]]


class _Version(msgspec.Struct):
    version: int


_version = msgspec.json.Decoder(_Version).decode


async def recall(journal: Journal, store: Store, view: View, hand: Hand) -> None:
    """Take back what the store knows and this journal does not.

    Call it while nothing is confirmed: what is over and confirmed is known to neither of them.

    Raises:
        StoreError: PostgreSQL is away.
        JournalError: the journal cannot be read.
        RequestError: it cannot be written now.
    """
    total, after, is_last = Counter[str](), None, False
    while not is_last:
        page, after = await store.lost.alerts(after, PAGE)
        is_last = after is None
        unknown = [one for one in page if not await _is_told(journal, one[0].id, one[0].version)]
        lost = Rebuild(is_all=False)
        if is_last:
            rest = await store.lost.rest()
            runs = [
                run for run in rest.runs if not await _is_told(journal, run["id"], run["version"])
            ]
            lost = replace(rest, runs=tuple(runs))
        # What is shown now is known, and nothing comes between this look and the handing over.
        alerts = tuple(one for one in unknown if not _is_shown(view, one))
        total.update(await hand(replace(lost, alerts=alerts)))
    if told := ", ".join(f"{name} {count}" for name, count in total.items() if count):
        logger.warning("what the journal had lost is taken back from PostgreSQL: %s", told)


def _is_shown(view: View, one: OpenAlert) -> bool:
    known = view.alert(one[0].id)
    return known is not None and known.version >= one[0].version


async def _is_told(journal: Journal, key: str, version: int) -> bool:
    """Return whether the journal's records tell of at least this version of an alert or a run."""
    return any(
        _version(record.data).version >= version
        for record in await journal.history(key)
        if record.type in (EventType.ALERT, EventType.TASK)
    )
