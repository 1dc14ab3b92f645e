"""The table: what it promises of every row, and its digest."""

import dataclasses
import hashlib
import json

import pytest

from storewatch_reader.reads import READS
from storewatch_reader.table import ROWS, Row, TreeRow, digest

EVERY_ROW = pytest.mark.parametrize("row", ROWS.values(), ids=ROWS.keys())


@EVERY_ROW
def test_every_row_is_passive(row: Row) -> None:
    assert row.safety == "P0"


@EVERY_ROW
def test_the_asker_is_answered_before_the_worker_is_killed(row: Row) -> None:
    assert 0 < row.answer_by_s < row.kill_after_s


@EVERY_ROW
def test_every_row_has_something_that_reads_it(row: Row) -> None:
    is_tree = isinstance(row, TreeRow)
    assert (row.verb, row.name in READS) == (("tree", False) if is_tree else ("read", True))


def test_a_path_has_a_key_of_its_own() -> None:
    row = ROWS["statvfs.path"]
    assert row.key("/a") == "statvfs.path:/a"
    assert row.key("/a") != row.key("/b")


def test_a_row_without_objects_has_one_key() -> None:
    assert ROWS["mounts"].key("") == "mounts"


def test_the_digest_is_of_every_member_of_every_row() -> None:
    rows = [dataclasses.asdict(row) for row in ROWS.values()]
    said = hashlib.sha256(json.dumps(rows, sort_keys=True).encode()).hexdigest()
    assert (digest(), len(digest())) == (said[:16], 16)
