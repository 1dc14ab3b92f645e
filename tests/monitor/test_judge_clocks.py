"""A wall clock that is set and a machine that is suspended: no false alert, no lost timer."""

from dataclasses import dataclass, field
from typing import Any

import msgspec
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from core.fix_engine import FULL, MAX_AGE_S, rule, rule_set
from fakes import NOON, jumped, suspended
from fix_node import PROBE, empty_books
from storewatchd.bus import Published
from storewatchd.core.answers import KEEP_S
from storewatchd.core.commands import CreateAlert, FinishTask, StartTask
from storewatchd.core.frames import Frame, Outcome, Row, Scope
from storewatchd.core.inputs import Input, Once
from storewatchd.core.model import Instant, Severity
from storewatchd.core.tasks import FAMILIES as TASK_FAMILIES
from storewatchd.core.tasks import PROBE as TASKS
from storewatchd.journal import Record
from storewatchd.monitor.batch import ALERT, TASK, TASK_NAME, Batch
from storewatchd.monitor.judge import DoneBefore, Judge

NOW = Instant(NOON, 1000.0)
HOUR_S = 3600.0

RULES = """
groups:
  - name: g
    interval: 10s
    rules:
      - {record: half, expr: full / 2}
      - {alert: Full, expr: full > 0.8}
      - {alert: Long, expr: full > 0.8, for: 40s}
      - {alert: Kept, expr: full > 0.8, keep_firing_for: 40s}
      - {alert: Growing, expr: 'increase(full[1m]) > 0.5'}
      - {alert: Earlier, expr: full offset 30s > 0.8}
      - {alert: Highest, expr: 'max_over_time(half[30s]) > 0.4'}
      - {alert: Gone, expr: absent(full)}
      - alert: Failed
        expr: >-
          time() - task_last_failure_timestamp_seconds < 60 unless on (task)
          task_last_success_timestamp_seconds > on (task) task_last_failure_timestamp_seconds
"""


class Node:
    """A judge, the clocks, and what the journal would keep."""

    def __init__(self, rules: str = RULES) -> None:
        self.rules = rule_set(rules)
        self.now = NOW
        self.judge = self._judge()
        self.kept: dict[tuple[str, str], bytes] = {}
        self.told: list[tuple[str, str]] = []

    def _judge(self) -> Judge:
        books = empty_books(rules=self.rules)
        books.table.declare(TASKS, TASK_FAMILIES, max_age_s=float("inf"))
        books.table.expect(PROBE, [Scope(PROBE)])
        books.table.feed(books.tasks.frame(self.now))
        return Judge(books)

    def frame(self, rows: dict[str, float] | None) -> Frame:
        """Return the look of this moment; one at nothing has failed."""
        found = {FULL.name: [Row((name,), value) for name, value in (rows or {}).items()]}
        at, monotonic = self.now.wall, self.now.monotonic
        if rows is None:
            return Frame(Scope(PROBE), at, Outcome.FAILED, reason="stuck", monotonic=monotonic)
        return Frame(Scope(PROBE), at, rows=found, monotonic=monotonic)

    def round(self, *inputs: Input) -> list[str]:
        """Judge; return the kinds of what became of alerts."""
        batch, _ = self.judge.round(self.now, inputs)
        for change in batch.changes:
            if change.value is None:
                self.kept.pop((change.kind, change.key), None)
            else:
                self.kept[change.kind, change.key] = change.value
        became = [(one.alert.rule or one.alert.title, one.kind) for one in batch.transitions]
        self.told += became
        return [kind for _, kind in became]

    def restart(self) -> None:
        """Go on from what is kept."""

        def states(kind: str) -> dict[str, Any]:
            return {
                key: msgspec.json.decode(value)
                for (one, key), value in self.kept.items()
                if one == kind
            }

        self.judge = self._judge()
        books = self.judge.books
        books.incidents.restore(states(ALERT).values(), self.now)
        books.tasks.restore(states(TASK).values(), states(TASK_NAME))
        books.table.feed(books.tasks.frame(self.now))


def outcome(batch: Batch) -> tuple[list[Record], list[Published]]:
    return batch.numbered(range(len(batch)), epoch="e", node="n")


def create(ttl_s: float) -> CreateAlert:
    return CreateAlert(
        actor="ann", severity=Severity.INFO, source="s", title="Fan", key="fan", ttl_s=ttl_s
    )


# Any history, with and without.


@dataclass(frozen=True)
class Step:
    """What happens after some seconds; the clock is set between a look and its taking."""

    seconds: float
    what: str
    rows: dict[str, float] = field(default_factory=dict)
    jump_s: float = 0.0


ROWS = st.dictionaries(st.sampled_from("ab"), st.sampled_from([0.1, 0.9]))
STEPS = st.lists(
    st.builds(
        Step,
        seconds=st.sampled_from([1.0, 10.0, 20.0, 60.0]),
        what=st.sampled_from(["see", "see", "see", "fail", "", "create", "bad", "good", "restart"]),
        rows=ROWS,
        jump_s=st.sampled_from([0.0, 0.0, HOUR_S, -HOUR_S, 2.0, -2.0, 1e6]),
    ),
    max_size=20,
)


def live(steps: list[Step], *, is_set: bool) -> list[list[tuple[str, str]]]:
    """Return what became of alerts, step by step."""
    node = Node()
    node.round()
    found = []
    runs = 0
    for step in steps:
        node.now = node.now.later(step.seconds)
        node.told = []
        inputs: list[Input] = []
        match step.what:
            case "see":
                inputs.append(node.frame(step.rows))
            case "fail":
                inputs.append(node.frame(None))
            case "create":
                inputs.append(create(ttl_s=30.0))
            case "bad" | "good":
                runs += 1
                name = f"r{runs}"
                inputs.append(StartTask(actor="ann", name="t", id=name))
                inputs.append(FinishTask(actor="ann", id=name, failed=step.what == "bad"))
                inputs.append(StartTask(actor="ann", name="u", id=f"under way {runs}"))
            case "restart":
                node.restart()
        # What was set while nothing ran, nobody can tell from time that passed.
        if is_set and step.what != "restart":
            node.now = jumped(node.now, step.jump_s)
        node.round(*inputs)
        found.append(node.told)
    return found


@given(steps=STEPS)
@settings(max_examples=100, deadline=None)
@pytest.mark.timeout(120)
def test_a_clock_that_is_set_changes_nothing_that_becomes_of_alerts(steps: list[Step]) -> None:
    assert live(steps, is_set=True) == live(steps, is_set=False)


@given(
    steps=st.lists(
        st.tuples(st.sampled_from([1.0, 15.0]), st.sampled_from([0.0, 5.0, 80.0, HOUR_S]), ROWS),
        max_size=20,
    )
)
@example(steps=[(1.0, 0.0, {"a": 0.9}), *[(15.0, 0.0, {"a": 0.9})] * 2, (15.0, HOUR_S, {"a": 0.9})])
@settings(max_examples=50, deadline=None)
@pytest.mark.timeout(60)
def test_time_in_suspend_counts_for_no_duration(
    steps: list[tuple[float, float, dict[str, float]]],
) -> None:
    slept, awake = Node(), Node()
    for node in (slept, awake):
        node.judge.books.engine.replace_rules(
            rule_set(rule(**{"for": "40s", "keep_firing_for": "40s"})), node.now
        )
    for seconds, suspended_s, rows in steps:
        slept.now = suspended(slept.now.later(seconds), suspended_s)
        awake.now = awake.now.later(seconds)
        assert slept.round(slept.frame(rows)) == awake.round(awake.frame(rows))


# One at a time.


@pytest.mark.parametrize("jump_s", [HOUR_S, -HOUR_S])
def test_a_clock_that_was_set_is_told_first(jump_s: float) -> None:
    node = Node(rule())
    node.round()
    node.now = jumped(node.now.later(1), jump_s)
    batch, _ = node.judge.round(node.now, [node.frame({"a": 0.9})])
    records, published = outcome(batch)
    assert [record.kind for record in records] == ["clock_jumped", "firing"]
    assert published[0].event.data == msgspec.json.encode({"seconds": jump_s})


@pytest.mark.parametrize("jump_s", [2 * KEEP_S, -2 * KEEP_S])
def test_what_was_done_under_a_key_is_not_done_again_after_the_clock_was_set(jump_s: float) -> None:
    node = Node()
    node.round(Once("k", create(ttl_s=HOUR_S)))
    node.now = jumped(node.now.later(1), jump_s)
    node.round(Once("other", create(ttl_s=HOUR_S)))
    _, answers = node.judge.round(node.now.later(1), [Once("k", create(ttl_s=HOUR_S))])
    assert answers == [DoneBefore("k")]


def test_a_machine_that_was_suspended_is_told() -> None:
    node = Node(rule())
    node.round()
    node.now = suspended(node.now, HOUR_S)
    batch, _ = node.judge.round(node.now, [])
    (record,) = outcome(batch)[0]
    assert (record.kind, record.data) == ("resumed", b'{"suspended_seconds":3600.0}')
    assert node.judge.happened == (0.0, HOUR_S)
    node.judge.round(node.now.later(1), [])
    assert node.judge.happened == (0.0, 0.0)


def test_the_clocks_of_an_earlier_start_are_not_compared() -> None:
    node = Node(rule())
    node.round()
    node.restart()
    node.now = jumped(node.now, HOUR_S)
    batch, _ = node.judge.round(node.now, [])
    assert [record.kind for record in outcome(batch)[0]] == []


@pytest.mark.parametrize("jump_s", [HOUR_S, -HOUR_S])
@pytest.mark.parametrize("queued_s", [0.0, 3.0])
def test_a_look_before_the_clock_was_set_is_dated_anew(jump_s: float, queued_s: float) -> None:
    node = Node(rule())
    node.round(node.frame({"a": 0.5}))
    node.now = node.now.later(30)
    frame = node.frame({"a": 0.5})
    node.now = jumped(node.now.later(queued_s), jump_s)
    node.round()
    node.round(frame)
    (state,) = node.judge.books.table.scopes(PROBE)
    assert state.last_known == node.now.wall - queued_s
    assert state.known_s(0, node.now.wall) == 30 + queued_s


def test_a_look_that_nobody_dated_by_both_clocks_is_taken_as_it_is() -> None:
    node = Node(rule())
    at = node.now.wall - 20
    node.round(Frame(Scope(PROBE), at, rows={FULL.name: []}))
    (state,) = node.judge.books.table.scopes(PROBE)
    assert state.last_look == at


def test_after_a_long_suspend_nothing_is_known_until_it_was_looked_at_again() -> None:
    node = Node(rule())
    assert node.round(node.frame({"a": 0.9})) == ["firing"]
    node.now = suspended(node.now, MAX_AGE_S + 30)
    assert node.round() == ["stale"]
    assert node.round(node.frame({"a": 0.9})) == ["fresh"]


def test_what_was_suspended_shortly_is_still_known() -> None:
    node = Node(rule())
    node.round(node.frame({"a": 0.9}))
    node.now = suspended(node.now, MAX_AGE_S - 30)
    assert node.round() == []


@pytest.mark.parametrize("moved", [jumped, suspended])
def test_a_timer_goes_on_over_a_restart_after_the_clocks_came_apart(moved: Any) -> None:
    node = Node(rule(**{"for": "90s"}))
    assert node.round(node.frame({"a": 0.9})) == ["pending"]
    node.now = node.now.later(30)
    assert node.round() == []
    node.now = moved(node.now, HOUR_S)
    node.round(node.frame({"a": 0.9}))
    node.now = node.now.later(30)
    assert node.round() == []
    node.restart()
    assert node.round(node.frame({"a": 0.9})) == []
    node.now = node.now.later(29)
    assert node.round(node.frame({"a": 0.9})) == []
    node.now = node.now.later(1)
    assert node.round(node.frame({"a": 0.9})) == ["firing"]
