"""What a real server knows of a node's present state, put there by the ledger."""

import json
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import pytest
from psycopg import AsyncConnection
from psycopg.rows import TupleRow

from fakes import NOON
from fix_postgres import Postgres
from fix_records import alert, alert_record, run, run_record, stored
from storewatchd.core.commands import Rebuild
from storewatchd.core.model import Alert, AlertState
from storewatchd.core.permissions import READ_ONLY, Token
from storewatchd.core.task_names import TaskName
from storewatchd.core.tasks import TaskRun, TaskState
from storewatchd.journal import StoredRecord
from storewatchd.store.ledger import write
from storewatchd.store.rebuild import LostState

TOKEN = Token(
    id="t1", name="grafana", permissions=READ_ONLY, digest="d", created_at=NOON, created_by="ann"
)


class Desk:
    """What a node has written, and what it asks for after it has lost it."""

    def __init__(self, postgres: Postgres, node: str) -> None:
        self._postgres = postgres
        self._seq = 0
        self.node = node
        self.lost = LostState(self._lend, node)

    def _lend(self) -> AbstractAsyncContextManager[AsyncConnection[TupleRow]]:
        @asynccontextmanager
        async def lend() -> AsyncIterator[AsyncConnection[TupleRow]]:
            async with await self._postgres.connect() as connection, connection.transaction():
                yield connection

        return lend()

    async def put(self, *records: StoredRecord) -> None:
        async with self._lend() as connection:
            await write(connection, records)

    def open(self, number: int = 1, **changes: Any) -> Alert:
        plain = {"state": AlertState.FIRING, "resolved_at": None, "resolved_by": None}
        return alert(self.node, number, **{**plain, **changes})

    async def tell(self, of: Alert, kind: str = "firing", **reason: Any) -> None:
        """Write a transition of an alert."""
        self._seq += 1
        said = json.dumps(reason).encode()
        await self.put(alert_record(self._seq, of, kind=kind, reason=said))

    async def run(self, of: TaskRun) -> None:
        self._seq += 1
        await self.put(run_record(self._seq, of))

    async def state(self, kind: str, key: str, value: Any) -> None:
        self._seq += 1
        data = json.dumps({"kind": kind, "key": key, "value": value}).encode()
        await self.put(stored(self._seq, node=self.node, type="state", kind="put", data=data))

    async def alerts(self) -> list[tuple[Alert, dict[str, Any]]]:
        found, rest = await self.lost.alerts(None, 100)
        assert rest is None
        return found

    async def name(self, name: str = "nightly") -> TaskName:
        return TaskName.from_state((await self.lost.rest()).names[name])


@pytest.fixture
def desk(postgres: Postgres, node: str) -> Desk:
    return Desk(postgres, node)


async def test_of_a_node_that_never_wrote_nothing_is_known(desk: Desk) -> None:
    assert await desk.alerts() == []
    assert await desk.lost.rest() == Rebuild()


# Alerts.


async def test_only_open_alerts_of_this_node_are_known(desk: Desk, postgres: Postgres) -> None:
    other = Desk(postgres, f"{desk.node}-other")
    firing, pending = desk.open(1), desk.open(2, state=AlertState.PENDING)
    await desk.tell(firing)
    await desk.tell(pending, "pending")
    await desk.tell(alert(desk.node, 3), "resolved")
    await other.tell(other.open(4))
    assert [found for found, _ in await desk.alerts()] == [pending, firing]


async def test_an_alert_comes_with_the_last_reason_that_opened_it(desk: Desk) -> None:
    made = desk.open(version=1)
    await desk.tell(made, key="k", ttl_seconds=60)
    await desk.tell(desk.open(version=2), "repeated", key="k", ttl_seconds=90)
    marked = desk.open(version=3, acknowledged_by="ann", acknowledged_at=NOON)
    await desk.tell(marked, "acknowledged", actor="ann", note=None)
    await desk.tell(desk.open(2))
    assert await desk.alerts() == [
        (desk.open(2), {}),
        (marked, {"key": "k", "ttl_seconds": 90}),
    ]


async def test_an_alert_does_not_come_with_what_a_copy_of_the_node_told_of_it(
    desk: Desk, postgres: Postgres
) -> None:
    copy = Desk(postgres, f"{desk.node}-copy")
    await desk.tell(desk.open(), "firing", value=1)
    theirs = copy.open(id=desk.open().id)
    await copy.tell(copy.open(2))
    await copy.tell(theirs, "firing", value=2)
    assert await desk.alerts() == [(desk.open(), {"value": 1})]


async def test_an_alert_whose_story_is_missing_is_known_all_the_same(
    desk: Desk, postgres: Postgres
) -> None:
    await desk.tell(desk.open(), series={"a": "1"})
    async with await postgres.connect() as operator:
        await operator.execute("DELETE FROM alert_event WHERE node = %s", (desk.node,))
    assert await desk.alerts() == [(desk.open(), {})]


@pytest.mark.parametrize("limit", [1, 3, 4, 7, 8])
async def test_pages_join_without_a_miss_or_a_repeat(desk: Desk, limit: int) -> None:
    alerts = [desk.open(n, first_seen=round(NOON + n // 3 / 1000, 3)) for n in range(7)]
    for one in alerts:
        await desk.tell(one)
    seen, after = await desk.lost.alerts(None, limit)
    while after is not None:
        page, after = await desk.lost.alerts(after, limit)
        seen += page
    assert [found for found, _ in seen] == alerts[::-1]


async def test_what_cannot_be_read_is_left_out_and_told(
    desk: Desk, postgres: Postgres, caplog: pytest.LogCaptureFixture
) -> None:
    await desk.tell(desk.open(1))
    await desk.tell(desk.open(2))
    await desk.state("token", "t1", TOKEN.to_state())
    async with await postgres.connect() as operator:
        await operator.execute(
            "UPDATE alert SET body = body - 'labels' WHERE id = %s", (desk.open(2).id,)
        )
        await operator.execute(
            "UPDATE state SET value = value - 'name' WHERE node = %s", (desk.node,)
        )
    assert [found for found, _ in await desk.alerts()] == [desk.open(1)]
    assert (await desk.lost.rest()).tokens == ()
    assert caplog.messages == [
        "an alert in PostgreSQL cannot be read and is left out: KeyError('labels')",
        "a token in PostgreSQL cannot be read and is left out: KeyError('name')",
    ]


# The rest.


async def test_runs_that_are_not_over_are_known(desk: Desk) -> None:
    running = run(desk.node, state=TaskState.RUNNING, finished_at=None, exit_status=None)
    await desk.run(running)
    await desk.run(run(desk.node, 2))
    await desk.run(run(f"{desk.node}-other", 3, state=TaskState.RUNNING))
    assert (await desk.lost.rest()).runs == (running.to_state(),)


async def test_a_task_s_runs_are_added_up(desk: Desk) -> None:
    failed = {"state": TaskState.FAILED, "exit_status": 3}
    await desk.run(run(desk.node, 10))
    await desk.run(run(desk.node, 20, **failed, output="no tape\n", bytes=5))
    await desk.run(run(desk.node, 30, bytes=7, type="copy"))
    await desk.run(run(desk.node, 40, state=TaskState.RUNNING, finished_at=None, type="copy"))
    assert await desk.name() == TaskName(
        type="copy",
        runs={"completed": 2, "failed": 1},
        last_start=NOON + 40,
        last_end=NOON + 33,
        last_success=NOON + 33,
        last_failure=NOON + 23,
        last_duration_s=3.0,
        last_bytes=7,
        failure=("3", "", "no tape"),
    )


async def test_a_task_that_never_ended_is_known(desk: Desk) -> None:
    await desk.run(run(desk.node, state=TaskState.RUNNING, finished_at=None))
    assert await desk.name() == TaskName(type="backup", runs={}, last_start=NOON + 1)


async def test_of_too_many_tasks_those_are_known_that_were_seen_last(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("storewatchd.store.rebuild.MAX_NAMES", 2)
    for number, name in enumerate(("a", "b", "c", "a")):
        await desk.run(run(desk.node, number, name=name))
    assert sorted((await desk.lost.rest()).names) == ["a", "c"]


async def test_state_is_known_as_it_was_last(desk: Desk) -> None:
    await desk.state("repository", "a", {"path": "/a"})
    await desk.state("repository", "b", {"path": "/b"})
    await desk.state("repository", "b", None)
    await desk.state("mount_point", "/a", {"mount_point": "/mnt"})
    await desk.state("token", "t1", TOKEN.to_state())
    await desk.state("token", "t1", TOKEN.revoked(NOON + 9).to_state())
    assert await desk.lost.rest() == Rebuild(
        repositories={"a": "/a"}, mount_points={"/a": "/mnt"}, tokens=(TOKEN.revoked(NOON + 9),)
    )
