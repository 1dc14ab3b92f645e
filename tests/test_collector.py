"""Looks at scopes: each on its own schedule, none waiting for another, failures their own."""

import asyncio
import errno
import logging
import time
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from fakes import NOON, HandClock, ScriptedPort, ScriptedProbe
from storewatchd.collector import MAX_LOOKS, Collector
from storewatchd.core.frames import Frame, ObjectKind, Outcome, Row, Scope
from storewatchd.core.sight import BLINDNESS, COLLECTOR, DISCOVERY, Age
from storewatchd.errors import (
    NotFound,
    ProbeAbsent,
    ProbeDeferred,
    ProbeFailed,
    ReadRefused,
    ReadStuck,
)

INTERVAL_S = 30.0
A = Scope("watched", (("path", "/a"),))
B = Scope("watched", (("path", "/b"),))
C = Scope("watched", (("path", "/c"),))
FOUND = {"full": [Row(("a",), 0.5), Row(("b",), 0.6)]}


class Bench:
    """A collector over a watched probe and one that only marks time; `frames` are what it hands
    over, without those about the probes themselves."""

    def __init__(self, tasks: asyncio.TaskGroup) -> None:
        self.clock = HandClock()
        self.probe = ScriptedProbe("watched", A, B, found=FOUND)
        self.frames: list[Frame] = []
        self.own: dict[Scope, Frame] = {}
        self.own_scopes: tuple[Scope, ...] = ()
        self.blindness: dict[tuple[str, ...], float] = {}
        self.expected: list[tuple[str, tuple[Scope, ...]]] = []
        self.room = asyncio.Event()  # for frames of the watched probe
        self.room.set()
        self.collector = Collector(
            (self.probe, ScriptedProbe("beat")),
            ScriptedPort(),
            self.clock.clock,
            interval_s=INTERVAL_S,
            feed=self._feed,
            expect=self._expect,
            forget_reads=self._forget,
        )
        self.forgot = 0
        self.tasks = tasks
        self._work: asyncio.Task[None] | None = None

    def _forget(self) -> None:
        self.forgot += 1

    async def _feed(self, frame: Frame) -> None:
        if frame.scope.probe == COLLECTOR:
            self.own[frame.scope] = frame
        elif frame.scope.probe == BLINDNESS:
            (row,) = frame.rows["storewatch_probe_failed_looks"]
            if row.value:
                self.blindness[row.labels] = row.value
        elif frame.scope.probe == "watched":
            await self.room.wait()
            self.frames.append(frame)

    async def _expect(self, probe: str, scopes: tuple[Scope, ...]) -> None:
        if probe == "watched":
            self.expected.append((probe, scopes))
        elif probe == COLLECTOR:
            self.own_scopes = scopes
            self.own = {scope: frame for scope, frame in self.own.items() if scope in scopes}

    async def start(self) -> "Bench":
        """Run, and return when the first looks are over, or hang."""
        self._work = self.tasks.create_task(self.collector.run())
        await self.later(0)
        return self

    def stop(self) -> None:
        if self._work is not None:
            self._work.cancel()

    async def later(self, seconds: float) -> None:
        """Let time pass; return when all that was due then is over, or hangs."""
        self.clock.forward(seconds)
        # The collector takes what is due in one pass, and the beat comes last in it.
        await self.collector.run_now("beat")

    async def look_again(self) -> None:
        """Have everything looked at once more."""
        self.collector.trigger("watched")
        await self.later(0)

    def status(self, scope: Scope = A) -> dict[str, Any]:
        (found,) = (
            one for one in self.collector.statuses("watched") if one["scope"] == dict(scope.labels)
        )
        return found

    def last(self, scope: Scope = A) -> Frame:
        return [frame for frame in self.frames if frame.scope == scope][-1]

    def success(self) -> dict[str, float]:
        """Return storewatch_probe_success of the watched scopes, as told last."""
        return {
            dict(scope.labels)["scope"]: value
            for scope, value in self.told("storewatch_probe_success").items()
            if dict(scope.labels)["probe"] == "watched" and dict(scope.labels)["scope"] != DISCOVERY
        }

    def told(self, family: str) -> dict[Scope, float]:
        """Return what was told last of each scope's looks, by the scope of that."""
        found = {}
        for scope, frame in self.own.items():
            (row,) = frame.rows[family]
            assert tuple(value for _, value in scope.labels) == row.labels
            found[scope] = row.value
        return found

    def age(self, scope: str = "path=/a") -> Age:
        (age,) = (one for one in self.collector.ages() if one.scope == scope)
        return age


def own(probe: str, scope: str) -> Scope:
    """Return the scope of what is told of the looks at a scope."""
    return Scope(COLLECTOR, (("probe", probe), ("scope", scope)))


def frame(outcome: Outcome, reason: str) -> Frame:
    """Return what is handed over of a look at noon that saw nothing."""
    return Frame(A, NOON, outcome, reason=reason, monotonic=1000.0)


@pytest.fixture
async def bench() -> AsyncIterator[Bench]:
    async with asyncio.TaskGroup() as tasks:
        bench = Bench(tasks)
        yield bench
        bench.stop()


# What comes of a look.


async def test_what_was_seen_is_handed_over_with_its_time_and_duration(bench: Bench) -> None:
    gate = bench.probe.hang(A)
    await bench.start()
    bench.clock.forward(0.5)
    gate.set()
    await bench.later(0)
    assert bench.expected[0] == ("watched", (A, B))
    assert bench.last() == Frame(A, NOON + 0.5, rows=FOUND, duration_s=0.5, monotonic=1000.5)
    assert bench.status() == {
        "probe": "watched",
        "scope": {"path": "/a"},
        "outcome": "seen",
        "reason": "",
        "last_run": "2026-01-01T12:00:00.500Z",
        "last_seen": "2026-01-01T12:00:00.500Z",
        "duration_seconds": 0.5,
        "interval_seconds": INTERVAL_S,
        "stuck_since": None,
        "rows": 2,
    }


async def test_how_the_probes_fare_is_told_beside_what_they_say(bench: Bench) -> None:
    bench.probe.answers[B] = ProbeFailed("gone")
    await bench.start()
    assert bench.success() == {"path=/a": 1.0, "path=/b": 0.0}
    assert {frame.at for frame in bench.own.values()} == {NOON}
    assert bench.told("storewatch_probe_duration_seconds") == {
        own(probe, scope): 0.0
        for probe, scope in (
            *(("watched", DISCOVERY), ("watched", "path=/a"), ("watched", "path=/b")),
            *(("beat", DISCOVERY), ("beat", "")),
        )
    }


async def test_a_look_tells_how_it_fared_and_nothing_of_the_others(bench: Bench) -> None:
    await bench.start()
    bench.own.clear()
    bench.probe.hang(A)
    await bench.look_again()
    assert bench.success() == {"path=/b": 1.0}


async def test_a_failed_look_says_nothing_of_the_rows_and_is_logged_once(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "storewatchd.collector")
    await bench.start()
    bench.probe.answers[A] = ProbeFailed("input/output error")
    for _ in range(3):
        await bench.look_again()
    assert bench.last() == frame(Outcome.FAILED, "input/output error")
    assert (bench.status()["outcome"], bench.status()["reason"]) == (
        "failed",
        "input/output error",
    )
    assert caplog.messages == ["watched{path='/a'} cannot be looked at: input/output error"]


async def test_a_scope_that_can_be_looked_at_again_is_logged_once(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    bench.probe.answers[A] = ProbeFailed("input/output error")
    await bench.start()
    del bench.probe.answers[A]
    caplog.clear()
    caplog.set_level(logging.INFO, "storewatchd.collector")
    for _ in range(3):
        await bench.look_again()
    assert bench.last().outcome is Outcome.SEEN
    assert caplog.messages == ["watched{path='/a'} can be looked at again"]


async def test_what_was_never_seen_may_be_absent(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    bench.probe.answers[A] = ProbeAbsent("no such hardware")
    await bench.start()
    assert bench.last() == frame(Outcome.ABSENT, "no such hardware")
    assert bench.success()["path=/a"] == 1.0
    assert caplog.messages == []


async def test_what_was_seen_once_is_failed_and_never_absent(bench: Bench) -> None:
    await bench.start()
    bench.probe.answers[A] = ProbeAbsent("no such hardware")
    await bench.collector.run_now("watched")
    assert bench.last().outcome is Outcome.FAILED
    assert bench.success()["path=/a"] == 0.0
    assert bench.status()["last_seen"] == "2026-01-01T12:00:00.000Z"


@pytest.mark.parametrize("error", [OSError(5, "it is broken"), KeyError("MemTotal")], ids=repr)
async def test_a_probe_that_is_at_fault_fails_and_ends_nothing(
    bench: Bench, caplog: pytest.LogCaptureFixture, error: Exception
) -> None:
    await bench.start()
    bench.probe.answers[A] = error
    for _ in range(3):
        await bench.look_again()
    assert bench.last().outcome is Outcome.FAILED
    assert bench.last().reason == f"the probe is at fault: {error!r}"
    assert bench.last(B).outcome is Outcome.SEEN
    assert [record.exc_info is not None for record in caplog.records] == [True, False]


async def test_a_discovery_that_is_at_fault_fails_and_ends_nothing(bench: Bench) -> None:
    await bench.start()
    bench.probe.scopes = OSError(5, "it is broken")
    await bench.look_again()
    assert bench.collector.statuses("watched")[0]["outcome"] == "failed"
    assert bench.probe.looks.count(A) == 2


async def test_a_look_at_what_is_no_scope_any_more_is_no_failure(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    await bench.start()
    await bench.later(1)
    bench.probe.scopes = (B,)
    bench.probe.answers[A] = ProbeAbsent("it was removed")
    bench.probe.discovery_gate.clear()
    await bench.later(INTERVAL_S)
    bench.probe.discovery_gate.set()
    await bench.later(0)
    await bench.later(0)
    assert bench.probe.looks.count(A) == 3
    assert {frame.outcome for frame in bench.frames} == {Outcome.SEEN}
    assert bench.success() == {"path=/b": 1.0}
    assert caplog.messages == []


async def test_a_deferred_look_is_no_failure(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    await bench.start()
    bench.probe.answers[A] = ProbeDeferred("a backup writes")
    await bench.look_again()
    assert bench.last() == frame(Outcome.DEFERRED, "a backup writes")
    assert bench.success()["path=/a"] == 1.0
    assert caplog.messages == []


async def test_a_stuck_read_is_shown_with_its_beginning_until_it_ends(bench: Bench) -> None:
    bench.probe.answers[A] = ReadStuck("no answer", key="statvfs.path:/a", since=NOON - 60)
    await bench.start()
    assert bench.status()["stuck_since"] == "2026-01-01T11:59:00.000Z"
    del bench.probe.answers[A]
    await bench.look_again()
    assert bench.status()["stuck_since"] is None


@pytest.mark.parametrize(
    ("error", "words"),
    [
        pytest.param(errno.EACCES, "the reader lacks CAP_DAC_READ_SEARCH", id="EACCES"),
        pytest.param(errno.EPERM, "the reader lacks a capability such as", id="EPERM"),
    ],
)
async def test_what_may_not_be_seen_is_not_absent_and_names_the_right(
    bench: Bench, error: int, words: str
) -> None:
    bench.probe.answers[A] = ReadRefused("/a: Permission denied", errno=error)
    await bench.start()
    assert bench.last().outcome is Outcome.FAILED
    assert bench.last().reason.startswith(f"/a: Permission denied ({words}")
    assert bench.status()["reason"] == bench.last().reason


async def test_another_refusal_speaks_for_itself(bench: Bench) -> None:
    bench.probe.answers[A] = ReadRefused("/a: Input/output error", errno=errno.EIO)
    await bench.start()
    assert bench.last().reason == "/a: Input/output error"


# How the looks fare.


async def test_a_look_that_takes_long_and_answers_has_not_failed(bench: Bench) -> None:
    gate = bench.probe.hang(A)
    await bench.start()
    bench.clock.forward(10 * INTERVAL_S)
    gate.set()
    await bench.probe.began(A, 2)
    await bench.later(0)
    assert bench.success()["path=/a"] == 1.0
    assert bench.age().age_s == 0


async def test_a_discovery_is_told_of_as_a_look_is(bench: Bench) -> None:
    bench.probe.scopes = ProbeFailed("the reader is gone")
    await bench.start()
    assert bench.told("storewatch_probe_success") == {
        own("watched", DISCOVERY): 0.0,
        own("beat", DISCOVERY): 1.0,
        own("beat", ""): 1.0,
    }


async def test_of_a_probe_that_has_found_nothing_yet_anything_may_be_told(bench: Bench) -> None:
    bench.probe.scopes = ProbeFailed("the reader is gone")
    await bench.start()
    whole = Scope(COLLECTOR, (("probe", "watched"),))
    assert whole in bench.own_scopes
    assert Scope(COLLECTOR, (("probe", "beat"),)) not in bench.own_scopes
    bench.probe.scopes = (A, B)
    await bench.look_again()
    assert whole not in bench.own_scopes
    assert own("watched", "path=/a") in bench.own_scopes


async def test_what_goes_while_its_look_is_handed_in_is_told_of_no_more(bench: Bench) -> None:
    await bench.start()
    bench.room.clear()
    await bench.look_again()
    bench.probe.scopes = (B,)
    bench.collector.rediscover("watched")
    await bench.later(0)
    bench.room.set()
    await bench.look_again()
    await bench.look_again()
    assert own("watched", "path=/a") not in bench.own
    assert own("watched", "path=/b") in bench.own


async def test_why_a_look_failed_is_told(bench: Bench) -> None:
    bench.probe.answers[A] = ProbeFailed("input/output error")
    await bench.start()
    (why,) = bench.own[own("watched", "path=/a")].rows["storewatch_probe_failure_info"]
    assert why.labels == ("watched", "path=/a", "input/output error")


async def test_what_fails_for_long_is_told_to_be_blind(bench: Bench) -> None:
    bench.probe.answers[A] = ProbeFailed("input/output error")
    await bench.start()
    await bench.look_again()
    assert bench.blindness == {}
    await bench.look_again()
    assert bench.blindness == {("watched", "path=/a"): 3.0}
    assert bench.collector.blind() == [("watched", "path=/a")]


async def test_the_ages_of_all_that_is_looked_at_are_known(bench: Bench) -> None:
    await bench.start()
    bench.probe.answers[A] = ReadStuck("no answer", key="statvfs.path:/a", since=NOON - 60)
    await bench.later(1)
    await bench.later(INTERVAL_S)
    assert bench.collector.ages() == [
        Age("watched", DISCOVERY, 0),
        Age("beat", DISCOVERY, 0),
        Age("watched", "path=/a", INTERVAL_S + 1, "statvfs.path:/a", 60 + 1 + INTERVAL_S),
        Age("watched", "path=/b", 0),
        Age("beat", "", 0),
    ]


# When it is looked.


async def test_a_hung_look_delays_no_other(bench: Bench) -> None:
    bench.probe.hang(A)
    await bench.start()
    await bench.later(1)
    await bench.later(INTERVAL_S)
    assert bench.probe.looks.count(B) == 3
    assert bench.probe.looks.count(A) == 1
    assert bench.status()["outcome"] == "pending"


async def test_a_second_look_comes_after_a_second_and_then_one_an_interval(bench: Bench) -> None:
    await bench.start()
    counts = []
    for seconds in (0.5, 0.5, INTERVAL_S - 0.5, 0.5, INTERVAL_S):
        await bench.later(seconds)
        counts.append(bench.probe.looks.count(A))
    assert counts == [1, 2, 2, 3, 4]


async def test_a_late_look_does_not_delay_the_next_one(bench: Bench) -> None:
    await bench.start()
    await bench.later(1)
    counts = []
    for seconds in (2 * INTERVAL_S + 7, INTERVAL_S - 8, 1):
        await bench.later(seconds)
        counts.append(bench.probe.looks.count(A))
    assert counts == [3, 3, 4]


async def test_a_look_that_ends_late_begins_again_in_its_phase(bench: Bench) -> None:
    await bench.start()
    gate = bench.probe.hang(A)
    await bench.later(1)
    bench.clock.forward(INTERVAL_S + 10)
    gate.set()
    await bench.later(0)
    await bench.later(0)
    assert bench.probe.looks.count(A) == 3
    await bench.later(INTERVAL_S - 10)
    assert bench.probe.looks.count(A) == 4


async def test_what_is_due_is_looked_at_unasked(bench: Bench) -> None:
    bench.collector.set_interval(0.01)
    await bench.start()
    bench.clock.forward(0.01)
    await bench.probe.began(A, 2)
    assert bench.probe.looks == [A, B, A, B]


async def test_another_interval_holds_from_the_next_look_on(bench: Bench) -> None:
    await bench.start()
    bench.collector.set_interval(5)
    counts = []
    for seconds in (1, 4, 1, 5):
        await bench.later(seconds)
        counts.append(bench.probe.looks.count(A))
    assert counts == [2, 2, 3, 4]
    assert bench.status()["interval_seconds"] == 5


MANY = tuple(Scope("watched", (("path", f"/{number}"),)) for number in range(100))


async def test_only_so_many_scopes_of_a_probe_are_looked_at_at_once(bench: Bench) -> None:
    bench.probe.scopes = MANY
    gates = [bench.probe.hang(scope) for scope in MANY]
    await bench.start()
    await bench.later(0)
    assert bench.probe.looks == list(MANY[:MAX_LOOKS])
    for gate in gates:
        gate.set()
    await bench.probe.began(MANY[-1])
    assert bench.probe.looks == list(MANY)


async def test_other_probes_do_not_wait_for_the_room_of_one(bench: Bench) -> None:
    bench.probe.scopes = MANY
    for scope in MANY:
        bench.probe.hang(scope)
    await bench.start()
    await bench.collector.run_now("beat")
    (beat,) = bench.collector.statuses("beat")
    assert beat["outcome"] == "seen"


async def test_what_is_due_for_longest_comes_first(bench: Bench) -> None:
    bench.probe.scopes = MANY[: MAX_LOOKS + 1]
    gates = [bench.probe.hang(scope) for scope in MANY[:MAX_LOOKS]]
    await bench.start()
    bench.clock.forward(5)
    gates[0].set()
    last = MANY[MAX_LOOKS]
    await bench.probe.began(last)
    assert bench.probe.looks == list(MANY[: MAX_LOOKS + 1])


async def test_many_scopes_are_spread_over_the_interval(bench: Bench) -> None:
    bench.probe.scopes = MANY
    await bench.start()
    await bench.probe.began(MANY[-1])
    await bench.later(1)
    await bench.probe.began(MANY[-1], 2)
    counts = []
    for _ in range(round(INTERVAL_S)):
        before = len(bench.probe.looks)
        await bench.later(1)
        counts.append(len(bench.probe.looks) - before)
    assert sum(counts) == len(MANY)
    assert set(counts) <= {2, 3, 4, 5}


async def test_scopes_that_are_read_in_one_piece_are_looked_at_together(bench: Bench) -> None:
    bench.probe.looks_together = True
    await bench.start()
    await bench.later(1)
    counts = []
    for _ in range(round(2 * INTERVAL_S)):
        before = len(bench.probe.looks)
        await bench.later(1)
        counts.append(len(bench.probe.looks) - before)
    assert [one for one in counts if one] == [2, 2]


async def test_a_look_that_was_asked_for_leaves_the_schedule_as_it_is(bench: Bench) -> None:
    await bench.start()
    await bench.later(1)
    counts = []
    for seconds in (10, INTERVAL_S - 10, INTERVAL_S):
        await bench.later(seconds)
        counts.append(bench.probe.looks.count(A))
        if len(counts) == 1:
            await bench.look_again()
    assert counts == [2, 4, 5]


async def test_a_trigger_looks_at_once(bench: Bench) -> None:
    await bench.start()
    bench.collector.trigger_all()
    await bench.later(0)
    assert bench.probe.discoveries == 2
    assert (bench.probe.looks.count(A), bench.probe.looks.count(B)) == (2, 2)


async def test_a_trigger_while_it_is_looked_looks_once_again_after(bench: Bench) -> None:
    gate = bench.probe.hang(A)
    await bench.start()
    bench.collector.trigger("watched")
    bench.collector.trigger("watched")
    await bench.later(0)
    assert bench.probe.looks.count(A) == 1
    gate.set()
    await bench.probe.began(A, 2)
    await bench.later(0)
    assert bench.probe.looks.count(A) == 2


async def test_a_rediscovery_looks_only_at_what_is_new(bench: Bench) -> None:
    await bench.start()
    bench.probe.scopes = (B, C)
    bench.collector.rediscover("watched")
    await bench.later(0)
    await bench.later(0)
    assert bench.probe.looks == [A, B, C]


async def test_what_is_forgotten_is_looked_for_no_more(bench: Bench) -> None:
    await bench.start()
    bench.probe.remembered = {(ObjectKind.DISK, "W1")}
    bench.probe.scopes = (B,)
    bench.collector.forget(ObjectKind.DISK, "W2")
    await bench.later(0)
    assert [scopes for _, scopes in bench.expected][-1:] == [(A, B)]
    bench.collector.forget(ObjectKind.DISK, "W1")
    await bench.later(0)
    assert [scopes for _, scopes in bench.expected][-1:] == [(B,)]


@pytest.mark.parametrize("ask", [Collector.trigger, Collector.rediscover])
async def test_a_probe_that_is_not_there_cannot_be_asked_for(
    bench: Bench, ask: Callable[[Collector, str], None]
) -> None:
    with pytest.raises(NotFound, match="there is no probe 'tape'; there are watched, beat"):
        ask(bench.collector, "tape")


async def test_run_now_returns_when_every_look_has_ended(bench: Bench) -> None:
    await bench.start()
    gate = bench.probe.hang(A)
    running = bench.tasks.create_task(bench.collector.run_now("watched"))
    await bench.probe.began(A, 2)
    await bench.later(0)
    assert bench.probe.looks.count(B) == 2
    assert not running.done()
    gate.set()
    await running
    assert bench.frames[-1].scope == A


async def test_run_now_waits_for_a_look_that_began_after_it_was_asked_for(bench: Bench) -> None:
    earlier = bench.probe.hang(A)
    await bench.start()
    running = bench.tasks.create_task(bench.collector.run_now("watched"))
    await bench.later(0)
    later = bench.probe.hang(A)
    earlier.set()
    await bench.probe.began(A, 2)
    await bench.later(0)
    assert not running.done()
    later.set()
    await running
    assert bench.probe.looks.count(A) == 2


async def test_run_now_waits_for_a_discovery_that_began_after_it_was_asked_for(
    bench: Bench,
) -> None:
    bench.probe.discovery_gate.clear()
    await bench.start()
    running = bench.tasks.create_task(bench.collector.run_now("watched"))
    await bench.later(0)
    bench.probe.discovery_gate.set()
    await running
    assert bench.probe.discoveries == 2
    assert {frame.scope for frame in bench.frames} == {A, B}


async def test_run_now_of_a_probe_that_finds_nothing_returns(bench: Bench) -> None:
    await bench.start()
    bench.probe.scopes = ProbeFailed("the reader is gone")
    bench.probe.answers = {A: ProbeFailed("the reader is gone")}
    await bench.collector.run_now("watched")
    assert bench.status()["outcome"] == "failed"


async def test_one_scope_is_looked_at_without_the_others(bench: Bench) -> None:
    await bench.start()
    await bench.collector.look_at(A)
    assert bench.probe.looks == [A, B, A]
    assert bench.frames[-1].scope == A


async def test_one_scope_is_looked_at_that_a_discovery_has_to_find(bench: Bench) -> None:
    await bench.start()
    bench.probe.scopes = (A, B, C)
    await bench.collector.look_at(C)
    assert bench.probe.looks == [A, B, C]


async def test_what_is_no_scope_is_not_waited_for(bench: Bench) -> None:
    await bench.start()
    await bench.collector.look_at(C)
    assert bench.probe.looks == [A, B]


async def test_who_gives_up_waiting_for_a_look_disturbs_nobody(bench: Bench) -> None:
    await bench.start()
    gate = bench.probe.hang(A)
    impatient = bench.tasks.create_task(bench.collector.run_now("watched"))
    patient = bench.tasks.create_task(bench.collector.run_now("watched"))
    await bench.probe.began(A, 2)
    await bench.later(0)
    impatient.cancel()
    gate.set()
    await patient
    assert impatient.cancelled()


# Which scopes there are.


async def test_a_scope_that_is_not_found_any_more_is_forgotten(bench: Bench) -> None:
    await bench.start()
    bench.probe.scopes = (B,)
    await bench.look_again()
    await bench.later(INTERVAL_S)
    assert bench.expected[-1] == ("watched", (B,))
    assert [one["scope"] for one in bench.collector.statuses("watched")] == [{"path": "/b"}]
    assert list(bench.success()) == ["path=/b"]


async def test_what_a_forgotten_scope_still_says_is_not_handed_over(bench: Bench) -> None:
    gate = bench.probe.hang(A)
    await bench.start()
    bench.probe.scopes = (B,)
    await bench.look_again()
    gate.set()
    await bench.later(0)
    assert [frame.scope for frame in bench.frames if frame.scope == A] == []


async def test_what_was_asked_of_a_scope_before_it_came_back_is_not_handed_over(
    bench: Bench,
) -> None:
    earlier = bench.probe.hang(A)
    await bench.start()
    bench.probe.scopes = (B,)
    await bench.look_again()
    later = bench.probe.hang(A)
    bench.probe.scopes = (A, B)
    await bench.look_again()
    await bench.probe.began(A, 2)
    earlier.set()
    await bench.later(0)
    assert [frame.scope for frame in bench.frames if frame.scope == A] == []
    later.set()
    await bench.later(0)
    assert [frame.scope for frame in bench.frames if frame.scope == A] == [A]


async def test_who_waits_for_a_scope_that_is_forgotten_is_let_go(bench: Bench) -> None:
    gate = bench.probe.hang(A)
    await bench.start()
    running = bench.tasks.create_task(bench.collector.run_now("watched"))
    await bench.later(0)
    bench.probe.scopes = (B,)
    await bench.look_again()
    gate.set()
    await running
    assert bench.probe.looks.count(A) == 1


async def test_a_failed_discovery_forgets_nothing_and_is_shown(bench: Bench) -> None:
    await bench.start()
    bench.probe.scopes = ProbeFailed("the reader is gone")
    await bench.look_again()
    assert len(bench.expected) == 1
    assert bench.probe.looks.count(A) == 2
    shown = bench.collector.statuses("watched")
    assert [(one["scope"], one["outcome"]) for one in shown] == [
        ({}, "failed"),
        ({"path": "/a"}, "seen"),
        ({"path": "/b"}, "seen"),
    ]


async def test_a_discovery_is_shown_while_no_scope_is_known(bench: Bench) -> None:
    assert [(one["probe"], one["outcome"]) for one in bench.collector.statuses()] == [
        ("watched", "pending"),
        ("beat", "pending"),
    ]


async def test_a_discovery_that_failed_is_tried_again_and_not_shown_after(bench: Bench) -> None:
    bench.probe.scopes = ProbeFailed("the reader is gone")
    await bench.start()
    assert bench.frames == []
    bench.probe.scopes = (A,)
    await bench.later(1)
    await bench.later(0)
    assert [(one["scope"], one["outcome"]) for one in bench.collector.statuses("watched")] == [
        ({"path": "/a"}, "seen")
    ]


async def test_a_collector_without_probes_waits_for_its_end() -> None:
    collector = Collector(
        (), ScriptedPort(), HandClock().clock, interval_s=1, feed=_nothing, expect=_nothing
    )
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01):
            await collector.run()
    assert collector.statuses() == []


async def _nothing(*said: Any) -> None:
    # All that there is to say is that there is nothing to say anything of.
    assert said in ((COLLECTOR, ()), (BLINDNESS, ()))


# What has changed is looked at at once.


async def test_what_was_touched_is_looked_at_at_once_and_the_schedule_stays(bench: Bench) -> None:
    await bench.start()
    await bench.later(1)
    await bench.later(5)
    looks = len(bench.probe.looks)
    bench.collector.touch("watched")
    await bench.later(0)
    assert sorted(bench.probe.looks[looks:], key=str) == [A, B]
    await bench.later(INTERVAL_S)
    assert len(bench.probe.looks) == looks + 4


async def test_to_touch_a_probe_takes_no_longer_for_all_that_others_look_at(bench: Bench) -> None:
    def touching_s() -> float:
        began = time.perf_counter()
        bench.collector.touch("beat")
        return time.perf_counter() - began

    await bench.start()
    alone_s = min(touching_s() for _ in range(20))
    bench.probe.scopes = tuple(Scope("watched", (("path", f"/{n}"),)) for n in range(3000))
    bench.collector.rediscover("watched")
    await bench.later(0)
    # Walking over all of them takes forty times as long: the bound is far from both.
    assert min(touching_s() for _ in range(20)) < 10 * alone_s


async def test_what_was_touched_again_is_looked_at_a_second_after_the_last_look(
    bench: Bench,
) -> None:
    await bench.start()
    await bench.later(1)
    await bench.later(5)
    looks = len(bench.probe.looks)
    for _ in range(5):
        bench.collector.touch("watched")
        await bench.later(0.125)
    assert sorted(bench.probe.looks[looks:], key=str) == [A, B]
    await bench.later(1)
    assert sorted(bench.probe.looks[looks:], key=str) == [A, A, B, B]
    await bench.later(2)
    assert len(bench.probe.looks) == looks + 4


async def test_what_was_touched_wakes_the_collector_when_it_is_due(bench: Bench) -> None:
    await bench.start()
    await bench.later(1)
    await bench.later(5)
    bench.collector.touch("watched")
    await bench.later(0)
    looks = len(bench.probe.looks)
    bench.collector.touch("watched")
    # Nothing else is due for long, and the hand clock moves only here: so it is that what wakes it.
    bench.clock.forward(1)
    async with asyncio.timeout(10):
        await bench.probe.began(A, looks // 2 + 1)


async def test_what_is_touched_while_it_is_looked_at_is_looked_at_again(bench: Bench) -> None:
    await bench.start()
    await bench.later(1)
    await bench.later(5)
    gate = bench.probe.hang(A)
    bench.collector.touch("watched")
    await bench.later(0)
    looks = bench.probe.looks.count(A)
    bench.collector.touch("watched")
    await bench.later(2)
    assert bench.probe.looks.count(A) == looks
    gate.set()
    await bench.later(0)
    assert bench.probe.looks.count(A) == looks + 1


async def test_what_is_new_is_found_by_a_touch(bench: Bench) -> None:
    await bench.start()
    await bench.later(1)
    await bench.later(5)
    bench.probe.scopes = (A, B, C)
    bench.collector.touch("watched")
    async with asyncio.timeout(10):
        await bench.probe.began(C)


async def test_what_may_be_looked_at_seldom_is_put_off(bench: Bench) -> None:
    await bench.start()
    await bench.later(1)
    await bench.later(5)
    looks = len(bench.probe.looks)
    bench.collector.touch("watched", every_s=10)
    await bench.later(4)
    assert len(bench.probe.looks) == looks
    await bench.later(2)
    assert len(bench.probe.looks) == looks + 2


async def test_what_was_read_before_is_no_answer_for_a_look_that_is_asked_for(
    bench: Bench,
) -> None:
    bench.collector.touch(bench.probe.name)
    assert bench.forgot == 1
    bench.collector.trigger(bench.probe.name)
    assert bench.forgot == 2
    bench.collector.touch("nobody")
    assert bench.forgot == 2


async def test_a_touch_of_a_probe_that_is_not_there_is_none(bench: Bench) -> None:
    await bench.start()
    bench.collector.touch("of another version")
