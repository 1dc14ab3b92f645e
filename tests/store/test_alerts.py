"""Queries for alerts on a real server: every filter, by keyset, and one node's only."""

import dataclasses
import random
from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import pytest
from psycopg import AsyncConnection
from psycopg.rows import TupleRow

from fakes import NOON
from fix_postgres import Postgres
from fix_records import alert, alert_record
from storewatchd.core.matchers import parse_matcher
from storewatchd.core.model import Alert, AlertState, Severity
from storewatchd.core.queries import AlertQuery, Position
from storewatchd.store.alerts import SCAN_LIMIT, AlertPage, AlertStore, TimelineLine
from storewatchd.store.ledger import write

EVERYTHING = AlertQuery()


class Desk:
    """Alerts of one node, put there by the ledger and asked for."""

    def __init__(self, postgres: Postgres, node: str) -> None:
        self._postgres = postgres
        self.node = node
        self.store = AlertStore(self._lend, node)
        self._seq = 0

    def _lend(self) -> AbstractAsyncContextManager[AsyncConnection[TupleRow]]:
        @asynccontextmanager
        async def lend() -> AsyncIterator[AsyncConnection[TupleRow]]:
            async with await self._postgres.connect() as connection:
                yield connection

        return lend()

    def alert(self, number: int = 1, **changes: Any) -> Alert:
        return alert(self.node, number, **changes)

    async def put(self, *alerts: Alert) -> None:
        records = []
        for one in alerts:
            self._seq += 1
            records.append(alert_record(self._seq, one))
        async with self._lend() as connection:
            await write(connection, records)

    async def put_many(self, count: int, of: Alert) -> None:
        """Put so many copies of an alert, each seen a second earlier than the one before."""
        async with self._lend() as connection:
            await connection.execute(
                "INSERT INTO alert SELECT id || '-' || n, node, version, rule, severity, source,"
                " state, acknowledged, resource_type, resource_id, labels, title,"
                " first_seen - n * interval '1 s', last_seen, resolved_at, body"
                " FROM alert, generate_series(1, %s) n WHERE id = %s",
                (count, of.id),
            )

    async def page(
        self, query: AlertQuery = EVERYTHING, after: Position | None = None, limit: int = 100
    ) -> list[int]:
        """Return the numbers of a page's alerts."""
        page = await self.store.page(query, after, limit)
        assert page.is_complete
        return [int(one.id.rsplit("-", 1)[1]) for one in page.alerts]


@pytest.fixture
def desk(postgres: Postgres, node: str) -> Desk:
    return Desk(postgres, node)


# Pages.


async def test_an_alert_comes_back_as_it_was(desk: Desk) -> None:
    odd = desk.alert(
        message="two\nlines",
        labels={"a": "b"},
        annotations={"c": "é"},
        acknowledged_by="ann",
        acknowledged_at=NOON + 1.25,
        acknowledged_note="mine",
        silenced_by=("s1",),
        inhibited_by=("i1",),
        flapping=True,
        occurrences=7,
    )
    await desk.put(odd)
    assert await desk.store.page(EVERYTHING, None, 10) == AlertPage([odd], is_complete=True)
    assert await desk.store.get(odd.id) == odd


async def test_pages_are_newest_first_and_by_id_where_two_were_seen_at_once(desk: Desk) -> None:
    alerts = [desk.alert(n, first_seen=NOON + n // 3) for n in range(12)]
    await desk.put(*random.Random(7).sample(alerts, 12))
    assert await desk.page() == list(reversed(range(12)))


@pytest.mark.parametrize("limit", [1, 2, 5, 11, 12, 100])
async def test_pages_join_without_a_miss_or_a_repeat_while_others_arrive(
    desk: Desk, limit: int
) -> None:
    # In milliseconds, and three at each: a cursor that is less exact loses some.
    alerts = [desk.alert(n, first_seen=round(NOON + n // 3 / 1000, 3)) for n in range(12)]
    await desk.put(*alerts)
    seen: list[int] = []
    after = None
    while page := (await desk.store.page(EVERYTHING, after, limit)).alerts:
        assert len(page) <= limit
        seen += [int(one.id.rsplit("-", 1)[1]) for one in page]
        after = Position.of(page[-1].first_seen, page[-1].id)
        await desk.put(desk.alert(100 + len(seen)))
    assert seen == list(reversed(range(12)))


async def test_only_what_is_over_and_only_of_this_node_is_found(desk: Desk) -> None:
    await desk.put(
        desk.alert(1),
        desk.alert(2, state=AlertState.FIRING),
        desk.alert(3, state=AlertState.PENDING),
        alert(f"{desk.node}-other", 4),
    )
    assert await desk.page() == [1]


# Filters.

MANY: Sequence[dict[str, Any]] = (
    {"severity": Severity.INFO, "rule": "", "source": "cron"},
    {"severity": Severity.WARNING, "resource_type": "disk", "resource_id": "sda"},
    {"severity": Severity.CRITICAL, "resource_type": "disk", "resource_id": "sdb"},
    {"acknowledged_at": NOON, "acknowledged_by": "ann", "resource_type": "share"},
    {"labels": {"team": "tape", "tier": "1"}},
    {"labels": {"team": "disk"}, "resource_id": "x" * 200 + "1"},
    {"labels": {"team": "disk", "tier": "2"}, "resource_id": "x" * 200 + "2"},
)


def matchers(*texts: str) -> tuple[Any, ...]:
    return tuple(parse_matcher(text) for text in texts)


@pytest.mark.parametrize(
    ("filters", "found"),
    [
        pytest.param({"severities": frozenset({Severity.INFO})}, [0], id="severity"),
        pytest.param(
            {"severities": frozenset({Severity.INFO, Severity.CRITICAL})}, [2, 0], id="severities"
        ),
        pytest.param({"severities": frozenset()}, [], id="no severity"),
        pytest.param({"sources": frozenset({"cron", "x"})}, [0], id="source"),
        pytest.param(
            {"states": frozenset({AlertState.RESOLVED})}, [6, 5, 4, 3, 2, 1, 0], id="over"
        ),
        pytest.param({"states": frozenset({AlertState.FIRING})}, [], id="open"),
        pytest.param({"acknowledged": True}, [3], id="acknowledged"),
        pytest.param({"acknowledged": False}, [6, 5, 4, 2, 1, 0], id="not acknowledged"),
        pytest.param({"resource_type": "disk"}, [2, 1], id="resource type"),
        pytest.param({"resource_type": ""}, [6, 5, 4, 0], id="without a resource type"),
        pytest.param({"resource_id": "sda"}, [1], id="resource id"),
        pytest.param({"resource_id": "x" * 200 + "2"}, [6], id="long resource id"),
        pytest.param({"rule": ""}, [0], id="without a rule"),
        pytest.param({"rule": "Full"}, [6, 5, 4, 3, 2, 1], id="rule"),
        pytest.param({"since": NOON + 5}, [6, 5], id="since"),
        pytest.param({"until": NOON + 2}, [1, 0], id="until"),
        pytest.param({"since": NOON + 2, "until": NOON + 4}, [3, 2], id="between"),
        pytest.param({"matchers": matchers("team=disk")}, [6, 5], id="label"),
        pytest.param({"matchers": matchers("team=disk", "tier=2")}, [6], id="two labels"),
        pytest.param({"matchers": matchers("tier=~1|2")}, [6, 4], id="pattern"),
        pytest.param({"matchers": matchers("team!=disk")}, [4, 3, 2, 1, 0], id="not a label"),
        pytest.param({"matchers": matchers("team=~.+", 'tier=""')}, [5], id="an absent label"),
        pytest.param({"matchers": matchers("team=disk", "tier!~.+")}, [5], id="label and pattern"),
        pytest.param(
            {"resource_type": "disk", "severities": frozenset({Severity.CRITICAL}), "since": NOON},
            [2],
            id="combined",
        ),
        pytest.param({"resource_type": "disk", "acknowledged": True}, [], id="contradicting"),
    ],
)
async def test_filters_find_what_they_admit(
    desk: Desk, filters: dict[str, Any], found: list[int]
) -> None:
    await desk.put(*(desk.alert(n, **changes) for n, changes in enumerate(MANY)))
    assert await desk.page(AlertQuery(**filters)) == found


async def test_a_page_is_filled_though_few_match(desk: Desk) -> None:
    await desk.put(*(desk.alert(n, labels={"n": str(n % 400)}) for n in range(1200)))
    query = AlertQuery(matchers=matchers("n=~7|8"))
    assert await desk.page(query, limit=3) == [808, 807, 408]
    after = Position.of(NOON + 408, f"{desk.node}-000408")
    assert await desk.page(query, after, limit=10) == [407, 8, 7]


async def test_a_page_that_would_take_too_long_to_find_says_so(desk: Desk) -> None:
    newest, common = desk.alert(2, labels={"team": "rare"}), desk.alert(1)
    await desk.put(newest, common)
    await desk.put_many(SCAN_LIMIT, common)
    rare = AlertQuery(matchers=matchers("team=~rare"))
    narrowed = dataclasses.replace(rare, since=NOON)
    assert await desk.store.page(rare, None, 10) == AlertPage([newest], is_complete=False)
    assert await desk.store.page(rare, None, 1) == AlertPage([newest], is_complete=True)
    assert await desk.store.page(narrowed, None, 10) == AlertPage([newest], is_complete=True)


# One alert.


async def test_an_unknown_alert_is_none(desk: Desk) -> None:
    await desk.put(alert(f"{desk.node}-other"))
    assert await desk.store.get("nonsense") is None
    assert await desk.store.get(f"{desk.node}-other-000001") is None
    assert await desk.store.timeline("nonsense") == []


async def test_an_open_alert_is_found_by_its_id(desk: Desk) -> None:
    firing = desk.alert(state=AlertState.FIRING, resolved_at=None, resolved_by=None)
    await desk.put(firing)
    assert await desk.store.get(firing.id) == firing


async def test_a_timeline_is_what_happened_in_the_order_in_which_it_did(
    desk: Desk, postgres: Postgres
) -> None:
    one = desk.alert()
    records = [
        # The clock was set back between the first and the second.
        alert_record(3, one, time=NOON + 9.125, kind="firing", reason=b'{"value":0.9}'),
        alert_record(4, one, time=NOON, epoch="e2", kind="acknowledged"),
        alert_record(5, desk.alert(2), time=NOON),
        alert_record(6, one, time=NOON + 1, epoch="e2", kind="resolved"),
    ]
    async with await postgres.connect() as connection:
        await write(connection, records)
    assert await desk.store.timeline(one.id) == [
        TimelineLine("e1", 3, NOON + 9.125, "firing", {"value": 0.9}),
        TimelineLine("e2", 4, NOON, "acknowledged", {}),
        TimelineLine("e2", 6, NOON + 1, "resolved", {}),
    ]
