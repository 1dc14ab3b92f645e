"""A replay decides what was decided, byte for byte, and says where it does not."""

import random
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from core.fix_engine import FULL, rule, rule_set
from fakes import NOON, jumped, suspended
from fix_node import PROBE, empty_books
from storewatchd.core import recording
from storewatchd.core.commands import (
    AcknowledgeAlert,
    CreateAlert,
    FinishTask,
    ReplaceRules,
    ResolveAlert,
    StartTask,
)
from storewatchd.core.frames import Frame, Outcome, Row, Scope
from storewatchd.core.inputs import Expected, Input, Once
from storewatchd.core.model import Instant, Severity
from storewatchd.core.tasks import FAMILIES as TASK_FAMILIES
from storewatchd.core.tasks import PROBE as TASKS_PROBE
from storewatchd.errors import RecordingError
from storewatchd.monitor.dump import dump
from storewatchd.monitor.judge import Judge
from storewatchd.replay import Replayed, replay

VERSION = "1.2.3"
RULES = (
    rule("max_over_time(full[2m]) > 0.8", **{"for": "1m"})
    + """
    - alert: Gone
      expr: absent(full)
    - alert: Now
      expr: full > 0.8
    - record: full:sum
      expr: sum(full)
"""
)
SCOPES = tuple(Scope(PROBE, (("repository", name),)) for name in "abc")


def inputs_of_a_round(chance: random.Random, judge: Judge, now: Instant) -> Iterable[Input]:
    """Yield whatever may come in: looks of every outcome, and what people and programs ask."""
    for scope in SCOPES:
        name = dict(scope.labels)["repository"]
        if chance.random() < 0.6:
            rows = {FULL.name: [Row((name,), chance.random())]}
            yield Frame(scope, now.wall, rows=rows)
        elif chance.random() < 0.3:
            yield Frame(scope, now.wall, Outcome.FAILED, reason="stuck")
    if chance.random() < 0.05:
        yield Expected(PROBE, tuple(chance.sample(SCOPES, 2)))
    asked = chance.random()
    if asked < 0.2:
        key = chance.choice(("x", "y", None))
        created = CreateAlert(
            actor="a",
            severity=chance.choice(list(Severity)),
            source="s",
            title="t",
            key=key,
            ttl_s=chance.choice((None, 30.0)),
        )
        yield created if asked < 0.1 else Once(f"k{chance.randrange(5)}", created)
    elif asked < 0.4:
        run = f"run-{chance.randrange(1000)}"
        yield StartTask(actor="a", name=chance.choice(("n", "m")), id=run)
        yield FinishTask(actor="a", id=run, exit_status=chance.choice((0, 3)), output="boom")
    elif asked < 0.5 and len(judge.books.incidents):
        incident = chance.choice(list(judge.books.incidents))
        mark = chance.choice((AcknowledgeAlert, ResolveAlert))
        yield mark("a", incident.alert.id, None)
    elif asked < 0.51:
        yield ReplaceRules("a", rule_set(RULES if chance.random() < 0.7 else rule()))


def record(path: Path, *, rounds: int, warm_up: int = 20, finish: bool = True) -> int:
    """Record so many rounds of half a minute or less; return how many transitions there were."""
    chance = random.Random(20261125)
    judge = Judge(empty_books(rules=rule_set(RULES)))
    judge.books.table.declare(TASKS_PROBE, TASK_FAMILIES, max_age_s=float("inf"))
    now = Instant(NOON, 77.25)
    writer = recording.Writer()
    transitions = 0
    pieces: list[bytes] = []
    for number in range(warm_up + rounds):
        if number == warm_up:
            judge.books.ids.reseed(42)
            start: dict[str, Any] = {
                "version": VERSION,
                "seed": 42,
                "now": list(now),
                "before": judge.before,
                "next_snapshot": judge.next_snapshot,
                "books": dump(judge.books),
            }
            pieces.append(writer.write(["start", start]))
        now = now.later(chance.uniform(0.1, 30))
        # The clock is also set just when the recording begins.
        if number == warm_up or chance.random() < 0.1:
            now = jumped(now, chance.choice((-5000, 5000)))
        if chance.random() < 0.1:
            now = suspended(now, chance.uniform(0, 100))
        inputs = list(inputs_of_a_round(chance, judge, now))
        if number == warm_up - 1:
            inputs = [Frame(SCOPES[0], now.wall, rows={FULL.name: [Row(("a",), 0.9)]})]
        elif number == warm_up:
            inputs = []
        batch, _ = judge.round(now, inputs)
        if number < warm_up:
            continue
        pieces.append(writer.write(["fact", now.wall, 0.1, "mounts", "", "value", {}]))
        pieces.append(writer.write(recording.round_message(now, inputs)))
        if batch.transitions:
            transitions += len(batch.transitions)
            pieces.append(writer.write(recording.transitions_message(batch.transitions)))
    if finish:
        pieces.append(writer.write(["end", "the time is over"]))
        pieces.append(writer.finish())
    else:
        pieces.append(writer.flush())
    path.write_bytes(b"".join(pieces))
    return transitions


async def replayed(path: Path, **options: Any) -> tuple[list[bytes], Replayed]:
    lines: list[bytes] = []
    found = await replay(path, version=VERSION, tell=lines.append, **options)
    return lines, found


async def test_an_hour_replays_to_the_same_transitions_ten_times_out_of_ten(
    tmp_path: Path,
) -> None:
    path = tmp_path / "hour"
    count = record(path, rounds=300)
    assert count > 100
    runs = [await replayed(path) for _ in range(10)]
    for lines, found in runs:
        assert lines == runs[0][0]
        assert (found.differs_at, found.is_whole) == (None, True)
        assert (found.rounds, found.transitions, found.facts) == (300, count, 300)
        assert found.span_s > 3600
    assert str(runs[0][1]).endswith("the same as recorded")


async def test_one_that_was_cut_off_replays_so_far(tmp_path: Path) -> None:
    path = tmp_path / "cut"
    record(path, rounds=30, finish=False)
    _, found = await replayed(path)
    assert (found.is_whole, found.differs_at, found.rounds) == (False, None, 30)
    assert "was cut off" in str(found)


async def test_a_difference_is_named_with_its_number(tmp_path: Path) -> None:
    path = tmp_path / "other"
    record(path, rounds=30)
    writer = recording.Writer()
    pieces = []
    changed = False
    for message in recording.messages([path.read_bytes()]):
        if message[0] == "transitions" and not changed:
            message[1][0] = b"dancing"
            changed = True
        pieces.append(writer.write(message))
    path.write_bytes(b"".join([*pieces, writer.finish()]))
    _, found = await replayed(path)
    assert found.differs_at == 1
    assert "transition 1 differs" in str(found)


async def test_a_speed_keeps_the_pace(tmp_path: Path) -> None:
    path = tmp_path / "paced"
    record(path, rounds=20)
    pauses: list[float] = []

    async def pause(seconds: float) -> None:
        pauses.append(seconds)

    _, found = await replayed(path, speed=10.0, pause=pause)
    assert sum(pauses) == pytest.approx(found.span_s / 10)


@pytest.mark.parametrize(
    ("message", "why"),
    [
        pytest.param(["round", 1.0, 1.0, []], "its beginning is missing", id="no-start"),
        pytest.param(["start", {"version": "9"}], "version 9 made the recording", id="version"),
        pytest.param(["start", {"version": VERSION}], "beginning cannot be read", id="empty"),
        pytest.param(["start"], "beginning cannot be read", id="short"),
    ],
)
async def test_a_beginning_that_is_none_is_refused(
    tmp_path: Path, message: list[Any], why: str
) -> None:
    writer = recording.Writer()
    path = tmp_path / "bad"
    path.write_bytes(writer.write(message) + writer.finish())
    with pytest.raises(RecordingError, match=why):
        await replayed(path)


async def test_a_message_of_another_kind_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "strange"
    record(path, rounds=1)
    told = [*recording.messages([path.read_bytes()]), ["dance"]]
    writer = recording.Writer()
    path.write_bytes(b"".join([*map(writer.write, told), writer.finish()]))
    with pytest.raises(RecordingError, match="of the kind 'dance'"):
        await replayed(path)


async def test_one_that_is_cut_within_its_beginning_is_named_and_told_from_another_file(
    tmp_path: Path,
) -> None:
    path = tmp_path / "cut"
    record(path, rounds=1)
    path.write_bytes(path.read_bytes()[:60])
    with pytest.raises(RecordingError) as cut:
        await replayed(path)
    path.write_text("PK another file")
    with pytest.raises(RecordingError) as other:
        await replayed(path)
    assert str(cut.value) == f"{path}: the recording is cut short, within its beginning"
    assert str(other.value) == f"{path}: this is another file, and no recording of Storewatch"


async def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(RecordingError, match="nowhere: cannot be read: No such file"):
        await replayed(tmp_path / "nowhere")
