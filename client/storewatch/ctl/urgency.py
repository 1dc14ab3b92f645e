"""Alerts in the order in which people read them: open ones before resolved ones, the worst of the
open ones first, and the newest first among equals. The daemon's own order is newest first."""

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from msgspec.structs import replace

from storewatch.ctl.session import Session
from storewatch.wire import params, types
from storewatch.wire.types import Severity

WORST_FIRST: tuple[Severity, ...] = ("critical", "warning", "info")


class MostUrgent(NamedTuple):
    """The first of a list, and whether there are more. `cursor` goes on where the daemon's own
    order is the same."""

    alerts: list[types.Alert]
    has_more: bool
    cursor: str | None
    incomplete_reason: str | None


def by_urgency(newest_first: Iterable[types.Alert]) -> list[types.Alert]:
    """Return alerts as people read them."""
    return sorted(
        newest_first,
        key=lambda one: (
            len(WORST_FIRST) if one.state == "resolved" else WORST_FIRST.index(one.severity)
        ),
    )


def most_urgent(session: Session, asked: params.AlertsList) -> MostUrgent:
    """Return the most urgent alerts of those asked for, within the limit.

    Raises:
        ClientError: they cannot be had, and why.
    """
    found: dict[str, types.Alert] = {}
    has_more, cursor, reason = False, None, None
    questions = list(_by_rank(asked))
    for question in questions:
        while True:
            # One more question tells whether there are more.
            question.limit, before = max(1, asked.limit - len(found)), len(found)
            page = session.ask("alerts.list", question, types.AlertList)
            reason = reason or page.incomplete_reason
            cursor = page.next_cursor
            for one in page.alerts:
                if len(found) < asked.limit:
                    found.setdefault(one.id, one)
                elif one.id not in found:
                    has_more = True
            # A page of long alerts is shorter than was asked for.
            if cursor is None or not before < len(found) < asked.limit:
                break
            question.cursor = cursor
        has_more = has_more or cursor is not None
    return MostUrgent(
        by_urgency(found.values()), has_more, cursor if len(questions) == 1 else None, reason
    )


def _by_rank(asked: params.AlertsList) -> Iterator[params.AlertsList]:
    """Yield what to ask for first, second and so on."""
    states = asked.state or ["firing", "pending", "resolved"]
    still_open = [one for one in states if one != "resolved"]
    if still_open:
        for severity in WORST_FIRST:
            if severity in (asked.severity or WORST_FIRST):
                yield replace(asked, state=still_open, severity=[severity])
    if "resolved" in states:
        yield replace(asked, state=["resolved"])
