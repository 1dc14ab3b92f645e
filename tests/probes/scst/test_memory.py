"""Who is missed: sessions that lasted and are gone, and targets that a driver lost."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fakes import NOON
from storewatchd.probes.scst.memory import (
    EXPECTED_AFTER_S,
    EXPIRES_AFTER_S,
    OVERLAP_S,
    Memory,
)
from storewatchd.probes.scst.model import MOST_PEERS, Identity

LASTING_S = EXPECTED_AFTER_S
TARGET = ("iscsi", "iqn.a")


def session(sid: str, initiator: str = "iqn.h", target: str = "iqn.a") -> Identity:
    return Identity("iscsi", target, initiator, sid)


class Looks:
    """A memory, fed with one look after the other."""

    def __init__(self) -> None:
        self.memory = Memory()
        self.at = NOON

    def take(self, *sids: str | Identity, after_s: float = 30) -> list[str]:
        """Return which sessions are missed after another look."""
        self.at += after_s
        found = {session(one) if isinstance(one, str) else one for one in sids}
        self.memory.take(found, {TARGET}, self.at)
        return sorted(one.sid for one in self.memory.missed())


@pytest.fixture
def looks() -> Looks:
    return Looks()


def test_who_was_there_for_an_hour_is_missed(looks: Looks) -> None:
    looks.take("1")
    looks.take("1", after_s=LASTING_S)
    assert looks.take() == ["1"]
    assert looks.take("1") == []


def test_who_was_there_for_a_while_is_not_missed(looks: Looks) -> None:
    looks.take("1")
    looks.take("1", after_s=LASTING_S - 1)
    assert looks.take() == []


def test_of_sessions_that_are_gone_those_that_lasted_are_remembered(looks: Looks) -> None:
    looks.take("1")
    looks.take("1", after_s=LASTING_S)
    looks.take(*(session("1", f"iqn.{number}") for number in range(MOST_PEERS + 5)))
    assert looks.take() == ["1"]
    assert len(looks.memory.to_plain()["sessions"]) == MOST_PEERS


def test_after_a_day_nobody_is_missed(looks: Looks) -> None:
    looks.take("1")
    looks.take("1", after_s=LASTING_S)
    assert looks.take(after_s=EXPIRES_AFTER_S) == ["1"]
    assert looks.take(after_s=1) == []


@pytest.mark.parametrize("away_s", [None, 3600.0], ids=["at once", "after an hour"])
def test_who_logs_in_again_is_not_missed(looks: Looks, away_s: float | None) -> None:
    looks.take("1")
    looks.take("1", after_s=LASTING_S)
    if away_s is not None:
        assert looks.take(after_s=away_s) == ["1"]
    assert looks.take("2") == []


def test_a_session_that_still_closes_when_its_successor_is_there_is_not_missed(
    looks: Looks,
) -> None:
    looks.take("1")
    looks.take("1", "2", after_s=LASTING_S)
    assert looks.take("2", after_s=OVERLAP_S) == []


def test_one_of_two_paths_that_is_lost_is_missed(looks: Looks) -> None:
    looks.take("1", "2")
    looks.take("1", "2", after_s=LASTING_S)
    assert looks.take("1") == ["2"]


def test_one_new_session_replaces_one(looks: Looks) -> None:
    looks.take("1", "2")
    looks.take("1", "2", after_s=LASTING_S)
    assert looks.take("3") == ["2"]
    assert looks.take("3", "4") == []


def test_others_replace_nobody(looks: Looks) -> None:
    looks.take("1")
    looks.take("1", after_s=LASTING_S)
    assert looks.take(session("2", "iqn.other"), session("3", target="iqn.b")) == ["1"]


def test_who_logged_in_again_is_missed_as_before(looks: Looks) -> None:
    looks.take("1")
    looks.take("1", after_s=LASTING_S)
    looks.take("2")
    assert looks.take() == ["2"]


def test_a_session_began_when_it_was_first_seen(looks: Looks) -> None:
    looks.take("1")
    looks.take("1", "2")
    assert looks.memory.began(session("1")) == NOON + 30
    assert looks.memory.began(session("2")) == NOON + 60


def test_targets_that_are_gone_are_counted_for_a_day() -> None:
    memory = Memory()
    lost = []
    for at, targets in (
        (0.0, {TARGET, ("iscsi", "iqn.b"), ("qla2x00t", "50:01")}),
        (30.0, {TARGET}),
        (60.0, {TARGET, ("iscsi", "iqn.b")}),
        (EXPIRES_AFTER_S + 1, {TARGET, ("iscsi", "iqn.b")}),
    ):
        memory.take((), targets, NOON + at)
        lost.append((memory.lost_targets()["iscsi"], memory.lost_targets()["qla2x00t"]))
    assert lost == [(0, 0), (1, 1), (0, 1), (0, 0)]


def test_who_is_missed_is_known_after_a_restart(looks: Looks) -> None:
    looks.take("1", "2")
    looks.take("1", "2", after_s=LASTING_S)
    looks.memory = Memory.from_plain(json.loads(json.dumps(looks.memory.to_plain())))
    assert looks.take("2") == ["1"]
    assert looks.memory.began(session("2")) == NOON + 30


PLAIN = {
    "version": 2,
    "sessions": [["iscsi", "t", "i", "s", 1, 2, 1]],
    "targets": [],
    "handlers": [],
}


@pytest.mark.parametrize(
    "plain",
    [
        pytest.param(None, id="nothing"),
        pytest.param({**PLAIN, "version": 1}, id="another version"),
        pytest.param({**PLAIN, "handlers": [["a", "b", 1]]}, id="no count"),
        pytest.param({**PLAIN, "sessions": [["t", "i", "s", 1, 2, 1]]}, id="a name too few"),
        pytest.param({**PLAIN, "sessions": [[1, "t", "i", "s", 1, 2, 1]]}, id="no name"),
        pytest.param({**PLAIN, "sessions": [["iscsi", "t", "i", "s", 1, 2, "x"]]}, id="no time"),
        pytest.param({**PLAIN, "targets": [["iscsi", 1, 2]]}, id="no target"),
        pytest.param({**PLAIN, "targets": [["iscsi", "t", 1, 10**400, 1]]}, id="no such time"),
    ],
)
def test_of_what_is_no_state_nothing_is_believed(plain: object) -> None:
    assert Memory.from_plain(plain).to_plain() == Memory().to_plain()


@given(st.lists(st.tuples(st.sets(st.sampled_from("1234")), st.floats(0, 7200)), max_size=20))
def test_who_is_there_is_never_missed(found: list[tuple[set[str], float]]) -> None:
    looks = Looks()
    for sids, after_s in found:
        assert not sids & set(looks.take(*sids, after_s=after_s))


# Handlers.


def test_a_handler_that_is_gone_is_missed_with_its_devices_for_a_day() -> None:
    memory = Memory()
    memory.take((), (), NOON, {"udisk0": 2, "vcdrom": 0, "vdisk_fileio": 3})
    assert memory.lost_handlers() == {}
    memory.take((), (), NOON + 30, {"vdisk_fileio": 0})
    assert memory.lost_handlers() == {"udisk0": 2}
    kept = Memory.from_plain(json.loads(json.dumps(memory.to_plain())))
    kept.take((), (), NOON + EXPIRES_AFTER_S, {})
    assert kept.lost_handlers() == {"udisk0": 2}
    kept.take((), (), NOON + EXPIRES_AFTER_S + 1, {"udisk1": 1})
    assert kept.lost_handlers() == {}
