"""The rules of Fibre Channel on the real engine: when they fire, when they end, what they say."""

import asyncio
import itertools

import pytest

from probes.fix_fibrechannel import FIRST, SCOPE, SECOND, Machine
from storewatchd.core.engine import Engine
from storewatchd.core.frames import Frame, Outcome, Row, Scope
from storewatchd.core.incidents import Incidents
from storewatchd.core.model import Alert, AlertState, Severity
from storewatchd.core.rules import doubtful, load
from storewatchd.core.series import SeriesTable
from storewatchd.errors import ProbeError
from storewatchd.probes.fibrechannel import EXPECTED_FOR_S
from storewatchd.probes.scst.families import FAMILIES
from storewatchd.rule_files import built_in_files

INTERVAL_S = 10.0
RULES, PROBLEMS = load([file for file in built_in_files() if file.path == "fibrechannel.yml"])
PORTS, SCST = Scope("fibrechannel"), Scope("scst")
DOWN = b"Linkdown\n"


class Watch:
    """The rules over a machine with two ports, and over what SCST says of its targets."""

    def __init__(self) -> None:
        self.machine = Machine()
        self.both_online()
        self.is_scst_seen = True
        self.targets: dict[str, bool] = {}  # whether each is enabled, by its port
        self.table = SeriesTable()
        for probe in (self.machine.probe, self.machine.statistics):
            self.table.declare(probe.name, probe.families, max_age_s=5 * INTERVAL_S)
        self.table.declare(SCST.probe, FAMILIES, max_age_s=5 * INTERVAL_S)
        ids = itertools.count()
        self.incidents = Incidents("node", lambda _: f"id-{next(ids)}")
        self.engine = Engine(self.table, self.incidents, RULES)

    def both_online(self) -> None:
        self.second(b"Online\n")

    def second(self, state: bytes, **changes: bytes | int) -> None:
        """Have the second port be in a state, and the first one have other attributes."""
        self.machine.be(**changes)
        self.machine.readings["sys.fc", ""]["fc_host/host4/port_state"] = state

    def count(self, **counts: int) -> None:
        for name, value in counts.items():
            path = f"statistics/{name}"
            self.machine.readings["sys.fc.statistics", "host3"][path] = f"{value:#x}\n".encode()

    def look(self, seconds: float = INTERVAL_S) -> list[str]:
        """Let time pass, look at everything, judge, and return what fires."""
        self.machine.clock.forward(seconds)
        now = self.machine.clock.now()
        for probe, scope in ((self.machine.probe, PORTS), (self.machine.statistics, SCOPE)):
            asyncio.run(self.machine.statistics.discover(self.machine))
            self.table.expect(probe.name, [scope])
            try:
                found = asyncio.run(probe.collect(self.machine, scope))
                self.table.feed(Frame(scope, now.wall, rows=found.rows))
            except ProbeError as error:
                self.table.feed(Frame(scope, now.wall, Outcome.FAILED, reason=str(error)))
        rows = {family.name: list[Row]() for family in FAMILIES}
        for port, is_enabled in self.targets.items():
            rows["scst_target_port"].append(Row(("qla2x00t", port, port), 1.0))
            rows["scst_target_enabled"].append(Row(("qla2x00t", port), float(is_enabled)))
        if self.is_scst_seen:
            self.table.feed(Frame(SCST, now.wall, rows=rows))
        else:
            self.table.feed(Frame(SCST, now.wall, Outcome.FAILED, reason="it hangs"))
        self.engine.evaluate(now, frozenset(self.table.names()))
        return [one.rule for one in self.firing()]

    def looks(self, count: int) -> list[list[str]]:
        return [self.look() for _ in range(count)]

    def firing(self) -> list[Alert]:
        alerts = [one.alert for one in self.incidents]
        return [one for one in alerts if one.state is AlertState.FIRING]

    def alert(self) -> Alert:
        (alert,) = self.firing()
        assert alert.message.endswith(".")
        return alert


@pytest.fixture
def watch() -> Watch:
    watch = Watch()
    watch.looks(3)
    return watch


def test_the_rules_are_whole() -> None:
    assert PROBLEMS == []
    for rule in RULES:
        assert {"summary", "description"} <= rule.annotations.keys(), rule.name


def test_every_metric_that_they_name_is_a_probes() -> None:
    machine = Machine()
    known = (*machine.probe.families, *machine.statistics.families, *FAMILIES)
    assert doubtful(RULES, frozenset(family.name for family in known)) == []


def test_where_all_is_well_nothing_fires_or_pends(watch: Watch) -> None:
    watch.looks(100)
    assert list(watch.incidents) == []


def test_a_port_that_never_was_online_and_has_no_target_is_not_missed() -> None:
    watch = Watch()
    watch.second(DOWN)
    watch.looks(30)
    assert list(watch.incidents) == []


# Ports that are down.


def test_a_port_that_goes_down_beside_another_is_a_warning(watch: Watch) -> None:
    watch.second(DOWN)
    assert watch.looks(3) == [[], [], ["FcPortDown"]]
    alert = watch.alert()
    assert (alert.severity, alert.resource_id) == (Severity.WARNING, SECOND)
    assert alert.title == f"The Fibre Channel port {SECOND} is down; others are up"
    assert "Its state is linkdown. The kernel calls it host4. There are" in alert.message
    watch.both_online()
    fired = watch.looks(14)
    assert fired.index([]) in (12, 13), "online for two minutes"


def test_the_last_port_that_goes_down_is_critical(watch: Watch) -> None:
    watch.second(DOWN, port_state=DOWN)
    assert watch.looks(3)[-1] == ["FcPortDown", "FcPortDown"]
    assert {(one.severity, one.resource_id) for one in watch.firing()} == {
        (Severity.CRITICAL, FIRST),
        (Severity.CRITICAL, SECOND),
    }
    assert watch.firing()[0].title.endswith("is down, and no other is up")


def test_a_port_whose_adapter_has_died_is_down(watch: Watch) -> None:
    tree = watch.machine.readings["sys.fc", ""]
    watch.machine.readings["sys.fc", ""] = {
        path: content for path, content in tree.items() if "host4" not in path
    }
    assert watch.looks(3)[-1] == ["FcPortDown"]
    assert "Its state is gone. There are" in watch.alert().message


def test_a_port_that_flaps_for_less_than_twenty_seconds_is_no_matter(watch: Watch) -> None:
    for _ in range(5):
        watch.second(DOWN)
        assert watch.look() == []
        watch.both_online()
        assert watch.look() == []


def test_a_port_that_has_a_target_is_missed_though_it_never_was_online() -> None:
    watch = Watch()
    watch.second(DOWN)
    watch.targets = {SECOND: True}
    assert watch.looks(3)[-1] == ["FcPortDown"]


def test_a_port_whose_target_was_disabled_is_not_missed(watch: Watch) -> None:
    watch.second(DOWN)
    watch.targets = {SECOND: False}
    watch.looks(10)
    assert list(watch.incidents) == []


def test_that_the_last_port_is_down_is_told_though_scst_cannot_be_seen(watch: Watch) -> None:
    watch.is_scst_seen = False
    watch.second(DOWN, port_state=DOWN)
    assert watch.looks(10)[-1] == ["FcPortDown", "FcPortDown"]


def test_whether_a_port_beside_others_is_missed_is_not_known_without_scst(watch: Watch) -> None:
    watch.is_scst_seen = False
    watch.looks(6)
    watch.second(DOWN)
    assert watch.looks(10)[-1] == []
    watch.is_scst_seen = True
    assert watch.looks(4)[-1] == ["FcPortDown"]


def test_a_port_that_was_taken_out_is_missed_for_two_weeks(watch: Watch) -> None:
    watch.second(DOWN)
    watch.looks(3)
    watch.look(EXPECTED_FOR_S - 60)
    assert watch.looks(2)[-1] == ["FcPortDown"]
    watch.looks(20)
    assert watch.firing() == []


def test_a_port_that_cannot_be_seen_stays_as_it_was(watch: Watch) -> None:
    watch.second(DOWN)
    watch.looks(3)
    del watch.machine.readings["sys.fc", ""]
    watch.machine.readings["sys.fc", ""] = {"fc_host/host4/port_state": -13}
    assert watch.looks(10)[-1] == ["FcPortDown"]
    assert watch.alert().stale_since is not None


# Links.


@pytest.mark.parametrize(
    ("counter", "words"),
    [
        pytest.param("invalid_crc_count", "frames with a wrong check sum", id="check sums"),
        pytest.param("loss_of_sync_count", "losses of synchronisation", id="synchronisation"),
        pytest.param("link_failure_count", "failures of the link", id="link"),
    ],
)
def test_a_bad_link_is_told_until_it_rests_for_an_hour(
    watch: Watch, counter: str, words: str
) -> None:
    watch.looks(120)
    for minute in range(25):
        watch.count(**{counter: 100 + 2 * minute})
        watch.looks(6)
    alert = watch.alert()
    assert (alert.rule, alert.severity) == ("FcLinkErrors", Severity.WARNING)
    assert alert.resource_id == FIRST
    assert words in alert.message
    quiet = watch.looks(460)
    assert 360 <= quiet.index([]) <= 425, "an hour, after the last ten minutes with errors"


def test_an_error_now_and_then_is_no_bad_link(watch: Watch) -> None:
    watch.looks(120)
    for minute in range(30):
        watch.count(invalid_crc_count=100 + minute // 2)
        assert watch.looks(6) == [[]] * 6


def test_counters_that_were_reset_are_no_errors(watch: Watch) -> None:
    watch.count(invalid_crc_count=100_000)
    watch.looks(120)
    watch.count(invalid_crc_count=0)
    assert watch.looks(130) == [[]] * 130
