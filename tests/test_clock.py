"""The machine's clocks agree with the kernel's, and with each other."""

import time

from storewatchd.clock import TIGHT_S, Clock
from storewatchd.core.clocks import Passed, passed


def test_all_clocks_are_read_at_one_moment() -> None:
    before = time.time(), time.clock_gettime(time.CLOCK_BOOTTIME), time.monotonic()
    now = Clock().now()
    after = time.time(), time.clock_gettime(time.CLOCK_BOOTTIME), time.monotonic()
    assert before[0] <= now.wall <= after[0]
    assert before[1] <= now.monotonic <= after[1]
    # The two are read one after the other.
    assert before[2] - TIGHT_S <= now.awake <= after[2]


def test_each_clock_can_be_read_alone() -> None:
    clock = Clock()
    now = clock.now()
    assert now.wall <= clock.wall() <= now.wall + 10
    assert now.monotonic <= clock.monotonic() <= now.monotonic + 10
    assert now.awake <= clock.awake() <= now.awake + 10


def test_a_machine_that_is_awake_and_leaves_its_clock_alone_shows_nothing() -> None:
    clock = Clock()
    before = clock.now()
    assert {passed(before, clock.now()) for _ in range(1000)} == {Passed(0.0, 0.0)}
