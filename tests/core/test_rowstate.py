"""How a row stands: the words for it, and an order that columns rely on."""

from storewatchd.core.rowstate import RowState


def test_each_state_has_the_word_that_answers_use() -> None:
    assert [state.word for state in RowState] == [
        *("absent", "unknown", "exact", "at_least", "at_most")
    ]


def test_what_is_there_comes_after_what_may_be_and_bounds_come_last() -> None:
    assert RowState.ABSENT < RowState.UNKNOWN < RowState.EXACT
    assert min(RowState.AT_LEAST, RowState.AT_MOST) > RowState.EXACT
