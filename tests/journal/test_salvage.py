"""A damaged state.db costs what is spoilt and no more, is told of, and never keeps a node from
starting."""

import asyncio
import random
import shutil
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from core.fix_engine import rule
from fakes import NOON
from fix_node import Node, open_node, running_node
from storewatchd.core.commands import AddRepository, PutToken, ResolveAlert
from storewatchd.core.permissions import READ_ONLY, Token

PAGE = 4096
ROUNDS = 50

QUERIES = {
    "record": (
        "SELECT seq, epoch, time, type, kind, key, event, data, reason, checksum FROM record",
        "seq",
    ),
    "state": ("SELECT kind, key, value, checksum FROM state", "id"),
}

Row = tuple[Any, ...]
Rows = Mapping[str, frozenset[Row]]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The closed file of a node that has alerts, tasks, a repository, tokens and history."""
    directory = tmp_path_factory.mktemp("whole")

    async def make() -> None:
        async with running_node(directory, rules=rule()) as node:
            await fill(node)

    asyncio.run(make())
    return directory / "state.db"


async def fill(node: Node) -> None:
    await node.see(**{f"r{number}": 0.9 for number in range(30)})
    for number in range(60):
        made = await node.create(f"Fan {number}", key=f"k{number % 50}", message="m" * number * 9)
        if number % 3 == 0:
            await node.monitor.command(ResolveAlert("ann", made.id, "n" * 200))
    for number in range(20):
        run = await node.start_task(f"task {number % 7}")
        if number % 2:
            await node.finish_task(run.id, exit_status=number % 3, output="o" * 9_000)
    await node.monitor.command(AddRepository("ann", "a", "/a"))
    for number in range(5):
        await node.monitor.command(PutToken("ann", token(f"t{number}")))


def token(token_id: str) -> Token:
    return Token(
        id=token_id,
        name=token_id,
        permissions=READ_ONLY,
        digest="d",
        created_at=NOON,
        created_by="ann",
    )


def everything(path: Path) -> tuple[Rows, Mapping[str, frozenset[int]]]:
    """Return every row of a whole file, and the numbers that SQLite finds them by."""
    rows, numbers = {}, {}
    with closing(sqlite3.connect(path)) as connection:
        for table, (query, number) in QUERIES.items():
            rows[table] = frozenset(connection.execute(query))
            found = connection.execute(f"SELECT {number} FROM {table}")
            numbers[table] = frozenset(seq for (seq,) in found)
    return rows, numbers


def readable(path: Path, numbers: Mapping[str, Iterable[int]]) -> Rows:
    """Return every row that SQLite gives, from either end and by its number."""
    found: dict[str, frozenset[Row]] = {}
    with closing(sqlite3.connect(path)) as connection:
        for table, (query, number) in QUERIES.items():
            questions = [f"{query} ORDER BY {number} {order}" for order in ("ASC", "DESC")]
            questions += [f"{query} WHERE {number} = {seq}" for seq in numbers[table]]
            found[table] = frozenset(row for one in questions for row in given(connection, one))
    return found


def given(connection: sqlite3.Connection, question: str) -> Iterator[Row]:
    try:
        yield from connection.execute(question)
    except (sqlite3.Error, UnicodeDecodeError):
        return


# Damage.


def cut_off(chance: random.Random, content: bytearray) -> None:
    del content[chance.randrange(len(content)) :]


def flip_a_bit(chance: random.Random, content: bytearray) -> None:
    content[chance.randrange(len(content))] ^= 1 << chance.randrange(8)


def flip_many_bits(chance: random.Random, content: bytearray) -> None:
    for _ in range(chance.randrange(2, 60)):
        flip_a_bit(chance, content)


def flip_in_the_head(chance: random.Random, content: bytearray) -> None:
    content[chance.randrange(PAGE)] ^= 1 << chance.randrange(8)


def spoil_pages(chance: random.Random, content: bytearray) -> None:
    for _ in range(chance.randrange(1, 5)):
        start = chance.randrange(len(content) // PAGE) * PAGE
        content[start : start + PAGE] = chance.choice((bytes(PAGE), chance.randbytes(PAGE)))


def misplace_a_page(chance: random.Random, content: bytearray) -> None:
    source, target = (chance.randrange(len(content) // PAGE) * PAGE for _ in "ab")
    content[target : target + PAGE] = content[source : source + PAGE]


DAMAGES = (
    *(cut_off, flip_a_bit, flip_a_bit, flip_many_bits, flip_in_the_head),
    *(spoil_pages, misplace_a_page),
)


def damaged(whole: Path, place: Path, damage: Callable[[bytearray], None]) -> Path:
    """Put a damaged copy of a file into a new state directory; return another one."""
    content = bytearray(whole.read_bytes())
    damage(content)
    place.mkdir()
    (place / "state.db").write_bytes(content)
    (place / "copy").write_bytes(content)
    return place / "copy"


@pytest.mark.parametrize("seed", range(10))
async def test_whatever_is_damaged_the_rest_is_kept_and_the_loss_is_told(
    whole: Path, tmp_path: Path, seed: int
) -> None:
    original, numbers = everything(whole)
    chance = random.Random(seed)
    for number in range(ROUNDS):
        damage = chance.choice(DAMAGES)
        place = tmp_path / f"{number}"
        wanted = readable(damaged(whole, place, partial(damage, chance)), numbers)
        async with open_node(place, rules=rule()) as node:
            kept = await held_by(node)
            told = [one.facts for one in node.journal.take_notices()]
        what = f"seed {seed}, round {number}: {damage.__name__}"
        assert kept["record"] <= without_checksums(original["record"]), what
        for table, rows in wanted.items():
            assert without_checksums(rows & original[table]) <= kept[table], f"{what}, {table}"
        for table, name in (("record", "lost_records"), ("state", "lost_state")):
            lost = len(without_checksums(original[table]) - kept[table])
            counts = [facts[name] for facts in told]
            assert None in counts or sum(counts) >= lost, f"{what}, {table}: {lost} not {counts}"
        shutil.rmtree(place)


def without_checksums(rows: frozenset[Row]) -> frozenset[Row]:
    return frozenset(row[:-1] for row in rows)


async def held_by(node: Node) -> Rows:
    """Return the rows of a node's journal, and of no other kind of state than was written."""
    kinds = ("alert", "task", "task_name", "repository", "mount_point", "token", "answer")
    states = {
        (kind, key, value)
        for kind in kinds
        for key, value in (await node.journal.state(kind)).items()
    }
    records = frozenset(
        (
            *(one.seq, one.epoch, one.time, one.type, one.kind, one.key, int(one.event)),
            *(one.data, one.reason),
        )
        for one in await node.records()
    )
    await node.journal.state("nothing")  # what reading found has been told of by then
    return {"record": records, "state": frozenset(states)}
