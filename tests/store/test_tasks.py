"""Queries for runs on a real server: what is over, by keyset, and one node's only."""

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import pytest
from psycopg import AsyncConnection
from psycopg.rows import TupleRow

from fakes import NOON
from fix_postgres import Postgres
from fix_records import run, run_record
from storewatchd.core.queries import Position
from storewatchd.core.tasks import TaskRun, TaskState
from storewatchd.store.ledger import write
from storewatchd.store.tasks import TaskStore


class Desk:
    """Runs of one node, put there by the ledger and asked for."""

    def __init__(self, postgres: Postgres, node: str) -> None:
        self._postgres = postgres
        self.node = node
        self.store = TaskStore(self._lend, node)

    def _lend(self) -> AbstractAsyncContextManager[AsyncConnection[TupleRow]]:
        @asynccontextmanager
        async def lend() -> AsyncIterator[AsyncConnection[TupleRow]]:
            async with await self._postgres.connect() as connection:
                yield connection

        return lend()

    async def put(self, *runs: TaskRun) -> None:
        async with self._lend() as connection:
            await write(connection, [run_record(seq, one) for seq, one in enumerate(runs, 1)])

    async def page(
        self,
        *,
        name: str | None = None,
        states: set[str] | None = None,
        after: Position | None = None,
        limit: int = 100,
    ) -> list[int]:
        """Return the numbers of a page's runs."""
        page = await self.store.page(name=name, states=states, after=after, limit=limit)
        return [int(one.id.rsplit("-", 1)[1]) for one in page]


@pytest.fixture
def desk(postgres: Postgres, node: str) -> Desk:
    return Desk(postgres, node)


async def test_a_run_comes_back_as_it_was(desk: Desk) -> None:
    odd = run(
        desk.node,
        state=TaskState.FAILED,
        progress_percent=40.5,
        message="é",
        exit_status=None,
        signal="SIGKILL",
        output="begun\n\ttail",
        bytes=1 << 60,
        reported_by="ann",
    )
    await desk.put(odd)
    assert await desk.store.get(odd.id) == odd
    assert await desk.store.page(name=None, states=None, after=None, limit=9) == [odd]


async def test_an_unknown_run_is_none(desk: Desk) -> None:
    await desk.put(run(f"{desk.node}-other", 1))
    assert await desk.store.get("run-000001") is None


async def test_a_run_that_goes_on_is_found_by_its_id_only(desk: Desk) -> None:
    running = run(desk.node, state=TaskState.RUNNING, finished_at=None, exit_status=None)
    await desk.put(running, run(desk.node, 2, state=TaskState.PENDING, started_at=None))
    assert await desk.store.get(running.id) == running
    assert await desk.page() == []


@pytest.mark.parametrize(
    ("name", "states", "found"),
    [
        pytest.param(None, None, [4, 3, 2, 1], id="all that are over"),
        pytest.param("weekly", None, [3, 2], id="name"),
        pytest.param(None, {"failed"}, [4, 2], id="state"),
        pytest.param(None, {"failed", "completed"}, [4, 3, 2, 1], id="states"),
        pytest.param(None, {"running"}, [], id="not over"),
        pytest.param(None, set(), [], id="no state"),
        pytest.param("weekly", {"failed"}, [2], id="combined"),
        pytest.param("hourly", None, [], id="unknown name"),
    ],
)
async def test_filters_find_what_they_admit(
    desk: Desk, name: str | None, states: set[str] | None, found: list[int]
) -> None:
    await desk.put(
        run(desk.node, 1),
        run(desk.node, 2, name="weekly", state=TaskState.FAILED),
        run(desk.node, 3, name="weekly"),
        run(desk.node, 4, state=TaskState.FAILED),
        run(desk.node, 5, name="weekly", state=TaskState.RUNNING),
        run(f"{desk.node}-other", 6),
    )
    assert await desk.page(name=name, states=states) == found


@pytest.mark.parametrize("limit", [1, 4, 12, 100])
async def test_pages_join_without_a_miss_or_a_repeat(desk: Desk, limit: int) -> None:
    runs = [run(desk.node, n, first_seen=round(NOON + n // 3 / 1000, 3)) for n in range(12)]
    await desk.put(*runs)
    seen: list[int] = []
    after = None
    while page := await desk.page(after=after, limit=limit):
        seen += page
        after = Position.of(runs[page[-1]].first_seen, runs[page[-1]].id)
    assert seen == list(reversed(range(12)))
