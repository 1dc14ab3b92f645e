"""Replays a recording: the same inputs at the same moments, on a virtual clock.

Every transition is printed as a line of JSON, the same bytes each time, and compared with what the
daemon decided when the recording was made.
"""

import asyncio
import itertools
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from storewatchd.core import recording
from storewatchd.core.ids import Ids
from storewatchd.core.model import Instant
from storewatchd.errors import RecordingError
from storewatchd.monitor.dump import load_books
from storewatchd.monitor.judge import Judge

CHUNK_BYTES = 1 << 20

Pause = Callable[[float], Awaitable[None]]


@dataclass(slots=True)
class Replayed:
    """What came of a replay. `differs_at` is the number of the first transition that is not as it
    was recorded, counted from 1; None where all of them are."""

    rounds: int = 0
    transitions: int = 0
    facts: int = 0
    span_s: float = 0.0
    is_whole: bool = False
    differs_at: int | None = None

    def __str__(self) -> str:
        told = (
            f"replayed {self.rounds} rounds over {self.span_s:.0f} s: {self.transitions} "
            f"transitions, {self.facts} facts in the recording"
        )
        if not self.is_whole:
            told += "; the recording was cut off"
        if self.differs_at is not None:
            return f"{told}; transition {self.differs_at} differs from what was recorded"
        return f"{told}; the same as recorded"


async def replay(
    path: Path,
    *,
    version: str,
    tell: Callable[[bytes], None],
    speed: float | None = None,
    pause: Pause = asyncio.sleep,
) -> Replayed:
    """Replay a recording and tell each transition as a line; with a `speed` at so many times the
    pace at which it was made, otherwise as fast as it goes.

    Raises:
        RecordingError: it cannot be read, or another version made it; the sentence names the file.
    """
    try:
        return await _replayed(path, version, tell, speed, pause)
    except RecordingError as error:
        raise RecordingError(f"{path}: {error}") from error


async def _replayed(
    path: Path, version: str, tell: Callable[[bytes], None], speed: float | None, pause: Pause
) -> Replayed:
    found = Replayed()
    told = recording.messages(_chunks(path))
    judge, began = _start(next(told, []), version)
    expected: list[bytes] = []
    replayed: list[bytes] = []
    at = began
    for message in told:
        match message[0]:
            case "fact":
                found.facts += 1
            case "round":
                now, inputs = recording.round_of(message)
                if speed is not None:
                    await pause(max(0.0, now.monotonic - at.monotonic) / speed)
                at = now
                batch, _ = judge.round(now, inputs)
                found.rounds += 1
                for transition in batch.transitions:
                    line = recording.transition_line(transition)
                    replayed.append(line)
                    tell(line)
            case "transitions":
                expected += message[1]
            case "end":
                found.is_whole = True
            case kind:
                raise RecordingError(f"the recording holds a message of the kind {kind!r}")
    found.transitions = len(replayed)
    found.span_s = at.monotonic - began.monotonic
    pairs = itertools.zip_longest(replayed, expected)
    # Where it was cut off, the last round's transitions may be missing.
    compared = pairs if found.is_whole else zip(replayed, expected, strict=False)
    for number, (ours, theirs) in enumerate(compared, 1):
        if ours != theirs:
            found.differs_at = number
            break
    return found


def _start(message: list[Any], version: str) -> tuple[Judge, Instant]:
    if not message:
        raise RecordingError("the recording is cut short, within its beginning")
    if message[0] != "start":
        raise RecordingError("the recording is damaged: its beginning is missing")
    try:
        _, start = message
        if start["version"] != version:
            raise RecordingError(
                f"version {start['version']} made the recording, and this is {version}: replay it "
                "with that one"
            )
        books = load_books(start["books"], Ids(start["seed"]))
        now = Instant(*start["now"])
        before = None if start["before"] is None else Instant(*start["before"])
        judge = Judge(books, next_snapshot=start["next_snapshot"], before=before)
    except (KeyError, TypeError, ValueError) as error:
        raise RecordingError(f"the recording's beginning cannot be read: {error}") from error
    return judge, now


def _chunks(path: Path) -> Iterator[bytes]:
    try:
        with path.open("rb") as file:
            while chunk := file.read(CHUNK_BYTES):
                yield chunk
    except OSError as error:
        raise RecordingError(f"cannot be read: {error.strerror}") from error
