"""What a probe says, in words."""

import pytest

from storewatchd.core.frames import Frame, Outcome, Scope


@pytest.mark.parametrize(
    ("scope", "words"),
    [
        pytest.param(Scope("block"), "block", id="the whole"),
        pytest.param(Scope("fs", (("path", "/a b"),)), "fs{path='/a b'}", id="a part"),
        pytest.param(Scope("fs", (("a", "1"), ("b", "2"))), "fs{a='1', b='2'}", id="two labels"),
    ],
)
def test_a_scope_says_what_it_covers(scope: Scope, words: str) -> None:
    assert str(scope) == words


def test_a_frame_without_rows_says_that_there_are_none() -> None:
    frame = Frame(Scope("block"), 0.0)
    assert (frame.outcome, frame.rows) == (Outcome.SEEN, {})
