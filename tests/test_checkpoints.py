"""Samples outlive a restart: of their own time they are known, of now nothing is."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from core.fix_engine import FULL, NOON
from fakes import ScriptedPort, ScriptedProbe
from probes.tape.fix_tape import library
from storewatchd.checkpoints import ENTRIES_AT_ONCE, Checkpoints
from storewatchd.clock import Clock
from storewatchd.core.frames import Family, Frame, MetricType, Row, Scope
from storewatchd.core.promql import Plan, Result, parse
from storewatchd.core.series import SeriesTable, recording
from storewatchd.probes.tape.alert_book import AlertBook
from storewatchd.probes.tape.drives import DrivesProbe
from storewatchd.probes.tape.libraries import LibrariesProbe
from storewatchd.probes.tape.reports import Reports

A, B = (Scope("probe", (("repository", name),)) for name in "ab")
OTHER = Family("other", MetricType.GAUGE, "Of another probe.")


def table(*, labels: tuple[str, ...] = ("repository",), with_other: bool = True) -> SeriesTable:
    made = SeriesTable()
    made.declare("probe", (Family(FULL.name, FULL.type, FULL.help, labels),), max_age_s=90.0)
    if with_other:
        made.declare("other", (OTHER,), max_age_s=90.0)
    return made


def see(one: SeriesTable, seconds: float, *scopes: Scope) -> None:
    for scope in scopes:
        (name,) = dict(scope.labels).values()
        row = Row((name,), seconds)
        one.feed(Frame(scope, NOON + seconds, rows={FULL.name: [row]}))


def ask(one: SeriesTable, expr: str, seconds: float) -> Result:
    return Plan(parse(expr)).evaluate(one, NOON + seconds)


def before() -> SeriesTable:
    """Return a table that was fed for five minutes."""
    one = table()
    one.expect("probe", (A, B))
    for seconds in range(0, 301, 30):
        see(one, seconds, A, B)
    one.feed(Frame(Scope("other"), NOON + 300, rows={"other": [Row((), 7.0)]}))
    sum_ = recording("full:sum", {})
    one.keep_recordings([sum_])
    one.record(sum_, [], [], NOON + 300)
    return one


async def restarted(directory: Path, old: SeriesTable, new: SeriesTable) -> SeriesTable:
    await Checkpoints(directory, old, "1").write()
    await Checkpoints(directory, new, "1").load()
    return new


async def test_nothing_is_known_of_now_before_it_was_seen_again(tmp_path: Path) -> None:
    one = await restarted(tmp_path, before(), table())
    found = ask(one, "full", 310)
    assert [row.exact for row in found.rows] == [False, False]
    assert found.holes == ({},)
    one.expect("probe", (A, B))
    see(one, 311, A)
    found = ask(one, "full", 311)
    assert {row.labels["repository"]: row.exact for row in found.rows} == {"a": True, "b": False}
    assert found.holes == ({"repository": "b"},)


async def test_a_window_goes_on_where_it_was(tmp_path: Path) -> None:
    one = await restarted(tmp_path, before(), table())
    one.expect("probe", (A, B))
    see(one, 320, A, B)
    found = ask(one, "avg_over_time(full[4m])", 320)
    assert all(row.exact for row in found.rows)
    assert [row.value for row in found.rows] == [pytest.approx(215.0, abs=10)] * 2
    fresh = table()
    fresh.expect("probe", (A, B))
    see(fresh, 320, A, B)
    assert not any(row.exact for row in ask(fresh, "avg_over_time(full[4m])", 320).rows)


async def test_time_in_which_nobody_ran_is_not_known(tmp_path: Path) -> None:
    one = await restarted(tmp_path, before(), table())
    one.expect("probe", (A, B))
    see(one, 900, A, B)
    assert not any(row.exact for row in ask(one, "avg_over_time(full[11m])", 900).rows)


async def test_what_has_other_labels_or_no_probe_now_is_left_out(tmp_path: Path) -> None:
    new = table(labels=("repository", "more"), with_other=False)
    one = await restarted(tmp_path, before(), new)
    assert len(one) == 0
    assert one.series("other") is None
    one.feed(Frame(Scope("probe"), NOON + 310, rows={FULL.name: [Row(("a", "b"), 1.0)]}))
    assert [row.value for row in ask(one, "full", 310).rows] == [1.0]


async def test_scopes_that_go_while_the_file_is_written_mix_up_no_rows(tmp_path: Path) -> None:
    names = ("one", "two")
    families = tuple(Family(name, FULL.type, FULL.help, ("repository",)) for name in names)
    scopes = [Scope("probe", (("repository", name),)) for name in "abc"]

    def made() -> SeriesTable:
        table = SeriesTable()
        table.declare("probe", families, max_age_s=90.0)
        return table

    old, new = made(), made()
    for scope, label in zip(scopes, "abc", strict=True):
        rows = {name: [Row((label,), 1.0)] for name in names}
        old.feed(Frame(scope, NOON, rows=rows))

    async def leave() -> None:
        old.expect("probe", scopes[1:])

    # Whoever comes second runs in the first pause of the other.
    await asyncio.gather(Checkpoints(tmp_path, old, "1").write(), leave())
    await Checkpoints(tmp_path, new, "1").load()
    new.expect("probe", scopes[1:])
    for name in names:
        assert {row.labels["repository"] for row in new.read(name, NOON)} == {"b", "c"}
    new.feed(Frame(scopes[1], NOON + 10))
    for name in names:
        assert [row.labels["repository"] for row in new.read(name, NOON)] == ["c"]


async def test_recordings_go_on_while_their_rule_is_there(tmp_path: Path) -> None:
    one = await restarted(tmp_path, before(), table())
    assert one.series("full:sum") is not None
    one.keep_recordings([])
    assert one.series("full:sum") is None


@pytest.mark.parametrize("content", [b"", b"garbage", b"x\x9c\x03\x00\x00\x00\x00\x01"])
async def test_what_cannot_be_read_is_left_out(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "samples").write_bytes(content)
    one = table()
    await Checkpoints(tmp_path, one, "1").load()
    assert len(one) == 0


async def test_another_versions_file_is_left_out(tmp_path: Path) -> None:
    await Checkpoints(tmp_path, before(), "1").write()
    one = table()
    await Checkpoints(tmp_path, one, "2").load()
    assert len(one) == 0


async def test_without_a_file_there_is_nothing_to_take_over(tmp_path: Path) -> None:
    one = table()
    await Checkpoints(tmp_path, one, "1").load()
    assert len(one) == 0


async def test_a_directory_that_takes_no_file_is_no_error(tmp_path: Path) -> None:
    (tmp_path / "samples.new").mkdir()
    await Checkpoints(tmp_path, before(), "1").write()
    assert not (tmp_path / "samples").exists()


# What probes remember.


class Garbled(DrivesProbe):
    """Remembers what no drive is."""

    def to_plain(self) -> object:
        return {"DRV0001": 7}


async def test_what_probes_remember_outlasts_an_upgrade(tmp_path: Path) -> None:
    port, old, after = (
        ScriptedPort(),
        DrivesProbe(AlertBook(), Clock()),
        DrivesProbe(AlertBook(), Clock()),
    )
    library("A").tell(port, DRV0001="st0")
    await old.discover(port)
    await Checkpoints(tmp_path, before(), "1", [old]).write()
    one = table()
    await Checkpoints(tmp_path, one, "2", [after]).load()
    port.readings["sys.scsi", ""] = {}
    assert len(await after.discover(port)) == 1
    assert len(one) == 0


class Mindful(ScriptedProbe):
    """Remembers whatever it is told to."""

    def __init__(self, kept: object) -> None:
        super().__init__("mindful")
        self.kept = kept

    def to_plain(self) -> object:
        return self.kept

    def restore(self, kept: object) -> None:
        self.kept = kept


KEPT: tuple[Any, ...] = (
    *(None, 7, "text", [], {}, {"a": None, "b": {}, "c": []}),
    {"a": {"b": {"c": {"d": [1, 2]}}}, "e": [[1, "x"], {"y": 2}]},
    {"long": list(range(2 * ENTRIES_AT_ONCE + 1)), "in": {"it": [["z", 1]] * 1_000}},
    {1: "no text", "a": [3]},
)


@pytest.mark.parametrize("kept", [pytest.param(one, id=str(n)) for n, one in enumerate(KEPT)])
async def test_what_a_probe_remembers_comes_back_as_it_was(tmp_path: Path, kept: object) -> None:
    after = Mindful("nothing")
    await Checkpoints(tmp_path, table(), "1", [Mindful(kept)]).write()
    await Checkpoints(tmp_path, table(), "1", [after]).load()
    assert after.kept == kept


@pytest.mark.parametrize(
    ("old", "known"),
    [
        (DrivesProbe(AlertBook(), Clock()), 1),
        (Garbled(AlertBook(), Clock()), 0),
        (LibrariesProbe(Reports(), Clock()), 0),
    ],
)
async def test_a_drive_that_is_gone_over_a_restart_is_gone(
    tmp_path: Path, old: DrivesProbe | LibrariesProbe, known: int
) -> None:
    port, after = ScriptedPort(), DrivesProbe(AlertBook(), Clock())
    library("A").tell(port, DRV0001="st0")
    await old.discover(port)
    await Checkpoints(tmp_path, table(), "1", [old, ScriptedProbe("other")]).write()
    await Checkpoints(tmp_path, table(), "1", [after]).load()
    port.readings["sys.scsi", ""] = {}
    assert len(await after.discover(port)) == known


class Growing(DrivesProbe):
    """Remembers more each time that it is asked."""

    kept: object = None
    asked = 0

    def to_plain(self) -> object:
        self.asked += 1
        return [f"{self.asked} {number}" for number in range(10_000 * self.asked)]

    def restore(self, kept: object) -> None:
        self.kept = kept


async def test_two_writes_at_the_same_time_leave_a_whole_file(tmp_path: Path) -> None:
    old, after = Growing(AlertBook(), Clock()), Growing(AlertBook(), Clock())
    checkpoints = Checkpoints(tmp_path, before(), "1", [old])
    await asyncio.gather(*(checkpoints.write() for _ in range(4)))
    await Checkpoints(tmp_path, table(), "1", [after]).load()
    assert isinstance(after.kept, list)
    assert (len(after.kept), after.kept[0]) == (40_000, "4 0")


async def test_what_cannot_be_kept_is_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    await Checkpoints(tmp_path / "none", table(), "1").keep()
    assert "what a device said once will be lost with this process" in caplog.text
