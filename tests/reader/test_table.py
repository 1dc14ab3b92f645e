"""The table: what it promises of every row, and its digest."""

import dataclasses
import hashlib
import json
from pathlib import Path

import pytest

import storewatchd
from storewatch_reader.reads import READS
from storewatch_reader.table import PROTOCOL, ROWS, Row, ToolRow, TreeRow, WatchRow, digest

DAEMON = Path(storewatchd.__file__).parent

EVERY_ROW = pytest.mark.parametrize("row", ROWS.values(), ids=ROWS.keys())


# Written out: what may be asked of a device is to be read here, not computed.
COMMANDS = {
    "scsi.inquiry": ("P1", "sg_raw -b -t 60 -r 252 {sg} 12 00 00 00 fc 00"),
    "scsi.serial": ("P1", "sg_raw -b -t 60 -r 252 {sg} 12 01 80 00 fc 00"),
    "changer.addresses": ("P1", "sg_raw -b -t 60 -r 136 {sg} 1a 08 1d 00 88 00"),
    "changer.elements": ("P1", "sg_raw -b -t 60 -r 65528 {sg} b8 10 00 00 ff ff 03 00 ff f8 00 00"),
    "changer.elements.all": (
        "P1",
        "sg_raw -b -t 60 -r 1048576 {sg} b8 10 00 00 ff ff 03 10 00 00 00 00",
    ),
    **{
        f"tape.log.{page}": ("P1", f"sg_logs -r -m 8192 -p 0x{page} {{sg}}")
        for page in ("00", "02", "03", "0c", "0d", "11", "12", "14", "17", "18", "1b", "31")
    },
    "scsi.tapealert": ("P2", "sg_logs -r -m 8192 -p 0x2e {sg}"),
    "changer.mtx": ("P1", "mtx -f {sg} status"),
    "tape.attributes": ("P1", "sg_read_attr -r {sg}"),
}


def test_of_devices_these_commands_are_asked_and_no_others() -> None:
    rows = {name: row for name, row in ROWS.items() if isinstance(row, ToolRow)}
    assert {name: (row.safety, " ".join(row.argv)) for name, row in rows.items()} == COMMANDS


@EVERY_ROW
def test_what_may_be_asked_is_asked(row: Row) -> None:
    """What no probe asks is a right that nobody needs."""
    asked = "".join(path.read_text() for path in DAEMON.rglob("*.py"))
    names = (f'"{row.name}"', "tape.log." if row.name.startswith("tape.log.") else f'"{row.name}"')
    assert any(name in asked for name in names)


@EVERY_ROW
def test_what_asks_no_device_is_passive(row: Row) -> None:
    assert (row.safety == "P0") == (not isinstance(row, ToolRow))


@EVERY_ROW
def test_secrets_are_in_no_row(row: Row) -> None:
    patterns = row.attributes if isinstance(row, TreeRow) else ()
    assert not [one for one in patterns if "User" in one or "secret" in one.lower()]


@EVERY_ROW
def test_the_asker_is_answered_before_the_worker_is_killed(row: Row) -> None:
    assert 0 < row.answer_by_s < row.kill_after_s


@EVERY_ROW
def test_every_row_has_something_that_reads_it(row: Row) -> None:
    verb = {TreeRow: "tree", ToolRow: "tool", WatchRow: "watch"}.get(type(row), "read")
    assert (row.verb, row.name in READS) == (verb, verb == "read")


def test_what_is_listened_to_is_this_and_nothing_else() -> None:
    rows = [row for row in ROWS.values() if isinstance(row, WatchRow)]
    # Never code 0, which is any, and never 5, whose answer another program waits for.
    assert {row.node: row.codes for row in rows} == {"kmsg": (), "scst_event": (1, 2, 4, 6)}


def test_a_path_has_a_key_of_its_own() -> None:
    row = ROWS["statvfs.path"]
    assert row.key("/a") == "statvfs.path:/a"
    assert row.key("/a") != row.key("/b")


def test_whatever_is_asked_of_a_device_blocks_the_device_and_takes_a_slot_of_its_host() -> None:
    for row in ROWS.values():
        if isinstance(row, ToolRow):
            assert (row.key("3:0:1:0"), row.host("3:0:1:0")) == ("scsi:3:0:1:0", "scsi.host:3")
        else:
            assert row.host("x") == ""


def test_a_row_without_objects_has_one_key() -> None:
    assert ROWS["mounts"].key("") == "mounts"


def test_the_digest_is_of_every_member_of_every_row() -> None:
    rows = [PROTOCOL, *(dataclasses.asdict(row) for row in ROWS.values())]
    said = hashlib.blake2b(json.dumps(rows, sort_keys=True).encode(), digest_size=8).hexdigest()
    assert (digest(), len(digest())) == (said, 16)
