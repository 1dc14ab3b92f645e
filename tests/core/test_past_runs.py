"""The ids of runs that have left memory: remembered over a restart, within a bound."""

import pytest

from storewatchd.core import past_runs
from storewatchd.core.past_runs import PastRuns


def test_a_restart_keeps_ids_in_the_order_in_which_their_runs_ended() -> None:
    before, after = PastRuns(), PastRuns()
    states = [*before.add("old", 1.0).values(), *before.add("new", 2.0).values()]
    whole = {"id": "whole", "state": "completed"}
    kept = [state for state in reversed(states) if state is not None]
    assert after.restore([*kept, whole]) == [whole]
    assert after.dump() == ["old", "new"]


def test_a_recording_begins_with_them() -> None:
    before, after = PastRuns(), PastRuns()
    before.add("r1", 1.0)
    after.load(before.dump())
    assert "r1" in after
    assert "r2" not in after


def test_the_oldest_ids_give_way(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(past_runs, "MAX_PAST", 2)
    past = PastRuns()
    for number in range(2):
        past.add(f"r{number}", float(number))
    assert past.add("r2", 2.0) == {"r0": None, "r2": {"id": "r2", "over_at": 2.0}}
    assert past.dump() == ["r1", "r2"]
