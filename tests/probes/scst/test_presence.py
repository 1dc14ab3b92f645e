"""Who is usually here at this hour: days that pass, and what is made of them."""

import json
from collections.abc import Callable
from datetime import UTC, datetime
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from storewatchd.probes.scst.model import MOST_PEERS, Group, Target
from storewatchd.probes.scst.presence import (
    DAYS,
    Hour,
    Presence,
    hour_of,
    was_taken_out,
)

PLACE = ("iscsi", "iqn.t")
ESX, BACKUP = (*PLACE, "iqn.esx"), (*PLACE, "iqn.backup")

MONDAY = datetime(2026, 3, 2, tzinfo=UTC).toordinal()
LOOK_S = 600.0

Here = Callable[[Hour], bool]


def always(_: Hour) -> bool:
    return True


def is_workday(hour: Hour) -> bool:
    return not hour.is_weekend


def at_night(hour: Hour) -> bool:
    return hour.hour >= 20 or hour.hour < 6


class Days:
    """Days that pass, with a look every ten minutes."""

    def __init__(self) -> None:
        self.presence = Presence()
        self.at = MONDAY * 86_400.0

    @property
    def hour(self) -> Hour:
        return Hour(int(self.at // 86_400), int(self.at % 86_400 // 3600))

    def look(self, here: dict[tuple[str, str, str], str], *, is_open: bool = True) -> None:
        self.presence.take(here, [PLACE] if is_open else [], self.hour, self.at)
        self.at += LOOK_S

    def pass_days(self, days: float, here: Here = always, *, is_open: bool = True) -> None:
        """Let days pass in which the ESX host is here whenever it says so."""
        for _ in range(round(days * 144)):
            self.look({ESX: "hosts"} if here(self.hour) else {}, is_open=is_open)

    def is_expected(self, after_h: float = 0) -> bool:
        """Whether the ESX host is expected, so many hours on, away all the while."""
        for _ in range(round(after_h * 6) + 1):
            self.look({})
        return ESX in self.presence.expected


@pytest.fixture
def days() -> Days:
    return Days()


def test_who_always_is_here_is_expected_after_a_week(days: Days) -> None:
    for _ in range(5):
        days.pass_days(1)
        assert ESX not in days.presence.expected
    days.pass_days(3)
    assert days.is_expected()
    assert days.presence.ratios[ESX] == 1.0


def test_on_a_weekend_only_weekends_count(days: Days) -> None:
    days.pass_days(12, is_workday)  # until Friday
    assert days.hour == Hour(MONDAY + 12, 0)
    days.pass_days(1.5, is_workday)
    assert (days.hour.is_weekend, days.is_expected()) == (True, False)
    days.pass_days(0.5, is_workday)
    assert not days.hour.is_weekend
    assert not days.is_expected(), "in the hour before it was not: it was still Sunday"
    days.pass_days(1 / 24)
    assert days.is_expected(1)


def test_who_comes_every_night_is_missed_at_night_only(days: Days) -> None:
    days.pass_days(14 + 12 / 24, at_night)
    assert not days.is_expected()  # at noon
    assert not days.is_expected(8)  # at eight it may be a little late
    assert days.is_expected(1)
    assert not days.is_expected(10)  # it usually leaves at six


def test_who_stays_away_is_expected_for_a_week(days: Days) -> None:
    days.pass_days(18.5)  # Friday noon
    assert [days.is_expected(24) for _ in range(9)] == [*([True] * 8), False]


def test_who_comes_back_after_days_is_not_expected_at_once(days: Days) -> None:
    days.pass_days(14)
    days.pass_days(3, lambda _: False)
    days.pass_days(1.5)
    assert not days.is_expected()


def test_who_is_away_now_and_then_is_expected_all_the_same(days: Days) -> None:
    days.pass_days(9)
    days.pass_days(1, lambda _: False)
    days.pass_days(4)
    assert days.is_expected()
    assert days.presence.ratios[ESX] == pytest.approx(0.9)


def test_who_is_here_most_of_an_hour_is_here(days: Days) -> None:
    def restarted(hour: Hour) -> bool:
        return days.at % 3600 >= 2 * LOOK_S

    days.pass_days(8, restarted)
    assert days.is_expected()


def test_who_is_new_on_an_old_machine_is_not_expected_yet(days: Days) -> None:
    days.pass_days(10, lambda hour: hour.day >= MONDAY + 7)
    assert not days.is_expected()
    assert days.presence.ratios[ESX] == pytest.approx(3 / 8)


def test_while_the_target_was_closed_nobody_was_away(days: Days) -> None:
    days.pass_days(8)
    days.pass_days(3, lambda _: False, is_open=False)
    days.pass_days(2)
    assert days.is_expected()


def test_while_nobody_looked_nobody_was_away(days: Days) -> None:
    days.pass_days(8)
    days.at += 4 * 86_400
    assert days.is_expected(2)


def test_an_hour_that_was_hardly_looked_at_does_not_count(days: Days) -> None:
    for _ in range(8 * 24):
        days.look({ESX: ""})
        days.look({ESX: ""})
        days.at += 3600 - 2 * LOOK_S
    assert not days.is_expected()
    assert days.presence.ratios == {}


def test_who_logs_in_for_moments_is_not_remembered(days: Days) -> None:
    for number in range(14 * 144):
        days.look({(*PLACE, f"iqn.scan{number}"): ""})
    assert days.presence.ratios == {}
    assert list(days.presence.away(())) == []


def test_no_more_are_remembered_than_a_bound(days: Days) -> None:
    crowd = {(*PLACE, f"iqn.{number}"): "" for number in range(MOST_PEERS + 5)}
    for _ in range(7):
        days.look(crowd)
    assert len(list(days.presence.away(()))) == MOST_PEERS


@pytest.mark.parametrize("years", [-20, 50])
def test_a_clock_that_is_wrong_for_minutes_costs_no_memory(days: Days, years: int) -> None:
    days.pass_days(8)
    right = days.at
    days.at += years * 365.25 * 86_400
    days.look({})
    days.look({})
    days.at = right
    assert days.is_expected(2)


def test_what_is_older_than_two_weeks_is_forgotten(days: Days) -> None:
    days.pass_days(8)
    days.pass_days(DAYS + 2, lambda _: False)
    assert list(days.presence.away(())) == []
    assert days.presence.ratios == {}


def test_who_was_taken_out_is_expected_no_more(days: Days) -> None:
    days.pass_days(8)
    assert list(days.presence.away((BACKUP,))) == [(ESX, "hosts")]
    days.presence.forget(ESX)
    assert not days.is_expected(1)


def test_it_goes_on_after_a_restart(days: Days) -> None:
    days.pass_days(8 + 4 / 144)
    days.presence = Presence.from_plain(json.loads(json.dumps(days.presence.to_plain())))
    assert days.presence.expected == {ESX}
    days.pass_days(2 / 144)
    assert days.is_expected()
    kept = days.presence.to_plain()
    assert [hours for _, hours in kept["looked"][0][2:]][-1] == 1, "its hour counts as a whole"


@pytest.mark.parametrize(
    "change",
    [
        {"version": 9},
        {"hour": [1]},
        {"hour": [1, 24]},
        {"hour": [-1, 2]},
        {"hour": [True, 2]},
        {"last": "x"},
        {"looked": [["iscsi", 7, [1, 1]]]},
        {"here": [["iscsi", "t", "i", [1, 1 << 24]]]},
        {"here": [["iscsi"]]},
        {"groups": [["iscsi", "t", "i"]]},
        {"seconds": [["iscsi", "t", "x"]]},
        {"present": 7},
    ],
)
def test_of_a_memory_that_is_none_nothing_is_believed(
    days: Days, change: dict[str, object]
) -> None:
    days.pass_days(8)
    kept = Presence.from_plain({**days.presence.to_plain(), **change})
    assert kept.to_plain() == Presence().to_plain()


@given(
    st.recursive(
        st.none() | st.integers() | st.text(max_size=3) | st.floats(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(max_size=6), inner),
        max_leaves=8,
    )
)
def test_garbled_memories_harm_nothing(plain: object) -> None:
    Presence.from_plain(plain)
    Presence.from_plain({**Presence().to_plain(), "here": plain})


def test_hours_follow_one_another() -> None:
    hours = [Hour(MONDAY, hour) for hour in range(24)] + [Hour(MONDAY + 1, 0)]
    assert all(later.before == earlier for earlier, later in pairwise(hours))
    weekend = [day for day in range(7) if Hour(MONDAY + day, 0).is_weekend]
    assert weekend == [5, 6]


def test_hours_are_those_of_the_clock_on_the_wall(monkeypatch: pytest.MonkeyPatch) -> None:
    moment = datetime(2026, 3, 2, 23, 30, tzinfo=UTC).timestamp()
    local = datetime.fromtimestamp(moment, UTC).astimezone()
    assert hour_of(moment) == Hour(local.toordinal(), local.hour)


# Who was taken out of a group.


def hosts(*initiators: str) -> tuple[Group, ...]:
    return (Group("hosts", initiators=initiators),)


HOSTS = hosts("iqn.esx", "iqn.lab:*")


def target(*groups: Group) -> Target:
    return Target("iscsi", "iqn.t", groups=groups)


@pytest.mark.parametrize(
    ("initiator", "group", "here", "listed", "is_out"),
    [
        pytest.param("iqn.esx", "hosts", HOSTS, HOSTS, False, id="in it by name"),
        pytest.param("iqn.lab:7", "hosts", HOSTS, HOSTS, False, id="in it by pattern"),
        pytest.param("iqn.old", "hosts", HOSTS, HOSTS, True, id="not in it"),
        pytest.param("iqn.esx", "gone", HOSTS, HOSTS, True, id="no such group"),
        pytest.param("iqn.old", "", HOSTS, HOSTS, False, id="was in none"),
        pytest.param("iqn.old", "hosts", None, (), False, id="no target"),
        pytest.param("iqn.old", "hosts", HOSTS, (), False, id="not known who is in it"),
        pytest.param("iqn.old", "hosts", HOSTS, hosts(""), False, id="unreadable"),
        pytest.param("iqn.old", "hosts", HOSTS, hosts("*#10.*"), False, id="portal"),
        pytest.param(
            "iqn.old",
            "hosts",
            HOSTS,
            (Group("hosts", initiators=("!iqn.o*",)),),
            True,
            id="negated",
        ),
        pytest.param("iqn.a", "hosts", HOSTS, hosts("iqn.[a]"), True, id="brackets"),
    ],
)
def test_who_is_in_its_group_no_more_was_taken_out(
    initiator: str,
    group: str,
    here: tuple[Group, ...] | None,
    listed: tuple[Group, ...],
    is_out: bool,
) -> None:
    there = None if here is None else target(*here)
    assert was_taken_out(initiator, group, there, listed) is is_out
