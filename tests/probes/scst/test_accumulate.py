"""Totals over logins and resets: they never fall, and nothing is counted twice."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fakes import NOON
from probes.scst.fix_scst import ONE, TGT1, TGT2, TWO, seen
from storewatchd.probes.scst.accumulate import (
    KEEP_SESSION_S,
    KEEP_TOTAL_S,
    LOGINS,
    Counts,
    Key,
    Ledger,
    counts_of,
)
from storewatchd.probes.scst.model import MOST_PEERS, Counters, Identity

READS = ("commands", "read")
PEER = ("iscsi", TGT1, ONE)
PLACE = ("iscsi", TGT1)


def session(sid: str, initiator: str = ONE) -> Identity:
    return Identity("iscsi", TGT1, initiator, sid)


def reads(count: int) -> Counts:
    return {READS: count}


class Looks:
    """A ledger, fed with one look after the other."""

    def __init__(self) -> None:
        self.ledger = Ledger()
        self.at = NOON

    def take(self, *sessions: tuple[Identity, Counts], after_s: float = 30) -> None:
        self.at += after_s
        self.ledger.take(sessions, self.at)

    @property
    def reads(self) -> tuple[int, int]:
        """What the initiator and the target read in all."""
        return self.ledger.initiators[PEER][READS], self.ledger.targets[PLACE][READS]

    @property
    def logins(self) -> int:
        return self.ledger.initiators[PEER][LOGINS]


@pytest.fixture
def looks() -> Looks:
    return Looks()


def test_what_a_session_counts_is_added_up(looks: Looks) -> None:
    looks.take((session("1"), reads(100)))
    looks.take((session("1"), reads(150)))
    assert looks.reads == (150, 150)


def test_sessions_of_an_initiator_count_together_and_initiators_of_a_target(looks: Looks) -> None:
    looks.take((session("1"), reads(100)), (session("2"), reads(10)), (session("3", TWO), reads(1)))
    assert looks.reads == (110, 111)


def test_totals_stay_when_a_session_ends(looks: Looks) -> None:
    looks.take((session("1"), reads(100)), (session("2"), reads(10)))
    looks.take((session("2"), reads(12)))
    looks.take()
    assert looks.reads == (112, 112)


def test_a_new_login_counts_from_nothing(looks: Looks) -> None:
    looks.take((session("1"), reads(100)))
    looks.take((session("2"), reads(7)))
    assert looks.reads == (107, 107)


def test_counters_that_somebody_zeroed_go_on(looks: Looks) -> None:
    looks.take((session("1"), reads(100)))
    looks.take((session("1"), reads(3)))
    looks.take((session("1"), reads(5)))
    assert looks.reads == (105, 105)


def test_only_the_direction_that_was_zeroed_begins_anew(looks: Looks) -> None:
    writes: Key = ("commands", "write")
    looks.take((session("1"), {READS: 100, writes: 50}))
    looks.take((session("1"), {READS: 3, writes: 60}))
    assert looks.ledger.initiators[PEER] == {LOGINS: 0, READS: 103, writes: 60}


def test_a_counter_that_could_not_be_read_is_caught_up_with(looks: Looks) -> None:
    looks.take((session("1"), reads(100)))
    looks.take((session("1"), {}))
    looks.take((session("1"), reads(120)))
    assert looks.reads == (120, 120)


def test_a_session_that_was_overlooked_counts_once(looks: Looks) -> None:
    looks.take((session("1"), reads(100)))
    looks.take()
    looks.take((session("1"), reads(110)))
    assert (looks.reads, looks.logins) == ((110, 110), 0)


def test_a_session_that_is_long_gone_is_another_when_it_comes_back(looks: Looks) -> None:
    looks.take((session("1"), reads(100)))
    looks.take(after_s=KEEP_SESSION_S + 1)
    looks.take((session("1"), reads(110)))
    assert (looks.reads, looks.logins) == ((210, 210), 1)


def test_sessions_that_nothing_tells_apart_count_as_one(looks: Looks) -> None:
    looks.take((session(""), reads(100)), (session(""), reads(20)))
    looks.take((session(""), reads(101)), (session(""), reads(22)))
    assert looks.reads == (123, 123)


def test_the_sessions_that_are_found_at_first_are_no_logins(looks: Looks) -> None:
    looks.take((session("1"), {}))
    assert looks.logins == 0
    for sid in "234":
        looks.take((session(sid), {}))
    assert looks.logins == 3


def test_whom_nobody_saw_for_a_month_is_forgotten(looks: Looks) -> None:
    looks.take((session("1"), reads(100)))
    looks.take(after_s=KEEP_TOTAL_S - 1)
    assert looks.reads == (100, 100)
    looks.take(after_s=2)
    assert looks.ledger.initiators == {}
    assert looks.ledger.targets == {}


def test_a_real_relogin_neither_falls_nor_counts_twice() -> None:
    ledger = Ledger()
    peer, totals = ("iscsi", TGT2, ONE), []
    for at, name in enumerate(
        (
            "run1/20-unstuck",
            "run1/21-suspended",
            "run1/22-session-force-closed-immediate",
            "run1/23-session-after-initiator-reconnect",
            "run1/24-session-logged-out",
        )
    ):
        found = [
            (one.identity, counts_of(one.counters))
            for target in seen(name).exported()
            for one in target.sessions
            if one.identity is not None
        ]
        ledger.take(found, NOON + at)
        totals.append((ledger.initiators[peer][READS], ledger.initiators[peer][LOGINS]))
    assert totals == [(284, 0), (284, 0), (284, 1), (284, 1), (284, 1)]
    assert ledger.targets["iscsi", TGT2][READS] == 568  # two initiators


def test_five_seconds_of_io_are_what_the_session_counted() -> None:
    ledger, key = Ledger(), ("kib", "write")
    totals = []
    for at, name in enumerate(("run1/08-during-io-t0", "run1/09-during-io-t5")):
        for one in seen(name).exported():
            found = [
                (one.identity, counts_of(one.counters))
                for one in one.sessions
                if one.identity is not None
            ]
            ledger.take(found, NOON + at)
        totals.append(ledger.targets["iscsi", TGT1][key])
    assert totals == [76800, 180288]


def test_counters_are_told_by_what_they_count() -> None:
    counters = Counters({"read": 1, "none": 2}, {"read": 3}, {"read": 4})
    assert counts_of(counters) == {
        ("commands", "read"): 1,
        ("commands", "none"): 2,
        ("kib", "read"): 3,
        ("unaligned", "read"): 4,
    }


# Over a restart.


def test_totals_go_on_after_a_restart(looks: Looks) -> None:
    looks.take((session("1"), reads(100)), (session("2"), reads(10)))
    looks.ledger = Ledger.from_plain(json.loads(json.dumps(looks.ledger.to_plain())))
    looks.take((session("1"), reads(130)), (session("3"), reads(2)))
    assert (looks.reads, looks.logins) == ((142, 142), 1)


WHOLE = Ledger()
WHOLE.take([(session("1"), {READS: 100})], NOON)
PLAIN = json.dumps(WHOLE.to_plain())


@pytest.mark.parametrize(
    "plain",
    [
        pytest.param(None, id="nothing"),
        pytest.param([], id="no mapping"),
        pytest.param({"version": 2}, id="another version"),
        pytest.param(json.loads(PLAIN.replace("100", "-100")), id="below nothing"),
        pytest.param(json.loads(PLAIN.replace("100", '"100"')), id="no number"),
        pytest.param(json.loads(PLAIN.replace("100", "1" + 400 * "0")), id="no count"),
        pytest.param(json.loads(PLAIN.replace("100", "true")), id="a claim"),
        pytest.param(json.loads(PLAIN.replace('"iscsi"', "7")), id="no name"),
        pytest.param(json.loads(PLAIN.replace('"iscsi", ', "")), id="a name too few"),
        pytest.param(json.loads(PLAIN.replace(str(NOON), '"noon"')), id="no time"),
    ],
)
def test_of_what_is_no_state_nothing_is_believed(plain: object) -> None:
    assert Ledger.from_plain(plain).to_plain() == Ledger().to_plain()


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inside: st.lists(inside, max_size=4) | st.dictionaries(st.text(max_size=5), inside),
    max_leaves=10,
)
KEPT = st.sampled_from(["version", "begun", "sessions", "initiators", "targets"])


@given(st.dictionaries(KEPT, JSON))
def test_garbled_state_harms_nothing(changes: dict[str, object]) -> None:
    ledger = Ledger.from_plain({**json.loads(PLAIN), **changes})
    ledger.take([(session("1"), {READS: 101})], NOON + 30)
    assert ledger.initiators[PEER][READS] >= 1


SIDS = st.sampled_from("123")
COUNTS = st.integers(0, 1 << 64)
LOOK = st.dictionaries(SIDS, COUNTS, max_size=3)


@given(st.lists(LOOK, max_size=20))
def test_no_total_ever_falls(found: list[dict[str, int]]) -> None:
    looks = Looks()
    looks.take((session("1"), reads(0)))
    before = (0, 0)
    for look in found:
        looks.take(*((session(sid), reads(count)) for sid, count in look.items()))
        assert looks.reads >= before
        assert looks.reads[0] == looks.reads[1]
        before = looks.reads


def test_of_initiators_that_are_gone_only_so_many_are_remembered(looks: Looks) -> None:
    looks.take((session("1"), reads(5)))
    for name in ("a", "b"):
        many = [(session("1", f"{name}{number}"), reads(1)) for number in range(MOST_PEERS // 2)]
        looks.take((session("1"), reads(5)), *many)
    looks.take((session("1"), reads(7)))
    assert len(looks.ledger.initiators) == MOST_PEERS
    assert looks.reads == (7, 7 + MOST_PEERS), "who is here is not forgotten"
    assert ("iscsi", TGT1, "a0") not in looks.ledger.initiators
    assert len(looks.ledger.to_plain()["sessions"]) == MOST_PEERS
