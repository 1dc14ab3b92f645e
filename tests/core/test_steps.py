"""Long work in steps: what it wants worked out aside comes back to it."""

from functools import partial

from storewatchd.core.steps import Steps, at_once


def work() -> Steps[list[int]]:
    found = []
    yield None
    for number in (1, 2):
        found.append((yield partial(int.__mul__, 10, number)))
        assert (yield None) is None
    return found


def test_all_steps_are_taken_and_what_is_worked_out_aside_is_sent() -> None:
    assert at_once(work()) == [10, 20]


def test_steps_wait_for_whoever_takes_them() -> None:
    steps = work()
    assert next(steps) is None
    aside = steps.send(None)
    assert aside is not None
    assert aside() == 10
