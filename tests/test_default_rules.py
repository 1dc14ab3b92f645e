"""The rules that ship, on the real engine: when they fire, when they end, and what they say."""

import importlib.resources
import itertools
from collections.abc import Mapping

import pytest

from fakes import NOON, suspended
from storewatchd.core.engine import Engine
from storewatchd.core.frames import Frame, Outcome, Row, Scope
from storewatchd.core.incidents import Incidents
from storewatchd.core.model import Alert, AlertState, Instant, Severity
from storewatchd.core.rules import RuleFile, load
from storewatchd.core.series import SeriesTable
from storewatchd.core.sight import (
    BLINDNESS,
    BLINDNESS_FAMILIES,
    COLLECTOR,
    COLLECTOR_FAMILIES,
    Sight,
    told_scopes,
)
from storewatchd.core.tasks import FAMILIES as TASK_FAMILIES
from storewatchd.probes.self import DATABASE, DATABASE_FAMILIES, SELF, SELF_FAMILIES

INTERVAL_S = 30.0
MAX_AGE_S = 5 * INTERVAL_S
RULES, _ = load(
    [
        RuleFile(
            "default.yml",
            importlib.resources.files("storewatchd.rules").joinpath("default.yml").read_text(),
            "built-in",
        )
    ]
)
VAULT = Scope("repositories", (("path", "/vault"), ("repository", "vault")))
BLOCK = Scope("block")
GIB = float(1 << 30)

HEALTHY = {
    "storewatch_journal_writable": 1.0,
    "storewatch_journal_file_bytes": 0.1 * GIB,
    "storewatch_journal_limit_bytes": GIB,
    "storewatch_journal_free_bytes": 10 * GIB,
    "storewatch_journal_reserve_bytes": GIB / 16,
    "storewatch_loop_lag_seconds": 0.01,
}
CONNECTED = {"storewatch_db_up": 1.0, "storewatch_journal_oldest_unconfirmed_seconds": 0.0}


class Daemon:
    """The default rules over what a daemon says of itself."""

    def __init__(self, *, database: Mapping[str, float] | None = CONNECTED) -> None:
        self.now = Instant(NOON, 1000.0)
        self.table = SeriesTable()
        for probe, families in (
            (COLLECTOR, COLLECTOR_FAMILIES),
            (BLINDNESS, BLINDNESS_FAMILIES),
            (SELF, SELF_FAMILIES),
            (DATABASE, DATABASE_FAMILIES),
        ):
            self.table.declare(probe, families, max_age_s=MAX_AGE_S)
        ids = itertools.count()
        self.incidents = Incidents("node", lambda _: f"id-{next(ids)}")
        self.engine = Engine(self.table, self.incidents, RULES)
        self.sights = {scope: Sight(scope, self.now.awake) for scope in (VAULT, BLOCK)}
        self.failing: dict[Scope, str] = {}
        self.said = dict(HEALTHY)
        self.database = database
        self.transitions = 0.0
        self.tell_scopes()

    def tell_scopes(self) -> None:
        for probe, scopes in told_scopes(self.sights.values(), ()):
            self.table.expect(probe, scopes)

    def look(self, seconds: float = INTERVAL_S) -> None:
        """Let time pass, look at everything, and judge."""
        self.now = self.now.later(seconds)
        for scope, sight in self.sights.items():
            reason = self.failing.get(scope)
            outcome = Outcome.SEEN if reason is None else Outcome.FAILED
            sight.note(outcome, self.now, reason=reason or "")
            for frame in sight.frames(self.now):
                self.table.feed(frame)
        self.look_at_itself()
        self.judge()

    def look_at_itself(self) -> None:
        rows = {name: [Row((), value)] for name, value in self.said.items()}
        ages = [sight.age(self.now) for sight in self.sights.values()]
        rows["storewatch_probe_age_seconds"] = [
            Row((age.probe, age.scope), age.age_s) for age in ages
        ]
        rows["storewatch_probe_interval_seconds"] = [
            Row((age.probe, age.scope), INTERVAL_S) for age in ages
        ]
        rows["storewatch_events_total"] = [
            Row(("alert", kind), self.transitions / 2) for kind in ("firing", "resolved")
        ]
        rows["storewatch_rule_alerts"] = [
            Row((alert.rule, alert.state.value), 1.0) for alert in self.open()
        ]
        self.table.feed(Frame(Scope(SELF), self.now.wall, rows=rows))
        if self.database is None:
            self.table.feed(Frame(Scope(DATABASE), self.now.wall, Outcome.ABSENT))
        else:
            told = {name: [Row((), value)] for name, value in self.database.items()}
            self.table.feed(Frame(Scope(DATABASE), self.now.wall, rows=told))

    def judge(self) -> None:
        self.engine.evaluate(self.now, frozenset(self.table.names()))

    def open(self) -> list[Alert]:
        return sorted((one.alert for one in self.incidents), key=lambda alert: alert.rule)

    def firing(self) -> list[str]:
        return [alert.rule for alert in self.open() if alert.state is AlertState.FIRING]

    def restart(self) -> None:
        """Start anew from what the journal keeps; nothing was looked at yet."""
        kept = [state for state in self.incidents.take_changes().values() if state]
        again = Daemon(database=self.database)
        again.now = self.now
        again.incidents.restore(kept, self.now)
        vars(self).update({**vars(again), "failing": self.failing})


@pytest.fixture
def daemon() -> Daemon:
    return Daemon()


@pytest.mark.parametrize("database", [CONNECTED, None], ids=["a database", "no database"])
def test_on_a_healthy_daemon_nothing_fires_or_pends(database: Mapping[str, float] | None) -> None:
    daemon = Daemon(database=database)
    daemon.judge()
    for _ in range(30):
        daemon.look()
        assert daemon.open() == []


# ProbeBlind.


@pytest.mark.parametrize(
    ("scope", "severity"),
    [
        pytest.param(VAULT, Severity.CRITICAL, id="a repository"),
        pytest.param(BLOCK, Severity.WARNING, id="anything else"),
    ],
)
def test_three_failed_looks_are_blindness_as_bad_as_what_is_not_seen(
    daemon: Daemon, scope: Scope, severity: Severity
) -> None:
    daemon.look()
    daemon.failing[scope] = "input/output error"
    fired = []
    for _ in range(3):
        daemon.look()
        fired.append(daemon.firing())
    assert fired == [[], [], ["ProbeBlind"]]
    assert daemon.open()[0].severity is severity


def test_two_good_looks_end_blindness(daemon: Daemon) -> None:
    daemon.failing[VAULT] = "input/output error"
    for _ in range(3):
        daemon.look()
    del daemon.failing[VAULT]
    fired = []
    for _ in range(2):
        daemon.look()
        fired.append(daemon.firing())
    assert fired == [["ProbeBlind"], []]


def test_what_was_not_looked_at_for_five_intervals_is_blindness(daemon: Daemon) -> None:
    daemon.look()
    daemon.look()
    daemon.now = daemon.now.later(5 * INTERVAL_S + 1)
    daemon.look_at_itself()
    daemon.judge()
    assert daemon.firing() == ["ProbeBlind", "ProbeBlind"]


def test_a_machine_that_was_suspended_is_not_blind(daemon: Daemon) -> None:
    daemon.look()
    daemon.now = suspended(daemon.now, 3600)
    daemon.look_at_itself()
    daemon.judge()
    assert daemon.open() == []


def test_blindness_says_who_sees_what_and_why_not(daemon: Daemon) -> None:
    daemon.failing[VAULT] = "statvfs.path:/vault has not answered"
    for _ in range(3):
        daemon.look()
    (alert,) = daemon.open()
    assert alert.title == (
        "Repository vault cannot be looked at: statvfs.path:/vault has not answered"
    )
    assert (alert.resource_type, alert.resource_id) == (
        "probe",
        "repositories/path=/vault,repository=vault",
    )
    assert (
        "The last look said: statvfs.path:/vault has not answered. Look whether it is mounted, "
        "whether its device or server answers"
    ) in alert.message


@pytest.mark.parametrize("reason", ["/vault is no directory", "/vault does not exist"])
def test_a_path_that_may_be_mistyped_is_advised_to_be_taken_out(
    daemon: Daemon, reason: str
) -> None:
    daemon.failing[VAULT] = reason
    for _ in range(3):
        daemon.look()
    (alert,) = daemon.open()
    assert alert.title == f"Repository vault cannot be looked at: {reason}"
    assert (
        f"The last look said: {reason}. If the path is mistyped, take it out "
        "(`storewatchctl repositories remove vault`) and add the right one; else look whether it "
        "is mounted"
    ) in alert.message


def test_a_repository_that_nobody_looked_at_is_told_without_a_reason(daemon: Daemon) -> None:
    daemon.look()
    daemon.now = daemon.now.later(5 * INTERVAL_S + 1)
    daemon.look_at_itself()
    daemon.judge()
    title, message = next((one.title, one.message) for one in daemon.open() if "vault" in one.title)
    assert title == "Repository vault cannot be looked at"
    assert "no new one fires. Look whether it is mounted" in message


def test_a_probe_of_the_whole_says_so(daemon: Daemon) -> None:
    daemon.failing[BLOCK] = "the reader does not answer"
    for _ in range(3):
        daemon.look()
    (alert,) = daemon.open()
    assert alert.title == "The probe block cannot see what it looks at"
    assert alert.resource_id == "block"


@pytest.mark.parametrize("still_fails", [True, False])
def test_blindness_goes_on_over_a_restart_until_it_is_decided(
    daemon: Daemon, still_fails: bool
) -> None:
    daemon.failing[VAULT] = "input/output error"
    for _ in range(3):
        daemon.look()
    before = daemon.open()[0].id
    daemon.restart()
    if not still_fails:
        daemon.failing.clear()
    fired = []
    for _ in range(3):
        daemon.judge()
        daemon.look()
        fired.append(daemon.firing())
    assert fired == [["ProbeBlind"], ["ProbeBlind"] if still_fails else [], fired[1]]
    assert not still_fails or daemon.open()[0].id == before


# The database and the journal.


def test_a_database_that_is_away_for_a_minute_is_told_until_it_is_back(daemon: Daemon) -> None:
    daemon.look()
    daemon.database = {**CONNECTED, "storewatch_db_up": 0.0}
    fired = []
    for _ in range(3):
        daemon.look()
        fired.append(daemon.firing())
    daemon.database = CONNECTED
    daemon.look()
    assert (*fired, daemon.firing()) == ([], [], ["DatabaseUnavailable"], [])


def test_a_journal_that_fills_because_nobody_confirms_is_told(daemon: Daemon) -> None:
    daemon.said["storewatch_journal_file_bytes"] = 0.6 * GIB
    for _ in range(3):
        daemon.look()
    assert daemon.open() == []  # confirmed history alone may fill it
    daemon.database = {**CONNECTED, "storewatch_journal_oldest_unconfirmed_seconds": 400.0}
    for _ in range(3):
        daemon.look()
    (alert,) = daemon.open()
    assert (alert.rule, alert.state, alert.severity) == (
        "JournalGrowing",
        AlertState.FIRING,
        Severity.WARNING,
    )
    assert alert.title == "The journal holds 614.4MiB that PostgreSQL lacks"


def test_without_a_database_the_journal_may_fill(daemon: Daemon) -> None:
    daemon.database = None
    daemon.said["storewatch_journal_file_bytes"] = 0.9 * GIB
    for _ in range(3):
        daemon.look()
    assert daemon.open() == []


@pytest.mark.parametrize(
    ("said", "title"),
    [
        pytest.param(
            {"storewatch_journal_writable": 0.0},
            "The state directory cannot be written",
            id="refused",
        ),
        pytest.param(
            {"storewatch_journal_reserve_bytes": 0.0, "storewatch_journal_free_bytes": 1e6},
            "The state directory has no room left",
            id="no reserve",
        ),
    ],
)
def test_a_state_directory_that_cannot_be_written_is_critical_at_once(
    daemon: Daemon, said: dict[str, float], title: str
) -> None:
    daemon.said |= said
    daemon.look()
    (alert,) = daemon.open()
    assert (alert.rule, alert.state, alert.severity, alert.title) == (
        "StateUnwritable",
        AlertState.FIRING,
        Severity.CRITICAL,
        title,
    )
    daemon.said = dict(HEALTHY)
    daemon.look()
    assert daemon.open() == []


def test_a_file_system_that_can_hold_nothing_back_and_has_room_is_no_alert(daemon: Daemon) -> None:
    daemon.said["storewatch_journal_reserve_bytes"] = 0.0
    daemon.look()
    assert daemon.open() == []


# Keeping up.


def test_a_loop_that_is_late_again_and_again_is_told_and_for_a_while_after(daemon: Daemon) -> None:
    fired = []
    for lag_s in (3.0, 0.1, 3.0, 3.0, 3.0, *(10 * [0.1]), 0.1):
        daemon.said["storewatch_loop_lag_seconds"] = lag_s
        daemon.look()
        fired.append("LoopLagging" in daemon.firing())
    assert fired == [False] * 4 + [True] * 11 + [False]


def test_rows_without_a_place_are_told_while_there_are_some(daemon: Daemon) -> None:
    fired = []
    for dropped in (*(14 * [0]), 200, 400, 600, *(40 * [600])):
        daemon.said["storewatch_series_dropped_total"] = float(dropped)
        daemon.look()
        fired.append("SeriesDropped" in daemon.firing())
    assert fired[:14] == [False] * 14
    assert fired[14:30] == [True] * 16
    assert not fired[-1]


def test_a_storm_is_told_until_alerts_hardly_come_and_go(daemon: Daemon) -> None:
    for _ in range(20):
        daemon.look()
    fired = []
    # In each half minute so many; the storm is over 50 in 5 minutes, its end under 5 in 10.
    for count in (*(10 * [4]), *(10 * [20]), *(40 * [1]), *(25 * [0])):
        daemon.transitions += count
        daemon.look()
        fired.append("AlertStorm" in daemon.firing())
    began, ended = fired.index(True), len(fired) - fired[::-1].index(True)
    assert 10 <= began < 15, "4 in half a minute are none"
    assert all(fired[began:ended])
    assert 70 <= ended < 85, "1 in half a minute goes on being one"


def test_a_storm_says_what_to_look_at(daemon: Daemon) -> None:
    for count in (*(20 * [0]), 60.0, 60.0):
        daemon.transitions += count
        daemon.look()
    (alert,) = daemon.open()
    assert alert.rule == "AlertStorm"
    assert "alerts list --severity critical" in alert.message


def test_a_task_that_failed_is_told_with_when_that_was(daemon: Daemon) -> None:
    daemon.table.declare("tasks", TASK_FAMILIES, max_age_s=MAX_AGE_S)
    daemon.look()
    rows = {
        "task_last_failure_timestamp_seconds": [Row(("nightly",), NOON + 1.5)],
        "task_last_failure_info": [Row(("nightly", "3", "", "boom"), 1.0)],
    }
    daemon.table.feed(Frame(Scope("tasks"), daemon.now.wall, rows=rows))
    daemon.judge()
    (alert,) = daemon.open()
    assert alert.title == "Task nightly failed: exit status 3"
    assert alert.message.startswith("nightly failed at 2026-01-01T12:00:01Z, and no run has")


def test_every_rule_says_what_to_do() -> None:
    for rule in RULES:
        assert {"summary", "description"} <= rule.annotations.keys(), rule.name
