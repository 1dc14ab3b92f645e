"""SCST with a thousand targets, by the real reader's pass: every series finds its place, and the
rules that ship see the one target and the one LUN that matter."""

import itertools
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab.memory import memory_directory
from lab.scst import ScstTree, large_tree
from storewatch_reader import attributes, reads
from storewatch_reader.roots import Roots
from storewatch_reader.table import ROWS, TreeRow
from storewatchd.clock import Clock
from storewatchd.core.engine import Engine
from storewatchd.core.frames import Frame, Outcome, Row, Scope
from storewatchd.core.incidents import Incidents
from storewatchd.core.model import AlertState, Instant
from storewatchd.core.rules import load
from storewatchd.core.series import SeriesTable
from storewatchd.port import Reading
from storewatchd.probes.scst.families import STATE_FAMILIES
from storewatchd.probes.scst.probe import ScstProbe, make_scst_probes
from storewatchd.rule_files import built_in_files

NOON = 1_767_268_800.0
INTERVAL_S = 30.0

pytestmark = pytest.mark.timeout(180)  # a hundred thousand files are made, and read six times


@pytest.fixture(scope="module")
def place() -> Iterator[Path]:
    directory = memory_directory()
    yield directory
    shutil.rmtree(directory)


@pytest.fixture(scope="module")
def scst(place: Path) -> ScstTree:
    return large_tree(place / "sys")


class Appliance:
    """The probe, the table and the rules that ship, over the tree."""

    def __init__(self, place: Path, *, max_series: int | None = None) -> None:
        self.now = Instant(NOON, 1000.0)
        more = {} if max_series is None else {"max_series": max_series}
        self.table = SeriesTable(**more)
        probes = make_scst_probes(Clock())
        for probe in probes:
            self.table.declare(probe.name, probe.families, max_age_s=5 * INTERVAL_S)
        (self._probe,) = (one for one in probes if isinstance(one, ScstProbe))
        rules, problems = load(built_in_files())
        assert problems == []
        ids = itertools.count()
        self.incidents = Incidents("node", lambda _: f"id-{next(ids)}")
        self.engine = Engine(self.table, self.incidents, rules)
        self._roots = Roots(sysfs=f"{place}/sys")

    def look(self) -> None:
        self.now = self.now.later(INTERVAL_S)
        row = ROWS["scst.cheap"]
        assert isinstance(row, TreeRow)
        header, blob = attributes.told(reads.tree(self._roots, row), "")
        paths = attributes.paths(header, blob)
        assert paths is not None
        read = Reading(attributes.attributes(paths, header, blob), self.now.wall, 0.5)
        rows, _ = self._probe._taken(read)
        touched = self.table.feed(Frame(Scope("scst"), self.now.wall, rows=rows))
        up = {STATE_FAMILIES[0].name: [Row((), 1.0)]}
        touched |= self.table.feed(Frame(Scope("scst_state"), self.now.wall, rows=up))
        for probe in ("scst_slow", "scst_backing"):
            touched |= self.table.feed(Frame(Scope(probe), self.now.wall, Outcome.ABSENT))
        self.engine.evaluate(self.now, touched)

    def firing(self) -> set[tuple[str, str]]:
        return {
            (one.alert.rule, one.alert.resource_id)
            for one in self.incidents
            if one.alert.state is AlertState.FIRING
        }


def test_every_series_has_a_place_and_the_rules_see_what_matters(
    place: Path, scst: ScstTree
) -> None:
    appliance = Appliance(place)
    appliance.look()
    assert appliance.firing() == set()
    disabled, busy = scst.targets[7], scst.targets[500].sessions[3]
    disabled.enable(is_enabled=False)
    busy.wait(2, lun=4)
    for _ in range(5):
        appliance.look()
    assert appliance.firing() == {("TargetDisabled", disabled.name), ("LunStuck", "disk00504")}
    assert (appliance.table.room.lacking, appliance.table.room.dropped_total) == ({}, 0)
    assert len(appliance.table) > 130_000
    disabled.enable()
    busy.wait(0, lun=4)
    appliance.look()
    assert appliance.firing() == set()


def test_without_room_for_all_what_is_told_of_targets_is_there(place: Path, scst: ScstTree) -> None:
    appliance = Appliance(place, max_series=50_000)
    scst.targets[7].enable(is_enabled=False)
    for _ in range(4):
        appliance.look()
    assert appliance.firing() == {("TargetDisabled", scst.targets[7].name)}
    scst.targets[7].enable()
    room = appliance.table.room
    assert len(appliance.table) == room.count == 50_000
    assert {family for family, _ in room.lacking} >= {"scst_lun_commands_outstanding"}
    (stuck,) = (one for one in appliance.engine.states if one.rule.name == "LunStuck")
    assert stuck.unknown
