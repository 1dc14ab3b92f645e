"""probes.* and repositories.*: what is looked at, how that goes, and what it would take."""

from pathlib import Path
from typing import Any

import pytest

from control.fix_control import SCRIPTED, VALUE, Control, open_control
from fix_node import MAX_AGE_S
from storewatch.wire import Code
from storewatch_reader.table import ROWS
from storewatchd.control.methods import probes as probes_module
from storewatchd.core.frames import Frame, Row, Scope
from storewatchd.errors import ProbeAbsent, ProbeDeferred, ProbeFailed, ReadStuck
from storewatchd.probes.boot.probe import NEXT_BOOT, NEXT_BOOT_FAMILIES
from storewatchd.probes.storage import REPOSITORIES
from storewatchd.probes.tape.drives import FAMILIES


async def look(control: Control) -> None:
    """Look at the repositories, and wait until what was seen is judged."""
    await control.call("probes.run", probe=REPOSITORIES)
    await control.node.settled()


async def repository(control: Control, name: str = "a") -> dict[str, Any]:
    """Return a repository as it is listed."""
    (found,) = (
        one
        for one in (await control.call("repositories.list"))["repositories"]
        if one["name"] == name
    )
    return dict(found)


# Probes.


async def test_every_probe_is_listed_with_its_scopes(control: Control) -> None:
    control.outside.probe.found = {VALUE.name: [Row(("a",), 0.5)]}
    await control.call("probes.run", probe=SCRIPTED)
    await control.call("probes.run", probe=REPOSITORIES)
    listed = (await control.call("probes.list"))["probes"]
    assert [(one["probe"], one["outcome"], one["rows"]) for one in listed] == [
        (SCRIPTED, "seen", 1),
        (REPOSITORIES, "seen", 0),
    ]
    assert (await control.call("probes.list", probe=SCRIPTED))["probes"] == listed[:1]


async def test_a_probe_that_is_none_is_not_an_empty_list(control: Control) -> None:
    assert await control.refusal("probes.list", probe="tapes") == (
        Code.NOT_FOUND,
        f"there is no probe 'tapes'; there are {SCRIPTED}, {REPOSITORIES}",
    )


async def test_a_run_answers_when_the_looks_are_over(control: Control) -> None:
    control.outside.probe.answers[Scope(SCRIPTED)] = ReadStuck(
        "no answer", key="k", since=control.node.clock.wall() - 5
    )
    (shown,) = (await control.call("probes.run", probe=SCRIPTED))["probes"]
    assert (shown["outcome"], shown["reason"], shown["stuck_since"]) == (
        "failed",
        "no answer",
        "2026-01-01T11:59:55.000Z",
    )


async def test_a_probe_that_is_not_there_cannot_be_run(control: Control) -> None:
    assert await control.refusal("probes.run", probe="tape") == (
        Code.NOT_FOUND,
        f"there is no probe 'tape'; there are {SCRIPTED}, {REPOSITORIES}",
    )


async def test_the_plan_has_every_row_for_the_objects_of_this_machine(control: Control) -> None:
    control.outside.see_directory("/a")
    await control.call("repositories.add", name="a", path="/a")
    await look(control)
    reads = (await control.call("probes.plan"))["reads"]
    assert {(one["row"], one["object"]) for one in reads} == {
        (row.name, "/a" if row.object else "")
        for row in ROWS.values()
        if row.object in ("", "path")  # this machine has no chip, zone or device
    }
    row = ROWS["statvfs.path"]
    assert {
        "row": "statvfs.path",
        "object": "/a",
        "safety": "P0",
        "key": "statvfs.path:/a",
        "reads": row.reads,
        "command": "",
        "answer_by_seconds": row.answer_by_s,
        "kill_after_seconds": row.kill_after_s,
    } in (await control.call("probes.plan", device="/a"))["reads"]


async def test_modules_that_the_next_start_needs_are_planned(control: Control) -> None:
    table = control.node.books.table
    table.declare(NEXT_BOOT, NEXT_BOOT_FAMILIES, max_age_s=MAX_AGE_S)
    rows = {"node_next_boot_module_info": [Row(("6.1", "scst", "6.1 SMP", "true"), 1.0)]}
    table.feed(Frame(Scope(NEXT_BOOT), control.node.clock.wall(), rows=rows))
    (read,) = (await control.call("probes.plan", device="6.1/scst"))["reads"]
    assert (read["row"], read["object"], read["safety"]) == ("boot.module", "6.1/scst", "P0")


@pytest.mark.parametrize("name", ["DRV0001", "3:0:1:0", "sg4", "/dev/nst0"])
async def test_a_device_is_planned_by_any_of_its_names(control: Control, name: str) -> None:
    table = control.node.books.table
    table.declare("tape_drives", FAMILIES, max_age_s=MAX_AGE_S)
    scope = Scope("tape_drives", (("drive", "DRV0001"),))
    facts = ("DRV0001", "ACME", "Tape 9", "1.0", "nst0", "sg4", "3:0:1:0", "running")
    rows = {"tape_drive_info": [Row(facts, 1.0)]}
    table.feed(Frame(scope, control.node.clock.wall(), rows=rows))
    reads = (await control.call("probes.plan", device=name))["reads"]
    assert {(one["object"], one["key"]) for one in reads} == {("3:0:1:0", "scsi:3:0:1:0")}
    commands = {one["row"]: (one["safety"], one["command"]) for one in reads}
    assert commands["tape.log.12"] == ("P1", "sg_logs -r -m 8192 -p 0x12 {sg}")
    assert "tape.log.2e" not in commands
    assert not [one for one in commands if one.startswith("changer")]


async def test_what_is_not_looked_at_has_no_plan(control: Control) -> None:
    assert await control.refusal("probes.plan", device="/b") == (
        Code.NOT_FOUND,
        "nothing is read of '/b'",
    )


# Repositories.


async def test_a_repository_is_added_looked_at_and_shown(control: Control) -> None:
    control.outside.see_directory("/srv/a", used=60, free=40, device="8:2")
    added = await control.call("repositories.add", name="a", path="/srv/./a/")
    assert (added["name"], added["path"], added["error"]) == ("a", "/srv/a", None)
    await control.node.settled()
    assert await repository(control) == {
        "name": "a",
        "path": "/srv/a",
        "origin": "added",
        "status": "ok",
        "error": None,
        "size_bytes": 100.0,
        "used_bytes": 60.0,
        "available_bytes": 40.0,
        "usage_percent": 60.0,
        "mount_point": "/srv",
        "file_system": "xfs",
        "checked_at": "2026-01-01T12:00:00.000Z",
    }


@pytest.mark.parametrize(
    ("value", "error"),
    [
        pytest.param({"exists": False}, "/a does not exist", id="missing"),
        pytest.param({"exists": True, "is_directory": False}, "/a is no directory", id="file"),
        pytest.param(ProbeFailed("it hangs"), "it hangs", id="hung"),
    ],
)
async def test_an_addition_says_what_is_wrong_now(control: Control, value: Any, error: str) -> None:
    control.outside.port.readings["statvfs.path", "/a"] = value
    added = await control.call("repositories.add", name="a", path="/a")
    assert (added["status"], added["error"], added["size_bytes"]) == ("failed", error, None)
    assert (await repository(control))["name"] == "a"


async def test_an_addition_is_answered_though_nothing_is_looked_at(
    control: Control, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(probes_module, "FIRST_LOOK_S", 0.01)
    control.stop_looking()
    added = await control.call("repositories.add", name="a", path="/a")
    assert (added["status"], added["error"]) == ("unknown", None)


async def test_another_repository_is_not_looked_at_for_an_addition(control: Control) -> None:
    control.outside.see_directory("/a")
    control.outside.see_directory("/b")
    await control.call("repositories.add", name="a", path="/a")
    control.node.clock.forward(0.5)
    await control.call("repositories.add", name="b", path="/b")
    await control.node.settled()
    assert [(await repository(control, name))["checked_at"] for name in ("a", "b")] == [
        "2026-01-01T12:00:00.000Z",
        "2026-01-01T12:00:00.500Z",
    ]


async def test_repositories_are_listed_by_name_with_their_origin(control: Control) -> None:
    control.node.books.repositories.declare([("b", "/b")])
    await control.call("repositories.add", name="c", path="/c")
    await control.call("repositories.add", name="a", path="/a")
    listed = (await control.call("repositories.list"))["repositories"]
    assert [(one["name"], one["origin"]) for one in listed] == [
        ("a", "added"),
        ("b", "configuration"),
        ("c", "added"),
    ]


async def test_a_repository_that_cannot_be_seen_shows_why_and_no_number(control: Control) -> None:
    control.outside.see_directory("/a")
    await control.call("repositories.add", name="a", path="/a")
    await look(control)
    control.outside.port.readings["statvfs.path", "/a"] = ProbeFailed("input/output error")
    await look(control)
    shown = await repository(control)
    assert (shown["status"], shown["error"], shown["size_bytes"], shown["usage_percent"]) == (
        "failed",
        "input/output error",
        None,
        None,
    )


@pytest.mark.parametrize(
    ("error", "status"),
    [
        pytest.param(ProbeAbsent("no such disk"), "absent", id="absent"),
        pytest.param(ProbeDeferred("a backup writes"), "unknown", id="deferred before it was seen"),
    ],
)
async def test_a_repository_that_was_never_seen_shows_what_is_known(
    control: Control, error: Exception, status: str
) -> None:
    control.outside.port.readings["statvfs.path", "/a"] = error
    await control.call("repositories.add", name="a", path="/a")
    await look(control)
    shown = await repository(control)
    assert (shown["status"], shown["error"], shown["size_bytes"]) == (status, str(error), None)


async def test_a_deferred_look_leaves_what_was_seen_before(control: Control) -> None:
    control.outside.see_directory("/a")
    await control.call("repositories.add", name="a", path="/a")
    await look(control)
    control.outside.port.readings["statvfs.path", "/a"] = ProbeDeferred("a backup writes")
    await look(control)
    shown = await repository(control)
    assert (shown["status"], shown["size_bytes"]) == ("ok", 100.0)


async def test_what_was_not_looked_at_for_too_long_is_not_called_fine(control: Control) -> None:
    control.outside.see_directory("/a")
    await control.call("repositories.add", name="a", path="/a")
    await look(control)
    control.stop_looking()
    control.node.clock.forward(MAX_AGE_S + 1)
    shown = await repository(control)
    assert (shown["status"], shown["size_bytes"]) == ("unknown", None)


async def test_a_removed_repository_is_gone_and_its_look_is_no_failure(
    control: Control, caplog: pytest.LogCaptureFixture
) -> None:
    control.outside.see_directory("/a")
    await control.call("repositories.add", name="a", path="/a")
    await look(control)
    assert await control.call("repositories.remove", name="a") is True
    await look(control)
    assert (await control.call("repositories.list"))["repositories"] == []
    assert control.node.books.table.scopes(REPOSITORIES) == []
    assert caplog.messages == []


@pytest.mark.parametrize(
    ("method", "params", "code", "sentence"),
    [
        pytest.param(
            "repositories.add",
            {"name": "b", "path": "b"},
            Code.INVALID_PARAMS,
            "path: expected an absolute path, found 'b'",
            id="relative path",
        ),
        pytest.param(
            "repositories.add",
            {"name": "b\n", "path": "/b"},
            Code.INVALID_PARAMS,
            "name: expected printable characters, found 'b\\n'",
            id="line break",
        ),
        pytest.param(
            "repositories.add",
            {"name": "a", "path": "/b"},
            Code.CONFLICT,
            "the repository 'a' is at /a already",
            id="name of another",
        ),
        pytest.param(
            "repositories.add",
            {"name": "b", "path": "/a"},
            Code.CONFLICT,
            "/a is the repository 'a' already",
            id="path of another",
        ),
        pytest.param(
            "repositories.remove",
            {"name": "b"},
            Code.NOT_FOUND,
            "there is no repository 'b'",
            id="none",
        ),
        pytest.param(
            "repositories.remove",
            {"name": "declared"},
            Code.CONFLICT,
            "'declared' is declared in the configuration: remove it there",
            id="declared",
        ),
    ],
)
async def test_what_cannot_be_added_or_removed_is_refused_in_a_sentence(
    control: Control, method: str, params: dict[str, Any], code: Code, sentence: str
) -> None:
    control.node.books.repositories.declare([("declared", "/declared")])
    await control.call("repositories.add", name="a", path="/a")
    assert await control.refusal(method, **params) == (code, sentence)


async def test_repositories_can_be_kept_while_their_probe_is_disabled(tmp_path: Path) -> None:
    async with open_control(tmp_path, with_repositories=False) as control:
        await control.call("repositories.add", name="a", path="/a")
        listed = (await control.call("repositories.list"))["repositories"]
        removed = await control.call("repositories.remove", name="a")
    assert [(one["name"], one["status"]) for one in listed] == [("a", "unknown")]
    assert removed is True
