"""What is known of all runs of a task, by its name."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Self


@dataclass(slots=True)
class TaskName:
    """What is known of all runs with one name. Times are Unix seconds."""

    type: str = "task"
    runs: dict[str, int] | None = None  # result -> count, since this node first saw the name
    last_start: float | None = None
    last_end: float | None = None
    last_success: float | None = None
    last_failure: float | None = None
    last_duration_s: float | None = None
    last_bytes: int | None = None
    failure: tuple[str, str, str] = ("", "", "")  # exit status, signal, output

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> Self:
        return cls(**{**state, "failure": tuple(state["failure"])})

    def to_state(self) -> dict[str, Any]:
        """Return what the journal keeps."""
        return asdict(self)

    def with_lost(self, lost: "TaskName") -> "TaskName":
        """Return this and what was lost of it: of each the later, or the larger count."""
        mine, theirs = self.runs or {}, lost.runs or {}
        ended = max(self, lost, key=lambda one: one.last_end or 0.0)
        failed = max(self, lost, key=lambda one: one.last_failure or 0.0)
        return TaskName(
            type=self.type,
            runs={
                result: max(mine.get(result, 0), theirs.get(result, 0))
                for result in {**theirs, **mine}
            },
            last_start=later(self.last_start, lost.last_start),
            last_end=ended.last_end,
            last_success=later(self.last_success, lost.last_success),
            last_failure=failed.last_failure,
            last_duration_s=ended.last_duration_s,
            last_bytes=ended.last_bytes,
            failure=failed.failure,
        )


def later(one: float | None, other: float | None) -> float | None:
    """Return the later of two moments, of which one or both may be None."""
    return max((moment for moment in (one, other) if moment is not None), default=None)
