"""The ids of runs that are over and have left memory: none of them is used for another run.

A report that comes again after all, or a program that gives each run the same id, would be counted
as a run of its own, and be taken for the run that the store has under this id.
"""

from collections.abc import Iterable, Mapping
from typing import Any

MAX_PAST = 20_000
"""How many ids are remembered; of older ones nobody knows."""


class PastRuns:
    """The ids, oldest first."""

    def __init__(self) -> None:
        self._ids: dict[str, None] = {}

    def __contains__(self, run_id: object) -> bool:
        return run_id in self._ids

    def add(self, run_id: str, finished_at: float) -> dict[str, dict[str, Any] | None]:
        """Remember a run; return what the journal has to keep by id, None for what it may drop."""
        self._ids[run_id] = None
        changed: dict[str, dict[str, Any] | None] = {}
        while len(self._ids) > MAX_PAST:
            oldest = next(iter(self._ids))
            del self._ids[oldest]
            changed[oldest] = None
        changed[run_id] = {"id": run_id, "over_at": finished_at}
        return changed

    def restore(self, states: Iterable[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
        """Take over what `add` gave, out of all that the journal keeps of runs; return the rest."""
        others: list[Mapping[str, Any]] = []
        mine: list[Mapping[str, Any]] = []
        for state in states:
            (mine if "over_at" in state else others).append(state)
        for state in sorted(mine, key=lambda state: state["over_at"]):
            self._ids[state["id"]] = None
        return others

    def dump(self) -> list[str]:
        """Return the ids, for `load`."""
        return list(self._ids)

    def load(self, told: Iterable[str]) -> None:
        """Take over what `dump` gave."""
        self._ids.update(dict.fromkeys(told))
