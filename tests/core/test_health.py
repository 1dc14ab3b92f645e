"""Health of the repositories, and of the whole."""

from typing import Any

import pytest

from storewatchd.core.frames import Family, Frame, MetricType, Outcome, Row, Scope
from storewatchd.core.health import (
    Component,
    Hardware,
    Status,
    absent,
    hardware,
    storage,
    whole,
    with_alerts,
)
from storewatchd.core.model import Alert, AlertState, Severity
from storewatchd.core.repositories import Origin, Repository
from storewatchd.core.series import SeriesTable

NOON = 1_767_268_800.0
FAMILIES = [
    Family(f"repo_{name}_bytes", MetricType.GAUGE, ".", ("repository",))
    for name in ("used", "free")
]


def scope(name: str) -> Scope:
    return Scope("repositories", (("repository", name),))


class Bench:
    """Repositories by name, each seen, failed or not looked at."""

    def __init__(self, *names: str) -> None:
        self.table = SeriesTable()
        self.table.declare("repositories", FAMILIES, max_age_s=90)
        self.known = [Repository(name, f"/{name}", Origin.ADDED) for name in names]

    def see(self, **ratios: float) -> "Bench":
        for name, ratio in ratios.items():
            rows = {
                "repo_used_bytes": [Row((name,), ratio)],
                "repo_free_bytes": [Row((name,), 1 - ratio)],
            }
            self.table.feed(Frame(scope(name), NOON, rows=rows, duration_s=0.5))
        return self

    def end(self, name: str, outcome: Outcome, reason: str = "") -> "Bench":
        self.table.feed(Frame(scope(name), NOON, outcome, reason=reason))
        return self

    def judge(self, at: float = NOON) -> Component:
        return storage(self.table, self.known, at, "repositories")


def test_all_seen_and_none_full_is_healthy() -> None:
    judged = Bench("a", "b").see(a=0.5, b=0.95).judge()
    assert (judged.status, judged.message) == (
        Status.HEALTHY,
        "2 repositories, none over 95 % full",
    )
    assert (judged.checked_at, judged.duration_s) == (NOON, 0.5)
    assert Bench("a").see(a=0.5).judge().message == "1 repository, none over 95 % full"


def test_one_that_is_full_is_unhealthy_and_named() -> None:
    judged = Bench("a", "b").see(a=0.96, b=0.1).judge()
    assert (judged.status, judged.message) == (Status.UNHEALTHY, "over 95 % full: a")
    unseen = Bench("a", "b").see(a=0.96, b=0.97).end("a", Outcome.FAILED, "gone").judge()
    assert (unseen.status, unseen.message) == (
        Status.UNHEALTHY,
        "over 95 % full: b; over 95 % full when seen last: a",
    )
    many = Bench(*"abcde").see(a=1.0, b=1.0, c=1.0, d=1.0, e=1.0).judge()
    assert many.message == "over 95 % full: a, b, c and 2 more"


def test_some_that_cannot_be_used_degrade_and_all_are_unhealthy() -> None:
    some = Bench("a", "b").see(a=0.1).end("b", Outcome.FAILED, "stuck").judge()
    assert (some.status, some.message) == (
        Status.DEGRADED,
        "1 of 2 cannot be used; b: stuck",
    )
    every = Bench("a").end("a", Outcome.FAILED, "stuck").judge()
    assert every.status is Status.UNHEALTHY
    gone = Bench("a", "b").see(a=0.1).end("b", Outcome.ABSENT, "removed").judge()
    assert gone.status is Status.DEGRADED
    neither = Bench("a", "b").end("a", Outcome.FAILED, "x").end("b", Outcome.ABSENT, "y").judge()
    assert neither.status is Status.UNHEALTHY


def test_silence_is_not_health() -> None:
    judged = Bench("a", "b").see(a=0.1, b=0.1).judge(NOON + 91)
    assert judged.status is Status.UNHEALTHY
    assert "not seen for too long" in judged.message


def test_one_that_is_absent_and_overdue_is_one() -> None:
    some = Bench("a", "b", "c").see(a=0.1, b=0.1).end("c", Outcome.ABSENT).judge(NOON + 91)
    assert some.message.startswith("3 of 3 cannot be used; ")


def test_what_was_not_looked_at_yet_is_not_healthy() -> None:
    some = Bench("a", "b", "c").see(a=0.1).judge()
    assert (some.status, some.message) == (Status.UNKNOWN, "2 of 3 not looked at yet")
    bench = Bench("a", "b", "c").see(a=0.1).end("b", Outcome.FAILED, "stuck")
    assert bench.judge().status is Status.DEGRADED
    assert bench.judge().message == "1 of 3 cannot be used; b: stuck; 1 of 3 not looked at yet"
    full = Bench("a", "b").see(a=0.96).judge()
    assert (full.status, full.message) == (Status.UNHEALTHY, "over 95 % full: a")


def test_nothing_to_look_at_is_unknown() -> None:
    assert Bench().judge().message == "no repository is declared or found"
    assert Bench("a").judge().message == "not looked at yet"
    assert Bench("a").judge().status is Status.UNKNOWN


def test_an_empty_file_system_is_not_full() -> None:
    bench = Bench("a")
    rows = {name: [Row(("a",), 0.0)] for name in ("repo_used_bytes", "repo_free_bytes")}
    bench.table.feed(Frame(scope("a"), NOON, rows=rows))
    assert bench.judge().status is Status.HEALTHY


@pytest.mark.parametrize(
    ("parts", "status"),
    [
        ([], Status.UNKNOWN),
        ([Status.UNKNOWN], Status.UNKNOWN),
        ([Status.UNKNOWN, Status.HEALTHY], Status.HEALTHY),
        ([Status.HEALTHY, Status.DEGRADED, Status.UNKNOWN], Status.DEGRADED),
        ([Status.UNHEALTHY, Status.DEGRADED], Status.UNHEALTHY),
    ],
)
def test_the_whole_is_the_worst_of_those_that_matter(parts: list[Status], status: Status) -> None:
    assert whole([Component(str(n), part, "") for n, part in enumerate(parts)]) is status


def test_a_shape_has_milliseconds_or_null() -> None:
    assert Component("x", Status.HEALTHY, "m", NOON, 0.0123456).to_json() == {
        "name": "x",
        "status": "healthy",
        "message": "m",
        "checked_at": "2026-01-01T12:00:00.000Z",
        "duration_ms": 12.346,
    }
    assert absent("x", "none").to_json()["duration_ms"] is None


# Hardware of many parts.

DRIVES = Hardware(
    *("tape", "drives", ("drives", "logs"), {"drive_up": "drive"}),
    whole="loaded",
    lost="drives_lost",
)


class Shelf:
    """Drives by name, which are up, down or not to be seen."""

    def __init__(self) -> None:
        self.table = SeriesTable()
        for probe, families in (
            ("drives", (Family("drive_up", MetricType.GAUGE, ".", ("drive",)),)),
            ("logs", (Family("loaded", MetricType.GAUGE, "."),)),
            ("past", (Family("drives_lost", MetricType.GAUGE, ".", ("bus",)),)),
        ):
            self.table.declare(probe, families, max_age_s=90)

    def see(self, **up: float) -> "Shelf":
        for drive, value in up.items():
            rows = {"drive_up": [Row((drive,), value)]}
            self.table.feed(Frame(self.scope(drive), NOON, rows=rows, duration_s=0.2))
        return self

    def end(self, drive: str, outcome: Outcome, reason: str = "") -> "Shelf":
        self.table.feed(Frame(self.scope(drive), NOON, outcome, reason=reason))
        return self

    def loaded(self, value: float) -> "Shelf":
        self.table.feed(Frame(Scope("logs"), NOON, rows={"loaded": [Row((), value)]}))
        return self

    def lost(self, **lost: float) -> "Shelf":
        rows = {"drives_lost": [Row((bus,), count) for bus, count in lost.items()]}
        self.table.feed(Frame(Scope("past"), NOON, rows=rows))
        return self

    @staticmethod
    def scope(drive: str) -> Scope:
        return Scope("drives", (("drive", drive),))

    def judge(self, at: float = NOON) -> tuple[Status, str]:
        judged = hardware(DRIVES, self.table, at)
        return judged.status, judged.message


def test_hardware_that_is_not_there_is_unknown_and_quiet() -> None:
    assert Shelf().judge() == (Status.UNKNOWN, "no drives are here")
    absent_one = Shelf().end("a", Outcome.ABSENT)
    assert absent_one.judge() == (Status.UNKNOWN, "no drives are here")


def test_hardware_that_is_not_there_was_looked_for() -> None:
    assert hardware(DRIVES, Shelf().table, NOON).checked_at is None
    assert hardware(DRIVES, Shelf().end("a", Outcome.ABSENT).table, NOON).checked_at == NOON


def test_hardware_that_is_up_is_healthy() -> None:
    assert Shelf().see(a=1, b=1).loaded(1).judge() == (Status.HEALTHY, "2 drives, none down")


def test_a_part_that_is_down_degrades_and_all_of_them_are_unhealthy() -> None:
    assert Shelf().see(a=0, b=1).judge() == (Status.DEGRADED, "1 of 2 drives are down: a")
    assert Shelf().see(a=0, b=0).judge() == (Status.UNHEALTHY, "2 of 2 drives are down: a, b")


def test_a_whole_that_is_gone_is_unhealthy() -> None:
    judged = Shelf().see(a=1).loaded(0).judge()
    assert judged == (Status.UNHEALTHY, "the drives are gone: it is not loaded")


def test_a_part_that_cannot_be_seen_degrades() -> None:
    judged = Shelf().see(a=1, b=1).end("b", Outcome.FAILED, "it hangs").judge()
    assert judged == (Status.DEGRADED, "1 of 2 cannot be seen; drives{drive='b'}: it hangs")
    assert Shelf().see(a=1).judge(NOON + 91)[1].endswith("not seen for too long")


@pytest.mark.parametrize(
    ("up", "lost", "judged"),
    [
        ({"a": 1}, {"x": 1}, (Status.HEALTHY, "1 drives, none down; 1 more is lost")),
        (
            {"a": 0, "b": 1},
            {"x": 2, "y": 1},
            (Status.DEGRADED, "1 of 2 drives are down: a; 3 more are lost"),
        ),
    ],
)
def test_those_that_are_lost_are_told_beside_those_that_are_here(
    up: dict[str, float], lost: dict[str, float], judged: tuple[Status, str]
) -> None:
    assert Shelf().see(**up).lost(**lost).judge() == judged


def test_where_all_are_lost_it_is_unhealthy() -> None:
    judged = Shelf().loaded(1).lost(x=3, y=0).judge()
    assert judged == (Status.UNHEALTHY, "no drives are left: all 3 of them are lost")


# Alerts about a component.


def fired(title: str, **changes: Any) -> Alert:
    plain: dict[str, Any] = {
        "id": title,
        "rule": "R",
        "severity": Severity.CRITICAL,
        "source": "tape",
        "title": title,
        "message": "",
        "state": AlertState.FIRING,
        "node": "n",
        "first_seen": NOON,
        "last_seen": NOON,
    }
    return Alert(**{**plain, **changes})


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (Status.UNKNOWN, Status.DEGRADED),
        (Status.HEALTHY, Status.DEGRADED),
        (Status.DEGRADED, Status.DEGRADED),
        (Status.UNHEALTHY, Status.UNHEALTHY),
    ],
)
def test_a_critical_alert_makes_a_component_no_better(before: Status, after: Status) -> None:
    judged = with_alerts(Component("tape", before, "2 drives", NOON), [fired("It is stuck")])
    assert judged == Component("tape", after, "2 drives; a critical alert: It is stuck", NOON)


def test_of_several_critical_alerts_the_newest_is_told() -> None:
    alerts = [fired("old", first_seen=NOON - 9), fired("new"), fired("older", first_seen=NOON - 99)]
    judged = with_alerts(Component("tape", Status.HEALTHY, "2 drives"), alerts)
    assert judged.message == "2 drives; 3 critical alerts, the newest: new"


@pytest.mark.parametrize(
    "changes",
    [
        {"severity": Severity.WARNING},
        {"state": AlertState.PENDING},
        {"acknowledged_at": NOON, "acknowledged_by": "ann"},
    ],
)
def test_an_alert_that_is_less_or_looked_after_changes_nothing(changes: dict[str, Any]) -> None:
    component = Component("tape", Status.HEALTHY, "2 drives")
    assert with_alerts(component, [fired("it", **changes)]) == component
