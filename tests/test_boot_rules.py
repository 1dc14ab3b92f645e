"""The rules of the next start on the real engine: when they fire, when they end, and what they
say."""

import asyncio
import importlib.resources
import itertools
from typing import TYPE_CHECKING

import pytest

from probes.boot.fix_boot import NEXT, facts, plan, tell
from probes.scst.fix_scst import TGT1, Appliance, saved_text
from storewatchd.core.engine import Engine
from storewatchd.core.frames import Frame, Outcome, Row, Scope
from storewatchd.core.incidents import Incidents
from storewatchd.core.model import Alert, AlertState, Severity
from storewatchd.core.rules import RuleFile, doubtful, load
from storewatchd.core.series import SeriesTable
from storewatchd.errors import ProbeError
from storewatchd.probes.base import gauge
from storewatchd.probes.boot.checks import Facts
from storewatchd.probes.boot.probe import NextBootProbe, ScstConfigProbe
from storewatchd.probes.scst.readings import SlowReadings
from storewatchd.rule_files import built_in_files

if TYPE_CHECKING:
    from storewatchd.probes.base import Probe

INTERVAL_S = 60.0
FILE = importlib.resources.files("storewatchd.rules").joinpath("boot.yml")
RULES, PROBLEMS = load([RuleFile("boot.yml", FILE.read_text(), "built-in")])
CONFIG = saved_text("configured-idle")
MODULES = ["iscsi_scst", "scst", "scst_local", "scst_vdisk"]


def machine(**more: object) -> Facts:
    """Return a machine that exports what is saved, and will come back, unless it is said other."""
    well = {
        "config": CONFIG,
        "loaded": MODULES,
        "next_has": MODULES,
        "enabled": ["scst.service"],
        "fstab": [],
    }
    return facts(**{**well, **more})  # type: ignore[arg-type]  # the keywords of a function


class Watch:
    """The rules over what both probes say of a machine."""

    def __init__(self) -> None:
        self.appliance = Appliance("run1/06-configured-idle")
        clock = self.appliance.clock.clock
        self.probes: tuple[Probe, ...] = (
            NextBootProbe(clock),
            ScstConfigProbe(SlowReadings(clock), clock),
        )
        self.table = SeriesTable()
        for probe in self.probes:
            self.table.declare(probe.name, probe.families, max_age_s=5 * INTERVAL_S)
        ids = itertools.count()
        self.incidents = Incidents("node", lambda _: f"id-{next(ids)}")
        self.engine = Engine(self.table, self.incidents, RULES)
        self.be()

    def be(self, **more: object) -> None:
        tell(self.appliance, machine(**more))

    def look(self) -> list[str]:
        """Let a minute pass, look at everything, judge, and return what fires."""
        self.appliance.clock.forward(INTERVAL_S)
        now = self.appliance.clock.now()
        for probe in self.probes:
            scopes = asyncio.run(probe.discover(self.appliance))
            self.table.expect(probe.name, scopes)
            for scope in scopes:
                try:
                    rows = asyncio.run(probe.collect(self.appliance, scope)).rows
                except ProbeError as error:
                    frame = Frame(scope, now.wall, Outcome.FAILED, reason=str(error))
                else:
                    frame = Frame(scope, now.wall, rows=rows)
                self.table.feed(frame)
        self.engine.evaluate(now, frozenset(self.table.names()))
        return [alert.rule for alert in self.firing()]

    def firing(self) -> list[Alert]:
        open_alerts = [one.alert for one in self.incidents]
        return [alert for alert in open_alerts if alert.state is AlertState.FIRING]

    def fires_after(self, most: int = 30) -> int:
        """Return after how many looks something fires."""
        return next(number for number in range(most) if self.look())


@pytest.fixture
def watch() -> Watch:
    watch = Watch()
    watch.look()
    return watch


def test_the_rules_are_whole_and_ship(watch: Watch) -> None:
    assert PROBLEMS == []
    assert "boot.yml" in [file.path for file in built_in_files()]
    assert {rule.name for rule in RULES} == {"NextBootNotReady", "ScstConfigDrift"}
    families = [family.name for probe in watch.probes for family in probe.families]
    assert doubtful(RULES, frozenset(families)) == []
    for rule in RULES:
        assert {"summary", "description"} <= rule.annotations.keys()


def test_where_all_is_well_nothing_fires(watch: Watch) -> None:
    assert [watch.look() for _ in range(40)] == [[]] * 40


def test_a_kernel_without_scst_is_told_before_the_machine_is_started(watch: Watch) -> None:
    watch.be(next_has=["scst_vdisk", "iscsi_scst", "scst_local"])
    # It is seen within 5 minutes, and lasts for 10.
    assert 10 <= watch.fires_after() <= 15
    (alert,) = watch.firing()
    assert (alert.rule, alert.severity) == ("NextBootNotReady", Severity.WARNING)
    assert (alert.resource_type, alert.resource_id) == ("next_boot", "module_scst")
    assert alert.title == (
        f"This machine will not come back whole from its next start: {NEXT} has no module scst"
    )
    assert f"`dkms autoinstall -k {NEXT}`" in alert.message
    watch.be()
    assert watch.look() == []


@pytest.mark.parametrize(
    ("planned", "words"),
    [
        ({"at": 7200.0}, "A start is planned in 1h 59m"),
        ({"is_required": True}, "Packages ask for a start (/run/reboot-required)."),
    ],
)
def test_where_a_start_is_near_it_is_critical_and_told_soon(
    watch: Watch, planned: dict[str, float], words: str
) -> None:
    watch.be(next_has=["scst_vdisk", "iscsi_scst", "scst_local"])
    watch.fires_after()
    assert [one.severity for one in watch.firing()] == [Severity.WARNING]
    if "at" in planned:
        planned = {"at": watch.appliance.clock.wall() + planned["at"]}
    plan(watch.appliance, **planned)  # type: ignore[arg-type]  # the keywords of a function
    watch.look()
    (alert,) = watch.firing()
    assert alert.severity is Severity.CRITICAL
    assert alert.message.startswith(words)
    plan(watch.appliance)
    assert watch.look() == []


def test_a_start_of_a_machine_that_is_ready_is_no_alert(watch: Watch) -> None:
    plan(watch.appliance, at=watch.appliance.clock.wall() + 60, is_required=True)
    assert [watch.look() for _ in range(5)] == [[]] * 5


def test_each_problem_is_an_alert_of_its_own(watch: Watch) -> None:
    watch.be(next_has=[], enabled=[])
    watch.fires_after()
    assert sorted(alert.resource_id for alert in watch.firing()) == [
        *("module_iscsi_scst", "module_scst", "module_scst_local", "module_scst_vdisk"),
        "unit_scst",
    ]


def test_what_is_not_known_is_no_alert(watch: Watch) -> None:
    watch.be(grub_default="7")
    assert [watch.look() for _ in range(30)] == [[]] * 30


def test_what_is_not_saved_is_told_with_what_would_vanish(watch: Watch) -> None:
    watch.be(config=CONFIG.replace("\t\tLUN 300 gone\n", "").replace("thin.img", "fat.img"))
    assert 15 <= watch.fires_after() <= 20
    (alert,) = watch.firing()
    assert (alert.rule, alert.severity) == ("ScstConfigDrift", Severity.WARNING)
    assert alert.title == (
        "What SCST does is not what is saved: the next start would change 2 things"
    )
    assert alert.message == (
        f"It would lose lun iscsi/{TGT1}/300; hosts that use it would be cut off. "
        "It would be other than now: filename thin_vol-1; "
        "If what SCST does now is right, save it (`scstadmin -write_config /etc/scst.conf`); "
        "otherwise put right what it does."
    )
    watch.be()
    assert watch.look() == []


def test_what_would_come_back_is_told(watch: Watch) -> None:
    watch.be(config=CONFIG.replace("LUN 300 gone", "LUN 300 gone\n\t\tLUN 301 gone"))
    watch.fires_after()
    (alert,) = watch.firing()
    assert alert.message.startswith(
        f"It would come back, though it was taken out: lun iscsi/{TGT1}/301; If what"
    )


def test_a_state_that_is_not_whole_is_not_to_be_saved(watch: Watch) -> None:
    watch.be(config=CONFIG.replace("\t\tLUN 300 gone\n", ""))
    watch.table.declare(
        "scst", (gauge("scst_target_enabled", "", "driver", "target"),), max_age_s=9e9
    )
    scope = Scope("scst")
    watch.table.expect("scst", [scope])
    row = Row(("iscsi", TGT1), 0.0)
    watch.table.feed(
        Frame(scope, watch.appliance.clock.wall(), rows={"scst_target_enabled": [row]})
    )
    watch.fires_after()
    (alert,) = watch.firing()
    assert "Save nothing now: SCST is not whole" in alert.message
    assert "If what SCST does now is right" not in alert.message


def test_what_would_change_is_told_as_it_is_now(watch: Watch) -> None:
    watch.be(config=CONFIG.replace("\t\tLUN 300 gone\n", ""))
    watch.fires_after()
    watch.be(config=CONFIG.replace("thin.img", "fat.img"))
    watch.look()
    watch.look()
    (alert,) = watch.firing()
    assert alert.title.endswith("would change 1 thing")
    assert "filename thin_vol-1" in alert.message


def test_while_scst_cannot_be_read_its_alert_stays(watch: Watch) -> None:
    watch.be(config=CONFIG.replace("\t\tLUN 300 gone\n", ""))
    watch.fires_after()
    del watch.appliance.readings["scst.cheap", ""]
    assert [watch.look() for _ in range(10)] == [["ScstConfigDrift"]] * 10
