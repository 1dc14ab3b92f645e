"""objects.*: what is here, what was, and what is forgotten."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from control.fix_control import NO_DATABASE, Control, open_control
from fix_postgres import Postgres
from storewatch.wire import Code
from storewatchd.control.methods import objects
from storewatchd.core.frames import Found, Frame, ObjectKind, Outcome, Scope

DRIVE = ObjectKind.TAPE_DRIVE
SEEN = Scope("scripted", (("name", "a"),))


async def see(control: Control, *found: Found, outcome: Outcome = Outcome.SEEN) -> None:
    """Let a probe have found objects, a second after whatever was before."""
    control.node.clock.forward(1)
    frame = Frame(SEEN, control.node.clock.wall(), outcome, objects=found)
    await control.node.monitor.feed(frame)
    await control.node.settled()


def drive(name: str = "D1", **facts: str) -> Found:
    return Found(DRIVE, name, facts)


async def listed(control: Control, **asked: Any) -> list[tuple[str, str]]:
    found = await control.call("objects.list", **asked)
    return [(one["id"], one["status"]) for one in found["objects"]]


@pytest.fixture
async def stored(postgres: Postgres, tmp_path: Path) -> AsyncIterator[Control]:
    """A control plane with PostgreSQL."""
    async with open_control(tmp_path, settings=postgres.settings()) as control:
        control.stop_looking()
        await control.store.connect()
        yield control


async def test_what_is_here_is_listed_by_kind_and_id(control: Control) -> None:
    control.stop_looking()
    await see(control, drive("D2"), drive("D1", sg="sg3"), Found(ObjectKind.DISK, "W1"))
    found = await control.call("objects.list")
    assert (found["complete"], found["next_cursor"]) == (True, None)
    assert [one["id"] for one in found["objects"]] == ["W1", "D1", "D2"]
    (one,) = (await control.call("objects.list", kind="tape_drive", limit=1))["objects"]
    assert one == {
        "kind": "tape_drive",
        "id": "D1",
        "status": "here",
        "facts": {"sg": "sg3"},
        "seen_by": ["scripted{name='a'}"],
        "first_seen": one["since"],
        "since": one["since"],
        "until": None,
        "version": 1,
        "node": control.node.monitor.node,
    }


async def test_a_list_is_paged(control: Control) -> None:
    control.stop_looking()
    await see(control, *(drive(f"D{number}") for number in range(5)))
    names, cursor = [], None
    while True:
        page = await control.call("objects.list", limit=2, cursor=cursor)
        names += [one["id"] for one in page["objects"]]
        cursor = page["next_cursor"]
        if cursor is None:
            break
    assert names == ["D0", "D1", "D2", "D3", "D4"]


async def test_here_gone_and_unknown_are_three_things(control: Control) -> None:
    control.stop_looking()
    await see(control, drive("D1"), drive("D2"))
    await see(control, drive("D1"))
    assert await listed(control) == [("D1", "here"), ("D2", "gone")]
    assert await listed(control, here=True) == [("D1", "here")]
    assert await listed(control, here=False) == [("D2", "gone")]
    await see(control, outcome=Outcome.FAILED)
    assert await listed(control, here=True) == [("D1", "unknown")]
    assert (await control.call("objects.get", id="D1"))["object"]["status"] == "unknown"


async def test_an_object_has_its_versions_also_without_a_database(tmp_path: Path) -> None:
    async with open_control(tmp_path, settings=NO_DATABASE) as control:
        control.stop_looking()
        await see(control, drive(sg="sg3"))
        await see(control, drive(sg="sg4"))
        detail = await control.call("objects.get", id="D1")
        newest, first = detail["versions"]
        assert (newest["change"], newest["facts"], newest["until"]) == (
            "renamed",
            {"sg": "sg4"},
            None,
        )
        assert (first["change"], first["until"]) == ("found", newest["since"])
        assert (detail["complete"], detail["object"]["facts"]) == (True, {"sg": "sg4"})
        code, problem = await control.refusal("objects.get", id="X")
        assert (code, problem.startswith("there is no object 'X'")) == (Code.NOT_FOUND, True)


async def test_with_the_database_away_what_is_here_is_told(control: Control) -> None:
    control.stop_looking()
    await see(control, drive())
    detail = await control.call("objects.get", id="D1")
    assert [one["change"] for one in detail["versions"]] == ["found"]
    assert "history cannot be read" in detail["incomplete_reason"]
    code, problem = await control.refusal("objects.get", id="X")
    assert (code, "history is away" in problem) == (Code.UNAVAILABLE, True)
    found = await control.call("objects.list", at="2020-01-01T00:00:00Z")
    assert (found["objects"], found["complete"]) == ([], False)


async def test_a_moment_is_asked_of_the_store(stored: Control) -> None:
    await see(stored, drive(sg="sg3"))
    then = (await stored.call("objects.list"))["objects"][0]["since"]
    await see(stored, drive(sg="sg4"))
    lacking = await stored.call("objects.list", at=then)
    assert (lacking["objects"], "PostgreSQL lacks" in lacking["incomplete_reason"]) == ([], True)
    await stored.drain()
    found = await stored.call("objects.list", at=then)
    assert [one["facts"] for one in found["objects"]] == [{"sg": "sg3"}]
    assert (found["complete"], found["objects"][0]["until"] is not None) == (True, True)
    assert await listed(stored, at=then, here=False) == []
    _, problem = await stored.refusal("objects.list", at="yesterday")
    assert problem.startswith("at: ")


async def test_memory_journal_and_store_tell_one_history(stored: Control) -> None:
    await see(stored, drive(sg="sg3"))
    await stored.drain()
    await see(stored)
    changes = [one["change"] for one in (await stored.call("objects.get", id="D1"))["versions"]]
    assert changes == ["gone", "found"]


async def test_what_is_not_in_the_store_yet_is_told_as_it_was_last(stored: Control) -> None:
    await see(stored, drive(sg="sg3"))
    await stored.drain()
    await see(stored, drive(sg="sg4"))
    await see(stored)
    await stored.call("objects.forget", id="D1")
    detail = await stored.call("objects.get", id="D1")
    told = [one["change"] for one in detail["versions"]]
    assert told == ["forgotten", "gone", "renamed", "found"]
    assert (detail["object"]["status"], detail["object"]["facts"]) == ("gone", {"sg": "sg4"})


async def test_of_very_many_versions_the_newest_are_told(
    control: Control, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(objects, "MOST_VERSIONS", 2)
    control.stop_looking()
    for number in range(4):
        await see(control, drive(sg=f"sg{number}"))
    detail = await control.call("objects.get", id="D1")
    assert [one["facts"]["sg"] for one in detail["versions"]] == ["sg3", "sg2"]


async def test_what_is_gone_is_forgotten_and_kept_in_history(stored: Control) -> None:
    await see(stored, drive(), Found(ObjectKind.DISK, "W1"))
    code, problem = await stored.refusal("objects.forget", id="D1")
    assert (code, "only what is gone can be forgotten" in problem) == (Code.CONFLICT, True)
    await see(stored, Found(ObjectKind.DISK, "W1"))
    assert (await stored.call("objects.forget", id="D1"))["status"] == "gone"
    assert await listed(stored) == [("W1", "here")]
    await stored.drain()
    detail = await stored.call("objects.get", id="D1")
    assert detail["versions"][0]["change"] == "forgotten"
    assert detail["object"]["status"] == "gone"
    for known in ("D1", "X"):
        code, problem = await stored.refusal("objects.forget", id=known)
        assert (code, problem) == (Code.NOT_FOUND, f"there is no object {known!r}")
    code, _ = await stored.refusal("objects.get", id="X")
    assert code == Code.NOT_FOUND


async def test_forgetting_is_for_who_may_change_the_daemon(control: Control) -> None:
    _, secret = await control.token("monitoring:read", "monitoring:write")
    code, _ = await control.refusal("objects.forget", id="D1", auth=secret)
    assert code == Code.FORBIDDEN


async def test_an_id_of_several_kinds_needs_its_kind(control: Control) -> None:
    control.stop_looking()
    await see(control, drive("X"), Found(ObjectKind.CARTRIDGE, "X"))
    _, problem = await control.refusal("objects.get", id="X")
    assert problem == "kind: 'X' is the id of several objects: say which (tape_drive, cartridge)"
    detail = await control.call("objects.get", id="X", kind="cartridge")
    assert detail["object"]["kind"] == "cartridge"
    assert [one["change"] for one in detail["versions"]] == ["found"]


async def test_what_no_list_gave_is_no_cursor(control: Control) -> None:
    code, problem = await control.refusal("objects.list", cursor="x")
    assert (code, problem.startswith("cursor: ")) == (Code.INVALID_PARAMS, True)


@pytest.mark.parametrize("name", ["iqn.a:b", "/dev/sg3", "sg3", "hu1"])
async def test_an_object_is_found_by_what_else_it_is_called(control: Control, name: str) -> None:
    control.stop_looking()
    target = Found(ObjectKind.SCST_TARGET, "iscsi/iqn.a:b")
    await see(control, drive("HU1", sg="sg3"), target)
    detail = await control.call("objects.get", id=name)
    assert detail["object"]["id"] in ("HU1", "iscsi/iqn.a:b")
    assert [one["change"] for one in detail["versions"]] == ["found"]


async def test_nobody_knows_what_will_be(control: Control) -> None:
    code, problem = await control.refusal("objects.list", at="2999-01-01T00:00:00Z")
    assert (code, problem) == (Code.INVALID_PARAMS, "at: 2999-01-01T00:00:00Z is in the future")


async def test_what_may_be_there_is_forgotten_only_if_that_is_meant(control: Control) -> None:
    control.stop_looking()
    await see(control, drive())
    await see(control, outcome=Outcome.FAILED)
    code, problem = await control.refusal("objects.forget", id="D1")
    assert (code, "nobody can look for" in problem) == (Code.CONFLICT, True)
    assert (await control.call("objects.forget", id="D1", unseen=True))["status"] == "gone"
