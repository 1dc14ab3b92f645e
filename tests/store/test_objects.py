"""Versions of objects on a real server: from when to when each was so."""

from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import msgspec
import pytest
from psycopg import AsyncConnection
from psycopg.rows import TupleRow

from fakes import NOON
from fix_postgres import Postgres
from fix_records import stored
from storewatchd.core.frames import ObjectKind
from storewatchd.core.objects import Object
from storewatchd.core.queries import ObjectPlace, ObjectQuery
from storewatchd.errors import StoreRefused
from storewatchd.journal import StoredRecord
from storewatchd.store.ledger import _OBJECT_ENDS, write
from storewatchd.store.objects import ObjectStore

DRIVE, CARTRIDGE = ObjectKind.TAPE_DRIVE, ObjectKind.CARTRIDGE


def version(
    seq: int,
    name: str = "D1",
    *,
    node: str,
    kind: ObjectKind = DRIVE,
    change: str = "changed",
    here: bool = True,
    other: str = "",
    epoch: str = "e1",
    **facts: str,
) -> StoredRecord:
    """Return the record of a version that began `seq` seconds after noon."""
    sources = {"probe": facts} if here else {}
    one = Object(kind, name, seq, NOON, NOON + seq, facts, sources)
    data = msgspec.json.encode({**one.to_state(), "change": change, "other": other})
    key = f"{kind.value}/{name}"
    return stored(seq, node=node, epoch=epoch, type="object", kind=change, key=key, data=data)


class Desk:
    """Objects of one node, put there by the ledger and asked for."""

    def __init__(self, postgres: Postgres, node: str) -> None:
        self._postgres = postgres
        self.node = node
        self.store = ObjectStore(self._lend, node)

    def _lend(self) -> AbstractAsyncContextManager[AsyncConnection[TupleRow]]:
        @asynccontextmanager
        async def lend() -> AsyncIterator[AsyncConnection[TupleRow]]:
            async with await self._postgres.connect() as connection:
                yield connection

        return lend()

    async def put(self, records: Sequence[StoredRecord]) -> None:
        async with self._lend() as connection:
            await write(connection, records)

    async def history(
        self, name: str = "D1", kind: str | None = "tape_drive"
    ) -> list[tuple[str, float, float | None]]:
        """Return change and validity of the versions of an object, in seconds after noon."""
        return [
            (one.change, one.object.since - NOON, None if one.until is None else one.until - NOON)
            for one in await self.store.versions(kind, name, 100)
        ]

    async def at(
        self, after_noon_s: float, *, after: ObjectPlace | None = None, **filters: object
    ) -> list[tuple[str, dict[str, str]]]:
        query = ObjectQuery(**filters)  # type: ignore[arg-type]
        found = await self.store.at(NOON + after_noon_s, query, after, 100)
        return [(one.object.id, dict(one.object.facts)) for one in found]


@pytest.fixture
def desk(postgres: Postgres, node: str) -> Desk:
    return Desk(postgres, node)


async def test_a_version_was_so_until_the_next_one(desk: Desk) -> None:
    first = version(1, node=desk.node, change="found", sg="sg3")
    second = version(5, node=desk.node, change="renamed", sg="sg4")
    third = version(9, node=desk.node, change="gone", here=False, other="D0")
    await desk.put([first])
    assert await desk.history() == [("found", 1, None)]
    await desk.put([second, third])
    expected = [("gone", 9, None), ("renamed", 5, 9), ("found", 1, 5)]
    assert await desk.history() == expected
    newest, *_ = await desk.store.versions(None, "D1", 1)
    assert (newest.other, newest.object.is_here) == ("D0", False)


async def test_writing_a_record_again_changes_nothing(desk: Desk) -> None:
    records = [version(1, node=desk.node), version(5, node=desk.node, sg="sg4")]
    await desk.put(records)
    await desk.put(records[:1])
    await desk.put(records)
    assert await desk.history() == [("changed", 5, None), ("changed", 1, 5)]


async def test_a_version_that_comes_late_finds_its_place(desk: Desk) -> None:
    await desk.put([version(1, node=desk.node), version(9, node=desk.node)])
    await desk.put([version(5, node=desk.node)])
    assert [validity for _, *validity in await desk.history()] == [[9, None], [5, 9], [1, 9]]


async def test_the_same_number_with_other_bytes_is_refused(desk: Desk) -> None:
    await desk.put([version(1, node=desk.node)])
    with pytest.raises(StoreRefused, match=r"object: record e1\.1 is there already"):
        await desk.put([version(1, node=desk.node, sg="other")])


async def test_a_moment_shows_what_was_so_then(desk: Desk) -> None:
    await desk.put(
        [
            version(1, "D1", node=desk.node, sg="sg3"),
            version(2, "A1", node=desk.node, kind=CARTRIDGE, element="7"),
            version(5, "D1", node=desk.node, sg="sg4"),
            version(7, "A1", node=desk.node, kind=CARTRIDGE, change="gone", here=False),
            version(9, "D1", node=desk.node, change="forgotten", here=False),
        ]
    )
    assert await desk.at(0.5) == []
    assert await desk.at(1) == [("D1", {"sg": "sg3"})]
    assert await desk.at(4.9) == [("A1", {"element": "7"}), ("D1", {"sg": "sg3"})]
    assert await desk.at(5) == [("A1", {"element": "7"}), ("D1", {"sg": "sg4"})]
    assert await desk.at(8, here=True) == [("D1", {"sg": "sg4"})]
    assert await desk.at(8, here=False) == [("A1", {})]
    assert await desk.at(8, kind=CARTRIDGE) == [("A1", {})]
    assert await desk.at(8, after=ObjectPlace("cartridge", "A1")) == [("D1", {"sg": "sg4"})]
    assert await desk.at(99) == [("A1", {})]


async def test_another_nodes_objects_are_not_ours(desk: Desk) -> None:
    await desk.put([version(1, node=f"{desk.node}-other")])
    assert await desk.at(99) == []
    assert await desk.history() == []


async def test_a_name_of_several_kinds_is_found_by_its_kind(desk: Desk) -> None:
    await desk.put(
        [version(1, "X", node=desk.node), version(2, "X", node=desk.node, kind=CARTRIDGE)]
    )
    assert await desk.history("X") == [("changed", 1, None)]
    assert await desk.history("X", None) == [("changed", 2, None), ("changed", 1, None)]


async def test_ends_are_found_without_reading_every_version(desk: Desk) -> None:
    async with desk._lend() as connection:
        await connection.execute(
            "INSERT INTO object SELECT %s, 'e1', seq, 'disk', 'W' || seq %% 1000, 'changed', '',"
            " true, to_timestamp(seq), to_timestamp(seq + 1), '{}', ''"
            " FROM generate_series(1, 20000) seq",
            (desk.node,),
        )
        await connection.execute("ANALYZE object")
        asked = {"node": desk.node, "epochs": ["e1"], "seqs": [19_999, 20_000]}
        plan = await connection.execute(b"EXPLAIN " + _OBJECT_ENDS.encode(), asked)
        steps = [str(line) for (line,) in await plan.fetchall()]
        await connection.rollback()
    assert not [step for step in steps if "Seq Scan" in step], steps
    # The index of numbers begins with node and epoch: by node and number all of it is read.
    (numbers,) = (step for step in steps if "Index Cond" in step and "seq = ANY" in step)
    assert "epoch = ANY" in numbers
